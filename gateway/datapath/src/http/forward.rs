//! Relays one request to its origin and the answer back, given a [`Permit`].
//!
//! Owns the choice of connection, and whether the request goes out once more. What the request
//! means was settled before: the head given here is what the origin gets.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;

use super::body::{BodyObserver, RequestBody, ResponseBody};
use super::connect::{OriginError, OriginStream, connect};
use super::repeat::{Fate, copy_of, is_idempotent};
use super::tunnel::OriginEnd;
use super::upstream::{Hold, Pool, Sender};
use crate::clock;
use crate::limits::{REFUSED_PAUSES, UNPROCESSED_MAX};
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
    pool.earn(origin);
    let mut connected_in = None;
    let mut attempts = Attempts::default();
    loop {
        let sender = match pool.reuse(origin, attempts.any()) {
            Some(sender) => sender,
            None => {
                let started = clock::now();
                let sender = open(origin, pool, patience).await?;
                connected_in = Some(started.elapsed());
                sender
            }
        };
        let started = clock::now();
        let exchange = request.body().exchange();
        let sent = within(patience.response, &*exchange, send(sender, request, origin)).await;
        match sent? {
            // What follows would be bytes of a protocol that is not spoken here.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(OriginError::Unasked);
            }
            Ok(response) => {
                let first_byte_in = started.elapsed();
                return Ok(Served {
                    response,
                    connected_in,
                    first_byte_in,
                });
            }
            Err(_) if exchange.upload().oversized => return Err(OriginError::LargeTrailers),
            Err(_) if exchange.upload().broken => return Err(OriginError::ClientGone),
            Err(Unsent::Unprocessed(again, error)) => {
                attempts.unprocessed += 1;
                if attempts.unprocessed > UNPROCESSED_MAX {
                    return Err(OriginError::Response(error));
                }
                request = again;
            }
            Err(Unsent::Died(again, error)) => {
                if attempts.repeated || !pool.may_repeat(origin) {
                    return Err(OriginError::Response(error));
                }
                attempts.repeated = true;
                request = again;
            }
            Err(Unsent::Failed(error)) => return Err(OriginError::Response(error)),
        }
    }
}

/// What has been tried for one request.
#[derive(Default)]
struct Attempts {
    /// Attempts of which the origin has processed nothing.
    unprocessed: usize,
    /// It was repeated: the connection died under it.
    repeated: bool,
}

impl Attempts {
    fn any(&self) -> bool {
        self.unprocessed > 0 || self.repeated
    }
}

/// A new connection. An origin that refuses it may be about to start again: it is asked a few
/// times more before the client hears of it, within the same budget as requests that are repeated.
/// All attempts together have the time to connect.
async fn open(origin: &Origin, pool: &Rc<Pool>, patience: Patience) -> Result<Sender, OriginError> {
    let started = clock::now();
    let left = || patience.connect.saturating_sub(started.elapsed());
    let mut pauses = REFUSED_PAUSES.into_iter();
    let mut asked = false;
    loop {
        let error = match pool.open(origin, left()).await {
            Ok(sender) => return Ok(sender),
            Err(error) => error,
        };
        let refused = matches!(&error, OriginError::Connect(why)
            if matches!(why.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset));
        let Some(pause) = pauses.next().filter(|pause| refused && *pause < left()) else {
            return Err(error);
        };
        if !asked && !pool.may_repeat(origin) {
            return Err(error);
        }
        asked = true;
        tokio::time::sleep(pause).await;
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
enum Unsent {
    /// The origin has processed nothing of it: it can go out once more, whatever it means.
    Unprocessed(Request<RequestBody>, hyper::Error),
    /// The connection died, and the request may be repeated.
    Died(Request<RequestBody>, hyper::Error),
    Failed(hyper::Error),
}

async fn send(
    sender: Sender,
    mut request: Request<RequestBody>,
    origin: &Origin,
) -> Result<Response<ResponseBody>, Unsent> {
    let may_repeat = is_idempotent(request.method());
    let (outcome, again, sender) = match sender {
        Sender::Http1(mut lease) => {
            *request.version_mut() = Version::HTTP_11;
            frame(&mut request);
            // A request that was never sent comes back by itself.
            let again = may_repeat.then(|| copy_of(&mut request));
            let outcome = lease.sender.try_send_request(request).await;
            (outcome, again, Sender::Http1(lease))
        }
        Sender::Http2(stream) => {
            *request.version_mut() = Version::HTTP_2;
            let scheme = if origin.tls.is_some() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            };
            absolute(&mut request, scheme);
            let again = Some(copy_of(&mut request));
            request.body_mut().takes(stream.clone());
            let outcome = stream.sender().try_send_request(request).await;
            (outcome, again, Sender::Http2(stream))
        }
    };
    let mut error = match outcome {
        Ok(response) => {
            let (parts, incoming) = response.into_parts();
            let hold = match sender {
                Sender::Http1(lease) => Hold::Http1(lease),
                Sender::Http2(stream) => Hold::Http2 { _stream: stream },
            };
            return Ok(relay(parts, incoming, Some(hold)));
        }
        Err(error) => error,
    };
    let never_sent = error.take_message();
    let fate = match &never_sent {
        Some(_) => Fate::Unprocessed,
        None => Fate::of(error.error()),
    };
    if let Sender::Http2(stream) = &sender {
        match fate {
            Fate::Refused => stream.was_refused(),
            Fate::Unprocessed | Fate::Died => stream.retire(),
            Fate::Answered => {}
        }
    }
    let again = again
        .filter(|again| again.body().is_whole())
        .inspect(|again| again.body().take_over())
        .or(never_sent);
    let error = error.into_error();
    Err(match (fate, again) {
        (Fate::Refused | Fate::Unprocessed, Some(again)) => Unsent::Unprocessed(again, error),
        (Fate::Died, Some(again)) if may_repeat => Unsent::Died(again, error),
        _ => Unsent::Failed(error),
    })
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
    hold: Option<Hold>,
) -> Response<ResponseBody> {
    Response::from_parts(parts, ResponseBody::origin(incoming, hold))
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
