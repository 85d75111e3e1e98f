//! The bytes of a client's connection that speaks HTTP/1.1.
//!
//! The code that drives a connection and the body of the request on it share them: one task polls
//! both. So nothing is handed over, and a body is read when the origin asks for it. Owns the buffers,
//! and what is said of the connection. When requests are read and what they are answered is
//! `connection::over_http1`'s; what bytes mean is [`http1`]'s.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use http1::body::Decoded;
use http1::{
    BodyLength, ClientError, Head, HeadError, Headers, Limits, Next, NotKept, Piece, Refused,
    Reply, SendError, Sending, ServerError, Unwritable, Waiting,
};
use tokio::io::AsyncWrite as _;

use super::connect::AnswerError;
use super::incoming::Interims;
use super::outbox::Outbox;
use super::spare_heads;
use super::upstream::HeadBounds;
use crate::io::TlsStream;
use crate::limits::{
    ANSWER_GATHERED_MAX, CLIENT_READ_FIRST, CLIENT_READ_MAX, CLIENT_READ_MIN, COPIED_BYTES_MAX,
};
use snapshot::http::path::encode_target;
use snapshot::http::request_head::RequestHead;

/// A connection, while requests come on it.
pub struct ClientWire(RefCell<Wire>);

struct Wire {
    /// `None` once it was taken.
    stream: Option<TlsStream>,
    /// What has come and is not understood yet.
    received: BytesMut,
    /// How much is read at once.
    read_size: usize,
    /// The client sends nothing more.
    ended: bool,
    out: Outbox,
    head: Head,
    limits: Limits,
    /// Which request this is: a body that was left behind reads nothing of another one.
    turn: u64,
    /// Reads the body of the request under way.
    incoming: Option<http1::Incoming>,
    /// Its head says how long that is.
    is_counted: bool,
    /// Answers it; `None` once the answer's head is written.
    reply: Option<Reply>,
}

/// What has come on a connection.
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one match, and the large one is the usual one"
)]
pub enum Heard {
    /// A request.
    Request(Box<RequestHead>, Http1Body),
    /// What cannot be a request. Why, and as much of it as came.
    Refused(ServerError, Bytes),
    /// The client has closed the connection.
    Closed,
    /// The connection broke.
    Broken,
}

/// Whether the client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// As far as one can know.
    There,
    /// It has closed the connection.
    Gone,
    /// The connection broke.
    Broken,
}

impl ClientWire {
    /// A connection on which a request may come.
    #[must_use]
    pub fn new(stream: TlsStream, heads: HeadBounds) -> Rc<Self> {
        let limits = Limits {
            head_bytes_max: heads.bytes_max,
            fields_max: heads.count_max,
            trailer_bytes_max: heads.bytes_max,
            ..Limits::default()
        };
        Rc::new(Self(RefCell::new(Wire {
            stream: Some(stream),
            received: BytesMut::new(),
            read_size: CLIENT_READ_FIRST,
            ended: false,
            out: Outbox::default(),
            head: Head::default(),
            limits,
            turn: 0,
            incoming: None,
            is_counted: true,
            reply: None,
        })))
    }

    /// The next request. `waiting` is there until it has come.
    pub fn poll_request(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        waiting: &mut Option<Waiting>,
    ) -> Poll<Heard> {
        let mut wire = self.0.borrow_mut();
        loop {
            let Some(now) = waiting.take() else {
                return Poll::Ready(Heard::Broken);
            };
            match wire.next_request(now) {
                Ok(Ok((parts, turn))) => {
                    let wire = self.clone();
                    let body = Http1Body { wire, turn };
                    return Poll::Ready(Heard::Request(parts, body));
                }
                Ok(Err(again)) => *waiting = Some(again),
                Err(error) => return Poll::Ready(wire.refuses(error)),
            }
            wire.make_room();
            let count = match wire.poll_receive(cx) {
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(_)) => return Poll::Ready(Heard::Broken),
                Poll::Pending => return Poll::Pending,
            };
            if count > 0 {
                continue;
            }
            let Some(now) = waiting.take() else {
                return Poll::Ready(Heard::Closed);
            };
            return Poll::Ready(match now.closed(&wire.received, &wire.limits) {
                Ok(()) => Heard::Closed,
                Err(refused) => match *refused {
                    // It does not wait for an answer.
                    Refused {
                        error: ServerError::HeadCut,
                        ..
                    } => Heard::Closed,
                    Refused { error, reply } => {
                        wire.reply = Some(reply);
                        wire.refuses(error)
                    }
                },
            });
        }
    }

    /// Whether the last request and its answer are over, and nothing has come of the next one.
    #[must_use]
    pub fn is_between(&self) -> bool {
        let wire = self.0.borrow();
        let over = wire.incoming.as_ref().is_none_or(http1::Incoming::is_over);
        let sent = wire.reply.is_none() && wire.out.is_empty();
        over && sent && wire.received.is_empty()
    }

    /// Whether the client may be sending what nobody reads.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        let wire = self.0.borrow();
        let over = wire.incoming.as_ref().is_none_or(http1::Incoming::is_over);
        !(wire.ended || over && wire.received.is_empty())
    }

    /// Whether the client is still there, while it waits for its answer. What else comes is one
    /// buffer of the next request.
    pub fn presence(&self, cx: &mut Context<'_>) -> Presence {
        let mut wire = self.0.borrow_mut();
        let over = wire.incoming.as_ref().is_none_or(http1::Incoming::is_over);
        // Who reads the body sees its end.
        if !over || !wire.received.is_empty() {
            return Presence::There;
        }
        match wire.poll_receive(cx) {
            Poll::Ready(Ok(0)) => Presence::Gone,
            Poll::Ready(Ok(_)) | Poll::Pending => Presence::There,
            Poll::Ready(Err(_)) => Presence::Broken,
        }
    }

    /// Begins the answer to the request under way. `closes`: it is the last one.
    ///
    /// # Errors
    /// The status begins no answer, or there is no request.
    pub fn begin_answer(
        &self,
        status: StatusCode,
        headers: &Headers,
        length: BodyLength,
        closes: bool,
    ) -> Result<Sending, Unwritable> {
        let mut wire = self.0.borrow_mut();
        let mut reply = wire.reply.take().ok_or(Unwritable::Status)?;
        if closes {
            reply.close();
        }
        reply.head(status, headers, length, wire.out.text())
    }

    /// Answers that another protocol is spoken from now on.
    ///
    /// # Errors
    /// It cannot be.
    pub fn switch(&self, status: StatusCode, headers: &Headers) -> Result<(), Unwritable> {
        let mut wire = self.0.borrow_mut();
        let Wire {
            reply,
            incoming,
            out,
            ..
        } = &mut *wire;
        let reply = reply.take().ok_or(Unwritable::Status)?;
        let incoming = incoming.as_ref().ok_or(Unwritable::Status)?;
        reply.switch(status, headers, incoming, out.text())
    }

    /// Puts a piece of the answer's body behind what waits to go out.
    ///
    /// # Errors
    /// It is longer than its head says.
    pub fn put(&self, sending: &mut Sending, data: Bytes) -> Result<(), SendError> {
        let mut wire = self.0.borrow_mut();
        if data.len() <= COPIED_BYTES_MAX {
            return sending.data(&data, wire.out.text());
        }
        let around = sending.frame(data.len())?;
        wire.out.text().extend_from_slice(&around.before);
        wire.out.put(data, around.behind);
        Ok(())
    }

    /// Puts the end of the answer's body behind what waits to go out.
    ///
    /// # Errors
    /// It is shorter than its head says.
    pub fn end(
        &self,
        sending: &mut Sending,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), SendError> {
        sending.end(trailers, self.0.borrow_mut().out.text())
    }

    /// Whether more can be put behind what waits to go out.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let mut wire = self.0.borrow_mut();
        !wire.out.has_data() && wire.out.text().len() < ANSWER_GATHERED_MAX
    }

    /// Hands what waits to the stream. Ready when the stream has taken all of it.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_write(cx)
    }

    /// Sends what waits. Ready when it has gone.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_write(cx))?;
        Pin::new(wire.stream()?).poll_flush(cx)
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_write(cx))?;
        Pin::new(wire.stream()?).poll_shutdown(cx)
    }

    /// Reads and forgets what is left of the request's body, up to `left` bytes of it. Answers
    /// whether its end was reached.
    pub fn poll_forget(&self, cx: &mut Context<'_>, left: &mut u64) -> Poll<bool> {
        let mut wire = self.0.borrow_mut();
        loop {
            let frame = match ready!(wire.poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => frame,
            };
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(bytes) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(false),
            }
        }
    }

    /// The connection for the next request, once this one and its answer are over.
    ///
    /// # Errors
    /// It cannot serve again.
    pub fn over(&self, sending: Sending) -> Result<Waiting, NotKept> {
        let wire = self.0.borrow();
        let incoming = wire.incoming.as_ref().ok_or(NotKept::Refused)?;
        sending.over(incoming)
    }

    /// The stream, and what of it was read and not used. The connection is over here.
    #[must_use]
    pub fn take(&self) -> Option<(TlsStream, Bytes)> {
        let mut wire = self.0.borrow_mut();
        let received = std::mem::take(&mut wire.received).freeze();
        Some((wire.stream.take()?, received))
    }
}

impl Wire {
    fn stream(&mut self) -> io::Result<&mut TlsStream> {
        let taken = || io::Error::from(io::ErrorKind::NotConnected);
        self.stream.as_mut().ok_or_else(taken)
    }

    /// The head of a request in what has come, and which one it is; or the state to wait on in.
    fn next_request(
        &mut self,
        waiting: Waiting,
    ) -> Result<Result<(Box<RequestHead>, u64), Waiting>, ServerError> {
        let request = match waiting.receive(&self.received, &self.limits, &mut self.head) {
            Ok(Next::More(again)) => return Ok(Err(again)),
            Ok(Next::Request(request)) => request,
            Err(refused) => {
                let Refused { error, reply } = *refused;
                self.reply = Some(reply);
                return Err(error);
            }
        };
        let http1::Request {
            consumed,
            length,
            incoming,
            mut reply,
            ..
        } = request;
        match self.parts(consumed) {
            Ok(parts) => {
                self.turn += 1;
                self.incoming = Some(incoming);
                self.is_counted = length != BodyLength::Chunked;
                self.reply = Some(reply);
                Ok(Ok((parts, self.turn)))
            }
            Err(error) => {
                reply.close();
                self.reply = Some(reply);
                Err(error.into())
            }
        }
    }

    /// The head that was read, of so many bytes. If it is refused after all, it is not consumed.
    fn parts(&mut self, consumed: usize) -> Result<Box<RequestHead>, HeadError> {
        let mut parts = spare_heads::take_head();
        parts.method = self.head.http_method(&self.received)?;
        parts.version = self.head.version();
        let target = self.head.target_range();
        let head = self.received.split_to(consumed);
        let head = parts.headers.take_over(&mut self.head, head);
        match uri_of(head.slice(target)) {
            Ok(uri) => {
                parts.uri = uri;
                Ok(parts)
            }
            Err(error) => {
                let rest = std::mem::take(&mut self.received);
                self.received = BytesMut::from(&*head);
                self.received.unsplit(rest);
                Err(error)
            }
        }
    }

    fn refuses(&mut self, error: ServerError) -> Heard {
        let unread = std::mem::take(&mut self.received).freeze();
        Heard::Refused(error, unread)
    }

    /// Uses the buffer again from its beginning, as nothing of the last request lies in it any more.
    fn make_room(&mut self) {
        if self.received.is_empty() && self.received.capacity() < CLIENT_READ_FIRST / 2 {
            self.received.reserve(CLIENT_READ_FIRST);
        }
    }

    /// Receives behind what has come. No bytes: the client has closed the connection.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.received.capacity() - self.received.len() < CLIENT_READ_MIN {
            self.received.reserve(self.read_size);
        }
        let taken = || io::Error::from(io::ErrorKind::NotConnected);
        let stream = self.stream.as_mut().ok_or_else(taken)?;
        let count = ready!(stream.poll_receive(cx, &mut self.received))?;
        self.ended = count == 0;
        if count >= self.read_size {
            self.read_size = (self.read_size * 2).min(CLIENT_READ_MAX);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let taken = || io::Error::from(io::ErrorKind::NotConnected);
        let stream = self.stream.as_mut().ok_or_else(taken)?;
        self.out.poll_write(stream, cx)
    }

    /// The next piece of the request's body.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let broken = |error| Poll::Ready(Some(Err(AnswerError::Http1(ClientError::Body(error)))));
        loop {
            let Some(incoming) = &mut self.incoming else {
                return Poll::Ready(None);
            };
            let decoded = incoming.receive(&self.received, &self.limits, &mut self.head);
            let Decoded { consumed, piece } = match decoded {
                Ok(decoded) => decoded,
                Err(error) => return broken(error),
            };
            match piece {
                Piece::Data(range) => {
                    let data = self.received.split_to(consumed).freeze().slice(range);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Piece::Trailers => {
                    let bytes = self.received.split_to(consumed).freeze();
                    let trailers = self.head.shared_map(&bytes);
                    let trailers = trailers.map_err(ClientError::Head)?;
                    // The end follows, of which nothing has to come.
                    if let Err(error) =
                        incoming.receive(&self.received, &self.limits, &mut self.head)
                    {
                        return broken(error);
                    }
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Piece::End => {
                    self.received.advance(consumed);
                    return Poll::Ready(None);
                }
                Piece::More => self.received.advance(consumed),
            }
            if let Some(reply) = self.reply.as_mut().filter(|reply| reply.expects_continue()) {
                reply.go_on(self.out.text());
            }
            // The client may wait for what we have said.
            if self.poll_write(cx)?.is_ready() {
                let _sent = Pin::new(self.stream()?).poll_flush(cx)?;
            }
            if ready!(self.poll_receive(cx))? == 0
                && let Some(incoming) = &mut self.incoming
                && let Err(error) = incoming.closed()
            {
                return broken(error);
            }
        }
    }
}

/// A request's target as a URI. Characters that no URI holds, and that clients send all the same, are
/// encoded first.
fn uri_of(target: Bytes) -> Result<Uri, HeadError> {
    if let Ok(uri) = Uri::from_maybe_shared(target.clone()) {
        return Ok(uri);
    }
    let text = std::str::from_utf8(&target).map_err(|_no_text| HeadError::Target)?;
    match encode_target(text) {
        Cow::Owned(encoded) => Uri::try_from(encoded).map_err(|_invalid| HeadError::Target),
        Cow::Borrowed(_) => Err(HeadError::Target),
    }
}

impl Interims for ClientWire {
    /// A client that takes nothing gets none of them: each is small, but an origin may send many.
    fn pass(&self, status: StatusCode, headers: &Headers) {
        let mut wire = self.0.borrow_mut();
        let Wire { reply, out, .. } = &mut *wire;
        if let Some(reply) = reply
            .as_mut()
            .filter(|_| out.text().len() < ANSWER_GATHERED_MAX)
        {
            // A client of HTTP/1.0 knows none, and 101 does not come here.
            let _passed = reply.interim(status, headers, out.text());
        }
    }
}

/// A request's body.
pub struct Http1Body {
    wire: Rc<ClientWire>,
    turn: u64,
}

impl Http1Body {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The client broke it off, or what came is no body.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let mut wire = self.wire.0.borrow_mut();
        if wire.turn != self.turn {
            return Poll::Ready(Some(Err(AnswerError::Request)));
        }
        wire.poll_frame(cx)
    }

    /// Who takes interim answers to the request.
    #[must_use]
    pub fn interims(&self) -> Rc<dyn Interims> {
        self.wire.clone()
    }

    /// Whether nothing more comes, as far as that is known before it is asked for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let wire = self.wire.0.borrow();
        wire.turn != self.turn || wire.incoming.as_ref().is_none_or(http1::Incoming::is_over)
    }

    /// How much is to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        let wire = self.wire.0.borrow();
        let incoming = wire.incoming.as_ref().filter(|_| wire.turn == self.turn);
        let Some(incoming) = incoming else {
            return SizeHint::with_exact(0);
        };
        match incoming.left() {
            Some(left) if wire.is_counted || incoming.is_over() => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ClientWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientWire").finish_non_exhaustive()
    }
}
