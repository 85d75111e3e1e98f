//! `/postern/v1/steering`: the state of steering, and a trace of the kernel program's decisions.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::limits::{TRACE_EVENTS_MAX, TRACE_WAIT_MAX};
use config::network::Networks;
use datapath::limits::DRAIN_POLL;
use datapath::observe;

/// Who steers, and who owns what.
pub(crate) async fn show(State(context): Shared) -> Response {
    let workers = context.workers();
    let statistics = workers.collect().await;
    let steering = workers.steering().with(&statistics);
    let mut shown = steering.json();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert(
            "by_handoff".into(),
            json!(by_handoff(&context, steering.mode)),
        );
    }
    envelope::result(shown)
}

/// Networks from which workers hand connections over although the kernel steers: it cannot see SNI
/// behind a PROXY protocol header.
pub(crate) fn by_handoff(context: &Context, mode: &str) -> Option<String> {
    let balancers = context.live().load().proxy_protocol_from;
    (mode == "kernel" && balancers != Networks::default()).then(|| balancers.show())
}

/// Decisions of the kernel as they happen: waits up to `milliseconds` for the first, one of `every`.
pub(crate) async fn trace(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let number = |name: &str, default: u64| {
        let text = parameters.text(name);
        text.map_or(Ok(default), str::parse)
            .map_err(|_not_a_number| Fault::body(format!("{name}: a number is expected")))
    };
    let wait = Duration::from_millis(number("milliseconds", 1_000)?).min(TRACE_WAIT_MAX);
    let every = u32::try_from(number("every", 1)?).unwrap_or(u32::MAX);
    let workers = context.workers();
    let deadline = Instant::now() + wait;
    loop {
        let Some(mut events) = workers.traced(every) else {
            return Ok(envelope::result(json!({ "kernel": false, "events": [] })));
        };
        let over = Instant::now() >= deadline;
        if !events.is_empty() || over || every == 0 {
            events.truncate(TRACE_EVENTS_MAX);
            let events: Vec<_> = events.iter().map(observe::TracedConnection::json).collect();
            return Ok(envelope::result(
                json!({ "kernel": true, "events": events }),
            ));
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
