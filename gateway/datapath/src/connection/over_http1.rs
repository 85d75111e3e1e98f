//! An HTTP/1.1 connection: requests answered one after the other, and put aside between them.
//!
//! One task reads requests, gets their answers and sends them; nothing is spawned for a request, and
//! nothing handed over. One timer for the connection is re-armed only when it fires, and looks at
//! the marks that requests and sockets leave. What bytes mean is `http1`'s, and the buffers are
//! `http::client_wire`'s.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as _, Frame};
use http1::{BodyLength, Sending, Waiting};

use super::Connection;
use super::answer::answer;
use super::bad_head;
use super::exchange::{Exchange, Tunnel};
use super::spare::Spare;
use super::stop::Stop;
use crate::clock;
use crate::http::body::ResponseBody;
use crate::http::client_wire::{ClientWire, Heard, Presence};
use crate::http::date;
use crate::http::incoming::Incoming;
use crate::http::spare_heads;
use crate::http::tunnel::{self, Traffic};
use crate::http::upstream::HeadBounds;
use crate::io::TlsStream;
use crate::limits::{REMAINDER_BYTES_MAX, REMAINDER_TIMEOUT};
use snapshot::http::request_head::RequestHead;
use vocabulary::request_error::RequestError;

/// How a stretch of serving ended.
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one match, never in a collection"
)]
pub(super) enum Served {
    /// No request came for a while; the stream is whole.
    Idle(TlsStream),
    /// The connection is over.
    Stopped(Stop),
}

/// How serving requests ended.
enum End {
    /// Between two requests, and nothing is in flight.
    Idle,
    /// Another protocol is spoken from now on.
    Tunnel,
    Stop(Stop),
}

/// Serves HTTP/1.1, and the tunnel that may follow.
pub(super) async fn serve_http1(connection: Rc<Connection>, stream: TlsStream) -> Served {
    let wire = ClientWire::new(stream, HeadBounds::of(&connection.tunables));
    let end = {
        let is_serving = Cell::new(false);
        let serving = pin!(serve_requests(&connection, &wire, &is_serving));
        watch(&connection, &wire, &is_serving, serving).await
    };
    let tunnel = connection.remainder.take_tunnel();
    let is_unread = wire.is_unread() || connection.remainder.is_unread();
    let Some((mut stream, early)) = wire.take() else {
        return Served::Stopped(Stop::Broken);
    };
    match (end, tunnel) {
        (End::Idle, _) => {
            stream.put_back(early);
            Served::Idle(stream)
        }
        (End::Tunnel, Some(tunnel)) => {
            Served::Stopped(pass_through(&connection, stream, early, tunnel).await)
        }
        (End::Tunnel, None) => Served::Stopped(Stop::Broken),
        (End::Stop(stop), _) => {
            let unread = is_unread || stop == Stop::BadHttp || stream.has_alerted();
            // Who was not waited for any longer is not waited for now.
            let is_given_up = matches!(
                stop,
                Stop::CertificateLost | Stop::Shed | Stop::HeaderTimeout | Stop::SlowReader
            );
            if unread && !is_given_up {
                linger(&connection, &mut stream).await;
            }
            Served::Stopped(stop)
        }
    }
}

/// Polls `serving` until the connection stops, for whichever reason comes first.
async fn watch(
    connection: &Connection,
    wire: &ClientWire,
    is_serving: &Cell<bool>,
    mut serving: Pin<&mut impl Future<Output = End>>,
) -> End {
    let mut alarm = pin!(tokio::time::sleep_until(clock::now().into()));
    let drain = &connection.local.drain;
    let mut drained = pin!(drain.begun());
    let mut pressed = pin!(drain.pressing());
    let mut is_waiting = false;
    let mut has_timed_out = false;
    std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        if !std::mem::replace(&mut is_waiting, true) {
            // It leaves our waker with the drain; after it the flag is enough.
            let _begun = drained.as_mut().poll(cx);
        }
        if drain.has_begun() && !drain.presses() {
            let _presses = pressed.as_mut().poll(cx);
        }
        loop {
            let cut = connection.closing.cut_due();
            if let Poll::Ready(end) = serving.as_mut().poll(cx) {
                return Poll::Ready(match end {
                    End::Stop(Stop::Closed) if cut.is_some() => End::Stop(Stop::CertificateLost),
                    End::Stop(Stop::Closed) if has_timed_out => End::Stop(Stop::IdleTimeout),
                    End::Stop(Stop::Closed) if drain.has_begun() => End::Stop(Stop::Drained),
                    end => end,
                });
            }
            if let Some(due) = cut.filter(|due| alarm.deadline() > (*due).into()) {
                alarm.as_mut().reset(due.into());
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            if let Some(due) = cut {
                if due <= now {
                    return Poll::Ready(End::Stop(Stop::CertificateLost));
                }
                alarm.as_mut().reset(due.into());
                continue;
            }
            let is_quiet = connection.clocks.is_quiet(&connection.activity, now);
            // A request that is over for its client may still be on its way to the origin.
            let is_between = !is_serving.get() && wire.is_between();
            if is_quiet && is_between && !is_last(connection) {
                return Poll::Ready(End::Idle);
            }
            match connection.due(false, now) {
                Ok(due) => alarm.as_mut().reset(due.into()),
                // Politely first: so that no client takes the end for a fault.
                Err(Stop::IdleTimeout) if !has_timed_out => {
                    has_timed_out = true;
                    connection.closing.retire();
                    let due = now + connection.tunables.header_timeout;
                    alarm.as_mut().reset(due.into());
                }
                Err(stop) => return Poll::Ready(End::Stop(stop)),
            }
        }
    })
    .await
}

/// Whether the request that is under way, or comes next, is the last one.
fn is_last(connection: &Connection) -> bool {
    connection.closing.is_retired() || connection.local.drain.has_begun()
}

/// Serves requests until the connection is over.
async fn serve_requests(
    connection: &Rc<Connection>,
    wire: &Rc<ClientWire>,
    is_serving: &Cell<bool>,
) -> End {
    let mut waiting = Waiting::new();
    let mut spare = Spare::default();
    loop {
        let request = match next_request(connection, wire, waiting).await {
            Ok(request) => request,
            Err(Stop::Broken) => return End::Stop(Stop::Broken),
            Err(stop) => return say_goodbye(wire, stop).await,
        };
        is_serving.set(true);
        let served = serve_request(connection, wire, request, &mut spare).await;
        spare.settle(Exchange::end);
        is_serving.set(false);
        waiting = match served {
            Ok(After::Request(waiting)) => waiting,
            Ok(After::Goodbye) => return say_goodbye(wire, Stop::Closed).await,
            Ok(After::Tunnel) => return End::Tunnel,
            // What may stand half written must not end as if it were whole.
            Err(stop) => return End::Stop(stop),
        };
        // The next head may have begun already; what came before was this request's.
        let begun = (!wire.is_between()).then(clock::now);
        connection.activity.first_received.set(begun);
    }
}

/// What comes behind an answer.
enum After {
    Request(Waiting),
    /// The connection closes.
    Goodbye,
    /// Another protocol.
    Tunnel,
}

/// Ends the connection as is usual.
async fn say_goodbye(wire: &ClientWire, stop: Stop) -> End {
    // A client that does not take its close_notify does without.
    drop(std::future::poll_fn(|cx| wire.poll_close(cx)).await);
    End::Stop(stop)
}

/// Waits for a request. What cannot be read is answered here.
async fn next_request(
    connection: &Connection,
    wire: &Rc<ClientWire>,
    waiting: Waiting,
) -> Result<(Box<RequestHead>, Incoming), Stop> {
    let mut waiting = Some(waiting);
    let heard = std::future::poll_fn(|cx| {
        // The end of the last answer goes out meanwhile.
        if let Poll::Ready(Err(_)) = wire.poll_flush(cx) {
            return Poll::Ready(Heard::Broken);
        }
        let heard = wire.poll_request(cx, &mut waiting);
        let nothing = || wire.is_between() && connection.activity.first_received.get().is_none();
        let unwanted = connection.closing.is_retired() || connection.local.drain.presses();
        if heard.is_pending() && unwanted && nothing() {
            return Poll::Ready(Heard::Closed);
        }
        heard
    })
    .await;
    match heard {
        Heard::Request(parts, body) => Ok((parts, Incoming::Http1(body))),
        Heard::Closed => Err(Stop::Closed),
        Heard::Broken => Err(Stop::Broken),
        Heard::Refused(error, unread) => {
            let (mut parts, mut body) = bad_head::refuse(connection, error, &unread).into_parts();
            parts.headers.insert(header::DATE, date::now());
            let content = body.take_ours().unwrap_or_default();
            let length = BodyLength::Exactly(content.len() as u64);
            let begun = wire.begin_answer(parts.status, &parts.headers, length, true);
            if let Ok(mut sending) = begun {
                let _sent = wire.put(&mut sending, content);
            }
            Err(Stop::BadHttp)
        }
    }
}

/// Serves one request to the end of its answer.
async fn serve_request(
    connection: &Rc<Connection>,
    wire: &Rc<ClientWire>,
    request: (Box<RequestHead>, Incoming),
    spare: &mut Spare<Exchange>,
) -> Result<After, Stop> {
    let response = {
        let mut answering = pin!(answer(connection.clone(), request, spare));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            match presence(wire, cx) {
                Some(stop) => Poll::Ready(Err(stop)),
                None => Poll::Pending,
            }
        })
        .await?
    };
    let (mut parts, body) = response.into_parts();
    if !parts.headers.contains_key(header::DATE) {
        parts.headers.insert(header::DATE, date::now());
    }
    if connection.remainder.is_tunnel() {
        wire.switch(parts.status, &parts.headers)
            .map_err(|_not_possible| Stop::Broken)?;
        let flushed = std::future::poll_fn(|cx| wire.poll_flush(cx)).await;
        return flushed
            .map(|()| After::Tunnel)
            .map_err(|_broken| Stop::Broken);
    }
    let length = match body.size_hint().exact() {
        // Whether that is said, depends on method and status.
        Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exactly(length),
        None => BodyLength::Chunked,
    };
    let begun = wire.begin_answer(parts.status, &parts.headers, length, is_last(connection));
    spare_heads::give_back(parts.headers);
    let sending = begun.map_err(|_never_an_answer| Stop::Broken)?;
    let mut delivery = Delivery {
        connection,
        wire,
        body: Some(body),
        sending,
        is_over: false,
        forgotten: None,
    };
    std::future::poll_fn(|cx| delivery.poll(cx)).await?;
    let over = wire.over(delivery.sending);
    Ok(over.map_or_else(|_closes| After::Goodbye, After::Request))
}

/// Lets out what was said meanwhile, and looks whether the client is still there.
fn presence(wire: &ClientWire, cx: &mut Context<'_>) -> Option<Stop> {
    if let Poll::Ready(Err(_)) = wire.poll_flush(cx) {
        return Some(Stop::Broken);
    }
    match wire.presence(cx) {
        Presence::There => None,
        Presence::Gone => Some(Stop::Closed),
        Presence::Broken => Some(Stop::Broken),
    }
}

/// An answer on its way to the client, and what is left of its request.
struct Delivery<'c> {
    connection: &'c Connection,
    wire: &'c ClientWire,
    /// `None` once it was given up.
    body: Option<ResponseBody>,
    sending: Sending,
    /// All of the answer stands in the wire.
    is_over: bool,
    /// How much of the request's body may still be read and forgotten, and until when.
    forgotten: Option<Forgotten>,
}

struct Forgotten {
    left: u64,
    alarm: Pin<Box<tokio::time::Sleep>>,
    is_over: bool,
}

impl Delivery<'_> {
    /// Ready when the answer has been written, and its request read as far as it will be.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let answer = self.poll_answer(cx)?;
        let request = self.poll_request(cx);
        if answer.is_ready() && request.is_ready() {
            return Poll::Ready(Ok(()));
        }
        match presence(self.wire, cx) {
            Some(stop) => Poll::Ready(Err(stop)),
            None => Poll::Pending,
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let broken = |_error| Stop::Broken;
        while !self.is_over {
            if !self.wire.has_room() {
                ready!(self.wire.poll_write(cx)).map_err(broken)?;
            }
            let Some(body) = &mut self.body else { break };
            if self.sending.length() == BodyLength::None {
                // Nobody wants it; an origin's comes to an end without any.
                body.forget_ours();
            }
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    self.wire
                        .put(&mut self.sending, data)
                        .map_err(|_long| Stop::Broken)?;
                }
                Some(Ok(Err(frame))) => {
                    let trailers = frame.into_trailers().ok();
                    self.end(trailers.as_ref())?;
                }
                None => self.end(None)?,
                Some(Err(_noted)) => {
                    // What came of it goes out; that it ends early has to be seen.
                    drop(self.wire.poll_flush(cx));
                    return Poll::Ready(Err(Stop::Broken));
                }
            }
        }
        self.wire.poll_write(cx).map_err(broken)
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Stop> {
        self.is_over = true;
        self.wire
            .end(&mut self.sending, trailers)
            .map_err(|_short| Stop::Broken)
    }

    /// Ready when nothing more is to be done for the request.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(body) = &mut self.body {
            if !self.is_over {
                // The origin takes it, whether the client takes the answer or not.
                body.move_request(cx);
            } else {
                if self.connection.remainder.has_body() {
                    // It is charged by the body's own rate.
                    self.connection.activity.first_received.set(None);
                }
                ready!(body.poll_request(cx));
                self.body = None;
            }
        }
        if !self.connection.remainder.is_forgotten() {
            return Poll::Ready(());
        }
        let forgotten = self.forgotten.get_or_insert_with(|| Forgotten {
            left: REMAINDER_BYTES_MAX,
            alarm: Box::pin(tokio::time::sleep(REMAINDER_TIMEOUT)),
            is_over: false,
        });
        if !forgotten.is_over {
            let read = self.wire.poll_forget(cx, &mut forgotten.left);
            let late = read.is_pending() && forgotten.alarm.as_mut().poll(cx).is_ready();
            if read.is_pending() && !late {
                return Poll::Pending;
            }
            forgotten.is_over = true;
            self.connection
                .remainder
                .was_read(read == Poll::Ready(true));
        }
        Poll::Ready(())
    }
}

/// Lets the client read its answer before the socket is closed, unless it is not let in any more.
async fn linger(connection: &Connection, stream: &mut TlsStream) {
    let mut lingering = pin!(stream.linger());
    std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        match connection.closing.cut_due() {
            Some(_) => Poll::Ready(()),
            None => lingering.as_mut().poll(cx),
        }
    })
    .await;
}

/// The connection is a tunnel from here to its end.
async fn pass_through(
    connection: &Connection,
    stream: TlsStream,
    early: Bytes,
    Tunnel { end, exchange }: Tunnel,
) -> Stop {
    let idle = connection.tunables.idle_timeout;
    let traffic = Traffic::default();
    let mut relay = Box::pin(tunnel::relay(stream, early, end, idle, &traffic));
    let drain = &connection.local.drain;
    let mut stirred = pin!(drain.pressing());
    let (stop, error) = std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        if connection.closing.cut_due().is_some() {
            return Poll::Ready((Stop::CertificateLost, Some(RequestError::CertificateLost)));
        }
        if connection.is_shed() {
            return Poll::Ready((Stop::Shed, Some(RequestError::TunnelBroken)));
        }
        if !drain.has_begun() {
            // It leaves our waker there, to look again when somebody has to give back.
            let _begun = stirred.as_mut().poll(cx);
        }
        relay.as_mut().poll(cx).map(|end| {
            let error = match end {
                Ok(()) => None,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    Some(RequestError::IdleTimeout)
                }
                Err(_) => Some(RequestError::TunnelBroken),
            };
            (Stop::Tunnel, error)
        })
    })
    .await;
    exchange.tunnelled(&traffic, error);
    stop
}

/// Waits for a request's first bytes without buffers: they would double what an idle connection
/// costs. Politely ends the connection when the wait is in vain.
pub(super) async fn wait_for_request(
    connection: &Connection,
    stream: &mut TlsStream,
) -> Result<(), Stop> {
    let waited = {
        let _parked = connection.local.park();
        let due = connection.clocks.idle_since() + connection.tunables.idle_timeout;
        let mut alarm = pin!(tokio::time::sleep_until(due.into()));
        let mut drained = pin!(connection.local.drain.pressing());
        std::future::poll_fn(|cx| {
            connection.closing.woken_by(cx.waker());
            if connection.closing.cut_due().is_some() {
                return Poll::Ready(Err(Stop::CertificateLost));
            }
            if connection.is_shed() {
                return Poll::Ready(Err(Stop::Shed));
            }
            if let Poll::Ready(readable) = stream.poll_readable(cx) {
                return Poll::Ready(readable.map_err(|_broken| Stop::Broken));
            }
            if drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Stop::Drained));
            }
            alarm.as_mut().poll(cx).map(|()| Err(Stop::IdleTimeout))
        })
        .await
    };
    if waited.is_ok() {
        connection.activity.first_received.set(Some(clock::now()));
    } else {
        // A client that does not take its close_notify does without.
        let patience = connection.tunables.header_timeout;
        let due = clock::now() + patience;
        let due = connection.closing.cut_due().map_or(due, |cut| cut.min(due));
        drop(tokio::time::timeout_at(due.into(), stream.close()).await);
    }
    waited
}
