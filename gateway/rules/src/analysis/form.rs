//! The form of the rule builder: groups joined by `or`, of rows joined by `and`.
//!
//! Only simple expressions have one. [`Form::from_expression`] converts back and compares before it
//! answers, so a form never loses a part; other expressions are for the text editor.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::syntax::ast::{
    Argument, Array, Comparison, Condition, Literal, Quantifier, Relation, Scalar, Set,
};
use crate::syntax::error::ParseError;
use crate::syntax::expression::Expression;
use crate::syntax::field::Field;
use crate::syntax::function::Function;
use crate::syntax::parser;
use crate::syntax::types::{Kind, Type};

/// Groups joined by `or`, rows joined by `and`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// At least one.
    pub groups: Vec<Group>,
}

/// Rows that all have to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// At least one.
    pub rows: Vec<Row>,
}

/// One simple expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// A field's name.
    pub field: String,
    /// For a map: the key, any of whose values is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How it is compared.
    pub operator: Operator,
    /// `not` before it.
    #[serde(default)]
    pub negated: bool,
    /// One value, or several for `in`; none for `is_true`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The operators that a form offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are named as in the language")]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Contains,
    Matches,
    Wildcard,
    StrictWildcard,
    StartsWith,
    EndsWith,
    In,
    InList,
    IsTrue,
}

/// Why a form is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A group or the form has nothing in it.
    #[error("a form has at least one group, and a group at least one row")]
    Empty,
    /// It is longer than an expression may be, whatever it says.
    #[error("the form is longer than an expression may be; use a list, or several rules")]
    TooLong,
    /// A row names no field.
    #[error("group {group}, row {row}: there is no field `{field}`")]
    Field {
        /// From 1.
        group: usize,
        /// From 1.
        row: usize,
        /// As given.
        field: String,
    },
    /// A row's values are more than values.
    #[error("group {group}, row {row}: the values are no constants")]
    Value {
        /// From 1.
        group: usize,
        /// From 1.
        row: usize,
    },
    /// A row is not an expression.
    #[error("group {group}, row {row}: {error}")]
    Row {
        /// From 1.
        group: usize,
        /// From 1.
        row: usize,
        /// What is wrong with the row as an expression.
        error: ParseError,
    },
}

impl Form {
    /// The form of an expression; `None` when only an editor can show it.
    #[must_use]
    pub fn from_expression(expression: &Expression) -> Option<Self> {
        let groups = match &expression.0 {
            Condition::Or(parts) => parts.iter().map(Group::new).collect::<Option<Vec<_>>>()?,
            other => vec![Group::new(other)?],
        };
        let form = Self { groups };
        (form.to_expression().as_ref() == Ok(expression)).then_some(form)
    }

    /// The expression of a form.
    ///
    /// # Errors
    /// The first row that is none.
    pub fn to_expression(&self) -> Result<Expression, FormError> {
        // Before anything of it is read: what is too long takes long to read as well.
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        let bytes = rows.fold(0_usize, |sum, row| sum.saturating_add(row.bytes()));
        if bytes > limits::EXPRESSION_BYTES_MAX {
            return Err(FormError::TooLong);
        }
        let mut groups = Vec::new();
        for (group, one) in (1..).zip(&self.groups) {
            let mut rows = Vec::new();
            for (row, one) in (1..).zip(&one.rows) {
                let Some(field) = Field::by_name(&one.field) else {
                    return Err(FormError::Field {
                        group,
                        row,
                        field: one.field.clone(),
                    });
                };
                let parsed = parser::parse(&one.text(field), None);
                let parsed = parsed.map_err(|error| FormError::Row { group, row, error })?;
                // Integers and addresses are not quoted: more than one row may hide in them.
                if !Row::new(&parsed).is_some_and(|read| read.is_like(one)) {
                    return Err(FormError::Value { group, row });
                }
                rows.push(parsed);
            }
            if rows.is_empty() {
                return Err(FormError::Empty);
            }
            groups.push(Condition::and(rows));
        }
        if groups.is_empty() {
            return Err(FormError::Empty);
        }
        Ok(Expression(Condition::or(groups)))
    }
}

impl Group {
    fn new(condition: &Condition) -> Option<Self> {
        let rows = match condition {
            Condition::And(parts) => parts.iter().map(Row::new).collect::<Option<Vec<_>>>()?,
            other => vec![Row::new(other)?],
        };
        Some(Self { rows })
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

impl Row {
    fn new(condition: &Condition) -> Option<Self> {
        let (negated, inner) = match condition {
            Condition::Not(inner) => (true, &**inner),
            other => (false, other),
        };
        let (key, inner) = match inner {
            Condition::Quantified(Quantifier::Any, Array::Entry(map, key), inner) => {
                (Some((*map, key)), &**inner)
            }
            other => (None, other),
        };
        let subject = |scalar: &Scalar| match (scalar, key) {
            (Scalar::Field(field), None) => Some(*field),
            (Scalar::Element(_), Some((map, _))) => Some(map),
            _ => None,
        };
        let (field, operator, values) = match inner {
            Condition::Truth(Scalar::Call(call)) => {
                let operator = match call.function {
                    Function::StartsWith => Operator::StartsWith,
                    Function::EndsWith => Operator::EndsWith,
                    _ => return None,
                };
                let [Argument::Scalar(source), Argument::Bytes(part)] = call.arguments.as_slice()
                else {
                    return None;
                };
                (subject(source)?, operator, vec![text(part)?])
            }
            Condition::Truth(scalar) => (subject(scalar)?, Operator::IsTrue, Vec::new()),
            Condition::Compare(scalar, test) => {
                let (operator, values) = Self::test(test)?;
                (subject(scalar)?, operator, values)
            }
            _ => return None,
        };
        let key = match key {
            Some((_, key)) => Some(text(key)?),
            None => None,
        };
        Some(Self {
            field: field.name().into(),
            key,
            operator,
            negated,
            values,
        })
    }

    /// Bytes that it takes in an expression, at least.
    fn bytes(&self) -> usize {
        let key = self.key.as_ref().map_or(0, String::len);
        let values = self.values.iter().map(|value| value.len() + 1);
        self.field.len() + key + values.sum::<usize>() + 1
    }

    /// Whether all but the values is the same, and as many values are there.
    fn is_like(&self, other: &Self) -> bool {
        self.values.len() == other.values.len()
            && self.field == other.field
            && self.key == other.key
            && self.operator == other.operator
            && self.negated == other.negated
    }

    fn test(test: &Comparison) -> Option<(Operator, Vec<String>)> {
        Some(match test {
            Comparison::Order(relation, literal) => {
                let operator = match relation {
                    Relation::Equal => Operator::Eq,
                    Relation::NotEqual => Operator::Ne,
                    Relation::Less => Operator::Lt,
                    Relation::LessOrEqual => Operator::Le,
                    Relation::Greater => Operator::Gt,
                    Relation::GreaterOrEqual => Operator::Ge,
                };
                let value = match literal {
                    Literal::Bytes(bytes) => text(bytes)?,
                    other => other.to_string(),
                };
                (operator, vec![value])
            }
            Comparison::Contains(part) => (Operator::Contains, vec![text(part)?]),
            Comparison::Matches(pattern) => (Operator::Matches, vec![pattern.source.to_string()]),
            Comparison::Wildcard(wildcard) => {
                let operator = if wildcard.strict {
                    Operator::StrictWildcard
                } else {
                    Operator::Wildcard
                };
                (operator, vec![text(&wildcard.source)?])
            }
            Comparison::In(Set::Bytes(items)) => (
                Operator::In,
                items
                    .iter()
                    .map(|item| text(item))
                    .collect::<Option<Vec<_>>>()?,
            ),
            Comparison::In(set) => (
                Operator::In,
                set.to_string().split(' ').map(str::to_owned).collect(),
            ),
            Comparison::Listed(list) => (Operator::InList, vec![list.name.to_string()]),
        })
    }

    /// The row as an expression, correct or not: parsing it is the check.
    fn text(&self, field: Field) -> String {
        let mut subject = self.field.clone();
        if let Some(key) = &self.key {
            subject.push_str(&format!("[{}][*]", quoted(key)));
        }
        let is_string = matches!(field.of_type(), Type::Single(Kind::String) | Type::Map);
        let values: Vec<String> = self
            .values
            .iter()
            .map(|value| {
                if is_string {
                    quoted(value)
                } else {
                    value.clone()
                }
            })
            .collect();
        let value = values.join(" ");
        let plain = self.values.join(" ");
        let simple = match self.operator {
            Operator::Eq => format!("{subject} eq {value}"),
            Operator::Ne => format!("{subject} ne {value}"),
            Operator::Lt => format!("{subject} lt {value}"),
            Operator::Le => format!("{subject} le {value}"),
            Operator::Gt => format!("{subject} gt {value}"),
            Operator::Ge => format!("{subject} ge {value}"),
            Operator::Contains => format!("{subject} contains {value}"),
            Operator::Matches => format!("{subject} matches {}", regex(&plain)),
            Operator::Wildcard => format!("{subject} wildcard {value}"),
            Operator::StrictWildcard => format!("{subject} strict wildcard {value}"),
            Operator::StartsWith => format!("starts_with({subject}, {value})"),
            Operator::EndsWith => format!("ends_with({subject}, {value})"),
            Operator::In => format!("{subject} in {{{value}}}"),
            Operator::InList => format!("{subject} in ${plain}"),
            Operator::IsTrue => subject,
        };
        let whole = if self.key.is_some() {
            format!("any({simple})")
        } else {
            simple
        };
        if self.negated {
            format!("not {whole}")
        } else {
            whole
        }
    }
}

fn quoted(text: &str) -> String {
    struct Quoted<'t>(&'t str);
    impl std::fmt::Display for Quoted<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            crate::syntax::print::string(f, self.0.as_bytes())
        }
    }
    Quoted(text).to_string()
}

fn regex(source: &str) -> String {
    struct Regex<'t>(&'t str);
    impl std::fmt::Display for Regex<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            crate::syntax::print::regex(f, self.0)
        }
    }
    Regex(source).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    #[test]
    fn forms_and_back() {
        for (text, groups) in [
            ("ssl", 1),
            ("not ssl and http.host eq \"a\\\"b\"", 1),
            (
                "(ssl and ip.src in {10.0.0.0/8 ::1}) or http.host ne \"x\" or cf.edge.server_port in {1..5 80}",
                3,
            ),
            (
                "starts_with(http.request.uri.path, \"/a\") and not ends_with(http.request.uri.path, \".js\")",
                1,
            ),
            (
                "http.host matches r#\"a\"b\\.c\"# and http.host strict wildcard r\"*\\*\"",
                1,
            ),
            (
                "any(http.request.headers[\"x-a\"][*] contains \"b\") or not any(http.request.cookies[\"c\"][*] eq \"d\")",
                2,
            ),
            ("ip.src in $office or not ip.src in $office", 2),
            (
                "any(starts_with(http.request.headers[\"x\"][*], \"b\")[*])",
                1,
            ),
        ] {
            let expression = check(text).unwrap();
            let form =
                Form::from_expression(&expression).unwrap_or_else(|| panic!("{text} is simple"));
            assert_eq!(form.groups.len(), groups, "{text}");
            let json = serde_json::to_string(&form).unwrap();
            let form: Form = serde_json::from_str(&json).unwrap();
            assert_eq!(form.to_expression().unwrap(), expression, "{json}");
        }
    }

    #[test]
    fn for_the_editor_only() {
        for text in [
            "true",
            "ssl xor ssl",
            "not (ssl and ssl)",
            "ssl and (ssl or not ssl)",
            "not not ssl",
            "lower(http.host) eq \"a\"",
            "all(http.request.headers[\"x\"][*] eq \"a\")",
            "any(http.request.headers.names[*] eq \"a\")",
            "http.request.headers[\"x\"][0] eq \"a\"",
            "http.host eq \"\\xff\"",
        ] {
            assert_eq!(Form::from_expression(&check(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn rows_that_are_wrong() {
        let row = |field: &str, operator, value: &str| Row {
            field: field.into(),
            key: None,
            operator,
            negated: false,
            values: vec![value.into()],
        };
        for (row, why) in [
            (
                row("http.hots", Operator::Eq, "a"),
                "there is no field `http.hots`",
            ),
            (row("ip.src", Operator::Eq, "a"), "expected an IP address"),
            (row("http.host", Operator::Matches, "("), "unclosed group"),
            (row("ssl", Operator::Eq, "a"), "a Boolean is not compared"),
            (
                row("http.host", Operator::InList, "a or ssl"),
                "the values are no constants",
            ),
        ] {
            let form = Form {
                groups: vec![Group { rows: vec![row] }],
            };
            let error = form.to_expression().unwrap_err().to_string();
            assert!(
                error.starts_with("group 1, row 1: ") && error.contains(why),
                "{error}"
            );
        }
        assert_eq!(
            Form { groups: vec![] }.to_expression(),
            Err(FormError::Empty)
        );
        assert_eq!(
            Form {
                groups: vec![Group { rows: vec![] }]
            }
            .to_expression(),
            Err(FormError::Empty)
        );
    }

    #[test]
    fn what_is_too_long_is_refused_unread() {
        let row = |value: String| Row {
            field: "http.host".into(),
            key: None,
            operator: Operator::Matches,
            negated: false,
            values: vec![value],
        };
        let form = |rows: Vec<Row>| Form {
            groups: vec![Group { rows }],
        };
        let hashes = |count| format!("\"{}", "#".repeat(count));
        for long in [
            form(vec![row(hashes(50_000))]),
            form(vec![row("a{999}".into()); 10_000]),
        ] {
            assert_eq!(long.to_expression(), Err(FormError::TooLong));
        }
        // More `#` than a raw string can have: it is quoted.
        for count in [3, 300] {
            let read = form(vec![row(hashes(count))]).to_expression().unwrap();
            assert_eq!(check(&read.to_string()), Ok(read), "{count}");
        }
    }

    #[test]
    fn every_value_of_a_row_counts() {
        for (field, operator, values) in [
            ("ssl", Operator::IsTrue, &["x"][..]),
            ("http.host", Operator::Matches, &["a", "b"]),
            ("http.host", Operator::Matches, &[]),
            ("http.host", Operator::Contains, &["a", "b"]),
            ("http.host", Operator::StartsWith, &[]),
            ("http.host", Operator::In, &[]),
            ("cf.edge.server_port", Operator::In, &["80 443"]),
            ("ip.src", Operator::InList, &["a", "b"]),
        ] {
            let row = Row {
                field: field.into(),
                key: None,
                operator,
                negated: false,
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            };
            let form = Form {
                groups: vec![Group { rows: vec![row] }],
            };
            let expression = form.to_expression();
            assert!(expression.is_err(), "{form:?}: {expression:?}");
        }
    }

    #[test]
    fn a_row_cannot_smuggle_a_second_expression() {
        // An integer or address is not quoted: what follows it must not become part of the rule.
        let row = Row {
            field: "cf.edge.server_port".into(),
            key: None,
            operator: Operator::Eq,
            negated: false,
            values: vec!["443 or ssl".into()],
        };
        let form = Form {
            groups: vec![Group {
                rows: vec![row.clone(), row],
            }],
        };
        let expression = form.to_expression();
        assert!(expression.is_err(), "{expression:?}");
    }
}
