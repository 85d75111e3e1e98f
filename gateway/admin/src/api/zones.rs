//! `/client/v4/zones` and `/client/v4/accounts`: zones, and the one account.

use axum::extract::{Extension, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::authorities::{key_kind, unasked};
use crate::http::context::{Actor, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInGateway, ChangeInZone, InAccount, InZone};
use control::{Id, Model, Zone};

#[derive(Deserialize)]
pub(crate) struct Create {
    name: String,
    #[serde(default)]
    account: Option<Account>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Of the managed CA; not a field of Cloudflare's.
    #[serde(default)]
    key_type: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    id: Option<String>,
}

fn shown(model: &Model, zone: &Zone) -> Value {
    json!({
        "id": zone.id,
        "name": zone.name.as_str(),
        "status": "active",
        "paused": false,
        "type": "full",
        "development_mode": 0,
        "name_servers": [],
        "original_name_servers": [],
        "created_on": zone.created_on.to_string(),
        "activated_on": zone.created_on.to_string(),
        "modified_on": zone.modified_on.to_string(),
        "account": { "id": model.account, "name": "postern" },
        "owner": { "id": model.account, "type": "user", "name": "postern" },
        "plan": { "id": "self-hosted", "name": "Self-hosted", "price": 0, "is_subscribed": true },
        "meta": { "step": 0, "phishing_detected": false },
        "permissions": [],
    })
}

/// The zones, for the token of some only those.
pub(crate) async fn list(
    State(context): Shared,
    Extension(actor): Extension<Actor>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = context.reader().model();
    // Cloudflare's filter may carry an operator in front: `contains:shop`.
    let filter = parameters.text("name").map(str::to_ascii_lowercase);
    let named = |zone: &&std::sync::Arc<Zone>| {
        let Some(filter) = &filter else { return true };
        let name = zone.name.as_str();
        match filter.split_once(':') {
            None => name == filter,
            Some((operator, text)) => match operator.trim_end_matches("_case_sensitive") {
                "equal" => name == text,
                "not_equal" => name != text,
                "starts_with" => name.starts_with(text),
                "ends_with" => name.ends_with(text),
                "contains" => name.contains(text),
                _ => false,
            },
        }
    };
    let account = parameters
        .text("account.id")
        .or_else(|| parameters.text("account[id]"));
    let mine = account.is_none_or(|id| id == model.account.to_string());
    let active = parameters
        .text("status")
        .is_none_or(|status| status == "active");
    let mut zones: Vec<_> = model
        .zones
        .values()
        .filter(|zone| mine && active && actor.sees(zone.id))
        .filter(named)
        .collect();
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    if parameters.text("direction") == Some("desc") {
        zones.reverse();
    }
    let items = page.of(zones.iter().map(|zone| shown(&model, zone)));
    Ok(envelope::list(items, &page, zones.len()))
}

pub(crate) async fn create(
    at: ChangeInGateway,
    Json(body): Json<Create>,
) -> Result<Response, Fault> {
    if let Some(id) = body.account.and_then(|account| account.id) {
        at.check_account(&id)?;
    }
    if let Some(kind) = body.kind.filter(|kind| kind != "full") {
        let message = format!("type: `{}` is not offered; `full` is", kind.escape_debug());
        return Err(Fault::bad(1004, message).at("/type"));
    }
    let key = body.key_type.as_deref().map(key_kind).transpose()?;
    let key = key.unwrap_or_default();
    let (zone, at) = at
        .run_then_read(move |control| control.create_zone_with(&body.name, key))
        .await?;
    let model = at.control().model();
    let managed = model.managed(zone.id);
    let messages = managed.iter().flat_map(|authority| unasked(authority));
    Ok(envelope::told(shown(&model, &zone), messages.collect()))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let model = at.control().model();
    let zone = model.zones.get(&at.zone);
    let zone = zone.ok_or_else(|| Fault::no_route(&at.zone.to_string()))?;
    Ok(envelope::result(shown(&model, zone)))
}

pub(crate) async fn delete(at: ChangeInZone) -> Result<Response, Fault> {
    let id = at.zone;
    let lost = at.run(|control, zone| control.delete_zone(zone)).await?;
    Ok(envelope::losses(json!({ "id": id, "lost": lost })))
}

pub(crate) async fn accounts(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let model = context.reader().model();
    let account = account(model.account);
    Ok(envelope::list(page.of(std::iter::once(account)), &page, 1))
}

fn account(id: Id) -> Value {
    json!({ "id": id, "name": "postern", "type": "standard" })
}

pub(crate) async fn account_of(at: InAccount) -> Result<Response, Fault> {
    Ok(envelope::result(account(at.control().model().account)))
}

/// What Cloudflare lets one change of a zone. Nothing of it means anything here but what it is.
#[derive(Deserialize)]
pub(crate) struct Edit {
    #[serde(default)]
    paused: Option<bool>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vanity_name_servers: Vec<String>,
    #[serde(default)]
    plan: Option<Value>,
}

pub(crate) async fn edit(at: InZone, Json(body): Json<Edit>) -> Result<Response, Fault> {
    let refuse = |field: &str, why: &str| {
        Err(Fault::bad(1004, format!("{field}: {why}")).at(format!("/{field}")))
    };
    if body.paused == Some(true) {
        let why = "a zone cannot be paused, because requests have no other way to its origins. To \
                   let everybody in put a `skip` rule first, to stop serving delete its hosts";
        return refuse("paused", why);
    }
    if body.kind.is_some_and(|kind| kind != "full") {
        return refuse("type", "all zones are `full`");
    }
    if !body.vanity_name_servers.is_empty() {
        let why = "the gateway is no name server; set them where the zone's DNS is";
        return refuse("vanity_name_servers", why);
    }
    if body.plan.is_some_and(|plan| !plan.is_null()) {
        return refuse("plan", "there are no plans; everything is included");
    }
    show(at).await
}
