//! Whose name is looked up next, when there are more than threads.
//!
//! Owns how threads are shared among zones. Of each zone as many names are looked up at once as threads are left
//! for the others: one zone alone has half of them, two have a third each. Names that were not found the last time
//! have half of that, so that those that hang keep no other ones of their own zone waiting either. Some
//! threads are kept back for zones that have nothing under way. Looks nothing up (`names`).

use std::collections::{HashMap, VecDeque};

/// Threads, and what waits for one.
#[derive(Debug)]
pub(crate) struct Turns {
    free: usize,
    /// Of those: for zones that have nothing under way.
    kept_back: usize,
    zones: HashMap<Box<str>, OfZone>,
    /// Turns that were given.
    given: u64,
}

/// What one zone has, and has waiting.
#[derive(Debug, Default)]
struct OfZone {
    under_way: usize,
    waiting: VecDeque<Box<str>>,
    /// Those that were not found the last time.
    failing: VecDeque<Box<str>>,
    /// When it had a turn last.
    last: u64,
}

/// A name that is looked up now, and the zone that it counts as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) zone: Box<str>,
    pub(crate) name: Box<str>,
}

impl OfZone {
    /// All of its names that are not over.
    fn load(&self) -> usize {
        self.under_way + self.waiting.len() + self.failing.len()
    }

    /// `free`: for all; `is_any`: for who has nothing under way.
    fn next(&mut self, free: usize, is_any: bool) -> Option<Box<str>> {
        let is_first = is_any && self.under_way == 0;
        let fresh = (is_first || self.under_way < free).then(|| self.waiting.pop_front());
        fresh.flatten().or_else(|| {
            let may = is_first || 2 * self.under_way < free;
            may.then(|| self.failing.pop_front()).flatten()
        })
    }
}

impl Turns {
    /// None is given yet, of so many threads, some of which are kept back.
    pub(crate) fn new(threads: usize, kept_back: usize) -> Self {
        Self {
            free: threads,
            kept_back,
            zones: HashMap::new(),
            given: 0,
        }
    }

    /// A name waits for its turn. Of the zones that have it, that one pays which has least to wait for: none
    /// makes another's name wait by naming it, too.
    pub(crate) fn wait(&mut self, name: &str, zones: &[Box<str>], failing: bool) {
        let load = |zone: &str| self.zones.get(zone).map_or(0, OfZone::load);
        let Some(zone) = zones.iter().min_by_key(|zone| load(zone)) else {
            return;
        };
        let of_zone = self.zones.entry(zone.clone()).or_default();
        let queue = match failing {
            true => &mut of_zone.failing,
            false => &mut of_zone.waiting,
        };
        queue.push_back(name.into());
    }

    /// Those whose turn it is now.
    pub(crate) fn next(&mut self) -> Vec<Turn> {
        let mut all = Vec::new();
        loop {
            let mut zones: Vec<_> = self.zones.iter_mut().collect();
            zones.sort_by_key(|(_, of_zone)| of_zone.last);
            let before = all.len();
            for (zone, of_zone) in zones {
                let free = self.free.saturating_sub(self.kept_back);
                let Some(name) = of_zone.next(free, self.free > 0) else {
                    continue;
                };
                self.free -= 1;
                self.given += 1;
                of_zone.under_way += 1;
                of_zone.last = self.given;
                let zone = zone.clone();
                all.push(Turn { zone, name });
            }
            if all.len() == before {
                self.zones.retain(|_, of_zone| of_zone.load() > 0);
                return all;
            }
        }
    }

    /// One is over.
    pub(crate) fn over(&mut self, zone: &str) {
        if let Some(of_zone) = self.zones.get_mut(zone) {
            of_zone.under_way -= 1;
            self.free += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    /// How many turns of these a zone has.
    fn of(turns: &[Turn], zone: &str) -> usize {
        turns.iter().filter(|turn| &*turn.zone == zone).count()
    }

    #[test]
    fn what_hangs_keeps_no_other_zone_waiting() {
        let mut turns = Turns::new(128 + 40, 40);
        let hang = |turns: &mut Turns, zone: &str, failing: bool| {
            for number in 0..200 {
                turns.wait(&format!("{number}.{zone}"), &zones(&[zone]), failing);
            }
            of(&turns.next(), zone)
        };
        // However late it comes, the next one has something.
        assert_eq!(hang(&mut turns, "one", false), 64);
        assert_eq!(hang(&mut turns, "two", false), 32);
        assert_eq!(hang(&mut turns, "three", true), 11);
        for zone in 0..40 {
            let zone = format!("later {zone}");
            assert!(hang(&mut turns, &zone, false) > 0, "{zone}");
        }
        // What a zone may have no more comes to the others, in turns.
        let mut given = Vec::new();
        for _ in 0..50 {
            turns.over("one");
            given.extend(turns.next());
        }
        assert_eq!(of(&given, "one"), 0);
        assert!(of(&given, "later 3") > 0, "{given:?}");
    }

    #[test]
    fn what_fails_keeps_no_other_name_of_its_zone_waiting() {
        let mut turns = Turns::new(128, 0);
        for number in 0..200 {
            turns.wait(&format!("dead {number}"), &zones(&["one"]), true);
        }
        assert_eq!(turns.next().len(), 43);
        turns.wait("new", &zones(&["one"]), false);
        let new = Turn {
            zone: "one".into(),
            name: "new".into(),
        };
        assert_eq!(turns.next(), [new]);
        turns.over("one");
        assert_eq!(turns.next(), []);
    }

    #[test]
    fn of_zones_that_have_a_name_the_one_pays_that_has_least_to_wait_for() {
        let mut turns = Turns::new(2, 0);
        for number in 0..10 {
            turns.wait(&format!("dead {number}"), &zones(&["one"]), false);
        }
        turns.wait("good", &zones(&["one", "two"]), false);
        let given = turns.next();
        assert_eq!((of(&given, "one"), of(&given, "two")), (1, 1), "{given:?}");
        turns.over("two");
        assert_eq!(turns.next(), []);
        turns.over("one");
        assert_eq!(of(&turns.next(), "one"), 1);
        assert_eq!(turns.zones.len(), 1, "who has nothing is forgotten");
    }

    #[test]
    fn all_come_to_their_turn() {
        let mut turns = Turns::new(1, 0);
        for zone in ["one", "two", "three"] {
            for number in 0..3 {
                turns.wait(&number.to_string(), &zones(&[zone]), number == 0);
            }
        }
        let mut given = Vec::new();
        loop {
            let next = turns.next();
            let [turn] = next.as_slice() else { break };
            turns.over(&turn.zone);
            given.extend(next);
        }
        assert_eq!(given.len(), 9);
        let first: std::collections::HashSet<_> = given.iter().take(3).map(|t| &t.zone).collect();
        assert_eq!(first.len(), 3, "{given:?}");
        assert_eq!((turns.free, turns.zones.len()), (1, 0));
    }
}
