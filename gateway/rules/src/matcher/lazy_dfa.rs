//! Regular expressions whose table of states would be too large: a lazy DFA, then an NFA.
//!
//! States are made as a value needs them, and kept in memory of the thread. A value that needs more
//! states than fit is followed through the NFA, all possible states at once. Either can take
//! thousands of times as long as reading the value, so states that are made and visited are charged
//! to the budget.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::hybrid::dfa;
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;
use regex_automata::{Input, MatchErrorKind, meta};

use super::budget::{self, Work};
use crate::limits;

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Lazy {
    /// Of this process: what a thread keeps the memory under.
    number: u64,
    program: NFA,
    /// `None` for what no automaton can do.
    automaton: Option<dfa::DFA>,
}

/// What a thread keeps for one expression.
#[derive(Debug, Default)]
pub(super) struct Memory {
    automaton: Option<dfa::Cache>,
    followed: Followed,
    /// See [`super::regex`].
    pub(super) groups: Option<meta::Cache>,
}

/// What a thread keeps.
#[derive(Default)]
struct Memories {
    of: HashMap<u64, Memory, foldhash::fast::FixedState>,
    bytes: usize,
}

thread_local! {
    static MEMORIES: RefCell<Memories> = RefCell::default();
}

/// A number that no other expression has.
pub(super) fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Runs `search` with this thread's memory for the expression of that number.
pub(super) fn with_memory<T>(number: u64, search: impl FnOnce(&mut Memory) -> T) -> T {
    MEMORIES.with_borrow_mut(|memories| {
        // Mostly of rules that are gone; their going is not announced.
        let full =
            memories.of.len() >= limits::REGEX_CACHES_MAX && !memories.of.contains_key(&number);
        if full || memories.bytes > limits::REGEX_CACHES_BYTES_MAX {
            *memories = Memories::default();
        }
        let memory = memories.of.entry(number).or_default();
        let before = memory.bytes();
        let found = search(memory);
        memories.bytes = (memories.bytes + memory.bytes()).saturating_sub(before);
        found
    })
}

impl Memory {
    fn bytes(&self) -> usize {
        let automaton = self.automaton.as_ref().map(dfa::Cache::memory_usage);
        let groups = self.groups.as_ref().map(meta::Cache::memory_usage);
        automaton.unwrap_or_default() + groups.unwrap_or_default() + self.followed.bytes()
    }
}

/// Where a match ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    At(usize),
    /// There is one; where was not asked.
    Somewhere,
}

impl Lazy {
    pub(super) fn new(program: NFA) -> Self {
        let config = dfa::Config::new()
            .cache_capacity(limits::REGEX_CACHE_BYTES_MAX)
            .skip_cache_capacity_check(true)
            // It gives up rather than start again: both are counted, but who counts has to be asked.
            .minimum_cache_clear_count(Some(0))
            .unicode_word_boundary(true);
        let automaton = dfa::Builder::new()
            .configure(config)
            .build_from_nfa(program.clone());
        Self {
            number: number(),
            program,
            automaton: automaton.ok(),
        }
    }

    /// Where a match of the value ends; any if `earliest`, else the one that is preferred. Nothing
    /// when that is too much work.
    pub(super) fn find(&self, value: &[u8], earliest: bool, work: &mut Work) -> Option<End> {
        with_memory(self.number, |memory| {
            let input = Input::new(value).earliest(earliest);
            if let Some(automaton) = &self.automaton {
                let cache = memory
                    .automaton
                    .get_or_insert_with(|| automaton.create_cache());
                match run(automaton, cache, &input, work) {
                    Ok(found) => return found.map(End::At),
                    Err(Unable) if work.is_spent() => return None,
                    Err(Unable) => {}
                }
            }
            let found = memory.followed.matches(&self.program, value, work);
            found.then_some(End::Somewhere)
        })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let automaton = self.automaton.as_ref().map(dfa::DFA::memory_usage);
        self.program.memory_usage() + automaton.unwrap_or_default()
    }
}

/// An automaton cannot tell.
struct Unable;

/// Where the match ends, if there is one.
fn run(
    automaton: &dfa::DFA,
    cache: &mut dfa::Cache,
    input: &Input<'_>,
    work: &mut Work,
) -> Result<Option<usize>, Unable> {
    // What others have made may leave no room for this value's states: once more with all of it.
    for _ in 0..2 {
        let before = cache.memory_usage();
        let found = automaton.try_search_fwd(cache, input);
        let made = cache.memory_usage().saturating_sub(before);
        let goes_on = work.count(made * budget::MADE_STATE_BYTE);
        match found {
            // What was found is right, even if nothing further may be done.
            Ok(found) => return Ok(found.map(|half| half.offset())),
            Err(error) if matches!(error.kind(), MatchErrorKind::GaveUp { .. }) => {
                cache.reset(automaton);
            }
            // A byte that only the expression itself understands.
            Err(_) => return Err(Unable),
        }
        if !goes_on {
            break;
        }
    }
    Err(Unable)
}

/// The states of an expression that a value may be in.
#[derive(Debug, Default)]
struct Followed {
    /// By state: the place in the value for which it was last seen.
    seen: Vec<usize>,
    now: Vec<StateID>,
    next: Vec<StateID>,
    stack: Vec<StateID>,
}

impl Followed {
    fn bytes(&self) -> usize {
        let states = self.now.capacity() + self.next.capacity() + self.stack.capacity();
        self.seen.capacity() * size_of::<usize>() + states * size_of::<StateID>()
    }

    /// Whether any part of the value matches; `false` as well when that is too much work.
    fn matches(&mut self, program: &NFA, value: &[u8], work: &mut Work) -> bool {
        let states = program.states().len();
        if !work.count(states) {
            return false;
        }
        self.seen.clear();
        self.seen.resize(states, usize::MAX);
        self.now.clear();
        self.stack.push(program.start_unanchored());
        for (at, byte) in value.iter().map(Some).chain([None]).enumerate() {
            let (matched, looked) = self.reach(program, value, at);
            std::mem::swap(&mut self.now, &mut self.next);
            if !work.count((looked + self.now.len()) * budget::STATE) {
                return false;
            }
            let Some(byte) = byte.filter(|_| !matched) else {
                return matched;
            };
            for state in self.now.drain(..) {
                let next = match program.state(state) {
                    State::ByteRange { trans } if trans.matches_byte(*byte) => Some(trans.next),
                    State::Sparse(several) => several.matches_byte(*byte),
                    State::Dense(all) => all.matches_byte(*byte),
                    _ => None,
                };
                self.stack.extend(next);
            }
        }
        false
    }

    /// All states that are reached from those on the stack without reading a byte, into `next`:
    /// whether one is a match, and how many were looked at.
    fn reach(&mut self, program: &NFA, value: &[u8], at: usize) -> (bool, usize) {
        let mut looked = 0;
        let mut matched = false;
        self.next.clear();
        while let Some(state) = self.stack.pop() {
            looked += 1;
            let seen = self.seen.get_mut(state.as_usize());
            if seen.is_none_or(|seen| std::mem::replace(seen, at) == at) {
                continue;
            }
            match program.state(state) {
                State::ByteRange { .. } | State::Dense(_) => self.next.push(state),
                State::Sparse(several) => {
                    // They are looked through one by one.
                    looked += several.transitions.len() / 4;
                    self.next.push(state);
                }
                State::Look { look, next } => {
                    if program.look_matcher().matches(*look, value, at) {
                        self.stack.push(*next);
                    }
                }
                State::Union { alternates } => self.stack.extend(alternates.iter().copied()),
                State::BinaryUnion { alt1, alt2 } => self.stack.extend([*alt1, *alt2]),
                State::Capture { next, .. } => self.stack.push(*next),
                State::Fail => {}
                State::Match { .. } => matched = true,
            }
        }
        (matched, looked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures, pikevm::PikeVM};
    use regex_automata::util::syntax;

    use super::*;
    use crate::testing::random::Random;

    fn program(pattern: &str) -> NFA {
        let config = Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None);
        Compiler::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(config)
            .build(pattern)
            .unwrap()
    }

    proptest! {
        /// An automaton and the expression itself find what a library finds.
        #[test]
        fn both_ways_find_the_same(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "a", "b", "[ab]", ".", "a*", "(?:ab)+", "b?", "^", "$", r"\b", r"(?u:\b)", r"(?u:\w)",
                "(?:a|bb)", "[ab]{3,5}", r"(?u:\p{L})",
            ]), 0..6),
            values in proptest::collection::vec(
                proptest::collection::vec(proptest::sample::select(vec!["a", "b", "\u{e9}", " ", "\n"]), 0..12),
                1..5,
            ),
        ) {
            let program = program(&pieces.concat());
            let library = PikeVM::new_from_nfa(program.clone()).unwrap();
            let mut cache = library.create_cache();
            let lazy = Lazy::new(program.clone());
            let mut followed = Followed::default();
            for value in values {
                let value = value.concat();
                let expected = library.is_match(&mut cache, value.as_str());
                let mut work = Work::default();
                let found = lazy.find(value.as_bytes(), true, &mut work);
                prop_assert_eq!(found.is_some(), expected);
                prop_assert_eq!(followed.matches(&program, value.as_bytes(), &mut work), expected);
            }
        }
    }

    #[test]
    fn a_value_that_needs_too_many_states_is_counted_and_given_up() {
        let lazy = Lazy::new(program("a[ab]{2000}[c-z]"));
        // No two places alike.
        let value = Random(1).bytes(b"ab", 60_000);
        let mut work = Work::default();
        assert_eq!(lazy.find(&value, true, &mut work), None);
        assert!(work.is_spent());
        // What needs few costs what it weighs.
        let mut work = Work::default();
        assert_eq!(lazy.find(&[b'x'; 60_000], true, &mut work), None);
        assert!(!work.is_spent() && work.of_condition() < 1_000_000);
    }

    #[test]
    fn a_thread_forgets_before_it_keeps_too_much() {
        let lazy = Lazy::new(program("[ab]*a[ab]{20}"));
        let find = |number| {
            let again = Lazy {
                number,
                program: lazy.program.clone(),
                automaton: lazy.automaton.clone(),
            };
            again.find(b"abbbbbbbbbbbbbbbbbbbbb", true, &mut Work::default())
        };
        for number in 0..=limits::REGEX_CACHES_MAX as u64 {
            assert!(find(u64::MAX - number).is_some());
        }
        let kept = || MEMORIES.with_borrow(|memories| (memories.of.len(), memories.bytes));
        assert!(kept().0 <= limits::REGEX_CACHES_MAX, "{:?}", kept());
        assert!(kept().1 > 0);
        MEMORIES.with_borrow_mut(|memories| memories.bytes = limits::REGEX_CACHES_BYTES_MAX + 1);
        assert!(find(0).is_some());
        assert_eq!(kept().0, 1);
    }
}
