//! How the gateway is: `/metrics`, `/livez`, `/readyz`, `/postern/v1/status`, and what can be tuned
//! under `/postern/v1/sysctl`.

use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::limits::{EXPIRY_WARNING_DAYS, TRACE_EVENTS_MAX, TRACE_WAIT_MAX};
use crate::metrics;
use control::Moment;
use datapath::limits::DRAIN_POLL;
use datapath::observe::{self, WorkerStats};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    value: serde_json::Value,
}

/// Answers as long as this runtime runs.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether new connections are welcome.
pub(crate) async fn readyz(State(context): Shared) -> Response {
    if context.state.fleet.ready() {
        return "ok\n".into_response();
    }
    let reason = if context.state.fleet.status().draining {
        "draining"
    } else {
        "starting"
    };
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    response.extensions_mut().insert(envelope::Enveloped);
    response
}

pub(crate) async fn metrics(State(context): Shared) -> Response {
    let state = &context.state;
    let workers = state.fleet.collect().await;
    let snapshot = state.published.load();
    let process = metrics::Process {
        started: state.started,
        generation: snapshot.generation,
        trust_epoch: snapshot.trust_epoch,
        hosts: snapshot.hosts.len(),
        access_log_dropped: state.access_log.dropped(),
        draining: state.fleet.status().draining,
        steering: state.fleet.steering(),
        crls: state.control.crls(),
        crl_fetches: state.lists.status(),
        ocsp: state.responders.counts(),
        expiring: state.control.expiring_by_kind(Moment::now()),
    };
    let text = metrics::render(&workers, &process);
    ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
}

pub(crate) async fn status(State(context): Shared) -> Response {
    let state = &context.state;
    let workers = state.fleet.collect().await;
    let sum = WorkerStats::sum(&workers);
    let fleet = state.fleet.status();
    let steering = state.fleet.steering();
    let snapshot = state.published.load();
    let model = state.control.model();
    let latency = |quantile| {
        sum.quantile(observe::Stage::Total, quantile)
            .map(|time| time.as_secs_f64())
    };
    envelope::result(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": state.started.elapsed().unwrap_or_default().as_secs(),
        "ready": state.fleet.ready(),
        "draining": fleet.draining,
        "workers": fleet.workers,
        "workers_answering": workers.len(),
        "steering": { "mode": steering.mode, "reason": steering.reason },
        "generation": snapshot.generation,
        "trust_epoch": snapshot.trust_epoch,
        "store_revision": model.revision,
        "account_id": model.account,
        "zones": model.zones.len(),
        "hosts": model.hosts.len(),
        "hosts_served": snapshot.hosts.len(),
        "expiring": expiring(&context),
        "requests_total": sum.requests_total(),
        "latency_seconds": { "p50": latency(0.5), "p99": latency(0.99), "p999": latency(0.999) },
        "access_log_dropped": state.access_log.dropped(),
    }))
}

/// What ends within [`EXPIRY_WARNING_DAYS`], and what has ended: certificates of servers and CAs by name, those
/// of clients by number.
fn expiring(context: &Context) -> serde_json::Value {
    let control = &context.state.control;
    let model = control.model();
    let now = Moment::now().seconds();
    let soon = now + i64::from(EXPIRY_WARNING_DAYS) * 86_400;
    let servers: Vec<_> = model
        .server_certificates
        .values()
        .filter(|certificate| certificate.not_after <= soon)
        .map(|certificate| json!({
            "id": certificate.id,
            "hosts": certificate.names.iter().map(vocabulary::hostname::HostName::as_str).collect::<Vec<_>>(),
            "expires_on": Moment::from_seconds(certificate.not_after).to_second(),
        }))
        .collect();
    let authorities: Vec<_> = model
        .authorities
        .values()
        .filter(|authority| authority.not_after <= soon)
        .map(|authority| {
            json!({
                "id": authority.id,
                "name": authority.name,
                "expires_on": Moment::from_seconds(authority.not_after).to_second(),
            })
        })
        .collect();
    let clients = [1, 7, 30].map(|days| control.expiring(now, now + days * 86_400));
    json!({
        "server_certificates": servers,
        "authorities": authorities,
        "client_certificates": {
            "within_1_day": clients[0], "within_7_days": clients[1], "within_30_days": clients[2],
        },
    })
}

/// Who steers, and who owns what.
pub(crate) async fn steering(State(context): Shared) -> Response {
    let fleet = &context.state.fleet;
    let workers = fleet.collect().await;
    envelope::result(fleet.steering().with(&workers).json())
}

/// Decisions of the kernel as they happen: waits up to `milliseconds` for the first, one of `every`.
pub(crate) async fn trace(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let number = |name: &str, default: u64| {
        let text = parameters.text(name);
        text.map_or(Ok(default), str::parse)
            .map_err(|_not_a_number| Fault::body(format!("{name}: a number is expected")))
    };
    let wait = Duration::from_millis(number("milliseconds", 1_000)?).min(TRACE_WAIT_MAX);
    let every = u32::try_from(number("every", 1)?).unwrap_or(u32::MAX);
    let fleet = &context.state.fleet;
    let deadline = Instant::now() + wait;
    loop {
        let Some(mut events) = fleet.traced(every) else {
            return Ok(envelope::result(json!({ "kernel": false, "events": [] })));
        };
        let over = Instant::now() >= deadline;
        if !events.is_empty() || over || every == 0 {
            events.truncate(TRACE_EVENTS_MAX);
            let events: Vec<_> = events.iter().map(observe::TracedConnection::json).collect();
            return Ok(envelope::result(
                json!({ "kernel": true, "events": events }),
            ));
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

pub(crate) async fn settings(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let begins = parameters.text("prefix").unwrap_or_default();
    let mut all = context.state.live.all();
    all.retain(|setting| setting.key.starts_with(begins));
    Ok(envelope::result(all))
}

pub(crate) async fn setting(
    State(context): Shared,
    Path(key): Path<String>,
) -> Result<Response, Fault> {
    Ok(envelope::result(context.state.live.get(&key)?))
}

/// Sets a live key until the next start or reload; files are not written.
pub(crate) async fn set(
    State(context): Shared,
    Path(key): Path<String>,
    Json(body): Json<Set>,
) -> Result<Response, Fault> {
    let text = match &body.value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::Bool(yes) => yes.to_string(),
        _ => {
            return Err(Fault::body(
                "value: a text, a number or a boolean is expected",
            ));
        }
    };
    let setting = context.state.live.set(&key, &text)?;
    tracing::info!(key = setting.key, value = %setting.value, "a setting was changed");
    Ok(envelope::result(setting))
}
