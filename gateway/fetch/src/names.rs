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
use super::turns::{Rank, Turn, Turns};
use crate::limits::{
    NAME_ADDRESSES_MAX, NAME_INTERVAL, NAME_KEPT, NAME_MEMORY, NAME_PATIENCE, NAME_RETRY,
    NAME_TOLD_EVERY, NAME_ZONES_MAX, NAMES_CHANGE_EVERY, NAMES_GONE_MAX, NAMES_KEPT_BACK,
    NAMES_LOOK, NAMES_THREADS,
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
    /// It waits for its turn, since so many zones have had it.
    waits: Option<usize>,
    /// Since when it is looked up.
    begun: Option<Instant>,
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

    /// What it comes before and after.
    fn rank(&self) -> Rank {
        match self {
            _ if self.error.is_some() => Rank::Failing,
            _ if !self.addresses.is_empty() => Rank::Again,
            _ if self.meaning.was_asked() => Rank::Asked,
            _ => Rank::First,
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

    /// Has those wait for their turns that are to be looked up now, and no others.
    fn enqueue(&mut self, now: Instant) {
        let mut of_several = Vec::new();
        for (name, known) in &mut self.known {
            if let Some(begun) = known.begun {
                let is_first = known.addresses.is_empty() && known.error.is_none();
                if is_first && now >= begun + NAME_PATIENCE {
                    let seconds = NAME_PATIENCE.as_secs();
                    known.fails(name, &format!("nobody has answered within {seconds} s"));
                }
                continue;
            }
            if known.gone.is_some() {
                if known.waits.take().is_some() {
                    self.turns.forget(name);
                }
                continue;
            }
            let is_to_wait = match known.waits {
                None => known.due.is_none_or(|due| due <= now),
                // Who pays has it no more, or somebody else has it, too.
                Some(of) => {
                    let payer = self.turns.payer(name);
                    let mut zones = known.zones.iter();
                    of != zones.len() || !zones.any(|zone| payer == Some(&**zone))
                }
            };
            if !is_to_wait {
                continue;
            }
            known.waits = Some(known.zones.len());
            match known.zones.as_slice() {
                one @ [_] => self.turns.wait(name, one, known.rank()),
                _ => of_several.push(name.clone()),
            }
        }
        // When it is known what each zone waits for.
        self.hurry(&of_several);
        let mut kept = 0;
        self.known.retain(|_, known| {
            let Some(at) = known.gone else { return true };
            let is_kept = !known.addresses.is_empty() && now < at + NAME_KEPT;
            kept += usize::from(is_kept);
            known.begun.is_some() || is_kept && kept <= NAMES_GONE_MAX
        });
    }

    /// Has those of them that wait do so where they belong now.
    fn hurry(&mut self, names: &[Box<str>]) {
        for name in names {
            let known = self.known.get(name);
            if let Some(known) = known.filter(|known| known.waits.is_some()) {
                self.turns.wait(name, &known.zones, known.rank());
            }
        }
    }

    /// Those that are looked up from now on.
    fn next(&mut self, now: Instant) -> Vec<Turn> {
        let turns = self.turns.next(now);
        for turn in &turns {
            if let Some(known) = self.known.get_mut(&turn.name) {
                known.waits = None;
                known.begun = Some(now);
            }
        }
        turns
    }

    /// What came of one.
    fn note(&mut self, turn: &Turn, found: std::io::Result<Vec<IpAddr>>, now: Instant) {
        self.turns.over(turn);
        let Some(known) = self.known.get_mut(&turn.name) else {
            return;
        };
        known.begun = None;
        // Not all at once for ever, because they began so.
        let jitter = 1.0 - 0.2 * chance();
        match found {
            Ok(addresses) => {
                known.due = Some(now + NAME_INTERVAL.mul_f64(jitter));
                known.means(&turn.name, addresses, now);
            }
            Err(error) => {
                known.due = Some(now + NAME_RETRY.mul_f64(jitter));
                known.fails(&turn.name, &error.to_string());
            }
        }
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

    /// What names mean, as it was found here.
    #[must_use]
    pub fn meanings(&self) -> Vec<(Box<str>, Vec<IpAddr>)> {
        let state = self.lock();
        let meant = state
            .named()
            .filter(|(_, known)| !known.addresses.is_empty());
        meant
            .map(|(name, known)| (name.clone(), known.addresses.clone()))
            .collect()
    }

    /// What another process has found: it holds until there is an answer here. What nothing names is let go.
    pub fn remember(&self, meanings: Vec<(Box<str>, Vec<IpAddr>)>) {
        let mut state = self.lock();
        for (name, addresses) in meanings {
            let Ok(addresses) = in_order(addresses) else {
                continue;
            };
            let known = state.known.entry(name).or_default();
            known.meaning.found(&addresses);
            known.addresses = addresses;
        }
        self.published.names().set(state.table());
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
                    let asked = self.published.names().take_asked();
                    self.lock().hurry(&asked);
                }
                Some(_) = lookups.join_next() => while lookups.try_join_next().is_some() {},
            }
            let turns = self.lock().next(Instant::now());
            for turn in turns {
                let this = self.clone();
                lookups.spawn(async move {
                    let found = this.threads.look_up(&turn.name).await.and_then(in_order);
                    this.lock().note(&turn, found, Instant::now());
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

    /// Nothing is known yet.
    fn state() -> State {
        State {
            known: HashMap::new(),
            turns: Turns::new(NAMES_THREADS, NAMES_KEPT_BACK),
            read: None,
        }
    }

    fn names(state: &mut State, names: std::ops::Range<usize>, zone: &str) {
        for number in names {
            let known = state.known.entry(format!("{number}.test").into());
            known.or_default().is_named_by(zone, true);
        }
    }

    fn all_go(state: &mut State, now: Instant) {
        for known in state.known.values_mut() {
            known.zones.clear();
            known.gone = known.gone.or(Some(now));
        }
    }

    #[test]
    fn names_that_nothing_names_any_more_leave_no_trace_and_keep_none_waiting() {
        let begin = Instant::now();
        let mut state = state();
        names(&mut state, 0..1, "other");
        state.enqueue(begin);
        let [turn] = &state.next(begin)[..] else {
            panic!("{:?}", state.turns)
        };
        let found = Ok(vec![IpAddr::from([192, 0, 2, 1])]);
        state.note(turn, found, begin);
        // Another thousand each time, none of which is answered for.
        for round in 0..20 {
            all_go(&mut state, begin);
            let from = 1 + round * 1_000;
            names(&mut state, from..from + 1_000, "one");
            state.enqueue(begin);
            state.next(begin);
            let count = state.known.len();
            assert!(count <= 1 + 1_000 + NAMES_THREADS, "{count}");
        }
        all_go(&mut state, begin);
        state.enqueue(begin);
        let hang = state.known.values().filter(|one| one.begun.is_some());
        assert_eq!(hang.count() + 1, state.known.len());
        assert!(state.known.contains_key("0.test"), "it may be asked for");
        // What is named now does not wait for those.
        names(&mut state, 0..1, "one");
        names(&mut state, 50_000..50_010, "one");
        let later = begin + NAME_INTERVAL;
        state.enqueue(later);
        assert!(!state.next(later).is_empty());
    }

    #[test]
    fn no_more_names_are_kept_than_so_many_after_nothing_names_them() {
        let begin = Instant::now();
        let mut state = state();
        names(&mut state, 0..NAMES_GONE_MAX + 100, "one");
        for known in state.known.values_mut() {
            known.addresses = vec![IpAddr::from([192, 0, 2, 1])];
        }
        all_go(&mut state, begin);
        state.enqueue(begin);
        assert_eq!(state.known.len(), NAMES_GONE_MAX);
        state.enqueue(begin + NAME_KEPT);
        assert!(state.known.is_empty());
    }

    #[test]
    fn a_name_waits_as_one_of_a_zone_that_has_it() {
        let begin = Instant::now();
        let mut state = state();
        names(&mut state, 0..500, "one");
        state.enqueue(begin);
        state.next(begin);
        let waits = |known: &&Known| known.waits.is_some();
        assert_eq!(state.known.values().filter(waits).count(), 500 - 64);
        let waiting = (0..500).rfind(|number| {
            let known = &state.known[&*format!("{number}.test")];
            known.waits.is_some()
        });
        let number = waiting.unwrap();
        // Another zone has it, too, and then alone.
        names(&mut state, number..number + 1, "two");
        state.enqueue(begin);
        let name = format!("{number}.test");
        assert_eq!(state.turns.payer(&name), Some("two"));
        names(&mut state, number..number + 1, "three");
        state.known.get_mut(&*name).unwrap().zones = vec!["three".into()];
        state.enqueue(begin);
        assert_eq!(state.turns.payer(&name), Some("three"));
        assert_eq!(&*state.next(begin)[0].name, name);
    }

    #[test]
    fn requests_are_told_that_nobody_answers_when_somebody_was_asked_for_so_long() {
        let begin = Instant::now();
        let mut state = state();
        names(&mut state, 0..100, "one");
        state.enqueue(begin);
        let asked = state.next(begin);
        assert!(asked.len() < 100);
        state.enqueue(begin + NAME_PATIENCE);
        for (name, known) in &state.known {
            let was_asked = asked.iter().any(|turn| turn.name == *name);
            assert_eq!(known.error.is_some(), was_asked, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_that_somebody_waits_for_comes_before_the_others() {
        let begin = Instant::now();
        let book = snapshot::names::NameBook::default();
        let mut state = state();
        names(&mut state, 0..500, "one");
        state.enqueue(begin);
        let hang = state.next(begin);
        let mut known = state.known.iter();
        let late = known.find(|(_, known)| known.waits.is_some());
        let name = late.unwrap().0.clone();
        book.set(state.table());
        let asked = book.look_up(&name);
        let asked = tokio::time::timeout(Duration::ZERO, asked).await;
        assert!(asked.is_err(), "it is not looked up yet");
        state.hurry(&book.take_asked());
        state.note(&hang[0], Err(ErrorKind::NotFound.into()), begin);
        assert_eq!(state.next(begin)[0].name, name);
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
