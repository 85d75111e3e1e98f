//! What taking a change costs, stage by stage: CPU time of the thread between the begin and the end of the
//! control plane's spans.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Metadata, Subscriber};

/// The spans, in the order in which they come, by their names.
pub(super) const STAGES: [&str; 5] = ["open", "replay", "compile", "store", "publish"];
/// Who has them.
const TARGET: &str = "control::change::member";

/// CPU time of each stage, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Spent {
    /// Of [`STAGES`], in their order.
    pub(super) stages: [u64; STAGES.len()],
    /// Of the whole, with what is between the stages.
    pub(super) all: u64,
}

static SPENT: [AtomicU64; STAGES.len() + 1] = [const { AtomicU64::new(0) }; STAGES.len() + 1];

thread_local! {
    /// When the stages began that this thread is in.
    static BEGUN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// CPU time of this thread, in nanoseconds.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

fn add(index: usize, nanoseconds: u64) {
    if let Some(spent) = SPENT.get(index) {
        spent.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// Runs all of it, and counts it.
pub(super) fn counted<T>(work: impl FnOnce() -> T) -> T {
    let begun = cpu();
    let done = work();
    add(STAGES.len(), cpu().saturating_sub(begun));
    done
}

/// What was spent until now.
pub(super) fn spent() -> Spent {
    let load = |index: usize| SPENT.get(index).map(|spent| spent.load(Ordering::Relaxed));
    Spent {
        stages: std::array::from_fn(|index| load(index).unwrap_or_default()),
        all: load(STAGES.len()).unwrap_or_default(),
    }
}

/// Counts from now on.
pub(super) fn count() {
    // The process has none yet.
    let _first = set_global_default(Counter);
}

/// Hears of the spans. The id of one says which stage it is.
struct Counter;

fn stage(metadata: &Metadata<'_>) -> Option<usize> {
    let is_named = |name: &&str| *name == metadata.name();
    (metadata.is_span() && metadata.target() == TARGET)
        .then(|| STAGES.iter().position(is_named))
        .flatten()
}

impl Subscriber for Counter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match stage(metadata) {
            Some(_) => Interest::always(),
            None => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        stage(metadata).is_some()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let index = stage(span.metadata()).unwrap_or(STAGES.len());
        Id::from_u64(u64::try_from(index).unwrap_or_default() + 1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, _span: &Id) {
        BEGUN.with_borrow_mut(|begun| begun.push(cpu()));
    }

    fn exit(&self, span: &Id) {
        let begun = BEGUN.with_borrow_mut(Vec::pop);
        let index = usize::try_from(span.into_u64() - 1).unwrap_or(usize::MAX);
        if let Some(begun) = begun
            && index < STAGES.len()
        {
            add(index, cpu().saturating_sub(begun));
        }
    }
}
