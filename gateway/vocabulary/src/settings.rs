//! The words that a host is configured in: whether it asks for client certificates, what becomes of
//! revoked ones, what origins and refused clients are told, and how origins are spoken to.
//!
//! Owns the settings and their words. Acts on none of them: the crates that serve a host do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// Whether a host asks clients for certificates.
    #[derive(Default)]
    pub enum MtlsMode("an mTLS mode") {
        /// No certificate is asked for.
        Off = "off",
        /// A certificate is asked for; the handshake succeeds whatever the verdict, rules decide.
        #[default]
        Request = "request",
        /// The handshake fails without a certificate that verifies.
        Require = "require",
    }
}

words! {
    /// The HTTP version spoken to an origin.
    #[derive(Default)]
    pub enum OriginProtocol("a protocol of origins") {
        /// Over `https://` what the origin picks by ALPN, over `http://` HTTP/1.1.
        #[default]
        Auto = "auto",
        /// Always HTTP/1.1.
        Http1 = "http1",
        /// Always HTTP/2; over `http://` with prior knowledge (RFC 9113 §3.3).
        Http2 = "http2",
    }
}

words! {
    /// What a connection to an origin begins with.
    pub enum ProxyProtocol("a version of the PROXY protocol") {
        /// A header of version 2 with the client's address.
        V2 = "v2",
    }
}

words! {
    /// How the addresses of an origin take turns.
    #[derive(Default)]
    pub enum Balance("a way to balance") {
        /// One after the other, by weight.
        #[default]
        RoundRobin = "round_robin",
        /// Of two that are drawn by weight, the one with fewer open requests.
        LeastRequests = "least_requests",
        /// The same value of an expression goes to the same address.
        Hash = "hash",
    }
}

words! {
    /// A group that client and gateway agree on a key in, by the name it has in TLS tools.
    pub enum KeyExchange("a key exchange group", without serde) {
        /// X25519 and ML-KEM-768 together: safe from quantum computers, and what browsers offer first.
        X25519MlKem768 = "X25519MLKEM768",
        /// RFC 7748.
        X25519 = "X25519",
        /// NIST's curve that every library has.
        P256 = "P-256",
        /// What CNSA 1.0 asks for. It costs a server several times what P-256 does.
        P384 = "P-384",
    }
}

words! {
    /// A version of TLS that is served.
    #[derive(Default, PartialOrd, Ord)]
    pub enum TlsVersion("a TLS version") {
        /// RFC 5246, with forward secrecy and AEAD only.
        #[default]
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

words! {
    /// The header in which proxies in front of the gateway say who the client is.
    #[derive(Default)]
    pub enum ClientHeader("a header of proxies", without serde) {
        /// What nearly all of them set, or add to.
        #[default]
        XForwardedFor = "x-forwarded-for",
        /// RFC 7239.
        Forwarded = "forwarded",
    }
}

words! {
    /// To which server certificates an OCSP answer is stapled.
    #[derive(Default)]
    pub enum StapleMode("a way to staple OCSP answers", without serde) {
        /// To none: no responder is asked.
        Off = "off",
        /// To those that clients refuse without one (RFC 7633).
        #[default]
        MustStaple = "must-staple",
        /// To all that name a responder.
        On = "on",
    }
}

words! {
    /// How an ACME server checks that a name is answered here (RFC 8555 §8).
    #[derive(Default)]
    pub enum AcmeChallenge("a kind of ACME challenge") {
        /// It asks for a token over plain HTTP, port 80.
        #[default]
        Http01 = "http-01",
        /// It shakes hands, port 443 (RFC 8737).
        TlsAlpn01 = "tls-alpn-01",
    }
}

words! {
    /// How much the metrics say of each host.
    #[derive(Default)]
    pub enum HostMetrics("a way to measure hosts", without serde) {
        /// Two dozen series: coarse latencies of requests; stages of all hosts together.
        #[default]
        Brief = "brief",
        /// Fine latencies of requests, and of each stage: some two hundred series.
        Full = "full",
    }
}

words! {
    /// What becomes of clients whose certificate is revoked, on hosts that do not require one. Live
    /// connections of such a certificate are closed either way.
    #[derive(Default)]
    pub enum OnRevoked("a way to treat revoked certificates") {
        /// Fields say so, and rules decide.
        #[default]
        Rule = "rule",
        /// Handshakes are refused with the alert `certificate_revoked`.
        Close = "close",
    }
}

words! {
    /// A group of headers by which an origin is told of the client's certificate.
    #[derive(PartialOrd, Ord)]
    pub enum CertificateHeaders("a group of certificate headers") {
        /// `Cf-Cert-Presented`, `-Verified`, `-Revoked`: `true` or `false`.
        Verdict = "verdict",
        /// `Cf-Client-Cert-Sha256`.
        Sha256 = "sha256",
        /// `Cf-Client-Cert-Der-Base64`.
        Der = "der",
        /// `Client-Cert` (RFC 9440 §2.2).
        ClientCert = "client-cert",
        /// `Client-Cert-Chain` (RFC 9440 §2.3).
        ClientCertChain = "client-cert-chain",
        /// The headers of Cloudflare's transform "Add TLS client auth headers": [`Self::Verdict`]
        /// and fourteen more, of every certificate that was presented.
        Transform = "transform",
        /// Envoy's `X-Forwarded-Client-Cert`: `Hash`, `Subject`, `URI`, `DNS`.
        Xfcc = "xfcc",
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
        for mode in MtlsMode::ALL {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
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
