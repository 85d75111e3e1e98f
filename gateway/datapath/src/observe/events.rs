//! Recent events: what a person who looks at the gateway wants to see of it as it happens.
//!
//! Owns a bounded queue for each worker ([`Events`]) and the decision which events go into it
//! ([`Recorder`]). An event is the line that the access log has of it, whether that is on or not. A
//! worker never waits: of more events than [`limits::EVENTS_PER_SECOND`] of a kind a sample is taken,
//! which says how many it stands for, and what finds the queue full is counted as lost. Reads no
//! clock: records have their time. Does not keep events for longer than the control side takes to
//! fetch them (`admin` does).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::line::{self, Line};
use super::record::{CertificateRecord, ConnectionRecord, HandshakeRecord, RequestRecord};
use crate::clock;
use crate::limits;
use config::LogFields;

vocabulary::words! {
    /// What happened.
    pub enum EventKind("a kind of event", without serde) {
        /// A handshake was refused.
        Handshake = "handshake",
        /// A client certificate on an established connection was no good.
        Certificate = "certificate",
        /// A connection was ended for what its client did.
        Connection = "connection",
        /// A rule or a rate limit turned a request away.
        Blocked = "blocked",
        /// A rule that only logs matched a request.
        Logged = "logged",
        /// The gateway could not do what a request asked for.
        Failed = "failed",
        /// A request like most.
        Passed = "passed",
    }
}

const KINDS: usize = EventKind::ALL.len();

/// One event that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// How many events of its kind on its worker it stands for, itself included.
    pub stands_for: u64,
    /// Who it was about.
    pub client: SocketAddr,
    /// The configured host; empty when none was known.
    pub host: Box<str>,
    /// The zone that it is in, by name.
    pub zone: Box<str>,
    /// The line of the access log, with its end.
    pub line: Vec<u8>,
}

/// How many events there were of each kind, in the order of [`EventKind::ALL`], and what became of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// All that happened.
    pub seen: [u64; KINDS],
    /// Of these, those that a place in the queue was taken for.
    pub kept: [u64; KINDS],
    /// Of these, those that were lost: the queue was full, or the event too long.
    pub lost: u64,
}

/// One worker's half that others read. Only the worker writes the counters.
struct Ring {
    queue: ArrayQueue<Event>,
    seen: [AtomicU64; KINDS],
    kept: [AtomicU64; KINDS],
    lost: AtomicU64,
}

/// The queues of all workers.
pub struct Events {
    rings: Box<[CachePadded<Ring>]>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("workers", &self.rings.len())
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Empty queues for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        let ring = || Ring {
            queue: ArrayQueue::new(limits::EVENT_QUEUE),
            seen: Default::default(),
            kept: Default::default(),
            lost: AtomicU64::new(0),
        };
        let rings = (0..workers).map(|_| CachePadded::new(ring())).collect();
        Arc::new(Self { rings })
    }

    /// Takes what has been kept since the last call. What workers add meanwhile is for the next.
    pub fn take(&self, mut each: impl FnMut(Event)) {
        for ring in &self.rings {
            for _ in 0..ring.queue.len() {
                let Some(event) = ring.queue.pop() else { break };
                each(event);
            }
        }
    }

    /// What was counted since the start, of all workers.
    #[must_use]
    pub fn counts(&self) -> EventCounts {
        let mut sum = EventCounts::default();
        for ring in &self.rings {
            for (sum, one) in sum.seen.iter_mut().zip(&ring.seen) {
                *sum += one.load(Ordering::Relaxed);
            }
            for (sum, one) in sum.kept.iter_mut().zip(&ring.kept) {
                *sum += one.load(Ordering::Relaxed);
            }
            sum.lost += ring.lost.load(Ordering::Relaxed);
        }
        sum
    }
}

/// How many events of one kind a worker may still keep.
#[derive(Debug, Clone, Default)]
struct Budget {
    /// The window that `left` is of, counted from the epoch.
    window: i64,
    left: u32,
    /// What one host may take of this window: a flood on it does not hide the others.
    of_host: u32,
    /// What each host has taken in this window. A host is known by where its name is in memory,
    /// which a new snapshot may change, and a window is short.
    taken: Vec<(usize, u32)>,
    /// Events since the last that was kept.
    skipped: u64,
}

impl Budget {
    /// Whether an event may be kept, and how many it stands for.
    fn take(&mut self, host: &str, now_msec: i64, share: u32) -> Option<u64> {
        let window = now_msec.div_euclid(limits::EVENT_WINDOW_MSEC);
        if window != self.window {
            // A clock that was set back gives one window's worth, as any other change does.
            let passed = u32::try_from(window.saturating_sub(self.window)).unwrap_or(1);
            let most = share.saturating_mul(limits::EVENT_WINDOWS_SAVED);
            self.left = self
                .left
                .saturating_add(share.saturating_mul(passed.max(1)))
                .min(most);
            self.of_host = self.left.div_ceil(2);
            self.window = window;
            self.taken.clear();
        }
        let kept = self.left > 0 && self.take_of_host(host);
        if !kept {
            self.skipped += 1;
            return None;
        }
        self.left -= 1;
        Some(1 + std::mem::take(&mut self.skipped))
    }

    fn take_of_host(&mut self, host: &str) -> bool {
        let key = host.as_ptr().addr();
        match self.taken.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) if *count >= self.of_host => false,
            Some((_, count)) => {
                *count += 1;
                true
            }
            None => {
                self.taken.push((key, 1));
                true
            }
        }
    }
}

/// The worker's half: decides which events are kept, and puts them into the queue.
pub struct Recorder {
    events: Arc<Events>,
    worker: usize,
    /// Events of a kind in a window of this worker.
    share: u32,
    budgets: RefCell<[Budget; KINDS]>,
}

/// Permission to keep one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Wanted {
    kind: EventKind,
    stands_for: u64,
}

impl Recorder {
    /// The half of worker `worker`, counted from 0.
    #[must_use]
    pub fn new(events: Arc<Events>, worker: usize) -> Self {
        let workers = u32::try_from(events.rings.len()).unwrap_or(u32::MAX).max(1);
        let windows = u32::try_from(1_000 / limits::EVENT_WINDOW_MSEC).unwrap_or(1);
        Self {
            share: (limits::EVENTS_PER_SECOND / windows / workers).max(1),
            events,
            worker,
            budgets: RefCell::default(),
        }
    }

    /// Counts an event, and says whether it is to be kept: what is not costs no more than this.
    pub fn wants(&self, kind: EventKind, host: &str, time: SystemTime) -> Option<Wanted> {
        let ring = self.events.rings.get(self.worker)?;
        add_one(ring.seen.get(kind as usize)?);
        let mut budgets = self.budgets.borrow_mut();
        let budget = budgets.get_mut(kind as usize)?;
        let stands_for = budget.take(host, clock::msec(time), self.share)?;
        Some(Wanted { kind, stands_for })
    }

    /// Keeps a handshake that was refused, if it is wanted.
    pub fn handshake(&self, record: &HandshakeRecord<'_>) {
        if let Some(wanted) = self.wants(EventKind::Handshake, record.host, record.time) {
            let whose = (record.client, record.host, record.zone);
            self.keep(wanted, whose, |line| record.write(line));
        }
    }

    /// Keeps a certificate that was no good, if it is wanted.
    pub fn certificate(&self, record: &CertificateRecord<'_>) {
        if let Some(wanted) = self.wants(EventKind::Certificate, record.host, record.time) {
            let whose = (record.client, record.host, record.zone);
            self.keep(wanted, whose, |line| record.write(line));
        }
    }

    /// Keeps a connection that was ended, if it is wanted.
    pub fn connection(&self, record: &ConnectionRecord<'_>) {
        if let Some(wanted) = self.wants(EventKind::Connection, record.host, record.time) {
            let whose = (record.client, record.host, record.zone);
            self.keep(wanted, whose, |line| record.write(line));
        }
    }

    /// Keeps a request.
    pub fn request(&self, wanted: Wanted, record: &RequestRecord<'_>) {
        let whose = (record.client, record.host, record.zone);
        self.keep(wanted, whose, |line| record.write(line));
    }

    fn keep(
        &self,
        wanted: Wanted,
        (client, host, zone): (SocketAddr, &str, &str),
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        let Some(ring) = self.events.rings.get(self.worker) else {
            return;
        };
        let mut line = Vec::with_capacity(1_024);
        // Whatever of it the log has.
        line::write(&mut line, LogFields::ALL, 1, fill);
        let Wanted { kind, stands_for } = wanted;
        if let Some(kept) = ring.kept.get(kind as usize) {
            add_one(kept);
        }
        let event = Event {
            kind,
            stands_for,
            client,
            host: host.into(),
            zone: zone.into(),
            line,
        };
        if event.line.len() > limits::EVENT_BYTES_MAX || ring.queue.push(event).is_err() {
            add_one(&ring.lost);
        }
    }
}

/// Adds one to a counter that no other thread writes.
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::request;
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};
    use vocabulary::client_auth::ClientAuth;

    fn at(msec: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + msec)
    }

    fn note(recorder: &Recorder, host: &str, msec: u64) -> bool {
        let wanted = recorder.wants(EventKind::Blocked, host, at(msec));
        if let Some(wanted) = wanted {
            recorder.request(wanted, &request("/", &ClientAuth::none()));
        }
        wanted.is_some()
    }

    #[test]
    fn few_events_are_all_kept_and_many_are_sampled() {
        let events = Events::new(1);
        let recorder = Recorder::new(events.clone(), 0);
        // Ten a second, of two hosts.
        for turn in 0..100 {
            assert!(note(&recorder, ["a", "b"][turn % 2], turn as u64 * 100));
            events.take(|_| {});
        }
        // A hundred thousand in ten seconds.
        let mut stand_for = 0;
        let mut kept: u64 = 0;
        for turn in 0..100_000 {
            note(&recorder, ["a", "b"][turn % 2], 20_000 + turn as u64 / 10);
            events.take(|event| {
                stand_for += event.stands_for;
                kept += 1;
            });
        }
        let most = u64::from(limits::EVENTS_PER_SECOND);
        assert!((most * 5..=most * 12).contains(&kept), "{kept}");
        let skipped = recorder.budgets.borrow()[EventKind::Blocked as usize].skipped;
        assert_eq!(stand_for + skipped, 100_000, "each is counted once");
        let counts = events.counts();
        assert_eq!(counts.seen[EventKind::Blocked as usize], 100_100);
        assert_eq!(counts.kept[EventKind::Blocked as usize], kept + 100);
        assert_eq!(counts.lost, 0);
    }

    #[test]
    fn a_flood_hides_neither_another_host_nor_another_kind() {
        let events = Events::new(4);
        let recorder = Recorder::new(events.clone(), 3);
        for _ in 0..10_000 {
            note(&recorder, "flooded", 0);
        }
        assert!(note(&recorder, "other", 0));
        let certificate = recorder.wants(EventKind::Certificate, "flooded", at(0));
        assert_eq!(certificate.map(|wanted| wanted.stands_for), Some(1));
    }

    #[test]
    fn a_full_queue_loses_and_counts() {
        let events = Events::new(1);
        let recorder = Recorder::new(events.clone(), 0);
        let mut wanted = 0;
        for turn in 0..100_000 {
            // Hours pass between them, and nobody looks.
            wanted += u64::from(note(&recorder, "a", turn * 3_600_000));
        }
        let mut had = 0;
        events.take(|_| had += 1);
        assert_eq!(had, limits::EVENT_QUEUE as u64);
        assert_eq!(events.counts().lost, wanted - had);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_nothing() {
        let recorder = Recorder::new(Events::new(1), 0);
        for hour in (0..100).rev() {
            assert!(note(&recorder, "a", hour * 3_600_000), "{hour}");
        }
    }

    #[test]
    fn a_worker_without_a_queue_keeps_nothing() {
        let recorder = Recorder::new(Events::new(1), 7);
        assert!(!note(&recorder, "a", 0));
    }
}
