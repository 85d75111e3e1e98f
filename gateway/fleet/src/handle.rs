//! A fleet for threads that wait: every call answers within a bound that [`limits`](crate::limits) names.
//!
//! A thread of its own drives the connection. What a follower takes it takes on yet another one, so that it
//! may wait for a lock that somebody holds who waits for etcd here.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::engine::{Engine, EngineError, Settings};
use crate::follower::{Follower, Standing, Take};
use crate::founding::{FleetRecord, Founding};
use crate::leadership::{Candidate, Leadership, Mandate};
use crate::limits::{
    APPEND_TIMEOUT, EDGE_NAME_BYTES_MAX, NEWS_TIMEOUT, PART_TIMEOUT, QUESTION_TIMEOUT,
    READ_TIMEOUT, STOP_TIMEOUT, TRY_TIMEOUT, UPKEEP_TIMEOUT, VALUE_BYTES_MAX,
};
use crate::log::{AppendError, Log, LogError};
use crate::names::FleetName;
use crate::presence::{Announcement, Announcer, EdgeSeen, PresenceState};
use crate::reading::Page;
use crate::record::Head;
use crate::snapshot::{Reading, SnapshotError, SnapshotHead, Writing};
use crate::upkeep::{Due, Maintained, Upkeep};

/// Why a fleet is not begun with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// etcd cannot be reached as it was said.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No edge can be called so.
    #[error(
        "`{0}` cannot be the name of an edge: letters, digits, dots, hyphens and underscores, 1 to \
         {EDGE_NAME_BYTES_MAX} of them"
    )]
    Edge(String),
    /// There is no thread for it.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A fleet, as an edge has it.
pub struct Fleet {
    log: Log,
    shared: Arc<Runs>,
    thread: Mutex<Option<Thread>>,
}

/// The thread that drives everything.
struct Thread {
    stop: oneshot::Sender<()>,
    /// Closed when it has ended.
    ended: mpsc::Receiver<()>,
    join: JoinHandle<()>,
}

/// Runs what is asked.
struct Runs {
    handle: Handle,
}

impl Runs {
    /// Has something done, and waits for it; a little longer than it may take.
    fn call<T: Send + 'static>(
        &self,
        bound: Duration,
        act: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LogError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let running = self.handle.spawn(async move {
            let done = timeout(bound, act).await.map_err(|_late| LogError::Late);
            // Nobody waits any more when the thread was too slow to look.
            let _nobody_waits = sender.send(done);
        });
        match receiver.recv_timeout(bound + TRY_TIMEOUT) {
            Ok(done) => done,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                running.abort();
                Err(LogError::Late)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(LogError::Stopped),
        }
    }
}

impl Fleet {
    /// A fleet, for the edge of this name. Asks nobody yet: etcd need not be there.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: Settings, name: &FleetName, edge: &str) -> Result<Self, StartError> {
        let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=EDGE_NAME_BYTES_MAX).contains(&edge.len()) || !edge.bytes().all(is_of_it) {
            let shown = edge.chars().take(2 * EDGE_NAME_BYTES_MAX).collect();
            return Err(StartError::Edge(shown));
        }
        let log = Log::open(Engine::new(settings)?, name, edge);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("fleet".into());
        let join = thread.spawn(move || {
            drive(runtime, stopped);
            drop(ending);
        })?;
        let thread = Thread { stop, ended, join };
        Ok(Self {
            log,
            shared: Arc::new(Runs { handle }),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Asks until there is an answer, within [`QUESTION_TIMEOUT`].
    fn ask<T: Send + 'static, F>(
        &self,
        ask: impl Fn(Log) -> F + Send + Sync + 'static,
    ) -> Result<T, LogError>
    where
        F: Future<Output = Result<T, LogError>> + Send + 'static,
    {
        let log = self.log.clone();
        let end = Instant::now() + QUESTION_TIMEOUT;
        let asked = async move { log.until(end, ask).await };
        // And a moment, so that what went wrong last is said, and not only that it took too long.
        self.shared.call(QUESTION_TIMEOUT + TRY_TIMEOUT, asked)?
    }

    /// What the fleet is; nothing when there is none of this name.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn record(&self) -> Result<Option<FleetRecord>, LogError> {
        self.ask(|log| async move { log.record().await })
    }

    /// See [`Log::remove_fleet`].
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn remove_fleet<W: Send + 'static>(
        &self,
        why_not: impl Fn(&FleetRecord, Option<&Head>) -> Option<W> + Send + Sync + 'static,
    ) -> Result<Option<W>, LogError> {
        let why_not = Arc::new(why_not);
        self.ask(move |log| {
            let why_not = why_not.clone();
            async move { log.remove_fleet(&*why_not).await }
        })
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn head(&self) -> Result<Head, LogError> {
        self.ask(|log| async move { log.head().await })
    }

    /// The entries behind `known`, as many as are read at once, within [`NEWS_TIMEOUT`]. None when there are none.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn after(&self, known: &Head) -> Result<Page, LogError> {
        self.after_within(NEWS_TIMEOUT, *known)
    }

    /// The same within [`READ_TIMEOUT`]: for who holds up nobody, however slow the link is.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn read_after(&self, known: &Head) -> Result<Page, LogError> {
        self.after_within(READ_TIMEOUT, *known)
    }

    fn after_within(&self, bound: Duration, known: Head) -> Result<Page, LogError> {
        let log = self.log.clone();
        let end = Instant::now() + QUESTION_TIMEOUT;
        let read = async move { log.after_until(end, known).await };
        self.shared.call(bound, read)?
    }

    /// Adds an entry behind `head`, and answers the new head: within [`APPEND_TIMEOUT`]; a large one within twice
    /// that and [`PART_TIMEOUT`] for each of its parts, and sooner when etcd falls silent: see [`Log::append`].
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, head: &Head, bytes: Bytes) -> Result<Head, AppendError> {
        let (log, head) = (self.log.clone(), *head);
        let parts = u32::try_from(bytes.len() / VALUE_BYTES_MAX).unwrap_or(u32::MAX);
        let of_parts = match parts {
            0 => Duration::ZERO,
            _ => APPEND_TIMEOUT + PART_TIMEOUT * (parts + 1),
        };
        // And a moment, so that its own answer comes first.
        let bound = APPEND_TIMEOUT + of_parts + TRY_TIMEOUT;
        let added = self
            .shared
            .call(bound, async move { log.append(&head, &bytes).await });
        // Late: it may have been done all the same.
        added.unwrap_or_else(|error| Err(AppendError::Unknown(error)))
    }

    /// Asks the others to let this edge go first with its next change, for [`crate::limits::TURN_TTL_SEC`].
    /// Nobody waits for that.
    pub fn take_turn(&self) {
        self.say(|log| async move { log.take_turn().await });
    }

    /// The others need wait no longer. Nobody waits for that, either.
    pub fn end_turn(&self) {
        self.say(|log| async move { log.end_turn().await });
    }

    fn say<F>(&self, say: impl FnOnce(Log) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), LogError>> + Send,
    {
        let log = self.log.clone();
        drop(self.shared.handle.spawn(async move {
            let said = timeout(TRY_TIMEOUT, say(log)).await;
            if let Err(error) = said.unwrap_or(Err(LogError::Late)) {
                tracing::debug!(%error, "whose turn it is cannot be said");
            }
        }));
    }

    /// Founds the fleet with a state of `parts` at `head`: snapshot, record and head are there at once.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn found(
        &self,
        head: &Head,
        founding: &Founding,
        parts: impl IntoIterator<Item = Result<Bytes, String>>,
    ) -> Result<(), SnapshotError> {
        let writing = self.write(head, parts)?;
        let founding = founding.clone();
        self.shared.call(2 * QUESTION_TIMEOUT, async move {
            writing.found(&founding).await
        })?
    }

    /// Writes a snapshot of the state at `head`, whose `parts` are made by this thread while they are
    /// written.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn put_snapshot(
        &self,
        head: &Head,
        parts: impl IntoIterator<Item = Result<Bytes, String>>,
    ) -> Result<SnapshotHead, SnapshotError> {
        let writing = self.write(head, parts)?;
        self.shared.call(2 * QUESTION_TIMEOUT, writing.finish())?
    }

    fn write(
        &self,
        head: &Head,
        parts: impl IntoIterator<Item = Result<Bytes, String>>,
    ) -> Result<Writing, SnapshotError> {
        let (log, head) = (self.log.clone(), *head);
        let begin = async move { log.write_snapshot(&head).await };
        let mut writing = self.shared.call(2 * QUESTION_TIMEOUT, begin)??;
        for part in parts {
            let part = match part {
                Ok(part) => part,
                Err(why) => {
                    let forget = async move { writing.forget().await };
                    // If that fails, the next sweep finds it.
                    let _swept_later = self.shared.call(QUESTION_TIMEOUT, forget);
                    return Err(SnapshotError::Caller(why));
                }
            };
            let parts = u32::try_from(part.len() / VALUE_BYTES_MAX).unwrap_or(u32::MAX);
            let bound = QUESTION_TIMEOUT + PART_TIMEOUT * parts;
            let add = async move { writing.add(&part).await.map(|()| writing) };
            writing = self.shared.call(bound, add)??;
        }
        Ok(writing)
    }

    /// The snapshot that there is.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn snapshot(&self) -> Result<Option<SnapshotHead>, LogError> {
        self.ask(|log| async move { log.snapshot().await })
    }

    /// Reads a snapshot, part after part, on this thread. What `each` was given is to be believed only when
    /// this is well.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn read_snapshot(
        &self,
        head: &SnapshotHead,
        mut each: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<(), SnapshotError> {
        let mut reading = Reading::of(&self.log, head);
        loop {
            let next = async move { reading.next().await.map(|page| (page, reading)) };
            let (page, again) = self.shared.call(2 * QUESTION_TIMEOUT, next)??;
            let Some(page) = page else { return Ok(()) };
            for part in page {
                each(part).map_err(SnapshotError::Caller)?;
            }
            reading = again;
        }
    }

    /// All edges that have joined and not left, in the order of their names.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn edges(&self) -> Result<Vec<EdgeSeen>, LogError> {
        self.ask(|log| async move { log.edges().await })
    }

    /// Removes what an edge that no longer lives has said. False when it lives, or never was there.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn remove_edge(&self, name: &str) -> Result<bool, LogError> {
        let name: Arc<str> = name.into();
        self.ask(move |log| {
            let name = name.clone();
            async move { log.remove_edge(&name).await }
        })
    }

    /// Follows the log from `known` on.
    pub fn follow(&self, known: Head, taker: impl Take) -> Following {
        let (follower, standing) = Follower::new(self.log.clone(), known, taker);
        let task = self.shared.handle.spawn(follower.run());
        Following {
            standing,
            task: task.abort_handle(),
        }
    }

    /// Leads whenever nobody else does, from now on.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn lead(&self) -> Result<Candidacy, LogError> {
        let (candidate, mandate) = Candidate::new(self.log.clone())?;
        let ended = self.run(candidate.run());
        Ok(Candidacy { mandate, ended })
    }

    /// Says that the edge `id` lives, and what it says of itself.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn announce(&self, id: &str, value: Value) -> Result<Presence, LogError> {
        let (announcer, announcement) = Announcer::new(self.log.clone(), id, value)?;
        let ended = self.run(announcer.run());
        Ok(Presence {
            announcement,
            ended,
        })
    }

    /// Runs something; the receiver is closed when it has ended.
    fn run(&self, act: impl Future<Output = ()> + Send + 'static) -> Ended {
        let (ending, ended) = mpsc::channel();
        self.shared.handle.spawn(async move {
            let _until_then = ending;
            act.await;
        });
        Ended(Mutex::new(ended))
    }

    /// Whether there is to be another snapshot: for the leader, before [`Self::maintain`].
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn due(&self, upkeep: &mut Upkeep) -> Result<Due, LogError> {
        let log = self.log.clone();
        let mut own = std::mem::take(upkeep);
        let due = self.shared.call(UPKEEP_TIMEOUT, async move {
            let due = log.due(&mut own).await;
            (own, due)
        });
        let (own, due) = due?;
        *upkeep = own;
        due
    }

    /// What the leader does from time to time: a snapshot if the log has become long, of the `state` that is
    /// asked for then; the log trimmed to `keep` entries before it; leftovers removed.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn maintain<P: IntoIterator<Item = Result<Bytes, String>>>(
        &self,
        upkeep: &mut Upkeep,
        keep: u64,
        state: impl FnOnce() -> Result<(Head, P), String>,
    ) -> Result<Maintained, SnapshotError> {
        let mut written = None;
        if self.due(upkeep)?.snapshot {
            let (head, parts) = state().map_err(SnapshotError::Caller)?;
            match self.put_snapshot(&head, parts) {
                Ok(snapshot) => written = Some(snapshot),
                // Another edge was faster.
                Err(SnapshotError::Older(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let log = self.log.clone();
        let mut own = std::mem::take(upkeep);
        let (own, done) = self.shared.call(UPKEEP_TIMEOUT, async move {
            let done = log.tidy(&mut own, keep).await;
            (own, done)
        })?;
        *upkeep = own;
        Ok(Maintained {
            snapshot: written,
            ..done?
        })
    }

    /// Ends the thread, within [`STOP_TIMEOUT`]. Whatever was asked and is not done answers
    /// [`LogError::Stopped`]. What is to end well (a leader, a presence) is to be dropped before.
    pub fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Thread { stop, ended, join }) = thread else {
            return;
        };
        drop(stop);
        if let Err(mpsc::RecvTimeoutError::Disconnected) = ended.recv_timeout(STOP_TIMEOUT) {
            // It has nothing more to do.
            let _panicked = join.join();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Drives everything until it is told to stop.
fn drive(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    // Told, or nobody is left who could tell.
    let _told = runtime.block_on(stopped);
    // What a follower takes at this moment it takes to its end.
    runtime.shutdown_background();
}

/// Closed when something has ended.
struct Ended(Mutex<mpsc::Receiver<()>>);

impl Ended {
    fn wait(&self) {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed, or late: the lease ends by itself.
        let _either = ended.recv_timeout(STOP_TIMEOUT);
    }
}

/// An edge that follows. It stops when this is dropped.
pub struct Following {
    standing: watch::Receiver<Standing>,
    task: AbortHandle,
}

impl Following {
    /// How it stands now.
    #[must_use]
    pub fn now(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Tells of every change.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An edge that leads when nobody else does. It resigns when this is dropped, within [`STOP_TIMEOUT`].
pub struct Candidacy {
    mandate: Mandate,
    ended: Ended,
}

impl Candidacy {
    /// Tells of every change.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.mandate.leadership()
    }

    /// Whether this edge leads at this very moment, by its clock.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.mandate.is_leading()
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        self.mandate.resign();
        self.ended.wait();
    }
}

/// An edge that the others see. When this is dropped it no longer lives, within [`STOP_TIMEOUT`].
pub struct Presence {
    announcement: Announcement,
    ended: Ended,
}

impl Presence {
    /// Says this from now on.
    pub fn say(&self, value: Value) {
        self.announcement.say(value);
    }

    /// Tells of every change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<PresenceState> {
        self.announcement.state()
    }

    /// The edge leaves the fleet: nothing stays of what it said.
    pub fn leave(self) {
        self.announcement.leave();
        self.ended.wait();
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.announcement.end();
        self.ended.wait();
    }
}
