//! One host's TLS: certificate, key, protocol settings.

use std::sync::Arc;

use super::Trust;
use crate::hostname::HostName;
use crate::snapshot::MtlsMode;

/// What a [`Site`] is built from.
pub struct SiteSpec<'a> {
    /// The host, for messages and the session-id context.
    pub host: &'a HostName,
    /// Certificate chain in PEM, leaf first.
    pub chain_pem: &'a [u8],
    /// The leaf's private key in PEM (PKCS#8, SEC 1 or PKCS#1).
    pub key_pem: &'a [u8],
    /// Whether clients are asked for a certificate.
    pub mtls: MtlsMode,
    /// What they are judged by.
    pub trust: &'a Arc<Trust>,
}

/// Why a host's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The chain is not PEM certificates, or empty.
    #[error("host {host}: the certificate chain cannot be read: {why}")]
    Chain {
        /// The host.
        host: HostName,
        /// What is wrong.
        why: String,
    },
    /// The key is not a private key, or is not the leaf's.
    #[error("host {host}: the private key cannot be used: {why}")]
    Key {
        /// The host.
        host: HostName,
        /// What is wrong.
        why: String,
    },
}

/// A host's TLS, ready to be given to connections.
pub struct Site {
    /// Whether clients are asked for a certificate.
    pub mtls: MtlsMode,
}

impl Site {
    /// Builds the context of one host.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub fn build(spec: &SiteSpec<'_>) -> Result<Self, SiteError> {
        Ok(Self { mtls: spec.mtls })
    }
}
