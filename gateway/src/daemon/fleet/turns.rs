//! Whose turn it is to change the fleet: an edge that loses every race asks the others to let it go first, and
//! lets others go first that ask.
//!
//! Decides only; what is said to etcd, and who sleeps, is the ledger's.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::limits::{FLEET_TURN_AFTER, FLEET_TURN_WAIT, FLEET_TURNS_WAIT};

/// What an edge has lost, and how long it has waited.
#[derive(Default)]
pub(super) struct Turns {
    /// Races that were lost since one was won, or given up.
    lost: AtomicU32,
    /// Entries that were left when the log was read last.
    behind: AtomicU64,
    /// For whom it waits.
    waits: Mutex<Option<Waits>>,
}

/// That another edge goes first.
#[derive(Clone, Copy)]
struct Waits {
    /// With which of its turns.
    turn: i64,
    /// Since when.
    begun: Instant,
    /// Since when one edge or another does, as far as this edge's next change has waited.
    first: Option<Instant>,
}

impl Turns {
    fn waits(&self) -> MutexGuard<'_, Option<Waits>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another edge was first. Whether to ask for the turn: after some races, and at once with a large change,
    /// while which is written others are always faster.
    pub(super) fn lost(&self, is_large: bool) -> bool {
        let races = if is_large { FLEET_TURN_AFTER } else { 1 };
        let before = self.lost.fetch_add(races, Ordering::Relaxed);
        before / FLEET_TURN_AFTER != (before + races) / FLEET_TURN_AFTER
    }

    /// A change was made, or given up. Whether the others may wait for this edge.
    pub(super) fn over(&self) -> bool {
        if let Some(waits) = &mut *self.waits() {
            waits.first = None;
        }
        self.lost.swap(0, Ordering::Relaxed) >= FLEET_TURN_AFTER
    }

    /// So many entries are left to read. Whether to ask for the turn: where that does not become less, others
    /// change faster than this edge reads.
    pub(super) fn behind(&self, left: u64) -> bool {
        let before = self.behind.swap(left, Ordering::Relaxed);
        before > 0 && left >= before && self.lost(false)
    }

    /// Whether to let another edge go first, in the turn of this number: for a bounded time, and for another one when
    /// the next turn is there, be it the same edge's; all of them together hold up one change for a bounded time, too.
    pub(super) fn waits_for(&self, turn: Option<i64>, now: Instant) -> bool {
        let mut waits = self.waits();
        let Some(turn) = turn else {
            *waits = None;
            return false;
        };
        let same = waits.filter(|waits| waits.turn == turn);
        let begun = same.map_or(now, |waits| waits.begun);
        let first = waits.and_then(|waits| waits.first).unwrap_or(now);
        *waits = Some(Waits {
            turn,
            begun,
            first: Some(first),
        });
        now.duration_since(begun) < FLEET_TURN_WAIT && now.duration_since(first) < FLEET_TURNS_WAIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_again_and_again_asks_each_time_that_it_has() {
        let turns = Turns::default();
        let asked: Vec<bool> = (0..2 * FLEET_TURN_AFTER)
            .map(|_| turns.lost(false))
            .collect();
        assert_eq!(asked.iter().filter(|asked| **asked).count(), 2);
        assert!(asked[FLEET_TURN_AFTER as usize - 1]);
        assert!(turns.over() && !turns.over());
        assert!(turns.lost(true), "a large one asks at once");
        assert!(turns.over());
    }

    #[test]
    fn who_comes_nearer_does_not_ask_and_who_does_not_does() {
        let turns = Turns::default();
        for left in [1_000, 800, 600, 0, 900, 700] {
            assert!(!turns.behind(left), "{left}");
        }
        let asked = (0..FLEET_TURN_AFTER).filter(|_| turns.behind(700)).count();
        assert_eq!(asked, 1);
    }

    #[test]
    fn each_turn_is_waited_for_so_long_and_the_next_one_anew() {
        let turns = Turns::default();
        let now = Instant::now();
        assert!(turns.waits_for(Some(1), now));
        let nearly = now + FLEET_TURN_WAIT / 2;
        assert!(turns.waits_for(Some(1), nearly));
        let late = now + FLEET_TURN_WAIT;
        assert!(!turns.waits_for(Some(1), late));
        // The next one, which comes without a moment between them.
        assert!(turns.waits_for(Some(2), late));
        // A change waits for several together no longer than for two.
        let later = now + FLEET_TURNS_WAIT;
        assert!(!turns.waits_for(Some(3), later));
        assert!(!turns.over());
        assert!(turns.waits_for(Some(3), later), "the next change does");
        // It is not waited for again as long as it lasts.
        assert!(!turns.waits_for(Some(3), later + FLEET_TURN_WAIT));
        assert!(!turns.over());
        assert!(!turns.waits_for(Some(3), later + FLEET_TURN_WAIT));
        assert!(!turns.waits_for(None, later));
        assert!(turns.waits_for(Some(4), later));
    }
}
