//! What certificates and CAs are known by.
//!
//! Owns the identities that trust, paths, lists and answers share, so that none of them depends on
//! another for a name.

use std::sync::Arc;

use boring::error::ErrorStack;
use boring::hash::{MessageDigest, hash};

/// The UUID of a CA, managed or uploaded.
pub type CaId = Arc<str>;

/// One certificate of a path and who signed it.
#[derive(Debug)]
pub(super) struct Link {
    /// SHA-256 of the issuer's certificate.
    pub(super) issuer: [u8; 32],
    /// [`name_and_key`](super::path::name_and_key) of the issuer's certificate.
    pub(super) issuer_key: [u8; 32],
    /// Big-endian, without leading zeros.
    pub(super) serial: Box<[u8]>,
    /// Whether it is a CA itself.
    pub(super) is_ca: bool,
    /// URIs where its revocation would be published.
    pub(super) distribution_points: Box<[Box<str>]>,
}

/// SHA-256 by BoringSSL.
pub(super) fn sha256(bytes: &[u8]) -> Result<[u8; 32], ErrorStack> {
    let digest = hash(MessageDigest::sha256(), bytes)?;
    let mut out = [0; 32];
    out.copy_from_slice(&digest);
    Ok(out)
}
