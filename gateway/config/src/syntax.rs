//! The text of one configuration file: lines to assignments.
//!
//! Owns comments, separators, the leading `-`, and how a key's name splits into segments, after
//! sysctl.conf(5). Does not know which keys exist nor what their values mean.

use std::ops::Range;

/// `key = value` on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment<'t> {
    /// Counted from 1.
    pub line: usize,
    /// The whole line, without its end.
    pub text: &'t str,
    /// The key's segments.
    pub key: KeyName,
    /// Where in `text` the key is.
    pub key_at: Range<usize>,
    /// The value, blanks around it removed.
    pub value: &'t str,
    /// Where in `text` the value is.
    pub value_at: Range<usize>,
    /// The line began with `-`: an error in it is only reported.
    pub lenient: bool,
}

/// A line that is no assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError<'t> {
    /// Counted from 1.
    pub line: usize,
    /// The whole line.
    pub text: &'t str,
    /// Where in it.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: &'static str,
    /// What to write instead.
    pub help: &'static str,
    /// The line began with `-`.
    pub lenient: bool,
}

/// A key as segments: `timeout.idle` and `timeout/idle` are the same two. Where the first
/// separator is `/`, dots belong to the segment, which is what host names need; where it is `.`, a
/// `/` inside a segment stands for a dot (`host.api/example/com.x`), as in sysctl(8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyName(pub Vec<String>);

impl KeyName {
    /// Splits a key as it is written.
    pub(super) fn parse(text: &str) -> Self {
        let slashes = text
            .find(['.', '/'])
            .is_some_and(|at| text[at..].starts_with('/'));
        if slashes {
            Self(text.split('/').map(str::to_owned).collect())
        } else {
            Self(
                text.split('.')
                    .map(|segment| segment.replace('/', "."))
                    .collect(),
            )
        }
    }

    /// The name in dotted form when no segment holds a dot itself.
    pub(super) fn dotted(&self) -> Option<String> {
        let plain = self
            .0
            .iter()
            .all(|segment| !segment.is_empty() && !segment.contains('.'));
        plain.then(|| self.0.join("."))
    }
}

/// All lines of a file that say something.
pub(super) fn assignments(
    text: &str,
) -> impl Iterator<Item = Result<Assignment<'_>, SyntaxError<'_>>> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| assignment(index + 1, line))
}

fn assignment(number: usize, text: &str) -> Option<Result<Assignment<'_>, SyntaxError<'_>>> {
    // A byte-order mark is what some editors put before the first line.
    let bare = if number == 1 {
        text.strip_prefix('\u{feff}').unwrap_or(text)
    } else {
        text
    };
    let mut start = text.len() - bare.trim_start().len();
    let end = text.trim_end().len();
    let rest = text.get(start..end).unwrap_or_default();
    if rest.is_empty() || rest.starts_with(['#', ';']) {
        return None;
    }
    let lenient = rest.starts_with('-');
    let rest = rest.strip_prefix('-').map_or(rest, str::trim_start);
    start = end - rest.len();
    let error = |at: Range<usize>, message, help| {
        Some(Err(SyntaxError {
            line: number,
            text,
            at,
            message,
            help,
            lenient,
        }))
    };
    let Some(equals) = rest.find('=') else {
        return error(
            start..end,
            "this line has no `=`",
            "write `key = value`, or `#` before a comment",
        );
    };
    let key = rest[..equals].trim_end();
    let value = rest[equals + 1..].trim_start();
    let key_at = start..start + key.len();
    if key.is_empty() {
        return error(key_at, "there is no key before `=`", "write `key = value`");
    }
    if let Some(blank) = key.find(char::is_whitespace) {
        return error(
            key_at.start + blank..key_at.end,
            "a key has no blanks",
            "write `key = value`",
        );
    }
    Some(Ok(Assignment {
        line: number,
        text,
        key: KeyName::parse(key),
        key_at,
        value,
        value_at: end - value.len()..end,
        lenient,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, wanted: Option<(&[&str], &str, bool)>) {
        let found: Vec<_> = assignments(line).collect();
        let found = match found.as_slice() {
            [] => None,
            [Ok(one)] => {
                assert_eq!(&one.text[one.value_at.clone()], one.value);
                Some((
                    one.key.0.iter().map(String::as_str).collect::<Vec<_>>(),
                    one.value,
                    one.lenient,
                ))
            }
            other => panic!("{line:?}: {other:?}"),
        };
        assert_eq!(
            found,
            wanted.map(|(key, value, lenient)| (key.to_vec(), value, lenient)),
            "{line:?}"
        );
    }

    #[test]
    fn lines() {
        check("", None);
        check("   \t", None);
        check("# a = b", None);
        check("  ; a = b", None);
        check("workers=4", Some((&["workers"], "4", false)));
        check(
            "  timeout.idle  =  5s  ",
            Some((&["timeout", "idle"], "5s", false)),
        );
        check(
            "timeout/idle = 5s",
            Some((&["timeout", "idle"], "5s", false)),
        );
        check(
            "- timeout.idle = 5s",
            Some((&["timeout", "idle"], "5s", true)),
        );
        check(
            "-timeout.idle = 5s",
            Some((&["timeout", "idle"], "5s", true)),
        );
        check("listen =", Some((&["listen"], "", false)));
        check("a = b = c", Some((&["a"], "b = c", false)));
        check(
            "a = b # not a comment",
            Some((&["a"], "b # not a comment", false)),
        );
        check("\u{feff}a = b", Some((&["a"], "b", false)));
        check("a = b\r", Some((&["a"], "b", false)));
        check(
            "host/api.example.com/mtls/mode = require",
            Some((
                &["host", "api.example.com", "mtls", "mode"],
                "require",
                false,
            )),
        );
        check(
            "host.api/example/com.mtls.mode = require",
            Some((
                &["host", "api.example.com", "mtls", "mode"],
                "require",
                false,
            )),
        );
    }

    #[test]
    fn broken_lines() {
        for (line, at) in [
            ("workers 4", 0..9),
            ("= 4", 0..0),
            ("two words = 4", 3..9),
            ("  - x", 4..5),
        ] {
            let found: Vec<_> = assignments(line).collect();
            match found.as_slice() {
                [Err(error)] => assert_eq!(error.at, at, "{line:?}"),
                other => panic!("{line:?}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[\\PC\\n\\r\\t=./#;-]{0,200}") {
            for one in assignments(&text) {
                match one {
                    Ok(one) => prop_assert_eq!(&one.text[one.value_at], one.value),
                    Err(error) => prop_assert!(error.text.get(error.at).is_some()),
                }
            }
        }
    }
}
