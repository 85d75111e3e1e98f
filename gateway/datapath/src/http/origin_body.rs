//! The body of an origin's answer, and what it holds of its connection.
//!
//! Owns when the connection, or the stream, is free for the next request. Account and patience are
//! [`body`](super::body)'s.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::connect::AnswerError;
use super::exclusive::Turn;
use super::multiplexed::Stream;

/// What an origin sends, and what it holds of its connection until it is over.
pub(super) enum OriginBody {
    /// `None` once it is over.
    Exclusive(Option<Turn>),
    Shared(Incoming, Option<Rc<Stream>>),
}

impl OriginBody {
    /// The body of an answer over HTTP/1.1; its connection goes back to the pool once it is over.
    pub(super) fn exclusive(turn: Turn) -> Self {
        if turn.is_over() {
            turn.give_back();
            return Self::Exclusive(None);
        }
        Self::Exclusive(Some(turn))
    }

    /// The body of an answer over HTTP/2; its stream is taken until it is over.
    pub(super) fn shared(incoming: Incoming, stream: Rc<Stream>) -> Self {
        let stream = (!incoming.is_end_stream()).then_some(stream);
        Self::Shared(incoming, stream)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self {
            Self::Exclusive(place) => {
                let Some(turn) = place else {
                    return Poll::Ready(None);
                };
                let frame = ready!(turn.poll_frame(cx));
                // A broken connection is not given back.
                let is_broken = matches!(&frame, Some(Err(_)));
                let is_last = frame.as_ref().is_none_or(is_trailers) || turn.is_over();
                match place.take_if(|_| is_broken || is_last) {
                    Some(turn) if !is_broken => turn.give_back(),
                    _ => {}
                }
                Poll::Ready(frame)
            }
            Self::Shared(incoming, stream) => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                let is_last = frame.as_ref().is_none_or(is_trailers) || incoming.is_end_stream();
                if is_last || matches!(&frame, Some(Err(_))) {
                    drop(stream.take());
                }
                Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::Hyper)))
            }
        }
    }

    /// Nothing more is expected of it.
    pub(super) fn give_up(&mut self) {
        match self {
            Self::Exclusive(turn) => drop(turn.take()),
            Self::Shared(_, stream) => drop(stream.take()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Exclusive(turn) => turn.as_ref().is_none_or(Turn::is_over),
            Self::Shared(incoming, _) => incoming.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Exclusive(Some(turn)) => turn.size_hint(),
            Self::Exclusive(None) => SizeHint::with_exact(0),
            Self::Shared(incoming, _) => incoming.size_hint(),
        }
    }
}

/// Trailers are the last that comes.
fn is_trailers<E>(frame: &Result<Frame<Bytes>, E>) -> bool {
    frame.as_ref().is_ok_and(Frame::is_trailers)
}
