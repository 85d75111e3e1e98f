//! Guards: defers a costly question until its cheap siblings in the same term hold, so that
//! `len(http.request.uri.query) lt 1000 and …` protects what follows it.

use super::index::{Group, Index, Local, count};
use super::scan::ScanState;
use super::slots::Head;
use crate::eval::field_values::Facts;
use crate::syntax::field::Lifetime;

impl ScanState {
    /// Whether some term below `bound` satisfies all that is not costly; of its columns `driver` is
    /// the smallest.
    pub(super) fn can_match<'a>(
        &mut self,
        index: &'a Index,
        group: &'a Group,
        combined: Option<&[u32]>,
        driver: Option<Head>,
        facts: &Facts<'a>,
        bound: Local,
    ) -> bool {
        let is_known = combined.is_some();
        match (combined, driver) {
            (Some(terms), _) => terms
                .iter()
                .any(|term| self.is_unguarded(index, group, *term, is_known, facts, bound)),
            (None, Some(head)) => {
                let mut candidates = std::mem::take(&mut self.candidates);
                candidates.clear();
                for entry in self.slots.entries(index, head) {
                    self.collect(index, entry.vector, group, &mut candidates);
                }
                let found = candidates
                    .iter()
                    .any(|term| self.is_unguarded(index, group, *term, is_known, facts, bound));
                self.candidates = candidates;
                found
            }
            (None, None) => (0..count(group.rules.len()))
                .any(|term| self.is_unguarded(index, group, term, is_known, facts, bound)),
        }
    }

    /// Whether a term below `bound` satisfies all that is not costly.
    fn is_unguarded<'a>(
        &mut self,
        index: &'a Index,
        group: &'a Group,
        term: u32,
        is_known: bool,
        facts: &Facts<'a>,
        bound: Local,
    ) -> bool {
        let rule = group.rules.get(term as usize);
        let is_given = |lifetime| is_known && lifetime == Lifetime::Connection;
        let columns = group.columns.iter();
        let columns = columns.filter(|column| !column.is_costly && !is_given(column.lifetime));
        rule.is_some_and(|rule| *rule < bound)
            && columns.copied().all(|column| {
                let head = self.slots.head(column, self.epoch);
                head.is_some_and(|head| self.slots.has(index, head, term)) != column.negative
            })
            && group.residual(term).iter().all(|literal| {
                let atom = index.atoms.get((literal / 2) as usize);
                atom.is_some_and(|atom| atom.is_costly)
                    || self.literal_holds(index, *literal, facts)
            })
    }
}
