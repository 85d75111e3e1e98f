//! Points in time as the store and the API write them. The control plane reads the clock; the data
//! path is given the time.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use vocabulary::clock;

/// Microseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// The present, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(clock::now_usec())
    }

    /// From seconds since the epoch.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Reads RFC 3339: `2022-11-22T17:32:30Z`, with or without parts of a second.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let read = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(read.unix_timestamp_nanos() / 1000)
            .ok()
            .map(Self)
    }

    /// Whole milliseconds since the epoch.
    #[must_use]
    pub fn milliseconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    fn calendar(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// RFC 3339 with whole seconds: `2022-11-22T17:32:30Z`, as certificates have it.
    #[must_use]
    pub fn to_second(self) -> String {
        let t = self.calendar();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 with microseconds: `2022-11-22T17:32:30.467938Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.to_second();
        let seconds = seconds.strip_suffix('Z').unwrap_or(&seconds);
        write!(f, "{seconds}.{:06}Z", self.0.rem_euclid(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(
            Moment::from_seconds(1_669_138_350).to_second(),
            "2022-11-22T17:32:30Z"
        );
        assert_eq!(
            Moment(1_669_138_350_467_938).to_string(),
            "2022-11-22T17:32:30.467938Z"
        );
        assert_eq!(Moment(-1).to_string(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(Moment(i64::MAX).to_second(), Moment(i64::MAX).to_second());
        assert_eq!(Moment(-1).seconds(), -1);
        for (text, micros) in [
            ("2022-11-22T17:32:30Z", Some(1_669_138_350_000_000)),
            (
                "2022-11-22T18:32:30.467938+01:00",
                Some(1_669_138_350_467_938),
            ),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("2022-11-22", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(Moment::parse(text), micros.map(Moment), "{text}");
        }
        assert_eq!(Moment(1_999).milliseconds(), 1);
    }
}
