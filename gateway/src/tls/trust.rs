//! What client certificates of a host are judged by: anchors and revocations.

use std::collections::HashSet;
use std::sync::Arc;

/// The UUID of a CA, managed or uploaded.
pub type CaId = Arc<str>;

/// One CA whose clients are believed.
pub struct Anchor {
    /// The CA's UUID.
    pub id: CaId,
    /// Its certificate in DER: a root or an issuing intermediate.
    pub der: Vec<u8>,
    /// Serial numbers that it has revoked, big-endian without leading zeros.
    pub revoked: Arc<HashSet<Box<[u8]>>>,
}

/// Why a CA set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A host that asks for certificates needs somebody to believe: it fails closed.
    #[error("the CA set is empty: a host whose mTLS mode is `request` or `require` needs at least one CA")]
    Empty,
    /// The bytes are not a certificate.
    #[error("CA {id}: not a certificate: {why}")]
    Unreadable {
        /// The CA.
        id: CaId,
        /// What the parser said.
        why: String,
    },
    /// basicConstraints or keyUsage say that it may not sign (RFC 5280 §4.2.1.9, §4.2.1.3).
    #[error("CA {id}: {subject} cannot sign certificates: {why}")]
    CannotSign {
        /// The CA.
        id: CaId,
        /// Its subject.
        subject: String,
        /// What is missing.
        why: &'static str,
    },
}

/// A compiled CA set with its revocations.
pub struct Trust {
}

impl Trust {
    /// Compiles a CA set.
    ///
    /// # Errors
    /// Any anchor that is unreadable or cannot sign refuses the whole set.
    pub fn build(_anchors: Vec<Anchor>) -> Result<Self, TrustError> {
        Ok(Self {})
    }
}
