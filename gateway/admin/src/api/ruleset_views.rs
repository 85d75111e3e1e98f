//! Rulesets and rules as answers. They serialise without an intermediate tree of values, because a
//! change of one rule among 100,000 is answered with all of them.

use serde::{Serialize, Serializer};
use serde_json::Value;

use control::{Id, Moment, Phase, RuleRecord, Ruleset, VersionNote};

fn text<S: Serializer>(value: impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&value)
}

/// A rule.
#[derive(Serialize)]
pub(crate) struct ShownRule<'r> {
    id: Id,
    #[serde(serialize_with = "text")]
    version: u32,
    action: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_parameters: Option<&'r Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratelimit: Option<&'r Value>,
    expression: &'r str,
    description: &'r str,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logging: Option<ShownLogging>,
    #[serde(rename = "ref")]
    reference: &'r str,
    #[serde(serialize_with = "text")]
    last_updated: Moment,
}

#[derive(Serialize)]
struct ShownLogging {
    enabled: bool,
}

impl<'r> From<&'r RuleRecord> for ShownRule<'r> {
    fn from(rule: &'r RuleRecord) -> Self {
        Self {
            id: rule.id,
            version: rule.version,
            action: &rule.action,
            action_parameters: rule.action_parameters.as_ref(),
            ratelimit: rule.ratelimit.as_ref(),
            expression: &rule.expression,
            description: &rule.description,
            enabled: rule.enabled,
            logging: rule.logging.map(|enabled| ShownLogging { enabled }),
            reference: &rule.reference,
            last_updated: rule.last_updated,
        }
    }
}

/// A ruleset without its rules.
#[derive(Serialize)]
pub(crate) struct ShownHead<'r> {
    id: Id,
    name: &'r str,
    description: &'r str,
    kind: &'static str,
    phase: Phase,
    #[serde(serialize_with = "text")]
    version: u32,
    #[serde(serialize_with = "text")]
    last_updated: Moment,
}

impl<'r> From<&'r Ruleset> for ShownHead<'r> {
    fn from(ruleset: &'r Ruleset) -> Self {
        Self {
            id: ruleset.id,
            name: &ruleset.name,
            description: &ruleset.description,
            kind: "zone",
            phase: ruleset.phase,
            version: ruleset.version,
            last_updated: ruleset.last_updated,
        }
    }
}

impl<'r> ShownHead<'r> {
    /// As it was in one of its versions.
    pub(crate) fn then(ruleset: &'r Ruleset, note: &'r VersionNote) -> Self {
        Self {
            name: &note.name,
            description: &note.description,
            version: note.version,
            last_updated: note.last_updated,
            ..Self::from(ruleset)
        }
    }
}

/// A ruleset with its rules.
#[derive(Serialize)]
pub(crate) struct ShownRuleset<'r> {
    #[serde(flatten)]
    head: ShownHead<'r>,
    #[serde(serialize_with = "rules")]
    rules: &'r Ruleset,
}

fn rules<S: Serializer>(ruleset: &Ruleset, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(ruleset.rules.iter().map(|rule| ShownRule::from(&**rule)))
}

impl<'r> From<&'r Ruleset> for ShownRuleset<'r> {
    fn from(ruleset: &'r Ruleset) -> Self {
        Self {
            head: ruleset.into(),
            rules: ruleset,
        }
    }
}
