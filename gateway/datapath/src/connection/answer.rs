//! The life of one request: which host, which path, verified again if need be, decided, forwarded.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Uri, Version, header};

use super::exchange::Exchange;
use super::forwarding::{client_of, finish, forward_to, its_turn, refused, sound};
use super::origin_head::{introduction, prepare, wanted_upgrade};
use super::remainder::Rest;
use super::spare::Spare;
use super::standing::{Outdated, Standing};
use super::{Connection, proxied};
use crate::clock;
use crate::http::answer;
use crate::http::balance::Destination;
use crate::http::body::{RequestBody, ResponseBody};
use crate::http::forward::Asking;
use crate::http::incoming::Incoming;
use crate::http::response::Response;
use crate::http::spare_heads;
use crate::http::upstream::HeadBounds;
use crate::observe::{RuleAction, Stage};
use crate::shares::Beyond;
use config::LogField;
use rules::{ConnectionState, Decision, Overworked, Permit, RoundTrip, decide_on};
use snapshot::Host;
use snapshot::checks::{self, Circumstances};
use snapshot::http::headers::{HeadError, is_within};
use snapshot::http::request_head::RequestHead;
use snapshot::phases::{Change, Limited, PhaseInput, Redirected, Routed};
use vocabulary::request_error::RequestError;
use vocabulary::settings::OriginProtocol;
use vocabulary::side::Side;
use vocabulary::verdict::Reason;

/// Why a request is answered by us.
pub(super) struct Refused {
    status: StatusCode,
    error: RequestError,
    text: String,
    /// When it may be sent again, in seconds.
    retry_after: Option<u64>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: RequestError, text: impl Into<String>) -> Self {
        Self {
            status,
            error,
            text: text.into(),
            retry_after: None,
        }
    }

    /// It may be sent again in so many seconds, where that can be said.
    pub(super) fn until(self, retry_after: Option<u64>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }
}

impl From<checks::Refusal> for Refused {
    fn from(refusal: checks::Refusal) -> Self {
        Self::new(refusal.status(), refusal.reason(), refusal.to_string())
    }
}

/// Answers one request. Its exchange is put into `spare`.
pub(super) async fn answer(
    connection: Rc<Connection>,
    (parts, incoming): (Box<RequestHead>, Incoming),
    spare: &mut Spare<Exchange>,
) -> Response<ResponseBody> {
    let (method, version) = (parts.method.clone(), parts.version);
    let is_head = method == Method::HEAD;
    let is_call = version == Version::HTTP_2 && answer::is_grpc(&parts.headers);
    // A call is answered as gRPC does.
    let accept = (!is_call).then(|| parts.headers.value(header::ACCEPT));
    let rest = rest_of(&parts, &incoming);
    // A call may stream, and be silent for as long as it likes.
    let rate = if is_call {
        0
    } else {
        connection.tunables.body_rate
    };
    let exchange = Exchange::open(
        connection.clone(),
        method,
        version,
        (rest, rate),
        (incoming.interims(), &parts.headers),
    );
    let exchange = spare.place(exchange, Exchange::follows);
    {
        let mut notes = exchange.notes.borrow_mut();
        notes.accept = accept.flatten();
        let said = |field, name| {
            let is_wanted = exchange.log_style.wants(field);
            is_wanted.then(|| parts.headers.value(name)).flatten()
        };
        notes.user_agent = said(LogField::UserAgent, header::USER_AGENT);
        notes.referer = said(LogField::Referer, header::REFERER);
    }
    let heads = HeadBounds::of(&connection.tunables);
    let body = RequestBody::new(incoming, exchange.clone(), heads);
    let mut response = match respond(&connection, &exchange, parts, body).await {
        Ok(response) => response,
        Err(refused) => {
            let form = exchange.form();
            let mut notes = exchange.notes.borrow_mut();
            notes.error = Some(refused.error);
            // What is only the operator's is there already.
            if notes.detail.is_empty() {
                notes.detail.clone_from(&refused.text);
            }
            let mut answer = answer::own(refused.status, &refused.text, form, &exchange.id_value);
            if let Some(seconds) = refused.retry_after {
                let headers = answer.headers_mut();
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            answer
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
    if is_call {
        answer::to_grpc(&mut response);
    }
    if is_head {
        answer::keep_head(&mut response);
    }
    let has_no_content = is_head
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if version == Version::HTTP_2 {
        response.body_mut().moves_by_itself();
    } else if exchange.is_cut_short() {
        // The answer says `close`, for that is what will be done.
        connection.closing.retire();
    }
    // The exchange of a request that becomes a tunnel is open for as long as the tunnel.
    if connection.remainder.is_tunnel() {
        return response;
    }
    let patience = connection.tunables.origin_body_timeout;
    response.map(|body| {
        let body = if has_no_content {
            body.contentless()
        } else {
            body
        };
        body.watched_by(exchange, patience, heads)
    })
}

/// How much of a request's body is to come.
fn rest_of(parts: &RequestHead, incoming: &Incoming) -> Rest {
    if incoming.is_over() {
        return Rest::Over;
    }
    let length = incoming.size_hint().exact();
    // `100 Continue` is said when the body is first asked for.
    let expects = parts.version == Version::HTTP_11
        && parts
            .headers
            .get_all(&header::EXPECT)
            .any(|value| value.eq_ignore_ascii_case(b"100-continue"));
    if expects {
        Rest::Unasked(length)
    } else {
        Rest::Coming(length)
    }
}

async fn respond(
    connection: &Rc<Connection>,
    exchange: &Rc<Exchange>,
    mut parts: Box<RequestHead>,
    body: RequestBody,
) -> Result<Response<ResponseBody>, Refused> {
    let (standing, head) = admit(connection, exchange, &parts)?;
    if exchange.is_beyond_share() {
        return Err(beyond_share(exchange, Beyond::Share));
    }
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
        decided,
        routed,
        key,
        changes,
    } = match evaluation {
        Ok(permitted) => permitted,
        Err(NotPermitted::Blocked(answer)) => {
            spare_heads::give_head_back(parts);
            return Ok(answer);
        }
        Err(NotPermitted::Refused(refused)) => return Err(refused),
    };

    let body_max = body_bytes_max(connection, &host);
    // What was said of it; what was not is cut where it is too much.
    if exchange.body_length().is_some_and(|bytes| bytes > body_max) {
        exchange.notes.borrow_mut().fault = Some(Side::Client);
        let text = format!("the request's body is larger than the {body_max} bytes it may have");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(Refused::new(status, RequestError::RequestBody, text));
    }
    let body = body.at_most(body_max);
    parts.uri = Uri::from(target);
    // What came behind the head would be a body to us, and another protocol to the origin.
    let has_stream = exchange.version() == Version::HTTP_2;
    let upgrade = wanted_upgrade(&parts).filter(|_| has_stream || body.is_empty());
    let group = routed.group.unwrap_or(&host.origin);
    let now = match its_turn(exchange, &standing, group).await {
        Ok(true) => clock::now(),
        Ok(false) => decided,
        Err(error) => {
            let at = (&*host, &**group, &**group.first());
            return Err(refused(connection, exchange, at, &error));
        }
    };
    let pool = &connection.local.pool;
    let header = group.first().proxy_protocol;
    let header = header.then(|| (introduction(connection, &standing), connection.number));
    let apart = (key, client_of(&standing), header);
    let destination = Destination::new(group, routed, apart, pool, now);
    let origin = destination.origin();
    prepare(
        connection,
        exchange,
        &standing,
        (&host, &origin),
        &mut parts,
    );
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
    let request = Asking {
        head: parts,
        body: body.hiding(replaced),
    };
    if origin.protocol != OriginProtocol::Http2 {
        exchange
            .keep_busy()
            .map_err(|beyond| beyond_share(exchange, beyond))?;
    }
    exchange.notes.borrow_mut().origin = Some(origin);
    let served = forward_to(exchange, permit, request, &destination, upgrade.is_some()).await;
    let origin = destination.origin();
    exchange.notes.borrow_mut().origin = Some(origin.clone());
    exchange.stays_at(destination.stay());
    let heads = HeadBounds::of(&connection.tunables);
    match served.and_then(|served| sound(served, heads)) {
        Ok(served) => Ok(finish(exchange, served)),
        Err(error) => Err(refused(
            connection,
            exchange,
            (&host, group, &origin),
            &error,
        )),
    }
}

/// Bytes that the body of a request for this host may have.
fn body_bytes_max(connection: &Connection, host: &Host) -> u64 {
    let gateways = connection.tunables.request_body_max as u64;
    match host.request_body_max.unwrap_or(gateways) {
        0 => u64::MAX,
        bytes => bytes,
    }
}

/// The client has more than its share; other clients are served.
fn beyond_share(exchange: &Exchange, beyond: Beyond) -> Refused {
    exchange.notes.borrow_mut().fault = Some(Side::Client);
    let (status, text) = match beyond {
        Beyond::Share => (
            StatusCode::TOO_MANY_REQUESTS,
            "this client has too many requests open at once",
        ),
        Beyond::Descriptors => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway runs short of connections, and this client has many",
        ),
    };
    Refused::new(status, RequestError::ClientShare, text)
}

/// The checks before the rules: who the client is by now, then what it asks for.
fn admit<'p>(
    connection: &Rc<Connection>,
    exchange: &Exchange,
    parts: &'p RequestHead,
) -> Result<(Rc<Standing>, checks::Head<'p, Arc<Host>>), Refused> {
    // A request that gets no further is recorded with its path as it came.
    let note_raw = || exchange.notes.borrow_mut().target = parts.uri.path_and_query().cloned();
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
    let standing = match proxied::standing_of(connection, &standing, &parts.headers) {
        Ok(standing) => standing,
        Err(error) => {
            note_raw();
            let (status, reason) = (StatusCode::BAD_REQUEST, RequestError::ClientAddress);
            return Err(Refused::new(status, reason, error.to_string()));
        }
    };
    exchange.notes.borrow_mut().standing = Some(standing.clone());
    let connected = checks::Connected {
        sni: &standing.facts.sni,
        host: &standing.host,
        has_hello: !standing.facts.client_hello.is_empty(),
        snapshot: &snapshot,
    };
    let header_count_max = connection.tunables.header_count_max;
    // `http1` has looked at HTTP/1.1. Cookies may come one by one: their number is looked at below.
    if parts.version == Version::HTTP_2
        && !is_within(
            &parts.headers,
            connection.tunables.header_bytes_max,
            usize::MAX,
        )
    {
        note_raw();
        return Err(checks::Refusal::Headers(HeadError::TooLarge).into());
    }
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
            notes.target = Some(head.target.clone());
            drop(notes);
            Ok((standing, head))
        }
        Err(refused) => {
            note_raw();
            let mut notes = exchange.notes.borrow_mut();
            notes.authority = refused.authority.unwrap_or_default();
            notes.host = refused.host;
            drop(notes);
            if parts.extensions.get::<h2::ext::Protocol>().is_some()
                && parts.method == Method::CONNECT
            {
                // RFC 8441 §5 and RFC 9220 §3.
                return Err(Refused::new(
                    StatusCode::NOT_IMPLEMENTED,
                    refused.refusal.reason(),
                    "of the protocols over CONNECT only websocket is spoken here",
                ));
            }
            Err(refused.refusal.into())
        }
    }
}

/// What is forwarded.
struct Permitted<'h> {
    permit: Permit,
    /// When that was decided.
    decided: Instant,
    /// Where to, by the origin rules.
    routed: Routed<'h>,
    /// What tells it apart for the choice of an address.
    key: Option<u64>,
    /// What rules change of its headers.
    changes: Vec<Change>,
}

/// Why a request is not forwarded.
#[expect(
    clippy::large_enum_variant,
    reason = "it is answered with at once, and most often it is the large one"
)]
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
fn evaluate_request<'h>(
    connection: &Connection,
    exchange: &Exchange,
    standing: &Standing,
    host: &'h Host,
    parts: &RequestHead,
    (known_as, path): (&str, &str),
) -> Result<Permitted<'h>, NotPermitted> {
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
    // What is remembered of a connection holds for its own client.
    let of_another = ConnectionState::default();
    let state = if proxied::is_anothers(connection, standing) {
        &of_another
    } else {
        &connection.rules
    };
    let mut logged = Vec::new();
    let mut log = |rule: &str| logged.push(Box::from(rule));
    let subject = PhaseInput {
        connection: &standing.facts,
        state,
        request: &facts,
    };
    let decided = match redirect(exchange, host, subject) {
        Some(answered) => Err(answered),
        None => match decide_on(&host.rules, &standing.facts, state, &facts, &mut log) {
            Decision::Permit(permit) => pass_phases(
                connection, exchange, host, permit, subject, started, &mut log,
            ),
            Decision::Block { rule_id, response } => {
                exchange.notes.borrow_mut().rule = Some((rule_id.into(), RuleAction::Block));
                let reason = standing.facts.client.verdict.reason;
                let tells = host.client.tell_reason && reason != Reason::Verified;
                Err(NotPermitted::Blocked(answer::block(
                    response,
                    exchange.form(),
                    &exchange.id_value,
                    tells.then(|| reason.as_str()),
                )))
            }
            Decision::TooLarge => Err(too_large()),
        },
    };
    let decided = response_changes(exchange, host, subject, decided);
    let now = clock::now();
    exchange.stage(Stage::Rules, now.saturating_duration_since(started));
    exchange.notes.borrow_mut().logged = logged;
    decided.map(|permitted| Permitted {
        decided: now,
        ..permitted
    })
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
            let id = &exchange.id_value;
            NotPermitted::Blocked(answer::redirect(status, location, exchange.form(), id))
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
fn response_changes<'h>(
    exchange: &Exchange,
    host: &Host,
    subject: PhaseInput<'_>,
    decided: Result<Permitted<'h>, NotPermitted>,
) -> Result<Permitted<'h>, NotPermitted> {
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
fn pass_phases<'h>(
    connection: &Connection,
    exchange: &Exchange,
    host: &'h Host,
    permit: Permit,
    subject: PhaseInput<'_>,
    now: Instant,
    log: &mut dyn FnMut(&str),
) -> Result<Permitted<'h>, NotPermitted> {
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
                    let mut blocked =
                        answer::block(response, exchange.form(), &exchange.id_value, None);
                    let after = header::HeaderValue::from(retry_after);
                    blocked.headers_mut().insert(header::RETRY_AFTER, after);
                    return Err(NotPermitted::Blocked(blocked));
                }
            }
        }
    };
    let routed = match &host.phases.routes {
        None => Routed::default(),
        Some((routes, named)) => routes
            .ask(subject, named)
            .map_err(|Overworked| too_large())?,
    };
    let group = routed.group.unwrap_or(&host.origin);
    let told = (subject.connection, subject.state, subject.request);
    let key = connection
        .local
        .pool
        .hash(|into| group.write_key(told, into));
    let key = key.map_err(|Overworked| too_large())?;
    let changes = match &host.phases.transforms {
        None => Vec::new(),
        Some(transforms) => transforms
            .changes(subject)
            .map_err(|Overworked| too_large())?,
    };
    Ok(Permitted {
        permit,
        decided: now,
        routed,
        key,
        changes,
    })
}
