//! What is said of expressions that are none, and that no text makes the parser panic.

use crate::{Lists, check};

use crate::syntax::parser;

/// Expression, column, and words that the message must have.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 1, "the expression is empty"),
    ("   ", 4, "the expression is empty"),
    ("ssl and", 8, "the expression ends too early"),
    ("ssl ssl", 5, "expected `and`, `or`, `xor`"),
    ("ssl AND ssl", 5, "did you mean `and`?"),
    ("ssl & ssl", 5, "`and` or `&&`"),
    ("ssl = ssl", 5, "equality is `eq` or `==`"),
    ("(ssl", 5, "expected `)`"),
    ("ssl)", 4, "closes nothing"),
    ("and ssl", 1, "unexpected `and`"),
    ("not", 4, "ends too early"),
    ("true and ssl", 1, "can only be the whole expression"),
    (
        "http.request.uri.pth eq \"/\"",
        1,
        "did you mean `http.request.uri.path`?",
    ),
    (
        "(ssl and http.hots eq \"a\")",
        10,
        "did you mean `http.host`?",
    ),
    (
        "cf.timings.client_tcp_rtt gt 200",
        1,
        "did you mean `cf.timings.client_tcp_rtt_msec`?",
    ),
    (
        "cf.timings.edge_msec gt 200",
        1,
        "nothing has been timed yet",
    ),
    ("zebra", 1, "expected a field or a function"),
    ("lowr(http.host) eq \"a\"", 1, "did you mean `lower`?"),
    ("http.host(\"a\")", 1, "is a field, not a function"),
    ("lower eq \"a\"", 1, "is a function"),
    ("http.host", 10, "expected a comparison operator"),
    (
        "http.host and ssl",
        11,
        "compare `http.host` with something first",
    ),
    ("http.host equals \"a\"", 11, "is not a comparison operator"),
    ("http.host contain \"a\"", 11, "did you mean `contains`?"),
    (
        "http.request.uri.path ends_with \".html\"",
        23,
        "`ends_with(http.request.uri.path, \"…\")`",
    ),
    ("http.host eq a", 14, "expected a string in double quotes"),
    ("http.host eq 'a'", 14, "double quotes"),
    ("http.host eq “a”", 14, "typographic"),
    ("http.host eq \"a", 14, "no closing"),
    ("http.host eq \"a\\n\"", 16, "unknown escape"),
    ("http.host lt", 13, "expected a string"),
    ("ip.src eq \"1.1.1.1\"", 11, "without quotes"),
    ("ip.src eq 10.0.0.0/8", 11, "use `in {10.0.0.0/8}`"),
    ("ip.src lt 10.0.0.0", 8, "does not take IP address"),
    ("ip.src in 10.0.0.0/8", 11, "`{10.0.0.0/8}`"),
    ("ip.src in {10.0.0.1/8}", 12, "write `10.0.0.0/8`"),
    ("ip.src in {10.0.0.0/8, 10.0.0.0/8}", 12, ""),
    ("ip.src in {}", 12, "this set is empty"),
    ("ip.src in {1.1.1.1", 19, "expected `}`"),
    ("http.host in {\"a\", \"b\"}", 18, "separated by spaces"),
    ("http.host in {\"a\" 5}", 19, "expected a string"),
    ("cf.edge.server_port eq \"443\"", 24, "expected an integer"),
    ("cf.edge.server_port eq 0443", 24, "write `443`"),
    ("cf.edge.server_port in {9..1}", 25, "write `1..9`"),
    (
        "cf.edge.server_port contains \"4\"",
        21,
        "does not take Integer",
    ),
    ("ssl eq true", 5, "a Boolean stands on its own"),
    ("ssl in {true}", 5, "a Boolean is not compared"),
    (
        "http.host strict \"a\"",
        18,
        "expected `wildcard` after `strict`",
    ),
    ("http.host wildcard \"**\"", 20, "two `*` in a row"),
    ("http.host wildcard \"\\*\"", 21, "unknown escape"),
    ("http.host matches \"(\"", 19, "unclosed group"),
    ("http.host matches \"(a{1000}){1000}\"", 19, "too large"),
    (
        "http.request.headers[\"a\"] eq \"b\"",
        1,
        "operators do not take Array<String>",
    ),
    (
        "http.request.headers eq \"b\"",
        1,
        "any(http.request.headers[\"key\"][*]",
    ),
    (
        "http.request.headers[0] eq \"b\"",
        22,
        "indexed with a string",
    ),
    (
        "http.request.headers.names[\"a\"] eq \"b\"",
        28,
        "an integer from 0",
    ),
    (
        "http.request.headers.names[-1] eq \"b\"",
        28,
        "not an index",
    ),
    ("http.host[0] eq \"b\"", 1, "String cannot be indexed"),
    (
        "http.request.headers.names[*] == \"a\"",
        1,
        "only inside `any` or `all`",
    ),
    ("any(http.request.headers[*] == \"a\")", 26, "this is a map"),
    ("any(http.host eq \"a\")", 5, "every comparison is of `[*]`"),
    ("any(http.request.headers.names == \"a\")", 5, "add `[*]`"),
    (
        "any(http.request.headers.names[*] == \"a\" and http.request.headers.values[*] == \"b\")",
        46,
        "same array",
    ),
    (
        "any(any(http.request.headers.names[*] == \"a\"))",
        5,
        "inside one another",
    ),
    ("any(true)", 1, "array of Booleans"),
    ("len(any(ssl)) eq 1", 5, "no function or index takes"),
    (
        "lower(http.request.headers.names) eq \"a\"",
        7,
        "with `[*]`",
    ),
    (
        "lower(http.host, http.host) eq \"a\"",
        18,
        "too many arguments",
    ),
    ("starts_with(http.host)", 1, "too few arguments"),
    ("starts_with(\"a\", \"a\")", 13, "a field of type String"),
    (
        "concat(\"a\", http.request.headers.names[*]) eq \"a\"",
        13,
        "only in a function's first argument",
    ),
    (
        "concat(http.request.headers.names, \"a\") eq \"a\"",
        36,
        "another Array<String>",
    ),
    ("cidr(ip.src, 33, 64) eq 1.1.1.1", 14, "takes 1 to 32"),
    (
        "split(http.host, \"\", 2)[0] eq \"a\"",
        18,
        "must not be empty",
    ),
    (
        "split(http.host, \".\", 129)[0] eq \"a\"",
        23,
        "takes 1 to 128",
    ),
    (
        "any(split(http.request.headers.names[*], \".\", 2)[*] eq \"a\")",
        5,
        "gives an array",
    ),
    (
        "url_decode(http.host, \"x\") eq \"a\"",
        23,
        "unknown option",
    ),
    (
        "regex_replace(http.host, \"a\", \"$1\") eq \"a\"",
        31,
        "write `$$`",
    ),
    (
        "regex_replace(http.host, \"a\", \"b\") eq regex_replace",
        39,
        "",
    ),
    (
        "regex_replace(http.host,\"a\",\"b\") eq \"a\" or regex_replace(http.host,\"a\",\"b\") eq \"b\"",
        44,
        "only once",
    ),
    (
        "wildcard_replace(lower(http.host),\"a\",\"b\",\"i\") eq \"\"",
        43,
        "unknown flag",
    ),
    (
        "wildcard_replace(regex_replace(http.host,\"a\",\"b\"),\"a\",\"b\") eq \"\"",
        1,
        "cannot be nested",
    ),
    ("cf.waf.score lt 10", 1, "does not exist here"),
    (
        "http.response.code eq 200",
        1,
        "before the origin has answered",
    ),
    ("http.request.body.size gt 5", 1, "never reads bodies"),
    ("ssl # comment", 5, "no comments"),
    ("ip.src in $Office", 11, "a-z, 0-9 and `_`"),
    ("NOT ssl", 1, "did you mean `not`?"),
    ("http.host EQ \"a\"", 11, "did you mean `eq`?"),
    ("http.host eq \"\\056\"", 15, "unknown escape"),
    ("uuidv4(http.host) eq \"a\"", 1, "does not exist here"),
    (
        "is_timed_hmac_valid_v0(\"k\", http.request.uri, 10, http.request.timestamp.sec)",
        1,
        "does not exist here",
    ),
];

#[test]
fn refused_expressions() {
    for (text, column, words) in REFUSED {
        let Err(error) = check(text) else {
            panic!("`{text}` must be refused")
        };
        let shown = error.to_string();
        assert!(
            shown.starts_with(&format!("Filter parsing error (1:{}): ", error.column)),
            "{shown}"
        );
        if !words.is_empty() {
            assert_eq!(error.column, *column, "{shown}");
            assert!(shown.contains(words), "{shown}");
        }
    }
}

#[test]
fn the_whole_message() {
    let text = "http.host eq \"a\" and\nhttp.request.uri.pth eq \"/\"";
    assert_eq!(
        check(text).unwrap_err().to_string(),
        "Filter parsing error (2:1): unknown identifier `http.request.uri.pth`\n\
         http.request.uri.pth eq \"/\"\n\
         ^^^^^^^^^^^^^^^^^^^^ did you mean `http.request.uri.path`?"
    );
}

#[test]
fn limits() {
    let fits = format!("http.host eq \"{}\"", "é".repeat(4096 - 15));
    assert!(check(&fits).is_ok());
    let error = check(&format!("{fits} ")).unwrap_err();
    assert_eq!(
        (error.column, &*error.message),
        (4097, "the expression has 4097 characters, 4096 are allowed")
    );
    for (open, close) in [("(", ")"), ("not ", ""), ("!", ""), ("lower(", ")")] {
        for (depth, fits) in [(128, true), (129, false), (500, false)] {
            let inner = if open == "lower(" { "http.host" } else { "ssl" };
            let end = if open == "lower(" { " eq \"a\"" } else { "" };
            let text = format!("{}{inner}{}{end}", open.repeat(depth), close.repeat(depth));
            assert_eq!(check(&text).is_ok(), fits, "{open} {depth}");
        }
    }
}

/// Texts for the prefix test: the canonical ones, the refused ones and a few hostile ones.
fn corpus() -> impl Iterator<Item = String> {
    let good = [
        r#"((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {"/admin"})"#,
        r##"any(lower(url_decode(http.request.headers["a"][*], "ur")[*])[*] matches r#"^(a|"b")\x2e"#) xor ip.src in {10.0.0.0/8 ::1..::2}"##,
        r#"regex_replace(http.host, "(a)(b)", "${2}$$${1}") eq "é\xff" && cf.edge.server_port in {1..5 -3} || !ssl"#,
        r#"all(lookup_json_integer(http.request.cookies["é"][*], "a", 0)[*] ge -9223372036854775808)"#,
    ];
    let hostile = [
        "r#########\"",
        "\"\\",
        "$",
        "\u{0}\u{1}",
        "((((((((",
        "a[[[[",
        "{{}}",
        "::::",
        "-",
        "../..",
        "\u{202e}ssl",
    ];
    let refused = REFUSED.iter().map(|(text, ..)| *text);
    good.into_iter()
        .chain(hostile)
        .chain(refused)
        .map(str::to_owned)
}

#[test]
fn every_prefix_and_suffix_is_parsed_without_panic() {
    let lists = Lists::default();
    for text in corpus() {
        for (at, _) in text.char_indices() {
            for part in [&text[..at], &text[at..]] {
                for lists in [None, Some(&lists)] {
                    if let Err(error) = parser::parse(part, lists) {
                        assert!(!error.to_string().is_empty());
                    }
                }
            }
        }
    }
}
