//! The clocks of the data path. No other code of a worker reads one, but tokio's timers.
//!
//! Moments are for durations and deadlines: they never go back. Times are the calendar's, for the
//! log, rules and certificates, and may be set meanwhile.

use std::time::{Duration, Instant, SystemTime};

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

/// The time in seconds since the epoch, as certificates are verified by.
#[must_use]
pub fn now_sec() -> i64 {
    i64::try_from(time_since_epoch().as_secs()).unwrap_or(i64::MAX)
}

/// A time as a duration since the epoch; zero before it.
#[must_use]
pub fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A time in milliseconds since the epoch.
#[must_use]
pub fn msec(time: SystemTime) -> i64 {
    i64::try_from(since_epoch(time).as_millis()).unwrap_or(i64::MAX)
}
