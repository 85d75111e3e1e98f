//! Running a program on a request: evaluates both of its indexes, and finds the rule that comes
//! first.

use std::ops::ControlFlow;

use super::connection_matches::{ConnectionMatches, Live};
use super::connection_state::ConnectionState;
use super::index::{Group, Index, Local, count};
use super::scan::ScanState;
use crate::eval::field_values::Facts;
use crate::program::{GONE, Part, Program};
use crate::rule::Rule;

/// What one thread keeps between decisions.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    base: ScanState,
    changed: ScanState,
    reported: Vec<u32>,
}

impl Runs {
    /// Bytes of the indexes that the last decision has read.
    pub(crate) fn touched(&self) -> usize {
        self.base.touched() + self.changed.touched()
    }

    /// What the last decision has cost until the rules that have not changed were evaluated.
    #[cfg(test)]
    pub(crate) fn worked(&self) -> usize {
        crate::limits::DECISION_WORK_MAX - self.base.scratch.work_left()
    }
}

/// What a program says of the facts.
pub(crate) enum Outcome<'p> {
    /// No rule ends the evaluation.
    Through,
    /// The one that does.
    Ended(&'p Rule),
    /// A condition would have had to do more than `limits::CONDITION_WORK_MAX`, or all of them more
    /// than `limits::DECISION_WORK_MAX`.
    Overworked,
}

/// What a program says of the facts. `reported_rule` is told of the rules that report, in order.
pub(crate) fn first<'p>(
    program: &'p Program,
    facts: &Facts<'_>,
    state: Option<&ConnectionState>,
    runs: &mut Runs,
    reported_rule: &mut dyn FnMut(&'p Rule),
) -> Outcome<'p> {
    let Runs {
        base,
        changed,
        reported,
    } = runs;
    reported.clear();
    let mut end = GONE;
    // What rules of other phases have done to the same request counts as well.
    let allowance = &facts.request.allowance;
    let mut matches = state.map(ConnectionState::take).unwrap_or_default();
    let [base_matches, changed_matches] = &mut matches;
    let mut parts = [
        (&program.base, base, base_matches),
        (&program.changed, changed, changed_matches),
    ];
    for (part, run, matches) in &mut parts {
        if let Some(index) = &part.index {
            run.begin(index);
            run.scratch.leave_work(allowance.left());
            if state.is_some() {
                ConnectionMatches::refresh(matches, index, run, facts);
            }
            end = part.ending(index, run, matches.as_ref(), facts, end);
            allowance.leave(run.scratch.work_left());
            if run.scratch.is_spent() {
                // Nor is anything remembered that was evaluated on the way.
                return Outcome::Overworked;
            }
        }
    }
    for (part, run, matches) in &mut parts {
        if let Some(index) = &part.index {
            run.scratch.leave_work(allowance.left());
            part.reporting(index, run, matches.as_ref(), facts, end, reported);
            allowance.leave(run.scratch.work_left());
            if run.scratch.is_spent() {
                return Outcome::Overworked;
            }
        }
    }
    if let Some(state) = state {
        state.keep(matches);
    }
    reported.sort_unstable();
    reported.dedup();
    for rule in reported
        .iter()
        .filter_map(|position| program.rule_at(*position))
    {
        reported_rule(rule);
    }
    match program.rule_at(end) {
        Some(rule) => Outcome::Ended(rule),
        None => Outcome::Through,
    }
}

impl Part {
    /// The groups that can match, with what the connection has in common.
    fn groups<'i>(
        index: &'i Index,
        matches: Option<&'i ConnectionMatches>,
        reports: bool,
    ) -> impl Iterator<Item = (&'i Group, Option<&'i [u32]>)> {
        let live = matches
            .map(|matches| matches.live.iter())
            .into_iter()
            .flatten()
            .filter_map(|live: &Live| {
                let group = index.groups.get(live.group as usize)?;
                Some((group, live.combined.as_deref()))
            });
        let all = matches
            .is_none()
            .then(|| index.groups.iter().map(|group| (group, None)))
            .into_iter()
            .flatten();
        live.chain(all)
            .filter(move |(group, _)| group.reports == reports)
    }

    /// The local number from which positions are at or beyond `end`.
    fn bound(&self, end: u32) -> Local {
        if end == GONE {
            return Local::MAX;
        }
        // Those that are gone stand for nothing: the first one that is there and beyond decides.
        let (mut low, mut high) = (0, self.positions.len());
        let mut found = Local::MAX;
        while low < high {
            let middle = low.midpoint(high);
            let there = self.positions.get(middle..high).unwrap_or_default();
            let there = there.iter().zip(middle..).find(|(one, _)| **one != GONE);
            match there {
                Some((position, at)) if *position < end => low = at + 1,
                Some((_, at)) => {
                    found = count(at);
                    high = middle;
                }
                None => high = middle,
            }
        }
        found
    }

    /// The first position below `end` whose rule ends the evaluation; else `end`.
    fn ending<'a>(
        &self,
        index: &'a Index,
        run: &mut ScanState,
        matches: Option<&ConnectionMatches>,
        facts: &Facts<'a>,
        end: u32,
    ) -> u32 {
        let mut end = end;
        let mut bound = self.bound(end);
        for (group, combined) in Self::groups(index, matches, false) {
            // Groups are sorted by their first rule.
            if group.rules.first().is_none_or(|first| *first >= bound) {
                break;
            }
            run.scan(
                index,
                group,
                combined,
                facts,
                bound,
                &mut |local| match self.positions.get(local as usize) {
                    Some(position) if *position != GONE => {
                        end = *position;
                        bound = local;
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                },
            );
        }
        end
    }

    /// Positions below `end` whose rules report. Rules beyond it are not evaluated, and cost nothing.
    fn reporting<'a>(
        &self,
        index: &'a Index,
        run: &mut ScanState,
        matches: Option<&ConnectionMatches>,
        facts: &Facts<'a>,
        end: u32,
        reported: &mut Vec<u32>,
    ) {
        let mut groups = Self::groups(index, matches, true).peekable();
        if groups.peek().is_none() {
            return;
        }
        let bound = self.bound(end);
        for (group, combined) in groups {
            if group.rules.first().is_none_or(|first| *first >= bound) {
                break;
            }
            run.scan(index, group, combined, facts, bound, &mut |local| {
                match self.positions.get(local as usize) {
                    Some(position) if *position < end => reported.push(*position),
                    Some(position) if *position != GONE => return ControlFlow::Break(()),
                    _ => {}
                }
                ControlFlow::Continue(())
            });
        }
    }
}
