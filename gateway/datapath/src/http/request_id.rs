//! Request ids: the same in the access log, at the origin and in the client's answer.
//!
//! Unique, not secret: a worker's random start and a count, mixed so that ids look unalike.

use std::cell::{Cell, RefCell};

use bytes::{BufMut as _, BytesMut};
use http::HeaderValue;

use crate::limits::ID_BLOCK_BYTES;

/// Makes a worker's request ids.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    count: Cell<u64>,
    /// What the values of headers are parts of.
    block: RefCell<BytesMut>,
}

impl RequestIds {
    /// Starts at a place that no other worker, and no earlier run, has.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, boring::error::ErrorStack> {
        let mut seed = [0; 8];
        boring::rand::rand_bytes(&mut seed)?;
        Ok(Self {
            prefix: u64::from_ne_bytes(seed),
            count: Cell::new(0),
            block: RefCell::default(),
        })
    }

    /// An id as the value of a header, many of them in one block of memory.
    ///
    /// HPACK does not index it (RFC 7541 §6.2.3): nobody says it again, and in the table of a connection
    /// it would push out what everybody says, and be compared with each that comes after it.
    pub fn header(&self, id: RequestId) -> HeaderValue {
        let mut block = self.block.borrow_mut();
        if block.capacity() < id.0.len() {
            block.reserve(ID_BLOCK_BYTES);
        }
        block.put_slice(&id.0);
        let value = HeaderValue::from_maybe_shared(block.split().freeze());
        let mut value = value.unwrap_or_else(|_never| id.to_header());
        value.set_sensitive(true);
        value
    }

    /// The next id: 32 lower-case hex characters.
    pub fn next(&self) -> RequestId {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let id = (u128::from(self.prefix) << 64) | u128::from(mixed(count ^ self.prefix));
        let mut text = [0; 32];
        for (index, digit) in text.iter_mut().enumerate() {
            let nibble = (id >> (124 - 4 * index)) & 15;
            *digit = HEX
                .get(usize::try_from(nibble).unwrap_or_default())
                .copied()
                .unwrap_or(b'0');
        }
        RequestId(text)
    }
}

/// SplitMix64's finaliser: a bijection, so distinct counts stay distinct.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One request's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As bytes; never all zero.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        let id = u128::from_str_radix(self.as_str(), 16);
        id.unwrap_or_default().max(1).to_be_bytes()
    }

    /// What tells it apart from others of its worker.
    #[must_use]
    pub fn number(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// As a header value.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_hex() {
        let ids = RequestIds::new().unwrap();
        let all: std::collections::HashSet<String> =
            (0..1_000).map(|_| ids.next().as_str().to_owned()).collect();
        assert_eq!(all.len(), 1_000);
        assert!(
            all.iter()
                .all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        );
        let id = ids.next();
        let header = ids.header(id);
        assert_eq!(header, id.as_str());
        assert!(header.is_sensitive(), "no table keeps it");
    }
}
