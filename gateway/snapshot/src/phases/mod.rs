//! Rulesets beside a zone's custom rules, in Cloudflare's phases: `http_ratelimit`, which limits
//! how many requests may come, and `http_request_late_transform`, which changes headers on the way
//! to the origin.
//!
//! Both run on what the custom rules have permitted, and every rule that matches counts. Owns what
//! such a rule may say and what it does to one request; which rules match is decided by
//! [`rules`]. Reads no clock: the time is an argument.

mod buckets;
mod rate_limit;
mod transform;

use std::collections::HashMap;
use std::sync::Arc;

pub use self::buckets::Buckets;
pub use self::rate_limit::{Limited, RateLimit, RateLimits};
pub use self::transform::{Change, Transform, Transforms};

use rules::{
    Action, ConnectionFacts, ConnectionState, Lists, Overworked, Program, RequestFacts, Rule,
    RuleError,
};

/// A rule of one of these phases.
#[derive(Debug, Clone)]
pub struct PhaseRule<T> {
    /// 32 lower-case hex characters.
    pub id: Arc<str>,
    /// The expression's text.
    pub expression: Arc<str>,
    /// A disabled rule is checked and does nothing.
    pub enabled: bool,
    /// What it does.
    pub does: T,
}

/// Why a rule of one of these phases cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Fault {
    /// `ratelimit.period`, `action_parameters.headers`.
    pub path: Box<str>,
    /// What is wrong and what is right.
    pub why: Box<str>,
}

impl Fault {
    fn new(path: impl Into<Box<str>>, why: impl Into<Box<str>>) -> Self {
        Self {
            path: path.into(),
            why: why.into(),
        }
    }
}

/// What one request of one connection is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The connection.
    pub connection: &'a ConnectionFacts,
    /// What is worked out once for it.
    pub state: &'a ConnectionState,
    /// The request as it came.
    pub request: &'a RequestFacts<'a>,
}

/// Rules that are all asked, with what each of them does.
#[derive(Debug)]
struct Asked<T> {
    program: Program,
    does: HashMap<Arc<str>, T>,
}

impl<T> Asked<T> {
    fn compile(rules: Vec<PhaseRule<T>>, lists: &Lists) -> Result<Self, RuleError> {
        let forms: Vec<Rule> = rules.iter().map(PhaseRule::form).collect();
        let does = rules.into_iter().map(|rule| (rule.id, rule.does)).collect();
        Ok(Self {
            program: Program::compile_with(&forms, lists)?,
            does,
        })
    }

    /// The rules that match, in order.
    fn matching(&self, subject: Subject<'_>) -> Result<Vec<(&str, &T)>, Overworked> {
        let ids = matching(&self.program, subject)?;
        let does = |id| self.does.get(id).map(|does| (id, does));
        Ok(ids.into_iter().filter_map(does).collect())
    }
}

impl<T> PhaseRule<T> {
    /// As the program takes it, which only has to say that it matches.
    fn form(&self) -> Rule {
        Rule {
            id: self.id.clone(),
            expression: self.expression.clone(),
            action: Action::Log,
            enabled: self.enabled,
        }
    }
}

fn matching<'p>(program: &'p Program, subject: Subject<'_>) -> Result<Vec<&'p str>, Overworked> {
    let mut ids = Vec::new();
    let Subject {
        connection,
        state,
        request,
    } = subject;
    rules::matching(program, connection, state, request, &mut |id| ids.push(id))?;
    Ok(ids)
}
