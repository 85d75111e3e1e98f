//! What is odd about a zone's rules, and what they keep from a host.
//!
//! Owns what lints have to know of the model. What is odd is decided by [`rules`].

use std::sync::Arc;

use crate::change::error::{ChangeError, Noun};
use crate::change::{Control, Reads};
use crate::compile;
use crate::compile::rules::compiled_form;
use crate::model::id::Id;
use crate::model::{Model, Phase, RuleRecord, Ruleset};
use chunked_list::ChunkedList;
use rules::limits::LINTS_MAX;
use rules::{Enforcement, Lint, LintHost, Lists, Rule, enforcement, lint, unknown_hosts};
use vocabulary::hostname::HostName;

impl<A: Reads> Control<A> {
    /// What is odd about a zone's rules and hosts.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn lints(&self, zone: Id) -> Result<Vec<Lint>, ChangeError> {
        let model = self.model();
        if !model.zones.contains_key(&zone) {
            return Err(ChangeError::not_found(Noun::Zone, zone));
        }
        let mut lints = self.lints_with(zone, custom_rules(&model, zone).into_iter().flatten())?;
        let others = Phase::ALL.into_iter().filter(|phase| !is_custom(phase));
        let others = others.filter_map(|phase| model.rulesets.get(&(zone, phase)));
        let rules = others.flat_map(|ruleset| &ruleset.rules);
        let rules = rules.filter(|rule| rule.enabled).map(named);
        lints.extend(unknown_hosts(rules, names_of(&model, zone)));
        lints.truncate(LINTS_MAX);
        Ok(lints)
    }

    /// Names in the rules of a ruleset's last change that no host of the zone answers for.
    #[must_use]
    pub fn unknown_hosts_of(&self, ruleset: &Ruleset) -> Vec<Lint> {
        let model = self.model();
        let changed = ruleset.rules.iter();
        let changed = changed.filter(|rule| rule.last_updated == ruleset.last_updated);
        unknown_hosts(changed.map(named), names_of(&model, ruleset.zone))
    }

    /// What would be odd about a zone if these were its rules.
    ///
    /// # Errors
    /// A rule's action cannot be read.
    pub fn lints_with<'r>(
        &self,
        zone: Id,
        rules: impl IntoIterator<Item = &'r Arc<RuleRecord>>,
    ) -> Result<Vec<Lint>, ChangeError> {
        let model = self.model();
        let hosts: Vec<LintHost> = model
            .hosts_of(zone)
            .map(|host| LintHost {
                name: host.name.clone(),
                mtls: host.mtls,
                cas: model.believed(host).len(),
            })
            .collect();
        let rules = forms(rules)?;
        let lists = lists_of(&model, &rules);
        Ok(lint(&rules, &hosts, &lists, self.has_geo()))
    }

    /// What keeps clients without a certificate that verifies from a host, of its zone's rules.
    ///
    /// # Errors
    /// There is no such host.
    pub fn enforcement(&self, name: &HostName) -> Result<Enforcement, ChangeError> {
        let model = self.model();
        let host = self.host(name)?;
        let rules = forms(custom_rules(&model, host.zone).into_iter().flatten())?;
        let lists = lists_of(&model, &rules);
        Ok(enforcement(&rules, &lists, &host.name))
    }
}

/// The lists that rules may name; none of them when they name none.
fn lists_of(model: &Model, rules: &[Rule]) -> Lists {
    if rules.iter().any(|rule| rule.expression.contains('$')) {
        // One that could not be read would have been refused; without it nothing is vouched for.
        compile::lists::compile(model).unwrap_or_default()
    } else {
        Lists::default()
    }
}

fn is_custom(phase: &Phase) -> bool {
    *phase == Phase::HttpRequestFirewallCustom
}

fn named(rule: &Arc<RuleRecord>) -> (Arc<str>, &str) {
    (rule.id.to_string().into(), &rule.expression)
}

fn names_of(model: &Model, zone: Id) -> impl Iterator<Item = &HostName> {
    model.hosts_of(zone).map(|host| &host.name)
}

/// A zone's custom rules.
fn custom_rules(model: &Model, zone: Id) -> Option<&ChunkedList<Arc<RuleRecord>>> {
    let place = (zone, Phase::HttpRequestFirewallCustom);
    model.rulesets.get(&place).map(|ruleset| &ruleset.rules)
}

fn forms<'r>(
    rules: impl IntoIterator<Item = &'r Arc<RuleRecord>>,
) -> Result<Vec<Rule>, ChangeError> {
    let forms = rules.into_iter().map(|rule| compiled_form(rule));
    Ok(forms.collect::<Result<_, _>>()?)
}
