//! `/postern/v1/hosts` and `/postern/v1/zones/{zone}/hosts`: hosts and their settings.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::authorities::unasked;
use super::origins::{of_host, shown_to};
use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters, present};
use crate::http::scope::{ChangeInGateway, ChangeInZone, InGateway, InZone};
use control::{
    HostCertificates, HostPatch, HostRecord, Model, Moment, NewHost, OriginPatch, OriginSpec,
    ServerKey, Uuid,
};
use rules::Enforcement;
use vocabulary::hostname::HostName;
use vocabulary::settings::{
    CertificateHeaders, ClientPatch, ClientSettings, MtlsMode, OnRevoked, TlsVersion,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    origin: OriginPatch,
    #[serde(default)]
    mtls: Option<MtlsMode>,
    #[serde(default)]
    revoked: Option<OnRevoked>,
    #[serde(default)]
    certificate_headers: Option<BTreeSet<CertificateHeaders>>,
    #[serde(default)]
    tell_reason: Option<bool>,
    #[serde(default)]
    tls_min_version: Option<TlsVersion>,
    #[serde(default)]
    request_body_max: Option<u64>,
    #[serde(default)]
    acme: bool,
    #[serde(default)]
    certificate_id: Option<Uuid>,
    #[serde(default)]
    other_certificate_id: Option<Uuid>,
    #[serde(default)]
    server_certificates: Option<Vec<Pair>>,
    #[serde(default)]
    development_certificate: bool,
}

/// A server certificate that comes with a host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    certificate: String,
    private_key: String,
}

fn brought(
    pairs: Option<Vec<Pair>>,
    develop: bool,
    names_one: bool,
) -> Result<HostCertificates, Fault> {
    let count = usize::from(pairs.is_some()) + usize::from(develop) + usize::from(names_one);
    if count > 1 {
        let message = "one of certificate_id, server_certificates and development_certificate is \
                       expected, not several";
        return Err(Fault::bad(1004, message).at("/server_certificates"));
    }
    Ok(match pairs {
        Some(pairs) => HostCertificates::Given(
            pairs
                .into_iter()
                .map(|pair| (pair.certificate, pair.private_key))
                .collect(),
        ),
        None if develop => HostCertificates::Development,
        None => HostCertificates::None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    #[serde(default)]
    origin: Option<OriginPatch>,
    /// Absent leaves it, `null` follows the associations.
    #[serde(default, deserialize_with = "present")]
    mtls: Option<Option<MtlsMode>>,
    #[serde(default)]
    revoked: Option<OnRevoked>,
    #[serde(default)]
    certificate_headers: Option<BTreeSet<CertificateHeaders>>,
    #[serde(default)]
    tell_reason: Option<bool>,
    /// Absent leaves it, `null` leaves it to the gateway's.
    #[serde(default, deserialize_with = "present")]
    tls_min_version: Option<Option<TlsVersion>>,
    /// Absent leaves it, `null` leaves it to the gateway's.
    #[serde(default, deserialize_with = "present")]
    request_body_max: Option<Option<u64>>,
    #[serde(default)]
    acme: Option<bool>,
    /// Absent leaves it, `null` goes back to the newest that covers the host.
    #[serde(default, deserialize_with = "present")]
    certificate_id: Option<Option<Uuid>>,
    #[serde(default, deserialize_with = "present")]
    other_certificate_id: Option<Option<Uuid>>,
    #[serde(default)]
    server_certificates: Option<Vec<Pair>>,
    #[serde(default)]
    development_certificate: bool,
}

fn acme_status(context: &Context, model: &Model, host: &HostRecord) -> Option<Value> {
    let status = context.acme().status(model, host)?;
    let time = |at: Option<Moment>| at.map(Moment::to_second);
    Some(json!({
        "state": status.state.as_str(),
        "error": status.error,
        "failures": status.failures,
        "ordered_on": time(status.ordered_on),
        "next_order_on": time(status.next_on),
        "renewal_on": time(status.renewal_on),
    }))
}

fn shown(context: &Context, model: &Model, host: &HostRecord) -> Value {
    let zone = model.zones.get(&host.zone);
    let presented: Vec<Value> = model
        .presented(host)
        .iter()
        .map(|certificate| {
            json!({
                "id": certificate.id,
                "key_type": certificate.key_type.map(ServerKey::as_str),
                "issuer": certificate.issuer,
                "expires_on": Moment::from_seconds(certificate.not_after).to_second(),
            })
        })
        .collect();
    let authorities: Vec<Value> = model
        .believed(host)
        .iter()
        .map(|ca| {
            let expires_on = Moment::from_seconds(ca.not_after).to_second();
            json!({
                "id": ca.id, "name": ca.name, "expires_on": expires_on, "warnings": unasked(ca),
            })
        })
        .collect();
    json!({
        "name": host.name.as_str(),
        "zone_id": host.zone,
        "zone_name": zone.map(|zone| zone.name.as_str()),
        "mtls": host.mtls,
        "mtls_is_set": host.told_mode().is_some(),
        "revoked": host.client.revoked,
        "certificate_headers": host.client.certificate_headers,
        "tell_reason": host.client.tell_reason,
        "tls_min_version": host.tls_min_version,
        "request_body_max": host.request_body_max,
        "origin": host.origin.shown(),
        "origin_client_certificate": shown_to(&host.origin),
        "addresses": of_host(context, &host.name),
        "acme": host.acme,
        "acme_status": acme_status(context, model, host),
        "certificate_id": host.certificate,
        "other_certificate_id": host.other_certificate,
        "served": !presented.is_empty(),
        "server_certificate": presented.first(),
        "server_certificates": presented,
        "certificate_authorities": authorities,
        "created_on": host.created_on.to_string(),
        "modified_on": host.modified_on.to_string(),
    })
}

pub(crate) async fn create(at: ChangeInZone, Json(body): Json<Create>) -> Result<Response, Fault> {
    let client = ClientPatch {
        revoked: body.revoked,
        certificate_headers: body.certificate_headers,
        tell_reason: body.tell_reason,
    };
    let certificates = brought(
        body.server_certificates,
        body.development_certificate,
        body.certificate_id.is_some(),
    )?;
    let new = NewHost {
        name: HostName::parse(&body.name)?,
        origin: body.origin.apply(&OriginSpec::default()),
        mtls: body.mtls,
        client: client.apply(&ClientSettings::default()),
        tls_min_version: body.tls_min_version,
        request_body_max: body.request_body_max,
        acme: body.acme,
        certificate: body.certificate_id,
        other_certificate: body.other_certificate_id,
    };
    let (host, at) = at
        .run_then_read(move |control, zone| control.create_host_with(zone, new, &certificates))
        .await?;
    Ok(envelope::result(shown(
        at.context(),
        &at.control().model(),
        &host,
    )))
}

pub(crate) async fn list(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = context.reader().model();
    let items = page.of(model
        .hosts
        .values()
        .map(|host| shown(&context, &model, host)));
    Ok(envelope::list(items, &page, model.hosts.len()))
}

pub(crate) async fn list_of(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = at.control().model();
    let items = page.of(model
        .hosts_of(at.zone)
        .map(|host| shown(at.context(), &model, host)));
    Ok(envelope::list(
        items,
        &page,
        model.hosts_of(at.zone).count(),
    ))
}

pub(crate) async fn show(at: InGateway) -> Result<Response, Fault> {
    let control = at.control();
    let host = control.host(&HostName::parse(at.text(0))?)?;
    Ok(envelope::result(shown(
        at.context(),
        &control.model(),
        &host,
    )))
}

/// What keeps clients without a certificate from a host: the handshake, a rule, a rule for some of
/// their requests only, or nothing; the `skip` rule that is in the way of it; and whether whoever
/// has a revoked one gets around the rule.
pub(crate) async fn enforcement(at: InGateway) -> Result<Response, Fault> {
    let name = HostName::parse(at.text(0))?;
    let mode = at.control().host(&name)?.mtls;
    // With 100,000 rules this takes a while: not on the thread that answers everybody.
    let found = at.run(move |control| control.enforcement(&name)).await?;
    let revoked_pass = matches!(
        found,
        Enforcement::Fully {
            revoked_pass: true,
            ..
        }
    );
    let (by, rule, skip) = match found {
        Enforcement::Nothing { skip } => (None, None, skip),
        Enforcement::Partly { rule, skip } => (Some("rule_partly"), Some(rule), skip),
        Enforcement::Fully { rule, .. } => (Some("rule"), Some(rule), None),
    };
    let by = match mode {
        MtlsMode::Off => None,
        MtlsMode::Require => Some("handshake"),
        MtlsMode::Request => by,
    };
    Ok(envelope::result(json!({
        "by": by,
        "rule_id": rule.as_deref(),
        "skip_id": skip.as_deref(),
        "revoked_pass": mode == MtlsMode::Request && revoked_pass,
    })))
}

pub(crate) async fn update(
    at: ChangeInGateway,
    Json(body): Json<Update>,
) -> Result<Response, Fault> {
    let name = HostName::parse(at.text(0))?;
    let certificates = brought(
        body.server_certificates,
        body.development_certificate,
        body.certificate_id.is_some(),
    )?;
    let patch = HostPatch {
        origin: body.origin,
        mtls: body.mtls,
        client: ClientPatch {
            revoked: body.revoked,
            certificate_headers: body.certificate_headers,
            tell_reason: body.tell_reason,
        },
        tls_min_version: body.tls_min_version,
        request_body_max: body.request_body_max,
        acme: body.acme,
        certificate: body.certificate_id,
        other_certificate: body.other_certificate_id,
    };
    let (host, at) = at
        .run_then_read(move |control| control.update_host_with(&name, patch, &certificates))
        .await?;
    Ok(envelope::result(shown(
        at.context(),
        &at.control().model(),
        &host,
    )))
}

/// Has a certificate ordered from ACME now, and shows the host.
pub(crate) async fn order(at: InGateway) -> Result<Response, Fault> {
    let name = HostName::parse(at.text(0))?;
    let of = name.clone();
    let host = at.run(move |control| control.acme_host(&of)).await?;
    let fleet = at.context().fleet().shown();
    if !fleet.leads {
        let leader = fleet
            .leader
            .unwrap_or_else(|| "an edge that nobody knows yet".into());
        let message =
            format!("certificates are ordered by the edge that leads the fleet: ask {leader}");
        return Err(Fault::bad(1004, message));
    }
    at.context().acme().renew(&name);
    let model = at.control().model();
    Ok(envelope::result(shown(at.context(), &model, &host)))
}

pub(crate) async fn delete(at: ChangeInGateway) -> Result<Response, Fault> {
    let name = HostName::parse(at.text(0))?;
    let shown = name.to_string();
    let lost = at.run(move |control| control.delete_host(&name)).await?;
    Ok(envelope::result(json!({ "name": shown, "lost": lost })))
}
