//! Whether a client takes its answer so slowly that the origin has to wait for it.

use std::time::Instant;

use crate::limits::SLOW_TAKER;

/// How a client takes one answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Since when there has been something to take whenever the client took something.
    offered_since: Option<Instant>,
    /// That was so for [`SLOW_TAKER`] once: what the origin makes of it may come much later, behind
    /// all that lies in buffers.
    is_slow: bool,
}

impl Pace {
    /// There is something to take.
    pub(super) fn offered(self, now: Instant) -> Self {
        Self {
            offered_since: Some(now),
            ..self
        }
    }

    /// All was taken, and there is nothing.
    pub(super) fn withdrawn(self, now: Instant) -> Self {
        Self {
            offered_since: None,
            is_slow: self.made_it_wait(now),
        }
    }

    /// Whether the origin had to wait for the client, by now.
    pub(super) fn made_it_wait(self, now: Instant) -> bool {
        let waited = |since| now.saturating_duration_since(since) >= SLOW_TAKER;
        self.is_slow || self.offered_since.is_some_and(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn who_left_something_there_for_long_is_slow_from_then_on() {
        let begun = clock::now();
        let pace = Pace::default().offered(begun);
        assert!(!pace.made_it_wait(begun + SLOW_TAKER / 2));
        assert!(pace.made_it_wait(begun + SLOW_TAKER));
        let again = pace.withdrawn(begun + SLOW_TAKER / 2);
        assert!(
            !again.made_it_wait(begun + 9 * SLOW_TAKER),
            "there was nothing"
        );
        let again = again.offered(begun + 9 * SLOW_TAKER);
        assert!(!again.made_it_wait(begun + 9 * SLOW_TAKER));
        let slow = again.withdrawn(begun + 10 * SLOW_TAKER);
        assert!(
            slow.offered(begun + 11 * SLOW_TAKER)
                .made_it_wait(begun + 11 * SLOW_TAKER)
        );
    }
}
