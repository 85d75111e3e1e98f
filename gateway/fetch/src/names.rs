//! Names of origins: what addresses they mean, asked again and again.
//!
//! Owns when a name is looked up, and what is told of those that mean something else or cannot be found.
//! The system's resolver is asked, so that `/etc/hosts`, search domains and what else the system knows
//! count; it says nothing of how long an answer is good, so that it is asked in short intervals. What
//! was found last stays when nothing is found. What an origin makes of its addresses, and which of them a
//! tenant may reach, is `control`'s ([`Control::set_names`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::chance;
use super::places::Places;
use crate::limits::{
    NAME_ADDRESSES_MAX, NAME_INTERVAL, NAME_RETRY, NAMES_AT_ONCE, NAMES_AT_ONCE_OF_ZONE,
    NAMES_LOOK, NAMES_OWN_OF_ZONE,
};
use control::{Control, Names};
use snapshot::Published;
use snapshot::http::origin::Origin;

/// Looks names of origins up.
pub struct NameWatch {
    control: Arc<Control>,
    published: Arc<Published>,
    known: Mutex<HashMap<Box<str>, Known>>,
    at_once: Places,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Known {
    /// The zone that names it: what looking it up takes is charged to that.
    zone: Box<str>,
    /// `None`: at once.
    due: Option<Instant>,
    under_way: bool,
    /// What it means; nothing as long as nothing was found.
    addresses: Vec<IpAddr>,
    /// Why nothing was found the last time.
    error: Option<String>,
    /// The round in which it was seen last.
    round: u64,
}

/// How a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameStatus {
    /// The name.
    pub name: Box<str>,
    /// What it means, as far as that is known.
    pub addresses: Vec<IpAddr>,
    /// Why nothing was found the last time.
    pub error: Option<String>,
}

impl NameWatch {
    /// One that has asked nothing yet.
    #[must_use]
    pub fn new(control: Arc<Control>, published: Arc<Published>) -> Arc<Self> {
        Arc::new(Self {
            control,
            published,
            known: Mutex::default(),
            at_once: Places::new(NAMES_AT_ONCE, NAMES_OWN_OF_ZONE, NAMES_AT_ONCE_OF_ZONE),
        })
    }

    /// Looks names up until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(NAMES_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lookups = JoinSet::new();
        let mut told = Names::default();
        for round in 1_u64.. {
            look.tick().await;
            while lookups.try_join_next().is_some() {}
            for (name, zone) in self.due(round, Instant::now()) {
                let this = self.clone();
                lookups.spawn(async move {
                    let found = this.at_once.run(&zone, look_up(&name)).await;
                    if let Some(found) = found {
                        this.note(&name, found, Instant::now());
                    }
                });
            }
            let names = self.names();
            if names == told {
                continue;
            }
            let (control, new) = (self.control.clone(), names.clone());
            match tokio::task::spawn_blocking(move || control.set_names(new)).await {
                Ok(Ok(())) => told = names,
                Ok(Err(error)) => {
                    tracing::error!(%error, "origins keep the addresses that their names meant");
                }
                Err(error) => {
                    tracing::error!(%error, "origins keep the addresses that their names meant");
                }
            }
        }
    }

    /// Why the name of an address was not found the last time.
    #[must_use]
    pub fn error(&self, origin: &Origin) -> Option<String> {
        let known = self.lock();
        known.get(&*origin.host.to_ascii_lowercase())?.error.clone()
    }

    /// How every name of an origin is, in their order.
    #[must_use]
    pub fn status(&self) -> Vec<NameStatus> {
        let known = self.lock();
        let all = known.iter().map(|(name, known)| NameStatus {
            name: name.clone(),
            addresses: known.addresses.clone(),
            error: known.error.clone(),
        });
        let mut all: Vec<NameStatus> = all.collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Names that are to be looked up now, with their zones.
    fn due(&self, round: u64, now: Instant) -> Vec<(Box<str>, Box<str>)> {
        let snapshot = self.published.load();
        let mut known = self.lock();
        let mut due = Vec::new();
        for group in &snapshot.origins {
            for address in group.addresses.iter().filter(|one| one.origin.is_named()) {
                let name: Box<str> = address.origin.host.to_ascii_lowercase().into();
                let one = known.entry(name.clone()).or_default();
                if one.round == round {
                    continue;
                }
                one.round = round;
                one.zone.clone_from(&group.zone);
                if !one.under_way && one.due.is_none_or(|due| due <= now) {
                    one.under_way = true;
                    due.push((name, group.zone.clone()));
                }
            }
        }
        known.retain(|_, one| one.round == round || one.under_way);
        self.at_once.sweep();
        due
    }

    /// What all names mean that something was found for.
    fn names(&self) -> Names {
        let known = self.lock();
        let found = known.iter().filter(|(_, one)| !one.addresses.is_empty());
        Names(
            found
                .map(|(name, one)| (name.clone(), one.addresses.clone()))
                .collect(),
        )
    }

    fn note(&self, name: &str, found: std::io::Result<Vec<IpAddr>>, now: Instant) {
        let mut known = self.lock();
        let Some(known) = known.get_mut(name) else {
            return;
        };
        known.under_way = false;
        match found {
            Ok(addresses) => {
                // Not all at once for ever, because they began so.
                known.due = Some(now + NAME_INTERVAL.mul_f64(1.0 - 0.2 * chance()));
                if known.error.take().is_some() {
                    tracing::info!(name, "the name of an origin is found again");
                }
                if known.addresses != addresses {
                    if !known.addresses.is_empty() {
                        tracing::info!(
                            name, before = ?known.addresses, now = ?addresses,
                            "the name of an origin means other addresses"
                        );
                    }
                    known.addresses = addresses;
                }
            }
            Err(error) => {
                known.due = Some(now + NAME_RETRY.mul_f64(1.0 - 0.2 * chance()));
                if known.error.is_none() {
                    tracing::warn!(name, %error, kept = ?known.addresses, "the name of an origin cannot be found");
                }
                known.error = Some(error.to_string());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        // A panic elsewhere leaves a name that is not looked up again until the next start, at most.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the system. No time bounds it: the thread that asks would still be taken.
async fn look_up(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    in_order(found.map(|address| address.ip()).collect())
}

/// Those of the family of the first, which the system would use, before the others. Within one, answers
/// come in any order.
fn in_order(mut found: Vec<IpAddr>) -> std::io::Result<Vec<IpAddr>> {
    let Some(first) = found.first().copied() else {
        let why = "it has no address";
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, why));
    };
    found.sort_by_key(|address| (address.is_ipv4() != first.is_ipv4(), *address));
    found.dedup();
    found.truncate(NAME_ADDRESSES_MAX);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order_mean_the_same() {
        let all = |text: &str| -> Vec<IpAddr> {
            text.split_whitespace()
                .map(|one| one.parse().unwrap())
                .collect()
        };
        for (found, ordered) in [
            ("192.0.2.2 192.0.2.1", "192.0.2.1 192.0.2.2"),
            ("192.0.2.1 192.0.2.2 192.0.2.1", "192.0.2.1 192.0.2.2"),
            ("::1 127.0.0.1", "::1 127.0.0.1"),
            ("127.0.0.1 ::1", "127.0.0.1 ::1"),
            (
                "2001:db8::2 10.0.0.1 2001:db8::1",
                "2001:db8::1 2001:db8::2 10.0.0.1",
            ),
        ] {
            assert_eq!(in_order(all(found)).unwrap(), all(ordered), "{found}");
        }
        assert!(in_order(Vec::new()).is_err());
    }
}
