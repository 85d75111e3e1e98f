//! `/postern/v1/upgrade`: another process takes this one's place.

use std::path::PathBuf;

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::http::auth::Peer;
use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::MaybeJson;
use crate::http::scope::InGateway;
use crate::upgrades::NotBegun;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// An absolute path on the gateway's machine; the running binary's when nothing is said.
    binary: Option<PathBuf>,
}

pub(crate) async fn show(State(context): Shared) -> Response {
    envelope::result(told(&context))
}

fn told(context: &Context) -> serde_json::Value {
    json!({ "pid": std::process::id(), "last": context.upgrades().last() })
}

/// Who may have the gateway start a program may also send its process a signal, and nobody else.
fn check_peer(peer: Option<&Peer>) -> Result<(), Fault> {
    let own = rustix::process::geteuid().as_raw();
    match peer {
        Some(Peer::Unix { uid: Some(uid) }) if *uid == 0 || *uid == own => Ok(()),
        _ => {
            let message = "An upgrade is asked for over the unix socket, by root or by the user that \
                           runs the gateway";
            Err(Fault::new(StatusCode::FORBIDDEN, 9109, message))
        }
    }
}

pub(crate) async fn begin(
    at: InGateway,
    State(context): Shared,
    request: Request,
) -> Result<Response, Fault> {
    check_peer(request.extensions().get())?;
    let MaybeJson(wanted) = MaybeJson::<Wanted>::from_request(request, &()).await?;
    let wanted = wanted.unwrap_or_default();
    if let Some(binary) = &wanted.binary
        && !binary.is_absolute()
    {
        return Err(Fault::bad(1004, "binary: an absolute path is expected").at("/binary"));
    }
    let begun = context.upgrades().begin(wanted.binary);
    begun.map_err(|why| {
        let status = match why {
            NotBegun::Running => StatusCode::PRECONDITION_FAILED,
            NotBegun::Never => StatusCode::SERVICE_UNAVAILABLE,
        };
        Fault::new(status, 1000, why.to_string())
    })?;
    tracing::info!(actor = %at.actor(), "an upgrade was asked for");
    Ok(envelope::result(told(&context)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_send_a_signal_may_not_ask() {
        let own = rustix::process::geteuid().as_raw();
        for (peer, may) in [
            (Some(Peer::Unix { uid: Some(0) }), true),
            (Some(Peer::Unix { uid: Some(own) }), true),
            (Some(Peer::Unix { uid: Some(own + 1) }), false),
            (Some(Peer::Unix { uid: None }), false),
            (Some(Peer::Tcp), false),
            (None, false),
        ] {
            assert_eq!(check_peer(peer.as_ref()).is_ok(), may, "{peer:?}");
        }
    }
}
