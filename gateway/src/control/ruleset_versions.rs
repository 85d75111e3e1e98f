//! The versions that every change of a ruleset leaves behind: listed, read, put back, forgotten
//! when they are too many.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Control;
use super::draft::Draft;
use super::error::{ChangeError, Noun};
use super::id::Id;
use super::load;
use super::model::{RuleRecord, Ruleset};
use super::moment::Moment;
use super::rulesets::{find, put};
use super::store::Table;
use crate::limits::{RULESET_VERSIONS_BLOCK, RULESET_VERSIONS_MAX};

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

/// The newest version that is no longer kept once `newest` is there; 0 when all are.
fn forgotten(newest: u32) -> u32 {
    newest.saturating_sub(RULESET_VERSIONS_MAX)
}

/// Removes versions that are no longer kept. They go a block at a time, because within a block
/// each leans on the one before it. A rule's version goes with the last ruleset version that has it.
pub(super) fn forget_versions(draft: &mut Draft<'_>, new: &Ruleset) -> Result<(), ChangeError> {
    let last = forgotten(new.version);
    // A block ends before a multiple of its length, where the next one begins with a whole order.
    if last == 0 || !(last + 1).is_multiple_of(RULESET_VERSIONS_BLOCK) {
        return Ok(());
    }
    let (_, kept) = load::order(draft.store(), new.id, last + 1)?;
    let kept: HashSet<(Id, u32)> = kept.into_iter().collect();
    let table = Table::RulesetVersions;
    let mut removed = Vec::new();
    let mut gone: HashSet<(Id, u32)> = HashSet::new();
    draft
        .store()
        .scan(table, new.id.as_bytes(), &mut |key, value| {
            if key > load::version_key(new.id, last).as_slice() {
                return Ok(());
            }
            let record: load::VersionRecord = load::decode(table, key, value)?;
            let rules = record.rules.into_iter().flatten();
            let added = record.change.into_iter().flat_map(|change| change.added);
            // What is in no later order never comes back: a rule restored gets a new version.
            gone.extend(rules.chain(added).filter(|rule| !kept.contains(rule)));
            removed.push(key.to_vec());
            Ok(())
        })?;
    for key in removed {
        draft.write(table, key, None);
    }
    for (rule, version) in gone {
        draft.write(Table::Rules, load::rule_key(new.id, rule, version), None);
    }
    Ok(())
}

impl Control {
    /// Which versions of a ruleset are kept, newest first.
    ///
    /// # Errors
    /// The zone has no ruleset of this id.
    pub fn ruleset_versions(&self, zone: Id, ruleset: Id) -> Result<Vec<VersionNote>, ChangeError> {
        let oldest = forgotten(self.ruleset(zone, ruleset)?.version) + 1;
        let table = Table::RulesetVersions;
        let mut notes = Vec::new();
        self.store
            .scan(table, ruleset.as_bytes(), &mut |key, value| {
                let version = key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                let version = version.filter(|version| *version >= oldest);
                if version.is_none() {
                    return Ok(());
                }
                let record: load::VersionHead = load::decode(table, key, value)?;
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
            let then = self.ruleset_version(zone, ruleset, version)?;
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
                rules,
                ..(*old).clone()
            };
            put(draft, Some(&old), new)
        })
    }

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
        let key = load::version_key(ruleset, version);
        let is_forgotten = version <= forgotten(current.version);
        if is_forgotten || self.store.value(Table::RulesetVersions, &key)?.is_none() {
            return Err(ChangeError::not_found(Noun::RulesetVersion, version));
        }
        let (record, rules) = load::version(self.store.as_ref(), ruleset, version)?;
        Ok(Ruleset {
            version,
            last_updated: record.last_updated,
            name: record.name,
            description: record.description,
            rules,
            ..(*current).clone()
        })
    }
}
