//! Scanning an index for the terms that match; allocates nothing once a thread's [`ScanState`] has grown.
//!
//! A question is asked when the first group needs it. A group is left at the first column in which
//! no key holds. Otherwise its candidates come from its smallest column, one by one when they are
//! few and 64 at a time when they are many; the residual conditions are evaluated for the
//! candidates that are left.

use std::ops::ControlFlow;

use super::index::{Column, Group, Index, Local};
use super::simd;
use super::slots::{Head, Slots};
use super::subject::{Class, FALSE, Subject, TRUE};
use super::vector::{Vector, WORD, words};
use crate::eval::field_values::Facts;
use crate::eval::value::{Scratch, Value};
use crate::matcher::budget;
use crate::syntax::field::Lifetime;

/// Words that are combined before their bits are looked at: they stay in the first-level cache,
/// and a match near the front ends the work.
const CHUNK: usize = 128;

/// What the processor reads at once, in bytes.
const CACHE_LINE: usize = 64;

/// What one thread keeps between decisions; the memory, not the content.
#[derive(Debug, Default)]
pub(crate) struct ScanState {
    pub(super) scratch: Scratch,
    /// Moves with every decision: what bears an older stamp is not there.
    pub(super) epoch: u64,
    /// By subject: when it was looked up.
    looked_up: Vec<u64>,
    pub(super) slots: Slots,
    /// By atom: twice the epoch, one more when it holds.
    memo: Vec<u64>,
    pub(super) candidates: Vec<u32>,
}

impl ScanState {
    /// Starts a decision by this index.
    pub(super) fn begin(&mut self, index: &Index) {
        self.epoch += 1;
        let grow = |stamps: &mut Vec<u64>, length: usize| {
            if stamps.len() < length {
                stamps.resize(length, 0);
            }
        };
        grow(&mut self.looked_up, index.subjects.len());
        grow(&mut self.memo, index.atoms.len());
        self.slots.begin(index);
        self.scratch.begin_decision();
    }

    /// Bytes of the index that the last decision has read.
    pub(super) fn touched(&self) -> usize {
        self.slots.touched()
    }

    /// Takes the entries of all subjects of the connection from memory.
    pub(super) fn remember(&mut self, index: &Index, entries: &[u32]) {
        for (asked, stamp) in index.subjects.iter().zip(&mut self.looked_up) {
            if asked.lifetime == Lifetime::Connection {
                *stamp = self.epoch;
            }
        }
        for entry in entries {
            self.slots.attach_entry(index, *entry, self.epoch);
        }
    }

    /// Looks a subject up, unless that has been done.
    pub(super) fn look_up<'a>(&mut self, index: &'a Index, subject: u32, facts: &Facts<'a>) {
        let epoch = self.epoch;
        let Some(stamp) = self.looked_up.get_mut(subject as usize) else {
            return;
        };
        if *stamp == epoch {
            return;
        }
        *stamp = epoch;
        let Some(asked) = index.subjects.get(subject as usize) else {
            return;
        };
        let slots = &mut self.slots;
        let repeats = matches!(asked.subject, Subject::Any(_));
        let mut attach = |scratch: &mut Scratch, value: Value<'_>| {
            // A table costs a cache line or two, and what it compares with the value.
            let length = scratch.bytes(value).map_or(size_of::<u128>(), <[u8]>::len);
            for table in &asked.tables {
                slots.touch(2 * CACHE_LINE + length);
                if let Some(table) = index.tables.get(*table as usize) {
                    let byte = match table.class {
                        Class::Contains => budget::CONTAINED_BYTE,
                        _ => 1,
                    };
                    if !scratch.work(budget::CONDITION + length * byte) {
                        return;
                    }
                    let repeats = repeats || table.class == Class::Contains;
                    table.look_up(value, scratch, &mut |key| {
                        let new = !repeats || slots.is_new(key, epoch);
                        if new {
                            slots.attach(index, key, epoch);
                        }
                        new
                    });
                }
            }
        };
        let scratch = &mut self.scratch;
        let mark = scratch.mark();
        scratch.begin_condition();
        match &asked.subject {
            Subject::Scalar(scalar) => {
                let value = scalar.value(facts, scratch, Value::Missing);
                attach(scratch, value);
            }
            Subject::Any(array) => {
                array.elements(facts, scratch, Value::Missing, &mut |scratch, value| {
                    attach(scratch, value);
                    ControlFlow::Continue(())
                });
            }
            Subject::Condition(condition) => {
                let holds = condition.holds(facts, scratch);
                attach(scratch, Value::Bytes(if holds { TRUE } else { FALSE }));
            }
        }
        scratch.forget(mark);
    }

    /// Whether all columns of that lifetime can be satisfied.
    pub(super) fn satisfies(&self, group: &Group, lifetime: Lifetime) -> bool {
        let columns = group
            .columns
            .iter()
            .filter(|column| column.lifetime == lifetime && !column.negative);
        columns
            .copied()
            .all(|column| self.slots.head(column, self.epoch).is_some())
    }

    /// Shows the rules below `bound` of a group whose term matches, ascending, until told to stop.
    ///
    /// `combined` is what the columns of the connection have in common, where that is known.
    pub(super) fn scan<'a>(
        &mut self,
        index: &'a Index,
        group: &'a Group,
        combined: Option<&[u32]>,
        facts: &Facts<'a>,
        bound: Local,
        visit: &mut dyn FnMut(Local) -> ControlFlow<()>,
    ) {
        let columns = group.columns.len() * (size_of::<Column>() + size_of::<Head>());
        self.slots.touch(size_of::<Group>() + columns);
        let open = |column: &&Column| combined.is_none() || column.lifetime == Lifetime::Request;
        let mut driver: Option<Head> = None;
        let mut is_guarded = group.columns.iter().any(|column| column.is_costly);
        for column in group.columns.iter().filter(open) {
            if is_guarded && column.is_costly {
                if !self.can_match(index, group, combined, driver, facts, bound) {
                    return;
                }
                is_guarded = false;
            }
            self.look_up(index, column.subject, facts);
            if self.scratch.is_spent() {
                return;
            }
            if column.negative {
                continue;
            }
            let Some(head) = self.slots.head(*column, self.epoch) else {
                return;
            };
            if driver.is_none_or(|smallest| head.terms < smallest.terms) {
                driver = Some(head);
            }
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let smallest = driver.map_or(usize::MAX, |head| head.terms as usize);
        // A look into a vector costs about as much as combining eight words.
        let dense_work = words(group.rules.len()).saturating_mul(group.columns.len() + 1);
        match (combined, driver) {
            (Some(combined), _) if combined.len() <= smallest => {
                self.try_each(index, group, combined, true, facts, bound, visit);
            }
            (_, Some(head)) if smallest.saturating_mul(8) <= dense_work || combined.is_some() => {
                for entry in self.slots.entries(index, head) {
                    self.collect(index, entry.vector, group, &mut candidates);
                }
                if head.links > 1 {
                    candidates.sort_unstable();
                    candidates.dedup();
                }
                if let Some(combined) = combined {
                    candidates.retain(|term| combined.binary_search(term).is_ok());
                }
                self.try_each(
                    index,
                    group,
                    &candidates,
                    combined.is_some(),
                    facts,
                    bound,
                    visit,
                );
            }
            _ => self.try_words(index, group, facts, bound, visit),
        }
        self.candidates = candidates;
    }

    /// Adds the terms of a vector.
    pub(super) fn collect(
        &self,
        index: &Index,
        vector: Vector,
        group: &Group,
        into: &mut Vec<u32>,
    ) {
        self.slots.touch(if vector.is_dense {
            words(group.rules.len()) * size_of::<u64>()
        } else {
            vector.count as usize * size_of::<u32>()
        });
        if !vector.is_dense {
            into.extend_from_slice(index.arena.numbers(vector));
            return;
        }
        let bits = index.arena.part(vector, 0, words(group.rules.len()));
        for (at, word) in bits.iter().enumerate() {
            let first = super::index::count(at * WORD);
            into.extend(set_bits(*word).map(|bit| first + bit));
        }
    }

    /// Candidates one by one.
    #[expect(clippy::too_many_arguments, reason = "one inner function of one scan")]
    fn try_each<'a>(
        &mut self,
        index: &'a Index,
        group: &'a Group,
        candidates: &[u32],
        combined: bool,
        facts: &Facts<'a>,
        bound: Local,
        visit: &mut dyn FnMut(Local) -> ControlFlow<()>,
    ) {
        for term in candidates {
            let Some(rule) = group
                .rules
                .get(*term as usize)
                .copied()
                .filter(|rule| *rule < bound)
            else {
                return;
            };
            // The candidate and its rule.
            self.slots.touch(2 * size_of::<u32>());
            let fits = group.columns.iter().all(|column| {
                if combined && column.lifetime == Lifetime::Connection {
                    return true;
                }
                let head = self.slots.head(*column, self.epoch);
                head.is_some_and(|head| self.slots.has(index, head, *term)) != column.negative
            });
            if fits && self.residual_holds(index, group, *term, facts) && visit(rule).is_break() {
                return;
            }
            if self.scratch.is_spent() {
                return;
            }
        }
    }

    /// All terms, 64 at a time.
    fn try_words<'a>(
        &mut self,
        index: &'a Index,
        group: &'a Group,
        facts: &Facts<'a>,
        bound: Local,
        visit: &mut dyn FnMut(Local) -> ControlFlow<()>,
    ) {
        let terms = group.rules.len();
        let mut left = [0; CHUNK];
        let mut union = [0; CHUNK];
        for first in (0..words(terms)).step_by(CHUNK) {
            if group
                .rules
                .get(first * WORD)
                .is_none_or(|rule| *rule >= bound)
            {
                return;
            }
            let length = CHUNK.min(words(terms) - first);
            let (Some(left), Some(union)) = (left.get_mut(..length), union.get_mut(..length))
            else {
                return;
            };
            left.fill(u64::MAX);
            for column in &group.columns {
                let head = self.slots.head(*column, self.epoch);
                let vectors = head.map_or(0, |head| head.links as usize);
                self.slots.touch(vectors * length * size_of::<u64>());
                let Some(head) = head else {
                    // Nothing satisfies a positive column; nothing violates a negative one.
                    if column.negative {
                        continue;
                    }
                    return;
                };
                if column.negative {
                    for entry in self.slots.entries(index, head) {
                        index.arena.subtract(entry.vector, first, left);
                    }
                    continue;
                }
                let mut entries = self.slots.entries(index, head);
                match (entries.next(), head.links) {
                    (Some(only), 1) if only.vector.is_dense => {
                        simd::and(left, index.arena.part(only.vector, first, length));
                    }
                    (Some(one), _) => {
                        union.fill(0);
                        for entry in std::iter::once(one).chain(entries) {
                            index.arena.unite(entry.vector, first, union);
                        }
                        simd::and(left, union);
                    }
                    (None, _) => return,
                }
            }
            for (at, word) in left.iter().enumerate() {
                for bit in set_bits(*word) {
                    let term = super::index::count((first + at) * WORD) + bit;
                    // Also where the last word has bits beyond the last term.
                    let rule = group
                        .rules
                        .get(term as usize)
                        .copied()
                        .filter(|rule| *rule < bound);
                    let Some(rule) = rule else { return };
                    if self.residual_holds(index, group, term, facts) && visit(rule).is_break() {
                        return;
                    }
                    if self.scratch.is_spent() {
                        return;
                    }
                }
            }
        }
    }

    fn residual_holds<'a>(
        &mut self,
        index: &'a Index,
        group: &'a Group,
        term: u32,
        facts: &Facts<'a>,
    ) -> bool {
        let mut residual = group.residual(term).iter();
        residual.all(|literal| self.literal_holds(index, *literal, facts))
    }

    /// Whether a residual literal holds; its atom is evaluated once.
    pub(super) fn literal_holds<'a>(
        &mut self,
        index: &'a Index,
        literal: u32,
        facts: &Facts<'a>,
    ) -> bool {
        let (atom, negative) = ((literal / 2) as usize, literal % 2 == 1);
        let Some(memo) = self.memo.get_mut(atom) else {
            return false;
        };
        self.slots.touch(size_of::<u32>() + size_of::<u64>());
        if *memo / 2 != self.epoch {
            let atom = index.atoms.get(atom);
            let holds = atom.is_some_and(|atom| atom.condition.holds(facts, &mut self.scratch));
            *memo = self.epoch * 2 + u64::from(holds);
        }
        (*memo % 2 == 1) != negative
    }

    /// What the columns of the connection have in common, when that is at most `most` terms.
    pub(super) fn combine(&self, index: &Index, group: &Group, most: usize) -> Option<Vec<u32>> {
        let columns = || {
            group
                .columns
                .iter()
                .filter(|column| column.lifetime == Lifetime::Connection)
        };
        let heads = columns()
            .filter(|column| !column.negative)
            .filter_map(|c| self.slots.head(*c, self.epoch));
        let driver = heads.min_by_key(|head| head.terms)?;
        if driver.terms as usize > most {
            return None;
        }
        let mut terms = Vec::new();
        for entry in self.slots.entries(index, driver) {
            self.collect(index, entry.vector, group, &mut terms);
        }
        terms.sort_unstable();
        terms.dedup();
        terms.retain(|term| {
            columns().all(|column| {
                let head = self.slots.head(*column, self.epoch);
                head.is_some_and(|head| self.slots.has(index, head, *term)) != column.negative
            })
        });
        Some(terms)
    }
}

/// The places of a word's bits, ascending.
fn set_bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(bit)
    })
}
