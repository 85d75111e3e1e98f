//! The program: a zone's rules compiled to an index, so that a decision costs what the rules that
//! can match cost, not what all rules cost.
//!
//! Deciding runs on workers and allocates nothing in steady state. Compiling does not run there.
//!
//! `normal` splits conditions into terms (disjunctive normal form). `subject` turns their literals
//! into questions, `table` answers a question with keys, `vector` holds the sets of terms that a
//! key stands for, and `index` puts them together. `scan` evaluates one index, `run` the program.
//! `costly` says which questions are asked last, and `guard` which ones have to wait for their
//! siblings. [`Program::recompile`] keeps the index of the rules that stayed and adds a small one
//! for those that changed; `renewal` makes one index of everything when the small one has grown.

mod block;
mod change;
mod connection_matches;
mod connection_state;
mod contained;
mod costly;
mod guard;
mod index;
mod normal;
mod renewal;
mod required;
mod run;
mod scan;
#[cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls functions compiled for vectors that the processor was asked for"
    )
)]
mod simd;
mod slots;
mod subject;
mod table;
mod vector;

use std::sync::{Arc, OnceLock};

pub use connection_state::ConnectionState;
pub(crate) use run::{Outcome, Runs, first};

use self::index::{Builder, Index, Local, count};
use crate::action::Action;
use crate::limits;
use crate::rule::{Rule, RuleError};
use crate::syntax::ast::Condition;
use crate::syntax::list::Lists;
use crate::syntax::parser;
use chunked_list::ChunkedList;
use renewal::Renewal;

/// A zone's rules, compiled.
#[derive(Debug, Default)]
pub struct Program {
    /// All rules given, disabled ones too, to tell later what has changed.
    given: ChunkedList<Arc<Rule>>,
    /// Where each of them went.
    inputs: Vec<Input>,
    /// Enabled rules in order, as places in `inputs`. What indexes answer is turned into positions
    /// in this list.
    rules: Vec<u32>,
    base: Part,
    changed: Part,
    lists: Lists,
    /// The same from nothing, once much has changed.
    renewal: OnceLock<Renewal>,
    reads_client_hello: bool,
    /// Bytes of the compiled regular expressions of all rules that are evaluated.
    pattern_bytes: usize,
}

/// Where a rule went.
#[derive(Debug, Clone, Copy)]
struct Input {
    role: Role,
    /// Its number in [`Program::base`], if it is there.
    base: Option<Local>,
    traits: Traits,
}

/// What is to be known of a rule's condition once it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Traits {
    /// Whether it reads the ClientHello.
    hello: bool,
    /// Whether it refers to a list.
    lists: bool,
    /// Bytes of its compiled regular expressions.
    pattern_bytes: usize,
}

impl Traits {
    fn of(condition: &Condition) -> Self {
        Self {
            hello: condition.reads_client_hello(),
            lists: condition.refers_to_lists(),
            pattern_bytes: condition.pattern_bytes(),
        }
    }
}

/// What a matching rule means for the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Disabled.
    Off,
    /// It neither ends the evaluation nor reports.
    Idle,
    /// It reports and the evaluation goes on.
    Reports,
    /// It ends the evaluation.
    Ends,
}

impl Role {
    fn of(rule: &Rule) -> Self {
        match &rule.action {
            _ if !rule.enabled => Self::Off,
            action if action.is_terminating() => Self::Ends,
            Action::Skip(skip) if !skip.logging && !skip.rate_limits() => Self::Idle,
            _ => Self::Reports,
        }
    }
}

/// An index and where its rules stand among all rules.
#[derive(Debug, Default)]
struct Part {
    index: Option<Arc<Index>>,
    /// By local number: the position, [`GONE`] when the rule is not there any more. Ascending but
    /// for those.
    positions: Vec<u32>,
}

const GONE: u32 = u32::MAX;

impl Program {
    /// Compiles rules in order; none of them may refer to a list.
    ///
    /// ```
    /// use rules::Program;
    ///
    /// let program = Program::compile(&[])?;
    /// assert!(program.is_empty(), "every request is permitted");
    /// # Ok::<(), rules::RuleError>(())
    /// ```
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(rules: &[Rule]) -> Result<Self, RuleError> {
        Self::compile_with(rules, &Lists::default())
    }

    /// Compiles rules in order, `$name` being one of `lists`.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check, disabled ones too.
    pub fn compile_with(rules: &[Rule], lists: &Lists) -> Result<Self, RuleError> {
        Self::compile_shared(Rule::shared(rules), lists)
    }

    /// As [`Program::compile_with`], keeping the rules themselves.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check, disabled ones too.
    pub fn compile_shared(
        rules: impl Into<ChunkedList<Arc<Rule>>>,
        lists: &Lists,
    ) -> Result<Self, RuleError> {
        let rules = rules.into();
        let mut program = Self {
            given: rules.clone(),
            inputs: Vec::with_capacity(rules.len()),
            rules: Vec::with_capacity(rules.len()),
            lists: lists.clone(),
            ..Self::default()
        };
        let mut builder = Builder::default();
        for (index, rule) in rules.iter().enumerate() {
            let condition =
                parser::parse(&rule.expression, Some(lists)).map_err(|error| RuleError {
                    index,
                    message: error.to_string(),
                })?;
            let role = Role::of(rule);
            let position = count(program.rules.len());
            let mut base = None;
            if matches!(role, Role::Ends | Role::Reports) {
                let local = count(program.base.positions.len());
                builder.add(local, role == Role::Reports, &condition);
                program.base.positions.push(position);
                base = Some(local);
            }
            program.keep(role, base, Traits::of(&condition))?;
        }
        program.base.index = Some(Arc::new(builder.finish()));
        Ok(program)
    }

    /// Enabled rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether every request is permitted unseen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any enabled rule reads the ClientHello, so that connections have to keep it.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        self.reads_client_hello
    }

    /// Whether nothing was compiled anew since the other one but what has changed.
    #[doc(hidden)]
    pub fn shares_index_with(&self, other: &Self) -> bool {
        match (&self.base.index, &other.base.index) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// The rules as they were given.
    pub fn rules(&self) -> &ChunkedList<Arc<Rule>> {
        &self.given
    }

    fn rule_at(&self, position: u32) -> Option<&Rule> {
        let place = self.rules.get(position as usize)?;
        self.given.get(*place as usize).map(|rule| &**rule)
    }

    /// Adds what is known of the next of the given rules, which has been compiled.
    ///
    /// # Errors
    /// The regular expressions are too many.
    fn keep(&mut self, role: Role, base: Option<Local>, traits: Traits) -> Result<(), RuleError> {
        if matches!(role, Role::Ends | Role::Reports) {
            self.pattern_bytes += traits.pattern_bytes;
        }
        if self.pattern_bytes > limits::RULESET_REGEX_BYTES_MAX {
            let most = limits::RULESET_REGEX_BYTES_MAX >> 20;
            return Err(RuleError {
                index: self.inputs.len(),
                message: format!(
                    "the regular expressions of the rules up to this one take more than {most} MiB \
                     compiled; use fewer or smaller ones, or `contains`, `wildcard` and lists"
                ),
            });
        }
        self.reads_client_hello |= traits.hello && role != Role::Off;
        if role != Role::Off {
            self.rules.push(count(self.inputs.len()));
        }
        self.inputs.push(Input { role, base, traits });
        Ok(())
    }

    /// Bytes of the sets that decisions combine, for figures.
    #[must_use]
    pub fn vector_bytes(&self) -> usize {
        let parts = [&self.base, &self.changed];
        parts
            .iter()
            .filter_map(|part| part.index.as_ref())
            .map(|index| index.vector_bytes())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_of_a_ruleset_are_bounded() {
        let traits = |text: &str| Traits::of(&parser::parse(text, None).unwrap());
        assert_eq!(traits("http.host eq \"a\""), Traits::default());
        let one = traits("(http.user_agent matches \"a+b\" or ssl)");
        assert!((100..10_000).contains(&one.pattern_bytes), "{one:?}");
        let replaced = traits("regex_replace(http.host, \"a+b\", \"\") eq \"c\"");
        assert!(replaced.pattern_bytes > 100, "{replaced:?}");

        let half = Traits {
            pattern_bytes: limits::RULESET_REGEX_BYTES_MAX / 2 + 1,
            ..one
        };
        let mut program = Program::default();
        for (role, fits) in [
            (Role::Off, true),
            (Role::Ends, true),
            (Role::Idle, true),
            (Role::Reports, false),
        ] {
            let kept = program.keep(role, None, half);
            match kept {
                Ok(()) => assert!(fits, "{role:?}"),
                Err(error) => {
                    assert!(!fits && error.index == 3, "{error:?}");
                    assert!(error.message.contains("more than 64 MiB"), "{error}");
                }
            }
        }
    }
}
