//! Certificate revocation lists (RFC 5280 §5): read, checked, and kept small.
//!
//! Owns what a list must be before it is believed (signed by its issuer, nothing critical in it
//! that is not understood) and for which certificates it speaks. Half a million entries are kept
//! as sorted bytes of equal length, some 20 bytes each, and looked up by bisection. Indirect
//! lists, lists for some reasons only and lists of attribute certificates are refused: each would
//! make "not on the list" mean less than it says. Never reads a clock: the time is an argument.

mod issuers;
mod parse;
mod serials;

use boring::x509::{X509, X509Name, X509Ref};

use self::issuers::issuers;
use self::parse::Parsed;
use self::serials::Serials;
use super::der::{DerError, canonical_name, sequences};
use super::ids::{Link, Serial};
use crate::limits::CRL_ENTRIES_MAX;

/// Why a list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not DER, or not the structure of RFC 5280 §5.1.
    #[error("not a certificate revocation list: {0}")]
    Malformed(&'static str),
    /// Signed with something that is not believed or not known.
    #[error("its signature algorithm is not one of ECDSA or RSA with SHA-256, -384, -512, Ed25519")]
    Algorithm,
    /// None of the CA's certificates has its issuer's name.
    #[error(
        "its issuer is none of the CA's certificates; the list of a CA below it needs that CA's certificate in the same file"
    )]
    WrongIssuer,
    /// The signature is not the issuer's.
    #[error("its signature does not verify")]
    Signature,
    /// The issuer's keyUsage lacks cRLSign.
    #[error("its issuer may not sign lists: keyUsage lacks cRLSign (RFC 5280 §4.2.1.3)")]
    MayNotSign,
    /// Something critical that is not understood.
    #[error("it has a critical extension that is not understood here")]
    Critical,
    /// It speaks for other issuers too.
    #[error("it is an indirect list; a list of each issuer itself is needed (RFC 5280 §5.2.5)")]
    Indirect,
    /// It speaks of some revocations only.
    #[error("it covers some reasons or attribute certificates only")]
    Partial,
    /// No nextUpdate: nobody would notice that it is never renewed.
    #[error("it has no nextUpdate (RFC 5280 §5.1.2.5 requires it)")]
    NoNextUpdate,
    /// More entries than [`CRL_ENTRIES_MAX`].
    #[error("it has more than {CRL_ENTRIES_MAX} entries")]
    TooLong,
    /// BoringSSL failed.
    #[error("it cannot be checked: {0}")]
    Failed(String),
}

impl From<DerError> for CrlError {
    fn from(error: DerError) -> Self {
        Self::Malformed(error.0)
    }
}

impl From<boring::error::ErrorStack> for CrlError {
    fn from(error: boring::error::ErrorStack) -> Self {
        Self::Failed(error.to_string())
    }
}

/// For which certificates a list speaks (RFC 5280 §5.2.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Scope {
    /// Only those that are no CAs.
    pub only_users: bool,
    /// Only those that are.
    pub only_authorities: bool,
    /// Only those that name one of these as their distribution point; empty for all.
    pub points: Vec<Box<str>>,
}

impl Scope {
    fn covers(&self, link: &Link) -> bool {
        let names = |point| link.distribution_points.contains(point);
        let of_its_kind = if link.is_ca {
            !self.only_users
        } else {
            !self.only_authorities
        };
        of_its_kind && (self.points.is_empty() || self.points.iter().any(names))
    }
}

/// One list that was read, checked and found complete.
#[derive(Debug)]
pub struct Crl {
    /// SHA-256 of the certificate whose key signed it.
    pub issuer: [u8; 32],
    /// The same CA, by its name and key.
    pub(super) issuer_key: [u8; 32],
    /// Its name (RFC 4514).
    pub issuer_name: Box<str>,
    /// Big-endian, without leading zeros. Some CAs number none of their lists (RFC 5280 §5.2.3 is
    /// about issuers): such lists are ordered by thisUpdate, and none of them has deltas.
    pub number: Option<Box<[u8]>>,
    /// The number of the complete list that a delta list changes.
    pub base: Option<Box<[u8]>>,
    /// Seconds since the epoch.
    pub this_update_sec: i64,
    /// Seconds since the epoch; after it the list is old.
    pub next_update_sec: i64,
    /// For which certificates it speaks.
    pub scope: Scope,
    /// Entries that were left out: of their serial numbers no certificate is believed.
    pub odd_entries: usize,
    revoked: Serials,
    /// Taken off the complete list; in delta lists only.
    restored: Serials,
}

/// What a list says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Revoked,
    Restored,
    Nothing,
}

impl Crl {
    /// Reads a list in DER and checks that one of `issuers` signed it.
    ///
    /// # Errors
    /// See [`CrlError`].
    pub fn read<'i>(
        der: &[u8],
        issuers: impl IntoIterator<Item = &'i X509Ref>,
    ) -> Result<Self, CrlError> {
        let parsed = Parsed::read(der)?;
        let name = canonical_name(parsed.issuer)?;
        let mut found = CrlError::WrongIssuer;
        for issuer in issuers {
            if canonical_name(&issuer.subject_name().to_der()?)? != name {
                continue;
            }
            // Two CAs of one name: the right one is the one whose key fits.
            found = match parsed.signed_by(issuer) {
                Ok(()) => return parsed.finish(issuer),
                Err(error) => error,
            };
        }
        Err(found)
    }

    /// As [`Self::read`], whoever has signed it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn read_unsigned(der: &[u8], issuer: &X509Ref) -> Result<Self, CrlError> {
        Parsed::read(der)?.finish(issuer)
    }

    /// How many certificates it revokes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether it revokes none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its entries take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.revoked.bytes() + self.restored.bytes()
    }

    /// Whether it takes the place of another of its issuer: by their numbers, and by thisUpdate
    /// when one has none.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            (Some(number), Some(than)) => is_newer(number, than),
            _ => self.this_update_sec > other.this_update_sec,
        }
    }

    /// Whether it speaks for the same certificates as another: of the same CA, whichever of its
    /// certificates was at hand, of the same scope and kind.
    #[must_use]
    pub fn is_of_the_place_of(&self, other: &Self) -> bool {
        self.issuer_key == other.issuer_key
            && self.scope == other.scope
            && self.base.is_some() == other.base.is_some()
    }

    fn says(&self, serial: &Serial) -> Word {
        if self.revoked.contains(serial) {
            Word::Revoked
        } else if self.restored.contains(serial) {
            Word::Restored
        } else {
            Word::Nothing
        }
    }
}

/// Why one of several lists is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("list {place} of {count}, of {issuer}: {why}")]
pub struct ListError {
    /// Which one, from 1.
    pub place: usize,
    /// Of how many.
    pub count: usize,
    /// The name of its issuer, or what was read of it.
    pub issuer: String,
    /// What is wrong with it.
    pub why: CrlError,
}

/// Reads lists (DER) of a CA and of the issuing CAs below it, whose certificates may come along in
/// `below`: they verify lists and are no anchors. A CA's certificate counts when one of `cas`, or
/// another that counts, has signed it.
///
/// # Errors
/// The first list that is not to be believed: either all of them are taken or none.
pub fn read_lists(ders: &[Vec<u8>], cas: &[X509], below: &[X509]) -> Result<Vec<Crl>, ListError> {
    let issuers = issuers(cas, below);
    let read = |(place, der): (usize, &Vec<u8>)| {
        Crl::read(der, issuers.iter().map(|issuer| &**issuer)).map_err(|why| ListError {
            place: place + 1,
            count: ders.len(),
            issuer: issuer_of(der),
            why,
        })
    };
    ders.iter().enumerate().map(read).collect()
}

/// The lists in these bytes, one behind the other.
///
/// # Errors
/// What is there is no DER.
pub fn split_lists(bytes: &[u8]) -> Result<Vec<Vec<u8>>, CrlError> {
    Ok(sequences(bytes)?)
}

fn issuer_of(der: &[u8]) -> String {
    let name = parse::issuer(der).ok();
    let name = name.and_then(|name| X509Name::from_der(name).ok());
    name.and_then(|name| name.print_ex(boring_sys::XN_FLAG_RFC2253 as _))
        .unwrap_or_else(|| "an issuer that cannot be read".into())
}

vocabulary::words! {
    /// What is done with a client whose issuer's list is missing, old or from the future.
    pub enum CrlPolicy("a CRL policy") {
        /// It is refused: `crl_missing`, `crl_expired`, `crl_not_yet_valid`.
        Hard = "hard",
        /// It is served, and an alarm says that its revocation is not known.
        Soft = "soft",
    }
}

/// The lists of one CA.
#[derive(Debug)]
pub struct CrlSet {
    /// What is done when one is wanting.
    pub policy: CrlPolicy,
    /// Complete ones and deltas, in any order.
    pub lists: Vec<std::sync::Arc<Crl>>,
}

/// What the lists of one CA say of a certificate at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Revoked,
    /// Not revoked, known until then.
    Good(i64),
    Missing,
    Expired,
    NotYetValid,
}

impl CrlSet {
    /// What is known of a certificate by the lists of the CA that signed it, whichever of that CA's
    /// certificates is on the path.
    pub(super) fn find(&self, link: &Link, now_sec: i64) -> Finding {
        let of_issuer = || {
            self.lists
                .iter()
                .filter(|list| list.issuer_key == link.issuer_key && list.scope.covers(link))
        };
        let mut best = Finding::Missing;
        for complete in of_issuer().filter(|list| list.base.is_none()) {
            let mut until = complete.next_update_sec;
            let mut word = complete.says(&link.serial);
            // The newest delta that builds on this list or an older one (RFC 5280 §5.2.4).
            let deltas = of_issuer().filter(|delta| {
                let (Some(base), Some(from), Some(to)) =
                    (&delta.base, &complete.number, &delta.number)
                else {
                    return false;
                };
                delta.scope == complete.scope && !is_newer(base, from) && is_newer(to, from)
            });
            let newest = deltas.reduce(|a, b| if b.is_newer_than(a) { b } else { a });
            if let Some(delta) = newest.filter(|delta| delta.this_update_sec <= now_sec) {
                until = until.min(delta.next_update_sec);
                match delta.says(&link.serial) {
                    Word::Nothing => {}
                    said => word = said,
                }
            }
            // What was revoked stays so, however old the list that says it.
            if word == Word::Revoked {
                return Finding::Revoked;
            }
            let finding = if complete.this_update_sec > now_sec {
                Finding::NotYetValid
            } else if until < now_sec {
                Finding::Expired
            } else {
                Finding::Good(until)
            };
            best = match (best, finding) {
                (Finding::Good(one), Finding::Good(other)) => Finding::Good(one.max(other)),
                (Finding::Good(until), _) => Finding::Good(until),
                (_, finding) => finding,
            };
        }
        best
    }
}

/// Compares numbers of any length.
#[must_use]
pub fn is_newer(number: &[u8], than: &[u8]) -> bool {
    (number.len(), number) > (than.len(), than)
}
