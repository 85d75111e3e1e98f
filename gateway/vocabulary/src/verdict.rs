//! What verification found: presented, verified, revoked, and the exact reason.
//!
//! Owns the words; `verify` finds which of them is true.

use crate::words;

words! {
    /// What exactly was found wrong with a client certificate (or that nothing was).
    ///
    /// The text of [`Reason::as_str`] is the value of the field `postern.tls_client_auth.reason`, of
    /// the access log and of metric labels.
    pub enum Reason("a reason", without serde) {
        /// The host does not ask, or the client sent none.
        NotPresented = "not_presented",
        /// The chain verifies and nothing is revoked.
        Verified = "verified",
        /// The chain verifies, the leaf or one of its issuers is revoked.
        Revoked = "revoked",
        /// `notAfter` has passed.
        Expired = "expired",
        /// `notBefore` has not come.
        NotYetValid = "not_yet_valid",
        /// No chain to an anchor of the host.
        UnknownCa = "unknown_ca",
        /// The leaf signed itself.
        SelfSigned = "self_signed",
        /// extendedKeyUsage is there without clientAuth.
        WrongEku = "wrong_eku",
        /// An issuer's extendedKeyUsage is there without clientAuth.
        IssuerEku = "issuer_eku",
        /// keyUsage forbids what the certificate is used for.
        KeyUsage = "key_usage",
        /// The key is of a kind, or signs with an algorithm, that is not asked for.
        UnsupportedKey = "unsupported_key",
        /// A name outside the issuer's name constraints.
        NameConstraint = "name_constraint",
        /// More issuers than a path length allows, or deeper than our own bound.
        PathLength = "path_length",
        /// An issuer that is not a CA.
        NotACa = "not_a_ca",
        /// Key too small, too large, or signed with a broken digest.
        WeakKey = "weak_key",
        /// A signature is wrong.
        BadSignature = "bad_signature",
        /// A critical extension that is not understood.
        UnknownCriticalExtension = "unknown_critical_extension",
        /// A policy is required that the path does not have, or its policies are malformed.
        Policy = "policy",
        /// The bytes are no certificate.
        Malformed = "malformed",
        /// The chain has more bytes than the host takes.
        ChainTooLarge = "chain_too_large",
        /// A serial number too long to be revoked.
        BadSerial = "bad_serial",
        /// The CA's policy asks for a revocation list, and there is none that speaks for the
        /// certificate.
        CrlMissing = "crl_missing",
        /// The same, and the list's nextUpdate has passed.
        CrlExpired = "crl_expired",
        /// The same, and the list's thisUpdate has not come.
        CrlNotYetValid = "crl_not_yet_valid",
        /// The CA's policy asks for a responder's word, and none has come in time.
        OcspMissing = "ocsp_missing",
        /// The same, and the responder cannot be reached or gives no answer.
        OcspUnreachable = "ocsp_unreachable",
        /// The same, and its answer is not to be believed.
        OcspInvalid = "ocsp_invalid",
        /// The same, and its answer's nextUpdate has passed.
        OcspExpired = "ocsp_expired",
        /// The same, and it does not know the certificate.
        OcspUnknown = "ocsp_unknown",
        /// Whatever else BoringSSL reports.
        Other = "other",
    }
}

impl Reason {
    /// The one of this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// What verification found.
///
/// ```
/// use vocabulary::verdict::{Reason, Verdict};
///
/// let revoked = Verdict {
///     presented: true,
///     verified: true,
///     revoked: true,
///     reason: Reason::Revoked,
/// };
/// assert!(!revoked.is_good() && !Verdict::NONE.is_good());
/// assert_eq!(revoked.reason.to_string(), "revoked");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// A certificate was sent, valid or not.
    pub presented: bool,
    /// The chain is valid; stays true when revoked.
    pub verified: bool,
    /// Valid but revoked; implies `verified`.
    pub revoked: bool,
    /// The exact finding.
    pub reason: Reason,
}

impl Verdict {
    /// No certificate.
    pub const NONE: Self = Self {
        presented: false,
        verified: false,
        revoked: false,
        reason: Reason::NotPresented,
    };

    /// Whether a host that requires a certificate lets this client in. On such a host no rule has
    /// to say that revoked certificates are dead.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verified && !self.revoked
    }
}
