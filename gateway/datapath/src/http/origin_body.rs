//! The body of an origin's answer, and what it holds of its connection.
//!
//! Owns when the connection, or the stream, is free for the next request. Account and patience are
//! [`body`](super::body)'s.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connect::AnswerError;
use super::duplex::{Duplex, is_trailers};
use super::exclusive::Turn;
use super::incoming::Http2Body;
use super::multiplexed::Stream;

/// What an origin sends, and what it holds of its connection until it is over.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each answer, and the large one is the usual one"
)]
pub(super) enum OriginBody {
    /// `None` once it is over, and its request sent.
    Exclusive(Option<Turn>),
    /// `None` once nobody wants it.
    Duplex(Option<Duplex>),
    /// `None` once it is over. The stream counts until then.
    Shared(Option<(Http2Body, Rc<Stream>)>),
}

impl OriginBody {
    /// The body of an answer over HTTP/1.1; its connection goes back to the pool once it is over.
    pub(super) fn exclusive(mut turn: Turn) -> Self {
        if turn.is_over() && turn.is_sent() {
            turn.give_back();
            return Self::Exclusive(None);
        }
        Self::Exclusive(Some(turn))
    }

    /// A task moves the request from now on, if it is not sent.
    pub(super) fn moves_by_itself(&mut self) {
        let Self::Exclusive(place) = self else { return };
        match place.take_if(|turn| !turn.is_sent()) {
            Some(turn) if turn.is_over() => turn.give_back(),
            Some(turn) => *self = Self::Duplex(Some(Duplex::start(turn))),
            None => {}
        }
    }

    /// Sends what there is of the request.
    pub(super) fn move_request(&mut self, cx: &mut Context<'_>) {
        if let Self::Exclusive(Some(turn)) = self {
            // Why it broke off is noted by its exchange; the answer goes on as far as the origin
            // sends it.
            let _told = turn.move_request(cx);
        }
    }

    /// Sends the rest of the request, now that the answer is over.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Exclusive(place) = self else {
            return Poll::Ready(());
        };
        let Some(turn) = place else {
            return Poll::Ready(());
        };
        let may_serve = turn.is_over() && turn.may_serve_again();
        if may_serve && !ready!(turn.poll_remainder(cx)) {
            drop(place.take());
        }
        if let Some(turn) = place.take() {
            turn.give_back();
        }
        Poll::Ready(())
    }

    /// The body of an answer over HTTP/2; its stream is taken until it is over.
    pub(super) fn shared(body: Option<Http2Body>, stream: Rc<Stream>) -> Self {
        Self::Shared(body.map(|body| (body, stream)))
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
                // One whose request is not sent stays, for `poll_request`.
                match place.take_if(|turn| is_broken || is_last && turn.is_sent()) {
                    Some(turn) if !is_broken => turn.give_back(),
                    _ => {}
                }
                Poll::Ready(frame)
            }
            Self::Duplex(Some(duplex)) => duplex.poll_frame(cx),
            Self::Duplex(None) => Poll::Ready(None),
            Self::Shared(place) => {
                let Some((body, _)) = place else {
                    return Poll::Ready(None);
                };
                let frame = ready!(body.poll_frame(cx));
                let is_last = frame.as_ref().is_none_or(is_trailers) || body.is_over();
                if is_last || matches!(&frame, Some(Err(_))) {
                    *place = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::Http2)))
            }
        }
    }

    /// Nothing more is expected of it.
    pub(super) fn give_up(&mut self) {
        match self {
            Self::Exclusive(turn) => drop(turn.take()),
            Self::Duplex(duplex) => drop(duplex.take()),
            Self::Shared(place) => drop(place.take()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Exclusive(turn) => turn.as_ref().is_none_or(Turn::is_over),
            Self::Duplex(duplex) => duplex.as_ref().is_none_or(Duplex::is_over),
            Self::Shared(place) => place.as_ref().is_none_or(|(body, _)| body.is_over()),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Exclusive(Some(turn)) => turn.size_hint(),
            Self::Duplex(Some(duplex)) => duplex.size_hint(),
            Self::Shared(Some((body, _))) => body.size_hint(),
            Self::Exclusive(None) | Self::Duplex(None) | Self::Shared(None) => {
                SizeHint::with_exact(0)
            }
        }
    }
}
