//! Drives hyper over an established connection, and watches its clocks.
//!
//! hyper's own timers are not used: they know one timeout for a request head and none for idle
//! connections, and cost a timer per request. One timer per connection is re-armed only when it
//! fires, and looks at the marks that requests and sockets leave.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;

use super::Connection;
use super::answer::answer;
use super::bad_head::{self, Watched};
use super::exchange::Tunnel;
use super::flood::Watch;
use super::record::record_connection;
use super::stop::Stop;
use crate::clock;
use crate::http::LocalExecutor;
use crate::http::tunnel::{self, Traffic};
use crate::http::upstream::HeadBounds;
use crate::io::TlsStream;
use crate::limits::{
    FLOOD_FAREWELL, H2_SEND_BUFFER, H2_WINDOW_CONNECTION, H2_WINDOW_STREAM, HYPER_HEADERS,
};
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

/// Serves HTTP/1.1, and the tunnel that may follow.
pub(super) async fn serve_http1(connection: Rc<Connection>, stream: TlsStream) -> Served {
    let tunables = &connection.tunables;
    let mut builder = http1::Builder::new();
    // Never `pipeline_flush`: with it hyper takes bodies in without bound (its `can_buffer`).
    builder.header_read_timeout(None).half_close(false);
    builder.max_buf_size(tunables.header_bytes_max);
    // Of trailers, too.
    builder.max_header_size(tunables.header_bytes_max);
    if tunables.header_count_max != HYPER_HEADERS {
        builder.max_headers(tunables.header_count_max);
    }
    let owner = connection.clone();
    let service = service_fn(move |request| {
        let connection = owner.clone();
        async move { Ok::<_, Infallible>(answer(connection, request).await) }
    });
    let stream = Watched::new(stream, connection.clone());
    let mut hyper = builder.serve_connection(stream, service);
    let outcome = drive(&connection, None, &mut hyper, |hyper| {
        hyper.graceful_shutdown()
    })
    .await;
    let end = connection.remainder.take_tunnel();
    let parts = hyper.into_parts();
    let mut stream = parts.io.into_stream();
    bad_head::record(&connection, &parts.read_buf);
    match (outcome, end) {
        (Outcome::Idle, _) => {
            stream.put_back(parts.read_buf);
            Served::Idle(stream)
        }
        (Outcome::Stop(Stop::Closed), Some(tunnel)) => {
            Served::Stopped(pass_through(&connection, stream, parts.read_buf, tunnel).await)
        }
        (Outcome::Stop(stop), _) => {
            let unread =
                connection.remainder.is_unread() || stop == Stop::BadHttp || stream.has_alerted();
            if unread && stop != Stop::CertificateLost {
                linger(&connection, &mut stream).await;
            }
            Served::Stopped(stop)
        }
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
    let (stop, error) = std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        if connection.closing.cut_due().is_some() {
            return Poll::Ready((Stop::CertificateLost, Some(RequestError::CertificateLost)));
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

/// Serves HTTP/2.
pub(super) async fn serve_http2(connection: Rc<Connection>, stream: TlsStream) -> Stop {
    let tunables = &connection.tunables;
    let streams = u32::try_from(tunables.h2_streams_max).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(streams)
        .max_header_list_size(HeadBounds::of(tunables).h2_list_size())
        .max_pending_accept_reset_streams(tunables.h2_resets_max)
        .max_local_error_reset_streams(tunables.h2_resets_max)
        .initial_stream_window_size(H2_WINDOW_STREAM)
        .initial_connection_window_size(H2_WINDOW_CONNECTION)
        .max_send_buf_size(H2_SEND_BUFFER);
    let owner = connection.clone();
    let service = service_fn(move |request| {
        let connection = owner.clone();
        async move { Ok::<_, Infallible>(answer(connection, request).await) }
    });
    let watch = Watch::new(
        tunables.h2_control_frames_max,
        connection.account.clone(),
        clock::now(),
    );
    drop(connection.watch.set(watch.clone()));
    let mut hyper = builder.serve_connection(watch.guard(stream), service);
    let outcome = drive(&connection, Some(&watch), &mut hyper, |hyper| {
        hyper.graceful_shutdown()
    })
    .await;
    drop(hyper);
    let stream = watch.take_stream();
    match outcome {
        Outcome::Stop(Stop::Flood) => {
            record_connection(&connection, Stop::Flood);
            // h2 has said its own goodbye, if it was the first to notice.
            if let Some(stream) = stream.filter(|_| watch.is_over()) {
                watch.say_goodbye(stream).await;
            }
            Stop::Flood
        }
        Outcome::Stop(stop) => stop,
        // HTTP/2 connections have a state of their own and are never put aside.
        Outcome::Idle => Stop::IdleTimeout,
    }
}

/// How driving hyper ended.
enum Outcome {
    Stop(Stop),
    /// Between two HTTP/1.1 requests, and nothing is in flight.
    Idle,
}

/// Waits for a request's first bytes with hyper out of the way: its buffers would double what an
/// idle connection costs. Politely ends the connection when the wait is in vain.
pub(super) async fn wait_for_request(
    connection: &Connection,
    stream: &mut TlsStream,
) -> Result<(), Stop> {
    let waited = {
        let _parked = connection.local.park();
        let due = connection.clocks.idle_since() + connection.tunables.idle_timeout;
        let mut alarm = pin!(tokio::time::sleep_until(due.into()));
        let mut drained = pin!(connection.local.drain.begun());
        std::future::poll_fn(|cx| {
            connection.closing.woken_by(cx.waker());
            if connection.closing.cut_due().is_some() {
                return Poll::Ready(Err(Stop::CertificateLost));
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

/// Polls hyper until the connection stops, for whichever reason comes first.
async fn drive<H>(
    connection: &Connection,
    http2: Option<&Watch>,
    hyper: &mut H,
    retire: impl Fn(Pin<&mut H>),
) -> Outcome
where
    H: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut alarm = pin!(tokio::time::sleep_until(clock::now().into()));
    let mut drained = pin!(connection.local.drain.begun());
    let mut retiring = None;
    let mut flooded = None;
    // The first poll leaves our waker with the drain; after it the flag is enough.
    let _: Option<()> = poll_once(drained.as_mut()).await;
    std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut *hyper).poll(cx) {
                let stop = stop_of(connection, outcome, retiring);
                return Poll::Ready(Outcome::Stop(stop));
            }
            if let Some(watch) = http2 {
                watch.settle();
            }
            if let Some(watch) = http2.filter(|watch| watch.is_over()) {
                if watch.may_end() {
                    return Poll::Ready(Outcome::Stop(Stop::Flood));
                }
                if flooded.is_none() {
                    let due = clock::now() + FLOOD_FAREWELL;
                    flooded = Some(due);
                    alarm.as_mut().reset(due.into());
                }
            }
            let cut = connection.closing.cut_due();
            let wanted = if cut.is_some() {
                Some(Stop::CertificateLost)
            } else if connection.local.drain.has_begun() {
                Some(Stop::Drained)
            } else {
                connection.closing.is_retired().then_some(Stop::Closed)
            };
            if let (Some(stop), None) = (wanted, retiring) {
                retiring = Some(stop);
                retire(Pin::new(&mut *hyper));
                continue;
            }
            if let Some(due) = cut.filter(|due| alarm.deadline() > (*due).into()) {
                retiring = Some(Stop::CertificateLost);
                alarm.as_mut().reset(due.into());
            }
            while alarm.as_mut().poll(cx).is_ready() {
                let now = clock::now();
                if flooded.is_some_and(|due| due <= now) {
                    return Poll::Ready(Outcome::Stop(Stop::Flood));
                }
                if let Some(due) = cut {
                    if due <= now {
                        return Poll::Ready(Outcome::Stop(Stop::CertificateLost));
                    }
                    alarm.as_mut().reset(due.into());
                    continue;
                }
                if http2.is_none()
                    && retiring.is_none()
                    && !connection.remainder.has_body()
                    && connection.clocks.is_quiet(&connection.activity, now)
                {
                    return Poll::Ready(Outcome::Idle);
                }
                match connection.due(http2.is_some(), now) {
                    Ok(due) => alarm.as_mut().reset(due.into()),
                    Err(Stop::IdleTimeout) if retiring.is_none() => {
                        // Politely first: a close_notify or a GOAWAY, so that no client takes the
                        // end for a fault.
                        retiring = Some(Stop::IdleTimeout);
                        retire(Pin::new(&mut *hyper));
                        let due = clock::now() + connection.tunables.header_timeout;
                        alarm.as_mut().reset(due.into());
                        cx.waker().wake_by_ref();
                    }
                    Err(stop) => return Poll::Ready(Outcome::Stop(stop)),
                }
            }
            return Poll::Pending;
        }
    })
    .await
}

async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx: &mut Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn stop_of(connection: &Connection, outcome: hyper::Result<()>, retiring: Option<Stop>) -> Stop {
    match outcome {
        Ok(()) => retiring.unwrap_or(Stop::Closed),
        Err(error) if error.is_parse() => {
            connection.bad_head.because(error);
            Stop::BadHttp
        }
        Err(error) if error.is_incomplete_message() || error.is_canceled() => Stop::Closed,
        Err(error) if is_flood(&error) => Stop::Flood,
        Err(error) => {
            tracing::debug!(%error, "a client connection broke");
            Stop::Broken
        }
    }
}

/// Whether h2 has found that a client makes it work for nothing: it has bounds of its own.
fn is_flood(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    })
}
