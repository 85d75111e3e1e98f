//! Parser of the right side of a comparison: the operator and its constant.

use super::ast::{Comparison, ListReference, Literal, Relation, Scalar, Set};
use super::error::{Problem, Span, nearest};
use super::lexer::{Symbol, Token};
use super::list::is_list_name;
use super::literal::{self, NotALiteral};
use super::operand::is_ordered;
use super::parser::Parser;
use super::types::Kind;
use crate::matcher::regex::{MatchDetail, Pattern};
use crate::matcher::wildcard::Wildcard;

enum Operator {
    Order(Relation),
    Contains,
    Matches,
    Wildcard { strict: bool },
    In,
}

impl Parser<'_> {
    /// Operator and constant for a value of any kind but Boolean.
    pub(super) fn test(&mut self, value: &Scalar, left: Span) -> Result<Comparison, Problem> {
        let kind = value.kind();
        let (operator, span) = self.operator(kind, left)?;
        let wrong = |operator: &str, hint: &str| {
            Problem::new(span, format!("`{operator}` does not take {kind}"), hint)
        };
        match operator {
            Operator::Order(relation @ (Relation::Equal | Relation::NotEqual)) => {
                Ok(Comparison::Order(relation, self.constant(kind)?))
            }
            // wirefilter orders addresses; Cloudflare's documents do not.
            Operator::Order(relation) if !is_ordered(kind) => Err(wrong(
                relation.as_str(),
                "use `eq`, `ne`, or `in {first..last}` for a range",
            )),
            Operator::Order(relation) => Ok(Comparison::Order(relation, self.constant(kind)?)),
            Operator::In => self.set_or_list(kind),
            Operator::Contains if kind == Kind::String => {
                Ok(Comparison::Contains(self.string_constant()?))
            }
            Operator::Matches if kind == Kind::String => self.regex(),
            Operator::Wildcard { strict } if kind == Kind::String => {
                let at = self.peek().1;
                let source = self.string_constant()?;
                Wildcard::bounded(&source, strict)
                    .map(Comparison::Wildcard)
                    .map_err(|error| Problem::wildcard(at, error))
            }
            Operator::Contains => Err(wrong("contains", "it takes a String")),
            Operator::Matches => Err(wrong("matches", "it takes a String")),
            Operator::Wildcard { .. } => Err(wrong("wildcard", "it takes a String")),
        }
    }

    fn operator(&mut self, kind: Kind, left: Span) -> Result<(Operator, Span), Problem> {
        let (token, span) = self.peek();
        let operator = match token {
            Token::Symbol(Symbol::Equal) => Operator::Order(Relation::Equal),
            Token::Symbol(Symbol::NotEqual) => Operator::Order(Relation::NotEqual),
            Token::Symbol(Symbol::Less) => Operator::Order(Relation::Less),
            Token::Symbol(Symbol::LessOrEqual) => Operator::Order(Relation::LessOrEqual),
            Token::Symbol(Symbol::Greater) => Operator::Order(Relation::Greater),
            Token::Symbol(Symbol::GreaterOrEqual) => Operator::Order(Relation::GreaterOrEqual),
            Token::Symbol(Symbol::Tilde) => Operator::Matches,
            Token::Word => match self.slice(span) {
                "eq" => Operator::Order(Relation::Equal),
                "ne" => Operator::Order(Relation::NotEqual),
                "lt" => Operator::Order(Relation::Less),
                "le" => Operator::Order(Relation::LessOrEqual),
                "gt" => Operator::Order(Relation::Greater),
                "ge" => Operator::Order(Relation::GreaterOrEqual),
                "contains" => Operator::Contains,
                "matches" => Operator::Matches,
                "in" => Operator::In,
                "wildcard" => Operator::Wildcard { strict: false },
                "strict" => {
                    self.advance();
                    if self.peek_word() != Some("wildcard") {
                        return Err(self.unexpected("expected `wildcard` after `strict`"));
                    }
                    let end = self.advance().1;
                    return Ok((Operator::Wildcard { strict: true }, span.to(end)));
                }
                word => return Err(self.no_operator_but(word, span, left)),
            },
            _ => {
                let hint = format!(
                    "expected a comparison operator: a value of type {kind} is not true or false"
                );
                return Err(self.unexpected(&hint));
            }
        };
        self.advance();
        Ok((operator, span))
    }

    fn no_operator_but(&self, word: &str, span: Span, left: Span) -> Problem {
        let value = self.slice(left);
        let hint = match word {
            "starts_with" | "ends_with" => format!("it is a function: `{word}({value}, \"…\")`"),
            "and" | "or" | "xor" => {
                format!("compare `{value}` with something first, as in `{value} eq …`")
            }
            _ => {
                let operators = [
                    "eq",
                    "ne",
                    "lt",
                    "le",
                    "gt",
                    "ge",
                    "contains",
                    "matches",
                    "in",
                    "wildcard",
                    "strict wildcard",
                ];
                match nearest(word, operators) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "expected `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `contains`, `matches`, `wildcard` or `in`".into(),
                }
            }
        };
        Problem::new(span, format!("`{word}` is not a comparison operator"), hint)
    }

    fn constant(&mut self, kind: Kind) -> Result<Literal, Problem> {
        match kind {
            Kind::String => self.string_constant().map(Literal::Bytes),
            Kind::Integer => self
                .word("expected an integer", literal::int)
                .map(Literal::Int),
            Kind::Ip | Kind::Boolean => {
                if let Some(word) = self.peek_word()
                    && (word.contains('/') || word.contains(".."))
                    && literal::ip_item(word).is_ok()
                {
                    let hint = format!("use `in {{{word}}}`");
                    return Err(Problem::new(
                        self.peek().1,
                        "this is a range of addresses, not one",
                        hint,
                    ));
                }
                self.word("expected an IP address without quotes", literal::ip)
                    .map(Literal::Ip)
            }
        }
    }

    fn word<T>(
        &mut self,
        expected: &str,
        read: impl Fn(&str) -> Result<T, NotALiteral>,
    ) -> Result<T, Problem> {
        let Some(word) = self.peek_word() else {
            return Err(self.unexpected(expected));
        };
        let span = self.peek().1;
        let value =
            read(word).map_err(|no| Problem::new(span, format!("`{word}`: {}", no.0), no.1))?;
        self.advance();
        Ok(value)
    }

    fn string_constant(&mut self) -> Result<Box<[u8]>, Problem> {
        match self.peek().0 {
            Token::Quoted | Token::Raw(_) => self.string(),
            _ => Err(self.unexpected("expected a string in double quotes")),
        }
    }

    fn regex(&mut self) -> Result<Comparison, Problem> {
        let (token, span) = self.peek();
        let source = match token {
            Token::Raw(hashes) => self.raw_content(span, hashes).to_owned(),
            Token::Quoted => {
                let content = Span {
                    start: span.start + 1,
                    end: span.end.saturating_sub(1),
                };
                literal::unescape_regex(self.slice(content))
            }
            _ => return Err(self.unexpected("expected a regular expression in double quotes")),
        };
        self.advance();
        Pattern::new(&source, MatchDetail::Match)
            .map(Comparison::Matches)
            .map_err(|error| Problem::regex(span, error))
    }

    fn set_or_list(&mut self, kind: Kind) -> Result<Comparison, Problem> {
        let (token, span) = self.peek();
        match token {
            Token::List => {
                self.advance();
                self.list(kind, span).map(Comparison::Listed)
            }
            Token::Symbol(Symbol::OpenSet) => {
                self.advance();
                let set =
                    match kind {
                        Kind::String => Set::Bytes(self.items(Self::string_constant)?),
                        Kind::Integer => Set::Ints(self.items(|parser| {
                            parser.word("expected an integer", literal::int_range)
                        })?),
                        Kind::Ip | Kind::Boolean => Set::Ips(self.items(|parser| {
                            parser.word("expected an IP address", literal::ip_item)
                        })?),
                    };
                Ok(Comparison::In(set))
            }
            _ => {
                let word = self.slice(span);
                let hint = match token {
                    Token::Word | Token::Quoted => {
                        format!("expected a set, `{{{word}}}`, or a list, `$name`")
                    }
                    _ => "expected a set, `{…}`, or a list, `$name`".into(),
                };
                Err(self.unexpected(&hint))
            }
        }
    }

    fn items<T>(
        &mut self,
        one: impl Fn(&mut Self) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Problem> {
        let mut items = Vec::new();
        loop {
            let (token, span) = self.peek();
            match token {
                Token::Symbol(Symbol::CloseSet) if items.is_empty() => {
                    return Err(Problem::new(
                        span,
                        "this set is empty",
                        "it would match nothing",
                    ));
                }
                Token::Symbol(Symbol::CloseSet) => {
                    self.advance();
                    return Ok(items);
                }
                Token::Symbol(Symbol::Comma) => {
                    return Err(Problem::new(
                        span,
                        "unexpected `,`",
                        "the items of a set are separated by spaces",
                    ));
                }
                Token::End => return Err(self.unexpected("expected `}`")),
                _ => items.push(one(self)?),
            }
        }
    }

    fn list(&self, kind: Kind, span: Span) -> Result<ListReference, Problem> {
        let name = self.slice(span).trim_start_matches('$');
        if !is_list_name(name) {
            let hint = "a list's name has 1 to 50 of a-z, 0-9 and `_`";
            return Err(Problem::new(
                span,
                format!("`${name}` cannot be a list"),
                hint,
            ));
        }
        let Some(lists) = self.lists else {
            return Ok(ListReference {
                name: name.into(),
                list: None,
            });
        };
        let Some(list) = lists.get(name) else {
            let hint = match nearest(name, lists.names()) {
                Some(near) => format!("did you mean `${near}`?"),
                None => "create it first".into(),
            };
            return Err(Problem::new(
                span,
                format!("there is no list `${name}`"),
                hint,
            ));
        };
        if list.kind() != kind {
            let message = format!("`${name}` is an {} and does not take {kind}", list.noun());
            return Err(Problem::new(
                span,
                message,
                format!("it takes {}", list.kind()),
            ));
        }
        Ok(ListReference {
            name: name.into(),
            list: Some(list.clone()),
        })
    }
}
