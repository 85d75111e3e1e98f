//! `/postern/v1/status`: version, snapshot, load and expiry dates of the running gateway.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::steering::by_handoff;
use crate::fleet::{FleetShown, FleetState};
use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::limits::EXPIRY_WARNING_DAYS;
use control::{Moment, STORE_FORMAT};
use datapath::observe::{self, WorkerStats};

pub(crate) async fn show(State(context): Shared) -> Response {
    let statistics = context.workers().collect().await;
    let sum = WorkerStats::sum(&statistics);
    let status = context.workers().status();
    let steering = context.workers().steering();
    let snapshot = context.published().load();
    let model = context.reader().model();
    let latency = |quantile| {
        sum.quantile(observe::Stage::Total, quantile)
            .map(|time| time.as_secs_f64())
    };
    let [applied, refused] = context.live().reloads();
    envelope::result(json!({
        "version": vocabulary::version(),
        "pid": std::process::id(),
        "uptime_seconds": context.uptime().as_secs(),
        "reloads": { "applied": applied, "refused": refused },
        "ready": context.workers().ready(),
        "draining": status.draining,
        "workers": status.workers,
        "workers_answering": statistics.len(),
        "steering": {
            "mode": steering.mode,
            "reason": steering.reason,
            "by_handoff": by_handoff(&context, steering.mode),
        },
        "generation": snapshot.generation,
        "trust_epoch": snapshot.trust_epoch,
        "store_revision": model.revision,
        "store_format": STORE_FORMAT,
        "account_id": model.account,
        "zones": model.zones.len(),
        "hosts": model.hosts.len(),
        "hosts_served": snapshot.hosts.len(),
        "expiring": expiring(&context),
        "requests_total": sum.requests_total(),
        "latency_seconds": { "p50": latency(0.5), "p99": latency(0.99), "p999": latency(0.999) },
        "access_log_dropped": context.access_log().dropped(),
        "fleet": fleet(&context.fleet().shown()),
    }))
}

/// How this gateway stands to its fleet, as far as it is known without asking; nothing when there is none.
fn fleet(shown: &FleetShown) -> Value {
    if shown.state == FleetState::Off {
        return Value::Null;
    }
    json!({
        "name": shown.name,
        "edge": shown.edge,
        "state": shown.state,
        "why": shown.why,
        "revision": shown.revision,
        "head": shown.head,
        "age_seconds": shown.age_seconds,
        "leader": shown.leader,
        "held_alone": shown.alone.len(),
    })
}

/// What ends within [`EXPIRY_WARNING_DAYS`], and what has ended: certificates of servers and CAs by name, those
/// of clients by number.
fn expiring(context: &Context) -> Value {
    let control = context.reader();
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
