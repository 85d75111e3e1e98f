//! Whether this process runs short of memory.
//!
//! Owns reading what the kernel says of it. What is done then belongs to the data path.

use std::fs;
use std::path::Path;

use crate::limits::MEMORY_SHORT_PART;

/// Whether the control group is nearly full, or the machine is and this process has most of it.
pub(super) fn memory_is_short() -> bool {
    group_is_full().unwrap_or(false) || machine_is_full().unwrap_or(false)
}

/// By the limit of the process's own control group, version 2.
fn group_is_full() -> Option<bool> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new("/sys/fs/cgroup").join(path);
    let read = |name| fs::read_to_string(group.join(name)).ok();
    let most = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    // Pages of files are given back when they are wanted.
    let cached = field(&read("memory.stat")?, "inactive_file ")?;
    Some(is_short(
        most,
        most.saturating_sub(used.saturating_sub(cached)),
    ))
}

fn machine_is_full() -> Option<bool> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let (all, left) = (
        field(&machine, "MemTotal:")?,
        field(&machine, "MemAvailable:")?,
    );
    let ours = field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")?;
    Some(is_short(all, left) && ours > all / 2)
}

fn is_short(all: u64, left: u64) -> bool {
    left < all / MEMORY_SHORT_PART
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let text = "MemTotal:       100 kB\nMemAvailable:    7 kB\n";
        assert_eq!(field(text, "MemTotal:"), Some(100));
        assert_eq!(field(text, "MemAvailable:"), Some(7));
        assert_eq!(field(text, "SwapTotal:"), None);
        for (all, left, short) in [(3_200, 99, true), (3_200, 100, false), (0, 0, false)] {
            assert_eq!(is_short(all, left), short, "{left} of {all}");
        }
    }
}
