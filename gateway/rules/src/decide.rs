//! The decision on a request: runs the compiled rules and makes the permit.
//!
//! Owns [`Permit`], which nothing else makes, and the memory that a thread keeps between decisions.

use std::cell::RefCell;

use crate::action::{Action, BlockResponse};
use crate::eval::connection_values::ConnectionValues;
use crate::eval::field_values::Facts;
use crate::facts::{ConnectionFacts, RequestFacts};
use crate::matcher::budget::Overworked;
use crate::program::{self, ConnectionState, Outcome, Program, Runs};
use crate::rule::Rule;

/// The permission to forward one request, and nothing is forwarded without it. Only [`decide`] and
/// [`decide_on`] make one; it is used once.
#[derive(Debug)]
pub struct Permit {
    skips_rate_limits: bool,
}

impl Permit {
    /// Whether a `skip` rule leaves the phase `http_ratelimit` out for this request.
    #[must_use]
    pub fn skips_rate_limits(&self) -> bool {
        self.skips_rate_limits
    }
}

/// The decision on one request.
#[derive(Debug)]
pub enum Decision<'p> {
    /// No blocking rule matched, or a `skip` rule came first.
    Permit(Permit),
    /// This rule blocks.
    Block {
        /// Its id.
        rule_id: &'p str,
        /// What the client gets.
        response: &'p BlockResponse,
    },
    /// The rules cannot be evaluated: one of them needs more work for this request's head than
    /// `limits::CONDITION_WORK_MAX`, or all together more than `limits::DECISION_WORK_MAX`. Not to
    /// be forwarded.
    TooLarge,
}

thread_local! {
    /// One decision at a time on a thread; kept so that deciding does not allocate.
    static RUNS: RefCell<Runs> = RefCell::default();
}

/// Decides on one request. `logged` gets the id of every `log` rule that matches on the way, and of
/// `skip` rules that ask for it.
///
/// The simple form of [`decide_on`], for a connection whose state is not kept.
///
/// ```
/// use std::sync::Arc;
///
/// use http1::Headers;
/// use rules::{
///     Action, Allowance, BlockResponse, ConnectionFacts, Decision, Program, RequestFacts, RoundTrip,
///     Rule, decide,
/// };
/// use vocabulary::client_auth::ClientAuth;
///
/// let program = Program::compile(&[Rule {
///     id: "0123456789abcdef0123456789abcdef".into(),
///     expression: "http.request.uri.path eq \"/admin\" and not cf.tls_client_auth.cert_verified"
///         .into(),
///     action: Action::Block(BlockResponse::default()),
///     enabled: true,
/// }])?;
/// let connection = ConnectionFacts {
///     source: ([203, 0, 113, 9], 50_000).into(),
///     local: ([198, 51, 100, 1], 443).into(),
///     sni: "api.example.com".into(),
///     tls_version: "TLSv1.3",
///     tls_cipher: "AEAD-AES128-GCM-SHA256",
///     client_hello: Default::default(),
///     geo: None,
///     client: Arc::new(ClientAuth::none()),
/// };
/// let headers = Headers::new();
/// let request = |path| RequestFacts {
///     method: "GET",
///     version: "HTTP/2",
///     host: "api.example.com",
///     path,
///     raw_path: path,
///     query: "",
///     authority: None,
///     headers: &headers,
///     received_msec: 1_700_000_000_000,
///     ray_id: "8f00b204e9800998",
///     allowance: Allowance::default(),
///     round_trip: RoundTrip::default(),
/// };
///
/// let decision = decide(&program, &connection, &request("/admin"), &mut |_id| {});
/// assert!(matches!(decision, Decision::Block { response, .. } if response.status == 403));
/// let decision = decide(&program, &connection, &request("/"), &mut |_id| {});
/// assert!(matches!(decision, Decision::Permit(_)));
/// # Ok::<(), rules::RuleError>(())
/// ```
pub fn decide<'p>(
    program: &'p Program,
    connection: &ConnectionFacts,
    request: &RequestFacts<'_>,
    logged: &mut dyn FnMut(&'p str),
) -> Decision<'p> {
    let facts = Facts {
        connection,
        request,
        values: &ConnectionValues::default(),
    };
    evaluate(program, &facts, None, logged)
}

/// Decides on one request of a connection; `state` keeps what is the same for all its requests.
pub fn decide_on<'p>(
    program: &'p Program,
    connection: &ConnectionFacts,
    state: &ConnectionState,
    request: &RequestFacts<'_>,
    logged: &mut dyn FnMut(&'p str),
) -> Decision<'p> {
    let facts = Facts {
        connection,
        request,
        values: &state.values,
    };
    evaluate(program, &facts, Some(state), logged)
}

/// Passes the ids of all `log` rules that match a request to `found`, in order: for rulesets whose
/// rules mean more than a decision can say, such as rate limits. They are seldom many, and nothing is
/// remembered of them between requests.
///
/// # Errors
/// The rules cannot be evaluated, as [`Decision::TooLarge`].
pub fn matching<'p>(
    program: &'p Program,
    connection: &ConnectionFacts,
    state: &ConnectionState,
    request: &RequestFacts<'_>,
    found: &mut dyn FnMut(&'p str),
) -> Result<(), Overworked> {
    let facts = Facts {
        connection,
        request,
        values: &state.values,
    };
    match evaluate(program, &facts, None, found) {
        Decision::TooLarge => Err(Overworked),
        Decision::Permit(_) | Decision::Block { .. } => Ok(()),
    }
}

/// Bytes of compiled rules that the last decision on this thread has read, for figures: entries,
/// vectors, groups and what look-ups touch, as counted on the way; trees that were walked are not.
#[must_use]
pub fn touched_bytes() -> usize {
    RUNS.with(|runs| runs.try_borrow().map_or(0, |runs| runs.touched()))
}

/// What the last decision on this thread has cost, of the rules that have not changed.
#[cfg(test)]
pub(crate) fn worked() -> usize {
    RUNS.with(|runs| runs.try_borrow().map_or(0, |runs| runs.worked()))
}

fn evaluate<'p>(
    program: &'p Program,
    facts: &Facts<'_>,
    state: Option<&ConnectionState>,
    logged: &mut dyn FnMut(&'p str),
) -> Decision<'p> {
    let permit = |skips_rate_limits| Decision::Permit(Permit { skips_rate_limits });
    if program.is_empty() {
        return permit(false);
    }
    let mut skips = false;
    let mut reported = |rule: &'p Rule| match &rule.action {
        Action::Skip(skip) => {
            skips |= skip.rate_limits();
            if skip.logging {
                logged(&rule.id);
            }
        }
        Action::Block(_) | Action::Log => logged(&rule.id),
    };
    let ended = RUNS.with(|runs| match runs.try_borrow_mut() {
        Ok(mut runs) => program::first(program, facts, state, &mut runs, &mut reported),
        // `logged` asked for another decision: rare, correct, and it allocates.
        Err(_) => program::first(program, facts, state, &mut Runs::default(), &mut reported),
    });
    let rule = match ended {
        Outcome::Through => return permit(skips),
        Outcome::Overworked => return Decision::TooLarge,
        Outcome::Ended(rule) => rule,
    };
    match &rule.action {
        Action::Block(response) => Decision::Block {
            rule_id: &rule.id,
            response,
        },
        Action::Skip(_) | Action::Log => {
            reported(rule);
            permit(skips)
        }
    }
}
