//! The room's tests: whole handshakes in memory, judged certificates of every kind.

mod handshakes;
mod judgements;
mod lists;
mod names;
mod paths;
pub(crate) mod pki;
mod pkits;
mod serials;
mod sweeps;
mod tickets;
