//! Forwards a request that asks for a WebSocket.
//!
//! Owns the connection or the stream that becomes the origin's end of the tunnel. What a WebSocket is
//! over one protocol and over the other is [`websocket`]'s.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use http1::ClientError;

use super::balance::Destination;
use super::body::ResponseBody;
use super::connect::{AnswerError, OriginError, OriginStream, connect};
use super::forward::{
    Asking, Patience, Served, TimeLeft, absolute, connect_share, may_go_on, open_somewhere,
    scheme_of, within,
};
use super::incoming::Http2Body;
use super::queue::at_the_gate;
use super::response::{Response, ResponseHead};
use super::spare_heads;
use super::stream_end::{StreamEnd, Unmetered};
use super::tunnel::{HeldStream, OriginEnd};
use super::upstream::{Pool, Sender};
use super::websocket;
use crate::clock;
use rules::Permit;
use vocabulary::settings::OriginProtocol;

/// Forwards a request that asks for a WebSocket: over a connection of its own (RFC 9110 §7.8), or, to
/// an origin that speaks HTTP/2 only, over a stream (RFC 8441). When the origin agrees, its end of the
/// tunnel comes with a 101.
///
/// # Errors
/// See [`OriginError`].
pub async fn upgrade(
    _permit: Permit,
    request: Asking,
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
    pool: &Pool,
    all: Duration,
) -> Result<(OriginStream, bool), OriginError> {
    let started = clock::now();
    let left = || all.saturating_sub(started.elapsed());
    loop {
        let share = connect_share(left(), destination);
        let error = match connect(&destination.origin(), pool.names(), true, share).await {
            Ok(connected) => {
                destination.goes_past(connected.past, true, clock::now());
                return Ok((connected.stream, connected.past));
            }
            Err(error) => error,
        };
        if !may_go_on(left(), all, destination) {
            return Err(error);
        }
        destination.failed(&error, clock::now());
        destination.go_on(clock::now());
    }
}

async fn upgrade_at(
    request: Asking,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    patience: Patience,
) -> Result<(Served, Option<OriginEnd>), OriginError> {
    let time = TimeLeft::from_now_on(patience);
    if destination.origin().protocol == OriginProtocol::Http2 {
        return upgrade_stream(request, destination, pool, &time).await;
    }
    let place = at_the_gate(destination.connections()).await?;
    // What was waited for that is no time of the origin's.
    let time = TimeLeft::from_now_on(patience);
    let started = clock::now();
    let stream = connect_somewhere(destination, pool, time.for_connecting()?).await?;
    let connected_in = Some(started.elapsed());
    let started = clock::now();
    let Asking {
        head: mut parts,
        body,
    } = request;
    let exchange = body.exchange();
    // Over HTTP/2 there was no key.
    let key = match parts.extensions.get::<websocket::Extended>() {
        Some(_) => {
            let key = websocket::key().ok_or(OriginError::Protocol("WebSocket without a key"))?;
            parts.headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
            Some(key)
        }
        None => None,
    };
    let mut turn = pool.exclusive(&destination.origin(), stream, place).ask(
        &parts,
        body,
        None,
        patience.whole,
    )?;
    let head = within((&time, started), &*exchange, turn.answer()).await??;
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
    request: Asking,
    destination: &Destination<'_>,
    pool: &Rc<Pool>,
    time: &TimeLeft,
) -> Result<(Served, Option<OriginEnd>), OriginError> {
    let started = clock::now();
    let (sender, is_new) = match pool.reuse(&destination.origin(), true) {
        Some(sender) => (sender, false),
        None => open_somewhere(destination, pool, time, true).await?,
    };
    destination.goes_past(sender.is_past(), is_new, clock::now());
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
    let Asking { mut head, body } = request;
    let exchange = body.exchange();
    let key = head.headers.value(header::SEC_WEBSOCKET_KEY);
    head.headers.remove(header::SEC_WEBSOCKET_KEY);
    let is_extended = head.extensions.get::<websocket::Extended>().is_some();
    for name in [header::UPGRADE, header::CONNECTION, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    head.method = Method::CONNECT;
    head.version = Version::HTTP_2;
    head.extensions.clear();
    let named = h2::ext::Protocol::from_static(websocket::NAME);
    head.extensions.insert(named);
    absolute(&mut head, scheme_of(&origin));
    // What comes on the stream is no body.
    drop(body);
    let request = spare_heads::to_request(&head);
    let request = request.map_err(|error| AnswerError::Http1(ClientError::Head(error)))?;
    stream.asks(started, time.for_answering(started));
    let sent = sender.send_request(request, false);
    let (answer, upload) = sent.map_err(AnswerError::Http2)?;
    let answer = within((time, started), &*exchange, answer).await?;
    let (head, incoming) = answer.map_err(AnswerError::Http2)?.into_parts();
    let mut head = ResponseHead::from(head);
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
