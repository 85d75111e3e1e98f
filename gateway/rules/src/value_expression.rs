//! The value expression: a value computed from a request, for a header or as a key of a rate limit.
//!
//! Parsed and checked like an operand, then evaluated on a worker; the value is written out, so
//! this allocates what the caller's buffer needs.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::IpAddr;
use std::ops::ControlFlow;

use crate::eval::field_values::Facts;
use crate::eval::value::{Scratch, Value};
use crate::facts::{ConnectionFacts, RequestFacts};
use crate::limits;
use crate::matcher::budget::Overworked;
use crate::program::ConnectionState;
use crate::syntax::ast::{Array, Condition, Part, Scalar};
use crate::syntax::error::{ParseError, Problem, Span};
use crate::syntax::field::Field;
use crate::syntax::operand::OperandValue;
use crate::syntax::parser;
use crate::syntax::types::Kind;

/// A checked value expression: a field, an element, or what a function makes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed(Shape);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    One(Scalar),
    /// Of an array all elements count.
    All(Array),
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Computed {
    /// A string, for the value of a header.
    ///
    /// # Errors
    /// It does not parse, or is not a string.
    pub fn text(text: &str) -> Result<Self, ParseError> {
        let (value, span) = parser::parse_operand(text)?;
        let wrong =
            |what: String, hint: &str| ParseError::new(text, Problem::new(span, what, hint));
        match value {
            OperandValue::Scalar(scalar) if scalar.kind() == Kind::String => {
                Self(Shape::One(scalar)).checked(text, span)
            }
            OperandValue::Scalar(scalar) => Err(wrong(
                format!("a string is expected, this is {}", scalar.kind()),
                "`to_string(…)` makes one of it",
            )),
            OperandValue::Array(_) => Err(wrong(
                "a string is expected, this is an array".to_owned(),
                "`[0]` is its first element, `join(…, \",\")` puts all together",
            )),
            OperandValue::Map(_) => Err(wrong(
                "a string is expected, this is a map".to_owned(),
                "`[\"key\"][0]` is the first value of a key",
            )),
        }
    }

    /// One value of any kind, for sharing requests out.
    ///
    /// # Errors
    /// It does not parse, or is an array or a map.
    pub fn value(text: &str) -> Result<Self, ParseError> {
        let (value, span) = parser::parse_operand(text)?;
        match value {
            OperandValue::Scalar(scalar) => Self(Shape::One(scalar)).checked(text, span),
            OperandValue::Array(_) | OperandValue::Map(_) => {
                let hint = "`[0]` is the first element of an array, `[\"key\"][0]` the first value of a key";
                let problem = Problem::new(span, "one value is expected, these are several", hint);
                Err(ParseError::new(text, problem))
            }
        }
    }

    /// Anything but a whole map, for telling requests apart.
    ///
    /// # Errors
    /// It does not parse, or is a map.
    pub fn key(text: &str) -> Result<Self, ParseError> {
        let (value, span) = parser::parse_operand(text)?;
        match value {
            OperandValue::Scalar(scalar) => Self(Shape::One(scalar)).checked(text, span),
            OperandValue::Array(array) => Self(Shape::All(array)).checked(text, span),
            OperandValue::Map(_) => {
                let problem = Problem::new(
                    span,
                    "requests cannot be counted by a map",
                    "add `[\"key\"]`",
                );
                Err(ParseError::new(text, problem))
            }
        }
    }

    /// Appends the value as text; whether there is one.
    ///
    /// # Errors
    /// It would take too much work.
    pub fn write(
        &self,
        connection: &ConnectionFacts,
        state: &ConnectionState,
        request: &RequestFacts<'_>,
        into: &mut Vec<u8>,
    ) -> Result<bool, Overworked> {
        let facts = Facts {
            connection,
            request,
            values: &state.values,
        };
        self.values(&facts, &mut |scratch, value| match value {
            Value::Missing => false,
            Value::Int(number) => write!(into, "{number}").is_ok(),
            Value::Bool(truth) => write!(into, "{truth}").is_ok(),
            Value::Ip(address) => write!(into, "{address}").is_ok(),
            Value::Bytes(_) | Value::Made(..) => {
                into.extend_from_slice(scratch.bytes(value).unwrap_or_default());
                true
            }
        })
    }

    /// The keys of the value: one, or for an array one for each distinct element, so that a client
    /// that sends a header twice counts under both. An IPv6 address counts by its first 64 bits: the
    /// client chooses the rest.
    ///
    /// # Errors
    /// It would take too much work, or there are more than `limits::RATE_KEYS_MAX` elements.
    pub fn keys(
        &self,
        connection: &ConnectionFacts,
        state: &ConnectionState,
        request: &RequestFacts<'_>,
    ) -> Result<Vec<Vec<u8>>, Overworked> {
        let facts = Facts {
            connection,
            request,
            values: &state.values,
        };
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut too_many = false;
        self.values(&facts, &mut |scratch, value| {
            let key = |family: u8, bytes: &[u8]| [&[family], bytes].concat();
            let key = match value {
                Value::Missing => return false,
                Value::Int(number) => key(1, &number.to_le_bytes()),
                Value::Bool(truth) => key(2, &[u8::from(truth)]),
                Value::Ip(IpAddr::V4(address)) => key(4, &address.octets()),
                Value::Ip(IpAddr::V6(address)) => {
                    key(6, address.octets().get(..8).unwrap_or_default())
                }
                Value::Bytes(_) | Value::Made(..) => {
                    key(3, scratch.bytes(value).unwrap_or_default())
                }
            };
            if !keys.contains(&key) {
                too_many |= keys.len() >= limits::RATE_KEYS_MAX;
                if !too_many {
                    keys.push(key);
                }
            }
            true
        })?;
        if too_many {
            return Err(Overworked);
        }
        if keys.is_empty() {
            // All that have none count together.
            keys.push(Vec::new());
        }
        Ok(keys)
    }

    /// Whether it reads the ClientHello, which connections have to keep then.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        self.condition().reads_client_hello()
    }

    /// Something to walk.
    fn condition(&self) -> Condition {
        Condition::Truth(match &self.0 {
            Shape::One(scalar) => scalar.clone(),
            Shape::All(array) => Scalar::At(Box::new(array.clone()), 0),
        })
    }

    /// Refuses header names that no request has: they are in lower case there.
    fn checked(self, text: &str, span: Span) -> Result<Self, ParseError> {
        let mut wrong = None;
        self.condition().walk(&mut |part| {
            if let Part::Entry(Field::Headers, key) = part
                && key.iter().any(u8::is_ascii_uppercase)
            {
                wrong = Some(String::from_utf8_lossy(key).to_lowercase());
            }
        });
        match wrong {
            None => Ok(self),
            Some(lower) => {
                let message = "names of headers are in lower case: this is never there";
                let problem = Problem::new(span, message, format!("write \"{lower}\""));
                Err(ParseError::new(text, problem))
            }
        }
    }

    /// Shows the value, or each element; whether any was taken.
    fn values(
        &self,
        facts: &Facts<'_>,
        take: &mut dyn FnMut(&Scratch, Value<'_>) -> bool,
    ) -> Result<bool, Overworked> {
        SCRATCH.with(|scratch| {
            // Nothing that is shown a value asks for another one.
            let mut scratch = scratch.try_borrow_mut().map_err(|_in_use| Overworked)?;
            let scratch = &mut *scratch;
            scratch.begin_decision();
            scratch.leave_work(facts.request.allowance.left());
            let mut taken = false;
            match &self.0 {
                Shape::One(scalar) => {
                    let value = scalar.value(facts, scratch, Value::Missing);
                    taken = take(scratch, value);
                }
                Shape::All(array) => {
                    array.elements(facts, scratch, Value::Missing, &mut |scratch, value| {
                        taken |= take(scratch, value);
                        ControlFlow::Continue(())
                    });
                }
            }
            facts.request.allowance.leave(scratch.work_left());
            if scratch.is_spent() {
                return Err(Overworked);
            }
            Ok(taken)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Certificate, World};

    fn world() -> World {
        World::new(Certificate::Valid, "api.example.test", "/a/b")
            .header("x-key", "k1")
            .header("x-key", "k2")
    }

    fn written(text: &str) -> Option<String> {
        let (world, mut bytes) = (world(), Vec::new());
        let computed = Computed::text(text).unwrap();
        let state = ConnectionState::default();
        let there = computed.write(&world.connection, &state, &world.request(), &mut bytes);
        there.unwrap().then(|| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn strings_are_worked_out() {
        for (text, expected) in [
            ("http.host", Some("api.example.test")),
            (
                "concat(\"a-\", http.host, http.request.uri.path)",
                Some("a-api.example.test/a/b"),
            ),
            ("http.request.headers[\"x-key\"][1]", Some("k2")),
            ("http.request.headers[\"x-key\"][2]", None),
            ("http.request.headers[\"none\"][0]", None),
            ("to_string(ip.src)", Some("203.0.113.9")),
            (
                "regex_replace(http.request.uri.path, \"/a\", \"/c\")",
                Some("/c/b"),
            ),
            ("to_string(cf.tls_client_auth.cert_verified)", Some("true")),
        ] {
            assert_eq!(written(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_values_of_one_request_are_bounded_together() {
        let mut world = world();
        world.query = "a%41".repeat(10_000);
        let computed = Computed::text("url_decode(http.request.uri.query)").unwrap();
        let (state, request) = (ConnectionState::default(), world.request());
        let write = || {
            let mut bytes = Vec::new();
            let written = computed.write(&world.connection, &state, &request, &mut bytes);
            written.map(|_| bytes.len())
        };
        let done = (0..1_000).take_while(|_| write() == Ok(20_000)).count();
        assert!((50..1_000).contains(&done), "{done}");
        assert_eq!(write(), Err(Overworked));
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for (text, why) in [
            ("", "empty"),
            ("ip.src", "this is IP address"),
            ("http.request.headers[\"x-key\"]", "this is an array"),
            ("http.request.headers", "this is a map"),
            ("http.request.headers.names[*]", "each"),
            ("http.host eq \"a\"", "unrecognised"),
            ("http.request.headers[\"X-Key\"][0]", "lower case"),
            ("http.hots", "http.host"),
            ("concat(http.host", "`,` or `)`"),
        ] {
            let error = Computed::text(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Computed::key("http.request.headers").is_err());
    }

    #[test]
    fn keys_tell_values_apart() {
        let keys = |text: &str, world: &World| {
            let state = ConnectionState::default();
            let computed = Computed::key(text).unwrap();
            computed.keys(&world.connection, &state, &world.request())
        };
        let headers = "http.request.headers[\"x-key\"]";
        let with = |values: &[&str]| {
            let world = World::new(Certificate::Valid, "api.example.test", "/");
            let add = |world: World, value: &&str| world.header("x-key", value);
            keys(headers, &values.iter().fold(world, add))
        };
        assert_eq!(with(&["k1", "k2", "k1"]).unwrap().len(), 2);
        assert_eq!(with(&["k1", "k2"]).unwrap()[..1], with(&["k1"]).unwrap());
        assert_eq!(with(&[]).unwrap(), [b""]);
        let many: Vec<String> = (0..=limits::RATE_KEYS_MAX).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(with(&many), Err(Overworked));
        let from = |address: &str| {
            let mut world = world();
            world.connection.source = format!("[{address}]:1").parse().unwrap();
            keys("ip.src", &world).unwrap()
        };
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:2"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
    }
}
