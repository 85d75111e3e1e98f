//! `/client/v4/accounts/{account}/rules/lists`: the lists that rules name as `$name`.
//!
//! Cloudflare changes items in the background and answers with an operation's id. Here a change is in
//! effect before it is answered, so every operation is reported as completed.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{AtMost, Json, Parameters};
use crate::http::scope::{ChangeInAccount, InAccount};
use control::limits::LIST_ITEMS_MAX;
use control::{ChangeError, Id, ItemsChange, ListItem, ListKind, ListRecord, Model, Moment};
use vocabulary::hostname::HostName;

#[derive(Deserialize)]
pub(crate) struct Create {
    name: String,
    kind: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
pub(crate) struct Describe {
    #[serde(default)]
    description: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    hostname: Option<Hostname>,
    #[serde(default)]
    asn: Option<u32>,
    #[serde(default)]
    comment: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostname {
    url_hostname: String,
    #[serde(default)]
    exclude_exact_hostname: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct Remove {
    items: AtMost<LIST_ITEMS_MAX, ItemId>,
}

#[derive(Clone, Deserialize)]
struct ItemId {
    id: Id,
}

fn shown(model: &Model, list: &ListRecord) -> Value {
    json!({
        "id": list.id,
        "name": list.name,
        "kind": list.kind,
        "description": list.description,
        "num_items": list.items.len(),
        "num_referencing_filters": list.references(model),
        "created_on": list.created_on.to_string(),
        "modified_on": list.modified_on.to_string(),
    })
}

fn shown_item(list: &ListRecord, item: &ListItem) -> Value {
    let (field, value) = match list.kind {
        ListKind::Ip => ("ip", json!(item.value)),
        ListKind::Hostname => ("hostname", json!({ "url_hostname": item.value })),
        ListKind::Asn => ("asn", json!(item.value.parse::<u32>().unwrap_or_default())),
    };
    let mut shown = json!({
        "id": item.id,
        "comment": item.comment,
        "created_on": item.created_on.to_string(),
        "modified_on": item.created_on.to_string(),
    });
    if let Some(shown) = shown.as_object_mut() {
        shown.insert(field.into(), value);
    }
    shown
}

fn kind(text: &str) -> Result<ListKind, Fault> {
    match text {
        "ip" => Ok(ListKind::Ip),
        "hostname" => Ok(ListKind::Hostname),
        "asn" => Ok(ListKind::Asn),
        _ => {
            let text: String = text.chars().take(32).collect();
            let message = format!(
                "kind: `{}` is not offered; ip, hostname and asn are",
                text.escape_debug()
            );
            Err(Fault::bad(10_001, message).at("/kind"))
        }
    }
}

/// The items' values in their canonical text, with comments.
fn values(of: ListKind, items: Vec<Item>) -> Result<Vec<(String, String)>, ChangeError> {
    let value = |place: usize, item: Item| {
        let comment = item.comment.unwrap_or_default();
        let value = match (of, item.ip, item.hostname, item.asn) {
            (ListKind::Ip, Some(ip), None, None) => ip,
            (ListKind::Asn, None, None, Some(asn)) => asn.to_string(),
            (ListKind::Hostname, None, Some(name), None) => {
                // A wildcard of a list covers what is below it, not the name itself.
                if name.exclude_exact_hostname == Some(false) && name.url_hostname.starts_with("*.")
                {
                    let why = "exclude_exact_hostname: add the name itself as an item of its own";
                    let error = ChangeError::invalid("hostname", why);
                    return Err(error.at(format!("/{place}/hostname")));
                }
                HostName::parse(&name.url_hostname)
                    .map_err(|why| ChangeError::invalid("hostname", why.to_string()))
                    .map_err(|error| error.at(format!("/{place}/hostname")))?
                    .to_string()
            }
            _ => {
                let why = match of {
                    ListKind::Ip => "one of this list has `ip` and nothing else but `comment`",
                    ListKind::Asn => "one of this list has `asn` and nothing else but `comment`",
                    ListKind::Hostname => {
                        "one of this list has `hostname` and nothing else but `comment`"
                    }
                };
                return Err(ChangeError::invalid("item", why).at(format!("/{place}")));
            }
        };
        Ok((value, comment))
    };
    items
        .into_iter()
        .enumerate()
        .map(|(place, item)| value(place, item))
        .collect()
}

pub(crate) async fn list(at: InAccount) -> Result<Response, Fault> {
    let model = at.control().model();
    let mut lists: Vec<_> = model.lists.values().collect();
    lists.sort_by(|a, b| a.name.cmp(&b.name));
    let shown: Vec<Value> = lists.iter().map(|list| shown(&model, list)).collect();
    Ok(envelope::result(shown))
}

pub(crate) async fn create(
    at: ChangeInAccount,
    Json(body): Json<Create>,
) -> Result<Response, Fault> {
    let of = kind(&body.kind)?;
    let (made, at) = at
        .run_then_read(move |control| control.create_list(&body.name, of, &body.description))
        .await?;
    Ok(envelope::result(shown(&at.control().model(), &made)))
}

pub(crate) async fn show(at: InAccount) -> Result<Response, Fault> {
    let control = at.control();
    let found = control.list(at.one()?)?;
    Ok(envelope::result(shown(&control.model(), &found)))
}

pub(crate) async fn describe(
    at: ChangeInAccount,
    Json(body): Json<Describe>,
) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let (made, at) = at
        .run_then_read(move |control| control.describe_list(id, &body.description))
        .await?;
    Ok(envelope::result(shown(&at.control().model(), &made)))
}

pub(crate) async fn delete(at: ChangeInAccount) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    at.run(move |control| control.delete_list(id)).await?;
    Ok(envelope::result(json!({ "id": id })))
}

/// Pages by cursor: the place of the first item of the next page.
pub(crate) async fn items(at: InAccount, parameters: Parameters) -> Result<Response, Fault> {
    let list = at.control().list(at.one()?)?;
    let start = match parameters.text("cursor") {
        None => 0,
        Some(cursor) => cursor
            .parse()
            .map_err(|_not_ours| Fault::parameter("cursor: it is none that was given out"))?,
    };
    let size = parameters.page()?.size;
    let wanted = parameters.text("search").map(str::to_ascii_lowercase);
    let matches = |item: &&ListItem| {
        wanted.as_ref().is_none_or(|text| {
            item.value.contains(text.as_str()) || item.comment.to_ascii_lowercase().contains(text)
        })
    };
    let shown: Vec<Value> = list
        .items
        .iter()
        .filter(matches)
        .skip(start)
        .take(size)
        .map(|item| shown_item(&list, item))
        .collect();
    let total = list.items.iter().filter(matches).count();
    let next = start.saturating_add(shown.len());
    let after = (next < total).then(|| next.to_string());
    Ok(envelope::cursor_list(shown, after.as_deref()))
}

pub(crate) async fn item(at: InAccount) -> Result<Response, Fault> {
    let (list, item): (Id, Id) = at.two()?;
    let list = at.control().list(list)?;
    let found = list.items.iter().find(|found| found.id == item);
    let found = found.ok_or_else(|| Fault::no_route("that item"))?;
    Ok(envelope::result(shown_item(&list, found)))
}

pub(crate) async fn append(
    at: ChangeInAccount,
    Json(AtMost(body)): Json<AtMost<LIST_ITEMS_MAX, Item>>,
) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let append = move |kind| Ok(ItemsChange::Append(values(kind, body)?));
    change(at, id, append).await
}

pub(crate) async fn replace(
    at: ChangeInAccount,
    Json(AtMost(body)): Json<AtMost<LIST_ITEMS_MAX, Item>>,
) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let replace = move |kind| Ok(ItemsChange::Replace(values(kind, body)?));
    change(at, id, replace).await
}

pub(crate) async fn remove(
    at: ChangeInAccount,
    Json(body): Json<Remove>,
) -> Result<Response, Fault> {
    let ids = body.items.0.into_iter().map(|item| item.id).collect();
    let id = at.one()?;
    change(at, id, |_| Ok(ItemsChange::Remove(ids))).await
}

async fn change(
    at: ChangeInAccount,
    id: Id,
    change: impl FnOnce(ListKind) -> Result<ItemsChange, ChangeError> + Clone + Send + 'static,
) -> Result<Response, Fault> {
    at.run(move |control| control.change_items_by(id, change))
        .await?;
    Ok(envelope::result(json!({ "operation_id": Id::random() })))
}

/// Whatever operation was answered is completed.
pub(crate) async fn operation(at: InAccount) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let completed = Moment::now().to_string();
    Ok(envelope::result(
        json!({ "id": id, "status": "completed", "completed": completed }),
    ))
}
