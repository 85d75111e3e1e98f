//! The canonical text of an expression: English operators, single spaces, the fewest parentheses,
//! except around an `and` inside an `or`, which is easily misread without them.
//!
//! Where those are too many for the parser they are left out. Parsing the canonical text gives the
//! same expression again.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    Argument, Array, Call, Comparison, Condition, IpItem, ListReference, Literal, Quantifier,
    Scalar, Set,
};
use super::parentheses::Style;
use crate::matcher::regex::Pattern;
use crate::matcher::wildcard::Wildcard;

/// A condition with these parentheses.
pub(crate) struct Styled<'c>(pub(crate) &'c Condition, pub(crate) Style);

impl Display for Styled<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        unpacked::condition(f, self.0, None, self.1)
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Styled(self, Style::of(self)))
    }
}

/// Printing where [`Scalar::Element`] stands for `array[*]`, if there is one.
mod unpacked {
    use super::*;

    pub(crate) fn condition(
        f: &mut Formatter<'_>,
        condition: &Condition,
        root: Option<&Array>,
        style: Style,
    ) -> fmt::Result {
        let strength = condition.strength();
        let part = |f: &mut Formatter<'_>, part: &Condition| {
            if style.encloses(part, strength) {
                f.write_char('(')?;
                self::condition(f, part, root, style)?;
                f.write_char(')')
            } else {
                self::condition(f, part, root, style)
            }
        };
        let joined = |f: &mut Formatter<'_>, parts: &[Condition], operator: &str| {
            for (index, one) in parts.iter().enumerate() {
                if index > 0 {
                    write!(f, " {operator} ")?;
                }
                part(f, one)?;
            }
            Ok(())
        };
        let value = |f: &mut Formatter<'_>, value: &Scalar| match root {
            Some(root) => scalar(f, value, root),
            None => write!(f, "{value}"),
        };
        match condition {
            Condition::Constant(value) => write!(f, "{value}"),
            Condition::Not(inner) => {
                f.write_str("not ")?;
                part(f, inner)
            }
            Condition::And(parts) => joined(f, parts, "and"),
            Condition::Xor(parts) => joined(f, parts, "xor"),
            Condition::Or(parts) => joined(f, parts, "or"),
            Condition::Truth(truth) => value(f, truth),
            Condition::Compare(left, test) => {
                value(f, left)?;
                write!(f, " {test}")
            }
            Condition::Quantified(quantifier, array, inner) => {
                let name = match quantifier {
                    Quantifier::Any => "any",
                    Quantifier::All => "all",
                };
                write!(f, "{name}(")?;
                self::condition(f, inner, Some(array), style)?;
                f.write_char(')')
            }
        }
    }

    fn scalar(f: &mut Formatter<'_>, value: &Scalar, root: &Array) -> fmt::Result {
        match value {
            Scalar::Element(_) => write!(f, "{root}[*]"),
            Scalar::Call(inner) => {
                call(f, inner, root)?;
                f.write_str("[*]")
            }
            Scalar::Field(_) | Scalar::At(..) => write!(f, "{value}"),
        }
    }

    pub(crate) fn call(f: &mut Formatter<'_>, call: &Call, root: &Array) -> fmt::Result {
        write!(f, "{}(", call.function.name())?;
        for (index, argument) in call.arguments.iter().enumerate() {
            match (index, argument) {
                (0, Argument::Scalar(value)) => scalar(f, value, root)?,
                (0, _) => write!(f, "{argument}")?,
                _ => write!(f, ", {argument}")?,
            }
        }
        f.write_char(')')
    }
}

impl Display for Scalar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => f.write_str(field.name()),
            // Only ever inside `unpacked`.
            Self::Element(_) => f.write_str("[*]"),
            Self::At(array, index) => write!(f, "{array}[{index}]"),
            Self::Call(call) => write!(f, "{call}"),
        }
    }
}

impl Display for Array {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => f.write_str(field.name()),
            Self::Entry(field, key) => {
                write!(f, "{}[", field.name())?;
                string(f, key)?;
                f.write_char(']')
            }
            Self::Call(call) => write!(f, "{call}"),
            Self::Each(root, call) => unpacked::call(f, call, root),
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name())?;
        for (index, argument) in self.arguments.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{argument}")?;
        }
        f.write_char(')')
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(value) => write!(f, "{value}"),
            Self::Array(array) => write!(f, "{array}"),
            Self::Bytes(bytes) => string(f, bytes),
            Self::Int(value) => write!(f, "{value}"),
            Self::Pattern(pattern) => string(f, pattern.source.as_bytes()),
            Self::Wildcard(wildcard) => string(f, &wildcard.source),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(relation, literal) => write!(f, "{} {literal}", relation.as_str()),
            Self::Contains(bytes) => {
                f.write_str("contains ")?;
                string(f, bytes)
            }
            Self::Matches(pattern) => write!(f, "matches {pattern}"),
            Self::Wildcard(wildcard) => write!(f, "{wildcard}"),
            Self::In(set) => write!(f, "in {{{set}}}"),
            Self::Listed(list) => write!(f, "in {list}"),
        }
    }
}

impl Display for ListReference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.name)
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => string(f, bytes),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fn spaced<T>(
            f: &mut Formatter<'_>,
            items: &[T],
            one: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
        ) -> fmt::Result {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_char(' ')?;
                }
                one(f, item)?;
            }
            Ok(())
        }
        match self {
            Self::Ints(items) => spaced(f, items, |f, (first, last)| {
                if first == last {
                    write!(f, "{first}")
                } else {
                    write!(f, "{first}..{last}")
                }
            }),
            Self::Bytes(items) => spaced(f, items, |f, item| string(f, item)),
            Self::Ips(items) => spaced(f, items, |f, item| match item {
                IpItem::Address(address) => write!(f, "{address}"),
                IpItem::Network(address, bits) => write!(f, "{address}/{bits}"),
                IpItem::Range(first, last) => write!(f, "{first}..{last}"),
            }),
        }
    }
}

impl Display for Wildcard {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.strict {
            "strict wildcard "
        } else {
            "wildcard "
        })?;
        match std::str::from_utf8(&self.source) {
            // A raw string keeps `\*` readable.
            Ok(source) if source.contains('\\') && raw_hashes(source).is_some() => raw(f, source),
            _ => string(f, &self.source),
        }
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        regex(f, &self.source)
    }
}

/// A regular expression, raw where that keeps it readable.
pub(crate) fn regex(f: &mut Formatter<'_>, source: &str) -> fmt::Result {
    if source.contains(['"', '\\']) && raw_hashes(source).is_some() {
        return raw(f, source);
    }
    // Quoted: every other backslash escape is the regular expression's own.
    f.write_char('"')?;
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => {
                f.write_char('\\')?;
                if let Some(escaped) = characters.next() {
                    f.write_char(escaped)?;
                }
            }
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

/// The `#` that a raw string around this text needs, if 255 are enough.
fn raw_hashes(text: &str) -> Option<usize> {
    let mut needed = 0;
    for (at, _) in text.match_indices('"') {
        let after = text.get(at + 1..).unwrap_or_default();
        needed = needed.max(1 + after.bytes().take_while(|b| *b == b'#').count());
    }
    (needed <= 255).then_some(needed)
}

fn raw(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let hashes = "#".repeat(raw_hashes(text).unwrap_or_default());
    write!(f, "r{hashes}\"{text}\"{hashes}")
}

/// A quoted string; bytes that are not printable UTF-8 as `\xHH`.
pub(crate) fn string(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                }
                c => f.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_char('"')
}
