//! Postern: a mutual-TLS gateway for Linux edge hosts.
//!
//! The life of a connection, and the room that owns each step:
//!
//! 1. [`worker`] accepts it on its own ring and takes a slot bounded by [`limits`].
//! 2. [`steer`] has, where the kernel allows, already made it be born on the right worker.
//! 3. [`tls`] finds the host in the ClientHello callback, drives BoringSSL, and judges the
//!    client's chain: the result is a [`tls::Verdict`].
//! 4. [`http`] reads request heads and normalises the path once.
//! 5. [`rules`] decides: a [`rules::Permit`], or a block with its response.
//! 6. [`http`] forwards what is permitted over an origin connection of the worker's own pool.
//! 7. [`observe`] records every stage; the connection ends with one [`connection::Stop`].
//!
//! Everything the data path needs is one immutable [`snapshot::Snapshot`], which [`control`]
//! compiles from the store and publishes whole. [`admin`] and [`cli`] are how people reach
//! [`control`].

pub mod config;
pub mod limits;

pub mod connection;
pub mod http;
pub mod io;
pub mod phases;
pub mod rules;
pub mod steer;
pub mod tls;
pub mod worker;

pub mod client_settings;
pub mod geo;
pub mod hostname;
pub mod memory;
pub mod sequence;
pub mod snapshot;

pub mod admin;
pub mod cli;
pub mod control;
pub mod daemon;
mod difference;
pub mod inquire;
pub mod observe;
#[cfg(test)]
mod testing;
mod upkeep;
