//! `/client/v4/zones/{zone}/certificate_authorities/hostname_associations`: the hosts that trust a
//! CA; and `/postern/v1/zones/{zone}/hostname_associations`, which adds and takes away some.

use std::collections::BTreeSet;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInZone, InZone};
use control::{AuthoritySet, Model, Uuid};
use vocabulary::hostname::HostName;
use vocabulary::settings::MtlsMode;

#[derive(Deserialize)]
pub(crate) struct Associate {
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    mtls_certificate_id: Option<Uuid>,
}

fn set_of(id: Option<Uuid>) -> AuthoritySet {
    id.map_or(AuthoritySet::Managed, AuthoritySet::Uploaded)
}

fn parsed(texts: &[String], field: &str) -> Result<BTreeSet<HostName>, Fault> {
    let read = texts.iter().enumerate().map(|(place, text)| {
        HostName::parse(text).map_err(|why| Fault::from(why).at(format!("/{field}/{place}")))
    });
    read.collect()
}

fn names(names: &BTreeSet<HostName>) -> Value {
    json!({ "hostnames": names.iter().map(HostName::as_str).collect::<Vec<_>>() })
}

pub(crate) async fn show(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let control = at.control();
    let id = parameters
        .text("mtls_certificate_id")
        .map(str::parse)
        .transpose()?;
    Ok(envelope::result(names(
        &*control.associations(at.zone, set_of(id))?,
    )))
}

pub(crate) async fn replace(
    at: ChangeInZone,
    Json(body): Json<Associate>,
) -> Result<Response, Fault> {
    let wanted = parsed(&body.hostnames, "hostnames")?;
    let set = set_of(body.mtls_certificate_id);
    let (set, at) = at
        .run_then_read(move |control, zone| control.associate_hosts(zone, set, wanted))
        .await?;
    let messages = asks_nothing(&at.control().model(), &set);
    Ok(envelope::told(names(&set), messages))
}

/// Says which of these hosts do not ask for certificates, because their mode was set so.
fn asks_nothing(model: &Model, names: &BTreeSet<HostName>) -> Vec<String> {
    let hosts = names.iter().filter_map(|name| model.hosts.get(name));
    let off = hosts.filter(|host| host.mtls == MtlsMode::Off);
    let off: Vec<&str> = off.map(|host| host.name.as_str()).collect();
    if off.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} asks for no client certificates: its mTLS mode was set to `off`, which an association does not change; set the mode to `request` or `require`",
        off.join(", ")
    )]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    mtls_certificate_id: Option<Uuid>,
}

pub(crate) async fn change(at: ChangeInZone, Json(body): Json<Change>) -> Result<Response, Fault> {
    let (add, remove) = (parsed(&body.add, "add")?, parsed(&body.remove, "remove")?);
    let set = set_of(body.mtls_certificate_id);
    let (done, at) = at
        .run_then_read(move |control, zone| control.change_associations(zone, set, &add, &remove))
        .await?;
    let messages = asks_nothing(&at.control().model(), &done.names);
    let list = |names: &[HostName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut shown = names(&done.names);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("added".into(), json!(list(&done.added)));
        shown.insert("removed".into(), json!(list(&done.removed)));
    }
    Ok(envelope::told(shown, messages))
}
