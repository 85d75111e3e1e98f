//! From a request that is permitted to the head of its origin's answer.
//!
//! Owns the wait for its turn, what is asked of an answer before it is anybody's, and what is told of an
//! origin that gave none. Which address is asked, and for how long, is `http`'s.

use std::hash::BuildHasher as _;
use std::rc::Rc;
use std::sync::LazyLock;

use http::{StatusCode, Version, header};

use super::Connection;
use super::answer::Refused;
use super::exchange::{Exchange, Tunnel};
use super::standing::Standing;
use crate::http::OriginError;
use crate::http::balance::Destination;
use crate::http::body::ResponseBody;
use crate::http::forward::{self, Asking, Patience, Served};
use crate::http::queue::{Gated, at_the_gate};
use crate::http::response::Response;
use crate::http::upgrade;
use crate::http::upstream::{HeadBounds, Telling};
use crate::observe::Stage;
use config::network::client_prefix;
use rules::Permit;
use snapshot::Host;
use snapshot::http::headers::{for_client, is_within, says_one_length};
use snapshot::http::origin::Origin;
use snapshot::origins::OriginGroup;
use vocabulary::side::Side;

/// Waits for its turn at an origin that takes so many requests at once. What it has then, it has until
/// its exchange is over. Answers whether there are turns.
pub(super) async fn its_turn(
    exchange: &Exchange,
    standing: &Standing,
    group: &OriginGroup,
) -> Result<bool, OriginError> {
    let Some(limit) = &group.requests else {
        return Ok(false);
    };
    let gated = Gated {
        limit,
        patience: group.queue_time,
        client: client_of(standing),
        waited: None,
    };
    let turn = Box::pin(at_the_gate(Some(gated))).await?;
    exchange.has_its_turn(turn);
    Ok(true)
}

/// What tells its client from others where they take turns.
pub(super) fn client_of(standing: &Standing) -> u64 {
    // Unknown outside, so that nobody is taken for another client at will.
    static CLIENTS: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);
    CLIENTS.hash_one(client_prefix(standing.facts.source.ip()))
}

/// Why nothing came of it, for the log, the access log and the client.
pub(super) fn refused(
    connection: &Connection,
    exchange: &Exchange,
    (host, group, origin): (&Host, &OriginGroup, &Origin),
    error: &OriginError,
) -> Refused {
    // What a client breaks off is no fault of the origin, and clients write no log here.
    let is_full = matches!(error, OriginError::Full { .. });
    let what = if is_full {
        Telling::Full
    } else {
        Telling::Fails
    };
    if error.side() != Side::Client
        && let Some(more) = connection.local.pool.tell(origin, what)
    {
        let (reason, request_id) = (error.reason().as_str(), exchange.id.as_str());
        let host = host.name();
        if is_full {
            tracing::warn!(
                %host, origin = &*group.label, reason, %error, request_id, more,
                "a request was refused: its origin has as much as it may have"
            );
        } else {
            tracing::warn!(
                %host, origin = %origin.url, reason, %error, request_id, more,
                "the origin did not answer"
            );
        }
    }
    let mut notes = exchange.notes.borrow_mut();
    notes.fault = Some(error.side());
    // The details are the operator's, not the client's.
    notes.detail = error.to_string();
    let status = error.status();
    let text = status.canonical_reason().unwrap_or("bad gateway");
    Refused::new(status, error.reason(), text).until(error.retry_after())
}

/// Sends a request where it goes.
pub(super) async fn forward_to(
    exchange: &Rc<Exchange>,
    permit: Permit,
    request: Asking,
    destination: &Destination<'_>,
    is_upgrade: bool,
) -> Result<Served, OriginError> {
    let connection = exchange.connection();
    let patience = Patience::of(&connection.tunables, destination.times());
    let pool = &connection.local.pool;
    if !is_upgrade {
        return forward::forward(permit, request, destination, pool, patience).await;
    }
    // Rare, and larger than all else: not kept room for in every request.
    let upgraded = Box::pin(upgrade::upgrade(
        permit,
        request,
        destination,
        pool,
        patience,
    ));
    let (served, end) = upgraded.await?;
    // What is refused is no tunnel.
    let served = sound(served, HeadBounds::of(&connection.tunables))?;
    if let Some(end) = end {
        let exchange = exchange.clone();
        connection.remainder.become_tunnel(Tunnel { end, exchange });
    }
    Ok(served)
}

/// Whether an origin closes its connection behind an answer.
fn closes<B>(response: &Response<B>) -> bool {
    let says = |wanted: &str| {
        let mut values = response.headers().get_all(&header::CONNECTION);
        values.any(|value| {
            let mut tokens = value.split(|byte| *byte == b',');
            tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
        })
    };
    match response.version() {
        Version::HTTP_10 => !says("keep-alive"),
        Version::HTTP_11 => says("close"),
        _ => false,
    }
}

/// HTTP/2 frames by itself, so that nothing else asks what an origin says of the length, nor how
/// much it says.
pub(super) fn sound(served: Served, heads: HeadBounds) -> Result<Served, OriginError> {
    let headers = served.response.headers();
    if !says_one_length(headers) {
        return Err(OriginError::Lengths);
    }
    if served.response.version() == Version::HTTP_2
        && !is_within(headers, heads.bytes_max, heads.count_max)
    {
        return Err(OriginError::LargeHead);
    }
    Ok(served)
}

/// Notes what is known of the origin's answer and makes it the client's.
pub(super) fn finish(exchange: &Exchange, served: Served) -> Response<ResponseBody> {
    if let Some(time) = served.connected_in {
        exchange.stage(Stage::OriginConnect, time);
    }
    exchange.stage(Stage::OriginFirstByte, served.first_byte_in);
    let mut response = served.response;
    exchange.notes.borrow_mut().origin_closes = closes(&response);
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let is_stream = exchange.version() == Version::HTTP_2;
    if switching && is_stream {
        // RFC 8441 §5: the CONNECT succeeds, and there was no key to answer.
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    }
    let upgrade = response
        .headers()
        .value(header::UPGRADE)
        .filter(|_| switching && !is_stream);
    for_client(response.headers_mut(), &exchange.id_value);
    if let Some(upgrade) = upgrade {
        response.headers_mut().insert(header::UPGRADE, upgrade);
        let connection = header::HeaderValue::from_static("upgrade");
        response
            .headers_mut()
            .insert(header::CONNECTION, connection);
    }
    response
}
