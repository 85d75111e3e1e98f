//! `postern explain`: what a word of the logs means, and how to mend it.
//!
//! Owns the command. The words and their texts are [`admin::explain`]'s, which the API has too.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;
use vocabulary::side::Side;
use vocabulary::suggest::suggest;

use super::output::{CliError, Output, json_text};

/// Say what a reason in a log line or a metric means, and how to mend it
///
/// Without a word, every word there is.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The word: `crl_expired`, `origin_refused`, …
    word: Option<String>,
}

impl Explain {
    pub(super) fn run(&self, json: bool) -> Output {
        let mut found = admin::explain::all();
        if let Some(word) = &self.word {
            must_be_known(word)?;
            found.retain(|one| one.word == word);
        }
        if json {
            let rows: Vec<_> = found
                .iter()
                .map(|one| {
                    json!({
                        "word": one.word,
                        "of": one.place,
                        "side": one.side.map(Side::as_str),
                        "means": one.means,
                        "mend": one.mend,
                    })
                })
                .collect();
            return Ok(json_text(&json!(rows)));
        }
        let mut text = String::new();
        for one in found {
            let side = one
                .side
                .map_or(String::new(), |side| format!(", the fault of: {side}"));
            // A String takes every write.
            let _written = writeln!(
                text,
                "{} ({}{side})\n  means  {}\n  mend   {}",
                one.word, one.place, one.means, one.mend
            );
        }
        Ok(text)
    }
}

/// Refuses a word that is no reason of anything.
pub(super) fn must_be_known(word: &str) -> Result<(), CliError> {
    let all = admin::explain::all();
    if all.iter().any(|one| one.word == word) {
        return Ok(());
    }
    let near = suggest(word, all.iter().map(|one| one.word));
    let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let word = word.escape_debug();
    Err(CliError::Failed(format!(
        "there is no reason `{word}`; {near}`postern explain` lists every one"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_explained_and_an_unknown_one_is_refused() {
        let explain = |word: Option<&str>, json| {
            Explain {
                word: word.map(str::to_owned),
            }
            .run(json)
        };
        let text = explain(Some("crl_expired"), false).unwrap();
        assert!(
            text.starts_with("crl_expired (client certificate)\n  means  "),
            "{text}"
        );
        let every = explain(None, true).unwrap();
        assert!(every.contains("origin_refused"), "{every}");
        let error = explain(Some("crl_mising"), false).unwrap_err().to_string();
        assert!(error.contains("did you mean `crl_missing`?"), "{error}");
        let error = explain(Some("\u{1b}[2J"), false).unwrap_err().to_string();
        assert!(
            error.contains("postern explain") && !error.contains('\u{1b}'),
            "{error}"
        );
    }
}
