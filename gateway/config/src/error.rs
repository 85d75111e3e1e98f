//! Configuration errors, shown so that a person can mend them: file, line, column, the line itself,
//! a caret, and the likely intention.
//!
//! Owns the shape of the messages. Does not find errors: the other files here do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::limits;

/// Something wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file; empty for a value that came with a command.
    pub file: PathBuf,
    /// Where in the file, `None` when the file as a whole is meant.
    pub span: Option<Span>,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A part of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Characters under the caret, at least 1.
    pub width: usize,
    /// The line as it is written.
    pub text: String,
}

impl Span {
    /// The place of the bytes `from..to` of `text`, which is line `line`.
    pub(super) fn new(line: usize, text: &str, from: usize, to: usize) -> Self {
        let characters = |until: usize| {
            text.char_indices()
                .take_while(|(at, _)| *at < until)
                .count()
        };
        let (start, end) = (characters(from), characters(to));
        Self {
            line,
            column: start + 1,
            width: end.saturating_sub(start).max(1),
            text: text.into(),
        }
    }
}

impl ConfigError {
    /// An error about a whole file.
    pub(super) fn file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            span: None,
            message: message.into(),
            help: None,
        }
    }

    /// Says what to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}:", self.file.display())?;
        }
        if let Some(Span { line, column, .. }) = &self.span {
            write!(f, "{line}:{column}:")?;
        }
        if !self.file.as_os_str().is_empty() || self.span.is_some() {
            f.write_str(" ")?;
        }
        f.write_str(&self.message)?;
        if let Some(Span {
            line,
            column,
            width,
            text,
        }) = &self.span
        {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs, so that the caret stands below its character on every terminal;
            // other control characters would let a file write to the terminal.
            let shown: String = text
                .chars()
                .map(|c| {
                    if c.is_control() && c != '\t' {
                        '\u{fffd}'
                    } else {
                        c
                    }
                })
                .collect();
            let indent: String = shown
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                f,
                "\n  {number} | {shown}\n  {margin} | {indent}{}",
                "^".repeat(*width)
            )?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Everything wrong, in the order in which it was read; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(limits::CONFIG_ERRORS_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        match self.0.len().saturating_sub(limits::CONFIG_ERRORS_MAX) {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_what_it_means() {
        let text = "\tx = bücher 5";
        let from = text.find('b').unwrap();
        let error = ConfigError {
            file: "a.conf".into(),
            span: Some(Span::new(12, text, from, from + "bücher".len())),
            message: "not a number".into(),
            help: Some("write 5".into()),
        };
        assert_eq!(
            error.to_string(),
            "a.conf:12:6: not a number\n  12 | \tx = bücher 5\n     | \t    ^^^^^^\n  help: write 5"
        );
    }
}
