//! The function `regex_replace`, and the `${n}` of replacements.

use super::functions::part;
use super::value::{Scratch, Value};
use crate::limits;
use crate::matcher::regex::Pattern;

pub(crate) fn regex_replace<'a>(
    source: Value<'a>,
    pattern: &Pattern,
    replacement: &[u8],
    scratch: &mut Scratch,
) -> Value<'a> {
    let Some((bytes, work)) = scratch.reading(source) else {
        return Value::Missing;
    };
    let length = bytes.len();
    let mut groups = [None; limits::REPLACEMENT_GROUPS];
    if !pattern.groups(bytes, work, &mut groups) {
        return source;
    }
    let Some((start, end)) = groups.first().copied().flatten() else {
        return source;
    };
    let begun = scratch.begin();
    scratch.add(part(source, 0, start));
    replace(
        replacement,
        scratch,
        |number| groups.get(number).copied().flatten(),
        source,
    );
    scratch.add(part(source, end, length));
    scratch.finish(begun)
}

/// Adds a replacement to the result begun last, with `${n}` as ranges of `source`.
pub(crate) fn replace(
    replacement: &[u8],
    scratch: &mut Scratch,
    group: impl Fn(usize) -> Option<(usize, usize)>,
    source: Value<'_>,
) {
    let mut rest = replacement;
    while let Some(dollar) = rest.iter().position(|b| *b == b'$') {
        let (before, after) = rest.split_at(dollar);
        scratch.add(Value::Bytes(before));
        rest = after.get(1..).unwrap_or_default();
        match rest.split_first() {
            Some((b'{', inside)) => {
                let digits = inside.iter().take_while(|b| b.is_ascii_digit());
                let number = digits
                    .clone()
                    .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
                if let Some((start, end)) = group(number) {
                    scratch.add(part(source, start, end));
                }
                rest = inside.get(digits.count() + 1..).unwrap_or_default();
            }
            _ => {
                scratch.add(Value::Bytes(b"$"));
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    scratch.add(Value::Bytes(rest));
}
