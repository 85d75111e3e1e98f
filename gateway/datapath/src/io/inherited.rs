//! Sockets that a service manager kept for this process and started it with (sd_listen_fds(3)).

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the first one.
const FIRST: RawFd = 3;

/// The descriptors that the environment says this process was started with, each with its name. They are
/// there once: a second call answers nothing.
#[must_use]
pub fn started_with() -> Vec<(String, OwnedFd)> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let text = |name| std::env::var(name).unwrap_or_default();
    let names = told(
        &text("LISTEN_PID"),
        &text("LISTEN_FDS"),
        &text("LISTEN_FDNAMES"),
        std::process::id(),
    );
    let adopted = (FIRST..).zip(names).map(|(number, name)| {
        let socket = adopt(number);
        socket.map(|socket| (name, socket))
    });
    let adopted = adopted.filter_map(|one| {
        one.inspect_err(|error| tracing::warn!(%error, "a socket that was kept is lost"))
            .ok()
    });
    adopted.collect()
}

/// The names of those that are for the process `own`, in the order of their numbers.
fn told(pid: &str, count: &str, names: &str, own: u32) -> Vec<String> {
    // For nobody, or for a process that started this one.
    if pid.parse() != Ok(own) {
        return Vec::new();
    }
    let count: u16 = count.parse().unwrap_or(0);
    let names = names.split(':').map(str::to_owned);
    let nameless = std::iter::repeat_with(String::new);
    names.chain(nameless).take(count.into()).collect()
}

/// Takes what this process has under a number: a copy that no program inherits that is started, in the place of
/// the number itself.
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    Path::new("/proc/self/fd")
        .join(number.to_string())
        .symlink_metadata()?;
    // SAFETY: it is open, as the line above has found; it is this process's own since its start, by
    // the word of who started it, and nothing else here knows its number: it is taken once.
    let given = unsafe { OwnedFd::from_raw_fd(number) };
    given.try_clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_for_one_process() {
        for (pid, count, names, wanted) in [
            ("7", "2", "a:b", &["a", "b"][..]),
            ("7", "2", "a", &["a", ""]),
            ("7", "1", "a:b", &["a"]),
            ("7", "1", "", &[""]),
            ("8", "2", "a:b", &[]),
            ("", "2", "a:b", &[]),
            ("7", "", "a:b", &[]),
            ("7", "-1", "a:b", &[]),
            ("7", "70000", "a:b", &[]),
        ] {
            assert_eq!(told(pid, count, names, 7), wanted, "{pid} {count} {names}");
        }
    }

    #[test]
    fn a_number_that_is_not_open_is_nothing() {
        assert!(adopt(1_000_000).is_err());
    }
}
