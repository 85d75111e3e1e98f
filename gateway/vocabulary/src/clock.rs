//! The wall clock as a number: seconds, milliseconds, microseconds since 1970 (UTC).
//!
//! Owns what happens at the ends: a clock before 1970 reads 0, and a number that does not fit is
//! the largest that does. Measures no durations: those want [`std::time::Instant`].

use std::time::{Duration, SystemTime};

/// Seconds since the epoch.
#[must_use]
pub fn now_sec() -> i64 {
    saturated(since_epoch(SystemTime::now()).as_secs().into())
}

/// Milliseconds since the epoch.
#[must_use]
pub fn now_msec() -> i64 {
    msec(SystemTime::now())
}

/// Microseconds since the epoch.
#[must_use]
pub fn now_usec() -> i64 {
    saturated(since_epoch(SystemTime::now()).as_micros())
}

/// A time in milliseconds since the epoch.
#[must_use]
pub fn msec(time: SystemTime) -> i64 {
    saturated(since_epoch(time).as_millis())
}

/// A time as a duration since the epoch; zero before it.
#[must_use]
pub fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

fn saturated(number: u128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_epoch_reads_zero() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(since_epoch(before), Duration::ZERO);
        assert_eq!(msec(before), 0);
    }

    #[test]
    fn units_agree_and_nothing_overflows() {
        let (sec, msec, usec) = (now_sec(), now_msec(), now_usec());
        assert!(sec > 1_700_000_000, "{sec}");
        assert!((msec / 1000 - sec).abs() <= 1, "{msec}");
        assert!((usec / 1_000_000 - sec).abs() <= 1, "{usec}");
        assert_eq!(saturated(u128::MAX), i64::MAX);
    }
}
