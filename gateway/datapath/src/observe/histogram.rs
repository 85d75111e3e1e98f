//! Latencies of one stage of one host.
//!
//! Owns bounds and precision; memory is fixed when it is made. Reads no clock.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits;

/// Latencies of one stage, in nanoseconds.
#[derive(Debug, Clone)]
pub struct StageHistogram {
    /// How often each latency was seen, in nanoseconds.
    pub counts: Histogram<u64>,
    /// Exact, which the histogram alone would not be.
    pub sum_ns: u64,
}

impl StageHistogram {
    /// Without a latency.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "its memory is not for nothing")]
    pub fn new() -> Self {
        let low = u64::try_from(limits::HISTOGRAM_MIN.as_nanos()).unwrap_or(1);
        let high = u64::try_from(limits::HISTOGRAM_MAX.as_nanos()).unwrap_or(u64::MAX);
        let counts = Histogram::new_with_bounds(low, high, limits::HISTOGRAM_DIGITS)
            .expect("the bounds are constants that a test has tried");
        Self { counts, sum_ns: 0 }
    }

    /// Counts one latency.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts.saturating_record(ns);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_small_and_never_grows() {
        let mut histogram = StageHistogram::new();
        assert!(histogram.counts.distinct_values() * size_of::<u64>() <= 32 * 1024);
        let before = histogram.counts.distinct_values();
        for time in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_secs(60),
            Duration::from_secs(1 << 40),
            Duration::MAX,
        ] {
            histogram.record(time);
        }
        assert_eq!(histogram.counts.len(), 5);
        assert_eq!(histogram.counts.distinct_values(), before);
    }
}
