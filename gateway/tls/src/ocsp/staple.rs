//! OCSP stapling (RFC 6066 §8): what a server certificate says of it, and the answer that a host gives
//! to clients with its certificate.
//!
//! A certificate that must be stapled says so itself (RFC 7633, "must-staple"): clients that look at
//! that refuse it without an answer. Only an answer that says `good` is ever stapled.

use std::sync::Arc;

use boring::x509::X509;
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;
use x509_parser::prelude::{
    FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509Extension,
};

use super::{CertId, CertStatus, OcspError};
use crate::der::{Reader, tag};
use crate::ids::Serial;
use crate::limits::STAPLE_BYTES_MAX;
use crate::pem;

/// An OCSP answer that was believed, and says that a server certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    /// The OCSPResponse, as it is given to clients.
    pub der: Arc<[u8]>,
    /// Since when it was so, seconds since the epoch.
    pub this_update_sec: i64,
    /// The last second at which it holds.
    pub until_sec: i64,
}

/// What a server certificate says of stapling.
#[derive(Debug, Clone)]
pub struct Stapling {
    /// Clients may refuse it without an answer.
    pub is_must: bool,
    /// Where answers are, by its authority information access (RFC 5280 §4.2.2.1): the first URL over
    /// plain HTTP, else the first there is.
    pub url: Option<String>,
    /// What is asked.
    pub certificate: Result<CertId, StaplingError>,
}

/// Why there is nothing to staple to a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaplingError {
    /// The certificate, or its issuer, is not readable.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// No answer can be verified.
    #[error(
        "its chain has no certificate of its issuer, by which answers are verified; upload the chain \
         with it"
    )]
    NoIssuer,
    /// It names no responder.
    #[error("it names no OCSP responder (authorityInfoAccess): ask its CA for one that does")]
    NoResponder,
    /// The answer is not to be believed.
    #[error(transparent)]
    Answer(#[from] OcspError),
    /// It is believed, and says something else than `good`.
    #[error("the responder says that the certificate is {0}")]
    NotGood(&'static str),
    /// It is too much to be sent with every handshake.
    #[error("the answer has {0} bytes; at most {STAPLE_BYTES_MAX} are stapled")]
    TooLarge(usize),
}

/// 1.3.6.1.5.5.7.1.24, TLS features.
const TLS_FEATURES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 0x18];
/// `status_request` (RFC 6066 §8), as an INTEGER's content.
const STATUS_REQUEST: &[u8] = &[5];

impl StaplingError {
    /// What a responder says of a revoked certificate.
    pub const REVOKED: &str = "revoked";
}

impl Stapling {
    /// Reads the leaf of a chain in PEM, leaf first.
    ///
    /// # Errors
    /// There is no certificate in it.
    pub fn read(chain_pem: &[u8]) -> Result<Self, StaplingError> {
        let unreadable = |why: String| StaplingError::Unreadable(why);
        let chain = pem::certificates(chain_pem, pem::Use::Chain)
            .map_err(|error| unreadable(error.to_string()))?;
        let leaf = chain
            .first()
            .ok_or_else(|| unreadable("no certificate".into()))?;
        let der = leaf
            .to_der()
            .map_err(|error| unreadable(error.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            is_must: parsed.extensions().iter().any(asks_for_staple),
            url: responder(&parsed),
            certificate: certificate_id(leaf, chain.get(1)),
        })
    }

    /// An answer in DER as something to staple, at `now_sec` seconds since the epoch.
    ///
    /// # Errors
    /// It is not to be believed, or does not say `good`.
    pub fn staple(&self, der: &[u8], now_sec: i64) -> Result<Staple, StaplingError> {
        let certificate = self.certificate.as_ref().map_err(Clone::clone)?;
        let answer = certificate.read(der, None, now_sec)?;
        match answer.said {
            CertStatus::Good => {}
            CertStatus::Revoked => return Err(StaplingError::NotGood(StaplingError::REVOKED)),
            CertStatus::Unknown | CertStatus::Failed(_) => {
                return Err(StaplingError::NotGood("unknown to it"));
            }
        }
        if der.len() > STAPLE_BYTES_MAX {
            return Err(StaplingError::TooLarge(der.len()));
        }
        Ok(Staple {
            der: der.into(),
            this_update_sec: answer.this_update_sec,
            until_sec: answer.until_sec,
        })
    }
}

/// The certificate and, by what the chain has next, its issuer.
fn certificate_id(leaf: &X509, next: Option<&X509>) -> Result<CertId, StaplingError> {
    let failed = |error: boring::error::ErrorStack| StaplingError::Unreadable(error.to_string());
    // A development certificate that signed itself has no issuer above it.
    let is_own_issuer = || leaf.issued(leaf) == Ok(());
    let issuer = match next {
        Some(next) if next.issued(leaf) == Ok(()) => next,
        None if is_own_issuer() => leaf,
        _ => return Err(StaplingError::NoIssuer),
    };
    let serial = Serial::of(leaf).map_err(failed)?;
    Ok(CertId {
        issuer_name: leaf.issuer_name().to_der().map_err(failed)?.into(),
        serial: serial.ok_or_else(|| StaplingError::Unreadable("its serial number".into()))?,
        issuer: issuer.clone(),
    })
}

/// Whether an extension is TLS features, `status_request` among them.
fn asks_for_staple(extension: &X509Extension<'_>) -> bool {
    if extension.oid.as_bytes() != TLS_FEATURES {
        return false;
    }
    let mut outer = Reader::new(extension.value);
    let Ok(list) = outer.expect(tag::SEQUENCE, "features") else {
        return false;
    };
    let mut features = Reader::new(list);
    while let Ok(feature) = features.expect(tag::INTEGER, "a feature") {
        if feature == STATUS_REQUEST {
            return true;
        }
    }
    false
}

/// Where the certificate's responder is.
fn responder(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut found: Option<&str> = None;
    for extension in certificate.extensions() {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            continue;
        };
        for one in &access.accessdescs {
            if one.access_method != OID_PKIX_ACCESS_DESCRIPTOR_OCSP {
                continue;
            }
            if let GeneralName::URI(url) = &one.access_location {
                let is_plain = url
                    .get(..7)
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
                if is_plain {
                    return Some((*url).to_owned());
                }
                found = found.or(Some(url));
            }
        }
    }
    found.map(str::to_owned)
}
