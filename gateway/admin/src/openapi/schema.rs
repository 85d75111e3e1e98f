//! A short way to write JSON Schema (draft 2020-12), as much of it as the document uses.
//!
//! A member of an object is required, or may be left out, or may also be `null`, which then means
//! the same as leaving it out: the three ways in which serde reads members here.

use serde_json::{Map, Value, json};

/// A schema.
#[derive(Debug, Clone)]
pub(super) struct Schema(Map<String, Value>);

/// The schema of an object in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Object {
    members: Map<String, Value>,
    required: Vec<&'static str>,
    is_closed: bool,
    about: &'static str,
}

fn of(kind: &str) -> Schema {
    Schema(Map::new()).with("type", kind)
}

pub(super) fn text() -> Schema {
    of("string")
}

/// A whole number that is not negative.
pub(super) fn count() -> Schema {
    of("integer").least(0)
}

pub(super) fn number() -> Schema {
    of("number")
}

pub(super) fn flag() -> Schema {
    of("boolean")
}

/// Anything at all.
pub(super) fn anything() -> Schema {
    Schema(Map::new())
}

/// Nothing but `null`.
pub(super) fn nothing() -> Schema {
    of("null")
}

/// One of some words.
pub(super) fn words<'w>(all: impl IntoIterator<Item = &'w str>) -> Schema {
    let all: Vec<&str> = all.into_iter().collect();
    text().with("enum", all)
}

pub(super) fn list(items: impl Into<Schema>) -> Schema {
    of("array").with("items", items.into().0)
}

/// An object whose members have names that are not known beforehand.
pub(super) fn map(values: impl Into<Schema>) -> Schema {
    of("object").with("additionalProperties", values.into().0)
}

/// The schema of this name.
pub(super) fn named(name: &str) -> Schema {
    Schema(Map::new()).with("$ref", format!("#/components/schemas/{name}"))
}

/// One of several.
pub(super) fn either(all: impl IntoIterator<Item = Schema>) -> Schema {
    let all: Vec<Value> = all.into_iter().map(|one| one.0.into()).collect();
    Schema(Map::new()).with("anyOf", all)
}

/// An object that may have other members as well.
pub(super) fn object() -> Object {
    Object::default()
}

/// An object that is refused with any other member.
pub(super) fn closed() -> Object {
    Object {
        is_closed: true,
        ..Object::default()
    }
}

impl Schema {
    fn with(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.0.insert(keyword.into(), value.into());
        self
    }

    pub(super) fn about(self, text: &str) -> Self {
        self.with("description", text)
    }

    pub(super) fn format(self, name: &str) -> Self {
        self.with("format", name)
    }

    pub(super) fn pattern(self, pattern: &str) -> Self {
        self.with("pattern", pattern)
    }

    /// What holds when it is left out.
    pub(super) fn default(self, value: impl Into<Value>) -> Self {
        self.with("default", value)
    }

    /// The least number.
    pub(super) fn least(self, number: u64) -> Self {
        self.with("minimum", number)
    }

    /// The greatest number.
    pub(super) fn most(self, number: u64) -> Self {
        self.with("maximum", number)
    }

    /// A text that is not empty.
    pub(super) fn some(self) -> Self {
        self.with("minLength", 1)
    }

    /// How many characters at most. The gateway counts bytes, which are as many or more.
    pub(super) fn characters(self, most: usize) -> Self {
        self.with("maxLength", most)
    }

    /// How many items at most.
    pub(super) fn items(self, most: usize) -> Self {
        self.with("maxItems", most)
    }

    /// A list that is not empty.
    pub(super) fn not_empty(self) -> Self {
        self.with("minItems", 1)
    }

    /// Nothing but this value.
    pub(super) fn only(self, value: impl Into<Value>) -> Self {
        self.with("const", value)
    }

    /// The same, or `null`.
    pub(super) fn or_null(mut self) -> Self {
        let about = self.0.remove("description");
        let mut wider = match (self.0.get("type").cloned(), self.0.contains_key("const")) {
            (Some(Value::String(kind)), false) => {
                if let Some(Value::Array(words)) = self.0.get_mut("enum") {
                    words.push(Value::Null);
                }
                self.with("type", json!([kind, "null"]))
            }
            _ if self.0.is_empty() => self,
            _ => either([self, nothing()]),
        };
        if let Some(about) = about {
            wider = wider.with("description", about);
        }
        wider
    }

    pub(super) fn into_value(self) -> Value {
        self.0.into()
    }
}

impl Object {
    /// A member that is always there, or has to be.
    pub(super) fn has(mut self, name: &'static str, schema: impl Into<Schema>) -> Self {
        self.required.push(name);
        self.may_have(name, schema)
    }

    /// A member that is not always there, or need not be.
    pub(super) fn may_have(mut self, name: &'static str, schema: impl Into<Schema>) -> Self {
        self.members.insert(name.into(), schema.into().into_value());
        self
    }

    /// A member that need not be there; `null` means the same.
    pub(super) fn takes(self, name: &'static str, schema: impl Into<Schema>) -> Self {
        self.may_have(name, schema.into().or_null())
    }

    /// Some text members that are always there.
    pub(super) fn has_texts<const N: usize>(self, names: [&'static str; N]) -> Self {
        names
            .into_iter()
            .fold(self, |all, name| all.has(name, text()))
    }

    /// Some counts that are always there.
    pub(super) fn has_counts<const N: usize>(self, names: [&'static str; N]) -> Self {
        names
            .into_iter()
            .fold(self, |all, name| all.has(name, count()))
    }

    pub(super) fn about(mut self, text: &'static str) -> Self {
        self.about = text;
        self
    }
}

impl From<Object> for Schema {
    fn from(object: Object) -> Self {
        let mut schema = of("object").with("properties", object.members);
        if !object.required.is_empty() {
            schema = schema.with("required", object.required);
        }
        if object.is_closed {
            schema = schema.with("additionalProperties", false);
        }
        if !object.about.is_empty() {
            schema = schema.about(object.about);
        }
        schema
    }
}
