//! The sysctls that steering depends on, held while it works.
//!
//! With `net.ipv4.tcp_syncookies` at 2 the kernel answers every SYN with a cookie and keeps nothing
//! (it governs IPv6 too, whatever its name says); only so is there no socket yet when the
//! ClientHello arrives. Where the program answers SYNs itself, `net.ipv4.tcp_timestamps` is 2 as
//! well: what a cookie cannot hold is in a timestamp, and with 1 the kernel adds an offset to it
//! that only it knows. With any other value the gateway works as well, unsteered: a crash that
//! leaves the 2 behind does no harm, as cookies are always accepted. What was there before is kept
//! in a file all the while, so that the next start puts it back ([`recover`]).

use super::Unavailable;
use std::path::{Path, PathBuf};
use std::{fs, io};

const COOKIES: &str = "/proc/sys/net/ipv4/tcp_syncookies";
const TIMESTAMPS: &str = "/proc/sys/net/ipv4/tcp_timestamps";
/// What both are held at.
const HELD: &str = "2";
/// No timestamps at all: a choice that is respected.
const NEVER: &str = "0";

/// Holds the settings. Dropping it puts back what was there.
#[derive(Debug, Default)]
pub struct Cookies {
    /// Path and former value of what was changed.
    changed: Vec<(&'static str, String)>,
    state: Option<PathBuf>,
}

impl Cookies {
    /// Makes the kernel answer every SYN of this thread's network namespace with a cookie.
    ///
    /// # Errors
    /// [`Unavailable::Cookies`].
    pub fn always() -> Result<Self, Unavailable> {
        Self::hold(None, &[COOKIES])
    }

    /// The same, with a file that remembers what was there in case this process cannot put it back.
    /// `answering`: the program makes timestamps as well.
    ///
    /// # Errors
    /// [`Unavailable::Cookies`].
    pub fn always_with(state: &Path, answering: bool) -> Result<Self, Unavailable> {
        let paths: &[&'static str] = if answering {
            &[COOKIES, TIMESTAMPS]
        } else {
            &[COOKIES]
        };
        Self::hold(Some(state), paths)
    }

    fn hold(state: Option<&Path>, paths: &[&'static str]) -> Result<Self, Unavailable> {
        let mut held = Self {
            changed: Vec::new(),
            state: None,
        };
        for path in paths {
            let failed = |reason: io::Error| Unavailable::Cookies { path, reason };
            let before = fs::read_to_string(path).map_err(failed)?.trim().to_owned();
            let stays = before == HELD || *path == TIMESTAMPS && before == NEVER;
            if !stays {
                held.changed.push((path, before));
            }
        }
        // The file first: a crash between the two leaves a file that says what is there anyway.
        if !held.changed.is_empty() {
            held.state = state
                .filter(|state| remember(state, &held.changed))
                .map(Path::to_owned);
        }
        for (path, _) in &held.changed {
            fs::write(path, HELD).map_err(|reason| Unavailable::Cookies { path, reason })?;
        }
        Ok(held)
    }
}

impl Cookies {
    /// What was changed, with what it was.
    pub(super) fn changed(&self) -> Vec<(String, String)> {
        let changed = self.changed.iter();
        changed
            .map(|(path, before)| ((*path).to_owned(), before.clone()))
            .collect()
    }

    /// Holds what another process has changed so far, and what is not held yet. Dropping it puts all of
    /// it back.
    ///
    /// # Errors
    /// [`Unavailable::Cookies`]; then what the other process has changed is still its own to put back.
    pub(super) fn inherited(
        sysctls: &[(String, String)],
        state: &Path,
        answering: bool,
    ) -> Result<Self, Unavailable> {
        let mut more = Self::always_with(state, answering)?;
        // Only what a run of ours can have changed.
        let ours = |path: &String| [COOKIES, TIMESTAMPS].into_iter().find(|ours| ours == path);
        let known = sysctls.iter();
        let known = known.filter_map(|(path, before)| Some((ours(path)?, before.clone())));
        let mut changed: Vec<_> = known.collect();
        changed.append(&mut more.changed);
        more.leave();
        let is_remembered = !changed.is_empty() && remember(state, &changed);
        let state = is_remembered.then(|| state.to_owned());
        Ok(Self { changed, state })
    }

    /// Sets what is held once more: another process may have put it back.
    pub(super) fn hold_again(&self) {
        for (path, _) in &self.changed {
            if let Err(error) = fs::write(path, HELD) {
                tracing::warn!(path, %error, "the sysctl could not be set again");
            }
        }
        if let Some(state) = &self.state {
            remember(state, &self.changed);
        }
    }

    /// Another process puts back what was changed.
    pub(super) fn leave(&mut self) {
        self.changed.clear();
        self.state = None;
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        for (path, before) in &self.changed {
            put_back(path, before);
        }
        if let Some(state) = &self.state {
            // Were it to stay, the next start would find that there is nothing to do.
            drop(fs::remove_file(state));
        }
    }
}

/// Puts back what a process that crashed had found, if it left a file and this is still the same
/// boot and network namespace. To be called at every start, whatever the mode.
pub fn recover(state: &Path) {
    let Ok(text) = fs::read_to_string(state) else {
        return;
    };
    let mut lines = text.lines();
    if lines.next() == Some(here().as_str()) {
        for (path, before) in lines.filter_map(|line| line.split_once(' ')) {
            // Only what a run of ours can have changed.
            if [COOKIES, TIMESTAMPS].contains(&path) {
                tracing::info!(
                    path,
                    value = before,
                    "put back what an earlier run had changed"
                );
                put_back(path, before);
            }
        }
    }
    drop(fs::remove_file(state));
}

/// Writes the value unless another one was set meanwhile.
fn put_back(path: &str, before: &str) {
    let ours = fs::read_to_string(path).is_ok_and(|now| now.trim() == HELD);
    if ours
        && before != HELD
        && let Err(error) = fs::write(path, before)
    {
        tracing::warn!(path, value = %before, %error, "the sysctl could not be put back");
    }
}

fn remember(state: &Path, changed: &[(&'static str, String)]) -> bool {
    let lines = changed
        .iter()
        .map(|(path, before)| format!("{path} {before}\n"));
    let text = std::iter::once(format!("{}\n", here())).chain(lines);
    match fs::write(state, text.collect::<String>()) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %state.display(), %error, "a crash would leave sysctls of steering at 2");
            false
        }
    }
}

/// What tells this boot and network namespace from others.
fn here() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/thread-self/ns/net").unwrap_or_default();
    format!("{} {}", boot.trim(), namespace.display())
}
