//! The audit log: an append-only record of who changed what.
//!
//! An entry is committed in the same transaction as its change, so that neither exists without the
//! other. Owns what is left out of it: keys and digests, sealed or not.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change::error::ChangeError;
use crate::change::{Control, Reads};
use crate::limits::{AUDIT_REVISIONS_MAX, AUDIT_SEARCHED_MAX};
use crate::model::moment::Moment;
use crate::store::{Table, keys};

/// One thing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What kind of thing.
    pub noun: String,
    /// Which one.
    pub key: String,
    /// How it was; absent when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The store's revision that it made.
    pub revision: u64,
    /// When.
    pub at: Moment,
    /// Who.
    pub actor: String,
    /// What.
    pub changes: Vec<Note>,
    /// How many more things changed than `changes` tells of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Which entries are wanted; everything that is said has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Part of who did it.
    pub actor: Option<String>,
    /// The kind of thing that changed, or part of it.
    pub noun: Option<String>,
    /// Part of which one it was.
    pub key: Option<String>,
    /// Not before this.
    pub since: Option<Moment>,
    /// Not after this.
    pub until: Option<Moment>,
    /// Only revisions below this: where another look ended.
    pub before: Option<u64>,
    /// How many entries at most.
    pub limit: usize,
}

/// A part of the log.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// What [`AuditQuery::before`] has to be to go on; `None` at the end of the log.
    pub next: Option<u64>,
}

impl AuditQuery {
    fn wants(&self, entry: &AuditEntry) -> bool {
        let has = |part: &Option<String>, text: &str| {
            part.as_ref()
                .is_none_or(|part| text.contains(part.as_str()))
        };
        let changes = self.noun.is_none() && self.key.is_none()
            || entry
                .changes
                .iter()
                .any(|note| has(&self.noun, &note.noun) && has(&self.key, &note.key));
        has(&self.actor, &entry.actor)
            && changes
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at <= until)
    }
}

/// A record as the log keeps it.
pub(crate) fn redacted(record: &(impl Serialize + ?Sized)) -> Option<Value> {
    let mut value = serde_json::to_value(record).ok()?;
    if let Some(fields) = value.as_object_mut() {
        for secret in ["key", "digest"] {
            if let Some(field) = fields.get_mut(secret) {
                *field = Value::from("…");
            }
        }
    }
    if let Some(key) = value.pointer_mut("/origin/client_certificate/key") {
        *key = Value::from("…");
    }
    Some(value)
}

impl<A: Reads> Control<A> {
    /// The newest entries that answer a query. Looks at a bounded number of entries, so that a
    /// page may be short, or empty, and the log not at its end.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn find_audit(&self, query: &AuditQuery) -> Result<AuditPage, ChangeError> {
        let last = self.model().revision;
        let first = last.saturating_sub(AUDIT_REVISIONS_MAX);
        let newest = query
            .before
            .map_or(last, |before| before.saturating_sub(1).min(last));
        let mut page = AuditPage::default();
        for (seen, revision) in (first + 1..=newest).rev().enumerate() {
            if page.entries.len() >= query.limit || seen >= AUDIT_SEARCHED_MAX {
                page.next = Some(revision + 1);
                break;
            }
            let key = revision.to_be_bytes();
            let Some(value) = self.shared.store.value(Table::Audit, &key)? else {
                continue;
            };
            let entry: AuditEntry = keys::decode(Table::Audit, &key, &value)?;
            // Revisions are in the order of time.
            if query.since.is_some_and(|since| entry.at < since) {
                break;
            }
            if query.wants(&entry) {
                page.entries.push(entry);
            }
        }
        Ok(page)
    }

    /// A part of the log, newest first, and how many entries there are at most.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn audit(&self, start: usize, count: usize) -> Result<(Vec<AuditEntry>, u64), ChangeError> {
        let last = self.model().revision;
        let first = last.saturating_sub(AUDIT_REVISIONS_MAX);
        let newest = last.saturating_sub(u64::try_from(start).unwrap_or(u64::MAX));
        let mut entries = Vec::new();
        for revision in (first + 1..=newest).rev().take(count) {
            let key = revision.to_be_bytes();
            if let Some(value) = self.shared.store.value(Table::Audit, &key)? {
                entries.push(keys::decode(Table::Audit, &key, &value)?);
            }
        }
        Ok((entries, last - first))
    }
}
