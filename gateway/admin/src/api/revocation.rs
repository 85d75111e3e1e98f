//! `/postern/v1/certificate_authorities/{id}/crls` and `…/ocsp`: the revocation lists of an uploaded
//! CA and its OCSP responder. Cloudflare has no resource for them.

use std::path::PathBuf;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters, Raw, off_thread, present, read_json};
use crate::http::scope::{ChangeInGateway, InGateway};
use control::{
    ChangeError, ChangeOnly, Control, CrlPatch, CrlSource, CrlStatus, Moment, OcspPatch, ReadOnly,
    Uuid,
};
use fetch::FetchOutcome;
use tls::CrlPolicy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLists {
    /// Absent leaves it, `null` asks for no list.
    #[serde(default, deserialize_with = "present")]
    policy: Option<Option<CrlPolicy>>,
    /// Absent leaves it, `null` watches no file.
    #[serde(default, deserialize_with = "present")]
    file: Option<Option<PathBuf>>,
    /// Absent leaves them, `null` or none fetches from nowhere.
    #[serde(default, deserialize_with = "present")]
    urls: Option<Option<Vec<String>>>,
    /// Seconds; absent leaves it, `null` is the default.
    #[serde(default, deserialize_with = "present")]
    fetch_every: Option<Option<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetResponder {
    /// Absent leaves it, `null` asks nobody.
    #[serde(default, deserialize_with = "present")]
    url: Option<Option<String>>,
    #[serde(default)]
    policy: Option<CrlPolicy>,
    #[serde(default)]
    nonce: Option<bool>,
}

/// A list in JSON, for clients that speak nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// PEM.
    crl: String,
    /// As the parameter.
    #[serde(default)]
    force: bool,
}

fn shown(crl: &CrlStatus) -> Value {
    json!({
        "list": crl.place,
        "issuer": crl.issuer,
        "number": crl.number,
        "delta": crl.delta,
        "this_update": Moment::from_seconds(crl.this_update).to_second(),
        "next_update": Moment::from_seconds(crl.next_update).to_second(),
        "entries": crl.entries,
        "warnings": crl.warnings,
    })
}

fn lists(at: &InGateway, id: Uuid) -> Result<Value, ChangeError> {
    let control = at.control();
    let authority = control.uploaded_authority(id)?;
    let lists: Vec<Value> = control
        .crls()
        .iter()
        .filter(|crl| crl.authority == id)
        .map(shown)
        .collect();
    let status = at.context().lists().status();
    let fetches = authority.crl.urls.iter().map(|url| {
        let found = status
            .iter()
            .find(|one| one.authority == id && one.url == *url);
        let last = found.and_then(|one| one.last.as_ref());
        json!({
            "url": url,
            "result": last.map(FetchOutcome::as_str),
            "error": last.and_then(FetchOutcome::why),
            "good_at": found.and_then(|one| one.good_at).map(Moment::to_second),
        })
    });
    let fetches: Vec<Value> = fetches.collect();
    let files = control.crl_files();
    let file = files.iter().find(|one| one.authority == id);
    Ok(json!({
        "id": id,
        "policy": authority.crl.policy,
        "file": authority.crl.file,
        "file_error": file.and_then(|one| one.last.why()),
        "urls": authority.crl.urls,
        "fetch_every": authority.crl.fetch_every_sec,
        "fetches": fetches,
        "crls": lists,
    }))
}

fn responder(at: &InGateway, id: Uuid) -> Result<Value, ChangeError> {
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

/// Changes something of a CA, and shows what there is afterwards.
async fn change<T: Send + 'static>(
    at: ChangeInGateway,
    change: impl FnOnce(&Control<ChangeOnly>, Uuid) -> Result<T, ChangeError> + Send + 'static,
    shown: fn(&InGateway, Uuid) -> Result<Value, ChangeError>,
) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let (_, at) = at.run_then_read(move |control| change(control, id)).await?;
    Ok(envelope::result(shown(&at, id)?))
}

pub(crate) async fn show_lists(at: InGateway) -> Result<Response, Fault> {
    Ok(envelope::result(lists(&at, at.one()?)?))
}

/// The body has lists in DER or PEM, or PEM in JSON.
pub(crate) async fn put_lists(
    at: ChangeInGateway,
    parameters: Parameters,
    Raw(body): Raw,
) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let mut force = match parameters.text("force") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(Fault::parameter("force: `true` or `false` is expected")),
    };
    let bytes = if body.bytes.first() == Some(&b'{') {
        let read = move || read_json::<Wrapped>(&body.bytes, "", &body.share);
        let wrapped = off_thread(read).await??;
        force |= wrapped.force;
        wrapped.crl.into_bytes()
    } else {
        body.bytes
    };
    let put = at
        .run(move |control| control.put_crls(id, &CrlSource::Upload, &bytes, force))
        .await?;
    let lists: Vec<Value> = put.lists.iter().map(shown).collect();
    Ok(envelope::result(
        json!({ "crls": lists, "taken": put.taken }),
    ))
}

pub(crate) async fn set_lists(
    at: ChangeInGateway,
    Json(body): Json<SetLists>,
) -> Result<Response, Fault> {
    let patch = CrlPatch {
        policy: body.policy,
        file: body.file,
        urls: body.urls.map(Option::unwrap_or_default),
        fetch_every_sec: body.fetch_every,
    };
    change(at, move |control, id| control.set_crl(id, patch), lists).await
}

pub(crate) async fn remove_lists(at: ChangeInGateway) -> Result<Response, Fault> {
    change(at, |control, id| control.remove_crls(id), lists).await
}

/// Fetches now what is to be fetched, and says what became of it.
pub(crate) async fn fetch_lists(at: InGateway) -> Result<Response, Fault> {
    let id: Uuid = at.one()?;
    let found = move |control: &Control<ReadOnly>| control.uploaded_authority(id);
    if at.run(found).await?.crl.urls.is_empty() {
        let message = "urls: the CA names no URL to fetch a list from; set `urls` first";
        return Err(Fault::bad(1411, message).at("/urls"));
    }
    at.context().lists().fetch_now(id).await;
    Ok(envelope::result(lists(&at, id)?))
}

pub(crate) async fn show_responder(at: InGateway) -> Result<Response, Fault> {
    Ok(envelope::result(responder(&at, at.one()?)?))
}

pub(crate) async fn set_responder(
    at: ChangeInGateway,
    Json(body): Json<SetResponder>,
) -> Result<Response, Fault> {
    let patch = OcspPatch {
        url: body.url,
        policy: body.policy,
        nonce: body.nonce,
    };
    change(
        at,
        move |control, id| control.set_ocsp(id, &patch),
        responder,
    )
    .await
}
