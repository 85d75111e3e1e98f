//! Bodies and whole exchanges passed on: what the other side reads is what was seen.

#![allow(
    clippy::indexing_slicing,
    reason = "a check panics where a promise is broken"
)]

use super::client::{self, ask};
use super::server::{self, Seen};
use super::{Pairs, SMALL, pairs};
use crate::body::{BodyError, Decoder, Encoder, Piece};
use crate::client::{Asked, Event, Idle};
use crate::framing::BodyLength;
use crate::head::{Head, Known};
use crate::headers::Headers;
use crate::limits::Limits;
use crate::server::{Next, Request, Waiting};
use bytes::BytesMut;
use http::StatusCode;
use http::header::{HOST, HeaderValue};

/// As a body was read: data, trailers, bytes behind it; or why not.
type Read = Result<(Vec<u8>, Pairs, usize), BodyError>;

fn read(stream: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &Limits) -> Read {
    let mut decoder = Decoder::new(BodyLength::Chunked);
    let (mut data, mut trailers, mut head) = (Vec::new(), Vec::new(), Head::default());
    let mut at = 0;
    for cut in cuts.into_iter().chain([stream.len()]) {
        loop {
            let input = &stream[at..cut.max(at)];
            let decoded = decoder.decode(input, limits, &mut head)?;
            assert!(decoded.consumed <= input.len());
            at += decoded.consumed;
            match decoded.piece {
                Piece::More => break,
                Piece::Data(range) => data.extend_from_slice(&input[range]),
                Piece::Trailers => trailers = pairs(head.fields(input)),
                Piece::End => return Ok((data, trailers, stream.len() - at)),
            }
        }
    }
    decoder.closed().map(|()| (data, trailers, 0))
}

pub(super) fn check_chunked(stream: &[u8]) {
    for limits in [SMALL, Limits::default()] {
        let whole = read(stream, [], &limits);
        assert_eq!(
            whole,
            read(stream, 1..stream.len(), &limits),
            "byte by byte"
        );
        assert_eq!(
            whole,
            read(stream, [stream.len() / 2], &limits),
            "in halves"
        );
        let Ok((data, _, _)) = whole else { continue };
        let (mut encoder, mut wire) = (Encoder::new(BodyLength::Chunked), Vec::new());
        for piece in data.chunks(7) {
            encoder.data(piece, &mut wire).expect("chunks have no end");
        }
        encoder.end(&mut wire).expect("chunks have no length");
        assert_eq!(read(&wire, [], &limits), Ok((data, Vec::new(), 0)));
    }
}

/// A request as it was seen, or as the other side sees it.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    method: Vec<u8>,
    target: Vec<u8>,
    body: Vec<u8>,
    whole: bool,
}

/// Passes the requests of `stream` on to one origin connection, until one is not whole.
fn pass_requests(stream: &[u8], limits: &Limits) -> (Vec<Passed>, Vec<u8>) {
    let (mut passed, mut out, mut head) = (Vec::new(), Vec::new(), Head::default());
    let (mut at, mut waiting) = (0, Waiting::new());
    while let Ok(Next::Request(request)) = waiting.receive(&stream[at..], limits, &mut head) {
        let input = &stream[at..];
        let Request {
            consumed,
            length,
            mut incoming,
            reply,
            said,
        } = request;
        let (method, target) = (head.method(input).to_vec(), head.target(input).to_vec());
        let mut headers = Headers::new();
        headers.take_over(&mut head, BytesMut::from(&input[..consumed]));
        headers.remove_known(Known::is_hop_by_hop);
        if said.hosts == 0 {
            headers.lead(HOST, HeaderValue::from_static("a"));
        }
        let asked = Asked::of(&method, &target);
        let halves = Idle::new().ask(asked, &headers, length, &mut out);
        let (mut upload, _) = halves.expect("what was read can be written");
        at += consumed;
        let mut body = Vec::new();
        let whole = loop {
            let input = &stream[at..];
            let Ok(decoded) = incoming.receive(input, limits, &mut head) else {
                break false;
            };
            at += decoded.consumed;
            match decoded.piece {
                Piece::More => break false,
                Piece::Data(range) => {
                    let data = &input[range];
                    body.extend_from_slice(data);
                    upload.data(data, &mut out).expect("as long as it says");
                }
                Piece::Trailers => {
                    let ended = upload.end_with_fields(head.fields(input), &mut out);
                    ended.expect("trailers behind chunks");
                }
                Piece::End => {
                    upload.end(None, &mut out).expect("as long as it says");
                    break true;
                }
            }
        };
        passed.push(Passed {
            method,
            target,
            body,
            whole,
        });
        let none = http::HeaderMap::new();
        let status = StatusCode::NOT_FOUND;
        let sending = reply.head(status, &none, BodyLength::None, &mut Vec::new());
        match sending.expect("a status that ends").over(&incoming) {
            Ok(again) if whole => waiting = again,
            _ => break,
        }
    }
    (passed, out)
}

/// Passes an answer on to a client. Answers what the client should see: status and body.
fn pass_answer(stream: &[u8], limits: &Limits) -> Option<(u16, Vec<u8>, Vec<u8>)> {
    let (_, mut answer) = ask("GET", false);
    let (mut at, mut head, mut out) = (0, Head::default(), Vec::new());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let Ok(Next::Request(request)) = Waiting::new().receive(request, limits, &mut head) else {
        panic!("the request is good");
    };
    let (mut reply, mut sending, mut body) = (Some(request.reply), None, Vec::new());
    let mut status = 0;
    loop {
        let input = &stream[at..];
        let step = answer.receive(input, limits, &mut head).ok()?;
        at += step.consumed;
        match (step.event, &mut sending) {
            (Event::Interim, _) => {}
            (Event::Answer(length), _) => {
                status = head.status();
                let code = StatusCode::from_u16(status).expect("100 to 999");
                let mut headers = Headers::new();
                headers.take_over(&mut head, BytesMut::from(&input[..step.consumed]));
                headers.remove_known(|known| matches!(known, Known::Upgrade | Known::Te));
                let sent = reply.take()?.head(code, &headers, length, &mut out);
                sending = Some(sent.expect("what was read can be written"));
            }
            (Event::Data(range), Some(sending)) => {
                let data = &input[range];
                body.extend_from_slice(data);
                sending.data(data, &mut out).expect("as long as it says");
            }
            (Event::Trailers, Some(sending)) => {
                let ended = sending.end_with_fields(head.fields(input), &mut out);
                ended.expect("trailers behind chunks");
            }
            (Event::End, Some(sending)) => {
                sending.end(None, &mut out).expect("as long as it says");
                return Some((status, body, out));
            }
            (Event::More, Some(sending)) => {
                answer.closed(&stream[at..], limits).ok()?;
                sending.end(None, &mut out).expect("until it closes");
                return Some((status, body, out));
            }
            _ => return None,
        }
    }
}

pub(super) fn check_connection(requests: &[u8], answer: &[u8]) {
    let limits = SMALL;
    let (passed, wire) = pass_requests(requests, &limits);
    let (seen, _) = server::see(&wire, [], &Limits::default());
    let mut read = Vec::<Passed>::new();
    for seen in seen {
        match (seen, read.last_mut()) {
            (Seen::Request { method, target, .. }, _) => read.push(Passed {
                method,
                target,
                body: Vec::new(),
                whole: false,
            }),
            (Seen::Data(data), Some(last)) => last.body = data,
            (Seen::Over, Some(last)) => last.whole = true,
            (Seen::Refused(error), _) => panic!("the origin refuses what is passed on: {error}"),
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(&wire);
    assert_eq!(read, passed, "{text:?}");

    let Some((status, body, wire)) = pass_answer(answer, &limits) else {
        return;
    };
    let seen = client::see(ask("GET", false), &wire, [], &Limits::default());
    let text = String::from_utf8_lossy(&wire);
    let Some(client::Seen::Answer(read, ..)) = seen.first() else {
        panic!("{text:?}: {seen:?}");
    };
    let data = seen.iter().find_map(|seen| match seen {
        client::Seen::Data(data) => Some(&data[..]),
        _ => None,
    });
    assert_eq!(
        (*read, data.unwrap_or_default()),
        (status, &body[..]),
        "{text:?}"
    );
    let ends = matches!(seen.last(), Some(client::Seen::End(None, rest)) if rest.is_empty());
    assert!(ends, "{text:?}: {seen:?}");
}
