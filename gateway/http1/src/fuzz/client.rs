//! An answer, read in pieces: what was seen must not depend on the pieces.

#![allow(
    clippy::indexing_slicing,
    reason = "a check panics where a promise is broken"
)]

use super::{Pairs, SMALL, check_rewritten, pairs};
use crate::client::{Answer, Asked, ClientError, Event, Idle, Upload};
use crate::framing::BodyLength;
use crate::head::Head;
use crate::limits::Limits;
use crate::not_kept::NotKept;
use http::{HeaderMap, HeaderValue};

/// What came out of a stream, pieces of data put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Interim(u16, Pairs),
    Answer(u16, BodyLength, Pairs),
    Switched(u16, Pairs),
    Data(Vec<u8>),
    Trailers(Pairs),
    /// Whether the connection may serve again, and what is left.
    End(Option<NotKept>, Vec<u8>),
    Error(ClientError),
}

/// The halves of a request that has no body.
pub(crate) fn ask(method: &str, upgrades: bool) -> (Upload, Answer) {
    let mut headers = HeaderMap::new();
    if upgrades {
        headers.insert("upgrade", HeaderValue::from_static("x"));
    }
    let asked = Asked::new(method, "/");
    let halves = Idle::new().ask(asked, &headers, BodyLength::None, &mut Vec::new());
    halves.expect("the request can be written")
}

/// Gives `stream` up to each of `cuts` in turn, then all of it, and then its end.
pub(crate) fn see(
    (upload, mut answer): (Upload, Answer),
    stream: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut head = Head::default();
    let mut at = 0;
    for cut in cuts.into_iter().chain([stream.len()]) {
        while at <= cut {
            let input = &stream[at..cut];
            let step = match answer.receive(input, limits, &mut head) {
                Ok(step) => step,
                Err(error) => {
                    seen.push(Seen::Error(error));
                    return seen;
                }
            };
            assert!(step.consumed <= input.len());
            let fields = || pairs(head.fields(input));
            match step.event {
                Event::More => {
                    at += step.consumed;
                    break;
                }
                Event::Interim => {
                    check_rewritten(input, &head);
                    seen.push(Seen::Interim(head.status(), fields()));
                }
                Event::Answer(length) => {
                    check_rewritten(input, &head);
                    seen.push(Seen::Answer(head.status(), length, fields()));
                }
                Event::Switched => seen.push(Seen::Switched(head.status(), fields())),
                Event::Data(range) => {
                    assert!(!range.is_empty() && range.end <= step.consumed);
                    match seen.last_mut() {
                        Some(Seen::Data(data)) => data.extend_from_slice(&input[range]),
                        _ => seen.push(Seen::Data(input[range].to_vec())),
                    }
                }
                Event::Trailers => seen.push(Seen::Trailers(fields())),
                Event::End => {
                    let rest = &stream[at + step.consumed..];
                    let kept = answer.over(&upload, rest);
                    seen.push(Seen::End(kept.err(), rest.to_vec()));
                    return seen;
                }
            }
            at += step.consumed;
        }
    }
    let rest = &stream[at..];
    seen.push(match answer.closed(rest, limits) {
        Ok(()) => Seen::End(answer.over(&upload, rest).err(), rest.to_vec()),
        Err(error) => Seen::Error(error),
    });
    seen
}

pub(super) fn check(mode: u8, stream: &[u8]) {
    let method = ["GET", "HEAD", "CONNECT", "POST"][usize::from(mode & 3)];
    let upgrades = mode & 4 != 0;
    let limits = if mode & 8 == 0 {
        Limits::default()
    } else {
        SMALL
    };
    let whole = see(ask(method, upgrades), stream, [], &limits);
    let bytes = see(ask(method, upgrades), stream, 1..stream.len(), &limits);
    assert_eq!(whole, bytes, "byte by byte");
    let half = see(ask(method, upgrades), stream, [stream.len() / 2], &limits);
    assert_eq!(whole, half, "in halves");
}
