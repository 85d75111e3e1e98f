//! `postern cert`: client certificates of a zone's managed CA.

mod files;
mod revoke;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use self::files::{CERTIFICATE_FILE, Password, Targets};
use self::revoke::Revoke;
use crate::cli::client::files::{PUBLIC, read_request, write_new};
use crate::cli::client::names::{ZoneRef, str_of, text};
use crate::cli::client::{Client, segment};
use crate::cli::output::table::{Table, list};
use crate::cli::output::{CliError, Output, json_text};
use control::Moment;

#[derive(Debug, Subcommand)]
pub(crate) enum Cert {
    /// Create a key and its certificate
    ///
    /// The gateway does not keep the key: this is the only time that it is shown.
    Create {
        #[command(flatten)]
        zone: ZoneArg,
        /// Common name: the holder of the certificate
        #[arg(long, value_name = "NAME")]
        cn: String,
        #[command(flatten)]
        days: Days,
        /// Write NAME.pem and NAME.key (mode 0600) into this directory instead of printing them
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Also write NAME.p12 (mode 0600) for browsers and phones, under a password that is
        /// generated and printed unless --p12-password is given
        #[arg(long, requires = "out")]
        p12: bool,
        /// A file whose first line is the password of NAME.p12, `-` for standard input
        #[arg(long, value_name = "FILE", requires = "p12")]
        p12_password: Option<PathBuf>,
    },
    /// Sign a certificate request; its key stays where it is
    Sign {
        #[command(flatten)]
        zone: ZoneArg,
        /// The request in PEM, `-` for standard input
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        #[command(flatten)]
        days: Days,
        /// Write the certificate into this file instead of printing
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List a zone's certificates
    List {
        #[command(flatten)]
        zone: ZoneArg,
        /// Only those of this status
        #[arg(long, value_enum, default_value_t = Status::All)]
        status: Status,
        /// Only those that expire within this many days and have not expired
        #[arg(long, value_name = "DAYS")]
        expires_within: Option<u32>,
        /// Only those with this common name, letter case ignored
        #[arg(long, value_name = "NAME")]
        cn: Option<String>,
        /// Only the one with this serial number
        #[arg(long, value_name = "HEX")]
        serial: Option<String>,
        /// Only the one with this SHA-256
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
        /// Only those with this subject key identifier
        #[arg(long, value_name = "HEX")]
        ski: Option<String>,
    },
    /// Show one certificate
    Show {
        #[command(flatten)]
        one: One,
        /// Print the certificate itself, in PEM
        #[arg(long)]
        pem: bool,
    },
    /// Revoke certificates: new and open connections lose them at once
    Revoke(Revoke),
    /// Restore a revoked certificate
    Restore {
        #[command(flatten)]
        one: One,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ZoneArg {
    /// The zone, by name or id
    #[arg(long, value_name = "ZONE")]
    zone: String,
}

#[derive(Debug, Args)]
pub(crate) struct Days {
    /// Days until it expires
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    #[command(flatten)]
    zone: ZoneArg,
    /// The certificate: its id, the beginning of it, its serial number, fingerprint, or a
    /// common name that no other has
    #[arg(value_name = "CERTIFICATE")]
    certificate: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Status {
    /// Every certificate
    All,
    /// Neither revoked nor expired
    Active,
    /// Revoked
    Revoked,
    /// Expired, and not revoked
    Expired,
}

/// What a certificate is now. The API keeps whether it was revoked; the clock says the rest.
fn standing(one: &Value, now: i64) -> String {
    let status = text(one, "status");
    if status == "active" && has_expired(one, now) {
        return "expired".into();
    }
    status
}

fn has_expired(one: &Value, now: i64) -> bool {
    let ends = Moment::parse(str_of(one, "expires_on"));
    ends.is_some_and(|ends| ends.seconds() <= now)
}

impl Cert {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Create {
                zone,
                cn,
                days,
                out,
                p12,
                p12_password,
            } => {
                // Looked at first: a key that cannot be written would be lost.
                let files = out
                    .map(|directory| Targets::of(&directory, &cn))
                    .transpose()?;
                let password = match (p12, p12_password) {
                    (false, _) => None,
                    (true, None) => Some(Password::random()?),
                    (true, Some(file)) => Some(Password::read(&file)?),
                };
                let zone = ZoneRef::find(client, &zone.zone)?;
                let mut body = json!({ "common_name": cn, "validity_days": days.days });
                if let (Some(password), Some(body)) = (&password, body.as_object_mut()) {
                    body.insert("pkcs12_password".into(), password.text.as_str().into());
                }
                let made = client.post(&zone.own("client_certificates"), &body)?;
                let password = password.as_ref();
                match files {
                    Some(files) => {
                        files.write(&made, password)?;
                        Ok(if json {
                            json_text(&files.record(made, password))
                        } else {
                            files.told(password) + &details(&made)
                        })
                    }
                    None if json => Ok(json_text(&made)),
                    None => Ok(format!(
                        "{}{}",
                        text(&made, "certificate"),
                        text(&made, "private_key")
                    )),
                }
            }
            Self::Sign {
                zone,
                csr,
                days,
                out,
            } => {
                let csr = read_request(&csr)?;
                let zone = ZoneRef::find(client, &zone.zone)?;
                let body = json!({ "csr": csr, "validity_days": days.days });
                let mut made = client.post(&zone.path("client_certificates"), &body)?;
                match out {
                    Some(path) => {
                        write_new(&path, str_of(&made, "certificate"), PUBLIC)?;
                        let path = path.display().to_string();
                        if !json {
                            return Ok(format!("wrote {path}\n{}", details(&made)));
                        }
                        if let Some(fields) = made.as_object_mut() {
                            fields.insert(CERTIFICATE_FILE.into(), path.into());
                        }
                        Ok(json_text(&made))
                    }
                    None if json => Ok(json_text(&made)),
                    None => Ok(text(&made, "certificate")),
                }
            }
            Self::List {
                zone,
                status,
                expires_within,
                cn,
                serial,
                fingerprint,
                ski,
            } => {
                let zone = ZoneRef::find(client, &zone.zone)?;
                let filter = match status {
                    Status::All => "all",
                    Status::Active | Status::Expired => "active",
                    Status::Revoked => "revoked",
                };
                let mut query = format!("client_certificates?status={filter}");
                for (name, value) in [
                    (
                        "expires_within_days",
                        expires_within.map(|days| days.to_string()),
                    ),
                    ("common_name", cn),
                    ("serial_number", serial),
                    ("fingerprint_sha256", fingerprint),
                    ("ski", ski),
                ] {
                    if let Some(value) = value {
                        query.push_str(&format!("&{name}={}", segment(&value)));
                    }
                }
                let mut all = client.all(&zone.path(&query))?;
                let now = Moment::now().seconds();
                match status {
                    Status::All | Status::Revoked => {}
                    Status::Active => all.retain(|one| !has_expired(one, now)),
                    Status::Expired => all.retain(|one| has_expired(one, now)),
                }
                if json {
                    return Ok(json_text(&Value::Array(all)));
                }
                let mut table = Table::new(&["ID", "COMMON NAME", "STATUS", "EXPIRES", "SERIAL"]);
                for one in &all {
                    table.row([
                        text(one, "id"),
                        text(one, "common_name"),
                        standing(one, now),
                        text(one, "expires_on"),
                        text(one, "serial_number"),
                    ]);
                }
                Ok(table
                    .text("no certificates; `postern cert create --zone ZONE --cn NAME` makes one"))
            }
            Self::Show { one, pem } => {
                let (_, found) = one.find(client)?;
                Ok(match (json, pem) {
                    (true, _) => json_text(&found),
                    (_, true) => text(&found, "certificate"),
                    _ => details(&found),
                })
            }
            Self::Revoke(revoke) => revoke.run(client, json),
            Self::Restore { one } => {
                let (zone, found) = one.find(client)?;
                let path = zone.path(&format!("client_certificates/{}", text(&found, "id")));
                let answer = client.patch(&path, &json!({ "reactivate": true }))?;
                Ok(if json {
                    json_text(&answer)
                } else {
                    format!("restored\n{}", details(&answer))
                })
            }
        }
    }
}

impl One {
    /// The certificate that is meant, with its zone.
    fn find(&self, client: &Client) -> Result<(ZoneRef, Value), CliError> {
        let zone = ZoneRef::find(client, &self.zone.zone)?;
        let wanted = self.certificate.as_str();
        let found = Self::find_in(client, &zone, wanted)?;
        let found = found.ok_or_else(|| {
            CliError::Failed(format!(
                "there is no certificate `{wanted}` in this zone; `postern cert list --zone ZONE` shows all"
            ))
        })?;
        Ok((zone, found))
    }

    /// The certificate of a zone that is called so, if there is one.
    fn find_in(client: &Client, zone: &ZoneRef, wanted: &str) -> Result<Option<Value>, CliError> {
        let uuid = wanted.len() == 36
            && wanted
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if uuid {
            match client.get(&zone.path(&format!("client_certificates/{wanted}"))) {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The gateway looks up what it has an index for; only the beginning of an id needs the list.
        let digits = wanted.replace(':', "");
        for (key, wanted) in [
            ("serial_number", digits.as_str()),
            ("fingerprint_sha256", digits.as_str()),
            ("common_name", wanted),
        ] {
            let query = format!(
                "client_certificates?status=all&{key}={}&per_page=50",
                segment(wanted)
            );
            let Value::Array(found) = client.get(&zone.path(&query))? else {
                continue;
            };
            match <[Value; 1]>::try_from(found) {
                Ok([one]) => return Ok(Some(one)),
                Err(several) if several.is_empty() => {}
                Err(several) => return Err(ambiguous(wanted, several.len())),
            }
        }
        let all = client.all(&zone.path("client_certificates?status=all"))?;
        Ok(pick(&all, wanted)?.cloned())
    }
}

fn ambiguous(wanted: &str, count: usize) -> CliError {
    CliError::Failed(format!(
        "`{wanted}` means {count} certificates; name one by its id, which `postern cert list --zone ZONE` shows"
    ))
}

/// The certificate whose id begins with `wanted`.
fn pick<'v>(all: &'v [Value], wanted: &str) -> Result<Option<&'v Value>, CliError> {
    let long_enough = wanted.len() >= 4;
    let begins = |one: &&Value| long_enough && str_of(one, "id").starts_with(wanted);
    let matches: Vec<&Value> = all.iter().filter(begins).collect();
    match matches.as_slice() {
        [one] => Ok(Some(one)),
        [] => Ok(None),
        many => Err(ambiguous(wanted, many.len())),
    }
}

fn details(one: &Value) -> String {
    let authority = one
        .get("certificate_authority")
        .map(|ca| text(ca, "name"))
        .unwrap_or_default();
    list(&[
        ("id", text(one, "id")),
        ("common name", text(one, "common_name")),
        ("status", standing(one, Moment::now().seconds())),
        ("serial", text(one, "serial_number")),
        ("fingerprint", text(one, "fingerprint_sha256")),
        ("issued", text(one, "issued_on")),
        ("expires", text(one, "expires_on")),
        ("authority", authority),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_by_the_beginning_of_its_id() {
        let all = [
            json!({"id": "aaaa-1"}),
            json!({"id": "aaaa-2"}),
            json!({"id": "bbbb-3"}),
        ];
        assert_eq!(pick(&all, "bbbb").unwrap(), Some(&all[2]));
        assert!(pick(&all, "aaaa").is_err());
        for wanted in ["bbb", "", "nothing"] {
            assert_eq!(pick(&all, wanted).unwrap(), None, "{wanted}");
        }
    }

    #[test]
    fn an_expired_certificate_is_shown_as_expired() {
        let one = |status: &str, ends: &str| json!({ "status": status, "expires_on": ends });
        let now = Moment::parse("2026-06-01T00:00:00Z").unwrap().seconds();
        for (status, ends, shown) in [
            ("active", "2026-06-01T00:00:01Z", "active"),
            ("active", "2026-06-01T00:00:00Z", "expired"),
            ("active", "2020-01-01T00:00:00Z", "expired"),
            ("revoked", "2020-01-01T00:00:00Z", "revoked"),
            ("revoked", "2030-01-01T00:00:00Z", "revoked"),
            ("active", "not a time", "active"),
        ] {
            assert_eq!(standing(&one(status, ends), now), shown, "{status} {ends}");
        }
    }
}
