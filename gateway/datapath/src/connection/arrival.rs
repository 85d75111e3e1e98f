//! A connection before it is served: its socket, and what has been read of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::io::Socket;
use crate::limits::RECEIVE_BUFFER_MIN;
use crate::observe::Steered;
use crate::shares::Account;

/// A connection that a worker begins with.
pub struct Arrival {
    /// Its socket.
    pub socket: Socket,
    /// The other end of its socket, by which the kernel knows it.
    pub peer: SocketAddr,
    /// Who it comes from: the peer, or who a balancer says.
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

impl Arrival {
    /// Waits for more bytes and puts them behind those that were read; `false` at the end of the
    /// stream, or when the socket broke.
    pub async fn read_more(&mut self) -> bool {
        let buffer = Vec::with_capacity(RECEIVE_BUFFER_MIN);
        let received = match self.socket.receive_some(buffer).await {
            Ok(received) if !received.is_empty() => received,
            _ => return false,
        };
        if self.read.is_empty() {
            self.read = received;
        } else {
            self.read.extend_from_slice(&received);
        }
        true
    }
}
