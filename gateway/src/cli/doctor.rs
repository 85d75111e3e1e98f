//! `postern doctor`: checks that a host, or every host, has what mutual TLS needs, and that the gateway stands
//! well to its fleet.
//!
//! Owns the command and what it prints. The checks are [`admin::doctor`]'s, which the API has too.

use admin::doctor::{Ask, Finding, State, as_json, examine_all, examine_fleet};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::names::{OWN, str_of};
use crate::cli::client::{Client, segment};
use crate::cli::output::table::{harmless, list};
use crate::cli::output::{CliError, ClientError, Output, json_text, print};

impl Ask for Client {
    type Error = ClientError;

    fn ask(&self, path: &str) -> Result<Value, ClientError> {
        self.whole(path)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The host's name; without it every host is looked at
    #[arg(value_name = "HOST")]
    host: Option<String>,
}

impl Doctor {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        match &self.host {
            Some(name) => one(client, name, json),
            None => all(client, json),
        }
    }
}

fn one(client: &Client, name: &str, json: bool) -> Output {
    let host = client
        .get(&format!("{OWN}/hosts/{}", segment(name)))
        .map_err(|error| {
            if !error.is_not_found() {
                return error.into();
            }
            CliError::Failed(format!(
                "there is no host `{name}`; `postern host add {name} --zone ZONE --origin URL` adds it"
            ))
        })?;
    let mut examined = examine_all(client, std::slice::from_ref(&host), true)?;
    let mut findings = examined.pop().unwrap_or_default();
    let host_is_bad = is_bad(&findings);
    let fleet = fleet(client)?;
    if let Some((_, found)) = &fleet {
        // What is amiss with the fleet may be what is amiss with the host.
        findings.extend(found.iter().filter(|one| one.state != State::Good).cloned());
    }
    let shown = if json {
        json_text(&Value::Array(findings.iter().map(as_json).collect()))
    } else {
        for_people(&findings)
    };
    let bad: &[&str] = match host_is_bad {
        true => &[str_of(&host, "name")],
        false => &[],
    };
    told(shown, bad, fleet.as_ref())
}

fn all(client: &Client, json: bool) -> Output {
    let hosts = client.all(&format!("{OWN}/hosts"))?;
    let findings = examine_all(client, &hosts, true)?;
    let fleet = fleet(client)?;
    let named = || hosts.iter().map(|host| str_of(host, "name")).zip(&findings);
    let shown = if json {
        let of = |what: &str, name: &str, findings: &[Finding]| {
            let findings: Vec<Value> = findings.iter().map(as_json).collect();
            json!({ what: name, "findings": findings })
        };
        let fleet = fleet.iter().map(|(name, found)| of("fleet", name, found));
        json_text(
            &fleet
                .chain(named().map(|(name, found)| of("host", name, found)))
                .collect(),
        )
    } else {
        let page =
            |name: &str, found: &[Finding]| format!("{}\n{}", harmless(name), for_people(found));
        let mut pages: Vec<String> = Vec::new();
        pages.extend(
            fleet
                .iter()
                .map(|(name, found)| page(&format!("fleet {name}"), found)),
        );
        pages.extend(named().map(|(name, found)| page(name, found)));
        if hosts.is_empty() {
            pages.push(
                "there are no hosts; `postern host add NAME --zone ZONE --origin URL` adds one\n"
                    .into(),
            );
        }
        pages.join("\n")
    };
    let bad: Vec<&str> = named()
        .filter(|(_, findings)| is_bad(findings))
        .map(|(name, _)| name)
        .collect();
    told(shown, &bad, fleet.as_ref())
}

/// The fleet's name and what is found of it, where there is one and who asks may know of it.
fn fleet(client: &Client) -> Result<Option<(String, Vec<Finding>)>, ClientError> {
    match examine_fleet(client) {
        Err(error) if error.is_kept_back() => Ok(None),
        found => found,
    }
}

/// What was found is the answer, and stays on standard output; whether something is bad is the exit code.
fn told(shown: String, bad: &[&str], fleet: Option<&(String, Vec<Finding>)>) -> Output {
    let bad_fleet = fleet.filter(|(_, findings)| is_bad(findings));
    let error = match (bad, bad_fleet) {
        ([], None) => return Ok(shown),
        ([], Some((name, _))) => CliError::Failed(format!(
            "this gateway does not stand to the fleet {} as it should",
            harmless(name)
        )),
        (bad, _) => lacking(bad),
    };
    print(&shown);
    Err(error)
}

fn is_bad(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.state == State::Bad)
}

fn lacking(hosts: &[&str]) -> CliError {
    let does = if hosts.len() == 1 { "does" } else { "do" };
    CliError::Failed(format!(
        "{} {does} not have all that mutual TLS needs",
        hosts.join(", ")
    ))
}

fn for_people(findings: &[Finding]) -> String {
    let lines: Vec<(&str, String)> = findings
        .iter()
        .map(|finding| {
            let state = finding.state.as_str();
            let said = format!("{state}: {}", finding.said);
            let mend = Some(&finding.mend).filter(|mend| !mend.is_empty());
            let said = mend.map_or_else(
                || said.clone(),
                |mend| format!("{said}; to mend it: {mend}"),
            );
            (finding.check, said)
        })
        .collect();
    list(&lines)
}
