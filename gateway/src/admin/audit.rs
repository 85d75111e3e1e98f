//! `/postern/v1/audit`: who changed what, newest first.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::fault::Fault;
use super::query::{As, Parameters};
use super::{Shared, envelope};
use crate::control::AuditEntry;

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

pub(super) async fn list(
    State(context): Shared,
    As(intent): As,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let (entries, total) = context
        .run(intent, move |control| control.audit(page.start, page.size))
        .await?;
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    Ok(envelope::list(
        entries.iter().map(shown).collect(),
        &page,
        total,
    ))
}
