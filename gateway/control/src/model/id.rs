//! Identifiers: 32 hex characters for zones, rulesets, rules and the account; UUIDs for certificates
//! and CAs (the two shapes of Cloudflare's API).
//!
//! Owns their text and binary forms, and their generation from BoringSSL's random numbers. Does not
//! know what they name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of either form.
pub(crate) const ID_BYTES: usize = 16;

/// A text that is not an identifier of the wanted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier: {wanted}")]
pub struct IdError {
    text: String,
    wanted: &'static str,
}

/// Sixteen random bytes, from the same generator that makes keys.
///
/// # Panics
/// Never: BoringSSL's generator aborts the process itself rather than answer without entropy.
fn random() -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    boring::rand::rand_bytes(&mut bytes).expect("BoringSSL's generator cannot fail");
    bytes
}

fn unhex(digits: impl Iterator<Item = u8>) -> Option<[u8; ID_BYTES]> {
    let mut bytes = [0_u8; ID_BYTES];
    let mut count = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        let byte = bytes.get_mut(count / 2)?;
        *byte = (*byte << 4) | value;
        count += 1;
    }
    (count == ID_BYTES * 2).then_some(bytes)
}

struct Hex([u8; ID_BYTES * 2]);

impl Hex {
    fn as_str(&self) -> Result<&str, fmt::Error> {
        str::from_utf8(&self.0).map_err(|_not_ascii| fmt::Error)
    }
}

/// All digits at once: an answer with 100,000 rules has 200,000 identifiers.
fn hex(bytes: &[u8; ID_BYTES]) -> Hex {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    let mut text = [0; ID_BYTES * 2];
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 0x0f)];
    }
    Hex(text)
}

/// 32 lower-case hex characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; ID_BYTES]);

/// A random (version 4) UUID, RFC 9562 §5.4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; ID_BYTES]);

impl Id {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// The key under which the store keeps it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }
}

impl Uuid {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = random();
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The key under which the store keeps it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(hex(&self.0).as_str()?)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex(&self.0);
        let digits = digits.as_str()?;
        let mut from = 0;
        for (to, end) in [(8, "-"), (12, "-"), (16, "-"), (20, "-"), (32, "")] {
            f.write_str(digits.get(from..to).ok_or(fmt::Error)?)?;
            f.write_str(end)?;
            from = to;
        }
        Ok(())
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        unhex(text.bytes()).map(Self).ok_or_else(|| IdError {
            text: text.chars().take(64).collect(),
            wanted: "32 hexadecimal characters are",
        })
    }
}

impl FromStr for Uuid {
    type Err = IdError;

    /// Accepts the form without hyphens too: some of Cloudflare's clients drop them.
    fn from_str(text: &str) -> Result<Self, IdError> {
        unhex(text.bytes().filter(|byte| *byte != b'-'))
            .map(Self)
            .ok_or_else(|| IdError {
                text: text.chars().take(64).collect(),
                wanted: "a UUID such as 2458ce5a-0c35-4c7f-82c7-8e9487d3ff60 is",
            })
    }
}

macro_rules! text_forms {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text_forms!(Id Uuid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = Id::random();
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        let uuid = Uuid::random();
        let text = uuid.to_string();
        assert_eq!(
            (text.len(), text.as_bytes()[14], text.as_bytes()[8]),
            (36, b'4', b'-')
        );
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_eq!(text.parse::<Uuid>().unwrap(), uuid);
        assert_eq!(
            text.replace('-', "")
                .to_uppercase()
                .parse::<Uuid>()
                .unwrap(),
            uuid
        );
        assert_ne!(Id::random(), Id::random());
        let bytes = [
            0, 1, 0x9a, 0xbc, 0xde, 0xff, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        ];
        let shown = (
            Id::from_bytes(bytes).to_string(),
            Uuid::from_bytes(bytes).to_string(),
        );
        assert_eq!(shown.0, "00019abcdeff0708090a0b0c0d0e0f10");
        assert_eq!(shown.1, "00019abc-deff-0708-090a-0b0c0d0e0f10");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "0",
            "g".repeat(32).as_str(),
            "é",
            &"0".repeat(31),
            &"0".repeat(33),
        ] {
            assert!(text.parse::<Id>().is_err(), "{text:?}");
            assert!(text.parse::<Uuid>().is_err(), "{text:?}");
        }
    }
}
