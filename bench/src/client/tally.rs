//! What came of a run: counts, latencies, and what it cost the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Bytes.
const GIBIBYTE: f64 = 1_073_741_824.0;
/// Different errors kept; further ones only count.
const ERRORS_MAX: usize = 10;

/// The part of a run that counts: after the warm-up, before the end.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// When it begins.
    pub begin: Instant,
    /// When it ends.
    pub end: Instant,
}

/// Counted while a run goes on.
pub(super) struct Tally {
    window: Window,
    /// Answers since the beginning, warm-up included.
    pub(super) answers: u64,
    /// Bytes of contents since the beginning; kept where they are what counts.
    pub(super) bytes: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) failures: u64,
    /// Failures since the last answer.
    pub(super) failures_in_a_row: u64,
    pub(super) handshakes: u64,
    pub(super) resumed: u64,
    latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new(window: Window) -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants")]
        let latency = Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3)
            .expect("the bounds of the histogram are in order");
        Self {
            window,
            answers: 0,
            bytes: 0,
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            failures: 0,
            failures_in_a_row: 0,
            handshakes: 0,
            resumed: 0,
            latency,
        }
    }

    pub(super) fn answered(&mut self, status: u16, due: Instant) {
        self.answers += 1;
        self.failures_in_a_row = 0;
        if due >= self.window.begin && due < self.window.end {
            *self.statuses.entry(status).or_default() += 1;
            let nanoseconds = u64::try_from(due.elapsed().as_nanos()).unwrap_or(LATENCY_NS_MAX);
            self.latency.saturating_record(nanoseconds);
        }
    }

    /// Answers and bytes so far.
    pub(super) fn count(&self) -> (u64, u64) {
        (self.answers, self.bytes)
    }

    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        self.failures += 1;
        self.failures_in_a_row += 1;
        let text = format!("{error:#}");
        if self.errors.len() < ERRORS_MAX || self.errors.contains_key(&text) {
            *self.errors.entry(text).or_default() += 1;
        }
    }

    pub(super) fn shook_hands(&mut self, resumed: bool) {
        self.handshakes += 1;
        self.resumed += u64::from(resumed);
    }

    pub(super) fn latency(&self) -> Latency {
        Latency::of(&self.latency)
    }
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Answers within the window.
    pub answers: u64,
    /// Bytes of contents within the window, where they are what counts.
    pub bytes: Option<u64>,
    /// How long the window was.
    pub seconds: f64,
    /// CPU time that the server took within the window; zero when it was not measured.
    pub cpu_ns: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, the warm-up's included.
    pub failures: u64,
    /// Why.
    pub errors: BTreeMap<String, u64>,
    /// Handshakes, the warm-up's included.
    pub handshakes: u64,
    /// Of these, resumptions.
    pub resumed: u64,
    /// Latency: from the intended time in an open loop, from the sending in a closed one.
    pub latency: Latency,
}

impl Outcome {
    /// What was done: answers, or GiB of contents.
    #[must_use]
    pub fn operations(&self) -> f64 {
        let gibibytes = self.bytes.map(|bytes| bytes as f64 / GIBIBYTE);
        gibibytes.unwrap_or(self.answers as f64)
    }

    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations() / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The server's CPU time per operation, in nanoseconds.
    #[must_use]
    pub fn cpu_ns_per_operation(&self) -> f64 {
        let least = if self.bytes.is_some() {
            1.0 / GIBIBYTE
        } else {
            1.0
        };
        self.cpu_ns as f64 / self.operations().max(least)
    }

    /// The part of one CPU that the server took.
    #[must_use]
    pub fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / Duration::from_secs_f64(self.seconds).as_nanos().max(1) as f64
    }

    /// Whether every request was answered with success.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures == 0
            && self
                .statuses
                .keys()
                .all(|status| (200..300).contains(status))
    }
}

/// Percentiles, in nanoseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Latency {
    /// Values recorded.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// 90 %.
    pub p90_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// 99.9 %.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Percentile and nanoseconds, for a plot.
    pub curve: Curve,
}

/// Points (percentile, nanoseconds), both ascending.
pub type Curve = Vec<(f64, u64)>;

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percentile| histogram.value_at_percentile(percentile);
        let curve = if histogram.is_empty() {
            Vec::new()
        } else {
            let percentiles = [
                0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99,
            ];
            percentiles
                .into_iter()
                .map(|percentile| (percentile, at(percentile)))
                .collect()
        };
        Self {
            count: histogram.len(),
            p50_ns: at(50.0),
            p90_ns: at(90.0),
            p99_ns: at(99.0),
            p999_ns: at(99.9),
            max_ns: histogram.max(),
            curve,
        }
    }
}
