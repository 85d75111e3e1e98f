//! Regular expressions: compiled once, searched without a lock and without allocating.
//!
//! Nearly every expression becomes a dense DFA, which needs no memory to run. What does not fit
//! (`(?u)`, large repetitions) goes to `lazy_dfa`. Capture groups need memory, which the thread
//! keeps; the pool of `regex::Regex` has a mutex for all threads but one. The syntax is that of the
//! regex crate, without Unicode unless `(?u)` asks for it: values are bytes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Input, meta};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

use super::budget::{self, Work};
use super::lazy_dfa::{self, End, Lazy};
use crate::limits;

/// A regular expression, compiled; equal when its text is.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// As it is given to the regex crate.
    pub(crate) source: Box<str>,
    machine: Machine,
    groups: Option<Arc<Groups>>,
}

/// What tells whether there is a match, and where it ends.
#[derive(Debug, Clone)]
enum Machine {
    /// All states; searching reads it and nothing else.
    Table(Arc<dense::DFA<Vec<u32>>>),
    /// States are made while searching, in memory of the thread.
    Lazy(Arc<Lazy>),
}

/// What tells where the groups of a match are.
#[derive(Debug)]
struct Groups {
    /// See [`lazy_dfa::number`].
    number: u64,
    regex: meta::Regex,
    /// States of the expression, each of which may be looked at for each byte.
    states: usize,
}

/// What is to be known of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchDetail {
    /// Whether there is one.
    Match,
    /// Where its groups are.
    Groups,
}

/// Why a text is not taken as a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegexError {
    /// It is none.
    #[error("this is not a regular expression: {why}")]
    Malformed {
        /// As `regex-syntax` says it, one line.
        why: Box<str>,
    },
    /// Larger than `limits::REGEX_PROGRAM_BYTES_MAX`.
    #[error("this regular expression is too large")]
    TooLarge,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

impl Pattern {
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// It is none, or larger than `limits::REGEX_PROGRAM_BYTES_MAX`.
    pub(crate) fn new(source: &str, wanted: MatchDetail) -> Result<Self, RegexError> {
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .nest_limit(limits::REGEX_NESTING_MAX)
            .build()
            .parse(source)
            .map_err(|error| {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or_default();
                let why = why.trim_start_matches("error: ").into();
                RegexError::Malformed { why }
            })?;
        let program = program(&hir).ok_or(RegexError::TooLarge)?;
        let groups = match wanted {
            MatchDetail::Match => None,
            MatchDetail::Groups => {
                let states = program.states().len();
                Some(
                    Groups::new(&hir, states)
                        .ok_or(RegexError::TooLarge)?
                        .into(),
                )
            }
        };
        Ok(Self {
            source: source.into(),
            machine: Machine::new(program),
            groups,
        })
    }

    /// Whether any part of the value matches. Counts what that takes: what reading the value does
    /// for nearly every expression.
    pub(crate) fn is_match(&self, value: &[u8], work: &mut Work) -> bool {
        self.find(value, true, work).is_some()
    }

    fn find(&self, value: &[u8], earliest: bool, work: &mut Work) -> Option<End> {
        if !work.count(value.len() * budget::PATTERN_BYTE) {
            return None;
        }
        match &self.machine {
            Machine::Table(table) => {
                let input = Input::new(value).earliest(earliest);
                // It gives up only where it was told to, and `Machine::new` tells it nowhere.
                let found = table.try_search_fwd(&input).ok().flatten();
                found.map(|half| End::At(half.offset()))
            }
            Machine::Lazy(lazy) => lazy.find(value, earliest, work),
        }
    }

    /// Where the first match and its groups are; `false` when there is none, or that is too much
    /// work. Needs [`MatchDetail::Groups`].
    pub(crate) fn groups(
        &self,
        value: &[u8],
        work: &mut Work,
        groups: &mut [Option<(usize, usize)>; limits::REPLACEMENT_GROUPS],
    ) -> bool {
        let Some(machine) = &self.groups else {
            return false;
        };
        let end = match self.find(value, false, work) {
            Some(End::At(end)) => end,
            Some(End::Somewhere) => value.len(),
            None => return false,
        };
        if !work.count(end * machine.states * 2 * budget::STATE) {
            return false;
        }
        let mut slots = [None::<NonMaxUsize>; 2 * limits::REPLACEMENT_GROUPS];
        // What follows the match does not change it, and is not searched again.
        let input = Input::new(value).span(0..end);
        let found = lazy_dfa::with_memory(machine.number, |memory| {
            let cache = memory
                .groups
                .get_or_insert_with(|| machine.regex.create_cache());
            machine.regex.search_slots_with(cache, &input, &mut slots)
        });
        for (group, slots) in groups.iter_mut().zip(slots.chunks(2)) {
            *group = match slots {
                [Some(start), Some(end)] => Some((start.get(), end.get())),
                _ => None,
            };
        }
        found.is_some()
    }

    /// Bytes that it takes, compiled.
    pub(crate) fn bytes(&self) -> usize {
        let groups = self.groups.as_ref();
        groups.map_or(0, |groups| groups.regex.memory_usage())
            + match &self.machine {
                Machine::Table(table) => table.memory_usage(),
                Machine::Lazy(lazy) => lazy.bytes(),
            }
    }

    /// Whether running it needs memory of the thread, and may take longer than reading the value.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self.machine, Machine::Lazy(_))
    }
}

/// The states of an expression; `None` when they are too large.
fn program(hir: &Hir) -> Option<NFA> {
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(limits::REGEX_PROGRAM_BYTES_MAX));
    thompson::Compiler::new()
        .configure(config)
        .build_from_hir(hir)
        .ok()
}

impl Machine {
    fn new(program: NFA) -> Self {
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(limits::REGEX_TABLE_BYTES_MAX))
            .determinize_size_limit(Some(limits::REGEX_TABLE_BYTES_MAX));
        let table = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&program);
        match table {
            Ok(table) => Self::Table(Arc::new(table)),
            Err(_) => Self::Lazy(Arc::new(Lazy::new(program))),
        }
    }
}

impl Groups {
    /// `None` when it is too large.
    fn new(hir: &Hir, states: usize) -> Option<Self> {
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(WhichCaptures::All)
            .nfa_size_limit(Some(limits::REGEX_PROGRAM_BYTES_MAX))
            .onepass_size_limit(Some(limits::REGEX_PROGRAM_BYTES_MAX))
            // Whether there is a match is known when it is asked where the groups are.
            .hybrid(false)
            .dfa(false);
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(hir)
            .ok()?;
        Some(Self {
            number: lazy_dfa::number(),
            regex,
            states,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str, wanted: MatchDetail) -> Pattern {
        Pattern::new(source, wanted).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn both_machines_find_the_same() {
        for (source, value, expected) in [
            ("", &b""[..], true),
            ("^$", b"a", false),
            ("b+c", b"abbc", true),
            ("^b", b"ab", false),
            ("b$", b"ab", true),
            ("b$", b"ab\n", false),
            ("(?m)b$", b"ab\nc", true),
            ("(?i)ABC", b"xaBc", true),
            (r"\bfoo\b", b"a foo-b", true),
            (r"\bfoo\b", b"afoo", false),
            ("a.c", b"a\xffc", true),
            ("a.c", b"a\nc", false),
            (r"\xff$", b"a\xff", true),
            (r"^\d+$", b"123", true),
            (r"^\d+$", "\u{661}".as_bytes(), false),
            (r"(?u)^\d+$", "\u{661}".as_bytes(), true),
            (r"(?u)\p{L}+", "\u{e9}".as_bytes(), true),
            (r"(?u)\bfoo\b", b"foo", true),
            ("(a|b)*abb", b"babaabb", true),
        ] {
            for wanted in [MatchDetail::Match, MatchDetail::Groups] {
                let found = pattern(source, wanted).is_match(value, &mut Work::default());
                assert_eq!(found, expected, "{source} {wanted:?} {value:?}");
            }
        }
    }

    #[test]
    fn ordinary_expressions_need_no_memory() {
        for (source, lazy) in [
            ("^/api/v[0-9]+/users/[0-9]+$", false),
            (r"^(www|store|blog)\.example\.com", false),
            (r"(?i)wp-(login|admin)\.php", false),
            (r"\.(?:php|asp|cgi)\d?$", false),
            (r"(?u)\bfoo\b", true),
            ("[ab]*a[ab]{20}", true),
        ] {
            assert_eq!(
                pattern(source, MatchDetail::Match).is_lazy(),
                lazy,
                "{source}"
            );
        }
    }

    #[test]
    fn what_is_refused() {
        for (source, why) in [
            ("(", "not a regular expression"),
            ("(?=a)", "not a regular expression"),
            (r"(a)\1", "not a regular expression"),
            (r"\p{L}", "not a regular expression"),
            ("(a{1000}){1000}", "too large"),
        ] {
            for wanted in [MatchDetail::Match, MatchDetail::Groups] {
                let error = Pattern::new(source, wanted).unwrap_err().to_string();
                assert!(error.contains(why), "{source} {wanted:?}: {error}");
            }
        }
    }

    #[test]
    fn groups_are_where_the_whole_value_has_them() {
        for (source, value, expected) in [
            (
                "(a+)(b)?",
                &b"xxaabz"[..],
                &[Some((2, 5)), Some((2, 4)), Some((4, 5))][..],
            ),
            ("a+?", b"xaaa", &[Some((1, 2))]),
            (r"a\b", b"ab a-", &[Some((3, 4))]),
            ("(?m)(b)$", b"ab\nb", &[Some((1, 2)), Some((1, 2))]),
            ("a|ab", b"ab", &[Some((0, 1))]),
            (
                "([ab]*a[ab]{20})c?",
                b"xabbbbbbbbbbbbbbbbbbbbcd",
                &[Some((1, 23)), Some((1, 22))],
            ),
            (
                r"(?u)\b(\w+)\b",
                "- \u{e9}t\u{e9} x".as_bytes(),
                &[Some((2, 7)), Some((2, 7))],
            ),
        ] {
            let mut groups = [None; limits::REPLACEMENT_GROUPS];
            let pattern = pattern(source, MatchDetail::Groups);
            assert!(
                pattern.groups(value, &mut Work::default(), &mut groups),
                "{source}"
            );
            assert_eq!(groups.get(..expected.len()), Some(expected), "{source}");
        }
    }
}
