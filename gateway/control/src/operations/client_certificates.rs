//! Client certificates: issued by a zone's managed CA, listed, revoked, restored.
//!
//! There may be hundreds of thousands: memory holds a row of each (see
//! [`certificate_index`](crate::store::certificate_index)), enough for a filtered, paged list.
//! Certificate and request are read from the store when asked for, and everything shown of a
//! certificate is read from the certificate itself.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use boring::hash::{MessageDigest, hash};
use boring::x509::{X509, X509Req};
use serde_json::json;

use crate::change::control::Shared;
use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{CERTIFICATES_MAX, REVOKED_AT_ONCE_MAX, VALIDITY_DAYS_MAX, VALIDITY_DAYS_MIN};
use crate::model::client_certificate::Status;
use crate::model::hex::hex;
use crate::model::id::{ID_BYTES, Id, Uuid};
use crate::model::moment::Moment;
use crate::model::revocation_reason::RevocationReason;
use crate::model::secret::Secret;
use crate::model::{Authority, AuthorityKind, Model};
use crate::pki::csr::Request;
use crate::pki::x509;
use crate::pki::x509::{Details, Signer, Subject, X509Error};
use crate::store::certificate_index::{CertificateEntry, IndexChange, row_key};
use crate::store::keys::part;
use crate::store::seal::authority_purpose;
use crate::store::{StoreError, Table};

/// A client certificate with all that is known of it.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Its id.
    pub id: Uuid,
    /// Its zone.
    pub zone: Id,
    /// The CA that issued it.
    pub authority: Uuid,
    /// That CA's name; empty when the CA is gone.
    pub authority_name: String,
    /// Whether it is believed.
    pub status: Status,
    /// When the status last changed, seconds since the epoch.
    pub status_since: i64,
    /// The certificate in PEM.
    pub certificate: String,
    /// The request in PEM; `None` when the key was made here.
    pub csr: Option<String>,
    /// As it was asked for.
    pub validity_days: u32,
    /// What the certificate says.
    pub details: Details,
}

/// A certificate whose key was made here. The key is in this value and nowhere else.
#[derive(Debug)]
pub struct FreshCertificate {
    /// The certificate.
    pub certificate: ClientCertificate,
    /// PKCS#8 PEM.
    pub private_key: Secret,
    /// PEM of the CA that issued it.
    pub authority: String,
}

/// By what a certificate is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindBy {
    /// Serial number in hex.
    Serial,
    /// SHA-256 of the certificate in hex.
    Fingerprint,
    /// Subject key identifier in hex.
    Ski,
    /// Common name, letter case ignored.
    CommonName,
}

impl FindBy {
    const ALL: [Self; 4] = [Self::Serial, Self::Fingerprint, Self::Ski, Self::CommonName];

    fn tag(self) -> u8 {
        match self {
            Self::Serial => 1,
            Self::Fingerprint => 2,
            Self::Ski => 3,
            Self::CommonName => 4,
        }
    }

    fn value(self, details: &Details) -> &str {
        match self {
            Self::Serial => &details.serial_hex,
            Self::Fingerprint => &details.fingerprint_sha256,
            Self::Ski => &details.ski,
            Self::CommonName => &details.common_name,
        }
    }

    /// The beginning of the keys of everything found by `value`. Hex may be written with colons
    /// and in either case, as tools print it.
    fn prefix(self, zone: Id, value: &str) -> Result<Vec<u8>, ChangeError> {
        let canonical = match self {
            Self::CommonName => value.to_lowercase(),
            _ => value.replace(':', "").to_ascii_lowercase(),
        };
        let digest =
            hash(MessageDigest::sha256(), canonical.as_bytes()).map_err(X509Error::from)?;
        let digest = digest.get(..ID_BYTES).unwrap_or_default();
        Ok([zone.as_bytes().as_slice(), &[self.tag()], digest].concat())
    }
}

/// Which certificates, and which part of the list. The list is ordered from the newest.
#[derive(Debug, Clone, Default)]
pub struct CertificateQuery {
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those that are found by all of these.
    pub find: Vec<(FindBy, String)>,
    /// Only those whose last second, since the epoch, is from the first to the second of these.
    pub ends: Option<(i64, i64)>,
    /// How many to skip.
    pub offset: usize,
    /// How many to return at most.
    pub limit: usize,
}

/// A part of a list.
#[derive(Debug, Clone, Default)]
pub struct CertificatePage {
    /// The certificates.
    pub certificates: Vec<ClientCertificate>,
    /// How many there are in all that answer the query.
    pub total: usize,
}

/// Validity, length of the certificate, certificate, request.
fn encode_body(days: u32, certificate: &[u8], request: &[u8]) -> Vec<u8> {
    let size = u32::try_from(certificate.len()).unwrap_or(u32::MAX);
    [
        &days.to_be_bytes(),
        &size.to_be_bytes(),
        certificate,
        request,
    ]
    .concat()
}

struct Body<'b> {
    days: u32,
    certificate: &'b [u8],
    request: &'b [u8],
}

fn decode_body(bytes: &[u8]) -> Option<Body<'_>> {
    let (days, rest) = bytes.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
    let (certificate, request) = rest.split_at_checked(size)?;
    Some(Body {
        days: u32::from_be_bytes(*days),
        certificate,
        request,
    })
}

fn check_days(days: u32) -> Result<(), ChangeError> {
    if (VALIDITY_DAYS_MIN..=VALIDITY_DAYS_MAX).contains(&days) {
        return Ok(());
    }
    let why = format!("{days} is not between {VALIDITY_DAYS_MIN} and {VALIDITY_DAYS_MAX} days");
    Err(ChangeError::invalid("validity_days", why))
}

impl<A: Changes> Control<A> {
    /// Issues for a request (PEM): for its key, its subject and its alternative names.
    ///
    /// # Errors
    /// The request, its key, its subject or the validity is not acceptable.
    pub fn issue_certificate(
        &self,
        zone: Id,
        csr: &str,
        validity_days: u32,
    ) -> Result<ClientCertificate, ChangeError> {
        check_days(validity_days)?;
        let request = Request::parse(csr)?;
        let bytes = request.to_der()?;
        self.change_prepared(
            |model| issuing(model, zone),
            |authority| {
                let signer = self.shared.open_signer(authority)?;
                Ok(signer.issue_requested(&request, validity_days, Moment::now())?)
            },
            |draft, authority, made| record(draft, zone, &authority, &made, &bytes, validity_days),
        )
    }

    /// Makes a key and issues for it. The key is returned and not kept.
    ///
    /// # Errors
    /// The subject or the validity is not acceptable.
    pub fn create_certificate(
        &self,
        zone: Id,
        subject: &Subject,
        validity_days: u32,
    ) -> Result<FreshCertificate, ChangeError> {
        check_days(validity_days)?;
        self.change_prepared(
            |model| issuing(model, zone),
            |authority| {
                let signer = self.shared.open_signer(authority)?;
                Ok(signer.issue_fresh(subject, validity_days, Moment::now())?)
            },
            |draft, authority, (made, key)| {
                Ok(FreshCertificate {
                    private_key: x509::key_pem(&key)?,
                    certificate: record(draft, zone, &authority, &made, &[], validity_days)?,
                    authority: authority.certificate.clone(),
                })
            },
        )
    }

    /// Revokes a certificate. When this returns, the published snapshot knows it. Revoking twice
    /// is no error.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn revoke_certificate(&self, zone: Id, id: Uuid) -> Result<ClientCertificate, ChangeError> {
        self.revoke_certificate_for(zone, id, RevocationReason::Unspecified)
    }

    /// As [`Control::revoke_certificate`], with the reason that the CA's list will say.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn revoke_certificate_for(
        &self,
        zone: Id,
        id: Uuid,
        reason: RevocationReason,
    ) -> Result<ClientCertificate, ChangeError> {
        self.set_status(zone, id, Some(reason))
    }

    /// Revokes certificates of any zones in one change: all of them, or none. Answers how many were
    /// not revoked before.
    ///
    /// # Errors
    /// One of them is not there; there are none, or too many for one change.
    pub fn revoke_certificates(
        &self,
        certificates: &BTreeSet<(Id, Uuid)>,
        reason: RevocationReason,
    ) -> Result<usize, ChangeError> {
        if certificates.is_empty() || certificates.len() > REVOKED_AT_ONCE_MAX {
            let why = format!("between 1 and {REVOKED_AT_ONCE_MAX} certificates are expected");
            return Err(ChangeError::invalid("certificates", why));
        }
        self.change(|draft| {
            let mut changed = 0;
            for (zone, id) in certificates {
                let shared = draft.shared();
                let old = shared.entry(*zone, *id)?;
                if old.status == Status::Revoked {
                    continue;
                }
                let body = shared.body(*zone, old.sequence)?;
                let serial = fill(&draft.model, *zone, &old, &body)?.details.serial;
                let entry = CertificateEntry {
                    status: Status::Revoked,
                    status_since: draft.now.seconds(),
                    ..old
                };
                put_entry(draft, *zone, Some(old), entry);
                draft.set_revoked(entry.authority, &serial, Some(reason));
                changed += 1;
            }
            Ok(changed)
        })
    }

    /// Believes a revoked certificate again.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn restore_certificate(
        &self,
        zone: Id,
        id: Uuid,
    ) -> Result<ClientCertificate, ChangeError> {
        self.set_status(zone, id, None)
    }

    fn set_status(
        &self,
        zone: Id,
        id: Uuid,
        revoked: Option<RevocationReason>,
    ) -> Result<ClientCertificate, ChangeError> {
        self.change(|draft| set_status(draft, zone, id, revoked))
    }

    /// Revokes what was revoked before, elsewhere. Of a certificate that is not on record its CA is told the serial
    /// number: whom that CA has signed is believed with a record or without. Nothing when it is revoked already.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] when the CA is not there, and nobody whom it signed is believed.
    pub(crate) fn revoke_again(
        &self,
        zone: Id,
        id: Uuid,
        authority: Uuid,
        serial: &[u8],
        reason: RevocationReason,
    ) -> Result<(), ChangeError> {
        self.change(|draft| match set_status(draft, zone, id, Some(reason)) {
            Err(ChangeError::NotFound { .. }) => {
                revoke_unrecorded(draft, (zone, id), authority, serial, reason)
            }
            done => done.map(drop),
        })
    }
}

fn set_status(
    draft: &mut Draft<'_>,
    zone: Id,
    id: Uuid,
    revoked: Option<RevocationReason>,
) -> Result<ClientCertificate, ChangeError> {
    let status = match revoked {
        Some(_) => Status::Revoked,
        None => Status::Active,
    };
    let shared = draft.shared();
    let mut entry = shared.entry(zone, id)?;
    let body = shared.body(zone, entry.sequence)?;
    let old = entry;
    if entry.status != status {
        let serial = fill(&draft.model, zone, &entry, &body)?.details.serial;
        entry.status = status;
        entry.status_since = draft.now.seconds();
        put_entry(draft, zone, Some(old), entry);
        draft.set_revoked(entry.authority, &serial, revoked);
    }
    fill(&draft.model, zone, &entry, &body)
}

/// Revokes a certificate that nothing but its CA and its serial number is known of.
fn revoke_unrecorded(
    draft: &mut Draft<'_>,
    (zone, id): (Id, Uuid),
    authority: Uuid,
    serial: &[u8],
    reason: RevocationReason,
) -> Result<(), ChangeError> {
    if !draft.model.authorities.contains_key(&authority) {
        return Err(ChangeError::not_found(Noun::Authority, authority));
    }
    let revoked = draft.model.revoked.get(&authority);
    if revoked.is_some_and(|revoked| revoked.serials.contains(serial)) {
        return Ok(());
    }
    let after = json!({
        "zone": zone, "status": Status::Revoked.as_str(), "authority": authority, "serial_number": hex(serial),
    });
    draft.note(Noun::ClientCertificate, id, None, Some(&after));
    draft.set_revoked(authority, serial, Some(reason));
    Ok(())
}

impl<A: Reads> Control<A> {
    /// A part of a zone's certificates, newest first.
    ///
    /// # Errors
    /// There is no such zone, or the store cannot be read.
    pub fn certificates(
        &self,
        zone: Id,
        query: &CertificateQuery,
    ) -> Result<CertificatePage, ChangeError> {
        let model = self.model();
        if !model.zones.contains_key(&zone) {
            return Err(ChangeError::not_found(Noun::Zone, zone));
        }
        let mut found: Option<BTreeSet<u64>> = None;
        for (by, value) in &query.find {
            let by_this = self.shared.find(zone, *by, value)?;
            found = Some(match found {
                None => by_this,
                Some(others) => others.intersection(&by_this).copied().collect(),
            });
        }
        let wanted = |entry: &&CertificateEntry| {
            query.status.is_none_or(|status| entry.status == status)
                && query
                    .ends
                    .is_none_or(|(from, to)| (from..=to).contains(&entry.not_after))
        };
        let (page, total): (Vec<CertificateEntry>, usize) = {
            let index = self
                .shared
                .index
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let all = index.of(zone);
            let chosen: Vec<CertificateEntry>;
            let of = match &found {
                Some(sequences) => {
                    chosen = sequences
                        .iter()
                        .filter_map(|s| index.entry(zone, *s))
                        .collect();
                    chosen.as_slice()
                }
                None => all,
            };
            let total = match (query.status, query.ends) {
                (None, None) => of.len(),
                // What memory holds is enough: 100,000 take a fraction of a millisecond.
                _ => of.iter().filter(wanted).count(),
            };
            let page = of
                .iter()
                .rev()
                .filter(wanted)
                .skip(query.offset)
                .take(query.limit);
            (page.copied().collect(), total)
        };
        let certificates = page
            .iter()
            .map(|entry| {
                let body = self.shared.body(zone, entry.sequence)?;
                fill(&model, zone, entry, &body)
            })
            .collect::<Result<_, _>>()?;
        Ok(CertificatePage {
            certificates,
            total,
        })
    }

    /// One certificate.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn certificate(&self, zone: Id, id: Uuid) -> Result<ClientCertificate, ChangeError> {
        let entry = self.shared.entry(zone, id)?;
        let body = self.shared.body(zone, entry.sequence)?;
        fill(&self.model(), zone, &entry, &body)
    }
}

impl Shared {
    /// A managed CA, ready to sign.
    pub(crate) fn open_signer(&self, authority: &Authority) -> Result<Signer, ChangeError> {
        let AuthorityKind::Managed { key, .. } = &authority.kind else {
            return Err(ChangeError::not_found(Noun::Authority, authority.id));
        };
        let key = self
            .seal
            .open_sealed(&authority_purpose(authority.id), key)?;
        Ok(Signer::open(authority.certificate.as_bytes(), &key)?)
    }

    /// Ids of all certificates of a zone.
    pub(crate) fn certificate_ids(&self, zone: Id) -> Vec<Uuid> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.of(zone).iter().map(|entry| entry.id).collect()
    }

    fn find(&self, zone: Id, by: FindBy, value: &str) -> Result<BTreeSet<u64>, ChangeError> {
        let prefix = by.prefix(zone, value)?;
        let mut sequences = BTreeSet::new();
        self.store
            .scan(Table::CertificateFinds, &prefix, &mut |key, _| {
                let sequence = key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                sequences.extend(sequence);
                Ok(())
            })?;
        Ok(sequences)
    }

    fn entry(&self, zone: Id, id: Uuid) -> Result<CertificateEntry, ChangeError> {
        let none = || ChangeError::not_found(Noun::ClientCertificate, id);
        let key = self
            .store
            .value(Table::CertificateIds, id.as_bytes())?
            .ok_or_else(none)?;
        let (of, rest) = part(Table::CertificateIds, &key)?;
        let sequence = rest.try_into().map(u64::from_be_bytes).ok();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        sequence
            .filter(|_| Id::from_bytes(of) == zone)
            .and_then(|sequence| index.entry(zone, sequence))
            .ok_or_else(none)
    }

    /// The CA of a certificate, and its serial number there.
    pub(crate) fn authority_and_serial(
        &self,
        model: &Model,
        zone: Id,
        id: Uuid,
    ) -> Result<(Uuid, Vec<u8>), ChangeError> {
        let entry = self.entry(zone, id)?;
        let body = self.body(zone, entry.sequence)?;
        let serial = fill(model, zone, &entry, &body)?.details.serial;
        Ok((entry.authority, serial.to_vec()))
    }

    fn body(&self, zone: Id, sequence: u64) -> Result<Vec<u8>, ChangeError> {
        let found = self
            .store
            .value(Table::CertificateBodies, &row_key(zone, sequence))?;
        // Row and body come and go together: the zone was removed since the row was read.
        found.ok_or_else(|| ChangeError::not_found(Noun::Zone, zone))
    }
}

#[cfg(test)]
impl Control {
    /// The zone's newest managed CA, ready to sign: what a CA could issue elsewhere.
    pub(crate) fn signer(&self, zone: Id) -> Result<(Arc<Authority>, Signer), ChangeError> {
        let authority = issuing(&self.model(), zone)?;
        let signer = self.shared.open_signer(&authority)?;
        Ok((authority, signer))
    }
}

/// The zone's newest managed CA.
fn issuing(model: &Model, zone: Id) -> Result<Arc<Authority>, ChangeError> {
    let newest = model.managed(zone).first().map(|ca| Arc::clone(ca));
    newest.ok_or_else(|| ChangeError::not_found(Noun::Zone, zone))
}

fn record(
    draft: &mut Draft<'_>,
    zone: Id,
    authority: &Authority,
    certificate: &X509,
    request: &[u8],
    validity_days: u32,
) -> Result<ClientCertificate, ChangeError> {
    let details = Details::of(certificate)?;
    let body = encode_body(
        validity_days,
        &certificate.to_der().map_err(X509Error::from)?,
        request,
    );
    let id = Uuid::random();
    let sequence = {
        let index = draft.shared().index.read();
        let index = index.unwrap_or_else(PoisonError::into_inner);
        let known = index.of(zone);
        if known.len() >= CERTIFICATES_MAX {
            let what = "client certificates of a zone";
            return Err(ChangeError::Full {
                what,
                max: CERTIFICATES_MAX,
            });
        }
        known.last().map_or(1, |last| last.sequence + 1)
    };
    let entry = CertificateEntry {
        sequence,
        id,
        authority: authority.id,
        status: Status::Active,
        status_since: draft.now.seconds(),
        not_after: details.not_after,
    };
    put_entry(draft, zone, None, entry);
    draft.write(
        Table::CertificateBodies,
        row_key(zone, sequence),
        Some(body.clone()),
    );
    draft.write(
        Table::CertificateIds,
        id.as_bytes().to_vec(),
        Some(row_key(zone, sequence)),
    );
    for by in FindBy::ALL {
        let value = by.value(&details);
        if !value.is_empty() {
            let key = [by.prefix(zone, value)?, sequence.to_be_bytes().to_vec()].concat();
            draft.write(Table::CertificateFinds, key, Some(Vec::new()));
        }
    }
    fill(&draft.model, zone, &entry, &body)
}

fn fill(
    model: &Model,
    zone: Id,
    entry: &CertificateEntry,
    body: &[u8],
) -> Result<ClientCertificate, ChangeError> {
    let body = decode_body(body)
        .ok_or_else(|| StoreError::Corrupt("a client certificate's body is cut".into()))?;
    let certificate = X509::from_der(body.certificate).map_err(X509Error::from)?;
    let csr = match body.request {
        [] => None,
        der => {
            let request = X509Req::from_der(der).map_err(X509Error::from)?;
            let pem = request.to_pem().map_err(X509Error::from)?;
            Some(String::from_utf8_lossy(&pem).into_owned())
        }
    };
    let authority = model.authorities.get(&entry.authority);
    Ok(ClientCertificate {
        id: entry.id,
        zone,
        authority: entry.authority,
        authority_name: authority.map(|ca| ca.name.clone()).unwrap_or_default(),
        status: entry.status,
        status_since: entry.status_since,
        certificate: x509::to_pem(&certificate)?,
        csr,
        validity_days: body.days,
        details: Details::of(&certificate)?,
    })
}

fn put_entry(
    draft: &mut Draft<'_>,
    zone: Id,
    old: Option<CertificateEntry>,
    entry: CertificateEntry,
) {
    let key = row_key(zone, entry.sequence);
    draft.write(Table::CertificateIndex, key, Some(entry.encode()));
    let shown = |entry: CertificateEntry| json!({ "zone": zone, "status": entry.status.as_str() });
    let (before, after) = (old.map(shown), shown(entry));
    draft.note(
        Noun::ClientCertificate,
        entry.id,
        before.as_ref(),
        Some(&after),
    );
    draft.index(IndexChange::Put(zone, entry));
}
