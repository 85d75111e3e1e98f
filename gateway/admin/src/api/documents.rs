//! The configuration as one document: `/postern/v1/export`, `/postern/v1/apply`, and
//! `/postern/v1/backup`.
//!
//! Owns the messages for a document that does not parse, and the rule that private keys leave only by
//! a call with the widest scope. Reads no YAML: documents are JSON here.

use std::path::PathBuf;

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::http::auth::Peer;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::file_body::FileBody;
use crate::http::memory::Share;
use crate::http::query::{
    Json, Parameters, Raw, malformed, off_thread, read_json_saying, shortened,
};
use crate::http::scope::{ChangeInGateway, InGateway};
use control::{ApplyOptions, Document};
use vocabulary::suggest::suggest;

/// The words of serde, as people would say them, with what was probably meant.
fn words(message: &str) -> String {
    // serde_json adds a place in the JSON, which is not the file that people wrote.
    let message = message.split(" at line ").next().unwrap_or(message);
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.to_owned();
    };
    let mut quoted = rest.split('`');
    let key = quoted.next().unwrap_or_default().to_owned();
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let hint = match suggest(&key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    format!("unknown key `{}`; {hint}", key.escape_debug())
}

/// Reads a document, or says what is wrong with it and where.
fn read(text: &[u8], kind: &str, share: &Share) -> Result<Document, Fault> {
    read_json_saying(text, share, |error| match error.is_data() {
        true => Fault::bad(1004, shortened(words(&error.to_string()))),
        false => malformed(error, kind),
    })
}

pub(crate) async fn apply(
    at: ChangeInGateway,
    parameters: Parameters,
    Raw(body): Raw,
) -> Result<Response, Fault> {
    let flag = |name: &str| match parameters.text(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Fault::parameter(format!(
            "{name}: `true` or `false` is expected"
        ))),
    };
    let (prune, prune_zones) = (flag("prune")?, flag("prune_zones")?);
    let revision = match parameters.text("revision").map(str::parse) {
        None => None,
        Some(Ok(revision)) => Some(revision),
        Some(Err(_)) => return Err(Fault::parameter("revision: a whole number is expected")),
    };
    let options = ApplyOptions {
        prune,
        prune_zones,
        revision,
    };
    let document = off_thread(move || read(&body.bytes, &body.kind, &body.share)).await??;
    let applied = at
        .run(move |control| control.apply(&document, options))
        .await?;
    Ok(envelope::result(applied))
}

pub(crate) async fn export(at: InGateway) -> Result<Response, Fault> {
    let document = at.run(|control| control.export(false)).await?;
    Ok(envelope::result(document))
}

pub(crate) async fn export_private_keys(at: InGateway) -> Result<Response, Fault> {
    let actor = at.actor().clone();
    let document = at.run(|control| control.export(true)).await?;
    tracing::warn!(%actor, "private keys of CAs and server certificates were exported");
    Ok(envelope::result(document))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// An absolute path on the gateway's machine, where nothing is yet.
    path: PathBuf,
}

/// A backup has all keys, sealed, and is written with the gateway's rights where its path says: no
/// token is enough for that.
fn check_peer(request: &Request) -> Result<(), Fault> {
    if matches!(request.extensions().get(), Some(Peer::Unix { .. })) {
        return Ok(());
    }
    let message = "A backup is made over the unix socket only";
    Err(Fault::new(StatusCode::FORBIDDEN, 9109, message))
}

/// The copy itself, for whoever asks to keep where the gateway may not write.
pub(crate) async fn download_backup(at: InGateway, request: Request) -> Result<Response, Fault> {
    check_peer(&request)?;
    let copy = at.run(|control| control.backup_copy()).await?;
    tracing::info!(actor = %at.actor(), revision = copy.revision, "handed a backup out");
    let body = FileBody::new(copy.file, copy.size);
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, axum::body::Body::new(body)).into_response())
}

pub(crate) async fn backup(at: InGateway, request: Request) -> Result<Response, Fault> {
    check_peer(&request)?;
    let Json(wanted): Json<Backup> = Json::from_request(request, &()).await?;
    if !wanted.path.is_absolute() {
        return Err(Fault::bad(1004, "path: an absolute path is expected").at("/path"));
    }
    let actor = at.actor().clone();
    let path = wanted.path.clone();
    let (revision, size) = at.run(move |control| control.backup(&path)).await?;
    tracing::info!(%actor, path = %wanted.path.display(), revision, "made a backup");
    Ok(envelope::result(serde_json::json!({
        "path": wanted.path,
        "revision": revision,
        "size": size,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::memory::Pool;
    use serde_json::json;

    #[test]
    fn what_is_wrong_and_where() {
        for (document, place, message) in [
            (
                json!({"postern": 1, "zones": [{"name": "a.test", "hots": []}]}),
                "/zones/0/hots",
                "unknown key `hots`; did you mean `hosts`?",
            ),
            (
                json!({"postern": 1, "zone": []}),
                "/zone",
                "unknown key `zone`; did you mean `zones`?",
            ),
            (
                json!({"postern": 1, "xyzzy": []}),
                "/xyzzy",
                "unknown key `xyzzy`; known here: postern, lists, authorities, zones",
            ),
            (
                json!({"postern": 1, "zones": [{"name": 7}]}),
                "/zones/0/name",
                "invalid type: integer `7`, expected a string",
            ),
            (
                json!({"postern": 1, "zones": [{"name": "a.test", "hosts": [
                    {"name": "h.a.test", "origin": {"url": "x", "protocl": "http2"}}]}]}),
                "/zones/0/hosts/0/origin/protocl",
                "unknown key `protocl`; did you mean `protocol`?",
            ),
            (
                json!({"postern": 1, "lists": [{"kind": "ip"}]}),
                "/lists/0",
                "missing field `name`",
            ),
            (json!({}), "", "missing field `postern`"),
        ] {
            let text = document.to_string();
            let fault = read(text.as_bytes(), "", &Pool::default().share()).unwrap_err();
            assert_eq!(fault.message, message);
            assert_eq!(fault.pointer.as_deref(), Some(place), "{message}");
        }
    }
}
