//! The canonical expressions of Cloudflare's documents, decided for every state of a certificate.

use super::{Certificate, World};

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
