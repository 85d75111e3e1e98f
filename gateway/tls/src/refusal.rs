//! Why a handshake did not succeed: the words for it, and the alert that the client is told.
//!
//! Owns the vocabulary. What is known of a failed handshake is gathered by `handshake`.

use std::sync::Arc;

use super::callbacks::State;
use super::endpoint::Endpoint;
use vocabulary::client_auth::ClientAuth;
use vocabulary::verdict::Reason;

/// Why a handshake did not succeed, as far as it got.
#[derive(Debug)]
pub struct HandshakeError {
    /// Whose doing it was, in one word for metrics and logs.
    pub refusal: Refusal,
    /// What the ClientHello asked for.
    pub sni: Option<Box<str>>,
    /// The host that was found for it.
    pub host: Option<Arc<Endpoint>>,
    /// The certificate, when one was sent.
    pub client: Option<ClientAuth>,
    /// BoringSSL's own words.
    pub detail: String,
}

/// Why a handshake was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No host for this SNI.
    UnknownHost,
    /// No SNI, and no default host.
    NoSni,
    /// The host requires a certificate, and this one (or its absence) does not do.
    ClientCertificate(Reason),
    /// Plain HTTP on the TLS port.
    PlainHttp,
    /// The client said with an alert that it does not want us.
    PeerAlert,
    /// The client went away.
    Closed,
    /// No version, cipher or group in common, or no TLS at all.
    Protocol,
}

impl Refusal {
    /// The stable snake_case text for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::NoSni => "no_sni",
            Self::ClientCertificate(reason) => reason.as_str(),
            Self::PlainHttp => "plain_http",
            Self::PeerAlert => "peer_alert",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }
}

/// What BoringSSL itself found wrong with the client's certificate: before the judge was asked, or
/// afterwards, when the client could not sign with its key.
pub(super) fn boring_refused(state: &State, words: &str) -> Option<Reason> {
    if state.leaf.is_none() && state.judgement.is_none() {
        return None;
    }
    let found = [
        ("KEY_USAGE_BIT_INCORRECT", Reason::KeyUsage),
        ("BAD_SIGNATURE", Reason::BadSignature),
        ("WRONG_SIGNATURE_TYPE", Reason::WeakKey),
        ("UNKNOWN_CERTIFICATE_TYPE", Reason::WeakKey),
        ("CANNOT_PARSE_LEAF_CERT", Reason::Malformed),
        ("CERT_LENGTH_MISMATCH", Reason::Malformed),
    ];
    let known = found.iter().find(|(word, _)| words.contains(word));
    let unread =
        || (state.leaf.is_some() && words.contains("DECODE_ERROR")).then_some(Reason::Malformed);
    known.map(|(_, reason)| *reason).or_else(unread)
}

/// RFC 8446 §6.2.
pub(super) fn alert_of(reason: Reason) -> u8 {
    match reason {
        // certificate_required
        Reason::NotPresented => 116,
        // certificate_expired
        Reason::Expired | Reason::NotYetValid => 45,
        // certificate_revoked
        Reason::Revoked => 44,
        // unknown_ca
        Reason::UnknownCa | Reason::SelfSigned => 48,
        // unsupported_certificate
        Reason::WrongEku | Reason::KeyUsage => 43,
        // bad_certificate
        _ => 42,
    }
}
