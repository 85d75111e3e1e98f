//! `net.ipv4.tcp_syncookies`, held at 2 while steering works.
//!
//! With 2 the kernel answers every SYN with a cookie and keeps nothing (it governs IPv6 too, whatever its name
//! says); only so is there no socket yet when the ClientHello arrives. With any other value the gateway works
//! as well, unsteered: a crash that leaves the 2 behind does no harm, as cookies are always accepted. What was
//! there before is kept in a file all the while, so that the next start puts it back ([`recover`]).

use super::Unavailable;
use std::path::{Path, PathBuf};
use std::{fs, io};

const PATH: &str = "/proc/sys/net/ipv4/tcp_syncookies";
const ALWAYS: &str = "2";

/// Holds the setting. Dropping it puts back what was there.
#[derive(Debug)]
pub struct Cookies {
    before: String,
    state: Option<PathBuf>,
}

impl Cookies {
    /// Makes the kernel answer every SYN of this thread's network namespace with a cookie.
    ///
    /// # Errors
    /// [`Unavailable::Cookies`].
    pub fn always() -> Result<Self, Unavailable> {
        Self::hold(None)
    }

    /// The same, with a file that remembers what was there in case this process cannot put it back.
    ///
    /// # Errors
    /// [`Unavailable::Cookies`].
    pub fn always_with(state: &Path) -> Result<Self, Unavailable> {
        Self::hold(Some(state))
    }

    fn hold(state: Option<&Path>) -> Result<Self, Unavailable> {
        let set = || -> io::Result<Self> {
            let before = fs::read_to_string(PATH)?.trim().to_owned();
            let mut held = Self {
                before,
                state: None,
            };
            if held.before != ALWAYS {
                // The file first: a crash between the two leaves a file that says what is there anyway.
                held.state = state
                    .filter(|state| remember(state, &held.before))
                    .map(Path::to_owned);
                fs::write(PATH, ALWAYS)?;
            }
            Ok(held)
        };
        set().map_err(|reason| Unavailable::Cookies { path: PATH, reason })
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        put_back(&self.before);
        if let Some(state) = &self.state {
            // Were it to stay, the next start would find that there is nothing to do.
            drop(fs::remove_file(state));
        }
    }
}

/// Puts back what a process that crashed had found, if it left a file and this is still the same boot and network
/// namespace. To be called at every start, whatever the mode.
pub fn recover(state: &Path) {
    let Ok(text) = fs::read_to_string(state) else {
        return;
    };
    if let Some((before, place)) = text.split_once('\n')
        && place.trim() == here()
    {
        tracing::info!(
            path = PATH,
            value = before,
            "put back what an earlier run had changed"
        );
        put_back(before);
    }
    drop(fs::remove_file(state));
}

/// Writes the value unless somebody chose another one meanwhile.
fn put_back(before: &str) {
    let ours = fs::read_to_string(PATH).is_ok_and(|now| now.trim() == ALWAYS);
    if ours
        && before != ALWAYS
        && let Err(error) = fs::write(PATH, before)
    {
        tracing::warn!(path = PATH, value = %before, %error, "the sysctl could not be put back");
    }
}

fn remember(state: &Path, before: &str) -> bool {
    match fs::write(state, format!("{before}\n{}\n", here())) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %state.display(), %error, "a crash would leave net.ipv4.tcp_syncookies at 2");
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
