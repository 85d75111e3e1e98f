//! CAs of client certificates: uploaded ones, and the rollover and revocation lists of managed ones.
//!
//! Owns what a CA must be before it is trusted: a certificate that may sign, is valid now, and has a
//! strong key. Which hosts trust it is set by associations.

use std::sync::Arc;

use boring::hash::MessageDigest;
use boring::x509::X509;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{
    AUTHORITIES_MAX, AUTHORITY_DAYS, BUNDLE_CERTIFICATES_MAX, CRL_DAYS, DESCRIPTION_BYTES_MAX,
    MANAGED_AUTHORITIES_MAX, PEM_BYTES_MAX,
};
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::revocation::CrlSettings;
use crate::model::revocation_reason::RevocationReason;
use crate::model::{Authority, AuthorityKind, AuthoritySet, Model};
use crate::operations::loss::{Loss, loss_of_uploaded};
use crate::operations::revocation_lists::uploaded;
use crate::pki::ca_key::CaKey;
use crate::pki::x509::{X509Error, check_strength};
use crate::pki::{crl, x509};
use crate::store::Table;
use crate::store::keys::part;
use crate::store::seal::authority_purpose;
use tls::Anchor;
use tls::pem;

fn refused<T>(why: impl Into<String>) -> Result<T, ChangeError> {
    Err(X509Error::Authority(why.into()).into())
}

/// The certificates of a bundle, each able to sign and valid now.
pub(crate) fn bundle(text: &str, now: Moment) -> Result<Vec<X509>, ChangeError> {
    if text.len() > PEM_BYTES_MAX {
        return refused(format!("it has more than {PEM_BYTES_MAX} bytes"));
    }
    let found = match pem::certificates(text.as_bytes(), pem::Use::Clients) {
        Ok(found) => found,
        Err(why) => return refused(why.to_string()),
    };
    if found.len() > BUNDLE_CERTIFICATES_MAX {
        return refused(format!(
            "the bundle has more than {BUNDLE_CERTIFICATES_MAX} certificates"
        ));
    }
    let mut fingerprints = Vec::new();
    for certificate in &found {
        let details = x509::Details::of(certificate)?;
        let name = format!("`{}`", details.common_name.escape_debug());
        let der = certificate.to_der().map_err(X509Error::from)?;
        let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
            return refused(format!("{name} cannot be parsed"));
        };
        // RFC 5280 §4.2.1.9: only with cA TRUE may the key verify certificates.
        let is_ca = parsed
            .basic_constraints()
            .ok()
            .flatten()
            .is_some_and(|found| found.value.ca);
        if !is_ca {
            return refused(format!(
                "{name} is not a CA certificate: basicConstraints lacks CA:TRUE"
            ));
        }
        let usage = parsed.key_usage().ok().flatten();
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return refused(format!(
                "{name} may not sign certificates: keyUsage lacks keyCertSign"
            ));
        }
        if details.not_after <= now.seconds() {
            let ended = Moment::from_seconds(details.not_after).to_second();
            return refused(format!("{name} expired on {ended}"));
        }
        check_strength(&*certificate.public_key().map_err(X509Error::from)?)?;
        if fingerprints.contains(&details.fingerprint_sha256) {
            return refused(format!("{name} is in the bundle twice"));
        }
        fingerprints.push(details.fingerprint_sha256);
    }
    Ok(found)
}

/// Whether any certificate of `new` is believed under another id already: a client's chain would
/// end in two CAs.
fn twin(model: &Model, new: &[X509]) -> Option<Uuid> {
    let fingerprint = |certificate: &X509| certificate.digest(MessageDigest::sha256()).ok();
    let new: Vec<_> = new
        .iter()
        .filter_map(fingerprint)
        .map(|digest| digest.to_vec())
        .collect();
    let known = model
        .authorities
        .values()
        .filter(|ca| matches!(ca.kind, AuthorityKind::Uploaded));
    known
        .filter(|ca| {
            let theirs = ca.certificates().unwrap_or_default();
            theirs
                .iter()
                .filter_map(fingerprint)
                .any(|digest| new.contains(&digest.to_vec()))
        })
        .map(|ca| ca.id)
        .next()
}

/// The CA made here that has the key of one of `new`. Copies of it would be believed under an id
/// of their own, so that a certificate that was revoked, or whose CA was retired, came back in.
fn made_here(model: &Model, new: &[X509]) -> Option<Arc<Authority>> {
    // The key and not the certificate: another certificate for the same key is as good a way in.
    let keys: Vec<Vec<u8>> = new.iter().filter_map(key_of).collect();
    let ours = |ca: &&Arc<Authority>| !matches!(ca.kind, AuthorityKind::Uploaded);
    let same = |ca: &&Arc<Authority>| {
        let certificate = pem::certificate(ca.certificate.as_bytes());
        let key = certificate.ok().as_ref().and_then(key_of);
        key.is_some_and(|key| keys.contains(&key))
    };
    let found = model.authorities.values().filter(ours).find(same);
    found.cloned()
}

/// The public key of a certificate in DER.
fn key_of(certificate: &X509) -> Option<Vec<u8>> {
    certificate.public_key().ok()?.public_key_to_der().ok()
}

/// Makes a managed CA for a zone; the newest one issues.
pub(crate) fn make_managed(
    draft: &mut Draft<'_>,
    zone: Id,
    zone_name: &str,
    kind: CaKey,
) -> Result<Authority, ChangeError> {
    // Names differ, so that tools that look only at names do not take one for the other.
    let place = draft.model.managed(zone).len() + 1;
    let mut label = format!("Postern managed CA for {zone_name}");
    if place > 1 {
        label = format!("{label}, {}", draft.now.to_second());
    }
    // RFC 5280 bounds a common name at 64 characters.
    let id = Uuid::random();
    let common_name = if label.len() <= 64 {
        label.clone()
    } else {
        format!("Postern CA {id}")
    };
    let (certificate, key) =
        x509::make_authority(&common_name, "Postern", kind, AUTHORITY_DAYS, draft.now)?;
    let key = draft
        .seal()
        .seal(&authority_purpose(id), x509::key_pem(&key)?.reveal())?;
    let authority = Authority {
        id,
        name: label,
        not_after: x509::Details::of(&certificate)?.not_after,
        certificate: x509::to_pem(&certificate)?,
        created_on: draft.now,
        crl: CrlSettings::default(),
        ocsp: None,
        ocsp_before: None,
        denied: Vec::new(),
        kind: AuthorityKind::Managed { zone, key },
    };
    draft.put_authority(authority.clone());
    Ok(authority)
}

impl Authority {
    /// What its own certificates forbid: clients that are refused for them, although this CA is
    /// believed. Each says which certificate it is about.
    #[must_use]
    pub fn warnings(&self, now: Moment) -> Vec<String> {
        let mut told = Vec::new();
        for certificate in self.certificates().unwrap_or_default() {
            let Ok(der) = certificate.to_der() else {
                continue;
            };
            let anchor = Anchor {
                id: self.id.to_string().into(),
                der,
                revoked: Arc::default(),
                lists: None,
                denied: Arc::default(),
                responder: None,
            };
            let name = pem::subject(&certificate);
            match anchor.limits(now.seconds()) {
                Ok(limits) => told.extend(limits.iter().map(|limit| format!("{name}: {limit}"))),
                Err(why) => told.push(format!("{name}: {why}")),
            }
        }
        told
    }

    /// The kind of its key, when it is one that a managed CA may have.
    #[must_use]
    pub fn key_kind(&self) -> Option<CaKey> {
        let certificate = pem::certificate(self.certificate.as_bytes()).ok()?;
        CaKey::of(&*certificate.public_key().ok()?)
    }
}

impl<A: Changes> Control<A> {
    /// Takes over a CA, or a bundle of CAs that are believed together. No host trusts it before
    /// host names are associated with it.
    ///
    /// # Errors
    /// It cannot sign, has expired, is too weak, or is there already.
    pub fn upload_authority(&self, name: &str, pem: &str) -> Result<Arc<Authority>, ChangeError> {
        let certificates = bundle(pem, Moment::now())?;
        if name.len() > DESCRIPTION_BYTES_MAX {
            let why = format!("it has more than {DESCRIPTION_BYTES_MAX} bytes");
            return Err(ChangeError::invalid("name", why));
        }
        let mut text = String::new();
        let mut not_after = i64::MAX;
        for certificate in &certificates {
            text.push_str(&x509::to_pem(certificate)?);
            not_after = not_after.min(x509::Details::of(certificate)?.not_after);
        }
        self.change(|draft| {
            let uploaded = |ca: &&Arc<Authority>| matches!(ca.kind, AuthorityKind::Uploaded);
            if draft.model.authorities.values().filter(uploaded).count() >= AUTHORITIES_MAX {
                return Err(ChangeError::Full {
                    what: "uploaded CAs",
                    max: AUTHORITIES_MAX,
                });
            }
            if let Some(ours) = made_here(&draft.model, &certificates) {
                return refused(format!(
                    "it has the key of `{}`, which was made here and is believed without an upload; \
                     a copy would let in what was revoked. Associate hosts with the managed CA instead",
                    ours.name.escape_debug()
                ));
            }
            if let Some(id) = twin(&draft.model, &certificates) {
                return Err(ChangeError::Exists {
                    noun: Noun::Authority,
                    key: id.to_string(),
                });
            }
            let authority = Authority {
                id: Uuid::random(),
                name: name.into(),
                certificate: text,
                created_on: draft.now,
                not_after,
                crl: CrlSettings::default(),
                ocsp: None,
                ocsp_before: None,
                denied: Vec::new(),
                kind: AuthorityKind::Uploaded,
            };
            draft.put_authority(authority.clone());
            Ok(Arc::new(authority))
        })
    }
}

impl<A: Reads> Control<A> {
    /// The uploaded CA with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn uploaded_authority(&self, id: Uuid) -> Result<Arc<Authority>, ChangeError> {
        let model = self.model();
        let found = model.authorities.get(&id).cloned();
        found
            .filter(|ca| matches!(ca.kind, AuthorityKind::Uploaded))
            .ok_or_else(|| ChangeError::not_found(Noun::Authority, id))
    }
}

impl<A: Changes> Control<A> {
    /// Gives an uploaded CA another name.
    ///
    /// # Errors
    /// There is none, or the name is too long.
    pub(crate) fn rename_authority(&self, id: Uuid, name: &str) -> Result<(), ChangeError> {
        if name.len() > DESCRIPTION_BYTES_MAX {
            let why = format!("it has more than {DESCRIPTION_BYTES_MAX} bytes");
            return Err(ChangeError::invalid("name", why));
        }
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            authority.name = name.into();
            draft.put_authority(authority);
            Ok(())
        })
    }

    /// Removes an uploaded CA.
    ///
    /// # Errors
    /// Host names are still associated with it.
    pub fn delete_authority(&self, id: Uuid) -> Result<(Arc<Authority>, Loss), ChangeError> {
        self.change(|draft| {
            let authority = Arc::new(uploaded(&draft.model, id)?);
            let set = AuthoritySet::Uploaded(id);
            let names: Vec<String> = draft
                .model
                .associations
                .iter()
                .filter(|((_, of), _)| *of == set)
                .flat_map(|(_, names)| names.iter().map(ToString::to_string))
                .collect();
            if !names.is_empty() {
                let by = format!(
                    "associated with {}; remove the associations first",
                    names.join(", ")
                );
                let key = id.to_string();
                return Err(ChangeError::InUse {
                    noun: Noun::Authority,
                    key,
                    by,
                });
            }
            let loss = loss_of_uploaded(&draft.model, id);
            draft.remove_authority(id)?;
            Ok((authority, loss))
        })
    }

    /// Makes another managed CA for a zone, with a key of the newest one's kind unless another
    /// is asked for. It issues from now on; the older ones are believed until they are retired.
    ///
    /// # Errors
    /// There is no such zone, or it has too many already.
    pub fn roll_authority(
        &self,
        zone: Id,
        kind: Option<CaKey>,
    ) -> Result<Arc<Authority>, ChangeError> {
        self.change(|draft| {
            let found = draft.model.zones.get(&zone).cloned();
            let found = found.ok_or_else(|| ChangeError::not_found(Noun::Zone, zone))?;
            if draft.model.managed(zone).len() >= MANAGED_AUTHORITIES_MAX {
                let max = MANAGED_AUTHORITIES_MAX;
                return Err(ChangeError::Full {
                    what: "managed CAs of a zone",
                    max,
                });
            }
            let kind = kind.or_else(|| {
                draft
                    .model
                    .managed(zone)
                    .first()
                    .and_then(|ca| ca.key_kind())
            });
            let name = found.name.as_str();
            make_managed(draft, zone, name, kind.unwrap_or_default()).map(Arc::new)
        })
    }

    /// Retires a managed CA: certificates that it issued are no longer believed.
    ///
    /// # Errors
    /// It is the one that issues, or not the zone's.
    pub fn retire_authority(&self, zone: Id, id: Uuid) -> Result<Loss, ChangeError> {
        self.change(|draft| {
            let managed = draft.model.managed(zone);
            let place = managed.iter().position(|ca| ca.id == id);
            match place {
                None => Err(ChangeError::not_found(Noun::Authority, id)),
                Some(0) => Err(ChangeError::InUse {
                    noun: Noun::Authority,
                    key: id.to_string(),
                    by: "it is the one that issues; make the next one first".into(),
                }),
                Some(_) => {
                    let loss = draft.shared().loss_of_managed(&draft.model, zone, id);
                    draft.remove_authority(id)?;
                    Ok(loss)
                }
            }
        })
    }
}

impl<A: Reads> Control<A> {
    /// The signed revocation list of a zone's managed CA, in DER, made now.
    ///
    /// # Errors
    /// It is not the zone's, or the store cannot be read.
    pub fn revocation_list(&self, zone: Id, id: Uuid) -> Result<Vec<u8>, ChangeError> {
        let model = self.model();
        let managed = model.managed(zone);
        let authority = managed.into_iter().find(|ca| ca.id == id);
        let authority = authority.ok_or_else(|| ChangeError::not_found(Noun::Authority, id))?;
        let signer = self.shared.open_signer(authority)?;
        let mut revoked = Vec::new();
        self.shared
            .store
            .scan(Table::Revoked, id.as_bytes(), &mut |key, value| {
                let (_, serial) = part(Table::Revoked, key)?;
                let (at, rest) = value.split_first_chunk().unwrap_or((&[0; 8], &[]));
                // Entries of older versions say no reason.
                let reason = rest.first().copied().and_then(RevocationReason::of_code);
                revoked.push(crl::RevokedCertificate {
                    serial: serial.to_vec(),
                    at: Moment::from_seconds(i64::from_be_bytes(*at)),
                    reason: reason.unwrap_or(RevocationReason::Unspecified),
                });
                Ok(())
            })?;
        let now = Moment::now();
        // Grows with every change of the store, and between changes with time.
        let seconds = u64::try_from(now.seconds()).unwrap_or_default() & 0xffff_ffff;
        let number = (model.revision << 32) | seconds;
        Ok(crl::sign(&signer, &revoked, number, now, CRL_DAYS)?)
    }
}
