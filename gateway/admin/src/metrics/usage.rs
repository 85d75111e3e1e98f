//! The process's use of memory, descriptors and CPU, read from proc(5).
//!
//! A value that the kernel does not report is absent, never guessed.

use std::time::Duration;

/// What the kernel says this process uses (proc(5)); absent where it does not say.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) cpu: Option<Duration>,
}

impl Usage {
    pub(super) fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| {
                let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
                kib.checked_mul(1024)
            });
        let open_fds = std::fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count() as u64);
        // schedstat would give nanoseconds, of one thread only; stat counts all threads in ticks
        // of 10 ms, which Linux fixed for userspace.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let cpu = stat.rsplit_once(')').and_then(|(_, rest)| {
            let mut fields = rest.split_whitespace().skip(11);
            let user: u64 = fields.next()?.parse().ok()?;
            let system: u64 = fields.next()?.parse().ok()?;
            Some(Duration::from_millis(
                user.checked_add(system)?.checked_mul(10)?,
            ))
        });
        Self {
            resident_bytes: resident,
            open_fds,
            cpu,
        }
    }
}
