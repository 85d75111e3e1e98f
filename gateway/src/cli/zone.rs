//! `postern zone`: administrative units.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::names::{CLOUDFLARE, ZoneRef, text};
use super::table::{Table, list};
use super::{Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum Zone {
    /// Make a zone and its managed CA
    Create {
        /// The domain whose hosts it owns
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List all zones
    List,
    /// Show one zone
    Show {
        /// Name or id
        #[arg(value_name = "ZONE")]
        zone: String,
    },
    /// Remove a zone with its hosts, certificates, CAs and rules
    Delete {
        /// Name or id
        #[arg(value_name = "ZONE")]
        zone: String,
        /// Do it without further question
        #[arg(long)]
        yes: bool,
    },
}

impl Zone {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Create { name } => {
                let zone = client.post(
                    &format!("{CLOUDFLARE}/zones"),
                    &json!({ "name": name, "type": "full" }),
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
            Self::Delete { zone, yes } => {
                let zone = ZoneRef::find(client, &zone)?;
                let name = text(&zone.value, "name");
                if !yes {
                    return Err(super::CliError::Usage(format!(
                        "this removes the zone {name} with its hosts, certificates, CAs and rules, for good; say --yes to do it"
                    )));
                }
                let answer = client.delete(&format!("{CLOUDFLARE}/zones/{}", zone.id))?;
                Ok(if json {
                    json_text(&answer)
                } else {
                    format!("removed the zone {name}\n")
                })
            }
        }
    }
}
