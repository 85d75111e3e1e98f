//! `postern deny`: certificates of uploaded CAs that are not believed, for CAs that publish no
//! revocations.
//!
//! Owns how a certificate may be called: a file, a serial number, or a fingerprint that the access log
//! knows. What is kept is always issuer and serial number.

use std::collections::HashSet;
use std::path::Path;

use boring::x509::X509;
use clap::Subcommand;
use serde_json::{Value, json};
use tls::{Serial, issuer_digest, pem};

use super::ca::{uploaded, uploaded_id};
use super::client::files::read_certificates;
use super::client::names::{OWN, str_of, text};
use super::client::{Client, segment};
use super::log::last_of_certificate;
use super::output::table::{Table, harmless};
use super::output::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum Deny {
    /// Deny a certificate of an uploaded CA, as if it were revoked
    Add {
        /// A PEM file, a serial number, or a SHA-256 fingerprint. The last one is looked up in the access log,
        /// which has to be a file in JSON with the fields client_cert.fingerprint_sha256, client_cert.issuer and
        /// client_cert.serial, as it is by default
        #[arg(value_name = "CERTIFICATE")]
        certificate: String,
        /// The uploaded CA's id or name [default: the one that has issued the file's certificate]
        #[arg(long, value_name = "CA")]
        ca: Option<String>,
        /// Why, for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
        /// Of an edge of a fleet: on this edge alone, while etcd cannot be asked; the fleet does the same
        /// when it can
        #[arg(long)]
        local: bool,
    },
    /// List denied certificates
    List {
        /// Only of this uploaded CA
        #[arg(long, value_name = "CA")]
        ca: Option<String>,
    },
    /// Believe a denied certificate again
    Remove {
        /// A PEM file, a serial number, or the id in the list
        #[arg(value_name = "CERTIFICATE")]
        certificate: String,
        /// Only of this uploaded CA
        #[arg(long, value_name = "CA")]
        ca: Option<String>,
    },
}

fn path(ca: &str) -> String {
    format!("{OWN}/certificate_authorities/{}/denied", segment(ca))
}

/// Denies on this edge alone. The API wants the CA's id, whatever it was called.
fn alone(client: &Client, ca: &str, mut body: Value, json: bool) -> Output {
    if let Some(body) = body.as_object_mut() {
        body.insert("authority_id".into(), json!(ca));
    }
    let held = client.post(&format!("{OWN}/fleet/alone"), &json!({ "deny": body }))?;
    if json {
        return Ok(json_text(&held));
    }
    Ok("denied on this edge alone, and in the fleet when etcd can be asked\n".into())
}

/// Characters of a SHA-256 in hex.
const FINGERPRINT_DIGITS: usize = 64;

impl Deny {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Add {
                certificate,
                ca,
                comment,
                local,
            } => {
                let (ca, mut body) = meant(client, &certificate, ca.as_deref())?;
                let of_ca = subjects(client, &ca)?;
                if let Some(body) = body.as_object_mut() {
                    body.insert("comment".into(), json!(comment));
                }
                if local {
                    return alone(client, &ca, body, json);
                }
                let denied = client.post(&path(&ca), &body)?;
                if json {
                    return Ok(json_text(&denied));
                }
                let all = denied.as_array().map(Vec::as_slice).unwrap_or_default();
                let told = all.iter().map(|one| {
                    let (serial, issuer) = (str_of(one, "serial_number"), str_of(one, "issuer"));
                    let below = if of_ca.contains(str_of(one, "issuer_sha256")) {
                        ""
                    } else {
                        "; that is not the CA itself, and the entry does nothing unless it is one below it"
                    };
                    format!("denied {serial} of {}{below}\n", harmless(issuer))
                });
                Ok(told.collect())
            }
            Self::List { ca } => {
                let all = all(client, ca.as_deref())?;
                if json {
                    return Ok(json_text(&Value::Array(all)));
                }
                let mut table = Table::new(&["SERIAL", "ISSUER", "SINCE", "COMMENT", "ID"]);
                for one in &all {
                    table.row(
                        ["serial_number", "issuer", "denied_on", "comment", "id"]
                            .map(|key| text(one, key)),
                    );
                }
                Ok(table.text("no certificate is denied"))
            }
            Self::Remove { certificate, ca } => {
                let all = all(client, ca.as_deref())?;
                let one = pick(&all, &certificate)?;
                let at = format!(
                    "{}/{}",
                    path(str_of(one, "ca_id")),
                    segment(str_of(one, "id"))
                );
                let gone = client.delete(&at)?;
                Ok(if json {
                    json_text(&gone)
                } else {
                    format!("{} is believed again\n", text(&gone, "serial_number"))
                })
            }
        }
    }
}

/// The denied certificates of an uploaded CA, or of all, each with its `ca_id`.
fn all(client: &Client, ca: Option<&str>) -> Result<Vec<Value>, CliError> {
    let cas = uploaded(client)?;
    let ids = match ca {
        Some(ca) => vec![uploaded_id(client, &cas, ca)?],
        None => client
            .all(&cas)?
            .iter()
            .map(|one| text(one, "id"))
            .collect(),
    };
    let mut found = Vec::new();
    for id in ids {
        for mut one in client.all(&path(&id))? {
            if let Some(one) = one.as_object_mut() {
                one.insert("ca_id".into(), json!(id));
            }
            found.push(one);
        }
    }
    Ok(found)
}

/// The one that a file, a serial number or an id means.
fn pick<'v>(all: &'v [Value], wanted: &str) -> Result<&'v Value, CliError> {
    let by_file = match Path::new(wanted).is_file() {
        true => Some(of_file(Path::new(wanted))?),
        false => None,
    };
    let serial = Serial::parse(wanted).map(|serial| serial.to_string());
    let is_meant = |one: &&Value| match &by_file {
        Some((issuer, serial)) => {
            str_of(one, "issuer_sha256") == issuer && str_of(one, "serial_number") == serial
        }
        None => {
            str_of(one, "id") == wanted || serial.as_deref() == Some(str_of(one, "serial_number"))
        }
    };
    let found: Vec<&Value> = all.iter().filter(is_meant).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::Failed(format!(
            "`{wanted}` is not denied; `postern deny list` shows what is"
        ))),
        many => Err(CliError::Failed(format!(
            "`{wanted}` means {} denied certificates; say the id that `postern deny list` shows",
            many.len()
        ))),
    }
}

/// What issuer and serial number a file's certificate has, as the API writes them.
fn of_file(file: &Path) -> Result<(String, String), CliError> {
    let (_, certificates) = read_certificates(file, pem::Use::Chain)?;
    let lacks = |why: &str| CliError::Failed(format!("{}: {why}", file.display()));
    let leaf = certificates
        .first()
        .ok_or_else(|| lacks("there is no certificate in it"))?;
    let issuer = leaf
        .issuer_name()
        .to_der()
        .and_then(|name| issuer_digest(&name));
    let issuer = issuer.map_err(|why| lacks(&why.to_string()))?;
    let serial = Serial::of(leaf).map_err(|why| lacks(&why.to_string()))?;
    let serial = serial.ok_or_else(|| lacks("its serial number is too long"))?;
    Ok((digits(&issuer), serial.to_string()))
}

/// The uploaded CA, and what to send it.
fn meant(client: &Client, wanted: &str, ca: Option<&str>) -> Result<(String, Value), CliError> {
    let cas = uploaded(client)?;
    let named = ca.map(|ca| uploaded_id(client, &cas, ca)).transpose()?;
    let file = Path::new(wanted);
    if file.is_file() {
        let (text, certificates) = read_certificates(file, pem::Use::Chain)?;
        let leaf = certificates.first();
        let id = match (named, leaf) {
            (Some(id), _) => id,
            (None, Some(leaf)) => {
                let is_issuer = |one: &X509| one.issued(leaf) == Ok(());
                by_certificate(client, &cas, &is_issuer)?.ok_or_else(|| {
                    CliError::Failed(format!(
                        "{wanted}: no uploaded CA has issued it itself; say below which it stands with --ca"
                    ))
                })?
            }
            (None, None) => return Err(CliError::Failed(format!("{wanted}: no certificate"))),
        };
        return Ok((id, json!({ "certificate": text })));
    }
    let plain = wanted.replace(':', "").to_ascii_lowercase();
    let is_print =
        plain.len() == FINGERPRINT_DIGITS && plain.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_print {
        return by_fingerprint(client, &cas, &plain, named);
    }
    let id = named.ok_or_else(|| {
        CliError::Usage("a serial number needs its CA: --ca CA (`postern ca list`)".into())
    })?;
    Ok((id, json!({ "serial_number": wanted })))
}

/// The names of an uploaded CA, as the API writes issuers.
fn subjects(client: &Client, id: &str) -> Result<HashSet<String>, CliError> {
    let all = client.all(&uploaded(client)?)?;
    let bundle = all.iter().find(|ca| str_of(ca, "id") == id);
    let bundle = bundle.map_or("", |ca| str_of(ca, "certificates"));
    let certificates = pem::certificates(bundle.as_bytes(), pem::Use::Clients).unwrap_or_default();
    let names = certificates.iter().filter_map(|one| {
        let name = one.subject_name().to_der().ok()?;
        Some(digits(&issuer_digest(&name).ok()?))
    });
    Ok(names.collect())
}

fn digits(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The uploaded CA one of whose certificates passes.
fn by_certificate(
    client: &Client,
    cas: &str,
    test: &dyn Fn(&X509) -> bool,
) -> Result<Option<String>, CliError> {
    let all = client.all(cas)?;
    let found = all.iter().find(|ca| {
        let bundle = str_of(ca, "certificates").as_bytes();
        pem::certificates(bundle, pem::Use::Clients).is_ok_and(|all| all.iter().any(test))
    });
    Ok(found.map(|ca| text(ca, "id")))
}

/// A fingerprint is of bytes that the certificate's holder can vary. Its issuer and serial number are
/// in the access log, when the certificate came here.
fn by_fingerprint(
    client: &Client,
    cas: &str,
    print: &str,
    named: Option<String>,
) -> Result<(String, Value), CliError> {
    let unknown = |why: String| {
        CliError::Failed(format!(
            "the fingerprint {print} cannot be resolved to an issuer and a serial number: {why}; say the \
             certificate's PEM file, or its serial number with --ca"
        ))
    };
    let seen = last_of_certificate(client, print)
        .map_err(|error| unknown(error.to_string()))?
        .ok_or_else(|| unknown("the access log has no such certificate".into()))?;
    let issuer = str_of(&seen, "issuer");
    if issuer.is_empty() || str_of(&seen, "serial").is_empty() {
        return Err(unknown(
            "the access log's last line about it does not say them".into(),
        ));
    }
    let is_issuer = |one: &X509| pem::subject(one) == issuer;
    let found = by_certificate(client, cas, &is_issuer)?;
    match (found, named) {
        (Some(found), Some(named)) if found != named => {
            Err(unknown(format!("it is of another CA ({issuer})")))
        }
        (Some(id), _) => Ok((id, json!({ "serial_number": str_of(&seen, "serial") }))),
        (None, _) => Err(unknown(format!(
            "its issuer {issuer} is no uploaded CA itself"
        ))),
    }
}
