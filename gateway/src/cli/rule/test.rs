//! `postern rule test`: what rules would do with requests, and why.
//!
//! Owns the inputs (a URL, files of requests, access logs) and the display of the answer. The gateway
//! evaluates the rules; nothing is changed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::{Settings, Text, ZoneArg};
use super::phases::Phase;
use super::ruleset::{Position, Ruleset};
use crate::cli::client::Client;
use crate::cli::client::files::{read_certificates, read_text};
use crate::cli::client::names::{ZoneRef, str_of, text};
use crate::cli::output::table::{harmless, harmless_lines};
use crate::cli::output::{CliError, ClientError, Output, json_text, yaml};
use crate::limits::ACCESS_LOG_LINE_BYTES_READ;
use admin::limits::DRY_RUN_REQUESTS_MAX;

/// Requests of a log that are shown one by one.
const SHOWN_RECORDS: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
A file of requests is a list in YAML or JSON:
  - url: https://api.example.com/admin
    method: POST
    headers: {user-agent: curl/8}
    source: 192.0.2.1
    certificate: valid        # none, invalid, valid, revoked, PEM, or {state: valid, serial: 0A1B}
    expect: permit            # permit, block, refuse, unknown, or a rule's id or ref
Omitted values of the certificate, address, TLS, round-trip time (round_trip_msec: 20) and ClientHello are unknown.
A line of the access log leaves the query, headers, round-trip time and most of the certificate unknown. An outcome
that depends on an unknown value is reported as unknown.
Exit code 1: an outcome was not as expected or, with --same, not as recorded.")]
pub(crate) struct RuleTest {
    #[command(flatten)]
    zone: ZoneArg,
    /// A request, by its URL
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Its method
    #[arg(
        long,
        short = 'X',
        value_name = "METHOD",
        requires = "url",
        default_value = "GET"
    )]
    method: String,
    /// One of its headers, `NAME: VALUE`
    #[arg(long = "header", short = 'H', value_name = "HEADER", requires = "url")]
    headers: Vec<String>,
    /// Its source address
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    source: Option<String>,
    /// The client's certificate: none, invalid, valid, revoked, or a PEM file
    #[arg(
        long,
        value_name = "CERTIFICATE",
        requires = "url",
        default_value = "none"
    )]
    certificate: String,
    /// The expected outcome: permit, block, refuse, unknown, or the id or ref of the blocking rule
    #[arg(long, value_name = "OUTCOME", requires = "url")]
    expect: Option<String>,
    /// A file of requests in YAML or JSON, `-` for standard input
    #[arg(long, value_name = "FILE")]
    requests: Vec<PathBuf>,
    /// An access log, `-` for standard input
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// The number of requests to take from the end of the access logs
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, requires = "log", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    last: u32,
    /// Fail when a recorded request would end differently
    #[arg(long, requires = "log")]
    same: bool,
    #[command(flatten)]
    draft: Draft,
    /// Explain this rule too, `all` for every one
    #[arg(long, value_name = "RULE")]
    explain: Vec<String>,
}

/// A rule that is not saved.
#[derive(Debug, Args)]
#[command(next_help_heading = "A draft, tried and not saved")]
struct Draft {
    /// The rule that the draft changes; without it the draft is a new rule
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    position: Position,
    /// Try the rule switched on
    #[arg(long, requires = "rule", conflicts_with = "disable")]
    enable: bool,
    /// Try the rule switched off
    #[arg(long, requires = "rule")]
    disable: bool,
}

impl RuleTest {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        let zone = ZoneRef::find(client, &self.zone.zone)?;
        let ruleset = Ruleset::load(client, &zone, Phase::Custom)?;
        let mut requests = Vec::new();
        if let Some(url) = &self.url {
            requests.push(self.request(url)?);
        }
        let mut origins = Vec::new();
        for file in &self.requests {
            requests.extend(read_requests(file, &mut origins, requests.len())?);
        }
        let records = self.records()?;
        if requests.is_empty() && records.is_empty() {
            return Err(CliError::Usage(
                "nothing to try: give a URL, --requests FILE or --log FILE".into(),
            ));
        }
        let explain = self
            .explain
            .iter()
            .map(|wanted| match wanted.as_str() {
                "all" => Ok("all".to_owned()),
                wanted => ruleset.rule(wanted).map(|rule| text(rule, "id")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut body = json!({ "requests": requests, "records": records, "explain": explain });
        if let (Some(draft), Some(body)) = (self.draft.body(&ruleset)?, body.as_object_mut()) {
            body.insert("draft".into(), draft.into());
        }
        let found = client
            .post(&zone.own("rule_tests"), &body)
            .map_err(|error| explained(error, &origins))?;
        self.end(&found, json)
    }

    fn request(&self, url: &str) -> Result<Value, CliError> {
        let mut headers = Map::new();
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                let why = format!("a header is written `NAME: VALUE`, not `{header}`");
                return Err(CliError::Usage(why));
            };
            let values = headers
                .entry(name.trim().to_ascii_lowercase())
                .or_insert_with(|| json!([]));
            if let Some(values) = values.as_array_mut() {
                values.push(value.trim().into());
            }
        }
        let certificate = match self.certificate.as_str() {
            word @ ("none" | "invalid" | "valid" | "revoked") => word.to_owned(),
            file => read_certificates(Path::new(file), tls::pem::Use::Chain)?.0,
        };
        let mut request = json!({
            "url": url, "method": self.method, "headers": headers, "certificate": certificate,
        });
        if let Some(request) = request.as_object_mut() {
            for (key, value) in [("source", &self.source), ("expect", &self.expect)] {
                if let Some(value) = value {
                    request.insert(key.into(), json!(value));
                }
            }
        }
        Ok(request)
    }

    /// The last requests of all logs together.
    fn records(&self) -> Result<Vec<String>, CliError> {
        let mut last = VecDeque::new();
        let most = usize::try_from(self.last).unwrap_or(DRY_RUN_REQUESTS_MAX);
        for file in &self.log {
            read_log(file, most, &mut last)?;
        }
        Ok(last.into())
    }

    fn end(&self, found: &Value, json: bool) -> Output {
        let shown = if json { json_text(found) } else { shown(found) };
        let count = |pointer: &str| found.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let unmet = count("/summary/expectations_unmet");
        let differ = count("/summary/different_from_record");
        let mut wrong = Vec::new();
        if unmet > 0 {
            wrong.push(format!("{unmet} requests do not end as expected"));
        }
        if self.same && differ > 0 {
            wrong.push(format!("{differ} requests do not end as recorded"));
        }
        if wrong.is_empty() {
            return Ok(shown);
        }
        crate::cli::output::print(&shown);
        Err(CliError::Failed(wrong.join("; ")))
    }
}

impl Draft {
    fn body(&self, ruleset: &Ruleset) -> Result<Option<Map<String, Value>>, CliError> {
        let rule = self
            .rule
            .as_deref()
            .map(|rule| ruleset.rule(rule))
            .transpose()?;
        let mut body = self.settings.body(rule);
        if let Some(expression) = self.text.read()? {
            body.insert("expression".into(), json!(expression));
        }
        if self.enable || self.disable {
            body.insert("enabled".into(), json!(self.enable));
        }
        if let Some(position) = ruleset.position(&self.position)? {
            body.insert("position".into(), position);
        }
        match rule {
            Some(rule) => {
                body.insert("id".into(), json!(text(rule, "id")));
            }
            None if body.is_empty() => return Ok(None),
            None if !body.contains_key("expression") => {
                return Err(CliError::Usage(
                    "a draft needs an expression: add --expression, or say which --rule it changes"
                        .into(),
                ));
            }
            None => {
                body.entry("action").or_insert_with(|| json!("block"));
            }
        }
        Ok(Some(body))
    }
}

/// Where a file's requests stand among all, and in the file.
struct Origin {
    name: String,
    first: usize,
    count: usize,
    marked: yaml::Marked,
}

fn read_requests(
    file: &Path,
    origins: &mut Vec<Origin>,
    first: usize,
) -> Result<Vec<Value>, CliError> {
    let name = file.display().to_string();
    let text = read_text(file)?;
    let marked = yaml::read(&text).map_err(|wrong| {
        let position = wrong.position;
        CliError::Failed(harmless_lines(&format!(
            "{name}:{}:{}: {}",
            position.line, position.column, wrong.why
        )))
    })?;
    let Value::Array(requests) = marked.value.clone() else {
        return Err(CliError::Failed(format!(
            "{name}: a list of requests is expected; `postern rule test --help` shows one"
        )));
    };
    origins.push(Origin {
        name,
        first,
        count: requests.len(),
        marked,
    });
    Ok(requests)
}

/// Adds a log's requests, keeping the last `most` of all. Lines of other kinds are left out.
fn read_log(file: &Path, most: usize, last: &mut VecDeque<String>) -> Result<(), CliError> {
    let name = file.display();
    let failed = |why: std::io::Error| CliError::Failed(format!("{name} cannot be read: {why}"));
    let mut reader: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(std::fs::File::open(file).map_err(failed)?))
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(ACCESS_LOG_LINE_BYTES_READ)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 >= ACCESS_LOG_LINE_BYTES_READ {
            return Err(CliError::Failed(format!(
                "{name} has a line of more than {ACCESS_LOG_LINE_BYTES_READ} bytes; is it an access log?"
            )));
        }
        let text = String::from_utf8_lossy(&line);
        if memchr::memmem::find(text.as_bytes(), br#""kind":"request""#).is_none() {
            continue;
        }
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(text.trim_end().to_owned());
    }
}

/// A refusal with the place in the file that it is about.
fn explained(error: ClientError, origins: &[Origin]) -> CliError {
    let ClientError::Refused {
        message,
        pointer: Some(pointer),
        ..
    } = &error
    else {
        return error.into();
    };
    let in_requests = pointer.strip_prefix("/requests/").and_then(|rest| {
        let (place, rest) = rest.split_once('/').unwrap_or((rest, ""));
        Some((place.parse::<usize>().ok()?, rest))
    });
    let Some((place, rest)) = in_requests else {
        return error.into();
    };
    for origin in origins {
        let Some(at) = place
            .checked_sub(origin.first)
            .filter(|at| *at < origin.count)
        else {
            continue;
        };
        if let Some(position) = origin.marked.position(&format!("/{at}/{rest}"), false) {
            return CliError::Failed(harmless_lines(&format!(
                "{}:{}:{}: {message}",
                origin.name, position.line, position.column
            )));
        }
    }
    error.into()
}

fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    let items = value.get(key).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

fn shown(found: &Value) -> String {
    let tested = items(found, "tested");
    let mut out = String::new();
    let (mut records, mut left) = (0, 0_usize);
    for one in tested {
        let is_record = one.get("recorded").is_some() || one.get("request").is_none();
        if is_record {
            let differs = one.get("differs").and_then(Value::as_bool);
            if differs == Some(false) {
                continue;
            }
            records += 1;
            if records > SHOWN_RECORDS {
                left += 1;
                continue;
            }
        }
        out.push_str(&shown_one(one));
        out.push('\n');
    }
    if left > 0 {
        out.push_str(&format!(
            "… and {left} more that are unknown or do not end as recorded; --json shows all\n"
        ));
    }
    if tested.len() > 1 {
        let summary = found.get("summary").unwrap_or(&Value::Null);
        let outcomes = summary.get("outcomes").and_then(Value::as_object);
        let outcomes = outcomes.into_iter().flatten();
        let counts: Vec<String> = outcomes
            .map(|(outcome, count)| format!("{count} {}", outcome.replace('_', " ")))
            .collect();
        out.push_str(&format!("{} requests: {}", tested.len(), counts.join(", ")));
        let differ = text(summary, "different_from_record");
        if tested.iter().any(|one| one.get("recorded").is_some()) {
            out.push_str(&format!("; {differ} would not end as recorded"));
        }
        out.push('\n');
    }
    out
}

fn shown_one(one: &Value) -> String {
    let mut out = String::new();
    let name = str_of(one, "name");
    match one.get("request") {
        Some(request) => {
            let named = if name.is_empty() {
                String::new()
            } else {
                format!(" ({name})")
            };
            out.push_str(&harmless(&format!(
                "{} {}{}, certificate {}{named}",
                text(request, "method"),
                text(request, "host"),
                text(request, "path"),
                text(request, "certificate"),
            )));
        }
        None => out.push_str("a line of the log"),
    }
    out.push_str(&format!("\n  {}\n", harmless(&outcome(one))));
    if let Some(recorded) = one.get("recorded") {
        let by = match str_of(recorded, "rule_id") {
            "" => String::new(),
            rule => format!(" by {rule}"),
        };
        let (outcome, status) = (text(recorded, "outcome"), text(recorded, "status"));
        out.push_str(&harmless(&format!("  recorded: {outcome}{by} ({status})")));
        out.push('\n');
    }
    if one.get("met").and_then(Value::as_bool) == Some(false) {
        out.push_str(&harmless(&format!("  expected: {}", text(one, "expected"))));
        out.push('\n');
    }
    for note in items(one, "notes") {
        let note = note.as_str().unwrap_or_default();
        out.push_str(&format!("  note: {}\n", harmless(note)));
    }
    for rule in items(one, "rules") {
        out.push_str(&format!("  {}\n", harmless(&rule_name(rule))));
        if let Some(trace) = rule.get("trace") {
            shown_trace(trace, 2, &mut out);
        }
    }
    out
}

fn outcome(one: &Value) -> String {
    let by = |rule: &Value| match rule {
        Value::Null => String::new(),
        rule => format!(" by {}", rule_name(rule)),
    };
    let rule = one.get("rule").unwrap_or(&Value::Null);
    match str_of(one, "outcome") {
        "permit" => format!("permitted{}", by(rule)),
        "block" => format!("blocked{}, status {}", by(rule), text(one, "status")),
        "refuse" => match text(one, "status").as_str() {
            "" => format!("refused in the handshake: {}", text(one, "reason")),
            status => format!("refused before the rules: {status} {}", text(one, "reason")),
        },
        "unknown" => {
            let rules: Vec<String> = items(one, "possible").iter().map(rule_name).collect();
            let fields: Vec<&str> = items(one, "unknown")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let or = match one.get("or_permitted_by_none").and_then(Value::as_bool) {
                Some(true) => ", or no rule",
                _ => "",
            };
            format!(
                "unknown: {}{or}; it depends on {}",
                rules.join(", "),
                fields.join(", ")
            )
        }
        _ => "not judged".into(),
    }
}

fn rule_name(rule: &Value) -> String {
    let flag = |key: &str| rule.get(key).and_then(Value::as_bool);
    let mut name = format!("#{} {}", text(rule, "position"), text(rule, "action"));
    let description = str_of(rule, "description");
    if !description.is_empty() {
        name.push_str(&format!(" \"{description}\""));
    }
    if flag("draft") == Some(true) {
        name.push_str(" (draft)");
    }
    if flag("enabled") == Some(false) {
        name.push_str(" (disabled)");
    }
    name
}

fn shown_trace(trace: &Value, indent: usize, out: &mut String) {
    let holds = match trace.get("holds").and_then(Value::as_bool) {
        Some(true) => "true ",
        Some(false) => "false",
        None => "?    ",
    };
    let expression = text(trace, "expression");
    let mut line = format!("{}{holds}  {expression}", "  ".repeat(indent));
    for value in items(trace, "values") {
        let of = str_of(value, "of");
        // A Boolean on its own has said it.
        if of == expression {
            continue;
        }
        let is = match str_of(value, "is") {
            "known" => text(value, "value"),
            other => format!("({other})"),
        };
        line.push_str(&format!("   {of} = {is}"));
    }
    out.push_str(&harmless(&line));
    out.push('\n');
    for part in items(trace, "parts") {
        shown_trace(part, indent + 1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_for_people() {
        let rule = json!({"id": "ab", "position": 2, "action": "block", "description": "mTLS\u{1b}", "enabled": true, "draft": true});
        let found = json!({"tested": [
            {"name": "first", "outcome": "block", "status": 403, "rule": rule, "expected": "permit", "met": false,
             "request": {"method": "GET", "host": "a.test", "path": "/admin", "certificate": "not_presented"},
             "rules": [{"position": 2, "action": "block", "trace": {"expression": "not x and p eq \"/\"", "holds": true, "parts": [
                {"expression": "not x", "holds": true, "parts": [{"expression": "x", "holds": false, "values": [{"of": "x", "is": "known", "value": "false"}]}]},
                {"expression": "p eq \"/\"", "holds": null, "values": [{"of": "p", "is": "unknown", "value": null}]}]}}]},
            {"name": "r1", "outcome": "permit", "recorded": {"outcome": "permit", "status": 200}, "differs": false, "request": {}},
            {"outcome": "not_judged", "notes": ["it is not a line"], "recorded": {"outcome": "permit", "status": 200}, "differs": null},
        ], "summary": {"outcomes": {"block": 1, "not_judged": 1, "permit": 1}, "different_from_record": 0}});
        assert_eq!(
            shown(&found),
            "GET a.test/admin, certificate not_presented (first)\n  \
               blocked by #2 block \"mTLS\u{fffd}\" (draft), status 403\n  \
               expected: permit\n  \
               #2 block\n    \
                 true   not x and p eq \"/\"\n      \
                   true   not x\n        \
                     false  x\n      \
                   ?      p eq \"/\"   p = (unknown)\n\
             \n\
             a line of the log\n  \
               not judged\n  \
               recorded: permit (200)\n  \
               note: it is not a line\n\
             \n\
             3 requests: 1 block, 1 not judged, 1 permit; 0 would not end as recorded\n"
        );
    }

    #[test]
    fn the_last_requests_of_a_log() {
        let file = std::env::temp_dir().join(format!("postern-rule-test-{}", std::process::id()));
        let line = |n: usize| format!("{{\"kind\":\"request\",\"n\":{n}}}\n");
        let log: String = (0..10).map(line).collect();
        std::fs::write(
            &file,
            format!("{{\"kind\":\"handshake\"}}\n{log}{{\"kind\":\"requ"),
        )
        .unwrap();
        let mut last = VecDeque::new();
        read_log(&file, 3, &mut last).unwrap();
        let expected: Vec<String> = (7..10).map(|n| line(n).trim_end().to_owned()).collect();
        assert_eq!(Vec::from(last), expected);
        let huge = "x".repeat(usize::try_from(ACCESS_LOG_LINE_BYTES_READ).unwrap() + 1);
        std::fs::write(&file, huge).unwrap();
        let error = read_log(&file, 3, &mut VecDeque::new()).unwrap_err();
        assert!(
            error.to_string().contains("is it an access log?"),
            "{error}"
        );
        std::fs::remove_file(&file).unwrap();
    }
}
