//! What crosses the gateway and what does not, over either protocol.

use bytes::BytesMut;
use http::header::{AUTHORIZATION, USER_AGENT};
use http1::{Asked, BodyLength, Head, Idle, Limits, Scan};
use proptest::prelude::*;

use super::super::names::is_ours;
use super::*;

/// As HTTP/2 brings them.
fn map(headers: &[(&str, &str)]) -> Headers {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map.into()
}

/// As HTTP/1.1 brings them.
fn spans(headers: &[(&str, &str)]) -> Headers {
    let line = |(name, value): &(&str, &str)| format!("{name}: {value}\r\n");
    read(&format!(
        "GET / HTTP/1.1\r\n{}\r\n",
        headers.iter().map(line).collect::<String>()
    ))
}

fn read(text: &str) -> Headers {
    let mut head = Head::default();
    // It has had another head, whose spans are of no use here.
    let other = "GET /other/one HTTP/1.1\r\nX-A-Long-Name: 1\r\nOther: 2\r\n\r\n";
    for text in [other, text] {
        let read = Scan::default().request(text.as_bytes(), &Limits::default(), &mut head);
        assert_eq!(read, Ok(Some(text.len())), "{text}");
    }
    let mut headers = map(&[("x-before", "1")]);
    headers.take_over(&mut head, BytesMut::from(text.as_bytes()));
    headers
}

/// The head of a request with these headers, as an HTTP/1.1 origin gets it.
fn written(headers: &Headers) -> String {
    let mut out = Vec::new();
    let asked = Asked::new("GET", "/");
    let halves = Idle::new().ask(asked, headers, BodyLength::None, &mut out);
    assert!(halves.is_ok());
    String::from_utf8(out).unwrap()
}

/// What headers say: the values of each name in their order, names in any.
fn said(headers: &Headers) -> Vec<(String, Vec<u8>)> {
    let pair = |(name, value): (&[u8], &[u8])| {
        let name = String::from_utf8(name.to_vec()).unwrap();
        (name, value.to_vec())
    };
    let mut all: Vec<_> = headers.iter().map(pair).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

static ADDRESS: HeaderValue = HeaderValue::from_static("192.0.2.1");
static HOST_VALUE: HeaderValue = HeaderValue::from_static("api.example.test");

fn told(id: &HeaderValue) -> OriginMetadata<'_> {
    OriginMetadata {
        client: [192, 0, 2, 1].into(),
        client_address: &ADDRESS,
        host: "api.example.test",
        host_value: &HOST_VALUE,
        request_id: id,
        certificate: None,
        x_forwarded: true,
        forwarded: true,
    }
}

#[test]
fn hop_by_hop_headers_do_not_cross() {
    let mut headers = map(&[
        ("connection", "close, X-Secret, host, te"),
        ("x-secret", "1"),
        ("host", "a"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip, trailers"),
        ("proxy-authorization", "x"),
        ("accept", "*/*"),
    ]);
    let (mut asked, mut answered) = (headers.clone(), headers.clone());
    assert!(remove_hop_by_hop(&mut headers), "it takes trailers");
    let left = said(&headers);
    let left: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["accept", "host"]);
    let id = HeaderValue::from_static("id1");
    for_origin(&mut asked, &told(&id), "1.1 postern");
    assert_eq!(asked.get_text(TE), Some("trailers"));
    for_client(&mut answered, &id);
    assert!(!answered.contains_key(TE), "only requests say it");
}

#[test]
fn clients_are_told_one_length() {
    for (lengths, expected) in [
        (&["5"][..], Some("5")),
        (&["5", "5"], Some("5")),
        (&["5, 5"], Some("5")),
        (&["5 ,5", "5"], Some("5")),
        (&[], None),
    ] {
        let lines: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        for mut headers in [spans(&lines), map(&lines)] {
            assert!(says_one_length(&headers), "{lengths:?}");
            for_client(&mut headers, &HeaderValue::from_static("id1"));
            let told: Vec<_> = headers.get_all(&CONTENT_LENGTH).collect();
            let expected: Vec<_> = expected.iter().map(|length| length.as_bytes()).collect();
            assert_eq!(told, expected, "{lengths:?}");
        }
    }
    for lengths in [&["5", "6"][..], &["5, 6"], &["5,"], &["5, 05"]] {
        let lines: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        assert!(!says_one_length(&map(&lines)), "{lengths:?}");
    }
}

#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    let check = |headers: &[(&str, &str)], version| check(&map(headers), version, 3);
    let coded = |coding| check(&[("transfer-encoding", coding)], one);
    assert_eq!(coded("Chunked"), Ok(()));
    assert_eq!(coded("gzip, chunked"), Err(HeadError::TransferCoding));
    assert_eq!(coded("chunked, chunked"), Err(HeadError::TransferCoding));
    let twice = [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "chunked"),
    ];
    assert_eq!(check(&twice, one), Err(HeadError::TransferCoding));
    for coding in ["gzip", "chunked, gzip", "", "chunked,"] {
        assert_eq!(coded(coding), Err(HeadError::Unframed), "{coding}");
    }
    let zero = check(&twice[..1], Version::HTTP_10);
    assert_eq!(zero, Err(HeadError::Unframed));
    let four = [("a", "1"), ("a", "2"), ("b", "3"), ("c", "4")];
    assert_eq!(check(&four, one), Err(HeadError::TooMany));
    assert_eq!(check(&four, two), Err(HeadError::TooMany));
    assert_eq!(check(&four[1..], two), Ok(()));
    let crumbs = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
        ("a", "1"),
    ];
    assert_eq!(check(&crumbs, two), Ok(()));
    let mut padded = map(&[]);
    let name = HeaderName::from_static("a");
    for value in [" 1", "1 ", "\t1", "1\t", " "] {
        padded.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        assert_eq!(
            super::check(&padded, two, 3),
            Err(HeadError::WhiteSpace),
            "{value:?}"
        );
    }
    padded.insert(name.clone(), HeaderValue::from_static(""));
    assert_eq!(super::check(&padded, two, 3), Ok(()));
    let said = |length| ("content-length", length);
    assert_eq!(check(&[said("12")], two), Ok(()));
    for lengths in [
        &[said("1"), said("1")][..],
        &[said("1"), said("2")],
        &[said("1, 1")],
        &[said("+1")],
        &[said("")],
        &[said("0x1")],
    ] {
        assert_eq!(check(lengths, two), Err(HeadError::Length), "{lengths:?}");
    }
}

#[test]
fn chunks_are_believed_rather_than_a_length() {
    let mut headers = map(&[("content-length", "2"), ("transfer-encoding", "chunked")]);
    remove_hop_by_hop(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
}

#[test]
fn nothing_of_ours_crosses_in_disguise() {
    for name in [
        "X_Forwarded_For",
        "x-forwarded_host",
        "x_forwarded-proto",
        "X_Request_Id",
        "content_length",
        "transfer_encoding",
        "X.Forwarded.For",
        "x~request~id",
        "Content.Length",
        "transfer!encoding",
    ] {
        let mut headers = map(&[(name, "1"), ("x_custom", "2")]);
        remove_claims(&mut headers);
        assert_eq!(headers.len(), 1, "{name} must not cross");
    }
    let mut headers = map(&[("x-request-id", "1"), ("content-length", "2")]);
    remove_claims(&mut headers);
    assert_eq!(headers.len(), 2);
}

#[test]
fn what_only_the_edge_knows_is_not_the_clients_to_say() {
    for name in [
        "CF-Connecting-IP",
        "True-Client-IP",
        "X-Real-IP",
        "X_Real_IP",
        "x.real.ip",
        "X-Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Forwarded-Ssl",
        "X.Forwarded+Prefix",
        "X-Forwarded-User",
        "Forwarded",
        "X-Original-URL",
        "x_original_url",
        "X-Rewrite-URL",
        "Proxy",
    ] {
        let mut headers = map(&[(name, "1"), ("via", "2")]);
        remove_claims(&mut headers);
        assert_eq!(headers.len(), 1, "{name} must not cross");
    }
    let others = [
        "cf-access-client-id",
        "cdn-loop",
        "x-real-ip-2",
        "proxies",
        "x-host",
    ];
    for name in others {
        let mut headers = map(&[(name, "1")]);
        remove_claims(&mut headers);
        assert_eq!(headers.len(), 1, "{name} means nothing here");
    }
    // For origins that want them, rules may say them.
    let is_ours = |name: &'static str| is_ours(&HeaderName::from_static(name));
    assert!(!is_ours("x-real-ip") && !is_ours("x-forwarded-port"));
    assert!(is_ours("x-forwarded-for") && is_ours("forwarded"));
}

#[test]
fn no_spelling_of_a_certificate_claim_crosses() {
    for name in [
        "Client-Cert",
        "client_cert",
        "Client-Cert-Chain",
        "CF-Client-Cert-SHA256",
        "cf_client_cert_der_base64",
        "Cf-Cert-Verified",
        "cf_cert-verified",
        "X-Client-Cert",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-SSL-Client-Verify",
        "SSL_CLIENT_CERT",
        "Cf.Cert.Verified",
        "cf~cert*revoked",
        "client.cert",
        "ssl-client-s-dn",
        "X-Amzn-Mtls-Clientcert",
        "X-ARR-ClientCert",
    ] {
        let mut headers = map(&[(name, "1"), (name, "2"), ("accept", "*/*")]);
        remove_claims(&mut headers);
        assert_eq!(headers.len(), 1, "{name} must not cross");
    }
    let mut headers = map(&[
        ("content-type", "a"),
        ("cookie", "b"),
        ("x-request-id", "c"),
        ("sec-fetch-mode", "d"),
    ]);
    remove_claims(&mut headers);
    assert_eq!(headers.len(), 4);
}

#[test]
fn a_client_cannot_take_out_or_put_in_what_we_say() {
    let id = HeaderValue::from_static("id1");
    let mut headers = map(&[
        ("connection", "x-forwarded-for, x-request-id, via"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "evil"),
        ("expect", "100-continue"),
    ]);
    for_origin(&mut headers, &told(&id), "1.1 postern");
    assert_eq!(headers.get_text(X_FORWARDED_FOR), Some("192.0.2.1"));
    assert_eq!(headers.get_text(X_FORWARDED_PROTO), Some("https"));
    assert_eq!(
        headers.get_text(FORWARDED),
        Some("for=192.0.2.1;host=\"api.example.test\";proto=https")
    );
    assert_eq!(headers.get_text(X_REQUEST_ID), Some("id1"));
    assert_eq!(headers.get_text(VIA), Some("1.1 postern"));
    assert!(!headers.contains_key(EXPECT));
    assert_eq!(headers.get_all(&X_FORWARDED_FOR).count(), 1);
}

#[test]
fn cookies_are_joined() {
    let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
    join_cookies(&mut headers);
    let joined: Vec<_> = headers.get_all(&COOKIE).collect();
    assert_eq!(joined, [b"a=1; b=2"]);
}

/// Names that something is done about, each in spellings that are to be told apart or not.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Host",
        "accept",
        "Accept",
        "Cookie",
        "Connection",
        "connection",
        "Keep-Alive",
        "close",
        "TE",
        "te",
        "Trailer",
        "Transfer-Encoding",
        "Content-Length",
        "content-LENGTH",
        "Upgrade",
        "HTTP2-Settings",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Proxy",
        "Expect",
        "Via",
        "X-Request-Id",
        "x_request_id",
        "X-Forwarded-For",
        "X.Forwarded.For",
        "x-forwarded-proto",
        "Forwarded",
        "X-Real-IP",
        "Client-Cert",
        "CLIENT_CERT",
        "cf-cert-verified",
        "X-SSL-Anything",
        "X-Secret",
        "x-secret",
        "User-Agent",
        "Authorization",
    ])
}

fn value() -> impl Strategy<Value = String> {
    let list =
        "(close|keep-alive|te|trailers|chunked|X-Secret|host|Via|x-request-id|cookie| ){0,3}";
    let lists = prop::collection::vec(list, 0..4).prop_map(|parts| parts.join(","));
    prop_oneof![
        lists,
        "[!-~]{0,12}",
        Just("1".to_owned()),
        Just("100-continue".to_owned())
    ]
    .prop_map(|value| value.trim().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Spans are asked and changed as the map is that the same head makes.
    #[test]
    fn spans_and_maps_are_alike(
        headers in prop::collection::vec((name(), value()), 0..12),
        forms in prop::array::uniform12(0..6_u8),
        forwarded: bool,
        others in prop::collection::vec(name(), 0..4),
    ) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        // Lines are written in more than one way.
        let mut text = String::from(if forwarded { "\r\n" } else { "" }) + "GET / HTTP/1.1\r\n";
        for ((name, value), form) in headers.iter().zip(forms) {
            text.push_str(&match form {
                0 => format!("{name}:{value}\r\n"),
                1 => format!("{name}:  {value}\t\r\n"),
                2 => format!("{name}: {value}\n"),
                _ => format!("{name}: {value}\r\n"),
            });
        }
        let (mut spans, mut map) = (read(&(text + "\r\n")), map(&headers));
        prop_assert_eq!(said(&spans), said(&map));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let found = (check(&spans, version, 9), check(&map, version, 9));
            prop_assert_eq!(found.0, found.1);
        }
        prop_assert_eq!(says_one_length(&spans), says_one_length(&map));
        prop_assert_eq!(is_within(&spans, 400, 9), is_within(&map, 400, 9));
        let (mut to_client, mut map_to_client) = (spans.clone(), map.clone());
        let id = HeaderValue::from_static("id1");
        for_client(&mut to_client, &id);
        for_client(&mut map_to_client, &id);
        prop_assert_eq!(said(&to_client), said(&map_to_client));
        let told = OriginMetadata { forwarded, ..told(&id) };
        for_origin(&mut spans, &told, "1.1 postern");
        for_origin(&mut map, &told, "1.1 postern");
        prop_assert_eq!(said(&spans), said(&map));
        for name in others {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            prop_assert_eq!(spans.get(&name), map.get(&name));
            prop_assert_eq!(spans.value(&name), map.value(&name));
            let spelled: Vec<_> = spans.spelled(name.as_str()).collect();
            prop_assert_eq!(spelled, map.spelled(name.as_str()).collect::<Vec<_>>());
            remove_like(&mut spans, &name);
            remove_like(&mut map, &name);
            prop_assert_eq!(said(&spans), said(&map));
            prop_assert_eq!(spans.remove(USER_AGENT), map.remove(USER_AGENT));
            spans.insert(AUTHORIZATION, id.clone());
            map.insert(AUTHORIZATION, id.clone());
            spans.try_append(name.clone(), id.clone()).unwrap();
            map.try_append(name, id.clone()).unwrap();
            prop_assert_eq!(said(&spans), said(&map));
        }
        let host = HeaderValue::from_static("a.example");
        spans.lead(HOST, host.clone());
        map.lead(HOST, host);
        prop_assert_eq!(said(&spans), said(&map));
        // An HTTP/1.1 origin is told just that, whichever it is written from.
        for headers in [&spans, &map] {
            let mut told = said(headers);
            told.retain(|(name, _)| name != "content-length" && name != "transfer-encoding");
            // Empty cookies that are joined end in a blank, which is no part of a value.
            for (_, value) in &mut told {
                *value = value.trim_ascii().to_vec();
            }
            prop_assert_eq!(said(&read(&written(headers))), told);
        }
        // And the map that HTTP/2 is given of spans is that map.
        let mut made = HeaderMap::new();
        spans.share_into(&mut http1::Names::default(), &mut made).unwrap();
        prop_assert_eq!(said(&made.into()), said(&map));
    }

    /// Nothing of what only we may say comes from a client, however it is spelled.
    #[test]
    fn no_head_says_for_us(headers in prop::collection::vec((name(), value()), 0..12)) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let mut headers = spans(&headers);
        let id = HeaderValue::from_static("id1");
        for_origin(&mut headers, &told(&id), "1.1 postern");
        for (name, value) in &headers {
            prop_assert!(!name.iter().any(u8::is_ascii_uppercase));
            let name = HeaderName::from_bytes(name).unwrap();
            let is_once = headers.get_all(&name).count() == 1;
            match name.as_str() {
                "x-request-id" => prop_assert!(is_once && value == b"id1"),
                "x-forwarded-for" => prop_assert!(is_once && value == b"192.0.2.1"),
                "x-forwarded-host" | "x-forwarded-proto" | "forwarded" => prop_assert!(is_once),
                "te" => prop_assert!(is_once && value == b"trailers"),
                "host" | "content-length" | "trailer" | "via" => {}
                name => prop_assert!(!is_ours(&field_name(name)), "{name} goes to the origin"),
            }
        }
    }
}

fn field_name(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap()
}

#[test]
fn host_comes_first_where_it_is_ours_to_say() {
    let host = HeaderValue::from_static("a.example");
    let mut same = spans(&[("Accept", "*/*"), ("Host", "a.example"), ("X-A", "1")]);
    same.lead(HOST, host.clone());
    let expected = "GET / HTTP/1.1\r\naccept: */*\r\nhost: a.example\r\nx-a: 1\r\n\r\n";
    assert_eq!(written(&same), expected);
    let mut other = spans(&[("Accept", "*/*"), ("Host", "A.example:443"), ("X-A", "1")]);
    other.insert(VIA, HeaderValue::from_static("1.1 postern"));
    other.lead(HOST, host.clone());
    let expected =
        "GET / HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\nx-a: 1\r\nvia: 1.1 postern\r\n\r\n";
    assert_eq!(written(&other), expected);
    // What is removed leads no more, and nothing else does in its place.
    other.remove(HOST);
    let expected = "GET / HTTP/1.1\r\naccept: */*\r\nx-a: 1\r\nvia: 1.1 postern\r\n\r\n";
    assert_eq!(written(&other), expected);
}

/// Few members of `Connection` are looked for in all headers, many in a table: both find the same.
#[test]
fn many_nominations_are_each_taken_once() {
    let many: Vec<String> = (0..90).map(|number| format!("X-Name-{number}")).collect();
    let list = many.join(",, ,") + &",x-name-7".repeat(1_000) + ",,x-nobody,Host,te,Content-Length";
    let mut headers = vec![("Connection", &*list), ("Host", "a"), ("TE", "trailers")];
    headers.extend(many.iter().map(|name| (&**name, "1")));
    headers.push(("x-stays", "1"));
    for mut headers in [spans(&headers), map(&headers)] {
        assert_eq!(
            nominated(&headers).len(),
            92,
            "each once, and those that stay all the same"
        );
        remove_hop_by_hop(&mut headers);
        let left: Vec<_> = said(&headers).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["host", "x-stays"]);
    }
}
