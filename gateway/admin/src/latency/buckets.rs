//! Latencies in few buckets: eight for each doubling, so that a percentile is right within 7 %.
//!
//! The histograms of workers are finer; an hour of them would not fit into memory.

use datapath::observe::histogram::StageHistogram;

/// Buckets from 64 ns to more than a minute.
pub(super) const BUCKETS: usize = 248;

/// Latencies below this are in the first bucket: 2 to this power, in nanoseconds.
const FIRST_POWER: u32 = 6;

/// How often each bucket was hit.
#[derive(Debug, Clone)]
pub(crate) struct Counts(Box<[u64; BUCKETS]>);

impl Default for Counts {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

/// The bucket of a latency.
pub(super) fn bucket(ns: u64) -> u8 {
    let ns = ns.max(1 << FIRST_POWER);
    let power = ns.ilog2();
    let eighth = (ns >> (power - 3)) & 7;
    let place = u64::from(power - FIRST_POWER) * 8 + eighth;
    u8::try_from(place.min(BUCKETS as u64 - 1)).unwrap_or(u8::MAX)
}

/// The latencies that are in a bucket, in nanoseconds: from the first to below the second.
pub(super) fn bounds(bucket: u8) -> (u64, u64) {
    let power = u32::from(bucket / 8) + FIRST_POWER;
    let eighth = u64::from(bucket % 8);
    ((8 + eighth) << (power - 3), (9 + eighth) << (power - 3))
}

impl Counts {
    /// Adds what a finer histogram has counted.
    pub(crate) fn add_histogram(&mut self, histogram: &StageHistogram) {
        for value in histogram.counts.iter_recorded() {
            let count = value.count_since_last_iteration();
            self.add(bucket(value.value_iterated_to()), count);
        }
    }

    /// The buckets that were hit: from, to below, how often.
    pub(crate) fn shown(&self) -> Vec<[u64; 3]> {
        let hit = self.hit().map(|(bucket, count)| {
            let (from, to) = bounds(bucket);
            [from, to, count]
        });
        hit.collect()
    }

    pub(super) fn add(&mut self, bucket: u8, count: u64) {
        if let Some(slot) = self.0.get_mut(usize::from(bucket)) {
            *slot += count;
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0.iter()) {
            *mine += others;
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The buckets that were hit, in their order.
    pub(super) fn hit(&self) -> impl Iterator<Item = (u8, u64)> {
        let all = (0_u8..).zip(self.0.iter());
        all.filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (bucket, *count))
    }

    /// The latency, in seconds, below which this part of all stayed; `None` of nothing.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.total();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a rank among counts, and need not be exact beyond 2^52"
        )]
        let rank = ((total as f64 * quantile).ceil() as u64).clamp(1, total.max(1));
        let mut before = 0;
        for (bucket, count) in self.hit() {
            if before + count >= rank {
                let (from, to) = bounds(bucket);
                #[expect(clippy::cast_precision_loss, reason = "as above")]
                let part = (rank - before) as f64 / count as f64;
                #[expect(clippy::cast_precision_loss, reason = "below 2^52 ns")]
                let ns = from as f64 + (to - from) as f64 * part;
                return Some(ns / 1e9);
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_its_bucket() {
        let mut ns = 64;
        while ns < 68_000_000_000_u64 {
            let (from, to) = bounds(bucket(ns));
            assert!((from..to).contains(&ns), "{ns}: {from} to {to}");
            assert!((to - from) * 7 <= from, "{ns}: {from} to {to}");
            ns += ns / 9 + 1;
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(usize::from(bucket(u64::MAX)), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_within_a_bucket() {
        let mut counts = Counts::default();
        assert_eq!(counts.quantile(0.5), None);
        for millis in 1..=1_000_u64 {
            counts.add(bucket(millis * 1_000_000), 1);
        }
        assert_eq!(counts.total(), 1_000);
        for (quantile, expected) in [
            (0.0, 0.001),
            (0.5, 0.5),
            (0.9, 0.9),
            (0.99, 0.99),
            (1.0, 1.0),
        ] {
            let found = counts.quantile(quantile).unwrap();
            assert!((found / expected - 1.0).abs() < 0.13, "{quantile}: {found}");
        }
    }
}
