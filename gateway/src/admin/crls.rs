//! `/postern/v1/certificate_authorities/{id}/crls`: the revocation lists of an uploaded CA, which
//! Cloudflare has no resource for.

use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::fault::Fault;
use super::query::{As, Json, Raw};
use super::{Shared, envelope};
use crate::control::{ChangeError, Control, CrlPatch, CrlStatus, Moment, Uuid};
use crate::limits::CRL_FILE_BYTES_MAX;
use crate::tls::CrlPolicy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// Absent leaves it, `null` asks for no list.
    #[serde(default, deserialize_with = "present")]
    policy: Option<Option<CrlPolicy>>,
    /// Absent leaves it, `null` watches no file.
    #[serde(default, deserialize_with = "present")]
    file: Option<Option<PathBuf>>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A list in JSON, for clients that speak nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// PEM.
    crl: String,
}

fn shown(crl: &CrlStatus) -> Value {
    json!({
        "number": crl.number,
        "delta": crl.delta,
        "this_update": Moment::from_seconds(crl.this_update).to_second(),
        "next_update": Moment::from_seconds(crl.next_update).to_second(),
        "entries": crl.entries,
    })
}

fn all(control: &Control, id: Uuid) -> Result<Value, ChangeError> {
    let authority = control.uploaded_authority(id)?;
    let lists: Vec<Value> = control
        .crls()
        .iter()
        .filter(|crl| crl.authority == id)
        .map(shown)
        .collect();
    Ok(json!({
        "id": id,
        "policy": authority.crl.policy,
        "file": authority.crl.file,
        "crls": lists,
    }))
}

pub(super) async fn show(
    State(context): Shared,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    Ok(envelope::result(all(&context.state.control, id.parse()?)?))
}

/// The body is a list in DER or PEM, or PEM in JSON.
pub(super) async fn put(
    State(context): Shared,
    As(intent): As,
    Path(id): Path<String>,
    body: Raw<CRL_FILE_BYTES_MAX>,
) -> Result<Response, Fault> {
    let id: Uuid = id.parse()?;
    let bytes = if body.0.first() == Some(&b'{') {
        let wrapped: Wrapped = serde_json::from_slice(&body.0)
            .map_err(|error| Fault::body(format!("Malformed JSON in request body: {error}")))?;
        wrapped.crl.into_bytes()
    } else {
        body.0.to_vec()
    };
    let crl = context
        .run(intent, move |control| control.put_crl(id, &bytes))
        .await?;
    Ok(envelope::result(shown(&crl)))
}

pub(super) async fn set(
    State(context): Shared,
    As(intent): As,
    Path(id): Path<String>,
    Json(body): Json<Set>,
) -> Result<Response, Fault> {
    let id: Uuid = id.parse()?;
    let patch = CrlPatch {
        policy: body.policy,
        file: body.file,
    };
    context
        .run(intent, move |control| control.set_crl(id, patch))
        .await?;
    Ok(envelope::result(all(&context.state.control, id)?))
}

pub(super) async fn remove(
    State(context): Shared,
    As(intent): As,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let id: Uuid = id.parse()?;
    context
        .run(intent, move |control| control.remove_crls(id))
        .await?;
    Ok(envelope::result(all(&context.state.control, id)?))
}
