//! An HTTP/1.1 connection: driven by hyper while requests are under way, and put aside between them.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::Connection;
use super::answer::answer;
use super::bad_head::{self, Watched};
use super::drive::{Outcome, drive};
use super::exchange::Tunnel;
use super::stop::Stop;
use crate::clock;
use crate::http::incoming::Incoming;
use crate::http::tunnel::{self, Traffic};
use crate::io::TlsStream;
use crate::limits::HYPER_HEADERS;
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
        async move { Ok::<_, Infallible>(answer(connection, request.map(Incoming::Hyper)).await) }
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
