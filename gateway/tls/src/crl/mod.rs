//! Certificate revocation lists (RFC 5280 §5): read, checked, and kept small.
//!
//! Owns what a list must be before it is believed (signed by its issuer, nothing critical in it
//! that is not understood) and for which certificates it speaks. Half a million entries are kept
//! as sorted bytes of equal length, some 20 bytes each, and looked up by bisection. Indirect
//! lists, lists for some reasons only and lists of attribute certificates are refused: each would
//! make "not on the list" mean less than it says. Never reads a clock: the time is an argument.

pub(super) mod der;
mod serials;

use boring::hash::MessageDigest;
use boring::pkey::{Id, PKeyRef, Public};
use boring::sign::Verifier;
use boring::x509::X509Ref;

use self::der::{Reader, tag};
use self::serials::{Collector, Serials};
use super::path::Link;
use crate::limits::{CRL_ENTRIES_MAX, DISTRIBUTION_POINTS_MAX};

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
    #[error("its issuer is none of the CA's certificates")]
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
    /// No CRL number: an older one could take its place.
    #[error("it has no CRL number (RFC 5280 §5.2.3 requires it)")]
    NoNumber,
    /// More entries than [`CRL_ENTRIES_MAX`].
    #[error("it has more than {CRL_ENTRIES_MAX} entries")]
    TooLong,
    /// BoringSSL failed.
    #[error("it cannot be checked: {0}")]
    Failed(String),
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
    /// Big-endian, without leading zeros.
    pub number: Box<[u8]>,
    /// The number of the complete list that a delta list changes.
    pub base: Option<Box<[u8]>>,
    /// Seconds since the epoch.
    pub this_update_sec: i64,
    /// Seconds since the epoch; after it the list is old.
    pub next_update_sec: i64,
    /// For which certificates it speaks.
    pub scope: Scope,
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
        let mut found = CrlError::WrongIssuer;
        for issuer in issuers {
            if issuer.subject_name().to_der()? != parsed.issuer {
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

    fn says(&self, serial: &[u8]) -> Word {
        if self.revoked.contains(serial) {
            Word::Revoked
        } else if self.restored.contains(serial) {
            Word::Restored
        } else {
            Word::Nothing
        }
    }
}

/// What is done with a client whose issuer's list is missing, old or from the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlPolicy {
    /// It is refused: `crl_missing`, `crl_expired`, `crl_not_yet_valid`.
    Hard,
    /// It is served, and alarms say that nobody knows.
    Soft,
}

impl std::str::FromStr for CrlPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hard" => Ok(Self::Hard),
            "soft" => Ok(Self::Soft),
            _ => Err(format!("`{text}` is neither hard nor soft")),
        }
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
    /// What is known of a certificate that one of the CA's certificates signed.
    pub(super) fn find(&self, link: &Link, now_sec: i64) -> Finding {
        self.find_from(link, &link.issuer, now_sec)
    }

    /// The same by the lists of another certificate of the issuer, whose SHA-256 is given.
    pub(super) fn find_from(&self, link: &Link, issuer: &[u8; 32], now_sec: i64) -> Finding {
        let of_issuer = || {
            self.lists
                .iter()
                .filter(|list| list.issuer == *issuer && list.scope.covers(link))
        };
        let mut best = Finding::Missing;
        for complete in of_issuer().filter(|list| list.base.is_none()) {
            let mut until = complete.next_update_sec;
            let mut word = complete.says(&link.serial);
            // The newest delta that builds on this list or an older one (RFC 5280 §5.2.4).
            let deltas = of_issuer().filter(|delta| {
                delta.scope == complete.scope
                    && delta.base.as_ref().is_some_and(|base| {
                        !is_newer(base, &complete.number)
                            && is_newer(&delta.number, &complete.number)
                    })
            });
            let newest = deltas.reduce(|a, b| if is_newer(&b.number, &a.number) { b } else { a });
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

/// A list as it was written, before its signature is checked.
struct Parsed<'d> {
    /// The bytes that were signed.
    signed: &'d [u8],
    signature: &'d [u8],
    algorithm: Algorithm,
    issuer: &'d [u8],
    this_update_sec: i64,
    next_update_sec: i64,
    /// The content of revokedCertificates.
    entries: &'d [u8],
    extensions: Extensions,
}

#[derive(Default)]
struct Extensions {
    number: Option<Box<[u8]>>,
    base: Option<Box<[u8]>>,
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ecdsa(u16),
    Rsa(u16),
    Ed25519,
}

impl Algorithm {
    /// Reads an AlgorithmIdentifier.
    pub(super) fn read(content: &[u8]) -> Result<Self, CrlError> {
        let mut reader = Reader::new(content);
        let object = reader.expect(tag::OBJECT, "algorithm")?;
        match object {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Ok(Self::Ecdsa(256)),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => Ok(Self::Ecdsa(384)),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => Ok(Self::Ecdsa(512)),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11] => Ok(Self::Rsa(256)),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] => Ok(Self::Rsa(384)),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] => Ok(Self::Rsa(512)),
            [0x2b, 0x65, 0x70] => Ok(Self::Ed25519),
            _ => Err(CrlError::Algorithm),
        }
    }

    pub(super) fn verifies(
        self,
        key: &PKeyRef<Public>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, CrlError> {
        let digest = |bits| match bits {
            256 => MessageDigest::sha256(),
            384 => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        };
        let mut verifier = match (self, key.id()) {
            (Self::Ecdsa(bits), Id::EC) | (Self::Rsa(bits), Id::RSA) => {
                Verifier::new(digest(bits), key)?
            }
            (Self::Ed25519, Id::ED25519) => Verifier::new_without_digest(key)?,
            _ => return Ok(false),
        };
        // A signature that cannot even be read does not verify.
        Ok(verifier.verify_oneshot(signature, signed).unwrap_or(false))
    }
}

impl<'d> Parsed<'d> {
    fn read(der: &'d [u8]) -> Result<Self, CrlError> {
        let mut outer = Reader::new(der);
        let list = outer.expect(tag::SEQUENCE, "it is no SEQUENCE")?;
        outer.end("bytes follow it")?;
        let mut list = Reader::new(list);
        let (signed, content) = list.whole(tag::SEQUENCE, "tbsCertList")?;
        let algorithm = list.expect(tag::SEQUENCE, "signatureAlgorithm")?;
        let bits = list.expect(tag::BIT_STRING, "signature")?;
        list.end("bytes follow the signature")?;
        let Some((0, signature)) = bits.split_first() else {
            return Err(CrlError::Malformed("the signature is no whole bytes"));
        };
        let mut tbs = Reader::new(content);
        // Version 2 is written as 1; version 1, which says nothing, has no extensions and so no
        // number.
        match tbs.optional(tag::INTEGER)? {
            Some([1]) => {}
            Some(_) => return Err(CrlError::Malformed("version")),
            None => return Err(CrlError::NoNumber),
        }
        let inner = tbs.expect(tag::SEQUENCE, "signature algorithm")?;
        if inner != algorithm {
            return Err(CrlError::Malformed("its two signature algorithms differ"));
        }
        let (issuer, _) = tbs.whole(tag::SEQUENCE, "issuer")?;
        let this_update_sec = tbs.time()?.ok_or(CrlError::Malformed("thisUpdate"))?;
        let next_update_sec = tbs.time()?.ok_or(CrlError::NoNextUpdate)?;
        let entries = tbs.optional(tag::SEQUENCE)?.unwrap_or_default();
        let extensions = match tbs.optional(tag::CONTEXT_0)? {
            Some(content) => Extensions::read(content)?,
            None => Extensions::default(),
        };
        tbs.end("bytes follow the extensions")?;
        Ok(Self {
            signed,
            signature,
            algorithm: Algorithm::read(algorithm)?,
            issuer,
            this_update_sec,
            next_update_sec,
            entries,
            extensions,
        })
    }

    fn signed_by(&self, issuer: &X509Ref) -> Result<(), CrlError> {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let der = issuer.to_der()?;
        let parsed =
            X509Certificate::from_der(&der).map_err(|_unreadable| CrlError::WrongIssuer)?;
        let usage = parsed
            .1
            .key_usage()
            .map_err(|_unreadable| CrlError::MayNotSign)?;
        if usage.is_some_and(|usage| !usage.value.crl_sign()) {
            return Err(CrlError::MayNotSign);
        }
        let key = issuer.public_key()?;
        if self.algorithm.verifies(&key, self.signed, self.signature)? {
            Ok(())
        } else {
            Err(CrlError::Signature)
        }
    }

    fn finish(self, issuer: &X509Ref) -> Result<Crl, CrlError> {
        let (mut revoked, mut restored) = (Collector::default(), Collector::default());
        let mut entries = Reader::new(self.entries);
        let mut count = 0_usize;
        while !entries.is_empty() {
            count += 1;
            if count > CRL_ENTRIES_MAX {
                return Err(CrlError::TooLong);
            }
            let entry = entries.expect(tag::SEQUENCE, "an entry")?;
            let mut entry = Reader::new(entry);
            let serial = der::unsigned(entry.expect(tag::INTEGER, "an entry's serial")?);
            entry
                .time()?
                .ok_or(CrlError::Malformed("an entry's date"))?;
            let removed = match entry.optional(tag::SEQUENCE)? {
                Some(extensions) => is_removed(extensions)?,
                None => false,
            };
            entry.end("bytes follow an entry")?;
            let into = if removed { &mut restored } else { &mut revoked };
            if !into.add(serial) {
                return Err(CrlError::Malformed("a serial number of more than 20 bytes"));
            }
        }
        let base = self.extensions.base;
        if base.is_none() && !restored.is_empty() {
            return Err(CrlError::Malformed("removeFromCRL in a complete list"));
        }
        Ok(Crl {
            issuer: super::trust::sha256(&issuer.to_der()?)?,
            number: self.extensions.number.ok_or(CrlError::NoNumber)?,
            base,
            this_update_sec: self.this_update_sec,
            next_update_sec: self.next_update_sec,
            scope: self.extensions.scope,
            revoked: revoked.finish(),
            restored: restored.finish(),
        })
    }
}

/// Calls `each` with object, criticality and value of every extension.
pub(super) fn extensions<'d>(
    content: &'d [u8],
    mut each: impl FnMut(&'d [u8], bool, &'d [u8]) -> Result<(), CrlError>,
) -> Result<(), CrlError> {
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        let mut extension = Reader::new(reader.expect(tag::SEQUENCE, "an extension")?);
        let object = extension.expect(tag::OBJECT, "an extension's name")?;
        let critical = extension
            .optional(tag::BOOLEAN)?
            .is_some_and(|value| value != [0]);
        let value = extension.expect(tag::OCTET_STRING, "an extension's value")?;
        extension.end("bytes follow an extension")?;
        each(object, critical, value)?;
    }
    Ok(())
}

/// Whether an entry takes a certificate off the list (RFC 5280 §5.3.1: reason 8).
fn is_removed(content: &[u8]) -> Result<bool, CrlError> {
    let mut removed = false;
    extensions(content, |object, critical, value| match object {
        [0x55, 0x1d, 0x15] => {
            let reason = Reader::new(value).expect(tag::ENUMERATED, "a reason")?;
            removed = reason == [8];
            Ok(())
        }
        // certificateIssuer: the mark of an indirect list.
        [0x55, 0x1d, 0x1d] => Err(CrlError::Indirect),
        _ if critical => Err(CrlError::Critical),
        _ => Ok(()),
    })?;
    Ok(removed)
}

impl Extensions {
    fn read(content: &[u8]) -> Result<Self, CrlError> {
        let mut outer = Reader::new(content);
        let list = outer.expect(tag::SEQUENCE, "extensions")?;
        outer.end("bytes follow the extensions")?;
        let mut found = Self::default();
        extensions(list, |object, critical, value| {
            let number = || {
                let mut reader = Reader::new(value);
                let digits = reader.expect(tag::INTEGER, "a number")?;
                Ok::<_, CrlError>(Some(Box::from(der::unsigned(digits))))
            };
            match object {
                // cRLNumber
                [0x55, 0x1d, 0x14] => found.number = number()?,
                // deltaCRLIndicator
                [0x55, 0x1d, 0x1b] => found.base = number()?,
                // issuingDistributionPoint
                [0x55, 0x1d, 0x1c] => found.scope = scope(value)?,
                _ if critical => return Err(CrlError::Critical),
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Reads an issuingDistributionPoint (RFC 5280 §5.2.5).
fn scope(value: &[u8]) -> Result<Scope, CrlError> {
    let mut outer = Reader::new(value);
    let mut reader = Reader::new(outer.expect(tag::SEQUENCE, "issuingDistributionPoint")?);
    let mut scope = Scope::default();
    let set = |value: Option<&[u8]>| value.is_some_and(|value| value != [0]);
    if let Some(point) = reader.optional(0xa0)? {
        // fullName; a name relative to the issuer's would have to be put together first.
        let mut names = Reader::new(point);
        let mut names = Reader::new(names.expect(0xa0, "distributionPoint")?);
        while !names.is_empty() {
            let (found, content) = names.any()?;
            if found == 0x86 {
                let uri = std::str::from_utf8(content)
                    .map_err(|_not_text| CrlError::Malformed("a URI"))?;
                scope.points.push(uri.into());
            }
        }
        scope.points.truncate(DISTRIBUTION_POINTS_MAX);
        if scope.points.is_empty() {
            return Err(CrlError::Partial);
        }
        scope.points.sort_unstable();
    }
    scope.only_users = set(reader.optional(0x81)?);
    scope.only_authorities = set(reader.optional(0x82)?);
    let some_reasons = reader.optional(0x83)?.is_some();
    let indirect = set(reader.optional(0x84)?);
    let attributes = set(reader.optional(0x85)?);
    reader.end("issuingDistributionPoint")?;
    if indirect {
        return Err(CrlError::Indirect);
    }
    if some_reasons || attributes || (scope.only_users && scope.only_authorities) {
        return Err(CrlError::Partial);
    }
    Ok(scope)
}
