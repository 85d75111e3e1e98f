//! The data path: pinned workers on rings, and everything that happens to a connection.
//!
//! Owns connections from accept to their one stop, the origin side of requests, steering by the
//! kernel, and statistics. Reads the published snapshot, and does not know where it comes from: no
//! way leads from here to the control plane.
//!
//! | module | owns |
//! |---|---|
//! | [`worker`] | a pinned thread's life: accepting, hand-over, drain |
//! | [`connection`] | one connection from the first byte to its stop |
//! | [`http`] | bodies, origin connections, forwarding, tunnels |
//! | [`io`] | the only code that names `tokio_uring` |
//! | [`steer`] | kernel programs, and which worker owns which host |
//! | [`clock`] | the clocks that connections and workers read |
//! | [`memory`] | the call that returns unused memory to the system |
//! | [`plain`] | plain HTTP in front: redirects, health checks |
//! | [`proxy_protocol`] | what a balancer says of a client before its first byte |
//! | [`shares`] | what the clients of one prefix hold |
//! | [`observe`] | statistics of a worker, the access log |
//! | `testing` | what fuzz targets check; in no release build |
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod clock;
pub mod connection;
pub mod http;
pub mod io;
pub mod limits;
#[expect(unsafe_code, reason = "mimalloc has no safe call for it")]
pub mod memory;
pub mod observe;
pub mod plain;
pub mod proxy_protocol;
#[expect(
    clippy::disallowed_types,
    reason = "a lock is taken once for a connection, for one look-up"
)]
pub mod shares;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs on the control plane's thread, and reads sysctls and /proc there"
)]
pub mod steer;
#[cfg(any(test, fuzzing))]
pub mod testing;
pub mod worker;
