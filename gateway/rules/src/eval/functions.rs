//! The functions of the language.
//!
//! A function of a missing value is missing, except `concat`. A result is a range of its argument
//! where that is possible, otherwise it is made in the scratch. Nothing allocates once the scratch
//! has grown.

use std::net::IpAddr;
use std::ops::ControlFlow;

use super::decode::{decode_base64, url_decode};
use super::field_values::{Facts, Visit, show};
use super::json;
use super::replace::{regex_replace, replace};
use super::value::{Scratch, Value};
use crate::limits;
use crate::matcher::budget;
use crate::syntax::ast::{Argument, Call};
use crate::syntax::function::Function;
use crate::syntax::literal::mask;

impl Argument {
    fn value<'a>(
        &'a self,
        facts: &Facts<'a>,
        scratch: &mut Scratch,
        element: Value<'a>,
    ) -> Value<'a> {
        match self {
            Self::Scalar(scalar) => scalar.value(facts, scratch, element),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Int(value) => Value::Int(*value),
            Self::Array(_) | Self::Pattern(_) | Self::Wildcard(_) => Value::Missing,
        }
    }
}

/// The result of a function that gives one value.
pub(crate) fn value<'a>(
    call: &'a Call,
    facts: &Facts<'a>,
    scratch: &mut Scratch,
    element: Value<'a>,
) -> Value<'a> {
    let Some((first, rest)) = call.arguments.split_first() else {
        return Value::Missing;
    };
    match call.function {
        Function::Concat => return concat(call, facts, scratch, element),
        Function::Join => return join(first, rest, facts, scratch, element),
        Function::Len => {
            if let Argument::Array(array) = first {
                let mut count: i64 = 0;
                let there = array.elements(facts, scratch, element, &mut |_, _| {
                    count += 1;
                    ControlFlow::Continue(())
                });
                return if there {
                    Value::Int(count)
                } else {
                    Value::Missing
                };
            }
        }
        _ => {}
    }
    let source = first.value(facts, scratch, element);
    if matches!(source, Value::Missing) {
        return Value::Missing;
    }
    let length = scratch.bytes(source).map_or(1, <[u8]>::len);
    if !scratch.work(cost(call.function, rest, length)) {
        return Value::Missing;
    }
    match (call.function, rest) {
        (Function::Cidr, [Argument::Int(v4), Argument::Int(v6)]) => cidr(source, *v4, *v6),
        (Function::Cidr6, [Argument::Int(v6)]) => cidr(source, 32, *v6),
        (Function::Len, _) => {
            let length = scratch.bytes(source).map(<[u8]>::len);
            length
                .and_then(|length| i64::try_from(length).ok())
                .map_or(Value::Missing, Value::Int)
        }
        (Function::Lower, _) => changed(source, scratch, <[u8]>::make_ascii_lowercase),
        (Function::Upper, _) => changed(source, scratch, <[u8]>::make_ascii_uppercase),
        (Function::ToString, _) => show(source, scratch),
        (Function::StartsWith, [part]) => {
            let part = part.value(facts, scratch, element);
            both(source, part, scratch, <[u8]>::starts_with)
        }
        (Function::EndsWith, [part]) => {
            let part = part.value(facts, scratch, element);
            both(source, part, scratch, <[u8]>::ends_with)
        }
        (Function::RemoveBytes, [Argument::Bytes(bytes)]) => {
            let mark = scratch.mark();
            scratch.push_value(source);
            let mut removed = [false; 256];
            for byte in bytes {
                if let Some(slot) = removed.get_mut(usize::from(*byte)) {
                    *slot = true;
                }
            }
            retain(scratch.since(mark), mark, |byte| {
                !removed.get(usize::from(byte)).copied().unwrap_or_default()
            });
            scratch.made(mark)
        }
        (Function::Substring, [Argument::Int(start), rest @ ..]) => {
            let end = match rest {
                [Argument::Int(end)] => Some(*end),
                _ => None,
            };
            substring(source, *start, end, scratch)
        }
        (Function::UrlDecode, options) => {
            let options: &[u8] = match options {
                [Argument::Bytes(options)] => options,
                _ => b"",
            };
            url_decode(
                source,
                options.contains(&b'r'),
                options.contains(&b'u'),
                scratch,
            )
        }
        (Function::DecodeBase64, _) => decode_base64(source, scratch),
        (Function::LookupJsonString, path) => json::string(source, path, scratch),
        (Function::LookupJsonInteger, path) => json::integer(source, path, scratch),
        (Function::RegexReplace, [Argument::Pattern(pattern), Argument::Bytes(replacement)]) => {
            regex_replace(source, pattern, replacement, scratch)
        }
        (
            Function::WildcardReplace,
            [
                Argument::Wildcard(wildcard),
                Argument::Bytes(replacement),
                ..,
            ],
        ) => {
            let mut stars = [(0, 0); limits::WILDCARD_STARS_MAX];
            let mut seen = stars.iter_mut();
            let matched = scratch.bytes(source).is_some_and(|bytes| {
                wildcard.captures(bytes, &mut |star| {
                    if let Some(slot) = seen.next() {
                        *slot = (star.start, star.end);
                    }
                })
            });
            if !matched {
                return source;
            }
            let begun = scratch.begin();
            replace(
                replacement,
                scratch,
                |number| number.checked_sub(1).and_then(|at| stars.get(at).copied()),
                source,
            );
            scratch.finish(begun)
        }
        // The parser builds no other calls.
        _ => Value::Missing,
    }
}

/// What a function does besides what it makes, with a first argument of that length. What a regular
/// expression does it counts itself.
fn cost(function: Function, rest: &[Argument], length: usize) -> usize {
    match (function, rest) {
        (Function::UrlDecode | Function::DecodeBase64, _) => length * budget::DECODED_BYTE,
        (Function::LookupJsonString | Function::LookupJsonInteger, _) => length * budget::JSON_BYTE,
        (Function::WildcardReplace, _) => length * budget::WILDCARD_BYTE,
        (Function::RemoveBytes, [Argument::Bytes(bytes)]) => bytes.len() + length,
        _ => length,
    }
}

/// Shows the elements of a function that gives an array; `false` when it is missing.
pub(crate) fn elements<'a>(
    call: &'a Call,
    facts: &Facts<'a>,
    scratch: &mut Scratch,
    element: Value<'a>,
    visit: Visit<'_, 'a>,
) -> bool {
    match (call.function, call.arguments.as_slice()) {
        (Function::Concat, arrays) => {
            let mut there = false;
            let mut ended = false;
            for argument in arrays {
                if let Argument::Array(array) = argument
                    && !ended
                {
                    there |= array.elements(facts, scratch, element, &mut |scratch, value| {
                        let flow = visit(scratch, value);
                        ended = flow.is_break();
                        flow
                    });
                }
            }
            there
        }
        (Function::Split, [source, Argument::Bytes(separator), Argument::Int(limit)]) => {
            let source = source.value(facts, scratch, element);
            let Some(mut rest) = scratch.bytes(source).map(|bytes| 0..bytes.len()) else {
                return false;
            };
            scratch.work(rest.len());
            for _ in 1..*limit {
                let bytes = scratch
                    .bytes(source)
                    .and_then(|bytes| bytes.get(rest.clone()))
                    .unwrap_or_default();
                let Some(found) = memchr::memmem::find(bytes, separator) else {
                    break;
                };
                if visit(scratch, part(source, rest.start, rest.start + found)).is_break() {
                    return true;
                }
                rest.start += found + separator.len();
                if !scratch.work(budget::ELEMENT) {
                    return true;
                }
            }
            let _ended = visit(scratch, part(source, rest.start, rest.end));
            true
        }
        _ => false,
    }
}

/// A range of a string value.
pub(crate) fn part(value: Value<'_>, start: usize, end: usize) -> Value<'_> {
    match value {
        Value::Bytes(bytes) => bytes.get(start..end).map_or(Value::Missing, Value::Bytes),
        Value::Made(from, _) => Value::Made(from + start, from + end),
        other => other,
    }
}

fn changed<'a>(source: Value<'_>, scratch: &mut Scratch, change: fn(&mut [u8])) -> Value<'a> {
    let mark = scratch.mark();
    scratch.push_value(source);
    if let Some(made) = scratch.since(mark).get_mut(mark..) {
        change(made);
    }
    scratch.made(mark)
}

fn both<'a>(
    source: Value<'_>,
    part: Value<'_>,
    scratch: &Scratch,
    test: fn(&[u8], &[u8]) -> bool,
) -> Value<'a> {
    match (scratch.bytes(source), scratch.bytes(part)) {
        (Some(source), Some(part)) => Value::Bool(test(source, part)),
        _ => Value::Missing,
    }
}

/// Keeps the bytes from `mark` on that pass.
fn retain(bytes: &mut Vec<u8>, mark: usize, keep: impl Fn(u8) -> bool) {
    let mut kept = mark;
    for at in mark..bytes.len() {
        let Some(byte) = bytes.get(at).copied() else {
            break;
        };
        if keep(byte) {
            if let Some(slot) = bytes.get_mut(kept) {
                *slot = byte;
            }
            kept += 1;
        }
    }
    bytes.truncate(kept);
}

fn cidr<'a>(address: Value<'_>, v4: i64, v6: i64) -> Value<'a> {
    let Value::Ip(address) = address else {
        return Value::Missing;
    };
    let bits = match address {
        IpAddr::V4(_) => v4,
        IpAddr::V6(_) => v6,
    };
    u8::try_from(bits).map_or(Value::Missing, |bits| Value::Ip(mask(address, bits)))
}

/// What is missing is left out, as wirefilter's `concat` does: Cloudflare's documents leave it to
/// each function. Missing when nothing is left.
fn concat<'a>(
    call: &'a Call,
    facts: &Facts<'a>,
    scratch: &mut Scratch,
    element: Value<'a>,
) -> Value<'a> {
    let begun = scratch.begin();
    let mut there = false;
    for argument in &call.arguments {
        match argument.value(facts, scratch, element) {
            Value::Missing => {}
            value => {
                there = true;
                scratch.add(value);
            }
        }
    }
    if there {
        return scratch.finish(begun);
    }
    scratch.abandon(begun);
    Value::Missing
}

fn join<'a>(
    array: &'a Argument,
    separator: &'a [Argument],
    facts: &Facts<'a>,
    scratch: &mut Scratch,
    element: Value<'a>,
) -> Value<'a> {
    let (Argument::Array(array), [separator]) = (array, separator) else {
        return Value::Missing;
    };
    let separator = separator.value(facts, scratch, element);
    let begun = scratch.begin();
    let mut first = true;
    let mut missing = matches!(separator, Value::Missing);
    let there = array.elements(facts, scratch, element, &mut |scratch, value| {
        if !first {
            scratch.add(separator);
        }
        first = false;
        missing |= matches!(value, Value::Missing);
        scratch.add(value);
        ControlFlow::Continue(())
    });
    if there && !missing {
        return scratch.finish(begun);
    }
    scratch.abandon(begun);
    Value::Missing
}

/// Indexes below zero count from the end; those outside are moved to the nearest end.
fn substring<'a>(source: Value<'a>, start: i64, end: Option<i64>, scratch: &Scratch) -> Value<'a> {
    let Some(length) = scratch.bytes(source).map(<[u8]>::len) else {
        return Value::Missing;
    };
    let at = |index: i64| {
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 {
            length.saturating_sub(distance)
        } else {
            distance.min(length)
        }
    };
    let start = at(start);
    let end = end.map_or(length, at).max(start);
    part(source, start, end)
}
