//! Who may have signed a CA's lists: the CA itself, and the issuing CAs below it whose certificates
//! came along. Those verify lists, and are no anchors.

use boring::x509::X509;

use super::Crl;
use crate::ids::sha256;

fn signed_by(one: &X509, issuer: &X509) -> bool {
    issuer.issued(one).is_ok()
        && issuer
            .public_key()
            .is_ok_and(|key| one.verify(&key).unwrap_or(false))
}

/// The certificates of `cas`, and those of `below` that one of them, or another that counts, has
/// signed.
pub(super) fn issuers(cas: &[X509], below: &[X509]) -> Vec<X509> {
    let mut known = cas.to_vec();
    let mut open: Vec<&X509> = below.iter().collect();
    loop {
        let (found, rest): (Vec<&X509>, Vec<&X509>) = open
            .into_iter()
            .partition(|one| known.iter().any(|issuer| signed_by(one, issuer)));
        if found.is_empty() {
            return known;
        }
        known.extend(found.into_iter().cloned());
        open = rest;
    }
}

impl Crl {
    /// Those of `below` that lead from the list's issuer up to one of `cas`; none when that is the
    /// issuer itself. With them the list can be read again.
    #[must_use]
    pub fn certificates_above(&self, cas: &[X509], below: &[X509]) -> Vec<X509> {
        let is_issuer = |one: &&X509| {
            let print = one.to_der().ok().and_then(|der| sha256(&der).ok());
            print == Some(self.issuer)
        };
        let mut path: Vec<X509> = Vec::new();
        if cas.iter().any(|one| is_issuer(&one)) {
            return path;
        }
        let mut next = below.iter().find(is_issuer);
        while let Some(found) = next
            && path.len() < below.len()
        {
            path.push(found.clone());
            if cas.iter().any(|ca| signed_by(found, ca)) {
                break;
            }
            next = below.iter().find(|issuer| signed_by(found, issuer));
        }
        path
    }
}
