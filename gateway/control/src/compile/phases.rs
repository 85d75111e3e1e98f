//! Compiles rate limits and header rules, the phases beside custom rules.

use crate::compile::{CompileError, FieldError};
use crate::model::{RuleRecord, Ruleset};
use rules::Lists;
use snapshot::phases::{Fault, PhaseRule, RateLimit, RateLimits, Transform, Transforms};

pub(crate) fn rate_limit(rule: &RuleRecord) -> Result<RateLimit, Fault> {
    let parameters = rule.action_parameters.as_ref();
    RateLimit::from_api(&rule.action, parameters, rule.ratelimit.as_ref())
}

pub(crate) fn transform(rule: &RuleRecord) -> Result<Transform, Fault> {
    Transform::from_api(&rule.action, rule.action_parameters.as_ref())
}

fn forms<T>(
    ruleset: &Ruleset,
    read: fn(&RuleRecord) -> Result<T, Fault>,
) -> Result<Vec<PhaseRule<T>>, CompileError> {
    let form = |rule: &RuleRecord| {
        let does = read(rule).map_err(FieldError::from)?;
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

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        Self {
            field: String::from(fault.path).into(),
            why: fault.why.into(),
        }
    }
}
