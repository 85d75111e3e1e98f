//! Rules, and the ordered rulesets that hold them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::Id;
use crate::model::moment::Moment;
use chunked_list::ChunkedList;

/// When rules of a ruleset run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Custom rules that may block.
    HttpRequestFirewallCustom,
    /// How many requests may come.
    HttpRatelimit,
    /// Headers on the way to the origin.
    HttpRequestLateTransform,
}

impl Phase {
    /// All there are.
    pub const ALL: [Self; 3] = [
        Self::HttpRequestFirewallCustom,
        Self::HttpRatelimit,
        Self::HttpRequestLateTransform,
    ];

    /// As Cloudflare writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpRequestFirewallCustom => "http_request_firewall_custom",
            Self::HttpRatelimit => "http_ratelimit",
            Self::HttpRequestLateTransform => "http_request_late_transform",
        }
    }

    /// From Cloudflare's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// A rule in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its id, the same through all versions.
    pub id: Id,
    /// From 1.
    pub version: u32,
    /// Rules-language text.
    pub expression: String,
    /// What it does: `block`, `log`.
    pub action: String,
    /// How, in the API's own shape; checked by [`rules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_parameters: Option<serde_json::Value>,
    /// What a rule of [`Phase::HttpRatelimit`] limits, in the API's own shape; checked by
    /// [`snapshot::phases`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratelimit: Option<serde_json::Value>,
    /// `logging.enabled`, when it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<bool>,
    /// For people.
    pub description: String,
    /// Whether it acts.
    pub enabled: bool,
    /// The user's own stable name for it; the id when none was given.
    #[serde(rename = "ref")]
    pub reference: String,
    /// When this version was made.
    pub last_updated: Moment,
}

/// The ordered rules of a zone in one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Its id.
    pub id: Id,
    /// Its zone.
    pub zone: Id,
    /// When it runs.
    pub phase: Phase,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Grows with every change of the ruleset or a rule.
    pub version: u32,
    /// When this version was made.
    pub last_updated: Moment,
    /// In order of evaluation. Kept in tables of their own.
    #[serde(skip)]
    pub rules: ChunkedList<Arc<RuleRecord>>,
}
