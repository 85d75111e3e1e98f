//! Operators, literals, indexes, functions and missing values, by tables.

use super::{Certificate, World, block, rule};
use crate::{Action, Program, check};

fn world() -> World {
    World::new(
        Certificate::None,
        "www.example.com",
        "/Articles/2008/index.PHP?search=red+apples&filter=waf&filter=botm&filter=cdn&x",
    )
    .header("accept", "application/json")
    .header("x-n", "3")
    .header("x-n", "40")
    .header("x-bytes", b"caf\xc3\xa9\xff")
    .header(
        "x-json",
        r#"{"a":{"b":[1,"two",{"c":-3}]},"e\u0041":"q\"x","f":1.0,"big":18446744073709551615}"#,
    )
    .header("x-cats", "groceries,,electronics,diy")
    .header("x-enc", "John%20Doe+%2520%u2601%")
    .header("x-b64", "MTIzYWJj")
    .header("cookie", "app=test; na%6De=v=1; app=two")
    .header("cookie", "last")
    .header("user-agent", "Mozilla/5.0")
    .header("accept-language", "en-GB, de;q=0.5, *;q=0.1")
}

fn check_all(cases: &[(&str, bool)]) {
    let world = world();
    for (expression, expected) in cases {
        assert_eq!(world.holds(expression), *expected, "{expression}");
    }
}

#[test]
fn operators_in_both_notations() {
    check_all(&[
        (r#"http.host eq "www.example.com""#, true),
        (r#"http.host == "www.example.com""#, true),
        (r#"http.host eq "WWW.example.com""#, false),
        (r#"http.host ne "x""#, true),
        (r#"http.host != "www.example.com""#, false),
        (r#"http.host lt "x""#, true),
        (r#"http.host < "a""#, false),
        (r#"http.host >= "www.example.com""#, true),
        (r#"http.host gt "www.example.com""#, false),
        ("cf.edge.server_port eq 443", true),
        ("cf.edge.server_port lt 443", false),
        ("cf.edge.server_port <= 443", true),
        ("cf.edge.server_port > -1", true),
        ("cf.edge.server_port in {80 400..450 8080}", true),
        ("not cf.edge.server_port in {80 400..450 8080}", false),
        ("cf.edge.server_port in {80 444..450}", false),
        ("ip.src eq 203.0.113.9", true),
        ("ip.src ne 203.0.113.9", false),
        ("ip.src in {198.51.100.1 203.0.113.3..203.0.113.10}", true),
        ("ip.src in {203.0.113.0/24 2001:db8::/32}", true),
        ("ip.src in {203.0.114.0/24}", false),
        ("ip.src in {::/0}", false),
        (r#"http.request.uri.path contains "2008""#, true),
        (r#"http.request.uri.path contains "articles""#, false),
        (r#"http.request.uri.path contains """#, true),
        (
            r#"http.request.uri.path matches "^/Articles/200[7-8]/""#,
            true,
        ),
        (r#"http.request.uri.path ~ "2008""#, true),
        (r#"http.request.uri.path ~ "^2008""#, false),
        (
            r#"http.request.uri.path wildcard "/articles/*/index.*""#,
            true,
        ),
        (
            r#"http.request.uri.path strict wildcard "/articles/*/index.*""#,
            false,
        ),
        (
            r#"http.request.uri.path strict wildcard "/Articles/*""#,
            true,
        ),
        (r#"http.request.uri.path wildcard "/articles""#, false),
        (r#"http.host in {"a" "www.example.com" "a"}"#, true),
        ("ssl", true),
        ("!ssl", false),
        ("not not ssl", true),
        ("true", true),
        ("(false)", false),
    ]);
}

#[test]
fn precedence_is_not_and_xor_or() {
    check_all(&[
        ("ssl or ssl and not ssl", true),
        ("(ssl or ssl) and not ssl", false),
        ("not ssl and not ssl or ssl", true),
        ("ssl xor ssl", false),
        ("ssl ^^ not ssl", true),
        ("ssl xor ssl xor ssl", true),
        // xor binds weaker than and, stronger than or.
        ("ssl xor ssl and not ssl", true),
        ("ssl or ssl xor ssl", true),
        ("(ssl or ssl) xor ssl", false),
        ("ssl || !ssl && !ssl", true),
    ]);
}

#[test]
fn strings() {
    check_all(&[
        (r#"http.host eq r"www.example.com""#, true),
        (r###"http.host eq r##"www.example.com"##"###, true),
        (r#"http.host eq "www\x2eexample.com""#, true),
        (r#"http.request.uri.path matches "\.PHP$""#, true),
        (r#"http.request.uri.path matches r"\.PHP$""#, true),
        (
            r#"http.request.headers["x-bytes"][0] contains "\xff""#,
            true,
        ),
        (r#"http.request.headers["x-bytes"][0] contains "é""#, true),
        (
            r#"http.request.headers["x-bytes"][0] matches "(?-u)\xff$""#,
            true,
        ),
        (
            r#"http.request.headers["x-bytes"][0] matches "(?u)\p{L}+""#,
            true,
        ),
    ]);
}

#[test]
fn arrays_maps_and_missing_values() {
    check_all(&[
        (
            r#"http.request.headers["accept"][0] == "application/json""#,
            true,
        ),
        (
            r#"any(http.request.headers["accept"][*] == "application/json")"#,
            true,
        ),
        (
            r#"any(http.request.headers["accept"][*] == "text/plain")"#,
            false,
        ),
        (r#"any(http.request.headers.names[*] == "accept")"#, true),
        (
            r#"any(lower(http.request.headers.names[*])[*] contains "x-")"#,
            true,
        ),
        (
            r#"any(upper(lower(http.request.headers.names[*])[*])[*] eq "X-N")"#,
            true,
        ),
        (r#"all(http.request.headers["x-n"][*] in {"3" "40"})"#, true),
        (r#"all(http.request.headers["x-n"][*] eq "3")"#, false),
        (
            r#"any(http.request.headers["x-n"][*] contains "4" and http.request.headers["x-n"][*] contains "0")"#,
            true,
        ),
        (
            r#"any(http.request.headers["x-n"][*] eq "3" and not http.request.headers["x-n"][*] eq "3")"#,
            false,
        ),
        (
            r#"any(starts_with(http.request.headers["x-n"][*], "4"))"#,
            true,
        ),
        (
            r#"any(starts_with(http.request.headers["x-n"][*], "4")[*])"#,
            true,
        ),
        (r#"len(http.request.headers["x-n"]) eq 2"#, true),
        // The documents' examples on `filter`.
        (r#"len(http.request.uri.args["filter"][1]) eq 4"#, true),
        (
            r#"all(len(http.request.uri.args["filter"][*])[*] in {3 4})"#,
            true,
        ),
        (
            r#"all(not len(http.request.uri.args["filter"][*])[*] in {3 4})"#,
            false,
        ),
        (r#"len(http.request.uri.args["filter"]) >= 0"#, true),
        (r#"not len(http.request.uri.args["order"]) >= 0"#, true),
        (
            r#"http.request.uri.args["search"][0] eq "red+apples""#,
            true,
        ),
        (r#"http.request.uri.args["x"][0] eq """#, true),
        // Missing: out of range, no such key.
        (r#"http.request.headers["accept"][1] eq "x""#, false),
        (r#"http.request.headers["accept"][1] ne "x""#, false),
        (r#"http.request.headers["nope"][0] ne "x""#, false),
        (r#"not http.request.headers["nope"][0] eq "x""#, true),
        (r#"lower(http.request.headers["nope"][0]) ne "x""#, false),
        // `concat` leaves out what is missing, whichever it is.
        (
            r#"concat(http.request.headers["nope"][0], "x") eq "x""#,
            true,
        ),
        (
            r#"concat(http.host, http.request.headers["nope"][0]) eq "www.example.com""#,
            true,
        ),
        (r#"concat(http.request.headers["nope"][0]) ne "x""#, false),
        (
            r#"any(concat(http.request.headers["nope"], http.request.headers["x-n"])[*] eq "40")"#,
            true,
        ),
        (
            r#"any(concat(http.request.headers["x-n"], http.request.headers["nope"])[*] eq "40")"#,
            true,
        ),
        (
            r#"len(concat(http.request.headers["x-n"], http.request.headers["nope"])) eq 2"#,
            true,
        ),
        (
            r#"len(concat(http.request.headers["no"], http.request.headers["nope"])) ge 0"#,
            false,
        ),
        (
            r#"starts_with(http.request.headers["nope"][0], "x")"#,
            false,
        ),
        (
            r#"not starts_with(http.request.headers["nope"][0], "x")"#,
            true,
        ),
        (r#"any(http.request.headers["nope"][*] ne "x")"#, false),
        // Cloudflare's documents win over wirefilter: `all` of a missing array is not true.
        (r#"all(http.request.headers["nope"][*] eq "x")"#, false),
        // There, but empty: `all` is true.
        (
            r#"all(postern.tls_client_auth.cert_san.dns[*] eq "x")"#,
            true,
        ),
        (
            r#"any(postern.tls_client_auth.cert_san.dns[*] eq "x")"#,
            false,
        ),
        ("ip.src.country ne \"DE\"", false),
        ("not ip.src.country eq \"DE\"", true),
        ("ip.src.subdivision_1_iso_code eq \"\"", true),
        // Keys are lower-case.
        (
            r#"any(http.request.headers["Accept"][*] contains "json")"#,
            false,
        ),
        (r#"http.request.cookies["app"][1] eq "two""#, true),
        (r#"http.request.cookies["name"][0] eq "v=1""#, true),
        (r#"http.request.cookies["last"][0] eq """#, false),
        (r#"http.request.accepted_languages[1] eq "de""#, true),
        ("len(http.request.accepted_languages) eq 2", true),
    ]);
}

#[test]
fn request_fields() {
    check_all(&[
        (r#"http.request.method eq "GET""#, true),
        (r#"http.request.version eq "HTTP/2""#, true),
        (
            r#"http.request.uri.query eq "search=red+apples&filter=waf&filter=botm&filter=cdn&x""#,
            true,
        ),
        (
            r#"starts_with(http.request.uri, "/Articles/2008/index.PHP?search=")"#,
            true,
        ),
        (
            r#"starts_with(http.request.full_uri, "https://www.example.com/Articles/")"#,
            true,
        ),
        (r#"http.request.uri.path.extension eq "php""#, true),
        (r#"raw.http.request.uri.path.extension eq "php""#, true),
        ("http.request.timestamp.sec eq 1484063137", true),
        ("http.request.timestamp.msec eq 857", true),
        (r#"http.user_agent eq "Mozilla/5.0""#, true),
        (r#"http.referer eq """#, true),
        (r#"http.cookie contains "app=two; last""#, true),
        (r#"http.x_forwarded_for eq """#, true),
        (
            r#"join(http.request.uri.args.names, " ") eq "search filter filter filter x""#,
            true,
        ),
        (
            r#"join(http.request.uri.args.values, "|") eq "red+apples|waf|botm|cdn|""#,
            true,
        ),
        ("http.request.headers.truncated", false),
        (r#"cf.ray_id eq "8f00b204e9800998""#, true),
        (r#"cf.tls_version eq "TLSv1.3""#, true),
        (
            r#"cf.bot_management.ja4 eq "t13d1516h2_8daaf6152771_e5627efa2ab1""#,
            true,
        ),
        ("len(cf.bot_management.ja3_hash) eq 32", true),
        ("cf.tls_client_hello_length gt 100", true),
        (
            "cf.edge.server_ip eq 198.51.100.1 and cf.edge.client_tcp",
            true,
        ),
    ]);
    // "For TCP connections, the value is 0", and whole milliseconds of the other one.
    check_all(&[
        ("cf.timings.client_tcp_rtt_msec eq 20", true),
        ("cf.timings.client_tcp_rtt_msec gt 20", false),
        ("cf.timings.client_quic_rtt_msec eq 0", true),
    ]);
    for (path, extension) in [
        ("/foo", ""),
        ("/foo.mp3", "mp3"),
        ("/.mp3", ""),
        ("/.foo.mp3", "mp3"),
        ("/foo.tar.bz2", "bz2"),
        ("/foo.", ""),
        ("/foo.MP3", "mp3"),
        ("/a.b/c", ""),
    ] {
        let world = World::new(Certificate::None, "a.example", path);
        assert!(
            world.holds(&format!(
                "http.request.uri.path.extension eq \"{extension}\""
            )),
            "{path}"
        );
    }
    let mut mapped = World::new(Certificate::None, "a.example", "/");
    mapped.connection.source = "[::ffff:192.0.2.1]:5".parse().unwrap();
    assert!(
        mapped.holds("ip.src in {192.0.2.0/24}"),
        "an IPv4 client of a dual-stack socket"
    );
}

/// The kernel is asked by the first rule that wants to know, and says the same to all of them.
#[test]
fn a_round_trip_is_asked_for_once_and_only_when_a_rule_wants_it() {
    let mut world = World::new(Certificate::None, "a.example", "/");
    let beside = block(
        "a",
        "http.host eq \"b.example\" and http.request.method eq \"PUT\"",
    );
    let program = Program::compile(&[beside]);
    world.decide(&program.unwrap());
    assert_eq!(world.tcp.asked.get(), 0);
    let slow = "cf.timings.client_tcp_rtt_msec";
    let rules = [
        rule("a", &format!("{slow} gt 10"), Action::Log),
        rule("b", &format!("len(to_string({slow})) eq 2"), Action::Log),
        block(
            "c",
            &format!("{slow} in {{15..25}} and to_string({slow}) eq \"20\""),
        ),
    ];
    let program = Program::compile(&rules);
    let (blocked, logged) = world.decide(&program.unwrap());
    assert_eq!((blocked.as_deref(), logged.len()), (Some("c"), 2));
    assert_eq!(world.tcp.asked.get(), 1);
    world.tcp.round_trip = None;
    assert!(world.holds(&format!("{slow} eq 0")), "not known");
}

#[test]
fn functions() {
    check_all(&[
        (r#"lower(http.host) eq "www.example.com""#, true),
        (r#"upper(http.host) eq "WWW.EXAMPLE.COM""#, true),
        ("len(http.host) eq 15", true),
        (r#"starts_with(http.request.uri.path, "/Art")"#, true),
        (r#"ends_with(http.request.uri.path, ".PHP")"#, true),
        (r#"ends_with(http.request.uri.path, ".php")"#, false),
        (
            r#"concat("a", http.host, "b") eq "awww.example.comb""#,
            true,
        ),
        (
            r#"len(concat(http.request.uri.args["filter"], http.request.headers["x-n"])) eq 5"#,
            true,
        ),
        (
            r#"any(concat(http.request.uri.args["filter"], http.request.headers["x-n"])[*] eq "40")"#,
            true,
        ),
        (
            r#"any(concat(http.request.headers["x-n"][*], "!")[*] eq "40!")"#,
            true,
        ),
        (r#"substring(http.host, 4, 11) eq "example""#, true),
        (r#"substring(http.host, -3) eq "com""#, true),
        (r#"substring(http.host, 0, -4) eq "www.example""#, true),
        (r#"substring(http.host, 9, 3) eq """#, true),
        (
            r#"substring(http.host, -99, 99) eq "www.example.com""#,
            true,
        ),
        (
            r#"remove_bytes(http.host, "\x2e\x77") eq "examplecom""#,
            true,
        ),
        (
            r#"url_decode(http.request.headers["x-enc"][0]) eq "John Doe %20%u2601%""#,
            true,
        ),
        (
            r#"url_decode(http.request.headers["x-enc"][0], "r") eq "John Doe  %u2601%""#,
            true,
        ),
        (
            r#"url_decode(http.request.headers["x-enc"][0], "ur") eq "John Doe  ☁%""#,
            true,
        ),
        (
            r#"url_decode(http.request.headers["x-enc"][0], "u") eq "John Doe %20☁%""#,
            true,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "a", "b", 0) eq 1"#,
            true,
        ),
        (
            r#"lookup_json_string(http.request.headers["x-json"][0], "a", "b", 1) eq "two""#,
            true,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "a", "b", 2, "c") eq -3"#,
            true,
        ),
        (
            r#"lookup_json_string(http.request.headers["x-json"][0], "eA") eq "q\"x""#,
            true,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "f") ge 0"#,
            false,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "big") ge 0"#,
            false,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "a", "b", 9) ge 0"#,
            false,
        ),
        (r#"lookup_json_string(http.host, "a") ne "x""#, false),
        (
            r#"decode_base64(http.request.headers["x-b64"][0]) eq "123abc""#,
            true,
        ),
        (
            r#"any(decode_base64(http.request.headers["x-b64"][*])[*] eq "123abc")"#,
            true,
        ),
        (
            r#"decode_base64(http.request.headers["accept"][0]) ne "x""#,
            true,
        ),
        (r#"decode_base64(http.user_agent) ne "x""#, false),
        ("cidr(ip.src, 24, 24) eq 203.0.113.0", true),
        ("cidr6(ip.src, 24) eq 203.0.113.9", true),
        (r#"join(http.request.headers["x-n"], ",") eq "3,40""#, true),
        (
            r#"join(lower(http.request.headers["x-cats"][*]), "") eq "groceries,,electronics,diy""#,
            true,
        ),
        (
            r#"split(http.request.headers["x-cats"][0], ",", 64)[1] eq """#,
            true,
        ),
        (
            r#"len(split(http.request.headers["x-cats"][0], ",", 64)) eq 4"#,
            true,
        ),
        (
            r#"split(http.request.headers["x-cats"][0], ",", 3)[2] eq "electronics,diy""#,
            true,
        ),
        (
            r#"split(http.request.headers["x-cats"][0], ",", 1)[0] eq "groceries,,electronics,diy""#,
            true,
        ),
        (
            r#"join(split(lower(http.host), ".", 9), "-") eq "www-example-com""#,
            true,
        ),
        (
            r#"join(concat(split(lower(http.host), ".", 2), split(upper(http.host), ".", 2)), "-") eq "www-example.com-WWW-EXAMPLE.COM""#,
            true,
        ),
        ("to_string(cf.edge.server_port) eq \"443\"", true),
        ("to_string(ssl) eq \"true\"", true),
        ("to_string(ip.src) eq \"203.0.113.9\"", true),
        (
            r#"regex_replace(http.request.uri.path, "^/([^/]*)/(.*)$", "/${2}/${1}") eq "/2008/index.PHP/Articles""#,
            true,
        ),
        (
            r#"regex_replace(http.request.uri.path, "nope", "x") eq "/Articles/2008/index.PHP""#,
            true,
        ),
        (
            r#"regex_replace(http.host, "w", "$$") eq "$ww.example.com""#,
            true,
        ),
        (r#"regex_replace("/a/a", "/a", "/b") eq "/b/a""#, true),
        (
            r#"wildcard_replace(http.request.full_uri, "https://*.example.com/*/*", "https://e/${1}/${2}") eq "https://e/www/Articles""#,
            true,
        ),
        (
            r#"wildcard_replace(http.request.uri.path, "/articles/*", "/${1}") eq "/2008/index.PHP""#,
            true,
        ),
        (
            r#"wildcard_replace(http.request.uri.path, "/articles/*", "/${1}", "s") eq "/Articles/2008/index.PHP""#,
            true,
        ),
    ]);
    let mut v6 = world();
    v6.connection.source = "[2001:0:130F::9C0:876A:130B]:1".parse().unwrap();
    assert!(v6.holds("cidr(ip.src, 24, 24) eq 2001::"));
    assert!(v6.holds("cidr6(ip.src, 24) eq 2001::"));
}

#[test]
fn recursive_decoding_is_linear() {
    let world = World::new(Certificate::None, "a.example", "/")
        .header("x", format!("%{}", "25".repeat(30_000)));
    assert!(world.holds(r#"url_decode(http.request.headers["x"][0], "r") eq "%""#));
}

#[test]
fn canonical_text() {
    for (text, canonical) in [
        ("ssl", "ssl"),
        ("(((ssl)))", "ssl"),
        ("!ssl&&ssl||ssl^^ssl", "(not ssl and ssl) or (ssl xor ssl)"),
        ("not (ssl and ssl)", "not (ssl and ssl)"),
        ("ssl and (ssl and ssl)", "ssl and ssl and ssl"),
        ("(ssl or ssl) and ssl", "(ssl or ssl) and ssl"),
        (r#"http.host == r"a""#, r#"http.host eq "a""#),
        (r#"http.host == "\x00\x22""#, r#"http.host eq "\x00\"""#),
        (
            r#"http.host ~ "a\"b\.c""#,
            r##"http.host matches r#"a"b\.c"#"##,
        ),
        (r#"http.host ~ "^a$""#, r#"http.host matches "^a$""#),
        (
            r#"http.host wildcard r"\*a""#,
            r#"http.host wildcard r"\*a""#,
        ),
        (
            "ip.src in{1.1.1.1  10.0.0.0/8 ::1..::2}",
            "ip.src in {1.1.1.1 10.0.0.0/8 ::1..::2}",
        ),
        ("ip.src eq 2001:0DB8::0001", "ip.src eq 2001:db8::1"),
        (
            "cf.edge.server_port in {80 1..1 2..3}",
            "cf.edge.server_port in {80 1 2..3}",
        ),
        (
            r#"any(lower(http.request.headers["a"][*])[*]=="x")"#,
            r#"any(lower(http.request.headers["a"][*])[*] eq "x")"#,
        ),
        (
            r#"any(starts_with(http.request.headers.names[*], "x")[*])"#,
            r#"any(starts_with(http.request.headers.names[*], "x")[*])"#,
        ),
        (
            r#"any(starts_with(http.request.headers.names[*],"x"))"#,
            r#"any(starts_with(http.request.headers.names[*], "x")[*])"#,
        ),
        ("ssl\n\tand\r\nssl", "ssl and ssl"),
    ] {
        let expression = check(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(expression.to_string(), canonical, "{text}");
        assert_eq!(check(canonical).unwrap(), expression, "{text}");
    }
}
