//! Migrates a store from before pages: it has every 32nd order of a ruleset whole, and those in
//! between as changes to the one before.

use serde::Deserialize;

use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::store::keys;
use crate::store::keys::encode;
use crate::store::order::{Entry, Page};
use crate::store::{Store, StoreError, Table, Write, order};

/// In the table of single values: there are pages.
pub(crate) const DONE_KEY: &[u8] = b"orders_in_pages";
pub(crate) const DONE: &[u8] = b"1";

#[derive(Deserialize)]
struct OldRecord {
    last_updated: Moment,
    name: String,
    description: String,
    /// The whole order.
    rules: Option<Vec<Entry>>,
    /// Otherwise: what is different from the version before it.
    change: Option<OldChange>,
}

#[derive(Deserialize)]
struct OldChange {
    /// From this place on …
    start: usize,
    /// … so many are taken out …
    removed: usize,
    /// … and these put in.
    added: Vec<Entry>,
}

/// Why an old version cannot be one of its ruleset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum OldRecordError {
    #[error("it names no rules")]
    NoRules,
    #[error("it changes rules that the version before it does not have")]
    NotThere,
}

impl OldRecord {
    /// Makes the order of the version before it the order of this one.
    fn apply(&mut self, rules: &mut Vec<Entry>) -> Result<(), OldRecordError> {
        if let Some(whole) = self.rules.take() {
            *rules = whole;
            return Ok(());
        }
        let change = self.change.take().ok_or(OldRecordError::NoRules)?;
        let end = change.start.checked_add(change.removed);
        let end = end.filter(|end| *end <= rules.len());
        let end = end.ok_or(OldRecordError::NotThere)?;
        rules.splice(change.start..end, change.added);
        Ok(())
    }
}

/// Does so in one transaction, once for every store.
pub(crate) fn migrate_to_pages(store: &dyn Store) -> Result<(), StoreError> {
    if store.value(Table::Meta, DONE_KEY)?.is_some() {
        return Ok(());
    }
    let table = Table::RulesetVersions;
    let mut writes = Vec::new();
    let mut of: Option<Id> = None;
    let (mut rules, mut pages): (Vec<Entry>, Vec<Page>) = Default::default();
    store.scan(table, b"", &mut |key, value| {
        let (id, rest) = keys::part(table, key)?;
        let ruleset = Id::from_bytes(id);
        let version = rest.try_into().map(u32::from_be_bytes);
        let version = version.map_err(|why| keys::corrupt(table, key, why))?;
        if of.replace(ruleset) != Some(ruleset) {
            rules.clear();
            pages.clear();
        }
        let mut record: OldRecord = keys::decode(table, key, value)?;
        let mut new = rules.clone();
        let applied = record.apply(&mut new);
        applied.map_err(|why| keys::corrupt(table, key, why))?;
        let paged = order::paged(version, &pages, &rules, &new, |rule| *rule, |a, b| a == b);
        for (page, places) in paged.made {
            let entries = new.get(places).unwrap_or_default();
            writes.push(Write {
                table: Table::RulesetPages,
                key: page.key(ruleset),
                value: Some(order::encoded(entries.iter().copied())),
            });
        }
        (rules, pages) = (new, paged.pages);
        let record = order::VersionRecord {
            last_updated: record.last_updated,
            name: record.name,
            description: record.description,
            pages: pages.clone(),
        };
        writes.push(Write {
            table,
            key: key.to_vec(),
            value: Some(encode(&record)),
        });
        Ok(())
    })?;
    writes.push(Write {
        table: Table::Meta,
        key: DONE_KEY.to_vec(),
        value: Some(DONE.to_vec()),
    });
    store.commit(store.revision()?, &writes)
}
