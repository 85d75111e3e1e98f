//! A client of the relay and its origin: bytes of the one are records of the other.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Result, bail};
use boring::ssl::{ErrorCode, Ssl, SslStream};
use mio::net::TcpStream;

use crate::client::Wire;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing can be moved before something happens.
    Waits,
    /// The handshake is over: the origin is wanted.
    WantsOrigin,
    /// The client has said goodbye, and nothing of it is on its way.
    Ended,
}

/// A client, and what is on its way.
pub(super) struct Pair {
    client: TcpStream,
    tls: SslStream<Wire>,
    /// Which connection to the origin is its own.
    pub(super) origin: Option<usize>,
    pub(super) client_readable: bool,
    pub(super) origin_readable: bool,
    shaken: bool,
    /// Bytes for the origin that it would not take yet.
    to_origin: Vec<u8>,
    /// How much of the wire's outgoing bytes the client has taken.
    taken: usize,
    /// The client has sent its last byte.
    ended: bool,
}

impl Pair {
    pub(super) fn new(client: TcpStream, ssl: Ssl) -> Result<Self> {
        let tls = SslStream::new(ssl, Wire::default())?;
        Ok(Self {
            client,
            tls,
            origin: None,
            client_readable: false,
            origin_readable: false,
            shaken: false,
            to_origin: Vec::new(),
            taken: 0,
            ended: false,
        })
    }

    /// Whether HTTP/2 was agreed on.
    pub(super) fn is_h2(&self) -> bool {
        self.tls.ssl().selected_alpn_protocol() == Some(b"h2")
    }

    /// Moves what can be moved. An error ends both sides.
    pub(super) fn turn(&mut self, origin: Option<&TcpStream>, scratch: &mut [u8]) -> Result<Turn> {
        loop {
            self.flush()?;
            let mut moved = false;
            if !self.shaken {
                match self.tls.accept() {
                    Ok(()) => {
                        self.shaken = true;
                        self.flush()?;
                        moved = true;
                    }
                    Err(error) if error.code() == ErrorCode::WANT_READ => self.flush()?,
                    Err(error) => {
                        // An alert says why.
                        self.flush()?;
                        bail!("{error}");
                    }
                }
            }
            if self.shaken {
                let Some(origin) = origin else {
                    return Ok(Turn::WantsOrigin);
                };
                moved |= self.decrypt(origin, scratch)?;
                if self.ended && self.to_origin.is_empty() {
                    return Ok(Turn::Ended);
                }
                moved |= self.encrypt(origin, scratch)?;
            }
            if self.client_readable && self.to_origin.is_empty() && !self.ended {
                moved |= self.receive(scratch)?;
            }
            if !moved {
                return Ok(Turn::Waits);
            }
        }
    }

    /// Ciphertext from the client.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<bool> {
        match self.client.read(scratch) {
            Ok(count) => {
                // All that was there: the next bytes bring a new event.
                self.client_readable = count == scratch.len();
                self.tls
                    .get_mut()
                    .give(scratch.get(..count).unwrap_or_default());
                if count == 0 && !self.shaken {
                    bail!("the client is gone");
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.client_readable = false;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The client's bytes to the origin.
    fn decrypt(&mut self, mut origin: &TcpStream, scratch: &mut [u8]) -> Result<bool> {
        if !self.to_origin.is_empty() {
            let count = written(origin.write(&self.to_origin))?;
            self.to_origin.drain(..count);
            return Ok(count > 0);
        }
        // All records that are there, so that the origin gets them at once.
        let mut read = 0;
        let mut moved = false;
        while let Some(rest) = scratch.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.tls.ssl_read(rest) {
                Ok(count) => read += count,
                Err(error) if error.code() == ErrorCode::WANT_READ => break,
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                    self.ended = true;
                    moved = true;
                    break;
                }
                Err(error) => bail!("{error}"),
            }
        }
        if read > 0 {
            let bytes = scratch.get(..read).unwrap_or_default();
            let count = written(origin.write(bytes))?;
            self.to_origin
                .extend_from_slice(bytes.get(count..).unwrap_or_default());
            // Full to the end, there may be more.
            moved |= read == scratch.len();
        }
        Ok(moved)
    }

    /// The origin's bytes to the client, unless it is behind.
    fn encrypt(&mut self, mut origin: &TcpStream, scratch: &mut [u8]) -> Result<bool> {
        if !self.origin_readable || !self.tls.get_ref().outgoing.is_empty() {
            return Ok(false);
        }
        match origin.read(scratch) {
            Ok(0) => bail!("the origin is gone"),
            Ok(count) => {
                self.origin_readable = count == scratch.len();
                let mut bytes = scratch.get(..count).unwrap_or_default();
                while !bytes.is_empty() {
                    match self.tls.ssl_write(bytes) {
                        Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                        Err(error) => bail!("{error}"),
                    }
                }
                self.flush()?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.origin_readable = false;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ciphertext to the client, as much as it takes.
    fn flush(&mut self) -> Result<()> {
        let wire = self.tls.get_mut();
        if wire.outgoing.is_empty() {
            return Ok(());
        }
        while let Some(rest) = wire
            .outgoing
            .get(self.taken..)
            .filter(|rest| !rest.is_empty())
        {
            let count = written(self.client.write(rest))?;
            if count == 0 {
                return Ok(());
            }
            self.taken += count;
        }
        wire.outgoing.clear();
        self.taken = 0;
        Ok(())
    }
}

/// Bytes that a socket took: none when it would have to wait, or is not connected yet.
fn written(outcome: std::io::Result<usize>) -> Result<usize> {
    match outcome {
        Ok(count) => Ok(count),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::NotConnected
            ) =>
        {
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
}
