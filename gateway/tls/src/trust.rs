//! What client certificates of a host are verified by: anchors and revocations.
//!
//! Compiled once per change, shared by every connection. Anything unreadable refuses the whole
//! set: a CA set never becomes smaller or larger by accident. Does not verify; see `verify`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use boring::x509::X509;
use boring::x509::store::{X509Store, X509StoreBuilder};
use boring::x509::verify::X509VerifyFlags;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::crl::{CrlPolicy, CrlSet, Finding};
use super::ids::{CaId, Denied, Link, name_and_key, sha256};
use super::ocsp::{CertStatus, OcspSubject, Responder};
use super::path::Path;
use crate::limits::OCSP_RETRY;
use vocabulary::verdict::Reason;

/// One CA whose clients are believed.
#[derive(Debug, Clone)]
pub struct Anchor {
    /// The CA's UUID.
    pub id: CaId,
    /// Its certificate in DER: a root or an issuing intermediate.
    pub der: Vec<u8>,
    /// Serial numbers that it has revoked, by our own records, big-endian without leading zeros.
    /// None of them is negative: the CAs whose certificates we revoke number them themselves.
    pub revoked: Arc<HashSet<Box<[u8]>>>,
    /// Certificates that are not believed below it, by our own records: of it and of CAs below it.
    pub denied: Arc<HashSet<Denied>>,
    /// Its revocation lists, and what is done when they are wanting; `None` when none are
    /// configured.
    pub lists: Option<Arc<CrlSet>>,
    /// The OCSP responder for its clients; `None` without one.
    pub responder: Option<Arc<Responder>>,
}

/// Why a CA set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A host that asks for certificates needs a CA: an empty set fails closed.
    #[error(
        "the CA set is empty: a host whose mTLS mode is `request` or `require` needs at least one CA"
    )]
    Empty,
    /// The bytes are not a certificate.
    #[error("CA {id}: not a certificate: {why}")]
    Unreadable {
        /// The CA.
        id: CaId,
        /// What the parser said.
        why: String,
    },
    /// basicConstraints or keyUsage say that it may not sign (RFC 5280 §4.2.1.9, §4.2.1.3).
    #[error("CA {id}: {subject} cannot sign certificates: {why}")]
    CannotSign {
        /// The CA.
        id: CaId,
        /// Its subject.
        subject: String,
        /// What is missing.
        why: &'static str,
    },
    /// BoringSSL would not build the store.
    #[error("the CA set cannot be compiled: {0}")]
    Store(#[from] boring::error::ErrorStack),
}

/// An anchor as the verifier needs it.
pub(super) struct CompiledAnchor {
    pub(super) id: CaId,
    pub(super) x509: X509,
    /// SHA-256 of the DER.
    pub(super) fingerprint: [u8; 32],
    /// The same for all certificates of one CA.
    pub(super) name_and_key: [u8; 32],
    pub(super) revoked: Arc<HashSet<Box<[u8]>>>,
    denied: Arc<HashSet<Denied>>,
    pub(super) lists: Option<Arc<CrlSet>>,
    pub(super) responder: Option<Arc<Responder>>,
}

/// A responder that should be asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) responder: Arc<Responder>,
    /// Without its answer the client is refused.
    pub(super) waits: bool,
}

/// What revocations make of a path.
pub(super) struct Standing {
    /// What is wrong with it, if anything is.
    pub(super) reason: Option<Reason>,
    /// Whose list or certificate that is about.
    pub(super) about: Option<Arc<str>>,
    /// The last second, since the epoch, at which that holds without another look.
    pub(super) until_sec: i64,
    /// When to look again all the same: an answer should be renewed, or is expected.
    pub(super) look_again_sec: i64,
    /// Whom to ask.
    pub(super) ask: Option<Ask>,
}

impl Standing {
    /// What a responder has said of a leaf, and whether to ask it.
    fn responder(&mut self, responder: &Arc<Responder>, subject: &OcspSubject, now_sec: i64) {
        let hard = responder.policy == CrlPolicy::Hard;
        let known = responder.answers.find(subject);
        let holds = known.filter(|known| now_sec <= known.until_sec);
        let revoked = known.is_some_and(|known| known.said == CertStatus::Revoked);
        let wanting = match (holds, known) {
            // Revoked stays revoked until a newer answer says otherwise.
            _ if revoked => None,
            (Some(known), _) => match known.said {
                CertStatus::Good | CertStatus::Revoked => None,
                CertStatus::Unknown => Some(Reason::OcspUnknown),
                CertStatus::Failed(reason) => Some(reason),
            },
            (None, Some(known)) if known.said == CertStatus::Good => Some(Reason::OcspExpired),
            (None, _) => Some(Reason::OcspMissing),
        };
        let asks =
            known.is_none_or(|known| now_sec >= known.again_sec || !(revoked || holds.is_some()));
        self.look_again_sec = match known {
            Some(known) if !asks => known.again_sec,
            // The answer is under way.
            _ if wanting.is_some() => now_sec.saturating_add(1),
            _ => now_sec.saturating_add(OCSP_RETRY_SEC),
        };
        if asks {
            self.ask = Some(Ask {
                responder: responder.clone(),
                waits: hard && !revoked && holds.is_none(),
            });
        }
        if revoked {
            self.reason = Some(Reason::Revoked);
        } else if hard {
            if let Some(known) = holds {
                self.until_sec = self.until_sec.min(known.until_sec);
            }
            self.reason = self.reason.or(wanting);
        }
    }
}

#[expect(clippy::cast_possible_wrap, reason = "seconds")]
const OCSP_RETRY_SEC: i64 = OCSP_RETRY.as_secs() as i64;

/// A compiled CA set with its revocations.
pub struct Trust {
    anchors: Vec<CompiledAnchor>,
    store: X509Store,
    digest: [u8; 32],
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("anchors", &self.anchors.len())
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Compiles a CA set. By an empty one no client verifies: it is for hosts with mTLS off.
    ///
    /// # Errors
    /// Any anchor that is unreadable or cannot sign refuses the whole set.
    pub fn build(anchors: Vec<Anchor>) -> Result<Self, TrustError> {
        let mut store = X509StoreBuilder::new()?;
        // An issuing intermediate may be the anchor.
        store.try_set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        let mut compiled = Vec::with_capacity(anchors.len());
        for anchor in anchors {
            let x509 = readable_issuer(&anchor)?;
            store.add_cert(&x509)?;
            compiled.push(CompiledAnchor {
                fingerprint: sha256(&anchor.der)?,
                name_and_key: name_and_key(&x509)?,
                id: anchor.id,
                x509,
                revoked: anchor.revoked,
                denied: anchor.denied,
                lists: anchor.lists,
                responder: anchor.responder,
            });
        }
        // The id is part of it: the same certificate under another id is told to rules as another.
        let mut parts = Vec::with_capacity(compiled.len());
        for anchor in &compiled {
            parts.push([sha256(anchor.id.as_bytes())?, anchor.fingerprint].concat());
        }
        parts.sort_unstable();
        let digest = sha256(&parts.concat())?;
        Ok(Self {
            anchors: compiled,
            store: store.build(),
            digest,
        })
    }

    /// SHA-256 over the set's ids and certificates, whatever their order. Revocations are not part
    /// of it.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether the set is empty, so that no client verifies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// The certificates, for paths and for the list that clients are shown (RFC 8446 §4.2.4).
    pub(super) fn anchors(&self) -> impl Iterator<Item = &X509> {
        self.anchors.iter().map(|anchor| &anchor.x509)
    }

    /// The id of the anchor with this SHA-256.
    pub(super) fn anchor(&self, fingerprint: &[u8; 32]) -> Option<&CaId> {
        self.compiled(fingerprint).map(|anchor| &anchor.id)
    }

    /// [`name_and_key`] of the anchor with this SHA-256.
    pub(super) fn name_and_key(&self, fingerprint: &[u8; 32]) -> Option<&[u8; 32]> {
        self.compiled(fingerprint)
            .map(|anchor| &anchor.name_and_key)
    }

    fn compiled(&self, fingerprint: &[u8; 32]) -> Option<&CompiledAnchor> {
        self.anchors
            .iter()
            .find(|anchor| anchor.fingerprint == *fingerprint)
    }

    /// What revocations make of a path that was verified by this CA set: our own records, and the
    /// lists of CAs that have any.
    pub(super) fn standing(&self, path: &Path, now_sec: i64) -> Standing {
        let mut standing = Standing {
            reason: None,
            about: None,
            until_sec: i64::MAX,
            look_again_sec: i64::MAX,
            ask: None,
        };
        let top = self.anchors.iter().find(|anchor| anchor.id == path.anchor);
        for link in &path.links {
            let issuer = self.compiled(&link.issuer);
            if self.is_revoked_by_its_issuer(link, now_sec) {
                standing.reason = Some(Reason::Revoked);
                standing.about = Some(link.issuer_name.clone());
                return standing;
            }
            // An issuer that came with the client's chain has no lists of its own: what is asked
            // of its anchor's is asked of it.
            let Some(lists) = issuer.or(top).and_then(|anchor| anchor.lists.as_ref()) else {
                continue;
            };
            let wanting = match lists.find(link, now_sec) {
                Finding::Revoked => {
                    standing.reason = Some(Reason::Revoked);
                    standing.about = Some(link.issuer_name.clone());
                    return standing;
                }
                Finding::Good(until_sec) => {
                    if lists.policy == CrlPolicy::Hard {
                        standing.until_sec = standing.until_sec.min(until_sec);
                    }
                    continue;
                }
                Finding::Missing => Reason::CrlMissing,
                Finding::Expired => Reason::CrlExpired,
                Finding::NotYetValid => Reason::CrlNotYetValid,
            };
            if lists.policy == CrlPolicy::Hard && standing.reason.is_none() {
                standing.reason = Some(wanting);
                standing.about = Some(link.issuer_name.clone());
            }
        }
        // Of the client itself a responder is asked; its issuers are the lists' business.
        let issuer = path.links.first().map(|link| self.compiled(&link.issuer));
        let responder = issuer.and_then(|issuer| issuer.or(top)?.responder.as_ref());
        if let Some(responder) = responder {
            standing.responder(responder, &path.subject, now_sec);
        }
        standing
    }

    /// Whether the CA that signed it has revoked it, by our own records or by a list that was given
    /// to us, with whichever CA. Which of its issuer's certificates is on the path may be the
    /// client's choice.
    fn is_revoked_by_its_issuer(&self, link: &Link, now_sec: i64) -> bool {
        let serial = link.serial.unsigned();
        let denied = Denied {
            issuer: link.issuer_digest,
            serial: link.serial.clone(),
        };
        self.anchors.iter().any(|anchor| {
            let by_record = anchor.name_and_key == link.issuer_key
                && serial.is_some_and(|serial| anchor.revoked.contains(serial));
            let lists = anchor.lists.as_ref();
            by_record
                || anchor.denied.contains(&denied)
                || lists.is_some_and(|lists| lists.find(link, now_sec) == Finding::Revoked)
        })
    }

    pub(super) fn store(&self) -> &X509Store {
        &self.store
    }
}

pub(super) fn readable_issuer(anchor: &Anchor) -> Result<X509, TrustError> {
    let unreadable = |why: String| TrustError::Unreadable {
        id: anchor.id.clone(),
        why,
    };
    let (rest, parsed) =
        X509Certificate::from_der(&anchor.der).map_err(|error| unreadable(error.to_string()))?;
    if !rest.is_empty() {
        return Err(unreadable("bytes follow the certificate".into()));
    }
    let cannot_sign = |why| TrustError::CannotSign {
        id: anchor.id.clone(),
        subject: parsed.subject().to_string(),
        why,
    };
    let constraints = parsed
        .basic_constraints()
        .map_err(|error| unreadable(error.to_string()))?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(cannot_sign(
            "basicConstraints does not say CA:TRUE (RFC 5280 §4.2.1.9)",
        ));
    }
    let usage = parsed
        .key_usage()
        .map_err(|error| unreadable(error.to_string()))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(cannot_sign(
            "keyUsage lacks keyCertSign (RFC 5280 §4.2.1.3)",
        ));
    }
    X509::from_der(&anchor.der).map_err(|error| unreadable(error.to_string()))
}
