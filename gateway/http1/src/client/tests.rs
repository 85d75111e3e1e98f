//! What an exchange is, event by event, and when a connection serves again.

use super::{Asked, ClientError, Idle};
use crate::body::{BodyError, SendError};
use crate::framing::{BodyLength, FramingError};
use crate::fuzz::client::{Seen, ask, see};
use crate::head::{Head, HeadError, Scan, Unwritable};
use crate::headers::Headers;
use crate::limits::Limits;
use crate::not_kept::NotKept;
use bytes::BytesMut;
use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    fields.iter().map(pair).collect()
}

#[test]
fn a_request_says_its_length_once_and_as_it_is() {
    let lies = map(&[
        ("host", "a"),
        ("content-length", "7"),
        ("transfer-encoding", "gzip"),
        ("x", "y"),
    ]);
    for (method, length, expected) in [
        ("GET", BodyLength::None, ""),
        ("DELETE", BodyLength::None, ""),
        ("POST", BodyLength::None, "content-length: 0\r\n"),
        ("PATCH", BodyLength::None, "content-length: 0\r\n"),
        ("GET", BodyLength::Exactly(0), "content-length: 0\r\n"),
        ("GET", BodyLength::Exactly(12), "content-length: 12\r\n"),
        ("GET", BodyLength::Chunked, "transfer-encoding: chunked\r\n"),
        (
            "PUT",
            BodyLength::UntilClose,
            "transfer-encoding: chunked\r\n",
        ),
    ] {
        let mut out = Vec::new();
        let halves = Idle::new().ask(Asked::new(method, "/p?q"), &lies, length, &mut out);
        let (upload, _) = halves.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            format!("{method} /p?q HTTP/1.1\r\nhost: a\r\nx: y\r\n{expected}\r\n")
        );
        assert_eq!(
            upload.is_over(),
            matches!(length, BodyLength::None | BodyLength::Exactly(0))
        );
    }
}

#[test]
fn a_target_is_what_the_method_takes() {
    for (method, uri, expected) in [
        (Method::GET, "https://a.example/b?c", "/b?c"),
        (Method::GET, "/b?c", "/b?c"),
        (Method::GET, "https://a.example", "/"),
        (Method::OPTIONS, "*", "*"),
        (Method::CONNECT, "a.example:443", "a.example:443"),
    ] {
        let uri: Uri = uri.parse().unwrap();
        assert_eq!(
            Asked::from_uri(&method, &uri).target,
            expected.as_bytes(),
            "{uri}"
        );
    }
    let mut out = b"kept".to_vec();
    for (method, target, expected) in [
        ("", "/", Unwritable::Method),
        ("G T", "/", Unwritable::Method),
        ("GET", "", Unwritable::Target),
        ("GET", "/ HTTP/1.1\r\nx: y", Unwritable::Target),
    ] {
        let asked = Asked::new(method, target);
        let refused = Idle::new().ask(asked, &HeaderMap::new(), BodyLength::None, &mut out);
        assert_eq!(refused.err(), Some(expected));
    }
    assert_eq!(out, b"kept");
}

#[test]
fn a_head_is_passed_on_from_its_spans() {
    let raw =
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Secret: 1\r\nAccept: */*\r\n\r\n";
    let mut head = Head::default();
    Scan::default()
        .request(raw, &Limits::default(), &mut head)
        .unwrap()
        .unwrap();
    let mut headers = Headers::new();
    headers.take_over(&mut head, BytesMut::from(&raw[..]));
    headers.remove(HeaderName::from_static("x-secret"));
    headers.insert(VIA, HeaderValue::from_static("1.1 postern"));
    let pass = |target, out: &mut Vec<u8>| {
        let asked = Asked::new("POST", target);
        Idle::new().ask(asked, &headers, BodyLength::Exactly(3), out)
    };
    let mut out = Vec::new();
    let (mut upload, _) = pass("/x", &mut out).unwrap();
    upload.data(b"abc", &mut out).unwrap();
    upload.end(None, &mut out).unwrap();
    let expected = "POST /x HTTP/1.1\r\nhost: a\r\naccept: */*\r\nvia: 1.1 postern\r\n\
                    content-length: 3\r\n\r\nabc";
    assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
    assert!(pass("/x y", &mut out).is_err());
    assert_eq!(
        String::from_utf8(out).unwrap(),
        expected,
        "nothing of it was written"
    );
}

#[test]
fn a_body_is_no_longer_and_no_shorter_than_was_said() {
    let begin = |length| {
        Idle::new().ask(
            Asked::new("PUT", "/"),
            &HeaderMap::new(),
            length,
            &mut Vec::new(),
        )
    };
    let mut out = Vec::new();
    let (mut upload, _) = begin(BodyLength::Exactly(3)).unwrap();
    upload.data(b"ab", &mut out).unwrap();
    assert_eq!(upload.data(b"cd", &mut out), Err(SendError::Long));
    assert_eq!(
        upload.end(None, &mut out),
        Err(SendError::Short { left: 1 })
    );
    upload.data(b"c", &mut out).unwrap();
    assert!(upload.is_over() && upload.end(None, &mut out).is_ok());
    assert_eq!(upload.data(b"d", &mut out), Err(SendError::Long));
    assert_eq!(out, b"abc");

    out.clear();
    let (mut upload, _) = begin(BodyLength::Chunked).unwrap();
    upload.data(b"", &mut out).unwrap();
    upload.data(&[b'x'; 26], &mut out).unwrap();
    let frame = upload.frame(3).unwrap();
    assert_eq!(
        (&*frame.before, frame.behind),
        (&b"3\r\n"[..], &b"\r\n"[..])
    );
    let trailers = map(&[("x-sum", "1"), ("content-length", "9"), ("host", "evil")]);
    assert!(upload.takes_trailers() && !upload.is_over());
    upload.end(Some(&trailers), &mut out).unwrap();
    let expected = format!("1a\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n", "x".repeat(26));
    assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
    assert_eq!(upload.data(b"d", &mut out), Err(SendError::Long));
}

/// Fields are left out: other tests look at them.
fn seen(method: &str, upgrades: bool, stream: &str) -> Vec<Seen> {
    let whole = see(
        ask(method, upgrades),
        stream.as_bytes(),
        [],
        &crate::fuzz::SMALL,
    );
    for cut in 0..stream.len() {
        let parts = see(
            ask(method, upgrades),
            stream.as_bytes(),
            [cut],
            &crate::fuzz::SMALL,
        );
        assert_eq!(parts, whole, "{stream:?} cut at {cut}");
    }
    let bytes = see(
        ask(method, upgrades),
        stream.as_bytes(),
        1..stream.len(),
        &crate::fuzz::SMALL,
    );
    assert_eq!(bytes, whole, "{stream:?} byte by byte");
    let bare = |seen: Seen| match seen {
        Seen::Interim(status, _) => Seen::Interim(status, Vec::new()),
        Seen::Answer(status, length, _) => Seen::Answer(status, length, Vec::new()),
        Seen::Switched(status, _) => Seen::Switched(status, Vec::new()),
        other => other,
    };
    whole.into_iter().map(bare).collect()
}

#[test]
fn it_is_known_which_answer_ends_with_its_connection() {
    for (fields, expected) in [
        ("", true),
        ("Content-Length: 2\r\n", false),
        ("Transfer-Encoding: chunked\r\n", false),
    ] {
        let (_, mut answer) = ask("GET", false);
        assert!(!answer.is_until_close(), "nothing has come");
        let stream = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let (limits, mut head) = (Limits::default(), Head::default());
        let read = answer.receive(stream.as_bytes(), &limits, &mut head);
        read.unwrap();
        assert_eq!(answer.is_until_close(), expected, "{fields}");
    }
}

#[test]
fn answers_event_by_event() {
    use BodyLength::{Chunked, Exactly, None as Nothing, UntilClose};
    let interim = |status| Seen::Interim(status, Vec::new());
    let answer = |status, length| Seen::Answer(status, length, Vec::new());
    let data = |text: &str| Seen::Data(text.into());
    let kept = || Seen::End(None, Vec::new());
    let closes = |why, rest: &str| Seen::End(Some(why), rest.into());
    let ok = "HTTP/1.1 200 OK\r\n";
    for (method, stream, expected) in [
        (
            "GET",
            format!("{ok}Content-Length: 2\r\n\r\nhi"),
            vec![answer(200, Exactly(2)), data("hi"), kept()],
        ),
        (
            "GET",
            format!("{ok}Content-Length: 0\r\n\r\n"),
            vec![answer(200, Exactly(0)), kept()],
        ),
        (
            "GET",
            format!("{ok}\r\nhi"),
            vec![
                answer(200, UntilClose),
                data("hi"),
                closes(NotKept::UntilClose, ""),
            ],
        ),
        (
            "GET",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
            vec![answer(200, Chunked), data("hi"), kept()],
        ),
        (
            "GET",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n"),
            vec![
                answer(200, Chunked),
                Seen::Trailers(vec![(b"a".to_vec(), b"b".to_vec())]),
                kept(),
            ],
        ),
        (
            "HEAD",
            format!("{ok}Content-Length: 2\r\n\r\n"),
            vec![answer(200, Nothing), kept()],
        ),
        (
            "HEAD",
            format!("{ok}\r\n"),
            vec![answer(200, Nothing), kept()],
        ),
        (
            "HEAD",
            format!("{ok}Content-Length: 2\r\n\r\nhi"),
            vec![answer(200, Nothing), closes(NotKept::Surplus, "hi")],
        ),
        (
            "GET",
            "HTTP/1.1 304 N\r\nContent-Length: 2\r\n\r\n".into(),
            vec![answer(304, Nothing), kept()],
        ),
        (
            "GET",
            "HTTP/1.1 204 N\r\nContent-Length: 2\r\n\r\n".into(),
            vec![answer(204, Nothing), closes(NotKept::Promised, "")],
        ),
        (
            "GET",
            format!("{ok}Content-Length: 2\r\n\r\nhiHTTP"),
            vec![
                answer(200, Exactly(2)),
                data("hi"),
                closes(NotKept::Surplus, "HTTP"),
            ],
        ),
        (
            "GET",
            format!("{ok}Content-Length: 0\r\nConnection: close\r\n\r\n"),
            vec![answer(200, Exactly(0)), closes(NotKept::Close, "")],
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
            vec![answer(200, Exactly(0)), closes(NotKept::OldVersion, "")],
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n".into(),
            vec![answer(200, Exactly(0)), kept()],
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\n\r\nold".into(),
            vec![
                answer(200, UntilClose),
                data("old"),
                closes(NotKept::OldVersion, ""),
            ],
        ),
        (
            "GET",
            format!(
                "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n{ok}Content-Length: 0\r\n\r\n"
            ),
            vec![
                interim(100),
                interim(102),
                interim(103),
                answer(200, Exactly(0)),
                kept(),
            ],
        ),
        (
            "GET",
            "HTTP/1.1 103 E\r\n\r\n".repeat(4),
            vec![
                interim(103),
                interim(103),
                interim(103),
                Seen::Error(ClientError::InterimsTooMany),
            ],
        ),
        ("GET", String::new(), vec![Seen::Error(ClientError::Closed)]),
        (
            "GET",
            "HTTP/1.1 2".into(),
            vec![Seen::Error(ClientError::HeadCut)],
        ),
        (
            "GET",
            "HTTP/1.1 100 C\r\n\r\n".into(),
            vec![interim(100), Seen::Error(ClientError::HeadCut)],
        ),
        (
            "GET",
            format!("{ok}Content-Length: 3\r\n\r\nhi"),
            vec![
                answer(200, Exactly(3)),
                data("hi"),
                Seen::Error(ClientError::Body(BodyError::Cut)),
            ],
        ),
        (
            "GET",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
            vec![
                answer(200, Chunked),
                data("hi"),
                Seen::Error(ClientError::Body(BodyError::Cut)),
            ],
        ),
        (
            "GET",
            format!("{ok}Content-Length: +3\r\n\r\nhi"),
            vec![Seen::Error(ClientError::Framing(
                FramingError::LengthInvalid,
            ))],
        ),
        (
            "GET",
            "nonsense".into(),
            vec![Seen::Error(ClientError::Head(HeadError::Version))],
        ),
        (
            "GET",
            "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n".into(),
            vec![Seen::Error(ClientError::Unasked)],
        ),
        (
            "CONNECT",
            format!("{ok}Content-Length: 9\r\n\r\nraw"),
            vec![
                Seen::Switched(200, Vec::new()),
                closes(NotKept::Switched, "raw"),
            ],
        ),
    ] {
        assert_eq!(seen(method, false, &stream), expected, "{stream:?}");
    }
    let upgraded = seen("GET", true, "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n\x01\x02");
    assert_eq!(
        upgraded,
        [
            Seen::Switched(101, Vec::new()),
            closes(NotKept::Switched, "\x01\x02")
        ]
    );
}

#[test]
fn a_connection_is_free_when_both_directions_are_over() {
    let early = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let (limits, mut head, mut out) = (Limits::default(), Head::default(), Vec::new());
    let mut begin = |close| {
        let headers = if close {
            map(&[("connection", "close")])
        } else {
            HeaderMap::new()
        };
        let asked = Asked::new("POST", "/");
        let halves = Idle::new().ask(asked, &headers, BodyLength::Chunked, &mut out);
        let (upload, mut answer) = halves.unwrap();
        assert!(!answer.has_answered());
        answer.receive(early, &limits, &mut head).unwrap();
        assert!(answer.is_over() && answer.has_answered());
        (upload, answer)
    };
    let (upload, answer) = begin(false);
    assert_eq!(answer.over(&upload, b"").err(), Some(NotKept::Uploading));
    let (mut upload, answer) = begin(false);
    upload.end(None, &mut Vec::new()).unwrap();
    assert!(answer.over(&upload, b"").is_ok());
    let (mut upload, answer) = begin(true);
    upload.end(None, &mut Vec::new()).unwrap();
    assert_eq!(answer.will_close(), Some(NotKept::Close));
    assert_eq!(answer.over(&upload, b"").err(), Some(NotKept::Close));
    let (upload, answer) = ask("GET", false);
    assert_eq!(answer.over(&upload, b"").err(), Some(NotKept::Answering));
}

#[test]
fn every_error_has_a_word_of_its_own() {
    let errors = [
        ClientError::Closed,
        ClientError::HeadCut,
        ClientError::Unasked,
        ClientError::InterimsTooMany,
        ClientError::Head(HeadError::Folded),
        ClientError::Framing(FramingError::Unframed),
        ClientError::Body(BodyError::ChunkEnd),
        ClientError::Body(BodyError::Trailers(HeadError::Nul)),
    ];
    let words: std::collections::BTreeSet<_> = errors.iter().map(|error| error.word()).collect();
    assert_eq!(words.len(), errors.len());
}
