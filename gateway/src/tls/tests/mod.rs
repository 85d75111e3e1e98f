//! The room's tests: whole handshakes in memory, judged certificates of every kind.

mod handshakes;
mod judgements;
pub(in crate::tls) mod pki;
mod tickets;
