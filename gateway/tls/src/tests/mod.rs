//! The room's tests: whole handshakes in memory, verified certificates of every kind.

mod challenges;
mod handshakes;
mod lists;
mod names;
mod paths;
pub(crate) mod pki;
mod pkits;
mod serials;
mod settings;
mod sweeps;
mod tickets;
mod verifications;
