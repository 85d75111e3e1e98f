//! TLS towards origins: always verified, the name always checked.
//!
//! There is no switch to turn verification off. Does no I/O.

use std::fmt;

use boring::error::ErrorStack;
use boring::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;

use super::algorithms::PEER_ALGORITHMS;

/// What is offered to an origin in ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2 rather than HTTP/1.1.
    Either,
    /// HTTP/1.1 only: what a WebSocket upgrade needs.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// How to speak TLS to one origin.
#[derive(Clone)]
pub struct OriginTls {
    context: SslContext,
    name: Box<str>,
}

impl fmt::Debug for OriginTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginTls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why TLS to an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OriginTlsError {
    /// The CA bundle is not PEM certificates, or empty.
    #[error("the origin's CA bundle cannot be read: {0}")]
    Bundle(String),
    /// BoringSSL would not take the settings.
    #[error("TLS to the origin cannot be set up: {0}")]
    Context(#[from] ErrorStack),
}

impl OriginTls {
    /// Builds a client context. `ca_pem` has the CAs that may have signed the origin's certificate;
    /// `server_name` is what the certificate must be for.
    ///
    /// # Errors
    /// The bundle is unreadable.
    pub fn build(server_name: &str, ca_pem: &[u8]) -> Result<Self, OriginTlsError> {
        let mut builder = SslContextBuilder::new(SslMethod::tls())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_verify_algorithm_prefs(&PEER_ALGORITHMS)?;
        builder.set_verify(SslVerifyMode::PEER);
        let certificates = X509::stack_from_pem(ca_pem)
            .map_err(|error| OriginTlsError::Bundle(error.to_string()))?;
        if certificates.is_empty() {
            return Err(OriginTlsError::Bundle("no certificate in it".into()));
        }
        let mut store = X509StoreBuilder::new()?;
        for certificate in &certificates {
            store.add_cert(certificate)?;
        }
        builder.set_cert_store_builder(store);
        Ok(Self {
            context: builder.build(),
            name: server_name.into(),
        })
    }

    /// A fresh connection that offers `alpn` and will check the name.
    pub(super) fn start(&self, alpn: Alpn) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_alpn_protos(match alpn {
            Alpn::Either => b"\x02h2\x08http/1.1",
            Alpn::Http1 => b"\x08http/1.1",
            Alpn::Http2 => b"\x02h2",
        })?;
        match self.name.parse() {
            Ok(address) => ssl.verify_param_mut().set_ip(address)?,
            Err(_) => {
                ssl.set_hostname(&self.name)?;
                ssl.verify_param_mut().set_host(&self.name)?;
            }
        }
        Ok(ssl)
    }
}
