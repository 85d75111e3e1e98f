//! CAs of client certificates: uploaded ones under
//! `/client/v4/accounts/{account}/mtls_certificates`, a zone's managed ones with their rollover and
//! revocation lists under `/postern/v1`.

use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, MaybeJson, Parameters};
use crate::http::scope::{ChangeInAccount, ChangeInZone, InAccount, InZone};
use control::{Authority, AuthorityKind, AuthoritySet, CaKey, Details, Moment, Uuid};
use tls::{Unasked, pem};

#[derive(Deserialize)]
pub(crate) struct Upload {
    ca: bool,
    certificates: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    private_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roll {
    #[serde(default)]
    key_type: Option<String>,
}

/// What kind of key a managed CA shall have.
pub(crate) fn key_kind(text: &str) -> Result<CaKey, Fault> {
    CaKey::parse(text).map_err(|why| Fault::body(format!("key_type: {why}")).at("/key_type"))
}

/// What clients of these CAs cannot be asked for.
pub(crate) fn unasked(authority: &Authority) -> Vec<String> {
    let certificates = pem::certificates(authority.certificate.as_bytes(), pem::Use::Clients);
    let certificates = certificates.unwrap_or_default();
    let found = certificates.iter().flat_map(|one| Unasked::of_ca(one));
    found
        .map(|what| format!("{}: {}", authority.name, what.for_ca()))
        .collect()
}

fn shown(authority: &Authority) -> Value {
    let first = pem::certificate(authority.certificate.as_bytes()).ok();
    let details = first.and_then(|certificate| Details::of(&certificate).ok());
    let of = |read: fn(&Details) -> &String| details.as_ref().map(|found| read(found).clone());
    json!({
        "id": authority.id,
        "ca": true,
        "certificates": authority.certificate,
        "expires_on": Moment::from_seconds(authority.not_after).to_second(),
        "issuer": of(|found| &found.issuer),
        "name": authority.name,
        "serial_number": of(|found| &found.serial_hex),
        "signature": of(|found| &found.signature),
        "type": "custom",
        "uploaded_on": authority.created_on.to_string(),
        "updated_at": authority.created_on.to_string(),
        "warnings": authority.warnings(Moment::now()),
    })
}

fn shown_managed(authority: &Authority, issues: bool) -> Value {
    json!({
        "id": authority.id,
        "name": authority.name,
        "certificate": authority.certificate,
        "issues": issues,
        "key_type": authority.key_kind().map(CaKey::as_str),
        "created_on": authority.created_on.to_string(),
        "expires_on": Moment::from_seconds(authority.not_after).to_second(),
    })
}

pub(crate) async fn upload(
    at: ChangeInAccount,
    Json(body): Json<Upload>,
) -> Result<Response, Fault> {
    if !body.ca {
        let message = "ca: only CA certificates are taken here; server certificates go to custom_certificates";
        return Err(Fault::bad(1411, message).at("/ca"));
    }
    if body.private_key.is_some() {
        let message = "private_key: a CA's key is not needed and is not taken; keep it where it is";
        return Err(Fault::bad(1411, message).at("/private_key"));
    }
    let name = body.name.unwrap_or_default();
    let made = at
        .run(move |control| control.upload_authority(&name, &body.certificates))
        .await?;
    Ok(envelope::told(shown(&made), unasked(&made)))
}

pub(crate) async fn list(at: InAccount, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = at.control().model();
    let mut found: Vec<&Arc<Authority>> = model
        .authorities
        .values()
        .filter(|authority| matches!(authority.kind, AuthorityKind::Uploaded))
        .collect();
    found.sort_by_key(|authority| std::cmp::Reverse((authority.created_on, authority.id)));
    let items = page.of(found.iter().map(|authority| shown(authority)));
    Ok(envelope::list(items, &page, found.len()))
}

pub(crate) async fn show(at: InAccount) -> Result<Response, Fault> {
    let found = at.control().uploaded_authority(at.one()?)?;
    Ok(envelope::result(shown(&found)))
}

pub(crate) async fn delete(at: ChangeInAccount) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let (gone, lost) = at.run(move |control| control.delete_authority(id)).await?;
    let mut shown = shown(&gone);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("lost".into(), json!(lost));
    }
    Ok(envelope::losses(shown))
}

/// Which host names believe an uploaded CA.
pub(crate) async fn associations(at: InAccount) -> Result<Response, Fault> {
    let control = at.control();
    let id = control.uploaded_authority(at.one()?)?.id;
    let model = control.model();
    let names = model
        .associations
        .iter()
        .filter(|((_, set), _)| *set == AuthoritySet::Uploaded(id))
        .flat_map(|((zone, _), names)| names.iter().map(move |name| (zone, name)));
    let items: Vec<Value> = names
        .map(
            |(zone, name)| json!({ "service": name.as_str(), "status": "active", "zone_id": zone }),
        )
        .collect();
    Ok(envelope::result(items))
}

/// The managed CAs of a zone, the issuing one first.
pub(crate) async fn managed(at: InZone) -> Result<Response, Fault> {
    let model = at.control().model();
    let managed = model.managed(at.zone);
    let items = managed.iter().enumerate();
    let items: Vec<Value> = items
        .map(|(place, authority)| shown_managed(authority, place == 0))
        .collect();
    Ok(envelope::result(items))
}

pub(crate) async fn roll(
    at: ChangeInZone,
    MaybeJson(body): MaybeJson<Roll>,
) -> Result<Response, Fault> {
    let asked = body.and_then(|body| body.key_type);
    let kind = asked.as_deref().map(key_kind).transpose()?;
    let made = at
        .run(move |control, zone| control.roll_authority(zone, kind))
        .await?;
    Ok(envelope::told(shown_managed(&made, true), unasked(&made)))
}

pub(crate) async fn retire(at: ChangeInZone) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let lost = at
        .run(move |control, zone| control.retire_authority(zone, id))
        .await?;
    Ok(envelope::result(json!({ "id": id, "lost": lost })))
}

/// The signed revocation list of a managed CA (RFC 2585 §4.2 names the media type).
pub(crate) async fn revocation_list(at: InZone) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let list = at
        .run(move |control, zone| control.revocation_list(zone, id))
        .await?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], list).into_response())
}
