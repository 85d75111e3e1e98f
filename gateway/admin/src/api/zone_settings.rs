//! `/client/v4/zones/{zone}/settings`: Cloudflare's settings of a zone, as far as they mean something
//! here.
//!
//! One can be changed: `security_header`, which is a response header rule. `min_tls_version` is what
//! `tls.min_version` says. The others are what the gateway does in any case, or does elsewhere: setting them to what they are succeeds, anything
//! else is refused with what to use. `managed_headers` and the settings of Access, which forward the
//! client's certificate, are in [`super::forwarding`].

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::context::Context;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Json;
use crate::http::scope::{ChangeInZone, InZone};
use control::SecurityHeader;

/// A setting that is what it is: its name, its value, and what to do instead of changing it.
type Fixed = (&'static str, &'static str, &'static str);

const FIXED: &[Fixed] = &[
    (
        "always_use_https",
        "on",
        "nothing is forwarded over plain HTTP: with `listen.http` requests are redirected to HTTPS",
    ),
    (
        "http2",
        "on",
        "every host offers HTTP/2 and HTTP/1.1, and clients choose",
    ),
    ("http3", "off", "HTTP/3 is not served"),
    (
        "0rtt",
        "off",
        "early data can be replayed and is never taken",
    ),
    (
        "ssl",
        "strict",
        "certificates of https:// origins are always verified; a host's origin says whether TLS is \
         spoken: PATCH /postern/v1/hosts/NAME with `origin`, or `postern host set NAME --origin URL`",
    ),
    (
        "tls_1_3",
        "on",
        "clients that know TLS 1.3 speak it, others TLS 1.2",
    ),
    (
        "tls_client_auth",
        "off",
        "it is about one certificate that is shown to all origins. Here each has its own: \
         `postern host set NAME --origin-client-cert FILE --origin-client-key FILE`. To ask clients for \
         certificates use certificate_authorities/hostname_associations, or \
         `postern host set NAME --mtls request`",
    ),
    (
        "websockets",
        "on",
        "every host takes WebSockets, over HTTP/1.1 and HTTP/2; block them with a rule if they must \
         not be",
    ),
    (
        MIN_TLS_VERSION,
        "1.2",
        "it is the gateway's `tls.min_version` (1.2 or 1.3), for all zones, which is set in \
         postern.conf and taken at SIGHUP, by a new process. One host may ask for a newer version: \
         `postern host set NAME --tls-min-version 1.3`, or `tls_min_version` in \
         PATCH /postern/v1/hosts/NAME",
    ),
    (
        "development_mode",
        "off",
        "nothing is cached that could be left out",
    ),
];

/// The one whose value is the configuration's.
const MIN_TLS_VERSION: &str = "min_tls_version";

const SECURITY_HEADER: &str = "security_header";

#[derive(Deserialize)]
pub(crate) struct Edit {
    value: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    strict_transport_security: Hsts,
}

/// What is not said stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hsts {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    max_age: Option<f64>,
    #[serde(default)]
    include_subdomains: Option<bool>,
    #[serde(default)]
    preload: Option<bool>,
    #[serde(default)]
    nosniff: Option<bool>,
}

/// Two years: the longest that anybody recommends, and what the list for browsers asks for at most.
const HSTS_MAX_AGE_MAX_SEC: f64 = 63_072_000.0;

/// What a setting is.
fn value(context: &Context, (name, value, _): Fixed) -> String {
    if name == MIN_TLS_VERSION
        && let Ok(setting) = context.live().get("tls.min_version")
    {
        return setting.value;
    }
    value.into()
}

fn fixed(context: &Context, setting: Fixed) -> Value {
    let (name, ..) = setting;
    let value = value(context, setting);
    json!({ "id": name, "value": value, "editable": false, "modified_on": null })
}

fn security_header(header: SecurityHeader) -> Value {
    json!({
        "id": SECURITY_HEADER,
        "value": { "strict_transport_security": {
            "enabled": header.enabled,
            "max_age": header.max_age_sec,
            "include_subdomains": header.include_subdomains,
            "preload": header.preload,
            "nosniff": header.nosniff,
        } },
        "editable": true,
        "modified_on": null,
    })
}

/// A setting that is not here, with those that are.
fn absent(name: &str) -> Fault {
    let known: Vec<&str> = FIXED.iter().map(|(name, ..)| *name).collect();
    let name: String = name.chars().take(64).collect();
    let message = format!(
        "The setting `{}` does not exist here; {SECURITY_HEADER}, {} do. What hosts do is set under \
         /postern/v1/hosts, what requests do by rulesets",
        name.escape_debug(),
        known.join(", ")
    );
    Fault::new(StatusCode::NOT_FOUND, 1003, message)
}

fn find(name: &str) -> Option<Fixed> {
    FIXED.iter().copied().find(|(known, ..)| *known == name)
}

pub(crate) async fn list(at: InZone) -> Result<Response, Fault> {
    let mut all = vec![security_header(at.control().security_header(at.zone))];
    all.extend(FIXED.iter().map(|setting| fixed(at.context(), *setting)));
    Ok(envelope::result(all))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let name = at.text(0);
    if name == SECURITY_HEADER {
        let header = at.control().security_header(at.zone);
        return Ok(envelope::result(security_header(header)));
    }
    let setting = find(name).ok_or_else(|| absent(name))?;
    Ok(envelope::result(fixed(at.context(), setting)))
}

pub(crate) async fn edit(at: ChangeInZone, Json(body): Json<Edit>) -> Result<Response, Fault> {
    let name = at.text(0).to_owned();
    if name == SECURITY_HEADER {
        let wanted = hsts(body.value)?;
        let header = at
            .run(move |control, zone| {
                control.set_security_header(zone, |present| SecurityHeader {
                    enabled: wanted.enabled.unwrap_or(present.enabled),
                    max_age_sec: wanted.max_age.unwrap_or(present.max_age_sec),
                    include_subdomains: wanted
                        .include_subdomains
                        .unwrap_or(present.include_subdomains),
                    preload: wanted.preload.unwrap_or(present.preload),
                    nosniff: wanted.nosniff.unwrap_or(present.nosniff),
                })
            })
            .await?;
        return Ok(envelope::result(security_header(header)));
    }
    let setting = find(&name).ok_or_else(|| absent(&name))?;
    let (name, _, why) = setting;
    // Nothing that is kept would change.
    let ((), at) = at.run_then_read(|_, _| Ok(())).await?;
    let value = value(at.context(), setting);
    if body.value == *value {
        return Ok(envelope::result(fixed(at.context(), setting)));
    }
    let message = format!("{name}: it is `{value}` and cannot be changed here: {why}");
    Err(Fault::bad(1007, message).at("/value"))
}

/// What of HSTS is to change.
struct HstsChange {
    enabled: Option<bool>,
    max_age: Option<u64>,
    include_subdomains: Option<bool>,
    preload: Option<bool>,
    nosniff: Option<bool>,
}

fn hsts(value: Value) -> Result<HstsChange, Fault> {
    let Strict {
        strict_transport_security: said,
    } = serde_json::from_value(value).map_err(|why| {
        let message = format!(
            "value: {why}; expected {{\"strict_transport_security\": {{\"enabled\": true, \
             \"max_age\": 31536000}}}}"
        );
        Fault::body(message).at("/value")
    })?;
    // Generated clients may write a whole number as `31536000.0`.
    let max_age = said.max_age.map(|age| {
        let fits = (0.0..=HSTS_MAX_AGE_MAX_SEC).contains(&age) && age.fract() == 0.0;
        let whole = format!("{age:.0}").parse();
        whole.ok().filter(|_| fits).ok_or_else(|| {
            let message = "max_age: expected whole seconds, 63072000 (two years) at most";
            Fault::bad(1007, message).at("/value/strict_transport_security/max_age")
        })
    });
    Ok(HstsChange {
        enabled: said.enabled,
        max_age: max_age.transpose()?,
        include_subdomains: said.include_subdomains,
        preload: said.preload,
        nosniff: said.nosniff,
    })
}
