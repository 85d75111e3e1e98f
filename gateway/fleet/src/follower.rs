//! An edge that takes entry after entry, whatever becomes of etcd meanwhile.
//!
//! It reads what it has not got, then watches; when the watch ends, for whatever reason, it begins
//! again from what it has. What was trimmed before it came is taken as a snapshot. It stops only where going
//! on would be wrong, and says why. What an entry does is the taker's.
//!
//! Time is measured by the monotonic clock only: a clock that is set forward or back by an hour changes
//! nothing here. (Entries say when they were added by the clock of the edge that did.)

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{EventType, WatchFilterType, WatchOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Moment;
use crate::limits::{REQUEST_TIMEOUT, RETRY};
use crate::log::{Log, LogError, by_chance};
use crate::past::Past;
use crate::reading::another_than;
use crate::record::{Entry, Head};
use crate::snapshot::{Reading, SnapshotError, SnapshotHead};
use crate::watched::{Question, Told, Watched};

/// What becomes of an entry that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in force, and kept.
    Done,
    /// Nothing more is to come.
    Stop,
}

/// Takes entries. It is called on a thread where it may block.
pub trait Take: Send + 'static {
    /// Takes the entry that follows the last one. It may block as long as a change takes.
    ///
    /// # Errors
    /// It cannot be taken; the follower tries again later, and goes no further before it is.
    fn take(&mut self, entry: &Entry) -> Result<Taken, String>;

    /// Replaces everything by what the snapshot has. `parts` are its bytes in their order, cut anywhere;
    /// they end when all have come and are the ones that were written. After an error among them nothing of
    /// them may be kept.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn take_snapshot(
        &mut self,
        snapshot: &SnapshotHead,
        parts: &mut dyn Iterator<Item = Result<Bytes, String>>,
    ) -> Result<Taken, String>;
}

/// How an edge stands to its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has all that etcd had a moment ago, and is told of what comes.
    Current,
    /// There is more in etcd, which it reads.
    Behind {
        /// The last revision in etcd.
        head: u64,
    },
    /// etcd does not answer. What the edge has stays in force.
    Away {
        /// What went wrong.
        why: String,
    },
    /// It does not go on before a person decides, or puts right what is wrong.
    Stuck {
        /// What is wrong.
        reason: Stuck,
        /// The same in words.
        why: String,
    },
}

/// Why a follower does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The log in etcd is another than was followed: an old copy of it, most likely, or another fleet's. A
    /// person may accept it: who takes entries begins with what etcd has then, and another follower goes on from
    /// there.
    Another {
        /// Its last revision.
        found: u64,
        /// The last revision that was taken.
        known: u64,
    },
    /// What follows was removed, and no snapshot is newer than what the edge has.
    NoSnapshot,
    /// etcd has no fleet of this name.
    NoFleet,
    /// What is in etcd is not understood: damaged, or of a later version.
    Unreadable,
    /// The taker does not take it. It is tried again.
    Refused,
}

/// What is known of a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it has taken.
    pub known: Head,
    /// How it stands.
    pub state: State,
    /// The last revision that etcd was seen to have.
    pub head: Option<u64>,
    /// When etcd has answered last. Receivers are not woken for this alone.
    pub contact: Option<Instant>,
    /// Everything that was in the log then was taken: what is newer may not be. Receivers are not woken for this
    /// alone.
    pub whole: Option<Moment>,
}

/// An edge that follows.
pub struct Follower<T> {
    log: Log,
    known: Head,
    /// Away only while it takes something.
    taker: Option<T>,
    standing: watch::Sender<Standing>,
}

/// Where the log ends, and what was known when that was asked.
type Ends = (Head, Head);

/// Why the watch, or the reading before it, ended.
enum Ended {
    /// The taker wants no more.
    Stopped,
    /// Something failed that may be well again.
    Failed(String),
    /// Nothing that time mends.
    Stuck(Stuck, String),
    /// What follows was removed.
    Trimmed(String),
    /// The watch is to begin again from what is known.
    Again,
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        let why = error.to_string();
        match error {
            LogError::Engine(_)
            | LogError::Answer
            | LogError::Random(_)
            | LogError::Late
            | LogError::Ended(_)
            | LogError::Stopped => Self::Failed(why),
            LogError::None => Self::Stuck(Stuck::NoFleet, why),
            LogError::Record(_) => Self::Stuck(Stuck::Unreadable, why),
            LogError::Trimmed(_) => Self::Trimmed(why),
            LogError::Another { found, known } => Self::Stuck(Stuck::Another { found, known }, why),
        }
    }
}

/// Whether a log that ends with `head` may have what was in it before.
fn leads_to(head: &Head, before: &Head) -> bool {
    head.revision > before.revision || head == before
}

impl<T: Take> Follower<T> {
    /// Follows `log` from `known` on. What it has come to is told to who listens at the receiver.
    pub fn new(log: Log, known: Head, taker: T) -> (Self, watch::Receiver<Standing>) {
        let (standing, receiver) = watch::channel(Standing {
            known,
            state: State::Away {
                why: "etcd was not asked yet".into(),
            },
            head: None,
            contact: None,
            whole: None,
        });
        log.forget_appended();
        let follower = Self {
            log,
            known,
            taker: Some(taker),
            standing,
        };
        (follower, receiver)
    }

    /// Runs until the taker stops it. When it is dropped while it takes something, that is taken to its end.
    pub async fn run(mut self) {
        let mut pause = RETRY.0;
        loop {
            let before = self.known;
            let asked = self.log.asks();
            let mut ended = self.follow().await;
            if let Ended::Trimmed(why) = ended {
                ended = match self.take_snapshot(&why).await {
                    Ok(()) => Ended::Again,
                    Err(ended) => ended,
                };
            }
            // It had all that there was: what has ended is a watch, and another member may be asked at once.
            let was_current = self.standing.borrow().state == State::Current;
            if was_current || self.known != before {
                pause = RETRY.0;
            }
            match ended {
                Ended::Stopped => return,
                Ended::Again => {}
                Ended::Failed(why) | Ended::Trimmed(why) => {
                    self.tell(State::Away { why });
                    rest(&mut pause).await;
                    self.log.move_on_from(asked).await;
                }
                Ended::Stuck(reason, why) => {
                    self.tell(State::Stuck { reason, why });
                    // A person may put right what is in etcd.
                    pause = RETRY.1;
                    sleep(pause).await;
                }
            }
        }
    }

    fn tell(&self, state: State) {
        self.standing.send_if_modified(|last| {
            let is_new = last.known != self.known || last.state != state;
            last.known = self.known;
            last.state = state;
            is_new
        });
    }

    /// etcd has answered, and has this revision.
    fn heard(&self, head: Option<u64>) {
        self.standing.send_if_modified(|last| {
            last.contact = Some(Instant::now());
            let is_new = head.is_some_and(|head| last.head != Some(head));
            last.head = head.or(last.head);
            is_new
        });
    }

    /// Everything was taken that was in the log at this time.
    fn had_all(&self, at: Moment) {
        self.standing.send_if_modified(|last| {
            last.whole = last.whole.max(Some(at));
            false
        });
    }

    /// Reads what is there, then watches.
    async fn follow(&mut self) -> Ended {
        let seen = match self.catch_up().await {
            Ok(seen) => seen,
            Err(ended) => return ended,
        };
        self.tell(State::Current);
        // What is trimmed is nothing to tell of.
        let options = WatchOptions::new()
            .with_prefix()
            .with_filters([WatchFilterType::NoDelete])
            .with_start_revision(seen + 1);
        let entries = self.log.names().entries();
        let watched = match Watched::begin(&self.log, entries, options).await {
            Ok(watched) => watched,
            Err(error) => return error.into(),
        };
        match self.watch(watched).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    /// What the edge has, by the log or as the first to have it.
    fn has(&self) -> Head {
        let appended = self.log.appended();
        let newer = appended.filter(|head| head.revision > self.known.revision);
        newer.unwrap_or(self.known)
    }

    /// Takes all that is there, and answers etcd's own number of the moment when it was.
    async fn catch_up(&mut self) -> Result<i64, Ended> {
        loop {
            let (asked, has) = (Moment::now(), self.has());
            let page = self.log.after(&self.known).await?;
            if !leads_to(&page.head, &has) {
                return Err(another_than(&page.head, &has).into());
            }
            let head = page.head.revision;
            self.heard(Some(head));
            if head > self.known.revision {
                self.tell(State::Behind { head });
            }
            for entry in page.entries {
                self.take(entry).await?;
            }
            if self.known == page.head {
                self.had_all(asked);
                return Ok(page.seen);
            }
        }
    }

    async fn watch(&mut self, mut watched: Watched<Ends>) -> Result<Infallible, Ended> {
        // Where the log ended when that was asked, while the watch has not told of it yet.
        let mut awaited: Option<(Head, Moment)> = None;
        loop {
            let (log, has) = (&self.log, self.has());
            let ask = || -> Question<Ends> {
                let log = log.clone();
                Box::pin(async move { Ok((log.head().await?, has)) })
            };
            let told = match watched.next(ask).await? {
                Told::Events(told) => told,
                Told::Answer((head, before), asked) => {
                    self.heard(Some(head.revision));
                    let is_other = head.revision == self.known.revision && head != self.known;
                    // What the watch should have told since the last question, or another log: it is read.
                    if awaited.is_some() || is_other || !leads_to(&head, &before) {
                        return Err(Ended::Again);
                    }
                    if head.revision <= self.known.revision {
                        self.had_all(asked);
                    } else {
                        awaited = Some((head, asked));
                    }
                    continue;
                }
            };
            self.heard(None);
            for event in told.events() {
                let Some(stored) = event.kv() else { continue };
                if event.event_type() != EventType::Put {
                    continue;
                }
                match self.log.names().revision(stored.key()) {
                    Some(revision) if revision == self.known.revision + 1 => {}
                    Some(revision) if revision <= self.known.revision => continue,
                    _ => return Err(Ended::Again),
                }
                let key = String::from_utf8_lossy(stored.key()).into_owned();
                let entry = self.log.entry(&key, stored.value(), &self.known).await?;
                // Reading it anew tells what it is, if not what follows.
                let entry = entry.ok_or(Ended::Again)?;
                self.heard(Some(entry.head.revision));
                self.take(entry).await?;
                self.tell(State::Current);
                if let Some((head, asked)) = awaited
                    && head.revision == self.known.revision
                {
                    if head != self.known {
                        return Err(Ended::Again);
                    }
                    self.had_all(asked);
                    awaited = None;
                }
            }
        }
    }

    /// Has the taker do something on a thread where it may block.
    async fn with_taker<R: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> R {
        #[expect(clippy::expect_used, reason = "it is put back below")]
        let mut taker = self.taker.take().expect("it is not away");
        let done = spawn_blocking(move || {
            let done = act(&mut taker);
            (taker, done)
        });
        match done.await {
            Ok((taker, done)) => {
                self.taker = Some(taker);
                done
            }
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this with it.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }

    async fn take(&mut self, entry: Entry) -> Result<(), Ended> {
        if let Some(own) = self.log.appended()
            && own.revision == entry.head.revision
            && own != entry.head
        {
            return Err(another_than(&entry.head, &own).into());
        }
        let mut pause = RETRY.0;
        let entry = Arc::new(entry);
        loop {
            let given = entry.clone();
            let taken = self.with_taker(move |taker| taker.take(&given)).await;
            match taken {
                Ok(Taken::Done) => {
                    self.known = entry.head;
                    return Ok(());
                }
                Ok(Taken::Stop) => return Err(Ended::Stopped),
                Err(why) => {
                    let revision = entry.head.revision;
                    tracing::error!(revision, why, "a change of the fleet cannot be taken here");
                    let reason = Stuck::Refused;
                    self.tell(State::Stuck { reason, why });
                    rest(&mut pause).await;
                }
            }
        }
    }

    /// Takes the snapshot that is there, since what would be read is `missing`.
    async fn take_snapshot(&mut self, missing: &str) -> Result<(), Ended> {
        let has = self.has();
        leads_on(&self.log, has, missing).await?;
        let found = timeout(REQUEST_TIMEOUT, self.log.snapshot()).await;
        let found = found.unwrap_or(Err(LogError::Late))?;
        let leads_further = |found: &SnapshotHead| found.head.revision > has.revision;
        let Some(snapshot) = found.filter(leads_further) else {
            let why = format!("{missing}, and there is no snapshot to begin from");
            return Err(Ended::Stuck(Stuck::NoSnapshot, why));
        };
        self.heard(None);
        tracing::info!(
            revision = snapshot.head.revision,
            bytes = snapshot.bytes,
            "takes a snapshot of the fleet"
        );
        let (sender, mut receiver) = mpsc::channel(2);
        let mut reading = Reading::of(&self.log, &snapshot);
        let read = tokio::spawn(async move {
            loop {
                match reading.next().await {
                    Ok(Some(page)) => {
                        for part in page {
                            if sender.send(Some(Ok(part))).await.is_err() {
                                return Ok(false);
                            }
                        }
                    }
                    Ok(None) => return Ok(sender.send(None).await.is_ok()),
                    Err(error) => {
                        // Nobody listens when the taker has given up, which it says itself.
                        let _told = sender.send(Some(Err(error.to_string()))).await;
                        return Err(error);
                    }
                }
            }
        });
        let given = snapshot.clone();
        let taken = self
            .with_taker(move |taker| {
                let (mut is_whole, mut is_over) = (false, false);
                let mut parts = std::iter::from_fn(|| {
                    if is_over {
                        return None;
                    }
                    let part = match receiver.blocking_recv() {
                        Some(Some(part)) => Some(part),
                        Some(None) => {
                            is_whole = true;
                            None
                        }
                        None => Some(Err("the snapshot is no longer read".to_owned())),
                    };
                    is_over = !matches!(part, Some(Ok(_)));
                    part
                });
                let taken = taker.take_snapshot(&given, &mut parts);
                match taken {
                    Ok(Taken::Done) if !is_whole => Err("it was not read to its end".to_owned()),
                    taken => taken,
                }
            })
            .await;
        match (taken, read.await) {
            (Ok(Taken::Done), _) => {
                self.known = snapshot.head;
                Ok(())
            }
            (Ok(Taken::Stop), _) => Err(Ended::Stopped),
            (Err(_), Ok(Err(SnapshotError::Replaced))) => Err(Ended::Again),
            (Err(_), Ok(Err(SnapshotError::Log(error)))) => Err(error.into()),
            (Err(_), Ok(Err(error))) => Err(Ended::Stuck(Stuck::Unreadable, error.to_string())),
            (Err(why), _) => {
                let revision = snapshot.head.revision;
                tracing::error!(
                    revision,
                    why,
                    "a snapshot of the fleet cannot be taken here"
                );
                Err(Ended::Stuck(Stuck::Refused, why))
            }
        }
    }
}

/// Whether what is in etcd came after what was taken, although what is between them is `missing`.
async fn leads_on(log: &Log, known: Head, missing: &str) -> Result<(), Ended> {
    // A new edge has nothing that could be lost.
    if known == Head::NONE {
        return Ok(());
    }
    let found = timeout(REQUEST_TIMEOUT, log.past(&known)).await;
    let known = known.revision;
    let why = match found.unwrap_or(Err(LogError::Late))? {
        Past::Had => return Ok(()),
        Past::Other => "and had another one at the revision that this edge has".to_owned(),
        Past::Unknown => format!(
            "and nothing says any more what it had at {known}, where this edge is: whether its own state led to \
             etcd's cannot be told"
        ),
    };
    let head = timeout(REQUEST_TIMEOUT, log.head()).await;
    let found = head.unwrap_or(Err(LogError::Late))?.revision;
    Err(Ended::Stuck(
        Stuck::Another { found, known },
        format!("{missing}, {why}"),
    ))
}

/// Waits, longer each time. When etcd comes back, not all edges are there at the same moment.
pub(crate) async fn rest(pause: &mut Duration) {
    sleep(*pause / 2 + by_chance(*pause / 2)).await;
    *pause = (*pause * 2).min(RETRY.1);
}
