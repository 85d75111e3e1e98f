//! A reading of the gateway's counters, and what happened between two of them.
//!
//! Reads `GET /postern/v1/counters`; what a gateway of another version does not say is nothing. Texts are
//! made harmless here, once: what draws them need not think of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::client::names::str_of;
use crate::cli::output::table::harmless;

/// Latencies by their bounds in nanoseconds: from, to below, how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Latencies(Vec<(u64, u64, u64)>);

impl Latencies {
    fn read(value: Option<&Value>) -> Self {
        let buckets = value.and_then(Value::as_array).into_iter().flatten();
        let bucket = |bucket: &Value| {
            let number = |place: usize| bucket.get(place)?.as_u64();
            Some((number(0)?, number(1)?, number(2)?))
        };
        Self(buckets.filter_map(bucket).collect())
    }

    fn since(&self, before: &Self) -> Self {
        let known: BTreeMap<u64, u64> = before.0.iter().map(|(from, _, n)| (*from, *n)).collect();
        let new = self.0.iter().filter_map(|(from, to, count)| {
            let count = count.saturating_sub(known.get(from).copied().unwrap_or(0));
            (count > 0).then_some((*from, *to, count))
        });
        Self(new.collect())
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(.., count)| count).sum()
    }

    /// Seconds below which this part of all stayed.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        let rank = (as_f64(total) * quantile).max(1.0);
        let mut before = 0.0;
        for (from, to, count) in &self.0 {
            let count = as_f64(*count);
            if before + count >= rank {
                let part = (rank - before) / count;
                let width = as_f64(to.saturating_sub(*from));
                return Some((as_f64(*from) + width * part) / 1e9);
            }
            before += count;
        }
        None
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests and nanoseconds of minutes are far below 2^52"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Counts by word.
type Counts = BTreeMap<String, u64>;

fn counts(value: Option<&Value>) -> Counts {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members
        .filter_map(|(word, count)| Some((harmless(word), count.as_u64()?)))
        .collect()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[derive(Debug, Clone, Default)]
struct Handshakes {
    full: u64,
    resumed: u64,
    refused: Counts,
}

impl Handshakes {
    fn read(value: Option<&Value>) -> Self {
        let value = value.unwrap_or(&Value::Null);
        Self {
            full: number(value, "full"),
            resumed: number(value, "resumed"),
            refused: counts(value.get("refused")),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct HostCounts {
    requests: Counts,
    statuses: Counts,
    handshakes: Handshakes,
    origin_errors: u64,
    bytes_received: u64,
    bytes_sent: u64,
    total: Latencies,
}

#[derive(Debug, Clone, Default)]
struct WorkerCounts {
    accepted: u64,
    requests: u64,
    open: u64,
    idle: u64,
    to_origins: u64,
}

#[derive(Debug, Clone, Default)]
struct OriginCounts {
    is_good: bool,
    open: u64,
    requests: u64,
    failed: u64,
}

/// What the gateway had counted at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    version: String,
    state: &'static str,
    pid: u64,
    uptime_sec: f64,
    generation: u64,
    steering: String,
    lost_lines: u64,
    handshakes: Handshakes,
    stages: BTreeMap<String, Latencies>,
    hosts: BTreeMap<String, HostCounts>,
    workers: BTreeMap<u64, WorkerCounts>,
    origins: BTreeMap<(String, String), OriginCounts>,
}

impl Reading {
    /// Reads an answer.
    pub(super) fn read(answer: &Value) -> Self {
        let flag = |key: &str| answer.get(key).and_then(Value::as_bool);
        let all = |key: &str| {
            answer
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let sum = |value: Option<&Value>| counts(value).values().sum();
        let stages = answer.get("stages").and_then(Value::as_object);
        let stages = stages.into_iter().flatten();
        Self {
            version: harmless(str_of(answer, "version")),
            state: match (flag("draining"), flag("ready")) {
                (Some(true), _) => "draining",
                (_, Some(false)) => "starting",
                _ => "running",
            },
            pid: number(answer, "pid"),
            uptime_sec: (answer.get("uptime_seconds"))
                .and_then(Value::as_f64)
                .unwrap_or(0.0),
            generation: number(answer, "generation"),
            steering: harmless(str_of(answer, "steering")),
            lost_lines: number(answer, "access_log_dropped"),
            handshakes: Handshakes::read(answer.get("handshakes")),
            stages: stages
                .map(|(stage, buckets)| (harmless(stage), Latencies::read(Some(buckets))))
                .collect(),
            hosts: all("hosts")
                .map(|host| {
                    let counted = HostCounts {
                        requests: counts(host.get("requests")),
                        statuses: counts(host.get("statuses")),
                        handshakes: Handshakes::read(host.get("handshakes")),
                        origin_errors: sum(host.get("origin_errors")),
                        bytes_received: number(host, "bytes_received"),
                        bytes_sent: number(host, "bytes_sent"),
                        total: Latencies::read(host.get("total")),
                    };
                    (harmless(str_of(host, "host")), counted)
                })
                .collect(),
            workers: all("workers")
                .map(|worker| {
                    let counted = WorkerCounts {
                        accepted: number(worker, "accepted"),
                        requests: number(worker, "requests"),
                        open: number(worker, "connections_open"),
                        idle: number(worker, "connections_idle"),
                        to_origins: number(worker, "origin_connections_open"),
                    };
                    (number(worker, "worker"), counted)
                })
                .collect(),
            origins: all("origins")
                .map(|origin| {
                    let counted = OriginCounts {
                        is_good: origin.get("is_good").and_then(Value::as_bool) != Some(false),
                        open: number(origin, "open_requests"),
                        requests: number(origin, "requests"),
                        failed: number(origin, "failed"),
                    };
                    let name = |key: &str| harmless(str_of(origin, key));
                    ((name("origin"), name("address")), counted)
                })
                .collect(),
        }
    }

    /// Whether counters have begun anew since the other one.
    fn began_anew(&self, before: &Self) -> bool {
        self.pid != before.pid || self.uptime_sec <= before.uptime_sec
    }

    /// What happened since an earlier reading: nothing, when the gateway was started in between.
    pub(super) fn since(&self, before: &Self) -> Rates {
        let is_new = self.began_anew(before);
        let before = if is_new { self } else { before };
        let seconds = (self.uptime_sec - before.uptime_sec).max(1e-3);
        let rate = |now: u64, before: u64| as_f64(now.saturating_sub(before)) / seconds;
        let of = |counts: &Counts, word: &str| counts.get(word).copied().unwrap_or(0);
        let by_word =
            |now: &Counts, before: &Counts, word: &str| rate(of(now, word), of(before, word));
        let refused = |now: &Counts, before: &Counts| {
            let sum = |counts: &Counts| counts.values().sum();
            rate(sum(now), sum(before))
        };
        let nothing = HostCounts::default();
        let hosts = self.hosts.iter().map(|(name, now)| {
            let before = before.hosts.get(name).unwrap_or(&nothing);
            let requests = |word| by_word(&now.requests, &before.requests, word);
            let status = |word| by_word(&now.statuses, &before.statuses, word);
            let (shakes, shaken) = (&now.handshakes, &before.handshakes);
            let latencies = now.total.since(&before.total);
            HostRates {
                name: name.clone(),
                requests: ["forwarded", "blocked", "redirected"]
                    .map(requests)
                    .iter()
                    .sum(),
                blocked: requests("blocked"),
                client_errors: status("4xx"),
                server_errors: status("5xx"),
                origin_errors: rate(now.origin_errors, before.origin_errors),
                full: rate(shakes.full, shaken.full),
                resumed: rate(shakes.resumed, shaken.resumed),
                refused: refused(&shakes.refused, &shaken.refused),
                received: rate(now.bytes_received, before.bytes_received),
                sent: rate(now.bytes_sent, before.bytes_sent),
                p50: latencies.quantile(0.5),
                p99: latencies.quantile(0.99),
            }
        });
        let no_worker = WorkerCounts::default();
        let workers = self.workers.iter().map(|(number, now)| {
            let before = before.workers.get(number).unwrap_or(&no_worker);
            WorkerRates {
                number: *number,
                accepted: rate(now.accepted, before.accepted),
                requests: rate(now.requests, before.requests),
                open: now.open,
                idle: now.idle,
                to_origins: now.to_origins,
            }
        });
        let no_origin = OriginCounts::default();
        let origins = self.origins.iter().map(|(names, now)| {
            let before = before.origins.get(names).unwrap_or(&no_origin);
            OriginRates {
                origin: names.0.clone(),
                address: names.1.clone(),
                is_good: now.is_good,
                open: now.open,
                requests: rate(now.requests, before.requests),
                failed: rate(now.failed, before.failed),
            }
        });
        let no_latencies = Latencies::default();
        let stages = self.stages.iter().map(|(name, now)| {
            let new = now.since(before.stages.get(name).unwrap_or(&no_latencies));
            StageRates {
                name: name.clone(),
                rate: as_f64(new.count()) / seconds,
                p50: new.quantile(0.5),
                p99: new.quantile(0.99),
            }
        });
        let (shakes, shaken) = (&self.handshakes, &before.handshakes);
        let mut refusals: Vec<Refusal> = (shakes.refused.iter())
            .map(|(reason, total)| Refusal {
                reason: reason.clone(),
                rate: rate(*total, of(&shaken.refused, reason)),
                total: *total,
            })
            .collect();
        refusals.sort_by(|one, other| {
            let by_rate = other.rate.total_cmp(&one.rate);
            by_rate.then(other.total.cmp(&one.total))
        });
        Rates {
            version: self.version.clone(),
            state: self.state,
            uptime_sec: self.uptime_sec,
            generation: self.generation,
            steering: self.steering.clone(),
            lost_lines: rate(self.lost_lines, before.lost_lines),
            seconds: if is_new { 0.0 } else { seconds },
            full: rate(shakes.full, shaken.full),
            resumed: rate(shakes.resumed, shaken.resumed),
            refused: refused(&shakes.refused, &shaken.refused),
            hosts: hosts.collect(),
            workers: workers.collect(),
            origins: origins.collect(),
            stages: stages.collect(),
            refusals,
        }
    }
}

/// What happened in a second, between two readings. Times are in seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) uptime_sec: f64,
    pub(super) generation: u64,
    pub(super) steering: String,
    /// Lines of the access log.
    pub(super) lost_lines: f64,
    /// Between the readings; 0 after a start.
    pub(super) seconds: f64,
    pub(super) full: f64,
    pub(super) resumed: f64,
    pub(super) refused: f64,
    pub(super) hosts: Vec<HostRates>,
    pub(super) workers: Vec<WorkerRates>,
    pub(super) origins: Vec<OriginRates>,
    pub(super) stages: Vec<StageRates>,
    /// The most frequent first.
    pub(super) refusals: Vec<Refusal>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct HostRates {
    pub(super) name: String,
    pub(super) requests: f64,
    pub(super) blocked: f64,
    pub(super) client_errors: f64,
    pub(super) server_errors: f64,
    pub(super) origin_errors: f64,
    pub(super) full: f64,
    pub(super) resumed: f64,
    pub(super) refused: f64,
    pub(super) received: f64,
    pub(super) sent: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct WorkerRates {
    pub(super) number: u64,
    pub(super) accepted: f64,
    pub(super) requests: f64,
    pub(super) open: u64,
    pub(super) idle: u64,
    pub(super) to_origins: u64,
}

#[derive(Debug, Clone)]
pub(super) struct OriginRates {
    pub(super) origin: String,
    pub(super) address: String,
    pub(super) is_good: bool,
    pub(super) open: u64,
    pub(super) requests: f64,
    pub(super) failed: f64,
}

#[derive(Debug, Clone)]
pub(super) struct StageRates {
    pub(super) name: String,
    pub(super) rate: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) rate: f64,
    pub(super) total: u64,
}

impl Rates {
    /// For scripts.
    pub(super) fn to_json(&self) -> Value {
        let hosts = self.hosts.iter().map(|host| {
            json!({
                "host": host.name, "requests": host.requests, "blocked": host.blocked,
                "status_4xx": host.client_errors, "status_5xx": host.server_errors,
                "origin_errors": host.origin_errors, "handshakes_full": host.full,
                "handshakes_resumed": host.resumed, "handshakes_refused": host.refused,
                "bytes_received": host.received, "bytes_sent": host.sent,
                "p50_seconds": host.p50, "p99_seconds": host.p99,
            })
        });
        let workers = self.workers.iter().map(|worker| {
            json!({
                "worker": worker.number, "accepted": worker.accepted, "requests": worker.requests,
                "connections_open": worker.open, "connections_idle": worker.idle,
                "origin_connections_open": worker.to_origins,
            })
        });
        let origins = self.origins.iter().map(|origin| {
            json!({
                "origin": origin.origin, "address": origin.address, "is_good": origin.is_good,
                "open_requests": origin.open, "requests": origin.requests, "failed": origin.failed,
            })
        });
        let stages = self.stages.iter().map(|stage| {
            json!({
                "stage": stage.name, "count": stage.rate,
                "p50_seconds": stage.p50, "p99_seconds": stage.p99,
            })
        });
        let refusals = self.refusals.iter().map(|refusal| {
            json!({ "reason": refusal.reason, "rate": refusal.rate, "total": refusal.total })
        });
        json!({
            "version": self.version, "state": self.state, "uptime_seconds": self.uptime_sec,
            "generation": self.generation, "steering": self.steering,
            "between_readings_seconds": self.seconds, "access_log_lost": self.lost_lines,
            "handshakes": { "full": self.full, "resumed": self.resumed, "refused": self.refused },
            "refusals": refusals.collect::<Vec<_>>(),
            "stages": stages.collect::<Vec<_>>(),
            "hosts": hosts.collect::<Vec<_>>(),
            "workers": workers.collect::<Vec<_>>(),
            "origins": origins.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::top) fn reading(uptime: f64, requests: u64) -> Value {
        json!({
            "version": "0.1.0", "pid": 7, "uptime_seconds": uptime, "ready": true, "draining": false,
            "generation": 3, "steering": "handoff", "workers_running": 2, "access_log_dropped": 0,
            "handshakes": {"full": requests, "resumed": 3 * requests, "refused": {"expired": 2 * requests, "no_sni": 1}},
            "stops": {},
            "stages": {"rules": [[64, 72, requests]], "total": [[1_000_000, 1_125_000, requests]]},
            "workers": [
                {"worker": 0, "accepted": requests, "requests": requests, "connections_open": 5, "connections_idle": 2, "origin_connections_open": 1},
                {"worker": 1, "accepted": 0, "requests": 0, "connections_open": 0, "connections_idle": 0, "origin_connections_open": 0},
            ],
            "hosts": [
                {"host": "api.example.test", "requests": {"forwarded": requests, "blocked": requests, "redirected": 0},
                 "statuses": {"2xx": requests, "4xx": requests, "5xx": 0},
                 "handshakes": {"full": requests, "resumed": 0, "refused": {"expired": requests}},
                 "origin_errors": {"origin_refused": requests}, "bytes_received": 0, "bytes_sent": 2048 * requests,
                 "total": [[1_000_000, 1_125_000, 9 * requests], [8_000_000, 9_000_000, requests]]},
                {"host": "evil\u{1b}[31m\u{202e}", "requests": {}, "statuses": {}, "total": []},
            ],
            "origins": [{"origin": "api.example.test", "address": "http://127.0.0.1:9", "is_good": false, "open_requests": 1, "requests": requests, "failed": requests}],
        })
    }

    fn read(uptime: f64, requests: u64) -> Reading {
        Reading::read(&reading(uptime, requests))
    }

    #[test]
    fn rates_are_what_happened_between_two_readings() {
        let rates = read(12.0, 100).since(&read(10.0, 40));
        let host = &rates.hosts[0];
        assert_eq!(host.name, "api.example.test");
        assert_eq!((host.requests, host.blocked), (60.0, 30.0));
        assert_eq!((host.client_errors, host.server_errors), (30.0, 0.0));
        assert_eq!((host.full, host.refused), (30.0, 30.0));
        assert_eq!(host.sent, 61_440.0);
        let p50 = host.p50.unwrap();
        assert!((0.001..0.001_125).contains(&p50), "{p50}");
        let p99 = host.p99.unwrap();
        assert!((0.008..=0.009).contains(&p99), "{p99}");
        assert_eq!((rates.full, rates.resumed), (30.0, 90.0));
        assert_eq!(rates.refusals[0].reason, "expired");
        assert_eq!(
            (rates.refusals[0].rate, rates.refusals[1].rate),
            (60.0, 0.0)
        );
        assert_eq!(rates.workers[0].requests, 30.0);
        assert!(!rates.origins[0].is_good);
        assert_eq!(rates.seconds, 2.0);
    }

    #[test]
    fn a_gateway_that_was_started_anew_has_done_nothing_yet() {
        let rates = read(1.0, 5).since(&read(100.0, 1_000));
        assert_eq!((rates.seconds, rates.hosts[0].requests), (0.0, 0.0));
        assert_eq!(rates.hosts[0].p50, None);
        assert_eq!(rates.workers[0].open, 5, "what is now is known");
        let mut other = reading(2_000.0, 2_000);
        other["pid"] = 8.into();
        let rates = Reading::read(&other).since(&read(1_999.0, 1_000));
        assert_eq!(rates.full, 0.0);
    }

    #[test]
    fn texts_are_harmless_and_strange_answers_are_nothing() {
        let rates = read(12.0, 1).since(&read(10.0, 0));
        assert_eq!(rates.hosts[1].name, "evil\u{fffd}[31m\u{fffd}");
        for strange in [
            json!(null),
            json!([]),
            json!({"hosts": 3, "stages": {"x": [[1, "y"], 3]}}),
            json!({"hosts": [null, {"host": 3}], "workers": [[]], "uptime_seconds": "soon"}),
        ] {
            let reading = Reading::read(&strange);
            let rates = reading.since(&reading);
            assert_eq!(rates.full, 0.0, "{strange}");
            assert!(rates.to_json().is_object());
        }
    }
}
