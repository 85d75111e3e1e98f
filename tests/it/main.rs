//! Everything end to end, in the order of a connection's life.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is a test binary: a panic is a failed test, with its place"
)]

mod handshake;
mod resumption;
mod names;
mod rules;
mod revocation;
mod paths;
mod headers;
mod http1;
mod http2;
mod origins;
mod input;
mod lifecycle;
mod observe;
mod cli;
mod tools;
