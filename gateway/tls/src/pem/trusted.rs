//! What OpenSSL writes behind the certificate of a `TRUSTED CERTIFICATE` block: for what it is
//! trusted (`X509_CERT_AUX`). A certificate that somebody has marked as not to be trusted is not.

use crate::der::{DerError, Reader, tag};

/// id-kp-clientAuth (RFC 5280 §4.2.1.12).
pub(super) const CLIENTS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
/// id-kp-serverAuth.
pub(super) const SERVERS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// anyExtendedKeyUsage.
const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// Purposes as the content of object identifiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TrustSettings {
    /// Empty for all.
    allowed: Vec<Vec<u8>>,
    rejected: Vec<Vec<u8>>,
}

impl TrustSettings {
    pub(super) fn read(der: &[u8]) -> Result<Self, DerError> {
        let mut settings = Self::default();
        if der.is_empty() {
            return Ok(settings);
        }
        let mut outer = Reader::new(der);
        let mut reader = Reader::new(outer.expect(tag::SEQUENCE, "trust settings")?);
        outer.end("bytes follow the trust settings")?;
        if let Some(content) = reader.optional(tag::SEQUENCE)? {
            settings.allowed = purposes(content)?;
        }
        if let Some(content) = reader.optional(tag::CONTEXT_0)? {
            settings.rejected = purposes(content)?;
        }
        // An alias, a key identifier, and what nobody writes.
        while !reader.is_empty() {
            reader.any()?;
        }
        Ok(settings)
    }

    pub(super) fn allow(&self, purpose: &[u8]) -> bool {
        let has = |all: &[Vec<u8>]| all.iter().any(|one| one == purpose || one == ANY);
        !has(&self.rejected) && (self.allowed.is_empty() || has(&self.allowed))
    }
}

fn purposes(content: &[u8]) -> Result<Vec<Vec<u8>>, DerError> {
    let mut reader = Reader::new(content);
    let mut found = Vec::new();
    while !reader.is_empty() {
        found.push(reader.expect(tag::OBJECT, "a purpose")?.to_vec());
    }
    Ok(found)
}
