//! Server certificates: `/client/v4/zones/{zone}/custom_certificates`, and the development CA under
//! `/postern/v1`.

use std::collections::HashMap;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInGateway, ChangeInZone, InGateway, InZone};
use control::{Authority, Model, Moment, ServerCertificate, ServerKey, Uuid};
use fetch::StapleStatus;
use vocabulary::hostname::HostName;

#[derive(Deserialize)]
pub(crate) struct Upload {
    certificate: String,
    private_key: String,
    #[serde(default)]
    bundle_method: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Replace {
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    private_key: Option<String>,
    #[serde(default)]
    bundle_method: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Develop {
    hosts: Vec<String>,
}

/// The names of the hosts that present each certificate.
fn users(model: &Model) -> HashMap<Uuid, Vec<&str>> {
    let mut users: HashMap<Uuid, Vec<&str>> = HashMap::new();
    for host in model.hosts.values() {
        for certificate in model.presented(host) {
            let of = users.entry(certificate.id).or_default();
            of.push(host.name.as_str());
        }
    }
    users
}

/// What is stapled to each certificate.
fn staples(at: &InZone) -> HashMap<Uuid, StapleStatus> {
    let all = at.context().stapler().status().into_iter();
    all.map(|one| (one.certificate, one)).collect()
}

fn shown(at: &InZone, certificate: &ServerCertificate) -> Value {
    shown_with(&users(&at.control().model()), &staples(at), certificate)
}

fn shown_with(
    users: &HashMap<Uuid, Vec<&str>>,
    staples: &HashMap<Uuid, StapleStatus>,
    certificate: &ServerCertificate,
) -> Value {
    let now = Moment::now().seconds();
    json!({
        "id": certificate.id,
        "zone_id": certificate.zone,
        "hosts": certificate.names.iter().map(HostName::as_str).collect::<Vec<_>>(),
        "issuer": certificate.issuer,
        "signature": certificate.signature,
        "key_type": certificate.key_type.map(ServerKey::as_str),
        "status": if certificate.not_after > now { "active" } else { "expired" },
        // The order of the chain is mended, nothing is added or left out.
        "bundle_method": "force",
        "priority": 0,
        "expires_on": Moment::from_seconds(certificate.not_after).to_second(),
        "uploaded_on": certificate.uploaded_on.to_string(),
        "modified_on": certificate.modified_on.to_string(),
        "serial_number": certificate.serial,
        "fingerprint_sha256": certificate.fingerprint_sha256,
        "certificate": certificate.chain,
        "source": certificate.came_from(),
        "warnings": certificate.warnings(),
        "ocsp_stapling": staples.get(&certificate.id).map(stapling),
        "presented_by": users.get(&certificate.id).map(Vec::as_slice).unwrap_or_default(),
    })
}

fn stapling(one: &StapleStatus) -> Value {
    let until = one.until_sec.map(Moment::from_seconds);
    json!({
        "must_staple": one.is_must,
        "responder": one.responder,
        "wanted": one.is_wanted,
        "stapled_until": until.map(|until| until.to_second()),
        "error": one.error,
    })
}

fn check_bundle(method: Option<&str>) -> Result<(), Fault> {
    match method {
        None | Some("ubiquitous" | "optimal" | "force") => Ok(()),
        Some(_) => {
            let message = "bundle_method: one of ubiquitous, optimal, force is expected";
            Err(Fault::bad(1004, message).at("/bundle_method"))
        }
    }
}

pub(crate) async fn upload(at: ChangeInZone, Json(body): Json<Upload>) -> Result<Response, Fault> {
    check_bundle(body.bundle_method.as_deref())?;
    let (made, at) = at
        .run_then_read(move |control, zone| {
            control.upload_server_certificate(zone, &body.certificate, &body.private_key)
        })
        .await?;
    Ok(envelope::result(shown(&at, &made)))
}

pub(crate) async fn list(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = at.control().model();
    let now = Moment::now().seconds();
    let wanted = |certificate: &ServerCertificate| match parameters.text("status") {
        None => true,
        Some("active") => certificate.not_after > now,
        Some("expired") => certificate.not_after <= now,
        Some(_) => false,
    };
    let mut found: Vec<_> = model
        .server_certificates
        .values()
        .filter(|certificate| certificate.zone == at.zone && wanted(certificate))
        .collect();
    found.sort_by_key(|certificate| std::cmp::Reverse((certificate.modified_on, certificate.id)));
    let (users, staples) = (users(&model), staples(&at));
    let items = page.of(found
        .iter()
        .map(|certificate| shown_with(&users, &staples, certificate)));
    Ok(envelope::list(items, &page, found.len()))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let found = at.control().server_certificate(at.zone, at.one()?)?;
    Ok(envelope::result(shown(&at, &found)))
}

pub(crate) async fn replace(
    at: ChangeInZone,
    Json(body): Json<Replace>,
) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    check_bundle(body.bundle_method.as_deref())?;
    let (made, at) = match (body.certificate, body.private_key) {
        (Some(certificate), Some(key)) => {
            at.run_then_read(move |control, zone| {
                control.replace_server_certificate(zone, id, &certificate, &key)
            })
            .await?
        }
        // Nothing that Postern keeps would change.
        _ if body.bundle_method.is_some() => {
            let ((), at) = at.run_then_read(|_, _| Ok(())).await?;
            let found = at.control().server_certificate(at.zone, id)?;
            (found, at)
        }
        _ => {
            let message = "certificate and private_key are expected, both";
            return Err(Fault::body(message));
        }
    };
    Ok(envelope::result(shown(&at, &made)))
}

pub(crate) async fn delete(at: ChangeInZone) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let lost = at
        .run(move |control, zone| control.delete_server_certificate(zone, id))
        .await?;
    Ok(envelope::losses(json!({ "id": id, "lost": lost })))
}

pub(crate) async fn develop(
    at: ChangeInZone,
    Json(body): Json<Develop>,
) -> Result<Response, Fault> {
    let names: Vec<HostName> = body
        .hosts
        .iter()
        .map(|text| HostName::parse(text))
        .collect::<Result<_, _>>()?;
    let (made, at) = at
        .run_then_read(move |control, zone| control.develop_server_certificate(zone, &names))
        .await?;
    Ok(envelope::result(shown(&at, &made)))
}

/// The development CA, when there is one.
pub(crate) async fn development(at: InGateway) -> Result<Response, Fault> {
    let authority = at.control().development_authority()?;
    Ok(shown_development(&authority))
}

/// Makes the development CA when there is none.
pub(crate) async fn make_development(at: ChangeInGateway) -> Result<Response, Fault> {
    let authority = at
        .run(|control| control.make_development_authority())
        .await?;
    Ok(shown_development(&authority))
}

fn shown_development(authority: &Authority) -> Response {
    envelope::result(json!({
        "id": authority.id,
        "name": authority.name,
        "certificate": authority.certificate,
        "expires_on": Moment::from_seconds(authority.not_after).to_second(),
    }))
}
