//! Confirmation of what cannot be undone: asked on a terminal, an option elsewhere.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::Value;

use super::CliError;

/// Goes on when `yes` was said, or when a person at a terminal says so. `what` is a sentence that
/// tells what will happen, with counts.
pub(crate) fn confirm(yes: bool, what: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(CliError::Usage(format!("{what}; say --yes to do it")));
    }
    // Standard output may be a file that somebody reads later.
    let mut out = std::io::stderr();
    drop(write!(out, "{what}.\nGo on? [y/N] ").and_then(|()| out.flush()));
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|why| CliError::Failed(format!("standard input: {why}")))?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Failed("nothing was changed".into())),
    }
}

/// `3 hosts`, `1 host`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// Some names for people: the first few, and how many more there are.
pub(crate) fn some(names: &[String]) -> String {
    /// More than this many are not read.
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What an answer says that is lost, in words: `1 CA key, 705 client certificates`. An answer that
/// says nothing of it is not taken for one that counts nothing.
pub(crate) fn losses(answer: &Value) -> String {
    let lost = answer.get("lost").unwrap_or(answer);
    if lost.is_null() {
        return "the gateway did not say what is in it".into();
    }
    let counts = [
        ("hosts", "host"),
        ("ca_keys", "CA key"),
        ("client_certificates", "client certificate"),
        ("server_keys", "server certificate with its key"),
        ("revocation_lists", "revocation list"),
    ];
    let told = counts.iter().filter_map(|(key, noun)| {
        let count = usize::try_from(lost.get(key)?.as_u64()?).ok()?;
        let text = match (*key, count) {
            ("server_keys", 2..) => format!("{count} server certificates with their keys"),
            _ => counted(count, noun),
        };
        (count > 0).then_some(text)
    });
    let told = told.collect::<Vec<_>>().join(", ");
    if told.is_empty() {
        return "nothing else is in it".into();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_only_an_option_confirms() {
        assert!(confirm(true, "x").is_ok());
        let error = confirm(false, "3 hosts go").unwrap_err();
        assert_eq!(error.to_string(), "3 hosts go; say --yes to do it");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn counts_and_names_in_words() {
        assert_eq!(counted(1, "host"), "1 host");
        assert_eq!(counted(0, "host"), "0 hosts");
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(some(&names[..2]), "0, 1");
        assert!(some(&names).ends_with("7 and 2 more"));
        let lost = serde_json::json!({"lost": {"what": "x", "ca_keys": 1, "server_keys": 3,
            "client_certificates": 705, "hosts": 0}});
        assert_eq!(
            losses(&lost),
            "1 CA key, 705 client certificates, 3 server certificates with their keys"
        );
        let nothing = serde_json::json!({"lost": {"what": "x", "hosts": 0}});
        assert_eq!(losses(&nothing), "nothing else is in it");
        let unsaid = "the gateway did not say what is in it";
        assert_eq!(losses(&Value::Null), unsaid);
    }
}
