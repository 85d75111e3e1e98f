//! What `postern doctor` finds: whether a host has what mutual TLS needs, how this gateway stands to its fleet,
//! and how to mend it.
//!
//! Owns which checks are made, and of which hosts. Asks the API, over whatever way its caller has, and
//! connects to origins as the data path does; changes nothing. How it is shown is the caller's: the
//! command line and the API both have it.

mod checks;
mod fleet;
mod origin;
mod report;
mod rules;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::Value;

use self::checks::{
    Issued, authorities, client_certificate, has_expired, list_of, mode, server_certificate,
};
pub use self::fleet::examine_fleet;
use self::origin::origin;
pub(crate) use self::report::with_fix;
pub use self::report::{Finding, Fix, State, as_json};
use self::rules::{rule, unknown_names};
use crate::limits::DOCTOR_ORIGINS_AT_ONCE;

/// A way to the API.
pub trait Ask {
    /// Why there is no answer.
    type Error;

    /// The whole answer to a GET, its envelope included.
    ///
    /// # Errors
    /// It failed, or cannot be read.
    fn ask(&self, path: &str) -> Result<Value, Self::Error>;
}

const CLOUDFLARE: &str = "/client/v4";
const OWN: &str = "/postern/v1";

fn get<A: Ask>(ask: &A, path: &str) -> Result<Value, A::Error> {
    let mut answer = ask.ask(path)?;
    Ok(answer
        .get_mut("result")
        .map(Value::take)
        .unwrap_or_default())
}

/// A part of a list, and the cursor of the next one.
fn page<A: Ask>(ask: &A, path: &str) -> Result<(Vec<Value>, Option<String>), A::Error> {
    let answer = ask.ask(path)?;
    let next = answer.pointer("/result_info/cursors/after");
    let next = next.and_then(Value::as_str).filter(|next| !next.is_empty());
    Ok((list_of(&answer, "result").to_vec(), next.map(str::to_owned)))
}

/// The uploaded CAs.
fn uploaded<A: Ask>(ask: &A) -> Result<Vec<Value>, A::Error> {
    let accounts = get(ask, &format!("{CLOUDFLARE}/accounts"))?;
    let account = accounts.get(0).map_or("", |one| str_of(one, "id"));
    let path = format!("{CLOUDFLARE}/accounts/{account}/mtls_certificates");
    let mut all = Vec::new();
    for number in 1_u32.. {
        let answer = ask.ask(&format!("{path}?per_page=1000&page={number}"))?;
        let pages = answer.pointer("/result_info/total_pages");
        let pages = pages.and_then(Value::as_u64).unwrap_or(1);
        all.extend_from_slice(list_of(&answer, "result"));
        if u64::from(number) >= pages {
            break;
        }
    }
    Ok(all)
}

/// A field of an object as text; empty when it is not there.
fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A field of an object as borrowed text; empty when it is not there.
fn str_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The texts in a list of an answer.
fn texts_of<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    let all = value.get(key).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str)
}

/// Examines hosts as the API shows them; what is found of each, in their order. `connects` says whether
/// their origins are connected to: not for those who may not know what this machine reaches.
///
/// # Errors
/// The API does not answer.
pub fn examine_all<A: Ask>(
    ask: &A,
    hosts: &[Value],
    connects: bool,
) -> Result<Vec<Vec<Finding>>, A::Error> {
    let mut zones = Zones::default();
    let mut named = HashMap::new();
    let hosts: Vec<Value> = hosts
        .iter()
        .map(|host| with_origin(ask, &mut named, host.clone()))
        .collect::<Result<_, _>>()?;
    let hosts = hosts.as_slice();
    let mut examined = Vec::with_capacity(hosts.len());
    for host in hosts {
        examined.push(examine(ask, &mut zones, host)?);
    }
    let shown = if connects { origins(hosts) } else { Vec::new() };
    let mut shown = shown.into_iter();
    let found = examined.into_iter();
    Ok(found.map(|one| one.finish(shown.next())).collect())
}

/// The host with the origin that a name stands for.
fn with_origin<A: Ask>(
    ask: &A,
    known: &mut HashMap<(String, String), Value>,
    mut host: Value,
) -> Result<Value, A::Error> {
    let name = host.pointer("/origin/name").and_then(Value::as_str);
    let Some(name) = name else { return Ok(host) };
    let place = (text(&host, "zone_id"), name.to_owned());
    let origin = match known.entry(place) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let (zone, name) = new.key();
            // A name is made of letters, digits, - and _.
            let found = get(ask, &format!("{OWN}/zones/{zone}/origins/{name}"))?;
            new.insert(found)
        }
    };
    if let (Some(host), Some(spec)) = (host.as_object_mut(), origin.get("origin")) {
        host.insert("origin".into(), spec.clone());
        let shown = origin.get("client_certificate").cloned();
        host.insert(
            "origin_client_certificate".into(),
            shown.unwrap_or_default(),
        );
    }
    Ok(host)
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
    fn facts<A: Ask>(&mut self, ask: &A, zone: &str) -> Result<&mut ZoneFacts, A::Error> {
        match self.zones.entry(zone.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(ZoneFacts {
                issued: issued(ask, zone)?,
                lints: get(ask, &format!("{OWN}/zones/{zone}/lints"))?,
                names_told: false,
            })),
        }
    }
}

/// Looks through a zone's client certificates until one is good, which the first nearly always is.
fn issued<A: Ask>(ask: &A, zone: &str) -> Result<Issued, A::Error> {
    let path = format!("{CLOUDFLARE}/zones/{zone}/client_certificates?status=active&per_page=50");
    let mut expired = 0;
    let mut cursor = None;
    loop {
        let next = cursor.map_or_else(
            || path.clone(),
            |cursor: String| format!("{path}&cursor={cursor}"),
        );
        let (page, after) = page(ask, &next)?;
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
    fn uploaded<A: Ask>(&mut self, ask: &A) -> Result<&HashMap<String, Value>, A::Error> {
        if self.uploaded.is_none() {
            let mut found = HashMap::new();
            for mut ca in uploaded(ask)? {
                let id = text(&ca, "id");
                let crls = get(ask, &format!("{OWN}/certificate_authorities/{id}/crls"))?;
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
    fn finish(self, origin: Option<Finding>) -> Vec<Finding> {
        let mut all = vec![self.before];
        all.extend(origin);
        all.extend(self.after);
        all
    }
}

fn examine<A: Ask>(ask: &A, zones: &mut Zones, host: &Value) -> Result<Examined, A::Error> {
    let zone = text(host, "zone_id");
    let mut served = Vec::new();
    for one in list_of(host, "server_certificates") {
        let id = str_of(one, "id");
        served.push(get(
            ask,
            &format!("{CLOUDFLARE}/zones/{zone}/custom_certificates/{id}"),
        )?);
    }
    let name = str_of(host, "name");
    let enforcement = get(ask, &format!("{OWN}/hosts/{name}/enforcement"))?;
    let trusted = authorities(host, zones.uploaded(ask)?);
    let facts = zones.facts(ask, &zone)?;
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
