//! The admin API over HTTP: Cloudflare's shapes under `/client/v4`, what Cloudflare has no
//! resource for under `/postern/v1`, and `/metrics`, `/livez`, `/readyz`.
//!
//! Owns sockets, authentication, the wire format and the table of failures. Decides nothing about
//! zones, certificates or rules: that is [`control`]. Runs on an ordinary runtime of its own,
//! never on a worker.

#![forbid(unsafe_code)]

mod api;
pub mod doctor;
mod dry_run;
mod events;
pub mod explain;
mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod latency;
pub mod limits;
pub mod metrics;
mod openapi;
mod routes;
mod serve;
#[cfg(test)]
mod tests;
mod upgrades;

pub use self::fleet::{
    CredentialEnd, Fleet, FleetCredential, FleetDone, FleetEdge, FleetRefusal, FleetShown,
    FleetState, Founded, InForce, NoFleet, age_of,
};
pub use self::http::context::State;
pub use self::http::listener::{Bound, Copies, Leaving, Listen, ServeError};
pub use self::http::tls::{AdminTls, AdminTlsError};
pub use self::serve::{serve, serve_bound};
pub use self::upgrades::{Asked, NotBegun, Upgrade, UpgradeState, Upgrades};
