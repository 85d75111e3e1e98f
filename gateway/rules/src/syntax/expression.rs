//! The expression: checked, printed, and the fields it reads; for the API, the command line and
//! previews.

use std::fmt;
use std::str::FromStr;

use super::ast::{Condition, Part};
use super::error::ParseError;
use super::field::{Field, Lifetime};
use super::function::Function;
use super::list::Lists;
use super::parser;
use super::types::Type;

/// A checked expression. Its `Display` is the canonical text.
///
/// ```
/// use rules::{Expression, Lifetime};
///
/// let expression: Expression = "ssl and ip.src in {10.0.0.0/8}".parse()?;
/// assert_eq!(expression.fields(), ["ssl", "ip.src"]);
/// // Both fields are the same for every request of a connection.
/// assert_eq!(expression.lifetime(), Lifetime::Connection);
/// # Ok::<(), rules::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(pub(crate) Condition);

/// Checks an expression; whether the lists that it names exist is not checked.
///
/// ```
/// let error = rules::check("http.host eq 5").unwrap_err();
/// assert_eq!((error.line, error.column), (1, 14));
/// ```
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(text: &str) -> Result<Expression, ParseError> {
    parser::parse(text, None).map(Expression)
}

/// Checks an expression, and that the lists it names exist and have the right kind.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check_with(text: &str, lists: &Lists) -> Result<Expression, ParseError> {
    parser::parse(text, Some(lists)).map(Expression)
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Expression {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text)
    }
}

impl Expression {
    /// Names of the fields it reads, each once, in order of appearance.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        self.0.walk(&mut |part| {
            if let Part::Field(field) = part
                && !names.contains(&field.name())
            {
                names.push(field.name());
            }
        });
        names
    }

    /// The parts that `and` joins, in order; the whole when there is none.
    #[must_use]
    pub fn conjuncts(&self) -> Vec<Self> {
        match &self.0 {
            Condition::And(parts) => parts.iter().cloned().map(Self).collect(),
            _ => vec![self.clone()],
        }
    }

    /// The parts that `or` joins, in order; the whole when there is none.
    #[must_use]
    pub fn disjuncts(&self) -> Vec<Self> {
        match &self.0 {
            Condition::Or(parts) => parts.iter().cloned().map(Self).collect(),
            _ => vec![self.clone()],
        }
    }

    /// Whether it is the same for all requests of a connection.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.0.lifetime()
    }
}

/// A field, for editors and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// As it is written.
    pub name: &'static str,
    /// Its type.
    pub of_type: Type,
    /// How long its value holds.
    pub lifetime: Lifetime,
}

/// All fields.
pub fn fields() -> impl Iterator<Item = FieldInfo> {
    Field::ALL.iter().map(|field| FieldInfo {
        name: field.name(),
        of_type: field.of_type(),
        lifetime: field.lifetime(),
    })
}

/// A function, for editors and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionInfo {
    /// As it is written.
    pub name: &'static str,
    /// How it is called.
    pub signature: &'static str,
}

/// All functions.
pub fn functions() -> impl Iterator<Item = FunctionInfo> {
    let quantifiers = [
        FunctionInfo {
            name: "any",
            signature: "any(array[*] …)",
        },
        FunctionInfo {
            name: "all",
            signature: "all(array[*] …)",
        },
    ];
    let functions = Function::ALL.iter().map(|f| FunctionInfo {
        name: f.name(),
        signature: f.signature(),
    });
    quantifiers.into_iter().chain(functions)
}
