//! The ClientHello as a worker sees it: the bytes of a connection so far, read with the kernel's
//! own parser.
//!
//! Where the kernel gives up, this goes on: a message spread over several TLS records is put
//! together first. BoringSSL reads the same bytes again and is the authority; this only chooses the
//! worker.

use ebpf::hello::{Hello, find};
use std::borrow::Cow;

/// A TLS record's header: type, version, length.
const RECORD_HEADER_SIZE: usize = 5;
const RECORD_HANDSHAKE: u8 = 22;

/// What the first bytes of a connection say about the host they want.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestedHost<'a> {
    /// A host, as spelt by the client.
    Host(Cow<'a, [u8]>),
    /// No host: the ClientHello is complete, or what it is will be said by BoringSSL.
    Nobody,
    /// Not known before more bytes arrive.
    More,
}

/// Reads the bytes that have arrived.
#[must_use]
pub fn wanted(bytes: &[u8]) -> RequestedHost<'_> {
    match find(bytes, 0, bytes.len()) {
        Hello::Named { at, size } => name(bytes, at, size).map_or(RequestedHost::Nobody, |name| {
            RequestedHost::Host(name.into())
        }),
        Hello::Partial => RequestedHost::More,
        Hello::Nameless | Hello::Foreign => RequestedHost::Nobody,
        Hello::Unusual => spread(bytes),
    }
}

fn name(bytes: &[u8], at: usize, size: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(size)?)
}

/// A message over several records, searched as if it had come in one.
fn spread(bytes: &[u8]) -> RequestedHost<'_> {
    let mut message = Vec::with_capacity(bytes.len());
    // The header of a record as long as one can be; its length only has to cover the message.
    message.extend([RECORD_HANDSHAKE, 3, 1, 0xff, 0xff]);
    let mut rest = bytes;
    while let Some((header, tail)) = rest.split_at_checked(RECORD_HEADER_SIZE) {
        let [kind, _, _, high, low] = *header else {
            break;
        };
        if kind != RECORD_HANDSHAKE {
            return RequestedHost::Nobody;
        }
        let size = usize::from(u16::from_be_bytes([high, low])).min(tail.len());
        let (payload, tail) = tail.split_at(size);
        message.extend(payload);
        rest = tail;
    }
    match find(&message[..], 0, message.len()) {
        Hello::Named { at, size } => name(&message, at, size)
            .map_or(RequestedHost::Nobody, |name| {
                RequestedHost::Host(name.to_vec().into())
            }),
        Hello::Partial => RequestedHost::More,
        Hello::Nameless | Hello::Foreign | Hello::Unusual => RequestedHost::Nobody,
    }
}
