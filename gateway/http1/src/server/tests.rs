//! What a connection is, event by event; what is answered, and what is said of the connection.

use super::{Next, Request, ServerError, Waiting};
use crate::body::BodyError;
use crate::framing::{BodyLength, FramingError};
use crate::fuzz::server::{Seen, see};
use crate::head::{Head, HeadError, Scan, Unwritable};
use crate::headers::Headers;
use crate::limits::Limits;
use crate::not_kept::NotKept;
use bytes::BytesMut;
use http::header::SERVER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

fn request(stream: &str) -> Request {
    let (limits, mut head) = (Limits::default(), Head::default());
    match Waiting::new().receive(stream.as_bytes(), &limits, &mut head) {
        Ok(Next::Request(request)) => request,
        other => panic!("{stream:?}: {other:?}"),
    }
}

/// In short: targets, bodies in quotes, and how it ended.
fn story(stream: &str) -> String {
    let limits = crate::fuzz::SMALL;
    let whole = see(stream.as_bytes(), [], &limits);
    for cut in 0..stream.len() {
        let parts = see(stream.as_bytes(), [cut], &limits);
        assert_eq!(parts, whole, "{stream:?} cut at {cut}");
    }
    let bytes = see(stream.as_bytes(), 1..stream.len(), &limits);
    assert_eq!(bytes, whole, "{stream:?} byte by byte");
    let word = |seen: &Seen| match seen {
        Seen::Request { target, .. } => String::from_utf8_lossy(target).into_owned(),
        Seen::Data(data) => format!("'{}'", String::from_utf8_lossy(data)),
        Seen::Trailers(trailers) => format!("+{}", trailers.len()),
        Seen::Over => ".".to_owned(),
        Seen::BodyRefused(error) => error.word().to_owned(),
        Seen::Refused(error) => format!("{} {}", error.status().as_u16(), error.word()),
        Seen::Ended(why, rest) => format!("{why} {}", rest.len()),
        Seen::Closed => "closed".to_owned(),
    };
    whole.0.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn connections_event_by_event() {
    let h = "HTTP/1.1\r\nHost: a\r\n";
    for (stream, expected) in [
        (String::new(), "closed"),
        ("\r\n".into(), "closed"),
        ("\r\n\r".into(), "closed"),
        ("\n\r\r".into(), "400 bare_cr"),
        ("\n\r\r\r\n\r\r\r\r\r".into(), "400 bare_cr"),
        (format!("GET /a {h}\r\n"), "/a . closed"),
        (
            format!("GET /a {h}\r\nGET /b {h}\r\n\r\nGET /c {h}\r\n"),
            "/a . /b . /c . closed",
        ),
        (
            format!("POST /a {h}Content-Length: 2\r\n\r\nhiGET /b {h}\r\n"),
            "/a 'hi' . /b . closed",
        ),
        (
            format!(
                "POST /a {h}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: y\r\n\r\nGET /b {h}\r\n"
            ),
            "/a 'hi' +1 . /b . closed",
        ),
        (
            format!("GET /a {h}Connection: close\r\n\r\nGET /b"),
            "/a . close 6",
        ),
        ("GET /a HTTP/1.0\r\n\r\nGET".into(), "/a . http10 3"),
        (
            "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n".into(),
            "/a . /b . http10 0",
        ),
        (
            format!("GET http://a/b {h}\r\nOPTIONS * {h}\r\nCONNECT a:443 {h}\r\n"),
            "http://a/b . * . a:443 . closed",
        ),
        (
            format!("POST /a {h}Content-Length: 2\r\n\r\nh"),
            "/a 'h' body_cut",
        ),
        (
            format!("POST /a {h}Transfer-Encoding: chunked\r\n\r\nx"),
            "/a chunk_size_invalid",
        ),
        (format!("GET /a {h}"), "400 head_cut"),
        ("GET /a HTTP/1.1\r\n\r\n".into(), "400 host_missing"),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n".into(),
            "400 host_repeated",
        ),
        (format!("GET a {h}\r\n"), "400 target_form"),
        (format!("GET * {h}\r\n"), "400 target_form"),
        (format!("GET a:443 {h}\r\n"), "400 target_form"),
        (format!("GET http:///b {h}\r\n"), "400 target_form"),
        (format!("GET 1http://a {h}\r\n"), "400 target_form"),
        (format!("CONNECT / {h}\r\n"), "400 target_form"),
        (format!("CONNECT a {h}\r\n"), "400 target_form"),
        ("GET / HTTP/2.0\r\n\r\n".into(), "505 version_unsupported"),
        (
            format!("GET / {h}Transfer-Encoding: gzip, chunked\r\n\r\n"),
            "501 coding_unknown",
        ),
        (
            format!("GET / {h}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
            "400 length_and_coding",
        ),
        (
            format!("GET / {h}{}\r\n", "a:\r\n".repeat(12)),
            "431 fields_too_many",
        ),
        (
            format!("GET /{} {h}\r\n", "a".repeat(200)),
            "414 target_too_long",
        ),
        (format!("GET /{}", "a".repeat(512)), "414 target_too_long"),
        (
            format!("GET / {h}a: {}", "a".repeat(512)),
            "431 head_too_large",
        ),
    ] {
        assert_eq!(story(&stream), expected, "{stream:?}");
    }
    assert!(matches!(BodyError::Cut.status(), StatusCode::BAD_REQUEST));
}

#[test]
fn an_answer_says_what_becomes_of_the_connection() {
    let lies = [
        ("content-length", "7"),
        ("connection", "x"),
        ("transfer-encoding", "gzip"),
        ("a", "b"),
    ];
    let map: HeaderMap = lies
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    let (exactly, chunked, nothing) = (
        BodyLength::Exactly(2),
        BodyLength::Chunked,
        BodyLength::None,
    );
    let kept = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let new = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (stream, status, length, expected, sent) in [
        (&*new("GET"), 200, exactly, "content-length: 2\r\n", "hi"),
        (&new("GET"), 200, nothing, "content-length: 0\r\n", ""),
        (
            &new("GET"),
            200,
            chunked,
            "transfer-encoding: chunked\r\n",
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            &new("GET"),
            200,
            BodyLength::UntilClose,
            "transfer-encoding: chunked\r\n",
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (&new("HEAD"), 200, exactly, "content-length: 2\r\n", ""),
        (&new("HEAD"), 200, nothing, "content-length: 7\r\n", ""),
        (&new("HEAD"), 200, chunked, "", ""),
        (&new("GET"), 304, nothing, "content-length: 7\r\n", ""),
        (&new("GET"), 204, exactly, "", ""),
        (&new("HEAD"), 204, nothing, "", ""),
        (&new("GET"), 204, chunked, "", ""),
        (
            "GET / HTTP/1.0\r\n\r\n",
            200,
            exactly,
            "content-length: 2\r\nconnection: close\r\n",
            "hi",
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            200,
            chunked,
            "connection: close\r\n",
            "hi",
        ),
        (
            kept,
            200,
            exactly,
            "content-length: 2\r\nconnection: keep-alive\r\n",
            "hi",
        ),
        (kept, 200, chunked, "connection: close\r\n", "hi"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            200,
            exactly,
            "content-length: 2\r\nconnection: close\r\n",
            "hi",
        ),
    ] {
        let Request {
            incoming, reply, ..
        } = request(stream);
        let (mut out, status) = (Vec::new(), StatusCode::from_u16(status).unwrap());
        let mut sending = reply.head(status, &map, length, &mut out).unwrap();
        if sending.length() != BodyLength::Exactly(0) {
            sending.data(b"hi", &mut out).unwrap();
        }
        sending.end(None, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let fields = head.split_once("\r\n").unwrap().1;
        assert_eq!(
            (format!("{fields}\r\n"), body),
            (format!("a: b\r\n{expected}"), sent),
            "{stream:?} {status}"
        );
        let says_close = expected.contains("connection: close");
        assert_eq!(sending.will_close().is_some(), says_close);
        assert_eq!(
            sending.over(&incoming).is_err(),
            says_close,
            "{stream:?} {status}"
        );
    }
}

#[test]
fn a_connection_closes_when_that_is_wanted_and_is_free_when_both_halves_are_over() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    let (limits, none, mut out) = (Limits::default(), HeaderMap::new(), Vec::new());
    let Request {
        mut incoming,
        mut reply,
        ..
    } = request(post);
    assert_eq!(reply.will_close(), None);
    reply.close();
    let sending = reply
        .head(StatusCode::OK, &none, BodyLength::None, &mut out)
        .unwrap();
    assert!(String::from_utf8_lossy(&out).contains("\r\nconnection: close\r\n"));
    incoming
        .receive(b"hi", &limits, &mut Head::default())
        .unwrap();
    assert_eq!(sending.over(&incoming).err(), Some(NotKept::Close));

    let Request {
        incoming, reply, ..
    } = request(post);
    let sending = reply
        .head(StatusCode::OK, &none, BodyLength::None, &mut out)
        .unwrap();
    assert_eq!(sending.over(&incoming).err(), Some(NotKept::Uploading));
    let Request {
        mut incoming,
        reply,
        ..
    } = request(post);
    let sending = reply
        .head(StatusCode::OK, &none, BodyLength::Exactly(1), &mut out)
        .unwrap();
    incoming
        .receive(b"hi", &limits, &mut Head::default())
        .unwrap();
    assert_eq!(sending.over(&incoming).err(), Some(NotKept::Answering));
}

#[test]
fn a_client_that_waits_is_told_to_go_on_once() {
    let expect = |version: &str, value: &str| {
        request(&format!(
            "POST / {version}\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 1\r\n\r\n"
        ))
    };
    let mut out = Vec::new();
    let mut waits = expect("HTTP/1.1", "100-Continue");
    assert!(waits.reply.expects_continue() && waits.said.expects_continue);
    waits.reply.go_on(&mut out);
    waits.reply.go_on(&mut out);
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    out.clear();
    // One that the origin sent counts.
    let mut waits = expect("HTTP/1.1", "100-continue");
    assert_eq!(
        waits
            .reply
            .interim(StatusCode::CONTINUE, &HeaderMap::new(), &mut out),
        Ok(true)
    );
    waits.reply.go_on(&mut out);
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    for mut other in [expect("HTTP/1.0", "100-continue"), expect("HTTP/1.1", "x")] {
        assert!(!other.reply.expects_continue());
        out.clear();
        other.reply.go_on(&mut out);
        assert!(out.is_empty());
    }
    assert!(expect("HTTP/1.1", "x").said.expects_other);
}

#[test]
fn interim_answers_go_to_clients_that_know_them() {
    let mut link = HeaderMap::new();
    link.insert("link", HeaderValue::from_static("<a>"));
    let (mut out, hints) = (Vec::new(), StatusCode::EARLY_HINTS);
    let mut new = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(new.reply.interim(hints, &link, &mut out), Ok(true));
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n");
    for status in [StatusCode::OK, StatusCode::SWITCHING_PROTOCOLS] {
        assert_eq!(
            new.reply.interim(status, &link, &mut out),
            Err(Unwritable::Status)
        );
    }
    out.clear();
    let mut old = request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(
        (old.reply.interim(hints, &link, &mut out), out.len()),
        (Ok(false), 0)
    );
    let refused = new.reply.head(hints, &link, BodyLength::None, &mut out);
    assert_eq!((refused.err(), out.len()), (Some(Unwritable::Status), 0));
}

#[test]
fn another_protocol_begins_behind_a_whole_request() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n";
    let mut fields = HeaderMap::new();
    fields.insert("upgrade", HeaderValue::from_static("x"));
    let switch = |stream: &str, status| {
        let mut out = Vec::new();
        let Request {
            incoming, reply, ..
        } = request(stream);
        reply
            .switch(status, &fields, &incoming, &mut out)
            .map(|()| String::from_utf8(out).unwrap())
    };
    let switching = StatusCode::SWITCHING_PROTOCOLS;
    assert_eq!(
        switch(&format!("{upgrade}\r\n"), switching).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    );
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        switch(connect, StatusCode::OK).unwrap(),
        "HTTP/1.1 200 OK\r\nupgrade: x\r\n\r\n"
    );
    for (stream, status) in [
        (format!("{upgrade}\r\n"), StatusCode::OK),
        (format!("{upgrade}Content-Length: 1\r\n\r\n"), switching),
        ("GET / HTTP/1.0\r\nUpgrade: x\r\n\r\n".to_owned(), switching),
        (connect.to_owned(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            switch(&stream, status),
            Err(Unwritable::Status),
            "{stream:?} {status}"
        );
    }
    let mut out = Vec::new();
    let Request { reply, .. } = request(connect);
    let ordinary = reply.head(StatusCode::OK, &fields, BodyLength::None, &mut out);
    assert_eq!((ordinary.err(), out.len()), (Some(Unwritable::Status), 0));
}

#[test]
fn an_answer_is_passed_on_from_its_spans() {
    let raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\nConnection: close\r\nKeep-Alive: 5\r\nETag: y\r\n\r\n";
    let mut head = Head::default();
    Scan::default()
        .response(raw, &Limits::default(), &mut head)
        .unwrap();
    let mut headers = Headers::new();
    headers.take_over(&mut head, BytesMut::from(&raw[..]));
    headers.remove(SERVER);
    headers.insert(HeaderName::from_static("x"), HeaderValue::from_static("z"));
    for method in ["GET", "HEAD"] {
        let Request { reply, .. } = request(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let length = if method == "HEAD" {
            BodyLength::None
        } else {
            BodyLength::Exactly(2)
        };
        let mut out = Vec::new();
        let sent = reply.head(StatusCode::OK, &headers, length, &mut out);
        assert!(sent.is_ok());
        let expected = "HTTP/1.1 200 OK\r\netag: y\r\nx: z\r\ncontent-length: 2\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{method}");
    }
}

#[test]
fn every_error_has_a_word_of_its_own() {
    let errors = [
        ServerError::TargetForm,
        ServerError::HostMissing,
        ServerError::HostRepeated,
        ServerError::HeadCut,
        ServerError::Head(HeadError::Folded),
        ServerError::Framing(FramingError::Unframed),
    ];
    let words: std::collections::BTreeSet<_> = errors.iter().map(|error| error.word()).collect();
    assert_eq!(words.len(), errors.len());
}
