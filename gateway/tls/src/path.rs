//! A path from a client's certificate to an anchor that BoringSSL has verified, and the memory of
//! such paths.
//!
//! Owns what has to be known of a path to ask again whether it is still good, without checking a
//! signature again: when it ends, and which serial numbers which issuers would have to revoke.
//! The memory belongs to one thread, is bounded, holds positive answers only, and its key covers
//! every byte that was presented and the CA set: what one host believes is never another's.
//! Revocations are no part of it; they are asked of [`Trust`] every time.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use boring::error::ErrorStack;
use boring::sha::Sha256;
use boring::x509::{X509, X509Ref};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::chain::Chain;
use super::identity::dn_rfc2253;
use super::ids::{CaId, Link, Serial, issuer_digest, name_and_key, sha256};
use super::ocsp::OcspSubject;
use super::trust::Trust;
use crate::limits::{DISTRIBUTION_POINTS_MAX, PATHS_REMEMBERED_MAX};
use vocabulary::client_auth::ClientAuth;
use vocabulary::verdict::Reason;

/// A verified path.
#[derive(Debug)]
pub(super) struct Path {
    /// [`Trust::digest`] of the CA set that it was verified by.
    pub(super) trust: [u8; 32],
    /// SHA-256 of the leaf.
    pub(super) leaf: [u8; 32],
    /// What OCSP answers about the leaf are kept by.
    pub(super) subject: OcspSubject,
    /// The name of the leaf's issuer, in DER, as the leaf has it.
    pub(super) issuer_name: Box<[u8]>,
    /// The anchor that it ends in.
    pub(super) anchor: CaId,
    /// The leaf's issuer.
    pub(super) issuer: X509,
    /// From the leaf up, the anchor's own issuer excluded.
    pub(super) links: Box<[Link]>,
    /// The first second, since the epoch, at which every certificate of it is valid.
    not_before_sec: i64,
    /// The last one.
    pub(super) not_after_sec: i64,
    /// What rules, logs and origins see of its leaf and of the chain that it was found in, by the
    /// first verification that asked. Reading it costs a tenth of a handshake.
    pub(super) told: OnceLock<Arc<ClientAuth>>,
}

impl Path {
    /// Reads a path, leaf first, that BoringSSL has just verified.
    pub(super) fn of(
        certificates: &[&X509Ref],
        trust: &Trust,
    ) -> Result<Result<Self, Reason>, ErrorStack> {
        let (mut not_before_sec, mut not_after_sec) = (i64::MIN, i64::MAX);
        let mut ders = Vec::with_capacity(certificates.len());
        let mut fingerprints = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            let der = certificate.to_der()?;
            fingerprints.push(sha256(&der)?);
            ders.push(der);
        }
        let issuers = certificates.iter().zip(&fingerprints).skip(1).map(Some);
        let mut links = Vec::with_capacity(certificates.len());
        for ((certificate, der), issuer) in
            certificates.iter().zip(&ders).zip(issuers.chain([None]))
        {
            let Ok((_, parsed)) = X509Certificate::from_der(der) else {
                return Ok(Err(Reason::Malformed));
            };
            not_before_sec = not_before_sec.max(parsed.validity().not_before.timestamp());
            // RFC 5280 §4.1.2.5 counts the second of notAfter in, BoringSSL does not: its answer is
            // the one that would be given afresh.
            not_after_sec = not_after_sec.min(parsed.validity().not_after.timestamp() - 1);
            if let Some((issuer, fingerprint)) = issuer {
                let Some(serial) = Serial::of(certificate)? else {
                    return Ok(Err(Reason::BadSerial));
                };
                links.push(Link {
                    issuer: *fingerprint,
                    issuer_name: dn_rfc2253(issuer.subject_name()).into(),
                    issuer_key: match trust.name_and_key(fingerprint) {
                        Some(known) => *known,
                        None => name_and_key(issuer)?,
                    },
                    issuer_digest: issuer_digest(&certificate.issuer_name().to_der()?)?,
                    serial,
                    is_ca: parsed.is_ca(),
                    distribution_points: distribution_points(&parsed),
                });
            }
        }
        // The topmost of several anchors.
        let Some((place, anchor)) = fingerprints
            .iter()
            .enumerate()
            .rev()
            .find_map(|(place, found)| Some((place, trust.anchor(found)?)))
        else {
            return Ok(Err(Reason::UnknownCa));
        };
        let (Some(issuer), 1..) = (certificates.get(1), place) else {
            // The leaf itself is in the set: an anchor is a CA, and a CA is no client.
            return Ok(Err(Reason::WrongEku));
        };
        let (Some(leaf), Some(first)) = (certificates.first(), links.first()) else {
            return Ok(Err(Reason::WrongEku));
        };
        let subject = sha256(&[&first.issuer_key[..], first.serial.bytes()].concat())?;
        Ok(Ok(Self {
            trust: *trust.digest(),
            subject,
            issuer_name: leaf.issuer_name().to_der()?.into(),
            leaf: fingerprints.first().copied().unwrap_or_default(),
            anchor: anchor.clone(),
            issuer: issuer.to_owned().to_owned(),
            links: links.into(),
            not_before_sec,
            not_after_sec,
            told: OnceLock::new(),
        }))
    }

    /// Whether every certificate of it is valid at this second.
    pub(super) fn is_valid_at(&self, now_sec: i64) -> bool {
        (self.not_before_sec..=self.not_after_sec).contains(&now_sec)
    }
}

fn distribution_points(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let mut found = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else {
            continue;
        };
        for point in points.iter() {
            if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                found.extend(names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some(Box::from(*uri)),
                    _ => None,
                }));
            }
        }
    }
    found.truncate(DISTRIBUTION_POINTS_MAX);
    found.into()
}

/// What a path is remembered by: the CA set and every byte that was presented.
pub(super) fn key(chain: &Chain, trust: &Trust) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(trust.digest());
    for der in chain.ders() {
        digest.update(&der.len().to_be_bytes());
        digest.update(der);
    }
    digest.finish()
}

/// Paths by key, oldest first in the queue.
#[derive(Default)]
struct Memory {
    paths: HashMap<[u8; 32], Arc<Path>>,
    order: VecDeque<[u8; 32]>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// The path that is remembered under a key. Whether it is still valid is the caller's to ask.
pub(super) fn recall(key: &[u8; 32]) -> Option<Arc<Path>> {
    MEMORY.with_borrow(|memory| memory.paths.get(key).cloned())
}

/// Forgets every path that this thread remembers: for measurements.
pub fn forget_paths() {
    MEMORY.with_borrow_mut(|memory| *memory = Memory::default());
}

/// Remembers a path; beyond [`PATHS_REMEMBERED_MAX`] the oldest is forgotten.
pub(super) fn remember(key: [u8; 32], path: Arc<Path>) {
    MEMORY.with_borrow_mut(|memory| {
        if memory.paths.insert(key, path).is_none() {
            memory.order.push_back(key);
        }
        while memory.order.len() > PATHS_REMEMBERED_MAX {
            if let Some(oldest) = memory.order.pop_front() {
                memory.paths.remove(&oldest);
            }
        }
    });
}
