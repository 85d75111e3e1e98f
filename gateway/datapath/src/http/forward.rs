//! Relays one request to its origin and the answer back, given a [`Permit`].
//!
//! Owns the choice of connection, how long the origin may take, and whether the request goes out once
//! more. What the request means was settled before: the head given here is what the origin gets.

use std::cell::Cell;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use h2::Reason;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version, header};
use http_body::Body as _;

use super::balance::Destination;
use super::body::{BodyObserver, RequestBody, ResponseBody};
use super::connect::{AnswerError, OriginError};
use super::incoming::Http2Body;
use super::multiplexed::Stream;
use super::outgoing;
use super::repeat::{Fate, is_idempotent};
use super::response::{Response, ResponseHead};
use super::spare_heads;
use super::upstream::{Lease, Pool, Sender};
use super::wait::send_rest;
use crate::clock;
use crate::limits::{CONNECT_TRY_MIN, LATE_MAX, REFUSED_PAUSES, UNPROCESSED_MAX};
use config::Tunables;
use rules::Permit;
use snapshot::http::origin::Origin;
use snapshot::http::request_head::RequestHead;
use snapshot::origins::Times;

/// How long an origin may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To be connected to.
    pub connect: Duration,
    /// To answer one try with a head.
    pub one_try: Duration,
    /// For all tries together, connecting included.
    pub whole: Duration,
}

impl Patience {
    /// As the origin has it, and where it says nothing, the process.
    #[must_use]
    pub fn of(tunables: &Tunables, times: &Times) -> Self {
        let whole = times.whole.unwrap_or(tunables.origin_response_timeout);
        Self {
            connect: times.connect.unwrap_or(tunables.origin_connect_timeout),
            one_try: times.one_try.unwrap_or(whole).min(whole),
            whole,
        }
    }
}

/// What is left of the time of one request.
#[derive(Debug)]
pub(super) struct TimeLeft {
    pub(super) patience: Patience,
    started: Cell<Instant>,
}

impl TimeLeft {
    pub(super) fn from_now_on(patience: Patience) -> Self {
        Self::since(clock::now(), patience)
    }

    fn since(began: Instant, patience: Patience) -> Self {
        Self {
            patience,
            started: Cell::new(began),
        }
    }

    /// So much of it was none of the origin's: it was waited for our own bounds.
    fn give_back(&self, waited: Duration) {
        self.started.set(self.started.get() + waited);
    }

    /// To connect, of all the time.
    pub(super) fn for_connecting(&self) -> Result<Duration, OriginError> {
        let left = self
            .patience
            .whole
            .saturating_sub(self.started.get().elapsed());
        if left.is_zero() {
            return Err(OriginError::ResponseTimeout);
        }
        Ok(self.patience.connect.min(left))
    }

    /// When a try that began then is over, and all are. A long upload is not a slow origin: its time
    /// begins when the last byte of the request went up.
    fn due(&self, try_began: Instant, moved: Option<Instant>) -> Instant {
        let since = |began: Instant| moved.map_or(began, |moved| moved.max(began));
        let one_try = since(try_began) + self.patience.one_try;
        one_try.min(since(self.started.get()) + self.patience.whole)
    }

    /// How long a try that begins then may take.
    pub(super) fn for_answering(&self, began: Instant) -> Duration {
        self.due(began, None).saturating_duration_since(began)
    }

    /// Whether there is time for another try.
    fn is_left(&self, moved: Option<Instant>) -> bool {
        self.due(clock::now(), moved) > clock::now()
    }
}

/// A request on its way to an origin.
pub struct Asking {
    /// As the origin gets it.
    pub head: Box<RequestHead>,
    /// As it comes from the client.
    pub body: RequestBody,
}

/// An answer from an origin.
pub struct Served {
    /// The answer; hop-by-hop headers still in it.
    pub response: Response<ResponseBody>,
    /// How long a new connection took; `None` when an old one served.
    pub connected_in: Option<Duration>,
    /// From the choice of a connection, or from when it was there, to the answer's head.
    pub first_byte_in: Duration,
}

/// Forwards a permitted request. Where an address takes no connection it goes to another one: nothing
/// of it was sent. What may be repeated when its connection died, or no answer came in the time of a
/// try, is repeated at another one, too.
///
/// # Errors
/// See [`OriginError`]; nothing has been answered then.
pub async fn forward(
    _permit: Permit,
    mut request: Asking,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<Served, OriginError> {
    pool.earn(&destination.origin());
    // What is done at once is of one moment: the clock is read when something was waited for.
    let mut started = destination.began();
    let time = TimeLeft::since(started, patience);
    let mut connected_in = None;
    let mut attempts = Attempts::default();
    loop {
        let (sender, is_new) = match pool.reuse(&destination.origin(), attempts.any()) {
            Some(sender) => (sender, false),
            None => {
                let opening = started;
                // Rare, and larger than all else: not kept room for in every request.
                let opened = open_somewhere(destination, pool, &time, attempts.any());
                let opened = Box::pin(opened).await;
                let opened = opened.inspect_err(|error| destination.failed(error, clock::now()))?;
                started = clock::now();
                connected_in = opened.1.then(|| started.saturating_duration_since(opening));
                opened
            }
        };
        destination.goes_past(sender.is_past(), is_new, started);
        let origin = &*destination.origin();
        let exchange = request.body.exchange();
        match send(sender, request, origin, (&time, started)).await {
            // What follows would be bytes of a protocol that is not spoken here.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                destination.failed(&OriginError::Unasked, clock::now());
                return Err(OriginError::Unasked);
            }
            Ok(response) => {
                let now = clock::now();
                destination.answered(response.status(), now);
                return Ok(Served {
                    response,
                    connected_in,
                    first_byte_in: now.saturating_duration_since(started),
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
            Err(Unsent::Late(again)) => {
                let error = OriginError::ResponseTimeout;
                destination.failed(&error, clock::now());
                let again = again.filter(|_| {
                    attempts.late < LATE_MAX
                        && destination.has_another()
                        && time.is_left(exchange.upload().last_progress)
                        && pool.may_repeat(origin)
                });
                let Some(again) = again else {
                    return Err(error);
                };
                attempts.late += 1;
                destination.go_on(clock::now());
                request = again;
            }
            Err(Unsent::Failed(error)) => {
                destination.failed(&error, clock::now());
                return Err(error);
            }
        }
        started = clock::now();
    }
}

/// What has been tried for one request.
#[derive(Default)]
struct Attempts {
    /// Attempts of which the origin has processed nothing.
    unprocessed: usize,
    /// It was repeated: the connection died under it.
    repeated: bool,
    /// Attempts that were not answered in the time of a try.
    late: usize,
}

impl Attempts {
    fn any(&self) -> bool {
        self.unprocessed > 0 || self.repeated || self.late > 0
    }
}

/// How long the address may take to be connected to, of what is left for all of them.
pub(super) fn connect_share(left: Duration, destination: &Destination<'_>) -> Duration {
    if destination.has_another() {
        (left / 2).max(CONNECT_TRY_MIN).min(left)
    } else {
        left
    }
}

/// Whether another address may be connected to, with so much time left of `all`, which may be little
/// from the start.
pub(super) fn may_go_on(left: Duration, all: Duration, destination: &Destination<'_>) -> bool {
    // Of the half that the address before left, its timer took a little: of 500 ms there are never 250.
    let least = CONNECT_TRY_MIN.min(all / 2);
    destination.has_another() && left >= least - least / 5
}

/// A new connection, at another address when one does not take it. All of them together have the time
/// to connect; as long as there is another one, each has half of what is left. Another address may have
/// a connection already, which is not new then; `unused_only` as in [`Pool::reuse`].
pub(super) async fn open_somewhere(
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    time: &TimeLeft,
    unused_only: bool,
) -> Result<(Sender, bool), OriginError> {
    let (started, all) = (clock::now(), time.for_connecting()?);
    let before = destination.waited();
    let waited = || destination.waited().saturating_sub(before);
    let left = || (all + waited()).saturating_sub(started.elapsed());
    loop {
        let (origin, already) = (destination.origin(), waited());
        let connect = connect_share(left(), destination);
        let opened = if destination.has_another() {
            pool.open(&origin, destination.connections(), connect).await
        } else {
            open(destination, pool, connect).await
        };
        time.give_back(waited().saturating_sub(already));
        let error = match opened {
            Ok(sender) => return Ok((sender, true)),
            Err(error) => error,
        };
        if matches!(error, OriginError::Full { .. }) || !may_go_on(left(), all, destination) {
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
async fn open(
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    connect: Duration,
) -> Result<Sender, OriginError> {
    let (started, origin) = (clock::now(), destination.origin());
    let before = destination.waited();
    let left = || {
        let waited = destination.waited().saturating_sub(before);
        (connect + waited).saturating_sub(started.elapsed())
    };
    let mut pauses = REFUSED_PAUSES.into_iter();
    let mut asked = false;
    loop {
        let opened = pool.open(&origin, destination.connections(), left()).await;
        let error = match opened {
            Ok(sender) => return Ok(sender),
            Err(error) => error,
        };
        let refused = matches!(&error, OriginError::Connect(why)
            if matches!(why.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset));
        let Some(pause) = pauses.next().filter(|pause| refused && *pause < left()) else {
            return Err(error);
        };
        if !asked && !pool.may_repeat(&origin) {
            return Err(error);
        }
        asked = true;
        tokio::time::sleep(pause).await;
    }
}

/// Waits for the answer to one try, which began then.
pub(super) async fn within<T>(
    (time, began): (&TimeLeft, Instant),
    exchange: &dyn BodyObserver,
    answer: impl Future<Output = T>,
) -> Result<T, OriginError> {
    let mut answer = pin!(answer);
    let mut due = time.due(began, None);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        while exchange.is_due(cx, due) {
            let upload = exchange.upload();
            due = time.due(began, upload.last_progress);
            if due > clock::now() {
                continue;
            }
            if upload.waits_for_client {
                return Poll::Ready(Err(OriginError::ClientStalled));
            } else {
                return Poll::Ready(Err(OriginError::ResponseTimeout));
            }
        }
        Poll::Pending
    })
    .await
}

/// What became of a request that got no answer.
enum Unsent {
    /// The origin has processed nothing of it: it can go out once more, whatever it means.
    Unprocessed(Asking, AnswerError),
    /// The connection died, and the request may be repeated.
    Died(Asking, AnswerError),
    /// No answer came in time. The request, if it may be repeated.
    Late(Option<Asking>),
    Failed(OriginError),
}

impl Unsent {
    fn failed(error: AnswerError) -> Self {
        Self::Failed(error.into())
    }

    /// What was waited for did not come.
    fn unanswered(error: OriginError, again: Option<Asking>) -> Self {
        match error {
            OriginError::ResponseTimeout => Self::Late(again),
            error => Self::Failed(error),
        }
    }
}

async fn send(
    sender: Sender,
    request: Asking,
    origin: &Origin,
    time: (&TimeLeft, Instant),
) -> Result<Response<ResponseBody>, Unsent> {
    match sender {
        Sender::Http1(lease) => send_alone(lease, request, time).await,
        Sender::Http2(stream) => send_beside_others(stream, request, origin, time).await,
    }
}

/// Sends a request on an HTTP/1.1 connection, which it has for itself.
async fn send_alone(
    lease: Lease,
    request: Asking,
    time: (&TimeLeft, Instant),
) -> Result<Response<ResponseBody>, Unsent> {
    let Lease { connection, loan } = lease;
    let Asking { mut head, mut body } = request;
    let exchange = body.exchange();
    relative(&mut head);
    let again = is_idempotent(&head.method).then(|| body.second());
    let mut turn = connection
        .ask(&head, body, Some(loan), time.0.patience.whole)
        .map_err(Unsent::failed)?;
    let answered = within(time, &*exchange, turn.answer()).await;
    if let Ok(Ok(answer)) = answered {
        spare_heads::give_head_back(head);
        return Ok(answer.map(|()| ResponseBody::exclusive(turn)));
    }
    drop(turn);
    let again = again.filter(RequestBody::is_whole);
    let again = again.map(|body| {
        body.take_over();
        Asking { head, body }
    });
    Err(match answered {
        Err(error) => Unsent::unanswered(error, again),
        Ok(Err(error)) => match again.filter(|_| Fate::of(&error) == Fate::Died) {
            Some(again) => Unsent::Died(again, error),
            None => Unsent::failed(error),
        },
        Ok(Ok(_answered)) => Unsent::Late(None),
    })
}

/// Sends a request on an HTTP/2 connection.
async fn send_beside_others(
    stream: Rc<Stream>,
    request: Asking,
    origin: &Origin,
    time: (&TimeLeft, Instant),
) -> Result<Response<ResponseBody>, Unsent> {
    let Asking { mut head, mut body } = request;
    let exchange = body.exchange();
    let may_repeat = is_idempotent(&head.method);
    head.version = Version::HTTP_2;
    absolute(&mut head, scheme_of(origin));
    let again = body.second();
    body.takes(stream.clone());
    let repeated = |again: RequestBody| {
        let again = Some(again).filter(RequestBody::is_whole);
        again.inspect(RequestBody::take_over)
    };
    stream.asks(time.1, time.0.for_answering(time.1));
    let asked = ask(&stream, &head, body, time.0.patience.whole);
    let (error, sent) = match within(time, &*exchange, asked).await {
        Ok(Ok(response)) => {
            spare_heads::give_head_back(head);
            return Ok(response);
        }
        Ok(Err((error, sent))) => (AnswerError::Http2(error), sent),
        Err(error) => {
            let again = repeated(again).filter(|_| may_repeat);
            let again = again.map(|body| Asking { head, body });
            return Err(Unsent::unanswered(error, again));
        }
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
    let again = repeated(again).map(|body| Asking { head, body });
    Err(match (fate, again) {
        (Fate::Refused | Fate::Unprocessed, Some(again)) => Unsent::Unprocessed(again, error),
        (Fate::Died, Some(again)) if may_repeat => Unsent::Died(again, error),
        _ => Unsent::failed(error),
    })
}

/// Sends the head, and the body while the answer is waited for. What of it is not sent by then goes on
/// beside the answer: who takes that may stop taking it. An error says whether anything was sent.
async fn ask(
    stream: &Rc<Stream>,
    head: &RequestHead,
    body: RequestBody,
    patience: Duration,
) -> Result<Response<ResponseBody>, (h2::Error, bool)> {
    let exchange = body.exchange();
    let is_empty = body.is_end_stream();
    let length = body.size_hint().exact();
    // Nothing was sent of what cannot be.
    let request = spare_heads::to_request(head);
    let mut request = request.map_err(|_full| (Reason::INTERNAL_ERROR.into(), false))?;
    if let Some(length) = length.filter(|length| *length > 0 || means_content(&head.method))
        && !request.headers().contains_key(header::CONTENT_LENGTH)
    {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let (mut answer, upload) = stream
        .sender()
        .send_request(request, is_empty)
        .map_err(|error| (error, false))?;
    let mut upload = (!is_empty).then(|| Box::pin(outgoing::send(body, upload, Reason::CANCEL)));
    let answer = std::future::poll_fn(|cx| {
        if let Some(sending) = &mut upload
            && sending.as_mut().poll(cx).is_ready()
        {
            upload = None;
        }
        while let Poll::Ready(Some(Ok(head))) = answer.poll_informational(cx) {
            let (head, ()) = head.into_parts();
            exchange.interim(Response::from_parts(head.into(), ()));
        }
        Pin::new(&mut answer).poll(cx)
    })
    .await
    .map_err(|error| (error, true))?;
    if let Some(upload) = upload {
        tokio::task::spawn_local(async move {
            send_rest(upload, &*exchange, patience).await;
        });
    }
    let (head, incoming) = answer.into_parts();
    let head = ResponseHead::from(head);
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

pub(super) fn scheme_of(origin: &Origin) -> Scheme {
    if origin.tls.is_some() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    }
}

/// HTTP/2 names the authority in the target (RFC 9113 §8.3.1).
pub(super) fn absolute(head: &mut RequestHead, scheme: Scheme) {
    let host = head.headers.get(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host).ok());
    head.headers.remove(header::HOST);
    let Some(authority) = authority else { return };
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    head.uri = Uri::from_parts(parts).unwrap_or_default();
}

/// What was on its way over HTTP/2 and goes out over HTTP/1.1, to an address that speaks that.
fn relative(parts: &mut RequestHead) {
    let Some(authority) = parts.uri.authority() else {
        return;
    };
    if let Ok(host) = header::HeaderValue::from_str(authority.as_str()) {
        parts.headers.lead(header::HOST, host);
    }
    let target = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_its_way_over_http2_is_whole_over_http1() {
        let request = http::Request::put("/a?b").header(header::HOST, "api.test:8443");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut parts = RequestHead::from(parts);
        parts.version = Version::HTTP_2;
        absolute(&mut parts, Scheme::HTTPS);
        assert_eq!(parts.uri, "https://api.test:8443/a?b");
        assert!(!parts.headers.contains_key(header::HOST));
        relative(&mut parts);
        assert_eq!(parts.uri, "/a?b");
        assert_eq!(parts.headers.get_text(header::HOST), Some("api.test:8443"));
        assert_eq!(parts.version, Version::HTTP_11);
        // What never was stays as it is.
        let said = |head: &RequestHead| {
            let host = head.headers.get_text(header::HOST).map(str::to_owned);
            (head.uri.clone(), head.version, head.headers.len(), host)
        };
        let before = said(&parts);
        relative(&mut parts);
        assert_eq!(said(&parts), before);
    }
}
