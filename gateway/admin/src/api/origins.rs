//! `/postern/v1/zones/{zone}/origins` and `/postern/v1/origins`: origins that hosts and rules share, and
//! how the addresses of all origins are.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInZone, InZone};
use control::{Model, Moment, OriginPatch, OriginRecord, OriginSpec};
use snapshot::origins::state::{Failure, WHOLE_SHARE};
use snapshot::origins::{Address, Limit, OriginGroup};
use vocabulary::hostname::HostName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    origin: OriginPatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    origin: OriginPatch,
}

/// How an address is, in one word.
fn word(group: &OriginGroup, address: &Address, now: Instant) -> &'static str {
    let state = &address.state;
    if state.is_good(now) {
        let share = state.share(group.slow_start, now);
        return if share < WHOLE_SHARE {
            "starting"
        } else {
            "good"
        };
    }
    if state.is_out(now) {
        "ejected"
    } else {
        "unhealthy"
    }
}

fn address(context: &Context, group: &OriginGroup, address: &Address, now: Instant) -> Value {
    let state = &address.state;
    let (requests, failed) = state.counts();
    let places = address.origin.addresses.iter();
    let connects_to = places.map(|one| one.ip().to_string());
    json!({
        "url": address.origin.url,
        "weight": address.weight,
        "state": word(group, address, now),
        "health": state.health().as_str(),
        "health_error": context.health().error(group, address),
        "connects_to": connects_to.collect::<Vec<_>>(),
        "name_error": context.names().error(&address.origin),
        "out_for_seconds": state.out_for(now).map(|left| left.as_secs_f64().ceil()),
        "open_requests": state.open(),
        "requests": requests,
        "failed": failed,
        "ejections": state.ejections(),
        "last_failure": state.last_failure().map(Failure::as_str),
    })
}

/// What there is to know of the certificate that an origin is shown; `null` when it is shown none.
pub(super) fn shown_to(origin: &OriginSpec) -> Value {
    let shown = origin.client_certificate.as_ref();
    let Some(details) = shown.and_then(|shown| shown.details().ok()) else {
        return Value::Null;
    };
    json!({
        "common_name": details.common_name,
        "organization": details.organization,
        "issuer": details.issuer,
        "serial_number": details.serial_hex,
        "fingerprint_sha256": details.fingerprint_sha256,
        "signature": details.signature,
        "issued_on": Moment::from_seconds(details.not_before).to_second(),
        "expires_on": Moment::from_seconds(details.not_after).to_second(),
    })
}

/// What an origin has at once, and who waits; `null` where there is no limit.
fn limit(limit: Option<&Limit>) -> Value {
    let Some(limit) = limit else {
        return Value::Null;
    };
    let counts = limit.gate.counts();
    json!({
        "max": limit.max,
        "in_use": counts.inside,
        "waiting": counts.waiting,
        "queued": counts.queued,
        "queue_seconds": counts.waited.as_secs_f64(),
        "refused": counts.refused,
    })
}

/// The addresses of an origin and how they are; none of one that nothing sends requests to.
fn addresses(context: &Context, label: &str) -> Value {
    let (snapshot, now) = (context.published().load(), datapath::clock::now());
    let group = snapshot.origins.iter().find(|group| &*group.label == label);
    let all = group.into_iter().flat_map(|group| {
        let all = group.addresses.iter();
        all.map(move |one| address(context, group, one, now))
    });
    all.collect()
}

/// The addresses of a host's origin and how they are; none of a host that is not served.
pub(super) fn of_host(context: &Context, host: &HostName) -> Value {
    let (snapshot, now) = (context.published().load(), datapath::clock::now());
    let Some(host) = snapshot.host(host.as_str()) else {
        return json!([]);
    };
    let group = &host.origin;
    let all = group.addresses.iter();
    all.map(|one| address(context, group, one, now)).collect()
}

fn shown(context: &Context, model: &Model, origin: &OriginRecord) -> Value {
    let zone = model.zones.get(&origin.zone);
    let zone = zone.map_or("", |zone| zone.name.as_str());
    json!({
        "name": origin.name,
        "zone_id": origin.zone,
        "zone_name": zone,
        "origin": origin.origin.shown(),
        "client_certificate": shown_to(&origin.origin),
        "used_by": origin.used_by(model),
        "addresses": addresses(context, &format!("{zone}/{}", origin.name)),
        "created_on": origin.created_on.to_string(),
        "modified_on": origin.modified_on.to_string(),
    })
}

/// Every origin that hosts or rules send requests to, a host's own among them.
pub(crate) async fn states(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let (snapshot, now) = (context.published().load(), datapath::clock::now());
    let all = snapshot.origins.iter().map(|group| {
        let all = group.addresses.iter();
        let all = all.map(|one| address(&context, group, one, now));
        json!({
            "label": group.label,
            "all_used": group.panics(now),
            "requests": limit(group.requests.as_ref()),
            "connections": limit(group.connections.as_ref()),
            "addresses": all.collect::<Vec<_>>(),
        })
    });
    Ok(envelope::list(page.of(all), &page, snapshot.origins.len()))
}

pub(crate) async fn list(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = at.control().model();
    let all = model.origins_of(at.zone);
    let items = page.of(all.map(|origin| shown(at.context(), &model, origin)));
    let total = model.origins_of(at.zone).count();
    Ok(envelope::list(items, &page, total))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    let origin = control.origin(at.zone, at.text(0))?;
    let model = control.model();
    Ok(envelope::result(shown(at.context(), &model, &origin)))
}

pub(crate) async fn create(at: ChangeInZone, Json(body): Json<Create>) -> Result<Response, Fault> {
    let (origin, at) = at
        .run_then_read(move |control, zone| {
            let origin = body.origin.apply(&OriginSpec::default());
            control.create_origin(zone, &body.name, origin)
        })
        .await?;
    let model = at.control().model();
    Ok(envelope::result(shown(at.context(), &model, &origin)))
}

pub(crate) async fn update(at: ChangeInZone, Json(body): Json<Update>) -> Result<Response, Fault> {
    let name = at.text(0).to_owned();
    let (origin, at) = at
        .run_then_read(move |control, zone| control.update_origin(zone, &name, body.origin))
        .await?;
    let model = at.control().model();
    Ok(envelope::result(shown(at.context(), &model, &origin)))
}

pub(crate) async fn delete(at: ChangeInZone) -> Result<Response, Fault> {
    let name = at.text(0).to_owned();
    let gone = name.clone();
    at.run(move |control, zone| control.delete_origin(zone, &name))
        .await?;
    Ok(envelope::result(json!({ "name": gone })))
}
