//! The client's certificate as rules, logs and origins see it.
//!
//! Owns the fields and their formats, as data. Does not read certificates: `tls` fills it in, once
//! for each verification.

use std::net::IpAddr;

use crate::verdict::Verdict;

/// The client's certificate as rules, logs and origins see it: texts in Cloudflare's formats
/// (<https://developers.cloudflare.com/ruleset-engine/rules-language/fields/reference/>, group
/// `cf.tls_client_auth`), empty where there is nothing.
///
/// Made once per verification, never per request.
#[derive(Debug, Clone)]
pub struct ClientAuth {
    /// What verification found.
    pub verdict: Verdict,
    /// Whom the verdict's reason is about, when that is an issuer and not the client: whose list is
    /// wanting, whose certificate is at fault. For logs and people; rules do not see it.
    pub about: Box<str>,
    /// UUID of the CA set's anchor that the chain ends in; empty when not verified.
    pub ca_id: Box<str>,
    /// `CN=…,OU=…,O=…,L=…,ST=…,C=…`.
    pub issuer_dn: Box<str>,
    /// RFC 2253 form.
    pub issuer_dn_rfc2253: Box<str>,
    /// `/C=US/ST=Texas/…/CN=…`.
    pub issuer_dn_legacy: Box<str>,
    /// As `issuer_dn`.
    pub subject_dn: Box<str>,
    /// As `issuer_dn_rfc2253`.
    pub subject_dn_rfc2253: Box<str>,
    /// As `issuer_dn_legacy`.
    pub subject_dn_legacy: Box<str>,
    /// Upper-case hex, with `-` in front of a negative one.
    pub serial: Box<str>,
    /// Serial of the issuer's certificate, upper-case hex; empty when the issuer is not known.
    pub issuer_serial: Box<str>,
    /// Lower-case hex.
    pub fingerprint_sha256: Box<str>,
    /// Lower-case hex.
    pub fingerprint_sha1: Box<str>,
    /// `Mar 21 13:35:00 2022 GMT`.
    pub not_before: Box<str>,
    /// As `not_before`.
    pub not_after: Box<str>,
    /// Seconds since the epoch; `None` without a certificate.
    pub not_before_sec: Option<i64>,
    /// Seconds since the epoch; `None` without a certificate.
    pub not_after_sec: Option<i64>,
    /// Upper-case hex.
    pub ski: Box<str>,
    /// Upper-case hex: the leaf's authority key identifier.
    pub issuer_ski: Box<str>,
    /// `:base64:` (RFC 9440), empty when too large.
    pub rfc9440: Box<str>,
    /// More than 10 KiB.
    pub rfc9440_too_large: bool,
    /// `:base64:, :base64:` as sent, leaf excluded; empty when too large.
    pub chain_rfc9440: Box<str>,
    /// More than 16 KiB.
    pub chain_rfc9440_too_large: bool,
    /// dNSName.
    pub san_dns: Vec<Box<str>>,
    /// uniformResourceIdentifier (SPIFFE IDs live here).
    pub san_uri: Vec<Box<str>>,
    /// rfc822Name.
    pub san_email: Vec<Box<str>>,
    /// iPAddress.
    pub san_ip: Vec<IpAddr>,
    /// extendedKeyUsage: dotted OIDs.
    pub eku: Vec<Box<str>>,
}

impl ClientAuth {
    /// What a connection without a client certificate has.
    #[must_use]
    pub fn none() -> Self {
        Self {
            verdict: Verdict::NONE,
            about: "".into(),
            ca_id: "".into(),
            issuer_dn: "".into(),
            issuer_dn_rfc2253: "".into(),
            issuer_dn_legacy: "".into(),
            subject_dn: "".into(),
            subject_dn_rfc2253: "".into(),
            subject_dn_legacy: "".into(),
            serial: "".into(),
            issuer_serial: "".into(),
            fingerprint_sha256: "".into(),
            fingerprint_sha1: "".into(),
            not_before: "".into(),
            not_after: "".into(),
            not_before_sec: None,
            not_after_sec: None,
            ski: "".into(),
            issuer_ski: "".into(),
            rfc9440: "".into(),
            rfc9440_too_large: false,
            chain_rfc9440: "".into(),
            chain_rfc9440_too_large: false,
            san_dns: Vec::new(),
            san_uri: Vec::new(),
            san_email: Vec::new(),
            san_ip: Vec::new(),
            eku: Vec::new(),
        }
    }
}
