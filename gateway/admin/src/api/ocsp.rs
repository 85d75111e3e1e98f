//! `/postern/v1/certificate_authorities/{id}/ocsp`: the OCSP responder of an uploaded CA. Cloudflare
//! has no resource for it.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, present};
use crate::http::scope::{ChangeInGateway, InGateway};
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

fn all(at: &InGateway, id: Uuid) -> Result<Value, ChangeError> {
    let authority = at.control().uploaded_authority(id)?;
    let settings = authority.ocsp.as_ref();
    let name = id.to_string();
    let answers: Map<String, Value> = at
        .context()
        .responders()
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

pub(crate) async fn show(at: InGateway) -> Result<Response, Fault> {
    Ok(envelope::result(all(&at, at.one()?)?))
}

pub(crate) async fn set(at: ChangeInGateway, Json(body): Json<Set>) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let patch = OcspPatch {
        url: body.url,
        policy: body.policy,
        nonce: body.nonce,
    };
    let (_, at) = at
        .run_then_read(move |control| control.set_ocsp(id, &patch))
        .await?;
    Ok(envelope::result(all(&at, id)?))
}
