//! What verification found: presented, verified, revoked, and the exact reason.
//!
//! Owns the words; `verify` finds which of them is true.

use std::fmt;

/// What exactly was found wrong with a client certificate (or that nothing was).
///
/// The text of [`Reason::as_str`] is the value of the field `postern.tls_client_auth.reason`, of
/// the access log and of metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The host does not ask, or the client sent none.
    NotPresented,
    /// The chain verifies and nothing is revoked.
    Verified,
    /// The chain verifies, the leaf or one of its issuers is revoked.
    Revoked,
    /// `notAfter` has passed.
    Expired,
    /// `notBefore` has not come.
    NotYetValid,
    /// No chain to an anchor of the host.
    UnknownCa,
    /// The leaf signed itself.
    SelfSigned,
    /// extendedKeyUsage is there without clientAuth.
    WrongEku,
    /// An issuer's extendedKeyUsage is there without clientAuth.
    IssuerEku,
    /// keyUsage forbids what the certificate is used for.
    KeyUsage,
    /// The key is of a kind, or signs with an algorithm, that is not asked for.
    UnsupportedKey,
    /// A name outside the issuer's name constraints.
    NameConstraint,
    /// More issuers than a path length allows, or deeper than our own bound.
    PathLength,
    /// An issuer that is not a CA.
    NotACa,
    /// Key too small, too large, or signed with a broken digest.
    WeakKey,
    /// A signature is wrong.
    BadSignature,
    /// A critical extension that is not understood.
    UnknownCriticalExtension,
    /// A policy is required that the path does not have, or its policies are malformed.
    Policy,
    /// The bytes are no certificate.
    Malformed,
    /// The chain has more bytes than the host takes.
    ChainTooLarge,
    /// A serial number too long to be revoked.
    BadSerial,
    /// The CA's policy asks for a revocation list, and there is none that speaks for the
    /// certificate.
    CrlMissing,
    /// The same, and the list's nextUpdate has passed.
    CrlExpired,
    /// The same, and the list's thisUpdate has not come.
    CrlNotYetValid,
    /// The CA's policy asks for a responder's word, and none has come in time.
    OcspMissing,
    /// The same, and the responder cannot be reached or gives no answer.
    OcspUnreachable,
    /// The same, and its answer is not to be believed.
    OcspInvalid,
    /// The same, and its answer's nextUpdate has passed.
    OcspExpired,
    /// The same, and it does not know the certificate.
    OcspUnknown,
    /// Whatever else BoringSSL reports.
    Other,
}

impl Reason {
    /// Every one of them.
    pub const ALL: [Self; 30] = [
        Self::NotPresented,
        Self::Verified,
        Self::Revoked,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownCa,
        Self::SelfSigned,
        Self::WrongEku,
        Self::IssuerEku,
        Self::KeyUsage,
        Self::UnsupportedKey,
        Self::NameConstraint,
        Self::PathLength,
        Self::NotACa,
        Self::WeakKey,
        Self::BadSignature,
        Self::UnknownCriticalExtension,
        Self::Policy,
        Self::Malformed,
        Self::ChainTooLarge,
        Self::BadSerial,
        Self::CrlMissing,
        Self::CrlExpired,
        Self::CrlNotYetValid,
        Self::OcspMissing,
        Self::OcspUnreachable,
        Self::OcspInvalid,
        Self::OcspExpired,
        Self::OcspUnknown,
        Self::Other,
    ];

    /// The one of this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// The stable snake_case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotPresented => "not_presented",
            Self::Verified => "verified",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownCa => "unknown_ca",
            Self::SelfSigned => "self_signed",
            Self::WrongEku => "wrong_eku",
            Self::IssuerEku => "issuer_eku",
            Self::KeyUsage => "key_usage",
            Self::UnsupportedKey => "unsupported_key",
            Self::NameConstraint => "name_constraint",
            Self::PathLength => "path_length",
            Self::NotACa => "not_a_ca",
            Self::WeakKey => "weak_key",
            Self::BadSignature => "bad_signature",
            Self::UnknownCriticalExtension => "unknown_critical_extension",
            Self::Policy => "policy",
            Self::Malformed => "malformed",
            Self::ChainTooLarge => "chain_too_large",
            Self::BadSerial => "bad_serial",
            Self::CrlMissing => "crl_missing",
            Self::CrlExpired => "crl_expired",
            Self::CrlNotYetValid => "crl_not_yet_valid",
            Self::OcspMissing => "ocsp_missing",
            Self::OcspUnreachable => "ocsp_unreachable",
            Self::OcspInvalid => "ocsp_invalid",
            Self::OcspExpired => "ocsp_expired",
            Self::OcspUnknown => "ocsp_unknown",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
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
