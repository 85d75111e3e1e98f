//! `postern doctor`: checks that a host, or every host, has what mutual TLS needs.
//!
//! Owns which checks are made, and of which hosts. Reads through the admin API and connects to origins
//! as the data path does; changes nothing.

mod checks;
mod origin;
mod report;
mod rules;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use clap::Args;
use serde_json::{Value, json};

use self::checks::{
    Issued, authorities, client_certificate, has_expired, list_of, mode, server_certificate,
};
use self::origin::origin;
use self::report::{Finding, State, as_json, for_people};
use self::rules::{rule, unknown_names};
use crate::cli::ca::uploaded;
use crate::cli::client::names::{OWN, ZoneRef, str_of, text};
use crate::cli::client::{Client, segment};
use crate::cli::output::table::harmless;
use crate::cli::output::{CliError, Output, json_text, print};
use crate::limits::DOCTOR_ORIGINS_AT_ONCE;

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
    let findings = examine(client, &mut Zones::default(), &host)?.finish(origin(&host));
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
    let mut zones = Zones::default();
    let mut examined = Vec::with_capacity(hosts.len());
    for host in &hosts {
        examined.push(examine(client, &mut zones, host)?);
    }
    let findings: Vec<Vec<Finding>> = examined
        .into_iter()
        .zip(origins(&hosts))
        .map(|(examined, origin)| examined.finish(origin))
        .collect();
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

/// What origins show, in the hosts' order. Many are asked at once, because one that is down takes
/// all of its time.
fn origins(hosts: &[Value]) -> Vec<Finding> {
    let mut found = Vec::with_capacity(hosts.len());
    for some in hosts.chunks(DOCTOR_ORIGINS_AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|host| scope.spawn(move || origin(host)))
                .collect();
            found.extend(asked.into_iter().map(|one| {
                one.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }));
        });
    }
    found
}

/// What the API says of zones and of uploaded CAs, asked once for all hosts.
#[derive(Default)]
struct Zones {
    zones: HashMap<String, ZoneFacts>,
    /// By id; with its lists as `crls`.
    uploaded: Option<HashMap<String, Value>>,
}

struct ZoneFacts {
    issued: Issued,
    lints: Value,
    /// Names in rules that mean no host at all were told of, with the first host.
    names_told: bool,
}

impl Zones {
    fn facts(&mut self, client: &Client, zone: &ZoneRef) -> Result<&mut ZoneFacts, CliError> {
        match self.zones.entry(zone.id.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(ZoneFacts {
                issued: issued(client, zone)?,
                lints: client.get(&zone.own("lints"))?,
                names_told: false,
            })),
        }
    }
}

/// Looks through a zone's client certificates until one is good, which the first nearly always is.
fn issued(client: &Client, zone: &ZoneRef) -> Result<Issued, CliError> {
    let path = zone.path("client_certificates?status=active&per_page=50");
    let mut expired = 0;
    let mut cursor = None;
    loop {
        let next = cursor.map_or_else(
            || path.clone(),
            |cursor: String| format!("{path}&cursor={}", segment(&cursor)),
        );
        let (page, after) = client.page(&next)?;
        if page.iter().any(|one| !has_expired(one)) {
            return Ok(Issued::Good);
        }
        expired += page.len();
        cursor = after;
        if cursor.is_none() {
            return Ok(match expired {
                0 => Issued::None,
                count => Issued::Expired(count),
            });
        }
    }
}

impl Zones {
    /// The uploaded CAs with their lists.
    fn uploaded(&mut self, client: &Client) -> Result<&HashMap<String, Value>, CliError> {
        if self.uploaded.is_none() {
            let mut found = HashMap::new();
            for mut ca in client.all(&uploaded(client)?)? {
                let id = text(&ca, "id");
                let crls = client.get(&format!("{OWN}/certificate_authorities/{id}/crls"))?;
                if let Some(ca) = ca.as_object_mut() {
                    ca.insert("crls".into(), crls);
                }
                found.insert(id, ca);
            }
            self.uploaded = Some(found);
        }
        Ok(self.uploaded.get_or_insert_default())
    }
}

/// Everything but the origin, in two parts: its finding stands between them.
struct Examined {
    before: Finding,
    after: Vec<Finding>,
}

impl Examined {
    fn finish(self, origin: Finding) -> Vec<Finding> {
        let mut all = vec![self.before, origin];
        all.extend(self.after);
        all
    }
}

fn examine(client: &Client, zones: &mut Zones, host: &Value) -> Result<Examined, CliError> {
    let zone = ZoneRef {
        id: text(host, "zone_id"),
        value: Value::Null,
    };
    let mut served = Vec::new();
    for one in list_of(host, "server_certificates") {
        let id = str_of(one, "id");
        served.push(client.get(&zone.path(&format!("custom_certificates/{id}")))?);
    }
    let name = segment(str_of(host, "name"));
    let enforcement = client.get(&format!("{OWN}/hosts/{name}/enforcement"))?;
    let trusted = authorities(host, zones.uploaded(client)?);
    let facts = zones.facts(client, &zone)?;
    let is_first = !std::mem::replace(&mut facts.names_told, true);
    let mut after = vec![
        trusted,
        client_certificate(host, facts.issued),
        mode(host),
        rule(host, &enforcement, &facts.lints),
    ];
    after.extend(unknown_names(host, &facts.lints, is_first));
    Ok(Examined {
        before: server_certificate(host, &served),
        after,
    })
}
