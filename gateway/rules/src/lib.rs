//! Rules: Cloudflare's expression language, and the decision on every request.
//!
//! Does no I/O of its own (who is [`Timed`] may) and never reads a clock. Only [`decide`] can make a
//! [`Permit`].
//!
//! The way of a rule: text → `lexer` → `parser` (with `comparison`, `operand`, `test`, `literal`;
//! types are checked there) → `ast` → a [`Program`] → [`decide`]. `print` is the way back to text.
//! `field` and `function` are the tables of names, `read` and `call` what stands behind them; `eval`
//! walks a tree, for what the program cannot look up and, in tests, for everything. `work` counts
//! what that costs, and ends it.

mod action;
mod addresses;
mod ast;
mod builder;
mod call;
mod comparison;
mod computed;
mod decode;
mod enforced;
mod error;
mod eval;
mod expression;
mod facts;
mod field;
mod function;
pub mod geo;
mod hello;
mod json;
mod lazy;
mod lexer;
pub mod limits;
mod lint;
mod list;
mod literal;
mod operand;
mod pairs;
mod parentheses;
mod parser;
mod pattern;
mod print;
mod program;
mod read;
mod replace;
mod suppose;
mod test;
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod trace;
mod trial;
mod types;
mod value;
mod wildcard;
mod work;

use std::cell::RefCell;
use std::sync::Arc;

pub use action::{Action, ActionError, BlockResponse, Skip};
pub use addresses::{Network, blocked_addresses};
pub use builder::{Form, FormError, Group, Operator, Row};
pub use computed::{Computed, Overworked};
pub use enforced::{Enforcement, enforcement};
pub use error::ParseError;
pub use expression::{Expression, FieldInfo, FunctionInfo, check, check_with, fields, functions};
pub use facts::{ConnectionFacts, ConnectionState, RequestFacts, RoundTrip, Timed};
pub use field::Lifetime;
pub use lint::{Lint, LintHost, LintKind, lint};
pub use list::{HostnameList, IpList, List, ListError, Lists, is_list_name};
pub use program::Program;
pub use trace::{Case, FieldSet, Operand, Seen, Trace};
pub use trial::{Fate, Trial, Tried};
pub use types::{Kind, Type};
pub use work::Allowance;

use program::{Outcome, Runs};
use read::Facts;

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// 32 lower-case hex characters.
    pub id: Arc<str>,
    /// The expression's text.
    pub expression: Arc<str>,
    /// What happens when it matches.
    pub action: Action,
    /// A disabled rule is checked, and then costs nothing.
    pub enabled: bool,
}

impl Rule {
    /// Rules as a [`Program`] keeps them.
    #[must_use]
    pub fn shared(rules: &[Self]) -> Vec<Arc<Self>> {
        rules.iter().cloned().map(Arc::new).collect()
    }
}

/// Which rule cannot be compiled, and the message in Cloudflare's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// Position of the rule in the list given.
    pub index: usize,
    /// `Filter parsing error (1:31): …`, with the line and a caret.
    pub message: String,
}

/// Without this value nothing is forwarded. Only [`decide`] makes one, it is used once.
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

/// What the rules say of one request.
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
    /// The rules cannot be judged: one of them makes more of this request's head than
    /// `limits::CONDITION_WORK_MAX` allows, or all together more than
    /// `limits::DECISION_WORK_MAX`. Not to be forwarded.
    TooLarge,
}

thread_local! {
    /// One decision at a time on a thread; kept so that deciding does not allocate.
    static RUNS: RefCell<Runs> = RefCell::default();
}

/// Judges one request. `logged` is told the id of every matching `log` rule on the way, and of
/// `skip` rules that ask for it.
///
/// The simple form of [`decide_on`], for a connection whose state is not kept.
pub fn decide<'p>(
    program: &'p Program,
    connection: &ConnectionFacts,
    request: &RequestFacts<'_>,
    logged: &mut dyn FnMut(&'p str),
) -> Decision<'p> {
    let state = ConnectionState::default();
    judge(
        program,
        &Facts {
            connection,
            request,
            state: &state,
        },
        false,
        logged,
    )
}

/// Judges one request of a connection; `state` keeps what is the same for all its requests.
pub fn decide_on<'p>(
    program: &'p Program,
    connection: &ConnectionFacts,
    state: &ConnectionState,
    request: &RequestFacts<'_>,
    logged: &mut dyn FnMut(&'p str),
) -> Decision<'p> {
    judge(
        program,
        &Facts {
            connection,
            request,
            state,
        },
        true,
        logged,
    )
}

/// Shows the ids of all `log` rules that match a request, in order: for rulesets whose rules do
/// more than a decision can say. Rules beside the zone's own are seldom many, and nothing is kept
/// of them between requests.
///
/// # Errors
/// The rules cannot be judged, as [`Decision::TooLarge`].
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
        state,
    };
    match judge(program, &facts, false, found) {
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

fn judge<'p>(
    program: &'p Program,
    facts: &Facts<'_>,
    remembers: bool,
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
        Ok(mut runs) => program::first(program, facts, remembers, &mut runs, &mut reported),
        // `logged` asked for another decision: rare, correct, and it allocates.
        Err(_) => program::first(
            program,
            facts,
            remembers,
            &mut Runs::default(),
            &mut reported,
        ),
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
