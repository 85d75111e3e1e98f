//! `/postern/v1/audit`: who changed what, newest first.

use axum::response::Response;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::http::scope::InGateway;
use control::{AuditEntry, AuditQuery, Moment};

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
