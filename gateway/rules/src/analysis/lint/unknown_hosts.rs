//! Names that a rule compares `http.host` with, and that no host of the zone answers for: a rule for
//! a misspelt name protects nothing, and says nothing of it.
//!
//! Names in lists (`$name`) are not looked at: a list serves all zones, and each has names of others.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::parts::change;
use super::values::{host_names, with_host_names};
use crate::analysis::lint::{Lint, LintKind};
use crate::limits::{LINTS_MAX, UNKNOWN_HOST_SUGGESTIONS_MAX};
use crate::syntax::ast::{Condition, Part};
use crate::syntax::parser;
use vocabulary::hostname::HostName;
use vocabulary::suggest::suggest;

/// The names that a zone answers for.
pub(super) struct Names<'h> {
    exact: HashSet<&'h str>,
    wildcards: Vec<&'h HostName>,
    /// Names may be suggested for so many more, each of which is compared with every host.
    suggestions: usize,
}

impl<'h> Names<'h> {
    pub(super) fn new(hosts: impl Iterator<Item = &'h HostName>) -> Self {
        let (wildcards, exact): (Vec<_>, Vec<_>) = hosts.partition(|name| name.is_wildcard());
        Self {
            exact: exact.into_iter().map(HostName::as_str).collect(),
            wildcards,
            suggestions: UNKNOWN_HOST_SUGGESTIONS_MAX,
        }
    }

    fn answer(&self, name: &str) -> bool {
        self.exact.contains(name) || self.wildcards.iter().any(|host| host.covers(name))
    }

    /// The names of a condition that nothing answers for, in small letters and without a last dot:
    /// those two are said of by lints of their own.
    fn unknown_in(&self, condition: &Condition) -> BTreeSet<String> {
        let mut unknown = BTreeSet::new();
        // In a zone without hosts every rule is written before its host.
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return unknown;
        }
        condition.walk(&mut |part| {
            let Part::Condition(condition) = part else {
                return;
            };
            for name in host_names(condition) {
                let Ok(name) = std::str::from_utf8(name) else {
                    continue;
                };
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                // The text of an authority with a port, or of an address, is no host's name.
                if HostName::parse(&name).is_ok() && !self.answer(&name) {
                    unknown.insert(name);
                }
            }
        });
        unknown
    }

    fn near(&mut self, name: &str) -> Option<&'h str> {
        self.suggestions = self.suggestions.checked_sub(1)?;
        let wildcards = self.wildcards.iter().map(|host| host.as_str());
        suggest(name, self.exact.iter().copied().chain(wildcards))
            .filter(|near| !near.starts_with('*'))
    }

    pub(super) fn say(&mut self, id: &Arc<str>, condition: &Condition, found: &mut Vec<Lint>) {
        for name in self.unknown_in(condition) {
            if found.len() >= LINTS_MAX {
                return;
            }
            let near = self.near(&name);
            let meant = near.map_or_else(
                || "the rule is about no request to it until there is one".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let suggestion = near.map(|near| {
                change(condition, &|part| with_host_names(part, &name, near)).to_string()
            });
            found.push(Lint {
                kind: LintKind::UnknownHost,
                rule_id: Some(id.clone()),
                message: format!("there is no host for `{name}` in this zone; {meant}"),
                suggestion,
            });
        }
    }
}

/// What is said of names in rules, each an id and an expression, that no host of the zone answers
/// for. Rules that do not parse are passed over; of what phase they are makes no difference.
#[must_use]
pub fn unknown_hosts<'h, 'r>(
    rules: impl IntoIterator<Item = (Arc<str>, &'r str)>,
    hosts: impl IntoIterator<Item = &'h HostName>,
) -> Vec<Lint> {
    let mut names = Names::new(hosts.into_iter());
    let mut found = Vec::new();
    for (id, expression) in rules {
        if let Ok(condition) = parser::parse(expression, None) {
            names.say(&id, &condition, &mut found);
        }
    }
    found
}
