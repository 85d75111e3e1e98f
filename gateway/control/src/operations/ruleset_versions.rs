//! The versions that every change of a ruleset leaves behind: made, listed, read, put back,
//! forgotten when they are too many. What they share is the business of [`crate::store::order`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::Control;
use crate::change::draft::{Draft, encode};
use crate::change::error::{ChangeError, Noun};
use crate::limits::RULESET_VERSIONS_MAX;
use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::model::rule_diff::Difference;
use crate::model::{Phase, RuleRecord, Ruleset, rule_diff};
use crate::operations::rulesets::{find, put};
use crate::store::order::{Entry, Page, VersionRecord};
use crate::store::{StoreError, Table, load, order};
use chunked_list::ChunkedList;

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

impl Draft<'_> {
    /// Stores a new version of a ruleset: its head, the pages of its order that are new, and those
    /// rules whose version the store does not have yet.
    pub(crate) fn put_ruleset(
        &mut self,
        ruleset: Ruleset,
        old: Option<&Ruleset>,
    ) -> Result<Arc<Ruleset>, StoreError> {
        self.data_path = true;
        // First, so that a long list of rules does not crowd it out.
        self.note(Noun::Ruleset, ruleset.id, old, Some(&ruleset));
        let nothing = ChunkedList::default();
        let old_rules = old.map_or(&nothing, |old| &old.rules);
        self.put_rules(ruleset.id, old_rules, &ruleset.rules);
        let old_pages = match old {
            Some(old) => order::record(self.store(), old.id, old.version)?.pages,
            None => Vec::new(),
        };
        let rules = ruleset.rules.references();
        let paged = order::paged(
            ruleset.version,
            &old_pages,
            &old_rules.references(),
            &rules,
            |rule| (rule.id, rule.version),
            |one, other| rule_diff::same(one, other),
        );
        for (page, places) in paged.made {
            let rules = rules.get(places).unwrap_or_default();
            let entries = rules.iter().map(|rule| (rule.id, rule.version));
            let bytes = order::encoded(entries);
            self.write(Table::RulesetPages, page.key(ruleset.id), Some(bytes));
        }
        let record = VersionRecord {
            last_updated: ruleset.last_updated,
            name: ruleset.name.clone(),
            description: ruleset.description.clone(),
            pages: paged.pages,
        };
        let key = order::version_key(ruleset.id, ruleset.version);
        self.write(Table::RulesetVersions, key, Some(encode(&record)));
        self.write(
            Table::Rulesets,
            ruleset.id.as_bytes().to_vec(),
            Some(encode(&ruleset)),
        );
        let place = (ruleset.zone, ruleset.phase);
        let ruleset = Arc::new(ruleset);
        Arc::make_mut(&mut self.model.rulesets).insert(place, ruleset.clone());
        Ok(ruleset)
    }

    /// Stores the versions of rules that are new, and notes what became of which.
    fn put_rules(
        &mut self,
        ruleset: Id,
        old: &ChunkedList<Arc<RuleRecord>>,
        new: &ChunkedList<Arc<RuleRecord>>,
    ) {
        let Difference { out, new, .. } = Difference::between(old, new);
        let before: HashMap<Id, &Arc<RuleRecord>> =
            out.into_iter().map(|rule| (rule.id, rule)).collect();
        let mut gone = before.clone();
        for rule in new {
            gone.remove(&rule.id);
            let old = before.get(&rule.id).copied();
            if old.is_none_or(|old| old.version != rule.version) {
                let key = load::rule_key(ruleset, rule.id, rule.version);
                self.write(Table::Rules, key, Some(encode(&**rule)));
                self.note(Noun::Rule, rule.id, old.map(|old| &**old), Some(&**rule));
            }
        }
        for rule in gone.into_values() {
            self.note(Noun::Rule, rule.id, Some(&**rule), None);
        }
    }

    /// Removes the versions that are no longer kept, with the pages and the rules that only they
    /// have: what the next version does not have never comes back, because a rule restored gets a
    /// version of its own.
    pub(crate) fn forget_versions(&mut self, new: &Ruleset) -> Result<(), StoreError> {
        let newest = forgotten(new.version);
        if newest == 0 {
            return Ok(());
        }
        let (store, table) = (self.store(), Table::RulesetVersions);
        // Those to be forgotten, one as a rule, and the one after them.
        let mut records: Vec<(Vec<u8>, VersionRecord)> = Vec::new();
        let last = order::version_key(new.id, newest);
        store.scan(table, new.id.as_bytes(), &mut |key, value| {
            if records.last().is_none_or(|(before, _)| *before <= last) {
                records.push((key.to_vec(), load::decode(table, key, value)?));
            }
            Ok(())
        })?;
        for ((key, old), (_, next)) in records.iter().zip(records.iter().skip(1)) {
            self.write(table, key.clone(), None);
            let only = |these: &[Page], those: &[Page]| -> Result<Vec<_>, StoreError> {
                let those: HashSet<&Page> = those.iter().collect();
                let only = these.iter().filter(|page| !those.contains(page));
                only.map(|page| Ok((*page, page.read(store, new.id)?)))
                    .collect()
            };
            let fresh = only(&next.pages, &old.pages)?;
            let kept: HashSet<Entry> = fresh.into_iter().flat_map(|(_, rules)| rules).collect();
            for (page, rules) in only(&old.pages, &next.pages)? {
                self.write(Table::RulesetPages, page.key(new.id), None);
                for (rule, version) in rules.into_iter().filter(|rule| !kept.contains(rule)) {
                    let key = load::rule_key(new.id, rule, version);
                    self.write(Table::Rules, key, None);
                }
            }
        }
        Ok(())
    }

    /// Removes a ruleset with all its versions.
    pub(crate) fn remove_ruleset(&mut self, zone: Id, phase: Phase) -> Result<(), StoreError> {
        let Some(ruleset) = Arc::make_mut(&mut self.model.rulesets).remove(&(zone, phase)) else {
            return Ok(());
        };
        self.data_path = true;
        for rule in &ruleset.rules {
            self.note(Noun::Rule, rule.id, Some(&**rule), None);
        }
        self.note(Noun::Ruleset, ruleset.id, Some(&*ruleset), None);
        self.write(Table::Rulesets, ruleset.id.as_bytes().to_vec(), None);
        self.remove_all(Table::RulesetVersions, ruleset.id.as_bytes())?;
        self.remove_all(Table::RulesetPages, ruleset.id.as_bytes())?;
        self.remove_all(Table::Rules, ruleset.id.as_bytes())
    }
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
                let record: order::VersionHead = load::decode(table, key, value)?;
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
                rules: rules.into(),
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
            ..(*current).clone()
        })
    }
}
