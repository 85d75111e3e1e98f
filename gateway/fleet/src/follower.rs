//! An edge that takes entry after entry, whatever becomes of etcd meanwhile.
//!
//! It reads what it has not got, then watches; when the watch ends, for whatever reason, it begins
//! again from what it has. It stops only where going on would be wrong, and says why. What an entry does is
//! the taker's.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::limits::{REQUEST_TIMEOUT, RETRY};
use crate::log::{Log, LogError};
use crate::record::{Entry, Head};

/// What becomes of an entry that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in force, and kept.
    Done,
    /// Nothing more is to come.
    Stop,
}

/// Takes entries.
pub trait Take {
    /// Takes the entry that follows the last one. It may block as long as a change takes.
    ///
    /// # Errors
    /// It cannot be taken; the follower tries again later, and goes no further before it is.
    fn take(&mut self, entry: &Entry) -> Result<Taken, String>;
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
    /// It does not go on before a person decides.
    Stuck {
        /// What is wrong.
        why: String,
    },
}

/// An edge that follows.
pub struct Follower<T> {
    log: Log,
    known: Head,
    taker: T,
    state: watch::Sender<(Head, State)>,
}

/// Why the watch, or the reading before it, ended.
enum Ended {
    /// The taker wants no more.
    Stopped,
    /// Something failed that may be well again.
    Failed(String),
    /// Nothing that time mends.
    Stuck(String),
    /// The watch is to begin again from what is known.
    Again,
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Engine(_) | LogError::Answer | LogError::Random(_) => {
                Self::Failed(error.to_string())
            }
            LogError::None
            | LogError::Record(_)
            | LogError::Trimmed(_)
            | LogError::Another { .. } => Self::Stuck(error.to_string()),
        }
    }
}

impl<T: Take> Follower<T> {
    /// Follows `log` from `known` on. What it has come to is told to who listens at the receiver.
    pub fn new(log: Log, known: Head, taker: T) -> (Self, watch::Receiver<(Head, State)>) {
        let away = State::Away {
            why: "etcd was not asked yet".into(),
        };
        let (state, receiver) = watch::channel((known, away));
        let follower = Self {
            log,
            known,
            taker,
            state,
        };
        (follower, receiver)
    }

    /// Runs until the taker stops it.
    pub async fn run(mut self) {
        let mut pause = RETRY.0;
        loop {
            let before = self.known;
            match self.follow().await {
                Ended::Stopped => return,
                Ended::Again => {}
                Ended::Failed(why) => {
                    self.tell(State::Away { why });
                    if self.known != before {
                        pause = RETRY.0;
                    }
                    rest(&mut pause).await;
                    // When that fails, too, the next round says so.
                    let _same_member = self.log.move_on().await;
                }
                Ended::Stuck(why) => {
                    self.tell(State::Stuck { why });
                    // A person may put right what is in etcd.
                    pause = RETRY.1;
                    rest(&mut pause).await;
                }
            }
        }
    }

    fn tell(&self, state: State) {
        let next = (self.known, state);
        self.state.send_if_modified(|last| {
            let is_new = *last != next;
            if is_new {
                *last = next;
            }
            is_new
        });
    }

    /// Reads what is there, then watches.
    async fn follow(&mut self) -> Ended {
        let seen = match self.catch_up().await {
            Ok(seen) => seen,
            Err(ended) => return ended,
        };
        self.tell(State::Current);
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(seen + 1);
        let mut watcher = self.log.watcher();
        let begun = watcher.watch(self.log.names().entries(), Some(options));
        let stream = match timeout(REQUEST_TIMEOUT, begun).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Ended::Failed(error.to_string()),
            Err(_late) => return Ended::Failed("etcd does not begin to watch".into()),
        };
        match self.watch(stream).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    /// Takes all that is there, and answers etcd's own number of the moment when it was.
    async fn catch_up(&mut self) -> Result<i64, Ended> {
        loop {
            let page = self.log.after(&self.known).await?;
            if page.head.revision > self.known.revision {
                let head = page.head.revision;
                self.tell(State::Behind { head });
            }
            for entry in &page.entries {
                self.take(entry).await?;
            }
            if self.known == page.head {
                return Ok(page.seen);
            }
        }
    }

    async fn watch(&mut self, mut stream: WatchStream) -> Result<std::convert::Infallible, Ended> {
        loop {
            let told = stream.message().await;
            let told = told.map_err(|error| Ended::Failed(error.to_string()))?;
            let told = told.ok_or_else(|| Ended::Failed("etcd has ended the watch".into()))?;
            if told.canceled() {
                // Compacted away, or the member has lost the others: what is known is read anew.
                return Err(Ended::Failed(format!(
                    "etcd has ended the watch: {}",
                    told.cancel_reason()
                )));
            }
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
                self.take(&entry).await?;
                self.tell(State::Current);
            }
        }
    }

    async fn take(&mut self, entry: &Entry) -> Result<(), Ended> {
        let mut pause = RETRY.0;
        loop {
            match self.taker.take(entry) {
                Ok(Taken::Done) => {
                    self.known = entry.head;
                    return Ok(());
                }
                Ok(Taken::Stop) => return Err(Ended::Stopped),
                Err(why) => {
                    let revision = entry.head.revision;
                    tracing::error!(revision, why, "a change of the fleet cannot be taken here");
                    self.tell(State::Stuck { why });
                    rest(&mut pause).await;
                }
            }
        }
    }
}

/// Waits, longer each time.
async fn rest(pause: &mut Duration) {
    sleep(*pause).await;
    *pause = (*pause * 2).min(RETRY.1);
}
