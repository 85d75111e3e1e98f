//! Bodies, passed on frame by frame and never collected: back-pressure reaches from one side to the
//! other, and memory stays bounded whatever their size.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::upstream::Lease;
use crate::clock;
use snapshot::http::headers::{clean_trailers, remove_like};

/// Observes the bodies of one exchange.
pub trait BodyObserver {
    /// Bytes of the request's body went to the origin.
    fn received(&self, bytes: usize);
    /// The origin wants more of the request's body, and the client has not sent it.
    fn waits_for_client(&self);
    /// The client broke its request off.
    fn request_broken(&self);
    /// What is left of the request's body will not be read.
    fn request_left(&self);
    /// How far the request's body is.
    fn upload(&self) -> Upload;
    /// Something of the response's body may be there, and the client has to ask for it.
    fn offered(&self);
    /// Nothing of the response's body is there: the origin has it.
    fn waits_for_origin(&self);
    /// The origin sent nothing more of the response's body for too long.
    fn origin_stalled(&self);
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
}

/// A request's body on its way to the origin.
pub struct RequestBody {
    incoming: Option<Incoming>,
    exchange: Rc<dyn BodyObserver>,
    /// What the client may not say in trailers either.
    hidden: Box<[HeaderName]>,
}

impl RequestBody {
    /// Takes the client's body.
    #[must_use]
    pub fn new(incoming: Incoming, exchange: Rc<dyn BodyObserver>) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self {
            incoming,
            exchange,
            hidden: Box::default(),
        }
    }

    /// Takes these out of the trailers, in every spelling: rules have said them in the head.
    #[must_use]
    pub fn hiding(mut self, hidden: Box<[HeaderName]>) -> Self {
        self.hidden = hidden;
        self
    }

    /// Whether there is nothing in it, so that the request can be sent a second time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    /// Who keeps account of the request.
    pub(super) fn exchange(&self) -> Rc<dyn BodyObserver> {
        self.exchange.clone()
    }

    /// Another body with nothing in it, for the same request.
    pub(super) fn empty_copy(&self) -> Self {
        Self {
            incoming: None,
            exchange: self.exchange.clone(),
            hidden: Box::default(),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            self.exchange.waits_for_client();
            return Poll::Pending;
        };
        if frame.is_none() {
            self.incoming = None;
        }
        match &frame {
            Some(Ok(frame)) => {
                self.exchange
                    .received(frame.data_ref().map_or(0, Bytes::len));
            }
            Some(Err(_)) => self.exchange.request_broken(),
            None => {}
        }
        let hidden = &self.hidden;
        Poll::Ready(frame.map(|frame| frame.map(|frame| clean(frame, hidden))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.exchange.request_left();
        }
    }
}

/// Why a response's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The origin's connection broke, or what it sent is no body.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The origin sent nothing more.
    #[error("the origin stopped in the middle of its response")]
    Stalled,
}

/// A response's body on its way to the client, or one of our own.
pub struct ResponseBody {
    source: Source,
    exchange: Option<Rc<dyn BodyObserver>>,
    /// The wait for the origin, if it may not last for ever.
    wait: Option<Wait>,
}

/// Waiting for the next piece of an origin's body.
struct Wait {
    patience: Duration,
    /// Since when.
    since: Option<Instant>,
    /// Set at the first wait, and put off only when it goes off: most bodies never wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    /// Nothing is there: whether that has been so for too long. A request's body that still moves
    /// is a sign of life, too.
    fn is_over(&mut self, cx: &mut Context<'_>, exchange: &dyn BodyObserver) -> bool {
        let since = *self.since.get_or_insert_with(clock::now);
        let patience = self.patience;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until((since + patience).into())));
        while alarm.as_mut().poll(cx).is_ready() {
            let due = exchange.upload().last_progress.max(Some(since));
            match due.map(|last| last + patience) {
                Some(due) if due > clock::now() => alarm.as_mut().reset(due.into()),
                _ => return true,
            }
        }
        false
    }
}

enum Source {
    Ours(Option<Bytes>),
    Origin(Incoming, Option<Lease>),
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
        }
    }

    /// Drops the content when it is our own, and answers how long it was.
    pub fn forget_ours(&mut self) -> Option<usize> {
        match &mut self.source {
            Source::Ours(content) => content.take().map(|content| content.len()),
            Source::Origin(..) => None,
        }
    }

    /// An origin's body; its connection goes back to the pool once the body is over.
    #[must_use]
    pub fn origin(incoming: Incoming, mut lease: Option<Lease>) -> Self {
        if incoming.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
        Self {
            source: Source::Origin(incoming, lease),
            exchange: None,
            wait: None,
        }
    }

    /// Reports to `exchange` from now on, and does not wait longer than `patience` for the next
    /// piece of an origin's body.
    #[must_use]
    pub fn watched_by(mut self, exchange: Rc<dyn BodyObserver>, patience: Duration) -> Self {
        if !self.is_end_stream() {
            exchange.offered();
            self.wait = Some(Wait {
                patience,
                since: None,
                alarm: None,
            });
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
            Source::Origin(incoming, lease) => {
                let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
                    let Some(exchange) = &this.exchange else {
                        return Poll::Pending;
                    };
                    exchange.waits_for_origin();
                    let wait = this.wait.as_mut();
                    if wait.is_some_and(|wait| wait.is_over(cx, &**exchange)) {
                        exchange.origin_stalled();
                        drop(lease.take());
                        return Poll::Ready(Some(Err(BodyError::Stalled)));
                    }
                    return Poll::Pending;
                };
                if let Some(wait) = &mut this.wait {
                    wait.since = None;
                }
                let over = frame.is_none() || incoming.is_end_stream();
                match (over, &frame) {
                    // A broken connection is not given back.
                    (_, Some(Err(_))) => drop(lease.take()),
                    (true, _) => {
                        if let Some(lease) = lease.take() {
                            lease.give_back();
                        }
                    }
                    (false, _) => {}
                }
                frame
            }
        };
        if let (Some(exchange), Some(Ok(frame))) = (&this.exchange, &frame) {
            exchange.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        if let Some(exchange) = this.exchange.take_if(|_| frame.is_none()) {
            exchange.ended(true);
        }
        Poll::Ready(frame.map(|frame| {
            frame
                .map(|frame| clean(frame, &[]))
                .map_err(BodyError::Broken)
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ours(content) => content.is_none(),
            Source::Origin(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ours(content) => {
                SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Source::Origin(incoming, _) => incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // hyper does not ask again after the last frame of a body of known length.
        if let Some(exchange) = self.exchange.take() {
            exchange.ended(self.is_end_stream());
        }
    }
}

fn clean(frame: Frame<Bytes>, hidden: &[HeaderName]) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean_trailers(&mut trailers);
            for name in hidden {
                remove_like(&mut trailers, name);
            }
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
