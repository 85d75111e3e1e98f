//! What h2 refuses by itself, without asking anybody: heads that are none, and streams beyond those
//! that may be open.
//!
//! Owns which streams a client has begun that h2 has neither handed over nor answered, so that each of
//! them gets its line in the log, and the code by which a broken header compression is told from
//! other faults (RFC 9113 §4.3), which h2 does not. Sees frames, not what they carry.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use http::StatusCode;

use super::Connection;
use super::record::record_bad_head;
use crate::http::frames::{Frame, Kind, Scanner};
use crate::limits::H2_UNACCEPTED_MAX;

/// What is known of the streams that h2 may refuse on one connection.
#[derive(Default)]
pub(super) struct Refusals {
    /// Streams that were begun and of which nothing came of yet, in their order.
    begun: RefCell<VecDeque<u32>>,
    /// What h2 said to those that it did not hand over.
    refused: RefCell<Vec<StatusCode>>,
    /// The last stream that was begun.
    last: Cell<u32>,
    /// The stream whose head goes on in the next frame.
    unfinished: Cell<Option<u32>>,
    /// What h2 works on, since it was given bytes the last time.
    given: Cell<Given>,
    /// The frame that came last.
    frame: Cell<Given>,
}

/// What can be wrong with frames, seen from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Given {
    /// Nothing, or nothing that ends a connection.
    #[default]
    Harmless,
    /// Heads that begin as they should: only what is compressed in them may be wrong.
    Heads,
    /// Anything.
    Other,
}

impl Given {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Other, _) | (_, Self::Other) => Self::Other,
            (Self::Heads, _) | (_, Self::Heads) => Self::Heads,
            _ => Self::Harmless,
        }
    }
}

impl Refusals {
    /// h2 is given bytes; whether those of the last frame go on.
    pub(super) fn reads(&self, goes_on: bool) {
        let frame = self.frame.get();
        self.given
            .set(if goes_on { frame } else { Given::Harmless });
    }

    /// The client sent a frame.
    pub(super) fn received(&self, frame: Frame) {
        let is_next = frame.stream % 2 == 1 && frame.stream > self.last.get();
        let kind = match (frame.kind, self.unfinished.get()) {
            (Kind::Headers, None) if is_next && frame.is_padded() => Given::Other,
            (Kind::Headers, None) if is_next => Given::Heads,
            (Kind::Continuation, Some(stream)) if stream == frame.stream => Given::Heads,
            (Kind::Settings, None) if frame.stream == 0 && frame.content.is_multiple_of(6) => {
                Given::Harmless
            }
            (Kind::Ping, None) if frame.stream == 0 && frame.content == 8 => Given::Harmless,
            _ => Given::Other,
        };
        self.frame.set(kind);
        self.given.set(self.given.get().and(kind));
        if matches!(frame.kind, Kind::Headers | Kind::Continuation) {
            let goes_on = !frame.ends_head();
            self.unfinished.set(goes_on.then_some(frame.stream));
        }
        if frame.kind == Kind::Headers && is_next {
            self.last.set(frame.stream);
            let mut begun = self.begun.borrow_mut();
            if begun.len() >= H2_UNACCEPTED_MAX {
                begun.pop_front();
            }
            begun.push_back(frame.stream);
        }
    }

    /// h2 hands a stream over.
    pub(super) fn accepted(&self, stream: u32) {
        self.forget(stream);
    }

    /// The client was sent a frame.
    pub(super) fn sent(&self, frame: Frame) {
        let status = match frame.kind {
            // The only answer that h2 gives by itself.
            Kind::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Kind::Reset => StatusCode::BAD_REQUEST,
            _ => return,
        };
        if self.forget(frame.stream) {
            self.refused.borrow_mut().push(status);
        }
    }

    fn forget(&self, stream: u32) -> bool {
        let mut begun = self.begun.borrow_mut();
        let place = begun.iter().position(|known| *known == stream);
        place.and_then(|place| begun.remove(place)).is_some()
    }

    /// What to write in the place of `from`, when h2 says PROTOCOL_ERROR of what can only be a fault of
    /// the compression.
    pub(super) fn corrected(&self, from: &[u8], outgoing: &Scanner) -> Option<Vec<u8>> {
        const HEAD: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
        const FRAME: usize = HEAD.len() + 8;
        const PROTOCOL: [u8; 4] = 1_u32.to_be_bytes();
        const COMPRESSION: [u8; 4] = 9_u32.to_be_bytes();
        let (before, goaway) = from.split_at(from.len().checked_sub(FRAME)?);
        if !goaway.starts_with(&HEAD) || !goaway.ends_with(&PROTOCOL) {
            return None;
        }
        let mut outgoing = outgoing.clone();
        outgoing.scan(before, |_| {});
        if self.given.get() != Given::Heads || !outgoing.is_between() {
            return None;
        }
        let mut corrected = from.to_vec();
        corrected.truncate(from.len() - COMPRESSION.len());
        corrected.extend_from_slice(&COMPRESSION);
        Some(corrected)
    }
}

/// Writes down what h2 has refused since this was last called.
pub(super) fn record(connection: &Connection) {
    let Some(watch) = connection.watch.get() else {
        return;
    };
    let refused = std::mem::take(&mut *watch.refusals.refused.borrow_mut());
    for status in refused {
        let id = connection.local.request_ids.next();
        let detail = if status == StatusCode::BAD_REQUEST {
            "the stream was reset: its head is malformed, or there are too many streams"
        } else {
            "the head of the request is far too large"
        };
        record_bad_head(connection, id, status, ("", ""), detail);
    }
}

/// Writes down that h2 ended a connection for what its client sent.
pub(super) fn record_end(connection: &Connection, error: &h2::Error) {
    let id = connection.local.request_ids.next();
    let detail = format!("the connection was ended: {error}");
    record_bad_head(connection, id, StatusCode::BAD_REQUEST, ("", ""), &detail);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, flags: u8, stream: u32, content: u32) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            content,
        }
    }

    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn compression_is_blamed_for_nothing_else() {
        use Kind::{Continuation, Data, Headers, Other, Ping, Settings};
        for (what, frames, expected) in [
            ("a head", &[(Headers, 4, 1, 3)][..], true),
            (
                "behind settings",
                &[(Settings, 0, 0, 12), (Headers, 5, 1, 3)],
                true,
            ),
            (
                "in two",
                &[(Headers, 0, 1, 3), (Continuation, 4, 1, 3)],
                true,
            ),
            ("two heads", &[(Headers, 4, 1, 3), (Headers, 4, 3, 3)], true),
            ("nothing", &[], false),
            ("settings", &[(Settings, 0, 0, 6)], false),
            ("a ping", &[(Ping, 0, 0, 8)], false),
            ("an even stream", &[(Headers, 4, 2, 3)], false),
            (
                "an old stream",
                &[(Headers, 4, 3, 3), (Headers, 4, 1, 3)],
                false,
            ),
            ("no stream", &[(Headers, 4, 0, 3)], false),
            ("padding", &[(Headers, 12, 1, 3)], false),
            (
                "a head in between",
                &[(Headers, 0, 1, 3), (Headers, 4, 3, 3)],
                false,
            ),
            (
                "another's end",
                &[(Headers, 0, 1, 3), (Continuation, 4, 3, 3)],
                false,
            ),
            ("an end without a begin", &[(Continuation, 4, 1, 3)], false),
            ("data", &[(Headers, 4, 1, 3), (Data, 0, 3, 1)], false),
            ("a window", &[(Headers, 4, 1, 3), (Other, 0, 1, 4)], false),
        ] {
            let refusals = Refusals::default();
            refusals.reads(false);
            for (kind, flags, stream, content) in frames {
                refusals.received(frame(*kind, *flags, *stream, *content));
            }
            let corrected = refusals.corrected(&GOAWAY, &Scanner::of_server());
            assert_eq!(corrected.is_some(), expected, "{what}");
            assert!(corrected.is_none_or(|bytes| bytes[16] == 9), "{what}");
        }
    }

    #[test]
    fn what_only_looks_like_a_goaway_is_left_alone() {
        let refusals = Refusals::default();
        refusals.received(frame(Kind::Headers, 4, 1, 3));
        let mut data = vec![0, 0, 17, 0, 0, 0, 0, 0, 1];
        data.extend_from_slice(&GOAWAY);
        assert_eq!(refusals.corrected(&data, &Scanner::of_server()), None);
        let mut ack = vec![0, 0, 0, 4, 1, 0, 0, 0, 0];
        ack.extend_from_slice(&GOAWAY);
        assert!(refusals.corrected(&ack, &Scanner::of_server()).is_some());
        let mut calm = GOAWAY;
        calm[16] = 11;
        assert_eq!(refusals.corrected(&calm, &Scanner::of_server()), None);
        // Of what was read before, h2 has found nothing wrong.
        refusals.reads(false);
        assert_eq!(refusals.corrected(&GOAWAY, &Scanner::of_server()), None);
    }

    #[test]
    fn a_stream_is_written_down_once_and_only_if_it_was_not_handed_over() {
        let refusals = Refusals::default();
        for stream in [1, 3, 5, 7] {
            refusals.received(frame(Kind::Headers, 5, stream, 3));
        }
        refusals.accepted(1);
        refusals.accepted(5);
        for (kind, stream) in [
            (Kind::Headers, 1),
            (Kind::Reset, 1),
            (Kind::Reset, 3),
            (Kind::Reset, 3),
            (Kind::Headers, 7),
            (Kind::Reset, 7),
            (Kind::Reset, 5),
        ] {
            refusals.sent(frame(kind, 4, stream, 4));
        }
        let refused = refusals.refused.take();
        assert_eq!(refused, [400, 431]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let refusals = Refusals::default();
        for stream in 0..10_000 {
            refusals.received(frame(Kind::Headers, 5, 2 * stream + 1, 3));
        }
        assert_eq!(refusals.begun.borrow().len(), H2_UNACCEPTED_MAX);
    }
}
