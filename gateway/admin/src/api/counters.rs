//! `/postern/v1/counters`: what was counted since the start, for displays that take differences.
//!
//! Reads what metrics are made of; says less of each host, and latencies in buckets of an eighth of a
//! doubling, so that percentiles of the time between two readings can be had.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::latency::Buckets;
use crate::metrics::{self, AddressStatus};
use datapath::observe::stats::{HostStats, OTHER_NAME};
use datapath::observe::tally::{CLASSES, OUTCOMES, Tally};
use datapath::observe::{Stage, WorkerStats};

pub(crate) async fn show(State(context): Shared) -> Response {
    let statistics = context.workers().collect().await;
    let snapshot = context.published().load();
    let status = context.workers().status();
    let mut shown = json!({
        "version": vocabulary::version(),
        "pid": std::process::id(),
        "uptime_seconds": context.uptime().as_secs_f64(),
        "ready": context.workers().ready(),
        "draining": status.draining,
        "generation": snapshot.generation,
        "steering": context.workers().steering().mode,
        "workers_running": status.workers,
        "access_log_dropped": context.access_log().dropped(),
    });
    // A thousand hosts with their histograms: not on the thread that answers all.
    let counted = tokio::task::spawn_blocking(move || {
        let origins = metrics::all_addresses(&snapshot, datapath::clock::now());
        counted(&statistics, &origins)
    });
    let Ok(Value::Object(counted)) = counted.await else {
        let message = "The counters could not be added up. The log has the reason";
        return Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message).into_response();
    };
    if let Value::Object(shown) = &mut shown {
        shown.extend(counted);
    }
    envelope::result(shown)
}

fn counted(statistics: &[WorkerStats], origins: &[AddressStatus]) -> Value {
    let sum = WorkerStats::sum(statistics);
    let mut handshakes = Handshakes::default();
    handshakes.add(&sum.handshakes);
    let mut stages = BTreeMap::<_, Buckets>::new();
    for host in &sum.hosts {
        handshakes.add(&host.handshakes);
        for (stage, histogram) in Stage::ALL.iter().zip(&host.stages) {
            if let Some(histogram) = histogram {
                stages
                    .entry(stage.as_str())
                    .or_default()
                    .add_histogram(histogram);
            }
        }
    }
    let stages = stages
        .iter()
        .map(|(stage, buckets)| (*stage, buckets.shown()));
    let origins = origins.iter().map(|one| {
        json!({
            "origin": one.origin, "address": one.address, "is_good": one.is_good,
            "open_requests": one.open, "requests": one.requests, "failed": one.failed,
            "ejections": one.ejections,
        })
    });
    json!({
        "handshakes": handshakes.shown(),
        "stops": words(&sum.stops),
        "stages": stages.collect::<BTreeMap<_, _>>(),
        "workers": statistics.iter().map(worker).collect::<Vec<_>>(),
        "hosts": sum.hosts.iter().filter_map(host).collect::<Vec<_>>(),
        "origins": origins.collect::<Vec<_>>(),
    })
}

/// Handshakes by how they ended.
#[derive(Default)]
struct Handshakes {
    full: u64,
    resumed: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Handshakes {
    fn add(&mut self, tally: &Tally) {
        for (word, count) in tally.iter() {
            match word {
                "full" => self.full += count,
                "resumed" => self.resumed += count,
                reason => *self.refused.entry(reason).or_default() += count,
            }
        }
    }

    fn shown(&self) -> Value {
        json!({ "full": self.full, "resumed": self.resumed, "refused": self.refused })
    }
}

fn words(tally: &Tally) -> BTreeMap<&'static str, u64> {
    tally.iter().collect()
}

fn worker(stats: &WorkerStats) -> Value {
    json!({
        "worker": stats.worker,
        "accepted": stats.accepted,
        "refused": stats.refused,
        "handed_over": stats.handed_over,
        "requests": stats.requests_total(),
        "connections_open": stats.connections_open,
        "connections_idle": stats.connections_idle,
        "origin_connections_open": stats.origin_connections_open,
        "origin_connections_idle": stats.origin_connections_idle,
        "origin_requests_repeated": stats.origin_repeated,
    })
}

/// A host; what other names counted only when there is something.
fn host(stats: &HostStats) -> Option<Value> {
    let (mut outcomes, mut classes) = ([0; OUTCOMES.len()], [0; CLASSES.len()]);
    for (class, outcome, _, count) in stats.requests.cells() {
        for (counts, place) in [(&mut outcomes[..], outcome), (&mut classes[..], class)] {
            if let Some(slot) = counts.get_mut(place) {
                *slot += count;
            }
        }
    }
    let mut handshakes = Handshakes::default();
    handshakes.add(&stats.handshakes);
    let is_used =
        stats.handshakes.iter().next().is_some() || outcomes.iter().any(|count| *count > 0);
    if &*stats.name == OTHER_NAME && !is_used {
        return None;
    }
    let mut total = Buckets::default();
    if let Some(histogram) = stats.stages.get(Stage::Total as usize)?.as_deref() {
        total.add_histogram(histogram);
    }
    let by = |words: &[&'static str], counts: &[u64]| -> BTreeMap<&'static str, u64> {
        words.iter().copied().zip(counts.iter().copied()).collect()
    };
    Some(json!({
        "host": stats.name,
        "requests": by(&OUTCOMES, &outcomes),
        "statuses": by(&CLASSES, &classes),
        "handshakes": handshakes.shown(),
        "origin_errors": words(&stats.origin_errors),
        "client_errors": words(&stats.client_errors),
        "bytes_received": stats.bytes_received,
        "bytes_sent": stats.bytes_sent,
        "total": total.shown(),
    }))
}
