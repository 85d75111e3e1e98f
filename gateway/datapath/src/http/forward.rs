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

use bytes::Bytes;
use h2::Reason;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, header, request};
use http_body::Body as _;

use super::balance::Destination;
use super::body::{BodyObserver, RequestBody, ResponseBody};
use super::connect::{AnswerError, OriginError, OriginStream, connect};
use super::incoming::Http2Body;
use super::multiplexed::Stream;
use super::outgoing;
use super::repeat::{Fate, is_idempotent};
use super::spare_maps;
use super::stream_end::{StreamEnd, Unmetered};
use super::tunnel::{HeldStream, OriginEnd};
use super::upstream::{Lease, Pool, Sender};
use super::wait::send_rest;
use super::websocket;
use crate::clock;
use crate::limits::{CONNECT_TRY_MIN, REFUSED_PAUSES, UNPROCESSED_MAX};
use rules::Permit;
use snapshot::http::origin::Origin;
use vocabulary::settings::OriginProtocol;

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

/// Forwards a permitted request. Where an address takes no connection it goes to another one: nothing
/// of it was sent. What may be repeated when its connection died is repeated at another one, too.
///
/// # Errors
/// See [`OriginError`]; nothing has been answered then.
pub async fn forward(
    _permit: Permit,
    mut request: Request<RequestBody>,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<Served, OriginError> {
    pool.earn(&destination.origin());
    let mut connected_in = None;
    let mut attempts = Attempts::default();
    loop {
        let (sender, is_new) = match pool.reuse(&destination.origin(), attempts.any()) {
            Some(sender) => (sender, false),
            None => {
                let started = clock::now();
                let opened = open_somewhere(destination, pool, patience, attempts.any()).await;
                let opened = opened.inspect_err(|error| destination.failed(error, clock::now()))?;
                connected_in = opened.1.then(|| started.elapsed());
                opened
            }
        };
        let origin = &*destination.origin();
        let started = clock::now();
        let exchange = request.body().exchange();
        let sent = within(
            patience.response,
            &*exchange,
            send(sender, request, origin, patience),
        )
        .await;
        let sent = sent.inspect_err(|error| destination.failed(error, clock::now()))?;
        match sent {
            // What follows would be bytes of a protocol that is not spoken here.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                destination.failed(&OriginError::Unasked, clock::now());
                return Err(OriginError::Unasked);
            }
            Ok(response) => {
                let first_byte_in = started.elapsed();
                destination.answered(response.status(), clock::now());
                return Ok(Served {
                    response,
                    connected_in,
                    first_byte_in,
                });
            }
            Err(_) if exchange.upload().too_large => return Err(OriginError::LargeBody),
            Err(_) if exchange.upload().oversized => return Err(OriginError::LargeTrailers),
            Err(_) if exchange.upload().broken => return Err(OriginError::ClientGone),
            Err(Unsent::Unprocessed(again, error)) => {
                attempts.unprocessed += 1;
                if attempts.unprocessed > UNPROCESSED_MAX {
                    let error = OriginError::from(error);
                    destination.failed(&error, clock::now());
                    return Err(error);
                }
                // What its last connection said, or left unsaid, need not hold for a new one.
                if is_new || attempts.unprocessed > 1 {
                    destination.go_on(clock::now());
                }
                request = again;
            }
            Err(Unsent::Died(again, error)) => {
                let error = OriginError::from(error);
                // One that had waited may have been closed for that: it says nothing of the address.
                if is_new {
                    destination.failed(&error, clock::now());
                }
                if attempts.repeated || !pool.may_repeat(origin) {
                    return Err(error);
                }
                attempts.repeated = true;
                destination.go_on(clock::now());
                request = again;
            }
            Err(Unsent::Failed(error)) => {
                let error = OriginError::from(error);
                destination.failed(&error, clock::now());
                return Err(error);
            }
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

/// How long the address may take to be connected to, of what is left for all of them.
fn connect_share(left: Duration, destination: &Destination<'_>) -> Duration {
    if destination.has_another() {
        (left / 2).max(CONNECT_TRY_MIN).min(left)
    } else {
        left
    }
}

/// Whether another address may be connected to, with so much time left of `all`, which may be little
/// from the start.
fn may_go_on(left: Duration, all: Duration, destination: &Destination<'_>) -> bool {
    destination.has_another() && left >= CONNECT_TRY_MIN.min(all / 2)
}

/// A new connection, at another address when one does not take it. All of them together have the time
/// to connect; as long as there is another one, each has half of what is left. Another address may have
/// a connection already, which is not new then; `unused_only` as in [`Pool::reuse`].
async fn open_somewhere(
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
    unused_only: bool,
) -> Result<(Sender, bool), OriginError> {
    let started = clock::now();
    let left = || patience.connect.saturating_sub(started.elapsed());
    loop {
        let origin = destination.origin();
        let connect = connect_share(left(), destination);
        let opened = if destination.has_another() {
            pool.open(&origin, connect).await
        } else {
            let patience = Patience {
                connect,
                ..patience
            };
            open(&origin, pool, patience).await
        };
        let error = match opened {
            Ok(sender) => return Ok((sender, true)),
            Err(error) => error,
        };
        if !may_go_on(left(), patience.connect, destination) {
            // The caller tells of the last one.
            return Err(error);
        }
        destination.failed(&error, clock::now());
        destination.go_on(clock::now());
        if let Some(sender) = pool.reuse(&destination.origin(), unused_only) {
            return Ok((sender, false));
        }
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
    Unprocessed(Request<RequestBody>, AnswerError),
    /// The connection died, and the request may be repeated.
    Died(Request<RequestBody>, AnswerError),
    Failed(AnswerError),
}

async fn send(
    sender: Sender,
    request: Request<RequestBody>,
    origin: &Origin,
    patience: Patience,
) -> Result<Response<ResponseBody>, Unsent> {
    match sender {
        Sender::Http1(lease) => send_alone(lease, request, patience).await,
        Sender::Http2(stream) => send_beside_others(stream, request, origin, patience).await,
    }
}

/// Sends a request on an HTTP/1.1 connection, which it has for itself.
async fn send_alone(
    lease: Lease,
    request: Request<RequestBody>,
    patience: Patience,
) -> Result<Response<ResponseBody>, Unsent> {
    let Lease { connection, loan } = lease;
    let (mut parts, mut body) = request.into_parts();
    relative(&mut parts);
    let again = is_idempotent(&parts.method).then(|| body.second());
    let mut turn = connection
        .ask(&parts, body, Some(loan), patience.response)
        .map_err(Unsent::Failed)?;
    let error = match turn.answer().await {
        Ok(head) => {
            spare_maps::give_back(parts.headers);
            return Ok(head.map(|()| ResponseBody::exclusive(turn)));
        }
        Err(error) => error,
    };
    let fate = Fate::of(&error);
    drop(turn);
    let again = again.filter(RequestBody::is_whole);
    Err(match again.filter(|_| fate == Fate::Died) {
        Some(again) => {
            again.take_over();
            Unsent::Died(Request::from_parts(parts, again), error)
        }
        None => Unsent::Failed(error),
    })
}

/// Sends a request on an HTTP/2 connection.
async fn send_beside_others(
    stream: Rc<Stream>,
    mut request: Request<RequestBody>,
    origin: &Origin,
    patience: Patience,
) -> Result<Response<ResponseBody>, Unsent> {
    let may_repeat = is_idempotent(request.method());
    *request.version_mut() = Version::HTTP_2;
    absolute(&mut request, scheme_of(origin));
    let (head, mut body) = request.into_parts();
    let again = body.second();
    body.takes(stream.clone());
    let (error, sent) = match ask(&stream, head.clone(), body, patience).await {
        Ok(response) => return Ok(response),
        Err((error, sent)) => (AnswerError::Http2(error), sent),
    };
    let fate = match Fate::of(&error) {
        // The connection was over before.
        Fate::Died if !sent => Fate::Unprocessed,
        fate => fate,
    };
    match fate {
        Fate::Refused => stream.was_refused(),
        Fate::Unprocessed | Fate::Died => stream.retire(),
        Fate::Answered => {}
    }
    let again = Some(again)
        .filter(RequestBody::is_whole)
        .inspect(RequestBody::take_over)
        .map(|body| Request::from_parts(head, body));
    Err(match (fate, again) {
        (Fate::Refused | Fate::Unprocessed, Some(again)) => Unsent::Unprocessed(again, error),
        (Fate::Died, Some(again)) if may_repeat => Unsent::Died(again, error),
        _ => Unsent::Failed(error),
    })
}

/// Sends the head, and the body while the answer is waited for. What of it is not sent by then goes on
/// beside the answer: who takes that may stop taking it. An error says whether anything was sent.
async fn ask(
    stream: &Rc<Stream>,
    mut head: request::Parts,
    body: RequestBody,
    patience: Patience,
) -> Result<Response<ResponseBody>, (h2::Error, bool)> {
    let exchange = body.exchange();
    let is_empty = body.is_end_stream();
    let length = body.size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0 || means_content(&head.method))
        && !head.headers.contains_key(header::CONTENT_LENGTH)
    {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let (mut answer, upload) = stream
        .sender()
        .send_request(Request::from_parts(head, ()), is_empty)
        .map_err(|error| (error, false))?;
    let mut upload = (!is_empty).then(|| Box::pin(outgoing::send(body, upload, Reason::CANCEL)));
    let answer = std::future::poll_fn(|cx| {
        if let Some(sending) = &mut upload
            && sending.as_mut().poll(cx).is_ready()
        {
            upload = None;
        }
        while let Poll::Ready(Some(Ok(head))) = answer.poll_informational(cx) {
            exchange.interim(head);
        }
        Pin::new(&mut answer).poll(cx)
    })
    .await
    .map_err(|error| (error, true))?;
    if let Some(upload) = upload {
        tokio::task::spawn_local(async move {
            send_rest(upload, &*exchange, patience.response).await;
        });
    }
    let (head, incoming) = answer.into_parts();
    let body = Http2Body::new(incoming, &head.headers);
    let body = ResponseBody::shared(body, stream.clone());
    Ok(Response::from_parts(head, body))
}

/// Whether a request with this method is expected to say how long its content is, even if there is
/// none (RFC 9110 §8.6).
fn means_content(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT
    )
}

fn scheme_of(origin: &Origin) -> Scheme {
    if origin.tls.is_some() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    }
}

/// HTTP/2 names the authority in the target (RFC 9113 §8.3.1).
fn absolute<B>(request: &mut Request<B>, scheme: Scheme) {
    let host = request.headers_mut().remove(header::HOST);
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

/// What was on its way over HTTP/2 and goes out over HTTP/1.1, to an address that speaks that.
fn relative(parts: &mut request::Parts) {
    let Some(authority) = parts.uri.authority() else {
        return;
    };
    if let Ok(host) = header::HeaderValue::from_str(authority.as_str()) {
        parts.headers.insert(header::HOST, host);
    }
    let target = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
}

/// Forwards a request that asks for a WebSocket: over a connection of its own (RFC 9110 §7.8), or, to
/// an origin that speaks HTTP/2 only, over a stream (RFC 8441). When the origin agrees, its end of the
/// tunnel comes with a 101.
///
/// # Errors
/// See [`OriginError`].
pub async fn upgrade(
    _permit: Permit,
    request: Request<RequestBody>,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<(Served, Option<OriginEnd>), OriginError> {
    let upgraded = upgrade_at(request, destination, pool, patience).await;
    let now = clock::now();
    match &upgraded {
        Ok((served, _)) => destination.answered(served.response.status(), now),
        // It answered: a client asked for what is not there, or not spoken.
        Err(OriginError::Protocol(_)) => {}
        Err(error) => destination.failed(error, now),
    }
    upgraded
}

/// Connects for an upgrade, at another address when one does not take it.
async fn connect_somewhere(
    destination: &Destination<'_>,
    patience: Duration,
) -> Result<OriginStream, OriginError> {
    let started = clock::now();
    let left = || patience.saturating_sub(started.elapsed());
    loop {
        let share = connect_share(left(), destination);
        let error = match connect(&destination.origin(), true, share).await {
            Ok((stream, _)) => return Ok(stream),
            Err(error) => error,
        };
        if !may_go_on(left(), patience, destination) {
            return Err(error);
        }
        destination.failed(&error, clock::now());
        destination.go_on(clock::now());
    }
}

async fn upgrade_at(
    request: Request<RequestBody>,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<(Served, Option<OriginEnd>), OriginError> {
    if destination.origin().protocol == OriginProtocol::Http2 {
        return upgrade_stream(request, destination, pool, patience).await;
    }
    let started = clock::now();
    let stream = connect_somewhere(destination, patience.connect).await?;
    let connected_in = Some(started.elapsed());
    let started = clock::now();
    let exchange = request.body().exchange();
    let (mut parts, body) = request.into_parts();
    // Over HTTP/2 there was no key.
    let key = match parts.extensions.get::<websocket::Extended>() {
        Some(_) => {
            let key = websocket::key().ok_or(OriginError::Protocol("WebSocket without a key"))?;
            parts.headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
            Some(key)
        }
        None => None,
    };
    let mut turn = pool
        .exclusive(stream)
        .ask(&parts, body, None, patience.response)?;
    let head = within(patience.response, &*exchange, turn.answer()).await??;
    let first_byte_in = started.elapsed();
    let switches = head.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(key) = key {
        // A success that is none would begin a tunnel.
        let is_right = switches && websocket::is_accepted(head.headers(), &key);
        if !is_right && (switches || head.status().is_success()) {
            return Err(OriginError::Protocol("WebSocket at this path"));
        }
    }
    let (response, end) = if switches {
        let empty = ResponseBody::full(Bytes::new());
        (head.map(|()| empty), Some(turn.into_end()))
    } else {
        (head.map(|()| ResponseBody::exclusive(turn)), None)
    };
    let served = Served {
        response,
        connected_in,
        first_byte_in,
    };
    Ok((served, end))
}

/// The same over a stream.
async fn upgrade_stream(
    request: Request<RequestBody>,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<(Served, Option<OriginEnd>), OriginError> {
    let started = clock::now();
    let (sender, is_new) = match pool.reuse(&destination.origin(), true) {
        Some(sender) => (sender, false),
        None => open_somewhere(destination, pool, patience, true).await?,
    };
    let origin = destination.origin();
    let connected_in = is_new.then(|| started.elapsed());
    let Sender::Http2(stream) = sender else {
        return Err(OriginError::Protocol("HTTP/2"));
    };
    let mut sender = stream.sender();
    if !sender.is_extended_connect_protocol_enabled() {
        return Err(OriginError::Protocol("WebSocket over HTTP/2 (RFC 8441)"));
    }
    let started = clock::now();
    let exchange = request.body().exchange();
    let (mut head, body) = request.into_parts();
    let key = head.headers.remove(header::SEC_WEBSOCKET_KEY);
    let is_extended = head.extensions.get::<websocket::Extended>().is_some();
    for name in [header::UPGRADE, header::CONNECTION, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    head.method = Method::CONNECT;
    head.version = Version::HTTP_2;
    head.extensions.clear();
    let named = h2::ext::Protocol::from_static(websocket::NAME);
    head.extensions.insert(named);
    let mut request = Request::from_parts(head, body);
    absolute(&mut request, scheme_of(&origin));
    let (head, _) = request.into_parts();
    let sent = sender.send_request(Request::from_parts(head, ()), false);
    let (answer, upload) = sent.map_err(AnswerError::Http2)?;
    let answer = within(patience.response, &*exchange, answer).await?;
    let (mut head, incoming) = answer.map_err(AnswerError::Http2)?.into_parts();
    let first_byte_in = started.elapsed();
    let (body, end) = if head.status.is_success() {
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        if !is_extended {
            let upgrade = header::HeaderValue::from_static(websocket::NAME);
            head.headers.insert(header::UPGRADE, upgrade);
            if let Some(accept) = key.as_ref().and_then(websocket::accept) {
                head.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        let held = HeldStream {
            end: StreamEnd::new(upload, incoming, Unmetered),
            _place: stream,
        };
        (
            ResponseBody::full(Bytes::new()),
            Some(OriginEnd::Stream(held)),
        )
    } else {
        let body = Http2Body::new(incoming, &head.headers);
        (ResponseBody::shared(body, stream), None)
    };
    let served = Served {
        response: Response::from_parts(head, body),
        connected_in,
        first_byte_in,
    };
    Ok((served, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_its_way_over_http2_is_whole_over_http1() {
        let request = Request::put("/a?b").header(header::HOST, "api.test:8443");
        let mut request = request.body(()).unwrap();
        *request.version_mut() = Version::HTTP_2;
        absolute(&mut request, Scheme::HTTPS);
        assert_eq!(*request.uri(), "https://api.test:8443/a?b");
        assert!(!request.headers().contains_key(header::HOST));
        let (mut parts, ()) = request.into_parts();
        relative(&mut parts);
        assert_eq!(parts.uri, "/a?b");
        assert_eq!(parts.headers.get(header::HOST).unwrap(), "api.test:8443");
        assert_eq!(parts.version, Version::HTTP_11);
        // What never was stays as it is.
        let before = (parts.uri.clone(), parts.headers.clone());
        relative(&mut parts);
        assert_eq!((parts.uri, parts.headers), before);
    }
}
