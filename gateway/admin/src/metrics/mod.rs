//! Statistics as OpenMetrics 1.0 text.
//!
//! Owns the names of all metrics: base units, `_total` counters, no label that a peer could
//! choose (hosts are configured, rules and reasons come from us). Does not ask workers: the
//! caller brings their statistics.
//!
//! | metric | labels |
//! |---|---|
//! | `postern_request_duration_seconds` | host |
//! | `postern_stage_duration_seconds` | host, stage |
//! | `postern_requests_total` | host, status_class, outcome, client |
//! | `postern_received_bytes_total`, `postern_sent_bytes_total` | host |
//! | `postern_tls_handshakes_total` | host, result (`full`, `resumed`, or why it failed) |
//! | `postern_client_cert_verify_total` | host, reason |
//! | `postern_origin_errors_total` | host, reason |
//! | `postern_rule_matches_total` | rule_id, action |
//! | `postern_connection_stops_total` | stop |
//! | `postern_connections_accepted_total`, `_refused_total`, `_handed_over_total`, `_kept_total` | worker |
//! | `postern_connections_steered_total` | host, by (`kernel`, `handoff`, `none`) |
//! | `postern_steer_segments_total` | reason |
//! | `postern_steer_host_segments_total` | host, reason (`steered`, `host_budget`, `blocked`) |
//! | `postern_steer_frames_total`, `postern_steer_moves_total`, `postern_steer_mode` | |
//! | `postern_connections_open`, `_idle`, `postern_origin_connections_open`, `_idle` | worker |
//! | `postern_snapshot_generation`, `postern_trust_epoch`, `postern_hosts`, `postern_draining` | |
//! | `postern_crl_next_update_timestamp_seconds`, `postern_crl_entries` | ca_id, kind |
//! | `postern_crl_fetch_total` | ca_id, url, result |
//! | `postern_crl_fetch_good_timestamp_seconds` | ca_id, url |
//! | `postern_ocsp_answers_total` | ca_id, answer |
//! | `postern_expiring` | kind, within |
//! | `postern_access_log_dropped_total`, `postern_build_info`, `process_*` | |

mod usage;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use self::usage::Usage;
use control::{CrlStatus, Expiring};
use datapath::observe::histogram::StageHistogram;
use datapath::observe::stats::{OTHER_NAME, WorkerStats};
use datapath::observe::tally::{CLASSES, CLIENTS, OUTCOMES};
use datapath::observe::{Stage, Steered, SteeringStatus, host_reasons, reasons};
use fetch::{FetchOutcome, FetchStatus, OcspCounts};

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of histogram buckets in seconds: from what deciding on rules takes to what an
/// origin may take.
const BUCKETS: [f64; 22] = [
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
    /// [`super::AccessLog::dropped`].
    pub access_log_dropped: u64,
    /// [`super::FleetStatus::draining`].
    pub draining: bool,
    /// [`super::Fleet::steering`].
    pub steering: SteeringStatus,
    /// Revocation lists of uploaded CAs.
    pub crls: Vec<CrlStatus>,
    /// Where they are fetched from, and what became of it.
    pub crl_fetches: Vec<FetchStatus>,
    /// What responders have answered.
    pub ocsp: OcspCounts,
    /// What ends soon.
    pub expiring: Vec<Expiring>,
}

/// All metrics of these workers and this process.
#[must_use]
pub fn render(workers: &[WorkerStats], process: &Process) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        sum: WorkerStats::sum(workers),
        workers: workers.to_vec(),
        process: process.clone(),
        usage: Usage::read(),
    }));
    let mut out = String::with_capacity(64 * 1024);
    match text::encode(&mut out, &registry) {
        Ok(()) => out,
        // Writing into a string does not fail; an empty exposition is still a valid one.
        Err(fmt::Error) => "# EOF\n".into(),
    }
}

#[derive(Debug)]
struct Scrape {
    sum: WorkerStats,
    workers: Vec<WorkerStats>,
    process: Process,
    usage: Usage,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.latencies(out)?;
        self.hosts(out)?;
        self.connections(out)?;
        self.steering(out)?;
        self.process(out)
    }
}

impl Scrape {
    fn latencies(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let recorded = |stage: Stage| {
            self.sum.hosts.iter().filter_map(move |host| {
                host.stages
                    .get(stage as usize)?
                    .as_deref()
                    .map(|histogram| (&*host.name, histogram))
            })
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
            encode_histogram(histogram, &mut family.encode_family(&labels)?)?;
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
            for (host, histogram) in recorded(stage) {
                let labels = [("host", host), ("stage", stage.as_str())];
                encode_histogram(histogram, &mut family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn hosts(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let hosts = &self.sum.hosts;
        counters(
            out,
            "postern_requests",
            "Requests answered",
            hosts.iter().flat_map(|host| {
                host.requests.cells().filter(|(.., count)| *count > 0).map(
                    |(class, outcome, client, count)| {
                        let word = |words: &[&'static str], index: usize| {
                            words.get(index).copied().unwrap_or("other")
                        };
                        let labels = [
                            ("host", &*host.name),
                            ("status_class", word(&CLASSES, class)),
                            ("outcome", word(&OUTCOMES, outcome)),
                            ("client", word(&CLIENTS, client)),
                        ];
                        (labels, count)
                    },
                )
            }),
        )?;
        let used = || {
            hosts.iter().filter(|host| {
                &*host.name != OTHER_NAME || host.bytes_received + host.bytes_sent > 0
            })
        };
        for (name, help, sent) in [
            ("postern_received_bytes", "Bytes of request bodies", false),
            ("postern_sent_bytes", "Bytes of response bodies", true),
        ] {
            counters(
                out,
                name,
                help,
                used().map(|host| {
                    (
                        [("host", &*host.name)],
                        if sent {
                            host.bytes_sent
                        } else {
                            host.bytes_received
                        },
                    )
                }),
            )?;
        }
        let without_host = self
            .sum
            .handshakes
            .iter()
            .map(|(result, count)| ([("host", ""), ("result", result)], count));
        counters(
            out,
            "postern_tls_handshakes",
            "TLS handshakes with clients",
            without_host.chain(hosts.iter().flat_map(|host| {
                host.handshakes
                    .iter()
                    .map(|(result, count)| ([("host", &*host.name), ("result", result)], count))
            })),
        )?;
        let help = "Judgements of client certificates";
        counters(
            out,
            "postern_client_cert_verify",
            help,
            hosts.iter().flat_map(|host| {
                host.verdicts
                    .iter()
                    .map(|(reason, count)| ([("host", &*host.name), ("reason", reason)], count))
            }),
        )?;
        counters(
            out,
            "postern_origin_errors",
            "Requests that the origin failed",
            hosts.iter().flat_map(|host| {
                host.origin_errors
                    .iter()
                    .map(|(reason, count)| ([("host", &*host.name), ("reason", reason)], count))
            }),
        )?;
        let mut rules: Vec<_> = self.sum.rules.iter().collect();
        rules.sort_by_key(|(id, _)| &***id);
        counters(
            out,
            "postern_rule_matches",
            "Requests that a rule matched",
            rules.into_iter().flat_map(|(id, matches)| {
                [("block", matches.blocked), ("log", matches.logged)]
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
                    .map(move |(action, count)| ([("rule_id", &**id), ("action", action)], count))
            }),
        )
    }

    fn connections(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stops = self
            .sum
            .stops
            .iter()
            .map(|(stop, count)| ([("stop", stop)], count));
        counters(
            out,
            "postern_connection_stops",
            "Client connections that ended, by the one reason",
            stops,
        )?;
        type Read = fn(&WorkerStats) -> u64;
        let workers: Vec<(String, &WorkerStats)> = self
            .workers
            .iter()
            .map(|stats| (stats.worker.to_string(), stats))
            .collect();
        let per_worker = |read: Read| {
            workers
                .iter()
                .map(move |(name, stats)| ([("worker", name.as_str())], read(stats)))
        };
        let totals: [(&str, &str, Read); 4] = [
            (
                "postern_connections_accepted",
                "Client connections accepted",
                |stats| stats.accepted,
            ),
            (
                "postern_connections_refused",
                "Client connections closed because limit.connections was reached",
                |stats| stats.refused,
            ),
            (
                "postern_connections_handed_over",
                "Client connections given to another worker",
                |stats| stats.handed_over,
            ),
            (
                "postern_connections_kept",
                "Client connections of another worker's host that were served here, because it had no room",
                |stats| stats.kept,
            ),
        ];
        for (name, help, read) in totals {
            counters(out, name, help, per_worker(read))?;
        }
        let levels: [(&str, &str, Read); 5] = [
            (
                "postern_connections_open",
                "Client connections open",
                |stats| stats.connections_open,
            ),
            (
                "postern_connections_idle",
                "Client connections without a request in progress",
                |stats| stats.connections_idle,
            ),
            (
                "postern_connections_parked",
                "Idle client connections that hold no buffers",
                |stats| stats.connections_parked,
            ),
            (
                "postern_origin_connections_open",
                "Origin connections open",
                |stats| stats.origin_connections_open,
            ),
            (
                "postern_origin_connections_idle",
                "Origin connections that wait for a request",
                |stats| stats.origin_connections_idle,
            ),
        ];
        for (name, help, read) in levels {
            gauges(out, name, help, per_worker(read))?;
        }
        Ok(())
    }

    fn steering(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let came = self.sum.hosts.iter().flat_map(|host| {
            Steered::ALL
                .into_iter()
                .zip(host.steered)
                .filter(|(_, count)| *count > 0)
                .map(|(how, count)| ([("host", &*host.name), ("by", how.as_str())], count))
        });
        let help = "Client connections with a handshake, by how they came to their worker";
        counters(out, "postern_connections_steered", help, came)?;
        let steering = &self.process.steering;
        let modes = ["kernel", "handoff", "off"].into_iter();
        let modes = modes.map(|mode| ([("mode", mode)], u64::from(mode == steering.mode)));
        gauges(out, "postern_steer_mode", "1 for what steering does", modes)?;
        let help = "Hosts that got other workers while they had some";
        counters(
            out,
            "postern_steer_moves",
            help,
            std::iter::once(([], steering.moves)),
        )?;
        let Some(kernel) = &steering.kernel else {
            return Ok(());
        };
        let help = "Frames that the kernel program looked at";
        counters(
            out,
            "postern_steer_frames",
            help,
            std::iter::once(([], kernel.packets)),
        )?;
        let help = "What the kernel programs decided about segments of new connections";
        let decided = reasons(kernel).map(|(reason, count)| ([("reason", reason)], count));
        counters(out, "postern_steer_segments", help, decided)?;
        let help = "What the kernel programs decided about ClientHellos for a host";
        let decided = steering.hosts.iter().flat_map(|host| {
            let reasons = host.kernel.iter().flat_map(host_reasons);
            // What was seen is the sum of the others.
            let told = reasons.filter(|(reason, count)| *reason != "seen" && *count > 0);
            told.map(|(reason, count)| ([("host", host.host.as_str()), ("reason", reason)], count))
        });
        counters(out, "postern_steer_host_segments", help, decided)
    }

    fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Process {
            generation,
            trust_epoch,
            hosts,
            access_log_dropped,
            draining,
            started,
            steering: _,
            crls,
            crl_fetches,
            ocsp,
            expiring,
        } = &self.process;
        for (name, help, value) in [
            (
                "postern_snapshot_generation",
                "Generation of the published snapshot",
                *generation,
            ),
            (
                "postern_trust_epoch",
                "Moves when a CA, CRL or revocation changes",
                *trust_epoch,
            ),
            (
                "postern_hosts",
                "Hosts in the published snapshot",
                *hosts as u64,
            ),
            (
                "postern_workers",
                "Workers that answered this scrape",
                self.workers.len() as u64,
            ),
            (
                "postern_draining",
                "1 while the gateway finishes requests and takes none",
                u64::from(*draining),
            ),
        ] {
            gauge(out, name, help, None, value)?;
        }
        let lists: Vec<(String, &CrlStatus)> = crls
            .iter()
            .map(|crl| (crl.authority.to_string(), crl))
            .collect();
        let labels = |id: &'_ str, crl: &CrlStatus| {
            let kind = if crl.delta { "delta" } else { "complete" };
            (id.to_owned(), kind)
        };
        type Read = fn(&CrlStatus) -> i64;
        let read: [(&str, &str, Read); 2] = [
            (
                "postern_crl_next_update_timestamp_seconds",
                "When the next revocation list of a CA is due, since the epoch",
                |crl| crl.next_update,
            ),
            (
                "postern_crl_entries",
                "Entries of a revocation list",
                |crl| i64::try_from(crl.entries).unwrap_or(i64::MAX),
            ),
        ];
        for (name, help, read) in read {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, crl) in &lists {
                let (id, kind) = labels(id, crl);
                let labels = [("ca_id", id.as_str()), ("kind", kind)];
                family.encode_family(&labels)?.encode_gauge(&read(crl))?;
            }
        }
        fetches(out, crl_fetches)?;
        ends(out, expiring)?;
        let answers = ocsp
            .iter()
            .map(|((id, answer), count)| ([("ca_id", id.as_str()), ("answer", *answer)], *count));
        let help = "What OCSP responders have answered about client certificates";
        counters(out, "postern_ocsp_answers", help, answers)?;
        let help =
            "Lines that the access log lost because its writer was behind or its disk failed";
        counters(
            out,
            "postern_access_log_dropped",
            help,
            std::iter::once(([("", ""); 0], *access_log_dropped)),
        )?;
        let mut build =
            out.encode_descriptor("postern_build", "What runs here", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let since = started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        gauge(
            out,
            "process_start_time",
            "When the process started, since the epoch",
            Some(&Unit::Seconds),
            since,
        )?;
        if let Some(bytes) = self.usage.resident_bytes {
            gauge(
                out,
                "process_resident_memory",
                "Memory in use",
                Some(&Unit::Bytes),
                bytes,
            )?;
        }
        if let Some(open) = self.usage.open_fds {
            gauge(
                out,
                "process_open_fds",
                "File descriptors in use",
                None,
                open,
            )?;
        }
        if let Some(cpu) = self.usage.cpu {
            let mut family = out.encode_descriptor(
                "process_cpu",
                "CPU time used",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            family.encode_counter::<NoLabelSet, f64, f64>(&cpu.as_secs_f64(), None)?;
        }
        Ok(())
    }
}

/// One stage's latencies in the buckets of [`BUCKETS`].
fn encode_histogram(
    histogram: &StageHistogram,
    family: &mut prometheus_client::encoding::MetricEncoder<'_>,
) -> fmt::Result {
    let mut buckets = BUCKETS.map(|bound| (bound, 0_u64));
    let mut at = 0;
    for recorded in histogram.counts.iter_recorded() {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a minute in nanoseconds is far below 2^52"
        )]
        let seconds = recorded.value_iterated_to() as f64 / 1e9;
        while buckets.get(at).is_some_and(|(bound, _)| seconds > *bound) {
            at += 1;
        }
        if let Some((_, count)) = buckets.get_mut(at) {
            *count += recorded.count_since_last_iteration();
        }
    }
    let sum = Duration::from_nanos(histogram.sum_ns).as_secs_f64();
    family.encode_histogram::<NoLabelSet>(sum, histogram.counts.len(), &buckets, None)
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

/// What ends soon, and what has ended.
fn ends(out: &mut DescriptorEncoder<'_>, expiring: &[Expiring]) -> fmt::Result {
    let help = "Certificates and revocation lists that end within so many days, or have ended";
    let mut family = out.encode_descriptor("postern_expiring", help, None, MetricType::Gauge)?;
    let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
    for one in expiring {
        let days = one
            .within
            .map(|(days, count)| (format!("{days}d"), number(count)));
        let expired = ("expired".to_owned(), number(one.expired));
        for (within, count) in days.iter().chain([&expired]) {
            let labels = [("kind", one.kind.as_str()), ("within", within.as_str())];
            family.encode_family(&labels)?.encode_gauge(count)?;
        }
    }
    Ok(())
}

/// What became of fetching revocation lists.
fn fetches(out: &mut DescriptorEncoder<'_>, fetches: &[FetchStatus]) -> fmt::Result {
    let help = "Attempts to fetch a revocation list";
    let ids: Vec<String> = fetches
        .iter()
        .map(|one| one.authority.to_string())
        .collect();
    let counted = fetches.iter().zip(&ids).flat_map(|(one, id)| {
        let outcomes = FetchOutcome::ALL.into_iter().zip(one.counts);
        outcomes.map(move |(result, count)| {
            let labels = [
                ("ca_id", id.as_str()),
                ("url", one.url.as_str()),
                ("result", result),
            ];
            (labels, count)
        })
    });
    counters(out, "postern_crl_fetch", help, counted)?;
    let name = "postern_crl_fetch_good_timestamp_seconds";
    let help = "When the server of a revocation list last had a good one, since the epoch";
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (one, id) in fetches.iter().zip(&ids) {
        let Some(good_at) = one.good_at else { continue };
        let labels = [("ca_id", id.as_str()), ("url", one.url.as_str())];
        family
            .encode_family(&labels)?
            .encode_gauge(&good_at.seconds())?;
    }
    Ok(())
}
