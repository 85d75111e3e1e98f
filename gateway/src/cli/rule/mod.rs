//! `postern rule`: the ordered rules of a zone.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::files::read_text;
use super::mtls::MtlsRule;
use super::names::{OWN, ZoneRef, text};
use super::rule_phases::{Phase, PhaseSettings, what};
use super::rule_test::RuleTest;
use super::rule_versions::Versions;
use super::ruleset::{Position, Ruleset, rules_of};
use super::table::Table;
use super::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum Rule {
    /// Add a rule, at the end unless a position is given
    Add {
        #[command(flatten)]
        zone: ZoneArg,
        #[command(flatten)]
        text: Text,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        phase: PhaseSettings,
        #[command(flatten)]
        position: Position,
        /// Add it switched off
        #[arg(long)]
        disabled: bool,
    },
    /// Add, show or change a rule that blocks clients without a certificate, by hosts and paths
    Mtls(Box<MtlsRule>),
    /// List a zone's rules in the order in which they are tried
    List {
        #[command(flatten)]
        rules: RulesArg,
    },
    /// Change a rule
    Edit {
        #[command(flatten)]
        zone: ZoneArg,
        #[command(flatten)]
        one: RuleArg,
        #[command(flatten)]
        text: Text,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        phase: PhaseSettings,
        /// Switch it on
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Switch it off
        #[arg(long)]
        disable: bool,
    },
    /// Move a rule to another position
    Move {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        position: Position,
    },
    /// Remove a rule
    Delete {
        #[command(flatten)]
        one: One,
    },
    /// Check an expression and print its canonical form, without changing anything
    Preview {
        /// The expression, `-` for standard input
        #[arg(value_name = "EXPRESSION", required_unless_present = "expression")]
        text: Option<String>,
        /// The same, as an option
        #[arg(long, value_name = "EXPRESSION", conflicts_with = "text")]
        expression: Option<String>,
    },
    #[command(flatten)]
    Versions(Versions),
    /// Try rules, saved or drafts, on requests or on an access log, without changing anything
    Test(Box<RuleTest>),
}

#[derive(Debug, Args)]
pub(super) struct ZoneArg {
    /// The zone, by name or id
    #[arg(long, value_name = "ZONE")]
    pub(super) zone: String,
}

#[derive(Debug, Args)]
pub(super) struct RulesArg {
    #[command(flatten)]
    pub(super) zone: ZoneArg,
    /// Which of its rules
    #[arg(long, value_enum, value_name = "PHASE", default_value_t)]
    pub(super) phase: Phase,
}

#[derive(Debug, Args)]
pub(super) struct RuleArg {
    /// The rule: its id, the beginning of it, or `#2` for its place in the list
    #[arg(value_name = "RULE")]
    rule: String,
}

#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    rules: RulesArg,
    #[command(flatten)]
    one: RuleArg,
}

#[derive(Debug, Args)]
pub(super) struct Text {
    /// When the rule matches, in the rules language
    #[arg(long, short, value_name = "EXPRESSION")]
    expression: Option<String>,
    /// Read the expression from a file, `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "expression")]
    expression_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// What happens when it matches
    #[arg(long, value_enum)]
    action: Option<Action>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Status of a block's response, 400 to 499
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(400..=499))]
    status: Option<u16>,
    /// Media type of a block's response
    #[arg(long, value_name = "TYPE", value_parser = ["text/html", "text/plain", "application/json", "text/xml"])]
    content_type: Option<String>,
    /// Body of a block's response, at most 2 KiB
    #[arg(long, value_name = "TEXT")]
    content: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Action {
    /// Refuse the request
    Block,
    /// Write it to the access log and go on
    Log,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Log => "log",
        }
    }
}

impl Rule {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Add {
                zone,
                text,
                settings,
                phase,
                position,
                disabled,
            } => {
                let Some(expression) = text.read()? else {
                    return Err(CliError::Usage(
                        "a rule needs an expression: add `--expression 'not cf.tls_client_auth.cert_verified'`".into(),
                    ));
                };
                let zone = ZoneRef::find(client, &zone.zone)?;
                let ruleset = Ruleset::load(client, &zone, phase.phase()?)?;
                let mut body = settings.body(None);
                body.extend(phase.body(None)?);
                body.entry("action").or_insert_with(|| json!("block"));
                body.insert("expression".into(), json!(expression));
                body.insert("enabled".into(), json!(!disabled));
                let made = ruleset.add(client, &zone, body, &position)?;
                shown(&made, json)
            }
            Self::Mtls(mtls) => mtls.run(client, json),
            Self::List { rules: wanted } => {
                let zone = ZoneRef::find(client, &wanted.zone.zone)?;
                let ruleset = Ruleset::load(client, &zone, wanted.phase)?;
                Ok(if json {
                    json_text(&Value::Array(ruleset.rules))
                } else {
                    rules(&ruleset.rules)
                })
            }
            Self::Edit {
                zone,
                one,
                text,
                settings,
                phase,
                enable,
                disable,
            } => {
                let (zone, ruleset, rule) = one.find(client, &zone, phase.phase()?)?;
                let mut body = settings.body(Some(&rule));
                body.extend(phase.body(Some(&rule))?);
                if let Some(expression) = text.read()? {
                    body.insert("expression".into(), json!(expression));
                }
                if enable || disable {
                    body.insert("enabled".into(), json!(enable));
                }
                if body.is_empty() {
                    return Err(CliError::Usage(
                        "nothing to change; `postern rule edit --help` shows what can be".into(),
                    ));
                }
                shown(
                    &client.patch(&ruleset.path(&zone, &rule), &Value::Object(body))?,
                    json,
                )
            }
            Self::Move { one, position } => {
                let (zone, ruleset, rule) = one.find(client)?;
                let Some(position) = ruleset.position(&position)? else {
                    return Err(CliError::Usage(
                        "where to? say --position, --before or --after".into(),
                    ));
                };
                let body = json!({ "position": position });
                shown(&client.patch(&ruleset.path(&zone, &rule), &body)?, json)
            }
            Self::Delete { one } => {
                let (zone, ruleset, rule) = one.find(client)?;
                let left = client.delete(&ruleset.path(&zone, &rule))?;
                Ok(if json {
                    json_text(&left)
                } else {
                    format!("removed the rule {}\n", text(&rule, "id"))
                })
            }
            Self::Test(test) => test.run(client, json),
            Self::Versions(versions) => versions.run(client, json),
            Self::Preview { text, expression } => {
                let expression = match text.or(expression).as_deref() {
                    Some("-") => read_text(Path::new("-"))?,
                    Some(text) => text.to_owned(),
                    None => String::new(),
                };
                preview(client, &expression, json)
            }
        }
    }
}

impl One {
    fn find(&self, client: &Client) -> Result<(ZoneRef, Ruleset, Value), CliError> {
        self.one.find(client, &self.rules.zone, self.rules.phase)
    }
}

impl RuleArg {
    fn find(
        &self,
        client: &Client,
        zone: &ZoneArg,
        phase: Phase,
    ) -> Result<(ZoneRef, Ruleset, Value), CliError> {
        let zone = ZoneRef::find(client, &zone.zone)?;
        let ruleset = Ruleset::load(client, &zone, phase)?;
        let rule = ruleset.rule(&self.rule)?.clone();
        Ok((zone, ruleset, rule))
    }
}

impl Text {
    pub(super) fn read(&self) -> Result<Option<String>, CliError> {
        match (&self.expression, &self.expression_file) {
            (Some(text), _) => Ok(Some(text.clone())),
            (None, Some(path)) => read_text(path).map(|text| Some(text.trim().to_owned())),
            (None, None) => Ok(None),
        }
    }
}

impl Settings {
    /// What the API takes; a response builds on what the rule has already.
    pub(super) fn body(&self, present: Option<&Value>) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(action) = self.action {
            body.insert("action".into(), json!(action.as_str()));
        }
        if let Some(description) = &self.description {
            body.insert("description".into(), json!(description));
        }
        if self.status.is_some() || self.content_type.is_some() || self.content.is_some() {
            let before = present
                .and_then(|rule| rule.pointer("/action_parameters/response")?.as_object())
                .cloned();
            let mut response = before.unwrap_or_else(|| {
                let defaults = json!({ "content_type": "text/plain", "content": "" });
                defaults.as_object().cloned().unwrap_or_default()
            });
            if let Some(status) = self.status {
                response.insert("status_code".into(), json!(status));
            }
            if let Some(content_type) = &self.content_type {
                response.insert("content_type".into(), json!(content_type));
            }
            if let Some(content) = &self.content {
                response.insert("content".into(), json!(content));
            }
            body.insert("action_parameters".into(), json!({ "response": response }));
        }
        body
    }
}

fn shown(ruleset: &Value, json: bool) -> Output {
    Ok(if json {
        json_text(ruleset)
    } else {
        rules(&rules_of(ruleset))
    })
}

pub(super) fn rules(all: &[Value]) -> String {
    let mut table = Table::new(&["#", "ID", "ENABLED", "ACTION", "EXPRESSION", "DESCRIPTION"]);
    for (index, rule) in all.iter().enumerate() {
        let enabled = rule.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        table.row([
            (index + 1).to_string(),
            text(rule, "id"),
            if enabled { "yes".into() } else { "no".into() },
            what(rule),
            text(rule, "expression"),
            text(rule, "description"),
        ]);
    }
    table.text("no rules: everything is forwarded; `postern rule add --zone ZONE --expression EXPRESSION` adds one")
}

fn preview(client: &Client, expression: &str, json: bool) -> Output {
    let answer = client.post(
        &format!("{OWN}/expressions/preview"),
        &json!({ "expression": expression }),
    )?;
    if json {
        return Ok(json_text(&answer));
    }
    let mut out = format!("{}\n", super::table::harmless(&text(&answer, "expression")));
    for lint in answer
        .get("lints")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let message = lint
            .as_str()
            .map_or_else(|| text(lint, "message"), str::to_owned);
        out.push_str(&format!("warning: {}\n", super::table::harmless(&message)));
        let better = text(lint, "suggestion");
        if !better.is_empty() {
            out.push_str(&format!("   help: {}\n", super::table::harmless(&better)));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_shows_the_order() {
        let rule = |id: &str| json!({"id": id, "enabled": id != "c0", "action": "block", "expression": "ssl", "description": ""});
        assert_eq!(
            rules(&["a0", "a1", "c0"].map(rule)),
            "#  ID  ENABLED  ACTION  EXPRESSION  DESCRIPTION\n\
             1  a0  yes      block   ssl\n\
             2  a1  yes      block   ssl\n\
             3  c0  no       block   ssl\n"
        );
    }

    #[test]
    fn a_response_builds_on_the_one_before() {
        let settings = Settings {
            action: None,
            description: None,
            status: Some(451),
            content_type: None,
            content: None,
        };
        let before = json!({"action_parameters": {"response": {"status_code": 403, "content_type": "text/html", "content": "no"}}});
        let body = settings.body(Some(&before));
        assert_eq!(
            body["action_parameters"]["response"],
            json!({"status_code": 451, "content_type": "text/html", "content": "no"})
        );
    }
}
