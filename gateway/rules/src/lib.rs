//! Cloudflare's expression language, and the decision on every request.
//!
//! Does no I/O and reads no clock: facts and bytes are arguments, and only [`Timed`] is asked when a
//! rule reads the round-trip time. Only [`decide()`] makes a [`Permit`].
//!
//! The way of a rule: text → `syntax` (lexer, parser, typed tree) → `program` (the index) →
//! [`decide()`].
//!
//! | folder | what belongs there | on a worker |
//! |---|---|---|
//! | `syntax` | text to typed tree and back, names, errors | no |
//! | `matcher` | strings against patterns, and the work budget | yes |
//! | `eval` | walking a tree: the values of fields and functions | yes |
//! | `program` | rules compiled to an index; what a connection remembers | yes |
//! | `analysis` | for people: explanations, dry runs, lints, the builder's form | no |
//! | `geo` | GeoIP databases in memory | yes |
//! | `testing` | the oracle, fixtures, the checks behind the fuzz targets | no |
//!
//! What runs on a worker allocates nothing in steady state. At the top are the nouns of the crate: a
//! rule, its action, the facts, the decision, a value expression. Arrows go one way, `matcher` ←
//! `syntax` ← `eval` ← `program` ← `analysis`; `tests/rooms.rs` holds them.
//!
//! ```
//! let expression = rules::check("http.host == \"a.example\" && !ssl")?;
//! assert_eq!(expression.to_string(), "http.host eq \"a.example\" and not ssl");
//!
//! let error = rules::check("http.hots eq \"a.example\"").unwrap_err();
//! assert!(error.to_string().starts_with("Filter parsing error (1:1): "));
//! # Ok::<(), rules::ParseError>(())
//! ```

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

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
#[cfg_attr(
    not(test),
    expect(
        clippy::disallowed_methods,
        reason = "fixtures write their databases to files"
    )
)]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod value_expression;

pub use action::{Action, ActionError, BlockResponse, Skip};
pub use analysis::blocked_networks::{Network, blocked_addresses};
pub use analysis::dry_run::{DryRun, DryRunOutcome, Fate};
pub use analysis::enforcement::{Enforcement, enforcement};
pub use analysis::explain::{Case, FieldSet, Operand, Seen, Trace};
pub use analysis::form::{Form, FormError, Group, Operator, Row};
pub use analysis::lint::{Lint, LintHost, LintKind, lint, unknown_hosts};
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
