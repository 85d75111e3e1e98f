//! Rules and rulesets as request bodies.
//!
//! Unknown fields are refused: a rule without one of its conditions would mean something else.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::http::fault::Fault;
use crate::http::query::{AtMost, present};
use control::limits::RULES_MAX;
use control::{Id, NewRule, Phase, Position, RulePatch};

/// A rule as it comes. What only answers have is taken too, so that an answer can be sent back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleBody {
    #[serde(default)]
    pub(crate) id: Option<Id>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default, deserialize_with = "present")]
    action_parameters: Option<Option<Value>>,
    #[serde(default, deserialize_with = "present")]
    ratelimit: Option<Option<Value>>,
    #[serde(default)]
    expression: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    #[serde(default)]
    logging: Option<Logging>,
    #[serde(default)]
    pub(crate) position: Option<PositionBody>,
    #[serde(default, rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(default, rename = "last_updated")]
    _last_updated: Option<IgnoredAny>,
    #[serde(default, rename = "categories")]
    _categories: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logging {
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PositionBody {
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    index: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesetBody {
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    pub(crate) phase: Option<String>,
    #[serde(default)]
    pub(crate) rules: Option<AtMost<RULES_MAX, RuleBody>>,
    #[serde(default, rename = "id")]
    _id: Option<String>,
    #[serde(default, rename = "version")]
    _version: Option<String>,
    #[serde(default, rename = "last_updated")]
    _last_updated: Option<String>,
}

impl PositionBody {
    pub(crate) fn read(self) -> Result<Position, Fault> {
        let place = |text: &str| -> Result<Option<Id>, Fault> {
            Ok(if text.is_empty() {
                None
            } else {
                Some(text.parse::<Id>()?)
            })
        };
        match (self.before.as_deref(), self.after.as_deref(), self.index) {
            (Some(before), None, None) => Ok(Position::Before(place(before)?)),
            (None, Some(after), None) => Ok(Position::After(place(after)?)),
            (None, None, Some(index)) => Ok(Position::Index(index)),
            _ => {
                let message = "position: exactly one of before, after, index is expected";
                Err(Fault::bad(20_000, message).at("/position"))
            }
        }
    }
}

impl RuleBody {
    pub(crate) fn new_rule(self, place: &str) -> Result<NewRule, Fault> {
        let missing = |field: &str| {
            Fault::bad(20_000, format!("{field}: it is required")).at(format!("{place}/{field}"))
        };
        Ok(NewRule {
            id: self.id,
            expression: self.expression.ok_or_else(|| missing("expression"))?,
            action: self.action.ok_or_else(|| missing("action"))?,
            action_parameters: self.action_parameters.flatten(),
            ratelimit: self.ratelimit.flatten(),
            confined: false,
            logging: self.logging.map(|logging| logging.enabled),
            description: self.description.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            reference: self.reference,
        })
    }

    pub(crate) fn patch(self) -> RulePatch {
        RulePatch {
            expression: self.expression,
            action: self.action,
            action_parameters: self.action_parameters,
            ratelimit: self.ratelimit,
            logging: self.logging.map(|logging| logging.enabled),
            description: self.description,
            enabled: self.enabled,
            reference: self.reference,
        }
    }
}

impl RulesetBody {
    /// Kind and phase must be what Postern has, if they are said.
    pub(crate) fn check(&self, expected: Option<Phase>) -> Result<(), Fault> {
        if let Some(kind) = self.kind.as_deref().filter(|kind| *kind != "zone") {
            let message = format!("kind: `{}` is not offered; `zone` is", kind.escape_debug());
            return Err(Fault::bad(20_000, message).at("/kind"));
        }
        if let (Some(said), Some(expected)) = (&self.phase, expected)
            && phase(said)? != expected
        {
            let message = format!("phase: it cannot be changed, it is {}", expected.as_str());
            return Err(Fault::bad(20_000, message).at("/phase"));
        }
        Ok(())
    }

    pub(crate) fn rules(rules: AtMost<RULES_MAX, RuleBody>) -> Result<Vec<NewRule>, Fault> {
        let rules = rules.0.into_iter();
        rules
            .enumerate()
            .map(|(place, rule)| rule.new_rule(&format!("/rules/{place}")))
            .collect()
    }
}

pub(crate) fn phase(text: &str) -> Result<Phase, Fault> {
    Phase::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        let text: String = text.chars().take(64).collect();
        let message = format!(
            "the phase `{}` is not known; {} is",
            text.escape_debug(),
            known.join(", ")
        );
        Fault::bad(20_000, message)
    })
}
