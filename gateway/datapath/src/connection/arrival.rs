//! A connection before it is served: its socket, and what has been read of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::io::Socket;
use crate::observe::Steered;
use crate::shares::Account;

/// A connection that a worker begins with.
pub struct Arrival {
    /// Its socket.
    pub socket: Socket,
    /// Who it comes from.
    pub client: SocketAddr,
    /// What is charged for it, if anything is.
    pub account: Option<Arc<Account>>,
    /// When it was accepted, by this worker or another.
    pub accepted: Instant,
    /// The bytes read so far. The end of the stream is never among them.
    pub read: Vec<u8>,
    /// How it came to this worker.
    pub steered: Steered,
}
