//! The server name in a TLS ClientHello, found without TLS.
//!
//! Reads what RFC 8446 §4.1.2 and RFC 6066 §3 write down and stops at the name. It is a hint for
//! choosing a worker: BoringSSL reads the same bytes again and is the authority. So the one duty
//! here is to never name a host that BoringSSL would not name; where in doubt the answer is that
//! there is no name.
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

/// Longest name that is looked up: RFC 1035 allows 253 bytes, plus the dot some clients leave at
/// the end.
pub const NAME_SIZE_MAX: usize = 254;

const RECORD_HEADER_SIZE: usize = 5;
const HANDSHAKE_HEADER_SIZE: usize = 4;
const VERSION_AND_RANDOM_SIZE: usize = 34;
const SESSION_ID_SIZE_MAX: usize = 32;

const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u32 = 0;
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
    /// The whole ClientHello is here and names no host.
    Nameless,
    /// So far a ClientHello; the bytes end before the name or the end of the message.
    Partial,
    /// A ClientHello spread over several TLS records, or with more than [`EXTENSIONS_MAX`]
    /// extensions before the name. Allowed, rare, and left to user space.
    Unusual,
    /// Not a ClientHello, or one that contradicts itself.
    Foreign,
}

/// Extensions that are still to be looked at, the first of which begins at `at`; perhaps beyond the
/// bytes that are here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extensions {
    /// Offset of the next one.
    pub at: usize,
    /// Offset of the last one's end.
    pub end: usize,
}

/// Searches the TLS stream that begins at `at` and of which the bytes up to `end` have arrived.
#[inline(always)]
pub fn find<C: Cursor + ?Sized>(bytes: &C, at: usize, end: usize) -> Hello {
    match start(bytes, at, end) {
        Ok(mut extensions) => walk(bytes, &mut extensions, end),
        Err(answer) => answer,
    }
}

/// Finds the extensions of the ClientHello that begins at `at`, of which the bytes up to `end` have
/// arrived.
///
/// # Errors
/// The answer, when it does not depend on extensions; never [`Hello::Named`].
#[inline(always)]
pub fn start<C: Cursor + ?Sized>(bytes: &C, at: usize, end: usize) -> Result<Extensions, Hello> {
    search(&Arrived { bytes, end }, at).unwrap_or(Err(Hello::Partial))
}

/// Walks the extensions until the server name; the bytes up to `end` have arrived.
///
/// After [`Hello::Partial`] `extensions` says where to go on when more have.
#[inline(always)]
pub fn walk<C: Cursor + ?Sized>(bytes: &C, extensions: &mut Extensions, end: usize) -> Hello {
    extension(&Arrived { bytes, end }, extensions).unwrap_or(Hello::Partial)
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

    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        if at >= self.end || self.end - at < 2 {
            return None;
        }
        self.bytes.be16(at)
    }

    #[inline(always)]
    fn be32(&self, at: usize) -> Option<u32> {
        if at >= self.end || self.end - at < 4 {
            return None;
        }
        self.bytes.be32(at)
    }
}

/// `None` when the bytes that have arrived are used up before there is an answer.
#[inline(always)]
fn search<C: Cursor + ?Sized>(
    bytes: &Arrived<'_, C>,
    at: usize,
) -> Option<Result<Extensions, Hello>> {
    if bytes.u8(at)? != RECORD_HANDSHAKE || bytes.u8(at + 1)? != 3 {
        return Some(Err(Hello::Foreign));
    }
    let record_size = usize::from(bytes.be16(at + 3)?);
    let message = at + RECORD_HEADER_SIZE;
    let record_end = message + record_size;
    if record_size == 0 || bytes.u8(message)? != HANDSHAKE_CLIENT_HELLO {
        return Some(Err(Hello::Foreign));
    }
    if record_size < HANDSHAKE_HEADER_SIZE {
        return Some(Err(Hello::Unusual));
    }
    let body = message + HANDSHAKE_HEADER_SIZE;
    // At most 24 bits: none of the sums below comes near the end of a usize.
    let body_end = body + bytes.be24(message + 1)? as usize;
    if body_end > record_end {
        return Some(Err(Hello::Unusual));
    }

    let session = body + VERSION_AND_RANDOM_SIZE;
    let session_size = usize::from(bytes.u8(session)?);
    if session_size > SESSION_ID_SIZE_MAX {
        return Some(Err(Hello::Foreign));
    }
    let ciphers = session + 1 + session_size;
    let compressions = ciphers + 2 + usize::from(bytes.be16(ciphers)?);
    let extensions = compressions + 1 + usize::from(bytes.u8(compressions)?);
    // A hello from before extensions existed ends here.
    if extensions == body_end {
        return Some(Err(Hello::Nameless));
    }
    let extensions_end = extensions + 2 + usize::from(bytes.be16(extensions)?);
    if extensions_end != body_end {
        return Some(Err(Hello::Foreign));
    }
    Some(Ok(Extensions {
        at: extensions + 2,
        end: extensions_end,
    }))
}

/// `None` as above.
#[inline(always)]
fn extension<C: Cursor + ?Sized>(bytes: &C, extensions: &mut Extensions) -> Option<Hello> {
    let end = extensions.end;
    for _ in 0..EXTENSIONS_MAX {
        let at = extensions.at;
        if at == end {
            return Some(Hello::Nameless);
        }
        let head = bytes.be32(at)?;
        let size = (head & 0xffff) as usize;
        let data = at + 4;
        let next = data + size;
        if next > end {
            return Some(Hello::Foreign);
        }
        if head >> 16 == EXTENSION_SERVER_NAME {
            return name(bytes, data, size);
        }
        extensions.at = next;
    }
    Some(if extensions.at == end {
        Hello::Nameless
    } else {
        Hello::Unusual
    })
}

/// Reads the one name of a `server_name` extension. RFC 6066 would allow a list; clients send none,
/// and BoringSSL refuses it.
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

/// The key of the name that stands at `at`: letters in lower case, a dot at its end left out.
///
/// Two names with one key are possible, and then a connection is born on the wrong worker, which
/// hands it over: slower, not wrong. `None` when the name is longer than [`NAME_SIZE_MAX`] or not
/// all there.
#[inline(always)]
pub fn exact_key<C: Cursor + ?Sized>(bytes: &C, at: usize, size: usize) -> Option<u64> {
    let size = undotted(bytes, at, size)?;
    let mut key = key_start(size);
    for index in 0..WORDS_MAX {
        let done = index * WORD_SIZE;
        if done >= size {
            break;
        }
        key = key_step(key, bytes.word(at + done, word_size(size - done))?);
    }
    Some(key)
}

/// Bytes of the name's first label; `None` when it is empty, or the only one.
#[inline(always)]
pub fn first_label<C: Cursor + ?Sized>(bytes: &C, at: usize, size: usize) -> Option<usize> {
    let size = undotted(bytes, at, size)?;
    for index in 0..WORDS_MAX {
        let done = index * WORD_SIZE;
        if done >= size {
            return None;
        }
        let dots = dots(bytes.word(at + done, word_size(size - done))?);
        if dots != 0 {
            let label = done + dots.trailing_zeros() as usize / 8;
            return (label > 0).then_some(label);
        }
    }
    None
}

/// The key of the wildcard that covers the name: its first label, of `label` bytes
/// ([`first_label`]), replaced by `*`.
#[inline(always)]
pub fn wildcard_key<C: Cursor + ?Sized>(
    bytes: &C,
    at: usize,
    size: usize,
    label: usize,
) -> Option<u64> {
    let size = undotted(bytes, at, size)?.checked_sub(label)? + 1;
    // The label's last byte is where the asterisk would stand.
    let at = (at + label).checked_sub(1)?;
    let mut key = key_start(size);
    for index in 0..WORDS_MAX {
        let done = index * WORD_SIZE;
        if done >= size {
            break;
        }
        let word = bytes.word(at + done, word_size(size - done))?;
        let word = if index == 0 {
            word & !0xff | b'*' as u64
        } else {
            word
        };
        key = key_step(key, word);
    }
    Some(key)
}

/// The key under which a host is noted, from its canonical name; a wildcard is written with its `*`.
#[must_use]
pub const fn host_key(name: &str) -> u64 {
    let mut rest = name.as_bytes();
    let mut key = key_start(rest.len());
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(word_size(rest.len()));
        key = key_step(key, little_endian(word));
        rest = tail;
    }
    key
}

/// The key of the host that answers those who name none: that of the empty name, which no host has.
pub const NAMELESS_KEY: u64 = host_key("");

const WORD_SIZE: usize = 8;
const WORDS_MAX: usize = NAME_SIZE_MAX.div_ceil(WORD_SIZE);

/// The size of the name without the dot at its end.
#[inline(always)]
fn undotted<C: Cursor + ?Sized>(bytes: &C, at: usize, size: usize) -> Option<usize> {
    if size == 0 || size > NAME_SIZE_MAX {
        return None;
    }
    let last = bytes.u8(at + size - 1)?;
    Some(size - (ones_if_dot(last) & 1) as usize)
}

/// Bytes of the next word of a name of which so many are left.
#[inline(always)]
const fn word_size(left: usize) -> usize {
    if left < WORD_SIZE { left } else { WORD_SIZE }
}

/// Up to eight bytes as [`Cursor::word`] reads them.
const fn little_endian(mut bytes: &[u8]) -> u64 {
    let mut word = 0;
    while let [rest @ .., last] = bytes {
        word = word << 8 | *last as u64;
        bytes = rest;
    }
    word
}

/// The highest bit of the lowest byte that is a dot, and perhaps bits above it; 0 when none is.
#[inline(always)]
const fn dots(word: u64) -> u64 {
    let zeros = word ^ u64::from_ne_bytes([b'.'; 8]);
    zeros.wrapping_sub(u64::from_ne_bytes([1; 8])) & !zeros & u64::from_ne_bytes([0x80; 8])
}

/// Where the key of a name of so many bytes begins: names of different sizes may end in the same
/// word.
#[inline(always)]
const fn key_start(size: usize) -> u64 {
    0xcbf2_9ce4_8422_2325 ^ size as u64
}

/// Adds up to eight bytes: one step of a multiplicative hash (the multiplier of SplitMix64), the
/// same on both sides.
///
/// The bit that tells upper from lower case is set in every byte: in all the other characters a
/// host name has (digits, dot, hyphen, asterisk) it is set anyway, but for the underscore, whose
/// neighbour in this sense is no character at all.
#[inline(always)]
const fn key_step(key: u64, word: u64) -> u64 {
    const LOWER_CASE: u64 = u64::from_ne_bytes([0x20; 8]);
    let product = (key ^ (word | LOWER_CASE)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    product ^ product >> 32
}

/// All bits, if this is a dot; else none.
///
/// Arithmetic instead of a branch: after a branch on a byte the verifier knows its value on one
/// side, and follows both sides separately from there on.
#[inline(always)]
fn ones_if_dot(byte: u8) -> u64 {
    let difference = opaque(u64::from(byte ^ b'.'));
    (difference.wrapping_sub(1).cast_signed() >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests;
