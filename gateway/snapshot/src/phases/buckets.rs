//! The rates of all workers: leaky buckets in one table without locks.
//!
//! A bucket is a moment: when it will be empty again. That is the generic cell rate algorithm
//! (ITU-T I.371), one compare-and-swap for what is counted. A bucket that is empty says the same as
//! none, so that its slot can be given to another; when no slot is free, the bucket that would be
//! empty first goes.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::limits::{RATE_BUCKETS, RATE_BUCKETS_WAYS};

/// How much may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// From one to the next, were they evenly spread, in nanoseconds.
    pub(super) interval: u64,
    /// How much earlier than that they may come, in nanoseconds.
    pub(super) tolerance: u64,
    /// For how long nothing is within the rate once it was passed, in nanoseconds.
    pub(super) penalty: u64,
}

/// Whether something is within its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    Within,
    Beyond {
        /// When it would be worth a try.
        retry_after: Duration,
    },
}

/// The table. Its memory is taken when the first bucket is needed.
#[derive(Debug)]
pub struct Buckets {
    /// Secret, so that clients cannot choose with whom they share a bucket.
    hasher: RandomState,
    started: Instant,
    /// All sets of [`RATE_BUCKETS_WAYS`], and behind them for each set the one place of those that find none.
    slots: OnceLock<Box<[Slot]>>,
    /// What was counted in such a place.
    #[cfg(test)]
    beside: AtomicU64,
}

/// The key of a free slot.
const NOBODY: u64 = 0;
/// The key of a slot that is being given to another one.
const BUSY: u64 = u64::MAX;
/// The sets of slots; a key belongs to one of them.
const SETS: usize = RATE_BUCKETS / RATE_BUCKETS_WAYS;
/// Looks at a set of slots, one right after the other, while others are giving its slots away: that takes them less
/// than a microsecond.
const LOOKS: usize = 1_000;
/// Looks with our own processor offered to others in between, for a thread that was taken off its processor in the
/// middle of that: 65 µs where nobody takes it, and a slice of some milliseconds for each where somebody does.
const YIELDS: usize = 100;

/// Looks again and again, first at once and then when others have had the processor.
#[derive(Default)]
struct Patience {
    looks: usize,
}

impl Patience {
    /// Whether it is over; otherwise waits until the next look.
    fn is_over(&mut self) -> bool {
        self.looks += 1;
        match self.looks {
            0..LOOKS => std::hint::spin_loop(),
            _ => std::thread::yield_now(),
        }
        self.looks > LOOKS + YIELDS
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// Whose it is.
    key: AtomicU64,
    /// When the bucket will be empty, in nanoseconds since the start.
    empty_at: AtomicU64,
    /// Until when its rate counts as passed, the same.
    penalty_until: AtomicU64,
}

/// Where something is counted.
enum Place<'a> {
    /// In the bucket that it has.
    Known(&'a Slot),
    /// In a new one, by whoever made room for it.
    New,
    /// In the one of all that find none in this set.
    Beside(&'a Slot),
}

impl Slot {
    /// When it will say nothing any more.
    fn free_at(&self) -> u64 {
        let penalty = self.penalty_until.load(Ordering::Relaxed);
        self.empty_at.load(Ordering::Relaxed).max(penalty)
    }
}

impl Buckets {
    /// Empty ones. Moments before `now` count as `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            hasher: RandomState::new(),
            started: now,
            slots: OnceLock::new(),
            #[cfg(test)]
            beside: AtomicU64::new(0),
        }
    }

    /// Asks whether something is within its rate at this moment, and counts it if `counts`. What is
    /// beyond is not counted.
    pub(super) fn ask(&self, what: &[u8], rate: Rate, counts: bool, moment: Instant) -> Hit {
        let now = nanos(moment.saturating_duration_since(self.started));
        let key = self.hasher.hash_one(what).clamp(NOBODY + 1, BUSY - 1);
        if counts {
            return self.count(key, rate, now);
        }
        let mut slots = self.slots_of(key).iter();
        let known = slots.find(|slot| slot.key.load(Ordering::Acquire) == key);
        known.map_or(Hit::Within, |slot| slot.ask(key, rate, false, now))
    }

    fn count(&self, key: u64, rate: Rate, now: u64) -> Hit {
        match self.place_for(key, now, now.saturating_add(rate.interval)) {
            Place::Known(slot) => slot.ask(key, rate, true, now),
            Place::New => Hit::Within,
            Place::Beside(slot) => {
                #[cfg(test)]
                self.beside.fetch_add(1, Ordering::Relaxed);
                slot.ask(key, rate, true, now)
            }
        }
    }

    fn all_slots(&self) -> &[Slot] {
        let made = || (0..RATE_BUCKETS + SETS).map(|_| Slot::default()).collect();
        self.slots.get_or_init(made)
    }

    fn slots_of(&self, key: u64) -> &[Slot] {
        let first = set_of(key) * RATE_BUCKETS_WAYS;
        let slots = self.all_slots().get(first..first + RATE_BUCKETS_WAYS);
        slots.unwrap_or_default()
    }

    /// The bucket's slot, taken from another one if need be, with `first` as the end of what is counted there.
    ///
    /// While another worker gives a slot of the set away it is waited for. One that does not go on is not waited for
    /// longer: what comes meanwhile is counted in one place, and with what the bucket will have twice as much passes
    /// at the most.
    fn place_for(&self, key: u64, now: u64, first: u64) -> Place<'_> {
        static NOWHERE: Slot = Slot {
            key: AtomicU64::new(NOBODY),
            empty_at: AtomicU64::new(0),
            penalty_until: AtomicU64::new(0),
        };
        let slots = self.slots_of(key);
        let mut patience = Patience::default();
        loop {
            if let Some(place) = look(slots, key, now, first) {
                return place;
            }
            if patience.is_over() {
                let beside = self.all_slots().get(RATE_BUCKETS + set_of(key));
                return Place::Beside(beside.unwrap_or(&NOWHERE));
            }
        }
    }
}

fn set_of(key: u64) -> usize {
    // Below the number of sets, which is a `usize`.
    usize::try_from(key % SETS as u64).unwrap_or_default()
}

/// Looks once for the bucket's slot among those of its set, or for one to give it; none while others are about to.
fn look(slots: &[Slot], key: u64, now: u64, first: u64) -> Option<Place<'_>> {
    let keys = || slots.iter().map(|slot| slot.key.load(Ordering::SeqCst));
    let known = || keys().position(|other| other == key);
    if let Some(slot) = known().and_then(|at| slots.get(at)) {
        return Some(Place::Known(slot));
    }
    let ends = |slot: &Slot| slot.free_at().max(now);
    let all = slots.iter().enumerate();
    let by_end = all.map(|(at, slot)| (ends(slot), at, slot));
    // Its end is compared once more below: it is the one by which this was chosen.
    let (ended, at, slot) = by_end.min_by_key(|(ended, ..)| *ended)?;
    let old = slot.key.load(Ordering::SeqCst);
    // Somebody has made room for the same key since, or may be about to.
    if old == key {
        return Some(Place::Known(slot));
    }
    if old == BUSY || keys().any(|other| other == BUSY) {
        return None;
    }
    slot.key
        .compare_exchange(old, BUSY, Ordering::SeqCst, Ordering::SeqCst)
        .ok()?;
    // Of several that are busy at once, the one with the first slot waits for the others,
    // and they give way to it: each has said so before it looks for the others.
    let is_busy = |range: &[Slot]| {
        range
            .iter()
            .any(|other| other.key.load(Ordering::SeqCst) == BUSY)
    };
    let before = slots.get(..at).unwrap_or_default();
    let after = slots.get(at + 1..).unwrap_or_default();
    let mut looks = LOOKS;
    while !is_busy(before) && is_busy(after) && looks > 0 {
        std::hint::spin_loop();
        looks -= 1;
    }
    let gives_way = is_busy(before) || is_busy(after);
    let empty_at = slot.empty_at.load(Ordering::Relaxed);
    let is_new = !gives_way
        && known().is_none()
        && ends(slot) == ended
        // Who found it before may count in it until now.
        && slot
            .empty_at
            .compare_exchange(empty_at, first, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if !is_new {
        slot.key.store(old, Ordering::SeqCst);
        return None;
    }
    slot.penalty_until.store(0, Ordering::Relaxed);
    slot.key.store(key, Ordering::SeqCst);
    Some(Place::New)
}

impl Slot {
    fn ask(&self, key: u64, rate: Rate, counts: bool, now: u64) -> Hit {
        let beyond = |until: u64| Hit::Beyond {
            retry_after: Duration::from_nanos(until.saturating_sub(now)),
        };
        let penalty_until = self.penalty_until.load(Ordering::Relaxed);
        if penalty_until > now {
            return beyond(penalty_until);
        }
        let mut empty_at = self.empty_at.load(Ordering::Relaxed);
        loop {
            let from = empty_at.max(now);
            if from - now > rate.tolerance {
                let next = from - rate.tolerance;
                if rate.penalty == 0 || !counts {
                    return beyond(next);
                }
                let until = now.saturating_add(rate.penalty);
                self.punish(key, until);
                return beyond(until.max(next));
            }
            if !counts {
                return Hit::Within;
            }
            let next = from.saturating_add(rate.interval);
            let swapped = self.empty_at.compare_exchange_weak(
                empty_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Hit::Within,
                Err(found) => empty_at = found,
            }
        }
    }

    /// Sets the penalty, unless the slot is another's by now.
    fn punish(&self, key: u64, until: u64) {
        let is_ours = || self.key.load(Ordering::SeqCst) == key;
        if !is_ours() {
            return;
        }
        self.penalty_until.store(until, Ordering::SeqCst);
        if !is_ours() {
            // It was given away in between, without a penalty. If another one has set one since, that one stays.
            let (seq, relaxed) = (Ordering::SeqCst, Ordering::Relaxed);
            let _taken_back = self.penalty_until.compare_exchange(until, 0, seq, relaxed);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    // Five hundred years.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many in ten seconds.
    fn rate(count: u64, penalty_sec: u64) -> Rate {
        let interval = 10_000_000_000 / count;
        Rate {
            interval,
            tolerance: 10_000_000_000 - interval,
            penalty: penalty_sec * 1_000_000_000,
        }
    }

    fn is_within(hit: Hit) -> bool {
        hit == Hit::Within
    }

    #[test]
    fn so_many_at_once_and_then_evenly() {
        let buckets = Buckets::new(Instant::now());
        let at = |ms: u64| buckets.started + Duration::from_millis(ms);
        let ask = |ms| is_within(buckets.ask(b"a", rate(5, 0), true, at(ms)));
        for _ in 0..5 {
            assert!(ask(100));
        }
        assert!(
            !ask(100) && !ask(2_000),
            "the sixth before a fifth has gone"
        );
        assert!(ask(2_100) && !ask(2_200), "one more every two seconds");
        // Empty again: as if nothing had been.
        for _ in 0..5 {
            assert!(ask(60_000));
        }
        assert!(!ask(60_000));
        assert!(is_within(buckets.ask(b"b", rate(5, 0), true, at(60_000))));
        let told = buckets.ask(b"a", rate(5, 0), true, at(61_000));
        let retry_after = Duration::from_secs(1);
        assert_eq!(told, Hit::Beyond { retry_after });
    }

    #[test]
    fn who_passed_it_waits_the_penalty_out() {
        let buckets = Buckets::new(Instant::now());
        let at = |ms: u64| buckets.started + Duration::from_millis(ms);
        let ask = |ms, counts| is_within(buckets.ask(b"a", rate(2, 60), counts, at(ms)));
        assert!(ask(1, false), "nothing was counted");
        assert!(ask(1, true) && ask(1, true));
        assert!(!ask(2, false), "a third would be beyond");
        assert!(ask(9_999, true), "asking was no passing");
        assert!(ask(10_001, true) && !ask(10_001, true));
        assert!(!ask(70_000, true) && ask(70_002, true));
        // Whoever is told to come again is not told too early.
        let short = Rate {
            penalty: 1,
            ..rate(2, 0)
        };
        let hit = |ms| buckets.ask(b"short", short, true, at(ms));
        assert!(is_within(hit(1)) && is_within(hit(1)));
        let retry_after = Duration::from_secs(5);
        assert_eq!(hit(1), Hit::Beyond { retry_after });
    }

    #[test]
    fn a_full_table_keeps_those_who_ask_most() {
        let buckets = Buckets::new(Instant::now());
        let now = buckets.started + Duration::from_secs(1);
        let slow = rate(10, 0);
        for _ in 0..10 {
            assert!(is_within(buckets.ask(b"heavy", slow, true, now)));
        }
        for other in 0..4 * RATE_BUCKETS as u64 {
            buckets.ask(&other.to_le_bytes(), slow, true, now);
        }
        assert!(!is_within(buckets.ask(b"heavy", slow, true, now)));
    }

    #[test]
    fn workers_together_let_no_more_through() {
        const ROUNDS: usize = 3_000;
        let buckets = Buckets::new(Instant::now());
        let now = buckets.started + Duration::from_secs(1);
        let passed: Vec<AtomicU64> = (0..ROUNDS).map(|_| AtomicU64::new(0)).collect();
        // Every key is new to all of them at the same time.
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (round, passed) in passed.iter().enumerate() {
                        barrier.wait();
                        for _ in 0..20 {
                            let key = round.to_le_bytes();
                            if is_within(buckets.ask(&key, rate(10, 0), true, now)) {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        let passed = passed.into_iter().map(AtomicU64::into_inner);
        let wrong: Vec<u64> = passed.filter(|passed| *passed != 10).collect();
        are_explained(&buckets, &wrong);
    }

    /// Whoever was counted beside may have passed twice as often; nobody else.
    #[track_caller]
    fn are_explained(buckets: &Buckets, wrong: &[u64]) {
        let beside = buckets.beside.load(Ordering::Relaxed);
        let is_bounded = wrong.iter().all(|passed| (10..=20).contains(passed));
        assert!(
            is_bounded && wrong.len() as u64 <= beside,
            "{wrong:?}, {beside} beside"
        );
    }

    /// Asks for four keys of each set on a thread each, twice as often as may be and again, while another thread holds
    /// up whoever makes room for so many turns; how often those passed that passed more or less often than ten times.
    fn neighbours(turns: usize) -> (Buckets, Vec<u64>) {
        const THREADS: u64 = 4;
        let buckets = Buckets::new(Instant::now());
        let barrier = std::sync::Barrier::new(5);
        let wrong = std::sync::Mutex::new(Vec::new());
        let sets = SETS as u64;
        let each_set = 0..1_000.min(sets);
        std::thread::scope(|scope| {
            for thread in 1..=THREADS {
                let (buckets, barrier, wrong, each_set) =
                    (&buckets, &barrier, &wrong, each_set.clone());
                scope.spawn(move || {
                    for set in each_set {
                        let ask = || is_within(buckets.count(set + sets * thread, rate(10, 0), 1));
                        barrier.wait();
                        let mut passed = (0..20).filter(|_| ask()).count();
                        barrier.wait();
                        passed += (0..20).filter(|_| ask()).count();
                        if passed != 10 {
                            wrong.lock().unwrap().push(passed as u64);
                        }
                    }
                });
            }
            for set in each_set {
                let slot = &buckets.slots_of(set)[0];
                if turns > 0 {
                    slot.key.store(BUSY, Ordering::SeqCst);
                }
                barrier.wait();
                (0..turns).for_each(|_| std::hint::spin_loop());
                if turns > 0 {
                    slot.key.store(NOBODY, Ordering::SeqCst);
                }
                barrier.wait();
            }
        });
        (buckets, wrong.into_inner().unwrap())
    }

    #[test]
    fn neighbours_take_nothing_from_each_other() {
        for turns in [0, 100, 2_000, 20_000] {
            let (buckets, wrong) = neighbours(turns);
            are_explained(&buckets, &wrong);
        }
    }

    #[test]
    fn who_does_not_go_on_in_the_middle_is_waited_for_and_then_counted_beside() {
        let buckets = Buckets::new(Instant::now());
        let now = buckets.started + Duration::from_secs(1);
        let ask = || is_within(buckets.ask(b"a", rate(10, 0), true, now));
        let count = || (0..12).filter(|_| ask()).count();
        let key = buckets.hasher.hash_one(b"a".as_slice());
        // Whichever slot it is: in one place besides, which is the same for all.
        for (slot, passes) in buckets.slots_of(key).iter().zip([10, 0, 0, 0, 0, 0, 0, 0]) {
            slot.key.store(BUSY, Ordering::SeqCst);
            assert_eq!((count(), count()), (passes, 0));
            slot.key.store(NOBODY, Ordering::SeqCst);
        }
        assert_eq!(buckets.beside.load(Ordering::Relaxed), 8 * 24);
        assert_eq!((count(), count()), (10, 0));
    }
}
