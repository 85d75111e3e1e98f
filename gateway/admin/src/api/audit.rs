//! `/postern/v1/audit`, and Cloudflare's `/client/v4/accounts/{account}/audit_logs`: who changed
//! what, newest first.

use axum::response::Response;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::http::scope::{InAccount, InGateway};
use control::{AuditEntry, AuditQuery, Id, Moment};

fn shown(entry: &AuditEntry) -> Value {
    let mut shown = json!({
        "revision": entry.revision,
        "at": entry.at.to_string(),
        "actor": entry.actor,
        "changes": entry.changes,
    });
    if let (Some(shown), 1..) = (shown.as_object_mut(), entry.omitted) {
        shown.insert("omitted".into(), entry.omitted.into());
    }
    shown
}

/// Pages of all, or of those that fit `actor`, `noun`, `key`, `since` and `until`, with a cursor.
pub(crate) async fn list(at: InGateway, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let text = |name: &str| parameters.text(name).map(str::to_owned);
    let moment = |name: &str| match parameters.text(name) {
        None => Ok(None),
        Some(text) => Moment::parse(text).map(Some).ok_or_else(|| {
            let why = "a time is written as in 2026-01-31T12:00:00Z (RFC 3339)";
            Fault::parameter(format!("{name}: {why}"))
        }),
    };
    let before = match parameters.text("cursor") {
        None => None,
        Some(cursor) => Some(
            cursor
                .parse()
                .map_err(|_not_ours| Fault::parameter("cursor: it is none that was given out"))?,
        ),
    };
    let query = AuditQuery {
        actor: text("actor"),
        noun: text("noun"),
        key: text("key"),
        since: moment("since")?,
        until: moment("until")?,
        before,
        limit: page.size,
    };
    let plain = AuditQuery {
        limit: page.size,
        ..AuditQuery::default()
    };
    if query != plain {
        if page.start > 0 {
            let message = "page and offset do not go with filters; go on with `cursor`";
            return Err(Fault::parameter(message));
        }
        let found = at.run(move |control| control.find_audit(&query)).await?;
        let items = found.entries.iter().map(shown).collect();
        let after = found.next.map(|next| next.to_string());
        return Ok(envelope::cursor_list(items, after.as_deref()));
    }
    let (entries, total) = at
        .run(move |control| control.audit(page.start, page.size))
        .await?;
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    Ok(envelope::list(
        entries.iter().map(shown).collect(),
        &page,
        total,
    ))
}

/// An entry as Cloudflare writes one. Of several things that changed at once the first is the
/// resource, and all are in `metadata`.
fn as_log(entry: &AuditEntry, account: Id) -> Value {
    let first = entry.changes.first();
    let value = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
    let kind = match first.map(|note| (&note.before, &note.after)) {
        Some((None, _)) => "create",
        Some((_, None)) => "delete",
        _ => "update",
    };
    json!({
        "id": entry.revision.to_string(),
        "action": { "type": kind, "result": true },
        "actor": { "id": entry.actor, "email": entry.actor, "type": "user" },
        "interface": "API",
        "metadata": { "changes": entry.changes, "omitted": entry.omitted },
        "newValue": value(first.and_then(|note| note.after.as_ref())),
        "oldValue": value(first.and_then(|note| note.before.as_ref())),
        "owner": { "id": account },
        "resource": {
            "id": first.map(|note| note.key.as_str()),
            "type": first.map(|note| note.noun.as_str()),
        },
        "when": entry.at.to_string(),
    })
}

/// A time, or a day in UTC, as Cloudflare's clients send it.
fn moment_or_day(parameters: &Parameters, name: &str) -> Result<Option<Moment>, Fault> {
    let Some(text) = parameters.text(name) else {
        return Ok(None);
    };
    let day = || Moment::parse(&format!("{text}T00:00:00Z"));
    let found = Moment::parse(text).or_else(day);
    found.map(Some).ok_or_else(|| {
        let why = "a time is written as in 2026-01-31T12:00:00Z, a day as in 2026-01-31";
        Fault::parameter(format!("{name}: {why}"))
    })
}

/// Cloudflare's list, page by page. A filter that is not known here is refused: leaving it out
/// would answer with more than was asked for.
pub(crate) async fn logs(at: InAccount, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    for name in ["id", "action.type", "actor.ip", "zone.name"] {
        if parameters.text(name).is_some() {
            let message = format!(
                "{name}: it is not a filter here; `since`, `before` and `actor.email` are, and \
                 GET /postern/v1/audit has `noun` and `key`"
            );
            return Err(Fault::parameter(message));
        }
    }
    if parameters.text("direction") == Some("asc") {
        let message = "direction: the newest come first; name the oldest with `since`";
        return Err(Fault::parameter(message));
    }
    if parameters.text("export") == Some("true") {
        return Err(Fault::parameter("export: there is no CSV; read the pages"));
    }
    let wanted = page.start.saturating_add(page.size);
    let mut query = AuditQuery {
        actor: parameters.text("actor.email").map(str::to_owned),
        since: moment_or_day(&parameters, "since")?,
        until: moment_or_day(&parameters, "before")?,
        limit: wanted,
        ..AuditQuery::default()
    };
    let account = at.control().model().account;
    let entries = at
        .run(move |control| {
            let mut entries = Vec::new();
            loop {
                let found = control.find_audit(&query)?;
                entries.extend(found.entries);
                if found.next.is_none() || entries.len() >= wanted {
                    return Ok(entries);
                }
                query.before = found.next;
            }
        })
        .await?;
    let shown: Vec<Value> = page.of(entries.iter().map(|entry| as_log(entry, account)));
    Ok(envelope::result(shown))
}
