//! `/postern/v1/fleet`: the edges that share one log of changes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fleet::{Fleet, FleetDone, FleetRefusal};
use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, MaybeJson};
use crate::http::scope::{ChangeInGateway, InGateway};
use control::{AloneEntry, ChangeError, Control, Deny, DenyWhat, Id, RevocationReason, Uuid};

impl From<FleetRefusal> for Fault {
    fn from(refusal: FleetRefusal) -> Self {
        let (status, code) = match refusal {
            FleetRefusal::Refused(_) => (StatusCode::BAD_REQUEST, 1004),
            FleetRefusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, 1000),
        };
        Self::new(status, code, refusal.to_string())
    }
}

/// Runs what may wait for etcd.
async fn off_thread<T: Send + 'static>(
    context: &crate::http::context::Context,
    work: impl FnOnce(&dyn Fleet) -> T + Send + 'static,
) -> Result<T, Fault> {
    let fleet = context.fleet().clone();
    let done = tokio::task::spawn_blocking(move || work(fleet.as_ref()));
    done.await.map_err(|_panic| {
        Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            1000,
            "asking the fleet failed: the gateway's log says more",
        )
    })
}

pub(crate) async fn show(State(context): Shared) -> Result<Response, Fault> {
    let mut shown = json!(context.fleet().shown());
    let asked = off_thread(&context, |fleet| Ok((fleet.edges()?, fleet.founded()?)));
    let (edges, founded, why) = match asked.await? {
        Ok((edges, founded)) => (json!(edges), json!(founded), Value::Null),
        Err(refusal) => {
            let refusal: FleetRefusal = refusal;
            (Value::Null, Value::Null, json!(refusal.to_string()))
        }
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("edges".into(), edges);
        shown.insert("founded".into(), founded);
        shown.insert("edges_error".into(), why);
    }
    Ok(envelope::result(shown))
}

pub(crate) async fn digest(at: InGateway) -> Result<Response, Fault> {
    let read = at.run(|control| Ok(control.state_digest()?)).await?;
    let (revision, digest) = read;
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(envelope::result(
        json!({ "revision": revision, "sha256": digest }),
    ))
}

fn done(done: Result<FleetDone, FleetRefusal>) -> Result<Response, Fault> {
    Ok(envelope::result(json!(done?)))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Init {
    /// In the place of one whose stores have another format.
    #[serde(default)]
    replace: bool,
}

pub(crate) async fn init(
    at: ChangeInGateway,
    State(context): Shared,
    MaybeJson(body): MaybeJson<Init>,
) -> Result<Response, Fault> {
    let replace = body.unwrap_or_default().replace;
    tracing::info!(actor = %at.actor(), replace, "a fleet is founded");
    done(off_thread(&context, move |fleet| fleet.init(replace)).await?)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    /// Throw away what is here.
    #[serde(default)]
    replace: bool,
}

pub(crate) async fn join(
    at: ChangeInGateway,
    State(context): Shared,
    MaybeJson(body): MaybeJson<Join>,
) -> Result<Response, Fault> {
    let replace = body.unwrap_or_default().replace;
    tracing::info!(actor = %at.actor(), replace, "a fleet is joined");
    done(off_thread(&context, move |fleet| fleet.join(replace)).await?)
}

pub(crate) async fn leave(at: ChangeInGateway, State(context): Shared) -> Result<Response, Fault> {
    tracing::info!(actor = %at.actor(), "the fleet is left");
    done(off_thread(&context, |fleet| fleet.leave()).await?)
}

pub(crate) async fn accept(at: ChangeInGateway, State(context): Shared) -> Result<Response, Fault> {
    tracing::warn!(actor = %at.actor(), "what etcd has is accepted, whatever was here");
    done(off_thread(&context, |fleet| fleet.accept()).await?)
}

pub(crate) async fn forget(at: ChangeInGateway, State(context): Shared) -> Result<Response, Fault> {
    let edge = at.text(0).to_owned();
    done(off_thread(&context, move |fleet| fleet.forget(&edge)).await?)
}

/// One thing that is to hold on this edge alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alone {
    #[serde(default)]
    revoke: Option<Revoke>,
    #[serde(default)]
    deny: Option<DenyOf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    zone_id: Id,
    certificate_id: Uuid,
    #[serde(default)]
    reason: Option<RevocationReason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DenyOf {
    authority_id: Uuid,
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    serial_number: Option<String>,
    #[serde(default)]
    comment: String,
}

pub(crate) async fn alone(at: ChangeInGateway, Json(body): Json<Alone>) -> Result<Response, Fault> {
    type Work = Box<
        dyn FnOnce(&Control<control::ChangeOnly>) -> Result<Vec<AloneEntry>, ChangeError> + Send,
    >;
    let work: Work = match (body.revoke, body.deny) {
        (Some(one), None) => Box::new(move |control| {
            let reason = one.reason.unwrap_or(RevocationReason::Unspecified);
            control.revoke_alone(one.zone_id, one.certificate_id, reason)
        }),
        (None, Some(one)) => {
            let what = match (one.certificate, one.serial_number) {
                (Some(certificate), None) => DenyWhat::Certificate(certificate),
                (None, Some(serial)) => DenyWhat::Serial(serial),
                _ => {
                    let message = "either certificate or serial_number is expected";
                    return Err(Fault::body(message).at("/deny"));
                }
            };
            let deny = Deny {
                what,
                comment: one.comment,
            };
            Box::new(move |control| control.deny_alone(one.authority_id, &deny))
        }
        _ => return Err(Fault::body("either revoke or deny is expected")),
    };
    let held = at.run(work).await?;
    Ok(envelope::result(json!(held)))
}
