//! An answer that begins before its request is sent.
//!
//! Whoever takes the answer may stop taking it while the client still sends, and the other way round.
//! So a task moves both, and hands the answer over piece by piece. It is the exception: other answers
//! are read by those who take them ([`exclusive`](super::exclusive)).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connect::AnswerError;
use super::exclusive::Turn;

type Piece = Option<Result<Frame<Bytes>, AnswerError>>;

/// The end at which an answer is taken.
pub(super) struct Duplex {
    place: Rc<Place>,
    /// What is known to come.
    left: Option<u64>,
    over: bool,
}

/// Where pieces of an answer wait to be taken: one, or one and a failure.
#[derive(Default)]
struct Place {
    pieces: RefCell<VecDeque<Piece>>,
    taker: Cell<Option<Waker>>,
    mover: Cell<Option<Waker>>,
    /// Nobody will take more.
    given_up: Cell<bool>,
}

impl Place {
    fn put(&self, piece: Piece) {
        self.pieces.borrow_mut().push_back(piece);
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    /// Moves what can be moved. Ready when there is no more to do.
    fn poll_move(&self, held: &mut Option<Turn>, cx: &mut Context<'_>) -> Poll<()> {
        self.mover.set(Some(cx.waker().clone()));
        while let Some(turn) = held {
            if self.given_up.get() {
                break;
            }
            if !self.pieces.borrow().is_empty() {
                if let Err(error) = turn.move_request(cx) {
                    self.put(Some(Err(error)));
                    break;
                }
                return Poll::Pending;
            }
            let Poll::Ready(piece) = turn.poll_frame(cx) else {
                return Poll::Pending;
            };
            let is_broken = matches!(&piece, Some(Err(_)));
            let is_last = piece.as_ref().is_none_or(is_trailers) || turn.is_over();
            self.put(piece);
            if is_broken {
                break;
            }
            if is_last && let Some(turn) = held.take() {
                turn.give_back();
            }
        }
        *held = None;
        Poll::Ready(())
    }
}

impl Duplex {
    pub(super) fn start(turn: Turn) -> Self {
        let place = Rc::<Place>::default();
        let left = turn.size_hint().exact();
        let (mover, mut held) = (place.clone(), Some(turn));
        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            mover.poll_move(&mut held, cx)
        }));
        Self {
            place,
            left,
            over: false,
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        if self.over {
            return Poll::Ready(None);
        }
        let Some(piece) = self.place.pieces.borrow_mut().pop_front() else {
            self.place.taker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        };
        if let Some(mover) = self.place.mover.take() {
            mover.wake();
        }
        if let (Some(left), Some(Ok(frame))) = (&mut self.left, &piece) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        self.over = piece
            .as_ref()
            .is_none_or(|piece| piece.is_err() || is_trailers(piece));
        Poll::Ready(piece)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over || self.left == Some(0)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.place.given_up.set(true);
        if let Some(mover) = self.place.mover.take() {
            mover.wake();
        }
    }
}

/// Trailers are the last that comes.
pub(super) fn is_trailers<E>(frame: &Result<Frame<Bytes>, E>) -> bool {
    frame.as_ref().is_ok_and(Frame::is_trailers)
}
