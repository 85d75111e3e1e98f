//! The clocks of the data path. No other code of a worker reads one, but tokio's timers.
//!
//! Moments are for durations and deadlines: they never go back. Times are the calendar's, for the
//! log, rules and certificates, and may be set meanwhile.

use std::time::{Duration, Instant, SystemTime};

pub use vocabulary::clock::{msec, now_sec, since_epoch};

/// This moment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn time() -> SystemTime {
    SystemTime::now()
}

/// The time, as a duration since the epoch.
#[must_use]
pub fn time_since_epoch() -> Duration {
    since_epoch(time())
}
