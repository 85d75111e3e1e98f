//! Rules, and the ordered rulesets that hold them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::Id;
use crate::model::moment::Moment;
use chunked_list::ChunkedList;

vocabulary::words! {
    /// When rules of a ruleset run, by Cloudflare's names.
    #[derive(PartialOrd, Ord)]
    pub enum Phase("a phase") {
        /// Custom rules that may block.
        HttpRequestFirewallCustom = "http_request_firewall_custom",
        /// How many requests may come.
        HttpRatelimit = "http_ratelimit",
        /// Headers on the way to the origin.
        HttpRequestLateTransform = "http_request_late_transform",
        /// Clients that are sent elsewhere.
        HttpRequestDynamicRedirect = "http_request_dynamic_redirect",
        /// Requests that go to another origin.
        HttpRequestOrigin = "http_request_origin",
        /// Headers on the way to the client.
        HttpResponseHeadersTransform = "http_response_headers_transform",
    }
}

impl Phase {
    /// The phase of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
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
    /// A token of a zone set it: an origin rule may not lead to what only this machine reaches; see
    /// `control.private_origins`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
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
