//! `postern origin`: the addresses that hosts and origin rules of a zone share by a name, and how they
//! are. What can be said of an origin, `postern host` says of a host's own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::files::{read_certificates, read_key};
use super::client::names::{OWN, ZoneRef, str_of, text, texts_of};
use super::client::{Client, segment};
use super::output::table::{Table, list};
use super::output::{CliError, Output, ValueError, json_text};
use control::limits::ORIGIN_TIME_MAX_SEC;
use tls::pem;

#[derive(Debug, Subcommand)]
pub(super) enum Origin {
    /// Add an origin to a zone
    Add {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        settings: OriginSettings,
    },
    /// List the origins of a zone, or how the addresses of all are
    List {
        /// Only this zone's
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
    },
    /// Show one origin and how its addresses are
    Show {
        #[command(flatten)]
        named: Named,
    },
    /// Change an origin, for all hosts and rules that name it
    Set {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        settings: OriginSettings,
    },
    /// Remove an origin that nothing names
    Delete {
        #[command(flatten)]
        named: Named,
    },
}

/// Which origin.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its name: a-z, 0-9, - and _
    #[arg(value_name = "NAME")]
    name: String,
    /// Its zone, by name or id
    #[arg(long, value_name = "ZONE")]
    zone: String,
}

/// What can be said of an origin.
#[derive(Debug, Default, Args)]
pub(super) struct OriginSettings {
    /// The origin of permitted requests: `http://127.0.0.1:9000` or `https://origin.example.com`;
    /// several times for several addresses, with `URL,weight=N` for one that gets N times as many
    /// requests; or, of a host, the NAME of an origin of its zone
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// How several addresses take turns: round_robin, least_requests, hash [default: round_robin]
    #[arg(long, value_name = "WAY", value_parser = ["round_robin", "least_requests", "hash"])]
    origin_balance: Option<String>,
    /// What requests are told apart by for `hash`, as in `ip.src`; makes it the way
    #[arg(long, value_name = "EXPRESSION")]
    origin_hash_by: Option<String>,
    /// When an address that fails gets no requests for a while, as in
    /// `failures=3,sec=10,max_sec=300,max_percent=50`; `default` is that
    #[arg(long, value_name = "SETTINGS", value_parser = ejection)]
    origin_ejection: Option<Ejection>,
    /// How addresses are checked: `tcp`, `http:/PATH`, `grpc` or `grpc:SERVICE`, followed by
    /// further settings after commas, as in `http:/healthz,status=200,interval_sec=5,timeout_sec=2,healthy=2,
    /// unhealthy=3,host=NAME`; `none` [default: none]
    #[arg(long, value_name = "CHECK", value_parser = health)]
    origin_health: Option<HealthCheck>,
    /// For how many seconds an address that is back gets fewer requests than its share [default: 10]
    #[arg(long, value_name = "SECONDS")]
    origin_slow_start: Option<u32>,
    /// With fewer good addresses than so many of a hundred, all are used [default: 0]
    #[arg(long, value_name = "PERCENT")]
    origin_panic: Option<u8>,
    /// How long it may take: to be connected to, for the answer to one try, after which another address
    /// is asked if the request may be repeated, and for all tries together, as in
    /// `connect=500ms,try=2s,whole=10s`; `default` is as `timeout.origin_connect` and
    /// `timeout.origin_response` say [default: default]
    #[arg(long, value_name = "TIMES", value_parser = timeouts)]
    origin_timeouts: Option<Said>,
    /// What it has at once, over all addresses: requests, connections, and how many requests wait beyond
    /// that, for how long, before they get 503, as in
    /// `requests=200,connections=100,queue=100,queue_time=5s`; `none` [default: none]
    #[arg(long, value_name = "LIMITS", value_parser = limits)]
    origin_limits: Option<Said>,
    /// HTTP version towards the origin
    #[arg(long, value_name = "VERSION", value_parser = ["auto", "http1", "http2"])]
    origin_protocol: Option<String>,
    /// CAs that an https origin's certificate must come from, in PEM; `system` is the system's
    /// [default: system]
    #[arg(long, value_name = "FILE")]
    origin_ca: Option<PathBuf>,
    /// The name that an https origin's certificate must have; `none` is the URL's host [default: none]
    #[arg(long, value_name = "NAME")]
    origin_server_name: Option<String>,
    /// What is shown to an https origin that asks for a certificate, in PEM with its chain; `none` shows
    /// nothing [default: none]
    #[arg(long, value_name = "FILE")]
    origin_client_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM; not needed for a renewed certificate of the same key
    #[arg(long, value_name = "FILE", requires = "origin_client_cert")]
    origin_client_key: Option<PathBuf>,
    /// The oldest TLS version towards an https origin [default: 1.2]
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3"])]
    origin_tls_min: Option<String>,
    /// What each connection to the origin begins with, so that it knows the client's address: `v2`, a
    /// header of that version of the PROXY protocol; `none` [default: none]
    #[arg(long, value_name = "VERSION", value_parser = ["v2", "none"])]
    origin_proxy_protocol: Option<String>,
    /// Replaces the client's `Host` towards the origin; `none` passes it on [default: none]
    #[arg(long, value_name = "NAME")]
    origin_host_header: Option<String>,
}

/// Settings of ejection as one argument; `null` is the default.
#[derive(Debug, Clone)]
struct Ejection(Value);

fn ejection(text: &str) -> Result<Ejection, ValueError> {
    if text == "default" {
        return Ok(Ejection(Value::Null));
    }
    const KEYS: [&str; 4] = ["failures", "sec", "max_sec", "max_percent"];
    let mut said = Map::new();
    for part in text.split(',') {
        let (key, number) = part.split_once('=').unwrap_or((part, ""));
        let number: Option<u32> = number.parse().ok();
        match (KEYS.contains(&key), number) {
            (true, Some(number)) => drop(said.insert(key.into(), json!(number))),
            _ => {
                let part = part.escape_debug();
                let keys = KEYS.join(", ");
                return Err(ValueError(format!(
                    "`{part}` is not KEY=NUMBER with one of {keys}"
                )));
            }
        }
    }
    Ok(Ejection(Value::Object(said)))
}

/// How addresses are checked as one argument; `null` is not at all.
#[derive(Debug, Clone)]
struct HealthCheck(Value);

fn health(text: &str) -> Result<HealthCheck, ValueError> {
    if text == "none" {
        return Ok(HealthCheck(Value::Null));
    }
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (kind, rest) = first.split_once(':').unwrap_or((first, ""));
    let mut said = Map::new();
    let of_kind = match kind {
        "tcp" => None,
        "http" => Some("path"),
        "grpc" => Some("service"),
        _ => {
            let kind = kind.escape_debug();
            let why = format!("`{kind}` is not tcp, http:/PATH, grpc, grpc:SERVICE or none");
            return Err(ValueError(why));
        }
    };
    if of_kind.is_none() && first != kind {
        let why = "`tcp` takes nothing behind it: the port checked is the address's own";
        return Err(ValueError(why.into()));
    }
    said.insert("kind".into(), json!(kind));
    if let Some(key) = of_kind.filter(|_| !rest.is_empty()) {
        said.insert(key.into(), json!(rest));
    }
    const NUMBERS: [&str; 5] = [
        "status",
        "interval_sec",
        "timeout_sec",
        "healthy",
        "unhealthy",
    ];
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let number: Option<u32> = value.parse().ok();
        match (key, number) {
            ("host", _) => drop(said.insert(key.into(), json!(value))),
            (key, Some(number)) if NUMBERS.contains(&key) => {
                drop(said.insert(key.into(), json!(number)));
            }
            _ => {
                let (part, keys) = (part.escape_debug(), NUMBERS.join(", "));
                let why = format!("`{part}` is not host=NAME or KEY=NUMBER with one of {keys}");
                return Err(ValueError(why));
            }
        }
    }
    Ok(HealthCheck(Value::Object(said)))
}

/// Settings as one argument; `null` takes them back.
#[derive(Debug, Clone)]
struct Said(Value);

/// Reads `KEY=VALUE,KEY=VALUE`: times under a name of their own, and numbers.
fn said(text: &str, times: &[(&str, &str)], numbers: &[&str]) -> Result<Said, ValueError> {
    let mut all = Map::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if let Some((_, name)) = times.iter().find(|(said, _)| *said == key) {
            let most = Duration::from_secs(ORIGIN_TIME_MAX_SEC.into());
            let time = config::time(value, Duration::from_millis(1), most);
            let time = time.map_err(|why| ValueError(format!("{key}: {why}")))?;
            let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            all.insert((*name).into(), json!(ms));
            continue;
        }
        match value.parse::<u32>() {
            Ok(number) if numbers.contains(&key) => drop(all.insert(key.into(), json!(number))),
            _ => {
                let keys = times.iter().map(|(said, _)| format!("{said}=TIME"));
                let numbers = numbers.iter().map(|said| format!("{said}=NUMBER"));
                let keys: Vec<String> = keys.chain(numbers).collect();
                let part = part.escape_debug();
                let why = format!("`{part}` is none of {}", keys.join(", "));
                return Err(ValueError(why));
            }
        }
    }
    Ok(Said(Value::Object(all)))
}

fn timeouts(text: &str) -> Result<Said, ValueError> {
    if text == "default" {
        return Ok(Said(Value::Null));
    }
    let times = [
        ("connect", "connect_ms"),
        ("try", "try_ms"),
        ("whole", "whole_ms"),
    ];
    said(text, &times, &[])
}

fn limits(text: &str) -> Result<Said, ValueError> {
    if text == "none" {
        return Ok(Said(Value::Null));
    }
    let times = [("queue_time", "queue_ms")];
    said(text, &times, &["requests", "connections", "queue"])
}

/// Takes a setting back that there is. What a change does not name stays.
fn take_back(origin: &mut Map<String, Value>, key: &str) {
    if let Some(value) = origin.get_mut(key) {
        *value = Value::Null;
    }
}

/// An address as the API takes it.
fn address(text: &str) -> Result<Value, CliError> {
    let Some((url, weight)) = text.split_once(',') else {
        return Ok(json!({ "url": text }));
    };
    let weight = weight
        .strip_prefix("weight=")
        .and_then(|text| text.parse::<u16>().ok());
    match weight {
        Some(weight) => Ok(json!({ "url": url, "weight": weight })),
        None => Err(CliError::Usage(format!(
            "`{text}`: after the comma comes weight=NUMBER"
        ))),
    }
}

/// Whether it is the name of an origin and no URL.
fn is_name(text: &str) -> bool {
    !text.contains([':', '/', '.', ','])
}

impl OriginSettings {
    /// Whether they say where the origin is.
    pub(super) fn says_where(&self) -> bool {
        !self.origin.is_empty()
    }

    /// Says where, in the place of what was said of that before.
    fn place(&self, origin: &mut Map<String, Value>) -> Result<(), CliError> {
        let (key, value) = match self.origin.as_slice() {
            [] => return Ok(()),
            [one] if is_name(one) => ("name", json!(one)),
            [one] if !one.contains(',') => ("url", json!(one)),
            several => {
                let all: Result<Vec<Value>, CliError> =
                    several.iter().map(|one| address(one)).collect();
                ("addresses", Value::Array(all?))
            }
        };
        if key == "name" {
            // It says everything else.
            origin.clear();
        }
        for other in ["url", "addresses", "name"] {
            take_back(origin, other);
        }
        if key != "addresses" {
            take_back(origin, "balance");
            take_back(origin, "hash_by");
        }
        origin.insert(key.into(), value);
        Ok(())
    }

    /// What the API takes: what is different from what there is, and nothing else, so that what somebody
    /// else changes meanwhile stays. `None` when nothing changes.
    pub(super) fn changed(
        &self,
        present: Option<&Map<String, Value>>,
    ) -> Result<Option<Map<String, Value>>, CliError> {
        let before = present.cloned().unwrap_or_default();
        let mut origin = before.clone();
        self.place(&mut origin)?;
        match (&self.origin_balance, &self.origin_hash_by) {
            (None, None) => {}
            (Some(way), None) if way != "hash" => {
                origin.insert("balance".into(), json!(way));
                take_back(&mut origin, "hash_by");
            }
            (way, by) => {
                origin.insert("balance".into(), json!(way.as_deref().unwrap_or("hash")));
                if let Some(by) = by {
                    origin.insert("hash_by".into(), json!(by));
                }
            }
        }
        if let Some(Ejection(said)) = &self.origin_ejection {
            origin.insert("ejection".into(), said.clone());
        }
        if let Some(HealthCheck(said)) = &self.origin_health {
            origin.insert("health".into(), said.clone());
        }
        if let Some(seconds) = self.origin_slow_start {
            origin.insert("slow_start_sec".into(), json!(seconds));
        }
        if let Some(percent) = self.origin_panic {
            origin.insert("panic_percent".into(), json!(percent));
        }
        for (key, value) in [
            ("timeouts", &self.origin_timeouts),
            ("limits", &self.origin_limits),
        ] {
            if let Some(Said(said)) = value {
                origin.insert(key.into(), said.clone());
            }
        }
        for (key, value) in [
            ("protocol", &self.origin_protocol),
            ("server_name", &self.origin_server_name),
            ("proxy_protocol", &self.origin_proxy_protocol),
            ("host_header", &self.origin_host_header),
        ] {
            match value.as_deref() {
                None => {}
                Some("none") if key != "protocol" => take_back(&mut origin, key),
                Some(value) => {
                    origin.insert(key.into(), json!(value));
                }
            }
        }
        match &self.origin_ca {
            None => {}
            Some(word) if word.as_os_str() == "system" => {
                take_back(&mut origin, "ca_pem");
            }
            Some(path) => {
                let (bundle, _) = read_certificates(path, pem::Use::Origins)?;
                origin.insert("ca_pem".into(), json!(bundle));
            }
        }
        match &self.origin_client_cert {
            None => {}
            Some(word) if word.as_os_str() == "none" => {
                take_back(&mut origin, "client_certificate");
            }
            Some(path) => {
                let (chain, _) = read_certificates(path, pem::Use::Chain)?;
                let mut shown = Map::new();
                shown.insert("certificate".into(), json!(chain));
                if let Some(key) = &self.origin_client_key {
                    shown.insert("private_key".into(), json!(read_key(key)?));
                }
                origin.insert("client_certificate".into(), Value::Object(shown));
            }
        }
        if let Some(version) = &self.origin_tls_min {
            origin.insert("tls_min_version".into(), json!(version));
        }
        // Another origin without TLS has no use for what was said of the old one's.
        let first = self.origin.first();
        let is_plain = first.is_some_and(|url| url.starts_with("http://"));
        let is_said = [
            ("ca_pem", self.origin_ca.is_some()),
            ("server_name", self.origin_server_name.is_some()),
            ("client_certificate", self.origin_client_cert.is_some()),
            ("tls_min_version", self.origin_tls_min.is_some()),
        ];
        if is_plain && !is_said.iter().any(|(_, is_said)| *is_said) {
            for (key, _) in is_said {
                take_back(&mut origin, key);
            }
        }
        origin.retain(|key, value| before.get(key) != Some(value));
        Ok((!origin.is_empty()).then_some(origin))
    }
}

/// Where an origin is, in a few words.
pub(super) fn place(origin: Option<&Value>) -> String {
    let Some(origin) = origin else {
        return String::new();
    };
    let name = str_of(origin, "name");
    if !name.is_empty() {
        return name.to_owned();
    }
    let addresses = origin.get("addresses").and_then(Value::as_array);
    let addresses: Vec<&str> = addresses
        .into_iter()
        .flatten()
        .map(|one| str_of(one, "url"))
        .collect();
    match addresses.as_slice() {
        [] => text(origin, "url"),
        all => all.join(", "),
    }
}

/// How its addresses take turns, when there are several.
pub(super) fn balance(origin: &Value) -> String {
    if origin.get("addresses").is_none() {
        return String::new();
    }
    match str_of(origin, "balance") {
        "" => "round_robin".into(),
        "hash" => format!("hash of {}", str_of(origin, "hash_by")),
        way => way.into(),
    }
}

/// Settings as they were said, in the order of their names.
fn settings(origin: &Value, key: &str) -> String {
    let all = origin.get(key).and_then(Value::as_object);
    let all = all.into_iter().flatten();
    let all: Vec<String> = all.map(|(key, value)| format!("{key}={value}")).collect();
    all.join(", ")
}

/// The certificate that an origin is shown, in a line.
pub(super) fn shown_to_it(shown: Option<&Value>) -> String {
    let Some(shown) = shown.filter(|shown| shown.is_object()) else {
        return String::new();
    };
    let name = match str_of(shown, "common_name") {
        "" => str_of(shown, "organization"),
        name => name,
    };
    format!(
        "{name} of {} from {} until {}, SHA-256 {}",
        str_of(shown, "issuer"),
        str_of(shown, "issued_on"),
        str_of(shown, "expires_on"),
        str_of(shown, "fingerprint_sha256"),
    )
}

/// How an address is, with why.
fn state(address: &Value) -> String {
    let word = str_of(address, "state");
    let why = str_of(address, "last_failure");
    match (word, address.get("out_for_seconds").and_then(Value::as_f64)) {
        ("ejected", Some(left)) => format!("ejected for {left:.0} s more ({why})"),
        ("unhealthy", _) => format!("unhealthy: {}", str_of(address, "health_error")),
        _ => word.to_owned(),
    }
}

fn addresses(of: &[(String, &Value)], empty: &str) -> String {
    let head = [
        "ORIGIN", "ADDRESS", "STATE", "OPEN", "REQUESTS", "FAILED", "EJECTED",
    ];
    let mut table = Table::new(&head);
    for (label, origin) in of {
        let all = origin.get("addresses").and_then(Value::as_array);
        for one in all.into_iter().flatten() {
            table.row([
                label.clone(),
                text(one, "url"),
                state(one),
                text(one, "open_requests"),
                text(one, "requests"),
                text(one, "failed"),
                text(one, "ejections"),
            ]);
        }
    }
    table.text(empty)
}

fn details(origin: &Value) -> String {
    let spec = origin.get("origin").cloned().unwrap_or_default();
    let used: Vec<&str> = texts_of(origin, "used_by").collect();
    let out = list(&[
        ("origin", text(origin, "name")),
        ("zone", text(origin, "zone_name")),
        ("addresses", place(Some(&spec))),
        ("balance", balance(&spec)),
        ("timeouts", settings(&spec, "timeouts")),
        ("limits", settings(&spec, "limits")),
        ("protocol", text(&spec, "protocol")),
        ("host header", text(&spec, "host_header")),
        ("server name", text(&spec, "server_name")),
        ("least TLS", text(&spec, "tls_min_version")),
        ("PROXY protocol", text(&spec, "proxy_protocol")),
        ("shown to it", shown_to_it(origin.get("client_certificate"))),
        ("used by", used.join(", ")),
        ("changed", text(origin, "modified_on")),
    ]);
    let name = text(origin, "name");
    let shown = addresses(&[(name.clone(), origin)], "");
    if used.is_empty() {
        let hint = format!("nothing uses it yet; `postern host set HOST --origin {name}` does\n");
        return out + &hint;
    }
    format!("{out}\n{shown}")
}

impl Named {
    fn path(&self, client: &Client) -> Result<String, CliError> {
        let zone = ZoneRef::find(client, &self.zone)?;
        Ok(zone.own(&format!("origins/{}", segment(&self.name))))
    }
}

impl Origin {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let shown = |origin: &Value| {
            if json {
                json_text(origin)
            } else {
                details(origin)
            }
        };
        match self {
            Self::Add { named, settings } => {
                let origin = settings.changed(None)?;
                let Some(origin) = origin.filter(|_| settings.says_where()) else {
                    return Err(CliError::Usage(
                        "an origin needs an address: add `--origin http://127.0.0.1:9000`, once for each".into(),
                    ));
                };
                let zone = ZoneRef::find(client, &named.zone)?;
                let body = json!({ "name": named.name, "origin": origin });
                let made = client.post(&zone.own("origins"), &body)?;
                Ok(shown(&made))
            }
            Self::List { zone: Some(zone) } => {
                let zone = ZoneRef::find(client, &zone)?;
                let origins = client.all(&zone.own("origins"))?;
                if json {
                    return Ok(json_text(&Value::Array(origins)));
                }
                let mut table = Table::new(&["ORIGIN", "ADDRESSES", "BALANCE", "USED BY"]);
                for origin in &origins {
                    let spec = origin.get("origin").cloned().unwrap_or_default();
                    let used: Vec<&str> = texts_of(origin, "used_by").collect();
                    table.row([
                        text(origin, "name"),
                        place(Some(&spec)),
                        balance(&spec),
                        used.join(", "),
                    ]);
                }
                Ok(table.text("no origins; `postern origin add NAME --zone ZONE --origin URL --origin URL` adds one"))
            }
            Self::List { zone: None } => {
                let origins = client.all(&format!("{OWN}/origins"))?;
                if json {
                    return Ok(json_text(&Value::Array(origins)));
                }
                let labelled: Vec<(String, &Value)> = origins
                    .iter()
                    .map(|origin| (text(origin, "label"), origin))
                    .collect();
                Ok(addresses(&labelled, "no origins: there are no hosts"))
            }
            Self::Show { named } => Ok(shown(&client.get(&named.path(client)?)?)),
            Self::Set { named, settings } => {
                let path = named.path(client)?;
                let present = client.get(&path)?;
                let present = present.get("origin").and_then(Value::as_object);
                let Some(origin) = settings.changed(present)? else {
                    return Err(CliError::Usage(
                        "nothing to change; `postern origin set --help` shows what can be".into(),
                    ));
                };
                let changed = client.patch(&path, &json!({ "origin": origin }))?;
                Ok(shown(&changed))
            }
            Self::Delete { named } => {
                let answer = client.delete(&named.path(client)?)?;
                Ok(if json {
                    json_text(&answer)
                } else {
                    format!("removed {}\n", named.name)
                })
            }
        }
    }
}
