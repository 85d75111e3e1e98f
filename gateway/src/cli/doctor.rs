//! `postern doctor`: checks that a host, or every host, has what mutual TLS needs.
//!
//! Owns the command and what it prints. The checks are [`admin::doctor`]'s, which the API has too.

use admin::doctor::{Ask, Finding, State, as_json, examine_all};
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
    let findings = examined.pop().unwrap_or_default();
    let shown = if json {
        json_text(&Value::Array(findings.iter().map(as_json).collect()))
    } else {
        for_people(&findings)
    };
    if is_bad(&findings) {
        // What was found is the answer, and stays on standard output.
        print(&shown);
        return Err(lacking(&[str_of(&host, "name")]));
    }
    Ok(shown)
}

fn all(client: &Client, json: bool) -> Output {
    let hosts = client.all(&format!("{OWN}/hosts"))?;
    let findings = examine_all(client, &hosts, true)?;
    let named = || hosts.iter().map(|host| str_of(host, "name")).zip(&findings);
    let shown = if json {
        let all = named().map(|(name, findings)| {
            let findings: Vec<Value> = findings.iter().map(as_json).collect();
            json!({ "host": name, "findings": findings })
        });
        json_text(&all.collect())
    } else if hosts.is_empty() {
        "there are no hosts; `postern host add NAME --zone ZONE --origin URL` adds one\n".into()
    } else {
        let pages =
            named().map(|(name, findings)| format!("{}\n{}", harmless(name), for_people(findings)));
        pages.collect::<Vec<_>>().join("\n")
    };
    let bad: Vec<&str> = named()
        .filter(|(_, findings)| is_bad(findings))
        .map(|(name, _)| name)
        .collect();
    if bad.is_empty() {
        return Ok(shown);
    }
    print(&shown);
    Err(lacking(&bad))
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
