//! Evaluation by walking the tree: whether a condition holds, and the values of fields and
//! functions.
//!
//! Runs on workers, and allocates nothing in steady state: arrays are visited, and bytes that are
//! made go to the scratch, which a thread keeps. Short-circuits, so a field is read only when its
//! comparison is reached.

pub(crate) mod client_hello;
pub(crate) mod connection_values;
mod decode;
pub(crate) mod field_values;
mod functions;
pub(crate) mod json;
mod pairs;
mod replace;
pub(crate) mod value;

use std::ops::ControlFlow;

use self::field_values::{Facts, Visit};
use self::value::{Scratch, Value};
use crate::matcher::budget;
use crate::syntax::ast::{Array, Comparison, Condition, Literal, Quantifier, Scalar, Set};
use crate::syntax::types::Type;
use vocabulary::hostname::NAME_BYTES_MAX;

impl Condition {
    /// Whether the facts satisfy it.
    pub(crate) fn holds<'a>(&'a self, facts: &Facts<'a>, scratch: &mut Scratch) -> bool {
        scratch.begin_condition();
        self.holds_for(facts, scratch, Value::Missing)
    }

    fn holds_for<'a>(
        &'a self,
        facts: &Facts<'a>,
        scratch: &mut Scratch,
        element: Value<'a>,
    ) -> bool {
        if !scratch.work(budget::CONDITION) {
            return false;
        }
        match self {
            Self::Constant(value) => *value,
            Self::Not(inner) => !inner.holds_for(facts, scratch, element),
            Self::And(parts) => parts
                .iter()
                .all(|part| part.holds_for(facts, scratch, element)),
            Self::Or(parts) => parts
                .iter()
                .any(|part| part.holds_for(facts, scratch, element)),
            Self::Xor(parts) => {
                parts
                    .iter()
                    .filter(|part| part.holds_for(facts, scratch, element))
                    .count()
                    % 2
                    == 1
            }
            Self::Truth(value) => {
                let mark = scratch.mark();
                let truth = matches!(value.value(facts, scratch, element), Value::Bool(true));
                scratch.forget(mark);
                truth
            }
            Self::Compare(value, test) => {
                let mark = scratch.mark();
                let value = value.value(facts, scratch, element);
                let truth = test.holds(value, scratch);
                scratch.forget(mark);
                truth
            }
            Self::Quantified(quantifier, array, inner) => {
                let mark = scratch.mark();
                let truth = quantified(*quantifier, array, inner, facts, scratch);
                scratch.forget(mark);
                truth
            }
        }
    }
}

/// Of a missing array neither `any` nor `all` is true: a function of a missing value is missing.
/// (wirefilter's `all` would be true.) Of an array that is there but empty, `all` is true.
fn quantified<'a>(
    quantifier: Quantifier,
    array: &'a Array,
    inner: &'a Condition,
    facts: &Facts<'a>,
    scratch: &mut Scratch,
) -> bool {
    let mut found = false;
    let there = array.elements(facts, scratch, Value::Missing, &mut |scratch, element| {
        let holds = inner.holds_for(facts, scratch, element);
        if holds == (quantifier == Quantifier::Any) {
            found = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    match quantifier {
        Quantifier::Any => found,
        Quantifier::All => there && !found,
    }
}

impl Scalar {
    /// The value; `element` is what `[*]` stands for.
    pub(crate) fn value<'a>(
        &'a self,
        facts: &Facts<'a>,
        scratch: &mut Scratch,
        element: Value<'a>,
    ) -> Value<'a> {
        match self {
            Self::Field(field) => facts.value(*field, scratch),
            Self::Element(_) => element,
            Self::At(array, index) => {
                let mut found = Value::Missing;
                let mut at = 0;
                array.elements(facts, scratch, element, &mut |_, value| {
                    if at == *index {
                        found = value;
                        return ControlFlow::Break(());
                    }
                    at += 1;
                    ControlFlow::Continue(())
                });
                found
            }
            Self::Call(call) => functions::value(call, facts, scratch, element),
        }
    }
}

impl Array {
    /// Shows every element until `visit` breaks; `false` when the array is missing.
    pub(crate) fn elements<'a>(
        &'a self,
        facts: &Facts<'a>,
        scratch: &mut Scratch,
        element: Value<'a>,
        visit: Visit<'_, 'a>,
    ) -> bool {
        match self {
            Self::Field(field) => {
                debug_assert!(
                    matches!(field.of_type(), Type::Array(_)),
                    "the parser checks types"
                );
                let _ended = facts.elements(*field, scratch, visit);
                true
            }
            Self::Entry(map, key) => {
                // A key has at least one value, so none means that it is not there.
                let mut there = false;
                let _ended = facts.entries(*map, key, scratch, &mut |scratch, value| {
                    there = true;
                    visit(scratch, value)
                });
                there
            }
            Self::Call(call) => functions::elements(call, facts, scratch, element, visit),
            Self::Each(root, call) => {
                root.elements(facts, scratch, element, &mut |scratch, element| {
                    let mark = scratch.mark();
                    let value = functions::value(call, facts, scratch, element);
                    let flow = visit(scratch, value);
                    // Who has seen enough may keep the element.
                    if flow.is_continue() {
                        scratch.forget(mark);
                    }
                    flow
                })
            }
        }
    }
}

impl Comparison {
    /// Whether the value passes; a missing value passes no test, `ne` neither.
    pub(crate) fn holds(&self, value: Value<'_>, scratch: &mut Scratch) -> bool {
        let length = scratch.bytes(value).map_or(0, <[u8]>::len);
        if !scratch.work(self.cost(length)) {
            return false;
        }
        match (self, value) {
            (_, Value::Missing) => false,
            (Self::Order(relation, Literal::Int(literal)), Value::Int(value)) => {
                relation.holds(value.cmp(literal))
            }
            (Self::Order(relation, Literal::Ip(literal)), Value::Ip(value)) => {
                relation.holds(value.cmp(literal))
            }
            (Self::In(Set::Ints(items)), Value::Int(value)) => items
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&value)),
            (Self::In(Set::Ips(items)), Value::Ip(value)) => {
                items.iter().any(|item| item.contains(value))
            }
            (Self::Listed(list), Value::Ip(value)) => {
                list.list.as_ref().is_some_and(|list| list.has_ip(value))
            }
            (Self::Listed(list), Value::Int(value)) => {
                list.list.as_ref().is_some_and(|list| list.has_int(value))
            }
            (Self::Matches(pattern), _) => scratch
                .reading(value)
                .is_some_and(|(bytes, work)| pattern.is_match(bytes, work)),
            _ => scratch
                .bytes(value)
                .is_some_and(|bytes| self.holds_bytes(bytes)),
        }
    }

    /// What comparing a value of that length costs; what a regular expression does it counts itself.
    fn cost(&self, length: usize) -> usize {
        match self {
            Self::Order(_, Literal::Bytes(literal)) => literal.len().min(length),
            Self::Order(..) | Self::Matches(_) => 0,
            Self::Contains(_) => length,
            Self::Wildcard(_) => length * budget::WILDCARD_BYTE,
            Self::In(Set::Bytes(items)) => items.len() * budget::ITEM,
            Self::In(Set::Ints(items)) => items.len() * budget::ITEM,
            Self::In(Set::Ips(items)) => items.len() * budget::ITEM,
            Self::Listed(_) => budget::LOOK_UP + length.min(NAME_BYTES_MAX) * budget::LISTED_BYTE,
        }
    }

    fn holds_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Order(relation, Literal::Bytes(literal)) => relation.holds(bytes.cmp(literal)),
            // Looking for a text begins with reading that, however short the value is.
            Self::Contains(part) => {
                part.len() <= bytes.len() && memchr::memmem::find(bytes, part).is_some()
            }
            Self::Wildcard(wildcard) => wildcard.matches(bytes),
            Self::In(Set::Bytes(items)) => items.iter().any(|item| **item == *bytes),
            Self::Listed(list) => list
                .list
                .as_ref()
                .is_some_and(|list| list.has_hostname(bytes)),
            _ => false,
        }
    }
}
