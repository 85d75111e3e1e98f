//! A client's connection, read in pieces and answered: what was seen must not depend on the pieces.

#![allow(
    clippy::indexing_slicing,
    reason = "a check panics where a promise is broken"
)]

use super::{Pairs, SMALL, pairs};
use crate::body::{BodyError, Piece};
use crate::framing::BodyLength;
use crate::head::Head;
use crate::limits::Limits;
use crate::not_kept::NotKept;
use crate::server::{Next, Request, ServerError, Waiting};
use http::{HeaderMap, StatusCode, Version};

/// What came out of a stream, pieces of data put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Request {
        method: Vec<u8>,
        target: Vec<u8>,
        version: Version,
        length: BodyLength,
        fields: Pairs,
    },
    Data(Vec<u8>),
    Trailers(Pairs),
    /// The body is over.
    Over,
    BodyRefused(BodyError),
    Refused(ServerError),
    /// Why the connection does not serve again, and what is left.
    Ended(NotKept, Vec<u8>),
    /// The client closed where it may.
    Closed,
}

/// Gives `stream` up to each of `cuts` in turn, then all of it, and then its end. Each request is
/// answered with 200 and nothing; the answers come second.
pub(crate) fn see(
    stream: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> (Vec<Seen>, Vec<u8>) {
    let (mut seen, mut out, mut head) = (Vec::new(), Vec::new(), Head::default());
    let mut ends = cuts.into_iter().chain([stream.len()]);
    let mut end = ends.next().unwrap_or_default();
    let mut at = 0;
    let mut waiting = Waiting::new();
    loop {
        let input = &stream[at..end.max(at)];
        let refused = match waiting.receive(input, limits, &mut head) {
            Ok(Next::Request(request)) => Ok(request),
            Ok(Next::More(again)) => match ends.next() {
                Some(next) => {
                    (waiting, end) = (again, next);
                    continue;
                }
                None => match again.closed(&stream[at..], limits) {
                    Ok(()) => {
                        seen.push(Seen::Closed);
                        return (seen, out);
                    }
                    Err(refused) => Err(refused),
                },
            },
            Err(refused) => Err(refused),
        };
        let request = match refused {
            Ok(request) => request,
            Err(refused) => {
                seen.push(Seen::Refused(refused.error));
                let (status, none) = (refused.error.status(), HeaderMap::new());
                let length = BodyLength::Exactly(0);
                let sending = refused.reply.head(status, &none, length, &mut out);
                let sending = sending.expect("a status that ends");
                assert_eq!(sending.will_close(), Some(NotKept::Refused));
                return (seen, out);
            }
        };
        let Request {
            consumed,
            length,
            mut incoming,
            mut reply,
            ..
        } = request;
        assert!(consumed <= input.len());
        seen.push(Seen::Request {
            method: head.method(input).to_vec(),
            target: head.target(input).to_vec(),
            version: head.version(),
            length,
            fields: pairs(head.fields(input)),
        });
        at += consumed;
        reply.go_on(&mut out);
        loop {
            let input = &stream[at..end.max(at)];
            let decoded = match incoming.receive(input, limits, &mut head) {
                Ok(decoded) => decoded,
                Err(error) => {
                    seen.push(Seen::BodyRefused(error));
                    return (seen, out);
                }
            };
            assert!(decoded.consumed <= input.len());
            at += decoded.consumed;
            match decoded.piece {
                Piece::More => match ends.next() {
                    Some(next) => end = next,
                    None => {
                        if let Err(error) = incoming.closed() {
                            seen.push(Seen::BodyRefused(error));
                            return (seen, out);
                        }
                    }
                },
                Piece::Data(range) => match seen.last_mut() {
                    Some(Seen::Data(data)) => data.extend_from_slice(&input[range]),
                    _ => seen.push(Seen::Data(input[range].to_vec())),
                },
                Piece::Trailers => seen.push(Seen::Trailers(pairs(head.fields(input)))),
                Piece::End => break,
            }
        }
        seen.push(Seen::Over);
        let connects = head_is_connect(&seen);
        let length = BodyLength::Exactly(0);
        let sending = if connects {
            // Refused, as the gateway does: it is no tunnel.
            reply.head(
                StatusCode::METHOD_NOT_ALLOWED,
                &HeaderMap::new(),
                length,
                &mut out,
            )
        } else {
            reply.head(StatusCode::OK, &HeaderMap::new(), length, &mut out)
        };
        let sending = sending.expect("a status that ends");
        waiting = match sending.over(&incoming) {
            Ok(waiting) => waiting,
            Err(why) => {
                seen.push(Seen::Ended(why, stream[at..].to_vec()));
                return (seen, out);
            }
        };
    }
}

fn head_is_connect(seen: &[Seen]) -> bool {
    let last = seen.iter().rev().find_map(|seen| match seen {
        Seen::Request { method, .. } => Some(method),
        _ => None,
    });
    last.is_some_and(|method| method == b"CONNECT")
}

pub(super) fn check(mode: u8, stream: &[u8]) {
    let limits = if mode & 1 == 0 {
        Limits::default()
    } else {
        SMALL
    };
    let whole = see(stream, [], &limits);
    assert_eq!(whole, see(stream, 1..stream.len(), &limits), "byte by byte");
    let half = see(stream, [stream.len() / 2], &limits);
    assert_eq!(whole, half, "in halves");
}
