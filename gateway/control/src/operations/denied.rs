//! The deny list of an uploaded CA: certificates that are not believed, for CAs that publish no
//! revocations.
//!
//! Owns what an entry is and how many there may be. The verifier treats them as revoked, in new
//! handshakes, in resumed ones and on live connections.

use std::collections::HashSet;

use serde::Serialize;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{DENIED_OF_CA_MAX, DESCRIPTION_BYTES_MAX};
use crate::model::hex::hex;
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::model::revocation::DeniedCertificate;
use crate::model::{Authority, Model};
use crate::operations::revocation_lists::uploaded;
use crate::pki::x509::X509Error;
use tls::{Serial, issuer_digest, pem};

/// Which certificate is denied.
#[derive(Debug, Clone)]
pub enum DenyWhat {
    /// The leaf of this PEM; its issuer may be a CA below the uploaded one.
    Certificate(String),
    /// The one of this number that the uploaded CA itself has issued.
    Serial(String),
}

/// What is denied, and why.
#[derive(Debug, Clone)]
pub struct Deny {
    /// Which certificate.
    pub what: DenyWhat,
    /// For people.
    pub comment: String,
}

/// Issuers, by name in DER and for people, and the number.
fn meant(authority: &Authority, what: &DenyWhat) -> Result<Vec<DeniedCertificate>, ChangeError> {
    let entry = |name: &[u8], issuer: String, serial: &Serial| {
        let digest = issuer_digest(name).map_err(X509Error::from)?;
        Ok::<_, ChangeError>(DeniedCertificate {
            issuer,
            issuer_sha256: hex(&digest),
            serial_number: serial.to_string(),
            comment: String::new(),
            denied_on: authority.created_on,
        })
    };
    match what {
        DenyWhat::Certificate(text) => {
            let certificates = pem::certificates(text.as_bytes(), pem::Use::Chain)
                .map_err(|why| ChangeError::invalid("certificate", why.to_string()))?;
            let leaf = certificates.first();
            let leaf = leaf.ok_or_else(|| ChangeError::invalid("certificate", "there is none"))?;
            let serial = Serial::of(leaf).map_err(X509Error::from)?;
            let serial = serial.ok_or_else(|| {
                let why = "its serial number is too long for a certificate that is believed";
                ChangeError::invalid("certificate", why)
            })?;
            let issuer = leaf.issuer_name();
            let name = issuer.to_der().map_err(X509Error::from)?;
            Ok(vec![entry(&name, pem::name(issuer), &serial)?])
        }
        DenyWhat::Serial(text) => {
            let serial = Serial::parse(text).ok_or_else(|| {
                let why = "expected a serial number in hex, as the access log and \
                           `openssl x509 -serial` write it";
                ChangeError::invalid("serial_number", why)
            })?;
            let mut found: Vec<DeniedCertificate> = Vec::new();
            for certificate in authority.certificates().map_err(X509Error::from)? {
                let subject = certificate.subject_name();
                let name = subject.to_der().map_err(X509Error::from)?;
                let entry = entry(&name, pem::name(subject), &serial)?;
                if !found.contains(&entry) {
                    found.push(entry);
                }
            }
            Ok(found)
        }
    }
}

/// What a denial means, for a CA of a model.
pub(crate) fn meant_by(
    model: &Model,
    id: Uuid,
    deny: &Deny,
    now: Moment,
) -> Result<Vec<DeniedCertificate>, ChangeError> {
    check_comment(deny)?;
    let mut meant = meant(&uploaded(model, id)?, &deny.what)?;
    for entry in &mut meant {
        entry.comment.clone_from(&deny.comment);
        entry.denied_on = now;
    }
    Ok(meant)
}

fn check_comment(deny: &Deny) -> Result<(), ChangeError> {
    if deny.comment.len() > DESCRIPTION_BYTES_MAX {
        let why = format!("it has more than {DESCRIPTION_BYTES_MAX} bytes");
        return Err(ChangeError::invalid("comment", why));
    }
    Ok(())
}

fn is_same(one: &DeniedCertificate, other: &DeniedCertificate) -> bool {
    one.key() == other.key()
}

/// Writes a CA with another deny list; what is compiled of it is no longer current.
fn put<T: Serialize>(
    draft: &mut Draft<'_>,
    authority: &Authority,
    before: Option<&T>,
    after: Option<&T>,
) {
    draft.put_denied(authority.clone(), before, after);
    draft.crl_changes(authority.id);
}

impl<A: Reads> Control<A> {
    /// The certificates of an uploaded CA that are denied, the last first.
    ///
    /// # Errors
    /// There is no such CA.
    pub fn denied(&self, id: Uuid) -> Result<Vec<DeniedCertificate>, ChangeError> {
        let mut all = uploaded(&self.model(), id)?.denied;
        all.reverse();
        Ok(all)
    }
}

impl<A: Changes> Control<A> {
    /// Denies a certificate: when this returns, the published snapshot knows it. One that is denied
    /// already is no error. Answers the entries that are new or were there.
    ///
    /// # Errors
    /// There is no such CA, what is meant cannot be read, or the list is full.
    pub fn deny(&self, id: Uuid, deny: &Deny) -> Result<Vec<DeniedCertificate>, ChangeError> {
        check_comment(deny)?;
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            let (mut all, mut new) = (Vec::new(), Vec::new());
            for mut entry in meant(&authority, &deny.what)? {
                if let Some(known) = authority.denied.iter().find(|one| is_same(one, &entry)) {
                    all.push(known.clone());
                    continue;
                }
                entry.comment.clone_from(&deny.comment);
                entry.denied_on = draft.now;
                authority.denied.push(entry.clone());
                new.push(entry.clone());
                all.push(entry);
            }
            check(&authority.denied)?;
            if !new.is_empty() {
                put(draft, &authority, None, Some(&new));
            }
            Ok(all)
        })
    }

    /// Believes a denied certificate again. `entry` is [`DeniedCertificate::id`].
    ///
    /// # Errors
    /// There is no such CA, or it is not denied.
    pub fn allow(&self, id: Uuid, entry: &str) -> Result<DeniedCertificate, ChangeError> {
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            let place = authority.denied.iter().position(|one| one.id() == entry);
            let place = place.ok_or_else(|| ChangeError::not_found(Noun::Denied, entry))?;
            let gone = authority.denied.remove(place);
            put(draft, &authority, Some(&gone), None);
            Ok(gone)
        })
    }

    /// Denies what was denied before, elsewhere. Nothing when it is denied already.
    pub(crate) fn deny_again(
        &self,
        id: Uuid,
        denied: &DeniedCertificate,
    ) -> Result<(), ChangeError> {
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            if authority.denied.iter().any(|one| is_same(one, denied)) {
                return Ok(());
            }
            authority.denied.push(denied.clone());
            check(&authority.denied)?;
            put(draft, &authority, None, Some(&[denied]));
            Ok(())
        })
    }

    /// Makes these the certificates that are denied, and no others.
    ///
    /// # Errors
    /// There is no such CA; one cannot be read, or there are too many.
    pub(crate) fn set_denied(
        &self,
        id: Uuid,
        denied: &[DeniedCertificate],
    ) -> Result<(), ChangeError> {
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            if authority.denied == denied {
                return Ok(());
            }
            let before = std::mem::replace(&mut authority.denied, denied.to_vec());
            check(&authority.denied)?;
            let after = authority.denied.clone();
            put(draft, &authority, Some(&before), Some(&after));
            Ok(())
        })
    }
}

fn check(denied: &[DeniedCertificate]) -> Result<(), ChangeError> {
    if denied.len() > DENIED_OF_CA_MAX {
        return Err(ChangeError::Full {
            what: "denied certificates of a CA",
            max: DENIED_OF_CA_MAX,
        });
    }
    let mut seen = HashSet::new();
    for one in denied {
        let key = one.key().ok_or_else(|| {
            let why = "expected `issuer_sha256` and `serial_number`, both in hex";
            ChangeError::invalid("denied", why)
        })?;
        if !seen.insert(key) {
            let why = format!("{} is there twice", one.serial_number);
            return Err(ChangeError::invalid("denied", why));
        }
    }
    Ok(())
}
