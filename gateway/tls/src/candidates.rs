//! The paths from a client's certificate to an anchor that its chain and the anchors allow.
//!
//! BoringSSL follows the first issuer whose name fits and never turns back. Where there are several
//! (namesakes without key identifiers, a cross-certificate sent first, anchors of different
//! height) its answer is that of one path among others. This file lists them by name, shortest
//! first and within bounds; whether one holds BoringSSL says of each.

use std::collections::VecDeque;

use boring::x509::{X509, X509Ref};

use super::trust::Trust;
use crate::limits::{CHAIN_DEPTH_MAX, ISSUERS_ASKED_MAX, PATHS_TRIED_MAX};

/// A path: the issuers that the client has sent, in order, and the anchor.
pub(super) struct Candidate<'c> {
    pub(super) issuers: Vec<&'c X509>,
    pub(super) anchor: &'c X509,
}

/// At most [`PATHS_TRIED_MAX`] paths.
pub(super) fn candidates<'c>(
    leaf: &X509Ref,
    sent: &'c [X509],
    trust: &'c Trust,
) -> Vec<Candidate<'c>> {
    let mut found = Vec::new();
    let mut asked = 0_usize;
    let mut open = VecDeque::from([Vec::<usize>::new()]);
    while let Some(path) = open.pop_front() {
        let last = path.last().and_then(|place| sent.get(*place));
        let last: &X509Ref = last.map_or(leaf, |issuer| issuer);
        let issuers = || path.iter().filter_map(|place| sent.get(*place)).collect();
        for anchor in trust.anchors() {
            asked += 1;
            if has_issued(anchor, last) {
                found.push(Candidate {
                    issuers: issuers(),
                    anchor,
                });
            }
        }
        if path.len() < usize::try_from(CHAIN_DEPTH_MAX).unwrap_or(0) {
            for (place, issuer) in sent.iter().enumerate() {
                asked += 1;
                if !path.contains(&place) && has_issued(issuer, last) {
                    open.push_back([path.as_slice(), &[place]].concat());
                }
            }
        }
        if found.len() >= PATHS_TRIED_MAX || asked >= ISSUERS_ASKED_MAX {
            break;
        }
    }
    found.truncate(PATHS_TRIED_MAX);
    found
}

/// By names, key identifiers and keyUsage; no signature is checked.
fn has_issued(issuer: &X509Ref, holder: &X509Ref) -> bool {
    issuer.issued(holder).is_ok()
}
