//! Matchers: strings against regular expressions and wildcards, and the budget that limits the
//! work.
//!
//! Knows no syntax: patterns come as text, refusals go back without a span. Searching runs on
//! workers and allocates nothing in steady state. Compiling a pattern allocates, and happens when
//! rules change.

pub(crate) mod budget;
mod lazy_dfa;
pub(crate) mod regex;
pub(crate) mod wildcard;
