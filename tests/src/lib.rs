//! The world that tests live in: certificates of every kind, origins that behave and origins that
//! do not, clients that keep tickets, write raw bytes or carry no certificate, and the real
//! `postern` binary as a child process between them.
//!
//! Nothing here decides whether a test passes: that is for `it/`. What cannot be set up panics
//! with the reason, because a half-built world only makes confusing failures. Nothing sleeps to
//! wait for something; [`wait`] looks again until it is there or a generous time has passed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a world that cannot be built ends the test, and the panic says where"
)]

pub mod acme;
pub mod admin;
pub mod client;
pub mod crl;
pub mod frames;
mod fresh;
pub mod gateway;
pub mod memory_store;
pub mod network;
pub mod ocsp;
pub mod origin;
pub use fixtures::pki;
pub mod raw;
pub mod refused;
pub mod server;
pub mod tool;
pub mod wait;
pub mod wire;

pub use client::{Answer, Client};
pub use fixtures::new_loopback;
pub use gateway::{Gateway, Setup};
pub use network::Network;
pub use origin::Origin;
pub use pki::{Authority, Identity};
pub use refused::Refused;
