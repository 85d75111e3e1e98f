//! The two memory buffers between BoringSSL and the ring: ciphertext in, ciphertext out.
//!
//! The incoming buffer *is* the buffer that the ring filled, the outgoing one *is* the buffer
//! that the ring will send: neither is copied. Does no I/O; an empty incoming buffer reads as
//! `WouldBlock`.

use std::io::{self, Read, Write};

/// Ciphertext on its way in and out.
#[derive(Debug, Default)]
pub struct Wire {
    incoming: Vec<u8>,
    /// `0 <= position <= incoming.len()`: what BoringSSL has read already.
    position: usize,
    outgoing: Vec<u8>,
    end: bool,
}

impl Wire {
    /// Takes the drained incoming buffer, empty, for the ring to fill.
    pub fn take_incoming(&mut self) -> Vec<u8> {
        debug_assert_eq!(
            self.position,
            self.incoming.len(),
            "ciphertext would be lost"
        );
        self.position = 0;
        let mut buffer = std::mem::take(&mut self.incoming);
        buffer.clear();
        buffer
    }

    /// Gives what the ring received. Nothing in it means that the peer has closed.
    pub fn give_incoming(&mut self, buffer: Vec<u8>) {
        self.end |= buffer.is_empty();
        self.position = 0;
        self.incoming = buffer;
    }

    /// Nothing more will come, for whatever reason.
    pub fn end(&mut self) {
        self.end = true;
    }

    /// Whether BoringSSL has something left to read: bytes, or the end.
    #[must_use]
    pub fn has_incoming(&self) -> bool {
        self.end || self.position < self.incoming.len()
    }

    /// Gives the memory of empty buffers back.
    pub fn release(&mut self) {
        if self.position == self.incoming.len() {
            self.position = 0;
            self.incoming = Vec::new();
        }
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Whether what was received begins as PROXY protocol does, version 1 or 2 (HAProxy's
    /// `proxy-protocol.txt`, sections 2.1 and 2.2).
    pub(super) fn is_proxied(&self) -> bool {
        let (text, binary) = (b"PROXY ".as_slice(), b"\r\n\r\n\0\r\nQUIT\n".as_slice());
        self.incoming.starts_with(text) || self.incoming.starts_with(binary)
    }

    /// Bytes waiting to be sent.
    #[must_use]
    pub fn outgoing_len(&self) -> usize {
        self.outgoing.len()
    }

    /// Swaps the bytes waiting to be sent for an empty buffer.
    pub fn swap_outgoing(&mut self, mut empty: Vec<u8>) -> Vec<u8> {
        empty.clear();
        std::mem::replace(&mut self.outgoing, empty)
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.incoming.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return if self.end {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let count = rest.len().min(into.len());
        let (from, _) = rest.split_at(count);
        let (to, _) = into.split_at_mut(count);
        to.copy_from_slice(from);
        self.position += count;
        Ok(count)
    }
}

impl Write for Wire {
    /// Always takes everything: callers bound what they let BoringSSL produce before they ask.
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
