//! A process of ours: started with its words kept in a file, ended with us.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::machine;

/// How long a process may take to end when asked; then it and its children are killed.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// A process that ends when this is dropped.
pub struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command`; what it says goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("running {}", command.get_program().to_string_lossy()))?;
        Ok(Self {
            process,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// The last lines that it said.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(10)..)
            .unwrap_or_default();
        last.join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let family = machine::family(self.pid());
        signal(self.pid(), Signal::TERM);
        let deadline = Instant::now() + END_PATIENCE;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                family.into_iter().for_each(|pid| signal(pid, Signal::KILL));
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It is ending now; no other code waits for it.
        drop(self.process.wait());
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that is gone already needs no signal.
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal))
        && error != Errno::SRCH
    {
        eprintln!("a process of ours could not be ended: {error}");
    }
}
