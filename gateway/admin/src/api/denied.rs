//! `/postern/v1/certificate_authorities/{id}/denied`: certificates of an uploaded CA that are not
//! believed. Cloudflare has no resource for it.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInGateway, InGateway};
use control::{DeniedCertificate, Deny, DenyWhat, Uuid};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    serial_number: Option<String>,
    #[serde(default)]
    comment: String,
}

fn shown(one: &DeniedCertificate) -> Value {
    json!({
        "id": one.id(),
        "issuer": one.issuer,
        "issuer_sha256": one.issuer_sha256,
        "serial_number": one.serial_number,
        "comment": one.comment,
        "denied_on": one.denied_on.to_string(),
    })
}

pub(crate) async fn list(at: InGateway, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let all = at.control().denied(at.one()?)?;
    let items = page.of(all.iter().map(shown));
    Ok(envelope::list(items, &page, all.len()))
}

pub(crate) async fn add(at: ChangeInGateway, Json(body): Json<Add>) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let what = match (body.certificate, body.serial_number) {
        (Some(certificate), None) => DenyWhat::Certificate(certificate),
        (None, Some(serial)) => DenyWhat::Serial(serial),
        _ => {
            let message = "either certificate or serial_number is expected";
            return Err(Fault::body(message));
        }
    };
    let deny = Deny {
        what,
        comment: body.comment,
    };
    let denied = at.run(move |control| control.deny(id, &deny)).await?;
    Ok(envelope::result(
        denied.iter().map(shown).collect::<Vec<_>>(),
    ))
}

pub(crate) async fn remove(at: ChangeInGateway) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let entry = at.text(1).to_owned();
    let gone = at.run(move |control| control.allow(id, &entry)).await?;
    Ok(envelope::result(shown(&gone)))
}
