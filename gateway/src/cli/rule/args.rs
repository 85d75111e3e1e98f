//! Options that rule commands share, and their API form.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::phases::Phase;
use super::ruleset::Ruleset;
use crate::cli::client::Client;
use crate::cli::client::files::read_text;
use crate::cli::client::names::ZoneRef;
use crate::cli::output::CliError;

#[derive(Debug, Args)]
pub(crate) struct ZoneArg {
    /// The zone, by name or id
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: String,
}

#[derive(Debug, Args)]
pub(crate) struct RulesArg {
    #[command(flatten)]
    pub(crate) zone: ZoneArg,
    /// The phase of its rules
    #[arg(long, value_enum, value_name = "PHASE", default_value_t)]
    pub(crate) phase: Phase,
}

#[derive(Debug, Args)]
pub(crate) struct RuleArg {
    /// The rule: its ref, its id, the beginning of it, or `#2` for its position
    #[arg(value_name = "RULE")]
    rule: String,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    #[command(flatten)]
    rules: RulesArg,
    #[command(flatten)]
    one: RuleArg,
}

#[derive(Debug, Args)]
pub(crate) struct Text {
    /// When the rule matches, in the rules language
    #[arg(long, short, value_name = "EXPRESSION")]
    expression: Option<String>,
    /// Read the expression from a file, `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "expression")]
    expression_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// What happens when it matches
    #[arg(long, value_enum)]
    action: Option<Action>,
    /// A description for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What --action skip leaves out; several with commas [default: rules]
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    skip: Vec<Skipped>,
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

vocabulary::words! {
    #[derive(ValueEnum)]
    pub(crate) enum Action("an action", without serde) {
        /// Refuse the request
        Block = "block",
        /// Write it to the access log and continue
        Log = "log",
        /// Leave out what comes after it, see --skip
        Skip = "skip",
    }
}

/// What a rule with the action `skip` leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Skipped {
    /// The other custom rules that come after it
    Rules,
    /// The zone's rate limits
    RateLimits,
}

impl One {
    pub(super) fn find(&self, client: &Client) -> Result<(ZoneRef, Ruleset, Value), CliError> {
        self.one.find(client, &self.rules.zone, self.rules.phase)
    }
}

impl RuleArg {
    pub(super) fn find(
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
    pub(crate) fn read(&self) -> Result<Option<String>, CliError> {
        match (&self.expression, &self.expression_file) {
            (Some(text), _) => Ok(Some(text.clone())),
            (None, Some(path)) => read_text(path).map(|text| Some(text.trim().to_owned())),
            (None, None) => Ok(None),
        }
    }
}

impl Settings {
    /// What the API takes; a response builds on what the rule has already.
    pub(crate) fn body(&self, present: Option<&Value>) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(action) = self.action {
            body.insert("action".into(), json!(action.as_str()));
        }
        if self.action == Some(Action::Skip) || !self.skip.is_empty() {
            let mut parameters = Map::new();
            if self.skip.is_empty() || self.skip.contains(&Skipped::Rules) {
                parameters.insert("ruleset".into(), json!("current"));
            }
            if self.skip.contains(&Skipped::RateLimits) {
                parameters.insert("phases".into(), json!(["http_ratelimit"]));
            }
            body.insert("action_parameters".into(), Value::Object(parameters));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_builds_on_the_one_before() {
        let settings = Settings {
            action: None,
            description: None,
            skip: Vec::new(),
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

    #[test]
    fn skip_leaves_out_the_other_rules_unless_it_says_what() {
        let settings = |skip: &[Skipped]| Settings {
            action: Some(Action::Skip),
            description: None,
            skip: skip.to_vec(),
            status: None,
            content_type: None,
            content: None,
        };
        let rules = json!({"ruleset": "current"});
        let limits = json!({"phases": ["http_ratelimit"]});
        let both = json!({"ruleset": "current", "phases": ["http_ratelimit"]});
        for (skip, expected) in [
            (&[][..], &rules),
            (&[Skipped::Rules], &rules),
            (&[Skipped::RateLimits], &limits),
            (&[Skipped::Rules, Skipped::RateLimits], &both),
        ] {
            let body = settings(skip).body(None);
            assert_eq!(body["action"], "skip");
            assert_eq!(&body["action_parameters"], expected);
        }
    }
}
