//! A zone's rules as the API keeps them, and the forms in which users name a rule or a position.
//!
//! Owns how a rule is found and added. Prints nothing: [`super::shown`] does.

use std::collections::HashSet;

use clap::Args;
use serde_json::{Map, Value, json};

use super::phases::Phase;
use crate::cli::client::Client;
use crate::cli::client::names::{ZoneRef, by_id, str_of, text};
use crate::cli::output::{CliError, ValueError};

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Position {
    /// `first`, `last`, or a number from 1
    #[arg(long, value_name = "PLACE")]
    position: Option<Ordinal>,
    /// Before this rule
    #[arg(long, value_name = "RULE")]
    before: Option<String>,
    /// After this rule
    #[arg(long, value_name = "RULE")]
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordinal {
    First,
    Last,
    Index(u32),
}

impl std::str::FromStr for Ordinal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match (text, text.parse()) {
            ("first", _) => Ok(Self::First),
            ("last", _) => Ok(Self::Last),
            (_, Ok(index)) if index > 0 => Ok(Self::Index(index)),
            _ => Err(ValueError(
                "write `first`, `last`, or a number from 1".into(),
            )),
        }
    }
}

/// A zone's rules of one phase as they are now.
pub(crate) struct Ruleset {
    phase: Phase,
    /// `None` before the first rule.
    pub(crate) id: Option<String>,
    /// In order.
    pub(crate) rules: Vec<Value>,
}

impl Ruleset {
    pub(crate) fn load(client: &Client, zone: &ZoneRef, phase: Phase) -> Result<Self, CliError> {
        match client.get(&entrypoint(zone, phase)) {
            Ok(ruleset) => Ok(Self {
                phase,
                id: Some(text(&ruleset, "id")),
                rules: rules_of(&ruleset),
            }),
            Err(error) if error.is_not_found() => Ok(Self {
                phase,
                id: None,
                rules: Vec::new(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a rule. Answers the ruleset.
    pub(crate) fn add(
        &self,
        client: &Client,
        zone: &ZoneRef,
        mut rule: Map<String, Value>,
        position: &Position,
    ) -> Result<Value, CliError> {
        match &self.id {
            Some(id) => {
                if let Some(position) = self.position(position)? {
                    rule.insert("position".into(), position);
                }
                Ok(client.post(
                    &zone.path(&format!("rulesets/{id}/rules")),
                    &Value::Object(rule),
                )?)
            }
            None => Ok(client.put(&entrypoint(zone, self.phase), &json!({ "rules": [rule] }))?),
        }
    }

    /// The id of the rule that `made`, the answer to an addition, has and this has not.
    pub(crate) fn new_id(&self, made: &Value) -> String {
        let known: HashSet<&str> = self.rules.iter().map(|rule| str_of(rule, "id")).collect();
        let rules = made.get("rules").and_then(Value::as_array);
        let mut ids = rules.into_iter().flatten().map(|rule| str_of(rule, "id"));
        let new = ids.find(|id| !known.contains(id));
        new.unwrap_or_default().to_owned()
    }

    /// The rule that `wanted` means: `#2`, an id, or the beginning of one.
    pub(crate) fn rule(&self, wanted: &str) -> Result<&Value, CliError> {
        if let Some(place) = wanted
            .strip_prefix('#')
            .and_then(|place| place.parse::<usize>().ok())
        {
            let found = place.checked_sub(1).and_then(|index| self.rules.get(index));
            return found.ok_or_else(|| {
                CliError::Failed(format!(
                    "there is no rule `{wanted}`: the zone has {} rules",
                    self.rules.len()
                ))
            });
        }
        by_id(&self.rules, wanted, "rule", "postern rule list --zone ZONE")
    }

    /// The API's position, `None` when none was asked for.
    pub(crate) fn position(&self, position: &Position) -> Result<Option<Value>, CliError> {
        Ok(match position {
            Position {
                position: Some(Ordinal::First),
                ..
            } => Some(json!({ "before": "" })),
            Position {
                position: Some(Ordinal::Last),
                ..
            } => Some(json!({ "after": "" })),
            Position {
                position: Some(Ordinal::Index(index)),
                ..
            } => Some(json!({ "index": index })),
            Position {
                before: Some(rule), ..
            } => Some(json!({ "before": text(self.rule(rule)?, "id") })),
            Position {
                after: Some(rule), ..
            } => Some(json!({ "after": text(self.rule(rule)?, "id") })),
            _ => None,
        })
    }

    pub(crate) fn path(&self, zone: &ZoneRef, rule: &Value) -> String {
        zone.path(&format!(
            "rulesets/{}/rules/{}",
            self.id.as_deref().unwrap_or_default(),
            text(rule, "id")
        ))
    }
}

fn entrypoint(zone: &ZoneRef, phase: Phase) -> String {
    zone.path(&format!("rulesets/phases/{}/entrypoint", phase.as_str()))
}

pub(crate) fn rules_of(ruleset: &Value) -> Vec<Value> {
    ruleset
        .get("rules")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset() -> Ruleset {
        let rule = |id: &str| json!({"id": id, "enabled": id != "c0", "action": "block", "expression": "ssl", "description": ""});
        Ruleset {
            phase: Phase::Custom,
            id: Some("s".into()),
            rules: ["a0", "a1", "c0"].map(rule).into(),
        }
    }

    fn position(position: Option<&str>, before: Option<&str>, after: Option<&str>) -> Position {
        Position {
            position: position.map(|text| text.parse().unwrap()),
            before: before.map(Into::into),
            after: after.map(Into::into),
        }
    }

    #[test]
    fn positions() {
        let ruleset = ruleset();
        for (wanted, found) in [
            (
                position(Some("first"), None, None),
                Some(json!({"before": ""})),
            ),
            (
                position(Some("last"), None, None),
                Some(json!({"after": ""})),
            ),
            (position(Some("2"), None, None), Some(json!({"index": 2}))),
            (
                position(None, Some("c"), None),
                Some(json!({"before": "c0"})),
            ),
            (
                position(None, None, Some("#1")),
                Some(json!({"after": "a0"})),
            ),
            (position(None, None, None), None),
        ] {
            assert_eq!(ruleset.position(&wanted).unwrap(), found);
        }
        for wanted in ["a", "#0", "#4", "#x", "zz"] {
            assert!(ruleset.rule(wanted).is_err(), "{wanted}");
        }
        for wanted in ["0", "-1", "middle", ""] {
            assert!(wanted.parse::<Ordinal>().is_err(), "{wanted}");
        }
    }
}
