//! Asking CAs what they have revoked: over HTTP, beside the data path, never on a worker.
//!
//! | file | owns |
//! |---|---|
//! | `http` | one bounded question to a server |
//! | `lists` | when which revocation list is fetched, and what became of it |
//!
//! Whom to ask is the administrator's to say ([`crate::control::SourceUrl`]); what is believed is
//! [`crate::tls`]'s.

mod http;
mod lists;

pub use self::lists::{FetchOutcome, FetchStatus, Lists};

/// A part of one, from 0 to just below 1, that differs between gateways that began together.
fn chance() -> f64 {
    let mut bytes = [0; 2];
    // Without randomness everybody asks at the same time, which is no more than impolite.
    drop(boring::rand::rand_bytes(&mut bytes));
    f64::from(u16::from_be_bytes(bytes)) / 65_536.0
}
