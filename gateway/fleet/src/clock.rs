//! A moment by the two clocks that nobody sets: the one that stands still while a machine is suspended, and the one
//! that goes on. Of what was asked before, only both tell how long ago that was.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// By the clock that stands still while the machine is suspended.
    pub at: Instant,
    /// How long the machine had been there then, with the time that it was suspended.
    pub booted: Duration,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let booted = clock_gettime(ClockId::Boottime);
        let (seconds, nanoseconds) = (booted.tv_sec, booted.tv_nsec);
        Self {
            at: Instant::now(),
            booted: Duration::new(
                u64::try_from(seconds).unwrap_or_default(),
                u32::try_from(nanoseconds).unwrap_or_default(),
            ),
        }
    }

    /// How long ago it was, with what the machine was suspended since.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let booted = Self::now().booted.saturating_sub(self.booted);
        booted.max(self.at.elapsed())
    }
}
