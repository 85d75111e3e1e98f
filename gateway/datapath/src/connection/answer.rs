//! The life of one request: which host, which path, verified again if need be, decided, forwarded.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Connection;
use super::exchange::{Exchange, Tunnel};
use super::origin_head::{prepare, wanted_upgrade};
use super::standing::{Outdated, Standing};
use crate::clock;
use crate::http::OriginError;
use crate::http::answer;
use crate::http::body::{RequestBody, ResponseBody};
use crate::http::forward::{self, Patience, Served};
use crate::observe::{RuleAction, Stage};
use rules::{Decision, Overworked, Permit, RoundTrip, decide_on};
use snapshot::Host;
use snapshot::checks::{self, Circumstances};
use snapshot::http::headers::{for_client, says_one_length};
use snapshot::http::origin::Origin;
use snapshot::phases::{Change, Limited, PhaseInput, Redirected};
use vocabulary::request_error::RequestError;
use vocabulary::side::Side;
use vocabulary::verdict::Reason;

/// Why a request is answered by us.
struct Refused {
    status: StatusCode,
    error: RequestError,
    text: String,
}

impl Refused {
    fn new(status: StatusCode, error: RequestError, text: impl Into<String>) -> Self {
        Self {
            status,
            error,
            text: text.into(),
        }
    }
}

impl From<checks::Refusal> for Refused {
    fn from(refusal: checks::Refusal) -> Self {
        Self::new(refusal.status(), refusal.reason(), refusal.to_string())
    }
}

/// Answers one request.
pub(super) async fn answer(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (method, version) = (request.method().clone(), request.version());
    let is_head = method == Method::HEAD;
    let exchange = Exchange::open(connection.clone(), method, version);
    let has_body = !request.body().is_end_stream();
    let mut response = match respond(&connection, &exchange, request).await {
        Ok(response) => response,
        Err(refused) => {
            // What is left of the body is not read: the client must still get its answer.
            if has_body {
                connection.remainder.leave_unread();
            }
            let mut notes = exchange.notes.borrow_mut();
            notes.error = Some(refused.error);
            // What is only the operator's is there already.
            if notes.detail.is_empty() {
                notes.detail.clone_from(&refused.text);
            }
            answer::text(refused.status, &refused.text, &exchange.id.to_header())
        }
    };
    let changes = {
        let mut notes = exchange.notes.borrow_mut();
        notes.status = response.status();
        std::mem::take(&mut notes.response_changes)
    };
    for change in changes {
        change.apply(response.headers_mut());
    }
    // An answer that is ready at once is written before hyper hears that it is the last one.
    if connection.closing.is_retired() && version < Version::HTTP_2 {
        let close = header::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    if is_head {
        answer::keep_head(&mut response);
    }
    // The exchange of a request that becomes a tunnel is open for as long as the tunnel.
    if connection.remainder.is_tunnel() {
        return response;
    }
    let patience = connection.tunables.origin_body_timeout;
    response.map(|body| body.watched_by(exchange, patience))
}

async fn respond(
    connection: &Rc<Connection>,
    exchange: &Rc<Exchange>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refused> {
    let (mut parts, incoming) = request.into_parts();
    let (standing, head) = admit(connection, exchange, &parts)?;
    let checks::Head {
        host,
        known_as,
        path,
        target,
        ..
    } = head;

    let evaluation = evaluate_request(
        connection,
        exchange,
        &standing,
        &host,
        &parts,
        (&known_as, &path),
    );
    let Permitted {
        permit,
        origin,
        changes,
    } = match evaluation {
        Ok(permitted) => permitted,
        Err(NotPermitted::Blocked(answer)) => {
            if !incoming.is_end_stream() {
                connection.remainder.leave_unread();
            }
            return Ok(answer);
        }
        Err(NotPermitted::Refused(refused)) => return Err(refused),
    };

    parts.uri = Uri::from(target);
    let upgrade = wanted_upgrade(&parts);
    let origin: &Origin = origin.as_deref().unwrap_or(&host.origin);
    prepare(connection, exchange, &standing, (&host, origin), &mut parts);
    // After what is removed and set for all: nothing that the client says takes ours away.
    let replaced = changes
        .iter()
        .filter_map(Change::replaces)
        .cloned()
        .collect();
    for change in changes {
        change.apply(&mut parts.headers);
    }
    if let Some(upgrade) = &upgrade {
        parts.headers.insert(header::UPGRADE, upgrade.clone());
        parts.headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
    }
    let request = Request::from_parts(
        parts,
        RequestBody::new(incoming, exchange.clone()).hiding(replaced),
    );
    exchange.notes.borrow_mut().forwarded = true;
    let served = forward_to(exchange, permit, request, origin, upgrade.is_some()).await;
    match served.and_then(with_one_length) {
        Ok(served) => Ok(finish(exchange, served)),
        Err(error) => {
            // What a client breaks off is no fault of the origin, and clients write no log here.
            if error.side() != Side::Client {
                tracing::warn!(
                    host = %host.name(), origin = %origin.url, reason = error.reason().as_str(), %error,
                    request_id = exchange.id.as_str(), "the origin did not answer"
                );
            }
            let mut refused = Refused::new(error.status(), error.reason(), error.to_string());
            // The details are the operator's, not the client's.
            exchange.notes.borrow_mut().detail = std::mem::take(&mut refused.text);
            refused.text = refused
                .status
                .canonical_reason()
                .unwrap_or("bad gateway")
                .into();
            Err(refused)
        }
    }
}

/// The checks before the rules: who the client is by now, then what it asks for.
fn admit<'p>(
    connection: &Rc<Connection>,
    exchange: &Exchange,
    parts: &'p http::request::Parts,
) -> Result<(Rc<Standing>, checks::Head<'p, Arc<Host>>), Refused> {
    // A request that gets no further is recorded with its path as it came.
    let note_raw = || exchange.notes.borrow_mut().path = parts.uri.path().into();
    let now_sec = exchange.time_msec() / 1000;
    let (standing, snapshot) = match connection.standings.current(&connection.local, now_sec) {
        Ok(current) => current,
        Err(Outdated(standing)) => {
            connection.closing.retire();
            note_raw();
            exchange.notes.borrow_mut().standing = standing;
            return Err(checks::Refusal::Misdirected.into());
        }
    };
    connection.enter_if_good(&standing);
    exchange.notes.borrow_mut().standing = Some(standing.clone());
    let connected = checks::Connected {
        sni: &standing.facts.sni,
        host: &standing.host,
        has_hello: !standing.facts.client_hello.is_empty(),
        snapshot: &snapshot,
    };
    let header_count_max = connection.tunables.header_count_max;
    let select = |authority: &Arc<str>| connected.select(authority);
    match checks::admit(parts, &standing.facts.sni, header_count_max, select) {
        Ok(head) => {
            let mut notes = exchange.notes.borrow_mut();
            if !Arc::ptr_eq(&head.host, &standing.host) {
                connection.standings.opens_elsewhere(head.authority.clone());
                notes.elsewhere = true;
            }
            notes.authority = head.authority.clone();
            notes.host = Some(head.host.clone());
            notes.path = (&*head.path).into();
            drop(notes);
            Ok((standing, head))
        }
        Err(refused) => {
            note_raw();
            let mut notes = exchange.notes.borrow_mut();
            notes.authority = refused.authority.unwrap_or_default();
            notes.host = refused.host;
            Err(refused.refusal.into())
        }
    }
}

/// What is forwarded.
struct Permitted {
    permit: Permit,
    /// Where to, when it is not the host's own origin.
    origin: Option<Rc<Origin>>,
    /// What rules change of its headers.
    changes: Vec<Change>,
}

/// Why a request is not forwarded.
enum NotPermitted {
    /// The answer of the rule that blocks it.
    Blocked(Response<ResponseBody>),
    /// The rules could not be evaluated.
    Refused(Refused),
}

/// Lets the rules decide.
#[expect(
    clippy::result_large_err,
    reason = "a blocked request is answered with it at once"
)]
fn evaluate_request(
    connection: &Connection,
    exchange: &Exchange,
    standing: &Standing,
    host: &Host,
    parts: &http::request::Parts,
    (known_as, path): (&str, &str),
) -> Result<Permitted, NotPermitted> {
    let started = clock::now();
    let facts = checks::facts(
        parts,
        known_as,
        path,
        Circumstances {
            received_msec: exchange.time_msec(),
            ray_id: exchange.id.as_str(),
            round_trip: RoundTrip::of(&connection.tcp),
        },
    );
    let mut logged = Vec::new();
    let mut log = |rule: &str| logged.push(Box::from(rule));
    let subject = PhaseInput {
        connection: &standing.facts,
        state: &connection.rules,
        request: &facts,
    };
    let decided = match redirect(exchange, host, subject) {
        Some(answered) => Err(answered),
        None => match decide_on(
            &host.rules,
            &standing.facts,
            &connection.rules,
            &facts,
            &mut log,
        ) {
            Decision::Permit(permit) => pass_phases(
                connection, exchange, host, permit, subject, started, &mut log,
            ),
            Decision::Block { rule_id, response } => {
                exchange.notes.borrow_mut().rule = Some((rule_id.into(), RuleAction::Block));
                let reason = standing.facts.client.verdict.reason;
                let tells = host.client.tell_reason && reason != Reason::Verified;
                Err(NotPermitted::Blocked(answer::block(
                    response,
                    &exchange.id.to_header(),
                    tells.then(|| reason.as_str()),
                )))
            }
            Decision::TooLarge => Err(too_large()),
        },
    };
    let decided = response_changes(exchange, host, subject, decided);
    exchange.stage(Stage::Rules, started.elapsed());
    exchange.notes.borrow_mut().logged = logged;
    decided
}

/// Asks the redirects, which come before all other rules.
fn redirect(exchange: &Exchange, host: &Host, subject: PhaseInput<'_>) -> Option<NotPermitted> {
    let redirected = match host.phases.redirects.as_ref()?.ask(subject) {
        Ok(redirected) => redirected?,
        Err(Overworked) => return Some(too_large()),
    };
    let Redirected {
        rule_id,
        status,
        location,
    } = redirected;
    exchange.notes.borrow_mut().rule = Some((rule_id.into(), RuleAction::Redirect));
    Some(match location {
        Ok(location) => {
            let id = exchange.id.to_header();
            NotPermitted::Blocked(answer::redirect(status, location, &id))
        }
        Err(unfit) => {
            exchange.notes.borrow_mut().detail = format!("the redirect's target: {unfit}");
            let text = "a redirect of this host has no target for this request";
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            NotPermitted::Refused(Refused::new(status, RequestError::Redirect, text))
        }
    })
}

/// Works out what changes of the headers that the client gets, while the request is still there to
/// be read. What cannot be worked out is not forwarded; an answer of our own goes without.
#[expect(
    clippy::result_large_err,
    reason = "a blocked request is answered with it at once"
)]
fn response_changes(
    exchange: &Exchange,
    host: &Host,
    subject: PhaseInput<'_>,
    decided: Result<Permitted, NotPermitted>,
) -> Result<Permitted, NotPermitted> {
    let Some(transforms) = &host.phases.response_transforms else {
        return decided;
    };
    match transforms.changes(subject) {
        Ok(changes) => {
            exchange.notes.borrow_mut().response_changes = changes;
            decided
        }
        Err(Overworked) => decided.and_then(|_| Err(too_large())),
    }
}

fn too_large() -> NotPermitted {
    let text = "the request's head is too large for the rules of this host; send less in it";
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    NotPermitted::Refused(Refused::new(status, RequestError::Rules, text))
}

/// Lets the phases after the custom rules have their say: rate limits, origin rules, header rules.
#[expect(
    clippy::result_large_err,
    reason = "a blocked request is answered with it at once"
)]
fn pass_phases(
    connection: &Connection,
    exchange: &Exchange,
    host: &Host,
    permit: Permit,
    subject: PhaseInput<'_>,
    now: Instant,
    log: &mut dyn FnMut(&str),
) -> Result<Permitted, NotPermitted> {
    let permit = match &host.phases.rate_limits {
        None => permit,
        Some(limits) => {
            let buckets = &connection.local.shared.buckets;
            match limits.evaluate(permit, subject, buckets, now, &mut |rule| log(rule)) {
                Limited::Permit(permit) => permit,
                Limited::TooLarge => return Err(too_large()),
                Limited::Block {
                    rule_id,
                    response,
                    retry_after,
                } => {
                    let rule = (rule_id.into(), RuleAction::RateLimit);
                    exchange.notes.borrow_mut().rule = Some(rule);
                    let mut blocked = answer::block(response, &exchange.id.to_header(), None);
                    let after = header::HeaderValue::from(retry_after);
                    blocked.headers_mut().insert(header::RETRY_AFTER, after);
                    return Err(NotPermitted::Blocked(blocked));
                }
            }
        }
    };
    let origin = match &host.phases.routes {
        None => None,
        Some((routes, named)) => routes
            .origin(subject, &host.origin, named)
            .map_err(|Overworked| too_large())?
            .map(Rc::new),
    };
    exchange.notes.borrow_mut().routed.clone_from(&origin);
    let changes = match &host.phases.transforms {
        None => Vec::new(),
        Some(transforms) => transforms
            .changes(subject)
            .map_err(|Overworked| too_large())?,
    };
    Ok(Permitted {
        permit,
        origin,
        changes,
    })
}

async fn forward_to(
    exchange: &Rc<Exchange>,
    permit: Permit,
    request: Request<RequestBody>,
    origin: &Origin,
    upgrade: bool,
) -> Result<Served, OriginError> {
    let connection = exchange.connection();
    let patience = Patience {
        connect: connection.tunables.origin_connect_timeout,
        response: connection.tunables.origin_response_timeout,
    };
    let pool = &connection.local.pool;
    if !upgrade {
        return forward::forward(permit, request, origin, pool, patience).await;
    }
    let (served, end) = forward::upgrade(permit, request, origin, pool, patience).await?;
    if let Some(end) = end {
        let exchange = exchange.clone();
        connection.remainder.become_tunnel(Tunnel { end, exchange });
    }
    Ok(served)
}

/// HTTP/2 frames by itself, so that nothing else asks what an origin says of the length.
fn with_one_length(served: Served) -> Result<Served, OriginError> {
    if says_one_length(served.response.headers()) {
        Ok(served)
    } else {
        Err(OriginError::Lengths)
    }
}

/// Notes what is known of the origin's answer and makes it the client's.
fn finish(exchange: &Exchange, served: Served) -> Response<ResponseBody> {
    if let Some(time) = served.connected_in {
        exchange.stage(Stage::OriginConnect, time);
    }
    exchange.stage(Stage::OriginFirstByte, served.first_byte_in);
    let mut response = served.response;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = response
        .headers()
        .get(header::UPGRADE)
        .cloned()
        .filter(|_| switching);
    for_client(response.headers_mut(), &exchange.id.to_header());
    if let Some(upgrade) = upgrade {
        response.headers_mut().insert(header::UPGRADE, upgrade);
        let connection = header::HeaderValue::from_static("upgrade");
        response
            .headers_mut()
            .insert(header::CONNECTION, connection);
    }
    response
}
