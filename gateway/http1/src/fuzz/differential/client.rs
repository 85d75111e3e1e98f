//! As a client.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;

use super::{Message, POLLS_MAX, Wire, of_map, of_pairs, texts};
use crate::fuzz::client::{Seen, ask, see};
use crate::fuzz::random::Random;
use crate::fuzz::streams::{answer, cuts, rounds, spoil};
use crate::limits::Limits;

/// What hyper saw, and why it stopped; empty if it did for no fault.
fn hyper(method: &Method, stream: &[u8], cuts: &[usize]) -> (Vec<Message>, String) {
    let seen = Rc::new(RefCell::new(Vec::<Message>::new()));
    let (wire, _) = Wire::new(stream, cuts, true);
    let mut cx = Context::from_waker(Waker::noop());
    let kept = Rc::clone(&seen);
    let mut exchange = pin!(async move {
        let (mut sender, connection) = http1::handshake(wire).await.unwrap();
        let mut connection = Box::pin(connection);
        let request = Request::builder()
            .method(method.clone())
            .uri(if method == Method::CONNECT {
                "a:1"
            } else {
                "/"
            });
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let mut talk = Box::pin(async move {
            let response = sender.send_request(request).await?;
            let (parts, mut body) = response.into_parts();
            kept.borrow_mut().push(Message {
                first: parts.status.as_u16().to_string(),
                fields: of_map(&parts.headers),
                ..Message::default()
            });
            while let Some(frame) = body.frame().await {
                let mut messages = kept.borrow_mut();
                let message = messages.last_mut().unwrap();
                match frame?.into_data() {
                    Ok(data) => message.body.extend_from_slice(&data),
                    Err(frame) => message.trailers = of_map(&frame.into_trailers().unwrap()),
                }
            }
            kept.borrow_mut().last_mut().unwrap().whole = true;
            Ok::<_, hyper::Error>(())
        });
        let mut open = true;
        std::future::poll_fn(move |cx| {
            if open {
                open = connection.as_mut().poll(cx).is_pending();
            }
            talk.as_mut().poll(cx)
        })
        .await
    });
    let ended = (0..POLLS_MAX).find_map(|_| match Pin::new(&mut exchange).poll(&mut cx) {
        Poll::Ready(Ok(())) => Some(String::new()),
        Poll::Ready(Err(error)) => Some(error.to_string()),
        Poll::Pending => None,
    });
    let messages = seen.borrow().clone();
    (messages, ended.unwrap_or_else(|| "waits".to_owned()))
}

/// What we saw but interim answers, and the word of the fault that ended it.
fn ours(method: &Method, stream: &[u8], cuts: &[usize]) -> (Vec<Message>, String) {
    let halves = ask(method.as_str(), false);
    let (mut messages, mut ended) = (Vec::<Message>::new(), String::new());
    for seen in see(halves, stream, cuts.iter().copied(), &Limits::default()) {
        match (seen, messages.last_mut()) {
            (Seen::Answer(status, _, fields) | Seen::Switched(status, fields), _) => {
                messages.push(Message {
                    first: status.to_string(),
                    fields: of_pairs(&fields),
                    ..Message::default()
                });
            }
            (Seen::Data(data), Some(message)) => message.body = data,
            (Seen::Trailers(trailers), Some(message)) => message.trailers = of_pairs(&trailers),
            (Seen::End(..), Some(message)) => message.whole = true,
            (Seen::Error(error), _) => ended = error.word().to_owned(),
            _ => {}
        }
    }
    (messages, ended)
}

/// Answers that we and hyper take differently: what hyper sees of them, what we do, and why.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
        "200'hi'. ",
        "unframed",
        "the client would get gzip undeclared: Transfer-Encoding is not passed on (RFC 9112 §6.1)",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "200'hi'. ",
        "coding_unknown",
        "as above",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "200'hi'. ",
        "chunked_twice",
        "RFC 9112 §6.1: a sender must not",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhi",
        "200'hi'. ",
        "chunked_not_last",
        "RFC 9112 §6.1: a sender must not",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: , chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "200'hi'. ",
        "coding_empty",
        "parsers on the way differ",
    ),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n",
        "204''. ",
        "length_invalid",
        "it would be passed on",
    ),
    (
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2, 3\r\n\r\n",
        "304''. ",
        "lengths_differ",
        "it would be passed on",
    ),
    (
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: gzip\r\n\r\n",
        "204''. ",
        "unframed",
        "RFC 9112 §6.1: a sender must not",
    ),
    (
        "HTTP/1.0 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "204''. ",
        "coding_in_http10",
        "RFC 9112 §6.1: such a message is to be taken as faulty",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nhi",
        "200'hi'! ",
        "length_too_large",
        "no body is so long, and signed numbers overflow",
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "101''. ",
        "upgrade_unasked",
        "RFC 9110 §15.2.2: the request did not ask for it",
    ),
    (
        "\r\n\r\n\r\n\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "204''. ",
        "empty_lines",
        "without end they would be a flood",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000002\r\nhi\r\n0\r\n\r\n",
        "200'hi'. ",
        "chunk_size_digits",
        "leading zeros without end would be a flood",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\x01\r\nhi\r\n0\r\n\r\n",
        "200'hi'. ",
        "chunk_extension_invalid",
        "RFC 9112 §7.1.1: no control characters",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\n\r\n\r\n",
        "200''. ",
        "bare_lf",
        "RFC 9112 §7.1.2: behind LF alone some find the end two bytes before the others",
    ),
];

#[test]
fn each_difference_has_a_reason() {
    for (stream, hypers, own, reason) in DIFFERENCES {
        let stream = stream.as_bytes();
        for cuts in [&[][..], &[1], &[stream.len() / 2], &[stream.len() - 1]] {
            let (messages, ended) = hyper(&Method::GET, stream, cuts);
            let text = texts(&messages, &ended);
            assert!(text.starts_with(hypers), "hyper, {reason}: {text}");
            let (messages, ended) = ours(&Method::GET, stream, cuts);
            let text = texts(&messages, &ended);
            assert!(text.ends_with(own), "{reason}: {text}");
        }
    }
}

/// What we take hyper takes the same; what we refuse it refuses, but for the table.
fn compare(method: &Method, stream: &[u8], cuts: &[usize]) {
    let (own, own_end) = ours(method, stream, cuts);
    let (theirs, their_end) = hyper(method, stream, cuts);
    let text = String::from_utf8_lossy(stream);
    let both = || {
        let (own, theirs) = (texts(&own, &own_end), texts(&theirs, &their_end));
        format!("{method} {text:?} cut at {cuts:?}\nours: {own}\nhyper: {theirs}")
    };
    match (own.first(), theirs.first()) {
        (Some(own), Some(theirs)) if own.whole => assert_eq!(own, theirs, "{}", both()),
        (Some(own), Some(theirs)) => {
            let heads = (&own.first, &own.fields) == (&theirs.first, &theirs.fields);
            assert!(heads, "{}", both());
        }
        (Some(_), None) => panic!("{}", both()),
        (None, _) => {}
    }
    let whole = |messages: &[Message]| messages.iter().any(|message| message.whole);
    if whole(&theirs) && !whole(&own) {
        let listed = DIFFERENCES.iter().any(|(_, _, own, _)| *own == own_end);
        assert!(listed, "{}", both());
    }
}

#[test]
fn generated_answers_are_seen_as_hyper_sees_them() {
    for round in 0..rounds() {
        let mut random = Random(round ^ 0xaaaa);
        let (mut stream, _) = answer(&mut random);
        if random.once_in(2) {
            spoil(&mut random, &mut stream);
        }
        let method = random.one(&["GET", "HEAD", "CONNECT"]).parse().unwrap();
        compare(&method, &stream, &cuts(&mut random, stream.len()));
    }
}
