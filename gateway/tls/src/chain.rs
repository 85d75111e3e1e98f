//! Certificates as bytes: those that a client sent, and those that a host presents.
//!
//! Our server contexts keep certificates as BoringSSL buffers and make no X509 objects of them
//! (`TLS_with_buffers_method`): most clients have been here before, and a path that is remembered
//! is known by its bytes ([`super::path`]). What has to look inside parses, here. Shares
//! BoringSSL's own copy of the bytes; verifies nothing.

use std::fmt;

use boring::error::ErrorStack;
use boring::ssl::{SslContextBuilder, SslRef};
use boring::x509::{X509, X509Ref};

use super::ffi::{Buffer, client_certificates, set_client_issuers};

/// A client's certificates as it sent them, leaf first; empty when it sent none.
#[derive(Clone, Default)]
pub struct Chain(Box<[Buffer]>);

impl Chain {
    /// What the client of a connection has sent, now or when its session began.
    pub(super) fn of(ssl: &SslRef) -> Self {
        Self(client_certificates(ssl))
    }

    /// These certificates.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn of_x509(certificates: &[X509]) -> Result<Self, ErrorStack> {
        let buffers = certificates
            .iter()
            .map(|certificate| Buffer::copy(&certificate.to_der()?));
        Ok(Self(buffers.collect::<Result<_, _>>()?))
    }

    /// What a client has sent, whatever it is.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_ders(ders: &[Vec<u8>]) -> Result<Self, ErrorStack> {
        let buffers = ders.iter().map(|der| Buffer::copy(der));
        Ok(Self(buffers.collect::<Result<_, _>>()?))
    }

    /// Whether there is no certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each one's bytes, in DER if the client was honest.
    pub(super) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Buffer::bytes)
    }

    /// The certificates up to the first that is none.
    #[must_use]
    pub fn parse(&self) -> Vec<X509> {
        self.0.iter().map_while(Buffer::parse).collect()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.len()).finish()
    }
}

/// Tells a context which CAs clients are told that their certificates may come from.
///
/// # Errors
/// There is no memory for it.
pub(super) fn name_issuers<'c>(
    builder: &mut SslContextBuilder,
    issuers: impl Iterator<Item = &'c X509Ref>,
) -> Result<(), ErrorStack> {
    let names = issuers.map(|issuer| Buffer::copy(&issuer.subject_name().to_der()?));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    set_client_issuers(builder, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::pki::{Wish, issue};

    #[test]
    fn a_chain_is_the_bytes_that_were_sent() {
        let ca = issue(&Wish::default(), None);
        let client = issue(&Wish::default(), Some(&ca));
        let certificates = [client.x509, ca.x509];
        let chain = Chain::of_x509(&certificates).unwrap();
        let again = chain.clone();
        drop(chain);
        let ders: Vec<_> = certificates
            .iter()
            .map(|one| one.to_der().unwrap())
            .collect();
        assert!(again.ders().eq(ders.iter().map(Vec::as_slice)));
        assert_eq!(again.parse().len(), 2);
        assert!(!again.is_empty() && Chain::default().parse().is_empty());
    }

    #[test]
    fn what_is_no_certificate_ends_the_reading() {
        let der = issue(&Wish::default(), None).x509.to_der().unwrap();
        let long = [&der[..], &[0]].concat();
        for bad in [&[][..], &[0x30, 0x80], &der[..der.len() - 1], &long] {
            let parts = [&der[..], bad, &der].map(|part| Buffer::copy(part).unwrap());
            let chain = Chain(parts.into());
            assert_eq!((chain.len(), chain.parse().len()), (3, 1), "{bad:?}");
        }
    }
}
