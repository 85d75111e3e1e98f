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
mod decide;
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
mod rule;
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

pub use action::{Action, ActionError, BlockResponse, Skip};
pub use addresses::{Network, blocked_addresses};
pub use builder::{Form, FormError, Group, Operator, Row};
pub use computed::{Computed, Overworked};
pub use decide::{Decision, Permit, decide, decide_on, matching, touched_bytes};
pub use enforced::{Enforcement, enforcement};
pub use error::ParseError;
pub use expression::{Expression, FieldInfo, FunctionInfo, check, check_with, fields, functions};
pub use facts::{ConnectionFacts, ConnectionState, RequestFacts, RoundTrip, Timed};
pub use field::Lifetime;
pub use lint::{Lint, LintHost, LintKind, lint};
pub use list::{HostnameList, IpList, List, ListError, Lists, is_list_name};
pub use program::Program;
pub use rule::{Rule, RuleError};
pub use trace::{Case, FieldSet, Operand, Seen, Trace};
pub use trial::{Fate, Trial, Tried};
pub use types::{Kind, Type};
pub use work::Allowance;
