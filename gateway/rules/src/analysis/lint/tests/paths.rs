//! Paths: as they were sent, compared exactly, and together with the query.

use super::*;

#[test]
fn the_path_as_it_was_sent() {
    for (expression, suggestion) in [
        (
            "raw.http.request.uri.path eq \"/admin\"",
            "http.request.uri.path eq \"/admin\"",
        ),
        (
            "ssl and not starts_with(lower(raw.http.request.uri), \"/public\")",
            "ssl and not starts_with(lower(http.request.uri), \"/public\")",
        ),
        (
            "any(concat(http.request.headers[\"x\"][*], raw.http.request.full_uri)[*] eq \"a\")",
            "any(concat(http.request.headers[\"x\"][*], http.request.full_uri)[*] eq \"a\")",
        ),
        (
            "any(split(raw.http.request.uri.path, \"/\", 3)[*] eq \"a\") and raw.http.request.uri.query eq \"b\"",
            "any(split(http.request.uri.path, \"/\", 3)[*] eq \"a\") and raw.http.request.uri.query eq \"b\"",
        ),
    ] {
        check(expression, &[], LintKind::RawPath, Some(suggestion));
    }
    // What normalisation resolves is never in what is forwarded.
    for expression in [
        "raw.http.request.uri.path contains \"%2e%2e\"",
        "raw.http.request.uri.path contains \"..\"",
        "starts_with(raw.http.request.uri.path, \"//\")",
        "raw.http.request.uri.path in {\"/a\" \"/a/.\"}",
        "raw.http.request.uri contains \"/./\"",
        "raw.http.request.uri.path contains \"\\\\\"",
        "raw.http.request.uri.path matches \"/\\.\\./\"",
        "lower(raw.http.request.uri.path) wildcard \"*%00*\"",
        "any(split(raw.http.request.uri.path, \"%\", 3)[*] eq \"a\")",
        "ssl and not raw.http.request.uri.path contains \"é\"",
    ] {
        check(expression, &[], LintKind::RawPath, None);
    }
    check(
        "raw.http.request.uri.path matches \"^/admin\\.php\"",
        &[],
        LintKind::RawPath,
        Some("http.request.uri.path matches r\"^/admin\\.php\""),
    );
    // The next trap is not walked into.
    check(
        "raw.http.request.uri eq \"/admin\"",
        &[],
        LintKind::RawPath,
        Some("http.request.uri.path eq \"/admin\""),
    );
    // The query is forwarded as it was sent.
    let found = lint(
        &[block("r", "raw.http.request.uri.query eq \"a\"")],
        &[],
        false,
    );
    assert_eq!(found, []);
}

#[test]
fn an_exact_path_is_a_trap_only_where_it_catches() {
    let traps = |expression: &str| {
        let found = lint(&[block("r", expression)], &[], false);
        found.iter().any(|lint| lint.kind == LintKind::ExactPath)
    };
    for (expression, is_trap) in [
        ("http.request.uri.path eq \"/a\"", true),
        ("not http.request.uri.path ne \"/a\"", true),
        ("ssl xor http.request.uri.path eq \"/a\"", true),
        // Another spelling is blocked all the more.
        ("not http.request.uri.path in {\"/health\"}", false),
        ("http.request.uri.path ne \"/health\"", false),
        ("not (ssl and http.request.uri.path eq \"/health\")", false),
        ("starts_with(http.request.uri.path, \"/a\")", false),
    ] {
        assert_eq!(traps(expression), is_trap, "{expression}");
    }
    check(
        "ssl and (http.request.uri.path in {\"/a/\" \"/\" \"/b\"} or not http.request.uri.path eq \"/c\")",
        &[],
        LintKind::ExactPath,
        Some(
            "ssl and (lower(http.request.uri.path) in {\"/a\" \"/a/\" \"/\" \"/b\" \"/b/\"} or not http.request.uri.path eq \"/c\")",
        ),
    );
}

#[test]
fn a_path_with_its_query() {
    for (expression, suggestion) in [
        (
            "http.request.uri eq \"/admin\"",
            Some("http.request.uri.path eq \"/admin\""),
        ),
        (
            "ssl and not lower(http.request.uri) ne \"/admin\"",
            Some("ssl and not lower(http.request.uri.path) ne \"/admin\""),
        ),
        (
            "http.request.uri in {\"/a\" \"/b\"} or ends_with(http.request.uri, \".php\")",
            Some(
                "http.request.uri.path in {\"/a\" \"/b\"} or ends_with(http.request.uri.path, \".php\")",
            ),
        ),
        ("http.request.full_uri eq \"https://a.test/admin\"", None),
    ] {
        check(expression, &[], LintKind::PathWithQuery, suggestion);
    }
    for expression in [
        "http.request.uri eq \"/admin?x=1\"",
        "not http.request.uri eq \"/public\"",
        "starts_with(http.request.uri, \"/admin\")",
        "http.request.uri contains \"x\"",
        "ends_with(http.request.uri, \"token=abc\")",
        "ends_with(http.request.uri, \"&debug\")",
        "http.request.full_uri eq \"https://a.test/?x\"",
    ] {
        assert_eq!(kinds(&[block("r", expression)], &[]), [], "{expression}");
    }
    // Every query is a way around the others for requests that are not `/login`.
    let around = skip("s", "not http.request.uri eq \"/login\"");
    assert_eq!(kinds(&[around], &[]), [LintKind::PathWithQuery]);
    assert_eq!(
        kinds(&[skip("s", "http.request.uri eq \"/login\"")], &[]),
        []
    );
}
