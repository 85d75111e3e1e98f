//! The room's tests: whole handshakes in memory, judged certificates of every kind.

mod handshakes;
mod judgements;
mod pki;
mod tickets;
