//! What a control plane wants of the log that a fleet shares. Whoever keeps it implements this.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::hex::hex;

/// Bytes of the digest of a log.
pub const DIGEST_BYTES: usize = 32;

/// A place in the log: the revision, and a digest of all that led there.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The revision of the store.
    pub revision: u64,
    /// Tells this log from every other one that has the revision, too.
    #[serde(with = "digest_text")]
    pub digest: [u8; DIGEST_BYTES],
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = hex(&self.digest);
        write!(
            f,
            "{}/{}",
            self.revision,
            digest.get(..12).unwrap_or(&digest)
        )
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A digest as hexadecimal digits.
mod digest_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::DIGEST_BYTES;
    use crate::model::hex::{hex, unhex};

    pub(super) fn serialize<S: Serializer>(
        digest: &[u8; DIGEST_BYTES],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; DIGEST_BYTES], D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).ok_or_else(|| D::Error::custom("64 hexadecimal digits are expected"))
    }
}

/// Entries that follow a place, in their order; empty when none does.
#[derive(Debug)]
pub struct News {
    /// Each with the place behind it. Not all that there are, when those are many.
    pub entries: Vec<(Mark, Vec<u8>)>,
    /// The end of the log.
    pub head: Mark,
    /// Whether another edge goes first with a change: what it waits for is asked again, once these entries are taken.
    pub turn: bool,
}

/// The log of a fleet.
pub trait Ledger: Send + Sync {
    /// Adds an entry behind `after`, when that is the end of the log, and answers the new end. When this
    /// returns, the entry survives whatever becomes of this machine. It waits within a bound: other
    /// changes wait meanwhile.
    ///
    /// # Errors
    /// See [`LedgerError`].
    fn append(&self, after: Mark, entry: Vec<u8>) -> Result<Mark, LedgerError>;

    /// What follows `known`, and no older an answer than this moment's. It waits within a bound.
    ///
    /// # Errors
    /// See [`LedgerError`].
    fn after(&self, known: Mark) -> Result<News, LedgerError>;
}

/// Why the log does not do what is asked. Texts are for those who asked for a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Another edge was first.
    #[error(
        "other edges of the fleet change it all the time, and this change never came first: nothing was \
         changed; try again"
    )]
    Moved,
    /// It cannot be asked. Nothing was added.
    #[error(
        "the fleet's etcd cannot be asked ({0}): nothing was changed. This gateway goes on with what it \
         has; certificates can be revoked and denied on it alone with --local"
    )]
    Away(String),
    /// It was asked, and whether the entry was added is not known.
    #[error(
        "the answer of the fleet's etcd was lost ({0}): whether the change was made will be seen when it \
         answers again"
    )]
    Unknown(String),
    /// The entry is too large.
    #[error("the change is {bytes} bytes large, and a fleet takes {max} at once: make it in parts")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// What follows is not there any more.
    #[error(
        "this edge is so far behind its fleet that it has to take a whole copy first: nothing was \
         changed; try again in a moment"
    )]
    Behind,
    /// It is not the log that was followed.
    #[error(
        "{0}. Nothing was changed, and this gateway goes on with what it has. `postern fleet status` \
         says more"
    )]
    Another(String),
}
