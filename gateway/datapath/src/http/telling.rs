//! What the operator is told of origins, and how often: clients decide how many requests fail.

use std::time::Instant;

use crate::limits::ORIGIN_TOLD_EVERY;

/// What the operator is told of an origin. Of one there is no less to say because there was something
/// to say of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// It does not answer.
    Fails,
    /// It has as much at once as it may have.
    Full,
}

/// When something was told last, and how often it was not since.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Told {
    fn is_recent(&self, now: Instant) -> bool {
        let since = self.last.map(|last| now.duration_since(last));
        since.is_some_and(|since| since < ORIGIN_TOLD_EVERY)
    }

    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.is_recent(now) {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    pub(super) fn sweep(&mut self, now: Instant) {
        if !self.is_recent(now) {
            self.last = None;
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.last.is_none() && self.untold == 0
    }
}
