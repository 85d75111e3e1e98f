//! A rule as an administrator writes it, and what is said of one that cannot be compiled.

use std::sync::Arc;

use crate::action::Action;

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

impl Rule {
    /// Rules as a [`Program`] keeps them.
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
