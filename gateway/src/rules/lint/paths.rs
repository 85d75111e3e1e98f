//! Traps around paths: the one that is matched is the normalised one, and origins may take several
//! for the same.

use super::change;
use crate::rules::ast::{
    Argument, Array, Call, Condition, Literal, Part, Relation, Scalar, Set, Test,
};
use crate::rules::field::Field;
use crate::rules::function::Function;

/// Whether a path that is compared exactly makes the condition true. Where an exact path keeps it
/// from being true (`not path in {"/public"}`), another spelling of it is no way around.
pub(super) fn is_caught_by_exact_path(condition: &Condition, negated: bool) -> bool {
    let any = |parts: &[Condition], negated| {
        let mut parts = parts.iter();
        parts.any(|part| is_caught_by_exact_path(part, negated))
    };
    match condition {
        Condition::Not(inner) => is_caught_by_exact_path(inner, !negated),
        Condition::And(parts) | Condition::Or(parts) => any(parts, negated),
        Condition::Xor(parts) => any(parts, false) || any(parts, true),
        Condition::Compare(Scalar::Field(Field::Path), test) => match test {
            Test::In(_) | Test::Order(Relation::Equal, _) => !negated,
            Test::Order(Relation::NotEqual, _) => negated,
            _ => false,
        },
        _ => false,
    }
}

/// The condition with `lower(path) in {…}`, and the same with a slash at the end, wherever an exact
/// path makes it true and is in small letters already; what stands under `xor` stays as it is.
pub(super) fn in_every_spelling(condition: &Condition, negated: bool) -> Condition {
    let all = |parts: &[Condition]| {
        let parts = parts.iter();
        parts.map(|part| in_every_spelling(part, negated)).collect()
    };
    match condition {
        Condition::Not(inner) => Condition::Not(Box::new(in_every_spelling(inner, !negated))),
        Condition::And(parts) => Condition::and(all(parts)),
        Condition::Or(parts) => Condition::or(all(parts)),
        Condition::Compare(path @ Scalar::Field(Field::Path), test) if !negated => {
            let paths = match test {
                Test::Order(Relation::Equal, Literal::Bytes(path)) => vec![path.clone()],
                Test::In(Set::Bytes(paths)) => paths.clone(),
                _ => return condition.clone(),
            };
            if paths
                .iter()
                .any(|path| path.iter().any(u8::is_ascii_uppercase))
            {
                return condition.clone();
            }
            let lower = Call {
                function: Function::Lower,
                arguments: vec![Argument::Scalar(path.clone())],
            };
            let mut spellings: Vec<Box<[u8]>> = Vec::new();
            for path in &paths {
                let bare = path.strip_suffix(b"/").unwrap_or(path);
                for spelling in [bare.to_vec(), [bare, b"/"].concat()] {
                    let spelling = spelling.into_boxed_slice();
                    if !spelling.is_empty() && !spellings.contains(&spelling) {
                        spellings.push(spelling);
                    }
                }
            }
            Condition::Compare(
                Scalar::Call(Box::new(lower)),
                Test::In(Set::Bytes(spellings)),
            )
        }
        other => other.clone(),
    }
}

/// What is matched and forwarded, of what was sent.
fn normalised(field: Field) -> Option<Field> {
    match field {
        Field::RawPath => Some(Field::Path),
        Field::RawPathExtension => Some(Field::PathExtension),
        Field::RawUri => Some(Field::Uri),
        Field::RawFullUri => Some(Field::FullUri),
        _ => None,
    }
}

/// Whether the path as it was sent is looked at.
pub(super) fn reads_raw_path(condition: &Condition) -> bool {
    let mut reads = false;
    condition.walk(&mut |part| {
        reads |= matches!(part, Part::Field(field) if normalised(field).is_some());
    });
    reads
}

/// The condition about the path that is forwarded.
pub(super) fn of_normalised_path(condition: &Condition) -> Condition {
    change(condition, &|part| match part {
        Condition::Truth(value) => Some(Condition::Truth(scalar(value))),
        Condition::Compare(value, test) => Some(Condition::Compare(scalar(value), test.clone())),
        Condition::Quantified(quantifier, of, inner) => Some(Condition::Quantified(
            *quantifier,
            array(of),
            Box::new(of_normalised_path(inner)),
        )),
        _ => None,
    })
}

fn scalar(value: &Scalar) -> Scalar {
    match value {
        Scalar::Field(field) => Scalar::Field(normalised(*field).unwrap_or(*field)),
        Scalar::Element(kind) => Scalar::Element(*kind),
        Scalar::At(of, index) => Scalar::At(Box::new(array(of)), *index),
        Scalar::Call(of) => Scalar::Call(Box::new(call(of))),
    }
}

fn array(value: &Array) -> Array {
    match value {
        Array::Field(_) | Array::Entry(..) => value.clone(),
        Array::Call(of) => Array::Call(Box::new(call(of))),
        Array::Each(root, of) => Array::Each(Box::new(array(root)), Box::new(call(of))),
    }
}

fn call(value: &Call) -> Call {
    let arguments = value.arguments.iter().map(|argument| match argument {
        Argument::Scalar(value) => Argument::Scalar(scalar(value)),
        Argument::Array(value) => Argument::Array(array(value)),
        other => other.clone(),
    });
    Call {
        function: value.function,
        arguments: arguments.collect(),
    }
}
