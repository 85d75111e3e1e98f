//! The binary `postern`: the command line in [`cli`], and in [`daemon`] the process that starts the
//! parts in order.
//!
//! Owns arguments, output for people, start, signals and stop. Everything else is a crate of its own;
//! `ARCHITECTURE.md` has their graph.
#![forbid(unsafe_code)]

pub mod cli;
pub mod daemon;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod geoip;
pub mod limits;
mod logging;
