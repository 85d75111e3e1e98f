//! The diff of two lists: the hunks in which they differ.
//!
//! Made for changes that touch one place or two of many thousand, and takes one pass over both
//! lists. Not a minimal diff: elements that are removed, added or moved one at a time are found
//! exactly; a run of differences longer than `limits::DIFF_LOOK_AHEAD` becomes one hunk, which
//! ends where the common end of both lists begins.

use std::ops::Range;

use crate::limits::DIFF_LOOK_AHEAD;

/// A place where the lists differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// What the old list has there.
    pub old: Range<usize>,
    /// What the new list has there.
    pub new: Range<usize>,
}

/// The hunks of two lists, in order. What is before, between and after them is the same in both.
///
/// ```
/// use chunked_list::diff::{Hunk, hunks};
///
/// let (old, new) = (["a", "b", "c"], ["a", "x", "y", "c"]);
/// assert_eq!(hunks(&old, &new, |a, b| a == b), [Hunk { old: 1..2, new: 1..3 }]);
/// ```
pub fn hunks<T>(old: &[T], new: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<Hunk> {
    let front = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| same(old, new))
        .count();
    let most = old.len().min(new.len()) - front;
    let pairs = old.iter().rev().zip(new.iter().rev()).take(most);
    let back = pairs.take_while(|(old, new)| same(old, new)).count();
    let ends = (old.len() - back, new.len() - back);
    let is_same = |at: usize, to: usize| match (at < ends.0, to < ends.1) {
        (true, true) => old
            .get(at)
            .zip(new.get(to))
            .is_some_and(|(old, new)| same(old, new)),
        (false, false) => at == ends.0 && to == ends.1,
        _ => false,
    };
    let mut found: Vec<Hunk> = Vec::new();
    let (mut at, mut to) = (front, front);
    while (at, to) != ends {
        if is_same(at, to) {
            (at, to) = (at + 1, to + 1);
            continue;
        }
        // The smallest hunk after which both go on with the same.
        let next = (1..=2 * DIFF_LOOK_AHEAD).find_map(|steps| {
            let least = steps.saturating_sub(DIFF_LOOK_AHEAD);
            let mut out = least..=steps.min(DIFF_LOOK_AHEAD);
            let out = out.find(|out| is_same(at + out, to + steps - out))?;
            Some((at + out, to + steps - out))
        });
        let (end, to_end) = next.unwrap_or(ends);
        match found.last_mut() {
            Some(last) if last.old.end == at && last.new.end == to => {
                last.old.end = end;
                last.new.end = to_end;
            }
            _ => found.push(Hunk {
                old: at..end,
                new: to..to_end,
            }),
        }
        (at, to) = (end, to_end);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn of(old: &str, new: &str) -> String {
        let (old, new) = (old.as_bytes(), new.as_bytes());
        let text = |range: &Range<usize>, of: &[u8]| {
            String::from_utf8(of[range.clone()].to_vec()).unwrap()
        };
        let found = hunks(old, new, |a, b| a == b).into_iter().map(|hunk| {
            format!(
                "{}:{}>{}",
                hunk.old.start,
                text(&hunk.old, old),
                text(&hunk.new, new)
            )
        });
        found.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_what_differs() {
        for (old, new, expected) in [
            ("", "", ""),
            ("abc", "abc", ""),
            ("abc", "aBc", "1:b>B"),
            ("abc", "ac", "1:b>"),
            ("ac", "abc", "1:>b"),
            ("", "ab", "0:>ab"),
            ("ab", "", "0:ab>"),
            ("aa", "aaa", "2:>a"),
            // Moved.
            ("abcdefgh", "bcdefgah", "0:a> 7:>a"),
            ("abcdefgh", "gabcdefh", "0:>g 6:g>"),
            // Several.
            ("abcdefgh", "aBcdeFgh", "1:b>B 5:f>F"),
            ("abcdefgh", "aBCdeh", "1:bc>BC 5:fg>"),
            // More than is looked ahead.
            (
                "a0123456789bcd",
                "aABCDEFGHIJbXd",
                "1:0123456789bc>ABCDEFGHIJbX",
            ),
        ] {
            assert_eq!(of(old, new), expected, "{old} {new}");
        }
    }

    proptest! {
        #[test]
        fn what_is_not_in_a_hunk_is_the_same(
            old in vec(0..12_u8, 0..40),
            new in vec(0..12_u8, 0..40),
        ) {
            let mut rebuilt = old.clone();
            for hunk in hunks(&old, &new, |a, b| a == b).into_iter().rev() {
                prop_assert!(!hunk.old.is_empty() || !hunk.new.is_empty());
                rebuilt.splice(hunk.old, new[hunk.new].to_vec());
            }
            prop_assert_eq!(rebuilt, new);
        }
    }
}
