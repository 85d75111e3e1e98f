//! `lookup_json_string` and `lookup_json_integer`: one value out of a JSON text, without building
//! the document. The whole text has to be valid JSON; anything else is a missing value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::ast::Argument;
use super::value::{Scratch, Value};

/// The string at that path.
pub(super) fn string<'a>(source: Value<'a>, path: &[Argument], scratch: &mut Scratch) -> Value<'a> {
    let Some(bytes) = scratch.bytes(source) else {
        return Value::Missing;
    };
    match look_up(bytes, path) {
        Some(Found::String(made)) => {
            let mark = scratch.mark();
            scratch.push(made.as_bytes());
            scratch.made(mark)
        }
        Some(Found::Slice(start, end)) => match source {
            Value::Bytes(bytes) => bytes.get(start..end).map_or(Value::Missing, Value::Bytes),
            Value::Made(from, _) => Value::Made(from + start, from + end),
            _ => Value::Missing,
        },
        _ => Value::Missing,
    }
}

/// The integer at that path; a number written with a point or exponent is none.
pub(super) fn integer<'a>(
    source: Value<'a>,
    path: &[Argument],
    scratch: &mut Scratch,
) -> Value<'a> {
    match scratch.bytes(source).and_then(|bytes| look_up(bytes, path)) {
        Some(Found::Integer(value)) => Value::Int(value),
        _ => Value::Missing,
    }
}

enum Found {
    /// Where the text has it.
    Slice(usize, usize),
    /// It had escapes.
    String(String),
    Integer(i64),
}

fn look_up(bytes: &[u8], path: &[Argument]) -> Option<Found> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let found = Path {
        steps: path,
        base: bytes.as_ptr() as usize,
    }
    .deserialize(&mut reader)
    .ok()?;
    reader.end().ok()?;
    found
}

#[derive(Clone, Copy)]
struct Path<'p> {
    steps: &'p [Argument],
    /// Address of the text, to tell where a borrowed string lies in it.
    base: usize,
}

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<Found>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<Found>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        let start = (text.as_ptr() as usize).wrapping_sub(self.base);
        Ok(self
            .steps
            .is_empty()
            .then(|| Found::Slice(start, start + text.len())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self
            .steps
            .is_empty()
            .then(|| Found::String(text.to_owned())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.steps.is_empty().then_some(Found::Integer(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value)
            .ok()
            .filter(|_| self.steps.is_empty())
            .map(Found::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (wanted, steps) = match self.steps.split_first() {
            Some((Argument::Int(index), steps)) => (usize::try_from(*index).ok(), steps),
            _ => (None, self.steps),
        };
        let mut found = None;
        let mut at = 0;
        loop {
            if Some(at) == wanted {
                match items.next_element_seed(Path { steps, ..self })? {
                    Some(inner) => found = inner,
                    None => return Ok(found),
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (wanted, steps) = match self.steps.split_first() {
            Some((Argument::Bytes(name), steps)) => (Some(&**name), steps),
            _ => (None, self.steps),
        };
        let mut found = None;
        while let Some(matches) = entries.next_key_seed(Name(wanted))? {
            if matches {
                // Of a repeated name the last one counts, as everywhere in JSON practice.
                found = entries.next_value_seed(Path { steps, ..self })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a name without keeping it.
struct Name<'p>(Option<&'p [u8]>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(self.0 == Some(text.as_bytes()))
    }
}
