//! Whether a block of compressed headers can be decompressed at all (RFC 7541).
//!
//! h2 decompresses; this is for the moment after it has failed, to tell a peer whose compression is
//! broken (RFC 9113 §4.3) from one whose fields are not allowed, which h2 does not say. Without the
//! table of the connection it does not decompress, but walks.

use http::header::{HeaderName, HeaderValue};

/// Entries of the static table.
const STATIC: usize = 61;
/// Bytes of the dynamic table; each entry counts for 32 and more.
const TABLE_BYTES: usize = 4_096;
/// Entries that an index can mean at the most.
const INDEX_MAX: usize = STATIC + TABLE_BYTES / 32;
/// The longest that a code is.
const CODE_BITS_MAX: u8 = 30;
const END_OF_STRING: usize = 256;
/// Bits of the code of each byte, and of the end of a string (RFC 7541, appendix B). The code is
/// canonical: these say all of it.
const CODE_BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// What keeps a block from being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be decompressed.
    Compression,
    /// It can be, as far as that can be seen; what is in it may not be.
    Content,
}

/// What is wrong with a block that was not taken.
#[must_use]
pub fn fault(block: &[u8]) -> Fault {
    let mut walk = Walk(block);
    match walk.all() {
        Ok(()) => Fault::Content,
        Err(fault) => fault,
    }
}

struct Walk<'b>(&'b [u8]);

impl<'b> Walk<'b> {
    fn all(&mut self) -> Result<(), Fault> {
        let (mut has_fields, mut asks_table) = (false, false);
        while let Some(first) = self.0.first().copied() {
            if first & 0xe0 == 0x20 {
                if has_fields || self.integer(5)? > TABLE_BYTES {
                    return Err(Fault::Compression);
                }
                continue;
            }
            has_fields = true;
            if first & 0x80 != 0 {
                let index = self.index(7)?;
                if index == 0 {
                    return Err(Fault::Compression);
                }
                asks_table |= index > STATIC;
                continue;
            }
            let name = self.index(if first & 0x40 != 0 { 6 } else { 4 })?;
            asks_table |= name > STATIC;
            let name = if name == 0 {
                Some(self.string()?)
            } else {
                None
            };
            let value = self.string()?;
            let name_is_good = name
                .is_none_or(|name| is_pseudo(&name) || HeaderName::from_lowercase(&name).is_ok());
            if !name_is_good || HeaderValue::from_bytes(&value).is_err() {
                return Err(Fault::Content);
            }
        }
        // All else was right: an entry is meant that is not there.
        if asks_table {
            Err(Fault::Compression)
        } else {
            Ok(())
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.0.split_first().ok_or(Fault::Compression)?;
        self.0 = rest;
        Ok(*first)
    }

    fn index(&mut self, prefix: u8) -> Result<usize, Fault> {
        let index = self.integer(prefix)?;
        if index > INDEX_MAX {
            return Err(Fault::Compression);
        }
        Ok(index)
    }

    /// RFC 7541 §5.1.
    fn integer(&mut self, prefix: u8) -> Result<usize, Fault> {
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let next = self.byte()?;
            value += usize::from(next & 0x7f) << shift;
            if next & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Compression)
    }

    /// RFC 7541 §5.2.
    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let is_coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Fault::Compression)?;
        self.0 = rest;
        if is_coded {
            decode(string)
        } else {
            Ok(string.to_vec())
        }
    }
}

fn is_pseudo(name: &[u8]) -> bool {
    [
        &b":authority"[..],
        b":method",
        b":scheme",
        b":path",
        b":protocol",
        b":status",
    ]
    .contains(&name)
}

/// Undoes the Huffman code.
fn decode(coded: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut decoded = Vec::new();
    let (mut code, mut bits, mut ones) = (0_u32, 0_u8, true);
    for byte in coded {
        for bit in (0..8).rev() {
            let bit = byte >> bit & 1;
            code = code << 1 | u32::from(bit);
            bits += 1;
            ones &= bit == 1;
            match symbol(code, bits) {
                Some(END_OF_STRING) => return Err(Fault::Compression),
                Some(symbol) => {
                    decoded.push(u8::try_from(symbol).map_err(|_beyond| Fault::Compression)?);
                    (code, bits, ones) = (0, 0, true);
                }
                None if bits >= CODE_BITS_MAX => return Err(Fault::Compression),
                None => {}
            }
        }
    }
    // What is left is the beginning of the end of a string, shorter than a byte.
    if bits > 7 || !ones {
        return Err(Fault::Compression);
    }
    Ok(decoded)
}

/// Of each length in bits: the first code, and how many there are. The code is canonical: codes of one
/// length follow each other, and those of the next begin behind them.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler works it out: what is out of bounds does not build"
)]
const LENGTHS: [(u32, u32); CODE_BITS_MAX as usize + 1] = {
    let mut lengths = [(0, 0); CODE_BITS_MAX as usize + 1];
    let mut symbol = 0;
    while symbol < CODE_BITS.len() {
        lengths[CODE_BITS[symbol] as usize].1 += 1;
        symbol += 1;
    }
    let mut bits = 1;
    while bits < lengths.len() {
        lengths[bits].0 = (lengths[bits - 1].0 + lengths[bits - 1].1) << 1;
        bits += 1;
    }
    lengths
};

/// The symbol with this code, if there is one.
fn symbol(code: u32, bits: u8) -> Option<usize> {
    let (first, count) = *LENGTHS.get(usize::from(bits))?;
    let place = code.checked_sub(first).filter(|place| *place < count)?;
    let place = usize::try_from(place).ok()?;
    let mut of_length = (0..CODE_BITS.len()).filter(|at| CODE_BITS.get(*at) == Some(&bits));
    of_length.nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_can_be_decompressed() {
        for (coded, expected) in [
            (
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"", ""),
        ] {
            assert_eq!(decode(coded).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn faults_are_told_apart() {
        for (what, block, expected) in [
            ("nothing", &b""[..], Fault::Content),
            ("whole", b"\x82\x87\x84", Fault::Content),
            ("capitals", b"\x82\x00\x03FOO\x01a", Fault::Content),
            (
                "capitals before the end",
                b"\x00\x03FOO\x01a\xff",
                Fault::Content,
            ),
            (
                "a line end in a value",
                b"\x00\x01a\x02\x0d\x0a",
                Fault::Content,
            ),
            (
                "an unknown pseudo-header",
                b"\x00\x02:x\x01a",
                Fault::Content,
            ),
            ("index nought", b"\x80", Fault::Compression),
            ("no such entry", b"\x82\xbe", Fault::Compression),
            ("no such name", b"\x7e\x01a", Fault::Compression),
            ("beyond any table", b"\xff\xff\x01", Fault::Compression),
            (
                "an endless number",
                b"\xff\xff\xff\xff\xff\xff\x7f",
                Fault::Compression,
            ),
            ("a number without its end", b"\xff", Fault::Compression),
            (
                "a string without its end",
                b"\x00\x05abc",
                Fault::Compression,
            ),
            ("a table too large", b"\x3f\xe2\x1f", Fault::Compression),
            ("a table changed too late", b"\x82\x20", Fault::Compression),
            (
                "padding of a byte",
                b"\x00\x01a\x82\x07\xff",
                Fault::Compression,
            ),
            (
                "padding of noughts",
                b"\x00\x01a\x81\x18",
                Fault::Compression,
            ),
            (
                "an end in a string",
                b"\x00\x01a\x84\xff\xff\xff\xff",
                Fault::Compression,
            ),
        ] {
            assert_eq!(fault(block), expected, "{what}");
        }
    }

    #[test]
    fn nothing_makes_it_panic_or_run_for_ever() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                u8::try_from(state >> 56).unwrap()
            };
            let length = usize::from(next() % 24);
            let block: Vec<u8> = (0..length).map(|_| next()).collect();
            let found = fault(&block);
            assert!(matches!(found, Fault::Compression | Fault::Content));
        }
    }
}
