//! Recompiling after a change: keeps the index of the rules that stayed, and makes a small second
//! index of those that changed, until [`Renewal`] has made one of everything.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::index::{Builder, Local, count};
use super::renewal::Renewal;
use crate::limits;
use crate::program::{GONE, Input, Part, Program, Role, Traits};
use crate::rule::{Rule, RuleError};
use crate::syntax::list::Lists;
use crate::syntax::parser;
use chunked_list::ChunkedList;
use chunked_list::diff::hunks;

impl Program {
    /// Compiles rules as [`Program::compile_shared`] does, reusing what `self` has of them.
    ///
    /// A rule is the same if its memory is, or its id, its expression and whether its action ends the
    /// evaluation. When lists have changed, rules that refer to one count as changed. Starts from the
    /// renewal that [`Program::renew_if_due`] has begun, once it is done. Compiles everything itself
    /// if more than `limits::CHANGED_RULES_MAX` rules have changed and no renewal is done.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn recompile(
        &self,
        rules: impl Into<ChunkedList<Arc<Rule>>>,
        lists: &Lists,
    ) -> Result<Self, RuleError> {
        let rules = rules.into();
        let renewed = self.renewal.get().and_then(Renewal::finished);
        if let Some(renewed) = renewed {
            return renewed.recompile(rules, lists);
        }
        let Some(index) = &self.base.index else {
            return Self::compile_shared(rules, lists);
        };
        let mut known = self.recognise(&rules, self.lists.is_same(lists));
        let kept = ascending(&known);
        let mut program = Self {
            base: Part {
                index: Some(index.clone()),
                positions: vec![GONE; self.base.positions.len()],
            },
            lists: lists.clone(),
            given: rules.clone(),
            inputs: Vec::with_capacity(rules.len()),
            rules: Vec::with_capacity(rules.len()),
            ..Self::default()
        };
        let mut builder = Builder::default();
        let mut position = 0;
        for ((at, rule), (known, kept)) in rules.iter().enumerate().zip(known.iter_mut().zip(kept))
        {
            match known.place {
                Provenance::Base(local) if kept => {
                    if let Some(slot) = program.base.positions.get_mut(local as usize) {
                        *slot = position;
                    }
                }
                Provenance::Checked => {}
                Provenance::Base(_) | Provenance::New => {
                    let condition =
                        parser::parse(&rule.expression, Some(lists)).map_err(|error| {
                            RuleError {
                                index: at,
                                message: error.to_string(),
                            }
                        })?;
                    known.place = Provenance::New;
                    known.traits = Traits::of(&condition);
                    if matches!(known.role, Role::Ends | Role::Reports) {
                        if program.changed.positions.len() >= limits::CHANGED_RULES_MAX {
                            return Self::compile_shared(rules, lists);
                        }
                        builder.add(
                            count(program.changed.positions.len()),
                            known.role == Role::Reports,
                            &condition,
                        );
                        program.changed.positions.push(position);
                    }
                }
            }
            position += u32::from(known.role != Role::Off);
        }
        if !program.changed.positions.is_empty() {
            program.changed.index = Some(Arc::new(builder.finish()));
        }
        let changes = program.changes();
        if changes > limits::CHANGED_RULES_MAX {
            return Self::compile_shared(rules, lists);
        }
        if let Some(running) = self.renewal.get() {
            program.renewal = running.clone().into();
        }
        for known in known {
            let base = match known.place {
                Provenance::Base(local) => Some(local),
                Provenance::Checked | Provenance::New => None,
            };
            program.keep(known.role, base, known.traits)?;
        }
        Ok(program)
    }

    /// After `limits::CHANGED_RULES_RENEW` changes, begins to compile everything anew on a thread of
    /// its own, for a later change to go on from. For programs that are used: what comes of a draft's
    /// thread would go with the draft.
    pub fn renew_if_due(&self) {
        if self.renewal.get().is_none() && self.changes() >= limits::CHANGED_RULES_RENEW {
            self.renew();
        }
    }

    fn renew(&self) {
        if let Some(renewal) = Renewal::begin(self.given.clone(), self.lists.clone()) {
            // Another caller was first, and has begun the same.
            drop(self.renewal.set(renewal));
        }
    }

    /// Has everything compiled anew beside it, and waits for that.
    #[doc(hidden)]
    pub fn renew_now(&self) {
        self.renew();
        self.await_renewal();
    }

    /// Waits for the program that is being compiled beside it; whether there is one.
    #[doc(hidden)]
    pub fn await_renewal(&self) -> bool {
        self.renewal.get().map(Renewal::wait).is_some()
    }

    /// Changes that its index does not know of: what it has too much or too little.
    fn changes(&self) -> usize {
        let gone = self.base.positions.iter();
        let gone = gone.filter(|position| **position == GONE).count();
        gone.max(self.changed.positions.len())
    }

    /// What is known of each rule; nothing of those that refer to a list, unless the lists are the
    /// same.
    fn recognise(&self, rules: &ChunkedList<Arc<Rule>>, same_lists: bool) -> Vec<Known> {
        // Nothing of a rule is read that is the very same: of many, most are.
        let same = |one: &Arc<Rule>, other: &Arc<Rule>| {
            Arc::ptr_eq(one, other)
                || (Role::of(one) == Role::of(other)
                    && one.id == other.id
                    && one.expression == other.expression)
        };
        let state = |input: &Input| Known {
            place: match (input.role, input.base) {
                _ if input.traits.lists && !same_lists => Provenance::New,
                (Role::Off | Role::Idle, _) => Provenance::Checked,
                (_, Some(local)) => Provenance::Base(local),
                // In the small index, which is made again.
                (_, None) => Provenance::New,
            },
            role: input.role,
            traits: input.traits,
        };
        let (old, new) = (self.given.references(), rules.references());
        let hunks = hunks(&old, &new, |one, other| same(one, other));
        let out = hunks.iter().flat_map(|hunk| {
            let rules = old.get(hunk.old.clone()).unwrap_or_default();
            let inputs = self.inputs.get(hunk.old.clone()).unwrap_or_default();
            rules.iter().zip(inputs)
        });
        let by_id: HashMap<&str, (&Arc<Rule>, &Input), RandomState> = out
            .map(|(rule, input)| (&*rule.id, (*rule, input)))
            .collect();
        let mut known = Vec::with_capacity(new.len());
        // Places in the old order up to which all is known.
        let mut at = 0;
        for hunk in hunks {
            let stayed = self.inputs.get(at..hunk.old.start).unwrap_or_default();
            known.extend(stayed.iter().map(state));
            let moved = new.get(hunk.new).unwrap_or_default().iter().map(|rule| {
                let found = by_id.get(&*rule.id).filter(|(old, _)| same(old, rule));
                let unknown = || Known {
                    place: Provenance::New,
                    role: Role::of(rule),
                    traits: Traits::default(),
                };
                found.map_or_else(unknown, |(_, input)| state(input))
            });
            known.extend(moved);
            at = hunk.old.end;
        }
        let stayed = self.inputs.get(at..).unwrap_or_default();
        known.extend(stayed.iter().map(state));
        known
    }
}

/// What an earlier program knows of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    place: Provenance,
    role: Role,
    /// Of a new one still to be found.
    traits: Traits,
}

/// Where an earlier program has a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provenance {
    /// It is in the index.
    Base(Local),
    /// It parses, and no index needs it.
    Checked,
    /// Nothing that can be used.
    New,
}

/// Which of the known rules can keep their place: a longest run of ascending local numbers. The
/// others have moved across them.
fn ascending(known: &[Known]) -> Vec<bool> {
    let mut kept = vec![false; known.len()];
    // By length: where the run of that length with the smallest end ends, and its end.
    let mut ends: Vec<(Local, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; known.len()];
    for (at, one) in known.iter().enumerate() {
        let Provenance::Base(local) = &one.place else {
            continue;
        };
        let length = match ends.last() {
            Some((last, _)) if last < local => ends.len(),
            _ => ends.partition_point(|(end, _)| end < local),
        };
        if let Some(slot) = before.get_mut(at) {
            *slot = length
                .checked_sub(1)
                .and_then(|shorter| ends.get(shorter))
                .map(|(_, at)| *at);
        }
        match ends.get_mut(length) {
            Some(end) => *end = (*local, at),
            None => ends.push((*local, at)),
        }
    }
    let mut at = ends.last().map(|(_, at)| *at);
    while let Some(now) = at {
        if let Some(slot) = kept.get_mut(now) {
            *slot = true;
        }
        at = before.get(now).copied().flatten();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ascending_run_is_kept() {
        for (locals, expected) in [
            (vec![], vec![]),
            (vec![0, 1, 2], vec![true, true, true]),
            (vec![2, 0, 1], vec![false, true, true]),
            (vec![0, 2, 1, 3], vec![true, false, true, true]),
            (vec![5, 5], vec![false, true]),
        ] {
            let known: Vec<Known> = locals
                .into_iter()
                .map(|local| Known {
                    place: Provenance::Base(local),
                    role: Role::Ends,
                    traits: Traits::default(),
                })
                .collect();
            let kept = ascending(&known);
            assert_eq!(
                kept.iter().filter(|k| **k).count(),
                expected.iter().filter(|k: &&bool| **k).count()
            );
            let run: Vec<_> = known
                .iter()
                .zip(&kept)
                .filter(|(_, kept)| **kept)
                .map(|(known, _)| known.place)
                .collect();
            let ordered = run
                .windows(2)
                .all(|pair| matches!(pair, [Provenance::Base(a), Provenance::Base(b)] if a < b));
            assert!(ordered, "{run:?}");
        }
    }
}
