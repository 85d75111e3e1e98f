//! Uploaded revocation lists: DER or PEM in, [`tls::Crl`] out.
//!
//! Owns the PEM form, and the key under which a list replaces an older one. What a list must be to
//! be trusted is [`tls::Crl`]'s.

use boring::hash::{MessageDigest, hash};

use crate::model::hex::hex;
use crate::pki::x509::X509Error;
use tls::pem::{self, PemError};
use tls::{Crl, CrlError};

/// Why a list that came is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadedCrlError {
    /// The CA's stored certificate cannot be read.
    #[error(transparent)]
    Authority(#[from] X509Error),
    /// It is not to be believed.
    #[error(transparent)]
    List(#[from] CrlError),
    /// Neither DER nor PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// More than one.
    #[error("expected one revocation list")]
    NotOneBlock,
}

/// A list's number in hex; empty when its issuer numbers none.
pub(crate) fn number(crl: &Crl) -> String {
    crl.number.as_deref().map(hex).unwrap_or_default()
}

/// What is in a list's place: its issuer, scope, and whether it is a delta list.
pub(crate) fn key(crl: &Crl) -> Result<Box<[u8]>, X509Error> {
    let text = format!("{:?} {}", crl.scope, crl.base.is_some());
    let bytes = [crl.issuer.as_slice(), text.as_bytes()].concat();
    let digest = hash(MessageDigest::sha256(), &bytes)?;
    Ok(digest.as_ref().into())
}

/// Reads a list against the certificates of its CA.
pub(crate) fn read(certificate_pem: &str, der: &[u8]) -> Result<Crl, UploadedCrlError> {
    let issuers = pem::certificates(certificate_pem.as_bytes(), pem::Use::Clients)?;
    Ok(Crl::read(der, issuers.iter().map(|issuer| &**issuer))?)
}

/// The DER in what was given, which may be PEM.
pub(crate) fn der_of(bytes: &[u8]) -> Result<Vec<u8>, UploadedCrlError> {
    let mut found = pem::lists(bytes)?.lists;
    match (found.pop(), found.is_empty()) {
        (Some(list), true) => Ok(list),
        _ => Err(UploadedCrlError::NotOneBlock),
    }
}
