//! Whose name is looked up next, when there are more than threads.
//!
//! Owns how threads are shared among zones. Of each zone as many names are looked up at once as threads are left
//! for the others: one zone alone has half of them, two have a third each. Names that were not found the last time
//! have half of that. When all that a zone has hang, one more at a time is tried, the one that was asked for
//! last before the others: however many hang, another one of the zone comes to its turn soon. Some
//! threads are kept back for zones that have nothing under way. Looks nothing up (`names`).

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::limits::NAME_SLOW;

/// Threads, and what waits for one.
#[derive(Debug)]
pub(crate) struct Turns {
    free: usize,
    /// Of those: for zones that have nothing under way.
    kept_back: usize,
    zones: HashMap<Box<str>, OfZone>,
    /// Where each name waits.
    places: HashMap<Box<str>, (Box<str>, Place)>,
    /// Turns that were given, and names that came to wait.
    count: u64,
}

/// What comes before what, of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Somebody waits for its first answer. The last one of these comes first: who asked long ago waits no more.
    Asked,
    /// It was never looked up.
    First,
    /// It was found the last time.
    Again,
    /// It was not.
    Failing,
}

/// Where a name waits among those of its zone.
type Place = (Rank, u64);

/// What one zone has, and has waiting.
#[derive(Debug, Default)]
struct OfZone {
    under_way: usize,
    /// Those of them that are not known to hang, by their turns: since when.
    fast: BTreeMap<u64, Instant>,
    waiting: BTreeMap<Place, Box<str>>,
    /// When it had a turn last.
    last: u64,
}

/// A name that is looked up now, and the zone that it counts as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) zone: Box<str>,
    pub(crate) name: Box<str>,
    number: u64,
}

impl OfZone {
    /// All of its names that are not over.
    fn load(&self) -> usize {
        self.under_way + self.waiting.len()
    }

    /// Those that take long hang, as far as anybody can know.
    fn age(&mut self, now: Instant) {
        while let Some(oldest) = self.fast.first_entry() {
            if now < *oldest.get() + NAME_SLOW {
                return;
            }
            oldest.remove();
        }
    }

    /// Whether one may be looked up. `free`: for all; `is_any`: for who has nothing under way.
    fn may(&self, rank: Rank, free: usize, is_any: bool) -> bool {
        let beside = |most| self.fast.len() < most && self.under_way < 2 * free;
        let is_first = is_any && self.under_way == 0;
        is_first
            || match rank {
                Rank::Asked | Rank::First => self.under_way < free || beside(1),
                // New ones that hang keep none waiting that is known to be answered for.
                Rank::Again => self.under_way < free || beside(2),
                Rank::Failing => 2 * self.under_way < free,
            }
    }

    fn next(&mut self, free: usize, is_any: bool) -> Option<(Place, Box<str>)> {
        let ranks = [Rank::Asked, Rank::First, Rank::Again, Rank::Failing];
        let mut may = ranks
            .into_iter()
            .filter(|rank| self.may(*rank, free, is_any));
        let place = may.find_map(|rank| {
            let all = self.waiting.range((rank, 0)..=(rank, u64::MAX));
            all.map(|(place, _)| *place).next()
        })?;
        self.waiting.remove_entry(&place)
    }
}

impl Turns {
    /// None is given yet, of so many threads, some of which are kept back.
    pub(crate) fn new(threads: usize, kept_back: usize) -> Self {
        Self {
            free: threads,
            kept_back,
            zones: HashMap::new(),
            places: HashMap::new(),
            count: 0,
        }
    }

    /// A name waits for its turn, and nowhere else. Of the zones that have it, that one pays which has least to
    /// wait for: none makes another's name wait by naming it, too.
    pub(crate) fn wait(&mut self, name: &str, zones: &[Box<str>], rank: Rank) {
        self.forget(name);
        let load = |zone: &str| self.zones.get(zone).map_or(0, OfZone::load);
        let Some(zone) = zones.iter().min_by_key(|zone| load(zone)) else {
            return;
        };
        self.count += 1;
        let order = match rank {
            Rank::Asked => u64::MAX - self.count,
            _ => self.count,
        };
        let of_zone = self.zones.entry(zone.clone()).or_default();
        of_zone.waiting.insert((rank, order), name.into());
        let place = (zone.clone(), (rank, order));
        self.places.insert(name.into(), place);
    }

    /// The zone whose turn a name waits for.
    pub(crate) fn payer(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|(zone, _)| &**zone)
    }

    /// A name waits no more, if it did.
    pub(crate) fn forget(&mut self, name: &str) {
        let Some((zone, place)) = self.places.remove(name) else {
            return;
        };
        if let Some(of_zone) = self.zones.get_mut(&zone) {
            of_zone.waiting.remove(&place);
        }
    }

    /// Those whose turn it is now.
    pub(crate) fn next(&mut self, now: Instant) -> Vec<Turn> {
        let mut all = Vec::new();
        loop {
            let zones = self.zones.iter_mut();
            let mut zones: Vec<_> = zones.filter(|(_, one)| !one.waiting.is_empty()).collect();
            zones.sort_by_key(|(_, of_zone)| of_zone.last);
            let before = all.len();
            for (zone, of_zone) in zones {
                of_zone.age(now);
                let free = self.free.saturating_sub(self.kept_back);
                let Some((place, name)) = of_zone.next(free, self.free > 0) else {
                    continue;
                };
                self.places.remove(&name);
                self.free -= 1;
                self.count += 1;
                of_zone.under_way += 1;
                of_zone.last = self.count;
                if place.0 != Rank::Failing {
                    of_zone.fast.insert(self.count, now);
                }
                all.push(Turn {
                    zone: zone.clone(),
                    name,
                    number: self.count,
                });
            }
            if all.len() == before {
                self.zones.retain(|_, of_zone| of_zone.load() > 0);
                return all;
            }
        }
    }

    /// One is over.
    pub(crate) fn over(&mut self, turn: &Turn) {
        if let Some(of_zone) = self.zones.get_mut(&turn.zone) {
            of_zone.under_way -= 1;
            of_zone.fast.remove(&turn.number);
            self.free += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rank::{Again, Asked, Failing, First};
    use super::*;

    fn zones(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    /// How many turns of these a zone has.
    fn of(turns: &[Turn], zone: &str) -> usize {
        turns.iter().filter(|turn| &*turn.zone == zone).count()
    }

    fn names(turns: &[Turn]) -> Vec<&str> {
        turns.iter().map(|turn| &*turn.name).collect()
    }

    #[test]
    fn what_hangs_keeps_no_other_zone_waiting() {
        let now = Instant::now();
        let mut turns = Turns::new(128 + 40, 40);
        let hang = |turns: &mut Turns, zone: &str, rank: Rank| {
            for number in 0..200 {
                turns.wait(&format!("{number}.{zone}"), &zones(&[zone]), rank);
            }
            turns.next(now)
        };
        // However late it comes, the next one has something.
        let one = hang(&mut turns, "one", First);
        assert_eq!(of(&one, "one"), 64);
        assert_eq!(of(&hang(&mut turns, "two", First), "two"), 32);
        assert_eq!(of(&hang(&mut turns, "three", Failing), "three"), 11);
        for zone in 0..40 {
            let zone = format!("later {zone}");
            assert!(of(&hang(&mut turns, &zone, First), &zone) > 0, "{zone}");
        }
        // What a zone may have no more comes to the others, in turns.
        let mut given = Vec::new();
        for turn in &one[..50] {
            turns.over(turn);
            given.extend(turns.next(now));
        }
        assert_eq!(of(&given, "one"), 0);
        assert!(of(&given, "later 3") > 0, "{given:?}");
    }

    #[test]
    fn what_fails_keeps_no_other_name_of_its_zone_waiting() {
        let now = Instant::now();
        let mut turns = Turns::new(128, 0);
        for number in 0..200 {
            turns.wait(&format!("dead {number}"), &zones(&["one"]), Failing);
        }
        let dead = turns.next(now);
        assert_eq!(dead.len(), 43);
        turns.wait("new", &zones(&["one"]), First);
        assert_eq!(names(&turns.next(now)), ["new"]);
        turns.over(&dead[0]);
        assert_eq!(turns.next(now), []);
    }

    #[test]
    fn what_hangs_the_first_time_keeps_no_other_name_of_its_zone_waiting_for_long() {
        let mut now = Instant::now();
        let mut turns = Turns::new(128, 0);
        let zone = zones(&["one"]);
        for number in 0..500 {
            turns.wait(&format!("dead {number}"), &zone, Asked);
        }
        let mut hang = std::collections::VecDeque::from([(now, turns.next(now))]);
        assert_eq!(hang[0].1.len(), 64);
        let mut late = 0;
        // However long that goes on.
        for round in 0..120 {
            let new = format!("new {round}");
            turns.wait(&new, &zone, Asked);
            turns.wait("old", &zone, Again);
            now += NAME_SLOW;
            while hang
                .front()
                .is_some_and(|(at, _)| now >= *at + NAME_SLOW * 15)
            {
                let (_, ended) = hang.pop_front().unwrap();
                ended.iter().for_each(|turn| turns.over(turn));
            }
            let mut given = turns.next(now);
            assert_eq!(*given[0].name, *new, "{given:?}");
            turns.over(&given.remove(0));
            given.extend(turns.next(now));
            // It waits for one round of new ones at the most.
            match given.iter().position(|turn| &*turn.name == "old") {
                Some(old) => {
                    turns.over(&given.remove(old));
                    late = 0;
                }
                None => late += 1,
            }
            assert!(late < 2, "known ones go on");
            hang.push_back((now, given));
            assert!(turns.free >= 128 / 3, "others have theirs: {}", turns.free);
        }
    }

    #[test]
    fn what_is_asked_for_comes_first_and_what_is_known_before_last() {
        let now = Instant::now();
        let mut turns = Turns::new(1, 0);
        let zone = zones(&["one"]);
        for (name, rank) in [
            ("failing", Failing),
            ("again", Again),
            ("first", First),
            ("second", First),
            ("asked", First),
            ("asked early", Asked),
        ] {
            turns.wait(name, &zone, rank);
        }
        turns.wait("asked", &zone, Asked);
        let mut given = Vec::new();
        while let Some(turn) = turns.next(now).pop() {
            turns.over(&turn);
            given.push(turn);
        }
        let wanted = [
            "asked",
            "asked early",
            "first",
            "second",
            "again",
            "failing",
        ];
        assert_eq!(names(&given), wanted);
        assert!(turns.places.is_empty() && turns.zones.is_empty());
    }

    #[test]
    fn what_nobody_wants_any_more_leaves_nothing() {
        let now = Instant::now();
        let mut turns = Turns::new(1, 0);
        let zone = zones(&["one"]);
        turns.wait("first", &zone, First);
        let given = turns.next(now);
        for number in 0..1_000 {
            turns.wait(&number.to_string(), &zone, First);
        }
        assert_eq!(turns.payer("7"), Some("one"));
        for number in 0..1_000 {
            turns.forget(&number.to_string());
        }
        turns.wait("good", &zone, First);
        turns.over(&given[0]);
        assert_eq!(names(&turns.next(now)), ["good"]);
        assert!(turns.places.is_empty(), "{turns:?}");
        assert_eq!(turns.zones["one"].load(), 1);
    }

    #[test]
    fn of_zones_that_have_a_name_the_one_pays_that_has_least_to_wait_for() {
        let now = Instant::now();
        let mut turns = Turns::new(2, 0);
        for number in 0..10 {
            turns.wait(&format!("dead {number}"), &zones(&["one"]), First);
        }
        turns.wait("good", &zones(&["one", "two"]), First);
        let given = turns.next(now);
        assert_eq!((of(&given, "one"), of(&given, "two")), (1, 1), "{given:?}");
        let one = given.iter().position(|turn| &*turn.zone == "one").unwrap();
        turns.over(&given[1 - one]);
        assert_eq!(turns.next(now), []);
        turns.over(&given[one]);
        assert_eq!(of(&turns.next(now), "one"), 1);
        assert_eq!(turns.zones.len(), 1, "who has nothing is forgotten");
    }

    #[test]
    fn all_come_to_their_turn() {
        let now = Instant::now();
        let mut turns = Turns::new(1, 0);
        for zone in ["one", "two", "three"] {
            for number in 0..3 {
                let rank = if number == 0 { Failing } else { First };
                turns.wait(&format!("{number}.{zone}"), &zones(&[zone]), rank);
            }
        }
        let mut given = Vec::new();
        loop {
            let next = turns.next(now);
            let [turn] = next.as_slice() else { break };
            turns.over(turn);
            given.extend(next);
        }
        assert_eq!(given.len(), 9);
        let first: std::collections::HashSet<_> = given.iter().take(3).map(|t| &t.zone).collect();
        assert_eq!(first.len(), 3, "{given:?}");
        assert_eq!((turns.free, turns.zones.len()), (1, 0));
    }
}
