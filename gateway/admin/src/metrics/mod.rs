//! Statistics as text for Prometheus: OpenMetrics 1.0, or the older format for those that ask for no
//! other.
//!
//! Owns the names of all metrics: base units, `_total` counters, no label that a peer could
//! choose (hosts are configured, rules and reasons come from us). Does not ask workers: the
//! caller brings their statistics.
//!
//! | metric | labels |
//! |---|---|
//! | `postern_request_duration_seconds` | host |
//! | `postern_stage_duration_seconds` | stage; host, too, with `metrics.hosts = full` |
//! | `postern_requests_total` | host, status_class, outcome, client |
//! | `postern_received_bytes_total`, `postern_sent_bytes_total` | host |
//! | `postern_tls_handshakes_total` | host, result (`full`, `resumed`, or why it failed) |
//! | `postern_client_cert_verify_total` | host, reason |
//! | `postern_origin_errors_total` | host, reason |
//! | `postern_client_errors_total` | host, reason |
//! | `postern_rule_matches_total` | rule_id, action |
//! | `postern_connection_stops_total` | stop |
//! | `postern_connections_accepted_total`, `_refused_total`, `_handed_over_total`, `_kept_total` | worker |
//! | `postern_connections_steered_total` | host, by (`kernel`, `handoff`, `none`) |
//! | `postern_steer_segments_total` | reason |
//! | `postern_steer_host_segments_total` | host, reason (`steered`, `host_budget`, `blocked`) |
//! | `postern_steer_frames_total`, `postern_steer_moves_total`, `postern_steer_mode` | |
//! | `postern_origin_requests_repeated_total` | worker |
//! | `postern_origin_healthy`, `postern_origin_open_requests` | origin, address |
//! | `postern_origin_requests_total`, `postern_origin_requests_failed_total`, `postern_origin_ejections_total` | origin, address |
//! | `postern_origin_limit`, `_in_use`, `_waiting`, `_queued_total`, `_refused_total`, `_queue_seconds_total` | origin, limit (`requests`, `connections`) |
//! | `postern_origin_name_failing`, `postern_origin_name_addresses` | name |
//! | `postern_connections_open`, `_idle`, `_parked`, `postern_origin_connections_open`, `_idle` | worker |
//! | `postern_plain_connections_total` | outcome |
//! | `postern_snapshot_generation`, `postern_trust_epoch`, `postern_hosts`, `postern_draining` | |
//! | `postern_files_late`, `postern_store_write_failures_total` | – |
//! | `postern_fleet_revision`, `postern_fleet_head`, `postern_fleet_age_seconds`, `postern_fleet_leads`, `postern_fleet_alone` | – |
//! | `postern_fleet_state` | `state` |
//! | `postern_fleet_in_force_seconds` | `percentile` |
//! | `postern_reloads_total` | result (`applied`, `refused`) |
//! | `postern_upgrades_total` | result (`done`, `failed`) |
//! | `postern_crl_next_update_timestamp_seconds`, `postern_crl_entries` | ca_id, issuer, kind, list |
//! | `postern_crl_file_reads_total` | ca_id, result |
//! | `postern_crl_source_failing` | ca_id, source |
//! | `postern_crl_fetch_total` | ca_id, url, result |
//! | `postern_crl_fetch_good_timestamp_seconds` | ca_id, url |
//! | `postern_ocsp_answers_total` | ca_id, answer |
//! | `postern_ocsp_staple_missing` | cert_id, must_staple |
//! | `postern_ocsp_staple_next_update_timestamp_seconds` | cert_id |
//! | `postern_acme_hosts` | state |
//! | `postern_acme_orders_total` | result (`issued`, `failed`) |
//! | `postern_expiring` | kind, within |
//! | `postern_access_log_dropped_total`, `postern_build_info`, `process_*` | |
//! | `postern_traced_requests_total` | result (`sent`, `dropped`, `failed`, `rejected`) |
//!
//! In OpenMetrics the buckets of `postern_request_duration_seconds` have exemplars: `trace_id`.

mod exemplars;
mod fleet;
mod format;
mod hosts;
mod latency;
mod origins;
mod process;
mod steering;
mod usage;
mod workers;

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

pub use self::origins::{AddressStatus, LimitStatus, addresses, all_addresses, limits};
use self::usage::Usage;
use crate::fleet::FleetShown;
use control::{CrlFileStatus, CrlStatus, Expiring};
use datapath::observe::SteeringStatus;
use datapath::observe::stats::WorkerStats;
use datapath::plain::Outcome;
use fetch::{AcmeCounts, FetchStatus, NameStatus, OcspCounts, StapleStatus};
use vocabulary::settings::HostMetrics;

pub use format::Format;

/// What holds of the process as a whole.
#[derive(Debug, Clone)]
pub struct Process {
    /// When it started.
    pub started: SystemTime,
    /// [`snapshot::Snapshot::generation`].
    pub generation: u64,
    /// [`snapshot::Snapshot::trust_epoch`].
    pub trust_epoch: u64,
    /// Hosts in the snapshot.
    pub hosts: usize,
    /// [`datapath::observe::AccessLog::dropped`].
    pub access_log_dropped: u64,
    /// [`datapath::observe::spans::Spans::counts`].
    pub traced: Vec<(&'static str, u64)>,
    /// [`datapath::plain::Counts::all`].
    pub plain: Vec<(Outcome, u64)>,
    /// [`datapath::observe::WorkersStatus::draining`].
    pub draining: bool,
    /// [`datapath::observe::Workers::steering`].
    pub steering: SteeringStatus,
    /// Revocation lists of uploaded CAs.
    pub crls: Vec<CrlStatus>,
    /// Where they are fetched from, and what became of it.
    pub crl_fetches: Vec<FetchStatus>,
    /// Files that are watched for them, and what became of those.
    pub crl_files: Vec<CrlFileStatus>,
    /// What responders have answered.
    pub ocsp: OcspCounts,
    /// What is stapled to server certificates.
    pub staples: Vec<StapleStatus>,
    /// Certificates that an ACME server brings.
    pub acme: AcmeCounts,
    /// Addresses of origins.
    pub origins: Vec<AddressStatus>,
    /// What names of origins mean.
    pub names: Vec<NameStatus>,
    /// What origins have at once.
    pub origin_limits: Vec<LimitStatus>,
    /// [`control::Control::files_late`].
    pub files_late: usize,
    /// [`control::Control::write_failures`].
    pub store_write_failures: u64,
    /// The fleet, when there is one.
    pub fleet: Option<FleetShown>,
    /// [`config::Live::reloads`].
    pub reloads: [u64; 2],
    /// [`Upgrades::counts`](crate::upgrades::Upgrades::counts).
    pub upgrades: [u64; 2],
    /// How much is said of each host.
    pub host_metrics: HostMetrics,
    /// What ends soon.
    pub expiring: Vec<Expiring>,
}

/// All metrics of these workers and this process.
#[must_use]
pub fn render(workers: &[WorkerStats], process: &Process, format: Format) -> String {
    let mut registry = Registry::default();
    let sum = WorkerStats::sum(workers);
    let hosts = sum.hosts.clone();
    registry.register_collector(Box::new(Scrape {
        sum,
        workers: workers.to_vec(),
        process: process.clone(),
        host_metrics: process.host_metrics,
        usage: Usage::read(),
    }));
    let mut out = String::with_capacity(64 * 1024);
    if let Err(fmt::Error) = text::encode(&mut out, &registry) {
        // Writing into a string does not fail; an empty exposition is still a valid one.
        out = "# EOF\n".into();
    }
    match format {
        Format::OpenMetrics if hosts.iter().any(|host| host.exemplars.is_some()) => {
            exemplars::add(&out, &hosts)
        }
        Format::OpenMetrics => out,
        Format::Text => format::to_text(&out),
    }
}

#[derive(Debug)]
struct Scrape {
    sum: WorkerStats,
    workers: Vec<WorkerStats>,
    process: Process,
    host_metrics: HostMetrics,
    usage: Usage,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.latencies(out)?;
        self.hosts(out)?;
        self.connections(out)?;
        self.origins(out)?;
        self.steering(out)?;
        self.process(out)
    }
}

fn counters<'l, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in all {
        if N == 0 {
            family.encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        } else {
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
    }
    Ok(())
}

fn gauges<'l, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in all {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn gauge<V: prometheus_client::encoding::EncodeGaugeValue>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: V,
) -> fmt::Result {
    out.encode_descriptor(name, help, unit, MetricType::Gauge)?
        .encode_gauge(&value)
}

#[cfg(test)]
mod tests;
