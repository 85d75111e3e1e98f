//! Multi-pattern search: all keys of `contains` that occur in a value, in one pass.
//!
//! Takes time proportional to the value and the keys found, however repetitive both are. Where
//! several keys end at one place the automaton is asked for the longest only. The others are its
//! suffixes, and are followed until one has been seen before. The library's own search lists all of
//! them at every place, which multiplies the keys `a`, `aa`, `aaa`, … with a value of nothing but
//! `a`.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous;
use aho_corasick::{Anchored, BuildError, Span, dfa};

use super::index::count;

/// An automaton and what it finds.
#[derive(Debug)]
pub(super) struct Contained {
    machine: Machine,
    /// By pattern: the longest other one that it ends with, [`NONE`] when there is none.
    shorter: Vec<u32>,
}

#[derive(Debug)]
enum Machine {
    /// For few bytes of patterns: a look-up for each byte of the value.
    Table(dfa::DFA),
    States(contiguous::NFA),
}

const NONE: u32 = u32::MAX;

/// Bytes of patterns up to which they get a table: 4 MiB at most.
const TABLE_BYTES_MAX: usize = 4096;

impl Contained {
    /// An automaton for patterns, all different and none of them empty.
    pub(super) fn new(patterns: &[&[u8]]) -> Result<Self, BuildError> {
        let bytes: usize = patterns.iter().map(|pattern| pattern.len()).sum();
        let machine = if bytes <= TABLE_BYTES_MAX {
            Machine::Table(dfa::DFA::new(patterns)?)
        } else {
            Machine::States(contiguous::NFA::new(patterns)?)
        };
        let shorter = match &machine {
            Machine::Table(table) => shorter(table, patterns),
            Machine::States(states) => shorter(states, patterns),
        };
        Ok(Self { machine, shorter })
    }

    /// Shows the patterns that a value contains, by their place among all. `found` says whether it
    /// is shown that one for the first time.
    pub(super) fn find(&self, value: &[u8], found: &mut dyn FnMut(usize) -> bool) {
        let mut ended = |longest: usize| {
            let mut at = count(longest);
            while at != NONE && found(at as usize) {
                at = self.shorter.get(at as usize).copied().unwrap_or(NONE);
            }
        };
        match &self.machine {
            Machine::Table(table) => search(table, value, &mut ended),
            Machine::States(states) => search(states, value, &mut ended),
        }
    }
}

/// Shows, for each place of the value where patterns end, the longest.
fn search<A: Automaton>(automaton: &A, value: &[u8], ended: &mut impl FnMut(usize)) {
    let Ok(mut state) = automaton.start_state(Anchored::No) else {
        return;
    };
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        state = automaton.next_state(Anchored::No, state, *byte);
        if automaton.is_special(state) {
            if automaton.is_match(state) {
                ended(longest(automaton, state));
            } else if automaton.is_dead(state) {
                return;
            } else if let Some(prefilter) = automaton.prefilter() {
                // Neither match nor dead: the start, from which bytes can be jumped over.
                match prefilter
                    .find_in(value, Span::from(at..value.len()))
                    .into_option()
                {
                    None => return,
                    Some(next) if next > at => {
                        at = next;
                        continue;
                    }
                    Some(_) => {}
                }
            }
        }
        at += 1;
    }
}

/// The longest pattern of a match state: its own one stands before those of its suffixes, which are
/// longest first.
fn longest<A: Automaton>(automaton: &A, state: StateID) -> usize {
    automaton.match_pattern(state, 0).as_usize()
}

/// See [`Contained::shorter`]. In time proportional to the patterns: one has at most as many others
/// at its end as it has bytes.
fn shorter<A: Automaton>(automaton: &A, patterns: &[&[u8]]) -> Vec<u32> {
    let others = |pattern: &&[u8]| {
        let start = automaton.start_state(Anchored::No).ok()?;
        let end = pattern.iter().fold(start, |state, byte| {
            automaton.next_state(Anchored::No, state, *byte)
        });
        (0..automaton.match_len(end))
            .map(|at| automaton.match_pattern(end, at))
            .filter(|other| automaton.pattern_len(*other) < pattern.len())
            .max_by_key(|other| automaton.pattern_len(*other))
    };
    patterns
        .iter()
        .map(|pattern| others(pattern).map_or(NONE, |other| count(other.as_usize())))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    /// What is found, and how often something was shown.
    fn find(patterns: &[&[u8]], value: &[u8]) -> (Vec<usize>, usize) {
        let contained = Contained::new(patterns).unwrap();
        let mut seen = vec![false; patterns.len()];
        let mut shown = 0;
        contained.find(value, &mut |at| {
            shown += 1;
            !std::mem::replace(&mut seen[at], true)
        });
        let found = (0..seen.len()).filter(|at| seen[*at]).collect();
        (found, shown)
    }

    proptest! {
        #[test]
        fn as_one_by_one(
            patterns in btree_set(vec(97..100_u8, 1..7), 1..40),
            // Enough bytes for the other machine.
            more in prop::bool::ANY,
            value in vec(97..100_u8, 0..60),
        ) {
            let long: Vec<Vec<u8>> = (0..if more { 200_u8 } else { 0 })
                .map(|n| [&[b'z'; 30][..], &[n]].concat())
                .collect();
            let patterns: Vec<&[u8]> = patterns.iter().chain(&long).map(Vec::as_slice).collect();
            let expected: Vec<usize> = (0..patterns.len())
                .filter(|at| memchr::memmem::find(&value, patterns[*at]).is_some())
                .collect();
            prop_assert_eq!(find(&patterns, &value).0, expected);
        }
    }

    #[test]
    fn nested_patterns_do_not_multiply_with_the_value() {
        for (kinds, length) in [(60, 10_000), (250, 65_536)] {
            let patterns: Vec<Vec<u8>> = (1..=kinds).map(|n| vec![b'a'; n]).collect();
            let patterns: Vec<&[u8]> = patterns.iter().map(Vec::as_slice).collect();
            let (found, shown) = find(&patterns, &vec![b'a'; length]);
            assert_eq!(found.len(), kinds);
            assert!(
                shown <= 2 * length + kinds,
                "{shown} for {kinds} in {length}"
            );
        }
    }
}
