//! Versions of rulesets: listed, read, restored. What versions share on disk is
//! [`crate::store::order`]'s.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::control::Shared;
use crate::change::error::{ChangeError, Noun};
use crate::change::rulesets::forgotten;
use crate::change::{Changes, Control, Reads};
use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::model::{RuleRecord, Ruleset};
use crate::operations::rulesets::{find, put};
use crate::store::keys;
use crate::store::{Table, load, order};

/// A version of a ruleset, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNote {
    /// Its number.
    pub version: u32,
    /// When it was made.
    pub last_updated: Moment,
    /// The ruleset's name then.
    pub name: String,
    /// The ruleset's description then.
    pub description: String,
}

impl<A: Reads> Control<A> {
    /// Which versions of a ruleset are kept, newest first.
    ///
    /// # Errors
    /// The zone has no ruleset of this id.
    pub fn ruleset_versions(&self, zone: Id, ruleset: Id) -> Result<Vec<VersionNote>, ChangeError> {
        let oldest = forgotten(self.ruleset(zone, ruleset)?.version) + 1;
        let table = Table::RulesetVersions;
        let mut notes = Vec::new();
        self.shared
            .store
            .scan(table, ruleset.as_bytes(), &mut |key, value| {
                let version = key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                let version = version.filter(|version| *version >= oldest);
                if version.is_none() {
                    return Ok(());
                }
                let record: order::VersionHead = keys::decode(table, key, value)?;
                notes.extend(version.map(|version| VersionNote {
                    version,
                    last_updated: record.last_updated,
                    name: record.name,
                    description: record.description,
                }));
                Ok(())
            })?;
        notes.reverse();
        Ok(notes)
    }
}

impl<A: Changes> Control<A> {
    /// Puts the rules of an older version back. They become the newest version; the versions in
    /// between stay.
    ///
    /// # Errors
    /// There is no such version, or its rules no longer compile.
    pub fn restore_version(
        &self,
        zone: Id,
        ruleset: Id,
        version: u32,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| {
            let old = find(&draft.model, zone, ruleset)?.clone();
            let then = draft.shared().version_of(&old, version)?;
            let present: HashMap<Id, &Arc<RuleRecord>> =
                old.rules.iter().map(|rule| (rule.id, rule)).collect();
            let mut rules = Vec::with_capacity(then.rules.len());
            for rule in &then.rules {
                let now = present.get(&rule.id).copied();
                let same = |now: &RuleRecord| {
                    let version = now.version;
                    let last_updated = now.last_updated;
                    *now == RuleRecord {
                        version,
                        last_updated,
                        ..(**rule).clone()
                    }
                };
                match now {
                    Some(now) if same(now) => rules.push(now.clone()),
                    _ => {
                        // The ruleset's own number is above every version that a rule ever had.
                        let version = old.version + 1;
                        let last_updated = draft.now;
                        let rule = RuleRecord {
                            version,
                            last_updated,
                            ..(**rule).clone()
                        };
                        rules.push(Arc::new(rule));
                    }
                }
            }
            let new = Ruleset {
                version: old.version + 1,
                name: then.name,
                description: then.description,
                rules: rules.into(),
                ..(*old).clone()
            };
            put(draft, Some(&old), new)
        })
    }
}

impl<A: Reads> Control<A> {
    /// A ruleset as it was in one of its versions.
    ///
    /// # Errors
    /// There is no such version, or it is no longer kept.
    pub fn ruleset_version(
        &self,
        zone: Id,
        ruleset: Id,
        version: u32,
    ) -> Result<Ruleset, ChangeError> {
        let current = self.ruleset(zone, ruleset)?;
        self.shared.version_of(&current, version)
    }
}

impl Shared {
    /// A ruleset as it was in one of its versions, of those that are kept beside the current one.
    fn version_of(&self, current: &Ruleset, version: u32) -> Result<Ruleset, ChangeError> {
        let ruleset = current.id;
        let key = order::version_key(ruleset, version);
        let is_forgotten = version <= forgotten(current.version);
        if is_forgotten || self.store.value(Table::RulesetVersions, &key)?.is_none() {
            return Err(ChangeError::not_found(Noun::RulesetVersion, version));
        }
        let (record, rules) = match load::version(self.store.as_ref(), ruleset, version) {
            // Forgotten while it was read, with what only it had.
            Err(_) if self.store.value(Table::RulesetVersions, &key)?.is_none() => {
                return Err(ChangeError::not_found(Noun::RulesetVersion, version));
            }
            read => read?,
        };
        Ok(Ruleset {
            version,
            last_updated: record.last_updated,
            name: record.name,
            description: record.description,
            rules: rules.into(),
            ..current.clone()
        })
    }
}
