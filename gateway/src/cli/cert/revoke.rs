//! `postern cert revoke`: one certificate, a file of them, a list of serial numbers, a pattern.
//!
//! Owns which certificates are meant, and that several are counted and confirmed first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use boring::hash::MessageDigest;
use clap::Args;
use serde_json::{Value, json};

use super::{One, details};
use crate::cli::client::files::{read_certificates, read_text};
use crate::cli::client::names::{CLOUDFLARE, OWN, ZoneRef, str_of, text};
use crate::cli::client::{Client, segment};
use crate::cli::output::confirm::{confirm, counted, some};
use crate::cli::output::table::harmless;
use crate::cli::output::{CliError, Output, json_text};
use control::RevocationReason;
use tls::pem;

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The zone, by name or id [default: the one that has issued the certificate]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Certificates: a PEM file, or an id, the beginning of it, a serial number, fingerprint, or a
    /// common name that no other has
    #[arg(value_name = "CERTIFICATE", required_unless_present_any = ["serials", "cn"])]
    certificates: Vec<String>,
    /// A file with one serial number a line, `-` for standard input
    #[arg(long, value_name = "FILE")]
    serials: Option<PathBuf>,
    /// All whose common name fits; `*` stands for any text, `?` for one character
    #[arg(long, value_name = "PATTERN")]
    cn: Option<String>,
    /// Why, for the CA's revocation list (RFC 5280): keyCompromise, superseded, cessationOfOperation,
    /// affiliationChanged, privilegeWithdrawn, certificateHold, cACompromise, aACompromise
    #[arg(long, value_name = "REASON", default_value_t = RevocationReason::Unspecified)]
    reason: RevocationReason,
    /// Of an edge of a fleet: on this edge alone, while etcd cannot be asked; the fleet does the same when it
    /// can
    #[arg(long)]
    local: bool,
    /// Confirm, when it is more than one
    #[arg(long)]
    yes: bool,
}

/// A certificate and its zone.
struct Found {
    zone: ZoneRef,
    certificate: Value,
}

impl Revoke {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        let zones = zones(client, self.zone.as_deref())?;
        let mut found: Vec<Found> = Vec::new();
        for wanted in &self.certificates {
            for name in names(wanted)? {
                found.push(find(client, &zones, &name)?);
            }
        }
        if let Some(file) = &self.serials {
            for serial in serials(&read_text(file)?) {
                found.push(find(client, &zones, &serial)?);
            }
        }
        if let Some(pattern) = &self.cn {
            found.extend(matching(client, &zones, pattern)?);
        }
        found.sort_by(|a, b| str_of(&a.certificate, "id").cmp(str_of(&b.certificate, "id")));
        found.dedup_by(|a, b| str_of(&a.certificate, "id") == str_of(&b.certificate, "id"));
        if found.is_empty() {
            let why = "no certificate fits, and none is revoked; `postern cert list --zone ZONE` shows all";
            return Err(CliError::Failed(why.into()));
        }
        let count = counted(found.len(), "certificate");
        if found.len() > 1 {
            let holders: Vec<String> = found
                .iter()
                .map(|one| harmless(str_of(&one.certificate, "common_name")))
                .collect();
            let what = format!("this revokes {count}: {}", some(&holders));
            confirm(self.yes, &what)?;
        }
        if self.local {
            return alone(client, &found, self.reason, json);
        }
        if let [one] = found.as_slice() {
            let id = segment(str_of(&one.certificate, "id"));
            let path = format!("client_certificates/{id}?reason={}", self.reason);
            let revoked = client.delete(&one.zone.path(&path))?;
            return Ok(match json {
                true => json_text(&revoked),
                false => format!("revoked\n{}", details(&revoked)),
            });
        }
        let answer = revoke_all(client, &found, self.reason)?;
        if json {
            return Ok(json_text(&answer));
        }
        let changed = answer.get("changed").and_then(Value::as_u64).unwrap_or(0);
        let before = (found.len() as u64).saturating_sub(changed);
        Ok(match before {
            0 => format!("revoked {count}\n"),
            _ => format!("revoked {count}, {before} of them before\n"),
        })
    }
}

/// Revokes them on this edge alone, one after the other.
fn alone(client: &Client, all: &[Found], reason: RevocationReason, json: bool) -> Output {
    let mut held = Vec::new();
    for one in all {
        let wanted = json!({ "revoke": {
            "zone_id": one.zone.id,
            "certificate_id": str_of(&one.certificate, "id"),
            "reason": reason,
        }});
        held.push(client.post(&format!("{OWN}/fleet/alone"), &wanted)?);
    }
    if json {
        return Ok(json_text(&Value::Array(held)));
    }
    let count = counted(all.len(), "certificate");
    Ok(format!(
        "revoked {count} on this edge alone, and in the fleet when etcd can be asked\n"
    ))
}

/// Revokes all of them in one change, or none.
fn revoke_all(client: &Client, all: &[Found], reason: RevocationReason) -> Result<Value, CliError> {
    let reason = reason.to_string();
    let zones: BTreeSet<&str> = all.iter().map(|one| &*one.zone.id).collect();
    let id = |one: &Found| text(&one.certificate, "id");
    // A token of one zone may revoke there and nowhere else.
    let (path, certificates) = match (zones.len(), all.first()) {
        (1, Some(first)) => (
            first.zone.own("client_certificates/revocations"),
            all.iter().map(|one| json!(id(one))).collect(),
        ),
        _ => (
            format!("{OWN}/client_certificates/revocations"),
            all.iter()
                .map(|one| json!({ "zone_id": one.zone.id, "id": id(one) }))
                .collect(),
        ),
    };
    let certificates = Value::Array(certificates);
    let body = json!({ "certificates": certificates, "reason": reason });
    Ok(client.post(&path, &body)?)
}

/// The zones to look in.
fn zones(client: &Client, zone: Option<&str>) -> Result<Vec<ZoneRef>, CliError> {
    if let Some(zone) = zone {
        return Ok(vec![ZoneRef::find(client, zone)?]);
    }
    let zones = client.all(&format!("{CLOUDFLARE}/zones"))?;
    let zones = zones.into_iter().map(|value| ZoneRef {
        id: text(&value, "id"),
        value,
    });
    Ok(zones.collect())
}

/// What an argument calls certificates: the fingerprints of those in a file, or itself.
fn names(wanted: &str) -> Result<Vec<String>, CliError> {
    let path = Path::new(wanted);
    if !path.is_file() {
        return Ok(vec![wanted.to_owned()]);
    }
    let refuse = |why: &str| CliError::Failed(format!("{wanted}: {why}"));
    let (_, certificates) = read_certificates(path, pem::Use::Chain)?;
    let prints = certificates.iter().map(|certificate| {
        let digest = certificate
            .digest(MessageDigest::sha256())
            .map_err(|why| refuse(&why.to_string()))?;
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    });
    prints.collect()
}

/// Serial numbers of a text: one a line, `#` begins a comment.
fn serials(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let plain = lines.map(|line| line.trim().replace(':', ""));
    plain.filter(|line| !line.is_empty()).collect()
}

/// The one certificate that is called so.
fn find(client: &Client, zones: &[ZoneRef], wanted: &str) -> Result<Found, CliError> {
    let mut found = Vec::new();
    for zone in zones {
        if let Some(certificate) = One::find_in(client, zone, wanted)? {
            let zone = ZoneRef {
                id: zone.id.clone(),
                value: zone.value.clone(),
            };
            found.push(Found { zone, certificate });
        }
    }
    let names = || {
        let names: Vec<String> = found
            .iter()
            .map(|one| text(&one.zone.value, "name"))
            .collect();
        names.join(", ")
    };
    if found.len() > 1 {
        return Err(CliError::Failed(format!(
            "`{wanted}` means a certificate of each of the zones {}; say which with --zone",
            names()
        )));
    }
    found.pop().ok_or_else(|| {
        CliError::Failed(format!(
            "there is no certificate `{wanted}` that a zone has issued; `postern cert list --zone ZONE` \
             shows all. \
             Clients of an uploaded CA are revoked by its lists (`postern crl`), or denied here (`postern deny`)"
        ))
    })
}

/// Those that are not revoked and whose common name fits.
fn matching(client: &Client, zones: &[ZoneRef], pattern: &str) -> Result<Vec<Found>, CliError> {
    let mut found = Vec::new();
    for zone in zones {
        for certificate in client.all(&zone.path("client_certificates?status=active"))? {
            if fits(pattern, str_of(&certificate, "common_name")) {
                let zone = ZoneRef {
                    id: zone.id.clone(),
                    value: zone.value.clone(),
                };
                found.push(Found { zone, certificate });
            }
        }
    }
    Ok(found)
}

/// Whether a text fits a pattern with `*` and `?`, letter case ignored.
fn fits(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and what of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(c) if *c == '?' || text.get(from) == Some(c) => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("device-*", "Device-17", true),
            ("*", "", true),
            ("*-berlin-?", "sensor-berlin-7", true),
            ("*-berlin-?", "sensor-berlin-17", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("device", "device-1", false),
            ("", "x", false),
            ("", "", true),
            ("gerät*", "GERÄT 5", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn serial_numbers_of_a_file() {
        let text = "# lost devices\n0A:1b:2C\n\n  ff00 # van 3\r\n";
        assert_eq!(serials(text), ["0A1b2C", "ff00"]);
    }
}
