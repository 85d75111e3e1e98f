//! Parser of the left side of a comparison: fields, function calls and indexes.

use super::ast::{Array, Call, Scalar};
use super::error::{Problem, Span};
use super::field::Field;
use super::function::{self, Function, ParsedArgument, ParsedValue};
use super::lexer::{Symbol, Token};
use super::literal;
use super::parser::Parser;
use super::types::{Kind, Type};

/// A field, a call or an element of one of them.
pub(crate) struct Operand {
    pub(crate) value: OperandValue,
    /// The array that was unpacked with `[*]`: the value is its element.
    pub(crate) root: Option<Array>,
    pub(crate) span: Span,
}

/// See [`Operand`].
pub(crate) enum OperandValue {
    Scalar(Scalar),
    Array(Array),
    Map(Field),
}

impl Parser<'_> {
    /// A field or call with its indexes.
    pub(crate) fn operand(&mut self) -> Result<Operand, Problem> {
        let (_, span) = self.advance();
        let name = self.slice(span);
        let called = self.peek().0 == Token::Symbol(Symbol::Open);
        let mut operand = match (Field::by_name(name), Function::by_name(name)) {
            (Some(field), _) if !called => Operand {
                value: OperandValue::field(field),
                root: None,
                span,
            },
            (_, Some(function)) if called => self.call(function, span)?,
            (_, Some(function)) => {
                let hint = format!("expected `{}`", function.signature());
                return Err(Problem::new(span, format!("`{name}` is a function"), hint));
            }
            (Some(_), _) => {
                return Err(Problem::new(
                    span,
                    format!("`{name}` is a field, not a function"),
                    "",
                ));
            }
            (None, None) if called && matches!(name, "any" | "all") => {
                let message = format!("`{name}` gives a Boolean that no function or index takes");
                return Err(Problem::new(span, message, ""));
            }
            (None, None) => return Err(self.unknown(name, span)),
        };
        while self.peek().0 == Token::Symbol(Symbol::OpenIndex) {
            operand = self.index(operand)?;
        }
        Ok(operand)
    }

    fn call(&mut self, function: Function, name: Span) -> Result<Operand, Problem> {
        self.enter()?;
        self.advance();
        let mut given = Vec::new();
        let mut root = None;
        if !self.take(Symbol::Close) {
            loop {
                let (argument, unpacked) = self.argument()?;
                if unpacked.is_some() && !given.is_empty() {
                    let message = "`[*]` is allowed only in a function's first argument";
                    return Err(Problem::new(argument.span, message, ""));
                }
                root = root.or(unpacked);
                given.push(argument);
                if !self.take(Symbol::Comma) {
                    break;
                }
            }
            self.expect(Symbol::Close, "expected `,` or `)`")?;
        }
        self.leave();
        let end = self.end_of_last();
        let span = name.to(end);
        self.once(function, name)?;
        let call = function::call(function, given, span)?;
        let value = match root {
            Some(_) if matches!(call.result(), Type::Array(_)) => {
                let message = format!(
                    "`{}` gives an array and cannot be applied to each element",
                    function.name()
                );
                return Err(Problem::new(span, message, ""));
            }
            Some(root) => OperandValue::Array(Array::Each(Box::new(root), Box::new(call))),
            None => OperandValue::call(call),
        };
        Ok(Operand {
            value,
            root: None,
            span,
        })
    }

    /// `regex_replace` and `wildcard_replace`: each once in an expression, never one in the other.
    fn once(&mut self, function: Function, name: Span) -> Result<(), Problem> {
        let mine = match function {
            Function::RegexReplace => 0,
            Function::WildcardReplace => 1,
            _ => return Ok(()),
        };
        let [regex, wildcard] = &mut self.replaced;
        let (same, other) = if mine == 0 {
            (regex, wildcard)
        } else {
            (wildcard, regex)
        };
        if same.is_some() {
            let message = format!(
                "`{}` can be used only once in an expression",
                function.name()
            );
            return Err(Problem::new(name, message, ""));
        }
        // Arguments are parsed before the call is complete: the other one, if it stands after
        // this name, is inside.
        if other.is_some_and(|other| other.start > name.start) {
            let message = "`regex_replace` and `wildcard_replace` cannot be nested";
            return Err(Problem::new(name, message, ""));
        }
        *same = Some(name);
        Ok(())
    }

    fn argument(&mut self) -> Result<(ParsedArgument, Option<Array>), Problem> {
        let (token, span) = self.peek();
        match token {
            Token::Quoted | Token::Raw(_) => {
                let value = ParsedValue::Bytes(self.string()?);
                Ok((ParsedArgument { value, span }, None))
            }
            Token::Word
                if self
                    .slice(span)
                    .starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
            {
                self.advance();
                let value =
                    literal::int(self.slice(span)).map_err(|no| Problem::new(span, no.0, no.1))?;
                Ok((
                    ParsedArgument {
                        value: ParsedValue::Int(value),
                        span,
                    },
                    None,
                ))
            }
            Token::Word => {
                let operand = self.operand()?;
                let value = match operand.value {
                    OperandValue::Scalar(scalar) => ParsedValue::Scalar(scalar),
                    OperandValue::Array(array) => ParsedValue::Array(array),
                    OperandValue::Map(_) => ParsedValue::Map,
                };
                Ok((
                    ParsedArgument {
                        value,
                        span: operand.span,
                    },
                    operand.root,
                ))
            }
            _ => {
                Err(self
                    .unexpected("expected an argument: a field, a call, a string or an integer"))
            }
        }
    }

    fn index(&mut self, operand: Operand) -> Result<Operand, Problem> {
        self.advance();
        let (token, span) = self.peek();
        let value = match (operand.value, token) {
            (OperandValue::Array(Array::Each(root, call)), Token::Symbol(Symbol::Star)) => {
                self.advance();
                let close = self.expect(Symbol::CloseIndex, "expected `]`")?;
                let value = OperandValue::Scalar(Scalar::Call(call));
                return Ok(Operand {
                    value,
                    root: Some(*root),
                    span: operand.span.to(close),
                });
            }
            (OperandValue::Array(array), Token::Symbol(Symbol::Star)) => {
                self.advance();
                let close = self.expect(Symbol::CloseIndex, "expected `]`")?;
                let value = OperandValue::Scalar(Scalar::Element(array.kind()));
                return Ok(Operand {
                    value,
                    root: Some(array),
                    span: operand.span.to(close),
                });
            }
            (OperandValue::Array(array), Token::Word) => {
                let index = literal::int(self.slice(span))
                    .ok()
                    .and_then(|index| u32::try_from(index).ok());
                let Some(index) = index else {
                    return Err(Problem::new(
                        span,
                        "not an index",
                        "expected `*` or an integer from 0",
                    ));
                };
                self.advance();
                OperandValue::Scalar(Scalar::At(Box::new(array), index))
            }
            (OperandValue::Map(field), Token::Quoted | Token::Raw(_)) => {
                OperandValue::Array(Array::Entry(field, self.string()?))
            }
            (OperandValue::Map(field), Token::Symbol(Symbol::Star)) => {
                // wirefilter unpacks maps; Cloudflare's documents know `[*]` on arrays only.
                let hint = format!("`{0}.names` and `{0}.values` are arrays", field.name());
                return Err(Problem::new(
                    span,
                    "`[*]` unpacks arrays, this is a map",
                    hint,
                ));
            }
            (OperandValue::Map(_), _) => {
                return Err(self.unexpected("a map is indexed with a string: `[\"key\"]`"));
            }
            (OperandValue::Array(_), _) => {
                return Err(self.unexpected("an array is indexed with `[*]` or an integer from 0"));
            }
            (OperandValue::Scalar(scalar), _) => {
                let message = format!("{} cannot be indexed", scalar.kind());
                return Err(Problem::new(operand.span, message, ""));
            }
        };
        let close = self.expect(Symbol::CloseIndex, "expected `]`")?;
        Ok(Operand {
            value,
            root: operand.root,
            span: operand.span.to(close),
        })
    }

    /// A string with the ordinary escapes, or a raw one.
    pub(crate) fn string(&mut self) -> Result<Box<[u8]>, Problem> {
        let (token, span) = self.advance();
        match token {
            Token::Raw(hashes) => Ok(self.raw_content(span, hashes).as_bytes().into()),
            _ => {
                let content = Span {
                    start: span.start + 1,
                    end: span.end.saturating_sub(1),
                };
                literal::unescape(self.slice(content)).map_err(|at| {
                    let start = content.start + at;
                    let span = Span { start, end: start + 2 };
                    let hint = "`\\\"`, `\\\\` and `\\x2e` are escapes; a raw string, r\"…\", takes backslashes as they are";
                    Problem::new(span, "unknown escape", hint)
                })
            }
        }
    }

    pub(crate) fn raw_content(&self, span: Span, hashes: u8) -> &str {
        let hashes = usize::from(hashes);
        self.slice(Span {
            start: span.start + 2 + hashes,
            end: span.end.saturating_sub(1 + hashes),
        })
    }
}

impl OperandValue {
    fn field(field: Field) -> Self {
        match field.of_type() {
            Type::Single(_) => Self::Scalar(Scalar::Field(field)),
            Type::Array(_) => Self::Array(Array::Field(field)),
            Type::Map => Self::Map(field),
        }
    }

    fn call(call: Call) -> Self {
        match call.result() {
            Type::Array(_) => Self::Array(Array::Call(Box::new(call))),
            Type::Single(_) | Type::Map => Self::Scalar(Scalar::Call(Box::new(call))),
        }
    }
}

/// Kinds that `lt le gt ge` order.
pub(crate) fn is_ordered(kind: Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::String)
}
