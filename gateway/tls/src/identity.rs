//! Reads a client's certificate into the fields that rules, logs and origins see.
//!
//! Owns how each text is made, in Cloudflare's formats, once for each verification. Does not
//! verify: an unverified certificate has fields too, and only the verdict says what they are worth.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::hash::MessageDigest;
use boring::x509::{X509, X509NameRef, X509Ref};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verify::Verification;
use crate::limits::{CHAIN_RFC9440_BYTES_MAX, LEAF_RFC9440_BYTES_MAX, SAN_COUNT_MAX};
use vocabulary::client_auth::ClientAuth;

/// Reads the fields of a chain, leaf first, that was verified.
///
/// Fields that cannot be read stay empty; the certificate was parsed by BoringSSL before, so
/// this happens only to certificates that do not verify.
#[must_use]
pub fn read_client(chain: &[X509], verification: &Verification) -> ClientAuth {
    let mut client = ClientAuth {
        verdict: verification.verdict,
        about: verification.about().unwrap_or_default().into(),
        ..ClientAuth::none()
    };
    client.ca_id = verification
        .anchor()
        .map(|id| &**id)
        .unwrap_or_default()
        .into();
    let Some((leaf, rest)) = chain.split_first() else {
        return client;
    };
    read_leaf(&mut client, leaf);
    client.issuer_serial = verification.issuer().map(serial).unwrap_or_default();
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

/// The same certificate by another verification: nothing of it has to be read again.
#[must_use]
pub fn with_verification(client: &ClientAuth, verification: &Verification) -> ClientAuth {
    let mut client = client.clone();
    client.verdict = verification.verdict;
    client.about = verification.about().unwrap_or_default().into();
    client.ca_id = verification
        .anchor()
        .map(|id| &**id)
        .unwrap_or_default()
        .into();
    client.issuer_serial = verification.issuer().map(serial).unwrap_or_default();
    client
}

fn read_leaf(client: &mut ClientAuth, leaf: &X509Ref) {
    client.subject_dn_rfc2253 = dn_rfc2253(leaf.subject_name());
    client.subject_dn = client.subject_dn_rfc2253.clone();
    client.subject_dn_legacy = dn_legacy(leaf.subject_name());
    client.issuer_dn_rfc2253 = dn_rfc2253(leaf.issuer_name());
    client.issuer_dn = client.issuer_dn_rfc2253.clone();
    client.issuer_dn_legacy = dn_legacy(leaf.issuer_name());
    client.serial = serial(leaf);
    client.fingerprint_sha256 = fingerprint(leaf, MessageDigest::sha256());
    client.fingerprint_sha1 = fingerprint(leaf, MessageDigest::sha1());
    client.not_before = leaf.not_before().to_string().into();
    client.not_after = leaf.not_after().to_string().into();
    client.ski = leaf
        .subject_key_id()
        .map(|id| hex_upper(id.as_slice()))
        .unwrap_or_default();
    client.issuer_ski = leaf
        .authority_key_id()
        .map(|id| hex_upper(id.as_slice()))
        .unwrap_or_default();
    let Ok(der) = leaf.to_der() else { return };
    let text = rfc9440(&der);
    client.rfc9440_too_large = text.len() > LEAF_RFC9440_BYTES_MAX;
    if !client.rfc9440_too_large {
        client.rfc9440 = text.into();
    }
    if let Ok((_, parsed)) = X509Certificate::from_der(&der) {
        client.not_before_sec = Some(parsed.validity().not_before.timestamp());
        client.not_after_sec = Some(parsed.validity().not_after.timestamp());
        read_extensions(client, &parsed);
    }
}

fn read_extensions(client: &mut ClientAuth, parsed: &X509Certificate<'_>) {
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in names.general_names.iter().take(SAN_COUNT_MAX) {
                    match name {
                        GeneralName::DNSName(text) => client.san_dns.push((*text).into()),
                        GeneralName::URI(text) => client.san_uri.push((*text).into()),
                        GeneralName::RFC822Name(text) => client.san_email.push((*text).into()),
                        GeneralName::IPAddress(bytes) => client.san_ip.extend(address(bytes)),
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
                client.eku.extend(known.map(|(_, oid)| oid.into()));
                let others = usage.other.iter().take(SAN_COUNT_MAX);
                client
                    .eku
                    .extend(others.map(|oid| oid.to_id_string().into()));
            }
            _ => {}
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
pub(super) fn dn_rfc2253(name: &X509NameRef) -> Box<str> {
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

/// As [`Serial`](super::ids::Serial) prints it, however long it is.
fn serial(certificate: &X509Ref) -> Box<str> {
    let Ok(number) = certificate.serial_number().to_bn() else {
        return "".into();
    };
    let sign = if number.is_negative() { "-" } else { "" };
    match number.to_vec() {
        zero if zero.is_empty() => "00".into(),
        magnitude => format!("{sign}{}", hex_upper(&magnitude)).into(),
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
