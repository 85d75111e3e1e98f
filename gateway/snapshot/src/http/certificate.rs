//! Certificate headers: the client's certificate for origins, in the dialects that they know.
//!
//! Owns their names and values. What a client sent under these names is gone by then: see
//! [`super::headers`]. An origin that reads only a certificate or its digest never sees one
//! that did not verify; the headers that speak of unverified certificates (`transform`) come
//! with the verdict.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use http::header::{HeaderName, HeaderValue};
use http1::Headers;

use super::headers::insert;
use crate::limits::XFCC_BYTES_MAX;
use vocabulary::client_auth::ClientAuth;
use vocabulary::settings::CertificateHeaders;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const CF_CLIENT_CERT_SHA256: HeaderName = HeaderName::from_static("cf-client-cert-sha256");
const CF_CLIENT_CERT_DER: HeaderName = HeaderName::from_static("cf-client-cert-der-base64");
const CF_CERT_PRESENTED: HeaderName = HeaderName::from_static("cf-cert-presented");
const CF_CERT_VERIFIED: HeaderName = HeaderName::from_static("cf-cert-verified");
const CF_CERT_REVOKED: HeaderName = HeaderName::from_static("cf-cert-revoked");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Tells the origin what `groups` ask for.
pub(super) fn tell(
    headers: &mut Headers,
    client: &ClientAuth,
    groups: &BTreeSet<CertificateHeaders>,
) {
    let good = client.verdict.is_good();
    for group in groups {
        match group {
            CertificateHeaders::Verdict => verdict(headers, client),
            CertificateHeaders::Transform => transform(headers, client),
            CertificateHeaders::Sha256 if good => {
                insert(headers, CF_CLIENT_CERT_SHA256, &client.fingerprint_sha256);
            }
            CertificateHeaders::Der if good => {
                // The same bytes in the same alphabet, without the colons of a structured field.
                // Larger than documented, it is left out, as the structured field is.
                let text = client.rfc9440.trim_matches(':');
                insert_if(headers, CF_CLIENT_CERT_DER, text);
            }
            CertificateHeaders::ClientCert if good => {
                insert_if(headers, CLIENT_CERT, &client.rfc9440);
            }
            CertificateHeaders::ClientCertChain if good => {
                insert_if(headers, CLIENT_CERT_CHAIN, &client.chain_rfc9440);
            }
            CertificateHeaders::Xfcc if good => {
                let text = xfcc(client);
                if text.len() <= XFCC_BYTES_MAX {
                    insert(headers, XFCC, &text);
                }
            }
            _ => {}
        }
    }
}

fn verdict(headers: &mut Headers, client: &ClientAuth) {
    let truth = |value| HeaderValue::from_static(if value { "true" } else { "false" });
    headers.insert(CF_CERT_PRESENTED, truth(client.verdict.presented));
    headers.insert(CF_CERT_VERIFIED, truth(client.verdict.verified));
    headers.insert(CF_CERT_REVOKED, truth(client.verdict.revoked));
}

/// Cloudflare's managed transform "Add TLS client auth headers", all seventeen.
fn transform(headers: &mut Headers, client: &ClientAuth) {
    verdict(headers, client);
    let fields: [(&'static str, &str); 14] = [
        ("cf-cert-issuer-dn", &client.issuer_dn),
        ("cf-cert-subject-dn", &client.subject_dn),
        ("cf-cert-issuer-dn-rfc2253", &client.issuer_dn_rfc2253),
        ("cf-cert-subject-dn-rfc2253", &client.subject_dn_rfc2253),
        ("cf-cert-issuer-dn-legacy", &client.issuer_dn_legacy),
        ("cf-cert-subject-dn-legacy", &client.subject_dn_legacy),
        ("cf-cert-serial", &client.serial),
        ("cf-cert-issuer-serial", &client.issuer_serial),
        ("cf-cert-fingerprint-sha256", &client.fingerprint_sha256),
        ("cf-cert-fingerprint-sha1", &client.fingerprint_sha1),
        ("cf-cert-not-before", &client.not_before),
        ("cf-cert-not-after", &client.not_after),
        ("cf-cert-ski", &client.ski),
        ("cf-cert-issuer-ski", &client.issuer_ski),
    ];
    for (name, text) in fields {
        insert_if(headers, HeaderName::from_static(name), text);
    }
}

fn insert_if(headers: &mut Headers, name: HeaderName, text: &str) {
    if !text.is_empty() {
        insert(headers, name, text);
    }
}

/// Envoy's `x-forwarded-client-cert`: `Key=value` with semicolons; values that hold one of its
/// separators are quoted, quotes in them escaped.
fn xfcc(client: &ClientAuth) -> String {
    let mut text = format!(
        "Hash={};Subject={}",
        client.fingerprint_sha256,
        quoted(&client.subject_dn_rfc2253)
    );
    for uri in &client.san_uri {
        write!(text, ";URI={}", quoted_if(uri)).expect("a String takes every write");
    }
    for dns in &client.san_dns {
        write!(text, ";DNS={}", quoted_if(dns)).expect("a String takes every write");
    }
    text
}

fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

fn quoted_if(value: &str) -> String {
    if value.contains([',', ';', '=', '"', '\\', ' ']) {
        quoted(value)
    } else {
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientAuth {
        let mut client = ClientAuth::none();
        client.verdict.presented = true;
        client.fingerprint_sha256 = "ab".into();
        client.rfc9440 = ":AA==:".into();
        client.chain_rfc9440 = ":BB==:, :CC==:".into();
        client.subject_dn_rfc2253 = "CN=a\\, \"b\",O=c".into();
        client.subject_dn = client.subject_dn_rfc2253.clone();
        client.serial = "0A".into();
        client.san_uri = vec!["spiffe://a/b;c".into()];
        client.san_dns = vec!["d.test".into(), "e.test".into()];
        client
    }

    fn told(client: &ClientAuth) -> Headers {
        let mut headers = Headers::new();
        tell(&mut headers, client, &CertificateHeaders::ALL.into());
        headers
    }

    fn text<'h>(headers: &'h Headers, name: &str) -> &'h str {
        std::str::from_utf8(headers.spelled(name).next().unwrap()).unwrap()
    }

    const ONLY_GOOD: [HeaderName; 5] = [
        CLIENT_CERT,
        CLIENT_CERT_CHAIN,
        CF_CLIENT_CERT_SHA256,
        CF_CLIENT_CERT_DER,
        XFCC,
    ];

    #[test]
    fn a_certificate_that_is_not_believed_is_not_forwarded() {
        let mut client = client();
        for (verified, revoked) in [(false, false), (true, true)] {
            client.verdict.verified = verified;
            client.verdict.revoked = revoked;
            let headers = told(&client);
            for name in ONLY_GOOD {
                assert!(!headers.contains_key(&name), "{name}");
            }
            assert_eq!(text(&headers, CF_CERT_PRESENTED.as_str()), "true");
            assert_eq!(
                text(&headers, CF_CERT_VERIFIED.as_str()),
                if verified { "true" } else { "false" }
            );
            assert_eq!(
                text(&headers, CF_CERT_REVOKED.as_str()),
                if revoked { "true" } else { "false" }
            );
            assert_eq!(text(&headers, "cf-cert-serial"), "0A");
        }
    }

    #[test]
    fn a_good_certificate_in_every_dialect() {
        let mut client = client();
        client.verdict.verified = true;
        let headers = told(&client);
        assert_eq!(text(&headers, CLIENT_CERT.as_str()), ":AA==:");
        assert_eq!(text(&headers, CLIENT_CERT_CHAIN.as_str()), ":BB==:, :CC==:");
        assert_eq!(text(&headers, CF_CLIENT_CERT_DER.as_str()), "AA==");
        assert_eq!(text(&headers, CF_CLIENT_CERT_SHA256.as_str()), "ab");
        assert_eq!(
            text(&headers, XFCC.as_str()),
            r#"Hash=ab;Subject="CN=a\\, \"b\",O=c";URI="spiffe://a/b;c";DNS=d.test;DNS=e.test"#
        );
        assert_eq!(text(&headers, "cf-cert-subject-dn"), r#"CN=a\, "b",O=c"#);
        let mut none = Headers::new();
        tell(&mut none, &client, &BTreeSet::new());
        assert!(none.is_empty());
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let mut client = client();
        client.verdict.verified = true;
        client.rfc9440 = "".into();
        client.rfc9440_too_large = true;
        client.san_uri = vec!["x".repeat(XFCC_BYTES_MAX).into()];
        let headers = told(&client);
        for name in [CLIENT_CERT, CF_CLIENT_CERT_DER, XFCC] {
            assert!(!headers.contains_key(&name), "{name}");
        }
        assert_eq!(text(&headers, CF_CLIENT_CERT_SHA256.as_str()), "ab");
    }
}
