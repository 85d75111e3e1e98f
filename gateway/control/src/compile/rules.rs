//! Compiles a zone's custom rules. Unchanged rules are taken over from the last program.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::{CompileError, FieldError};
use crate::model::id::Id;
use crate::model::rule_diff::{self, Difference};
use crate::model::{RuleRecord, Ruleset};
use ::rules::{Action, ActionError, Lists, Program, Rule};
use chunked_list::ChunkedList;

/// A ruleset in the form that it runs in.
#[derive(Clone)]
pub(crate) struct Compiled {
    /// What it was compiled from.
    pub(super) source: Arc<Ruleset>,
    /// Has the rules in the source's order.
    pub(super) program: Arc<Program>,
}

/// Compiles a ruleset; what `last` has of it is taken over rule by rule.
pub(crate) fn compiled(
    ruleset: &Arc<Ruleset>,
    lists: &Lists,
    last: Option<&Compiled>,
) -> Result<Compiled, CompileError> {
    let rules = forms(ruleset, last)?;
    let program = match last {
        Some(last) => last.program.recompile(rules, lists),
        None => Program::compile_shared(rules, lists),
    };
    Ok(Compiled {
        source: ruleset.clone(),
        program: Arc::new(program.map_err(CompileError::Rules)?),
    })
}

/// The rules of a ruleset in their compiled form.
fn forms(ruleset: &Ruleset, last: Option<&Compiled>) -> Result<ChunkedList<Arc<Rule>>, FieldError> {
    let form = |record: &Arc<RuleRecord>| compiled_form(record).map(Arc::new);
    let Some(last) = last else {
        return ruleset.rules.iter().map(form).collect();
    };
    let Difference { hunks, out, new } = Difference::between(&last.source.rules, &ruleset.rules);
    let mut rules = last.program.rules().clone();
    let places = hunks.iter().flat_map(|hunk| hunk.old.clone());
    let known: HashMap<Id, (&Arc<RuleRecord>, Arc<Rule>)> = out
        .into_iter()
        .zip(places.filter_map(|place| rules.get(place).cloned()))
        .map(|(source, rule)| (source.id, (source, rule)))
        .collect();
    let forms = new.into_iter().map(|record| match known.get(&record.id) {
        Some((source, rule)) if rule_diff::same(source, record) => Ok(rule.clone()),
        _ => form(record),
    });
    let mut forms = forms.collect::<Result<Vec<_>, FieldError>>()?;
    // From the end, so that places before stay what they are.
    for hunk in hunks.into_iter().rev() {
        let new = forms.split_off(forms.len() - hunk.new.len());
        rules.replace(hunk.old, new);
    }
    Ok(rules)
}

/// A stored rule as [`rules`] takes it.
pub(crate) fn compiled_form(rule: &RuleRecord) -> Result<Rule, FieldError> {
    Ok(Rule {
        id: rule.id.to_string().into(),
        expression: rule.expression.as_str().into(),
        action: action_of(rule)?,
        enabled: rule.enabled,
    })
}

/// The action in its compiled form.
pub(crate) fn action_of(rule: &RuleRecord) -> Result<Action, FieldError> {
    let parameters = rule.action_parameters.as_ref();
    Action::from_api(&rule.action, parameters, rule.logging).map_err(|error| {
        let field = match &error {
            ActionError::Unsupported { .. } => "action".into(),
            ActionError::Parameter { path, .. } => format!("action_parameters.{path}").into(),
        };
        FieldError {
            field,
            why: error.to_string(),
        }
    })
}
