//! HTTP/1.1 connections to an origin: one request at a time, driven by the request that has it.
//!
//! No task and no queue stand behind a connection. Who waits for an answer, and then for its body,
//! moves both directions. Owns the bytes of a connection and the order of an exchange on it. Which
//! connection a request gets, and when it waits for the next one, is [`upstream`](super::upstream)'s;
//! what bytes mean is [`http1`]'s.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http1::{
    Answer, Asked, BodyError, BodyLength, ClientError, Event, Head, Idle, Limits, Step, Upload,
};
use tokio::io::AsyncWrite as _;

use super::body::{BodyObserver, RequestBody};
use super::connect::{AnswerError, OriginStream};
use super::outbox::Outbox;
use super::response::{Response, ResponseHead};
use super::spare_heads;
use super::tunnel::{self, OriginEnd};
use super::upstream::{HeadBounds, Loan};
use super::wait::Wait;
use crate::limits::{ORIGIN_CLOSE_TIMEOUT, ORIGIN_READ_FIRST, ORIGIN_READ_MAX, ORIGIN_READ_MIN};
use snapshot::http::request_head::RequestHead;
use snapshot::origins::gate::Inside;

/// Counts a connection as open for as long as it lives, on its worker and among those that its origin
/// may have.
pub(super) struct Open {
    count: Rc<Cell<u64>>,
    place: Option<Inside>,
    /// The address is one of its origin's no more.
    gone: Arc<AtomicBool>,
    /// It leads to the address that stands in for it.
    past: bool,
}

impl Open {
    pub(super) fn new(
        count: &Rc<Cell<u64>>,
        place: Option<Inside>,
        gone: &Arc<AtomicBool>,
    ) -> Self {
        count.set(count.get() + 1);
        Self {
            count: count.clone(),
            place,
            gone: gone.clone(),
            past: false,
        }
    }

    /// The same, to the address that stands in for the one that did not take it.
    pub(super) fn past(mut self, past: bool) -> Self {
        self.past = past;
        self
    }

    /// Whether it leads past its address.
    pub(super) fn is_past(&self) -> bool {
        self.past
    }

    /// Whether its address is one of its origin's no more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Whether its origin may have so many only.
    pub(super) fn is_limited(&self) -> bool {
        self.place.is_some()
    }

    /// Whether it had better be over: somebody waits for that, or its address is gone.
    pub(super) fn is_unwelcome(&self) -> bool {
        self.place.as_ref().is_some_and(Inside::is_wanted) || self.is_gone()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

/// A connection on which nothing is under way.
pub(super) struct Exclusive {
    idle: Idle,
    wire: Box<Wire>,
}

/// The bytes of a connection.
struct Wire {
    stream: OriginStream,
    /// What has come and is not understood yet.
    received: BytesMut,
    /// How much is read at once.
    read_size: usize,
    /// The origin will send nothing more.
    ended: bool,
    out: Outbox,
    head: Head,
    limits: Limits,
    open: Open,
}

impl Exclusive {
    pub(super) fn new(stream: OriginStream, heads: HeadBounds, open: Open) -> Self {
        let limits = Limits {
            head_bytes_max: heads.bytes_max,
            fields_max: heads.count_max,
            trailer_bytes_max: heads.bytes_max,
            ..Limits::default()
        };
        let wire = Wire {
            stream,
            received: BytesMut::new(),
            read_size: ORIGIN_READ_FIRST,
            ended: false,
            out: Outbox::default(),
            head: Head::default(),
            limits,
            open,
        };
        Self {
            idle: Idle::new(),
            wire: Box::new(wire),
        }
    }

    /// Whether the origin has neither closed it nor said anything that nobody asked for. From the
    /// first call on it is received for the next answer.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.wire.received.is_empty() && self.wire.poll_receive(&mut context).is_pending()
    }

    /// Whether its origin may have so many only.
    pub(super) fn is_limited(&self) -> bool {
        self.wire.open.is_limited()
    }

    /// Whether it had better be over: somebody waits for that, or its address is gone.
    pub(super) fn is_unwelcome(&self) -> bool {
        self.wire.open.is_unwelcome()
    }

    /// Whether its address is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.wire.open.is_gone()
    }

    /// Whether it leads past its address.
    pub(super) fn is_past(&self) -> bool {
        self.wire.open.is_past()
    }

    /// Begins a request. `loan` is given back with the connection; without one it serves no other.
    /// `patience`: how long what is left of the request may stand still once its answer is over.
    ///
    /// # Errors
    /// [`AnswerError::Unwritable`].
    pub(super) fn ask(
        self,
        parts: &RequestHead,
        body: RequestBody,
        loan: Option<Loan>,
        patience: Duration,
    ) -> Result<Turn, AnswerError> {
        let Self { idle, mut wire } = self;
        if wire.received.is_empty() && wire.received.capacity() < ORIGIN_READ_FIRST / 2 {
            // Nothing of the last answer lies in it any more.
            wire.received.reserve(ORIGIN_READ_FIRST);
        }
        let length = match body.size_hint().exact() {
            _ if body.is_empty() => BodyLength::None,
            Some(length) => BodyLength::Exactly(length),
            None => BodyLength::Chunked,
        };
        let asked = Asked::from_uri(&parts.method, &parts.uri);
        let (upload, answer) = idle.ask(asked, &parts.headers, length, wire.out.text())?;
        Ok(Turn {
            wire,
            loan,
            upload,
            answer,
            exchange: body.exchange(),
            body: (!body.is_empty()).then_some(body),
            is_sent: false,
            send_error: None,
            standstill: Wait::new(patience),
            length: Length::Unknown,
        })
    }

    /// Says goodbye where that is usual, and closes it.
    pub(super) fn close(self) {
        let Self { mut wire, .. } = self;
        if !matches!(wire.stream, OriginStream::Tls(_)) || wire.ended {
            return;
        }
        tokio::task::spawn_local(async move {
            let closed = poll_fn(|cx| Pin::new(&mut wire.stream).poll_shutdown(cx));
            drop(tokio::time::timeout(ORIGIN_CLOSE_TIMEOUT, closed).await);
        });
    }
}

impl Wire {
    /// Sends what waits. Ready when the stream has taken all of it, which does not mean that it went.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_write(&mut self.stream, cx)
    }

    /// Receives behind what has come. No bytes: the origin has closed its direction.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.received.capacity() - self.received.len() < ORIGIN_READ_MIN {
            self.received.reserve(self.read_size);
        }
        let count = ready!(self.stream.poll_receive(cx, &mut self.received))?;
        self.ended = count == 0;
        if count >= self.read_size {
            self.read_size = (self.read_size * 2).min(ORIGIN_READ_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// What is next of what has come, and its bytes.
    fn next(&mut self, answer: &mut Answer) -> Result<(Event, BytesMut), ClientError> {
        let Step { consumed, event } =
            answer.receive(&self.received, &self.limits, &mut self.head)?;
        let bytes = match consumed {
            0 => BytesMut::new(),
            _ => self.received.split_to(consumed),
        };
        Ok((event, bytes))
    }
}

/// How long an answer's body is.
#[derive(Clone, Copy)]
enum Length {
    Unknown,
    /// So many bytes are still to come.
    Left(u64),
}

/// One request's turn on a connection.
pub(super) struct Turn {
    wire: Box<Wire>,
    loan: Option<Loan>,
    upload: Upload,
    answer: Answer,
    /// What of the request's body is still to be sent.
    body: Option<RequestBody>,
    /// All of the request has gone.
    is_sent: bool,
    /// Sending has failed. The origin may have answered before it stopped reading.
    send_error: Option<io::Error>,
    /// Of what is left of the request once the answer is over.
    standstill: Wait,
    length: Length,
    /// Who keeps account of the request.
    exchange: Rc<dyn BodyObserver>,
}

impl Turn {
    /// The head of the answer, while the request is sent. Interim responses are the exchange's.
    pub(super) async fn answer(&mut self) -> Result<Response<()>, AnswerError> {
        poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, AnswerError>> {
        self.move_request(cx)?;
        loop {
            let (event, bytes) = self.wire.next(&mut self.answer)?;
            match event {
                Event::Interim => self.interim(bytes)?,
                Event::Answer(length) => {
                    self.length = match length {
                        BodyLength::None => Length::Left(0),
                        BodyLength::Exactly(length) => Length::Left(length),
                        BodyLength::Chunked | BodyLength::UntilClose => Length::Unknown,
                    };
                    return Poll::Ready(self.response(bytes));
                }
                Event::Switched => return Poll::Ready(self.response(bytes)),
                Event::More | Event::Data(_) | Event::Trailers | Event::End => {
                    ready!(self.poll_more(cx))?;
                }
            }
        }
    }

    fn interim(&mut self, head: BytesMut) -> Result<(), AnswerError> {
        let response = self.response(head)?;
        self.exchange.interim(response);
        Ok(())
    }

    /// The answer whose head was read from these bytes.
    fn response(&mut self, bytes: BytesMut) -> Result<Response<()>, AnswerError> {
        let head = &mut self.wire.head;
        let status = StatusCode::from_u16(head.status());
        let (status, version) = (status.unwrap_or(StatusCode::BAD_GATEWAY), head.version());
        // Into the form that its client takes, where it ends up in any case.
        let mut headers = if self.exchange.takes_maps() {
            spare_heads::map_of_head(head, &bytes.freeze()).map_err(ClientError::Head)?
        } else {
            spare_heads::of_head(head, bytes)
        };
        if headers.contains_key(TRANSFER_ENCODING) {
            // It means nothing then, and whoever reads it next may believe it (RFC 9112 §6.3).
            headers.remove(CONTENT_LENGTH);
        }
        let head = ResponseHead {
            status,
            version,
            headers,
        };
        Ok(Response::from_parts(head, ()))
    }

    /// The next piece of the answer's body, while the request is sent.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        self.move_request(cx)?;
        loop {
            let (event, bytes) = self.wire.next(&mut self.answer)?;
            match event {
                Event::Data(range) if !range.is_empty() => {
                    let data = bytes.freeze().slice(range);
                    if let Length::Left(left) = &mut self.length {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Event::Trailers => {
                    let mut trailers = HeaderMap::new();
                    let fields = self.wire.head.fields(&bytes);
                    fields.append_to(&mut trailers).map_err(ClientError::Head)?;
                    // The end follows, of which nothing has to come.
                    let _end = self.wire.next(&mut self.answer)?;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Event::End | Event::Switched => return Poll::Ready(None),
                Event::Data(_) | Event::More | Event::Interim | Event::Answer(_) => {
                    if !ready!(self.poll_more(cx))? {
                        return Poll::Ready(None);
                    }
                }
            }
        }
    }

    /// Receives more. `false`: nothing more comes, and the answer was whole with that.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, AnswerError>> {
        let received = match ready!(self.wire.poll_receive(cx)) {
            Ok(count) => count,
            // Why sending failed says more than that receiving fails, too.
            Err(error) => return Poll::Ready(Err(self.send_error.take().unwrap_or(error).into())),
        };
        if received > 0 {
            return Poll::Ready(Ok(true));
        }
        // Whoever can cut a connection would shorten the answer unseen.
        let is_cut = self.answer.is_until_close() && !self.wire.stream.has_taken_leave();
        let whole = self.answer.closed(&self.wire.received, &self.wire.limits);
        Poll::Ready(match (whole, self.send_error.take()) {
            (Ok(()), _) if is_cut => Err(ClientError::Body(BodyError::Cut).into()),
            (Ok(()), _) => Ok(false),
            (Err(ClientError::Closed), Some(error)) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
        })
    }

    /// Sends what there is of the request. That the origin does not take it any more is no failure
    /// yet: it may have answered.
    pub(super) fn move_request(&mut self, cx: &mut Context<'_>) -> Result<(), AnswerError> {
        if self.is_sent || self.send_error.is_some() {
            return Ok(());
        }
        match self.poll_request(cx) {
            Poll::Ready(Ok(())) => self.is_sent = true,
            Poll::Ready(Err(AnswerError::Io(error))) => {
                self.send_error = Some(error);
                // Nobody will ask for the rest of it.
                self.body = None;
            }
            Poll::Ready(Err(error)) => {
                // What broke off must not end as if it were whole.
                self.body = None;
                self.send_error = Some(io::ErrorKind::BrokenPipe.into());
                return Err(error);
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AnswerError>> {
        loop {
            ready!(self.wire.poll_write(cx))?;
            let Some(body) = &mut self.body else {
                return Pin::new(&mut self.wire.stream)
                    .poll_flush(cx)
                    .map_err(AnswerError::Io);
            };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                // What there is goes out meanwhile.
                ready!(Pin::new(&mut self.wire.stream).poll_flush(cx))?;
                return Poll::Pending;
            };
            let out = self.wire.out.text();
            match frame.transpose().map_err(|_noted| AnswerError::Request)? {
                None => {
                    self.upload.end(None, out)?;
                    self.body = None;
                }
                Some(frame) => match frame.into_data() {
                    Ok(data) => {
                        let around = self.upload.frame(data.len())?;
                        out.extend_from_slice(&around.before);
                        self.wire.out.put(data, around.behind);
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        self.upload.end(trailers.as_ref(), out)?;
                        self.body = None;
                    }
                },
            }
        }
    }

    /// Whether nothing more is to be done for the request, as its last bytes have gone or never will.
    pub(super) fn is_sent(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        // Why it broke off is noted by its exchange; the answer goes on as far as the origin sends it.
        let _told = self.move_request(&mut context);
        self.is_sent || self.send_error.is_some()
    }

    /// How much of the answer's body is to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Left(left) => SizeHint::with_exact(left),
            Length::Unknown => SizeHint::default(),
        }
    }

    /// Whether nothing more comes of the answer.
    pub(super) fn is_over(&self) -> bool {
        self.answer.is_over()
    }

    /// Whether the connection can serve the next request, once all of this one has gone.
    pub(super) fn may_serve_again(&self) -> bool {
        let keeps = self.answer.will_close().is_none() && self.loan.is_some();
        keeps && self.send_error.is_none() && self.wire.received.is_empty()
    }

    /// The answer is over: the connection serves the next request, once all of this one has gone.
    pub(super) fn give_back(mut self) {
        if !self.may_serve_again() {
            return;
        }
        if self.is_sent() {
            return self.rest();
        }
        tokio::task::spawn_local(async move {
            if poll_fn(|cx| self.poll_remainder(cx)).await {
                self.rest();
            }
        });
    }

    /// Sends the rest of a request that was answered. `false`: the origin wants no more of it, or it
    /// has stood still for too long.
    pub(super) fn poll_remainder(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.wire.poll_receive(cx).is_ready() {
            return Poll::Ready(false);
        }
        let left = self.wire.out.left();
        let sent = self.poll_request(cx);
        if self.wire.out.left() != left {
            self.standstill.goes_on();
        }
        let exchange = &self.exchange;
        let moved = || exchange.upload().last_progress;
        if sent.is_pending() && self.standstill.is_over(cx, moved) {
            return Poll::Ready(false);
        }
        sent.map(|sent| {
            self.is_sent = sent.is_ok();
            self.is_sent
        })
    }

    fn rest(self) {
        if self.send_error.is_some() {
            return;
        }
        let Self {
            wire,
            loan,
            upload,
            answer,
            ..
        } = self;
        let idle = answer.over(&upload, &wire.received);
        if let (Ok(idle), Some(loan)) = (idle, loan) {
            loan.give_back(Exclusive { idle, wire });
        }
    }

    /// The connection after a 101.
    pub(super) fn into_end(self) -> OriginEnd {
        let Wire {
            stream,
            received,
            open,
            ..
        } = *self.wire;
        OriginEnd::Connection(tunnel::Connection {
            stream,
            early: received.freeze(),
            _open: open,
        })
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}
