//! Heads and entries as etcd has them: a line of JSON, which a person can read with `etcdctl`, and behind
//! an entry's line its bytes, unless those are in parts of their own.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::limits::ENTRY_BYTES_MAX;

/// The form of what is written here. An edge that finds another one goes on with what it has.
pub(crate) const FORMAT: u32 = 1;

/// A digest of everything that led to a revision: SHA-256 of the digest before it, the revision, and the
/// entry's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Where a log begins.
    pub const NONE: Self = Self([0; 32]);

    /// The digest after one more entry.
    #[must_use]
    pub fn then(&self, revision: u64, bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(revision.to_be_bytes());
        hash.update(bytes);
        Self(hash.finalize().into())
    }

    /// As an edge keeps it beside its store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits as bytes.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let is_digit = |digit: &u8| digit.is_ascii_hexdigit();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(is_digit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(byte).collect()
}

/// Bytes that are written as digits.
pub(crate) mod digits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        super::unhex(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal digits"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unhex(&text).and_then(|bytes| bytes.try_into().ok());
        let wrong = || serde::de::Error::custom("a digest has 64 hexadecimal digits");
        bytes.map(Self).ok_or_else(wrong)
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The last revision.
    pub revision: u64,
    /// All that led to it.
    pub digest: Digest,
}

impl Head {
    /// Before the first entry of all.
    pub const NONE: Self = Self {
        revision: 0,
        digest: Digest::NONE,
    };

    /// The head after one more entry.
    #[must_use]
    pub fn then(&self, bytes: &[u8]) -> Self {
        let revision = self.revision + 1;
        Self {
            revision,
            digest: self.digest.then(revision, bytes),
        }
    }
}

/// What is said of an entry, before its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryHead {
    pub(crate) format: u32,
    /// Which edge added it.
    pub(crate) edge: String,
    /// When, in milliseconds since 1970, by that edge's clock.
    pub(crate) at: u64,
    /// Tells it from every other entry that was ever written, added or not.
    pub(crate) id: String,
    /// The digest that it leads to.
    pub(crate) digest: Digest,
    pub(crate) bytes: usize,
    /// How many parts have its bytes; 0 when they follow at once.
    pub(crate) parts: usize,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which edge added it.
    pub edge: String,
    /// When, in milliseconds since 1970, by that edge's clock.
    pub at: u64,
    /// The log's head with it.
    pub head: Head,
    /// What the change wrote.
    pub bytes: Bytes,
}

/// Why something in etcd cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not what is written here.
    #[error("what etcd has at {key} cannot be read: {why}")]
    Malformed {
        /// Where.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Another version of Postern has written it.
    #[error(
        "what etcd has at {key} has form {found}, this version knows {FORMAT}: upgrade this edge"
    )]
    Format {
        /// Where.
        key: String,
        /// The form that it has.
        found: u32,
    },
}

impl RecordError {
    pub(crate) fn malformed(key: &str, why: impl fmt::Display) -> Self {
        Self::Malformed {
            key: key.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Any record says its form, in this place.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHead {
    format: u32,
    revision: u64,
    digest: Digest,
}

pub(crate) fn check_form(key: &str, json: &[u8]) -> Result<(), RecordError> {
    let form: Form =
        serde_json::from_slice(json).map_err(|why| RecordError::malformed(key, why))?;
    if form.format == FORMAT {
        return Ok(());
    }
    Err(RecordError::Format {
        key: key.to_owned(),
        found: form.format,
    })
}

/// A head as a value. The same head has the same bytes: they are compared.
pub(crate) fn write_head(head: &Head) -> Vec<u8> {
    let Head { revision, digest } = *head;
    format!("{{\"format\":{FORMAT},\"revision\":{revision},\"digest\":\"{digest}\"}}").into_bytes()
}

pub(crate) fn read_head(key: &str, value: &[u8]) -> Result<Head, RecordError> {
    check_form(key, value)?;
    let stored: StoredHead =
        serde_json::from_slice(value).map_err(|why| RecordError::malformed(key, why))?;
    Ok(Head {
        revision: stored.revision,
        digest: stored.digest,
    })
}

/// An entry as a value; `inline` when its bytes are not in parts.
pub(crate) fn write_entry(head: &EntryHead, inline: &[u8]) -> Vec<u8> {
    let mut value = serde_json::to_vec(head).unwrap_or_default();
    value.push(b'\n');
    value.extend(inline);
    value
}

/// What an entry says of itself, and its bytes when they follow.
pub(crate) fn read_entry<'v>(
    key: &str,
    value: &'v [u8],
) -> Result<(EntryHead, &'v [u8]), RecordError> {
    let end = value.iter().position(|byte| *byte == b'\n');
    let (line, inline) = end
        .and_then(|end| value.split_at_checked(end))
        .ok_or_else(|| RecordError::malformed(key, "its line does not end"))?;
    let inline = inline.get(1..).unwrap_or_default();
    check_form(key, line)?;
    let head: EntryHead =
        serde_json::from_slice(line).map_err(|why| RecordError::malformed(key, why))?;
    if head.bytes > ENTRY_BYTES_MAX {
        return Err(RecordError::malformed(
            key,
            "it is larger than any entry may be",
        ));
    }
    if head.parts == 0 && head.bytes != inline.len() || head.parts > 0 && !inline.is_empty() {
        return Err(RecordError::malformed(
            key,
            "it has other bytes than it says",
        ));
    }
    Ok((head, inline))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_head() -> EntryHead {
        EntryHead {
            format: FORMAT,
            edge: "a".into(),
            at: 1,
            id: "i".into(),
            digest: Digest::NONE.then(1, b"x"),
            bytes: 3,
            parts: 0,
        }
    }

    #[test]
    fn heads_are_read_back_and_nothing_else_is() {
        let head = Head {
            revision: 7,
            digest: Digest::NONE,
        }
        .then(b"abc");
        assert_eq!(head.revision, 8);
        let value = write_head(&head);
        assert_eq!(read_head("k", &value), Ok(head));
        for length in 0..value.len() {
            let cut = read_head("k", &value[..length]);
            assert!(
                matches!(cut, Err(RecordError::Malformed { .. })),
                "{length}"
            );
        }
        let newer = String::from_utf8(value).unwrap();
        let newer = newer.replace("\"format\":1", "\"format\":2,\"what\":0");
        let found = read_head("k", newer.as_bytes());
        assert_eq!(
            found,
            Err(RecordError::Format {
                key: "k".into(),
                found: 2
            })
        );
    }

    #[test]
    fn entries_are_read_back_and_nothing_else_is() {
        let head = entry_head();
        let value = write_entry(&head, b"a\nb");
        assert_eq!(read_entry("k", &value), Ok((head.clone(), &b"a\nb"[..])));
        for length in 0..value.len() {
            assert!(read_entry("k", &value[..length]).is_err(), "{length}");
        }
        let in_parts = EntryHead { parts: 2, ..head };
        let value = write_entry(&in_parts, b"");
        assert_eq!(read_entry("k", &value), Ok((in_parts.clone(), &b""[..])));
        assert!(read_entry("k", &write_entry(&in_parts, b"x")).is_err());
        let large = EntryHead {
            bytes: ENTRY_BYTES_MAX + 1,
            ..in_parts
        };
        assert!(read_entry("k", &write_entry(&large, b"")).is_err());
    }

    #[test]
    fn a_digest_tells_order_and_content() {
        let one = Digest::NONE.then(1, b"a").then(2, b"b");
        assert_eq!(one, Digest::NONE.then(1, b"a").then(2, b"b"));
        for other in [
            Digest::NONE.then(1, b"b").then(2, b"a"),
            Digest::NONE.then(1, b"a"),
            Digest::NONE.then(1, b"a").then(3, b"b"),
            Digest::NONE.then(1, b"ab"),
        ] {
            assert_ne!(one, other);
        }
    }
}
