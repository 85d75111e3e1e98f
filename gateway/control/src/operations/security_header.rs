//! The zone setting `security_header`: HSTS (RFC 6797) as one response header rule with a name of
//! its own, which people see and may change like any other.

use serde_json::{Map, Value, json};

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::model::id::Id;
use crate::model::{Phase, RuleRecord};
use crate::operations::rulesets::{NewRule, RulePatch};

/// By which name the rule is known again.
const REFERENCE: &str = "security_header";
const PHASE: Phase = Phase::HttpResponseHeadersTransform;
const HSTS: &str = "strict-transport-security";
const NOSNIFF: &str = "x-content-type-options";

/// What browsers are told to do in future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SecurityHeader {
    /// Whether they are told.
    pub enabled: bool,
    /// For how long they come over HTTPS only, in seconds.
    pub max_age_sec: u64,
    /// To subdomains as well.
    pub include_subdomains: bool,
    /// The list that browsers are shipped with may have the name.
    pub preload: bool,
    /// They do not guess at types of content.
    pub nosniff: bool,
}

impl SecurityHeader {
    fn of(rule: &RuleRecord) -> Self {
        let headers = rule.action_parameters.as_ref();
        let value = |name: &str| {
            let header = headers.and_then(|all| all.get("headers")?.get(name)?.get("value"));
            header.and_then(Value::as_str).unwrap_or_default()
        };
        let mut found = Self {
            enabled: rule.enabled,
            nosniff: value(NOSNIFF) == "nosniff",
            ..Self::default()
        };
        for directive in value(HSTS).split(';') {
            match directive.trim().split_once('=') {
                Some(("max-age", age)) => found.max_age_sec = age.parse().unwrap_or_default(),
                None if directive.trim() == "includeSubDomains" => found.include_subdomains = true,
                None if directive.trim() == "preload" => found.preload = true,
                _ => {}
            }
        }
        found
    }

    fn parameters(self) -> Value {
        let mut text = format!("max-age={}", self.max_age_sec);
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        let set = |value: &str| json!({ "operation": "set", "value": value });
        let mut headers = Map::new();
        headers.insert(HSTS.into(), set(&text));
        if self.nosniff {
            headers.insert(NOSNIFF.into(), set("nosniff"));
        }
        json!({ "headers": headers })
    }
}

impl<A: Reads> Control<A> {
    /// What browsers are told by a zone's hosts.
    #[must_use]
    pub fn security_header(&self, zone: Id) -> SecurityHeader {
        let model = self.model();
        let ruleset = model.rulesets.get(&(zone, PHASE));
        let mut rules = ruleset.into_iter().flat_map(|ruleset| &ruleset.rules);
        let rule = rules.find(|rule| rule.reference == REFERENCE);
        rule.map(|rule| SecurityHeader::of(rule))
            .unwrap_or_default()
    }
}

impl<A: Changes> Control<A> {
    /// Changes it, by what `change` makes of what there is.
    ///
    /// # Errors
    /// There is no such zone, or it has as many rules as it may.
    pub fn set_security_header(
        &self,
        zone: Id,
        change: impl FnOnce(SecurityHeader) -> SecurityHeader + Clone,
    ) -> Result<SecurityHeader, ChangeError> {
        self.batch(|control| {
            let model = control.model();
            if !model.zones.contains_key(&zone) {
                return Err(ChangeError::not_found(Noun::Zone, zone));
            }
            let wanted = change(control.security_header(zone));
            let ruleset = model.rulesets.get(&(zone, PHASE));
            let rules = ruleset.into_iter().flat_map(|ruleset| &ruleset.rules);
            let rule = rules.clone().find(|rule| rule.reference == REFERENCE);
            let new = || NewRule {
                action: "rewrite".into(),
                action_parameters: Some(wanted.parameters()),
                description: "HSTS, by the zone setting security_header".into(),
                enabled: wanted.enabled,
                reference: Some(REFERENCE.into()),
                ..NewRule::block("true")
            };
            match (ruleset, rule) {
                (Some(ruleset), Some(rule)) => {
                    let patch = RulePatch {
                        expression: Some("true".into()),
                        action_parameters: Some(Some(wanted.parameters())),
                        enabled: Some(wanted.enabled),
                        ..RulePatch::default()
                    };
                    drop(control.update_rule(zone, ruleset.id, rule.id, patch, None)?);
                }
                (Some(ruleset), None) => {
                    drop(control.create_rule(zone, ruleset.id, new(), None)?);
                }
                (None, _) => {
                    drop(control.create_entrypoint(zone, PHASE, None, None, vec![new()])?);
                }
            }
            Ok(wanted)
        })
    }
}
