//! Lints about paths: rules match the normalised path, and origins may take several paths for the
//! same.

use super::parts::{change, change_where, has, has_where};
use crate::syntax::ast::{
    Argument, Array, Call, Comparison, Condition, Literal, Part, Relation, Scalar, Set,
};
use crate::syntax::field::Field;
use crate::syntax::function::Function;

/// Whether a path that is compared exactly makes the condition true. Where an exact path keeps it
/// from being true (`not path in {"/public"}`), another spelling of it is no way around.
pub(super) fn is_caught_by_exact_path(condition: &Condition) -> bool {
    has_where(condition, false, &|part, negated| match part {
        Condition::Compare(Scalar::Field(Field::Path), test) => is_exact(test, negated),
        _ => false,
    })
}

/// Whether a test, or its opposite, is passed by certain values only.
fn is_exact(test: &Comparison, negated: bool) -> bool {
    match test {
        Comparison::In(_) | Comparison::Order(Relation::Equal, _) => !negated,
        Comparison::Order(Relation::NotEqual, _) => negated,
        _ => false,
    }
}

/// The condition with `lower(path) in {…}`, and the same with a slash at the end, wherever an exact
/// path makes it true and is in small letters already.
pub(super) fn in_every_spelling(condition: &Condition) -> Condition {
    change_where(condition, false, &|part, negated| match part {
        Condition::Compare(path @ Scalar::Field(Field::Path), test) if !negated => {
            let paths = match test {
                Comparison::Order(Relation::Equal, Literal::Bytes(path)) => {
                    std::slice::from_ref(path)
                }
                Comparison::In(Set::Bytes(paths)) => paths,
                _ => return None,
            };
            every_spelling(path, paths)
        }
        _ => None,
    })
}

fn every_spelling(path: &Scalar, paths: &[Box<[u8]>]) -> Option<Condition> {
    let has_capital = |path: &[u8]| path.iter().any(u8::is_ascii_uppercase);
    if paths.iter().any(|path| has_capital(path)) {
        return None;
    }
    let lower = Call {
        function: Function::Lower,
        arguments: vec![Argument::Scalar(path.clone())],
    };
    let mut spellings: Vec<Box<[u8]>> = Vec::new();
    for path in paths {
        let bare = path.strip_suffix(b"/").unwrap_or(path);
        for spelling in [bare.to_vec(), [bare, b"/"].concat()] {
            let spelling = spelling.into_boxed_slice();
            if !spelling.is_empty() && !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
        }
    }
    Some(Condition::Compare(
        Scalar::Call(Box::new(lower)),
        Comparison::In(Set::Bytes(spellings)),
    ))
}

/// Whether a path is compared together with a query that it does not speak of, so that any query
/// is a way around.
pub(super) fn is_avoided_by_query(condition: &Condition, negated: bool) -> bool {
    has_where(condition, negated, &|part, negated| {
        without_query(part, negated).is_some()
            || match part {
                Condition::Compare(Scalar::Field(Field::FullUri), test) => {
                    is_exact(test, negated) && !speaks_of(part, &|text| text.contains(&b'?'))
                }
                _ => false,
            }
    })
}

/// The condition about the path alone, wherever a query is a way around.
pub(super) fn of_path_alone(condition: &Condition, negated: bool) -> Condition {
    change_where(condition, negated, &without_query)
}

/// What `http.request.uri` is compared with, of the path alone.
fn without_query(part: &Condition, negated: bool) -> Option<Condition> {
    // What ends in something that only queries have is meant of them.
    let of_query: &[u8] = match part {
        Condition::Truth(_) => b"?=&",
        _ => b"?",
    };
    let of_end = match part {
        Condition::Compare(value, test) => is_uri(value) && is_exact(test, negated),
        Condition::Truth(Scalar::Call(call)) => {
            let first = call.arguments.first();
            !negated
                && call.function == Function::EndsWith
                && matches!(first, Some(Argument::Scalar(value)) if is_uri(value))
        }
        _ => false,
    };
    let path = |field| (field == Field::Uri).then_some(Field::Path);
    (of_end
        && !speaks_of(part, &|text| {
            text.iter().any(|byte| of_query.contains(byte))
        }))
    .then(|| with_fields(part, &path))
}

/// `http.request.uri`, in small letters or not.
fn is_uri(value: &Scalar) -> bool {
    match value {
        Scalar::Field(field) => *field == Field::Uri,
        Scalar::Call(call) => {
            matches!(call.function, Function::Lower | Function::Upper)
                && matches!(call.arguments.as_slice(), [Argument::Scalar(value)] if is_uri(value))
        }
        Scalar::Element(_) | Scalar::At(..) => false,
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

/// The condition about the path that is forwarded; `None` when it looks for something that is
/// never in that one, or may be.
pub(super) fn of_normalised_path(condition: &Condition, negated: bool) -> Option<Condition> {
    let is_lost = has(condition, &|part| {
        reads_raw_path(part) && speaks_of(part, &is_resolved)
    });
    (!is_lost).then(|| of_path_alone(&with_fields(condition, &normalised), negated))
}

/// Whether normalisation may leave nothing of a text: escapes, dot segments, double slashes.
fn is_resolved(text: &[u8]) -> bool {
    let has = |part: &[u8]| memchr::memmem::find(text, part).is_some();
    text.iter()
        .any(|byte| matches!(byte, b'%' | b'\\' | 0x80..))
        || has(b"..")
        || has(b"//")
        || has(b"/./")
        || text.ends_with(b"/.")
}

/// Whether some text that a comparison looks for passes.
fn speaks_of(condition: &Condition, test: &dyn Fn(&[u8]) -> bool) -> bool {
    match condition {
        Condition::Truth(value) => calls_with(value, test),
        Condition::Compare(value, with) => {
            let speaks = match with {
                Comparison::Order(_, Literal::Bytes(text)) | Comparison::Contains(text) => {
                    test(text)
                }
                Comparison::In(Set::Bytes(texts)) => texts.iter().any(|text| test(text)),
                // A dot that is meant is escaped.
                Comparison::Matches(pattern) => test(pattern.source.replace("\\.", ".").as_bytes()),
                Comparison::Wildcard(wildcard) => test(&wildcard.source),
                _ => false,
            };
            speaks || calls_with(value, test)
        }
        Condition::Quantified(_, array, inner) => {
            speaks_of(inner, test) || array_calls_with(array, test)
        }
        _ => false,
    }
}

fn calls_with(value: &Scalar, test: &dyn Fn(&[u8]) -> bool) -> bool {
    match value {
        Scalar::Field(_) | Scalar::Element(_) => false,
        Scalar::At(array, _) => array_calls_with(array, test),
        Scalar::Call(call) => arguments_pass(call, test),
    }
}

fn array_calls_with(array: &Array, test: &dyn Fn(&[u8]) -> bool) -> bool {
    match array {
        Array::Field(_) | Array::Entry(..) => false,
        Array::Call(call) => arguments_pass(call, test),
        Array::Each(root, call) => array_calls_with(root, test) || arguments_pass(call, test),
    }
}

fn arguments_pass(call: &Call, test: &dyn Fn(&[u8]) -> bool) -> bool {
    call.arguments.iter().any(|argument| match argument {
        Argument::Bytes(text) => test(text),
        Argument::Pattern(pattern) => test(pattern.source.as_bytes()),
        Argument::Wildcard(wildcard) => test(&wildcard.source),
        Argument::Scalar(value) => calls_with(value, test),
        Argument::Array(array) => array_calls_with(array, test),
        Argument::Int(_) => false,
    })
}

/// The condition with other fields where `new` has some.
fn with_fields(condition: &Condition, new: &dyn Fn(Field) -> Option<Field>) -> Condition {
    change(condition, &|part| match part {
        Condition::Truth(value) => Some(Condition::Truth(scalar(value, new))),
        Condition::Compare(value, test) => {
            Some(Condition::Compare(scalar(value, new), test.clone()))
        }
        Condition::Quantified(quantifier, of, inner) => Some(Condition::Quantified(
            *quantifier,
            array(of, new),
            Box::new(with_fields(inner, new)),
        )),
        _ => None,
    })
}

fn scalar(value: &Scalar, new: &dyn Fn(Field) -> Option<Field>) -> Scalar {
    match value {
        Scalar::Field(field) => Scalar::Field(new(*field).unwrap_or(*field)),
        Scalar::Element(kind) => Scalar::Element(*kind),
        Scalar::At(of, index) => Scalar::At(Box::new(array(of, new)), *index),
        Scalar::Call(of) => Scalar::Call(Box::new(call(of, new))),
    }
}

fn array(value: &Array, new: &dyn Fn(Field) -> Option<Field>) -> Array {
    match value {
        Array::Field(_) | Array::Entry(..) => value.clone(),
        Array::Call(of) => Array::Call(Box::new(call(of, new))),
        Array::Each(root, of) => Array::Each(Box::new(array(root, new)), Box::new(call(of, new))),
    }
}

fn call(value: &Call, new: &dyn Fn(Field) -> Option<Field>) -> Call {
    let arguments = value.arguments.iter().map(|argument| match argument {
        Argument::Scalar(value) => Argument::Scalar(scalar(value, new)),
        Argument::Array(value) => Argument::Array(array(value, new)),
        other => other.clone(),
    });
    Call {
        function: value.function,
        arguments: arguments.collect(),
    }
}
