//! Analysis of rules, for people: explanations, dry runs, lints, the form of the rule builder.
//!
//! Not for a worker, and never on the data path: everything here allocates as it likes. Asks the
//! decision and the evaluator; decides nothing itself.

pub(crate) mod blocked_networks;
pub(crate) mod dry_run;
pub(crate) mod enforcement;
pub(crate) mod explain;
pub(crate) mod form;
pub(crate) mod lint;
mod partial_eval;
