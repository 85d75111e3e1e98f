//! `postern upgrade`: has a new process take the place of the running gateway.
//!
//! Owns the waiting and the words. The gateway does it, and says what becomes of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::client::names::{OWN, text};
use super::output::{CliError, Output, json_text};
use crate::limits::CLI_TIMEOUT;

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// Have a new process take the place of the running gateway, and lose no connection
///
/// The new process checks configuration and store, takes over all sockets, and then serves; the old one
/// finishes its connections within `timeout.drain`. If the new one fails at any step, the old one goes
/// on as if nothing had been asked, and this command says why. For root and for the user that runs the
/// gateway. SIGUSR2 does the same.
#[derive(Debug, clap::Args)]
pub(super) struct Upgrade {
    /// The binary to start; by default what is now at the path of the running one
    binary: Option<PathBuf>,
    /// Begin nothing: show what became of the last upgrade
    #[arg(long, conflicts_with = "binary")]
    status: bool,
}

impl Upgrade {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let path = format!("{OWN}/upgrade");
        if self.status {
            let shown = client.get(&path)?;
            return Ok(if json {
                json_text(&shown)
            } else {
                told(&shown)
            });
        }
        let binary = self.binary.map(|binary| {
            binary
                .canonicalize()
                .map_err(|why| CliError::Failed(format!("{}: {why}", binary.display())))
        });
        let wanted = json!({ "binary": binary.transpose()? });
        let begun = client.post(&path, &wanted)?;
        let ended = wait(client, &path, begun.pointer("/last/id"))?;
        match ended.pointer("/last/state").and_then(Value::as_str) {
            Some("done") if json => Ok(json_text(&ended)),
            Some("done") => Ok(told(&ended)),
            _ => Err(CliError::Failed(told(&ended))),
        }
    }
}

/// Asks until the upgrade of this number is over; in the end it is the new process that answers.
fn wait(client: &Client, path: &str, id: Option<&Value>) -> Result<Value, CliError> {
    let mut answered = Instant::now();
    let mut is_warned = false;
    loop {
        std::thread::sleep(LOOK);
        match client.get(path) {
            Ok(shown) => {
                answered = Instant::now();
                if shown.pointer("/last/id") != id {
                    return Err(CliError::Failed(
                        "the gateway knows nothing of this upgrade: it was started anew, or another upgrade \
                         followed; `postern upgrade --status` shows what there is"
                            .into(),
                    ));
                }
                if shown.pointer("/last/state") != Some(&json!("running")) {
                    return Ok(shown);
                }
                if let (false, Some(warning)) = (is_warned, beforehand(&shown)) {
                    is_warned = true;
                    eprintln!("{warning}");
                }
            }
            // A connection may end with the old process.
            Err(_) if answered.elapsed() < CLI_TIMEOUT => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What there is to be said while the old process could still go on.
fn beforehand(shown: &Value) -> Option<String> {
    let backup = shown.pointer("/last/backup").and_then(Value::as_str)?;
    Some(format!(
        "the new version brings the store to a newer format, which the running one does not know: once it \
         serves, the only way back is the copy that is made first, {backup}"
    ))
}

fn told(shown: &Value) -> String {
    let Some(last) = shown.get("last").filter(|last| !last.is_null()) else {
        return format!(
            "process {} serves; there was no upgrade\n",
            text(shown, "pid")
        );
    };
    let (from, to) = (text(last, "from"), text(last, "to"));
    let backup = text(last, "backup");
    match text(last, "state").as_str() {
        "done" => {
            let mut told = format!(
                "process {to} serves in place of {from}, version {}; the old one finishes its connections\n",
                text(last, "version")
            );
            if !backup.is_empty() {
                told.push_str(&format!(
                    "the store has a newer format now, which the old version does not know: the only way \
                     back is the copy from before, {backup}\n"
                ));
            }
            told
        }
        "failed" => format!(
            "the upgrade failed, and process {from} goes on as before: {}",
            text(last, "why")
        ),
        _ => format!("an upgrade is going on: {}\n", text(last, "step")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_it_is_told() {
        let shown = |last: Value| told(&json!({ "pid": 7, "last": last }));
        assert!(shown(Value::Null).contains("process 7 serves"));
        let mut last = json!({
            "id": 1, "state": "done", "from": 7, "to": 8, "version": "0.2.0", "backup": null,
        });
        assert_eq!(
            shown(last.clone()),
            "process 8 serves in place of 7, version 0.2.0; the old one finishes its connections\n"
        );
        last["backup"] = json!("/var/lib/postern/store.redb.format-4-1");
        assert!(shown(last.clone()).contains("format-4-1"));
        last["state"] = json!("failed");
        last["why"] = json!("it has no head");
        assert!(shown(last.clone()).ends_with("goes on as before: it has no head"));
        last["state"] = json!("running");
        let before = beforehand(&json!({ "last": last })).unwrap();
        assert!(before.contains("the only way back"), "{before}");
        assert!(before.ends_with("format-4-1"), "{before}");
        assert_eq!(beforehand(&json!({ "last": { "backup": null } })), None);
        last["step"] = json!("walking");
        assert!(shown(last).contains("going on: walking"));
    }
}
