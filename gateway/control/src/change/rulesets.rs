//! Rulesets in a draft: which versions, pages and rules are written, and which are removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::Noun;
use crate::limits::RULESET_VERSIONS_MAX;
use crate::model::id::Id;
use crate::model::rule_diff::Difference;
use crate::model::{Phase, RuleRecord, Ruleset, rule_diff};
use crate::store::keys::{self, encode};
use crate::store::order::{self, Entry, Page, VersionRecord};
use crate::store::{StoreError, Table};
use chunked_list::ChunkedList;

/// The newest version that is no longer kept once `newest` is there; 0 when all are.
pub(crate) fn forgotten(newest: u32) -> u32 {
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
                let key = keys::rule_key(ruleset, rule.id, rule.version);
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
                records.push((key.to_vec(), keys::decode(table, key, value)?));
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
                    let key = keys::rule_key(new.id, rule, version);
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
