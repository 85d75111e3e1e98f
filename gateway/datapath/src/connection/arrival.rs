//! A connection before it is served: its socket, and what has been read of it.

use std::time::Instant;

use crate::io::Socket;
use crate::observe::Steered;

/// A connection that a worker begins with.
pub struct Arrival {
    /// Its socket.
    pub socket: Socket,
    /// When it was accepted, by this worker or another.
    pub accepted: Instant,
    /// The bytes read so far. The end of the stream is never among them.
    pub read: Vec<u8>,
    /// How it came to this worker.
    pub steered: Steered,
}
