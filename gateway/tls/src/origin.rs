//! TLS towards origins: always verified, the name always checked.
//!
//! There is no switch to turn verification off. Does no I/O.

use std::fmt;
use std::net::IpAddr;

use boring::error::ErrorStack;
use boring::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode};
use boring::x509::store::X509StoreBuilder;
use boring::x509::verify::X509CheckFlags;
use boring::x509::{X509, X509VerifyError};

use super::algorithms::{OWN_ALGORITHMS, PEER_ALGORITHMS, version};
use super::ffi::add_credential;
use super::pem::{self, PemError};
use vocabulary::settings::TlsVersion;

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

/// What TLS to an origin is built from.
#[derive(Debug, Clone, Copy)]
pub struct OriginTlsSpec<'a> {
    /// What its certificate must be for.
    pub server_name: &'a str,
    /// The CAs that may have signed that, in PEM.
    pub ca_pem: &'a [u8],
    /// The oldest version.
    pub min_version: TlsVersion,
    /// What is shown to an origin that asks for a certificate.
    pub identity: Option<ClientIdentity<'a>>,
}

/// A certificate of ours with its key.
#[derive(Clone, Copy)]
pub struct ClientIdentity<'a> {
    /// Chain in PEM, leaf first.
    pub chain_pem: &'a [u8],
    /// The leaf's private key in PEM.
    pub key_pem: &'a [u8],
}

impl fmt::Debug for ClientIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key: what is debugged ends in logs.
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

/// Why TLS to an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OriginTlsError {
    /// The CA bundle is not PEM certificates, or empty.
    #[error("the origin's CA bundle cannot be read: {0}")]
    Bundle(#[from] PemError),
    /// Our own certificate or its key is not PEM.
    #[error("the certificate for the origin cannot be read: {0}")]
    Identity(PemError),
    /// Our own key is not that of our certificate.
    #[error("the key of the certificate for the origin is not that certificate's: {0}")]
    Key(ErrorStack),
    /// BoringSSL would not take the settings.
    #[error("TLS to the origin cannot be set up: {0}")]
    Context(#[from] ErrorStack),
}

/// What is wrong with the certificate of an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginFlaw {
    /// It, or one that it rests on, has passed its notAfter.
    #[error("its certificate, or one of its issuers', has expired")]
    Expired,
    /// The same before notBefore: often the gateway's clock.
    #[error("its certificate, or one of its issuers', is not valid yet (is this clock right?)")]
    NotYetValid,
    /// No chain to a CA of the bundle.
    #[error("no CA that is believed has signed its certificate")]
    UnknownCa,
    /// It is for another name. Only subjectAltName counts (RFC 9525 §6.3), never the common name.
    #[error(
        "its certificate is not for the name `{0}` (subjectAltName counts, a common name does not)"
    )]
    WrongName(Box<str>),
    /// Something else, as BoringSSL says it.
    #[error("its certificate is refused: {0}")]
    Other(&'static str),
}

impl OriginTls {
    /// Builds a client context.
    ///
    /// # Errors
    /// The bundle is unreadable, or the certificate and the key are no pair.
    pub fn build(spec: &OriginTlsSpec<'_>) -> Result<Self, OriginTlsError> {
        let mut builder = SslContextBuilder::new(SslMethod::tls())?;
        builder.set_min_proto_version(Some(version(spec.min_version)))?;
        builder.set_verify_algorithm_prefs(&PEER_ALGORITHMS)?;
        builder.set_verify(SslVerifyMode::PEER);
        let mut store = X509StoreBuilder::new()?;
        for certificate in &pem::certificates(spec.ca_pem, pem::Use::Origins)? {
            store.add_cert(certificate)?;
        }
        builder.set_cert_store_builder(store);
        if let Some(identity) = &spec.identity {
            show(&mut builder, identity)?;
        }
        Ok(Self {
            context: builder.build(),
            name: spec.server_name.into(),
        })
    }

    /// What BoringSSL found, when a certificate was not believed.
    pub(super) fn flaw(&self, found: X509VerifyError) -> OriginFlaw {
        match found {
            X509VerifyError::CERT_HAS_EXPIRED => OriginFlaw::Expired,
            X509VerifyError::CERT_NOT_YET_VALID => OriginFlaw::NotYetValid,
            X509VerifyError::HOSTNAME_MISMATCH | X509VerifyError::IP_ADDRESS_MISMATCH => {
                OriginFlaw::WrongName(self.name.clone())
            }
            X509VerifyError::UNABLE_TO_GET_ISSUER_CERT
            | X509VerifyError::UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | X509VerifyError::UNABLE_TO_VERIFY_LEAF_SIGNATURE
            | X509VerifyError::DEPTH_ZERO_SELF_SIGNED_CERT
            | X509VerifyError::SELF_SIGNED_CERT_IN_CHAIN => OriginFlaw::UnknownCa,
            other => OriginFlaw::Other(other.error_string()),
        }
    }

    /// The same CAs and the same certificate of ours, for an origin with another name.
    #[must_use]
    pub fn named(&self, server_name: &str) -> Self {
        Self {
            context: self.context.clone(),
            name: server_name.into(),
        }
    }

    /// A fresh connection that offers `alpn` and will check the name.
    ///
    /// # Errors
    /// BoringSSL has no memory for it.
    pub fn start(&self, alpn: Alpn) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_alpn_protos(match alpn {
            Alpn::Either => b"\x02h2\x08http/1.1",
            Alpn::Http1 => b"\x08http/1.1",
            Alpn::Http2 => b"\x02h2",
        })?;
        let checks = ssl.verify_param_mut();
        checks.set_hostflags(X509CheckFlags::NEVER_CHECK_SUBJECT);
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

/// Has a certificate shown to an origin that asks for one.
fn show(
    builder: &mut SslContextBuilder,
    identity: &ClientIdentity<'_>,
) -> Result<(), OriginTlsError> {
    let chain = pem::certificates(identity.chain_pem, pem::Use::Chain);
    let chain = chain.map_err(OriginTlsError::Identity)?;
    let key = pem::private_key(identity.key_pem).map_err(OriginTlsError::Identity)?;
    let chain = chain.iter().map(|one| one.to_der());
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    add_credential(builder, &chain, &key, &OWN_ALGORITHMS, None).map_err(OriginTlsError::Key)
}

/// The DNS names and IP addresses of a certificate's subjectAltName, as people write them.
pub(super) fn names_of(certificate: &X509) -> Vec<String> {
    let names = certificate.subject_alt_names();
    let texts = names.iter().flatten().filter_map(|name| {
        let address = name.ipaddress().and_then(|bytes| {
            let four = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            four.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
        });
        name.dnsname()
            .map(str::to_owned)
            .or_else(|| address.map(|address| address.to_string()))
    });
    texts.collect()
}
