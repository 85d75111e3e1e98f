//! Finds and replaces parts of a condition, by polarity.
//!
//! A part is positive when its being true can make the whole true, and negative, under an odd
//! number of `not`s, when it can keep the whole from being true. Under `xor` it is both.

use crate::syntax::ast::{Condition, Part, Scalar};
use crate::syntax::field::Field;

pub(super) fn truth(field: Field) -> Condition {
    Condition::Truth(Scalar::Field(field))
}

pub(super) fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

/// The fields that it reads, in order of appearance.
pub(crate) fn fields(condition: &Condition) -> Vec<Field> {
    let mut fields = Vec::new();
    condition.walk(&mut |part| {
        if let Part::Field(field) = part {
            fields.push(field);
        }
    });
    fields
}

/// Whether some part passes, wherever it stands.
pub(super) fn has(condition: &Condition, test: &dyn Fn(&Condition) -> bool) -> bool {
    let mut found = false;
    condition.walk(&mut |part| {
        if let Part::Condition(condition) = part {
            found |= test(condition);
        }
    });
    found
}

/// Whether some part passes, told whether it stands negated; `negated` is how the whole stands.
/// What is inside `any` and `all` is not looked at by itself.
pub(super) fn has_where(
    condition: &Condition,
    negated: bool,
    test: &dyn Fn(&Condition, bool) -> bool,
) -> bool {
    let any = |parts: &[Condition], negated| {
        let mut parts = parts.iter();
        parts.any(|part| has_where(part, negated, test))
    };
    test(condition, negated)
        || match condition {
            Condition::Not(inner) => has_where(inner, !negated, test),
            Condition::And(parts) | Condition::Or(parts) => any(parts, negated),
            Condition::Xor(parts) => any(parts, false) || any(parts, true),
            _ => false,
        }
}

/// The condition with every part for which `new` has a replacement replaced, outer before inner.
pub(super) fn change(
    condition: &Condition,
    new: &dyn Fn(&Condition) -> Option<Condition>,
) -> Condition {
    if let Some(changed) = new(condition) {
        return changed;
    }
    let all = |parts: &[Condition]| parts.iter().map(|part| change(part, new)).collect();
    match condition {
        Condition::Not(inner) => not(change(inner, new)),
        Condition::And(parts) => Condition::and(all(parts)),
        Condition::Xor(parts) => Condition::xor(all(parts)),
        Condition::Or(parts) => Condition::or(all(parts)),
        Condition::Quantified(quantifier, array, inner) => {
            Condition::Quantified(*quantifier, array.clone(), Box::new(change(inner, new)))
        }
        other => other.clone(),
    }
}

/// As [`change`], where `new` is told whether a part stands negated. What stands under `xor` stays
/// as it is, and so does what is inside `any` and `all`.
pub(super) fn change_where(
    condition: &Condition,
    negated: bool,
    new: &dyn Fn(&Condition, bool) -> Option<Condition>,
) -> Condition {
    if let Some(changed) = new(condition, negated) {
        return changed;
    }
    let all = |parts: &[Condition]| {
        let parts = parts.iter();
        parts.map(|part| change_where(part, negated, new)).collect()
    };
    match condition {
        Condition::Not(inner) => not(change_where(inner, !negated, new)),
        Condition::And(parts) => Condition::and(all(parts)),
        Condition::Or(parts) => Condition::or(all(parts)),
        other => other.clone(),
    }
}
