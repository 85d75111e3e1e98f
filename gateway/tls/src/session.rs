//! One TLS connection over memory: plaintext on one side, [`Wire`] on the other.
//!
//! Wraps BoringSSL so that callers see three outcomes only: done, more ciphertext needed, over.
//! Does no I/O: the owner of the session moves what is in the wire.

use std::ffi::c_int;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;

use boring::error::ErrorStack;
use boring::ssl::{Error, ErrorCode, Ssl, SslRef, SslStream};
use boring::x509::X509VerifyError;

use super::origin::{Alpn, OriginFlaw, OriginTls, names_of};
use super::wire::Wire;

/// A TLS connection over two memory buffers.
pub struct Session {
    stream: SslStream<Wire>,
    role: Role,
    waits: bool,
    /// The peer has said that it sends nothing more.
    took_leave: bool,
}

/// Why a handshake stopped short.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFailure {
    /// The peer just closed.
    #[error("the peer closed")]
    Closed,
    /// BoringSSL ended it; its error knows which library and which reason.
    #[error(transparent)]
    Tls(#[from] Error),
    /// The socket broke.
    #[error("the socket: {0}")]
    Io(#[from] io::Error),
    /// The gateway ended it, for this reason.
    #[error("{0}")]
    Gateway(&'static str),
}

impl HandshakeFailure {
    /// The reason code (`SSL_R_…`) of the first error of BoringSSL's TLS library, if it has one.
    pub(super) fn reason(&self) -> Option<c_int> {
        let Self::Tls(error) = self else { return None };
        let mut errors = error.ssl_error()?.errors().iter();
        errors.find_map(|error| error.library_reason(boring_sys::ERR_LIB_SSL))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn accept(ssl: Ssl) -> Result<Self, ErrorStack> {
        Ok(Self {
            stream: SslStream::new(ssl, Wire::default())?,
            role: Role::Server,
            waits: false,
            took_leave: false,
        })
    }

    /// A connection to an origin at its first byte.
    ///
    /// # Errors
    /// BoringSSL has no memory for it.
    pub fn connect(tls: &OriginTls, alpn: Alpn) -> Result<Self, ErrorStack> {
        let ssl = tls.start(alpn)?;
        Ok(Self {
            stream: SslStream::new(ssl, Wire::default())?,
            role: Role::Client,
            waits: false,
            took_leave: false,
        })
    }

    /// What is wrong with the certificate of an origin that the handshake has just refused, if that
    /// was the reason.
    #[must_use]
    pub fn origin_flaw(&self, tls: &OriginTls) -> Option<OriginFlaw> {
        let found = self.stream.ssl().verify_result().err()?;
        // What BoringSSL starts with, before there was a certificate.
        (found != X509VerifyError::INVALID_CALL).then(|| tls.flaw(found))
    }

    /// The names and addresses in subjectAltName of an origin's certificate, whether it is believed
    /// or not; none before it came.
    #[must_use]
    pub fn origin_names(&self) -> Vec<String> {
        let certificate = self.stream.ssl().peer_certificate();
        certificate.map_or_else(Vec::new, |certificate| names_of(&certificate))
    }

    pub(super) fn wire_ref(&self) -> &Wire {
        self.stream.get_ref()
    }

    /// Goes on with the handshake as far as the wire allows. `Ok(false)`: more ciphertext needed, or
    /// an answer when [`Self::waits`].
    /// Whatever the outcome, the wire may hold bytes to send.
    ///
    /// # Errors
    /// The handshake has failed.
    pub fn handshake(&mut self) -> Result<bool, HandshakeFailure> {
        self.waits = false;
        loop {
            let outcome = match self.role {
                Role::Server => self.stream.accept(),
                Role::Client => self.stream.connect(),
            };
            match outcome {
                Ok(()) => return Ok(true),
                Err(error) if again(&error) => {}
                Err(error) if starved(&error) => return Ok(false),
                Err(error) if error.code() == ErrorCode::WANT_CERTIFICATE_VERIFY => {
                    self.waits = true;
                    return Ok(false);
                }
                Err(error) if closed(&error) => return Err(HandshakeFailure::Closed),
                Err(error) => return Err(HandshakeFailure::Tls(error)),
            }
        }
    }

    /// Whether the handshake has stopped because the client cannot be verified yet.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Reads plaintext. `None`: more ciphertext needed; `Some(0)`: the peer has closed.
    ///
    /// # Errors
    /// The connection is broken: a bad record, a fatal alert.
    pub fn read(&mut self, into: &mut [MaybeUninit<u8>]) -> io::Result<Option<usize>> {
        // BoringSSL never reads further than the record that it is at, so it would find nothing
        // either, and make an error of it. hyper asks several times for each request.
        if !self.has_unread() {
            return Ok(None);
        }
        loop {
            match self.stream.ssl_read_uninit(into) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if again(&error) => {}
                Err(error) if starved(&error) => return Ok(None),
                Err(error) if closed(&error) => {
                    self.took_leave |= error.code() == ErrorCode::ZERO_RETURN;
                    return Ok(Some(0));
                }
                Err(error) => return Err(error.into_io_error().unwrap_or_else(io::Error::other)),
            }
        }
    }

    /// Whether the peer has closed with a close_notify: an end without one may be anybody's who can cut
    /// the connection (RFC 8446 §6.1).
    #[must_use]
    pub fn has_taken_leave(&self) -> bool {
        self.took_leave
    }

    /// Encrypts all of `from` into the wire.
    ///
    /// # Errors
    /// The connection is broken or already closed for writing.
    pub fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        // The wire takes everything, so there is nothing to wait for.
        self.stream
            .ssl_write(from)
            .map_err(|error| error.into_io_error().unwrap_or_else(io::Error::other))
    }

    /// Puts a close_notify into the wire (RFC 8446 §6.1). Once is enough, more does no harm.
    pub fn close(&mut self) {
        // An error means that the connection is over already, which is what was wanted.
        drop(self.stream.shutdown());
    }

    /// The protocol that ALPN agreed on.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.ssl().selected_alpn_protocol() == Some(b"h2")
    }

    /// Whether a read would find something without more ciphertext: plaintext, a record that was
    /// begun, or the end.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.ssl().pending() > 0 || self.stream.get_ref().has_incoming()
    }

    /// The buffers.
    pub fn wire(&mut self) -> &mut Wire {
        self.stream.get_mut()
    }

    pub(super) fn ssl(&self) -> &SslRef {
        self.stream.ssl()
    }

    pub(super) fn ssl_mut(&mut self) -> &mut SslRef {
        self.stream.ssl_mut()
    }
}

/// BoringSSL made progress without I/O and wants to be called again.
fn again(error: &Error) -> bool {
    error.code() == ErrorCode::WANT_READ && error.io_error().is_none()
}

/// The wire is empty.
fn starved(error: &Error) -> bool {
    error.code() == ErrorCode::WANT_READ
}

/// The peer has closed, with a close_notify or without. HTTP's own framing (RFC 9112 §8) tells
/// whether a message was cut short, but for one that ends with the connection
/// ([`Session::has_taken_leave`]).
fn closed(error: &Error) -> bool {
    error.code() == ErrorCode::ZERO_RETURN
        || (error.code() == ErrorCode::SYSCALL
            && error.io_error().is_none()
            && error.ssl_error().is_none())
}
