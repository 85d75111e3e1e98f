//! `/client/v4/zones/{zone}/dns_records`: hosts, as proxied A, AAAA and CNAME records say them.
//!
//! Owns the shape of records and the refusal of what no host can be. There is no name server: the
//! names have to point at the gateway wherever the zone's DNS is.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInZone, InZone};
use control::{ChangeError, DnsRecord, Id, RecordKind, RecordTarget};

/// A record as it comes; what only answers have is taken, so that an answer can be sent back.
#[derive(Deserialize)]
pub(crate) struct Body {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    proxied: Option<bool>,
    #[serde(default)]
    ttl: Option<f64>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    priority: Option<Value>,
    #[serde(default)]
    data: Option<Value>,
}

/// What a record says that a host can be.
struct Read {
    kind: Option<RecordKind>,
    name: Option<String>,
    content: Option<String>,
    messages: Vec<(u32, &'static str)>,
}

fn shown(record: &DnsRecord) -> Value {
    json!({
        "id": record.id,
        "type": record.kind,
        "name": record.host.name.as_str(),
        "content": record.content,
        "proxiable": true,
        "proxied": true,
        // Automatic, as Cloudflare shows it of every proxied record.
        "ttl": 1,
        "comment": null,
        "tags": [],
        "settings": {},
        "meta": {},
        "created_on": record.host.created_on.to_string(),
        "modified_on": record.host.modified_on.to_string(),
    })
}

impl Body {
    /// `new` says that it is a whole record and not what is to change of one.
    fn read(self, new: bool) -> Result<Read, Fault> {
        let refuse = |field: &str, message: String| {
            Err(Fault::bad(9005, format!("{field}: {message}")).at(format!("/{field}")))
        };
        let kind = match self.kind.as_deref() {
            None if new => return refuse("type", "it is required: A, AAAA or CNAME".into()),
            None => None,
            Some(text) => match text.parse::<RecordKind>() {
                Ok(kind) => Some(kind),
                Err(_) => {
                    let text: String = text.chars().take(16).collect();
                    let message = format!(
                        "records of type `{}` cannot be kept here, because the gateway is no name \
                         server. Proxied A, AAAA and CNAME records say where a host's origin is; \
                         keep all others where the zone's DNS is",
                        text.escape_debug()
                    );
                    return refuse("type", message);
                }
            },
        };
        if self.proxied == Some(false) || (new && self.proxied.is_none()) {
            let message = "an unproxied record does not lead through the gateway, and the gateway is \
                           no name server: keep it where the zone's DNS is, or set it to true";
            return refuse("proxied", message.into());
        }
        if new && self.name.is_none() {
            return refuse("name", "it is required: the host's name".into());
        }
        if new && self.content.is_none() {
            let message = "it is required: the origin's address or name";
            return refuse("content", message.into());
        }
        let mut messages = Vec::new();
        // 1 is automatic.
        if self.ttl.is_some_and(|ttl| ttl.to_bits() != 1f64.to_bits()) {
            let message = "ttl was left out: the gateway is no name server; set it where the \
                           zone's DNS is";
            messages.push((9021, message));
        }
        let has_comment = self.comment.is_some_and(|comment| !comment.is_empty());
        if has_comment || !self.tags.is_empty() {
            messages.push((9025, "comment and tags were left out: hosts have none"));
        }
        let has = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        if has(&self.priority) || has(&self.data) {
            messages.push((
                9025,
                "priority and data were left out: a host has one origin",
            ));
        }
        Ok(Read {
            kind,
            name: self.name,
            content: self.content,
            messages,
        })
    }
}

/// A change of a host, told as one of a record.
fn as_record(error: Fault) -> Fault {
    match error.pointer.as_deref() {
        Some("/origin") => error.at("/content"),
        _ => error,
    }
}

/// Whether a value passes all filters of its name: `name`, `name.contains` and so on.
fn passes(parameters: &Parameters, name: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let wanted = |operator: &str| {
        let text = parameters.text(&format!("{name}{operator}"));
        text.map(str::to_ascii_lowercase)
    };
    wanted("").is_none_or(|text| value == text)
        && wanted(".exact").is_none_or(|text| value == text)
        && wanted(".contains").is_none_or(|text| value.contains(&text))
        && wanted(".startswith").is_none_or(|text| value.starts_with(&text))
        && wanted(".endswith").is_none_or(|text| value.ends_with(&text))
}

pub(crate) async fn list(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    for name in ["comment", "tag"] {
        for operator in [
            "exact",
            "contains",
            "startswith",
            "endswith",
            "present",
            "absent",
        ] {
            let name = format!("{name}.{operator}");
            if parameters.text(&name).is_some() {
                let message = format!("{name}: hosts have no comments and no tags to search by");
                return Err(Fault::parameter(message));
            }
        }
    }
    if parameters.text("match") == Some("any") {
        let message = "match: only `all` is known, by which a record has to pass every filter";
        return Err(Fault::parameter(message));
    }
    let kind = parameters.text("type");
    let unproxied = parameters.text("proxied") == Some("false");
    let search = parameters.text("search").unwrap_or_default();
    let mut records = at.control().dns_records(at.zone);
    records.retain(|record| {
        let name = record.host.name.as_str();
        !unproxied
            && passes(&parameters, "name", name)
            && passes(&parameters, "content", &record.content)
            && kind.is_none_or(|kind| record.kind.as_str() == kind)
            && (name.contains(search) || record.content.contains(search))
    });
    let items = page.of(records.iter().map(shown));
    Ok(envelope::list(items, &page, records.len()))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let found = at.control().dns_record(at.zone, at.one()?);
    Ok(envelope::result(shown(&found.map_err(missing)?)))
}

/// Cloudflare's code for a record that is not there.
fn missing(error: ChangeError) -> Fault {
    let mut fault = Fault::from(error);
    if fault.status == StatusCode::NOT_FOUND {
        fault.code = 81_044;
        fault.message = "Record does not exist".to_owned();
    }
    fault
}

pub(crate) async fn create(at: ChangeInZone, Json(body): Json<Body>) -> Result<Response, Fault> {
    let read = body.read(true)?;
    let name = read.name.unwrap_or_default();
    let target = RecordTarget {
        kind: read.kind.unwrap_or(RecordKind::Cname),
        content: read.content.unwrap_or_default(),
    };
    let record = at
        .run(move |control, zone| control.create_dns_record(zone, &name, &target))
        .await
        .map_err(as_record)?;
    Ok(envelope::result_with(shown(&record), read.messages))
}

pub(crate) async fn replace(at: ChangeInZone, Json(body): Json<Body>) -> Result<Response, Fault> {
    change(at, body.read(true)?).await
}

pub(crate) async fn edit(at: ChangeInZone, Json(body): Json<Body>) -> Result<Response, Fault> {
    change(at, body.read(false)?).await
}

async fn change(at: ChangeInZone, read: Read) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let record = at
        .run(move |control, zone| {
            control.update_dns_record(zone, id, read.name.as_deref(), read.kind, read.content)
        })
        .await
        .map_err(as_record)?;
    Ok(envelope::result_with(shown(&record), read.messages))
}

pub(crate) async fn delete(at: ChangeInZone) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    at.run(move |control, zone| control.delete_dns_record(zone, id))
        .await?;
    Ok(envelope::result(json!({ "id": id })))
}
