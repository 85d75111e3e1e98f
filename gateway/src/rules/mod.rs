//! Rules: Cloudflare's expression language, and the decision on every request.
//!
//! Never does I/O and never reads a clock. Only [`decide`] can make a [`Permit`].

mod facts;

pub use facts::{ConnectionFacts, RequestFacts};

use std::sync::Arc;

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// 32 lower-case hex characters.
    pub id: Arc<str>,
    /// The expression's text.
    pub expression: Arc<str>,
    /// What happens when it matches.
    pub action: Action,
    /// A disabled rule is checked, and then costs nothing.
    pub enabled: bool,
}

/// What a matching rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer with this instead of forwarding; terminates.
    Block(BlockResponse),
    /// Report the match and go on.
    Log,
}

/// What a blocked client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockResponse {
    /// 400 to 499.
    pub status: u16,
    /// One of `text/html`, `text/plain`, `application/json`, `text/xml`.
    pub content_type: Arc<str>,
    /// At most 2 KiB.
    pub content: Arc<str>,
}

/// A zone's rules, compiled.
#[derive(Debug, Default)]
pub struct Program {
}

/// Which rule cannot be compiled, and the message in Cloudflare's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// Position of the rule in the list given.
    pub index: usize,
    /// `Filter parsing error (1:31): …`, with the line and a caret.
    pub message: String,
}

impl Program {
    /// Compiles rules in order.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(_rules: &[Rule]) -> Result<Self, RuleError> {
        Ok(Self {})
    }
}

/// Without this value nothing is forwarded. Only [`decide`] makes one, it is used once.
#[derive(Debug)]
pub struct Permit(());

/// What the rules say of one request.
#[derive(Debug)]
pub enum Decision<'p> {
    /// No terminating rule matched.
    Permit(Permit),
    /// This rule blocks.
    Block {
        /// Its id.
        rule_id: &'p str,
        /// What the client gets.
        response: &'p BlockResponse,
    },
}

/// Judges one request. `logged` is told the id of every matching `log` rule on the way.
pub fn decide<'p>(
    _program: &'p Program,
    _connection: &ConnectionFacts,
    _request: &RequestFacts<'_>,
    _logged: &mut dyn FnMut(&'p str),
) -> Decision<'p> {
    Decision::Permit(Permit(()))
}
