//! The server name in a TLS ClientHello, found without TLS.
//!
//! Reads what RFC 8446 §4.1.2 and RFC 6066 §3 write down and stops at the name. It is a hint for choosing a
//! worker: BoringSSL reads the same bytes again and is the authority. So the one duty here is to never name
//! a host that BoringSSL would not name; where in doubt the answer is that there is no name.
//!
//! ```text
//!  record    | 16 | 03 xx | length 2 |                                    5 bytes
//!  handshake | 01 | length 3 | 03 03 | random 32 |                       38 bytes
//!            | session id ≤32, 1 | cipher suites, 2 | compression, 1 | extensions, 2 |
//!  extension | type 2 | length 2 | data …
//!  server_name (type 0): list length 2 | 00 | name length 2 | name …
//! ```

use crate::cursor::{Cursor, opaque};

/// Extensions that are looked at. Browsers send about eighteen, libraries fewer.
pub const EXTENSIONS_MAX: usize = 32;

/// Longest name that is looked up: RFC 1035 allows 253 bytes, plus the dot some clients leave at the end.
pub const NAME_SIZE_MAX: usize = 254;

const RECORD_HEADER_SIZE: usize = 5;
const HANDSHAKE_HEADER_SIZE: usize = 4;
const VERSION_AND_RANDOM_SIZE: usize = 34;
const SESSION_ID_SIZE_MAX: usize = 32;

const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_TYPE_HOST: u8 = 0;

/// What the first bytes of a connection say about the host they want.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hello {
    /// A name, which stands at `at` and has `size` bytes. Its spelling is not checked.
    Named {
        /// Offset of the name's first byte, counted like the offset the search was given.
        at: usize,
        /// Its bytes, from 1 to [`NAME_SIZE_MAX`].
        size: usize,
    },
    /// The whole ClientHello is here and names nobody.
    Nameless,
    /// So far a ClientHello; the bytes end before the name or the end of the message.
    Partial,
    /// A ClientHello spread over several TLS records, or with more than [`EXTENSIONS_MAX`] extensions before
    /// the name. Allowed, rare, and left to user space.
    Unusual,
    /// Not a ClientHello, or one that contradicts itself.
    Foreign,
}

/// Searches the TLS stream that begins at `at` and of which the bytes up to `end` have arrived.
#[inline(always)]
pub fn find<C: Cursor + ?Sized>(bytes: &C, at: usize, end: usize) -> Hello {
    search(&Arrived { bytes, end }, at).unwrap_or(Hello::Partial)
}

/// The bytes of the stream that have arrived.
struct Arrived<'a, C: ?Sized> {
    bytes: &'a C,
    end: usize,
}

impl<C: Cursor + ?Sized> Cursor for Arrived<'_, C> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        if at >= self.end {
            return None;
        }
        self.bytes.u8(at)
    }
}

/// `None` when the bytes that have arrived are used up before there is an answer.
#[inline(always)]
fn search<C: Cursor + ?Sized>(bytes: &Arrived<'_, C>, at: usize) -> Option<Hello> {
    if bytes.u8(at)? != RECORD_HANDSHAKE || bytes.u8(at + 1)? != 3 {
        return Some(Hello::Foreign);
    }
    let record_size = usize::from(bytes.be16(at + 3)?);
    let message = at + RECORD_HEADER_SIZE;
    let record_end = message + record_size;
    if record_size == 0 || bytes.u8(message)? != HANDSHAKE_CLIENT_HELLO {
        return Some(Hello::Foreign);
    }
    if record_size < HANDSHAKE_HEADER_SIZE {
        return Some(Hello::Unusual);
    }
    let body = message + HANDSHAKE_HEADER_SIZE;
    // At most 24 bits: none of the sums below comes near the end of a usize.
    let body_end = body + bytes.be24(message + 1)? as usize;
    if body_end > record_end {
        return Some(Hello::Unusual);
    }

    let session = body + VERSION_AND_RANDOM_SIZE;
    let session_size = usize::from(bytes.u8(session)?);
    if session_size > SESSION_ID_SIZE_MAX {
        return Some(Hello::Foreign);
    }
    let ciphers = session + 1 + session_size;
    let compressions = ciphers + 2 + usize::from(bytes.be16(ciphers)?);
    let extensions = compressions + 1 + usize::from(bytes.u8(compressions)?);
    // A hello from before extensions existed ends here.
    if extensions == body_end {
        return Some(Hello::Nameless);
    }
    let extensions_end = extensions + 2 + usize::from(bytes.be16(extensions)?);
    if extensions_end != body_end {
        return Some(Hello::Foreign);
    }
    extension(bytes, extensions + 2, extensions_end)
}

/// Walks the extensions from `at` to `end` until the server name.
#[inline(always)]
fn extension<C: Cursor + ?Sized>(bytes: &C, mut at: usize, end: usize) -> Option<Hello> {
    for _ in 0..EXTENSIONS_MAX {
        if at == end {
            return Some(Hello::Nameless);
        }
        let kind = bytes.be16(at)?;
        let size = usize::from(bytes.be16(at + 2)?);
        let data = at + 4;
        at = data + size;
        if at > end {
            return Some(Hello::Foreign);
        }
        if kind == EXTENSION_SERVER_NAME {
            return name(bytes, data, size);
        }
    }
    Some(if at == end {
        Hello::Nameless
    } else {
        Hello::Unusual
    })
}

/// Reads the one name of a `server_name` extension. RFC 6066 would allow a list; nobody sends one, and
/// BoringSSL refuses it.
#[inline(always)]
fn name<C: Cursor + ?Sized>(bytes: &C, at: usize, size: usize) -> Option<Hello> {
    let list_size = usize::from(bytes.be16(at)?);
    let kind = bytes.u8(at + 2)?;
    let name_size = usize::from(bytes.be16(at + 3)?);
    let lengths_agree = size == list_size + 2 && list_size == name_size + 3;
    if !lengths_agree || kind != NAME_TYPE_HOST || name_size == 0 {
        return Some(Hello::Foreign);
    }
    if name_size > NAME_SIZE_MAX {
        return Some(Hello::Nameless);
    }
    let name = at + 5;
    // The name counts only when all of it has arrived.
    bytes.u8(name + name_size - 1)?;
    Some(Hello::Named {
        at: name,
        size: name_size,
    })
}

/// The keys under which a name's owner may be noted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keys {
    /// Of the name itself.
    pub exact: u64,
    /// Of the wildcard that covers it: the first label replaced by `*`. Of a name with one label, `exact` again.
    pub wildcard: u64,
}

/// The keys of the name that stands at `at`: letters in lower case, a dot at its end left out.
///
/// Two names with one key are possible, and then a connection is born on the wrong worker, which hands it
/// over: slower, not wrong. `None` when the name is longer than [`NAME_SIZE_MAX`] or not all there.
#[inline(always)]
pub fn keys<C: Cursor + ?Sized>(bytes: &C, at: usize, size: usize) -> Option<Keys> {
    if size == 0 || size > NAME_SIZE_MAX {
        return None;
    }
    let last = bytes.u8(at + size - 1)?;
    let size = size - (ones_if_dot(last) & 1) as usize;
    let mut exact = KEY_START;
    let mut below = WILDCARD_START;
    let mut dotted = 0;
    for index in 0..NAME_SIZE_MAX {
        if index >= size {
            break;
        }
        let byte = bytes.u8(at + index)?;
        dotted |= ones_if_dot(byte);
        exact = key_step(exact, byte);
        below = key_step(below, byte) & dotted | below & !dotted;
    }
    Some(Keys {
        exact,
        wildcard: below & dotted | exact & !dotted,
    })
}

/// The key under which a host is noted, from its canonical name; a wildcard is written with its `*`.
#[must_use]
pub const fn host_key(name: &str) -> u64 {
    let mut key = KEY_START;
    let mut rest = name.as_bytes();
    while let [byte, tail @ ..] = rest {
        key = key_step(key, *byte);
        rest = tail;
    }
    key
}

/// The key of the host that answers those who name none: that of the empty name, which no host has.
pub const NAMELESS_KEY: u64 = host_key("");

/// FNV-1a, 64 bits: one multiplication for a byte, nothing to set up, the same on both sides.
const KEY_START: u64 = 0xcbf2_9ce4_8422_2325;
const KEY_PRIME: u64 = 0x0000_0100_0000_01b3;
const WILDCARD_START: u64 = key_step(KEY_START, b'*');

/// Adds a byte. The bit that tells upper from lower case is set in every byte: in all the other characters a
/// host name has (digits, dot, hyphen, asterisk) it is set anyway, but for the underscore, whose neighbour in
/// this sense is no character at all.
#[inline(always)]
const fn key_step(key: u64, byte: u8) -> u64 {
    const LOWER_CASE: u8 = 0x20;
    (key ^ (byte | LOWER_CASE) as u64).wrapping_mul(KEY_PRIME)
}

/// All bits, if this is a dot; else none.
///
/// Arithmetic instead of a branch, in the name's loop: after a branch on a byte the verifier knows its value on
/// one side, follows both sides separately from there on, and gives up after a million steps.
#[inline(always)]
fn ones_if_dot(byte: u8) -> u64 {
    let difference = opaque(u64::from(byte ^ b'.'));
    (difference.wrapping_sub(1).cast_signed() >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests;
