//! An HTTP/2 connection: h2 keeps the protocol, and its requests are driven by the same task.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{self, Handshake, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, StatusCode, header};
use http_body::Body as _;

use super::Connection;
use super::answer::answer;
use super::drive::drive;
use super::exchange::{Exchange, Tunnel};
use super::flood::{Guarded, Watch};
use super::record::record_connection;
use super::refusals;
use super::spare::Spare;
use super::stop::Stop;
use super::streams::Streams;
use crate::clock;
use crate::http::body::ResponseBody;
use crate::http::incoming::Incoming;
use crate::http::response::{Response, ResponseHead};
use crate::http::spare_heads;
use crate::http::stream_end::{Meter, StreamEnd};
use crate::http::tunnel::{self, Traffic};
use crate::http::upstream::HeadBounds;
use crate::http::{date, outgoing, websocket};
use crate::io::TlsStream;
use crate::limits::{
    H2_POLLS_IN_A_ROW, H2_SEND_BUFFER, H2_STREAMS_KEPT, H2_WINDOW_CONNECTION, H2_WINDOW_STREAM,
};
use config::Tunables;
use snapshot::http::request_head::RequestHead;
use vocabulary::request_error::RequestError;

/// Serves HTTP/2.
pub(super) async fn serve_http2(connection: Rc<Connection>, stream: TlsStream) -> Stop {
    let tunables = &connection.tunables;
    let watch = Watch::new(
        tunables.h2_control_frames_max,
        connection.account.clone(),
        clock::now(),
    );
    drop(connection.watch.set(watch.clone()));
    let streams_max = tunables.h2_streams_max;
    let handshake = builder(tunables).handshake(watch.guard(stream));
    let spares = Rc::<Spares>::default();
    let begin = |mut request, reply| {
        websocket::normalise(&mut request);
        let (head, stream) = request.into_parts();
        let head = spare_heads::head_of(head);
        serve_stream(connection.clone(), spares.clone(), (head, stream), reply)
    };
    let mut serving = Serving {
        connection: &connection,
        wire: Wire::Beginning(handshake),
        streams: Streams::new(),
        streams_max,
        spares: spares.clone(),
        begin,
        goodbye: Goodbye::No,
    };
    let (rest, retire) = (Serving::rest, Serving::retire);
    let stop = drive(&connection, &watch, &mut serving, rest, retire).await;
    drop(serving);
    // A tunnel holds its connection.
    drop(connection.remainder.take_tunnel());
    let stream = watch.take_stream();
    if stop == Stop::Flood {
        record_connection(&connection, Stop::Flood);
        // h2 has said its own goodbye, if it was the first to notice.
        if let Some(stream) = stream.filter(|_| watch.is_over()) {
            watch.say_goodbye(stream).await;
        }
    }
    stop
}

/// How we speak HTTP/2 to clients.
pub(crate) fn builder(tunables: &Tunables) -> server::Builder {
    let streams_max = u32::try_from(tunables.h2_streams_max).unwrap_or(u32::MAX);
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(streams_max)
        .max_header_list_size(HeadBounds::of(tunables).h2_list_size())
        .max_pending_accept_reset_streams(tunables.h2_resets_max)
        .max_local_error_reset_streams(Some(tunables.h2_resets_max))
        .initial_window_size(H2_WINDOW_STREAM)
        .initial_connection_window_size(H2_WINDOW_CONNECTION)
        .max_send_buffer_size(H2_SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

/// A connection and its requests.
struct Serving<'c, F, B> {
    connection: &'c Connection,
    wire: Wire,
    streams: Streams<F>,
    spares: Rc<Spares>,
    /// Requests that may be open.
    streams_max: usize,
    begin: B,
    goodbye: Goodbye,
}

/// How far the client was told that no further request is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    No,
    /// It was told. What it sends until it has heard of that is served (RFC 9113 §6.8).
    Said,
    /// It has had time to hear of it: what it sends all the same is refused. So many bytes had been
    /// sent by then.
    Heard(u64),
    /// Nothing is under way any more, nor goes out: our last word does.
    Over,
    /// It has had time to go out.
    Ended,
}

/// What h2 has of the connection.
enum Wire {
    Beginning(Handshake<Guarded, Bytes>),
    Begun(server::Connection<Guarded, Bytes>),
}

impl<F, B> Serving<'_, F, B>
where
    F: Future<Output = ()>,
    B: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
{
    /// Tells the client that no further request is wanted; the next time, takes none any more; and
    /// from then on ends the connection as soon as nothing has been under way between two times.
    fn retire(mut self: Pin<&mut Self>)
    where
        Self: Unpin,
    {
        let sent = self.connection.activity.bytes_out.get();
        self.goodbye = match self.goodbye {
            Goodbye::No => {
                if let Wire::Begun(wire) = &mut self.wire {
                    wire.graceful_shutdown();
                }
                Goodbye::Said
            }
            Goodbye::Heard(before) if before == sent && self.is_quiet() => {
                // With the last stream that was served (RFC 9113 §6.8).
                if let Wire::Begun(wire) = &mut self.wire {
                    wire.abrupt_shutdown(Reason::NO_ERROR);
                }
                Goodbye::Over
            }
            Goodbye::Said | Goodbye::Heard(_) => Goodbye::Heard(sent),
            Goodbye::Over | Goodbye::Ended => Goodbye::Ended,
        };
        self.streams.wake_wire();
    }

    /// Gives back what requests took, unless one of them is under way: many connections are idle most of the time.
    fn rest(mut self: Pin<&mut Self>)
    where
        Self: Unpin,
    {
        self.streams.rest();
        if self.streams.open() == 0 {
            self.spares.take();
        }
    }

    /// Whether nothing is under way, in either direction: not the end of an answer that waits for a
    /// window, nor that of a request that was answered before it.
    fn is_quiet(&self) -> bool {
        let has_streams = match &self.wire {
            Wire::Beginning(_) => false,
            Wire::Begun(wire) => wire.has_streams(),
        };
        self.streams.open() == 0 && !has_streams && !self.connection.activity.sending.get()
    }

    /// Moves the wire, and takes the requests that come.
    fn poll_wire(&mut self) -> Poll<Result<(), h2::Error>> {
        let waker = self.streams.wire_waker().clone();
        let cx = &mut Context::from_waker(&waker);
        loop {
            let wire = match &mut self.wire {
                Wire::Beginning(handshake) => {
                    let Poll::Ready(wire) = Pin::new(handshake).poll(cx)? else {
                        return Poll::Pending;
                    };
                    self.wire = Wire::Begun(wire);
                    if let Wire::Begun(wire) = &mut self.wire
                        && self.goodbye != Goodbye::No
                    {
                        wire.graceful_shutdown();
                    }
                    continue;
                }
                Wire::Begun(wire) => wire,
            };
            // What h2 has beyond that waits there: it has bounds for streams that are reset meanwhile.
            if self.streams.open() >= self.streams_max {
                return wire.poll_closed(cx);
            }
            match wire.poll_accept(cx)? {
                Poll::Ready(Some((_, mut reply)))
                    if !matches!(self.goodbye, Goodbye::No | Goodbye::Said) =>
                {
                    // Nothing was done for it: the client may send it to another connection.
                    if let Some(watch) = self.connection.watch.get() {
                        watch.refusals.accepted(reply.stream_id().as_u32());
                    }
                    reply.send_reset(Reason::REFUSED_STREAM);
                }
                Poll::Ready(Some((request, reply))) => {
                    if let Some(watch) = self.connection.watch.get() {
                        watch.refusals.accepted(reply.stream_id().as_u32());
                    }
                    let begin = &self.begin;
                    self.streams.begin(|| begin(request, reply));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<F, B> Future for Serving<'_, F, B>
where
    F: Future<Output = ()>,
    B: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Unpin,
{
    type Output = Result<(), Stop>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.streams.awake(cx);
        let mut left = H2_POLLS_IN_A_ROW;
        loop {
            let was_full = this.streams.open() >= this.streams_max;
            let (wire, polled) = this.streams.poll(left);
            if was_full && this.streams.open() < this.streams_max {
                this.streams.wake_wire();
            }
            if wire && let Poll::Ready(ended) = this.poll_wire() {
                refusals::record(this.connection);
                if matches!(this.goodbye, Goodbye::Over | Goodbye::Ended) {
                    return Poll::Ready(Ok(()));
                }
                return Poll::Ready(ended.map_err(|error| stop_of(this.connection, &error)));
            }
            if wire {
                refusals::record(this.connection);
            }
            if this.goodbye == Goodbye::Ended {
                return Poll::Ready(Ok(()));
            }
            let watch = this.connection.watch.get();
            if watch.is_some_and(|watch| watch.has_refused()) {
                this.streams.wake_wire();
            }
            if this.streams.sleep() {
                return Poll::Pending;
            }
            left = left.saturating_sub(polled + usize::from(wire));
            if left == 0 {
                this.streams.pause();
                return Poll::Pending;
            }
        }
    }
}

fn stop_of(connection: &Connection, error: &h2::Error) -> Stop {
    if error.is_io() {
        tracing::debug!(%error, "a client connection broke");
        return Stop::Broken;
    }
    match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_library() => Stop::Flood,
        Some(_) if error.is_library() => {
            refusals::record_end(connection, error);
            Stop::BadHttp
        }
        _ => {
            tracing::debug!(%error, "a client ended its connection");
            Stop::Closed
        }
    }
}

/// Where the exchanges of requests that are over were.
type Spares = RefCell<Vec<Spare<Exchange>>>;

/// One request and its stream, from the head to the last byte of the answer.
async fn serve_stream(
    connection: Rc<Connection>,
    spares: Rc<Spares>,
    request: (Box<RequestHead>, RecvStream),
    reply: SendResponse<Bytes>,
) {
    let mut spare = spares.borrow_mut().pop().unwrap_or_default();
    answer_stream(connection, request, reply, &mut spare).await;
    spare.settle(Exchange::end);
    let mut spares = spares.borrow_mut();
    if spares.len() < H2_STREAMS_KEPT {
        spares.push(spare);
    }
}

async fn answer_stream(
    connection: Rc<Connection>,
    (head, stream): (Box<RequestHead>, RecvStream),
    mut reply: SendResponse<Bytes>,
    spare: &mut Spare<Exchange>,
) {
    let is_tunnel = head.extensions.get::<websocket::Extended>().is_some();
    // What comes on the stream of a tunnel is no body.
    let (incoming, kept) = if is_tunnel {
        (Incoming::Over, Some(stream))
    } else {
        (Incoming::http2(stream, &head.headers), None)
    };
    let answered = {
        let request = (head, incoming);
        let mut answer = pin!(answer(connection.clone(), request, spare));
        poll_fn(|cx| {
            let polled = answer.as_mut().poll(cx);
            // The tunnel, and the interims, are this request's: no other was polled since they were
            // left.
            let tunnel = polled
                .is_ready()
                .then(|| connection.remainder.take_tunnel())
                .flatten();
            // Of a request that was taken back, nothing is said.
            if reply.poll_reset(cx).is_ready() {
                connection.watch.get().map(|watch| watch.interims.take());
                return Poll::Ready(None);
            }
            send_interims(&connection, &mut reply);
            match polled {
                Poll::Ready(response) => Poll::Ready(Some((response, tunnel))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    let Some((response, tunnel)) = answered else {
        return;
    };
    let Some((head, body)) = complete(response, tunnel.is_some()) else {
        return reply.send_reset(Reason::INTERNAL_ERROR);
    };
    let is_over = tunnel.is_none() && body.is_end_stream();
    let stream = match reply.send_response(head, is_over) {
        Ok(stream) => stream,
        // What the client has reset meanwhile needs no answer; a head that h2 does not take has none.
        Err(_) => return reply.send_reset(Reason::INTERNAL_ERROR),
    };
    if let (Some(tunnel), Some(kept)) = (tunnel, kept) {
        // Rare, and larger than all else: not kept room for in every request.
        Box::pin(pass_through(connection, tunnel, stream, kept)).await;
    } else if !is_over {
        outgoing::send(body, stream, Reason::INTERNAL_ERROR).await;
    }
}

/// Passes on what the origin says before it answers (RFC 8297).
fn send_interims(connection: &Connection, reply: &mut SendResponse<Bytes>) {
    let Some(watch) = connection.watch.get() else {
        return;
    };
    if watch.interims.borrow().is_empty() {
        return;
    }
    for interim in watch.interims.take() {
        let (head, ()) = interim.into_parts();
        // To a client that has reset the stream nothing more is said.
        let sent = map_of(head).map(|head| reply.send_informational(head));
        if !matches!(sent, Some(Ok(()))) {
            return;
        }
    }
}

/// A stream is a tunnel from here to its end.
async fn pass_through(
    connection: Rc<Connection>,
    Tunnel { end, exchange }: Tunnel,
    send: SendStream<Bytes>,
    receive: RecvStream,
) {
    let idle = connection.tunables.idle_timeout;
    let open = OpenTunnel {
        exchange,
        traffic: Traffic::default(),
    };
    let client = StreamEnd::new(send, receive, Metered(connection));
    let ended = tunnel::relay(client, Bytes::new(), end, idle, &open.traffic).await;
    let error = match ended {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Some(RequestError::IdleTimeout),
        Err(_) => Some(RequestError::TunnelBroken),
    };
    open.exchange.tunnelled(&open.traffic, error);
}

/// A tunnel that is written down when it ends, however it does.
struct OpenTunnel {
    exchange: Rc<Exchange>,
    traffic: Traffic,
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let is_cut = self.exchange.connection().closing.cut_due().is_some();
        let error = if is_cut {
            RequestError::CertificateLost
        } else {
            RequestError::TunnelBroken
        };
        self.exchange.tunnelled(&self.traffic, Some(error));
    }
}

/// What is written into a tunnel counts among what is held for its client.
struct Metered(Rc<Connection>);

impl Meter for Metered {
    fn may_write(&self, cx: &Context<'_>) -> bool {
        let watch = self.0.watch.get();
        watch.is_none_or(|watch| watch.may_fetch(cx))
    }

    fn wrote(&self, bytes: usize) {
        if let Some(watch) = self.0.watch.get() {
            watch.fetched(bytes);
        }
    }
}

/// What every answer says: when it was given, and how long it is, as far as that is known.
/// `None`: its headers are more than a map holds, which is far more than an origin may say.
fn complete(
    response: Response<ResponseBody>,
    is_tunnel: bool,
) -> Option<(http::Response<()>, ResponseBody)> {
    let (mut head, body) = response.into_parts();
    let headers = &mut head.headers;
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, date::now());
    }
    // Neither may say one (RFC 9110 §8.6).
    if is_tunnel || head.status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    } else if !body.is_end_stream()
        && !headers.contains_key(header::CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Some((map_of(head)?, body))
}

/// A head as h2 takes it.
fn map_of(head: ResponseHead) -> Option<http::Response<()>> {
    let mut response = http::Response::new(());
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = spare_heads::into_map(head.headers).ok()?;
    Some(response)
}
