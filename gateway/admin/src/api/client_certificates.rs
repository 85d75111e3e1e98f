//! Client certificates: `/client/v4/zones/{zone}/client_certificates`, and under `/postern/v1` the
//! ones whose key the gateway makes.

use std::collections::BTreeSet;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use boring::x509::X509;
use serde::Deserialize;
use serde_json::{Value, json};

use super::authorities::unasked;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, MaybeJson, Parameters};
use crate::http::scope::{ChangeInGateway, ChangeInZone, InZone};
use control::RevocationReason;
use control::{
    CertificateQuery, ClientCertificate, FindBy, Id, Moment, Secret, Status, Subject, Uuid,
    check_password,
};
use tls::Unasked;
use vocabulary::words::NotAWord;

#[derive(Deserialize)]
pub(crate) struct Issue {
    csr: String,
    validity_days: u32,
}

#[derive(Deserialize)]
pub(crate) struct Reactivate {
    #[serde(default)]
    reactivate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    common_name: String,
    #[serde(default)]
    organization: String,
    #[serde(default)]
    organizational_unit: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    country: String,
    validity_days: u32,
    /// Asks for a PKCS#12 file with this password beside the PEM texts.
    #[serde(default)]
    pkcs12_password: Option<String>,
}

fn shown(certificate: &ClientCertificate) -> Value {
    let details = &certificate.details;
    json!({
        "id": certificate.id,
        "certificate": certificate.certificate,
        "certificate_authority": {
            "id": certificate.authority,
            "name": certificate.authority_name,
        },
        "common_name": details.common_name,
        "country": details.country,
        "csr": certificate.csr.as_deref().unwrap_or_default(),
        "expires_on": Moment::from_seconds(details.not_after).to_second(),
        "fingerprint_sha256": details.fingerprint_sha256,
        "issued_on": Moment::from_seconds(details.not_before).to_second(),
        "location": details.location,
        "organization": details.organization,
        "organizational_unit": details.organizational_unit,
        "serial_number": details.serial_hex,
        "signature": details.signature,
        "ski": details.ski,
        "state": details.state,
        "status": certificate.status.as_str(),
        "validity_days": certificate.validity_days,
    })
}

pub(crate) async fn issue(at: ChangeInZone, Json(body): Json<Issue>) -> Result<Response, Fault> {
    let (issued, at) = at
        .run_then_read(move |control, zone| {
            control.issue_certificate(zone, &body.csr, body.validity_days)
        })
        .await?;
    let certificate = X509::from_pem(issued.certificate.as_bytes()).ok();
    let own = certificate.iter().flat_map(|one| Unasked::of_client(one));
    let mut messages: Vec<String> = own.map(|what| what.for_client()).collect();
    let model = at.control().model();
    messages.extend(
        model
            .authorities
            .get(&issued.authority)
            .iter()
            .flat_map(|ca| unasked(ca)),
    );
    Ok(envelope::told(shown(&issued), messages))
}

pub(crate) async fn create(at: ChangeInZone, Json(body): Json<Create>) -> Result<Response, Fault> {
    let subject = Subject {
        common_name: body.common_name,
        organization: body.organization,
        organizational_unit: body.organizational_unit,
        location: body.location,
        state: body.state,
        country: body.country,
    };
    let days = body.validity_days;
    let password = body
        .pkcs12_password
        .map(String::into_bytes)
        .map(Secret::new);
    let (fresh, pkcs12) = at
        .run(move |control, zone| {
            // Looked at first: the key of a certificate that is made is shown only once.
            password.as_ref().map(check_password).transpose()?;
            let fresh = control.create_certificate(zone, &subject, days)?;
            let pkcs12 = password.map(|password| control::pkcs12(&fresh, &password));
            Ok((fresh, pkcs12.transpose()?))
        })
        .await?;
    let mut answer = shown(&fresh.certificate);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("private_key".into(), fresh.private_key.reveal_text().into());
        if let Some(file) = pkcs12 {
            answer.insert("pkcs12".into(), STANDARD.encode(file.reveal()).into());
        }
    }
    Ok(envelope::result(answer))
}

pub(crate) async fn list(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let status = match parameters.text("status") {
        None | Some("all") => None,
        Some("active") => Some(Status::Active),
        Some("revoked") => Some(Status::Revoked),
        // States that a change passes through at Cloudflare; here it is in effect at once.
        Some("pending_reactivation" | "pending_revocation") => {
            return Ok(envelope::list(Vec::new(), &page, 0));
        }
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            let message = format!(
                "status: `{}` is none of all, active, pending_reactivation, pending_revocation, revoked",
                other.escape_debug()
            );
            return Err(Fault::parameter(message));
        }
    };
    let find = [
        ("serial_number", FindBy::Serial),
        ("fingerprint_sha256", FindBy::Fingerprint),
        ("ski", FindBy::Ski),
        ("common_name", FindBy::CommonName),
    ]
    .into_iter()
    .filter_map(|(name, by)| Some((by, parameters.text(name)?.to_owned())))
    .collect();
    let now = Moment::now().seconds();
    let ends = parameters
        .number("expires_within_days")?
        .map(|days| {
            i64::try_from(days)
                .unwrap_or(i64::MAX)
                .saturating_mul(86_400)
        })
        .map(|span| (now, now.saturating_add(span)));
    let query = CertificateQuery {
        status,
        find,
        ends,
        offset: page.start,
        limit: page.size,
    };
    let found = at
        .run(move |control, zone| control.certificates(zone, &query))
        .await?;
    let items = found.certificates.iter().map(shown).collect();
    Ok(envelope::list(items, &page, found.total))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let found = at
        .run(move |control, zone| control.certificate(zone, id))
        .await?;
    Ok(envelope::result(shown(&found)))
}

pub(crate) async fn revoke(at: ChangeInZone, parameters: Parameters) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let reason = match parameters.text("reason") {
        None => RevocationReason::Unspecified,
        Some(text) => text
            .parse()
            .map_err(|why: NotAWord| Fault::parameter(format!("reason: {why}")))?,
    };
    let revoked = at
        .run(move |control, zone| control.revoke_certificate_for(zone, id, reason))
        .await?;
    Ok(envelope::result(shown(&revoked)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeInZone {
    certificates: Vec<Uuid>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeAnywhere {
    certificates: Vec<Place>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    zone_id: Id,
    id: Uuid,
}

fn reason(text: Option<&str>) -> Result<RevocationReason, Fault> {
    let read = text.map(|text| {
        text.parse()
            .map_err(|why: NotAWord| Fault::body(format!("reason: {why}")).at("/reason"))
    });
    Ok(read.transpose()?.unwrap_or(RevocationReason::Unspecified))
}

fn counted(all: usize, changed: usize) -> Response {
    envelope::result(json!({ "certificates": all, "changed": changed }))
}

/// Revokes many of a zone, all or none.
pub(crate) async fn revoke_many(
    at: ChangeInZone,
    Json(body): Json<RevokeInZone>,
) -> Result<Response, Fault> {
    let reason = reason(body.reason.as_deref())?;
    let ids: BTreeSet<Uuid> = body.certificates.into_iter().collect();
    let count = ids.len();
    let changed = at
        .run(move |control, zone| {
            let all = ids.into_iter().map(|id| (zone, id)).collect();
            control.revoke_certificates(&all, reason)
        })
        .await?;
    Ok(counted(count, changed))
}

/// Revokes many of several zones, all or none.
pub(crate) async fn revoke_anywhere(
    at: ChangeInGateway,
    Json(body): Json<RevokeAnywhere>,
) -> Result<Response, Fault> {
    let reason = reason(body.reason.as_deref())?;
    let places = body.certificates.into_iter();
    let all: BTreeSet<(Id, Uuid)> = places.map(|place| (place.zone_id, place.id)).collect();
    let count = all.len();
    let changed = at
        .run(move |control| control.revoke_certificates(&all, reason))
        .await?;
    Ok(counted(count, changed))
}

pub(crate) async fn reactivate(
    at: ChangeInZone,
    MaybeJson(body): MaybeJson<Reactivate>,
) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    // Cloudflare's own example sends no body at all.
    if body.and_then(|body| body.reactivate) == Some(false) {
        return Err(Fault::body(
            "reactivate: only `true` does something; DELETE revokes",
        ));
    }
    let restored = at
        .run(move |control, zone| control.restore_certificate(zone, id))
        .await?;
    Ok(envelope::result(shown(&restored)))
}
