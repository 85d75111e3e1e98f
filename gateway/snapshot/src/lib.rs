//! What the control plane compiles and the data path reads: the one place where they meet.
//!
//! Owns the [`Snapshot`] and where it is published, the pure half of HTTP that both need, the phases
//! that follow the rules, the queue of questions about client certificates, and what names of origins
//! mean. Does no I/O and reads no clock. Compiles nothing, forwards nothing, asks no responder.
//!
//! | module | owns |
//! |---|---|
//! | `snapshot` | hosts, look-up by name, the published cell |
//! | [`challenges`] | what ACME servers are shown that check names |
//! | [`checks`] | the checks before the rules, in their one order |
//! | [`http`] | authority, path, headers, origin: what a request head means |
//! | [`names`] | what names of origins mean, and who waits to hear of it |
//! | [`origins`] | the addresses of origins, and what is known of them |
//! | [`phases`] | rate limits and header rules |
//! | [`questions`] | the queue of questions from workers to the OCSP client |
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod challenges;
pub mod checks;
pub mod http;
pub mod limits;
pub mod names;
pub mod origins;
pub mod phases;
pub mod questions;
#[expect(
    clippy::disallowed_types,
    reason = "publishing is the control plane's, which may lock; readers do not"
)]
mod snapshot;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[expect(clippy::unwrap_used, reason = "a panic is a finding")]
pub mod testing;

pub use self::snapshot::{DuplicateHost, Elsewhere, Host, Published, Snapshot};
