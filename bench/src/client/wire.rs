//! The memory between BoringSSL and the socket.
//!
//! BoringSSL asks for a record's header and then for the rest; on a socket these would be two
//! system calls. Here one read takes what is there and BoringSSL reads from memory, so that the
//! client is not what a run measures.

use std::io::{self, Read, Write};

/// Ciphertext on its way in and out.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    incoming: Vec<u8>,
    position: usize,
    /// What is to be sent.
    pub(crate) outgoing: Vec<u8>,
    ended: bool,
}

impl Wire {
    /// Takes what the socket gave. Nothing means that the peer has closed.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        // What is left is less than a record, or nothing.
        self.incoming.drain(..self.position);
        self.position = 0;
        self.ended |= bytes.is_empty();
        self.incoming.extend_from_slice(bytes);
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.incoming.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return if self.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let count = rest.read(into)?;
        self.position += count;
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
