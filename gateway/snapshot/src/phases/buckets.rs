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
    slots: OnceLock<Box<[Slot]>>,
}

/// The key of a free slot.
const NOBODY: u64 = 0;
/// The key of a slot that is being given to another one.
const BUSY: u64 = u64::MAX;
/// Looks at a set of slots, one right after the other, while others are giving its slots away: that takes them less
/// than a microsecond.
const LOOKS: usize = 1_000;
/// Looks with our own processor offered to others in between, for a thread that was taken off its processor in the
/// middle of that: some 5 ms where nobody takes it, and otherwise as long as they do, among whom is that thread.
const YIELDS: usize = 10_000;

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
        }
    }

    /// Asks whether something is within its rate at this moment, and counts it if `counts`. What is
    /// beyond is not counted.
    pub(super) fn ask(&self, what: &[u8], rate: Rate, counts: bool, moment: Instant) -> Hit {
        let now = nanos(moment.saturating_duration_since(self.started));
        let key = self.hasher.hash_one(what).clamp(NOBODY + 1, BUSY - 1);
        let slot = if counts {
            Some(self.slot_for(key, now))
        } else {
            self.slots_of(key)
                .iter()
                .find(|slot| slot.key.load(Ordering::Acquire) == key)
        };
        slot.map_or(Hit::Within, |slot| slot.ask(key, rate, counts, now))
    }

    fn slots_of(&self, key: u64) -> &[Slot] {
        let slots = self
            .slots
            .get_or_init(|| (0..RATE_BUCKETS).map(|_| Slot::default()).collect());
        let sets = (RATE_BUCKETS / RATE_BUCKETS_WAYS) as u64;
        // Below the number of sets, which is a `usize`.
        let first = usize::try_from(key % sets).unwrap_or_default() * RATE_BUCKETS_WAYS;
        slots
            .get(first..first + RATE_BUCKETS_WAYS)
            .unwrap_or_default()
    }

    /// The bucket's slot, taken from another one if need be.
    fn slot_for(&self, key: u64, now: u64) -> &Slot {
        static NOWHERE: Slot = Slot {
            key: AtomicU64::new(NOBODY),
            empty_at: AtomicU64::new(0),
            penalty_until: AtomicU64::new(0),
        };
        let slots = self.slots_of(key);
        let keys = || slots.iter().map(|slot| slot.key.load(Ordering::SeqCst));
        let known = || keys().position(|other| other == key);
        let mut patience = Patience::default();
        loop {
            if let Some(slot) = known().and_then(|at| slots.get(at)) {
                return slot;
            }
            let ends = |slot: &Slot| slot.free_at().max(now);
            let first_to_end = slots.iter().enumerate().min_by_key(|(_, one)| ends(one));
            let Some((at, slot)) = first_to_end.filter(|_| !patience.is_over()) else {
                break;
            };
            let ended = ends(slot);
            let old = slot.key.load(Ordering::SeqCst);
            // Somebody has made room for the same key since, or may be about to.
            if old == key {
                return slot;
            }
            if old == BUSY || keys().any(|other| other == BUSY) {
                continue;
            }
            let swapped = slot
                .key
                .compare_exchange(old, BUSY, Ordering::SeqCst, Ordering::SeqCst);
            if swapped.is_err() {
                continue;
            }
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
            if gives_way || known().is_some() || ends(slot) != ended {
                slot.key.store(old, Ordering::SeqCst);
                continue;
            }
            slot.empty_at.store(0, Ordering::Relaxed);
            slot.penalty_until.store(0, Ordering::Relaxed);
            slot.key.store(key, Ordering::SeqCst);
            return slot;
        }
        // Shared with another one, always the same: whatever comes of the slot that is being given away, twice as much
        // passes at the most.
        let sets = (RATE_BUCKETS / RATE_BUCKETS_WAYS) as u64;
        let way = usize::try_from(key / sets % RATE_BUCKETS_WAYS as u64).unwrap_or_default();
        slots.get(way).unwrap_or(&NOWHERE)
    }
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
                // Unless the slot is another's by now.
                if self.key.load(Ordering::SeqCst) == key {
                    self.penalty_until.store(until, Ordering::Relaxed);
                }
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
        // One of them may have been off its processor for longer than it is waited for.
        let is_bounded = wrong.iter().all(|passed| (10..=20).contains(passed));
        assert!(is_bounded && wrong.len() < ROUNDS / 100, "{wrong:?}");
    }

    #[test]
    fn who_does_not_go_on_in_the_middle_is_waited_for_and_then_counted_beside() {
        let buckets = Buckets::new(Instant::now());
        let now = buckets.started + Duration::from_secs(1);
        let ask = || is_within(buckets.ask(b"a", rate(10, 0), true, now));
        let count = || (0..12).filter(|_| ask()).count();
        let key = buckets.hasher.hash_one(b"a".as_slice());
        let slot = &buckets.slots_of(key.clamp(NOBODY + 1, BUSY - 1))[3];
        slot.key.store(BUSY, Ordering::SeqCst);
        assert_eq!((count(), count()), (10, 0), "in one other slot");
        // It goes on, and had made room for the same.
        slot.empty_at.store(0, Ordering::Relaxed);
        slot.key.store(key, Ordering::SeqCst);
        assert_eq!((count(), count()), (10, 0));
    }
}
