//! Rulesets beside a zone's custom rules, in Cloudflare's phases. In the order of a request's life:
//!
//! 1. `http_request_dynamic_redirect` sends clients elsewhere, before the custom rules.
//! 2. `http_ratelimit` limits how many requests may come, of those that the custom rules permit.
//! 3. `http_request_origin` sends requests to another origin.
//! 4. `http_request_late_transform` changes headers on the way to the origin.
//! 5. `http_response_headers_transform` changes headers of what the client gets.
//!
//! Owns what such a rule may say and what it does to one request; which rules match is decided by
//! [`rules`]. Reads no clock: the time is an argument.

mod buckets;
mod rate_limit;
mod redirect;
mod route;
mod transform;

use std::collections::HashMap;
use std::sync::Arc;

pub use self::buckets::Buckets;
pub use self::rate_limit::{Limited, RateLimit, RateLimits};
pub use self::redirect::{Redirect, Redirected, Redirects, Unfit};
pub use self::route::{NamedOrigins, Route, Routed, Routes};
pub use self::transform::{Change, Message, Transform, Transforms};

use rules::{
    Action, ConnectionFacts, ConnectionState, Lists, Overworked, Program, RequestFacts, Rule,
    RuleError,
};

/// A zone's rules of these phases; a phase without rules is `None` and costs requests nothing.
#[derive(Debug, Clone, Default)]
pub struct Phases {
    /// `http_request_dynamic_redirect`.
    pub redirects: Option<Arc<Redirects>>,
    /// `http_ratelimit`.
    pub rate_limits: Option<Arc<RateLimits>>,
    /// `http_request_origin`, with the origins that its rules name.
    pub routes: Option<(Arc<Routes>, Arc<NamedOrigins>)>,
    /// `http_request_late_transform`.
    pub transforms: Option<Arc<Transforms>>,
    /// `http_response_headers_transform`.
    pub response_transforms: Option<Arc<Transforms>>,
}

impl Phases {
    /// Whether connections have to keep the ClientHello for one of them.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        let transforms = [&self.transforms, &self.response_transforms];
        let mut transforms = transforms.into_iter().flatten();
        self.redirects
            .as_ref()
            .is_some_and(|all| all.reads_client_hello())
            || self
                .rate_limits
                .as_ref()
                .is_some_and(|all| all.reads_client_hello())
            || self
                .routes
                .as_ref()
                .is_some_and(|(all, named)| all.reads_client_hello() || named.read_client_hello())
            || transforms.any(|all| all.reads_client_hello())
    }
}

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
pub struct PhaseInput<'a> {
    /// The connection.
    pub connection: &'a ConnectionFacts,
    /// What is worked out once for it.
    pub state: &'a ConnectionState,
    /// The request as it came.
    pub request: &'a RequestFacts<'a>,
}

/// Rules that are all asked, with what each of them does.
#[derive(Debug)]
struct PhaseProgram<T> {
    program: Program,
    does: HashMap<Arc<str>, T>,
}

impl<T> PhaseProgram<T> {
    fn compile(rules: Vec<PhaseRule<T>>, lists: &Lists) -> Result<Self, RuleError> {
        let forms: Vec<Rule> = rules.iter().map(PhaseRule::form).collect();
        let does = rules.into_iter().map(|rule| (rule.id, rule.does)).collect();
        Ok(Self {
            program: Program::compile_with(&forms, lists)?,
            does,
        })
    }

    /// The rules that match, in order.
    fn matching(&self, subject: PhaseInput<'_>) -> Result<Vec<(&str, &T)>, Overworked> {
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

fn matching<'p>(program: &'p Program, subject: PhaseInput<'_>) -> Result<Vec<&'p str>, Overworked> {
    let mut ids = Vec::new();
    let PhaseInput {
        connection,
        state,
        request,
    } = subject;
    rules::matching(program, connection, state, request, &mut |id| ids.push(id))?;
    Ok(ids)
}
