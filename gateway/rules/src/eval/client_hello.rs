//! The ClientHello (RFC 8446 §4.1.2) as rules see it: length, random, hashes, JA3 and JA4.
//!
//! BoringSSL has accepted the message before it is read here; one that does not parse all the same
//! gives empty strings. JA4: <https://github.com/FoxIO-LLC/ja4>, JA3:
//! <https://github.com/salesforce/ja3>.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

const SERVER_NAME: u16 = 0x0000;
const SUPPORTED_GROUPS: u16 = 0x000a;
const EC_POINT_FORMATS: u16 = 0x000b;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const ALPN: u16 = 0x0010;
const SUPPORTED_VERSIONS: u16 = 0x002b;

/// Computed once per connection, when the first rule asks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Bytes of the message without its 4-byte header: 508 for a ClientHello padded to 512.
    pub(crate) length: i64,
    /// Base64.
    pub(crate) random: String,
    /// Base64 of the SHA-1 of the extension numbers as sent, big-endian.
    pub(crate) extensions_sha1: String,
    /// The same, little-endian.
    pub(crate) extensions_sha1_le: String,
    /// Base64 of the SHA-1 of the cipher suites as sent, big-endian.
    pub(crate) ciphers_sha1: String,
    /// Lower-case hex.
    pub(crate) ja3: String,
    /// `t13d1516h2_8daaf6152771_e5627efa2ab1`.
    pub(crate) ja4: String,
}

impl Hello {
    /// Reads a ClientHello without its handshake header.
    pub(crate) fn read(message: &[u8]) -> Self {
        let length = i64::try_from(message.len()).unwrap_or_default();
        let Some(parts) = Parts::read(message) else {
            return Self {
                length,
                ..Self::default()
            };
        };
        let mut big = Vec::with_capacity(parts.extensions.len() * 2);
        let mut little = Vec::with_capacity(parts.extensions.len() * 2);
        for extension in &parts.extensions {
            big.extend(extension.to_be_bytes());
            little.extend(extension.to_le_bytes());
        }
        Self {
            length,
            random: BASE64_STANDARD.encode(parts.random),
            extensions_sha1: BASE64_STANDARD.encode(digest::<Sha1>(&big)),
            extensions_sha1_le: BASE64_STANDARD.encode(digest::<Sha1>(&little)),
            ciphers_sha1: BASE64_STANDARD.encode(digest::<Sha1>(parts.cipher_bytes)),
            ja3: hex(&digest::<Md5>(parts.ja3().as_bytes())),
            ja4: parts.ja4(),
        }
    }
}

/// The lists that fingerprints are made of, GREASE (RFC 8701) included.
#[derive(Debug, Default)]
struct Parts<'m> {
    version: u16,
    random: &'m [u8],
    cipher_bytes: &'m [u8],
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    groups: Vec<u16>,
    formats: &'m [u8],
    signatures: Vec<u16>,
    versions: Vec<u16>,
    protocol: &'m [u8],
}

/// Reads big-endian integers and length-prefixed vectors from the front.
struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    fn bytes(&mut self, count: usize) -> Option<&'m [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<usize> {
        self.bytes(1)?.first().map(|byte| usize::from(*byte))
    }

    fn u16(&mut self) -> Option<u16> {
        let taken = self.bytes(2)?;
        taken.try_into().ok().map(u16::from_be_bytes)
    }

    /// Length in one byte.
    fn short(&mut self) -> Option<&'m [u8]> {
        let count = self.u8()?;
        self.bytes(count)
    }

    /// Length in two bytes.
    fn long(&mut self) -> Option<&'m [u8]> {
        let count = self.u16()?;
        self.bytes(count.into())
    }
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok())
        .map(u16::from_be_bytes)
        .collect()
}

impl<'m> Parts<'m> {
    fn read(message: &'m [u8]) -> Option<Self> {
        let mut reader = Reader(message);
        let mut parts = Self {
            version: reader.u16()?,
            random: reader.bytes(32)?,
            ..Self::default()
        };
        reader.short()?;
        parts.cipher_bytes = reader.long()?;
        parts.ciphers = numbers(parts.cipher_bytes);
        reader.short()?;
        if reader.0.is_empty() {
            return Some(parts);
        }
        let mut extensions = Reader(reader.long()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.long()?;
            parts.extensions.push(kind);
            let mut inner = Reader(content);
            match kind {
                SUPPORTED_GROUPS => parts.groups = numbers(inner.long().unwrap_or_default()),
                EC_POINT_FORMATS => parts.formats = inner.short().unwrap_or_default(),
                SIGNATURE_ALGORITHMS => {
                    parts.signatures = numbers(inner.long().unwrap_or_default())
                }
                SUPPORTED_VERSIONS => parts.versions = numbers(inner.short().unwrap_or_default()),
                ALPN => {
                    let mut protocols = Reader(inner.long().unwrap_or_default());
                    parts.protocol = protocols.short().unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(parts)
    }

    fn ja3(&self) -> String {
        let formats: Vec<u16> = self
            .formats
            .iter()
            .map(|format| u16::from(*format))
            .collect();
        let list = |numbers: &[u16]| {
            let numbers: Vec<String> = numbers
                .iter()
                .filter(|number| !is_grease(**number))
                .map(u16::to_string)
                .collect();
            numbers.join("-")
        };
        format!(
            "{},{},{},{},{}",
            self.version,
            list(&self.ciphers),
            list(&self.extensions),
            list(&self.groups),
            list(&formats)
        )
    }

    fn ja4(&self) -> String {
        let clean = |numbers: &[u16]| -> Vec<u16> {
            numbers.iter().copied().filter(|n| !is_grease(*n)).collect()
        };
        let hashed = |text: String| {
            if text.is_empty() {
                return "000000000000".to_owned();
            }
            hex(&digest::<Sha256>(text.as_bytes()))
                .chars()
                .take(12)
                .collect()
        };
        let version = clean(&self.versions)
            .into_iter()
            .max()
            .unwrap_or(self.version);
        let version = match version {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let name = if self.extensions.contains(&SERVER_NAME) {
            'd'
        } else {
            'i'
        };
        let mut ciphers = clean(&self.ciphers);
        let mut extensions = clean(&self.extensions);
        let (cipher_count, extension_count) = (ciphers.len().min(99), extensions.len().min(99));
        ciphers.sort_unstable();
        extensions.retain(|extension| !matches!(*extension, SERVER_NAME | ALPN));
        extensions.sort_unstable();
        let mut third = codes(&extensions);
        let signatures = clean(&self.signatures);
        if !third.is_empty() && !signatures.is_empty() {
            third.push('_');
            third.push_str(&codes(&signatures));
        }
        format!(
            "t{version}{name}{cipher_count:02}{extension_count:02}{}_{}_{}",
            ends(self.protocol),
            hashed(codes(&ciphers)),
            hashed(third)
        )
    }
}

/// First and last character of the protocol, or of its hexadecimal form.
fn ends(protocol: &[u8]) -> String {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else {
        return "00".into();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)].iter().collect();
    }
    let digits = hex(protocol);
    digits
        .chars()
        .next()
        .into_iter()
        .chain(digits.chars().next_back())
        .collect()
}

fn codes(numbers: &[u16]) -> String {
    let mut text = String::with_capacity(numbers.len() * 5);
    for number in numbers {
        let separator = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _written = write!(text, "{separator}{number:04x}");
    }
    text
}

/// Reserved values that clients send to keep servers honest (RFC 8701).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn digest<D: Digest>(bytes: &[u8]) -> Vec<u8> {
    D::digest(bytes).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::client_hello::example;

    #[test]
    fn ja4_of_the_specification() {
        assert_eq!(
            Hello::read(&example()).ja4,
            "t13d1516h2_8daaf6152771_e5627efa2ab1"
        );
    }

    #[test]
    fn ja3_of_the_specification() {
        let parts = Parts {
            version: 769,
            ciphers: vec![47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
            extensions: vec![0, 10, 11],
            groups: vec![23, 24, 25],
            formats: &[0],
            ..Parts::default()
        };
        assert_eq!(
            parts.ja3(),
            "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0"
        );
        let hashed = hex(&digest::<Md5>(parts.ja3().as_bytes()));
        assert_eq!(hashed, "ada70206e40642a3e4461f35503241d5");
    }

    #[test]
    fn every_prefix_is_read_without_harm() {
        let message = example();
        for end in 0..message.len() {
            let hello = Hello::read(&message[..end]);
            assert_eq!(hello.length, i64::try_from(end).unwrap());
        }
        assert_eq!(
            Hello::read(&message).random,
            BASE64_STANDARD.encode([7; 32])
        );
    }

    #[test]
    fn protocols_outside_letters_and_digits() {
        for (protocol, expected) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"", "00"),
            (b"x", "xx"),
            (b"\xab\xcd", "ad"),
            (b"h\xff", "6f"),
        ] {
            assert_eq!(ends(protocol), expected, "{protocol:?}");
        }
    }
}
