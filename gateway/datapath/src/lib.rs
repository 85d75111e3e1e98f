//! The data path: pinned workers on rings, and everything that happens to a connection.
//!
//! Owns connections from accept to their one stop, the origin side of requests, steering by the
//! kernel, and statistics. Reads what it needs from the published snapshot. Does not know where a
//! snapshot comes from: no way leads from here to the control plane.
//!
//! | module | owns |
//! |---|---|
//! | [`worker`] | a pinned thread's life, admission, hand-over, drain |
//! | [`connection`] | one connection from the first byte to its stop |
//! | [`http`] | bodies, origin connections, forwarding, tunnels |
//! | [`io`] | the only code that names `tokio_uring` |
//! | [`steer`] | kernel programs, and which worker owns which host |
//! | [`clock`] | the only code that reads a clock |
//! | [`observe`] | statistics of a worker, the access log |
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod clock;
pub mod connection;
pub mod http;
pub mod io;
pub mod limits;
#[expect(unsafe_code, reason = "mimalloc has no safe call for it")]
pub mod memory;
pub mod observe;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs on the control plane's thread, and reads sysctls and /proc there"
)]
pub mod steer;
pub mod worker;
