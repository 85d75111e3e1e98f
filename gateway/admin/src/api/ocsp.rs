//! `/postern/v1/certificate_authorities/{id}/ocsp`: the OCSP responder of an uploaded CA. Cloudflare
//! has no resource for it.

use axum::extract::{Path, State as Extracted};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::context::{Shared, State};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{As, Json, present};
use control::{ChangeError, OcspPatch, Uuid};
use tls::CrlPolicy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    /// Absent leaves it, `null` asks nobody.
    #[serde(default, deserialize_with = "present")]
    url: Option<Option<String>>,
    #[serde(default)]
    policy: Option<CrlPolicy>,
    #[serde(default)]
    nonce: Option<bool>,
}

fn all(state: &State, id: Uuid) -> Result<Value, ChangeError> {
    let authority = state.control.uploaded_authority(id)?;
    let settings = authority.ocsp.as_ref();
    let name = id.to_string();
    let answers: Map<String, Value> = state
        .responders
        .counts()
        .into_iter()
        .filter(|((ca, _), _)| *ca == name)
        .map(|((_, word), count)| (word.to_owned(), json!(count)))
        .collect();
    Ok(json!({
        "id": id,
        "url": settings.map(|found| &found.url),
        "policy": settings.map(|found| found.policy),
        "nonce": settings.is_some_and(|found| found.nonce),
        "answers": answers,
    }))
}

pub(crate) async fn show(
    Extracted(context): Shared,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    Ok(envelope::result(all(&context.state, id.parse()?)?))
}

pub(crate) async fn set(
    Extracted(context): Shared,
    As(intent): As,
    Path(id): Path<String>,
    Json(body): Json<Set>,
) -> Result<Response, Fault> {
    let id: Uuid = id.parse()?;
    let patch = OcspPatch {
        url: body.url,
        policy: body.policy,
        nonce: body.nonce,
    };
    context
        .run(intent, move |control| control.set_ocsp(id, &patch))
        .await?;
    Ok(envelope::result(all(&context.state, id)?))
}
