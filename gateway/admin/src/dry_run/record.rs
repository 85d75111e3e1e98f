//! Requests out of the access log, for a dry run.
//!
//! A line does not say everything: headers, the query, the path as it was sent and most of a
//! certificate are not in it. They are unknown, and so is a text that was cut.

use serde_json::{Value, json};

use super::certificate::{Certificate, certificate_fields_but, fields};
use super::subject::{DryRunRequest, Refused, time_msec, version};
use crate::limits::DRY_RUN_RECORD_BYTES_MAX;
use datapath::limits::ACCESS_LOG_FIELD_BYTES_MAX;
use rules::FieldSet;
use vocabulary::client_auth::ClientAuth;
use vocabulary::request_error::RequestError;
use vocabulary::verdict::{Reason, Verdict};

/// What was done with a recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Whether it was blocked; else it was permitted.
    pub(super) blocked_by: Option<String>,
    pub(super) status: u64,
}

impl Recorded {
    pub(super) fn shown(&self) -> Value {
        json!({
            "outcome": if self.blocked_by.is_some() { "block" } else { "permit" },
            "rule_id": self.blocked_by,
            "status": self.status,
        })
    }
}

/// What no line of the log says.
fn never_logged() -> FieldSet {
    fields(&[
        "http.request.headers",
        "http.request.cookies",
        "http.request.accepted_languages",
        "http.user_agent",
        "http.referer",
        "http.cookie",
        "http.x_forwarded_for",
        "http.request.full_uri",
        "http.request.uri.query",
        "http.request.uri.args",
        "raw.http.request",
    ])
    .and(FieldSet::named(|name| name == "http.request.uri"))
    .without(fields(&["http.request.headers.truncated"]))
}

/// Reads a line; `Err` says why there is nothing to evaluate.
pub(super) fn read(line: &str) -> Result<(DryRunRequest, Recorded), Refused> {
    let unevaluated = |why: &str| Refused::Unevaluated(why.to_owned());
    if line.len() > DRY_RUN_RECORD_BYTES_MAX {
        let max = DRY_RUN_RECORD_BYTES_MAX;
        return Err(unevaluated(&format!(
            "it is longer than the {max} bytes that a line of the access log may have"
        )));
    }
    let line: Value = serde_json::from_str(line).map_err(|why| {
        Refused::Unevaluated(format!("it is not a line of the access log: {why}"))
    })?;
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str);
    match text("/kind") {
        Some("request") => {}
        Some("handshake" | "certificate") => {
            return Err(unevaluated(
                "the line is about a connection, not about a request",
            ));
        }
        _ => {
            return Err(unevaluated(
                "it is not a line of the access log: it has no `kind`",
            ));
        }
    }
    let status = line.get("status").and_then(Value::as_u64).unwrap_or(0);
    let error = text("/error").and_then(|word| word.parse::<RequestError>().ok());
    if let Some(error) = error.filter(|error| error.is_before_rules()) {
        return Err(Refused::Unevaluated(format!(
            "it was refused before any rule was asked: {status} {error}"
        )));
    }
    let needed = |pointer: &str| {
        text(pointer)
            .ok_or_else(|| Refused::Unevaluated(format!("the line has no `{}`", &pointer[1..])))
    };
    let mut unknown = never_logged();
    let path = needed("/path")?;
    if is_cut(path) {
        unknown = unknown.and(fields(&["http.request.uri.path"]));
    }
    let authority = text("/authority").map_or_else(|| needed("/host"), Ok)?;
    if is_cut(authority) {
        return Err(unevaluated("the line's `authority` was cut"));
    }
    let http = version(needed("/http")?)
        .ok_or_else(|| unevaluated("the line's `http` is no version of HTTP"))?;
    let time =
        time_msec(needed("/time")?).ok_or_else(|| unevaluated("the line's `time` is none"))?;
    let certificate = certificate(line.get("client_cert").unwrap_or(&Value::Null))?;
    let blocked = text("/rule/action").filter(|action| *action == "block");
    let recorded = Recorded {
        blocked_by: blocked.and_then(|_| text("/rule/id")).map(str::to_owned),
        status,
    };
    let asked = DryRunRequest {
        name: text("/request_id").map(str::to_owned),
        method: needed("/method")?.to_owned(),
        version: http,
        authority: authority.to_owned(),
        sni: None,
        // Normalising it again changes nothing.
        target: path.to_owned(),
        headers: Vec::new(),
        says_host: false,
        source: text("/client").and_then(|client| client.parse().ok()),
        local: None,
        tls_version: text("/tls/version").map(str::to_owned),
        tls_cipher: text("/tls/cipher").map(str::to_owned),
        round_trip: None,
        request_id: text("/request_id").map(str::to_owned),
        time_msec: time,
        certificate,
        unknown,
        notes: Vec::new(),
    };
    Ok((asked, recorded))
}

/// A text that may not be the whole one.
fn is_cut(text: &str) -> bool {
    text.ends_with('…') && text.len() + 16 > ACCESS_LOG_FIELD_BYTES_MAX / 6
}

fn certificate(logged: &Value) -> Result<Certificate, Refused> {
    let flag = |key: &str| logged.get(key).and_then(Value::as_bool);
    let text = |key: &str| logged.get(key).and_then(Value::as_str).unwrap_or_default();
    let (Some(presented), Some(verified), Some(revoked)) =
        (flag("presented"), flag("verified"), flag("revoked"))
    else {
        let why = "the line does not say what was found of the client's certificate";
        return Err(Refused::Unevaluated(why.into()));
    };
    let reason = Reason::parse(text("reason"));
    let mut unknown = if presented {
        certificate_fields_but(&[
            "cert_presented",
            "cert_verified",
            "cert_revoked",
            "reason",
            "cert_subject_dn",
            "cert_subject_dn_rfc2253",
            "cert_issuer_dn",
            "cert_issuer_dn_rfc2253",
            "cert_issuer_ski",
            "cert_serial",
            "cert_fingerprint_sha256",
            "ca_id",
        ])
    } else {
        FieldSet::default()
    };
    if reason.is_none() {
        unknown = unknown.and(fields(&["postern.tls_client_auth.reason"]));
    }
    for (key, names) in [
        (
            "subject",
            &["cert_subject_dn", "cert_subject_dn_rfc2253"][..],
        ),
        ("issuer", &["cert_issuer_dn", "cert_issuer_dn_rfc2253"]),
        ("issuer_key_id", &["cert_issuer_ski"]),
        ("serial", &["cert_serial"]),
        ("fingerprint_sha256", &["cert_fingerprint_sha256"]),
        ("ca_id", &["ca_id"]),
    ] {
        let is_cut = is_cut(text(key));
        // A certificate may have no subject; that the log was to leave it out looks the same.
        let is_missing = presented && text(key).is_empty();
        if is_cut || is_missing {
            let meant = |name: &str| {
                name.strip_prefix("cf.tls_client_auth.")
                    .is_some_and(|field| names.contains(&field))
            };
            unknown = unknown.and(FieldSet::named(meant));
        }
    }
    let client = ClientAuth {
        verdict: Verdict {
            presented,
            verified,
            revoked,
            reason: reason.unwrap_or(Reason::Other),
        },
        subject_dn: text("subject").into(),
        subject_dn_rfc2253: text("subject").into(),
        issuer_dn: text("issuer").into(),
        issuer_dn_rfc2253: text("issuer").into(),
        issuer_ski: text("issuer_key_id").into(),
        serial: text("serial").into(),
        fingerprint_sha256: text("fingerprint_sha256").into(),
        ca_id: text("ca_id").into(),
        ..ClientAuth::none()
    };
    Ok(Certificate::Described(Box::new(client), unknown))
}
