//! Lints: suspicious rules that are correct, with an explanation and, where there is one, the
//! corrected expression. The traps come from real documents and real users.
//!
//! Looks at rules and at the hosts in front of which they stand. Changes nothing and refuses
//! nothing.

mod hosts;
mod kind;
mod parts;
mod paths;
#[cfg(test)]
mod tests;
mod trust;
mod unknown_hosts;
mod values;

pub(crate) use self::parts::fields;

pub use self::hosts::LintHost;
pub use self::kind::{Lint, LintKind};
pub use self::unknown_hosts::unknown_hosts;

use self::hosts::Hosts;
use self::parts::truth;
use self::unknown_hosts::Names;
use crate::action::Action;
use crate::analysis::enforcement;
use crate::limits;
use crate::rule::Rule;
use crate::syntax::ast::Condition;
use crate::syntax::field::Field;
use crate::syntax::list::Lists;

/// Lints the enabled rules of a zone and its hosts; `has_geo` says whether there is a GeoIP database.
/// Rules that do not parse are passed over. At most `limits::LINTS_MAX` are returned.
///
/// ```
/// use rules::{Action, LintKind, Lists, Rule, lint};
///
/// let rule = Rule {
///     id: "0123456789abcdef0123456789abcdef".into(),
///     expression: "http.request.uri.path eq \"/admin\"".into(),
///     action: Action::Block(Default::default()),
///     enabled: true,
/// };
/// let lints = lint(&[rule], &[], &Lists::default(), false);
/// // An origin may take `/ADMIN` or `/admin/` for the same path.
/// assert_eq!(lints[0].kind, LintKind::ExactPath);
/// ```
#[must_use]
pub fn lint(rules: &[Rule], hosts: &[LintHost], lists: &Lists, has_geo: bool) -> Vec<Lint> {
    let parsed: Vec<(&Rule, Condition)> = rules
        .iter()
        .filter(|rule| rule.enabled)
        .filter_map(|rule| enforcement::read(rule, lists).map(|condition| (rule, condition)))
        .collect();
    let mut names = Names::new(hosts.iter().map(|host| &host.name));
    let mut hosts = Hosts::new(hosts, &parsed);
    let mut found = Vec::new();
    // Where revoked certificates are stopped whatever they ask for. A rule that skips the rest has
    // to come after it.
    let all_revoked_blocked = parsed.iter().position(|(rule, condition)| {
        matches!(rule.action, Action::Block(_)) && *condition == truth(Field::CertRevoked)
    });
    let before = parsed.get(..all_revoked_blocked.unwrap_or_default());
    let is_skipped = before.unwrap_or_default().iter().any(|(rule, condition)| {
        matches!(&rule.action, Action::Skip(skip) if skip.current_ruleset)
            && !fields(condition).contains(&Field::CertRevoked)
    });
    for (at, (rule, condition)) in parsed.iter().enumerate() {
        if found.len() >= limits::LINTS_MAX {
            break;
        }
        let looked_at = LookedAt {
            rule,
            condition,
            fields: fields(condition),
            blocks: matches!(rule.action, Action::Block(_)),
            permits: matches!(&rule.action, Action::Skip(skip) if skip.current_ruleset),
        };
        let revoked_are_blocked = match all_revoked_blocked {
            Some(before) => (looked_at.blocks && !is_skipped) || before < at,
            None => false,
        };
        looked_at.trust(revoked_are_blocked, &mut hosts, &mut found);
        looked_at.paths(&mut found);
        looked_at.hosts(&mut hosts, &mut found);
        names.say(&rule.id, condition, &mut found);
        looked_at.values(has_geo, &mut found);
    }
    hosts.without_rule(&mut found);
    found.truncate(limits::LINTS_MAX);
    found
}

/// One rule, and what several lints ask of it.
struct LookedAt<'r> {
    rule: &'r Rule,
    condition: &'r Condition,
    fields: Vec<Field>,
    blocks: bool,
    /// It skips the other rules.
    permits: bool,
}

impl LookedAt<'_> {
    fn say(
        &self,
        found: &mut Vec<Lint>,
        kind: LintKind,
        message: &str,
        suggestion: Option<Condition>,
    ) {
        found.push(Lint {
            kind,
            rule_id: Some(self.rule.id.clone()),
            message: message.to_owned(),
            suggestion: suggestion
                .filter(|changed| changed != self.condition)
                .map(|condition| condition.to_string()),
        });
    }

    fn reads(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    fn reads_certificate(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| field.is_of_client_certificate())
    }

    fn trust(&self, revoked_are_blocked: bool, hosts: &mut Hosts<'_>, found: &mut Vec<Lint>) {
        let condition = self.condition;
        if !(self.blocks || self.permits) || !self.reads_certificate() {
            return;
        }
        let meant = trust::and_instead_of_or(condition).filter(|_| self.blocks);
        // What is meant with `or` stops revoked ones too: half of it would hide the rest.
        if meant.is_none()
            && trust::spares_verified(condition, self.permits)
            && !self.reads(Field::CertRevoked)
            && !revoked_are_blocked
        {
            self.say(
                found,
                LintKind::RevokedPasses,
                "`cert_verified` is true of a revoked certificate as well: this rule lets it pass",
                Some(trust::revoked_too(condition, self.permits)),
            );
        }
        if meant.is_some() {
            self.say(
                found,
                LintKind::AndInsteadOfOr,
                "`and` blocks only clients that are not verified; a verified one with another certificate passes",
                meant,
            );
        } else if trust::spares_unverified(condition, self.permits)
            && !hosts.stop_unverified(condition)
        {
            self.say(
                found,
                LintKind::UnverifiedPasses,
                "anybody can write this into a certificate of their own: only `cert_verified` says that a CA that is \
                 believed has signed it, and this rule lets such a certificate pass without it",
                Some(trust::verified_too(condition, self.permits)),
            );
        }
        let trusting = self.blocks
            && self.reads(Field::CertVerified)
            && !self.fields.iter().any(|field| trust::pins_issuer(*field));
        if trusting && hosts.some_believe_several(condition) {
            self.say(
                found,
                LintKind::NoIssuerPin,
                "the host believes several CAs and any of them satisfies this rule; \
                 compare `cf.tls_client_auth.cert_issuer_ski` or `postern.tls_client_auth.ca_id` as well",
                None,
            );
        }
    }

    fn paths(&self, found: &mut Vec<Lint>) {
        let condition = self.condition;
        if self.blocks && paths::is_caught_by_exact_path(condition) {
            self.say(
                found,
                LintKind::ExactPath,
                "the path is compared byte for byte, once percent-encoding, dot segments and double slashes are \
                 resolved (`raw.http.request.uri.path` has it as sent); an origin that ignores case or a \
                 trailing slash answers `/ADMIN` and `/admin/` too",
                Some(paths::in_every_spelling(condition)),
            );
        }
        if !(self.blocks || self.permits) {
            return;
        }
        if paths::is_avoided_by_query(condition, self.permits) {
            self.say(
                found,
                LintKind::PathWithQuery,
                "this is the path together with the query: `/admin?x` is not `/admin` here; \
                 `http.request.uri.path` is the path alone",
                Some(paths::of_path_alone(condition, self.permits)),
            );
        }
        if paths::reads_raw_path(condition) {
            let better = paths::of_normalised_path(condition, self.permits);
            let message = match better {
                Some(_) => {
                    "this is the path as it was sent: `/%61dmin`, `//admin` and `/x/../admin` are not `/admin` \
                     here, but `/admin` is what the origin is asked for; compare what is forwarded"
                }
                None => {
                    "this is the path as it was sent; what the origin is asked for has percent-encoding, dot segments \
                     and double slashes resolved, and what this looks for may never be in it"
                }
            };
            self.say(found, LintKind::RawPath, message, better);
        }
    }

    fn hosts(&self, hosts: &mut Hosts<'_>, found: &mut Vec<Lint>) {
        if self.reads_certificate() {
            for host in hosts.named_and_off(self.condition) {
                let message = format!(
                    "the host {0} never asks for a certificate: for it, every client has none; \
                     `postern host set {0} --mtls request` makes it ask",
                    host.name
                );
                self.say(found, LintKind::HostWithoutMtls, &message, None);
            }
        }
        let better = || Some(values::with_canonical_hosts(self.condition));
        if values::has_capital_host(self.condition) {
            self.say(
                found,
                LintKind::CapitalHost,
                "`http.host` is always in small letters: this name is never met",
                better(),
            );
        }
        if values::has_final_dot_host(self.condition) {
            self.say(
                found,
                LintKind::FinalDotHost,
                "`http.host` never has a dot at its end: this name is never met",
                better(),
            );
        }
    }

    fn values(&self, has_geo: bool, found: &mut Vec<Lint>) {
        let condition = self.condition;
        let skips = matches!(self.rule.action, Action::Skip(_));
        if (self.blocks || skips) && values::opens_for_missing(condition, skips) {
            self.say(
                found,
                LintKind::NotEqualOfMissing,
                "`ne` is false when there is no value: a header, cookie or argument that was not sent, a country \
                 that is not known; `not … eq …` is true then",
                Some(values::closed_for_missing(condition, skips)),
            );
        }
        if values::has_capital_header(condition) {
            self.say(
                found,
                LintKind::CapitalHeader,
                "names in `http.request.headers` are in lower case: this one is never found",
                None,
            );
        }
        if let Some(function) = values::rewrite_only(condition) {
            let message = format!(
                "`{}` works here; Cloudflare takes it in rewrites and for responses only, so this rule cannot \
                 be moved there",
                function.name()
            );
            self.say(found, LintKind::RewriteOnlyFunction, &message, None);
        }
        if !has_geo && self.fields.iter().any(|field| field.is_geographic()) {
            self.say(
                found,
                LintKind::NoGeoDatabase,
                "without a GeoIP database (`geoip.database`, `geoip.asn_database`) this value is missing and \
                 comparisons are false",
                None,
            );
        }
    }
}
