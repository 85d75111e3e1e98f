//! The order of a ruleset's rules on disk: pages of some hundred rules, shared by every version with
//! the same run of rules.
//!
//! A version is a list of pages. A change of one rule among 100,000 writes its page and a new list;
//! forgetting a version removes the pages that the next one no longer names. Neither grows with the
//! number of rules. Holds the rules' ids and versions, not the rules.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::limits::{ORDER_PAGE_RULES_MAX, ORDER_PAGE_RULES_MIN};
use crate::model::id::{ID_BYTES, Id};
use crate::model::moment::Moment;
use crate::store::keys;
use crate::store::{Store, StoreError, Table};

/// One version of a ruleset: what it is called, and which rules it has in which order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub(crate) last_updated: Moment,
    pub(crate) name: String,
    pub(crate) description: String,
    /// One after the other.
    pub(crate) pages: Vec<Page>,
}

/// The head of a [`VersionRecord`].
#[derive(Debug, Deserialize)]
pub(crate) struct VersionHead {
    pub(crate) last_updated: Moment,
    pub(crate) name: String,
    pub(crate) description: String,
}

/// Rules that follow each other. Written once, and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub(crate) struct Page {
    /// The version of the ruleset that wrote it.
    made: u32,
    /// Which of those that it wrote.
    number: u32,
    /// How many rules are on it.
    rules: u32,
}

/// A rule in one of its versions.
pub(crate) type Entry = (Id, u32);

const VERSION_BYTES: usize = size_of::<u32>();
const ENTRY_BYTES: usize = ID_BYTES + VERSION_BYTES;

impl From<(u32, u32, u32)> for Page {
    fn from((made, number, rules): (u32, u32, u32)) -> Self {
        Self {
            made,
            number,
            rules,
        }
    }
}

impl From<Page> for (u32, u32, u32) {
    fn from(page: Page) -> Self {
        (page.made, page.number, page.rules)
    }
}

impl Page {
    fn len(self) -> usize {
        self.rules as usize
    }

    pub(crate) fn key(self, ruleset: Id) -> Vec<u8> {
        let (made, number) = (self.made.to_be_bytes(), self.number.to_be_bytes());
        [ruleset.as_bytes().as_slice(), &made, &number].concat()
    }

    /// The rules on it.
    pub(crate) fn read(self, store: &dyn Store, ruleset: Id) -> Result<Vec<Entry>, StoreError> {
        let (table, key) = (Table::RulesetPages, self.key(ruleset));
        let value = store.value(table, &key)?;
        let value = value.ok_or_else(|| keys::corrupt(table, &key, "it is missing"))?;
        let (entries, rest) = value.as_chunks::<ENTRY_BYTES>();
        if entries.len() != self.len() || !rest.is_empty() {
            let why = format!("it should have {} rules", self.rules);
            return Err(keys::corrupt(table, &key, why));
        }
        entries
            .iter()
            .map(|entry| {
                let (id, version) = keys::part(table, entry)?;
                let version = version.try_into().map(u32::from_be_bytes);
                let version = version.map_err(|why| keys::corrupt(table, &key, why))?;
                Ok((Id::from_bytes(id), version))
            })
            .collect()
    }
}

/// What a page has in the store.
pub(crate) fn encoded(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ORDER_PAGE_RULES_MAX * ENTRY_BYTES);
    for (id, version) in entries {
        bytes.extend(id.as_bytes());
        bytes.extend(version.to_be_bytes());
    }
    bytes
}

pub(crate) fn version_key(ruleset: Id, version: u32) -> Vec<u8> {
    [ruleset.as_bytes().as_slice(), &version.to_be_bytes()].concat()
}

/// The record of a version that has to be there.
pub(crate) fn record(
    store: &dyn Store,
    ruleset: Id,
    version: u32,
) -> Result<VersionRecord, StoreError> {
    let (table, key) = (Table::RulesetVersions, version_key(ruleset, version));
    let value = store.value(table, &key)?;
    let value = value.ok_or_else(|| keys::corrupt(table, &key, "it is missing"))?;
    keys::decode(table, &key, &value)
}

/// The rules of a version, in order.
pub(crate) fn rules(
    store: &dyn Store,
    ruleset: Id,
    record: &VersionRecord,
) -> Result<Vec<Entry>, StoreError> {
    let mut rules = Vec::with_capacity(record.pages.iter().map(|page| page.len()).sum());
    for page in &record.pages {
        rules.extend(page.read(store, ruleset)?);
    }
    Ok(rules)
}

/// The pages of a new version, and which of them are new.
#[derive(Debug, Default)]
pub(crate) struct Paged {
    pub(crate) pages: Vec<Page>,
    /// With the places of their rules in the new order.
    pub(crate) made: Vec<(Page, Range<usize>)>,
}

/// Divides the order `new` of `version` into pages, of which it takes over from those of the order
/// `old` whatever stretch of rules is still there, wherever it is now.
///
/// Every page has [`ORDER_PAGE_RULES_MIN`] to [`ORDER_PAGE_RULES_MAX`] rules; one may have fewer.
pub(crate) fn paged<T, K: Eq + Hash>(
    version: u32,
    pages: &[Page],
    old: &[T],
    new: &[T],
    key: impl Fn(&T) -> K,
    same: impl Fn(&T, &T) -> bool,
) -> Paged {
    let mut starts = HashMap::with_capacity(pages.len());
    let mut at = 0;
    for page in pages {
        let stretch = old.get(at..at + page.len()).unwrap_or_default();
        if let Some(first) = stretch.first() {
            starts.insert(key(first), (*page, stretch));
        }
        at += page.len();
    }
    let mut found: Vec<(Range<usize>, Option<Page>)> = Vec::with_capacity(pages.len() + 2);
    // Rules from here to `at` are on no page yet.
    let mut loose = 0;
    let mut at = 0;
    while let Some(rule) = new.get(at) {
        let known = starts.get(&key(rule)).filter(|(_, stretch)| {
            let now = new.get(at..at + stretch.len()).unwrap_or_default();
            now.len() == stretch.len() && now.iter().zip(*stretch).all(|(a, b)| same(a, b))
        });
        let Some((page, _)) = known else {
            at += 1;
            continue;
        };
        let end = at + page.len();
        let is_too_short = (1..ORDER_PAGE_RULES_MIN).contains(&(at - loose));
        if is_too_short && found.is_empty() {
            // There is no page before them that could take them in: they take in this one.
            at = end;
            continue;
        }
        divide(loose..at, &mut found);
        found.push((at..end, Some(*page)));
        (at, loose) = (end, end);
    }
    divide(loose..at, &mut found);

    let mut paged = Paged::default();
    for (places, known) in found {
        let page = known.unwrap_or_else(|| Page {
            made: version,
            number: u32::try_from(paged.made.len()).unwrap_or(u32::MAX),
            rules: u32::try_from(places.len()).unwrap_or(u32::MAX),
        });
        paged.pages.push(page);
        if known.is_none() {
            paged.made.push((page, places));
        }
    }
    paged
}

/// Puts loose rules on pages of equal length. Where they are few, the page before takes them in.
fn divide(mut loose: Range<usize>, found: &mut Vec<(Range<usize>, Option<Page>)>) {
    if loose.is_empty() {
        return;
    }
    while loose.len() < ORDER_PAGE_RULES_MIN
        && let Some((places, _)) = found.pop()
    {
        loose.start = places.start;
    }
    for pages in (1..=loose.len().div_ceil(ORDER_PAGE_RULES_MAX)).rev() {
        let end = loose.start + loose.len().div_ceil(pages);
        found.push((loose.start..end, None));
        loose.start = end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn page_again(version: u32, pages: &[Page], old: &[u32], new: &[u32]) -> Paged {
        paged(version, pages, old, new, |rule| *rule, |a, b| a == b)
    }

    #[test]
    fn what_is_still_there_is_not_written_again() {
        let old: Vec<u32> = (0..100_000).collect();
        let whole = page_again(1, &[], &[], &old);
        assert_eq!(whole.pages.len(), 196);
        let changed = |edit: &dyn Fn(&mut Vec<u32>)| {
            let mut new = old.clone();
            edit(&mut new);
            page_again(2, &whole.pages, &old, &new).made.len()
        };
        assert_eq!(changed(&|_| {}), 0);
        assert_eq!(changed(&|rules| rules[50_000] = 1_000_000), 1);
        assert_eq!(changed(&|rules| _ = rules.remove(50_000)), 1);
        assert_eq!(changed(&|rules| rules.truncate(98_900)), 1);
        assert_eq!(changed(&|rules| rules.clear()), 0);
        for at in [0, 1, 50_000, 99_999, 100_000] {
            let made = changed(&|rules| rules.insert(at, 1_000_000));
            assert!(made <= 2, "{made} at {at}");
        }
        let moved = |from: usize, to: usize| {
            changed(&|rules: &mut Vec<u32>| {
                let one = rules.remove(from);
                rules.insert(to, one);
            })
        };
        for (from, to) in [(0, 99_999), (99_999, 0), (50_000, 511), (50_000, 512)] {
            let made = moved(from, to);
            assert!(made <= 4, "{made} from {from} to {to}");
        }
    }

    proptest! {
        #[test]
        fn pages_are_the_order_whatever_is_done_to_it(
            edits in vec((0..6_u8, any::<Index>(), any::<Index>(), 1..700_usize), 1..40),
        ) {
            let (mut rules, mut pages): (Vec<u32>, Vec<Page>) = Default::default();
            let mut written: HashMap<Page, Vec<u32>> = HashMap::new();
            let mut fresh = 0..;
            for (version, (kind, from, to, count)) in (1..).zip(edits) {
                let mut new = rules.clone();
                let from = from.index(new.len() + 1);
                let few = if kind % 2 == 0 { 1 } else { count };
                let end = (from + few).min(new.len());
                if kind < 2 {
                    new.splice(from..from, fresh.by_ref().take(few));
                } else {
                    let out: Vec<u32> = new.drain(from..end).collect();
                    let to = to.index(new.len() + 1);
                    match kind {
                        2 | 3 => {}
                        4 => drop(new.splice(to..to, out)),
                        _ => drop(new.splice(from..from, fresh.by_ref().take(out.len()))),
                    }
                }
                let paged = page_again(version, &pages, &rules, &new);
                for (page, places) in paged.made {
                    prop_assert_eq!(page.made, version);
                    let before = written.insert(page, new[places].to_vec());
                    prop_assert!(before.is_none());
                }
                let read = paged.pages.iter().flat_map(|page| written[page].clone());
                prop_assert_eq!(read.collect::<Vec<u32>>(), new.clone());
                let lengths = || paged.pages.iter().map(|page| page.len());
                prop_assert!(paged.pages.iter().all(|page| written[page].len() == page.len()));
                prop_assert!(lengths().all(|rules| (1..=ORDER_PAGE_RULES_MAX).contains(&rules)));
                let short = lengths().filter(|rules| *rules < ORDER_PAGE_RULES_MIN).count();
                prop_assert!(short <= 1, "{} short pages", short);
                (rules, pages) = (new, paged.pages);
            }
        }
    }
}
