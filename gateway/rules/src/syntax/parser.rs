//! The parser: tokens to a typed tree, conditions and their precedence.
//!
//! Recursive descent, `not` > `and` > `xor` > `or`, bounded in depth. Types are checked while
//! parsing, where the spans are. `operand` and `operator` parse the two sides of a comparison.

use super::ast::{Array, Condition, Quantifier};
use super::error::{ParseError, Problem, Span, nearest};
use super::function::Function;
use super::lexer::{Symbol, Token, tokens};
use super::list::Lists;
use super::operand::OperandValue;
use crate::limits;

/// Words that no field can have.
pub(crate) const KEYWORDS: &[&str] = &[
    "and", "or", "xor", "not", "in", "eq", "ne", "lt", "le", "gt", "ge", "contains", "matches",
    "wildcard", "strict",
];

/// The state of parsing one expression.
pub(crate) struct Parser<'t> {
    pub(crate) text: &'t str,
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
    /// `None` when lists are not known and not checked.
    pub(crate) lists: Option<&'t Lists>,
    /// Inside `any(…)` or `all(…)`: the array that `[*]` unpacks, once it is known.
    pub(crate) each: Option<Option<Array>>,
    /// Where a `true` or `false` was.
    constant: Option<Span>,
    /// `regex_replace` and `wildcard_replace` are allowed once.
    pub(crate) replaced: [Option<Span>; 2],
}

/// Parses and type-checks an expression.
pub(crate) fn parse(text: &str, lists: Option<&Lists>) -> Result<Condition, ParseError> {
    bounded(text)?;
    parse_any_length(text, lists)
}

/// Refuses what is too long.
fn bounded(text: &str) -> Result<(), ParseError> {
    let count = text.chars().count();
    if count > limits::EXPRESSION_CHARACTERS_MAX {
        let start = text
            .char_indices()
            .nth(limits::EXPRESSION_CHARACTERS_MAX)
            .map_or(0, |(at, _)| at);
        let most = limits::EXPRESSION_CHARACTERS_MAX;
        let problem = Problem::new(
            Span { start, end: start },
            format!("the expression has {count} characters, {most} are allowed"),
            "use a list (`in $name`) or several rules",
        );
        return Err(ParseError::new(text, problem));
    }
    Ok(())
}

/// As [`parse`], for text that was printed rather than written.
pub(crate) fn parse_any_length(text: &str, lists: Option<&Lists>) -> Result<Condition, ParseError> {
    Parser::new(text, lists)
        .whole()
        .map_err(|problem| ParseError::new(text, problem))
}

/// Parses what could stand left of a comparison, and nothing else: with its place in the text.
pub(crate) fn parse_operand(text: &str) -> Result<(OperandValue, Span), ParseError> {
    bounded(text)?;
    Parser::new(text, None)
        .only_operand()
        .map_err(|problem| ParseError::new(text, problem))
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, lists: Option<&'t Lists>) -> Self {
        Self {
            text,
            tokens: tokens(text),
            at: 0,
            depth: 0,
            lists,
            each: None,
            constant: None,
            replaced: [None; 2],
        }
    }

    fn only_operand(&mut self) -> Result<(OperandValue, Span), Problem> {
        match self.peek() {
            (Token::Word, _) => {}
            (Token::End, span) => return Err(Problem::new(span, "the expression is empty", "")),
            (_, span) => {
                let hint = "for a fixed text, give it as the value and not as an expression";
                return Err(Problem::new(span, "expected a field or a function", hint));
            }
        }
        let operand = self.operand()?;
        if operand.root.is_some() {
            let message = "`[*]` gives each element, one value is expected";
            return Err(Problem::new(operand.span, message, "`[0]` is the first"));
        }
        match self.peek() {
            (Token::End, _) => Ok((operand.value, operand.span)),
            (_, span) => Err(Problem::new(
                span,
                "unrecognised input",
                "expected the end: this is a value, not a condition",
            )),
        }
    }

    fn whole(&mut self) -> Result<Condition, Problem> {
        if matches!(self.peek().0, Token::End) {
            return Err(Problem::new(
                self.peek().1,
                "the expression is empty",
                "`true` matches every request",
            ));
        }
        let condition = self.or()?;
        let (token, span) = self.peek();
        if token != Token::End {
            return Err(self.leftover(token, span));
        }
        match (self.constant, &condition) {
            (Some(span), other) if !matches!(other, Condition::Constant(_)) => Err(Problem::new(
                span,
                "`true` and `false` can only be the whole expression",
                "",
            )),
            _ => Ok(condition),
        }
    }

    fn leftover(&self, token: Token, span: Span) -> Problem {
        let expected = "expected `and`, `or`, `xor` or the end of the expression";
        match token {
            Token::Bad(why) => Problem::new(span, why, expected),
            Token::Symbol(Symbol::Close) => Problem::new(span, "this `)` closes nothing", expected),
            Token::Word => {
                let word = self.slice(span);
                let hint = match nearest(word, ["and", "or", "xor"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => expected.into(),
                };
                Problem::new(span, "unrecognised input", hint)
            }
            _ => Problem::new(span, "unrecognised input", expected),
        }
    }

    // Tokens.

    pub(crate) fn peek(&self) -> (Token, Span) {
        let end = Span {
            start: self.text.len(),
            end: self.text.len(),
        };
        self.tokens
            .get(self.at)
            .copied()
            .unwrap_or((Token::End, end))
    }

    pub(crate) fn peek_second(&self) -> Token {
        self.tokens
            .get(self.at + 1)
            .map_or(Token::End, |(token, _)| *token)
    }

    pub(crate) fn advance(&mut self) -> (Token, Span) {
        let next = self.peek();
        self.at += 1;
        next
    }

    /// The last token taken.
    pub(crate) fn end_of_last(&self) -> Span {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map(|(_, span)| *span)
            .unwrap_or_default()
    }

    pub(crate) fn slice(&self, span: Span) -> &'t str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The next token's text if it is a word.
    pub(crate) fn peek_word(&self) -> Option<&'t str> {
        let (token, span) = self.peek();
        (token == Token::Word).then(|| self.slice(span))
    }

    pub(crate) fn take(&mut self, symbol: Symbol) -> bool {
        let found = self.peek().0 == Token::Symbol(symbol);
        if found {
            self.at += 1;
        }
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word() == Some(word);
        if found {
            self.at += 1;
        }
        found
    }

    /// The symbol, or a problem saying that it was expected.
    pub(crate) fn expect(&mut self, symbol: Symbol, expected: &str) -> Result<Span, Problem> {
        let (token, span) = self.peek();
        if token == Token::Symbol(symbol) {
            self.at += 1;
            return Ok(span);
        }
        Err(self.unexpected(expected))
    }

    /// The next token is not what should be here.
    pub(crate) fn unexpected(&self, expected: &str) -> Problem {
        let (token, span) = self.peek();
        let message = match token {
            Token::Bad(why) => why.to_owned(),
            Token::End => "the expression ends too early".to_owned(),
            _ => format!("unexpected `{}`", self.slice(span)),
        };
        Problem::new(span, message, expected)
    }

    /// Goes one level down.
    pub(crate) fn enter(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > limits::EXPRESSION_NESTING_MAX {
            let most = limits::EXPRESSION_NESTING_MAX;
            let message = format!("the expression is nested too deeply, {most} levels are allowed");
            return Err(Problem::new(self.peek().1, message, "use several rules"));
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    // Conditions.

    fn or(&mut self) -> Result<Condition, Problem> {
        let first = self.xor()?;
        let mut parts = vec![first];
        while self.take_word("or") || self.take(Symbol::Or) {
            parts.push(self.xor()?);
        }
        Ok(Condition::or(parts))
    }

    fn xor(&mut self) -> Result<Condition, Problem> {
        let first = self.and()?;
        let mut parts = vec![first];
        while self.take_word("xor") || self.take(Symbol::Xor) {
            parts.push(self.and()?);
        }
        Ok(Condition::xor(parts))
    }

    fn and(&mut self) -> Result<Condition, Problem> {
        let first = self.unary()?;
        let mut parts = vec![first];
        while self.take_word("and") || self.take(Symbol::And) {
            parts.push(self.unary()?);
        }
        Ok(Condition::and(parts))
    }

    fn unary(&mut self) -> Result<Condition, Problem> {
        if self.take_word("not") || self.take(Symbol::Not) {
            self.enter()?;
            let inner = self.unary()?;
            self.leave();
            return Ok(Condition::Not(Box::new(inner)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Condition, Problem> {
        let (token, span) = self.peek();
        if token == Token::Symbol(Symbol::Open) {
            self.advance();
            self.enter()?;
            let inner = self.or()?;
            self.leave();
            self.expect(Symbol::Close, "expected `)`, `and`, `or` or `xor`")?;
            return Ok(inner);
        }
        match self.peek_word() {
            Some(word @ ("true" | "false")) => {
                self.advance();
                self.constant = Some(span);
                Ok(Condition::Constant(word == "true"))
            }
            Some("any") if self.peek_second() == Token::Symbol(Symbol::Open) => {
                self.quantified(Quantifier::Any)
            }
            Some("all") if self.peek_second() == Token::Symbol(Symbol::Open) => {
                self.quantified(Quantifier::All)
            }
            Some(word) if KEYWORDS.contains(&word) => {
                Err(self.unexpected("expected a field, a function, `not` or `(`"))
            }
            Some(_) => self.comparison(),
            None => Err(self.unexpected("expected a field, a function, `not` or `(`")),
        }
    }

    fn quantified(&mut self, quantifier: Quantifier) -> Result<Condition, Problem> {
        let (_, name) = self.advance();
        if self.each.is_some() {
            return Err(Problem::new(
                name,
                "`any` and `all` cannot be inside one another",
                "",
            ));
        }
        self.advance();
        self.enter()?;
        self.each = Some(None);
        let condition = self.or()?;
        let root = self.each.take().flatten();
        self.leave();
        let close = self.expect(Symbol::Close, "expected `)`")?;
        let Some(root) = root else {
            let hint = "as in `any(http.request.headers[\"accept\"][*] == \"text/html\")`";
            return Err(Problem::new(
                name.to(close),
                "`any` and `all` take an array of Booleans",
                hint,
            ));
        };
        Ok(Condition::Quantified(quantifier, root, Box::new(condition)))
    }

    /// A problem about a name that is neither field nor function.
    pub(crate) fn unknown(&self, name: &str, span: Span) -> Problem {
        if let Some(why) = super::field::absence(name) {
            return Problem::new(span, format!("the field `{name}` does not exist here"), why);
        }
        let called = self.peek().0 == Token::Symbol(Symbol::Open);
        if let Some(why) = super::function::absence(name).filter(|_| called) {
            let message = format!("the function `{name}` does not exist here");
            return Problem::new(span, message, why);
        }
        let functions = Function::ALL.iter().map(|f| f.name()).chain(["any", "all"]);
        let fields = super::field::Field::ALL.iter().map(|field| field.name());
        let near = if called {
            nearest(name, functions)
        } else {
            nearest(name, fields).or_else(|| nearest(name, ["not", "any", "all", "true", "false"]))
        };
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if called => "expected a function".into(),
            None => "expected a field or a function".into(),
        };
        let what = if called {
            "unknown function"
        } else {
            "unknown identifier"
        };
        Problem::new(span, format!("{what} `{name}`"), hint)
    }
}
