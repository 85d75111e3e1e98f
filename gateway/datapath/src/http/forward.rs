//! Relays one request to its origin and the answer back, given a [`Permit`].
//!
//! Owns the choice of connection and the one safe retry. What the request means was settled
//! before: the head given here is what the origin gets.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;

use super::body::{BodyObserver, RequestBody, ResponseBody};
use super::connect::{OriginError, OriginStream, connect};
use super::tunnel::OriginEnd;
use super::upstream::{Lease, Pool, Sender};
use crate::clock;
use crate::limits::STALE_AFTER;
use rules::Permit;
use snapshot::http::origin::Origin;

/// How long origins may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To be connected to.
    pub connect: Duration,
    /// To answer with a head.
    pub response: Duration,
}

/// An answer from an origin.
pub struct Served {
    /// The answer; hop-by-hop headers still in it.
    pub response: Response<ResponseBody>,
    /// How long a new connection took; `None` when an old one served.
    pub connected_in: Option<Duration>,
    /// From the request leaving to the answer's head.
    pub first_byte_in: Duration,
}

/// Forwards a permitted request.
///
/// # Errors
/// See [`OriginError`]; nothing has been answered then.
pub async fn forward(
    _permit: Permit,
    mut request: Request<RequestBody>,
    origin: &Origin,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<Served, OriginError> {
    let mut connected_in = None;
    // At most one connection that turns out to be dead is forgiven for each request.
    let mut may_retry = true;
    loop {
        let sender = match pool.reuse(origin).filter(|_| may_retry) {
            Some(sender) => sender,
            None => {
                let started = clock::now();
                let sender = pool.open(origin, patience.connect).await?;
                connected_in = Some(started.elapsed());
                sender
            }
        };
        let started = clock::now();
        let exchange = request.body().exchange();
        let sent = within(patience.response, &*exchange, send(sender, request, origin)).await;
        match sent {
            // What follows would be bytes of a protocol that is not spoken here.
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(OriginError::Unasked);
            }
            Ok(Ok(response)) => {
                let first_byte_in = started.elapsed();
                return Ok(Served {
                    response,
                    connected_in,
                    first_byte_in,
                });
            }
            Ok(Err(Unsent::Stale(again))) if may_retry => {
                may_retry = false;
                request = again;
            }
            Ok(Err(Unsent::Stale(_))) => {
                let closed = std::io::Error::new(
                    std::io::ErrorKind::ConnectionReset,
                    "it closed the connection before the request",
                );
                return Err(OriginError::Connect(closed));
            }
            Ok(Err(Unsent::Failed(_))) if exchange.upload().broken => {
                return Err(OriginError::ClientGone);
            }
            Ok(Err(Unsent::Failed(error))) => return Err(OriginError::Response(error)),
            Err(late) => return Err(late),
        }
    }
}

/// Waits for an answer, counting from the last byte of the request that went up: a long upload is
/// not a slow origin.
async fn within<T>(
    patience: Duration,
    exchange: &dyn BodyObserver,
    answer: impl Future<Output = T>,
) -> Result<T, OriginError> {
    let mut answer = pin!(answer);
    let mut alarm = pin!(tokio::time::sleep(patience));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let upload = exchange.upload();
            let due = upload.last_progress.map(|last| last + patience);
            match due.filter(|due| *due > clock::now()) {
                Some(due) => alarm.as_mut().reset(due.into()),
                None if upload.waits_for_client => {
                    return Poll::Ready(Err(OriginError::ClientStalled));
                }
                None => return Poll::Ready(Err(OriginError::ResponseTimeout)),
            }
        }
        Poll::Pending
    })
    .await
}

/// What became of a request that got no answer.
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one match, and boxing would cost the retry an allocation"
)]
enum Unsent {
    /// The connection was dead and the request can go out once more.
    Stale(Request<RequestBody>),
    Failed(hyper::Error),
}

async fn send(
    sender: Sender,
    mut request: Request<RequestBody>,
    origin: &Origin,
) -> Result<Response<ResponseBody>, Unsent> {
    match sender {
        Sender::Http1(mut lease) => {
            *request.version_mut() = Version::HTTP_11;
            frame(&mut request);
            // A copy of the head is for the case that the origin closes while the request is on
            // its way. That happens to connections that lay idle, not to busy ones.
            let risky = lease.idle.is_some_and(|idle| idle >= STALE_AFTER);
            let again = (risky && is_repeatable(&request)).then(|| copy_of(&request));
            if let Err(error) = lease.sender.ready().await {
                return Err(if lease.idle.is_some() {
                    Unsent::Stale(request)
                } else {
                    Unsent::Failed(error)
                });
            }
            let (parts, incoming) = match lease.sender.try_send_request(request).await {
                Ok(response) => response.into_parts(),
                Err(mut error) => {
                    return Err(match (error.take_message(), again) {
                        (Some(request), _) if lease.idle.is_some() => Unsent::Stale(request),
                        (None, Some(request)) => Unsent::Stale(request),
                        _ => Unsent::Failed(error.into_error()),
                    });
                }
            };
            Ok(relay(parts, incoming, Some(lease)))
        }
        Sender::Http2(mut sender) => {
            *request.version_mut() = Version::HTTP_2;
            let scheme = if origin.tls.is_some() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            };
            absolute(&mut request, scheme);
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let (parts, incoming) = response.into_parts();
                    Ok(relay(parts, incoming, None))
                }
                Err(mut error) => Err(match error.take_message() {
                    Some(request) => Unsent::Stale(request),
                    None => Unsent::Failed(error.into_error()),
                }),
            }
        }
    }
}

/// Says that a body of unknown length follows: hyper takes some methods, GET among them, to have
/// none unless the head says otherwise (RFC 9110 §9.3.1 lets them have one).
fn frame(request: &mut Request<RequestBody>) {
    if !request.body().is_empty() && !request.headers().contains_key(CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
}

fn relay(
    parts: http::response::Parts,
    incoming: Incoming,
    lease: Option<Lease>,
) -> Response<ResponseBody> {
    Response::from_parts(parts, ResponseBody::origin(incoming, lease))
}

/// A second attempt changes nothing: the method is idempotent (RFC 9110 §9.2.2) and there is no
/// body that is half gone.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    idempotent && request.body().is_empty()
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(request.body().empty_copy());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// HTTP/2 names the authority in the target (RFC 9113 §8.3.1).
fn absolute(request: &mut Request<RequestBody>, scheme: Scheme) {
    let host = request.headers_mut().remove(http::header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = authority else { return };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// Forwards a request that asks for another protocol (RFC 9110 §7.8), over a connection of its
/// own. When the origin agrees, its end of the tunnel comes with the 101.
///
/// # Errors
/// See [`OriginError`].
pub async fn upgrade(
    _permit: Permit,
    mut request: Request<RequestBody>,
    origin: &Origin,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<(Served, Option<OriginEnd>), OriginError> {
    let started = clock::now();
    let (stream, _) = connect(origin, true, patience.connect).await?;
    let connected_in = Some(started.elapsed());
    *request.version_mut() = Version::HTTP_11;
    let (mut sender, mut connection) = http1::handshake(stream)
        .await
        .map_err(OriginError::Response)?;
    let started = clock::now();
    let exchange = request.body().exchange();
    let answer = ask(&mut sender, &mut connection, request);
    let answer = within(patience.response, &*exchange, answer).await?;
    let response = answer.map_err(OriginError::Response)?;
    let first_byte_in = started.elapsed();
    let (parts, incoming) = response.into_parts();
    let end = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        std::future::poll_fn(|cx| connection.poll_without_shutdown(cx))
            .await
            .map_err(OriginError::Response)?;
        let parts = connection.into_parts();
        Some(OriginEnd {
            stream: parts.io,
            early: parts.read_buf,
        })
    } else {
        pool.drive(connection);
        None
    };
    let response = relay(parts, incoming, None);
    Ok((
        Served {
            response,
            connected_in,
            first_byte_in,
        },
        end,
    ))
}

/// Sends a request while driving its connection.
async fn ask(
    sender: &mut http1::SendRequest<RequestBody>,
    connection: &mut http1::Connection<OriginStream, RequestBody>,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, hyper::Error> {
    let mut answer = pin!(sender.send_request(request));
    let mut running = true;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = answer.as_mut().poll(cx) {
            return Poll::Ready(response);
        }
        if running {
            running = Pin::new(&mut *connection)
                .poll_without_shutdown(cx)
                .is_pending();
            return answer.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}
