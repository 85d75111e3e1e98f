//! Uploaded revocation lists: files in, [`tls::Crl`] out, and back from the store.
//!
//! Owns the key under which a list replaces an older one, and what the store keeps of it: the list,
//! and behind it the certificates that lead from its issuer up to the uploaded CA, one DER after the
//! other. What a list must be to be trusted is [`tls::Crl`]'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use boring::hash::{MessageDigest, hash};
use boring::x509::X509;

use crate::limits::{CRL_ISSUERS_MAX, CRLS_OF_CA_MAX};
use crate::model::hex::hex;
use crate::model::revocation::HeldCrl;
use crate::pki::x509::X509Error;
use tls::pem::{self, PemError};
use tls::{Crl, CrlError, ListError, read_lists, split_lists};

/// Why a list that came is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadedCrlError {
    /// BoringSSL refused.
    #[error(transparent)]
    Authority(#[from] X509Error),
    /// It is not to be believed.
    #[error(transparent)]
    List(#[from] ListError),
    /// What the store has is none.
    #[error(transparent)]
    Stored(#[from] CrlError),
    /// Neither DER nor PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// More than is taken.
    #[error("it has more than {max} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are taken.
        max: usize,
    },
}

/// A list that is to be believed, and what the store is to keep of it.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) held: HeldCrl,
    pub(crate) record: Vec<u8>,
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

/// What people and metrics tell a CA's lists apart by: the beginning of the key.
pub(crate) fn short(key: &[u8]) -> String {
    hex(key.get(..8).unwrap_or(key))
}

/// The lists of a file against the certificates of their CA. `known` are those (DER) of issuing CAs
/// that came before. What is wrong with one list costs no other.
pub(crate) fn read_file(
    certificate_pem: &str,
    known: &[Vec<u8>],
    bytes: &[u8],
) -> Result<Vec<Result<Incoming, UploadedCrlError>>, UploadedCrlError> {
    let too_many = |what, max| Err(UploadedCrlError::TooMany { what, max });
    let found = pem::lists(bytes)?;
    if found.lists.len() > CRLS_OF_CA_MAX {
        return too_many("revocation lists", CRLS_OF_CA_MAX);
    }
    if found.below.len() > CRL_ISSUERS_MAX {
        return too_many("certificates", CRL_ISSUERS_MAX);
    }
    let cas = pem::certificates(certificate_pem.as_bytes(), pem::Use::Clients)?;
    let mut below = Vec::new();
    let mut ders = BTreeSet::new();
    let given = found.below.iter().map(|one| one.to_der());
    let given = given.collect::<Result<Vec<_>, _>>();
    for der in given
        .map_err(X509Error::from)?
        .into_iter()
        .chain(known.to_vec())
    {
        // Several lists have the same issuers above them.
        if !ders.contains(&der) {
            below.push(X509::from_der(&der).map_err(X509Error::from)?);
            ders.insert(der);
        }
    }
    let count = found.lists.len();
    let lists = found.lists.into_iter().enumerate();
    let read = |(place, der): (usize, Vec<u8>)| {
        let alone = read_lists(std::slice::from_ref(&der), &cas, &below);
        let mut lists = alone.map_err(|why| ListError {
            place: place + 1,
            count,
            ..why
        })?;
        let Some(crl) = lists.pop() else {
            return Err(CrlError::Malformed("there is no list").into());
        };
        incoming(crl, &cas, &below, der)
    };
    Ok(lists.map(read).collect())
}

fn incoming(
    crl: Crl,
    cas: &[X509],
    below: &[X509],
    der: Vec<u8>,
) -> Result<Incoming, UploadedCrlError> {
    let above = crl.certificates_above(cas, below);
    let mut record = der;
    for certificate in &above {
        record.extend(certificate.to_der().map_err(X509Error::from)?);
    }
    let held = HeldCrl {
        crl: Arc::new(crl),
        above,
    };
    Ok(Incoming { held, record })
}

/// What the store keeps of a list, read again.
pub(crate) fn read_record(
    certificate_pem: &str,
    record: &[u8],
) -> Result<HeldCrl, UploadedCrlError> {
    let cas = pem::certificates(certificate_pem.as_bytes(), pem::Use::Clients)?;
    let parts = split_lists(record)?;
    let Some((list, above)) = parts.split_first() else {
        return Err(CrlError::Malformed("there is no list").into());
    };
    let above: Result<Vec<X509>, _> = above.iter().map(|der| X509::from_der(der)).collect();
    let above = above.map_err(X509Error::from)?;
    let mut lists = read_lists(std::slice::from_ref(list), &cas, &above)?;
    let crl = lists.pop().ok_or(CrlError::Malformed("there is no list"))?;
    Ok(HeldCrl {
        crl: Arc::new(crl),
        above,
    })
}
