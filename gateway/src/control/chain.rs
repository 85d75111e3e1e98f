//! Server certificates as they are uploaded: chain in any order, one key, both checked.
//!
//! Owns the order that is sent to clients (leaf first, each followed by its issuer, RFC 8446
//! §4.4.2) and the checks before a chain may serve. Whether it covers a given host is decided
//! where hosts are compiled.

use boring::pkey::PKey;
use boring::x509::X509;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::moment::Moment;
use super::seal::Secret;
use super::x509::{Details, X509Error, check_strength};
use crate::hostname::HostName;
use crate::limits::{CHAIN_CERTIFICATES_MAX, PEM_BYTES_MAX};

/// A chain that may serve, with its key.
#[derive(Debug)]
pub(crate) struct ServerChain {
    /// Leaf first.
    pub chain_pem: String,
    /// PKCS#8.
    pub key_pem: Secret,
    /// The names it is for.
    pub names: Vec<HostName>,
    /// The leaf's details.
    pub details: Details,
}

fn refused<T>(why: impl Into<String>) -> Result<T, X509Error> {
    Err(X509Error::Server(why.into()))
}

impl ServerChain {
    /// Reads, orders and checks.
    ///
    /// # Errors
    /// [`X509Error::Server`] or [`X509Error::Key`] with what is wrong.
    pub(crate) fn parse(chain_pem: &str, key_pem: &str, now: Moment) -> Result<Self, X509Error> {
        if chain_pem.len() > PEM_BYTES_MAX || key_pem.len() > PEM_BYTES_MAX {
            return refused(format!("a PEM text has more than {PEM_BYTES_MAX} bytes"));
        }
        let certificates = X509::stack_from_pem(chain_pem.as_bytes()).unwrap_or_default();
        if certificates.is_empty() {
            return refused(
                "no certificate was found; expected PEM, `-----BEGIN CERTIFICATE-----` and so on",
            );
        }
        if certificates.len() > CHAIN_CERTIFICATES_MAX {
            return refused(format!(
                "the chain has more than {CHAIN_CERTIFICATES_MAX} certificates"
            ));
        }
        if key_pem.contains("ENCRYPTED") {
            return refused(
                "the private key is encrypted with a passphrase; decrypt it first (`openssl pkey -in … -out …`)",
            );
        }
        let Ok(key) = PKey::private_key_from_pem(key_pem.as_bytes()) else {
            return refused(
                "the private key cannot be read; expected PEM of PKCS#8, SEC 1 or PKCS#1",
            );
        };
        check_strength(&key)?;
        let matches = |certificate: &X509| {
            certificate
                .public_key()
                .is_ok_and(|public| public.public_eq(&key))
        };
        let (leaves, mut rest): (Vec<X509>, Vec<X509>) =
            certificates.into_iter().partition(matches);
        let Some(leaf) = leaves.into_iter().next() else {
            return refused("the private key does not belong to any certificate of the chain");
        };
        let details = Details::of(&leaf)?;
        check_leaf(&leaf, &details, now)?;
        let names: Vec<HostName> = details
            .dns_names
            .iter()
            .filter_map(|name| HostName::parse(name).ok())
            .collect();
        if names.is_empty() {
            return refused(
                "it names no host: subjectAltName has no DNS name (a common name alone is not looked at)",
            );
        }
        let mut ordered = vec![leaf];
        while let Some(current) = ordered.last() {
            let issuer = rest
                .iter()
                .position(|candidate| candidate.issued(current) == Ok(()));
            match issuer {
                Some(position) => ordered.push(rest.swap_remove(position)),
                None => break,
            }
        }
        if let Some(stranger) = rest.first() {
            let subject = Details::of(stranger)?.common_name;
            return refused(format!("`{subject}` does not belong to the leaf's chain"));
        }
        let mut pem = Vec::new();
        for certificate in &ordered {
            pem.extend(certificate.to_pem()?);
        }
        Ok(Self {
            chain_pem: String::from_utf8_lossy(&pem).into_owned(),
            key_pem: Secret::new(key.private_key_to_pem_pkcs8()?),
            names,
            details,
        })
    }
}

fn check_leaf(leaf: &X509, details: &Details, now: Moment) -> Result<(), X509Error> {
    if details.not_after <= now.seconds() {
        return refused(format!(
            "it expired on {}",
            Moment::from_seconds(details.not_after).to_second()
        ));
    }
    let der = leaf.to_der()?;
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
        return refused("the leaf cannot be parsed");
    };
    if let Ok(Some(eku)) = parsed.extended_key_usage()
        && !(eku.value.server_auth || eku.value.any)
    {
        return refused("its extendedKeyUsage does not allow serverAuth");
    }
    Ok(())
}
