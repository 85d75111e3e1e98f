//! Lints about values: missing ones, impossible ones, and what Cloudflare refuses.

use super::parts::{change, change_where, has, has_where, not};
use crate::matcher::wildcard::Wildcard;
use crate::syntax::ast::{
    Argument, Array, Call, Comparison, Condition, Literal, Part, Quantifier, Relation, Scalar, Set,
};
use crate::syntax::field::Field;
use crate::syntax::function::Function;

/// Whether a value that is missing makes the rule fail open: it passes a rule that blocks for `ne`,
/// or is let around the others by one that skips for the opposite of it (`negated`). Under `xor`
/// it may do either.
pub(super) fn opens_for_missing(condition: &Condition, negated: bool) -> bool {
    has_where(condition, negated, &|part, negated| {
        !negated && of_missing(part).is_some()
    })
}

/// `not … eq …` for `… ne …`, `not all(… eq …)` for `any(… ne …)` and `not any(… eq …)` for
/// `all(… ne …)`, wherever a missing value makes the rule fail open: the same, but true of what
/// is missing.
pub(super) fn closed_for_missing(condition: &Condition, negated: bool) -> Condition {
    change_where(condition, negated, &|part, negated| match part {
        // `not not` is nothing.
        Condition::Not(inner) if negated => of_missing(inner),
        _ if negated => None,
        part => of_missing(part).map(not),
    })
}

/// The opposite of `ne` of what may be missing, whatever functions it went through; both are
/// false then.
fn of_missing(condition: &Condition) -> Option<Condition> {
    match condition {
        Condition::Compare(value, Comparison::Order(Relation::NotEqual, _))
            if may_be_missing(value) =>
        {
            opposite(condition)
        }
        Condition::Quantified(quantifier, array, inner) if is_entry(array) => {
            let other = match quantifier {
                Quantifier::Any => Quantifier::All,
                Quantifier::All => Quantifier::Any,
            };
            let inner = opposite(inner)?;
            Some(Condition::Quantified(other, array.clone(), Box::new(inner)))
        }
        _ => None,
    }
}

/// The opposite of what says what a value is not; `None` when it says what it is.
fn opposite(condition: &Condition) -> Option<Condition> {
    let all = |parts: &[Condition]| parts.iter().map(opposite).collect::<Option<Vec<_>>>();
    match condition {
        Condition::Compare(value, Comparison::Order(Relation::NotEqual, literal)) => {
            let test = Comparison::Order(Relation::Equal, literal.clone());
            Some(Condition::Compare(value.clone(), test))
        }
        Condition::Not(inner) => Some((**inner).clone()),
        Condition::And(parts) => all(parts).map(Condition::or),
        Condition::Or(parts) => all(parts).map(Condition::and),
        _ => None,
    }
}

fn may_be_missing(value: &Scalar) -> bool {
    match value {
        Scalar::At(..) => true,
        Scalar::Call(call) => {
            let fails = matches!(
                call.function,
                Function::LookupJsonInteger | Function::LookupJsonString | Function::DecodeBase64
            );
            fails
                || call.arguments.iter().any(|argument| match argument {
                    Argument::Scalar(value) => may_be_missing(value),
                    Argument::Array(array) => is_entry(array),
                    _ => false,
                })
        }
        Scalar::Field(field) => is_missing_somewhere(*field),
        Scalar::Element(_) => false,
    }
}

/// Whether some clients have no value for this: addresses that no database knows, and
/// clients without a certificate.
fn is_missing_somewhere(field: Field) -> bool {
    match field {
        Field::CertNotBeforeSec | Field::CertNotAfterSec => true,
        // Documented to be empty then.
        Field::Subdivision1
        | Field::Subdivision2
        | Field::GeoipSubdivision1
        | Field::GeoipSubdivision2 => false,
        field => field.is_geographic(),
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
    has(condition, &|part| canonical(part, true, false).is_some())
}

/// Whether `http.host` is compared with a name with a dot at its end.
pub(super) fn has_final_dot_host(condition: &Condition) -> bool {
    has(condition, &|part| canonical(part, false, true).is_some())
}

/// The condition with all host names as `http.host` has them.
pub(super) fn with_canonical_hosts(condition: &Condition) -> Condition {
    change(condition, &|part| canonical(part, true, true))
}

/// A comparison of `http.host` in small letters, and without a dot at the end, if it is not so
/// already.
fn canonical(condition: &Condition, small: bool, dotless: bool) -> Option<Condition> {
    let part = |text: &[u8]| -> Box<[u8]> {
        if small {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        }
    };
    let end = |text: &[u8]| match text {
        [name @ .., b'.'] if dotless && !name.is_empty() => part(name),
        text => part(text),
    };
    let changed = match condition {
        Condition::Compare(host, test) if is_host(host) => {
            let test = match test {
                Comparison::Order(
                    relation @ (Relation::Equal | Relation::NotEqual),
                    Literal::Bytes(name),
                ) => Comparison::Order(*relation, Literal::Bytes(end(name))),
                Comparison::Order(relation, Literal::Bytes(name)) => {
                    Comparison::Order(*relation, Literal::Bytes(part(name)))
                }
                Comparison::Contains(text) => Comparison::Contains(part(text)),
                Comparison::In(Set::Bytes(names)) => {
                    Comparison::In(Set::Bytes(names.iter().map(|name| end(name)).collect()))
                }
                Comparison::Wildcard(pattern) => {
                    // Case makes no difference to the others.
                    let source = match pattern.strict {
                        true => end(&pattern.source),
                        false => match &*pattern.source {
                            [source @ .., b'.'] if dotless && !source.is_empty() => source.into(),
                            source => source.into(),
                        },
                    };
                    Comparison::Wildcard(Wildcard::new(&source, pattern.strict).ok()?)
                }
                _ => return None,
            };
            Condition::Compare(host.clone(), test)
        }
        Condition::Truth(Scalar::Call(call)) => {
            let [Argument::Scalar(host), Argument::Bytes(text)] = call.arguments.as_slice() else {
                return None;
            };
            let text = match call.function {
                Function::StartsWith if is_host(host) => part(text),
                Function::EndsWith if is_host(host) => end(text),
                _ => return None,
            };
            Condition::Truth(Scalar::Call(Box::new(Call {
                function: call.function,
                arguments: vec![Argument::Scalar(host.clone()), Argument::Bytes(text)],
            })))
        }
        _ => return None,
    };
    (changed != *condition).then_some(changed)
}

/// `http.host`, in small letters once more or not.
/// The names that `http.host` is compared with as wholes.
pub(super) fn host_names(condition: &Condition) -> Vec<&[u8]> {
    match condition {
        Condition::Compare(
            host,
            Comparison::Order(Relation::Equal | Relation::NotEqual, Literal::Bytes(name)),
        ) if is_host(host) => vec![name],
        Condition::Compare(host, Comparison::In(Set::Bytes(names))) if is_host(host) => {
            names.iter().map(|name| &**name).collect()
        }
        _ => Vec::new(),
    }
}

/// The comparison with `better` for the name `old`, if it has it.
pub(super) fn with_host_names(condition: &Condition, old: &str, better: &str) -> Option<Condition> {
    let is_old = |name: &[u8]| {
        name.strip_suffix(b".")
            .unwrap_or(name)
            .eq_ignore_ascii_case(old.as_bytes())
    };
    if !host_names(condition).into_iter().any(is_old) {
        return None;
    }
    let new = |name: &[u8]| -> Box<[u8]> {
        match is_old(name) {
            true => better.as_bytes().into(),
            false => name.into(),
        }
    };
    Some(match condition {
        Condition::Compare(host, Comparison::Order(relation, Literal::Bytes(name))) => {
            let test = Comparison::Order(*relation, Literal::Bytes(new(name)));
            Condition::Compare(host.clone(), test)
        }
        Condition::Compare(host, Comparison::In(Set::Bytes(names))) => {
            let names = names.iter().map(|name| new(name)).collect();
            Condition::Compare(host.clone(), Comparison::In(Set::Bytes(names)))
        }
        _ => return None,
    })
}

fn is_host(value: &Scalar) -> bool {
    match value {
        Scalar::Field(field) => *field == Field::Host,
        Scalar::Call(call) => {
            call.function == Function::Lower
                && matches!(call.arguments.as_slice(), [Argument::Scalar(value)] if is_host(value))
        }
        Scalar::Element(_) | Scalar::At(..) => false,
    }
}
