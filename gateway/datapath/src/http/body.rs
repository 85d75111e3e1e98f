//! Bodies, passed on frame by frame and never collected: back-pressure reaches from one side to the
//! other, and memory stays bounded whatever their size.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};
use http1::{ClientError, HeadError};

use super::client_body::ClientBody;
use super::connect::AnswerError;
use super::exclusive::Turn;
use super::incoming::{Http2Body, Incoming};
use super::multiplexed::Stream;
use super::origin_body::OriginBody;
use super::replay::Attempt;
use super::response::Response;
use super::upstream::HeadBounds;
use super::wait::Wait;
use crate::limits::CONTENTLESS_END_TIMEOUT;
use snapshot::http::headers::{clean_trailers, trailers_are_within};

/// Observes the bodies of one exchange.
pub trait BodyObserver {
    /// The origin has answered for the time being (RFC 9110 §15.2).
    fn interim(&self, head: Response<()>);

    /// Whether the client takes headers as maps: it speaks HTTP/2.
    fn takes_maps(&self) -> bool;
    /// Bytes of the request's body went to the origin.
    fn received(&self, bytes: usize);
    /// The origin wants more of the request's body, and the client has not sent it.
    fn waits_for_client(&self);
    /// The client broke its request off.
    fn request_broken(&self);
    /// The request's trailers are larger than they may be.
    fn request_oversized(&self);
    /// The request's body is larger than it may be.
    fn request_too_large(&self);
    /// The request's body is over.
    fn request_over(&self);
    /// What is left of the request's body is not wanted by the origin, nor by anything else.
    fn request_left(&self, rest: Incoming);
    /// Whether that moment has come. If not, the caller is woken when it may have: one alarm serves
    /// request after request, and goes off for those that it was set for and that are over.
    fn is_due(&self, cx: &mut Context<'_>, due: Instant) -> bool;
    /// How far the request's body is.
    fn upload(&self) -> Upload;
    /// Whether more of the response's body may be fetched from the origin. If not, the caller is
    /// woken when it may.
    fn may_fetch(&self, cx: &Context<'_>) -> bool;
    /// Something of the response's body may be there, and the client has to ask for it.
    fn offered(&self);
    /// Nothing of the response's body is there: the origin has it.
    fn waits_for_origin(&self);
    /// The origin sent nothing more of the response's body for too long.
    fn origin_stalled(&self);
    /// The origin broke its response off, or ended it with trailers that are not passed on.
    fn origin_broke(&self, why: &BodyError);
    /// Bytes of the response's body went to the client.
    fn sent(&self, bytes: usize);
    /// The response is over: wholly, or because one side went away.
    fn ended(&self, whole: bool);
}

/// How far a request's body is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upload {
    /// When the last bytes went to the origin.
    pub last_progress: Option<Instant>,
    /// The origin wants more than the client has sent.
    pub waits_for_client: bool,
    /// The client broke it off.
    pub broken: bool,
    /// It ends with larger trailers than it may.
    pub oversized: bool,
    /// Its answer is over, and went out without its end.
    pub answered: bool,
    /// It is larger than it may be.
    pub too_large: bool,
}

/// A request's body on its way to the origin.
pub struct RequestBody {
    content: Content,
    exchange: Rc<dyn BodyObserver>,
    /// What the client may not say in trailers either.
    hidden: Box<[HeaderName]>,
    /// The place on an HTTP/2 connection that it keeps taken.
    stream: Option<Rc<Stream>>,
}

enum Content {
    /// Comes once; `None` at its end.
    Once(Option<ClientBody>),
    /// Comes once more if need be.
    Again(Attempt),
}

impl RequestBody {
    /// Takes the client's body.
    #[must_use]
    pub fn new(incoming: Incoming, exchange: Rc<dyn BodyObserver>, heads: HeadBounds) -> Self {
        let incoming =
            (!incoming.is_over()).then(|| ClientBody::new(incoming, heads, exchange.clone()));
        Self {
            content: Content::Once(incoming),
            exchange,
            hidden: Box::default(),
            stream: None,
        }
    }

    /// Takes these out of the trailers, in every spelling: rules have said them in the head.
    #[must_use]
    pub fn hiding(mut self, hidden: Box<[HeaderName]>) -> Self {
        self.hidden = hidden;
        self
    }

    /// Breaks it off behind so many bytes. To be said before any of it has gone.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        if let Content::Once(Some(body)) = &mut self.content {
            body.bound(bytes);
        }
        self
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.content, Content::Once(None))
    }

    /// Who keeps account of the request.
    pub(super) fn exchange(&self) -> Rc<dyn BodyObserver> {
        self.exchange.clone()
    }

    /// Keeps its place on an HTTP/2 connection taken for as long as it is under way.
    pub(super) fn takes(&mut self, stream: Rc<Stream>) {
        self.stream = Some(stream);
    }

    /// The same body for a second attempt. From now on what goes out is kept, as far as it may be,
    /// until the second body is dropped or taken over with.
    pub(super) fn second(&mut self) -> Self {
        let content = match &mut self.content {
            Content::Once(None) => Content::Once(None),
            Content::Once(incoming) => {
                let first = Attempt::first(incoming.take());
                let second = first.next();
                self.content = Content::Again(first);
                Content::Again(second)
            }
            Content::Again(attempt) => Content::Again(attempt.next()),
        };
        Self {
            content,
            exchange: self.exchange.clone(),
            hidden: self.hidden.clone(),
            stream: None,
        }
    }

    /// Whether a second attempt would send what the first one did.
    pub(super) fn is_whole(&self) -> bool {
        match &self.content {
            Content::Once(incoming) => incoming.is_none(),
            Content::Again(attempt) => attempt.is_whole(),
        }
    }

    /// The attempt before is over: this body gets everything.
    pub(super) fn take_over(&self) {
        if let Content::Again(attempt) = &self.content {
            attempt.take_over();
        }
    }

    fn poll_content(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let incoming = match &mut self.content {
            Content::Once(incoming) => incoming,
            Content::Again(attempt) => return attempt.poll(cx),
        };
        let frame = match incoming {
            None => return Poll::Ready(None),
            Some(body) => body.poll(cx),
        };
        if matches!(frame, Poll::Ready(None)) {
            *incoming = None;
        }
        frame
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(this.poll_content(cx));
        let hidden = &this.hidden;
        Poll::Ready(frame.map(|frame| frame.map(|frame| clean(frame, hidden))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Once(incoming) => incoming.as_ref().is_none_or(ClientBody::is_over),
            Content::Again(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Once(None) => SizeHint::with_exact(0),
            Content::Once(Some(incoming)) => incoming.size_hint(),
            Content::Again(attempt) => attempt.size_hint(),
        }
    }
}

/// Why a response's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The origin's connection broke, or what it sent is no body.
    #[error(transparent)]
    Broken(AnswerError),
    /// The origin sent content where there is none.
    #[error("content in an answer that has none (204, 304, or to HEAD)")]
    Unasked,
    /// The origin sent nothing more.
    #[error("the origin stopped in the middle of its response")]
    Stalled,
    /// A request's body has more bytes than it may.
    #[error("the request's body is larger than limit.request_body, or its host's own bound")]
    TooLarge,
    /// A body ends with more than it may.
    #[error("trailers are larger than limit.header_bytes or limit.header_count")]
    Oversized,
}

impl BodyError {
    /// Whether an HTTP/2 origin gave the answer up in good order (RFC 9113 §7), which is what it does
    /// with a call whose time is over.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let Self::Broken(AnswerError::Http2(error)) = self else {
            return false;
        };
        let is_orderly = |reason| matches!(reason, Reason::CANCEL | Reason::NO_ERROR);
        error.is_reset() && error.is_remote() && error.reason().is_some_and(is_orderly)
    }
}

impl From<AnswerError> for BodyError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Http1(ClientError::Body(http1::BodyError::Trailers(
                HeadError::TooLarge | HeadError::TooManyFields,
            ))) => Self::Oversized,
            error => Self::Broken(error),
        }
    }
}

/// A response's body on its way to the client, or one of our own.
pub struct ResponseBody {
    source: Source,
    exchange: Option<Rc<dyn BodyObserver>>,
    /// The wait for the origin, if it may not last for ever.
    wait: Option<Wait>,
    /// How large trailers may be.
    heads: HeadBounds,
    /// What it is the body of has none (RFC 9110 §6.4.1), whatever the origin sends.
    is_contentless: bool,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one for each answer, and the large one is the usual one"
)]
enum Source {
    Ours(Option<Bytes>),
    Origin(OriginBody),
}

impl ResponseBody {
    /// A body of our own.
    #[must_use]
    pub fn full(content: Bytes) -> Self {
        let content = (!content.is_empty()).then_some(content);
        Self {
            source: Source::Ours(content),
            exchange: None,
            wait: None,
            heads: HeadBounds::default(),
            is_contentless: false,
        }
    }

    /// Takes the content, when it is our own.
    pub fn take_ours(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::Ours(content) => Some(content.take().unwrap_or_default()),
            Source::Origin(_) => None,
        }
    }

    /// Drops the content when it is our own, and answers how long it was.
    pub fn forget_ours(&mut self) -> Option<usize> {
        match &mut self.source {
            Source::Ours(content) => content.take().map(|content| content.len()),
            Source::Origin(_) => None,
        }
    }

    /// The body of an answer over HTTP/1.1.
    #[must_use]
    pub(super) fn exclusive(turn: Turn) -> Self {
        Self::origin(OriginBody::exclusive(turn))
    }

    /// The body of an answer over HTTP/2.
    #[must_use]
    pub(super) fn shared(body: Option<Http2Body>, stream: Rc<Stream>) -> Self {
        Self::origin(OriginBody::shared(body, stream))
    }

    /// What an end, or breaking off, which was noted, means to the client: an end where it gets no
    /// content.
    fn broken(&mut self, why: Option<BodyError>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(why) = why.filter(|_| !self.is_contentless) {
            return Poll::Ready(Some(Err(why)));
        }
        if let Some(exchange) = self.exchange.take() {
            exchange.ended(true);
        }
        Poll::Ready(None)
    }

    fn origin(body: OriginBody) -> Self {
        Self {
            source: Source::Origin(body),
            exchange: None,
            wait: None,
            heads: HeadBounds::default(),
            is_contentless: false,
        }
    }

    /// Sees to it that the request goes on being sent although nobody asks for the answer: a task
    /// moves both, if the answer has begun first. Otherwise who takes the answer has to.
    pub fn moves_by_itself(&mut self) {
        if let Source::Origin(body) = &mut self.source {
            body.moves_by_itself();
        }
    }

    /// Sends what there is of a request whose answer has begun first, while the answer cannot be
    /// taken.
    pub fn move_request(&mut self, cx: &mut Context<'_>) {
        if let Source::Origin(body) = &mut self.source {
            body.move_request(cx);
        }
    }

    /// Sends the rest of a request whose answer is over. Ready when that has gone, or the origin
    /// wants no more of it.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.source {
            Source::Ours(_) => Poll::Ready(()),
            Source::Origin(body) => body.poll_request(cx),
        }
    }

    /// It is the body of an answer that has none: to HEAD, or by its status.
    #[must_use]
    pub fn contentless(mut self) -> Self {
        self.is_contentless = true;
        self.forget_ours();
        self
    }

    /// Reports to `exchange` from now on, and does not wait longer than `patience` for the next
    /// piece of an origin's body.
    #[must_use]
    pub fn watched_by(
        mut self,
        exchange: Rc<dyn BodyObserver>,
        patience: Duration,
        heads: HeadBounds,
    ) -> Self {
        self.heads = heads;
        if !self.is_end_stream() {
            exchange.offered();
            let patience = if self.is_contentless {
                patience.min(CONTENTLESS_END_TIMEOUT)
            } else {
                patience
            };
            self.wait = Some(Wait::new(patience));
        }
        self.exchange = Some(exchange);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Ours(content) => content.take().map(|content| Ok(Frame::data(content))),
            Source::Origin(body) => {
                let observed = this.exchange.as_ref();
                if observed.is_some_and(|exchange| !exchange.may_fetch(cx)) {
                    return Poll::Pending;
                }
                let Poll::Ready(frame) = body.poll_frame(cx) else {
                    let Some(exchange) = &this.exchange else {
                        return Poll::Pending;
                    };
                    exchange.waits_for_origin();
                    let wait = this.wait.as_mut();
                    // A request's body that still moves is a sign of life, too.
                    let moved = || exchange.upload().last_progress;
                    if wait.is_some_and(|wait| wait.is_over(cx, moved)) {
                        exchange.origin_stalled();
                        body.give_up();
                        return this.broken(Some(BodyError::Stalled));
                    }
                    return Poll::Pending;
                };
                if let Some(wait) = &mut this.wait {
                    wait.goes_on();
                }
                frame
            }
        };
        let frame = frame.map(|frame| match frame {
            Ok(frame) if is_oversized(&frame, this.heads) => Err(BodyError::Oversized),
            Ok(frame) => Ok(frame),
            Err(error) => Err(error.into()),
        });
        if this.is_contentless {
            let why = match frame {
                // It has no trailers either (RFC 9110 §6.5).
                None => return this.broken(None),
                Some(Ok(frame)) if frame.is_trailers() => return this.broken(None),
                Some(Ok(_)) => BodyError::Unasked,
                Some(Err(why)) => why,
            };
            if let Some(exchange) = &this.exchange {
                exchange.origin_broke(&why);
            }
            if let Source::Origin(body) = &mut this.source {
                body.give_up();
            }
            return this.broken(Some(why));
        }
        let last = match (&this.exchange, &frame) {
            (Some(exchange), Some(Ok(frame))) => {
                exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                frame.is_trailers()
            }
            (Some(exchange), Some(Err(why))) => {
                exchange.origin_broke(why);
                false
            }
            (_, frame) => frame.is_none(),
        };
        if let Some(exchange) = this.exchange.take_if(|_| last) {
            exchange.ended(true);
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| clean(frame, &[]))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ours(content) => content.is_none(),
            Source::Origin(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ours(content) => {
                SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Source::Origin(body) => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Not everybody asks again after the last frame of a body of known length.
        if let Some(exchange) = self.exchange.take() {
            exchange.ended(self.is_end_stream());
        }
    }
}

/// Whether a frame is trailers that are larger than they may be.
pub(super) fn is_oversized(frame: &Frame<Bytes>, heads: HeadBounds) -> bool {
    let trailers = frame.trailers_ref();
    trailers
        .is_some_and(|trailers| !trailers_are_within(trailers, heads.bytes_max, heads.count_max))
}

fn clean(frame: Frame<Bytes>, hidden: &[HeaderName]) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean_trailers(&mut trailers, hidden);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
