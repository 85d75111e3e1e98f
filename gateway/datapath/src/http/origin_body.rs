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
use super::duplex::{Duplex, is_trailers};
use super::exclusive::Turn;
use super::multiplexed::Stream;

/// What an origin sends, and what it holds of its connection until it is over.
pub(super) enum OriginBody {
    /// `None` once it is over.
    Exclusive(Option<Turn>),
    /// `None` once nobody wants it.
    Duplex(Option<Duplex>),
    Shared(Incoming, Option<Rc<Stream>>),
}

impl OriginBody {
    /// The body of an answer over HTTP/1.1; its connection goes back to the pool once it is over.
    pub(super) fn exclusive(mut turn: Turn) -> Self {
        if turn.is_over() {
            turn.give_back();
            return Self::Exclusive(None);
        }
        if turn.is_sent() {
            return Self::Exclusive(Some(turn));
        }
        Self::Duplex(Some(Duplex::start(turn)))
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
            Self::Duplex(Some(duplex)) => duplex.poll_frame(cx),
            Self::Duplex(None) => Poll::Ready(None),
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
            Self::Duplex(duplex) => drop(duplex.take()),
            Self::Shared(_, stream) => drop(stream.take()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Exclusive(turn) => turn.as_ref().is_none_or(Turn::is_over),
            Self::Duplex(duplex) => duplex.as_ref().is_none_or(Duplex::is_over),
            Self::Shared(incoming, _) => incoming.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Exclusive(Some(turn)) => turn.size_hint(),
            Self::Duplex(Some(duplex)) => duplex.size_hint(),
            Self::Exclusive(None) | Self::Duplex(None) => SizeHint::with_exact(0),
            Self::Shared(incoming, _) => incoming.size_hint(),
        }
    }
}
