//! "Create a mTLS rule" of Cloudflare's documentation: hosts and paths to an expression, and back.
//!
//! An expression that means more or less than such a rule is not read as one.

use std::sync::Arc;

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control};
use crate::model::id::Id;
use crate::model::{Model, Phase, RuleRecord, Ruleset};
use crate::operations::associations::check_rule_hosts;
use crate::operations::rulesets::{NewRule, Position, RulePatch, change_rule, put, successor};
use rules::{Expression, Form, Operator, Row, check};
use vocabulary::hostname::HostName;

/// Refuses clients without a certificate that verifies.
const UNVERIFIED: &str = "not cf.tls_client_auth.cert_verified";
/// And those whose certificate is revoked.
const UNVERIFIED_OR_REVOKED: &str =
    "(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)";

/// A rule that asks for a client certificate, as Cloudflare's documents build it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MtlsRule {
    /// For which hosts; empty for all of the zone.
    pub hosts: Vec<HostName>,
    /// For which paths; empty for all.
    pub paths: Vec<String>,
    /// Whether revoked certificates are refused too.
    pub check_revoked: bool,
}

impl MtlsRule {
    /// The rule's expression: it matches what is to be refused.
    #[must_use]
    pub fn expression(&self) -> String {
        let refused = if self.check_revoked {
            UNVERIFIED_OR_REVOKED
        } else {
            UNVERIFIED
        };
        let mut parts = vec![refused.to_owned()];
        let exact: Vec<String> = self
            .hosts
            .iter()
            .filter(|h| !h.is_wildcard())
            .map(|h| quoted(h.as_str()))
            .collect();
        let mut hosts = Vec::new();
        if !exact.is_empty() {
            hosts.push(format!("http.host in {{{}}}", exact.join(" ")));
        }
        for parent in self.hosts.iter().filter_map(HostName::wildcard_parent) {
            hosts.push(format!(
                "ends_with(http.host, {})",
                quoted(&format!(".{parent}"))
            ));
        }
        match hosts.as_slice() {
            [] => {}
            [one] => parts.push(one.clone()),
            many => parts.push(format!("({})", many.join(" or "))),
        }
        if !self.paths.is_empty() {
            let paths: Vec<String> = self.paths.iter().map(|path| quoted(path)).collect();
            parts.push(format!("http.request.uri.path in {{{}}}", paths.join(" ")));
        }
        format!("({})", parts.join(" and "))
    }

    /// Reads an expression back, in whatever order its parts stand; `None` when it is not of this
    /// form.
    #[must_use]
    pub fn from_expression(text: &str) -> Option<Self> {
        let read = check(text).ok()?;
        let [plain, strict] = [UNVERIFIED, UNVERIFIED_OR_REVOKED].map(check);
        let (plain, strict) = (plain.ok()?, strict.ok()?);
        let mut rule = Self::default();
        let mut refuses = false;
        for part in read.conjuncts() {
            let is_strict = part == strict;
            if is_strict || part == plain {
                // Twice the same is not how anybody writes one.
                if std::mem::replace(&mut refuses, true) {
                    return None;
                }
                rule.check_revoked = is_strict;
            } else if let Some(hosts) = hosts(&part) {
                if !rule.hosts.is_empty() {
                    return None;
                }
                rule.hosts = hosts;
            } else {
                if !rule.paths.is_empty() {
                    return None;
                }
                rule.paths = paths(&part)?;
            }
        }
        refuses.then_some(rule)
    }
}

/// What is to be different about an mTLS rule; `None` leaves a part as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MtlsPatch {
    /// For which hosts.
    pub hosts: Option<Vec<HostName>>,
    /// For which paths.
    pub paths: Option<Vec<String>>,
    /// Whether revoked certificates are refused too.
    pub check_revoked: Option<bool>,
}

impl MtlsPatch {
    /// The rule that this makes out of another.
    #[must_use]
    pub fn apply(self, rule: &MtlsRule) -> MtlsRule {
        MtlsRule {
            hosts: self.hosts.unwrap_or_else(|| rule.hosts.clone()),
            paths: self.paths.unwrap_or_else(|| rule.paths.clone()),
            check_revoked: self.check_revoked.unwrap_or(rule.check_revoked),
        }
    }
}

/// An mTLS rule of a zone with its ruleset and its place in it, counted from 0.
///
/// # Errors
/// There is no such rule, or it is not of the form.
pub fn mtls_rule(
    model: &Model,
    zone: Id,
    rule: Id,
) -> Result<(Arc<Ruleset>, usize, Arc<RuleRecord>, MtlsRule), ChangeError> {
    let missing = || ChangeError::not_found(Noun::Rule, rule);
    let place = (zone, Phase::HttpRequestFirewallCustom);
    let ruleset = model.rulesets.get(&place).ok_or_else(missing)?;
    let mut rules = ruleset.rules.iter().enumerate();
    let found = rules.find(|(_, found)| found.id == rule);
    let (place, record) = found.ok_or_else(missing)?;
    let mtls = MtlsRule::from_expression(&record.expression).ok_or_else(|| {
        let why = "the rule is more than hosts, paths and a certificate; read and edit it as an expression";
        ChangeError::invalid("rules", why)
    })?;
    Ok((ruleset.clone(), place, record.clone(), mtls))
}

impl<A: Changes> Control<A> {
    /// Adds an mTLS rule for these hosts.
    ///
    /// # Errors
    /// No host of the zone answers for one of them, or the rule is not acceptable.
    pub fn add_mtls_rule(
        &self,
        zone: Id,
        hosts: &[HostName],
        rule: NewRule,
        at: Option<&Position>,
    ) -> Result<(Arc<Ruleset>, Arc<RuleRecord>), ChangeError> {
        self.batch(|control| {
            check_rule_hosts(&control.model(), zone, hosts)?;
            control.add_rule(zone, rule, at)
        })
    }

    /// Changes an mTLS rule, moves it, or both. What says the same stays as it was written.
    ///
    /// # Errors
    /// There is no such rule, it is not of the form, or the result is not acceptable.
    pub fn update_mtls_rule(
        &self,
        zone: Id,
        rule: Id,
        wanted: MtlsPatch,
        mut patch: RulePatch,
        at: Option<&Position>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| {
            let (old, _, _, present) = mtls_rule(&draft.model, zone, rule)?;
            // Names that were there already are no news.
            check_rule_hosts(
                &draft.model,
                zone,
                wanted.hosts.as_deref().unwrap_or_default(),
            )?;
            let wanted = wanted.apply(&present);
            patch.expression = (wanted != present).then(|| wanted.expression());
            let mut new = successor(&old);
            change_rule(&mut new.rules, rule, patch, at, draft.now)?;
            put(draft, Some(&old), new)
        })
    }

    /// Removes an mTLS rule.
    ///
    /// # Errors
    /// There is no such rule, or it is not of the form.
    pub fn delete_mtls_rule(&self, zone: Id, rule: Id) -> Result<(), ChangeError> {
        self.change(|draft| {
            let (old, place, _, _) = mtls_rule(&draft.model, zone, rule)?;
            let mut new = successor(&old);
            drop(new.rules.remove(place));
            put(draft, Some(&old), new).map(drop)
        })
    }
}

/// The one row that a part is.
fn row(part: &Expression) -> Option<Row> {
    let form = Form::from_expression(part)?;
    let [group] = <[_; 1]>::try_from(form.groups).ok()?;
    let [row] = <[_; 1]>::try_from(group.rows).ok()?;
    (!row.negated && row.key.is_none()).then_some(row)
}

fn hosts(part: &Expression) -> Option<Vec<HostName>> {
    let mut hosts = Vec::new();
    for part in part.disjuncts() {
        let row = row(&part).filter(|row| row.field == "http.host")?;
        let prefix = match row.operator {
            Operator::Eq | Operator::In => "",
            Operator::EndsWith => "*",
            _ => return None,
        };
        for value in &row.values {
            let name = format!("{prefix}{value}");
            // Another spelling than the canonical one never matches.
            hosts.push(
                HostName::parse(&name)
                    .ok()
                    .filter(|host| host.as_str() == name)?,
            );
        }
    }
    Some(hosts)
}

fn paths(part: &Expression) -> Option<Vec<String>> {
    let row = row(part).filter(|row| row.field == "http.request.uri.path")?;
    let is_list = matches!(row.operator, Operator::Eq | Operator::In);
    let is_path = |path: &String| path.starts_with('/');
    (is_list && row.values.iter().all(is_path)).then_some(row.values)
}

/// A text as a quoted string of the rules language.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtls_rules_are_expressions() {
        let host = |text: &str| HostName::parse(text).unwrap();
        let rule = MtlsRule {
            hosts: vec![host("api.example.com")],
            paths: vec!["/admin".into()],
            check_revoked: true,
        };
        assert_eq!(
            rule.expression(),
            "((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and \
             http.host in {\"api.example.com\"} and http.request.uri.path in {\"/admin\"})"
        );
        assert_eq!(
            MtlsRule::default().expression(),
            "(not cf.tls_client_auth.cert_verified)"
        );
        let odd = MtlsRule {
            hosts: vec![host("*.a.test"), host("a.test"), host("b.test")],
            paths: vec!["/\"quoted\\".into(), "/ü".into()],
            check_revoked: false,
        };
        for rule in [rule, MtlsRule::default()] {
            assert_eq!(MtlsRule::from_expression(&rule.expression()), Some(rule));
        }
        // Exact names come first in an expression.
        let mut read = MtlsRule::from_expression(&odd.expression()).unwrap();
        read.hosts.rotate_right(1);
        assert_eq!(read, odd);
    }

    #[test]
    fn only_mtls_rules_are_read_back() {
        let verified = "cf.tls_client_auth.cert_verified";
        let revoked = "cf.tls_client_auth.cert_revoked";
        let path = r#"http.request.uri.path eq "/a""#;
        for (text, expected) in [
            (
                format!("{path} and http.host eq \"a.test\" and not {verified}"),
                Some((1, 1, false)),
            ),
            (
                format!("(not {verified} or {revoked}) and {path}"),
                Some((0, 1, true)),
            ),
            (format!("not {verified}"), Some((0, 0, false))),
            (path.to_owned(), None),
            (verified.to_owned(), None),
            (format!("not {verified} or {path}"), None),
            (format!("{revoked} and {path}"), None),
            (format!("not {verified} and not {path}"), None),
            (format!("not {verified} and {path} and {path}"), None),
            (format!("not {verified} and not {verified}"), None),
            (format!("not {verified} and ssl"), None),
            (format!("not {verified} and http.host eq \"A.test\""), None),
            (format!("not {verified} and http.host ne \"a.test\""), None),
            (
                format!("not {verified} and starts_with(http.request.uri.path, \"/a\")"),
                None,
            ),
            (
                format!("not {verified} and (http.host eq \"a.test\" or {path})"),
                None,
            ),
            ("not a rule".to_owned(), None),
        ] {
            let read = MtlsRule::from_expression(&text);
            let found = read.map(|rule| (rule.hosts.len(), rule.paths.len(), rule.check_revoked));
            assert_eq!(found, expected, "{text}");
        }
    }
}
