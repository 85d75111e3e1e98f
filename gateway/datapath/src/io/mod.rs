//! I/O on the ring: sockets, and the streams that HTTP is read from and written to. No other module names
//! `tokio_uring`.
//!
//! The kernel writes into our buffers while an operation is in flight, so the ring owns a buffer
//! (and a reference to its socket) until the completion arrives; dropping a future cancels
//! nothing. Hence the one rule here: code that stops waiting for a socket shuts it down, which makes
//! the kernel finish every operation on it. Does not know TLS beyond moving its bytes, nor HTTP.

mod doorbell;
#[expect(
    unsafe_code,
    reason = "descriptors that a process is started with are numbers"
)]
mod inherited;
mod listener;
#[expect(
    unsafe_code,
    reason = "the kernel fills our buffers, and an entry has no setter for one of its fields"
)]
mod operation;
mod plain;
mod pump;
mod ring;
#[expect(
    unsafe_code,
    reason = "a socket option for which no crate of ours has a safe call"
)]
mod socket;
#[expect(unsafe_code, reason = "memory to read into is uninitialised")]
mod tls;

pub use doorbell::{Doorbell, Ear};
pub use inherited::started_with;
pub use listener::{Accepted, Listener, bind, hide, listen, listens};
pub use plain::PlainStream;
pub use pump::Activity;
pub use ring::{RingError, probe, run};
pub use socket::{Socket, TcpInfo, open_sockets};
pub use tls::TlsStream;
