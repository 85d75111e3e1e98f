//! Slots: for each column of an index, the entries whose keys the facts have.

use std::cell::Cell;

use super::index::{Column, ColumnEntry, Index, count};
use super::table::Key;

/// By column: the entries that the facts have.
#[derive(Debug, Default)]
pub(super) struct Slots {
    heads: Vec<Head>,
    links: Vec<Link>,
    /// By key: when it was last found. Read only where one can be found more than once.
    found: Vec<u64>,
    /// Bytes of the index that this decision has read, for figures. An addition here and there
    /// costs nothing that could be measured.
    touched: Cell<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    stamp: u64,
    /// The link added last.
    link: u32,
    /// Terms in all its vectors together; those in several are counted several times.
    pub(super) terms: u32,
    pub(super) links: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    entry: u32,
    /// The link before this one, `NONE` when this is the first.
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Slots {
    /// Starts a decision by this index.
    pub(super) fn begin(&mut self, index: &Index) {
        if self.heads.len() < index.columns {
            self.heads.resize(index.columns, Head::default());
        }
        if self.found.len() < index.keys() {
            self.found.resize(index.keys(), 0);
        }
        self.links.clear();
        self.touched.set(0);
    }

    /// Bytes of the index that the last decision has read.
    pub(super) fn touched(&self) -> usize {
        self.touched.get()
    }

    /// Counts bytes of the index that are read, for figures.
    pub(super) fn touch(&self, bytes: usize) {
        self.touched.set(self.touched.get().saturating_add(bytes));
    }

    /// Attaches the entries of a key.
    pub(super) fn attach(&mut self, index: &Index, key: Key, epoch: u64) {
        for number in index.entries_of(key) {
            self.attach_entry(index, number, epoch);
        }
    }

    /// Whether a key is found for the first time in this decision. A value or an array may have it
    /// thousands of times, and each would be another vector to look into.
    pub(super) fn is_new(&mut self, key: Key, epoch: u64) -> bool {
        self.touch(size_of::<u64>());
        let stamp = self.found.get_mut(key as usize);
        stamp.is_some_and(|stamp| std::mem::replace(stamp, epoch) != epoch)
    }

    pub(super) fn attach_entry(&mut self, index: &Index, number: u32, epoch: u64) {
        let Some(entry) = index.entry(number) else {
            return;
        };
        self.touch(size_of::<ColumnEntry>() + size_of::<Head>() + size_of::<Link>());
        let Some(head) = self.heads.get_mut(entry.column as usize) else {
            return;
        };
        if head.stamp != epoch {
            *head = Head {
                stamp: epoch,
                link: NONE,
                terms: 0,
                links: 0,
            };
        }
        let link = Link {
            entry: number,
            next: head.link,
        };
        head.link = count(self.links.len());
        head.terms = head.terms.saturating_add(entry.vector.count);
        head.links += 1;
        self.links.push(link);
    }

    /// What was attached to a column; `None` when nothing was.
    pub(super) fn head(&self, column: Column, epoch: u64) -> Option<Head> {
        self.heads
            .get(column.slot as usize)
            .copied()
            .filter(|head| head.stamp == epoch)
    }

    /// The entries that were attached to a column.
    pub(super) fn entries<'s>(
        &'s self,
        index: &'s Index,
        head: Head,
    ) -> impl Iterator<Item = ColumnEntry> + 's {
        let mut at = head.link;
        std::iter::from_fn(move || {
            let link = self.links.get(at as usize)?;
            at = link.next;
            index.entry(link.entry)
        })
    }

    /// Whether a term is in any of a column's vectors.
    pub(super) fn has(&self, index: &Index, head: Head, term: u32) -> bool {
        self.entries(index, head).any(|entry| {
            let vector = entry.vector;
            let probes = match vector.count.checked_ilog2() {
                Some(half) if !vector.is_dense => half as usize + 1,
                _ => 2,
            };
            self.touch(size_of::<ColumnEntry>() + probes * size_of::<u32>());
            index.arena.has(vector, term)
        })
    }

    /// Every entry that was attached.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> + '_ {
        self.links.iter().map(|link| link.entry)
    }
}
