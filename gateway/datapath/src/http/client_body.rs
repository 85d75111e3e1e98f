//! A request's body as it leaves the client: its bounds, and what its exchange has to know of it.
//!
//! Whether it goes out once more is [`body`](super::body)'s.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::body::{BodyError, BodyObserver, is_oversized};
use super::incoming::Incoming;
use super::upstream::HeadBounds;

/// A body as it comes from the client.
pub(super) struct ClientBody {
    /// `None` once it is over.
    incoming: Option<Incoming>,
    heads: HeadBounds,
    /// Bytes that may still come.
    left: u64,
    exchange: Rc<dyn BodyObserver>,
}

impl ClientBody {
    /// All of it, however long it is.
    pub(super) fn new(
        incoming: Incoming,
        heads: HeadBounds,
        exchange: Rc<dyn BodyObserver>,
    ) -> Self {
        Self {
            incoming: Some(incoming),
            heads,
            left: u64::MAX,
            exchange,
        }
    }

    /// Breaks it off behind so many bytes.
    pub(super) fn bound(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// The next piece, and what the exchange has to know of it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = incoming.poll_frame(cx) else {
            self.exchange.waits_for_client();
            return Poll::Pending;
        };
        let frame = frame.map(|frame| frame.map_err(BodyError::from));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            match self.left.checked_sub(bytes) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(self.break_off()))),
            }
        }
        // Trailers are the last that comes, whether that is said or not.
        let over = match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.exchange.received(bytes);
                frame.is_trailers()
            }
            Some(Err(BodyError::Oversized)) => {
                self.exchange.request_oversized();
                true
            }
            Some(Err(_)) => {
                self.exchange.request_broken();
                true
            }
            None => true,
        };
        if over {
            self.incoming = None;
            self.exchange.request_over();
        }
        let large = matches!(&frame, Some(Ok(frame)) if is_oversized(frame, self.heads));
        if large {
            self.exchange.request_oversized();
            return Poll::Ready(Some(Err(BodyError::Oversized)));
        }
        Poll::Ready(frame)
    }

    /// It is larger than it may be: the origin gets no more of it, and no end.
    fn break_off(&mut self) -> BodyError {
        self.exchange.request_too_large();
        if let Some(rest) = self.incoming.take() {
            self.exchange.request_left(rest);
        }
        BodyError::TooLarge
    }

    pub(super) fn is_over(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_over)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let incoming = self.incoming.as_ref();
        incoming.map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        match self.incoming.take() {
            None => {}
            Some(rest) if rest.is_over() => self.exchange.request_over(),
            Some(rest) => self.exchange.request_left(rest),
        }
    }
}
