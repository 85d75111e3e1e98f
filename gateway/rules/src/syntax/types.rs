//! The types of the language and their names in messages.
//!
//! Follows Cloudflare's notation (`Array<String>`). Owns no values: those are in `eval::value`.

use std::fmt;

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// 64-bit signed.
    Integer,
    /// Bytes, not necessarily UTF-8.
    String,
    /// IPv4 or IPv6.
    Ip,
}

/// The type of a field or of a function's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// One value.
    Single(Kind),
    /// Any number of values of one kind.
    Array(Kind),
    /// `Map<Array<String>>`, the only map the language has.
    Map,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::String => "String",
            Self::Ip => "IP address",
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(kind) => write!(f, "{kind}"),
            Self::Array(kind) => write!(f, "Array<{kind}>"),
            Self::Map => f.write_str("Map<Array<String>>"),
        }
    }
}
