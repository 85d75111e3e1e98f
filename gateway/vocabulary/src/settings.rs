//! What a host does with client certificates besides asking for them: what becomes of revoked
//! ones, and what origins and refused clients are told.
//!
//! Owns the settings and their words. Does not set headers: [`snapshot::http::headers`] does.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether a host asks clients for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MtlsMode {
    /// No certificate is asked for.
    Off,
    /// A certificate is asked for; the handshake succeeds whatever the verdict, rules decide.
    #[default]
    Request,
    /// The handshake fails without a certificate that verifies.
    Require,
}

impl fmt::Display for MtlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Request => "request",
            Self::Require => "require",
        })
    }
}

impl FromStr for MtlsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "request" => Ok(Self::Request),
            "require" => Ok(Self::Require),
            _ => Err(format!(
                "`{text}` is not an mTLS mode: off, request or require"
            )),
        }
    }
}

/// The HTTP version spoken to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginProtocol {
    /// Over `https://` what the origin picks by ALPN, over `http://` HTTP/1.1.
    #[default]
    Auto,
    /// Always HTTP/1.1.
    Http1,
    /// Always HTTP/2; over `http://` with prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// What becomes of clients whose certificate is revoked, on hosts that do not require one. Live
/// connections of such a certificate are closed either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRevoked {
    /// Fields say so, and rules decide.
    #[default]
    Rule,
    /// Handshakes are refused with the alert `certificate_revoked`.
    Close,
}

impl FromStr for OnRevoked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "rule" => Ok(Self::Rule),
            "close" => Ok(Self::Close),
            _ => Err(format!("`{text}` is neither rule nor close")),
        }
    }
}

/// A group of headers by which an origin is told of the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateHeaders {
    /// `Cf-Cert-Presented`, `-Verified`, `-Revoked`: `true` or `false`.
    Verdict,
    /// `Cf-Client-Cert-Sha256`.
    Sha256,
    /// `Cf-Client-Cert-Der-Base64`.
    Der,
    /// `Client-Cert` (RFC 9440 §2.2).
    ClientCert,
    /// `Client-Cert-Chain` (RFC 9440 §2.3).
    ClientCertChain,
    /// The headers of Cloudflare's transform "Add TLS client auth headers": [`Self::Verdict`] and
    /// fourteen more, of every certificate that was presented.
    Transform,
    /// Envoy's `X-Forwarded-Client-Cert`: `Hash`, `Subject`, `URI`, `DNS`.
    Xfcc,
}

impl CertificateHeaders {
    /// All groups.
    pub const ALL: [Self; 7] = [
        Self::Verdict,
        Self::Sha256,
        Self::Der,
        Self::ClientCert,
        Self::ClientCertChain,
        Self::Transform,
        Self::Xfcc,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Sha256 => "sha256",
            Self::Der => "der",
            Self::ClientCert => "client-cert",
            Self::ClientCertChain => "client-cert-chain",
            Self::Transform => "transform",
            Self::Xfcc => "xfcc",
        }
    }
}

impl fmt::Display for CertificateHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CertificateHeaders {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|group| group.as_str() == text);
        found.ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|group| group.as_str()).collect();
            format!("`{text}` is none of {}", words.join(", "))
        })
    }
}

fn default_headers() -> BTreeSet<CertificateHeaders> {
    [
        CertificateHeaders::Verdict,
        CertificateHeaders::Sha256,
        CertificateHeaders::ClientCert,
    ]
    .into()
}

/// What a host does with client certificates besides asking for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSettings {
    /// What becomes of clients whose certificate is revoked.
    #[serde(default)]
    pub revoked: OnRevoked,
    /// What the origin is told, when the host asks for certificates.
    #[serde(default = "default_headers")]
    pub certificate_headers: BTreeSet<CertificateHeaders>,
    /// Whether the answer to a blocked request says what is wrong with the client's certificate.
    #[serde(default)]
    pub tell_reason: bool,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            revoked: OnRevoked::default(),
            certificate_headers: default_headers(),
            tell_reason: false,
        }
    }
}

/// What is to change of [`ClientSettings`]. `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientPatch {
    /// What becomes of clients whose certificate is revoked.
    pub revoked: Option<OnRevoked>,
    /// What the origin is told.
    pub certificate_headers: Option<BTreeSet<CertificateHeaders>>,
    /// Whether the answer to a blocked request says what is wrong with the client's certificate.
    pub tell_reason: Option<bool>,
}

impl ClientPatch {
    /// The settings with what is to change changed.
    #[must_use]
    pub fn apply(self, to: &ClientSettings) -> ClientSettings {
        ClientSettings {
            revoked: self.revoked.unwrap_or(to.revoked),
            certificate_headers: self
                .certificate_headers
                .unwrap_or_else(|| to.certificate_headers.clone()),
            tell_reason: self.tell_reason.unwrap_or(to.tell_reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_serde_agree() {
        for group in CertificateHeaders::ALL {
            assert_eq!(group.as_str().parse(), Ok(group));
            assert_eq!(serde_json::to_value(group).unwrap(), group.as_str());
        }
        assert!("cookie".parse::<CertificateHeaders>().is_err());
        let empty: ClientSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, ClientSettings::default());
        assert_eq!(ClientPatch::default().apply(&empty), empty);
    }
}
