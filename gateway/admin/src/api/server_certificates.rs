//! Server certificates: `/client/v4/zones/{zone}/custom_certificates`, and the development CA under
//! `/postern/v1`.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{As, Json, Parameters};
use crate::http::scope::InZone;
use control::{Moment, ServerCertificate, ServerKey, Uuid};
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

fn shown(certificate: &ServerCertificate) -> Value {
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
        "source": certificate.source,
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

pub(crate) async fn upload(at: InZone, Json(body): Json<Upload>) -> Result<Response, Fault> {
    check_bundle(body.bundle_method.as_deref())?;
    let made = at
        .run(move |control, zone| {
            control.upload_server_certificate(zone, &body.certificate, &body.private_key)
        })
        .await?;
    Ok(envelope::result(shown(&made)))
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
    let items = page.of(found.iter().map(|certificate| shown(certificate)));
    Ok(envelope::list(items, &page, found.len()))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    Ok(envelope::result(shown(
        &*control.server_certificate(at.zone, at.one()?)?,
    )))
}

pub(crate) async fn replace(at: InZone, Json(body): Json<Replace>) -> Result<Response, Fault> {
    let control = at.control();
    let id: Uuid = at.one()?;
    check_bundle(body.bundle_method.as_deref())?;
    let (Some(certificate), Some(key)) = (body.certificate, body.private_key) else {
        // Nothing that Postern keeps would change.
        if body.bundle_method.is_some() {
            return Ok(envelope::result(shown(
                &*control.server_certificate(at.zone, id)?,
            )));
        }
        return Err(Fault::body(
            "certificate and private_key are expected, both",
        ));
    };
    let made = at
        .run(move |control, zone| control.replace_server_certificate(zone, id, &certificate, &key))
        .await?;
    Ok(envelope::result(shown(&made)))
}

pub(crate) async fn delete(at: InZone) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    at.run(move |control, zone| control.delete_server_certificate(zone, id))
        .await?;
    Ok(envelope::result(json!({ "id": id })))
}

pub(crate) async fn develop(at: InZone, Json(body): Json<Develop>) -> Result<Response, Fault> {
    let names: Vec<HostName> = body
        .hosts
        .iter()
        .map(|text| HostName::parse(text))
        .collect::<Result<_, _>>()?;
    let made = at
        .run(move |control, zone| control.develop_server_certificate(zone, &names))
        .await?;
    Ok(envelope::result(shown(&made)))
}

pub(crate) async fn development(State(context): Shared, As(intent): As) -> Result<Response, Fault> {
    let authority = context
        .run(intent, control::Control::development_authority)
        .await?;
    Ok(envelope::result(json!({
        "id": authority.id,
        "name": authority.name,
        "certificate": authority.certificate,
        "expires_on": Moment::from_seconds(authority.not_after).to_second(),
    })))
}
