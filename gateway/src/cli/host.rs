//! `postern host`: SNI names with their origin, mTLS mode and server certificate.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::files::{read_certificates, read_key};
use super::client::names::{OWN, ZoneRef, str_of, text, warnings};
use super::client::{Client, segment};
use super::origin::{OriginSettings, balance, place, shown_to_it};
use super::output::confirm::{confirm, losses};
use super::output::table::{Table, list};
use super::output::{CliError, Output, ValueError, json_text};
use crate::limits::{RENEW_LOOK, RENEW_WAIT};
use control::limits::REQUEST_BODY_BYTES_MAX;
use tls::pem;
use vocabulary::settings::{CertificateHeaders, MtlsMode, OnRevoked};

#[derive(Debug, Subcommand)]
pub(super) enum Host {
    /// Add a host to a zone
    Add {
        /// The SNI name, or a wildcard such as `*.example.com`
        #[arg(value_name = "HOST")]
        host: String,
        /// Its zone, by name or id
        #[arg(long, value_name = "ZONE")]
        zone: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// List the hosts of a zone, or of all
    List {
        /// Only this zone's
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
    },
    /// Show one host
    Show {
        /// Its name
        #[arg(value_name = "HOST")]
        host: String,
    },
    /// Change a host
    Set {
        /// Its name
        #[arg(value_name = "HOST")]
        host: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Order the certificate of a host with --acme now, and wait for what becomes of it
    Renew {
        /// Its name
        #[arg(value_name = "HOST")]
        host: String,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Remove a host; clients that name it are refused from then on
    Delete {
        /// Its name
        #[arg(value_name = "HOST")]
        host: String,
        /// Confirm, when a server certificate goes with it
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    origin: OriginSettings,
    /// Whether clients are asked for a certificate: off, request (rules decide), require
    #[arg(long, value_name = "MODE")]
    mtls: Option<MtlsMode>,
    /// Clients with a revoked certificate, under `request`: rule (rules decide) or close (the
    /// handshake is refused)
    #[arg(long, value_name = "WHAT")]
    revoked: Option<OnRevoked>,
    /// Headers that describe the certificate to the origin: verdict, sha256, der, client-cert,
    /// client-cert-chain, transform, xfcc, several with commas, or none
    #[arg(long, value_name = "GROUPS", value_parser = header_groups)]
    certificate_headers: Option<HeaderGroups>,
    /// Whether a blocked client learns what is wrong with its certificate
    #[arg(long, value_name = "BOOL")]
    tell_reason: Option<bool>,
    /// The oldest TLS version: 1.2 or 1.3, or gateway for the key tls.min_version, which holds as well
    /// when it is newer
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3", "gateway"])]
    tls_min_version: Option<String>,
    /// Bytes that a request's body may have, as in 10m; 0 for any number, gateway for the key
    /// limit.request_body
    #[arg(long, value_name = "SIZE", value_parser = body_size)]
    request_body: Option<BodySize>,
    /// Server certificate chain in PEM, in any order; twice for one with an ECDSA key and one with an
    /// RSA key side by side (then with --key twice, in the same order)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Vec<PathBuf>,
    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,
    /// Make a server certificate from the development CA (`postern zone ca --development`)
    #[arg(long, conflicts_with = "cert")]
    development_cert: bool,
    /// Have the server certificate from the ACME server of the key acme.directory; with false, keep the
    /// one there is and renew it no more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    acme: Option<bool>,
}

/// A set of them as one argument.
#[derive(Debug, Clone)]
struct HeaderGroups(BTreeSet<CertificateHeaders>);

fn header_groups(text: &str) -> Result<HeaderGroups, ValueError> {
    if text == "none" {
        return Ok(HeaderGroups(BTreeSet::new()));
    }
    let groups = text.split(',').map(|word| {
        let group = word.trim().parse::<CertificateHeaders>();
        group.map_err(|why| ValueError(why.to_string()))
    });
    groups.collect::<Result<_, _>>().map(HeaderGroups)
}

/// A bound on requests' bodies as one argument; `None` is the gateway's.
#[derive(Debug, Clone, Copy)]
struct BodySize(Option<u64>);

fn body_size(text: &str) -> Result<BodySize, ValueError> {
    if text == "gateway" {
        return Ok(BodySize(None));
    }
    let bytes = config::size(text, REQUEST_BODY_BYTES_MAX).map_err(ValueError)?;
    Ok(BodySize(Some(bytes)))
}

/// What is to be known of the certificates that a host presents, when some were given.
fn warned(client: &Client, settings: &Settings, host: &Value) -> Result<String, CliError> {
    let mut all = String::new();
    if settings.cert.is_empty() {
        return Ok(all);
    }
    let zone = ZoneRef {
        id: text(host, "zone_id"),
        value: Value::Null,
    };
    let presented = host.get("server_certificates").and_then(Value::as_array);
    for one in presented.into_iter().flatten() {
        let path = format!("custom_certificates/{}", str_of(one, "id"));
        all.push_str(&warnings(&client.get(&zone.path(&path))?));
    }
    Ok(all)
}

impl Settings {
    /// What the API takes; `origin` builds on what the host has already.
    fn body(&self, present: Option<&Value>) -> Result<Map<String, Value>, CliError> {
        let mut body = Map::new();
        let present = present.and_then(|host| host.get("origin")?.as_object());
        if let Some(origin) = self.origin.changed(present)? {
            body.insert("origin".into(), Value::Object(origin));
        }
        if let Some(mtls) = self.mtls {
            body.insert("mtls".into(), json!(mtls));
        }
        if let Some(revoked) = self.revoked {
            body.insert("revoked".into(), json!(revoked));
        }
        if let Some(HeaderGroups(groups)) = &self.certificate_headers {
            body.insert("certificate_headers".into(), json!(groups));
        }
        if let Some(tell) = self.tell_reason {
            body.insert("tell_reason".into(), json!(tell));
        }
        if let Some(version) = &self.tls_min_version {
            let version = Some(version).filter(|version| *version != "gateway");
            body.insert("tls_min_version".into(), json!(version));
        }
        if let Some(acme) = self.acme {
            body.insert("acme".into(), json!(acme));
        }
        if let Some(BodySize(bytes)) = self.request_body {
            body.insert("request_body_max".into(), json!(bytes));
        }
        Ok(body)
    }

    /// The server certificates that come with the host, when some are wanted. Answers what was
    /// taken.
    fn certificates(&self, body: &mut Map<String, Value>) -> Result<String, CliError> {
        let mut took = String::new();
        let (certs, keys) = (self.cert.len(), self.key.len());
        if certs != keys || certs > 2 {
            return Err(CliError::Usage(format!(
                "{certs} times --cert and {keys} times --key: give each certificate its key, one with an ECDSA key and one with an RSA key at most"
            )));
        }
        let mut pairs = Vec::new();
        for (cert, key) in self.cert.iter().zip(&self.key) {
            let (chain, found) = read_certificates(cert, pem::Use::Chain)?;
            took.push_str(&format!(
                "took {} from {}\n",
                pem::subjects(&found),
                cert.display()
            ));
            pairs.push(json!({ "certificate": chain, "private_key": read_key(key)? }));
        }
        if !pairs.is_empty() {
            body.insert("server_certificates".into(), pairs.into());
        }
        if self.development_cert {
            body.insert("development_certificate".into(), true.into());
        }
        Ok(took)
    }
}

impl Host {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Add {
                host,
                zone,
                settings,
            } => {
                if !settings.origin.says_where() {
                    return Err(CliError::Usage(
                        "a host needs an origin: add `--origin http://127.0.0.1:9000`, or wherever its requests go".into(),
                    ));
                }
                let zone = ZoneRef::find(client, &zone)?;
                let mut body = settings.body(None)?;
                let mut took = settings.certificates(&mut body)?;
                body.insert("name".into(), json!(host));
                let made = client.post(&zone.own("hosts"), &Value::Object(body))?;
                took.push_str(&warned(client, &settings, &made)?);
                Ok(if json {
                    json_text(&made)
                } else {
                    format!("{took}added {}\n{}", text(&made, "name"), details(&made))
                })
            }
            Self::List { zone } => {
                let path = match zone {
                    Some(zone) => ZoneRef::find(client, &zone)?.own("hosts"),
                    None => format!("{OWN}/hosts"),
                };
                let hosts = client.all(&path)?;
                if json {
                    return Ok(json_text(&Value::Array(hosts)));
                }
                let mut table = Table::new(&["HOST", "MTLS", "ORIGIN", "CERTIFICATE"]);
                for host in &hosts {
                    table.row([
                        text(host, "name"),
                        text(host, "mtls"),
                        place(host.get("origin")),
                        certificate(host),
                    ]);
                }
                Ok(table.text("no hosts; `postern host add api.example.com --zone example.com --origin URL` adds one"))
            }
            Self::Show { host } => {
                let host = client.get(&path(&host))?;
                Ok(if json {
                    json_text(&host)
                } else {
                    details(&host)
                })
            }
            Self::Set { host, settings } => {
                let present = client.get(&path(&host))?;
                let mut body = settings.body(Some(&present))?;
                let mut took = settings.certificates(&mut body)?;
                if body.is_empty() {
                    return Err(CliError::Usage(
                        "nothing to change; `postern host set --help` shows what can be".into(),
                    ));
                }
                let changed = client.patch(&path(&host), &Value::Object(body))?;
                took.push_str(&warned(client, &settings, &changed)?);
                Ok(if json {
                    json_text(&changed)
                } else {
                    took + &details(&changed)
                })
            }
            Self::Renew { host, no_wait } => {
                let mut shown = client.post(&format!("{}/acme_order", path(&host)), &json!({}))?;
                if !no_wait {
                    shown = ordered(client, &host, shown)?;
                }
                Ok(if json {
                    json_text(&shown)
                } else {
                    details(&shown)
                })
            }
            Self::Delete { host, yes } => {
                let lost = client.delete(&format!("{}?dry_run=true", path(&host)))?;
                let keys = lost.pointer("/lost/server_keys").and_then(Value::as_u64);
                if keys.is_some_and(|keys| keys > 0) {
                    let what = format!("this removes the host {host}: {}", losses(&lost));
                    confirm(yes, &what)?;
                }
                let answer = client.delete(&path(&host))?;
                Ok(if json {
                    json_text(&answer)
                } else {
                    format!("removed {host}\n")
                })
            }
        }
    }
}

/// A part of how it stands with a host's certificate from ACME.
fn acme_of<'v>(host: &'v Value, key: &str) -> &'v str {
    let status = host.get("acme_status").unwrap_or(&Value::Null);
    str_of(status, key)
}

/// Waits for the end of the order that was asked for.
fn ordered(client: &Client, host: &str, before: Value) -> Result<Value, CliError> {
    let begun = acme_of(&before, "ordered_on").to_owned();
    // One that is under way already is waited for as well: no other one begins meanwhile.
    let was_under_way = acme_of(&before, "state") == "ordering";
    let ended = |now: &Value| {
        let state = acme_of(now, "state");
        let is_another = was_under_way || acme_of(now, "ordered_on") != begun;
        is_another && matches!(state, "issued" | "failing")
    };
    let deadline = Instant::now() + RENEW_WAIT;
    let mut now = before;
    while !ended(&now) && acme_of(&now, "state") != "off" {
        if Instant::now() >= deadline {
            return Err(CliError::Failed(format!(
                "the order has not ended within {} s; `postern host show {host}` tells how it stands",
                RENEW_WAIT.as_secs()
            )));
        }
        std::thread::sleep(RENEW_LOOK);
        now = client.get(&path(host))?;
    }
    if acme_of(&now, "state") == "issued" {
        return Ok(now);
    }
    let why = acme_of(&now, "error");
    Err(CliError::Failed(format!(
        "there is no new certificate: {why}"
    )))
}

fn acme(host: &Value) -> String {
    let Some(status) = host.get("acme_status").filter(|status| status.is_object()) else {
        return String::new();
    };
    let mut said = str_of(status, "state").to_owned();
    for (key, words) in [
        ("renewal_on", "renewal on"),
        ("next_order_on", "next order on"),
    ] {
        let at = str_of(status, key);
        if !at.is_empty() {
            said.push_str(&format!(", {words} {at}"));
        }
    }
    let error = str_of(status, "error");
    if !error.is_empty() {
        said.push_str(&format!(": {error}"));
    }
    said
}

fn path(host: &str) -> String {
    format!("{OWN}/hosts/{}", segment(host))
}

fn body_bound(host: &Value) -> String {
    match host.get("request_body_max").and_then(Value::as_u64) {
        None => String::new(),
        Some(0) => "of any size".into(),
        Some(bytes) => format!("{bytes} bytes at most"),
    }
}

fn certificate(host: &Value) -> String {
    let presented: Vec<String> = host
        .get("server_certificates")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|one| {
            format!(
                "{} ({}), until {}",
                text(one, "issuer"),
                text(one, "key_type"),
                text(one, "expires_on")
            )
        })
        .collect();
    if presented.is_empty() {
        return "none: clients are refused".into();
    }
    presented.join("; ")
}

fn details(host: &Value) -> String {
    let origin = host.get("origin").cloned().unwrap_or_default();
    let believed = host
        .get("certificate_authorities")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let believed: Vec<String> = believed.iter().map(|ca| text(ca, "name")).collect();
    let mut out = list(&[
        ("host", text(host, "name")),
        ("zone", text(host, "zone_name")),
        ("mtls", text(host, "mtls")),
        ("believes", believed.join(", ")),
        ("least TLS version", text(host, "tls_min_version")),
        ("request body", body_bound(host)),
        ("origin", place(Some(&origin))),
        ("balance", balance(&origin)),
        ("protocol", text(&origin, "protocol")),
        ("host header", text(&origin, "host_header")),
        ("server name", text(&origin, "server_name")),
        ("PROXY protocol", text(&origin, "proxy_protocol")),
        ("least TLS of origin", text(&origin, "tls_min_version")),
        (
            "shown to origin",
            shown_to_it(host.get("origin_client_certificate")),
        ),
        ("certificate", certificate(host)),
        ("acme", acme(host)),
        ("changed", text(host, "modified_on")),
    ]);
    let is_served = host.get("served").and_then(Value::as_bool) != Some(false);
    let by_acme = host.get("acme").and_then(Value::as_bool) == Some(true);
    if !is_served && by_acme {
        out.push_str("clients are refused until there is a certificate\n");
    } else if !is_served {
        out.push_str(&format!(
            "no server certificate covers it yet: `postern host set {} --cert FILE --key FILE` brings one, or --development-cert makes one to try it\n",
            str_of(host, "name"),
        ));
    }
    out
}
