//! `postern doctor`: whether a host has what mutual TLS needs, and how to mend what it lacks.
//!
//! Owns the checks that Cloudflare's documents list as prerequisites, and their words. Reads through
//! the admin API and asks an HTTPS origin for its certificate; changes nothing.

mod checks;
mod report;

use clap::Args;
use serde_json::Value;

use self::checks::{
    authorities, client_certificate, list_of, mode, origin, rule, server_certificate,
};
use self::report::{Finding, State, as_json, for_people};
use crate::cli::client::names::{OWN, ZoneRef, str_of, text};
use crate::cli::client::{Client, segment};
use crate::cli::output::{CliError, Output, json_text, print};

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The host's name
    #[arg(value_name = "HOST")]
    host: String,
}

impl Doctor {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        let host = client
            .get(&format!("{OWN}/hosts/{}", segment(&self.host)))
            .map_err(|error| {
                if !error.is_not_found() {
                    return error.into();
                }
                CliError::Failed(format!(
                    "there is no host `{0}`; `postern host add {0} --zone ZONE --origin URL` adds it",
                    self.host
                ))
            })?;
        let findings = examine(client, &host)?;
        let bad = findings.iter().any(|finding| finding.state == State::Bad);
        let shown = if json {
            json_text(&Value::Array(findings.iter().map(as_json).collect()))
        } else {
            for_people(&findings)
        };
        if bad {
            // What was found is the answer, and stays on standard output.
            print(&shown);
            return Err(CliError::Failed(format!(
                "{} does not have all that mutual TLS needs",
                str_of(&host, "name")
            )));
        }
        Ok(shown)
    }
}

fn examine(client: &Client, host: &Value) -> Result<Vec<Finding>, CliError> {
    let zone = ZoneRef {
        id: text(host, "zone_id"),
        value: Value::Null,
    };
    let mut served = Vec::new();
    for one in list_of(host, "server_certificates") {
        let id = str_of(one, "id");
        served.push(client.get(&zone.path(&format!("custom_certificates/{id}")))?);
    }
    let active = client.get(&zone.path("client_certificates?status=active&per_page=5"))?;
    let name = segment(str_of(host, "name"));
    let enforcement = client.get(&format!("{OWN}/hosts/{name}/enforcement"))?;
    let lints = client.get(&zone.own("lints"))?;
    Ok(vec![
        server_certificate(host, &served),
        origin(host),
        authorities(host),
        client_certificate(host, &active),
        mode(host),
        rule(host, &enforcement, &lints),
    ])
}
