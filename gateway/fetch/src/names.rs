//! Names of origins: what addresses they mean, asked again and again.
//!
//! Owns when a name is looked up, and what is told of those that mean something else or cannot be found. No
//! request and no health check looks one up: they ask for what was found here ([`snapshot::names`]), and wait
//! only where a name was never answered for. The system's resolver is asked, so that `/etc/hosts`, search domains and what else the system knows
//! count; it says nothing of how long an answer is good, so that it is asked in short intervals. What
//! was found last stays when nothing is found. What an origin makes of its addresses, and which of them a
//! tenant may reach, is `control`'s ([`Control::set_names`]).

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::chance;
use super::lookups::Threads;
use super::turns::{Turn, Turns};
use crate::limits::{
    NAME_ADDRESSES_MAX, NAME_INTERVAL, NAME_KEPT, NAME_MEMORY, NAME_PATIENCE, NAME_RETRY,
    NAME_TOLD_EVERY, NAME_ZONES_MAX, NAMES_CHANGE_EVERY, NAMES_KEPT_BACK, NAMES_LOOK,
    NAMES_THREADS,
};
use control::{Control, Names};
use snapshot::http::origin::Origin;
use snapshot::names::{Meaning, NameTable};
use snapshot::{Published, Snapshot};

/// Looks names of origins up.
pub struct NameWatch {
    control: Arc<Control>,
    published: Arc<Published>,
    state: Mutex<State>,
    threads: Threads,
}

/// What is known, and what is to be found out.
struct State {
    known: HashMap<Box<str>, Known>,
    turns: Turns,
    /// The edition of the snapshot that names were read from.
    read: Option<u64>,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Known {
    /// The zones that name it, one of which pays for looking it up.
    zones: Vec<Box<str>>,
    /// It is an origin's, and not a rule's alone.
    is_origins: bool,
    /// Since when nothing names it any more.
    gone: Option<Instant>,
    /// `None`: at once.
    due: Option<Instant>,
    /// Since when it waits for its turn, or is looked up.
    under_way: Option<Instant>,
    /// What it means; nothing as long as nothing was found.
    addresses: Vec<IpAddr>,
    /// The same for who connects.
    meaning: Arc<Meaning>,
    /// When an answer had each address last, for [`NAME_MEMORY`].
    seen: HashMap<IpAddr, Instant>,
    /// An address that was away has come back: answers have a part of them only.
    rotates: bool,
    /// When the log had a line about what it means.
    told: Option<Instant>,
    /// Why nothing was found the last time.
    error: Option<String>,
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

    /// A zone's origin has it, or (`is_rules`) a rule of a zone.
    fn is_named_by(&mut self, zone: &str, is_rules: bool) {
        self.gone = None;
        self.is_origins |= !is_rules;
        if self.zones.len() < NAME_ZONES_MAX && !self.zones.iter().any(|one| **one == *zone) {
            self.zones.push(zone.into());
        }
    }

    /// It was not found.
    fn fails(&mut self, name: &str, error: &str) {
        if self.error.is_none() {
            tracing::warn!(name, error, kept = ?self.addresses, "the name of an origin cannot be found");
        }
        self.error = Some(error.to_owned());
        self.meaning.unfound(error);
    }

    /// It means these, as a server has just answered.
    fn means(&mut self, name: &str, found: Vec<IpAddr>, now: Instant) {
        if self.error.take().is_some() {
            tracing::info!(name, "the name of an origin is found again");
        }
        let addresses = self.with(found, now);
        if self.addresses == addresses {
            return;
        }
        let is_due = self.told.is_none_or(|at| now >= at + NAME_TOLD_EVERY);
        if !self.addresses.is_empty() && is_due {
            self.told = Some(now);
            tracing::info!(
                name, before = ?self.addresses, now = ?addresses,
                "the name of an origin means other addresses"
            );
        }
        self.meaning.found(&addresses);
        self.addresses = addresses;
    }
}

impl State {
    /// Reads which names there are, when the snapshot is another one.
    fn read(&mut self, snapshot: &Snapshot, now: Instant) {
        if self.read == Some(snapshot.edition) {
            return;
        }
        self.read = Some(snapshot.edition);
        for known in self.known.values_mut() {
            known.zones.clear();
            known.is_origins = false;
            known.gone = known.gone.or(Some(now));
        }
        for group in &snapshot.origins {
            for address in group.addresses.iter().filter(|one| one.origin.is_named()) {
                let name = address.origin.host.to_ascii_lowercase();
                let known = self.known.entry(name.into()).or_default();
                known.is_named_by(&group.zone, false);
            }
        }
        for one in &snapshot.elsewhere {
            let known = self.known.entry(one.name.clone()).or_default();
            known.is_named_by(&one.zone, true);
        }
    }

    /// Has those wait for their turns that are to be looked up now.
    fn enqueue(&mut self, now: Instant) {
        let mut of_several = Vec::new();
        for (name, known) in &mut self.known {
            if let Some(since) = known.under_way {
                let is_first = known.addresses.is_empty() && known.error.is_none();
                if is_first && now >= since + NAME_PATIENCE {
                    let seconds = NAME_PATIENCE.as_secs();
                    known.fails(name, &format!("nobody has answered within {seconds} s"));
                }
                continue;
            }
            if known.gone.is_some() || known.due.is_some_and(|due| due > now) {
                continue;
            }
            known.under_way = Some(now);
            match known.zones.as_slice() {
                one @ [_] => self.turns.wait(name, one, known.error.is_some()),
                _ => of_several.push(name.clone()),
            }
        }
        // When it is known what each zone waits for.
        for name in of_several {
            if let Some(known) = self.known.get(&name) {
                self.turns.wait(&name, &known.zones, known.error.is_some());
            }
        }
        self.known.retain(|_, known| {
            known.under_way.is_some() || known.gone.is_none_or(|at| now < at + NAME_KEPT)
        });
    }

    /// What who connects may ask for.
    fn table(&self) -> NameTable {
        let all = self.known.iter();
        all.map(|(name, known)| (name.clone(), known.meaning.clone()))
            .collect()
    }

    /// Those that the configuration names.
    fn named(&self) -> impl Iterator<Item = (&Box<str>, &Known)> {
        self.known.iter().filter(|(_, known)| known.gone.is_none())
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
        let state = State {
            known: HashMap::new(),
            turns: Turns::new(NAMES_THREADS, NAMES_KEPT_BACK),
            read: None,
        };
        Arc::new(Self {
            control,
            published,
            state: Mutex::new(state),
            threads: Threads::new(NAMES_THREADS),
        })
    }

    /// Looks names up until it is dropped.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.clone().watch(), self.tell());
    }

    /// Looks names up, and tells those who connect.
    async fn watch(self: Arc<Self>) {
        let mut look = tokio::time::interval(NAMES_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lookups = JoinSet::new();
        loop {
            tokio::select! {
                _ = look.tick() => self.look(Instant::now()),
                () = self.published.names().rung() => {
                    // It may have been configured just now; who asks for what was never there waits.
                    if self.lock().read != Some(self.published.load().edition) {
                        self.look(Instant::now());
                    }
                }
                Some(_) = lookups.join_next() => while lookups.try_join_next().is_some() {},
            }
            let turns = self.lock().turns.next();
            for Turn { zone, name } in turns {
                let this = self.clone();
                lookups.spawn(async move {
                    let found = this.threads.look_up(&name).await.and_then(in_order);
                    this.note(&name, &zone, found, Instant::now());
                });
            }
        }
    }

    /// Tells the control plane what names of origins mean, which makes them addresses that are balanced over.
    async fn tell(&self) {
        let mut look = tokio::time::interval(NAMES_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Names::default();
        let mut next = Instant::now();
        let mut complained = false;
        loop {
            look.tick().await;
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
        let state = self.lock();
        let known = state.known.get(&*origin.host.to_ascii_lowercase())?;
        known.error.clone()
    }

    /// How every name of an origin is, in their order.
    #[must_use]
    pub fn status(&self) -> Vec<NameStatus> {
        let state = self.lock();
        let all = state.named().map(|(name, known)| NameStatus {
            name: name.clone(),
            addresses: known.addresses.clone(),
            error: known.error.clone(),
        });
        let mut all: Vec<NameStatus> = all.collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Finds what there is, and what is due.
    fn look(&self, now: Instant) {
        let snapshot = self.published.load();
        let mut state = self.lock();
        let before = state.known.len();
        state.read(&snapshot, now);
        let is_more = state.known.len() > before;
        let between = state.known.len();
        state.enqueue(now);
        if is_more || state.known.len() < between {
            self.published.names().set(state.table());
        }
    }

    /// What all names of origins mean that something was found for.
    fn names(&self) -> Names {
        let state = self.lock();
        let found = state.named();
        let found = found.filter(|(_, one)| one.is_origins && !one.addresses.is_empty());
        Names(
            found
                .map(|(name, one)| (name.clone(), one.addresses.clone()))
                .collect(),
        )
    }

    fn note(&self, name: &str, zone: &str, found: std::io::Result<Vec<IpAddr>>, now: Instant) {
        let mut state = self.lock();
        state.turns.over(zone);
        let Some(known) = state.known.get_mut(name) else {
            return;
        };
        known.under_way = None;
        // Not all at once for ever, because they began so.
        let jitter = 1.0 - 0.2 * chance();
        match found {
            Ok(addresses) => {
                known.due = Some(now + NAME_INTERVAL.mul_f64(jitter));
                known.means(name, addresses, now);
            }
            Err(error) => {
                known.due = Some(now + NAME_RETRY.mul_f64(jitter));
                known.fails(name, &error.to_string());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a name that is not looked up again until the next start, at most.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
