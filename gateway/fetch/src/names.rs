//! Names of origins: what addresses they mean, asked again and again.
//!
//! Owns when a name is looked up, and what is told of those that mean something else or cannot be found.
//! The system's resolver is asked, so that `/etc/hosts`, search domains and what else the system knows
//! count; it says nothing of how long an answer is good, so that it is asked in short intervals. What
//! was found last stays when nothing is found. What an origin makes of its addresses, and which of them a
//! tenant may reach, is `control`'s ([`Control::set_names`]).

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::chance;
use super::places::Places;
use crate::limits::{
    NAME_ADDRESSES_MAX, NAME_INTERVAL, NAME_MEMORY, NAME_RETRY, NAME_TOLD_EVERY, NAMES_AT_ONCE,
    NAMES_AT_ONCE_OF_ZONE, NAMES_CHANGE_EVERY, NAMES_LOOK, NAMES_OWN_OF_ZONE, NAMES_THREADS,
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
    threads: Threads,
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
    /// When an answer had each address last, for [`NAME_MEMORY`].
    seen: HashMap<IpAddr, Instant>,
    /// An address that was away has come back: answers have a part of them only.
    rotates: bool,
    /// When the log had a line about what it means.
    told: Option<Instant>,
    /// Why nothing was found the last time.
    error: Option<String>,
    /// The round in which it was seen last.
    round: u64,
}

impl Known {
    /// What it means after one more answer.
    fn with(&mut self, found: Vec<IpAddr>, now: Instant) -> Vec<IpAddr> {
        self.seen
            .retain(|_, at| now.duration_since(*at) < NAME_MEMORY);
        let is_back = |one: &IpAddr| self.seen.contains_key(one) && !self.addresses.contains(one);
        self.rotates |= found.iter().any(is_back);
        self.seen.extend(found.iter().map(|one| (*one, now)));
        if !self.rotates {
            return found;
        }
        // This answer says which family leads.
        let mut others: Vec<IpAddr> = self.seen.keys().copied().collect();
        others.sort();
        in_order(found.iter().copied().chain(others).collect()).unwrap_or(found)
    }
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
            threads: Threads::default(),
        })
    }

    /// Looks names up until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(NAMES_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lookups = JoinSet::new();
        let mut told = Names::default();
        let mut next = Instant::now();
        let mut complained = false;
        for round in 1_u64.. {
            look.tick().await;
            while lookups.try_join_next().is_some() {}
            for (name, zone) in self.due(round, Instant::now()) {
                let this = self.clone();
                lookups.spawn(async move {
                    let found = this.at_once.run(&zone, this.threads.look_up(&name)).await;
                    if let Some(found) = found {
                        this.note(&name, found, Instant::now());
                    }
                });
            }
            let names = self.names();
            if names == told || Instant::now() < next {
                continue;
            }
            next = Instant::now() + NAMES_CHANGE_EVERY;
            let (control, new) = (self.control.clone(), names.clone());
            let set = tokio::task::spawn_blocking(move || control.set_names(new)).await;
            let failed = match set {
                Ok(Ok(())) => {
                    told = names;
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failed.as_ref().filter(|_| !complained) {
                tracing::error!(error, "origins keep the addresses that their names meant");
            }
            complained = failed.is_some();
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
                let addresses = known.with(addresses, now);
                if known.addresses != addresses {
                    let is_due = known.told.is_none_or(|at| now >= at + NAME_TOLD_EVERY);
                    if !known.addresses.is_empty() && is_due {
                        known.told = Some(now);
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

/// Threads that ask the system and nothing else, made when they are wanted: those of names that no server
/// answers for hang for half a minute, and changes, files and the disk would wait for them.
#[derive(Debug, Default)]
struct Threads(OnceLock<Runtime>);

impl Threads {
    /// Asks the system. No time bounds it: the thread that asks would still be taken.
    async fn look_up(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let asking = self.get()?.spawn_blocking(move || {
            let found = (name.as_str(), 0).to_socket_addrs()?;
            in_order(found.map(|address| address.ip()).collect())
        });
        asking.await.map_err(std::io::Error::other)?
    }

    fn get(&self) -> std::io::Result<&Runtime> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        // It is never driven: all that there is of it is its threads.
        let made = tokio::runtime::Builder::new_current_thread()
            .thread_name("names")
            .max_blocking_threads(NAMES_THREADS)
            .build()?;
        if let Err(second) = self.0.set(made) {
            second.shutdown_background();
        }
        self.0.get().ok_or_else(|| ErrorKind::Other.into())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(made) = self.0.take() {
            // Nobody waits for those that hang.
            made.shutdown_background();
        }
    }
}

/// Those of the family of the first, which the system would use, before the others. Within one, answers
/// come in any order.
fn in_order(mut found: Vec<IpAddr>) -> std::io::Result<Vec<IpAddr>> {
    let Some(first) = found.first().copied() else {
        let why = "it has no address";
        return Err(std::io::Error::new(ErrorKind::NotFound, why));
    };
    found.sort_by_key(|address| (address.is_ipv4() != first.is_ipv4(), *address));
    found.dedup();
    found.truncate(NAME_ADDRESSES_MAX);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_whose_answers_turn_means_all_of_them_and_others_what_the_last_one_says() {
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let begin = Instant::now();
        let at = |known: &mut Known, seconds: u64, found: &[u8]| -> Vec<u8> {
            let found = found.iter().map(|last| address(*last)).collect();
            let now = begin + Duration::from_secs(seconds);
            known.addresses = known.with(found, now);
            let last = |one: &IpAddr| match one {
                IpAddr::V4(four) => four.octets()[3],
                IpAddr::V6(_) => 0,
            };
            known.addresses.iter().map(last).collect()
        };
        // It moves.
        let mut moves = Known::default();
        assert_eq!(at(&mut moves, 0, &[1, 2]), [1, 2]);
        assert_eq!(at(&mut moves, 5, &[1]), [1]);
        assert_eq!(at(&mut moves, 10, &[3]), [3]);
        // It turns: once it is known to, all that came in the last minute count.
        let mut turns = Known::default();
        assert_eq!(at(&mut turns, 0, &[1, 2]), [1, 2]);
        assert_eq!(at(&mut turns, 5, &[3, 4]), [3, 4]);
        assert_eq!(at(&mut turns, 10, &[1, 2]), [1, 2, 3, 4]);
        assert_eq!(at(&mut turns, 15, &[3, 4]), [1, 2, 3, 4]);
        assert_eq!(at(&mut turns, 60, &[1, 2]), [1, 2, 3, 4]);
        assert_eq!(at(&mut turns, 80, &[1, 2]), [1, 2]);
        assert_eq!(at(&mut turns, 85, &[5]), [1, 2, 5]);
        // However many they are, no more are kept than an origin has.
        for round in 0..40_u8 {
            let all = at(&mut turns, 90 + u64::from(round), &[100 + round]);
            assert!(all.len() <= NAME_ADDRESSES_MAX, "{all:?}");
        }
    }

    #[test]
    fn names_are_asked_for_on_threads_of_their_own() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (held, holding) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            // Whatever else is waited for, of which there is too much.
            let busy = tokio::task::spawn_blocking(move || holding.recv().is_ok());
            let threads = Threads::default();
            let found = threads.look_up("localhost");
            let found = tokio::time::timeout(Duration::from_secs(30), found).await;
            assert!(!found.unwrap().unwrap().is_empty());
            drop(held);
            assert!(!busy.await.unwrap(), "it was there all the while");
        });
    }

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
