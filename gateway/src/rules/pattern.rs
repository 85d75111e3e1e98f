//! Regular expressions: compiled once, run without a lock and without memory that is asked for.
//!
//! Nearly every expression becomes a table of states that needs no memory of its own to run. What
//! does not fit (`(?u)`, large repetitions) and what has to know its groups runs with memory that
//! the thread keeps for it; the pool that `regex::Regex` would take it from has a mutex for all
//! threads but one. The language of patterns is the regex crate's, without Unicode unless `(?u)`
//! asks for it: values are bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Input, meta};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

use super::error::{Problem, Span};
use crate::limits;

/// A regular expression, compiled; equal when its text is.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// As it is given to the regex crate.
    pub(crate) source: Box<str>,
    machine: Machine,
}

#[derive(Debug, Clone)]
enum Machine {
    /// All states; searching reads it and nothing else.
    Table(Arc<dense::DFA<Vec<u32>>>),
    /// States are made while searching, in memory of the thread.
    Lazy(Lazy),
}

#[derive(Debug, Clone)]
struct Lazy {
    /// Of this process: what a thread keeps the memory under.
    number: u64,
    regex: meta::Regex,
}

/// What is to be known of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whether there is one.
    Match,
    /// Where its groups are.
    Groups,
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

thread_local! {
    /// What lazy machines have worked out on this thread.
    static CACHES: RefCell<HashMap<u64, meta::Cache, foldhash::fast::FixedState>> = RefCell::default();
}

impl Lazy {
    fn new(hir: &Hir, captures: WhichCaptures) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(captures)
            .nfa_size_limit(Some(limits::REGEX_PROGRAM_BYTES_MAX))
            .onepass_size_limit(Some(limits::REGEX_PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(limits::REGEX_CACHE_BYTES_MAX)
            .dfa(false);
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(hir)
            .ok()?;
        Some(Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            regex,
        })
    }

    /// Runs `search` with this thread's memory for the expression.
    fn with_cache<T>(&self, search: impl FnOnce(&meta::Regex, &mut meta::Cache) -> T) -> T {
        CACHES.with_borrow_mut(|caches| {
            // Of rules that are gone, mostly: nobody says when they go.
            if caches.len() >= limits::REGEX_CACHES_MAX && !caches.contains_key(&self.number) {
                caches.clear();
            }
            let cache = caches
                .entry(self.number)
                .or_insert_with(|| self.regex.create_cache());
            search(&self.regex, cache)
        })
    }
}

impl Pattern {
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// It is none, or larger than `limits::REGEX_PROGRAM_BYTES_MAX`.
    pub(crate) fn new(source: &str, span: Span, wanted: Wanted) -> Result<Self, Problem> {
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .nest_limit(limits::REGEX_NESTING_MAX)
            .build()
            .parse(source)
            .map_err(|error| {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or_default();
                let why = why.trim_start_matches("error: ");
                Problem::new(span, "this is not a regular expression", why)
            })?;
        let machine = match wanted {
            Wanted::Match => Machine::matching(&hir),
            Wanted::Groups => Lazy::new(&hir, WhichCaptures::All).map(Machine::Lazy),
        };
        let machine = machine.ok_or_else(|| {
            let hint = "use fewer or smaller repetitions";
            Problem::new(span, "this regular expression is too large", hint)
        })?;
        Ok(Self {
            source: source.into(),
            machine,
        })
    }

    /// Whether any part of the value matches. In time proportional to the value.
    pub(crate) fn is_match(&self, value: &[u8]) -> bool {
        let input = Input::new(value).earliest(true);
        match &self.machine {
            // It gives up only where it was told to, and `Machine::matching` tells it nowhere.
            Machine::Table(table) => table
                .try_search_fwd(&input)
                .is_ok_and(|found| found.is_some()),
            Machine::Lazy(lazy) => {
                lazy.with_cache(|regex, cache| regex.search_half_with(cache, &input).is_some())
            }
        }
    }

    /// Where the first match and its groups are; `false` when there is none. Needs
    /// [`Wanted::Groups`].
    pub(crate) fn groups(
        &self,
        value: &[u8],
        groups: &mut [Option<(usize, usize)>; limits::REPLACEMENT_GROUPS],
    ) -> bool {
        let Machine::Lazy(lazy) = &self.machine else {
            return false;
        };
        let mut slots = [None::<NonMaxUsize>; 2 * limits::REPLACEMENT_GROUPS];
        let input = Input::new(value);
        let found =
            lazy.with_cache(|regex, cache| regex.search_slots_with(cache, &input, &mut slots));
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
        match &self.machine {
            Machine::Table(table) => table.memory_usage(),
            Machine::Lazy(lazy) => lazy.regex.memory_usage(),
        }
    }

    /// Whether running it needs memory of the thread.
    #[cfg(test)]
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self.machine, Machine::Lazy(_))
    }
}

impl Machine {
    /// What tells whether there is a match; `None` when it is too large.
    fn matching(hir: &Hir) -> Option<Self> {
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(limits::REGEX_PROGRAM_BYTES_MAX));
        let program = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(hir)
            .ok()?;
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(limits::REGEX_TABLE_BYTES_MAX))
            .determinize_size_limit(Some(limits::REGEX_TABLE_BYTES_MAX));
        let table = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&program);
        match table {
            Ok(table) => Some(Self::Table(Arc::new(table))),
            Err(_) => Lazy::new(hir, WhichCaptures::Implicit).map(Self::Lazy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str, wanted: Wanted) -> Pattern {
        Pattern::new(source, Span::default(), wanted)
            .unwrap_or_else(|problem| panic!("{problem:?}"))
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
            for wanted in [Wanted::Match, Wanted::Groups] {
                let found = pattern(source, wanted).is_match(value);
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
            assert_eq!(pattern(source, Wanted::Match).is_lazy(), lazy, "{source}");
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
            for wanted in [Wanted::Match, Wanted::Groups] {
                let problem = Pattern::new(source, Span::default(), wanted).unwrap_err();
                assert!(
                    problem.message.contains(why),
                    "{source} {wanted:?}: {problem:?}"
                );
            }
        }
    }

    #[test]
    fn a_thread_forgets_before_it_keeps_too_much() {
        let lazy = pattern("[ab]*a[ab]{20}", Wanted::Match);
        let Machine::Lazy(first) = &lazy.machine else {
            panic!("it does not fit into a table");
        };
        for number in 0..=limits::REGEX_CACHES_MAX as u64 {
            let again = Lazy {
                number: u64::MAX - number,
                regex: first.regex.clone(),
            };
            again.with_cache(|_, _| ());
        }
        assert!(CACHES.with_borrow(HashMap::len) <= limits::REGEX_CACHES_MAX);
        assert!(lazy.is_match(b"abbbbbbbbbbbbbbbbbbbbb"));
    }
}
