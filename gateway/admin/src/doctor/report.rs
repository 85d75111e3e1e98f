//! Findings, and what would mend them.

use serde_json::{Value, json};

vocabulary::words! {
    /// What came of one check.
    #[derive(PartialOrd, Ord)]
    pub enum State("a state", without serde) {
        /// As it should be.
        Good = "ok",
        /// It works, yet perhaps not as meant.
        Doubt = "doubt",
        /// mTLS does not work, or does not protect.
        Bad = "bad",
    }
}

/// One check, done.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was looked at, in a word that scripts can compare.
    pub check: &'static str,
    /// What came of it.
    pub state: State,
    /// What was found.
    pub said: String,
    /// How to mend it; empty when there is nothing to mend.
    pub mend: String,
    /// The one change that mends it, when there is one that is surely meant.
    pub fix: Option<Fix>,
}

/// A change that a person can make with one click.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Set this of the host.
    Host {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// Switch a rule off.
    DisableRule {
        /// Its id.
        rule: String,
    },
    /// Give a rule another expression.
    Expression {
        /// Its id.
        rule: String,
        /// The expression.
        expression: String,
    },
}

impl Finding {
    pub(super) fn good(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(check, State::Good, said, "")
    }

    pub(super) fn new(
        check: &'static str,
        state: State,
        said: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state,
            said: said.into(),
            mend: mend.into(),
            fix: None,
        }
    }

    pub(super) fn fixed_by(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// A finding, for scripts.
#[must_use]
pub fn as_json(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "state": finding.state.as_str(),
        "message": finding.said,
        "mend": (!finding.mend.is_empty()).then_some(&finding.mend),
    })
}

/// The same, with what would mend it.
pub(crate) fn with_fix(finding: &Finding) -> Value {
    let mut shown = as_json(finding);
    let fix = finding.fix.as_ref().map(|fix| match fix {
        Fix::Host { key, value } => json!({ "kind": "host", "key": key, "value": value }),
        Fix::DisableRule { rule } => json!({ "kind": "disable_rule", "rule_id": rule }),
        Fix::Expression { rule, expression } => {
            json!({ "kind": "expression", "rule_id": rule, "expression": expression })
        }
    });
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("fix".into(), json!(fix));
    }
    shown
}
