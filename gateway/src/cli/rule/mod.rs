//! `postern rule`: the ordered rules of a zone.

mod args;
mod mtls;
mod phases;
mod ruleset;
mod shown;
mod test;
mod versions;

use std::path::Path;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use self::args::{One, RuleArg, RulesArg, Settings, Text, ZoneArg};
use self::mtls::MtlsRule;
use self::phases::{Phase, PhaseSettings};
use self::ruleset::{Position, Ruleset};
use self::shown::{changed, rules};
use self::test::RuleTest;
use self::versions::Versions;
use crate::cli::client::Client;
use crate::cli::client::files::read_text;
use crate::cli::client::names::{OWN, ZoneRef, str_of, text};
use crate::cli::output::table::harmless;
use crate::cli::output::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(crate) enum Rule {
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
        /// Add it disabled
        #[arg(long, alias = "disabled")]
        disable: bool,
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
        /// Enable it
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Disable it
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

impl Rule {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Add {
                zone,
                text,
                settings,
                phase,
                position,
                disable,
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
                body.insert("enabled".into(), json!(!disable));
                let made = ruleset.add(client, &zone, body, &position)?;
                changed(&made, "added", &ruleset.new_id(&made), json)
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
                let made = client.patch(&ruleset.path(&zone, &rule), &Value::Object(body))?;
                changed(&made, "changed", str_of(&rule, "id"), json)
            }
            Self::Move { one, position } => {
                let (zone, ruleset, rule) = one.find(client)?;
                let Some(position) = ruleset.position(&position)? else {
                    return Err(CliError::Usage(
                        "where to? say --position, --before or --after".into(),
                    ));
                };
                let body = json!({ "position": position });
                let made = client.patch(&ruleset.path(&zone, &rule), &body)?;
                changed(&made, "moved", str_of(&rule, "id"), json)
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

/// What the API calls a phase that `--phase` names.
pub(super) fn cloudflare_phase(word: &str) -> Option<&'static str> {
    let phase = <Phase as ValueEnum>::from_str(word, false);
    phase.ok().map(Phase::as_str)
}

fn preview(client: &Client, expression: &str, json: bool) -> Output {
    let answer = client.post(
        &format!("{OWN}/expressions/preview"),
        &json!({ "expression": expression }),
    )?;
    if json {
        return Ok(json_text(&answer));
    }
    let mut out = format!("{}\n", harmless(&text(&answer, "expression")));
    for lint in answer
        .get("lints")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let message = lint
            .as_str()
            .map_or_else(|| text(lint, "message"), str::to_owned);
        out.push_str(&format!("warning: {}\n", harmless(&message)));
        let better = text(lint, "suggestion");
        if !better.is_empty() {
            out.push_str(&format!("   help: {}\n", harmless(&better)));
        }
    }
    Ok(out)
}
