//! The canonical expressions of Cloudflare's documents, decided for every state of a certificate.

use super::{Certificate, World};
use crate::check;

/// none, invalid, valid, revoked.
type Truth = [bool; 4];

#[test]
fn canonical_expressions() {
    let cases: &[(&str, &str, &str, Truth)] = &[
        (
            r#"((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {"/admin"})"#,
            "a.example",
            "/admin",
            [true, true, false, true],
        ),
        (
            r#"((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {"/admin"})"#,
            "a.example",
            "/other",
            [false; 4],
        ),
        (
            r#"(http.host in {"a.example" "b.example"} and not cf.tls_client_auth.cert_verified)"#,
            "b.example",
            "/",
            [true, true, false, false],
        ),
        (
            r#"(http.host in {"a.example" "b.example"} and not cf.tls_client_auth.cert_verified)"#,
            "c.example",
            "/",
            [false; 4],
        ),
        (
            r#"not (cf.tls_client_auth.cert_verified and cf.tls_client_auth.cert_issuer_ski eq "A5AC554235DBA6D963B9CDE0185CFAD6E3F55E9F")"#,
            "a.example",
            "/",
            [true, true, false, false],
        ),
        (
            r#"(http.host in {"a.example"} and cf.tls_client_auth.cert_serial ne "SERIAL")"#,
            "a.example",
            "/",
            [true; 4],
        ),
        (
            r#"(http.host in {"a.example"} and cf.tls_client_auth.cert_serial ne "0A1B2C")"#,
            "a.example",
            "/",
            [true, false, false, false],
        ),
        (
            "cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked and not cf.tls_client_auth.cert_rfc9440_too_large",
            "a.example",
            "/",
            [false, false, true, false],
        ),
        (
            "cf.tls_client_auth.cert_presented",
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            "cf.tls_client_auth.cert_verified",
            "a.example",
            "/",
            [false, false, true, true],
        ),
        (
            "cf.tls_client_auth.cert_revoked",
            "a.example",
            "/",
            [false, false, false, true],
        ),
        (
            r#"cf.tls_client_auth.cert_serial eq """#,
            "a.example",
            "/",
            [true, false, false, false],
        ),
        (
            r#"cf.tls_client_auth.cert_rfc9440 ne """#,
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            r#"cf.tls_client_auth.cert_not_after eq "Mar 21 13:35:00 2023 GMT""#,
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            "postern.tls_client_auth.cert_not_after_sec lt 1700000000",
            "a.example",
            "/",
            [false, true, true, true],
        ),
        // Without a certificate there is no time: neither comparison holds.
        (
            "postern.tls_client_auth.cert_not_after_sec ge 0",
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            "postern.tls_client_auth.cert_not_after_sec lt 0",
            "a.example",
            "/",
            [false; 4],
        ),
        (
            r#"postern.tls_client_auth.reason in {"not_presented" "unknown_ca"}"#,
            "a.example",
            "/",
            [true, true, false, false],
        ),
        (
            r#"any(postern.tls_client_auth.cert_san.uri[*] eq "spiffe://example/device/1")"#,
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            r#"any(postern.tls_client_auth.cert_san.dns[*] eq "d1.example")"#,
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            "any(postern.tls_client_auth.cert_san.ip[*] in {192.0.2.0/24})",
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            r#"any(postern.tls_client_auth.cert_eku[*] eq "1.3.6.1.5.5.7.3.2")"#,
            "a.example",
            "/",
            [false, true, true, true],
        ),
        (
            r#"postern.tls_client_auth.ca_id eq "4f1c""#,
            "a.example",
            "/",
            [false, false, true, true],
        ),
    ];
    for (expression, host, path, truth) in cases {
        for (certificate, expected) in Certificate::ALL.into_iter().zip(truth) {
            let world = World::new(certificate, host, path);
            assert_eq!(
                world.holds(expression),
                *expected,
                "{expression} for {certificate:?}"
            );
        }
    }
}

#[test]
fn the_fingerprint_trap_of_the_documents() {
    // Cloudflare's own example blocks only unverified clients; `or` is what it means to say.
    let trap = r#"not cf.tls_client_auth.cert_verified and cf.tls_client_auth.cert_fingerprint_sha256 ne "00""#;
    let meant = r#"not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_fingerprint_sha256 ne "00""#;
    let other = World::new(Certificate::Valid, "a.example", "/");
    assert!(!other.holds(trap) && other.holds(meant));
}

/// Where wirefilter 0.7, the engine that Cloudflare published, and Cloudflare's documents differ,
/// the documents win. Each row is one such decision.
#[test]
fn where_wirefilter_and_the_documents_differ() {
    for (decision, expression, accepted) in [
        (
            "an integer with a leading zero is octal in wirefilter; refused, for nobody means it",
            "cf.edge.server_port eq 0443",
            false,
        ),
        ("a tab is white space", "ssl\tand\tssl", true),
        ("`true` is a whole expression", "true", true),
        (
            "list names have no dot",
            "ip.src in $cf.open_proxies",
            false,
        ),
        ("addresses have no order", "ip.src lt 10.0.0.0", false),
        (
            "`[*]` unpacks arrays, not maps",
            r#"any(http.request.headers[*][*] eq "a")"#,
            false,
        ),
        (
            "strings are quoted: `01:2e:f3` is none",
            "http.host eq 01:2e:f3",
            false,
        ),
        ("there is no bitwise `&`", "cf.edge.server_port & 1", false),
        (
            "there is no `bitwise_and`",
            "cf.edge.server_port bitwise_and 1",
            false,
        ),
        (
            "`\\x2e` is an escape, wirefilter's octal `\\056` is none",
            r#"http.host contains "\056""#,
            false,
        ),
        ("`\\x2e` is an escape", r#"http.host contains "\x2e""#, true),
        ("strings have an order", r#"http.host lt "b""#, true),
        (
            "functions are Cloudflare's, not the host's: `len` is there",
            "len(http.host) gt 3",
            true,
        ),
        (
            "`any` and `all` take one array only",
            r#"any(http.request.headers.names[*] eq "a" and http.request.headers.values[*] eq "b")"#,
            false,
        ),
        (
            "functions that Cloudflare keeps for rewriting work in rules as well (and are linted)",
            r#"to_string(cf.edge.server_port) eq "443""#,
            true,
        ),
    ] {
        assert_eq!(
            check(expression).is_ok(),
            accepted,
            "{decision}: {expression}"
        );
    }
    let world = World::new(Certificate::None, "a.example", "/");
    for (decision, expression, holds) in [
        (
            "`all` of a missing array is true in wirefilter; a function of a missing value is missing",
            r#"all(http.request.headers["nope"][*] eq "a")"#,
            false,
        ),
        (
            "a function of a missing value is missing \"in most cases\", say the documents; `concat` leaves \
             it out, as in wirefilter",
            r#"concat(http.request.headers["nope"][0], http.host) eq "a.example""#,
            true,
        ),
        (
            "`ne` of a missing value is false, not an error and not true",
            r#"http.request.headers["nope"][0] ne "a""#,
            false,
        ),
        (
            "`xor` binds weaker than `and` and stronger than `or`",
            "ssl or ssl xor ssl and ssl",
            true,
        ),
        (
            "`wildcard` ignores case unless strict",
            r#"http.host wildcard "A.*""#,
            true,
        ),
        (
            "`matches` looks anywhere in the value",
            r#"http.host matches "exam""#,
            true,
        ),
    ] {
        assert_eq!(world.holds(expression), holds, "{decision}: {expression}");
    }
}
