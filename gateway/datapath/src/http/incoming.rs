//! A request's body as it comes from the client, whichever protocol it comes over.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{StatusCode, header};
use http_body::{Frame, SizeHint};
use http1::Headers;

use super::client_wire::Http1Body;
use super::connect::AnswerError;

/// Takes interim answers (1xx but 101) to a request to its client, as they come.
pub trait Interims {
    /// Passes one on whose headers are the client's, if the client can have it.
    fn pass(&self, status: StatusCode, headers: &Headers);
}

/// What of a request's body is to come.
pub enum Incoming {
    /// Nothing.
    Over,
    /// Over HTTP/1.1.
    Http1(Http1Body),
    /// Over HTTP/2.
    Http2(Http2Body),
}

impl Incoming {
    /// The body of a request over HTTP/2 with this head.
    #[must_use]
    pub fn http2(stream: RecvStream, head: &Headers) -> Self {
        Http2Body::new(stream, head).map_or(Self::Over, Self::Http2)
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The client broke it off, or what came is no body.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self {
            Self::Over => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::Http2)))
            }
        }
    }

    /// Who takes interim answers to the request as they come, if anybody does.
    #[must_use]
    pub fn interims(&self) -> Option<Rc<dyn Interims>> {
        match self {
            Self::Http1(body) => Some(body.interims()),
            Self::Over | Self::Http2(_) => None,
        }
    }

    /// Whether nothing more comes, as far as that is known before it is asked for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Over => true,
            Self::Http1(body) => body.is_over(),
            Self::Http2(body) => body.is_over(),
        }
    }

    /// How much is to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Over => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// A body on an HTTP/2 stream (RFC 9113 §8.1), of either side.
pub struct Http2Body {
    stream: RecvStream,
    /// How much is to come, if its head said so.
    left: Option<u64>,
    /// Pieces may come; then trailers or the end.
    has_data: bool,
}

impl Http2Body {
    /// The body behind this head, if there is any.
    pub(super) fn new(stream: RecvStream, head: &Headers) -> Option<Self> {
        if stream.is_end_stream() {
            return None;
        }
        // h2 has seen to it that it is a number, and compares it with what comes.
        let length = head.get_text(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.parse().ok());
        Some(Self {
            stream,
            left: length,
            has_data: true,
        })
    }

    /// Whether nothing more comes, as far as that is known.
    pub(super) fn is_over(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// How much is to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The next piece. The peer's window opens by what is taken: a taker that stops holds up no more
    /// than the window.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while self.has_data {
            let Some(data) = ready!(self.stream.poll_data(cx)).transpose()? else {
                self.has_data = false;
                break;
            };
            self.stream.flow_control().release_capacity(data.len())?;
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(data.len() as u64);
            }
            // A frame without content says nothing, unless that nothing more comes.
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
