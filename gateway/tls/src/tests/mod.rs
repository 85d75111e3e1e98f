//! The room's tests: whole handshakes in memory, judged certificates of every kind.

mod handshakes;
mod judgements;
mod names;
pub(crate) mod pki;
mod serials;
mod tickets;
