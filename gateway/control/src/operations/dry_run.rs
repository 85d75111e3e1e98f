//! A zone's rules for a dry run: as stored, or with a draft rule.
//!
//! A draft goes the way of a change that is only tried, and is refused for the same reasons. What
//! the rules decide about a request is [`rules::DryRun`]'s.

use std::sync::Arc;

use crate::change::error::{ChangeError, Noun};
use crate::change::{Control, Reads};
use crate::compile::rules::compiled_form;
use crate::compile::{self, CompileError};
use crate::model::id::Id;
use crate::model::{Phase, RuleRecord, Ruleset};
use crate::operations::rulesets::{NewRule, Position, RulePatch};
use chunked_list::ChunkedList;
use rules::{Action, DryRun, Rule};

/// A rule, or a change of one, that is not saved.
#[derive(Debug, Clone)]
pub enum DraftRule {
    /// One more rule; at the end without a position.
    Added(NewRule, Option<Position>),
    /// A rule that is there, changed or moved.
    Changed(Id, RulePatch, Option<Position>),
}

/// A zone's rules for a dry run.
#[derive(Debug)]
pub struct RulesetDryRun {
    /// The rules as records, in the same order.
    pub rules: ChunkedList<Arc<RuleRecord>>,
    /// The version that is stored; 0 when the zone has no rules.
    pub version: u32,
    /// Place of the draft.
    pub draft: Option<usize>,
    /// What evaluates.
    pub dry_run: DryRun,
    /// The zone's redirects, which are asked before, when it has any: as rules that log, with their
    /// ids.
    pub redirects: Option<(Vec<Id>, DryRun)>,
}

impl<A: Reads> Control<A> {
    /// Makes a zone's rules ready for a dry run. Nothing is changed.
    ///
    /// # Errors
    /// There is no such zone, or the draft is not acceptable.
    pub fn dry_run(
        &self,
        zone: Id,
        draft: Option<DraftRule>,
    ) -> Result<RulesetDryRun, ChangeError> {
        let model = self.model();
        if !model.zones.contains_key(&zone) {
            return Err(ChangeError::not_found(Noun::Zone, zone));
        }
        let phase = Phase::HttpRequestFirewallCustom;
        let stored = model.rulesets.get(&(zone, phase)).cloned();
        let version = stored.as_ref().map_or(0, |ruleset| ruleset.version);
        let (ruleset, changed) = match draft {
            None => (stored, None),
            Some(draft) => {
                let tried = self.tried(zone, stored.as_deref(), draft)?;
                (Some(tried.0), Some(tried.1))
            }
        };
        let rules = ruleset.map_or_else(ChunkedList::default, |ruleset| ruleset.rules.clone());
        let place = changed.and_then(|id| rules.iter().position(|rule| rule.id == id));
        let forms = rules
            .iter()
            .map(|rule| compiled_form(rule).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let lists = compile::lists::compile(&model)
            .map_err(|why| ChangeError::invalid("lists", why.to_string()))?;
        let made = |forms, lists| {
            DryRun::new(forms, lists).map_err(|error| ChangeError::from(CompileError::Rules(error)))
        };
        let redirects = model
            .rulesets
            .get(&(zone, Phase::HttpRequestDynamicRedirect));
        let redirects = redirects.filter(|ruleset| !ruleset.rules.is_empty());
        let redirects = redirects.map(|ruleset| {
            let form = |rule: &Arc<RuleRecord>| {
                Arc::new(Rule {
                    id: rule.id.to_string().into(),
                    expression: rule.expression.as_str().into(),
                    action: Action::Log,
                    enabled: rule.enabled,
                })
            };
            let ids = ruleset.rules.iter().map(|rule| rule.id).collect();
            let forms = ruleset.rules.iter().map(form).collect();
            Ok::<_, ChangeError>((ids, made(forms, lists.clone())?))
        });
        Ok(RulesetDryRun {
            rules,
            version,
            draft: place,
            redirects: redirects.transpose()?,
            dry_run: made(forms, lists)?,
        })
    }

    /// The ruleset with the draft in it, and the draft's id.
    fn tried(
        &self,
        zone: Id,
        stored: Option<&Ruleset>,
        draft: DraftRule,
    ) -> Result<(Arc<Ruleset>, Id), ChangeError> {
        let control = self.trying();
        match draft {
            DraftRule::Added(rule, position) => {
                let (ruleset, rule) = control.add_rule(zone, rule, position.as_ref())?;
                Ok((ruleset, rule.id))
            }
            DraftRule::Changed(id, patch, position) => {
                let ruleset = stored.ok_or_else(|| ChangeError::not_found(Noun::Rule, id))?;
                let ruleset =
                    control.update_rule(zone, ruleset.id, id, patch, position.as_ref())?;
                Ok((ruleset, id))
            }
        }
    }
}
