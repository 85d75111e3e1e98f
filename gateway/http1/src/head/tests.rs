//! Tables: what stands in heads, what is refused, and with which word.

use super::{Head, HeadError, Known, Scan, Writer};
use crate::limits::{EMPTY_LINES_BYTES_MAX, Limits};
use http::Version;

fn request(head: &[u8]) -> Result<Option<usize>, HeadError> {
    Scan::default().request(head, &Limits::default(), &mut Head::default())
}

fn response(head: &[u8]) -> Result<Option<usize>, HeadError> {
    Scan::default().response(head, &Limits::default(), &mut Head::default())
}

#[test]
fn a_request_is_spans_of_its_bytes() {
    let bytes = b"\r\nGET /a?b=%20{\"c\"} HTTP/1.0\r\nHost: x\r\nX-Empty:\r\nx-a:  1 2\t\nX-A:3\r\n\r\nbody";
    let mut head = Head::default();
    let size = Scan::default().request(bytes, &Limits::default(), &mut head);
    assert_eq!(size, Ok(Some(bytes.len() - 4)));
    assert_eq!(head.method(bytes), b"GET");
    assert_eq!(head.target(bytes), b"/a?b=%20{\"c\"}");
    assert_eq!(head.version(), Version::HTTP_10);
    let fields = head.fields(bytes);
    let pairs: Vec<_> = fields
        .iter()
        .map(|field| (field.name, field.value))
        .collect();
    let expected: &[(&[u8], &[u8])] = &[
        (b"Host", b"x"),
        (b"X-Empty", b""),
        (b"x-a", b"1 2"),
        (b"X-A", b"3"),
    ];
    assert_eq!(pairs, expected);
    assert_eq!(fields.all("X-a").collect::<Vec<_>>(), [&b"1 2"[..], b"3"]);
    assert_eq!(
        (fields.first("hOST"), fields.first("none")),
        (Some(&b"x"[..]), None)
    );
    assert_eq!(fields.known(Known::Host).count(), 1);
    let map = head.shared_map(&bytes::Bytes::from_static(bytes)).unwrap();
    assert_eq!(
        (map.len(), &map["x-a"], &map["host"]),
        (4, &"1 2".parse().unwrap(), &"x".parse().unwrap())
    );
    let mut copied = http::HeaderMap::new();
    fields.append_to(&mut copied).unwrap();
    assert_eq!(copied, map);
    assert_eq!(head.http_method(bytes), Ok(http::Method::GET));
}

#[test]
fn requests_that_are_refused() {
    use HeadError::{
        BareCr, ColonMissing, Control, EmptyLines, FieldName, FieldNameSpace, Folded, Method, Nul,
        Target, Version, VersionUnsupported,
    };
    let line = "GET / HTTP/1.1\r\n";
    for (head, expected) in [
        ("\r\n\r\n\r\n\r\n\nG", EmptyLines),
        ("\r\rG", BareCr),
        (" GET / HTTP/1.1\r\n", Method),
        ("G@T / HTTP/1.1\r\n", Method),
        ("GET\r\n", Method),
        ("GET\t/ HTTP/1.1\r\n", Method),
        ("\x16\x03\x01", Method),
        ("GET  / HTTP/1.1\r\n", Target),
        ("GET /\r\n", Target),
        ("GET /\t HTTP/1.1\r\n", Target),
        ("GET /\0 HTTP/1.1\r\n", Target),
        ("GET /\x7f HTTP/1.1\r\n", Target),
        ("GET /a b HTTP/1.1\r\n", Version),
        ("GET /  HTTP/1.1\r\n", Version),
        ("GET / http/1.1\r\n", Version),
        ("GET / HTTP/1.1 \r\n", Version),
        ("GET / HTTP/1.11\r\n", Version),
        ("GET / HTTP/1.1\rX", BareCr),
        ("GET / HTTP/1\r\n", Version),
        ("GET / HTTPS/1.1\r\n", Version),
        ("GET / HTTP/1.2\r\n\r\n", VersionUnsupported),
        ("GET / HTTP/0.9\r\n\r\n", VersionUnsupported),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VersionUnsupported),
        (&format!("{line} Host: a\r\n\r\n"), Folded),
        (&format!("{line}Host: a\r\n b\r\n\r\n"), Folded),
        (&format!("{line}Host: a\r\n\tb\r\n\r\n"), Folded),
        (&format!("{line}Host : a\r\n\r\n"), FieldNameSpace),
        (&format!("{line}Ho st: a\r\n\r\n"), FieldNameSpace),
        (&format!("{line}Host\t: a\r\n\r\n"), FieldNameSpace),
        (&format!("{line}Host\r\n\r\n"), ColonMissing),
        (&format!("{line}Host\n\n"), ColonMissing),
        (&format!("{line}: a\r\n\r\n"), FieldName),
        (&format!("{line}a: b\r\n\x01: a\r\n\r\n"), FieldName),
        (&format!("{line}h\0st: a\r\n\r\n"), FieldName),
        (&format!("{line}a(b: a\r\n\r\n"), FieldName),
        (&format!("{line}a: b\0\r\n\r\n"), Nul),
        (&format!("{line}a: \0b\r\n\r\n"), Nul),
        (&format!("{line}a: b\rc\r\n\r\n"), BareCr),
        (&format!("{line}a: \rc\r\n\r\n"), BareCr),
        (&format!("{line}a: b\r\r\n\r\n"), BareCr),
        (&format!("{line}a: b\r\n\r\r\n"), BareCr),
        (&format!("{line}a: b\x7f\r\n\r\n"), Control),
        (&format!("{line}a: b\x0bc\r\n\r\n"), Control),
    ] {
        assert_eq!(request(head.as_bytes()), Err(expected), "{head:?}");
        // The first wrong byte decides, however much has come.
        let first = (0..=head.len())
            .find_map(|end| request(head.get(..end).unwrap_or_default().as_bytes()).err());
        assert_eq!(first, Some(expected), "the beginning of {head:?}");
    }
    assert_eq!(
        request(b"GET /\xff HTTP/1.1\r\n\r\n"),
        Err(Target),
        "not UTF-8"
    );
}

#[test]
fn responses_that_are_refused() {
    use HeadError::{BareCr, Folded, Status, Version, VersionUnsupported};
    for (head, expected) in [
        ("HTTP/2 200\r\n\r\n", VersionUnsupported),
        ("HTTP/1.9 200\r\n\r\n", VersionUnsupported),
        ("HTTP/1.1200 OK\r\n\r\n", Version),
        ("ICY 200 OK\r\n\r\n", Version),
        ("HTTP/1.1\t200 OK\r\n\r\n", Version),
        ("HTTP/1.1 20 OK\r\n\r\n", Status),
        ("HTTP/1.1 2000 OK\r\n\r\n", Status),
        ("HTTP/1.1 099 OK\r\n\r\n", Status),
        ("HTTP/1.1 +20 OK\r\n\r\n", Status),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Status),
        ("HTTP/1.1 200 O\rK\r\n\r\n", Status),
        ("\rHTTP/1.1 200 OK\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Folded),
    ] {
        assert_eq!(response(head.as_bytes()), Err(expected), "{head:?}");
    }
    for good in [
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.0 999 \n\n",
        "HTTP/1.1 200 caf\u{e9}\r\n\r\n",
    ] {
        assert_eq!(response(good.as_bytes()), Ok(Some(good.len())), "{good:?}");
    }
}

#[test]
fn bounds_are_kept_to_the_byte() {
    let limits = Limits {
        head_bytes_max: 64,
        fields_max: 2,
        target_bytes_max: 10,
        ..Limits::default()
    };
    let read = |text: &str| Scan::default().request(text.as_bytes(), &limits, &mut Head::default());
    let of_size = |size: usize| {
        let frame = "GET / HTTP/1.1\r\na: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(size - frame))
    };
    assert_eq!(read(&of_size(64)), Ok(Some(64)));
    assert_eq!(read(&of_size(65)), Err(HeadError::TooLarge));
    assert_eq!(read(&of_size(64)[..63]), Ok(None));
    assert_eq!(
        read(&format!("GET /{}", "a".repeat(70))),
        Err(HeadError::TargetTooLong)
    );
    assert_eq!(read("GET /123456789 HTTP/1.1\r\n\r\n"), Ok(Some(27)));
    assert_eq!(
        read("GET /1234567890 HTTP/1.1\r\n\r\n"),
        Err(HeadError::TargetTooLong)
    );
    assert_eq!(read("GET / HTTP/1.1\r\na:\r\nb:\r\n\r\n"), Ok(Some(26)));
    let many = "GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\n\r\n";
    assert_eq!(read(many), Err(HeadError::TooManyFields));

    let lines = "\n".repeat(EMPTY_LINES_BYTES_MAX);
    assert_eq!(request(lines.as_bytes()), Ok(None));
    assert!(matches!(
        request(format!("{lines}GET / HTTP/1.1\n\n").as_bytes()),
        Ok(Some(_))
    ));
}

#[test]
fn more_fields_than_fit_the_stack_are_a_matter_of_the_limit() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    for (max, count, fits) in [
        (128, 128, true),
        (128, 129, false),
        (129, 129, true),
        (1000, 1000, true),
        (1000, 1001, false),
        (0, 0, true),
        (0, 1, false),
    ] {
        let limits = Limits {
            fields_max: max,
            ..Limits::default()
        };
        let (text, mut head) = (fields(count), Head::default());
        let read = Scan::default().request(text.as_bytes(), &limits, &mut head);
        if fits {
            assert_eq!(
                (read, head.fields(text.as_bytes()).len()),
                (Ok(Some(text.len())), count)
            );
        } else {
            assert_eq!(read, Err(HeadError::TooManyFields), "{count} of {max}");
        }
        let text = text.replacen("GET / HTTP/1.1", "HTTP/1.1 200 OK", 1);
        let read = Scan::default().response(text.as_bytes(), &limits, &mut head);
        assert_eq!(read.is_ok(), fits);
    }
}

#[test]
fn a_head_that_drips_is_not_tokenised_at_every_byte() {
    let text = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(60_000));
    let (mut scan, mut head) = (Scan::default(), Head::default());
    let mut tried = std::collections::BTreeSet::new();
    for end in 0..text.len() {
        assert_eq!(
            scan.request(&text.as_bytes()[..end], &Limits::default(), &mut head),
            Ok(None)
        );
        tried.insert(scan.tried);
    }
    assert!(tried.len() < 40, "{}", tried.len());
    let whole = scan.request(text.as_bytes(), &Limits::default(), &mut head);
    assert_eq!((whole, scan), (Ok(Some(text.len())), Scan::default()));
}

#[test]
fn known_names_are_known_in_every_spelling() {
    for known in [
        Known::Connection,
        Known::ContentLength,
        Known::Expect,
        Known::Host,
        Known::Http2Settings,
        Known::KeepAlive,
        Known::ProxyAuthenticate,
        Known::ProxyAuthorization,
        Known::ProxyConnection,
        Known::Te,
        Known::Trailer,
        Known::TransferEncoding,
        Known::Upgrade,
    ] {
        let name = known.name();
        for spelling in [name.to_owned(), name.to_uppercase()] {
            assert_eq!(Known::of(spelling.as_bytes()), known, "{spelling}");
            let longer = format!("{spelling}x");
            assert_eq!(Known::of(longer.as_bytes()), Known::Other, "{longer}");
        }
    }
    assert_eq!(Known::of(b""), Known::Other);
    assert_eq!(Known::of(b"content_length"), Known::Other);
}

#[test]
fn what_stays_is_copied_and_what_is_ours_is_added() {
    for (raw, expected) in [
        ("a: 1\r\nb: 2\r\nc: 3\r\n\r\n", "a: 1\r\nc: 3\r\n"),
        ("a: 1\r\nc: 3\r\nB: 2\r\n\r\n", "a: 1\r\nc: 3\r\n"),
        ("a:1\r\nc:  3 \r\nd: 4\n\n", "a: 1\r\nc: 3\r\nd: 4\r\n"),
        ("b: 1\r\nb: 2\r\n\r\n", ""),
        (
            "b: 1\r\na: 2\r\nc:\r\nd: 3\r\ne: 4\r\nb:5\r\nf: 6\r\n\r\n",
            "a: 2\r\nc: \r\nd: 3\r\ne: 4\r\nf: 6\r\n",
        ),
        ("\r\n", ""),
    ] {
        let raw = format!("HTTP/1.1 200 OK\r\n{raw}");
        let mut head = Head::default();
        Scan::default()
            .response(raw.as_bytes(), &Limits::default(), &mut head)
            .unwrap()
            .unwrap();
        let mut out = b"before".to_vec();
        let mut writer = Writer::response(&mut out, http::StatusCode::NOT_FOUND);
        writer.copy(head.fields(raw.as_bytes()), |field| !field.is("b"));
        writer.field("x", b"y").unwrap();
        assert!(writer.field("x y", b"").is_err() && writer.field("", b"").is_err());
        assert!(writer.field("x", b"a\r\nb: c").is_err() && writer.field("x", b"\0").is_err());
        writer.end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            format!("beforeHTTP/1.1 404 Not Found\r\n{expected}x: y\r\n\r\n")
        );
    }
    for (method, target) in [
        ("", "/"),
        ("A B", "/"),
        ("GET", ""),
        ("GET", "/ "),
        ("GET", "/\r\n"),
        ("GET", "/\x7f"),
    ] {
        let mut out = Vec::new();
        assert!(Writer::request(&mut out, method.as_bytes(), target.as_bytes()).is_err());
        assert!(out.is_empty());
    }
}
