//! A rule as an administrator writes it, and the error of one that does not compile.

use std::sync::Arc;

use crate::action::Action;

/// A rule as it is written.
///
/// ```
/// use rules::{Action, BlockResponse, Program, Rule};
///
/// let rule = Rule {
///     id: "0123456789abcdef0123456789abcdef".into(),
///     expression: "http.request.uri.path wildcard \"/admin/*\"".into(),
///     action: Action::Block(BlockResponse::default()),
///     enabled: true,
/// };
/// assert_eq!(Program::compile(&[rule.clone()])?.len(), 1);
///
/// let wrong = Rule { expression: "ip.src eq 1".into(), ..rule.clone() };
/// let error = Program::compile(&[rule, wrong]).unwrap_err();
/// assert_eq!(error.index, 1);
/// # Ok::<(), rules::RuleError>(())
/// ```
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

impl Rule {
    /// Rules as a [`Program`](crate::Program) keeps them.
    #[must_use]
    pub fn shared(rules: &[Self]) -> Vec<Arc<Self>> {
        rules.iter().cloned().map(Arc::new).collect()
    }
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
