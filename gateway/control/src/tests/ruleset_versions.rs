//! Versions of rulesets: each that is kept can be read, and what none of them needs is not stored.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::many_rules::text;
use super::*;
use crate::limits::RULESET_VERSIONS_MAX;
use crate::model::id::ID_BYTES;
use crate::model::rule_diff::Difference;
use crate::store::keys::encode;
use crate::store::{Look, RedbStore, Store, StoreError, Table, Visit, Write, keys, migrate, order};
use ::rules::testing::random::Random;
use chunked_list::ChunkedList;

/// What a table has of a ruleset: the keys after the ruleset's own.
fn stored(control: &Control, table: Table, ruleset: Id) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let scanned = control
        .shared
        .store
        .scan(table, ruleset.as_bytes(), &mut |key, _| {
            found.insert(key[ID_BYTES..].to_vec());
            Ok(())
        });
    scanned.unwrap();
    found
}

#[test]
fn every_kept_version_can_be_read_and_nothing_else_is_stored() {
    for rules in [6, 1_300] {
        kept_versions(rules);
    }
}

fn kept_versions(rules: usize) {
    let mut world = World::new();
    let (zone, ruleset) = world.filled(rules);
    let mut random = Random(3);
    let order = |ruleset: &Ruleset| -> Vec<(Id, u32)> {
        ruleset.rules.iter().map(|r| (r.id, r.version)).collect()
    };
    // By version; there is no version 0.
    let mut history = vec![Vec::new(), order(&ruleset)];
    let newest = RULESET_VERSIONS_MAX + 60;
    while history.len() <= newest as usize {
        let control = world.control();
        let now = control.ruleset(zone.id, ruleset.id).unwrap();
        let count = now.rules.len();
        let one = now.rules[random.below(count)].id;
        let made = match random.below(5) {
            0 if count < 2 * rules => {
                let at = Position::Index(random.below(count) + 1);
                let new = rule(&text(history.len()));
                control.create_rule(zone.id, ruleset.id, new, Some(&at))
            }
            1 if count > 3 => control.delete_rule(zone.id, ruleset.id, one),
            2 => {
                let at = Position::Index(random.below(count) + 1);
                control.update_rule(zone.id, ruleset.id, one, RulePatch::default(), Some(&at))
            }
            3 if history.len() > 60 => {
                let back = u32::try_from(random.below(50) + 1).unwrap();
                control.restore_version(zone.id, ruleset.id, now.version - back)
            }
            _ => {
                let patch = RulePatch {
                    expression: Some(text(1_000 + history.len())),
                    ..RulePatch::default()
                };
                control.update_rule(zone.id, ruleset.id, one, patch, None)
            }
        };
        history.push(order(&made.unwrap()));
    }
    let check = |world: &World| {
        let control = world.control();
        let versions = control.ruleset_versions(zone.id, ruleset.id).unwrap();
        assert_eq!(versions.len(), RULESET_VERSIONS_MAX as usize);
        for note in &versions {
            let found = control.ruleset_version(zone.id, ruleset.id, note.version);
            let expected = &history[note.version as usize];
            assert_eq!(order(&found.unwrap()), *expected, "{}", note.version);
        }
        let oldest = versions.last().unwrap().version;
        let forgotten = control.ruleset_version(zone.id, ruleset.id, oldest - 1);
        assert!(forgotten.is_err());
        let kept = &history[oldest as usize..];
        let named = |(rule, version): &(Id, u32)| {
            let key = keys::rule_key(ruleset.id, *rule, *version);
            key[ID_BYTES..].to_vec()
        };
        let named: BTreeSet<Vec<u8>> = kept.iter().flatten().map(named).collect();
        assert!(stored(control, Table::Rules, ruleset.id) == named, "rules");
        let records = stored(control, Table::RulesetVersions, ruleset.id);
        assert_eq!(records.len(), versions.len());
        let pages = versions.iter().flat_map(|note| {
            let record = order::record(control.shared.store.as_ref(), ruleset.id, note.version);
            record.unwrap().pages
        });
        let pages: BTreeSet<Vec<u8>> = pages
            .map(|page| page.key(ruleset.id)[ID_BYTES..].to_vec())
            .collect();
        assert_eq!(stored(control, Table::RulesetPages, ruleset.id), pages);
    };
    check(&world);
    world.reopen();
    check(&world);
    let control = world.control();
    let now = control.ruleset(zone.id, ruleset.id).unwrap();
    assert_eq!(order(&now), *history.last().unwrap());
    control.delete_ruleset(zone.id, ruleset.id).unwrap();
    for table in [Table::Rules, Table::RulesetVersions, Table::RulesetPages] {
        assert_eq!(stored(control, table, ruleset.id).len(), 0, "{table:?}");
    }
}

/// A store that is written to while a version is read, before the last that is read: the rules.
struct Overtaken {
    store: RedbStore,
    by: Arc<Mutex<Vec<Write>>>,
}

impl Store for Overtaken {
    fn revision(&self) -> Result<u64, StoreError> {
        self.store.revision()
    }

    fn commit_as(&self, expected: u64, next: u64, writes: &[Write]) -> Result<(), StoreError> {
        self.store.commit_as(expected, next, writes)
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.value(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let writes = std::mem::take(&mut *self.by.lock().unwrap());
        if !writes.is_empty() {
            self.store.commit(self.store.revision()?, &writes)?;
        }
        self.store.scan(table, prefix, visit)
    }

    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError> {
        self.store.at_once(look)
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.store.backup(to)
    }
}

#[test]
fn a_version_that_is_forgotten_while_it_is_read_is_not_there() {
    let read_while = |its_record_goes: bool| {
        let directory = Directory::new();
        let by: Arc<Mutex<Vec<Write>>> = Arc::default();
        let store = Overtaken {
            store: RedbStore::open(&directory.path().join("store.redb")).unwrap(),
            by: by.clone(),
        };
        let key_file = directory.path().join("ca.key");
        let control = Control::start(Box::new(store), &key_file, None, Arc::default()).unwrap();
        let zone = control.create_zone("example.test").unwrap();
        let (ruleset, first) = control.add_rule(zone.id, rule("ssl"), None).unwrap();
        let read = || control.ruleset_version(zone.id, ruleset.id, 1);
        assert_eq!(read().unwrap().rules.len(), 1);
        let content = keys::rule_key(ruleset.id, first.id, 1);
        let record = order::version_key(ruleset.id, 1);
        let mut gone = vec![(Table::Rules, content)];
        gone.extend(its_record_goes.then_some((Table::RulesetVersions, record)));
        let gone = gone.into_iter().map(|(table, key)| Write {
            table,
            key,
            value: None,
        });
        *by.lock().unwrap() = gone.collect();
        read().unwrap_err()
    };
    // What only it had goes in the same transaction as its record.
    let error = read_while(true);
    assert!(matches!(error, ChangeError::NotFound { .. }), "{error}");
    // A rule that is gone while its version is not is damage.
    let error = read_while(false);
    assert!(matches!(error, ChangeError::Store(_)), "{error}");
}

#[test]
fn a_store_from_before_pages_is_brought_to_them() {
    let mut world = World::new();
    let (zone, ruleset) = world.filled(600);
    let ruleset = ruleset.id;
    let control = world.control();
    let mut random = Random(7);
    for number in 0..8 {
        let now = control.ruleset(zone.id, ruleset).unwrap();
        let one = now.rules[random.below(now.rules.len())].id;
        let made = match number % 3 {
            0 => control.delete_rule(zone.id, ruleset, one),
            1 => {
                let at = Position::Index(random.below(600));
                control.create_rule(zone.id, ruleset, rule(&text(number)), Some(&at))
            }
            _ => {
                let patch = RulePatch {
                    expression: Some(text(1_000 + number)),
                    ..RulePatch::default()
                };
                control.update_rule(zone.id, ruleset, one, patch, None)
            }
        };
        made.unwrap();
    }
    let orders = |control: &Control| -> Vec<ChunkedList<Arc<RuleRecord>>> {
        let notes = control.ruleset_versions(zone.id, ruleset).unwrap();
        let rules = |version| control.ruleset_version(zone.id, ruleset, version).unwrap();
        notes.iter().map(|note| rules(note.version).rules).collect()
    };
    let before = orders(control);
    // As it was: every so many orders whole, between them what changed.
    let mut writes = Vec::new();
    for (version, rules) in (1..).zip(before.iter().rev()) {
        let name = |rule: &Arc<RuleRecord>| (rule.id, rule.version);
        let key = order::version_key(ruleset, version);
        let value = control
            .shared
            .store
            .value(Table::RulesetVersions, &key)
            .unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&value.unwrap()).unwrap();
        let record_of = record.as_object_mut().unwrap();
        record_of.remove("pages");
        if version % 4 == 1 {
            record_of.insert(
                "rules".into(),
                serde_json::json!(rules.iter().map(name).collect::<Vec<_>>()),
            );
        } else {
            let earlier = &before[before.len() + 1 - version as usize];
            let found = Difference::between(earlier, rules);
            let change = serde_json::json!({
                "start": found.hunks[0].old.start, "removed": found.out.len(),
                "added": found.new.into_iter().map(name).collect::<Vec<_>>(),
            });
            record_of.insert("change".into(), change);
        }
        writes.push((Table::RulesetVersions, key, Some(encode(&record))));
    }
    for page in stored(control, Table::RulesetPages, ruleset) {
        let key = [ruleset.as_bytes().as_slice(), &page].concat();
        writes.push((Table::RulesetPages, key, None));
    }
    writes.push((Table::Meta, migrate::DONE_KEY.to_vec(), None));
    let writes = writes.into_iter();
    let writes = writes.map(|(table, key, value)| Write { table, key, value });
    let revision = control.shared.store.revision().unwrap();
    let writes: Vec<Write> = writes.collect();
    control.shared.store.commit(revision, &writes).unwrap();
    world.control = None;
    let path = world.path();
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(verify(&copy).unwrap().rules, before[0].len(), "a backup");
    for round in 0..2 {
        world.reopen();
        let control = world.control();
        assert_eq!(orders(control), before, "{round}");
        assert_eq!(
            control.shared.store.revision().unwrap(),
            revision + 2,
            "once"
        );
    }
    let control = world.control();
    let rule = before[0][0].id;
    control.delete_rule(zone.id, ruleset, rule).unwrap();
    assert_eq!(orders(control)[1..], before);
}
