//! The versions that every change of a ruleset leaves behind: listed, read, put back, forgotten
//! when they are too many.

use std::collections::HashSet;
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
use crate::limits::RULESET_VERSIONS_MAX;

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

/// Keeps the newest versions only. A rule's version goes with the last ruleset version that has it.
pub(super) fn forget_versions(
    draft: &mut Draft<'_>,
    new: &Ruleset,
    old: Option<&Ruleset>,
) -> Result<(), ChangeError> {
    let Some(oldest) = new.version.checked_sub(RULESET_VERSIONS_MAX) else {
        return Ok(());
    };
    let key = load::version_key(new.id, oldest);
    let Some(value) = draft.store().value(Table::RulesetVersions, &key)? else {
        return Ok(());
    };
    let gone: load::VersionRecord = load::decode(Table::RulesetVersions, &key, &value)?;
    let next = load::version_key(new.id, oldest + 1);
    let kept: Vec<(Id, u32)> = match draft.store().value(Table::RulesetVersions, &next)? {
        Some(value) => {
            load::decode::<load::VersionRecord>(Table::RulesetVersions, &next, &value)?.rules
        }
        None => Vec::new(),
    };
    let kept: HashSet<(Id, u32)> = kept
        .into_iter()
        .chain(
            new.rules
                .iter()
                .chain(old.iter().flat_map(|old| &old.rules))
                .map(|r| (r.id, r.version)),
        )
        .collect();
    draft.write(Table::RulesetVersions, key, None);
    for (rule, version) in gone.rules {
        if !kept.contains(&(rule, version)) {
            draft.write(Table::Rules, load::rule_key(new.id, rule, version), None);
        }
    }
    Ok(())
}

impl Control {
    /// Which versions of a ruleset are kept, newest first.
    ///
    /// # Errors
    /// The zone has no ruleset of this id.
    pub fn ruleset_versions(&self, zone: Id, ruleset: Id) -> Result<Vec<VersionNote>, ChangeError> {
        self.ruleset(zone, ruleset)?;
        let table = Table::RulesetVersions;
        let mut notes = Vec::new();
        self.store
            .scan(table, ruleset.as_bytes(), &mut |key, value| {
                let record: load::VersionRecord = load::decode(table, key, value)?;
                let version = key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes));
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
            let mut rules = Vec::with_capacity(then.rules.len());
            for rule in &then.rules {
                let now = old.rules.iter().find(|now| now.id == rule.id);
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
        if self.store.value(Table::RulesetVersions, &key)?.is_none() {
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
