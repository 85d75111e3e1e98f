//! `postern rule mtls`: "Create a mTLS rule" of Cloudflare's documents, for new and existing rules.
//!
//! Owns the command: hosts and paths in, a saved rule out. The gateway makes the expression and reads
//! it back.

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::Action;
use super::phases::Phase;
use super::ruleset::{Position, Ruleset};
use crate::cli::client::Client;
use crate::cli::client::names::{ZoneRef, text};
use crate::cli::output::table::{harmless, list};
use crate::cli::output::{Output, json_text};

#[derive(Debug, Args)]
pub(crate) struct MtlsRule {
    /// The zone, by name or id
    #[arg(long, value_name = "ZONE")]
    zone: String,
    /// The rule to change, or to show when no change is given; without it a rule is added
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// A description for people [default: mTLS]
    #[arg(long, alias = "name", value_name = "TEXT")]
    description: Option<String>,
    /// Only these hosts, separated by commas [default: all of the zone]
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    hosts: Option<Vec<String>>,
    /// Only these paths, separated by commas [default: all]
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    paths: Option<Vec<String>>,
    /// All hosts of the zone again
    #[arg(long, requires = "rule", conflicts_with = "hosts")]
    all_hosts: bool,
    /// All paths again
    #[arg(long, requires = "rule", conflicts_with = "paths")]
    all_paths: bool,
    /// Block revoked certificates as well
    #[arg(long)]
    check_revoked: bool,
    /// Ignore revocations again
    #[arg(long, requires = "rule", conflicts_with = "check_revoked")]
    ignore_revoked: bool,
    /// The action for clients without a certificate: begin with log, change to block later
    /// [default: block]
    #[arg(long, value_enum)]
    action: Option<Action>,
    /// Switch it off; a new rule is saved as a draft
    #[arg(long, alias = "disabled")]
    disable: bool,
    /// Switch it on
    #[arg(long, requires = "rule", conflicts_with = "disable")]
    enable: bool,
    #[command(flatten)]
    position: Position,
    /// Show the rule and its warnings, and save nothing
    #[arg(long)]
    dry_run: bool,
}

impl MtlsRule {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        let zone = ZoneRef::find(client, &self.zone)?;
        let ruleset = Ruleset::load(client, &zone, Phase::Custom)?;
        let body = Value::Object(self.body(ruleset.position(&self.position)?));
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let (done, made) = match &self.rule {
            None => {
                let made = client.post(&zone.own(&format!("mtls_rules{query}")), &body)?;
                ("added", made)
            }
            Some(rule) => {
                let id = text(ruleset.rule(rule)?, "id");
                let path = zone.own(&format!("mtls_rules/{id}"));
                if body.as_object().is_some_and(Map::is_empty) {
                    ("", client.get(&path)?)
                } else {
                    ("changed", client.patch(&format!("{path}{query}"), &body)?)
                }
            }
        };
        Ok(match json {
            true => json_text(&made),
            false if self.dry_run || done.is_empty() => shown(&made),
            false => format!("{done} {}\n{}", text(&made, "id"), shown(&made)),
        })
    }

    fn body(&self, position: Option<Value>) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.into(), value);
            }
        };
        let list = |all: bool, some: &Option<Vec<String>>| match (all, some) {
            (true, _) => Some(json!([])),
            (false, some) => some.as_ref().map(|some| json!(some)),
        };
        put("name", self.description.as_ref().map(|name| json!(name)));
        put("hosts", list(self.all_hosts, &self.hosts));
        put("paths", list(self.all_paths, &self.paths));
        let said = self.check_revoked || self.ignore_revoked;
        put("check_revoked", said.then(|| json!(self.check_revoked)));
        put("action", self.action.map(|action| json!(action.as_str())));
        let said = self.disable || self.enable;
        put("enabled", said.then(|| json!(self.enable)));
        put("position", position);
        body
    }
}

fn shown(rule: &Value) -> String {
    let joined = |key: &str| {
        let items = rule.get(key).and_then(Value::as_array);
        let items = items.into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    let all = |text: String| if text.is_empty() { "all".into() } else { text };
    let flag = |key: &str| match rule.get(key).and_then(Value::as_bool) {
        Some(true) => "yes".to_owned(),
        _ => "no".to_owned(),
    };
    let mut out = list(&[
        ("name", text(rule, "name")),
        ("hosts", all(joined("hosts"))),
        ("paths", all(joined("paths"))),
        ("revoked too", flag("check_revoked")),
        ("action", text(rule, "action")),
        ("enabled", flag("enabled")),
        ("position", text(rule, "position")),
        ("expression", text(rule, "expression")),
    ]);
    for lint in rule
        .get("lints")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        out.push_str(&format!("warning: {}\n", harmless(&text(lint, "message"))));
        let better = text(lint, "suggestion");
        if !better.is_empty() {
            out.push_str(&format!("   help: {}\n", harmless(&better)));
        }
    }
    out
}
