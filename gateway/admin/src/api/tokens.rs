//! `/postern/v1/tokens`: tokens of the API itself.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::auth::presented;
use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::ChangeInGateway;
use control::{Id, Moment, NewToken, Scope, Token};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    scopes: BTreeSet<Scope>,
    #[serde(default)]
    zones: BTreeSet<Id>,
    days: u32,
}

fn shown(token: &Token) -> Value {
    let living = token.expires > Moment::now().seconds();
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "zones": token.zones,
        "status": if living { "active" } else { "expired" },
        "created_on": token.created_on.to_string(),
        "expires_on": Moment::from_seconds(token.expires).to_second(),
    })
}

pub(crate) async fn create(
    at: ChangeInGateway,
    Json(body): Json<Create>,
) -> Result<Response, Fault> {
    let Create {
        name,
        scopes,
        zones,
        days,
    } = body;
    let new = NewToken {
        name,
        scopes,
        zones,
        days,
    };
    let (token, secret) = at.run(move |control| control.create_token(new)).await?;
    let mut answer = shown(&token);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("value".into(), secret.reveal_text().into());
    }
    Ok(envelope::result(answer))
}

pub(crate) async fn list(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = context.reader().model();
    let mut tokens: Vec<_> = model.tokens.values().collect();
    tokens.sort_by_key(|token| (token.created_on, token.id));
    let items = page.of(tokens.iter().map(|token| shown(token)));
    Ok(envelope::list(items, &page, tokens.len()))
}

pub(crate) async fn delete(at: ChangeInGateway) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    at.run(move |control| control.delete_token(id)).await?;
    Ok(envelope::result(json!({ "id": id })))
}

/// Cloudflare's `user/tokens/verify`: whether the token that is shown is good. One that is not does
/// not get here.
pub(crate) async fn verify(State(context): Shared, headers: HeaderMap) -> Result<Response, Fault> {
    let token = presented(&headers).and_then(|secret| context.reader().token(secret));
    let Some(token) = token else {
        let message = "No token was shown, and the unix socket needs none: whoever may open it is \
                       an administrator";
        return Err(Fault::bad(1000, message));
    };
    let shown = json!({
        "id": token.id,
        "status": "active",
        "not_before": token.created_on.to_string(),
        "expires_on": Moment::from_seconds(token.expires).to_second(),
    });
    let good = vec![(10_000, "This API Token is valid and active")];
    Ok(envelope::result_with(shown, good))
}
