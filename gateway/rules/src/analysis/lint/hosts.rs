//! The hosts of a zone as lints see them: which of them a rule is about, and what protects them.
//!
//! Bounded: a rule that says different things of different hosts is evaluated for each host that it
//! may be about, `limits::LINT_EVALUATIONS_MAX` times in all. A host beyond that gets no lint, and
//! no rule is taken to be about it.

use super::parts::fields;
use crate::analysis::enforcement::{Enforcement, Enforcers, covers, limited_to};
use crate::analysis::lint::{Lint, LintKind};
use crate::analysis::partial_eval::Client;
use crate::limits::{LINT_EVALUATIONS_MAX, LINTS_MAX};
use crate::rule::Rule;
use crate::syntax::ast::Condition;
use crate::syntax::field::Field;
use vocabulary::hostname::HostName;
use vocabulary::settings::MtlsMode;

/// What a lint has to know of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintHost {
    /// Its name.
    pub name: HostName,
    /// Whether it asks for certificates.
    pub mtls: MtlsMode,
    /// CAs whose clients it believes.
    pub cas: usize,
}

/// The hosts of a zone.
pub(super) struct Hosts<'h> {
    /// With what the rules do for those that ask for certificates and let rules decide.
    all: Vec<(&'h LintHost, Option<Enforcement>)>,
    evaluations: usize,
}

impl<'h> Hosts<'h> {
    pub(super) fn new(hosts: &'h [LintHost], rules: &[(&Rule, Condition)]) -> Self {
        let enforcers = Enforcers::new(rules.iter().map(|(rule, condition)| (*rule, condition)));
        let mut evaluations = LINT_EVALUATIONS_MAX;
        let mut evaluated = |host: &'h LintHost| match host.mtls {
            MtlsMode::Request => enforcers.of(&host.name, &mut evaluations),
            MtlsMode::Off | MtlsMode::Require => None,
        };
        let all = hosts.iter().map(|host| (host, evaluated(host))).collect();
        Self { all, evaluations }
    }

    /// Whether some host that a rule is about believes several CAs.
    pub(super) fn some_believe_several(&mut self, condition: &Condition) -> bool {
        let scope = Scope::of(condition);
        let evaluations = &mut self.evaluations;
        let mut several = self.all.iter().filter(|(host, _)| host.cas > 1);
        several.any(|(host, _)| scope.has(&host.name, evaluations))
    }

    /// The hosts that a rule names and that never ask for a certificate, as many as are told of.
    pub(super) fn named_and_off(&mut self, condition: &Condition) -> Vec<&'h LintHost> {
        let scope = Scope::of(condition);
        if !scope.is_limited() {
            return Vec::new();
        }
        let evaluations = &mut self.evaluations;
        let off = self
            .all
            .iter()
            .filter(|(host, _)| host.mtls == MtlsMode::Off);
        off.filter(|(host, _)| scope.has(&host.name, evaluations))
            .map(|(host, _)| *host)
            .take(LINTS_MAX)
            .collect()
    }

    /// Whether the hosts that a rule is about are all known and protected from certificates that
    /// do not verify by something else.
    pub(super) fn stop_unverified(&mut self, condition: &Condition) -> bool {
        let scope = Scope::of(condition);
        let evaluations = &mut self.evaluations;
        let mut concerned = self
            .all
            .iter()
            .filter(|(host, _)| scope.has(&host.name, evaluations))
            .peekable();
        concerned.peek().is_some()
            && concerned.all(|(host, enforcement)| {
                host.mtls != MtlsMode::Request
                    || matches!(enforcement, Some(Enforcement::Fully { .. }))
            })
    }

    /// Reports hosts that ask for certificates and let every client in.
    pub(super) fn without_rule(&self, found: &mut Vec<Lint>) {
        for (host, enforcement) in &self.all {
            let Some(Enforcement::Nothing { skip }) = enforcement else {
                continue;
            };
            let why = match skip {
                Some(skip) => {
                    format!("the rule {skip} lets everybody around those that come after it")
                }
                None => "no rule blocks clients without one that verifies: everybody can pass"
                    .to_owned(),
            };
            let suggestion = format!(
                "http.host eq \"{}\" and (not {} or {})",
                host.name,
                Field::CertVerified.name(),
                Field::CertRevoked.name()
            );
            found.push(Lint {
                kind: LintKind::HostWithoutRule,
                rule_id: None,
                message: format!("the host {} asks for certificates and {why}", host.name),
                suggestion: Some(suggestion).filter(|_| !host.name.is_wildcard() && skip.is_none()),
            });
        }
    }
}

/// Which hosts a condition can be about.
enum Scope<'c> {
    All,
    /// Those of these names and endings.
    Named(Vec<&'c [u8]>),
    /// Those for which it may hold.
    Some(&'c Condition),
}

impl<'c> Scope<'c> {
    fn of(condition: &'c Condition) -> Self {
        match limited_to(condition) {
            Some(names) => Self::Named(names),
            None if fields(condition).contains(&Field::Host) => Self::Some(condition),
            None => Self::All,
        }
    }

    fn has(&self, host: &HostName, evaluations: &mut usize) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| covers(host, name)),
            Self::Some(condition) => match evaluations.checked_sub(1) {
                Some(left) => {
                    *evaluations = left;
                    Client::Anyone.satisfies(condition, Some(host)) != Some(false)
                }
                None => false,
            },
        }
    }

    /// Whether it is about certain hosts only, not about all or all but some.
    fn is_limited(&self) -> bool {
        match self {
            Self::All => false,
            Self::Named(_) => true,
            Self::Some(condition) => {
                // No host has this name (RFC 2606 §2).
                let nobody = HostName::parse("nobody.invalid").ok();
                Client::Anyone.satisfies(condition, nobody.as_ref()) == Some(false)
            }
        }
    }
}
