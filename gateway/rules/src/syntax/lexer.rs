//! The lexer: text to tokens with spans.
//!
//! Never fails: text that is no token becomes [`Token::Bad`], which the parser reports when it gets
//! there, so that the first error in reading order is the one that is shown. Whether a word or a
//! string is an integer, an address or a regular expression depends on where it stands, and the
//! parser says.

use super::error::Span;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Letters, digits and `_ . : / -`: a field, keyword, integer, address or range.
    Word,
    /// `"…"`; the span includes the quotes.
    Quoted,
    /// `r"…"`, `r#"…"#`; the number of `#`.
    Raw(u8),
    /// `$name`.
    List,
    /// Punctuation and C-like operators, as written.
    Symbol(Symbol),
    /// Not a token; the reason.
    Bad(&'static str),
    /// The end, once.
    End,
}

/// Punctuation and C-like operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// `(`
    Open,
    /// `)`
    Close,
    /// `{`
    OpenSet,
    /// `}`
    CloseSet,
    /// `[`
    OpenIndex,
    /// `]`
    CloseIndex,
    /// `,`
    Comma,
    /// `*`
    Star,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `~`
    Tilde,
    /// `!`
    Not,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `^^`
    Xor,
}

const SYMBOLS: &[(&str, Symbol)] = &[
    // The longer before the shorter.
    ("==", Symbol::Equal),
    ("!=", Symbol::NotEqual),
    ("<=", Symbol::LessOrEqual),
    (">=", Symbol::GreaterOrEqual),
    ("&&", Symbol::And),
    ("||", Symbol::Or),
    ("^^", Symbol::Xor),
    ("(", Symbol::Open),
    (")", Symbol::Close),
    ("{", Symbol::OpenSet),
    ("}", Symbol::CloseSet),
    ("[", Symbol::OpenIndex),
    ("]", Symbol::CloseIndex),
    (",", Symbol::Comma),
    ("*", Symbol::Star),
    ("<", Symbol::Less),
    (">", Symbol::Greater),
    ("~", Symbol::Tilde),
    ("!", Symbol::Not),
];

/// All tokens of a text; the last one is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Vec<(Token, Span)> {
    let mut found = Vec::with_capacity(text.len() / 6 + 2);
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        at += blank;
        let rest = text.get(at..).unwrap_or_default();
        if rest.is_empty() {
            found.push((Token::End, Span { start: at, end: at }));
            return found;
        }
        let (token, length) = next(rest);
        found.push((
            token,
            Span {
                start: at,
                end: at + length,
            },
        ));
        at += length.max(1);
    }
}

/// The token at the start of a text that starts with neither space nor end; its length in bytes.
fn next(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let first = bytes.first().copied().unwrap_or_default();
    let after = bytes.get(1..).unwrap_or_default();
    match first {
        b'"' => return quoted(bytes),
        b'r' if raw_opening(bytes).is_some() => return raw(bytes),
        b'$' => {
            let name = length_while(after, |b| {
                b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
            });
            return (Token::List, 1 + name);
        }
        _ => {}
    }
    let signed = first == b'-' && bytes.get(1).is_some_and(u8::is_ascii_digit);
    if signed || first.is_ascii_alphanumeric() || matches!(first, b'_' | b':' | b'.') {
        let body =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-');
        return (Token::Word, 1 + length_while(after, body));
    }
    if let Some((text, symbol)) = SYMBOLS.iter().find(|(text, _)| rest.starts_with(text)) {
        return (Token::Symbol(*symbol), text.len());
    }
    let length = rest.chars().next().map_or(1, char::len_utf8);
    let why = match first {
        b'=' => "`=` is not an operator; equality is `eq` or `==`",
        b'&' => "`&` is not an operator; both sides true is `and` or `&&`",
        b'|' => "`|` is not an operator; one side true is `or` or `||`",
        b'^' => "`^` is not an operator; exactly one side true is `xor` or `^^`",
        b'\'' => "strings are written in double quotes",
        b'#' => "the language has no comments",
        b';' => "an expression is one condition and ends without `;`",
        _ if matches!(rest.chars().next(), Some('“' | '”' | '„' | '’' | '‘')) => {
            "this is a typographic quote; strings are written in plain double quotes"
        }
        _ => "unrecognised input",
    };
    (Token::Bad(why), length)
}

fn length_while(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|b| !belongs(*b))
        .unwrap_or(bytes.len())
}

fn quoted(bytes: &[u8]) -> (Token, usize) {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return (Token::Quoted, at + 1),
            // Whatever follows belongs to the escape, a quote too.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (Token::Bad("this string has no closing `\"`"), bytes.len())
}

/// The number of `#` in `r##"`, if that is what the text starts with.
fn raw_opening(bytes: &[u8]) -> Option<usize> {
    let hashes = length_while(bytes.get(1..)?, |b| b == b'#');
    (bytes.get(1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw(bytes: &[u8]) -> (Token, usize) {
    let hashes = raw_opening(bytes).unwrap_or_default();
    let Ok(count) = u8::try_from(hashes) else {
        return (Token::Bad("a raw string has at most 255 `#`"), 1 + hashes);
    };
    let content = 2 + hashes;
    let mut at = content;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == b'"'))
    {
        let end = at + found + 1;
        let closing = bytes.get(end..end + hashes);
        if closing.is_some_and(|closing| closing.iter().all(|b| *b == b'#')) {
            return (Token::Raw(count), end + hashes);
        }
        at = end;
    }
    (
        Token::Bad(
            "this raw string is not closed: it ends with `\"` and as many `#` as it starts with",
        ),
        bytes.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, Token)]) {
        let found: Vec<_> = tokens(text)
            .into_iter()
            .map(|(token, span)| (&text[span.start..span.end], token))
            .collect();
        let mut expected = expected.to_vec();
        expected.push(("", Token::End));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn words_strings_and_symbols() {
        use Symbol as S;
        check(
            "http.host==\"a\\\"b\"",
            &[
                ("http.host", Token::Word),
                ("==", Token::Symbol(S::Equal)),
                ("\"a\\\"b\"", Token::Quoted),
            ],
        );
        check(
            "ip.src in{10.0.0.0/8 2001:db8::1..2001:db8::9 ::1}",
            &[
                ("ip.src", Token::Word),
                ("in", Token::Word),
                ("{", Token::Symbol(S::OpenSet)),
                ("10.0.0.0/8", Token::Word),
                ("2001:db8::1..2001:db8::9", Token::Word),
                ("::1", Token::Word),
                ("}", Token::Symbol(S::CloseSet)),
            ],
        );
        check(
            "a[*]!=-5&&!b",
            &[
                ("a", Token::Word),
                ("[", Token::Symbol(S::OpenIndex)),
                ("*", Token::Symbol(S::Star)),
                ("]", Token::Symbol(S::CloseIndex)),
                ("!=", Token::Symbol(S::NotEqual)),
                ("-5", Token::Word),
                ("&&", Token::Symbol(S::And)),
                ("!", Token::Symbol(S::Not)),
                ("b", Token::Word),
            ],
        );
        check(
            "r\"a\\\" r##\"b\"#\"## $office_1",
            &[
                ("r\"a\\\"", Token::Raw(0)),
                ("r##\"b\"#\"##", Token::Raw(2)),
                ("$office_1", Token::List),
            ],
        );
    }

    #[test]
    fn raw_strings_take_255_hashes_and_no_more() {
        for (hashes, good) in [(255, true), (256, false)] {
            let text = format!("r{0}\"x\"{0}", "#".repeat(hashes));
            assert_eq!(
                matches!(tokens(&text)[0].0, Token::Raw(255)),
                good,
                "{hashes}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_said() {
        for text in [
            "=",
            "&",
            "|",
            "^",
            "'a'",
            "\"open",
            "\"open\\",
            "r#\"open\"",
            "“a”",
            "\u{1}",
            "é",
            "%",
        ] {
            assert!(matches!(tokens(text)[0].0, Token::Bad(_)), "{text}");
        }
    }
}
