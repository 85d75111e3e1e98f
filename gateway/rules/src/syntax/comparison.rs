//! Parser of one comparison: an operand, its quantifier inside `any` and `all`, and what follows
//! it.

use super::ast::{Array, Condition, Scalar};
use super::error::{Problem, Span};
use super::lexer::{Symbol, Token};
use super::operand::OperandValue;
use super::parser::{KEYWORDS, Parser};
use super::types::{Kind, Type};

impl Parser<'_> {
    pub(super) fn comparison(&mut self) -> Result<Condition, Problem> {
        let operand = self.operand()?;
        let span = operand.span;
        let (value, root) = match operand.value {
            OperandValue::Scalar(value) => (value, operand.root),
            // `any(starts_with(array[*], "x"))`: already an array of Booleans.
            OperandValue::Array(Array::Each(root, call))
                if self.each.is_some() && call.result() == Type::Single(Kind::Boolean) =>
            {
                (Scalar::Call(call), Some(*root))
            }
            OperandValue::Array(array) => {
                let message = format!("operators do not take {}", Type::Array(array.kind()));
                let hint = match self.each {
                    Some(_) => "add `[*]` to compare each element",
                    None => "take one element with `[0]`, or `any(…[*] …)` or `all(…[*] …)`",
                };
                return Err(Problem::new(span, message, hint));
            }
            OperandValue::Map(field) => {
                let message = format!("operators do not take {}", Type::Map);
                let hint = format!(
                    "take the values of a key: `any({}[\"key\"][*] …)`",
                    field.name()
                );
                return Err(Problem::new(span, message, hint));
            }
        };
        self.bind(root, span)?;
        if value.kind() == Kind::Boolean {
            self.no_operator()?;
            return Ok(Condition::Truth(value));
        }
        let test = self.test(&value, span)?;
        Ok(Condition::Compare(value, test))
    }

    /// A Boolean stands on its own; says so when an operator follows.
    fn no_operator(&self) -> Result<(), Problem> {
        let (token, span) = self.peek();
        let operator = match token {
            Token::Symbol(
                Symbol::Equal
                | Symbol::NotEqual
                | Symbol::Less
                | Symbol::LessOrEqual
                | Symbol::Greater
                | Symbol::GreaterOrEqual
                | Symbol::Tilde,
            ) => true,
            Token::Word => {
                let word = self.slice(span);
                KEYWORDS.contains(&word) && !matches!(word, "and" | "or" | "xor" | "not")
            }
            _ => false,
        };
        if operator {
            let hint = "a Boolean stands on its own: `ssl`, `not ssl`";
            return Err(Problem::new(span, "a Boolean is not compared", hint));
        }
        Ok(())
    }

    /// Ties `[*]` to the quantifier around it.
    fn bind(&mut self, root: Option<Array>, span: Span) -> Result<(), Problem> {
        match (&mut self.each, root) {
            (None, None) => Ok(()),
            (None, Some(_)) => {
                let hint = "write `any(…)` or `all(…)` around the comparison";
                Err(Problem::new(
                    span,
                    "`[*]` stands only inside `any` or `all`",
                    hint,
                ))
            }
            (Some(_), None) => {
                let hint = "move the comparison out of it, or unpack an array with `[*]`";
                Err(Problem::new(
                    span,
                    "inside `any` and `all` every comparison is of `[*]`",
                    hint,
                ))
            }
            (Some(each), Some(root)) => match each {
                Some(known) if *known != root => {
                    let message = "all `[*]` inside one `any` or `all` must be of the same array";
                    Err(Problem::new(
                        span,
                        message,
                        format!("the first is `{known}`"),
                    ))
                }
                _ => {
                    *each = Some(root);
                    Ok(())
                }
            },
        }
    }
}
