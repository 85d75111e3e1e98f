//! `postern rule mtls`: "Create a mTLS rule" of Cloudflare's documents.
//!
//! Owns the command: hosts and paths in, a saved rule out. The expression is made by the gateway.

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::names::{ZoneRef, text};
use super::rule::Action;
use super::{Output, json_text};

#[derive(Debug, Args)]
pub(super) struct MtlsRule {
    /// The zone, by name or id
    #[arg(long, value_name = "ZONE")]
    zone: String,
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "mTLS")]
    name: String,
    /// Only for these hosts, several with commas; without it for all of the zone
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Only for these paths, several with commas; without it for all
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    paths: Vec<String>,
    /// Block revoked certificates as well
    #[arg(long)]
    check_revoked: bool,
    /// What happens to clients without a certificate: begin with log, change it to block later
    #[arg(long, value_enum, default_value_t = Action::Block)]
    action: Action,
    /// Save it as a draft, switched off
    #[arg(long)]
    disabled: bool,
    /// Show the expression and save nothing
    #[arg(long)]
    dry_run: bool,
}

impl MtlsRule {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let zone = ZoneRef::find(client, &self.zone)?;
        let body = self.body();
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let made = client.post(&zone.own(&format!("mtls_rules{query}")), &body)?;
        Ok(match (json, self.dry_run) {
            (true, _) => json_text(&made),
            (false, true) => format!("{}\n", text(&made, "expression")),
            (false, false) => {
                format!(
                    "added {}\n{}\n",
                    text(&made, "id"),
                    text(&made, "expression")
                )
            }
        })
    }

    fn body(&self) -> Value {
        json!({
            "name": self.name,
            "hosts": self.hosts,
            "paths": self.paths,
            "check_revoked": self.check_revoked,
            "action": self.action.as_str(),
            "enabled": !self.disabled,
        })
    }
}
