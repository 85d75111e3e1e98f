//! Costly questions: those that may cost more than reading a request's head once. They are asked
//! last, so that their siblings guard them.

use super::subject::Subject;
use crate::syntax::ast::{Argument, Array, Call, Comparison, Condition, Scalar};
use crate::syntax::function::Function;

impl Subject {
    /// Whether looking it up may cost more than reading the request's head once.
    pub(super) fn is_costly(&self) -> bool {
        match self {
            Self::Scalar(scalar) => scalar_is_costly(scalar),
            Self::Any(array) => array_is_costly(array),
            Self::Condition(condition) => is_costly(condition),
        }
    }
}

/// Whether evaluating it may cost more than reading the request's head once.
pub(super) fn is_costly(condition: &Condition) -> bool {
    match condition {
        Condition::Constant(_) => false,
        Condition::Not(inner) => is_costly(inner),
        Condition::And(parts) | Condition::Or(parts) | Condition::Xor(parts) => {
            parts.iter().any(is_costly)
        }
        Condition::Truth(scalar) => scalar_is_costly(scalar),
        Condition::Compare(scalar, test) => {
            scalar_is_costly(scalar)
                || matches!(test, Comparison::Matches(pattern) if pattern.is_lazy())
        }
        Condition::Quantified(_, array, inner) => array_is_costly(array) || is_costly(inner),
    }
}

fn scalar_is_costly(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Field(_) | Scalar::Element(_) => false,
        Scalar::At(array, _) => array_is_costly(array),
        Scalar::Call(call) => call_is_costly(call),
    }
}

fn array_is_costly(array: &Array) -> bool {
    match array {
        Array::Field(_) | Array::Entry(..) => false,
        Array::Call(call) => call_is_costly(call),
        Array::Each(root, call) => array_is_costly(root) || call_is_costly(call),
    }
}

/// A function that gives more than it is given, or is given something else than constants beside
/// it: done to every element of an array, it squares the head.
fn call_is_costly(call: &Call) -> bool {
    let grows = matches!(
        call.function,
        Function::Concat | Function::Join | Function::RegexReplace | Function::WildcardReplace
    );
    grows
        || call
            .arguments
            .iter()
            .enumerate()
            .any(|(at, argument)| match argument {
                Argument::Scalar(scalar) => at > 0 || scalar_is_costly(scalar),
                Argument::Array(array) => at > 0 || array_is_costly(array),
                Argument::Bytes(_)
                | Argument::Int(_)
                | Argument::Pattern(_)
                | Argument::Wildcard(_) => false,
            })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parser::parse;

    #[test]
    fn what_may_cost_more_than_reading() {
        for (text, expected) in [
            ("ssl", false),
            ("len(http.request.uri.query) lt 1000", false),
            (
                "any(lower(http.request.headers.names[*])[*] eq \"a\")",
                false,
            ),
            ("http.host matches \"^a+$\"", false),
            ("http.host matches \"[ab]*a[ab]{20}\"", true),
            ("not concat(http.host, \"a\") eq \"b\"", true),
            (
                "ssl or any(starts_with(http.request.headers.names[*], http.host)[*])",
                true,
            ),
            (
                "all(http.request.uri.args.names[*] matches \"[ab]*a[ab]{20}\")",
                true,
            ),
            ("len(join(http.request.headers.names, \",\")) gt 3", true),
        ] {
            assert_eq!(is_costly(&parse(text, None).unwrap()), expected, "{text}");
        }
    }
}
