//! The dry run: which rule would act on a request, and why.
//!
//! The answer is [`crate::decide()`]'s own. Where a value of the request is unknown, the answer is
//! given only if it is the same for every possible value; otherwise the rules that could act are
//! named. Changes nothing and reads no clock.

use std::collections::HashMap;
use std::sync::Arc;

use super::explain::{Case, FieldSet, Trace};
use crate::action::Action;
use crate::decide;
use crate::decide::Decision;
use crate::limits::DRY_RUN_POSSIBLE_MAX;
use crate::program::Program;
use crate::rule::{Rule, RuleError};
use crate::syntax::expression::{Expression, check_with};
use crate::syntax::list::Lists;

/// Rules to try out.
#[derive(Debug)]
pub struct DryRun {
    rules: Vec<Arc<Rule>>,
    /// What each rule's expression reads.
    reads: Vec<FieldSet>,
    program: Program,
    lists: Lists,
    /// Expressions that were needed already, by the rule's place.
    read: HashMap<usize, Expression>,
    by_id: HashMap<Arc<str>, usize>,
}

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is forwarded: no rule blocks it, or this `skip` rule comes first.
    Permitted {
        /// Place of the `skip` rule.
        by: Option<usize>,
    },
    /// The rule at this place blocks it.
    Blocked {
        /// Place of the rule.
        by: usize,
    },
    /// It is refused: a rule makes more of its head than is allowed
    /// ([`Decision::TooLarge`]).
    TooLarge,
    /// It depends on what is not known.
    Open {
        /// Places of the rules that may end the evaluation, in order, the one included that does
        /// when none of the others matches. A bounded number of them.
        possible: Vec<usize>,
        /// Whether it may also be permitted because no rule matches.
        or_none: bool,
    },
}

/// What a dry run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRunOutcome {
    /// What would become of the request.
    pub fate: Fate,
    /// Places of the rules that would write to the log on the way.
    pub logged: Vec<usize>,
    /// Places of those of which that is not known, a bounded number of them.
    pub maybe_logged: Vec<usize>,
}

impl DryRun {
    /// Compiles the rules, disabled ones too.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn new(rules: Vec<Arc<Rule>>, lists: Lists) -> Result<Self, RuleError> {
        let program = Program::compile_shared(rules.clone(), &lists)?;
        let mut reads = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let read = check_with(&rule.expression, &lists).map_err(|error| RuleError {
                index,
                message: error.to_string(),
            })?;
            reads.push(read.field_set());
        }
        let by_id = rules
            .iter()
            .enumerate()
            .map(|(place, rule)| (rule.id.clone(), place))
            .collect();
        Ok(Self {
            rules,
            reads,
            program,
            lists,
            read: HashMap::new(),
            by_id,
        })
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Which of the case's unknown fields the enabled rules read at all.
    #[must_use]
    pub fn unknown_of(&self, case: &Case<'_>) -> FieldSet {
        let enabled = self.rules.iter().zip(&self.reads);
        let reads = enabled
            .filter(|(rule, _)| rule.enabled)
            .fold(FieldSet::default(), |all, (_, reads)| all.and(*reads));
        reads.without(reads.without(case.unknown))
    }

    /// Tries one request.
    pub fn run(&mut self, case: &Case<'_>) -> DryRunOutcome {
        let (decided, mut logged) = self.decide(case);
        let uncertain = self.uncertain(case);
        if uncertain.is_empty() || decided == Fate::TooLarge {
            return DryRunOutcome {
                fate: decided,
                logged,
                maybe_logged: Vec::new(),
            };
        }
        // Where the evaluation ends if no uncertain rule ends it before.
        let certain = self.certain_end(case);
        let end = certain.unwrap_or(usize::MAX);
        let ends = |dry_run: &Self, place: usize| {
            let rule = dry_run.rules.get(place);
            rule.is_some_and(|rule| rule.action.is_terminating())
        };
        let blocks = |dry_run: &Self, place: usize| {
            let rule = dry_run.rules.get(place);
            rule.is_some_and(|rule| matches!(rule.action, Action::Block(_)))
        };
        let before: Vec<usize> = uncertain.into_iter().filter(|place| *place < end).collect();
        let mut possible: Vec<usize> = before
            .iter()
            .copied()
            .filter(|place| ends(self, *place))
            .collect();
        let maybe_logged = before.iter().copied().filter(|place| !ends(self, *place));
        let maybe_logged: Vec<usize> = maybe_logged.take(DRY_RUN_POSSIBLE_MAX).collect();
        logged.retain(|place| !possible.contains(place) && !maybe_logged.contains(place));
        let permitted_anyhow = match certain {
            Some(end) => !blocks(self, end),
            None => true,
        };
        let fate = if possible.is_empty() {
            decided
        } else if permitted_anyhow && possible.iter().all(|place| !blocks(self, *place)) {
            // Whichever `skip` rule it is: it is forwarded.
            Fate::Permitted { by: certain }
        } else {
            possible.extend(certain);
            possible.truncate(DRY_RUN_POSSIBLE_MAX);
            Fate::Open {
                possible,
                or_none: certain.is_none(),
            }
        };
        DryRunOutcome {
            fate,
            logged,
            maybe_logged,
        }
    }

    /// Why the rule at a place acts or does not.
    pub fn explain(&mut self, place: usize, case: &Case<'_>) -> Option<Trace> {
        self.expression(place)
            .map(|expression| expression.trace(case))
    }

    /// What the data path would do with these very facts.
    fn decide(&mut self, case: &Case<'_>) -> (Fate, Vec<usize>) {
        let mut logged = Vec::new();
        let by_id = &self.by_id;
        let decision = decide(&self.program, case.connection, case.request, &mut |id| {
            logged.extend(by_id.get(id).copied());
        });
        let blocked = match decision {
            Decision::Permit(_) => None,
            Decision::Block { rule_id, .. } => by_id.get(rule_id).copied(),
            Decision::TooLarge => return (Fate::TooLarge, logged),
        };
        let fate = match blocked {
            Some(by) => Fate::Blocked { by },
            None => Fate::Permitted {
                by: self.skipped_by(case),
            },
        };
        (fate, logged)
    }

    /// The `skip` rule that ends the evaluation of a permitted request.
    fn skipped_by(&mut self, case: &Case<'_>) -> Option<usize> {
        let ends_quietly = |rule: &Rule| {
            rule.enabled && rule.action.is_terminating() && !matches!(rule.action, Action::Block(_))
        };
        let places: Vec<usize> = self.places(|rule| ends_quietly(rule)).collect();
        places
            .into_iter()
            .find(|place| self.holds(*place, case) == Some(true))
    }

    /// The first rule that ends the evaluation for certain.
    fn certain_end(&mut self, case: &Case<'_>) -> Option<usize> {
        let ends = |rule: &Rule| rule.enabled && rule.action.is_terminating();
        let places: Vec<usize> = self.places(ends).collect();
        places
            .into_iter()
            .find(|place| self.holds(*place, case) == Some(true))
    }

    /// Enabled rules of which is not known whether they match, in order.
    fn uncertain(&mut self, case: &Case<'_>) -> Vec<usize> {
        let unknown = case.unknown;
        if unknown.is_empty() {
            return Vec::new();
        }
        let places: Vec<usize> = self
            .places(|rule| rule.enabled)
            .filter(|place| {
                let reads = self.reads.get(*place);
                reads.is_some_and(|reads| reads.meets(unknown))
            })
            .collect();
        places
            .into_iter()
            .filter(|place| self.holds(*place, case).is_none())
            .collect()
    }

    fn places(&self, wanted: impl Fn(&Rule) -> bool) -> impl Iterator<Item = usize> {
        let rules = self.rules.iter().enumerate();
        rules
            .filter(move |(_, rule)| wanted(rule))
            .map(|(place, _)| place)
    }

    fn holds(&mut self, place: usize, case: &Case<'_>) -> Option<bool> {
        self.expression(place)?.holds(case)
    }

    fn expression(&mut self, place: usize) -> Option<&Expression> {
        if !self.read.contains_key(&place) {
            let rule = self.rules.get(place)?;
            // It was read when this was made, so it can be read again.
            let read = check_with(&rule.expression, &self.lists).ok()?;
            self.read.insert(place, read);
        }
        self.read.get(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Certificate, World, block, rule};
    use crate::{ConnectionState, Skip};

    fn run(dry_run: &mut DryRun, world: &World, unknown: FieldSet) -> DryRunOutcome {
        let (state, request) = (ConnectionState::default(), world.request());
        dry_run.run(&Case {
            connection: &world.connection,
            state: &state,
            request: &request,
            unknown,
        })
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let skip = Action::Skip(Skip {
            current_ruleset: true,
            ..Skip::default()
        });
        let mut off = block("off", "true");
        off.enabled = false;
        let agent = "http.user_agent contains \"bad\"";
        let rules = [
            off,
            rule("noted", agent, Action::Log),
            rule(
                "health",
                "http.request.uri.path eq \"/health\"",
                skip.clone(),
            ),
            rule(
                "inner",
                "http.request.uri.path eq \"/in\" and http.referer eq \"x\"",
                skip,
            ),
            block(
                "agent",
                "http.user_agent contains \"bad\" and not http.request.uri.path eq \"/free\"",
            ),
            block("admin", "starts_with(http.request.uri.path, \"/admin\")"),
        ];
        let mut dry_run = DryRun::new(Rule::shared(&rules), Lists::default()).unwrap();
        let headers = FieldSet::named(|name| name == "http.user_agent" || name == "http.referer");
        let nothing = FieldSet::default();
        let open = |possible: &[usize], or_none| Fate::Open {
            possible: possible.to_vec(),
            or_none,
        };
        for (path, unknown, fate, maybe_logged) in [
            ("/health", nothing, Fate::Permitted { by: Some(2) }, &[][..]),
            ("/health", headers, Fate::Permitted { by: Some(2) }, &[1]),
            ("/admin", nothing, Fate::Blocked { by: 5 }, &[]),
            ("/admin", headers, open(&[4, 5], false), &[1]),
            ("/free", headers, Fate::Permitted { by: None }, &[1]),
            ("/", headers, open(&[4], true), &[1]),
            ("/in", headers, open(&[3, 4], true), &[1]),
            ("/", nothing, Fate::Permitted { by: None }, &[]),
        ] {
            let world = World::new(Certificate::None, "a.example", path);
            let tried = run(&mut dry_run, &world, unknown);
            assert_eq!(
                (&tried.fate, tried.maybe_logged.as_slice()),
                (&fate, maybe_logged),
                "{path}"
            );
        }
        let world = World::new(Certificate::None, "a.example", "/").header("user-agent", "bad");
        let tried = run(&mut dry_run, &world, nothing);
        assert_eq!(
            (tried.fate, tried.logged),
            (Fate::Blocked { by: 4 }, vec![1])
        );
    }

    proptest::proptest! {
        /// An answer is what the data path decides; an open question has that answer among its
        /// possible ones.
        #[test]
        fn agrees_with_decisions(
            rules in crate::tests::program::rules(12),
            world in crate::tests::generate::world(),
            hidden in proptest::collection::vec(proptest::prelude::any::<bool>(), 128),
        ) {
            let lists = crate::testing::fuzz::lists();
            let program = Program::compile_with(&rules, &lists).unwrap();
            let (blocked, _) = world.decide(&program);
            let is_too_large = blocked.as_deref() == Some("too large");
            let blocked = blocked.filter(|_| !is_too_large);
            let blocked = blocked.map(|id| rules.iter().position(|rule| *rule.id == *id).unwrap());
            let mut dry_run = DryRun::new(Rule::shared(&rules), lists).unwrap();
            let mut hidden = hidden.into_iter();
            let unknown = FieldSet::named(|_| hidden.next().unwrap_or_default());
            for unknown in [FieldSet::default(), unknown] {
                let tried = run(&mut dry_run, &world, unknown);
                proptest::prop_assert_eq!(tried.fate == Fate::TooLarge, is_too_large);
                match tried.fate {
                    _ if is_too_large => {}
                    Fate::Blocked { by } => proptest::prop_assert_eq!(blocked, Some(by)),
                    Fate::Permitted { .. } => proptest::prop_assert_eq!(blocked, None),
                    Fate::TooLarge => {}
                    Fate::Open { possible, or_none } => {
                        proptest::prop_assert!(!unknown.is_empty());
                        let is_skip = |place: &usize| matches!(rules[*place].action, Action::Skip(_));
                        let allowed = match blocked {
                            Some(by) => possible.contains(&by),
                            None => or_none || possible.iter().any(is_skip),
                        };
                        proptest::prop_assert!(allowed, "{possible:?} {blocked:?}");
                    }
                }
            }
        }
    }
}
