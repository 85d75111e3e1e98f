//! Matching strings against patterns, and the budget that all matching is charged to.
//!
//! Knows no syntax: patterns come as bytes. Runs on workers: searching allocates nothing in steady
//! state. Compiling a pattern does, and happens when rules change.

pub(crate) mod budget;
mod lazy_dfa;
pub(crate) mod regex;
pub(crate) mod wildcard;
