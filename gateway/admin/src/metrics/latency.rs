//! Metrics of latency: histograms of requests and of their stages.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Scrape;
use datapath::observe::Stage;
use datapath::observe::histogram::StageHistogram;
use vocabulary::settings::HostMetrics;

/// Upper bounds of a host's buckets in seconds, when hosts are measured in brief.
const BRIEF: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, f64::INFINITY];
/// Upper bounds of all other buckets in seconds: from what deciding on rules takes to what an origin
/// may take.
const FULL: &[f64] = &[
    0.000_001,
    0.000_005,
    0.000_025,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    f64::INFINITY,
];

impl Scrape {
    pub(super) fn latencies(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let recorded = |stage: Stage| {
            self.sum.hosts.iter().filter_map(move |host| {
                host.stages
                    .get(stage as usize)?
                    .as_deref()
                    .map(|histogram| (&*host.name, histogram))
            })
        };
        let bounds = match self.host_metrics {
            HostMetrics::Brief => BRIEF,
            HostMetrics::Full => FULL,
        };
        let help = "From the complete head of a request to the last byte of its response";
        let mut family = out.encode_descriptor(
            "postern_request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (host, histogram) in recorded(Stage::Total) {
            let labels = [("host", host)];
            let mut buckets = Buckets::new(bounds);
            buckets.add(histogram);
            buckets.encode(&mut family.encode_family(&labels)?)?;
        }
        let help = "Time of one stage of a connection or request";
        let mut family = out.encode_descriptor(
            "postern_stage_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for stage in Stage::ALL
            .into_iter()
            .filter(|stage| *stage != Stage::Total)
        {
            if self.host_metrics == HostMetrics::Full {
                for (host, histogram) in recorded(stage) {
                    let labels = [("host", host), ("stage", stage.as_str())];
                    let mut buckets = Buckets::new(FULL);
                    buckets.add(histogram);
                    buckets.encode(&mut family.encode_family(&labels)?)?;
                }
                continue;
            }
            let mut buckets = Buckets::new(FULL);
            for (_, histogram) in recorded(stage) {
                buckets.add(histogram);
            }
            if buckets.count > 0 {
                let labels = [("stage", stage.as_str())];
                buckets.encode(&mut family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Latencies by their bounds.
struct Buckets {
    /// Upper bounds in seconds, and how many lie below each and above the one before.
    counts: Vec<(f64, u64)>,
    count: u64,
    sum_ns: u64,
}

impl Buckets {
    fn new(bounds: &[f64]) -> Self {
        Self {
            counts: bounds.iter().map(|bound| (*bound, 0)).collect(),
            count: 0,
            sum_ns: 0,
        }
    }

    fn add(&mut self, histogram: &StageHistogram) {
        let mut at = 0;
        for recorded in histogram.counts.iter_recorded() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a minute in nanoseconds is far below 2^52"
            )]
            let seconds = recorded.value_iterated_to() as f64 / 1e9;
            while self
                .counts
                .get(at)
                .is_some_and(|(bound, _)| seconds > *bound)
            {
                at += 1;
            }
            if let Some((_, count)) = self.counts.get_mut(at) {
                *count += recorded.count_since_last_iteration();
            }
        }
        self.count += histogram.counts.len();
        self.sum_ns = self.sum_ns.saturating_add(histogram.sum_ns);
    }

    fn encode(&self, family: &mut MetricEncoder<'_>) -> fmt::Result {
        let sum = Duration::from_nanos(self.sum_ns).as_secs_f64();
        family.encode_histogram::<NoLabelSet>(sum, self.count, &self.counts, None)
    }
}
