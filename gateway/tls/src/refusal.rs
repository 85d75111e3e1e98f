//! Why a handshake did not succeed: the words for it, and the alert that the client is told.
//!
//! Owns the vocabulary. What is known of a failed handshake is gathered by `handshake`.

use std::ffi::c_int;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::session::HandshakeFailure;
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
    /// Whom the refusal is about, when that is an issuer of the client's.
    pub about: Option<Box<str>>,
    /// What exactly happened.
    pub failure: HandshakeFailure,
}

impl HandshakeError {
    /// What exactly happened, for the operator.
    #[must_use]
    pub fn detail(&self) -> String {
        match &self.about {
            Some(about) => format!("{} of {about}: {}", self.refusal.as_str(), self.failure),
            None => self.failure.to_string(),
        }
    }
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
    /// A balancer's PROXY protocol in front of the ClientHello.
    ProxyProtocol,
    /// The first bytes are no TLS record.
    NotTls,
    /// The client said with an alert that it does not want us.
    PeerAlert,
    /// The client went away.
    Closed,
    /// No TLS version in common.
    Version,
    /// No key exchange group in common.
    Group,
    /// No cipher suite in common, for the kind of key that the host's certificate has.
    Cipher,
    /// No signature algorithm in common with the host's certificate.
    SignatureAlgorithm,
    /// No certificate came, and the client's signature algorithms have none of the host's CAs.
    CaUnsupported,
    /// Something else that is against the protocol, or no TLS at all.
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
            Self::ProxyProtocol => "proxy_protocol",
            Self::NotTls => "not_tls",
            Self::PeerAlert => "peer_alert",
            Self::Closed => "closed",
            Self::Version => "version",
            Self::Group => "group",
            Self::Cipher => "cipher",
            Self::SignatureAlgorithm => "signature_algorithm",
            Self::CaUnsupported => "ca_unsupported",
            Self::Protocol => "protocol",
        }
    }
}

/// What had become of a connection when its handshake failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// What came first is PROXY protocol.
    pub(super) is_proxied: bool,
    /// A ClientHello was read.
    pub(super) has_hello: bool,
    /// It named a host, rightly or wrongly.
    pub(super) has_name: bool,
    /// There is a host.
    pub(super) has_host: bool,
    /// The client was asked for a certificate.
    pub(super) is_asked: bool,
    /// A certificate came, and the verifier was not asked yet.
    pub(super) has_leaf: bool,
    /// The verifier has seen the client's certificates.
    pub(super) is_verified: bool,
    /// The client's signature algorithms have none that the host's CAs sign with.
    pub(super) is_foreign_to_cas: bool,
    /// What the host refuses the client for, when the verifier said so.
    pub(super) verified: Option<Reason>,
}

/// Whose doing it was. BoringSSL's reason code decides, with what the connection had come to.
pub(super) fn refusal_of(failure: &HandshakeFailure, at: Progress) -> Refusal {
    use boring_sys as code;
    if at.is_verified || at.has_leaf {
        // What BoringSSL itself finds wrong with a certificate: before the verifier is asked, or
        // afterwards, when the client cannot sign with its key.
        let found = match failure.reason() {
            Some(code::SSL_R_KEY_USAGE_BIT_INCORRECT) => Some(Reason::KeyUsage),
            Some(code::SSL_R_BAD_SIGNATURE) => Some(Reason::BadSignature),
            Some(
                code::SSL_R_WRONG_SIGNATURE_TYPE
                | code::SSL_R_UNKNOWN_CERTIFICATE_TYPE
                | code::SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS
                | code::SSL_R_BAD_ECC_CERT,
            ) => Some(Reason::UnsupportedKey),
            Some(code::SSL_R_CANNOT_PARSE_LEAF_CERT | code::SSL_R_CERT_LENGTH_MISMATCH) => {
                Some(Reason::Malformed)
            }
            Some(code::SSL_R_DECODE_ERROR) if at.has_leaf => Some(Reason::Malformed),
            _ => None,
        };
        if let Some(reason) = found {
            return Refusal::ClientCertificate(reason);
        }
    }
    if let Some(reason) = at.verified {
        return Refusal::ClientCertificate(reason);
    }
    match failure {
        _ if !at.has_host && at.has_name => Refusal::UnknownHost,
        HandshakeFailure::Closed | HandshakeFailure::Io(_) => Refusal::Closed,
        HandshakeFailure::Gateway(_) => Refusal::Protocol,
        HandshakeFailure::Tls(_) => match failure.reason() {
            Some(code::SSL_R_HTTP_REQUEST) => Refusal::PlainHttp,
            Some(code::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) if at.is_foreign_to_cas => {
                Refusal::CaUnsupported
            }
            Some(code::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) => {
                Refusal::ClientCertificate(Reason::NotPresented)
            }
            Some(code::SSL_R_UNSUPPORTED_PROTOCOL) => Refusal::Version,
            Some(code::SSL_R_NO_SHARED_GROUP) => Refusal::Group,
            Some(code::SSL_R_NO_SHARED_CIPHER) => Refusal::Cipher,
            Some(code::SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS) => Refusal::SignatureAlgorithm,
            // The ClientHello is behind us, so that it is the message with the certificates.
            Some(code::SSL_R_EXCESSIVE_MESSAGE_SIZE) if at.is_asked => {
                Refusal::ClientCertificate(Reason::ChainTooLarge)
            }
            Some(reason) if reason >= ALERTS => Refusal::PeerAlert,
            _ if !at.has_hello && at.is_proxied => Refusal::ProxyProtocol,
            Some(code::SSL_R_WRONG_VERSION_NUMBER | code::SSL_R_HTTPS_PROXY_REQUEST)
                if !at.has_hello =>
            {
                Refusal::NotTls
            }
            _ if !at.has_hello => Refusal::NoSni,
            _ => Refusal::Protocol,
        },
    }
}

/// `ssl.h`: `SSL_AD_REASON_OFFSET`. From here on reason codes are the peer's alerts.
const ALERTS: c_int = 1000;

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
        Reason::WrongEku | Reason::IssuerEku | Reason::KeyUsage | Reason::UnsupportedKey => 43,
        // bad_certificate
        _ => 42,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::testing::tls_error;

    #[test]
    fn every_reason_code_has_its_refusal() {
        use Refusal::{
            CaUnsupported, Cipher, ClientCertificate, Closed, Group, NoSni, NotTls, PeerAlert,
            PlainHttp, Protocol, ProxyProtocol, SignatureAlgorithm, UnknownHost, Version,
        };
        use boring_sys as code;
        let start = Progress {
            is_proxied: false,
            has_hello: false,
            has_name: false,
            has_host: false,
            is_asked: false,
            has_leaf: false,
            is_verified: false,
            is_foreign_to_cas: false,
            verified: None,
        };
        let proxied = Progress {
            is_proxied: true,
            ..start
        };
        let hello = Progress {
            has_hello: true,
            ..start
        };
        let named = Progress {
            has_name: true,
            ..hello
        };
        let found = Progress {
            has_host: true,
            ..named
        };
        let asked = Progress {
            is_asked: true,
            ..found
        };
        let foreign = Progress {
            is_foreign_to_cas: true,
            ..asked
        };
        let leaf = Progress {
            has_leaf: true,
            ..asked
        };
        let verified = Progress {
            is_verified: true,
            ..asked
        };
        let refused = Progress {
            verified: Some(Reason::Expired),
            ..verified
        };
        for (reason, at, expected) in [
            (code::SSL_R_HTTP_REQUEST, start, PlainHttp),
            (code::SSL_R_WRONG_VERSION_NUMBER, start, NotTls),
            (code::SSL_R_HTTPS_PROXY_REQUEST, start, NotTls),
            (code::SSL_R_WRONG_VERSION_NUMBER, proxied, ProxyProtocol),
            (code::SSL_R_MISSING_EXTENSION, start, NoSni),
            (code::SSL_R_MISSING_EXTENSION, hello, Protocol),
            (code::SSL_R_CLIENTHELLO_TLSEXT, named, UnknownHost),
            (code::SSL_R_NO_SHARED_GROUP, found, Group),
            (code::SSL_R_NO_SHARED_CIPHER, found, Cipher),
            (code::SSL_R_UNSUPPORTED_PROTOCOL, found, Version),
            (
                code::SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS,
                found,
                SignatureAlgorithm,
            ),
            (
                code::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
                foreign,
                CaUnsupported,
            ),
            (code::SSL_R_EXCESSIVE_MESSAGE_SIZE, found, Protocol),
            (
                code::SSL_R_EXCESSIVE_MESSAGE_SIZE,
                asked,
                ClientCertificate(Reason::ChainTooLarge),
            ),
            (code::SSL_R_TLSV1_ALERT_UNKNOWN_CA, found, PeerAlert),
            (
                code::SSL_R_TLSV1_ALERT_UNKNOWN_CA,
                refused,
                ClientCertificate(Reason::Expired),
            ),
            (
                code::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
                asked,
                ClientCertificate(Reason::NotPresented),
            ),
            (
                code::SSL_R_KEY_USAGE_BIT_INCORRECT,
                leaf,
                ClientCertificate(Reason::KeyUsage),
            ),
            (
                code::SSL_R_CANNOT_PARSE_LEAF_CERT,
                leaf,
                ClientCertificate(Reason::Malformed),
            ),
            (
                code::SSL_R_DECODE_ERROR,
                leaf,
                ClientCertificate(Reason::Malformed),
            ),
            (code::SSL_R_DECODE_ERROR, verified, Protocol),
            (
                code::SSL_R_BAD_SIGNATURE,
                verified,
                ClientCertificate(Reason::BadSignature),
            ),
            (code::SSL_R_BAD_SIGNATURE, hello, Protocol),
            (
                code::SSL_R_WRONG_SIGNATURE_TYPE,
                verified,
                ClientCertificate(Reason::UnsupportedKey),
            ),
            (
                code::SSL_R_UNKNOWN_CERTIFICATE_TYPE,
                leaf,
                ClientCertificate(Reason::UnsupportedKey),
            ),
            (
                code::SSL_R_CERTIFICATE_VERIFY_FAILED,
                refused,
                ClientCertificate(Reason::Expired),
            ),
        ] {
            let failure = HandshakeFailure::Tls(tls_error(reason));
            assert_eq!(refusal_of(&failure, at), expected, "{failure} at {at:?}");
        }
        assert_eq!(refusal_of(&HandshakeFailure::Closed, start), Closed);
        assert_eq!(refusal_of(&HandshakeFailure::Closed, named), UnknownHost);
        let broken = HandshakeFailure::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(refusal_of(&broken, found), Closed);
        assert_eq!(
            refusal_of(&HandshakeFailure::Gateway("late"), found),
            Protocol
        );
    }
}
