//! Wildcard patterns, `wildcard` and `strict wildcard`: `*` stands for any bytes.
//!
//! Matches whole values, in time proportional to value and pattern. Each literal part between two
//! stars is searched once, from the end of the one before, by Knuth-Morris-Pratt, which never goes
//! back in the value. The library's search would do if it could ignore case.

use std::ops::Range;

use crate::limits;

/// Why a text is not taken as a wildcard pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WildcardError {
    #[error("two `*` in a row are not allowed in a wildcard pattern")]
    TwoStars,
    #[error("in a wildcard pattern a backslash stands only before `*` or `\\`")]
    Backslash,
    #[error("a wildcard pattern has at most {} `*`", limits::WILDCARD_STARS_MAX)]
    Stars,
}

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wildcard {
    /// As written: `*`, `\*`, `\\`.
    pub(crate) source: Box<[u8]>,
    /// Whether case matters.
    pub(crate) strict: bool,
    /// The literal parts between the stars, in lower case unless strict; one more than stars.
    parts: Box<[Part]>,
}

/// A literal part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Part {
    text: Box<[u8]>,
    /// By the bytes that matched: how many of them still match one place further on.
    borders: Box<[usize]>,
}

impl Part {
    fn new(text: Vec<u8>) -> Self {
        let mut borders: Vec<usize> = Vec::with_capacity(text.len());
        for byte in &text {
            let next = match borders.last() {
                Some(before) => step(&text, &borders, *before, *byte),
                None => 0,
            };
            borders.push(next);
        }
        Self {
            text: text.into(),
            borders: borders.into(),
        }
    }
}

/// How many bytes of a text match once a further byte is seen, when `matched` did before; to be
/// called with fewer than all.
fn step(text: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        count_step();
        if text.get(matched) == Some(&byte) {
            return matched + 1;
        }
        match matched.checked_sub(1).and_then(|last| borders.get(last)) {
            Some(shorter) => matched = *shorter,
            None => return 0,
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Comparisons of bytes, for tests.
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[inline]
fn count_step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

impl Wildcard {
    /// Checks a pattern.
    ///
    /// # Errors
    /// Why it is none: two stars in a row, or a backslash before anything but `*` and `\`.
    pub(crate) fn new(source: &[u8], strict: bool) -> Result<Self, WildcardError> {
        let mut parts: Vec<Part> = Vec::new();
        let mut part = Vec::new();
        let mut bytes = source.iter().copied();
        let mut after_star = false;
        while let Some(byte) = bytes.next() {
            let star = byte == b'*';
            match byte {
                b'*' if after_star => {
                    return Err(WildcardError::TwoStars);
                }
                b'*' => parts.push(Part::new(std::mem::take(&mut part))),
                b'\\' => match bytes.next() {
                    Some(escaped @ (b'*' | b'\\')) => part.push(escaped),
                    _ => return Err(WildcardError::Backslash),
                },
                _ if strict => part.push(byte),
                _ => part.push(byte.to_ascii_lowercase()),
            }
            after_star = star;
        }
        parts.push(Part::new(part));
        Ok(Self {
            source: source.into(),
            strict,
            parts: parts.into(),
        })
    }

    /// As [`Self::new`], and at most `limits::WILDCARD_STARS_MAX` stars.
    ///
    /// # Errors
    /// As [`Self::new`], or there are more stars.
    pub(crate) fn bounded(source: &[u8], strict: bool) -> Result<Self, WildcardError> {
        let wildcard = Self::new(source, strict)?;
        if wildcard.parts.len() - 1 > limits::WILDCARD_STARS_MAX {
            return Err(WildcardError::Stars);
        }
        Ok(wildcard)
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
        if !self.starts_with(value, &first.text) {
            return false;
        }
        let mut at = first.text.len();
        let Some((last, middle)) = rest.split_last() else {
            return at == value.len();
        };
        for part in middle {
            let Some(found) = self.find(value, at, part) else {
                return false;
            };
            star(at..found);
            at = found + part.text.len();
        }
        let Some(tail) = value
            .len()
            .checked_sub(last.text.len())
            .filter(|tail| *tail >= at)
        else {
            return false;
        };
        star(at..tail);
        value
            .get(tail..)
            .is_some_and(|end| self.starts_with(end, &last.text))
    }

    /// The literal text before the first star, as it is compared.
    pub(crate) fn prefix(&self) -> &[u8] {
        self.parts.first().map_or(&[], |part| &part.text)
    }

    /// The literal text after the last star, as it is compared; empty without a star.
    pub(crate) fn suffix(&self) -> &[u8] {
        self.parts
            .get(1..)
            .and_then(<[_]>::last)
            .map_or(&[], |part| &part.text)
    }

    /// The longest literal text between two stars, as it is compared.
    pub(crate) fn middle(&self) -> Option<&[u8]> {
        let inner = self.parts.get(1..self.parts.len() - 1)?;
        let longest = &inner.iter().max_by_key(|part| part.text.len())?.text;
        (!longest.is_empty()).then_some(longest)
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

    fn find(&self, value: &[u8], from: usize, part: &Part) -> Option<usize> {
        let mut matched = 0;
        for (at, byte) in value.get(from..)?.iter().enumerate() {
            let byte = if self.strict {
                *byte
            } else {
                byte.to_ascii_lowercase()
            };
            matched = step(&part.text, &part.borders, matched, byte);
            if matched == part.text.len() {
                return Some(from + at + 1 - matched);
            }
        }
        None
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
    fn hostile_values_take_time_in_proportion() {
        let long = "a".repeat(4_000);
        for pattern in [
            "*a".repeat(200) + "*c",
            format!("*{long}b*"),
            format!("*{}b{}*", "a".repeat(2_000), "a".repeat(1_999)),
            format!("*{}c*", "ab".repeat(2_000)),
            format!("{}*{}b*c", "*a".repeat(15), "a".repeat(3_000)),
        ] {
            for value in ["a".repeat(64_000), "ab".repeat(32_000)] {
                let wildcard = Wildcard::new(pattern.as_bytes(), false).unwrap();
                STEPS.set(0);
                assert!(!wildcard.matches(value.as_bytes()));
                let steps = STEPS.get();
                let most = 2 * (value.len() + pattern.len());
                assert!(steps <= most, "{steps} steps for {}", pattern.len());
            }
        }
    }

    #[test]
    fn a_part_is_found_where_it_first_is() {
        let mut found = 0;
        for number in 0..3_usize.pow(9) {
            let byte = |place: u32| b"abB"[number / 3_usize.pow(place) % 3];
            let value: Vec<u8> = (0..9).map(byte).collect();
            for (part, is_strict) in [
                ("aab", false),
                ("aba", false),
                ("abab", true),
                ("aabaaa", false),
                ("bB", true),
            ] {
                let pattern = format!("*{part}*");
                let wildcard = Wildcard::new(pattern.as_bytes(), is_strict).unwrap();
                let folded = if is_strict {
                    value.clone()
                } else {
                    value.to_ascii_lowercase()
                };
                let expected = memchr::memmem::find(&folded, part.as_bytes());
                let mut first = None;
                let matched = wildcard.captures(&value, &mut |star| {
                    first.get_or_insert(star.end);
                });
                assert_eq!(matched.then_some(first).flatten(), expected, "{part}");
                found += usize::from(matched);
            }
        }
        assert!(found > 1_000);
    }
}
