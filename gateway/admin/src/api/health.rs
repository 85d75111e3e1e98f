//! `/metrics`, `/livez` and `/readyz`: the endpoints of monitoring.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::fleet::FleetState;
use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::metrics;
use control::Moment;

/// Answers as long as this runtime runs.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether new connections are welcome.
pub(crate) async fn readyz(State(context): Shared) -> Response {
    if context.workers().ready() {
        let fleet = context.fleet().shown();
        // What is here stays in force, so that it is ready all the same.
        return match fleet.state {
            FleetState::Behind | FleetState::Away | FleetState::Stuck => format!(
                "ok, and {} s behind its fleet ({})\n",
                fleet.age_seconds.ceil(),
                fleet.state
            )
            .into_response(),
            FleetState::Off | FleetState::Alone | FleetState::Current => "ok\n".into_response(),
        };
    }
    let reason = if context.workers().status().draining {
        "draining"
    } else {
        "starting"
    };
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    response.extensions_mut().insert(envelope::Enveloped);
    response
}

pub(crate) async fn metrics(State(context): Shared, headers: HeaderMap) -> Response {
    let format = metrics::Format::asked(headers.get_all(header::ACCEPT));
    let workers = context.workers().collect().await;
    let snapshot = context.published().load();
    let process = metrics::Process {
        started: context.started(),
        generation: snapshot.generation,
        trust_epoch: snapshot.trust_epoch,
        hosts: snapshot.hosts.len(),
        access_log_dropped: context.access_log().dropped(),
        traced: context.spans().counts(),
        plain: context.plain().all().collect(),
        draining: context.workers().status().draining,
        steering: context.workers().steering(),
        crls: context.reader().crls(),
        crl_fetches: context.lists().status(),
        files_late: context.reader().files_late(),
        store_write_failures: context.reader().write_failures(),
        fleet: Some(context.fleet().shown()).filter(|shown| shown.name.is_some()),
        reloads: context.live().reloads(),
        upgrades: context.upgrades().counts(),
        host_metrics: context.live().load().host_metrics,
        crl_files: context.reader().crl_files(),
        ocsp: context.responders().counts(),
        staples: context.stapler().status(),
        acme: context.acme().counts(&context.reader().model()),
        origins: metrics::addresses(&snapshot, datapath::clock::now()),
        names: context.names().status(),
        origin_limits: metrics::limits(&snapshot),
        expiring: context.reader().expiring_by_kind(Moment::now()),
    };
    // Megabytes of text for many hosts, and files of /proc: not on the thread that answers all.
    let rendered =
        tokio::task::spawn_blocking(move || metrics::render(&workers, &process, format)).await;
    match rendered {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_panicked) => {
            let message = "The metrics could not be rendered. The log has the reason";
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message).into_response()
        }
    }
}
