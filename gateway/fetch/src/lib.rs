//! Asks other servers beside the data path, never on a worker: CAs for revocation lists, OCSP answers
//! and certificates of hosts, origins whether they are well, and the system what their names mean.
//!
//! | file | owns |
//! |---|---|
//! | `acme` | certificates of hosts from an ACME server: when they are asked for, and how |
//! | `health` | when addresses of origins are checked, and what is told of them |
//! | `http` | one bounded request to a server |
//! | `lists` | when each revocation list is fetched, and the outcome |
//! | `lookups` | how the system is asked what a name means, and how much at once |
//! | `names` | what names of origins mean, and when they are looked up |
//! | `ocsp` | the OCSP client: how many questions at once, and what becomes of answers |
//! | `places` | how much is asked at once, by zones |
//! | `staples` | OCSP answers about the gateway's own server certificates, and when they are renewed |
//! | `turns` | whose name is looked up next |
//!
//! Which servers to ask is set by the administrator ([`control::SourceUrl`]); those that server
//! certificates name are bound by [`snapshot::http::reach`]. Whether a list or an answer is to be
//! trusted is [`tls`]'s.
#![forbid(unsafe_code)]

mod acme;
mod health;
mod http;
pub mod limits;
mod lists;
mod lookups;
mod names;
mod ocsp;
mod places;
mod staples;
mod turns;

pub use self::acme::{AcmeClient, AcmeCounts, AcmeSettings, AcmeState, AcmeStatus};
pub use self::health::HealthChecker;
pub use self::lists::{CrlFetcher, FetchOutcome, FetchStatus};
pub use self::names::{NameStatus, NameWatch};
pub use self::ocsp::{OcspClient, OcspCounts};
pub use self::staples::{StapleStatus, Stapler};

/// A part of one, from 0 to just below 1, that differs between gateways that began together.
fn chance() -> f64 {
    let mut bytes = [0; 2];
    // Without randomness all gateways ask at the same time, which is no more than impolite.
    drop(boring::rand::rand_bytes(&mut bytes));
    f64::from(u16::from_be_bytes(bytes)) / 65_536.0
}
