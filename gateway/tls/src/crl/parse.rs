//! The structure of a list (RFC 5280 §5.1), as it was written and before it is believed.

use boring::x509::X509Ref;

use super::serials::Collector;
use super::{Crl, CrlError, Scope};
use crate::der::{self, Algorithm, Reader, extensions, tag};
use crate::ids::{Serial, name_and_key, sha256};
use crate::limits::{CRL_ENTRIES_MAX, DISTRIBUTION_POINTS_MAX};
use crate::pem::subject;

/// A list as it was written, before its signature is checked.
pub(super) struct Parsed<'d> {
    /// The bytes that were signed.
    signed: &'d [u8],
    signature: &'d [u8],
    algorithm: Algorithm,
    pub(super) issuer: &'d [u8],
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

impl<'d> Parsed<'d> {
    pub(super) fn read(der: &'d [u8]) -> Result<Self, CrlError> {
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
        // Version 2 is written as 1; version 1 says nothing and has no extensions.
        let version = tbs.optional(tag::INTEGER)?;
        if version.is_some_and(|version| version != [1]) {
            return Err(CrlError::Malformed("version"));
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
            algorithm: Algorithm::read(algorithm)?.ok_or(CrlError::Algorithm)?,
            issuer,
            this_update_sec,
            next_update_sec,
            entries,
            extensions,
        })
    }

    pub(super) fn signed_by(&self, issuer: &X509Ref) -> Result<(), CrlError> {
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

    pub(super) fn finish(self, issuer: &X509Ref) -> Result<Crl, CrlError> {
        let (mut revoked, mut restored) = (Collector::default(), Collector::default());
        let mut entries = Reader::new(self.entries);
        let (mut count, mut odd_entries) = (0_usize, 0);
        while !entries.is_empty() {
            count += 1;
            if count > CRL_ENTRIES_MAX {
                return Err(CrlError::TooLong);
            }
            let entry = entries.expect(tag::SEQUENCE, "an entry")?;
            let mut entry = Reader::new(entry);
            let serial = Serial::of_integer(entry.expect(tag::INTEGER, "an entry's serial")?);
            // When it was revoked makes no difference, so that a date in another form does not
            // cost the list.
            let (tag::UTC_TIME | tag::GENERALIZED_TIME, _) = entry.any()? else {
                return Err(CrlError::Malformed("an entry's date"));
            };
            let removed = match entry.optional(tag::SEQUENCE)? {
                Some(extensions) => is_removed(extensions)?,
                None => false,
            };
            entry.end("bytes follow an entry")?;
            let into = if removed { &mut restored } else { &mut revoked };
            match serial {
                Some(serial) => into.add(&serial),
                None => odd_entries += 1,
            }
        }
        let base = self.extensions.base;
        if base.is_some() && self.extensions.number.is_none() {
            return Err(CrlError::Malformed("a delta list without a number"));
        }
        if base.is_none() && !restored.is_empty() {
            return Err(CrlError::Malformed("removeFromCRL in a complete list"));
        }
        Ok(Crl {
            issuer: sha256(&issuer.to_der()?)?,
            issuer_key: name_and_key(issuer)?,
            issuer_name: subject(issuer).into(),
            number: self.extensions.number,
            base,
            this_update_sec: self.this_update_sec,
            next_update_sec: self.next_update_sec,
            scope: self.extensions.scope,
            odd_entries,
            revoked: revoked.finish(),
            restored: restored.finish(),
        })
    }
}

/// The issuer's name in a list, whatever is wrong with the rest of it.
pub(super) fn issuer(der: &[u8]) -> Result<&[u8], CrlError> {
    let mut list = Reader::new(Reader::new(der).expect(tag::SEQUENCE, "it is no SEQUENCE")?);
    let mut tbs = Reader::new(list.expect(tag::SEQUENCE, "tbsCertList")?);
    tbs.optional(tag::INTEGER)?;
    tbs.expect(tag::SEQUENCE, "signature algorithm")?;
    let (issuer, _) = tbs.whole(tag::SEQUENCE, "issuer")?;
    Ok(issuer)
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
