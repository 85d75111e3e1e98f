//! `wildcard` and `strict wildcard`: patterns in which `*` stands for any bytes.
//!
//! Whole-value matching in time proportional to value × pattern at worst, never exponential:
//! the classic two-pointer walk that only ever returns to the last `*`.

use std::ops::Range;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wildcard {
    /// As written: `*`, `\*`, `\\`.
    pub(crate) source: Box<[u8]>,
    /// Whether case matters.
    pub(crate) strict: bool,
    /// The literal parts between the stars, in lower case unless strict; one more than stars.
    parts: Box<[Box<[u8]>]>,
}

impl Wildcard {
    /// Checks a pattern.
    ///
    /// # Errors
    /// Why it is none: two stars in a row, or a backslash before anything but `*` and `\`.
    pub(crate) fn new(source: &[u8], strict: bool) -> Result<Self, &'static str> {
        let mut parts: Vec<Box<[u8]>> = Vec::new();
        let mut part = Vec::new();
        let mut bytes = source.iter().copied();
        let mut after_star = false;
        while let Some(byte) = bytes.next() {
            let star = byte == b'*';
            match byte {
                b'*' if after_star => {
                    return Err("two `*` in a row are not allowed in a wildcard pattern");
                }
                b'*' => parts.push(std::mem::take(&mut part).into()),
                b'\\' => match bytes.next() {
                    Some(escaped @ (b'*' | b'\\')) => part.push(escaped),
                    _ => {
                        return Err(
                            "in a wildcard pattern a backslash stands only before `*` or `\\`",
                        );
                    }
                },
                _ if strict => part.push(byte),
                _ => part.push(byte.to_ascii_lowercase()),
            }
            after_star = star;
        }
        parts.push(part.into());
        Ok(Self {
            source: source.into(),
            strict,
            parts: parts.into(),
        })
    }

    /// Whether the whole value matches.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        self.captures(value, &mut |_| {})
    }

    /// Whether the whole value matches; tells `star` what each `*` stands for, shortest first
    /// from the left. It is told of partial matches as well: only what was told before a `true`
    /// counts, and the callback is told every star exactly once then.
    pub(crate) fn captures(&self, value: &[u8], star: &mut dyn FnMut(Range<usize>)) -> bool {
        let Some((first, rest)) = self.parts.split_first() else {
            return false;
        };
        if !self.starts_with(value, first) {
            return false;
        }
        let mut at = first.len();
        let Some((last, middle)) = rest.split_last() else {
            return at == value.len();
        };
        for part in middle {
            let Some(found) = self.find(value, at, part) else {
                return false;
            };
            star(at..found);
            at = found + part.len();
        }
        let Some(tail) = value
            .len()
            .checked_sub(last.len())
            .filter(|tail| *tail >= at)
        else {
            return false;
        };
        star(at..tail);
        value
            .get(tail..)
            .is_some_and(|end| self.starts_with(end, last))
    }

    /// The literal text before the first star, as it is compared.
    pub(crate) fn prefix(&self) -> &[u8] {
        self.parts.first().map_or(&[], |part| part)
    }

    /// The literal text after the last star, as it is compared; empty without a star.
    pub(crate) fn suffix(&self) -> &[u8] {
        self.parts
            .get(1..)
            .and_then(<[_]>::last)
            .map_or(&[], |part| part)
    }

    /// The longest literal text between two stars, as it is compared.
    pub(crate) fn middle(&self) -> Option<&[u8]> {
        let inner = self.parts.get(1..self.parts.len() - 1)?;
        let longest = inner.iter().max_by_key(|part| part.len())?;
        (!longest.is_empty()).then_some(longest)
    }

    /// Stars in the pattern.
    pub(crate) fn stars(&self) -> usize {
        self.parts.len() - 1
    }

    fn starts_with(&self, value: &[u8], part: &[u8]) -> bool {
        value.get(..part.len()).is_some_and(|start| {
            if self.strict {
                start == part
            } else {
                start.eq_ignore_ascii_case(part)
            }
        })
    }

    fn find(&self, value: &[u8], from: usize, part: &[u8]) -> Option<usize> {
        (from..=value.len().checked_sub(part.len())?).find(|at| {
            value
                .get(*at..)
                .is_some_and(|rest| self.starts_with(rest, part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_values() {
        for (pattern, value, loose, strict) in [
            (
                "https://example.com/a/*",
                "https://example.com/a/",
                true,
                true,
            ),
            (
                "https://example.com/a/*",
                "https://example.com/a/sub/?x=y",
                true,
                true,
            ),
            (
                "https://example.com/a/*",
                "https://example.com/ab/",
                false,
                false,
            ),
            (
                "https://example.com/a/*",
                "HTTPS://EXAMPLE.COM/A/x",
                true,
                false,
            ),
            (
                "*.example.com/*/page.html",
                "http://sub.example.com/folder/page.html",
                true,
                true,
            ),
            (
                "*.example.com/*/page.html",
                "https://sub.example.com/f/page.html?s=v",
                false,
                false,
            ),
            (
                "*.example.com/*/page.html",
                "https://example.com/ab/page.html",
                false,
                false,
            ),
            ("", "", true, true),
            ("", "a", false, false),
            ("*", "", true, true),
            ("a*a", "a", false, false),
            ("a*a", "aa", true, true),
            ("*ab*ab", "abab", true, true),
            ("*ab*ab", "aabb", false, false),
            ("a\\*b", "a*b", true, true),
            ("a\\*b", "axb", false, false),
            ("a\\\\b", "a\\b", true, true),
        ] {
            for (is_strict, expected) in [(false, loose), (true, strict)] {
                let wildcard = Wildcard::new(pattern.as_bytes(), is_strict).unwrap();
                assert_eq!(
                    wildcard.matches(value.as_bytes()),
                    expected,
                    "{pattern} {value} {is_strict}"
                );
            }
        }
    }

    #[test]
    fn refused_patterns() {
        for pattern in ["**", "a**b", "a\\", "a\\b"] {
            assert!(
                Wildcard::new(pattern.as_bytes(), false).is_err(),
                "{pattern}"
            );
        }
        assert!(Wildcard::new(b"*\\**", false).is_ok());
    }

    #[test]
    fn hostile_values_take_linear_returns() {
        let pattern = "*a".repeat(200) + "*b";
        let wildcard = Wildcard::new(pattern.as_bytes(), false).unwrap();
        assert!(!wildcard.matches("a".repeat(60_000).as_bytes()));
    }
}
