//! Recent events, kept for those who look: what workers noted, and what was changed.
//!
//! Owns how many are kept and for how long, the order that they have in a stream, and who may have a
//! stream. Which events workers note is [`datapath::observe::Events`]'s; what an event says is the
//! access log's line.

mod history;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use self::history::{Filter, History, Position};
pub(crate) use self::stream::{Asked, open};
use crate::limits::{EVENT_CHANGES_READ_MAX, EVENT_CHANGES_TOLD_MAX};
use control::{AuditEntry, AuditQuery, Control, ReadOnly};
use datapath::limits::EVENT_WINDOW_MSEC;
use datapath::observe::{EventCounts, EventKind, Events};

/// Fetches what workers noted and what was changed, until it is dropped.
pub(crate) async fn gather(history: Arc<History>, events: Arc<Events>, control: Control<ReadOnly>) {
    let between = Duration::from_millis(EVENT_WINDOW_MSEC.unsigned_abs());
    let mut tick = tokio::time::interval(between);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let state = || {
        let model = control.model();
        (model.lineage, model.revision)
    };
    let mut told = state();
    loop {
        tick.tick().await;
        let geo = control.geo();
        history.add_events(&events, |address| geo.as_ref()?.place(address).country);
        let now = state();
        if now == told {
            continue;
        }
        let revision = now.1;
        // Of a state that has taken the place of a newer one, the last change stands for all.
        let is_same = now.0 == told.0;
        let last = revision.saturating_sub(1);
        let before = if is_same { told.1 } else { told.1.min(last) };
        let wanted = usize::try_from(revision.saturating_sub(before))
            .unwrap_or(usize::MAX)
            .min(EVENT_CHANGES_READ_MAX);
        let reader = control.clone();
        // What comes meanwhile is told the next time.
        let query = AuditQuery {
            before: Some(revision.saturating_add(1)),
            limit: wanted,
            ..AuditQuery::default()
        };
        let read = tokio::task::spawn_blocking(move || reader.find_audit(&query)).await;
        match read {
            Ok(Ok(page)) => {
                let new = page
                    .entries
                    .iter()
                    .rev()
                    .filter(|entry| entry.revision > before);
                history.add_changes(new.map(|entry| (entry.revision, change(entry))));
            }
            Ok(Err(error)) => tracing::warn!(%error, "the newest changes cannot be told"),
            Err(_panicked) => {}
        }
        told = now;
    }
}

/// What a stream tells of a change: who, and of what. The audit log has the rest.
fn change(entry: &AuditEntry) -> Value {
    let changes: Vec<Value> = entry
        .changes
        .iter()
        .take(EVENT_CHANGES_TOLD_MAX)
        .map(|note| json!({ "noun": note.noun, "key": note.key }))
        .collect();
    json!({
        "revision": entry.revision,
        "at": entry.at.to_string(),
        "actor": entry.actor,
        "omitted": entry.changes.len() - changes.len() + entry.omitted,
        "changes": changes,
    })
}

/// Counts, by the words of the kinds.
pub(crate) fn counts(of: &EventCounts) -> Value {
    let by_kind = |counts: &[u64]| {
        let named = EventKind::ALL.iter().zip(counts);
        let named = named.map(|(kind, count)| (kind.as_str().to_owned(), Value::from(*count)));
        Value::Object(named.collect())
    };
    json!({ "seen": by_kind(&of.seen), "kept": by_kind(&of.kept), "lost": of.lost })
}
