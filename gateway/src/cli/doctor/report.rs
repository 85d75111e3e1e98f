//! Findings, and their display for people and scripts.

use serde_json::{Value, json};

use crate::cli::output::table::list;

vocabulary::words! {
    /// What came of one check.
    #[derive(PartialOrd, Ord)]
    pub(super) enum State("a state", without serde) {
        /// As it should be.
        Good = "ok",
        /// It works, yet perhaps not as meant.
        Doubt = "doubt",
        /// mTLS does not work, or does not protect.
        Bad = "bad",
    }
}

/// One check, done.
#[derive(Debug)]
pub(super) struct Finding {
    /// What was looked at, in a word that scripts can compare.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What was found.
    pub(super) said: String,
    /// How to mend it; empty when there is nothing to mend.
    pub(super) mend: String,
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
        }
    }
}

pub(super) fn as_json(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "state": finding.state.as_str(),
        "message": finding.said,
        "mend": (!finding.mend.is_empty()).then_some(&finding.mend),
    })
}

pub(super) fn for_people(findings: &[Finding]) -> String {
    let lines: Vec<(&str, String)> = findings
        .iter()
        .map(|finding| {
            let state = finding.state.as_str();
            let said = format!("{state}: {}", finding.said);
            let mend = Some(&finding.mend).filter(|mend| !mend.is_empty());
            let said = mend.map_or_else(
                || said.clone(),
                |mend| format!("{said}; to mend it: {mend}"),
            );
            (finding.check, said)
        })
        .collect();
    list(&lines)
}
