//! `postern server-cert`: server certificates, which of them are presented, and those that nothing
//! uses any more.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::client::names::{CLOUDFLARE, ZoneRef, str_of, text};
use super::output::confirm::{confirm, counted, some};
use super::output::table::Table;
use super::output::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum ServerCert {
    /// List server certificates with the hosts that present them
    List {
        /// Only this zone's
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Only those that no host presents
        #[arg(long)]
        unused: bool,
    },
    /// Delete server certificates with their keys; one that a host needs is refused
    Delete {
        /// Only in this zone
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Its id, fingerprint or serial number, the beginning of one, or a name that it alone is for
        #[arg(value_name = "CERTIFICATE", required_unless_present = "unused")]
        certificate: Option<String>,
        /// All that no host presents
        #[arg(long, conflicts_with = "certificate")]
        unused: bool,
        /// Confirm
        #[arg(long)]
        yes: bool,
    },
}

/// Fewer characters of an id or a number name nothing in particular.
const PREFIX_CHARACTERS_MIN: usize = 4;

impl ServerCert {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::List { zone, unused } => {
                let mut all = all(client, zone.as_deref())?;
                all.retain(|one| !unused || hosts(one, "presented_by").is_empty());
                if json {
                    return Ok(json_text(&Value::Array(all)));
                }
                let mut table = Table::new(&[
                    "ID",
                    "NAMES",
                    "PRESENTED BY",
                    "ISSUER",
                    "KEY",
                    "OCSP",
                    "EXPIRES",
                ]);
                for one in &all {
                    let by = hosts(one, "presented_by");
                    table.row([
                        text(one, "id"),
                        hosts(one, "hosts").join(", "),
                        if by.is_empty() {
                            "none".into()
                        } else {
                            by.join(", ")
                        },
                        text(one, "issuer"),
                        text(one, "key_type"),
                        stapled(one).into(),
                        text(one, "expires_on"),
                    ]);
                }
                Ok(table.text(if unused {
                    "no server certificate is unused"
                } else {
                    "no server certificates; `postern host set HOST --cert FILE --key FILE` brings one"
                }))
            }
            Self::Delete {
                zone,
                certificate,
                unused,
                yes,
            } => {
                let all = all(client, zone.as_deref())?;
                let wanted: Vec<&Value> = match &certificate {
                    None => all
                        .iter()
                        .filter(|one| unused && hosts(one, "presented_by").is_empty())
                        .collect(),
                    Some(wanted) => vec![pick(&all, wanted)?],
                };
                if wanted.is_empty() {
                    let text = "every server certificate is presented by a host\n".to_owned();
                    return Ok(if json { json_text(&json!([])) } else { text });
                }
                let told: Vec<String> = wanted
                    .iter()
                    .map(|one| format!("{} ({})", hosts(one, "hosts").join(" "), text(one, "id")))
                    .collect();
                let count = counted(wanted.len(), "server certificate");
                let keys = if wanted.len() == 1 {
                    "its key"
                } else {
                    "their keys"
                };
                let what = format!("this deletes {count} and {keys}, for good: {}", some(&told));
                confirm(yes, &what)?;
                let mut gone = Vec::new();
                for one in &wanted {
                    let zone = text(one, "zone_id");
                    let id = text(one, "id");
                    let path = format!("{CLOUDFLARE}/zones/{zone}/custom_certificates/{id}");
                    gone.push(client.delete(&path)?);
                }
                Ok(if json {
                    json_text(&Value::Array(gone))
                } else {
                    format!("deleted {count}\n")
                })
            }
        }
    }
}

/// Whether an OCSP answer is stapled to it.
fn stapled(one: &Value) -> &'static str {
    let Some(found) = one.get("ocsp_stapling") else {
        return "-";
    };
    let is = |key: &str| found.get(key).and_then(Value::as_bool) == Some(true);
    if found.get("stapled_until").is_some_and(Value::is_string) {
        "stapled"
    } else if is("wanted") || is("must_staple") {
        "missing"
    } else {
        "-"
    }
}

/// Those of a zone, or of all zones.
fn all(client: &Client, zone: Option<&str>) -> Result<Vec<Value>, CliError> {
    let zones = match zone {
        Some(zone) => vec![ZoneRef::find(client, zone)?.id],
        None => {
            let zones = client.all(&format!("{CLOUDFLARE}/zones"))?;
            zones.iter().map(|zone| text(zone, "id")).collect()
        }
    };
    let mut found = Vec::new();
    for id in zones {
        found.extend(client.all(&format!("{CLOUDFLARE}/zones/{id}/custom_certificates"))?);
    }
    Ok(found)
}

fn hosts<'v>(one: &'v Value, key: &str) -> Vec<&'v str> {
    let list = one.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The one that is meant.
fn pick<'v>(all: &'v [Value], wanted: &str) -> Result<&'v Value, CliError> {
    let plain = wanted.replace(':', "").to_ascii_lowercase();
    let is_meant = |one: &&Value| {
        let long_enough = plain.len() >= PREFIX_CHARACTERS_MIN;
        let begins = ["id", "fingerprint_sha256", "serial_number"]
            .iter()
            .any(|key| str_of(one, key).to_ascii_lowercase().starts_with(&plain));
        hosts(one, "hosts").contains(&wanted) || long_enough && begins
    };
    let found: Vec<&Value> = all.iter().filter(is_meant).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::Failed(format!(
            "there is no server certificate `{wanted}`; `postern server-cert list` shows all"
        ))),
        many => Err(CliError::Failed(format!(
            "`{wanted}` means {} server certificates; write more of an id",
            many.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_found_by_what_it_is_called() {
        let one = |id: &str, print: &str, names: &[&str]| json!({"id": id, "fingerprint_sha256": print, "serial_number": "0a1b2c", "hosts": names});
        let all = [
            one("aaaa-1", "ffee01", &["a.test", "b.test"]),
            one("aaaa-2", "ffee02", &["b.test"]),
        ];
        for (wanted, place) in [("aaaa-1", 0), ("FF:EE:02", 1), ("a.test", 0)] {
            assert_eq!(pick(&all, wanted).unwrap(), &all[place], "{wanted}");
        }
        for wanted in ["aaaa", "b.test", "ffe", "", "0a1b2c", "c.test"] {
            assert!(pick(&all, wanted).is_err(), "{wanted}");
        }
    }
}
