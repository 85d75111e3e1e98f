//! `postern ca`: CAs of client certificates, those of a zone with their rollover, and uploaded ones.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::files::read_certificates;
use super::client::names::{OWN, ZoneRef, by_id, of_account, text, warnings};
use super::client::{Client, segment};
use super::output::confirm::{confirm, counted, losses, some};
use super::output::table::{Table, list as entries};
use super::output::{CliError, Output, json_text};
use control::Moment;
use tls::pem;

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// List a zone's own CAs, the issuing one first; without a zone the uploaded ones
    List {
        /// The zone, by name or id
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
    },
    /// Show a CA: with a zone one of its own, without it an uploaded one
    Show {
        /// The zone, by name or id
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
        /// Print the certificate itself, in PEM
        #[arg(long)]
        pem: bool,
    },
    /// Make a new CA beside a zone's old one
    ///
    /// The new one issues from now on. The old one stays trusted until `postern ca retire`, so that
    /// its clients have time to get certificates of the new one.
    Roll {
        /// The zone, by name or id
        #[arg(long, value_name = "ZONE")]
        zone: String,
        /// The new CA's key type [default: that of the old CA]
        #[arg(long, value_enum)]
        ca_key: Option<CaKey>,
    },
    /// Retire an old CA of a zone: certificates that it issued are refused from now on
    Retire {
        /// The zone, by name or id
        #[arg(long, value_name = "ZONE")]
        zone: String,
        /// Its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
        /// Confirm
        #[arg(long)]
        yes: bool,
    },
    /// Upload a CA, or a bundle of them; no host trusts it until it is associated
    Upload {
        /// A name for people
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
        /// The certificates in PEM, `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete an uploaded CA that no host trusts
    Delete {
        /// Its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
        /// Confirm, when revocation lists go with it
        #[arg(long)]
        yes: bool,
    },
    /// Make hosts trust a CA, beside those that do
    Associate {
        /// The zone of the hosts, by name or id
        #[arg(long, value_name = "ZONE")]
        zone: String,
        /// An uploaded CA's id, the beginning of it, or its name [default: the zone's own CAs]
        #[arg(long, value_name = "CA")]
        ca: Option<String>,
        /// Host names
        #[arg(value_name = "HOST", required_unless_present = "replace")]
        hosts: Vec<String>,
        /// Take the CA from all other hosts
        #[arg(long, conflicts_with = "remove")]
        replace: bool,
        /// Take the CA from these hosts
        #[arg(long)]
        remove: bool,
        /// Confirm what --replace takes away
        #[arg(long)]
        yes: bool,
    },
}

/// What key a managed CA has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CaKey {
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    #[value(name = "rsa-2048")]
    Rsa2048,
    Ed25519,
}

impl CaKey {
    /// As the API writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Rsa2048 => "rsa-2048",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl Ca {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let (answer, told) = match self {
            Self::List { zone } => return list(client, zone.as_deref(), json),
            Self::Show { zone, ca, pem } => {
                let (found, pem_key) = match zone {
                    Some(zone) => (managed(client, &zone, &ca)?, "certificate"),
                    None => (with_hosts(client, &ca)?, "certificates"),
                };
                let told = if pem {
                    text(&found, pem_key)
                } else {
                    details(&found)
                };
                (found, told)
            }
            Self::Roll { zone, ca_key } => {
                let zone = ZoneRef::find(client, &zone)?;
                let body =
                    ca_key.map_or_else(|| json!({}), |key| json!({ "key_type": key.name() }));
                let made = client.post(&zone.own("authorities"), &body)?;
                let told = format!(
                    "made the CA {} ({}); it issues from now on. Certificates of the older ones stay \
                     trusted until `postern ca retire`\n",
                    text(&made, "id"),
                    text(&made, "name")
                );
                (made, told)
            }
            Self::Retire { zone, ca, yes } => {
                let zone = ZoneRef::find(client, &zone)?;
                let all = client.get(&zone.own("authorities"))?;
                let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
                let found = by_id(all, &ca, "CA", "postern ca list --zone ZONE")?;
                let (id, name) = (text(found, "id"), text(found, "name"));
                let path = zone.own(&format!("authorities/{id}"));
                let lost = losses(&client.delete(&format!("{path}?dry_run=true"))?);
                confirm(
                    yes,
                    &format!("every certificate that `{name}` issued will be refused: {lost}"),
                )?;
                let answer = client.delete(&path)?;
                (answer, format!("retired the CA {id} ({name})\n"))
            }
            Self::Upload { name, file } => {
                let (text_of_all, found) = read_certificates(&file, pem::Use::Clients)?;
                let body = json!({ "ca": true, "certificates": text_of_all, "name": name });
                let made = client.post(&uploaded(client)?, &body)?;
                let told = format!(
                    "uploaded the CA {} with {}; `postern ca associate --ca` makes hosts trust it\n{}",
                    text(&made, "id"),
                    pem::subjects(&found),
                    warnings(&made)
                );
                (made, told)
            }
            Self::Delete { ca, yes } => {
                let path = uploaded(client)?;
                let id = uploaded_id(client, &path, &ca)?;
                let path = format!("{path}/{id}");
                let lost = client.delete(&format!("{path}?dry_run=true"))?;
                let lists = lost
                    .pointer("/lost/revocation_lists")
                    .and_then(Value::as_u64);
                if lists.is_some_and(|lists| lists > 0) {
                    let what = format!("this removes the CA {id}: {}", losses(&lost));
                    confirm(yes, &what)?;
                }
                let answer = client.delete(&path)?;
                (answer, format!("removed the CA {id}\n"))
            }
            Self::Associate {
                zone,
                ca,
                hosts,
                replace,
                remove,
                yes,
            } => {
                let zone = ZoneRef::find(client, &zone)?;
                let mut body = match remove {
                    true => json!({ "remove": hosts }),
                    false => json!({ "add": hosts }),
                };
                if let (Some(ca), Some(body)) = (ca, body.as_object_mut()) {
                    let id = uploaded_id(client, &uploaded(client)?, &ca)?;
                    body.insert("mtls_certificate_id".into(), id.into());
                }
                if replace {
                    let taken = others(client, &zone, &body, &hosts)?;
                    if !taken.is_empty() {
                        let count = counted(taken.len(), "host");
                        confirm(
                            yes,
                            &format!(
                                "this takes the CA from {count}, where its clients are refused \
                                 from then on: {}",
                                some(&taken)
                            ),
                        )?;
                    }
                    if let Some(body) = body.as_object_mut() {
                        body.insert("remove".into(), taken.into());
                    }
                }
                let answer = client.patch(&zone.own("hostname_associations"), &body)?;
                let names = |key: &str| strings(&answer, key);
                let mut told = String::new();
                for (key, said) in [("added", "added"), ("removed", "taken from")] {
                    if !names(key).is_empty() {
                        told.push_str(&format!("{said} {}\n", names(key).join(", ")));
                    }
                }
                told.push_str(&match names("hostnames") {
                    none if none.is_empty() => "no host trusts it now\n".into(),
                    all => format!("trusted by {}\n", all.join(", ")),
                });
                (answer, told)
            }
        };
        Ok(if json { json_text(&answer) } else { told })
    }
}

/// The hosts beside `kept` that trust the CA that a body names.
fn others(
    client: &Client,
    zone: &ZoneRef,
    body: &Value,
    kept: &[String],
) -> Result<Vec<String>, CliError> {
    let mut path = zone.path("certificate_authorities/hostname_associations");
    if let Some(id) = body.get("mtls_certificate_id").and_then(Value::as_str) {
        path.push_str(&format!("?mtls_certificate_id={}", segment(id)));
    }
    let kept: Vec<String> = kept
        .iter()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .collect();
    let mut others = strings(&client.get(&path)?, "hostnames");
    others.retain(|name| !kept.contains(name));
    Ok(others)
}

/// A list of texts.
fn strings(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// The path of uploaded CAs: they belong to the one account.
pub(super) fn uploaded(client: &Client) -> Result<String, CliError> {
    of_account(client, "mtls_certificates")
}

/// One of a zone's own CAs.
fn managed(client: &Client, zone: &str, wanted: &str) -> Result<Value, CliError> {
    let all = client.get(&ZoneRef::find(client, zone)?.own("authorities"))?;
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    by_id(all, wanted, "CA", "postern ca list --zone ZONE").cloned()
}

/// An uploaded CA, with the hosts that trust it as `hosts`.
fn with_hosts(client: &Client, wanted: &str) -> Result<Value, CliError> {
    let path = uploaded(client)?;
    let id = uploaded_id(client, &path, wanted)?;
    let mut found = client.get(&format!("{path}/{id}"))?;
    let hosts = client.get(&format!("{path}/{id}/associations"))?;
    let hosts: Vec<&Value> = hosts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("service"))
        .collect();
    let hosts = json!(hosts);
    if let Some(found) = found.as_object_mut() {
        found.insert("hosts".into(), hosts);
    }
    Ok(found)
}

fn details(one: &Value) -> String {
    let hosts = one.get("hosts").and_then(Value::as_array).map(|hosts| {
        let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
        if hosts.is_empty() {
            "no host; `postern ca associate --ca` makes hosts trust it".to_owned()
        } else {
            hosts.join(", ")
        }
    });
    let ends = text(one, "expires_on");
    let is_over = Moment::parse(&ends).is_some_and(|ends| ends <= Moment::now());
    let expires = if is_over {
        format!("{ends} (expired)")
    } else {
        ends
    };
    let listed = entries(&[
        ("id", text(one, "id")),
        ("name", text(one, "name")),
        ("key", text(one, "key_type")),
        ("issues", text(one, "issues")),
        ("issuer", text(one, "issuer")),
        ("serial", text(one, "serial_number")),
        ("signature", text(one, "signature")),
        ("uploaded", text(one, "uploaded_on")),
        ("made", text(one, "created_on")),
        ("expires", expires),
        ("trusted by", hosts.unwrap_or_default()),
    ]);
    listed + &warnings(one)
}

pub(super) fn uploaded_id(client: &Client, path: &str, wanted: &str) -> Result<String, CliError> {
    let all = client.all(path)?;
    by_id(&all, wanted, "uploaded CA", "postern ca list").map(|found| text(found, "id"))
}

/// A path below an uploaded CA in our own part of the API.
pub(super) fn uploaded_own(client: &Client, wanted: &str, rest: &str) -> Result<String, CliError> {
    let id = uploaded_id(client, &uploaded(client)?, wanted)?;
    Ok(format!(
        "{OWN}/certificate_authorities/{}/{rest}",
        segment(&id)
    ))
}

fn list(client: &Client, zone: Option<&str>, json: bool) -> Output {
    let all = match zone {
        Some(zone) => {
            let answer = client.get(&ZoneRef::find(client, zone)?.own("authorities"))?;
            answer.as_array().cloned().unwrap_or_default()
        }
        None => client.all(&uploaded(client)?)?,
    };
    if json {
        return Ok(json_text(&Value::Array(all)));
    }
    let mut table = Table::new(&["ID", "NAME", "KEY", "ISSUES", "EXPIRES"]);
    for one in &all {
        table.row([
            text(one, "id"),
            text(one, "name"),
            text(one, "key_type"),
            text(one, "issues"),
            text(one, "expires_on"),
        ]);
    }
    Ok(table.text("no uploaded CAs; `postern ca upload FILE` adds one"))
}
