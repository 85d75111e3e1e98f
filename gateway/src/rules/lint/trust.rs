//! Traps around certificates: revoked ones that pass, other ones that pass, and which hosts a rule is
//! about.

use super::{LintHost, change, truth};
use crate::rules::ast::{Condition, Literal, Relation, Scalar, Set, Test};
use crate::rules::field::Field;

/// Whether a verified certificate can be what keeps a client from being blocked: `cert_verified`
/// under an odd number of `not`s, or where `xor` makes it count both ways.
pub(super) fn spares_verified(condition: &Condition, negated: bool) -> bool {
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
pub(super) fn revoked_too(condition: &Condition, negated: bool) -> Condition {
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
pub(super) fn and_instead_of_or(condition: &Condition) -> Option<Condition> {
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
pub(super) fn names(condition: &Condition, host: &LintHost) -> bool {
    limited_to(condition).is_some_and(|hosts| hosts.iter().any(|name| covers(host, name)))
}

/// Whether the condition can be about this host.
pub(super) fn applies(condition: &Condition, host: &LintHost) -> bool {
    limited_to(condition).is_none_or(|hosts| hosts.iter().any(|name| covers(host, name)))
}

fn covers(host: &LintHost, name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| host.name.covers(name) || host.name.as_str() == name)
}
