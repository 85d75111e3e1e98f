//! Recent events: as a list, as a stream, and requests to try rules on; of the whole gateway, or of
//! one zone. What the words in them mean.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::events::{self, Asked, Filter, Position};
use crate::explain;
use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::http::scope::{InGateway, InZone};
use crate::http::sessions::Session;
use crate::limits::{EVENTS_KEPT_MAX, EVENTS_LISTED_DEFAULT};
use control::{Control, ReadOnly};
use datapath::observe::EventKind;
use vocabulary::side::Side;

/// The newest events of the gateway.
pub(crate) async fn list(at: InGateway, parameters: Parameters) -> Result<Response, Fault> {
    let filter = filter(&parameters, None)?;
    listed(at.context(), &parameters, &filter, false)
}

/// The newest events of a zone.
pub(crate) async fn list_of(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let filter = filter(&parameters, zone_name(&at))?;
    listed(at.context(), &parameters, &filter, false)
}

/// The newest requests of a zone, whatever became of them.
pub(crate) async fn requests(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let filter = filter(&parameters, zone_name(&at))?;
    listed(at.context(), &parameters, &filter, true)
}

fn listed(
    context: &Context,
    parameters: &Parameters,
    filter: &Filter,
    requests: bool,
) -> Result<Response, Fault> {
    let most = number(parameters, "limit", EVENTS_LISTED_DEFAULT)?;
    let found = context.history.newest(filter, requests, most);
    Ok(envelope::result_text(&format!("[{}]", found.join(","))))
}

/// The events and changes of the gateway as they come.
pub(crate) async fn stream(
    at: InGateway,
    session: Option<Extension<Session>>,
    State(context): Shared,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let filter = filter(&parameters, None)?;
    let who = (at.actor().clone(), at.control().clone());
    streamed(&context, who, session, (&parameters, &headers), filter)
}

/// The events of a zone as they come, and that something was changed.
pub(crate) async fn stream_of(
    at: InZone,
    session: Option<Extension<Session>>,
    State(context): Shared,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let filter = filter(&parameters, zone_name(&at))?;
    let who = (at.actor().clone(), at.control().clone());
    streamed(&context, who, session, (&parameters, &headers), filter)
}

fn streamed(
    context: &Arc<Context>,
    (holder, control): (Arc<str>, Control<ReadOnly>),
    session: Option<Extension<Session>>,
    (parameters, headers): (&Parameters, &HeaderMap),
    filter: Filter,
) -> Result<Response, Fault> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok());
    let (sessions, session) = (context.clone(), session.map(|Extension(one)| one.id));
    let asked = Asked {
        filter,
        position: last.and_then(Position::parse),
        recent: number(parameters, "recent", 0)?,
        holder,
        admitted: Box::new(move || {
            control.check_granted().is_ok()
                && session.is_none_or(|session| sessions.sessions.lives(session))
        }),
    };
    let body = events::open(&context.history, asked).map_err(|why| {
        // As for too many connections.
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, 971, why)
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

fn zone_name(at: &InZone) -> Option<Arc<str>> {
    let model = at.control().model();
    let zone = model.zones.get(&at.zone)?;
    Some(zone.name.as_str().into())
}

fn filter(parameters: &Parameters, zone: Option<Arc<str>>) -> Result<Filter, Fault> {
    let mut kinds = Vec::new();
    let named = parameters.text("kind").unwrap_or_default().split(',');
    for word in named.map(str::trim).filter(|word| !word.is_empty()) {
        let kind = EventKind::ALL.into_iter().find(|one| one.as_str() == word);
        kinds.push(kind.ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            Fault::parameter(format!("kind: one or more of {known} are expected"))
        })?);
    }
    Ok(Filter {
        zone,
        host: parameters.text("host").map(Into::into),
        kinds,
    })
}

fn number(parameters: &Parameters, name: &str, default: usize) -> Result<usize, Fault> {
    let Some(text) = parameters.text(name) else {
        return Ok(default);
    };
    let number: usize = text
        .parse()
        .map_err(|_not_a_number| Fault::parameter(format!("{name}: a number is expected")))?;
    Ok(number.min(EVENTS_KEPT_MAX))
}

/// How many events there were.
pub(crate) async fn counts(State(context): Shared) -> Response {
    envelope::result(events::counts(&context.history.counts()))
}

/// Every word that an event, a log line or a metric may have for what went wrong.
pub(crate) async fn reasons() -> Response {
    let all = explain::all().into_iter().map(|one| {
        json!({
            "word": one.word,
            "of": one.place,
            "status": Some(one.status).filter(|status| !status.is_empty()),
            "side": one.side.map(Side::as_str),
            "means": one.means,
            "mend": one.mend,
        })
    });
    envelope::result(all.collect::<Vec<_>>())
}
