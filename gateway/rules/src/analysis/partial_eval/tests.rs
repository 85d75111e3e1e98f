//! What is left of conditions, and what follows from what.

use super::*;
use crate::syntax::parser::parse;

const VERIFIED: &str = "cf.tls_client_auth.cert_verified";

fn left(client: Client, expression: &str, host: &str) -> String {
    let host = HostName::parse(host).unwrap();
    let condition = parse(expression, None).unwrap();
    client.left_of(&condition, Some(&host)).to_string()
}

#[test]
fn what_is_left() {
    use Client::{Anyone, Bare, Unverified, Verified};
    let path = "http.request.uri.path eq \"/a\"";
    for (client, expression, expected) in [
        (Bare, format!("not {VERIFIED} and {path}"), path),
        (Verified, format!("not {VERIFIED} and {path}"), "false"),
        (
            Anyone,
            format!("not {VERIFIED} and ssl"),
            "not cf.tls_client_auth.cert_verified",
        ),
        (Unverified, format!("not {VERIFIED} or {path}"), "true"),
        (
            Bare,
            "cf.tls_client_auth.cert_serial ne \"A\"".into(),
            "true",
        ),
        (
            Unverified,
            "cf.tls_client_auth.cert_serial ne \"A\"".into(),
            "cf.tls_client_auth.cert_serial ne \"A\"",
        ),
        (
            Unverified,
            "postern.tls_client_auth.reason ne \"verified\"".into(),
            "true",
        ),
        (
            Unverified,
            "postern.tls_client_auth.reason eq \"expired\"".into(),
            "postern.tls_client_auth.reason eq \"expired\"",
        ),
        (
            Unverified,
            "postern.tls_client_auth.ca_id eq \"x\"".into(),
            "false",
        ),
        (
            Bare,
            "all(postern.tls_client_auth.cert_san.dns[*] ne \"x\")".into(),
            "true",
        ),
        (
            Bare,
            format!("http.host eq \"a.test\" xor {VERIFIED} xor {path}"),
            "not http.request.uri.path eq \"/a\"",
        ),
        (Bare, format!("{VERIFIED} xor {path}"), path),
        (Bare, "http.host in $ours".into(), "http.host in $ours"),
        (
            Bare,
            "http.host ne \"a.test\" or starts_with(http.host, \"b\")".into(),
            "false",
        ),
    ] {
        assert_eq!(
            left(client, &expression, "a.test"),
            expected,
            "{client:?}: {expression}"
        );
    }
}

#[test]
fn names_below_a_wildcard() {
    for (expression, expected) in [
        ("http.host eq \"b.test.example\"", "false"),
        ("http.host ne \"b.test.example\"", "true"),
        (
            "http.host in {\"c.b.a.test\" \"a.test\" \"*.a.test\" \".a.test\"}",
            "false",
        ),
        ("http.host in {\"b.a.test\"}", "http.host in {\"b.a.test\"}"),
        ("ends_with(http.host, \".a.test\")", "true"),
        ("ends_with(http.host, \"test\")", "true"),
        (
            "ends_with(http.host, \"b.a.test\")",
            "ends_with(http.host, \"b.a.test\")",
        ),
        ("ends_with(http.host, \".b.test\")", "false"),
        ("http.host wildcard \"*.A.test\"", "true"),
        ("http.host wildcard \"*.b.test\"", "false"),
        ("http.host wildcard \"b.*\"", "http.host wildcard \"b.*\""),
        ("http.host contains \"b\"", "http.host contains \"b\""),
    ] {
        assert_eq!(
            left(Client::Anyone, expression, "*.a.test"),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn what_follows_from_what() {
    let [a, b] = ["http.host eq \"a\"", "http.user_agent eq \"b\""];
    for (one, other, follows) in [
        (a.to_owned(), a.to_owned(), true),
        (a.to_owned(), b.to_owned(), false),
        (a.to_owned(), format!("{a} or {b}"), true),
        (format!("{a} and {b}"), a.to_owned(), true),
        (format!("{a} and {b}"), format!("{b} and {a}"), true),
        (format!("{a} or {b}"), format!("{b} or {a}"), true),
        (format!("{a} or {b}"), a.to_owned(), false),
        (format!("not ({a} or {b})"), format!("not {a}"), true),
        (format!("not {a}"), format!("not ({a} or {b})"), false),
    ] {
        let [read, other_read] = [&one, &other].map(|text| parse(text, None).unwrap());
        assert_eq!(implies(&read, &other_read), follows, "{one}: {other}");
    }
    // As many ways to go wrong as there are paths through both.
    let deep = |leaf: &str| {
        let open: String = (0..40)
            .map(|n| format!("({a} and (http.host eq \"{n}\" or "))
            .collect();
        parse(&format!("{open}{leaf}{}", "))".repeat(40)), None).unwrap()
    };
    assert!(!implies(&deep(a), &deep(b)));
}
