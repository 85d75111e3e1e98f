//! Upgrades as the API tells of them: asked for here, done by the process that owns its parts.
//!
//! Owns the last upgrade's record, which goes over to the new process, and that there is one at a time.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

vocabulary::words! {
    /// What became of an upgrade.
    pub enum UpgradeState("a state of an upgrade") {
        /// It is going on.
        Running = "running",
        /// The new process serves.
        Done = "done",
        /// The old one goes on as if nothing had been asked.
        Failed = "failed",
    }
}

/// The record of one upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Counted from 1 over all upgrades of a service that was never stopped.
    pub id: u64,
    /// What became of it.
    pub state: UpgradeState,
    /// What is waited for, or what it got to.
    pub step: String,
    /// Why it failed.
    pub why: Option<String>,
    /// The binary that was started.
    pub binary: PathBuf,
    /// The process that asked the new one to take over.
    pub from: u32,
    /// The new process, once there is one.
    pub to: Option<u32>,
    /// The new process's version, once it has told.
    pub version: Option<String>,
    /// The copy of the store that was made because the new format knows no way back.
    pub backup: Option<PathBuf>,
    /// How many before it came to nothing.
    #[serde(default)]
    pub failed_before: u64,
}

/// An upgrade that somebody wants.
#[derive(Debug)]
pub struct Asked {
    /// Its number.
    pub id: u64,
    /// What to start; the present binary's path when nothing is said.
    pub binary: Option<PathBuf>,
}

/// Why no upgrade was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// One is going on.
    #[error("an upgrade is in progress already: wait for its end (`postern upgrade --status`)")]
    Running,
    /// It ends, or cannot be upgraded.
    #[error("this process cannot be upgraded: it is stopping, or a demo")]
    Never,
}

/// The upgrades of this process.
#[derive(Debug)]
pub struct Upgrades {
    asked: mpsc::UnboundedSender<Asked>,
    last: Mutex<Option<Upgrade>>,
}

impl Upgrades {
    /// With the upgrade that this process came by, and the place where further ones are asked for.
    #[must_use]
    pub fn new(last: Option<Upgrade>) -> (Self, mpsc::UnboundedReceiver<Asked>) {
        let (asked, wanted) = mpsc::unbounded_channel();
        let last = Mutex::new(last);
        (Self { asked, last }, wanted)
    }

    /// Asks for one. Answers its record as it begins.
    ///
    /// # Errors
    /// See [`NotBegun`].
    pub fn begin(&self, binary: Option<PathBuf>) -> Result<Upgrade, NotBegun> {
        let mut last = self.lock();
        if last
            .as_ref()
            .is_some_and(|last| last.state == UpgradeState::Running)
        {
            return Err(NotBegun::Running);
        }
        let id = last.as_ref().map_or(0, |last| last.id) + 1;
        let [_, failed_before] = counts(last.as_ref());
        let upgrade = Upgrade {
            id,
            state: UpgradeState::Running,
            step: "begun".into(),
            why: None,
            binary: binary.clone().unwrap_or_default(),
            from: std::process::id(),
            to: None,
            version: None,
            backup: None,
            failed_before,
        };
        // The unbounded queue has one element at the most: there is one at a time.
        let asked = self.asked.send(Asked { id, binary });
        asked.map_err(|_nobody_listens| NotBegun::Never)?;
        *last = Some(upgrade.clone());
        Ok(upgrade)
    }

    /// Notes how the upgrade that is going on goes on, and answers its record.
    pub fn note(&self, note: impl FnOnce(&mut Upgrade)) -> Option<Upgrade> {
        let mut last = self.lock();
        if let Some(last) = last.as_mut() {
            note(last);
        }
        last.clone()
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<Upgrade> {
        self.lock().clone()
    }

    /// How many were done, and how many came to nothing, since the service was started.
    #[must_use]
    pub fn counts(&self) -> [u64; 2] {
        counts(self.lock().as_ref())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Upgrade>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counts(last: Option<&Upgrade>) -> [u64; 2] {
    let Some(last) = last else { return [0, 0] };
    let failed = last.failed_before + u64::from(last.state == UpgradeState::Failed);
    let over = last.id - u64::from(last.state == UpgradeState::Running);
    [over.saturating_sub(failed), failed]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_at_a_time() {
        let (upgrades, mut wanted) = Upgrades::new(None);
        assert_eq!((upgrades.last(), upgrades.counts()), (None, [0, 0]));
        let first = upgrades.begin(Some("/new".into())).unwrap();
        assert_eq!((first.id, first.state), (1, UpgradeState::Running));
        assert_eq!(upgrades.begin(None), Err(NotBegun::Running));
        assert_eq!(wanted.try_recv().unwrap().id, 1);
        assert_eq!(upgrades.counts(), [0, 0]);
        upgrades.note(|upgrade| upgrade.state = UpgradeState::Failed);
        assert_eq!(upgrades.counts(), [0, 1]);
        assert_eq!(upgrades.begin(None).unwrap().id, 2);
        assert_eq!(upgrades.counts(), [0, 1]);
        upgrades.note(|upgrade| upgrade.state = UpgradeState::Done);
        assert_eq!(upgrades.counts(), [1, 1]);
        drop(wanted);
        assert_eq!(upgrades.begin(None), Err(NotBegun::Never));
    }
}
