//! Networks that zones block unconditionally, for admission in the kernel.

use std::collections::BTreeMap;

use crate::change::{Control, Reads};
use crate::compile;
use crate::compile::rules::compiled_form;
use crate::model::Phase;
use rules::{self, Network, Rule};

impl<A: Reads> Control<A> {
    /// By zone, the networks from which its rules block everything. At most `max` of each zone.
    #[must_use]
    pub fn blocked_addresses(&self, max: usize) -> BTreeMap<String, Vec<Network>> {
        let model = self.model();
        let Ok(lists) = compile::lists::compile(&model) else {
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        for ((zone, phase), ruleset) in model.rulesets.iter() {
            // Rules of other phases that match do not block everything.
            if *phase != Phase::HttpRequestFirewallCustom {
                continue;
            }
            // A rule that could not be read would have been refused; here it ends the search.
            let rules: Vec<Rule> = ruleset
                .rules
                .iter()
                .map_while(|rule| compiled_form(rule).ok())
                .collect();
            let networks = rules::blocked_addresses(rules.iter(), &lists, max);
            if !networks.is_empty() {
                found.insert(zone.to_string(), networks);
            }
        }
        found
    }
}
