//! The machine: which CPUs we may use, what processes cost it.
//!
//! Reads `/proc`; Linux only, as Postern is. CPU time is what the scheduler counted in
//! nanoseconds, memory is PSS, so that pages which several processes share count once.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Which process runs where: client and origin on one CPU, the proxy on another, so that neither
/// takes the other's time. With one CPU none is pinned.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Placement {
    /// The client's and the origin's CPU.
    pub client: Option<usize>,
    /// The proxy's CPU.
    pub proxy: Option<usize>,
}

impl Placement {
    /// The first two CPUs that this process may use.
    #[must_use]
    pub fn choose() -> Self {
        match allowed().as_slice() {
            [client, proxy, ..] => Self {
                client: Some(*client),
                proxy: Some(*proxy),
            },
            _ => Self {
                client: None,
                proxy: None,
            },
        }
    }
}

fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Runs `work` with this thread on `cpu`; what it starts (threads, processes) begins there too.
///
/// # Errors
/// The kernel does not allow it, or `work` fails.
pub fn on<T>(cpu: Option<usize>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpu) = cpu else { return work() };
    let before = sched_getaffinity(None).context("reading the CPU affinity")?;
    pin(cpu)?;
    let outcome = work();
    sched_setaffinity(None, &before).context("restoring the CPU affinity")?;
    outcome
}

/// Keeps this thread on `cpu`.
///
/// # Errors
/// The kernel does not allow it.
pub fn pin(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("pinning to CPU {cpu}"))
}

/// The least that a thread can matter (setpriority(2)).
const NICENESS_MAX: i32 = 19;

/// Lets everybody else on this thread's CPU go first.
///
/// # Errors
/// The kernel does not allow it.
pub fn give_way() -> Result<()> {
    // Of this thread alone, although it is named after processes (setpriority(2), "C library/kernel
    // differences").
    setpriority_process(None, NICENESS_MAX).context("lowering a thread's priority")
}

/// A process and its descendants. What ends in between is left out.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        next += 1;
        for task in tasks(*pid) {
            let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    all
}

fn tasks(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    let paths = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    paths
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// CPU time of a process and its descendants, all threads, since they began.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let total = family(pid)
        .into_iter()
        .flat_map(tasks)
        .filter_map(|task| nanoseconds(&task))
        .sum();
    Duration::from_nanos(total)
}

/// CPU time of those threads of a process whose name passes, since they began.
#[must_use]
pub fn cpu_time_of(pid: u32, wanted: impl Fn(&str) -> bool) -> Duration {
    let named = |task: &String| {
        let name = fs::read_to_string(format!("{task}/comm")).unwrap_or_default();
        wanted(name.trim())
    };
    let total = tasks(pid)
        .into_iter()
        .filter(named)
        .filter_map(|task| nanoseconds(&task))
        .sum();
    Duration::from_nanos(total)
}

fn nanoseconds(task: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("{task}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Proportional set size of a process and its descendants, in bytes.
///
/// # Errors
/// There is no such process, or the kernel does not say.
pub fn memory(pid: u32) -> Result<u64> {
    family(pid).into_iter().map(memory_of_one).sum()
}

fn memory_of_one(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes
        .map(|count| count * 1024)
        .with_context(|| format!("{path} has no `Pss:` line"))
}

/// Memory that processes may still take, in bytes.
///
/// # Errors
/// The kernel does not say.
pub fn available_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes
        .map(|count| count * 1024)
        .context("/proc/meminfo has no `MemAvailable:` line")
}

/// Raises the soft limit of open files to the hard one and says what it is now.
///
/// # Errors
/// The kernel does not allow it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// What the numbers were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The CPU, in its maker's words.
    pub cpu: String,
    /// CPUs that we may use.
    pub cpu_count: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Runnable processes over the last minute when the run began: above 1 other processes
    /// run, and wall-clock figures mean little.
    pub load_before: f64,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn describe() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let model = |text: &str| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let load = read("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok());
        Self {
            cpu: model(&read("/proc/cpuinfo")).unwrap_or_else(|| "unknown CPU".into()),
            cpu_count: count,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_costs_something() {
        let pid = std::process::id();
        assert!(cpu_time(pid) > Duration::ZERO);
        assert!(memory(pid).unwrap() > 100 * 1024);
        assert!(family(pid).contains(&pid));
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let message = memory(u32::MAX).unwrap_err().to_string();
        assert!(message.contains("smaps_rollup"), "{message}");
    }
}
