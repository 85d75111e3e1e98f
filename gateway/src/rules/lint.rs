//! What is suspicious about rules that are correct: traps that real documents and real users fell
//! into. A lint explains itself and, where there is one, gives the corrected expression.
//!
//! Judges rules and the hosts they stand in front of; changes nothing and refuses nothing.

use std::sync::Arc;

use super::ast::{
    Argument, Array, Condition, Literal, Part, Quantifier, Relation, Scalar, Set, Test,
};
use super::field::Field;
use super::function::Function;
use super::parser;
use super::{Action, Rule};
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
    /// A blocking rule tests `cert_verified` and not `cert_revoked`: a revoked certificate passes.
    RevokedPasses,
    /// Several CAs are believed and no rule says which one.
    NoIssuerPin,
    /// `not cert_verified and … ne …` blocks only clients that are not verified.
    AndInsteadOfOr,
    /// A path is compared exactly; an origin may see `/ADMIN` or `/admin/` as the same.
    ExactPath,
    /// A rule on certificates for a host that never asks for one.
    HostWithoutMtls,
    /// A host that asks for certificates and no rule that looks at them.
    HostWithoutRule,
    /// `ne` of a value that may be missing is false when it is missing.
    NotEqualOfMissing,
    /// A header's name with capitals is never found.
    CapitalHeader,
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
            Self::HostWithoutMtls => "host_without_mtls",
            Self::HostWithoutRule => "host_without_rule",
            Self::NotEqualOfMissing => "not_equal_of_missing",
            Self::CapitalHeader => "capital_header",
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
    let all_revoked_blocked = parsed.iter().any(|(rule, condition)| {
        matches!(rule.action, Action::Block(_)) && *condition == truth(Field::CertRevoked)
    });
    for (rule, condition) in &parsed {
        let mut say = |kind, message: &str, suggestion: Option<Condition>| {
            found.push(Lint {
                kind,
                rule_id: Some(rule.id.clone()),
                message: message.to_owned(),
                suggestion: suggestion.map(|condition| condition.to_string()),
            });
        };
        let blocks = matches!(rule.action, Action::Block(_));
        let fields = fields(condition);
        let reads = |field| fields.contains(&field);
        if blocks
            && spares_verified(condition, false)
            && !reads(Field::CertRevoked)
            && !all_revoked_blocked
        {
            say(
                LintKind::RevokedPasses,
                "`cert_verified` is true of a revoked certificate as well: this rule lets it pass",
                Some(revoked_too(condition, false)).filter(|changed| changed != condition),
            );
        }
        if let Some(meant) = and_instead_of_or(condition).filter(|_| blocks) {
            say(
                LintKind::AndInsteadOfOr,
                "`and` blocks only clients that are not verified; a verified one with another certificate passes",
                Some(meant),
            );
        }
        let trusting =
            blocks && reads(Field::CertVerified) && !fields.iter().any(|field| pins_issuer(*field));
        let several = |host: &LintHost| host.cas > 1 && applies(condition, host);
        if trusting && hosts.iter().any(several) {
            say(
                LintKind::NoIssuerPin,
                "the host believes several CAs and any of them satisfies this rule; \
                 compare `cf.tls_client_auth.cert_issuer_ski` or `postern.tls_client_auth.ca_id` as well",
                None,
            );
        }
        if blocks && has(condition, &|part| is_exact_path(part)) {
            say(
                LintKind::ExactPath,
                "the path is compared byte for byte; an origin that ignores case or a trailing slash \
                 answers `/ADMIN` and `/admin/` too",
                Some(change(condition, &in_lower_case)).filter(|changed| changed != condition),
            );
        }
        let on_certificates = fields.iter().any(|field| is_certificate(*field));
        for host in hosts.iter().filter(|_| on_certificates) {
            if host.mtls == MtlsMode::Off && names(condition, host) {
                say(
                    LintKind::HostWithoutMtls,
                    &format!(
                        "the host {} never asks for a certificate: for it, every client has none",
                        host.name
                    ),
                    None,
                );
            }
        }
        if has(condition, &|part| is_not_equal_of_missing(part)) {
            say(
                LintKind::NotEqualOfMissing,
                "`ne` is false when the header, cookie or argument is not there; `not … eq …` is true then",
                Some(change(condition, &not_equal)).filter(|changed| changed != condition),
            );
        }
        if condition_text_has_capital_header(condition) {
            say(
                LintKind::CapitalHeader,
                "names in `http.request.headers` are in lower case: this one is never found",
                None,
            );
        }
        if let Some(function) = rewrite_only(condition) {
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

/// Whether a verified certificate can be what keeps a client from being blocked: `cert_verified`
/// under an odd number of `not`s, or where `xor` makes it count both ways.
fn spares_verified(condition: &Condition, negated: bool) -> bool {
    let any = |parts: &[Condition], negated| {
        let mut parts = parts.iter();
        parts.any(|part| spares_verified(part, negated))
    };
    match condition {
        Condition::Truth(_) => negated && *condition == truth(Field::CertVerified),
        Condition::Not(inner) => spares_verified(inner, !negated),
        Condition::And(parts) | Condition::Or(parts) => any(parts, negated),
        Condition::Xor(parts) => any(parts, false) || any(parts, true),
        _ => false,
    }
}

/// The condition with a revoked certificate taken for one that is not verified, wherever being
/// verified spares the client; what stands under `xor` stays as it is.
fn revoked_too(condition: &Condition, negated: bool) -> Condition {
    let verified = truth(Field::CertVerified);
    let revoked = truth(Field::CertRevoked);
    let all = |parts: &[Condition]| {
        let parts = parts.iter();
        parts.map(|part| revoked_too(part, negated)).collect()
    };
    match condition {
        Condition::Truth(_) if negated && *condition == verified => {
            Condition::and(vec![verified, Condition::Not(Box::new(revoked))])
        }
        Condition::Not(inner) if !negated && **inner == verified => {
            Condition::or(vec![condition.clone(), revoked])
        }
        Condition::Not(inner) => Condition::Not(Box::new(revoked_too(inner, !negated))),
        Condition::And(parts) => Condition::and(all(parts)),
        Condition::Or(parts) => Condition::or(all(parts)),
        other => other.clone(),
    }
}

/// `not cert_verified and … and field ne value` with an `or` between the two.
fn and_instead_of_or(condition: &Condition) -> Option<Condition> {
    let unverified = Condition::Not(Box::new(truth(Field::CertVerified)));
    let swap = |condition: &Condition| {
        let Condition::And(parts) = condition else {
            return None;
        };
        let first = parts.iter().position(|part| *part == unverified)?;
        let second = parts.iter().position(is_other_certificate)?;
        let mut rest: Vec<Condition> = parts
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != first && *at != second)
            .map(|(_, part)| part.clone())
            .collect();
        rest.push(Condition::or(vec![
            unverified.clone(),
            parts.get(second)?.clone(),
        ]));
        Some(Condition::and(rest))
    };
    let changed = change(condition, &swap);
    (changed != *condition).then_some(changed)
}

/// "It is not this certificate."
fn is_other_certificate(condition: &Condition) -> bool {
    let identifies =
        |scalar: &Scalar| matches!(scalar, Scalar::Field(field) if is_certificate(*field));
    match condition {
        Condition::Compare(scalar, Test::Order(Relation::NotEqual, _)) => identifies(scalar),
        Condition::Not(inner) => match &**inner {
            Condition::Compare(
                scalar,
                Test::In(_) | Test::Listed(_) | Test::Order(Relation::Equal, _),
            ) => identifies(scalar),
            _ => false,
        },
        _ => false,
    }
}

pub(super) fn is_certificate(field: Field) -> bool {
    field.name().contains("tls_client_auth.")
}

fn pins_issuer(field: Field) -> bool {
    matches!(
        field,
        Field::CertIssuerSki
            | Field::CertIssuerDn
            | Field::CertIssuerDnLegacy
            | Field::CertIssuerDnRfc2253
            | Field::CertIssuerSerial
            | Field::CertFingerprintSha1
            | Field::CertFingerprintSha256
            | Field::CertSki
            | Field::CertCaId
    )
}

fn is_exact_path(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::Compare(
            Scalar::Field(Field::Path),
            Test::In(_) | Test::Order(Relation::Equal, _)
        )
    )
}

/// `lower(path) in {…}` where the constants are in lower case already.
fn in_lower_case(condition: &Condition) -> Option<Condition> {
    let Condition::Compare(path @ Scalar::Field(Field::Path), test) = condition else {
        return None;
    };
    let lower = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_uppercase);
    let fits = match test {
        Test::Order(Relation::Equal, Literal::Bytes(bytes)) => lower(bytes),
        Test::In(Set::Bytes(items)) => items.iter().all(|item| lower(item)),
        _ => false,
    };
    let call = super::ast::Call {
        function: Function::Lower,
        arguments: vec![Argument::Scalar(path.clone())],
    };
    fits.then(|| Condition::Compare(Scalar::Call(Box::new(call)), test.clone()))
}

/// `ne` of a header, cookie or argument, whatever functions it went through.
fn is_not_equal_of_missing(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(value, Test::Order(Relation::NotEqual, _)) => may_be_missing(value),
        Condition::Quantified(Quantifier::Any, array, inner) => {
            is_entry(array)
                && matches!(
                    **inner,
                    Condition::Compare(_, Test::Order(Relation::NotEqual, _))
                )
        }
        _ => false,
    }
}

fn may_be_missing(value: &Scalar) -> bool {
    match value {
        Scalar::At(..) => true,
        Scalar::Call(call) => call.arguments.iter().any(|argument| match argument {
            Argument::Scalar(value) => may_be_missing(value),
            Argument::Array(array) => is_entry(array),
            _ => false,
        }),
        Scalar::Field(_) | Scalar::Element(_) => false,
    }
}

/// Whether it is the values of a key that may not be there.
fn is_entry(array: &Array) -> bool {
    match array {
        Array::Entry(..) => true,
        Array::Each(array, _) => is_entry(array),
        Array::Field(_) | Array::Call(_) => false,
    }
}

/// `not … eq …`, and `not all(… eq …)` for `any(… ne …)`: the same, but true of what is missing.
fn not_equal(condition: &Condition) -> Option<Condition> {
    let equal = |condition: &Condition| match condition {
        Condition::Compare(value, Test::Order(Relation::NotEqual, literal)) => {
            let test = Test::Order(Relation::Equal, literal.clone());
            Some(Condition::Compare(value.clone(), test))
        }
        _ => None,
    };
    let changed = match condition {
        _ if !is_not_equal_of_missing(condition) => return None,
        Condition::Quantified(_, array, inner) => {
            Condition::Quantified(Quantifier::All, array.clone(), Box::new(equal(inner)?))
        }
        other => equal(other)?,
    };
    Some(Condition::Not(Box::new(changed)))
}

/// The first function in it that Cloudflare has for rewriting only
/// (<https://developers.cloudflare.com/ruleset-engine/rules-language/functions/>).
fn rewrite_only(condition: &Condition) -> Option<Function> {
    let mut found = None;
    condition.walk(&mut |part| {
        if let Part::Function(
            function @ (Function::RegexReplace
            | Function::Split
            | Function::ToString
            | Function::WildcardReplace),
        ) = part
        {
            found.get_or_insert(function);
        }
    });
    found
}

fn condition_text_has_capital_header(condition: &Condition) -> bool {
    let text = condition.to_string();
    let mut rest = text.as_str();
    while let Some((_, key)) = rest.split_once("http.request.headers[\"") {
        let name = key.split('"').next().unwrap_or_default();
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            return true;
        }
        rest = key;
    }
    false
}

/// The hosts that a condition is limited to; `None` when it is not.
fn limited_to(condition: &Condition) -> Option<Vec<&[u8]>> {
    match condition {
        Condition::Compare(
            Scalar::Field(Field::Host),
            Test::Order(Relation::Equal, Literal::Bytes(host)),
        ) => Some(vec![host]),
        Condition::Compare(Scalar::Field(Field::Host), Test::In(Set::Bytes(hosts))) => {
            Some(hosts.iter().map(|host| &**host).collect())
        }
        Condition::And(parts) => parts.iter().find_map(limited_to),
        Condition::Or(parts) => {
            let hosts: Option<Vec<_>> = parts.iter().map(limited_to).collect();
            hosts.map(|hosts| hosts.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// Whether the condition names this host.
fn names(condition: &Condition, host: &LintHost) -> bool {
    limited_to(condition).is_some_and(|hosts| hosts.iter().any(|name| covers(host, name)))
}

/// Whether the condition can be about this host.
pub(super) fn applies(condition: &Condition, host: &LintHost) -> bool {
    limited_to(condition).is_none_or(|hosts| hosts.iter().any(|name| covers(host, name)))
}

fn covers(host: &LintHost, name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| host.name.covers(name) || host.name.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::block;

    fn host(name: &str, mtls: MtlsMode, cas: usize) -> LintHost {
        LintHost {
            name: HostName::parse(name).unwrap(),
            mtls,
            cas,
        }
    }

    fn check(expression: &str, hosts: &[LintHost], kind: LintKind, suggestion: Option<&str>) {
        let found = lint(&[block("r", expression)], hosts, false);
        let Some(lint) = found.iter().find(|lint| lint.kind == kind) else {
            panic!("{expression}: no {kind:?} in {found:?}");
        };
        assert_eq!(lint.suggestion.as_deref(), suggestion, "{expression}");
        if let Some(suggestion) = suggestion {
            assert!(parser::parse(suggestion, None).is_ok(), "{suggestion}");
        }
    }

    #[test]
    fn each_trap() {
        let asks = [host("a.example.com", MtlsMode::Request, 1)];
        let several = [host("a.example.com", MtlsMode::Request, 2)];
        let off = [host("a.example.com", MtlsMode::Off, 0)];
        check(
            "not cf.tls_client_auth.cert_verified and ssl",
            &asks,
            LintKind::RevokedPasses,
            Some(
                "(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and ssl",
            ),
        );
        check(
            "not (cf.tls_client_auth.cert_verified and ssl)",
            &asks,
            LintKind::RevokedPasses,
            Some(
                "not (cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked and ssl)",
            ),
        );
        check(
            "not cf.tls_client_auth.cert_verified",
            &several,
            LintKind::NoIssuerPin,
            None,
        );
        check(
            "not cf.tls_client_auth.cert_verified and cf.tls_client_auth.cert_fingerprint_sha256 ne \"00\"",
            &asks,
            LintKind::AndInsteadOfOr,
            Some(
                "not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_fingerprint_sha256 ne \"00\"",
            ),
        );
        check(
            "http.request.uri.path in {\"/admin\"}",
            &[],
            LintKind::ExactPath,
            Some("lower(http.request.uri.path) in {\"/admin\"}"),
        );
        check(
            "http.request.uri.path eq \"/Admin\"",
            &[],
            LintKind::ExactPath,
            None,
        );
        check(
            "http.host eq \"a.example.com\" and not cf.tls_client_auth.cert_verified",
            &off,
            LintKind::HostWithoutMtls,
            None,
        );
        check(
            "http.host eq \"b.example.com\" and not cf.tls_client_auth.cert_verified",
            &asks,
            LintKind::HostWithoutRule,
            Some(
                "http.host eq \"a.example.com\" and \
                 (not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)",
            ),
        );
        check(
            "http.request.headers[\"x\"][0] ne \"a\"",
            &[],
            LintKind::NotEqualOfMissing,
            Some("not http.request.headers[\"x\"][0] eq \"a\""),
        );
        check(
            "lower(http.request.headers[\"x\"][0]) ne \"a\"",
            &[],
            LintKind::NotEqualOfMissing,
            Some("not lower(http.request.headers[\"x\"][0]) eq \"a\""),
        );
        check(
            "ssl and any(http.request.cookies[\"x\"][*] ne \"a\")",
            &[],
            LintKind::NotEqualOfMissing,
            Some("ssl and not all(http.request.cookies[\"x\"][*] eq \"a\")"),
        );
        check(
            "not (ssl and not not cf.tls_client_auth.cert_verified)",
            &asks,
            LintKind::RevokedPasses,
            Some(
                "not (ssl and not (not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked))",
            ),
        );
        check(
            "ssl xor cf.tls_client_auth.cert_verified",
            &asks,
            LintKind::RevokedPasses,
            None,
        );
        check(
            "any(http.request.headers[\"X-A\"][*] eq \"a\")",
            &[],
            LintKind::CapitalHeader,
            None,
        );
        check(
            "ip.src.country eq \"DE\"",
            &[],
            LintKind::NoGeoDatabase,
            None,
        );
    }

    #[test]
    fn functions_that_cloudflare_keeps_for_rewrites() {
        let on = [host("a.example.com", MtlsMode::Request, 1)];
        for expression in [
            r#"ssl and regex_replace(http.host, "^www", "") eq "a""#,
            r#"wildcard_replace(http.host, "*.a", "${1}") eq "b""#,
            r#"to_string(cf.edge.server_port) eq "443""#,
            r#"any(split(http.user_agent, "/", 3)[*] eq "curl")"#,
        ] {
            check(expression, &on, LintKind::RewriteOnlyFunction, None);
        }
    }

    #[test]
    fn a_rule_that_blocks_verified_clients_blocks_revoked_ones() {
        // Correcting it with `and not cert_revoked` would let them pass.
        for expression in [
            "cf.tls_client_auth.cert_verified and ssl",
            "not (not cf.tls_client_auth.cert_verified or ssl)",
        ] {
            let found = lint(&[block("r", expression)], &[], false);
            let wrong = found
                .iter()
                .find(|lint| lint.kind == LintKind::RevokedPasses);
            assert_eq!(wrong, None, "{expression}");
        }
    }

    #[test]
    fn nothing_to_say() {
        let hosts = [
            host("a.example.com", MtlsMode::Request, 1),
            host("b.example.com", MtlsMode::Off, 0),
        ];
        let good = block(
            "r",
            "http.host eq \"a.example.com\" and \
             (not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)",
        );
        assert_eq!(lint(&[good], &hosts, false), []);
        // A revoked certificate is stopped by a rule of its own.
        let pair = [
            block("a", "cf.tls_client_auth.cert_revoked"),
            block(
                "b",
                "http.host eq \"a.example.com\" and not cf.tls_client_auth.cert_verified",
            ),
        ];
        assert_eq!(lint(&pair, &hosts, false), []);
    }
}
