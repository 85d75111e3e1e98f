//! The verifier: chain, trust and time in, [`Verification`] out.
//!
//! BoringSSL builds and checks the path (RFC 5280 §6: validity, basicConstraints, path length,
//! key usage, name constraints, signatures) against the host's own anchors and nothing else, for
//! the purpose of TLS clients. What it does not check is added here: key strength, and whether an
//! issuer has revoked what it signed. A verified path is remembered ([`super::path`]); whether it
//! is revoked is asked every time. Never reads a clock: the time is an argument.

use std::sync::Arc;

use boring::error::ErrorStack;
use boring::nid::Nid;
use boring::pkey::Id;
use boring::stack::{Stack, StackRef};
use boring::x509::store::{X509StoreBuilder, X509StoreRef};
use boring::x509::verify::X509VerifyFlags;
use boring::x509::{X509, X509Ref, X509StoreContext, X509VerifyError};

use super::candidates::{Candidate, candidates};
use super::chain::Chain;
use super::constraints::all_permitted;
use super::ffi::{extension_facts, leave_constraints, set_purpose_tls_client};
use super::identity::{dn_rfc2253, read_client, with_verification};
use super::ids::{CaId, sha256};
use super::ocsp::{CertId, OcspQuestion};
use super::path::{self, Path};
use super::trust::{Ask, Trust};
use crate::limits::{CHAIN_DEPTH_MAX, RSA_BITS_MAX, RSA_BITS_MIN};
use vocabulary::client_auth::ClientAuth;
use vocabulary::limits::CHAIN_BYTES_CEILING;
use vocabulary::verdict::{Reason, Verdict};

/// What the verifier found of one chain.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Presented, verified, revoked, and why.
    pub verdict: Verdict,
    /// The last second, since the epoch, at which it holds while trust stays as it is.
    pub good_until_sec: i64,
    /// The name that its reason is about, unless that is the leaf's.
    about: Option<Arc<str>>,
    /// What it rests on, when a path was found.
    path: Option<Arc<Path>>,
    /// The last second before it should be made again although it holds.
    look_again_sec: i64,
    ask: Option<Ask>,
}

impl Verification {
    /// No certificate was sent.
    pub(super) const NONE: Self = Self {
        verdict: Verdict::NONE,
        good_until_sec: i64::MAX,
        about: None,
        path: None,
        look_again_sec: i64::MAX,
        ask: None,
    };

    /// A certificate was sent, and is no good.
    pub fn refused(reason: Reason) -> Self {
        let verdict = Verdict {
            presented: true,
            verified: false,
            revoked: false,
            reason,
        };
        Self {
            verdict,
            good_until_sec: i64::MAX,
            about: None,
            path: None,
            look_again_sec: i64::MAX,
            ask: None,
        }
    }

    /// The last second, since the epoch, at which this verification holds: after it a certificate
    /// or an answer has ended, or a responder is to be asked again.
    #[must_use]
    pub fn look_again_sec(&self) -> i64 {
        self.good_until_sec.min(self.look_again_sec)
    }

    /// Whom its reason is about, when that is not the client: the issuer whose list is wanting or has
    /// revoked a certificate of the path, or the issuer whose own certificate is at fault.
    #[must_use]
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// What a responder should be asked for this verification's sake.
    #[must_use]
    pub fn question(&self) -> Option<OcspQuestion> {
        let (ask, path) = (self.ask.as_ref()?, self.path.as_ref()?);
        Some(OcspQuestion {
            responder: ask.responder.clone(),
            subject: path.subject,
            certificate: CertId {
                issuer_name: path.issuer_name.clone(),
                serial: path.links.first()?.serial.clone(),
                issuer: path.issuer.clone(),
            },
        })
    }

    /// Whether the answer to [`Self::question`] decides.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.ask.as_ref().is_some_and(|ask| ask.waits) && !self.verdict.revoked
    }

    /// The anchor that the chain ends in, when verified.
    #[must_use]
    pub fn anchor(&self) -> Option<&CaId> {
        let path = self.path.as_ref().filter(|_| self.verdict.verified);
        path.map(|path| &path.anchor)
    }

    /// The leaf's issuer, when verified.
    #[must_use]
    pub fn issuer(&self) -> Option<&X509Ref> {
        let path = self.path.as_ref().filter(|_| self.verdict.verified);
        path.map(|path| &*path.issuer)
    }

    /// The chain that this was found of, for rules, logs and origins. What is remembered of a path
    /// is not read again: its key covers every byte of the chain.
    #[must_use]
    pub fn client(&self, chain: &Chain) -> Arc<ClientAuth> {
        let read = || Arc::new(read_client(&chain.parse(), self));
        let Some(path) = &self.path else {
            return read();
        };
        let told = path.told.get_or_init(read);
        if told.verdict == self.verdict {
            told.clone()
        } else {
            Arc::new(with_verification(told, self))
        }
    }

    /// SHA-256 of the leaf, when a path was found.
    #[must_use]
    pub fn leaf(&self) -> Option<&[u8; 32]> {
        self.path.as_ref().map(|path| &path.leaf)
    }
}

/// Verifies a chain, leaf first, at `now_sec` seconds since the epoch.
///
/// ```
/// use tls::{Chain, Trust, verify};
/// use vocabulary::verdict::Verdict;
///
/// let trust = Trust::build(Vec::new())?;
/// let found = verify(&Chain::default(), &trust, 1_767_225_600);
/// assert_eq!(found.verdict, Verdict::NONE);
/// assert!(!found.verdict.is_good());
/// # Ok::<(), tls::TrustError>(())
/// ```
#[must_use]
pub fn verify(chain: &Chain, trust: &Trust, now_sec: i64) -> Verification {
    if chain.is_empty() {
        return Verification::NONE;
    }
    let key = path::key(chain, trust);
    let known = path::recall(&key);
    if let Some(path) = known.filter(|path| path.is_valid_at(now_sec)) {
        return stand(path, trust, now_sec);
    }
    let certificates = chain.parse();
    if certificates.len() < chain.len() {
        return Verification::refused(Reason::Malformed);
    }
    match find_path(&certificates, trust, now_sec) {
        Err(verification) => verification,
        Ok(path) => {
            path::remember(key, path.clone());
            let found = stand(path.clone(), trust, now_sec);
            // The caller reads the fields next, and the chain is parsed at this point only.
            let read = || Arc::new(read_client(&certificates, &found));
            path.told.get_or_init(read);
            found
        }
    }
}

/// As [`verify`], remembering nothing and using nothing that was remembered.
#[must_use]
pub fn verify_afresh(chain: &[X509], trust: &Trust, now_sec: i64) -> Verification {
    match find_path(chain, trust, now_sec) {
        Err(verification) => verification,
        Ok(path) => stand(path, trust, now_sec),
    }
}

/// As [`verify`] of a chain that was verified before: while the CA set is the same and every
/// certificate valid, a path stays a path, and only revocations have to be looked at.
#[must_use]
pub fn verify_again(
    before: &Verification,
    chain: &Chain,
    trust: &Trust,
    now_sec: i64,
) -> Verification {
    match &before.path {
        Some(path) if path.trust == *trust.digest() && path.is_valid_at(now_sec) => {
            stand(path.clone(), trust, now_sec)
        }
        _ => verify(chain, trust, now_sec),
    }
}

/// What revocations make of a path that is valid now.
fn stand(path: Arc<Path>, trust: &Trust, now_sec: i64) -> Verification {
    let standing = trust.standing(&path, now_sec);
    let verified = standing
        .reason
        .is_none_or(|reason| reason == Reason::Revoked);
    Verification {
        verdict: Verdict {
            presented: true,
            verified,
            revoked: standing.reason == Some(Reason::Revoked),
            reason: standing.reason.unwrap_or(Reason::Verified),
        },
        good_until_sec: standing.until_sec.min(path.not_after_sec),
        about: standing.about,
        path: Some(path),
        look_again_sec: standing.look_again_sec,
        ask: standing.ask,
    }
}

/// Why one path does not hold.
struct Flaw {
    reason: Reason,
    /// The name of the issuer whose certificate is at fault.
    about: Option<Arc<str>>,
    /// The path, leaf first, as far as it went.
    path: Vec<X509>,
}

fn find_path(chain: &[X509], trust: &Trust, now_sec: i64) -> Result<Arc<Path>, Verification> {
    let Some((leaf, sent)) = chain.split_first() else {
        return Err(Verification::NONE);
    };
    // Anything that goes wrong inside BoringSSL is a refusal: the verifier fails closed.
    match best_path(leaf, sent, trust, now_sec) {
        Ok(Ok(path)) => Ok(Arc::new(path)),
        Ok(Err(flaw)) => Err(Verification {
            about: flaw.about,
            ..Verification::refused(flaw.reason)
        }),
        Err(_failed) => Err(Verification::refused(Reason::Other)),
    }
}

/// The path that BoringSSL finds, or else the first of the others that holds, or else what is wrong
/// with the one that comes nearest to it.
fn best_path(
    leaf: &X509Ref,
    sent: &[X509],
    trust: &Trust,
    now_sec: i64,
) -> Result<Result<Path, Flaw>, ErrorStack> {
    let flaw = |reason| Flaw {
        reason,
        about: None,
        path: Vec::new(),
    };
    let mut bytes = leaf.to_der()?.len();
    let mut untrusted = Stack::new()?;
    for certificate in sent {
        bytes += certificate.to_der()?.len();
        untrusted.push(certificate.clone())?;
    }
    if bytes as u64 > CHAIN_BYTES_CEILING {
        return Ok(Err(flaw(Reason::ChainTooLarge)));
    }
    if let Some(reason) = weakness(leaf) {
        return Ok(Err(flaw(reason)));
    }
    let first = match verify_by(leaf, &untrusted, trust.store(), trust, now_sec)? {
        Ok(path) => return Ok(Ok(path)),
        Err(flaw) => flaw,
    };
    let first_path = &first.path;
    let mut best = None;
    for candidate in candidates(leaf, sent, trust) {
        if is_path(first_path, leaf, &candidate) {
            continue;
        }
        let mut store = X509StoreBuilder::new()?;
        store.try_set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        store.add_cert(candidate.anchor)?;
        let mut issuers = Stack::new()?;
        for issuer in candidate.issuers {
            issuers.push(issuer.clone())?;
        }
        match verify_by(leaf, &issuers, &store.build(), trust, now_sec)? {
            Ok(path) => return Ok(Ok(path)),
            Err(flaw) => {
                let so_far = best.as_ref().unwrap_or(&first);
                if nearness(flaw.reason) > nearness(so_far.reason) {
                    best = Some(flaw);
                }
            }
        }
    }
    Ok(Err(best.unwrap_or(first)))
}

/// Whether this is the path that was verified already.
fn is_path(path: &[X509], leaf: &X509Ref, candidate: &Candidate<'_>) -> bool {
    let parts = candidate.issuers.iter().map(|issuer| &***issuer);
    let parts = std::iter::once(leaf)
        .chain(parts)
        .chain([&**candidate.anchor]);
    let der = |one: &X509Ref| one.to_der().unwrap_or_default();
    path.iter().map(|one| der(one)).eq(parts.map(der))
}

/// How near a path with this flaw is to one that holds: what is told is the flaw of the nearest.
fn nearness(reason: Reason) -> u8 {
    match reason {
        Reason::Other | Reason::Malformed => 0,
        Reason::UnknownCa | Reason::SelfSigned => 1,
        Reason::BadSignature => 2,
        _ => 3,
    }
}

/// What BoringSSL makes of a leaf by the anchors of one store.
fn verify_by(
    leaf: &X509Ref,
    untrusted: &StackRef<X509>,
    store: &X509StoreRef,
    trust: &Trust,
    now_sec: i64,
) -> Result<Result<Path, Flaw>, ErrorStack> {
    let mut context = X509StoreContext::new()?;
    context.init(store, leaf, untrusted, |context| {
        let parameters = context.verify_param_mut();
        parameters.set_time(now_sec);
        parameters.set_depth(CHAIN_DEPTH_MAX);
        set_purpose_tls_client(parameters)?;
        leave_constraints(context);
        let holds = context.verify_cert()?;
        let result = context.verify_result();
        let certificates: Vec<&X509Ref> = context.chain().into_iter().flatten().collect();
        let place = usize::try_from(context.error_depth()).unwrap_or(0);
        let at_fault = certificates
            .get(place)
            .copied()
            .filter(|_| place > 0 && !holds);
        let found = if holds {
            check(&certificates, result, trust)?
        } else {
            Err(reason_of(result, leaf, at_fault))
        };
        Ok(found.map_err(|reason| Flaw {
            reason,
            about: at_fault.map(|one| dn_rfc2253(one.subject_name()).into()),
            path: certificates.iter().map(|one| (*one).to_owned()).collect(),
        }))
    })
}

/// What BoringSSL does not check of a path that it has verified: the strength of keys and digests,
/// what an anchor's own certificate forbids, and the name constraints that it has left.
fn check(
    certificates: &[&X509Ref],
    result: Result<(), X509VerifyError>,
    trust: &Trust,
) -> Result<Result<Path, Reason>, ErrorStack> {
    let issuers = certificates.iter().skip(1);
    if let Some(weak) = issuers.filter_map(|issuer| weakness(issuer)).next() {
        return Ok(Err(weak));
    }
    for certificate in certificates {
        // What signed an anchor is of no account.
        if signed_weakly(certificate) && trust.anchor(&sha256(&certificate.to_der()?)?).is_none() {
            return Ok(Err(Reason::WeakKey));
        }
    }
    if let Some(forbidden) = forbidden_by_issuers(certificates) {
        return Ok(Err(forbidden));
    }
    match result {
        Ok(()) => {}
        Err(
            X509VerifyError::UNSUPPORTED_CONSTRAINT_TYPE
            | X509VerifyError::NAME_CONSTRAINTS_WITHOUT_SANS,
        ) => {
            if !all_permitted(certificates) {
                return Ok(Err(Reason::NameConstraint));
            }
        }
        Err(_) => return Ok(Err(Reason::Other)),
    }
    // A verified path always ends in an anchor; without one nothing is believed.
    Path::of(certificates, trust)
}

/// What the issuers' own certificates forbid, the anchor's included: BoringSSL looks at those only
/// that it has no trust in. Validity and name constraints it asks of anchors too.
fn forbidden_by_issuers(certificates: &[&X509Ref]) -> Option<Reason> {
    // RFC 5280 §6.1.4 (l) and (m), from the leaf up: it and every issuer that is not self-issued
    // counts.
    let mut below = 0_u32;
    for (place, certificate) in certificates.iter().enumerate() {
        let Some(facts) = extension_facts(certificate) else {
            return Some(Reason::Malformed);
        };
        if place > 0 {
            if facts.has_unknown_critical {
                return Some(Reason::UnknownCriticalExtension);
            }
            if !facts.issues_tls_clients {
                return Some(issuer_forbids(certificate));
            }
            if facts
                .path_length
                .is_some_and(|most| below > most.saturating_add(1))
            {
                return Some(Reason::PathLength);
            }
        }
        if place == 0 || !facts.is_self_issued {
            below += 1;
        }
    }
    None
}

fn issuer_forbids(issuer: &X509Ref) -> Reason {
    if forbids_client_auth(issuer) {
        Reason::IssuerEku
    } else {
        Reason::KeyUsage
    }
}

/// Keys that are too small to be believed or large enough to be an attack on our CPU.
fn weakness(certificate: &X509Ref) -> Option<Reason> {
    let Ok(key) = certificate.public_key() else {
        return Some(Reason::Malformed);
    };
    match key.id() {
        Id::RSA | Id::RSAPSS if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&key.bits()) => {
            Some(Reason::WeakKey)
        }
        _ => None,
    }
}

/// Signed over SHA-1, of which BoringSSL still takes certificates: who finds a collision has a
/// second certificate with the same signature (RFC 9155; chosen prefixes have been shown).
fn signed_weakly(certificate: &X509Ref) -> bool {
    let algorithm = certificate.signature_algorithm().object().nid();
    let algorithms = algorithm.signature_algorithms();
    algorithm == Nid::DSAWITHSHA1_2
        || algorithms.is_some_and(|found| matches!(found.digest, Nid::SHA1 | Nid::MD5))
}

/// `issuer` is the certificate that it is about, unless that is the leaf.
fn reason_of(
    result: Result<(), X509VerifyError>,
    leaf: &X509Ref,
    issuer: Option<&X509Ref>,
) -> Reason {
    let Err(error) = result else {
        return Reason::Other;
    };
    match error {
        X509VerifyError::CERT_HAS_EXPIRED => Reason::Expired,
        X509VerifyError::CERT_NOT_YET_VALID => Reason::NotYetValid,
        X509VerifyError::DEPTH_ZERO_SELF_SIGNED_CERT => Reason::SelfSigned,
        X509VerifyError::SELF_SIGNED_CERT_IN_CHAIN
        | X509VerifyError::UNABLE_TO_GET_ISSUER_CERT
        | X509VerifyError::UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | X509VerifyError::UNABLE_TO_VERIFY_LEAF_SIGNATURE
        | X509VerifyError::CERT_UNTRUSTED => {
            if signed_itself(leaf) {
                Reason::SelfSigned
            } else {
                Reason::UnknownCa
            }
        }
        X509VerifyError::CERT_CHAIN_TOO_LONG | X509VerifyError::PATH_LENGTH_EXCEEDED => {
            Reason::PathLength
        }
        X509VerifyError::INVALID_CA | X509VerifyError::INVALID_NON_CA => Reason::NotACa,
        X509VerifyError::INVALID_PURPOSE => match issuer {
            Some(issuer) => issuer_forbids(issuer),
            None if forbids_client_auth(leaf) => Reason::WrongEku,
            None => Reason::KeyUsage,
        },
        X509VerifyError::KEYUSAGE_NO_CERTSIGN | X509VerifyError::KEYUSAGE_NO_DIGITAL_SIGNATURE => {
            Reason::KeyUsage
        }
        X509VerifyError::PERMITTED_VIOLATION
        | X509VerifyError::EXCLUDED_VIOLATION
        | X509VerifyError::SUBTREE_MINMAX
        | X509VerifyError::UNSUPPORTED_CONSTRAINT_TYPE
        | X509VerifyError::UNSUPPORTED_CONSTRAINT_SYNTAX
        | X509VerifyError::UNSUPPORTED_NAME_SYNTAX
        | X509VerifyError::NAME_CONSTRAINTS_WITHOUT_SANS => Reason::NameConstraint,
        X509VerifyError::CERT_SIGNATURE_FAILURE
        | X509VerifyError::UNABLE_TO_DECRYPT_CERT_SIGNATURE
        | X509VerifyError::UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY => Reason::BadSignature,
        X509VerifyError::UNHANDLED_CRITICAL_EXTENSION => Reason::UnknownCriticalExtension,
        X509VerifyError::NO_EXPLICIT_POLICY | X509VerifyError::INVALID_POLICY_EXTENSION => {
            Reason::Policy
        }
        X509VerifyError::INVALID_EXTENSION
        | X509VerifyError::ERROR_IN_CERT_NOT_BEFORE_FIELD
        | X509VerifyError::ERROR_IN_CERT_NOT_AFTER_FIELD => Reason::Malformed,
        _ => Reason::Other,
    }
}

/// BoringSSL calls a certificate self-signed only when its keyUsage lets it sign certificates,
/// which that of a client need not.
fn signed_itself(leaf: &X509Ref) -> bool {
    let same_name = leaf
        .subject_name()
        .try_cmp(leaf.issuer_name())
        .is_ok_and(|order| order.is_eq());
    same_name
        && leaf
            .public_key()
            .is_ok_and(|key| leaf.verify(&key).unwrap_or(false))
}

/// An extendedKeyUsage is there and does not list clientAuth.
fn forbids_client_auth(leaf: &X509Ref) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Ok(der) = leaf.to_der() else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
        return false;
    };
    matches!(parsed.extended_key_usage(), Ok(Some(usage)) if !usage.value.client_auth)
}
