//! The typed tree of an expression. The parser builds only what type-checks.
//!
//! Conditions are two-valued: a missing value makes the comparison that meets it false (Cloudflare,
//! "Values"), never the whole expression.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use super::field::{Field, Lifetime};
use super::function::Function;
use super::list::List;
use super::types::{Kind, Type};
use crate::matcher::regex::Pattern;
use crate::matcher::wildcard::Wildcard;

/// Something that is true or false.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    /// The whole expression `true` or `false`.
    Constant(bool),
    /// `not`
    Not(Box<Self>),
    /// `and` of at least two, none of them `And`.
    And(Vec<Self>),
    /// `xor` of at least two, none of them `Xor`.
    Xor(Vec<Self>),
    /// `or` of at least two, none of them `Or`.
    Or(Vec<Self>),
    /// A Boolean on its own.
    Truth(Scalar),
    /// `value operator literal`
    Compare(Scalar, Comparison),
    /// `any(…)`, `all(…)`: the condition speaks of [`Scalar::Element`].
    Quantified(Quantifier, Array, Box<Self>),
}

/// How many elements have to satisfy a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Quantifier {
    /// At least one.
    Any,
    /// Every one.
    All,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scalar {
    /// A field.
    Field(Field),
    /// The element that `[*]` stands for.
    Element(Kind),
    /// `array[index]`
    At(Box<Array>, u32),
    /// A function's result.
    Call(Box<Call>),
}

/// Several values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Array {
    /// A field.
    Field(Field),
    /// `map["key"]`
    Entry(Field, Box<[u8]>),
    /// A function's result.
    Call(Box<Call>),
    /// `function(array[*])`: the function's result for each element.
    Each(Box<Self>, Box<Call>),
}

/// A function with its arguments, of the number and types that it takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    /// Which one.
    pub(crate) function: Function,
    /// Its arguments.
    pub(crate) arguments: Vec<Argument>,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Argument {
    /// A value.
    Scalar(Scalar),
    /// Several values.
    Array(Array),
    /// A string.
    Bytes(Box<[u8]>),
    /// An integer.
    Int(i64),
    /// The regular expression of `regex_replace`.
    Pattern(Pattern),
    /// The pattern of `wildcard_replace`.
    Wildcard(Wildcard),
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    /// `eq ne lt le gt ge`
    Order(Relation, Literal),
    /// `contains`
    Contains(Box<[u8]>),
    /// `matches`
    Matches(Pattern),
    /// `wildcard`, `strict wildcard`
    Wildcard(Wildcard),
    /// `in {…}`
    In(Set),
    /// `in $name`
    Listed(ListReference),
}

vocabulary::words! {
    /// An ordering operator.
    pub(crate) enum Relation("an ordering operator", without serde) {
        /// `eq`
        Equal = "eq",
        /// `ne`
        NotEqual = "ne",
        /// `lt`
        Less = "lt",
        /// `le`
        LessOrEqual = "le",
        /// `gt`
        Greater = "gt",
        /// `ge`
        GreaterOrEqual = "ge",
    }
}

impl Relation {
    /// Whether two values in this order satisfy it.
    pub(crate) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Literal {
    /// An integer.
    Int(i64),
    /// A string.
    Bytes(Box<[u8]>),
    /// An address.
    Ip(IpAddr),
}

/// `{…}`, in the order and form it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    /// Integers and ranges, both ends included.
    Ints(Vec<(i64, i64)>),
    /// Strings.
    Bytes(Vec<Box<[u8]>>),
    /// Addresses, ranges and networks.
    Ips(Vec<IpItem>),
}

/// One element of a set of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IpItem {
    /// `192.0.2.1`
    Address(IpAddr),
    /// `192.0.2.0/24`; the bits after the prefix are zero.
    Network(IpAddr, u8),
    /// `192.0.2.1..192.0.2.9`, both included, one family.
    Range(IpAddr, IpAddr),
}

impl IpItem {
    /// First and last address.
    pub(crate) fn bounds(self) -> (IpAddr, IpAddr) {
        match self {
            Self::Address(address) => (address, address),
            Self::Range(first, last) => (first, last),
            Self::Network(IpAddr::V4(address), bits) => {
                let host = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                (
                    address.into(),
                    IpAddr::V4((address.to_bits() | host).into()),
                )
            }
            Self::Network(IpAddr::V6(address), bits) => {
                let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                (
                    address.into(),
                    IpAddr::V6((address.to_bits() | host).into()),
                )
            }
        }
    }

    /// Whether the address is one of these.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let (first, last) = self.bounds();
        first.is_ipv4() == address.is_ipv4() && first <= address && address <= last
    }
}

/// A list by its name, and itself once compiled.
#[derive(Debug, Clone)]
pub(crate) struct ListReference {
    /// Without `$`.
    pub(crate) name: Box<str>,
    /// `None` when the expression was only checked.
    pub(crate) list: Option<Arc<List>>,
}

impl PartialEq for ListReference {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ListReference {}

impl Hash for ListReference {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Scalar {
    /// The kind of its value.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Field(field) => match field.of_type() {
                Type::Single(kind) | Type::Array(kind) => kind,
                Type::Map => Kind::String,
            },
            Self::Element(kind) => *kind,
            Self::At(array, _) => array.kind(),
            Self::Call(call) => call.kind(),
        }
    }
}

impl Array {
    /// The kind of its elements.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Field(field) => Scalar::Field(*field).kind(),
            Self::Entry(..) => Kind::String,
            Self::Call(call) | Self::Each(_, call) => call.kind(),
        }
    }
}

impl Call {
    /// The kind of the result, or of its elements.
    pub(crate) fn kind(&self) -> Kind {
        match self.function {
            // The one function whose result has the kind of what it is given.
            Function::Concat => match self.arguments.first() {
                Some(Argument::Array(array)) => array.kind(),
                _ => Kind::String,
            },
            function => function.result().kind(),
        }
    }
}

impl Type {
    /// The kind of the value or of the elements.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Single(kind) | Self::Array(kind) => kind,
            Self::Map => Kind::String,
        }
    }
}

/// Something in an expression that a walk meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'e> {
    /// A condition, before its parts.
    Condition(&'e Condition),
    /// A field, wherever it is used.
    Field(Field),
    /// A function, before what it is given.
    Function(Function),
    /// A key of a map, after the map as a field.
    Entry(Field, &'e [u8]),
    /// A regular expression.
    Pattern(&'e Pattern),
}

impl Condition {
    /// Shows every part to `visit`, outer before inner, left before right.
    pub(crate) fn walk<'e>(&'e self, visit: &mut dyn FnMut(Part<'e>)) {
        visit(Part::Condition(self));
        match self {
            Self::Constant(_) => {}
            Self::Not(inner) => inner.walk(visit),
            Self::And(parts) | Self::Xor(parts) | Self::Or(parts) => {
                for part in parts {
                    part.walk(visit);
                }
            }
            Self::Truth(value) => value.walk(visit),
            Self::Compare(value, test) => {
                value.walk(visit);
                if let Comparison::Matches(pattern) = test {
                    visit(Part::Pattern(pattern));
                }
            }
            Self::Quantified(_, array, inner) => {
                array.walk(visit);
                inner.walk(visit);
            }
        }
    }

    /// Whether any part of it reads the ClientHello.
    pub(crate) fn reads_client_hello(&self) -> bool {
        let mut reads = false;
        self.walk(&mut |part| {
            reads |= matches!(part, Part::Field(field) if field.is_of_client_hello());
        });
        reads
    }

    /// Whether any part of it looks something up in a list.
    pub(crate) fn refers_to_lists(&self) -> bool {
        let mut refers = false;
        self.walk(&mut |part| {
            refers |= matches!(
                part,
                Part::Condition(Self::Compare(_, Comparison::Listed(_)))
            );
        });
        refers
    }

    /// Bytes of all its compiled regular expressions.
    pub(crate) fn pattern_bytes(&self) -> usize {
        let mut bytes = 0;
        self.walk(&mut |part| {
            if let Part::Pattern(pattern) = part {
                bytes += pattern.bytes();
            }
        });
        bytes
    }

    /// [`Lifetime::Connection`] when nothing in it depends on the request.
    pub(crate) fn lifetime(&self) -> Lifetime {
        let mut lifetime = Lifetime::Connection;
        self.walk(&mut |part| {
            if matches!(part, Part::Field(field) if field.lifetime() == Lifetime::Request) {
                lifetime = Lifetime::Request;
            }
        });
        lifetime
    }
}

impl Scalar {
    /// As [`Condition::walk`].
    pub(crate) fn walk<'e>(&'e self, visit: &mut dyn FnMut(Part<'e>)) {
        match self {
            Self::Field(field) => visit(Part::Field(*field)),
            Self::Element(_) => {}
            Self::At(array, _) => array.walk(visit),
            Self::Call(call) => call.walk(visit),
        }
    }
}

impl Array {
    /// As [`Condition::walk`].
    pub(crate) fn walk<'e>(&'e self, visit: &mut dyn FnMut(Part<'e>)) {
        match self {
            Self::Field(field) => visit(Part::Field(*field)),
            Self::Entry(field, key) => {
                visit(Part::Field(*field));
                visit(Part::Entry(*field, key));
            }
            Self::Call(call) => call.walk(visit),
            Self::Each(array, call) => {
                array.walk(visit);
                call.walk(visit);
            }
        }
    }
}

impl Call {
    fn walk<'e>(&'e self, visit: &mut dyn FnMut(Part<'e>)) {
        visit(Part::Function(self.function));
        for argument in &self.arguments {
            match argument {
                Argument::Scalar(value) => value.walk(visit),
                Argument::Array(array) => array.walk(visit),
                Argument::Pattern(pattern) => visit(Part::Pattern(pattern)),
                Argument::Bytes(_) | Argument::Int(_) | Argument::Wildcard(_) => {}
            }
        }
    }
}

impl Condition {
    /// `and`, flattened.
    pub(crate) fn and(parts: Vec<Self>) -> Self {
        Self::joined(parts, Self::And, |part| match part {
            Self::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// `xor`, flattened.
    pub(crate) fn xor(parts: Vec<Self>) -> Self {
        Self::joined(parts, Self::Xor, |part| match part {
            Self::Xor(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// `or`, flattened.
    pub(crate) fn or(parts: Vec<Self>) -> Self {
        Self::joined(parts, Self::Or, |part| match part {
            Self::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }

    fn joined(
        mut parts: Vec<Self>,
        join: fn(Vec<Self>) -> Self,
        open: fn(Self) -> Result<Vec<Self>, Self>,
    ) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match open(part) {
                Ok(inner) => flat.extend(inner),
                Err(other) => flat.push(other),
            }
        }
        join(flat)
    }
}
