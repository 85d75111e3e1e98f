//! Requests written by hand for a dry run.
//!
//! What is not said is unknown, but for what has a plain meaning: no header that is not listed, no
//! certificate, `GET`, `/`, HTTP/1.1, now. `host` is the authority, and the name in SNI where `sni`
//! says no other. A header `host` is sent as `Host` in its place; an empty list of them sends none.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::http::Version;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::certificate::{Certificate, chain, fields, state};
use super::subject::{DryRunRequest, now_msec, time_msec, version};
use rules::FieldSet;
use vocabulary::client_auth::ClientAuth;

/// A request as people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    method: Option<String>,
    /// `https://HOST/PATH?QUERY` in the place of `host` and `path`.
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    host: Option<String>,
    /// The name in SNI; without it `host`.
    #[serde(default)]
    sni: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    http: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    server: Option<String>,
    #[serde(default)]
    tls_version: Option<String>,
    #[serde(default)]
    tls_cipher: Option<String>,
    #[serde(default)]
    round_trip_msec: Option<u32>,
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    certificate: Option<CertificateBody>,
    #[serde(default)]
    pub(super) expect: Option<String>,
}

/// A word or PEM, or what is known in an object.
#[derive(Debug)]
enum CertificateBody {
    State(String),
    Described(Box<Described>),
}

impl<'de> Deserialize<'de> for CertificateBody {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        struct TextOrObject;

        impl<'de> Visitor<'de> for TextOrObject {
            type Value = CertificateBody;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a state, PEM, or an object")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CertificateBody, E> {
                Ok(CertificateBody::State(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<CertificateBody, A::Error> {
                let described = Described::deserialize(MapAccessDeserializer::new(members))?;
                Ok(CertificateBody::Described(Box::new(described)))
            }
        }

        given.deserialize_any(TextOrObject)
    }
}

/// What is known of a certificate; what is not said is not known.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    pem: Option<String>,
    #[serde(default)]
    subject_dn: Option<String>,
    #[serde(default)]
    issuer_dn: Option<String>,
    #[serde(default)]
    serial: Option<String>,
    #[serde(default)]
    fingerprint_sha256: Option<String>,
    #[serde(default)]
    ski: Option<String>,
    #[serde(default)]
    issuer_ski: Option<String>,
    #[serde(default)]
    ca_id: Option<String>,
    #[serde(default)]
    san_dns: Option<Vec<String>>,
    #[serde(default)]
    san_uri: Option<Vec<String>>,
    #[serde(default)]
    san_email: Option<Vec<String>>,
    #[serde(default)]
    san_ip: Option<Vec<IpAddr>>,
}

/// A value that is wrong, and why.
type Wrong = (&'static str, String);

impl RequestBody {
    pub(super) fn read(self) -> Result<DryRunRequest, Wrong> {
        let (host, path) = match (self.url, self.host, self.path) {
            (Some(url), None, None) => split(&url).map_err(|why| ("url", why.to_string()))?,
            (None, Some(host), path) => (host, path.unwrap_or_else(|| "/".into())),
            (None, None, _) => return Err(("host", "say `host`, or `url`".into())),
            (Some(_), ..) => {
                return Err(("url", "say either `url`, or `host` and `path`".into()));
            }
        };
        let http = match self.http.as_deref() {
            None => Version::HTTP_11,
            Some(text) => version(text).ok_or_else(|| {
                (
                    "http",
                    "it is `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`".to_owned(),
                )
            })?,
        };
        let address = |text: Option<String>, field| match text {
            None => Ok(None),
            Some(text) => address(&text).map(Some).ok_or_else(|| {
                (
                    field,
                    format!("`{}` is not an address", text.escape_debug()),
                )
            }),
        };
        let time_msec = match self.time.as_deref() {
            None => now_msec(),
            Some(text) => time_msec(text).ok_or_else(|| {
                let why = "a time is written as in 2026-01-31T12:00:00Z (RFC 3339)";
                ("time", why.to_owned())
            })?,
        };
        Ok(DryRunRequest {
            name: self.name,
            method: self.method.unwrap_or_else(|| "GET".into()),
            version: http,
            authority: host,
            sni: self.sni,
            target: path,
            says_host: self
                .headers
                .keys()
                .any(|name| name.eq_ignore_ascii_case("host")),
            headers: headers(self.headers)?,
            source: address(self.source, "source")?,
            local: address(self.server, "server")?,
            tls_version: self.tls_version,
            tls_cipher: self.tls_cipher,
            round_trip: self
                .round_trip_msec
                .map(|msec| Duration::from_millis(msec.into())),
            request_id: None,
            time_msec,
            certificate: certificate(self.certificate)?,
            unknown: FieldSet::default(),
            notes: Vec::new(),
        })
    }
}

/// Why a text is not the URL of a request.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum NotAUrl {
    #[error("it begins with `https://`")]
    Scheme,
    #[error("it names no host")]
    NoHost,
}

/// Authority and target of a URL. Not `http::Uri`: the path must stay as it was written.
fn split(url: &str) -> Result<(String, String), NotAUrl> {
    let rest = match url.split_once("://") {
        Some(("https", rest)) => rest,
        Some(_) => return Err(NotAUrl::Scheme),
        None => url,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    let target = target.split('#').next().unwrap_or_default();
    if host.is_empty() {
        return Err(NotAUrl::NoHost);
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((host.to_owned(), format!("{slash}{target}")))
}

fn headers(all: Map<String, Value>) -> Result<Vec<(String, String)>, Wrong> {
    let wrong = || {
        (
            "headers",
            "a header has a text, or a list of texts".to_owned(),
        )
    };
    let mut headers = Vec::new();
    for (name, value) in all {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let text = match value {
                Value::String(text) => text,
                // YAML reads `x-version: 2` as a number.
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => return Err(wrong()),
            };
            headers.push((name.to_ascii_lowercase(), text));
        }
    }
    Ok(headers)
}

/// An address with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    let alone = text.parse::<IpAddr>().map(|address| (address, 0).into());
    alone.ok().or_else(|| text.parse().ok())
}

fn certificate(body: Option<CertificateBody>) -> Result<Certificate, Wrong> {
    let described = match body {
        None => Described {
            state: Some("none".into()),
            ..Described::default()
        },
        Some(CertificateBody::State(text)) if tls::pem::is_meant(text.as_bytes()) => Described {
            pem: Some(text),
            ..Described::default()
        },
        Some(CertificateBody::State(state)) => Described {
            state: Some(state),
            ..Described::default()
        },
        Some(CertificateBody::Described(described)) => *described,
    };
    let wrong = |why: &str| ("certificate", why.to_owned());
    let said = match described.state.as_deref() {
        None => None,
        Some(word) => Some(
            state(word)
                .ok_or_else(|| wrong("it is `none`, `invalid`, `valid`, `revoked`, or PEM"))?,
        ),
    };
    if let Some(pem) = &described.pem {
        let chain = chain(pem).map_err(|why| ("certificate", why.to_string()))?;
        return Ok(Certificate::Chain(chain, said.map(|(verdict, _)| verdict)));
    }
    let (verdict, mut unknown) =
        said.ok_or_else(|| wrong("say its `state`, or give it as `pem`"))?;
    let mut client = ClientAuth {
        verdict,
        ..ClientAuth::none()
    };
    let mut known = |names: &[&str]| unknown = unknown.without(fields(names));
    let texts = [
        (
            described.subject_dn,
            &mut client.subject_dn,
            &["cf.tls_client_auth.cert_subject_dn"][..],
        ),
        (
            described.issuer_dn,
            &mut client.issuer_dn,
            &["cf.tls_client_auth.cert_issuer_dn"],
        ),
        (
            described.serial,
            &mut client.serial,
            &["cf.tls_client_auth.cert_serial"],
        ),
        (
            described.fingerprint_sha256,
            &mut client.fingerprint_sha256,
            &["cf.tls_client_auth.cert_fingerprint_sha256"],
        ),
        (
            described.ski,
            &mut client.ski,
            &["cf.tls_client_auth.cert_ski"],
        ),
        (
            described.issuer_ski,
            &mut client.issuer_ski,
            &["cf.tls_client_auth.cert_issuer_ski"],
        ),
        (
            described.ca_id,
            &mut client.ca_id,
            &["postern.tls_client_auth.ca_id"],
        ),
    ];
    for (said, field, names) in texts {
        if let Some(text) = said {
            *field = text.into();
            known(names);
        }
    }
    let lists = [
        (described.san_dns, &mut client.san_dns, "dns"),
        (described.san_uri, &mut client.san_uri, "uri"),
        (described.san_email, &mut client.san_email, "email"),
    ];
    for (said, field, kind) in lists {
        if let Some(names) = said {
            *field = names.into_iter().map(Into::into).collect();
            known(&[&format!("postern.tls_client_auth.cert_san.{kind}")]);
        }
    }
    if let Some(addresses) = described.san_ip {
        client.san_ip = addresses;
        known(&["postern.tls_client_auth.cert_san.ip"]);
    }
    // Its RFC 2253 form is the same text; the legacy one is another.
    client.subject_dn_rfc2253 = client.subject_dn.clone();
    client.issuer_dn_rfc2253 = client.issuer_dn.clone();
    let legacy = fields(&[
        "cf.tls_client_auth.cert_subject_dn_legacy",
        "cf.tls_client_auth.cert_issuer_dn_legacy",
    ]);
    if verdict.presented {
        unknown = unknown.and(legacy);
    }
    Ok(Certificate::Described(Box::new(client), unknown))
}
