//! Stored rules of the phases beside custom rules, in the form that they run in.

use crate::change::error::ChangeError;
use crate::compile::CompileError;
use crate::model::{Phase, RuleRecord, Ruleset};
use crate::operations::rulesets::action_of;
use rules::Lists;
use snapshot::phases::{Fault, PhaseRule, RateLimit, RateLimits, Transform, Transforms};

/// Checks what a rule does, by the phase that it is of.
pub(crate) fn check(phase: Phase, rule: &RuleRecord) -> Result<(), ChangeError> {
    let invalid = |fault: Fault| ChangeError::Invalid {
        field: String::from(fault.path).into(),
        why: fault.why.into(),
    };
    if phase != Phase::HttpRatelimit && rule.ratelimit.is_some() {
        let why = "only rules of the phase http_ratelimit have it";
        return Err(ChangeError::invalid("ratelimit", why));
    }
    match phase {
        Phase::HttpRequestFirewallCustom => action_of(rule).map(drop),
        Phase::HttpRatelimit => rate_limit(rule).map(drop).map_err(invalid),
        Phase::HttpRequestLateTransform => transform(rule).map(drop).map_err(invalid),
    }
}

fn rate_limit(rule: &RuleRecord) -> Result<RateLimit, Fault> {
    let parameters = rule.action_parameters.as_ref();
    RateLimit::from_api(&rule.action, parameters, rule.ratelimit.as_ref())
}

fn transform(rule: &RuleRecord) -> Result<Transform, Fault> {
    Transform::from_api(&rule.action, rule.action_parameters.as_ref())
}

fn forms<T>(
    ruleset: &Ruleset,
    read: fn(&RuleRecord) -> Result<T, Fault>,
) -> Result<Vec<PhaseRule<T>>, CompileError> {
    let form = |rule: &RuleRecord| {
        let does = read(rule).map_err(|fault| CompileError::Action(fault.to_string()))?;
        Ok(PhaseRule {
            id: rule.id.to_string().into(),
            expression: rule.expression.as_str().into(),
            enabled: rule.enabled,
            does,
        })
    };
    ruleset.rules.iter().map(|rule| form(rule)).collect()
}

/// Compiles the rules of `http_ratelimit`.
pub(crate) fn rate_limits(ruleset: &Ruleset, lists: &Lists) -> Result<RateLimits, CompileError> {
    RateLimits::compile(forms(ruleset, rate_limit)?, lists).map_err(CompileError::Rules)
}

/// Compiles the rules of `http_request_late_transform`.
pub(crate) fn transforms(ruleset: &Ruleset, lists: &Lists) -> Result<Transforms, CompileError> {
    Transforms::compile(forms(ruleset, transform)?, lists).map_err(CompileError::Rules)
}
