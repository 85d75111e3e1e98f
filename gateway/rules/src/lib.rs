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
mod analysis;
mod decide;
mod eval;
mod facts;
pub mod geo;
pub mod limits;
mod matcher;
mod program;
mod rule;
mod syntax;
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod value_expression;

pub use action::{Action, ActionError, BlockResponse, Skip};
pub use analysis::blocked_networks::{Network, blocked_addresses};
pub use analysis::dry_run::{Fate, Trial, Tried};
pub use analysis::enforcement::{Enforcement, enforcement};
pub use analysis::explain::{Case, FieldSet, Operand, Seen, Trace};
pub use analysis::form::{Form, FormError, Group, Operator, Row};
pub use analysis::lint::{Lint, LintHost, LintKind, lint};
pub use decide::{Decision, Permit, decide, decide_on, matching, touched_bytes};
pub use facts::{ConnectionFacts, RequestFacts, RoundTrip, Timed};
pub use matcher::budget::{Allowance, Overworked};
pub use program::{ConnectionState, Program};
pub use rule::{Rule, RuleError};
pub use syntax::error::ParseError;
pub use syntax::expression::{
    Expression, FieldInfo, FunctionInfo, check, check_with, fields, functions,
};
pub use syntax::field::Lifetime;
pub use syntax::list::{HostnameList, IpList, List, ListError, Lists, is_list_name};
pub use syntax::types::{Kind, Type};
pub use value_expression::Computed;
