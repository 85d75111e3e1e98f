//! What is suspicious about rules that are correct: traps that real documents and real users fell
//! into. A lint explains itself and, where there is one, gives the corrected expression.
//!
//! Judges rules and the hosts they stand in front of; changes nothing and refuses nothing.

mod paths;
#[cfg(test)]
mod tests;
mod trust;
mod values;

use std::sync::Arc;

use self::trust::{applies, is_certificate, names};
use super::ast::{Condition, Part, Scalar};
use super::field::Field;
use super::{Action, Rule, parser};
use crate::hostname::HostName;
use crate::limits;
use crate::snapshot::MtlsMode;

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

/// Which trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LintKind {
    /// A rule tests `cert_verified` and not `cert_revoked`: a revoked certificate passes.
    RevokedPasses,
    /// Several CAs are believed and no rule says which one.
    NoIssuerPin,
    /// `not cert_verified and … ne …` blocks only clients that are not verified.
    AndInsteadOfOr,
    /// A path is compared exactly; an origin may see `/ADMIN` or `/admin/` as the same.
    ExactPath,
    /// The path as it was sent is compared; what is forwarded is another one.
    RawPath,
    /// A rule on certificates for a host that never asks for one.
    HostWithoutMtls,
    /// A host that asks for certificates and no rule that looks at them.
    HostWithoutRule,
    /// `ne` of a value that may be missing is false when it is missing.
    NotEqualOfMissing,
    /// A header's name with capitals is never found.
    CapitalHeader,
    /// A host's name with capitals is never met.
    CapitalHost,
    /// A function that Cloudflare keeps for rewriting, in a filter.
    RewriteOnlyFunction,
    /// Country, AS number and the like have no value without a GeoIP database.
    NoGeoDatabase,
}

impl LintKind {
    /// Its stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RevokedPasses => "revoked_passes",
            Self::NoIssuerPin => "no_issuer_pin",
            Self::AndInsteadOfOr => "and_instead_of_or",
            Self::ExactPath => "exact_path",
            Self::RawPath => "raw_path",
            Self::HostWithoutMtls => "host_without_mtls",
            Self::HostWithoutRule => "host_without_rule",
            Self::NotEqualOfMissing => "not_equal_of_missing",
            Self::CapitalHeader => "capital_header",
            Self::CapitalHost => "capital_host",
            Self::RewriteOnlyFunction => "rewrite_only_function",
            Self::NoGeoDatabase => "no_geo_database",
        }
    }
}

/// One suspicion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Which trap.
    pub kind: LintKind,
    /// The rule; `None` when it is about a host.
    pub rule_id: Option<Arc<str>>,
    /// What happens and why it may not be what is meant.
    pub message: String,
    /// The corrected expression.
    pub suggestion: Option<String>,
}

/// Looks at enabled rules and the hosts of their zone; `has_geo`: there is a GeoIP database.
/// Rules that do not parse are passed over. At most `limits::LINTS_MAX` are told.
#[must_use]
pub fn lint(rules: &[Rule], hosts: &[LintHost], has_geo: bool) -> Vec<Lint> {
    let parsed: Vec<(&Rule, Condition)> = rules
        .iter()
        .filter(|rule| rule.enabled)
        .filter_map(|rule| {
            parser::parse(&rule.expression, None)
                .ok()
                .map(|condition| (rule, condition))
        })
        .collect();
    let mut found = Vec::new();
    // Where revoked certificates are stopped whatever they ask for. A rule that skips the rest has
    // to come after it.
    let all_revoked_blocked = parsed.iter().position(|(rule, condition)| {
        matches!(rule.action, Action::Block(_)) && *condition == truth(Field::CertRevoked)
    });
    for (at, (rule, condition)) in parsed.iter().enumerate() {
        let mut say = |kind, message: &str, suggestion: Option<Condition>| {
            found.push(Lint {
                kind,
                rule_id: Some(rule.id.clone()),
                message: message.to_owned(),
                suggestion: suggestion.map(|condition| condition.to_string()),
            });
        };
        let blocks = matches!(rule.action, Action::Block(_));
        let permits = matches!(&rule.action, Action::Skip(skip) if skip.current_ruleset);
        let fields = fields(condition);
        let reads = |field| fields.contains(&field);
        let revoked_are_blocked = match all_revoked_blocked {
            Some(before) => blocks || before < at,
            None => false,
        };
        if (blocks || permits)
            && trust::spares_verified(condition, permits)
            && !reads(Field::CertRevoked)
            && !revoked_are_blocked
        {
            say(
                LintKind::RevokedPasses,
                "`cert_verified` is true of a revoked certificate as well: this rule lets it pass",
                Some(trust::revoked_too(condition, permits)).filter(|changed| changed != condition),
            );
        }
        if let Some(meant) = trust::and_instead_of_or(condition).filter(|_| blocks) {
            say(
                LintKind::AndInsteadOfOr,
                "`and` blocks only clients that are not verified; a verified one with another certificate passes",
                Some(meant),
            );
        }
        let trusting = blocks
            && reads(Field::CertVerified)
            && !fields.iter().any(|field| trust::pins_issuer(*field));
        let several = |host: &LintHost| host.cas > 1 && applies(condition, host);
        if trusting && hosts.iter().any(several) {
            say(
                LintKind::NoIssuerPin,
                "the host believes several CAs and any of them satisfies this rule; \
                 compare `cf.tls_client_auth.cert_issuer_ski` or `postern.tls_client_auth.ca_id` as well",
                None,
            );
        }
        if blocks && paths::is_caught_by_exact_path(condition, false) {
            say(
                LintKind::ExactPath,
                "the path is compared byte for byte, once percent-encoding, dot segments and double slashes are \
                 resolved (`raw.http.request.uri.path` has it as sent); an origin that ignores case or a \
                 trailing slash answers `/ADMIN` and `/admin/` too",
                Some(paths::in_every_spelling(condition, false))
                    .filter(|changed| changed != condition),
            );
        }
        if (blocks || permits) && paths::reads_raw_path(condition) {
            say(
                LintKind::RawPath,
                "this is the path as it was sent: `/%61dmin`, `//admin` and `/x/../admin` are not `/admin` here, but \
                 `/admin` is what the origin is asked for; compare what is forwarded",
                Some(paths::of_normalised_path(condition)),
            );
        }
        let on_certificates = fields.iter().any(|field| is_certificate(*field));
        for host in hosts.iter().filter(|_| on_certificates) {
            if host.mtls == MtlsMode::Off && names(condition, host) {
                say(
                    LintKind::HostWithoutMtls,
                    &format!(
                        "the host {0} never asks for a certificate: for it, every client has none; \
                         `postern host set {0} --mtls request` makes it ask",
                        host.name
                    ),
                    None,
                );
            }
        }
        if has(condition, &|part| values::is_not_equal_of_missing(part)) {
            say(
                LintKind::NotEqualOfMissing,
                "`ne` is false when the header, cookie or argument is not there; `not … eq …` is true then",
                Some(change(condition, &values::not_equal)).filter(|changed| changed != condition),
            );
        }
        if values::has_capital_header(condition) {
            say(
                LintKind::CapitalHeader,
                "names in `http.request.headers` are in lower case: this one is never found",
                None,
            );
        }
        if values::has_capital_host(condition) {
            say(
                LintKind::CapitalHost,
                "`http.host` is always in small letters: this name is never met",
                Some(values::hosts_in_small_letters(condition)),
            );
        }
        if let Some(function) = values::rewrite_only(condition) {
            let message = format!(
                "`{}` works here; Cloudflare takes it in rewrites and for responses only, so this rule cannot \
                 be moved there",
                function.name()
            );
            say(LintKind::RewriteOnlyFunction, &message, None);
        }
        if !has_geo && fields.iter().any(|field| field.is_geographic()) {
            say(
                LintKind::NoGeoDatabase,
                "without a GeoIP database (`geoip.database`, `geoip.asn_database`) this value is missing and \
                 comparisons are false",
                None,
            );
        }
    }
    // Of many rules few look at certificates.
    let enforcing: Vec<&Condition> = parsed
        .iter()
        .filter(|(rule, _)| matches!(rule.action, Action::Block(_)))
        .map(|(_, condition)| condition)
        .filter(|condition| fields(condition).iter().any(|f| is_certificate(*f)))
        .collect();
    for host in hosts {
        let enforced = enforcing.iter().any(|condition| applies(condition, host));
        if host.mtls == MtlsMode::Request && !enforced {
            found.push(Lint {
                kind: LintKind::HostWithoutRule,
                rule_id: None,
                message: format!(
                    "the host {} asks for certificates and no rule blocks clients without one: everybody passes",
                    host.name
                ),
                suggestion: Some(format!(
                    "http.host eq \"{}\" and (not {} or {})",
                    host.name,
                    Field::CertVerified.name(),
                    Field::CertRevoked.name()
                ))
                .filter(|_| !host.name.is_wildcard()),
            });
        }
    }
    found.truncate(limits::LINTS_MAX);
    found
}

fn truth(field: Field) -> Condition {
    Condition::Truth(Scalar::Field(field))
}

pub(super) fn fields(condition: &Condition) -> Vec<Field> {
    let mut fields = Vec::new();
    condition.walk(&mut |part| {
        if let Part::Field(field) = part {
            fields.push(field);
        }
    });
    fields
}

fn has(condition: &Condition, test: &dyn Fn(&Condition) -> bool) -> bool {
    let mut found = false;
    condition.walk(&mut |part| {
        if let Part::Condition(condition) = part {
            found |= test(condition);
        }
    });
    found
}

/// The condition with every part for which `new` has a replacement replaced, outer before inner.
fn change(condition: &Condition, new: &dyn Fn(&Condition) -> Option<Condition>) -> Condition {
    if let Some(changed) = new(condition) {
        return changed;
    }
    let all = |parts: &[Condition]| parts.iter().map(|part| change(part, new)).collect();
    match condition {
        Condition::Not(inner) => Condition::Not(Box::new(change(inner, new))),
        Condition::And(parts) => Condition::and(all(parts)),
        Condition::Xor(parts) => Condition::xor(all(parts)),
        Condition::Or(parts) => Condition::or(all(parts)),
        Condition::Quantified(quantifier, array, inner) => {
            Condition::Quantified(*quantifier, array.clone(), Box::new(change(inner, new)))
        }
        other => other.clone(),
    }
}
