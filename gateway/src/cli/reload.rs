//! `postern reload`: has the running gateway read its configuration files again.
//!
//! Owns that files which are wrong are never sent for. The gateway's own checks decide, as with any
//! other SIGHUP.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::client::Client;
use super::client::names::{OWN, text};
use super::client::target::Target;
use super::output::{CliError, Output, json_text};
use super::run::ConfigFile;
use crate::limits::CLI_TIMEOUT;
use config::Config;

/// How long the process is looked for behind its socket.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// Have the running gateway read its configuration files again
///
/// The files are checked first, and one mistake changes nothing. For keys that need a new process, such
/// as `listen` and `workers`, one takes over without a connection being lost. This command ends once they
/// hold, or says that they do not. The same as SIGHUP and `systemctl reload postern`.
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    config: ConfigFile,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// They hold.
    Taken,
    /// They hold in another process, which serves.
    TakenOver(u64),
    /// At least a part of them does not.
    Refused,
    /// The process that was to take over did not.
    NotTakenOver(String),
}

impl Reload {
    pub(super) fn run(self, target: &Target, client: &Client, json: bool) -> Output {
        let loaded = Config::load(&self.config.sources())?;
        let socket = target.local_socket()?;
        // Where nobody is, nothing is waited for.
        process_behind(&socket)?;
        // A process that is about to take over has read the files already.
        let before = after_upgrade(client)?;
        let process = process_behind(&socket)?;
        kill_process(process, Signal::HUP).map_err(|why| {
            CliError::Failed(format!(
                "process {} cannot be told to read its files again: {why}; ask as its user or as root",
                process.as_raw_nonzero()
            ))
        })?;
        let id = process.as_raw_nonzero().get();
        let successor = match wait(client, &before)? {
            Outcome::Taken => None,
            Outcome::TakenOver(successor) => Some(successor),
            Outcome::Refused => {
                return Err(CliError::Failed(format!(
                    "process {id} has not taken all of the files: its log says what stays as it was, and why"
                )));
            }
            Outcome::NotTakenOver(why) => {
                return Err(CliError::Failed(format!(
                    "no process with the new files could take over, and process {id} goes on: {why}"
                )));
            }
        };
        let files = loaded.files.len();
        Ok(if json {
            json_text(&json!({ "process": id, "files": files, "successor": successor }))
        } else {
            match successor {
                None => format!("process {id} has read the files again, and they hold\n"),
                Some(successor) => format!(
                    "the files hold in process {successor}, which has taken over from {id}; that one finishes its \
                     connections\n"
                ),
            }
        })
    }
}

/// What the gateway says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    pid: u64,
    applied: u64,
    refused: u64,
    /// The last upgrade: its number, its state, and why it failed.
    upgrade: (u64, String, String),
}

impl Look {
    fn at(client: &Client) -> Result<Self, CliError> {
        let status = client.get(&format!("{OWN}/status"))?;
        let upgrades = client.get(&format!("{OWN}/upgrade"))?;
        let count = |of: &Value, place: &str| of.pointer(place).and_then(Value::as_u64);
        let last = upgrades.get("last").cloned().unwrap_or_default();
        Ok(Self {
            pid: count(&status, "/pid").unwrap_or_default(),
            applied: count(&status, "/reloads/applied").unwrap_or_default(),
            refused: count(&status, "/reloads/refused").unwrap_or_default(),
            upgrade: (
                count(&last, "/id").unwrap_or_default(),
                text(&last, "state"),
                text(&last, "why"),
            ),
        })
    }

    /// What has become of the reload since; nothing while that is not known. `is_second` when the last look saw
    /// the same: a new process is asked for right after the files were read.
    fn since(&self, before: &Self, is_second: bool) -> Option<Outcome> {
        if self.pid != before.pid {
            return Some(Outcome::TakenOver(self.pid));
        }
        if self.refused > before.refused {
            return Some(Outcome::Refused);
        }
        if self.applied == before.applied {
            return None;
        }
        let (id, state, why) = &self.upgrade;
        match state.as_str() {
            "failed" if *id > before.upgrade.0 => Some(Outcome::NotTakenOver(why.clone())),
            "running" => None,
            _ if is_second => Some(Outcome::Taken),
            _ => None,
        }
    }
}

/// Waits for the end of an upgrade that goes on; its own time bounds it.
fn after_upgrade(client: &Client) -> Result<Look, CliError> {
    let mut answered = Instant::now();
    loop {
        match Look::at(client) {
            Ok(look) if look.upgrade.1 != "running" => return Ok(look),
            Ok(_running) => answered = Instant::now(),
            // A connection may end with the old process.
            Err(_) if answered.elapsed() < CLI_TIMEOUT => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks until it is known what became of it. Whoever answers is the process that serves.
fn wait(client: &Client, before: &Look) -> Result<Outcome, CliError> {
    let mut answered = Instant::now();
    let mut last = before.clone();
    loop {
        std::thread::sleep(LOOK);
        match Look::at(client) {
            Ok(now) => {
                if let Some(outcome) = now.since(before, now == last) {
                    return Ok(outcome);
                }
                if now != last {
                    answered = Instant::now();
                }
                last = now;
            }
            // A connection may end with the old process.
            Err(_) if answered.elapsed() < CLI_TIMEOUT => {}
            Err(error) => return Err(error),
        }
        // What goes on has its own bounds.
        if last.upgrade.1 != "running" && answered.elapsed() >= CLI_TIMEOUT {
            return Err(CliError::Failed(
                "the gateway was told to read its files again, and has not yet: its log says what it waits for".into(),
            ));
        }
    }
}

/// The process that listens at a socket.
fn process_behind(socket: &std::path::Path) -> Result<Pid, CliError> {
    let failed = |why: String| CliError::Failed(format!("{}: {why}", socket.display()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| failed(why.to_string()))?;
    let start = Instant::now();
    let peer = runtime.block_on(async {
        let stream = tokio::time::timeout(PATIENCE, tokio::net::UnixStream::connect(socket)).await;
        stream.map_err(|_late| std::io::Error::other("it does not answer"))?
    });
    let peer = peer.and_then(|stream| stream.peer_cred());
    let peer = peer.map_err(|why| {
        let late = start.elapsed() >= PATIENCE;
        failed(if late {
            "the gateway does not answer".into()
        } else {
            format!("no gateway listens there ({why})")
        })
    })?;
    let id = peer.pid().and_then(Pid::from_raw);
    id.ok_or_else(|| failed("the system does not say which process listens".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_reload_is_told_by_what_changes() {
        let look = |pid, applied, refused, upgrade: (u64, &str)| Look {
            pid,
            applied,
            refused,
            upgrade: (upgrade.0, upgrade.1.into(), "why".into()),
        };
        let before = look(1, 3, 1, (2, "failed"));
        for (now, is_second, outcome) in [
            (before.clone(), true, None),
            (look(1, 4, 1, (2, "failed")), false, None),
            (look(1, 4, 1, (2, "failed")), true, Some(Outcome::Taken)),
            (look(1, 4, 1, (3, "running")), true, None),
            (
                look(1, 4, 1, (3, "failed")),
                false,
                Some(Outcome::NotTakenOver("why".into())),
            ),
            (look(1, 3, 2, (2, "failed")), false, Some(Outcome::Refused)),
            (
                look(9, 0, 0, (3, "done")),
                false,
                Some(Outcome::TakenOver(9)),
            ),
        ] {
            assert_eq!(now.since(&before, is_second), outcome, "{now:?}");
        }
    }
}
