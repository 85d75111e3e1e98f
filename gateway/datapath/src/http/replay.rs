//! The beginning of a request's body, kept for a second attempt until the origin answers.
//!
//! Owns what is kept, and which attempt gets what comes. Which request goes out once more is
//! [`repeat`](super::repeat)'s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::body::BodyError;
use super::client_body::ClientBody;
use crate::limits::REPLAYED_BYTES_MAX;

/// A body whose beginning is kept until the origin answers.
struct Replay {
    incoming: RefCell<Option<ClientBody>>,
    kept: RefCell<Kept>,
    /// More went out than is kept.
    spoiled: Cell<bool>,
    /// The attempt that gets what comes; the others are over.
    turn: Cell<usize>,
    /// Attempts that there are.
    turns: Cell<usize>,
    hint: SizeHint,
}

/// What went out: copies, because a piece may be a small part of a large buffer, which it would keep.
#[derive(Default)]
struct Kept {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Kept {
    /// Keeps a piece, if there is room for it.
    fn put(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        let piece = frame.data_ref().map_or(&[][..], Bytes::as_ref);
        let length = self.data.len() + piece.len();
        if length > REPLAYED_BYTES_MAX {
            return false;
        }
        if length > self.data.capacity() {
            // Never room for more than is kept.
            let room = (2 * self.data.capacity()).clamp(length, REPLAYED_BYTES_MAX);
            self.data.reserve_exact(room - self.data.len());
        }
        self.data.extend_from_slice(piece);
        true
    }
}

/// How much of what is kept an attempt has had.
#[derive(Clone, Copy, Default)]
struct Had {
    bytes: usize,
    trailers: bool,
}

impl Replay {
    fn spoil(&self) {
        self.spoiled.set(true);
        self.kept.take();
    }

    /// Keeps what is about to go out, as long as there is room for it.
    fn keep(&self, frame: &Frame<Bytes>) {
        if self.spoiled.get() || !self.kept.borrow_mut().put(frame) {
            self.spoil();
        }
    }

    /// All of what is kept.
    fn all(&self) -> Had {
        let kept = self.kept.borrow();
        Had {
            bytes: kept.data.len(),
            trailers: kept.trailers.is_some(),
        }
    }

    /// What is kept behind that.
    fn behind(&self, had: &mut Had) -> Option<Frame<Bytes>> {
        let kept = self.kept.borrow();
        let rest = kept.data.get(had.bytes..).unwrap_or_default();
        if !rest.is_empty() {
            had.bytes = kept.data.len();
            return Some(Frame::data(Bytes::copy_from_slice(rest)));
        }
        let trailers = kept.trailers.as_ref().filter(|_| !had.trailers)?;
        had.trailers = true;
        Some(Frame::trailers(trailers.clone()))
    }
}

/// One attempt to send a body that is kept.
pub(super) struct Attempt {
    replay: Rc<Replay>,
    turn: usize,
    had: Had,
}

impl Attempt {
    /// The first one. From now on what goes out is kept.
    pub(super) fn first(incoming: Option<ClientBody>) -> Self {
        let hint = incoming
            .as_ref()
            .map(ClientBody::size_hint)
            .unwrap_or_default();
        let replay = Rc::new(Replay {
            incoming: RefCell::new(incoming),
            kept: RefCell::default(),
            spoiled: Cell::new(false),
            turn: Cell::new(0),
            turns: Cell::new(1),
            hint,
        });
        Self {
            replay,
            turn: 0,
            had: Had::default(),
        }
    }

    /// A further one.
    pub(super) fn next(&self) -> Self {
        let turn = self.replay.turns.get();
        self.replay.turns.set(turn + 1);
        Self {
            replay: self.replay.clone(),
            turn,
            had: Had::default(),
        }
    }

    /// Whether it would send what the one before did.
    pub(super) fn is_whole(&self) -> bool {
        !self.replay.spoiled.get()
    }

    /// The one before is over: this one gets everything.
    pub(super) fn take_over(&self) {
        self.replay.turn.set(self.turn);
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let replay = &*self.replay;
        if replay.turn.get() != self.turn {
            // The connection under it is gone: nothing more, and no end either, which would make a
            // whole request of a part.
            return Poll::Pending;
        }
        if let Some(frame) = replay.behind(&mut self.had) {
            return Poll::Ready(Some(Ok(frame)));
        }
        let mut body = replay.incoming.borrow_mut();
        let frame = match &mut *body {
            None => return Poll::Ready(None),
            Some(body) => ready!(body.poll(cx)),
        };
        match &frame {
            None => *body = None,
            Some(Ok(frame)) => {
                replay.keep(frame);
                self.had = replay.all();
            }
            Some(Err(_)) => replay.spoil(),
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let (all, had) = (self.replay.all(), self.had);
        let has_all = had.bytes >= all.bytes && (had.trailers || !all.trailers);
        let incoming = self.replay.incoming.borrow();
        has_all && incoming.as_ref().is_none_or(ClientBody::is_over)
    }

    /// Asked for before the first piece.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.replay.hint
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // An answer has come, or this attempt was given up: nothing is kept for another one.
        if self.turn > self.replay.turn.get() {
            self.replay.spoil();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_holds_no_buffer_that_it_came_in() {
        let attempt = Attempt::first(None);
        let mut buffers = Vec::new();
        for _ in 0..REPLAYED_BYTES_MAX {
            let buffer = Bytes::from(vec![7; 1_024]);
            attempt.replay.keep(&Frame::data(buffer.slice(..1)));
            buffers.push(buffer);
        }
        assert!(buffers.iter().all(Bytes::is_unique));
        let room = attempt.replay.kept.borrow().data.capacity();
        assert_eq!(room, REPLAYED_BYTES_MAX, "and no more than it counts");
        assert!(attempt.is_whole());
        attempt.replay.keep(&Frame::data(Bytes::from_static(b"x")));
        assert!(!attempt.is_whole());
        assert_eq!(attempt.replay.kept.borrow().data.capacity(), 0);
    }

    #[test]
    fn a_second_attempt_gets_what_the_first_one_had() {
        let first = Attempt::first(None);
        let mut second = first.next();
        for piece in [&b"what "[..], b"", b"went out"] {
            first.replay.keep(&Frame::data(Bytes::from_static(piece)));
        }
        first.replay.keep(&Frame::trailers(HeaderMap::new()));
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(second.poll(cx).is_pending(), "the first one is not over");
        second.take_over();
        let mut next = || second.poll(cx).map(|frame| frame.map(Result::unwrap));
        let Poll::Ready(Some(data)) = next() else {
            panic!("no data");
        };
        assert_eq!(data.into_data().unwrap(), "what went out");
        assert!(matches!(next(), Poll::Ready(Some(frame)) if frame.is_trailers()));
        assert!(matches!(next(), Poll::Ready(None)));
        assert!(second.is_end_stream());
    }
}
