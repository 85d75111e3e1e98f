//! Asking CAs what they have revoked: over HTTP, beside the data path, never on a worker.
//!
//! | file | owns |
//! |---|---|
//! | `http` | one bounded question to a server |
//! | `lists` | when which revocation list is fetched, and what became of it |
//! | `questions` | what workers want to know of a client, handed over without a lock |
//! | `ocsp` | responders asked for them |
//!
//! Whom to ask is the administrator's to say ([`control::SourceUrl`]); what is believed is
//! [`tls`]'s.

mod http;
pub mod limits;
mod lists;
mod ocsp;

pub use self::lists::{FetchOutcome, FetchStatus, Lists};
pub use self::ocsp::{OcspCounts, Responders};

/// A part of one, from 0 to just below 1, that differs between gateways that began together.
fn chance() -> f64 {
    let mut bytes = [0; 2];
    // Without randomness everybody asks at the same time, which is no more than impolite.
    drop(boring::rand::rand_bytes(&mut bytes));
    f64::from(u16::from_be_bytes(bytes)) / 65_536.0
}
