//! `postern zone`: zones, the administrative units that own hosts, rules and a CA.

use clap::Subcommand;
use serde_json::{Value, json};

use super::ca::CaKey;
use super::client::Client;
use super::client::names::{CLOUDFLARE, OWN, ZoneRef, text};
use super::output::confirm::{confirm, losses};
use super::output::table::{Table, list};
use super::output::{Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum Zone {
    /// Create a zone and its managed CA
    Create {
        /// The domain whose hosts it owns
        #[arg(value_name = "NAME")]
        name: String,
        /// The key type of its managed CA
        #[arg(long, value_enum, default_value_t = CaKey::EcdsaP256)]
        ca_key: CaKey,
    },
    /// List all zones
    List,
    /// Show one zone
    Show {
        /// Name or id
        #[arg(value_name = "ZONE")]
        zone: String,
    },
    /// Print the certificate of a zone's managed CA, in PEM
    Ca {
        /// Name or id
        #[arg(value_name = "ZONE", required_unless_present = "development")]
        zone: Option<String>,
        /// The CA of development server certificates instead; it belongs to no zone
        #[arg(long, conflicts_with = "zone")]
        development: bool,
    },
    /// Remove a zone with its hosts, certificates, CAs and rules
    Delete {
        /// Name or id
        #[arg(value_name = "ZONE")]
        zone: String,
        /// Confirm
        #[arg(long)]
        yes: bool,
    },
}

impl Zone {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Create { name, ca_key } => {
                let zone = client.post(
                    &format!("{CLOUDFLARE}/zones"),
                    &json!({ "name": name, "type": "full", "key_type": ca_key.name() }),
                )?;
                Ok(if json {
                    json_text(&zone)
                } else {
                    format!(
                        "made the zone {} ({})\n",
                        text(&zone, "name"),
                        text(&zone, "id")
                    )
                })
            }
            Self::List => {
                let zones = client.all(&format!("{CLOUDFLARE}/zones"))?;
                if json {
                    return Ok(json_text(&Value::Array(zones)));
                }
                let mut table = Table::new(&["ID", "NAME", "CREATED"]);
                for zone in &zones {
                    table.row([
                        text(zone, "id"),
                        text(zone, "name"),
                        text(zone, "created_on"),
                    ]);
                }
                Ok(table.text("no zones; `postern zone create example.com` makes one"))
            }
            Self::Show { zone } => {
                let zone = ZoneRef::find(client, &zone)?.value;
                if json {
                    return Ok(json_text(&zone));
                }
                Ok(list(&[
                    ("name", text(&zone, "name")),
                    ("id", text(&zone, "id")),
                    ("status", text(&zone, "status")),
                    ("created", text(&zone, "created_on")),
                    ("changed", text(&zone, "modified_on")),
                ]))
            }
            Self::Ca {
                zone: Some(zone), ..
            } => {
                let all = client.get(&ZoneRef::find(client, &zone)?.own("authorities"))?;
                if json {
                    return Ok(json_text(&all));
                }
                let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
                Ok(all.iter().map(|ca| text(ca, "certificate")).collect())
            }
            Self::Ca { zone: None, .. } => {
                // Made when there is none: a client asks for it before the first certificate too.
                let path = format!("{OWN}/development_authority");
                let ca = client.post(&path, &Value::Null)?;
                Ok(if json {
                    json_text(&ca)
                } else {
                    text(&ca, "certificate")
                })
            }
            Self::Delete { zone, yes } => {
                let zone = ZoneRef::find(client, &zone)?;
                let name = text(&zone.value, "name");
                let path = format!("{CLOUDFLARE}/zones/{}", zone.id);
                let lost = losses(&client.delete(&format!("{path}?dry_run=true"))?);
                confirm(
                    yes,
                    &format!("this removes the zone {name} and its rules, for good: {lost}"),
                )?;
                let answer = client.delete(&path)?;
                Ok(if json {
                    json_text(&answer)
                } else {
                    format!("removed the zone {name}\n")
                })
            }
        }
    }
}
