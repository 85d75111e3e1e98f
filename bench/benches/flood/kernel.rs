//! What the kernel says of its own work: time in softirqs, time in our programs, frames of an
//! interface.

use std::fs;
use std::time::Duration;

use bench::machine::cpu_time;

/// Hundredths of a second are what `/proc/stat` counts in, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Softirq time of all CPUs since boot, sampled by the timer's tick; other programs' network
/// traffic is in it.
pub(crate) fn softirq() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default();
    let count = all
        .split_whitespace()
        .nth(7)
        .and_then(|text| text.parse().ok());
    TICK * count.unwrap_or(0)
}

/// CPU time of the threads that softirqs are put off to.
pub(crate) fn softirq_threads() -> Duration {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.starts_with("ksoftirqd/"))
    };
    pids.filter(ours).map(cpu_time).sum()
}

/// Runs and time of the frame program that a process has loaded, since it did
/// (`kernel.bpf_stats_enabled`).
pub(crate) fn program(pid: u32) -> (u64, Duration) {
    /// `BPF_PROG_TYPE_XDP`.
    const XDP: u64 = 6;
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten();
    let mut most = (0, Duration::ZERO);
    for entry in entries {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let number = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|text| text.trim().parse::<u64>().ok())
        };
        // Several descriptors may be of the same program.
        if number("prog_type") == Some(XDP) {
            let count = number("run_cnt").unwrap_or(0);
            let time = Duration::from_nanos(number("run_time_ns").unwrap_or(0));
            most = most.max((count, time));
        }
    }
    most
}

/// Frames that an interface of this thread's network namespace has received.
pub(crate) fn received(interface: &str) -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    packets.unwrap_or(0)
}
