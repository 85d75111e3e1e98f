//! The vocabulary that every crate of Postern shares.
//!
//! Owns plain data: names of hosts, the words a host is configured in, what verification found of a
//! client, and the client's certificate as rules, logs and origins see it. Verifies and decides
//! nothing, and reads nothing but, in [`clock`], the time and, in [`file`](mod@file), what it is told to: the
//! crates that do depend on this one, and it depends on none of ours.
//!
//! | module | owns |
//! |---|---|
//! | [`hostname`] | host names in one canonical form |
//! | [`settings`] | mTLS mode, origin protocol, what a host does with client certificates |
//! | [`verdict`] | presented, verified, revoked, and the exact reason |
//! | [`client_auth`] | the client's certificate as data |
//! | [`request_error`] | why a request was not served, in one word |
//! | [`side`] | whose side a failure is on |
//! | [`suggest`](mod@suggest) | the known word that was probably meant |
//! | [`words`](mod@words) | the macro that declares an enum of words, and its error |
//! | [`clock`] | the wall clock as a number |
//! | [`file`](mod@file) | regular files, opened without waiting |
//! | [`limits`] | bounds that the configuration promises and TLS is built on |
#![forbid(unsafe_code)]

pub mod client_auth;
pub mod clock;
pub mod file;
pub mod hostname;
pub mod limits;
mod punycode;
pub mod request_error;
pub mod settings;
pub mod side;
pub mod suggest;
pub mod verdict;
pub mod words;

/// The version of this Postern.
// Never inlined, so that the number stands in one place of the binary: a test of edges of several versions
// writes another one there.
#[must_use]
#[inline(never)]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
