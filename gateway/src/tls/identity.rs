//! The client's certificate as rules, logs and origins see it.
//!
//! Owns the texts in Cloudflare's formats. Made once per judgement, never per request. Does not
//! judge: an unverified certificate has fields too, and only the verdict says what they are worth.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::hash::MessageDigest;
use boring::x509::{X509, X509NameRef, X509Ref};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verdict::Verdict;
use super::verify::Judgement;
use crate::limits::{CHAIN_RFC9440_BYTES_MAX, LEAF_RFC9440_BYTES_MAX, SAN_COUNT_MAX};

/// The client's certificate as rules, logs and origins see it: texts in Cloudflare's formats
/// (<https://developers.cloudflare.com/ruleset-engine/rules-language/fields/reference/>, group
/// `cf.tls_client_auth`), empty where there is nothing.
///
/// Made once per judgement, never per request.
#[derive(Debug, Clone)]
pub struct ClientAuth {
    /// What verification found.
    pub verdict: Verdict,
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
    /// Upper-case hex.
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

    /// Reads the fields of a chain, leaf first, that was judged.
    ///
    /// Fields that cannot be read stay empty; the certificate was parsed by BoringSSL before, so
    /// this happens only to certificates that do not verify.
    #[must_use]
    pub fn read(chain: &[X509], judgement: &Judgement) -> Self {
        let mut client = Self {
            verdict: judgement.verdict,
            ..Self::none()
        };
        client.ca_id = judgement
            .anchor()
            .map(|id| &**id)
            .unwrap_or_default()
            .into();
        let Some((leaf, rest)) = chain.split_first() else {
            return client;
        };
        client.read_leaf(leaf);
        client.issuer_serial = judgement.issuer().map(serial).unwrap_or_default();
        let others: Option<Vec<String>> = rest
            .iter()
            .map(|certificate| Some(rfc9440(&certificate.to_der().ok()?)))
            .collect();
        let text = others.unwrap_or_default().join(", ");
        client.chain_rfc9440_too_large = text.len() > CHAIN_RFC9440_BYTES_MAX;
        if !client.chain_rfc9440_too_large {
            client.chain_rfc9440 = text.into();
        }
        client
    }

    /// The same certificate by another judgement: nothing of it has to be read again.
    #[must_use]
    pub fn judged(&self, judgement: &Judgement) -> Self {
        let mut client = self.clone();
        client.verdict = judgement.verdict;
        client.ca_id = judgement
            .anchor()
            .map(|id| &**id)
            .unwrap_or_default()
            .into();
        client.issuer_serial = judgement.issuer().map(serial).unwrap_or_default();
        client
    }

    fn read_leaf(&mut self, leaf: &X509Ref) {
        self.subject_dn_rfc2253 = dn_rfc2253(leaf.subject_name());
        self.subject_dn = self.subject_dn_rfc2253.clone();
        self.subject_dn_legacy = dn_legacy(leaf.subject_name());
        self.issuer_dn_rfc2253 = dn_rfc2253(leaf.issuer_name());
        self.issuer_dn = self.issuer_dn_rfc2253.clone();
        self.issuer_dn_legacy = dn_legacy(leaf.issuer_name());
        self.serial = serial(leaf);
        self.fingerprint_sha256 = fingerprint(leaf, MessageDigest::sha256());
        self.fingerprint_sha1 = fingerprint(leaf, MessageDigest::sha1());
        self.not_before = leaf.not_before().to_string().into();
        self.not_after = leaf.not_after().to_string().into();
        self.ski = leaf
            .subject_key_id()
            .map(|id| hex_upper(id.as_slice()))
            .unwrap_or_default();
        self.issuer_ski = leaf
            .authority_key_id()
            .map(|id| hex_upper(id.as_slice()))
            .unwrap_or_default();
        let Ok(der) = leaf.to_der() else { return };
        let text = rfc9440(&der);
        self.rfc9440_too_large = text.len() > LEAF_RFC9440_BYTES_MAX;
        if !self.rfc9440_too_large {
            self.rfc9440 = text.into();
        }
        if let Ok((_, parsed)) = X509Certificate::from_der(&der) {
            self.not_before_sec = Some(parsed.validity().not_before.timestamp());
            self.not_after_sec = Some(parsed.validity().not_after.timestamp());
            self.read_extensions(&parsed);
        }
    }

    fn read_extensions(&mut self, parsed: &X509Certificate<'_>) {
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in names.general_names.iter().take(SAN_COUNT_MAX) {
                        match name {
                            GeneralName::DNSName(text) => self.san_dns.push((*text).into()),
                            GeneralName::URI(text) => self.san_uri.push((*text).into()),
                            GeneralName::RFC822Name(text) => self.san_email.push((*text).into()),
                            GeneralName::IPAddress(bytes) => self.san_ip.extend(address(bytes)),
                            _ => {}
                        }
                    }
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    let known = [
                        (usage.any, "2.5.29.37.0"),
                        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
                        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
                        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
                        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
                        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
                        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
                    ];
                    let known = known.into_iter().filter(|(set, _)| *set);
                    self.eku.extend(known.map(|(_, oid)| oid.into()));
                    let others = usage.other.iter().take(SAN_COUNT_MAX);
                    self.eku.extend(others.map(|oid| oid.to_id_string().into()));
                }
                _ => {}
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// RFC 9440 §2.1: a Byte Sequence (RFC 8941 §3.3.5).
fn rfc9440(der: &[u8]) -> String {
    let mut text = String::with_capacity(der.len().div_ceil(3) * 4 + 2);
    text.push(':');
    STANDARD.encode_string(der, &mut text);
    text.push(':');
    text
}

/// As OpenSSL and nginx print it: RFC 2253, most specific first.
fn dn_rfc2253(name: &X509NameRef) -> Box<str> {
    name.print_ex(boring_sys::XN_FLAG_RFC2253 as _)
        .unwrap_or_default()
        .into()
}

/// As BoringSSL's `X509_NAME_oneline`: `/C=US/O=…`, in the order of the certificate, other bytes as
/// `\xHH`. A `/` in a value is not escaped there, so that rules which tell people apart should read
/// the RFC 2253 form.
fn dn_legacy(name: &X509NameRef) -> Box<str> {
    let mut text = String::new();
    for entry in name.entries() {
        let object = entry.object();
        let short = object
            .nid()
            .short_name()
            .ok()
            .filter(|name| *name != "UNDEF");
        text.push('/');
        match short {
            Some(short) => text.push_str(short),
            None => text.push_str(&object.to_string()),
        }
        text.push('=');
        for byte in entry.data().as_slice() {
            match byte {
                b' '..=b'~' => text.push(char::from(*byte)),
                other => {
                    write!(text, "\\x{other:02X}").expect("a String takes every write");
                }
            }
        }
    }
    text.into()
}

fn serial(certificate: &X509Ref) -> Box<str> {
    let bytes = certificate
        .serial_number()
        .to_bn()
        .map(|number| number.to_vec());
    match bytes {
        Ok(bytes) if bytes.is_empty() => "00".into(),
        Ok(bytes) => hex_upper(&bytes),
        Err(_) => "".into(),
    }
}

fn fingerprint(certificate: &X509Ref, digest: MessageDigest) -> Box<str> {
    let bytes = certificate.digest(digest);
    bytes
        .map(|bytes| hex_upper(&bytes).to_lowercase().into())
        .unwrap_or_default()
}

fn hex_upper(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02X}").expect("a String takes every write");
    }
    text.into()
}
