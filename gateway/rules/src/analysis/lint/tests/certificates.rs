//! Which certificates pass although they should not, and that corrections keep them out.

use super::*;
use crate::tests::{Certificate, World};

const HOST: &str = "a.example.com";
const REFUSED: &str = "not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked";
/// Of every certificate that tests have.
const SERIAL: &str = "cf.tls_client_auth.cert_serial";
const FINGERPRINT: &str = "cf.tls_client_auth.cert_fingerprint_sha256";
const OURS: &str = "af363dc85bc942a892d3cee9796190fdb36d89cd588a4f1cb17c74a943439714";

/// Which clients with the right serial and fingerprint a rule blocks: those whose certificate is
/// not verified, is, and is revoked.
fn blocks(expression: &str) -> [bool; 3] {
    let with = [
        Certificate::Invalid,
        Certificate::Valid,
        Certificate::Revoked,
    ];
    with.map(|certificate| World::new(certificate, HOST, "/").holds(expression))
}

/// The one lint about trust, with its correction, that keeps out all but a good certificate.
fn corrected(expression: &str, kind: LintKind, suggestion: &str) {
    let hosts = [host(HOST, MtlsMode::Request, 1)];
    let found = lint(&[block("r", expression)], &hosts, true);
    let found: Vec<_> = found
        .iter()
        .filter(|lint| lint.kind != LintKind::HostWithoutRule)
        .map(|lint| (lint.kind, lint.suggestion.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(found, [(kind, suggestion)], "{expression}");
    assert_eq!(blocks(suggestion), [true, false, true], "{suggestion}");
    assert_eq!(kinds(&[block("r", suggestion)], &hosts), [], "{suggestion}");
}

#[test]
fn and_instead_of_or() {
    let unverified = "not cf.tls_client_auth.cert_verified";
    let ours = format!("{FINGERPRINT} ne \"{OURS}\"");
    let two = format!("{ours} and {FINGERPRINT} ne \"bb\"");
    let host = format!("http.host eq \"{HOST}\"");
    for (expression, suggestion) in [
        (
            format!("{unverified} and {ours}"),
            format!("{REFUSED} or {ours}"),
        ),
        (
            format!("({REFUSED}) and {ours}"),
            format!("{REFUSED} or {ours}"),
        ),
        (
            format!(
                "not (cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked) and {ours}"
            ),
            format!("{REFUSED} or {ours}"),
        ),
        (
            format!("{unverified} and {two}"),
            format!("{REFUSED} or {two}"),
        ),
        (
            format!("({REFUSED}) and {two}"),
            format!("{REFUSED} or {two}"),
        ),
        (
            format!("{host} and {unverified} and {ours} and ssl and {SERIAL} ne \"BB\""),
            format!("{host} and ssl and ({REFUSED} or {ours} and {SERIAL} ne \"BB\")"),
        ),
        (
            format!("{unverified} and not {FINGERPRINT} in {{\"{OURS}\" \"bb\"}}"),
            format!("{REFUSED} or not {FINGERPRINT} in {{\"{OURS}\" \"bb\"}}"),
        ),
    ] {
        // `or` of `and` is printed with parentheses where people need them.
        let suggestion = parser::parse(&suggestion, None).unwrap().to_string();
        corrected(&expression, LintKind::AndInsteadOfOr, &suggestion);
    }
    for expression in [
        // Not about which certificate it is, and not what makes the rule block.
        format!("{unverified} and postern.tls_client_auth.reason ne \"expired\""),
        format!("not (not ({REFUSED}) or not {unverified} or {ours})"),
    ] {
        let found = kinds(&[block("r", &expression)], &[]);
        assert!(
            !found.contains(&LintKind::AndInsteadOfOr),
            "{expression}: {found:?}"
        );
    }
}

#[test]
fn what_nobody_signed() {
    let ours = format!("{SERIAL} ne \"0A1B2C\"");
    let host = format!("http.host in {{\"{HOST}\"}}");
    let san = "any(postern.tls_client_auth.cert_san.dns[*] eq \"device-1.example\")";
    for (expression, suggestion) in [
        (ours.clone(), format!("{REFUSED} or {ours}")),
        (
            format!("{host} and {ours}"),
            format!("{host} and ({REFUSED} or {ours})"),
        ),
        (
            format!("{host} and {ours} and {FINGERPRINT} ne \"bb\""),
            format!("{host} and ({REFUSED} or {ours} and {FINGERPRINT} ne \"bb\")"),
        ),
        (
            format!("not {SERIAL} in {{\"0A1B2C\" \"1\"}}"),
            format!("{REFUSED} or not {SERIAL} in {{\"0A1B2C\" \"1\"}}"),
        ),
        (format!("not {san}"), format!("{REFUSED} or not {san}")),
        (
            "all(postern.tls_client_auth.cert_san.dns[*] ne \"device-1.example\")".into(),
            format!(
                "{REFUSED} or all(postern.tls_client_auth.cert_san.dns[*] ne \"device-1.example\")"
            ),
        ),
        (
            format!("not ({SERIAL} eq \"0A1B2C\" and {host})"),
            format!(
                "not (cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked and {SERIAL} eq \"0A1B2C\" and {host})"
            ),
        ),
        (
            format!("cf.tls_client_auth.cert_revoked or {ours}"),
            format!("{REFUSED} or {ours}"),
        ),
        (
            "not cf.tls_client_auth.cert_subject_dn contains \"CN=device-1\"".into(),
            format!("{REFUSED} or not cf.tls_client_auth.cert_subject_dn contains \"CN=device-1\""),
        ),
        (
            format!("http.request.method eq \"BREW\" and ({REFUSED}) or {host} and {ours}"),
            format!(
                "http.request.method eq \"BREW\" and ({REFUSED}) or {host} and ({REFUSED} or {ours})"
            ),
        ),
    ] {
        let suggestion = parser::parse(&suggestion, None).unwrap().to_string();
        let hosts = [host_of(MtlsMode::Request)];
        let found = lint(&[block("r", &expression)], &hosts, true);
        let found = found
            .iter()
            .find(|lint| lint.kind == LintKind::UnverifiedPasses);
        assert_eq!(
            found.and_then(|lint| lint.suggestion.as_deref()),
            Some(suggestion.as_str()),
            "{expression}"
        );
        assert_eq!(blocks(&suggestion), [true, false, true], "{suggestion}");
        let after = kinds(&[block("r", &suggestion)], &hosts);
        assert!(!after.contains(&LintKind::UnverifiedPasses), "{suggestion}");
    }
    let around = lint(&[skip("s", &format!("{SERIAL} eq \"0A1B2C\""))], &[], true);
    let [around] = around.as_slice() else {
        panic!("{around:?}");
    };
    assert_eq!(around.kind, LintKind::UnverifiedPasses);
    assert_eq!(
        around.suggestion.as_deref(),
        Some(
            "cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked and \
             cf.tls_client_auth.cert_serial eq \"0A1B2C\""
        )
    );
}

fn host_of(mtls: MtlsMode) -> LintHost {
    host(HOST, mtls, 1)
}

#[test]
fn what_somebody_else_asks_for() {
    let ours = block("r", &format!("{SERIAL} ne \"0A1B2C\""));
    let good = block("good", REFUSED);
    let other = host("b.example.com", MtlsMode::Request, 1);
    let of_host = block(
        "r",
        &format!("http.host eq \"{HOST}\" and {SERIAL} ne \"0A1B2C\""),
    );
    for (rules, hosts, expected) in [
        (vec![ours.clone()], vec![], true),
        (vec![ours.clone()], vec![host_of(MtlsMode::Request)], true),
        (vec![ours.clone()], vec![host_of(MtlsMode::Require)], false),
        (
            vec![ours.clone()],
            vec![host_of(MtlsMode::Require), other.clone()],
            true,
        ),
        (
            vec![of_host.clone()],
            vec![host_of(MtlsMode::Require), other.clone()],
            false,
        ),
        (vec![of_host], vec![other.clone()], true),
        (
            vec![ours.clone(), good.clone()],
            vec![host_of(MtlsMode::Request)],
            false,
        ),
        (
            vec![good.clone(), ours.clone()],
            vec![host_of(MtlsMode::Request)],
            false,
        ),
        (
            vec![
                ours.clone(),
                skip("s", "http.request.method eq \"GET\""),
                good.clone(),
            ],
            vec![host_of(MtlsMode::Request)],
            true,
        ),
        (
            vec![
                block("good", &format!("http.host eq \"{HOST}\" and ({REFUSED})")),
                ours.clone(),
            ],
            vec![host_of(MtlsMode::Request), other],
            true,
        ),
    ] {
        let found = kinds(&rules, &hosts).contains(&LintKind::UnverifiedPasses);
        assert_eq!(found, expected, "{rules:?} {hosts:?}");
    }
    for expression in [
        format!("{SERIAL} eq \"DEADBEEF\""),
        "postern.tls_client_auth.ca_id ne \"1\"".into(),
        "cf.tls_client_auth.cert_not_after ne \"x\"".into(),
        format!("{REFUSED} or {SERIAL} ne \"1\""),
        format!(
            "not (cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked and {SERIAL} eq \"1\")"
        ),
    ] {
        assert_eq!(kinds(&[block("r", &expression)], &[]), [], "{expression}");
    }
}

#[test]
fn hosts_that_nothing_protects() {
    let hosts = [host("api.example.test", MtlsMode::Request, 1)];
    for expression in [
        "cf.tls_client_auth.cert_revoked".to_owned(),
        format!("{SERIAL} eq \"DEADBEEF\""),
        format!("http.host ne \"api.example.test\" and ({REFUSED})"),
        format!("({REFUSED}) and ends_with(http.host, \".other.test\")"),
        format!("http.host wildcard \"other.*\" and ({REFUSED})"),
        format!("not http.host eq \"api.example.test\" and ({REFUSED})"),
    ] {
        let found = kinds(&[block("r", &expression)], &hosts);
        assert_eq!(found, [LintKind::HostWithoutRule], "{expression}");
    }
    let around = [skip("s", "ssl"), block("r", REFUSED)];
    let found = lint(&around, &hosts, true);
    let [lint] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(lint.kind, LintKind::HostWithoutRule);
    assert!(
        lint.message.contains("the rule s lets everybody around"),
        "{}",
        lint.message
    );
    assert_eq!(lint.suggestion, None, "it would come too late");
}

#[test]
fn hosts_that_a_rule_names() {
    let off = [host("api.example.test", MtlsMode::Off, 0)];
    for (expression, named) in [
        (
            format!("http.host eq \"api.example.test\" and ({REFUSED})"),
            true,
        ),
        (
            format!("({REFUSED}) and ends_with(http.host, \".example.test\")"),
            true,
        ),
        (
            format!("({REFUSED}) and http.host wildcard \"api.*\""),
            true,
        ),
        (
            format!("http.host ne \"api.example.test\" and ({REFUSED})"),
            false,
        ),
        (
            format!("http.host ne \"other.test\" and ({REFUSED})"),
            false,
        ),
        (
            format!("({REFUSED}) and ends_with(http.host, \".other.test\")"),
            false,
        ),
        (REFUSED.into(), false),
    ] {
        let found = kinds(&[block("r", &expression)], &off);
        assert_eq!(
            found.contains(&LintKind::HostWithoutMtls),
            named,
            "{expression}"
        );
    }
}
