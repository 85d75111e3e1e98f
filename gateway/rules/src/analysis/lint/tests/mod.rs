//! Each trap, what is said of it, and what is not one.

mod certificates;
mod paths;
mod polarity;

use super::*;
use crate::Skip;
use crate::syntax::parser;
use crate::tests::block;
use crate::tests::rule;
use vocabulary::hostname::HostName;
use vocabulary::settings::MtlsMode;

fn lint(rules: &[Rule], hosts: &[LintHost], has_geo: bool) -> Vec<Lint> {
    crate::analysis::lint::lint(rules, hosts, &Lists::default(), has_geo)
}

fn kinds(rules: &[Rule], hosts: &[LintHost]) -> Vec<LintKind> {
    let found = lint(rules, hosts, true);
    found.into_iter().map(|lint| lint.kind).collect()
}

fn skip(id: &str, expression: &str) -> Rule {
    let skip = Skip {
        current_ruleset: true,
        ..Skip::default()
    };
    rule(id, expression, Action::Skip(skip))
}

fn host(name: &str, mtls: MtlsMode, cas: usize) -> LintHost {
    LintHost {
        name: HostName::parse(name).unwrap(),
        mtls,
        cas,
    }
}

fn check(expression: &str, hosts: &[LintHost], kind: LintKind, suggestion: Option<&str>) {
    let found = lint(&[block("r", expression)], hosts, false);
    let Some(lint) = found.iter().find(|lint| lint.kind == kind) else {
        panic!("{expression}: no {kind:?} in {found:?}");
    };
    assert_eq!(lint.suggestion.as_deref(), suggestion, "{expression}");
    if let Some(suggestion) = suggestion {
        assert!(parser::parse(suggestion, None).is_ok(), "{suggestion}");
    }
}

#[test]
fn each_trap() {
    let asks = [host("a.example.com", MtlsMode::Request, 1)];
    let several = [host("a.example.com", MtlsMode::Request, 2)];
    let off = [host("a.example.com", MtlsMode::Off, 0)];
    check(
        "not cf.tls_client_auth.cert_verified and ssl",
        &asks,
        LintKind::RevokedPasses,
        Some("(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and ssl"),
    );
    check(
        "not (cf.tls_client_auth.cert_verified and ssl)",
        &asks,
        LintKind::RevokedPasses,
        Some(
            "not (cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked and ssl)",
        ),
    );
    check(
        "not cf.tls_client_auth.cert_verified",
        &several,
        LintKind::NoIssuerPin,
        None,
    );
    check(
        "not cf.tls_client_auth.cert_verified and cf.tls_client_auth.cert_fingerprint_sha256 ne \"00\"",
        &asks,
        LintKind::AndInsteadOfOr,
        Some(
            "not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked or \
             cf.tls_client_auth.cert_fingerprint_sha256 ne \"00\"",
        ),
    );
    check(
        "http.request.uri.path in {\"/admin\"}",
        &[],
        LintKind::ExactPath,
        Some("lower(http.request.uri.path) in {\"/admin\" \"/admin/\"}"),
    );
    check(
        "http.request.uri.path eq \"/Admin\"",
        &[],
        LintKind::ExactPath,
        None,
    );
    check(
        "http.host eq \"a.example.com\" and not cf.tls_client_auth.cert_verified",
        &off,
        LintKind::HostWithoutMtls,
        None,
    );
    check(
        "http.host eq \"b.example.com\" and not cf.tls_client_auth.cert_verified",
        &asks,
        LintKind::HostWithoutRule,
        Some(
            "http.host eq \"a.example.com\" and \
             (not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)",
        ),
    );
    check(
        "http.request.headers[\"x\"][0] ne \"a\"",
        &[],
        LintKind::NotEqualOfMissing,
        Some("not http.request.headers[\"x\"][0] eq \"a\""),
    );
    check(
        "lower(http.request.headers[\"x\"][0]) ne \"a\"",
        &[],
        LintKind::NotEqualOfMissing,
        Some("not lower(http.request.headers[\"x\"][0]) eq \"a\""),
    );
    check(
        "ssl and any(http.request.cookies[\"x\"][*] ne \"a\")",
        &[],
        LintKind::NotEqualOfMissing,
        Some("ssl and not all(http.request.cookies[\"x\"][*] eq \"a\")"),
    );
    check(
        "not (ssl and not not cf.tls_client_auth.cert_verified)",
        &asks,
        LintKind::RevokedPasses,
        Some(
            "not (ssl and not (not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked))",
        ),
    );
    check(
        "ssl xor cf.tls_client_auth.cert_verified",
        &asks,
        LintKind::RevokedPasses,
        None,
    );
    check(
        "any(http.request.headers[\"X-A\"][*] eq \"a\")",
        &[],
        LintKind::CapitalHeader,
        None,
    );
    check(
        "ip.src.country eq \"DE\"",
        &[],
        LintKind::NoGeoDatabase,
        None,
    );
}

#[test]
fn functions_that_cloudflare_keeps_for_rewrites() {
    let on = [host("a.example.com", MtlsMode::Request, 1)];
    for expression in [
        r#"ssl and regex_replace(http.host, "^www", "") eq "a""#,
        r#"wildcard_replace(http.host, "*.a", "${1}") eq "b""#,
        r#"to_string(cf.edge.server_port) eq "443""#,
        r#"any(split(http.user_agent, "/", 3)[*] eq "curl")"#,
    ] {
        check(expression, &on, LintKind::RewriteOnlyFunction, None);
    }
}

#[test]
fn a_rule_that_blocks_verified_clients_blocks_revoked_ones() {
    // Correcting it with `and not cert_revoked` would let them pass.
    for expression in [
        "cf.tls_client_auth.cert_verified and ssl",
        "not (not cf.tls_client_auth.cert_verified or ssl)",
    ] {
        let found = lint(&[block("r", expression)], &[], false);
        let wrong = found
            .iter()
            .find(|lint| lint.kind == LintKind::RevokedPasses);
        assert_eq!(wrong, None, "{expression}");
    }
}

#[test]
fn nothing_to_say() {
    let hosts = [
        host("a.example.com", MtlsMode::Request, 1),
        host("b.example.com", MtlsMode::Off, 0),
    ];
    let good = block(
        "r",
        "http.host eq \"a.example.com\" and \
         (not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)",
    );
    assert_eq!(lint(&[good], &hosts, false), []);
    // A revoked certificate is stopped by a rule of its own.
    let pair = [
        block("a", "cf.tls_client_auth.cert_revoked"),
        block(
            "b",
            "http.host eq \"a.example.com\" and not cf.tls_client_auth.cert_verified",
        ),
    ];
    assert_eq!(lint(&pair, &hosts, false), []);
    // Unless one before it lets some around it.
    let [revoked, block_of_host] = pair;
    for (between, told) in [
        ("http.request.method eq \"GET\"", 1),
        ("ssl and not cf.tls_client_auth.cert_revoked", 0),
    ] {
        let rules = [block_of_host.clone(), skip("s", between), revoked.clone()];
        let found = lint(&rules, &hosts, false);
        let passes = found
            .iter()
            .filter(|lint| lint.kind == LintKind::RevokedPasses);
        assert_eq!(passes.count(), told, "{between}: {found:?}");
    }
}

#[test]
fn a_rule_that_permits_verified_clients_permits_revoked_ones() {
    let suggestion = |rules: &[Rule]| {
        let found = lint(rules, &[], false);
        let found = found
            .into_iter()
            .find(|lint| lint.kind == LintKind::RevokedPasses);
        found.map(|lint| lint.suggestion.unwrap_or_default())
    };
    let trap = skip("s", "ssl and cf.tls_client_auth.cert_verified");
    assert_eq!(
        suggestion(std::slice::from_ref(&trap)).as_deref(),
        Some("ssl and cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked")
    );
    let revoked = block("r", "cf.tls_client_auth.cert_revoked");
    assert_eq!(suggestion(&[revoked.clone(), trap.clone()]), None);
    assert!(suggestion(&[trap, revoked]).is_some(), "it comes too late");
    assert_eq!(
        suggestion(&[skip("s", "not cf.tls_client_auth.cert_verified")]),
        None
    );
}

#[test]
fn names_with_capitals() {
    for (kind, expression, suggestion) in [
        (
            LintKind::CapitalHost,
            "http.host in {\"A.example\" \"b.example\"} or http.host contains \"EX\"",
            "http.host in {\"a.example\" \"b.example\"} or http.host contains \"ex\"",
        ),
        (
            LintKind::CapitalHost,
            "starts_with(http.host, \"API.\") and not ends_with(http.host, \".TEST\")",
            "starts_with(http.host, \"api.\") and not ends_with(http.host, \".test\")",
        ),
        (
            LintKind::CapitalHost,
            "http.host strict wildcard \"API.*\" or lower(http.host) ne \"A.test\"",
            "http.host strict wildcard \"api.*\" or lower(http.host) ne \"a.test\"",
        ),
        (
            LintKind::FinalDotHost,
            "http.host eq \"api.example.test.\"",
            "http.host eq \"api.example.test\"",
        ),
        (
            LintKind::FinalDotHost,
            "http.host in {\"a.test.\" \"b.test\"} or ends_with(http.host, \".test.\") or http.host wildcard \"*.A.\"",
            "http.host in {\"a.test\" \"b.test\"} or ends_with(http.host, \".test\") or http.host wildcard \"*.A\"",
        ),
        (
            LintKind::FinalDotHost,
            "http.host eq \"A.test.\"",
            "http.host eq \"a.test\"",
        ),
    ] {
        check(expression, &[], kind, Some(suggestion));
    }
    for expression in [
        "starts_with(http.host, \"api.\") or http.host contains \"a.\"",
        "http.host wildcard \"A*\"",
        "upper(http.host) eq \"A.TEST\"",
    ] {
        assert_eq!(kinds(&[block("r", expression)], &[]), [], "{expression}");
    }
    // A value with such a text is no name.
    let text = "http.user_agent eq \"http.request.headers[\\\"X\\\"]\"";
    assert_eq!(lint(&[block("r", text)], &[], false), []);
}

#[test]
fn names_that_no_host_answers_for() {
    let hosts = [
        host("api.example.com", MtlsMode::Require, 1),
        host("*.shop.example.com", MtlsMode::Require, 1),
    ];
    for (expression, names, suggestion) in [
        (
            r#"http.host eq "aip.example.com" and ssl"#,
            &["aip.example.com"][..],
            Some(r#"http.host eq "api.example.com" and ssl"#),
        ),
        (
            r#"http.host in {"api.example.com" "api.example.org"}"#,
            &["api.example.org"],
            Some(r#"http.host in {"api.example.com" "api.example.com"}"#),
        ),
        (
            r#"not lower(http.host) in {"API.example.com." "APY.example.com."}"#,
            &["apy.example.com"],
            Some(r#"not lower(http.host) in {"API.example.com." "api.example.com"}"#),
        ),
        (
            r#"http.host ne "elsewhere.test""#,
            &["elsewhere.test"],
            None,
        ),
        (
            r#"http.host eq "one.test" or http.host eq "two.test""#,
            &["one.test", "two.test"],
            None,
        ),
        (r#"http.host eq "api.example.com""#, &[], None),
        (r#"http.host eq "a.shop.example.com""#, &[], None),
        // What is no comparison with a whole name is not looked at.
        (r#"http.host contains "typo""#, &[], None),
        (r#"ends_with(http.host, ".typo.test")"#, &[], None),
        (r#"http.request.uri.path eq "typo.test""#, &[], None),
        (r#"http.host eq "not a name""#, &[], None),
    ] {
        let found: Vec<Lint> = lint(&[block("r", expression)], &hosts, true)
            .into_iter()
            .filter(|lint| lint.kind == LintKind::UnknownHost)
            .collect();
        assert_eq!(found.len(), names.len(), "{expression}: {found:?}");
        for (lint, name) in found.iter().zip(names) {
            assert!(
                lint.message.contains(&format!("`{name}`")),
                "{expression}: {lint:?}"
            );
            assert_eq!(lint.suggestion.as_deref(), suggestion, "{expression}");
        }
        let of_any_phase = unknown_hosts(
            [("r".into(), expression)],
            hosts.iter().map(|host| &host.name),
        );
        assert_eq!(of_any_phase, found, "{expression}");
    }
    assert!(
        kinds(&[block("r", r#"http.host eq "a.test""#)], &[]).is_empty(),
        "rules may be written before there is any host"
    );
}
