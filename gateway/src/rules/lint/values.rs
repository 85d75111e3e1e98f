//! Traps around values: what may be missing, what is never there, what Cloudflare does not take.

use super::{change, has};
use crate::rules::ast::{
    Argument, Array, Condition, Literal, Part, Quantifier, Relation, Scalar, Set, Test,
};
use crate::rules::field::Field;
use crate::rules::function::Function;

/// `ne` of a header, cookie or argument, whatever functions it went through.
pub(super) fn is_not_equal_of_missing(condition: &Condition) -> bool {
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
pub(super) fn not_equal(condition: &Condition) -> Option<Condition> {
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
pub(super) fn rewrite_only(condition: &Condition) -> Option<Function> {
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

/// Whether a header is asked for by a name with capitals.
pub(super) fn has_capital_header(condition: &Condition) -> bool {
    let mut found = false;
    condition.walk(&mut |part| {
        if let Part::Entry(Field::Headers, key) = part {
            found |= key.iter().any(u8::is_ascii_uppercase);
        }
    });
    found
}

/// Whether `http.host` is compared with a name with capitals.
pub(super) fn has_capital_host(condition: &Condition) -> bool {
    has(condition, &|part| in_small_letters(part).is_some())
}

/// The condition with all host names in small letters.
pub(super) fn hosts_in_small_letters(condition: &Condition) -> Condition {
    change(condition, &in_small_letters)
}

/// A comparison of `http.host` in small letters, if it is not so already.
fn in_small_letters(condition: &Condition) -> Option<Condition> {
    let Condition::Compare(host @ Scalar::Field(Field::Host), test) = condition else {
        return None;
    };
    let small = |text: &[u8]| text.to_ascii_lowercase().into();
    let changed = match test {
        Test::Order(relation, Literal::Bytes(name)) => {
            Test::Order(*relation, Literal::Bytes(small(name)))
        }
        Test::Contains(part) => Test::Contains(small(part)),
        Test::In(Set::Bytes(names)) => {
            Test::In(Set::Bytes(names.iter().map(|name| small(name)).collect()))
        }
        _ => return None,
    };
    (changed != *test).then(|| Condition::Compare(host.clone(), changed))
}
