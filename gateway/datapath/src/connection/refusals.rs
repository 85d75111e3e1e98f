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
use crate::http::hpack::{self, Fault};
use crate::limits::{H2_BYTES_KEPT, H2_UNACCEPTED_MAX};

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
    /// The bytes that h2 was given the last time, if they are few.
    bytes: RefCell<Vec<u8>>,
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
    /// h2 is given bytes, and whether they begin with a frame.
    pub(super) fn reads(&self, bytes: &[u8], is_begin: bool) {
        let frame = self.frame.get();
        let given = if is_begin { Given::Harmless } else { frame };
        self.given.set(given);
        let mut kept = self.bytes.borrow_mut();
        kept.clear();
        if is_begin && bytes.len() <= H2_BYTES_KEPT {
            kept.extend_from_slice(bytes);
        }
    }

    /// Whether the one head among what h2 was given cannot be decompressed.
    fn is_undecipherable(&self) -> bool {
        let kept = self.bytes.borrow();
        let (mut rest, mut block) = (kept.as_slice(), Vec::new());
        while let Some((head, behind)) = rest.split_first_chunk::<9>() {
            let [a, b, c, kind, flags, ..] = *head;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            let Some((payload, behind)) = behind.split_at_checked(length) else {
                return false;
            };
            rest = behind;
            match kind {
                // Which of two it is cannot be told.
                1 if !block.is_empty() => return false,
                // A priority comes first (RFC 9113 §6.2).
                1 if flags & 0x20 != 0 => {
                    block.extend_from_slice(payload.get(5..).unwrap_or_default());
                }
                1 | 9 => block.extend_from_slice(payload),
                _ => {}
            }
        }
        !block.is_empty() && hpack::fault(&block) == Fault::Compression
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
        let is_theirs = self.given.get() == Given::Heads && self.is_undecipherable();
        if !is_theirs || !outgoing.is_between() {
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

    /// What h2 is given at once, and whether its PROTOCOL_ERROR becomes another.
    fn is_corrected(given: &[(u8, u8, u32, &[u8])], said: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in given {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            bytes.extend_from_slice(&[length[1], length[2], length[3], *kind, *flags]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(payload);
        }
        let refusals = Refusals::default();
        refusals.reads(&bytes, true);
        Scanner::of_server().scan(&bytes, |frame| refusals.received(frame));
        refusals.corrected(said, &Scanner::of_server())
    }

    #[test]
    fn compression_is_blamed_for_nothing_else() {
        const BAD: &[u8] = b"\x82\xbe";
        for (what, given, expected) in [
            ("a head", &[(1, 4, 1, BAD)][..], true),
            (
                "with a priority",
                &[(1, 0x24, 1, b"\0\0\0\0\x10\x82\xbe")],
                true,
            ),
            (
                "behind settings",
                &[(4, 0, 0, &[0; 12]), (1, 5, 1, BAD)],
                true,
            ),
            ("behind a ping", &[(6, 0, 0, &[0; 8]), (1, 5, 1, BAD)], true),
            ("in two", &[(1, 0, 1, b"\x82"), (9, 4, 1, b"\xbe")], true),
            ("a good head", &[(1, 4, 1, b"\x82")], false),
            ("capitals", &[(1, 4, 1, b"\x00\x01A\x01a")], false),
            ("two heads", &[(1, 4, 1, BAD), (1, 4, 3, BAD)], false),
            ("nothing", &[], false),
            ("settings", &[(4, 0, 0, &[0; 6])], false),
            ("an even stream", &[(1, 4, 2, BAD)], false),
            ("no stream", &[(1, 4, 0, BAD)], false),
            ("padding", &[(1, 12, 1, BAD)], false),
            ("another's end", &[(1, 0, 1, BAD), (9, 4, 3, BAD)], false),
            ("an end without a begin", &[(9, 4, 1, BAD)], false),
            ("data", &[(1, 4, 1, BAD), (0, 0, 3, b"a")], false),
            ("a window", &[(1, 4, 1, BAD), (8, 0, 1, &[0; 4])], false),
        ] {
            let corrected = is_corrected(given, &GOAWAY);
            assert_eq!(corrected.is_some(), expected, "{what}");
            assert!(corrected.is_none_or(|bytes| bytes[16] == 9), "{what}");
        }
    }

    #[test]
    fn what_only_looks_like_a_goaway_is_left_alone() {
        let given = &[(1, 4, 1, &b"\x82\xbe"[..])];
        let mut data = vec![0, 0, 17, 0, 0, 0, 0, 0, 1];
        data.extend_from_slice(&GOAWAY);
        assert_eq!(is_corrected(given, &data), None);
        let mut ack = vec![0, 0, 0, 4, 1, 0, 0, 0, 0];
        ack.extend_from_slice(&GOAWAY);
        assert!(is_corrected(given, &ack).is_some());
        let mut calm = GOAWAY;
        calm[16] = 11;
        assert_eq!(is_corrected(given, &calm), None);
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
