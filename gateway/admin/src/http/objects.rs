//! Reading JSON with objects as objects, and counting what it becomes.
//!
//! serde reads a struct from an array as well, as its members in their order: `[]` would be a body
//! in which every member is left out. Owns a layer over any deserializer that refuses this at every
//! depth, and counts the memory of items and members against a [`Budget`] before they are read.
//! Everything else is read as before.
//!
//! What an untagged or flattened type keeps aside is read without this layer; bodies have none.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::memory::Budget;

/// The layer: around deserializers, visitors, and what visitors are given.
pub(crate) struct Objects<'b, T>(pub(crate) T, pub(crate) &'b Budget<'b>);

/// A visitor that takes the members of an object, and nothing else.
struct Members<'b, V>(V, &'b Budget<'b>);

/// The items of an array, counted. A growing vector has room for twice as many.
struct Items<'b, A>(A, &'b Budget<'b>);

/// The members of an object, counted where they are kept in a map.
struct Entries<'b, A> {
    inner: A,
    budget: &'b Budget<'b>,
    /// How many there were before.
    count: usize,
    /// What the key takes that was read last. The name of a struct's member is no more than a byte.
    key_bytes: usize,
}

/// Keys that are kept are texts; see [`Entries`].
const KEPT_KEY_BYTES_MIN: usize = size_of::<Box<str>>();
/// Entries that a node of a `BTreeMap` has room for.
const NODE_ENTRIES: usize = 11;
/// Entries that it has at least, but for the only one.
const NODE_ENTRIES_MIN: usize = 5;
/// What it takes beside its entries, and below it.
const NODE_BYTES: usize = 32;

impl<'de, V: Visitor<'de>> Visitor<'de> for Members<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Entries::of(members, self.1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _items: A) -> Result<V::Value, A::Error> {
        Err(A::Error::custom("an object is expected, not an array"))
    }
}

macro_rules! deserialize {
    ($($method:ident($($name:ident: $kind:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V)
            -> Result<V::Value, D::Error>
        {
            self.0.$method($($name,)* Objects(visitor, self.1))
        }
    )*};
}

impl<'b, 'de, D: Deserializer<'de>> Deserializer<'de> for Objects<'b, D> {
    type Error = D::Error;

    deserialize! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32()
        deserialize_i64() deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32()
        deserialize_u64() deserialize_u128() deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string() deserialize_bytes()
        deserialize_byte_buf() deserialize_option() deserialize_unit() deserialize_seq()
        deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0
            .deserialize_struct(name, fields, Members(visitor, self.1))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'b, 'de, V: Visitor<'de>> Visitor<'de> for Objects<'b, V> {
    type Value = V::Value;

    visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64)
        visit_i128(i128) visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64)
        visit_u128(u128) visit_f32(f32) visit_f64(f64) visit_char(char) visit_str(&str)
        visit_borrowed_str(&'de str) visit_string(String) visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(out)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(inner, self.1))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(inner, self.1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Items(items, self.1))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Entries::of(members, self.1))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(variant, self.1))
    }
}

impl<'b, 'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<'b, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(inner, self.1))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.1.count(size_of::<S::Value>().saturating_mul(2))?;
        self.0.next_element_seed(Objects(seed, self.1))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'b, A> Entries<'b, A> {
    fn of(inner: A, budget: &'b Budget<'b>) -> Self {
        Self {
            inner,
            budget,
            count: 0,
            key_bytes: 0,
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.key_bytes = size_of::<S::Value>();
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let begins_a_node = self.count.is_multiple_of(NODE_ENTRIES_MIN);
        if self.key_bytes >= KEPT_KEY_BYTES_MIN && begins_a_node {
            let entry = self.key_bytes.saturating_add(size_of::<S::Value>());
            let entries = entry.saturating_mul(NODE_ENTRIES);
            self.budget.count(entries.saturating_add(NODE_BYTES))?;
        }
        self.count = self.count.saturating_add(1);
        self.inner.next_value_seed(Objects(seed, self.budget))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'b, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<'b, A> {
    type Error = A::Error;
    type Variant = Objects<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, variant) = self.0.variant_seed(seed)?;
        Ok((name, Objects(variant, self.1)))
    }
}

impl<'b, 'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<'b, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed, self.1))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Objects(visitor, self.1))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Members(visitor, self.1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::http::memory::Pool;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        a: u8,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Unit,
        New(Inner),
        Pair(u8, u8),
        Named { a: u8 },
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        one: Inner,
        maybe: Option<Inner>,
        boxed: Box<Inner>,
        list: Vec<Inner>,
        map: BTreeMap<String, Inner>,
        choice: Option<Choice>,
        pair: (u8, u8),
        any: Value,
        text: String,
        number: f64,
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for text in [
            "[]",
            r#"{"one": []}"#,
            r#"{"one": [1]}"#,
            r#"{"maybe": []}"#,
            r#"{"boxed": [1]}"#,
            r#"{"list": [{"a": 1}, [1]]}"#,
            r#"{"map": {"x": [1]}}"#,
            r#"{"choice": {"new": [1]}}"#,
            r#"{"choice": {"named": [1]}}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let share = Pool::default().share();
            let budget = Budget::of(text.len(), &share);
            let mut json = serde_json::Deserializer::from_str(text);
            for refused in [
                Outer::deserialize(Objects(&mut json, &budget)),
                Outer::deserialize(Objects(value, &budget)),
            ] {
                assert!(refused.is_err(), "{text}: {refused:?}");
            }
        }
    }

    #[test]
    fn all_else_is_read_as_without_the_layer() {
        for text in [
            "{}",
            "7",
            r#""text""#,
            "null",
            r#"{"one": {"a": 1}, "maybe": null, "boxed": {}, "list": [{"a": 1}, {}]}"#,
            r#"{"map": {"x": {"a": 2}}, "choice": "unit", "pair": [1, 2], "any": [[], {}, 1.5]}"#,
            r#"{"choice": {"new": {"a": 1}}, "text": "\u00e9", "number": 7}"#,
            r#"{"choice": {"named": {"a": 1}}, "unheard of": [1]}"#,
            r#"{"choice": {"pair": [1, 2]}}"#,
            r#"{"pair": {}}"#,
            r#"{"list": {}}"#,
            r#"{"one": {"a": "x"}}"#,
            r#"{"one": "#,
        ] {
            let plain = serde_json::from_str::<Outer>(text).ok();
            let share = Pool::default().share();
            let budget = Budget::of(text.len(), &share);
            let mut json = serde_json::Deserializer::from_str(text);
            let layered = Outer::deserialize(Objects(&mut json, &budget));
            assert_eq!(layered.ok(), plain, "{text}");
        }
    }

    #[test]
    fn items_and_members_are_counted_before_they_are_kept() {
        for (text, fits) in [
            (format!("[{}]", vec!["{}"; 1 << 20].join(",")), false),
            (format!("[{}]", vec![r#"{"":0}"#; 100_000].join(",")), false),
            (format!("[{}]", vec!["7"; 1 << 20].join(",")), false),
            (format!("[{}]", vec![r#"{"":0}"#; 10_000].join(",")), true),
            (format!(r#"["{}"]"#, "x".repeat(8 << 20)), true),
        ] {
            let share = Pool::default().share();
            let budget = Budget::of(text.len(), &share);
            let mut json = serde_json::Deserializer::from_str(&text);
            let read = Value::deserialize(Objects(&mut json, &budget));
            assert_eq!(read.is_ok(), fits, "{}", &text[..32]);
        }
    }
}
