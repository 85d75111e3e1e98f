//! Lints about certificates: rules that let revoked, self-signed or foreign certificates pass.

use super::parts::{change_where, fields, has_where, not, truth};
use crate::analysis::partial_eval::Client;
use crate::syntax::ast::{Comparison, Condition, Quantifier, Relation};
use crate::syntax::field::Field;

/// Whether a verified certificate can be what keeps a client from being blocked.
pub(super) fn spares_verified(condition: &Condition, negated: bool) -> bool {
    has_where(condition, negated, &|part, negated| {
        negated && *part == truth(Field::CertVerified)
    })
}

/// The condition with a revoked certificate taken for one that is not verified, wherever being
/// verified spares the client.
pub(super) fn revoked_too(condition: &Condition, negated: bool) -> Condition {
    let verified = truth(Field::CertVerified);
    change_where(condition, negated, &|part, negated| match part {
        Condition::Truth(_) if negated && *part == verified => Some(Condition::and(good())),
        Condition::Not(inner) if !negated && **inner == verified => Some(Condition::or(refused())),
        _ => None,
    })
}

/// What a certificate has to be that is let pass.
fn good() -> Vec<Condition> {
    vec![truth(Field::CertVerified), not(truth(Field::CertRevoked))]
}

/// Either of it keeps a certificate out.
fn refused() -> Vec<Condition> {
    vec![not(truth(Field::CertVerified)), truth(Field::CertRevoked)]
}

/// "It is not verified", with or without "or it is revoked".
fn is_refused(condition: &Condition) -> bool {
    let are = |parts: &[Condition], wanted: &[Condition]| {
        parts.len() == wanted.len() && wanted.iter().all(|part| parts.contains(part))
    };
    match condition {
        Condition::Or(parts) => are(parts, &refused()),
        Condition::Not(inner) => match &**inner {
            Condition::And(parts) => are(parts, &good()),
            other => *other == truth(Field::CertVerified),
        },
        _ => false,
    }
}

/// What is refused, and which other certificate.
fn refused_or(pins: Vec<Condition>) -> Condition {
    let mut parts = refused();
    parts.push(Condition::and(pins));
    Condition::or(parts)
}

/// `not cert_verified and … and field ne value` with an `or` between the two. All that is said of
/// which certificate it is stays together: several `ne` are a list of those that pass.
pub(super) fn and_instead_of_or(condition: &Condition) -> Option<Condition> {
    let changed = change_where(condition, false, &|part, negated| {
        let Condition::And(parts) = part else {
            return None;
        };
        let of =
            |test: fn(&Condition) -> bool| parts.iter().filter(move |part| test(part)).cloned();
        let pins: Vec<Condition> = of(is_pin).collect();
        if negated || pins.is_empty() || of(is_refused).next().is_none() {
            return None;
        }
        let mut rest: Vec<Condition> = of(|part| !is_pin(part) && !is_refused(part)).collect();
        rest.push(refused_or(pins));
        Some(Condition::and(rest))
    });
    (changed != *condition).then_some(changed)
}

/// Whether a certificate that does not verify can be let pass for what is written in it.
pub(super) fn spares_unverified(condition: &Condition, negated: bool) -> bool {
    // What is left has no part that only verified certificates could satisfy.
    let left = Client::Unverified.left_of(condition, None);
    has_where(&left, negated, &pins_unverified)
}

fn pins_unverified(part: &Condition, negated: bool) -> bool {
    let pins = if negated { is_this(part) } else { is_pin(part) };
    // What is empty of a certificate that does not verify cannot be written into one.
    pins && !fields(part).contains(&Field::CertCaId)
}

/// The condition with `cert_verified` asked for wherever a certificate is let pass for what is
/// written in it.
pub(super) fn verified_too(condition: &Condition, negated: bool) -> Condition {
    change_where(condition, negated, &|part, negated| match part {
        // It is asked for already.
        Condition::Or(parts) if !negated && parts.iter().any(is_refused) => Some(part.clone()),
        Condition::And(parts) if negated && parts.contains(&truth(Field::CertVerified)) => {
            Some(part.clone())
        }
        Condition::And(parts) if !negated => {
            let (pins, rest): (Vec<&Condition>, Vec<&Condition>) =
                parts.iter().partition(|part| pins_unverified(part, false));
            if pins.is_empty() {
                return None;
            }
            let rest = rest.into_iter();
            let mut changed: Vec<Condition> = rest.map(|part| verified_too(part, false)).collect();
            changed.push(refused_or(pins.into_iter().cloned().collect()));
            Some(Condition::and(changed))
        }
        Condition::Or(parts) if !negated => {
            let (pins, rest): (Vec<&Condition>, Vec<&Condition>) =
                parts.iter().partition(|part| pins_unverified(part, false));
            if pins.is_empty() {
                return None;
            }
            let rest = rest.into_iter().filter(|part| !refused().contains(part));
            let mut changed: Vec<Condition> = rest.map(|part| verified_too(part, false)).collect();
            changed.extend(refused());
            changed.extend(pins.into_iter().cloned());
            Some(Condition::or(changed))
        }
        _ if !pins_unverified(part, negated) => None,
        _ if negated => {
            let mut parts = good();
            parts.push(part.clone());
            Some(Condition::and(parts))
        }
        _ => Some(refused_or(vec![part.clone()])),
    })
}

/// "It is not this certificate", of one or of several.
fn is_pin(condition: &Condition) -> bool {
    is_of_identity(condition) && is_other(condition)
}

/// "It is this certificate", of one or of several.
fn is_this(condition: &Condition) -> bool {
    is_of_identity(condition) && is_same(condition)
}

/// Whether it is about who the certificate is for or from and nothing else.
fn is_of_identity(condition: &Condition) -> bool {
    let fields = fields(condition);
    !fields.is_empty() && fields.iter().all(|field| identifies(*field))
}

fn is_other(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(_, Comparison::Order(Relation::NotEqual, _)) => true,
        Condition::Not(inner) => is_same(inner),
        Condition::Quantified(Quantifier::All, _, inner) => is_other(inner),
        Condition::And(parts) | Condition::Or(parts) => parts.iter().all(is_other),
        _ => false,
    }
}

fn is_same(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(_, test) => !matches!(test, Comparison::Order(Relation::NotEqual, _)),
        Condition::Truth(_) => true,
        Condition::Quantified(Quantifier::Any, _, inner) => is_same(inner),
        Condition::And(parts) | Condition::Or(parts) => parts.iter().all(is_same),
        _ => false,
    }
}

/// Whether it says who a certificate is for or from.
fn identifies(field: Field) -> bool {
    pins_issuer(field)
        || matches!(
            field,
            Field::CertSubjectDn
                | Field::CertSubjectDnLegacy
                | Field::CertSubjectDnRfc2253
                | Field::CertSerial
                | Field::CertRfc9440
                | Field::CertChainRfc9440
                | Field::SanDns
                | Field::SanUri
                | Field::SanEmail
                | Field::SanIp
                | Field::CertEku
        )
}

pub(super) fn pins_issuer(field: Field) -> bool {
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
