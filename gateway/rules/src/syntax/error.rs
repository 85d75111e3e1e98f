//! Parse errors, in the form of Cloudflare's editor.
//!
//! `Filter parsing error (line:column): what`, the line, a caret under the span, and what would
//! have been right. Positions count characters from 1.

use std::fmt;

use crate::matcher::regex::RegexError;
use crate::matcher::wildcard::WildcardError;

/// A range of bytes in an expression's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
}

impl Span {
    /// From the start of this one to the end of `other`.
    pub(crate) fn to(self, other: Self) -> Self {
        Self {
            start: self.start,
            end: other.end.max(self.end),
        }
    }
}

/// What is wrong and where, before it is laid out over the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) span: Span,
    /// What.
    pub(crate) message: String,
    /// What was expected or is suggested; may be empty.
    pub(crate) hint: String,
}

impl Problem {
    /// A problem with advice.
    pub(crate) fn new(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A regular expression that is refused.
    pub(crate) fn regex(span: Span, error: RegexError) -> Self {
        match error {
            RegexError::Malformed { why } => {
                Self::new(span, "this is not a regular expression", why)
            }
            RegexError::TooLarge => Self::new(
                span,
                "this regular expression is too large",
                "use fewer or smaller repetitions",
            ),
        }
    }

    /// A wildcard pattern that is refused.
    pub(crate) fn wildcard(span: Span, error: WildcardError) -> Self {
        let hint = match error {
            WildcardError::TwoStars | WildcardError::Backslash => {
                "write `\\*` for a star; a raw string, r\"…\", keeps backslashes"
            }
            WildcardError::Stars => "use several conditions",
        };
        Self::new(span, error.to_string(), hint)
    }
}

/// An expression that is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Characters that the caret line marks, at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: Box<str>,
    /// What was expected, what is suggested; may be empty.
    pub hint: Box<str>,
    text: Box<str>,
}

impl ParseError {
    pub(crate) fn new(source: &str, problem: Problem) -> Self {
        let start = floor(source, problem.span.start);
        let end = floor(source, problem.span.end.max(start));
        let before = source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = source.get(line_start..).unwrap_or_default();
        let text = text.split('\n').next().unwrap_or_default();
        let column = source
            .get(line_start..start)
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let marked = source.get(start..end).unwrap_or_default();
        let width = marked
            .split('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            .max(1);
        Self {
            line: before.matches('\n').count() + 1,
            column,
            width,
            message: problem.message.into(),
            hint: problem.hint.into(),
            text: text.trim_end_matches('\r').into(),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Filter parsing error ({}:{}): {}",
            self.line, self.column, self.message
        )?;
        // Tabs and control characters become spaces so that the caret stays under its span.
        let line: String = self
            .text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        writeln!(f, "{line}")?;
        write!(
            f,
            "{:indent$}{:^<width$}",
            "",
            "",
            indent = self.column - 1,
            width = self.width
        )?;
        if !self.hint.is_empty() {
            write!(f, " {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseError {}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The candidate that `word` is most likely a misspelling of.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // A short word may be off by one letter, a long one by a quarter; more is another word.
    let allowed = (word.chars().count() / 4).clamp(1, 6);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) from one word to the other, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    // Field names have at most 60 characters; anything longer is no misspelling of one.
    if a.len().abs_diff(b.len()) > 8 || a.len() > 100 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&above, j) + usize::from(x != y))
                .min(at(&above, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_span() {
        let source = "ssl and\n\tähttp.hots eq \"x\"";
        let start = source.find("http").unwrap();
        let problem = Problem::new(
            Span {
                start,
                end: start + 9,
            },
            "unknown",
            "did you mean `http.host`?",
        );
        assert_eq!(
            ParseError::new(source, problem).to_string(),
            "Filter parsing error (2:3): unknown\n ähttp.hots eq \"x\"\n  ^^^^^^^^^ did you mean `http.host`?"
        );
    }

    #[test]
    fn positions_outside_the_text_do_no_harm() {
        for (source, start, end) in [("", 0, 0), ("", 5, 9), ("é", 1, 1), ("a\nb", 2, 90)] {
            let text =
                ParseError::new(source, Problem::new(Span { start, end }, "m", "")).to_string();
            assert!(text.starts_with("Filter parsing error ("), "{text}");
        }
    }

    #[test]
    fn suggestions() {
        let words = ["http.host", "http.request.uri.path", "and", "contains"];
        for (word, expected) in [
            ("http.hots", Some("http.host")),
            ("http.request.uri.pth", Some("http.request.uri.path")),
            ("AND", Some("and")),
            ("contain", Some("contains")),
            ("zebra", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }
}
