//! Which edges there are, which of them live, and what each says of itself.
//!
//! What an edge says is kept until the edge leaves the fleet; beside it a mark under a lease is there
//! while it lives. The mark has the edge's id, which its store keeps: another edge of the same name is
//! refused, and the same edge, started again or upgraded, takes its name over.

use std::sync::Arc;

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::follower::rest;
use crate::lease::{Lease, Signed};
use crate::limits::{
    EDGE_SIGN, EDGE_TTL_SEC, EDGE_VALUE_BYTES_MAX, EDGE_VALUE_PAUSE, MESSAGE_BYTES_MAX, PAGE_EDGES,
    RETRY, TRY_TIMEOUT,
};
use crate::log::{Log, LogError, new_id, now};
use crate::record::{FORMAT, RecordError, check_form};

/// What is known of an edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EdgeSeen {
    /// Its name.
    pub name: String,
    /// Its id, which its store keeps.
    pub id: String,
    /// Whether it lives.
    pub is_alive: bool,
    /// When it has said it, in milliseconds since 1970, by its own clock.
    pub at: u64,
    /// What it has said last.
    pub value: Value,
}

/// How it stands with this edge's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceState {
    /// etcd does not answer.
    Unknown {
        /// What went wrong.
        why: String,
    },
    /// This edge is seen by the others.
    Present,
    /// Another edge of this name lives. This one waits until it is gone.
    Taken {
        /// The other one's id.
        by: String,
    },
    /// A newer process of this very edge has the name now. This one does not ask for it again.
    Replaced,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    format: u32,
    id: String,
    at: u64,
    value: Value,
}

/// The mark of an edge that lives.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    format: u32,
    id: String,
    process: String,
}

/// Says of this edge that it lives, and what it says of itself.
pub struct Announcer {
    log: Log,
    id: String,
    /// Another one for each process of the same edge.
    process: String,
    value: watch::Receiver<Value>,
    state: watch::Sender<PresenceState>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    end: Notify,
    leave: Notify,
}

/// Tells an [`Announcer`] what to say.
pub struct Announcement {
    value: watch::Sender<Value>,
    state: watch::Receiver<PresenceState>,
    shared: Arc<Shared>,
}

impl Announcement {
    /// Says this from now on. It is written at most every [`EDGE_VALUE_PAUSE`], and only when it is new.
    pub fn say(&self, value: Value) {
        self.value.send_if_modified(|last| {
            let is_new = *last != value;
            *last = value;
            is_new
        });
    }

    /// Tells of every change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<PresenceState> {
        self.state.clone()
    }

    /// The edge no longer lives; what it has said stays.
    pub fn end(&self) {
        self.shared.end.notify_one();
    }

    /// The edge leaves the fleet: nothing stays of it.
    pub fn leave(&self) {
        self.shared.leave.notify_one();
    }
}

/// What asking for the name has come to.
enum Claimed {
    Ours(Lease),
    Theirs(String),
    /// Somebody was faster: it is to be asked again.
    Lost,
}

impl Announcer {
    /// Announces the edge `id` by the log's name for it.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn new(log: Log, id: &str, value: Value) -> Result<(Self, Announcement), LogError> {
        let why = "etcd was not asked yet".into();
        let (state, state_receiver) = watch::channel(PresenceState::Unknown { why });
        let (value, value_receiver) = watch::channel(value);
        let shared = Arc::<Shared>::default();
        let announcement = Announcement {
            value,
            state: state_receiver,
            shared: shared.clone(),
        };
        let announcer = Self {
            log,
            id: id.to_owned(),
            process: new_id()?,
            value: value_receiver,
            state,
            shared,
        };
        Ok((announcer, announcement))
    }

    /// Runs until it is told to end or to leave, or a newer process of the same edge has taken over. Whoever
    /// drops it leaves etcd to find out.
    pub async fn run(mut self) {
        let shared = self.shared.clone();
        let mut lease = None;
        let does_leave = tokio::select! {
            () = shared.end.notified() => false,
            () = shared.leave.notified() => true,
            () = self.announce(&mut lease) => return,
        };
        let ended = async {
            if does_leave {
                self.remove_own().await?;
            }
            if let Some(lease) = lease {
                lease.revoke(&self.log).await?;
            }
            Ok::<_, LogError>(())
        };
        let ended = timeout(TRY_TIMEOUT, ended).await;
        if let Err(error) = ended.unwrap_or(Err(LogError::Late)) {
            tracing::debug!(%error, "etcd is left to find out that this edge has ended");
        }
    }

    fn tell(&self, state: PresenceState) {
        self.state.send_if_modified(|last| {
            let is_new = *last != state;
            *last = state;
            is_new
        });
    }

    /// Claims the name, and keeps it as long as it can.
    async fn announce(&mut self, kept: &mut Option<Lease>) {
        let mut pause = RETRY.0;
        loop {
            let asked = self.log.asks();
            match self.claim(kept).await {
                Ok(Claimed::Ours(lease)) => {
                    pause = RETRY.0;
                    self.tell(PresenceState::Present);
                    match self.keep(lease).await {
                        Ok(()) => {}
                        Err(PresenceState::Replaced) => {
                            self.tell(PresenceState::Replaced);
                            return;
                        }
                        Err(state) => self.tell(state),
                    }
                    *kept = None;
                    self.log.move_on_from(asked).await;
                }
                Ok(Claimed::Theirs(by)) => {
                    tracing::error!(edge = self.log.edge(), by, "another edge has this name");
                    self.tell(PresenceState::Taken { by });
                    pause = RETRY.1;
                }
                Ok(Claimed::Lost) => {}
                Err(error) => {
                    let why = error.to_string();
                    self.tell(PresenceState::Unknown { why });
                    self.log.move_on_from(asked).await;
                }
            }
            rest(&mut pause).await;
        }
    }

    async fn claim(&mut self, kept: &mut Option<Lease>) -> Result<Claimed, LogError> {
        let names = self.log.names();
        let (alive, edge) = (names.alive(self.log.edge()), names.edge(self.log.edge()));
        let look = async {
            let mut values = self.log.values().await?;
            Ok::<_, LogError>(values.get(alive.clone(), None).await?)
        };
        let there = timeout(TRY_TIMEOUT, look).await;
        let there = there.unwrap_or(Err(LogError::Late))?;
        let mut seen = 0;
        if let Some(stored) = there.kvs().first() {
            seen = stored.mod_revision();
            let mark: Mark = read(&alive, stored.value())?;
            if mark.id != self.id {
                return Ok(Claimed::Theirs(mark.id));
            }
        }
        let lease = Lease::grant(&self.log, EDGE_TTL_SEC).await?;
        *kept = Some(lease);
        let mark = Mark {
            format: FORMAT,
            id: self.id.clone(),
            process: self.process.clone(),
        };
        let mark = serde_json::to_vec(&mark).unwrap_or_default();
        let under = PutOptions::new().with_lease(lease.id);
        let said = self.said();
        let txn = Txn::new()
            .when([Compare::mod_revision(alive.clone(), CompareOp::Equal, seen)])
            .and_then([
                TxnOp::put(alive, mark, Some(under)),
                TxnOp::put(edge, said, None),
            ]);
        let asked = async {
            let mut values = self.log.values().await?;
            Ok::<_, LogError>(values.txn(txn).await?)
        };
        let asked = timeout(TRY_TIMEOUT, asked).await;
        let asked = asked.unwrap_or(Err(LogError::Late));
        if matches!(&asked, Ok(answer) if answer.succeeded()) {
            return Ok(Claimed::Ours(lease));
        }
        // With the lease the mark goes, should it be there.
        let _ends_later = lease.revoke(&self.log).await;
        *kept = None;
        asked.map(|_lost| Claimed::Lost)
    }

    /// What is to be written now.
    fn said(&mut self) -> Vec<u8> {
        let write = |value| {
            let said = Said {
                format: FORMAT,
                id: self.id.clone(),
                at: now(),
                value,
            };
            serde_json::to_vec(&said).unwrap_or_default()
        };
        let said = write(self.value.borrow_and_update().clone());
        if said.len() <= EDGE_VALUE_BYTES_MAX {
            return said;
        }
        tracing::error!(
            bytes = said.len(),
            "what this edge says of itself is too large"
        );
        write(Value::Null)
    }

    /// Keeps the name, and writes what is new. Answers why it is lost.
    async fn keep(&mut self, mut lease: Lease) -> Result<(), PresenceState> {
        let mut sign = Instant::now() + EDGE_SIGN;
        let mut write = Instant::now() + EDGE_VALUE_PAUSE;
        loop {
            tokio::select! {
                () = sleep_until(sign) => {
                    let asked = self.log.asks();
                    match lease.sign(&self.log).await {
                        Signed::Kept => sign = Instant::now() + EDGE_SIGN,
                        Signed::Gone => return Ok(()),
                        Signed::Failed(error) => {
                            if Instant::now() >= lease.until {
                                return Err(PresenceState::Unknown { why: error.to_string() });
                            }
                            self.log.move_on_from(asked).await;
                            sign = Instant::now() + RETRY.0;
                            continue;
                        }
                    }
                    // What tells of a newer process is that the mark is its own now.
                    match self.is_ours(&lease).await {
                        Ok(true) => {}
                        Ok(false) => return Err(PresenceState::Replaced),
                        Err(error) => tracing::debug!(%error, "whose name it is cannot be asked"),
                    }
                }
                // When nobody says anything any more, nothing is written any more.
                Ok(()) = async {
                    sleep_until(write).await;
                    self.value.changed().await
                } => {
                    match self.write(&lease).await {
                        Ok(true) => write = Instant::now() + EDGE_VALUE_PAUSE,
                        // Whose it is then, the next sign asks.
                        Ok(false) => write = Instant::now() + EDGE_SIGN,
                        Err(error) => {
                            tracing::debug!(%error, "what this edge says cannot be written");
                            self.value.mark_changed();
                            sleep(RETRY.0).await;
                            write = Instant::now() + RETRY.1;
                        }
                    }
                }
            }
        }
    }

    async fn is_ours(&self, lease: &Lease) -> Result<bool, LogError> {
        let alive = self.log.names().alive(self.log.edge());
        let look = async { Ok(self.log.values().await?.get(alive, None).await?) };
        let there = timeout(TRY_TIMEOUT, look).await;
        let there = there.unwrap_or(Err(LogError::Late))?;
        // Without a mark the lease has ended, and the name is claimed again.
        let mark = there.kvs().first();
        Ok(mark.is_none_or(|stored| stored.lease() == lease.id))
    }

    /// Writes what the edge says, if the name is its own.
    async fn write(&mut self, lease: &Lease) -> Result<bool, LogError> {
        let said = self.said();
        let (alive, edge) = (
            self.log.names().alive(self.log.edge()),
            self.log.names().edge(self.log.edge()),
        );
        let txn = Txn::new()
            .when([Compare::lease(alive, CompareOp::Equal, lease.id)])
            .and_then([TxnOp::put(edge, said, None)]);
        let write = async { Ok(self.log.values().await?.txn(txn).await?) };
        let written = timeout(TRY_TIMEOUT, write).await;
        Ok(written.unwrap_or(Err(LogError::Late))?.succeeded())
    }

    /// Removes what this edge has said, unless it is another one's by now.
    async fn remove_own(&self) -> Result<(), LogError> {
        let names = self.log.names();
        let (alive, edge) = (names.alive(self.log.edge()), names.edge(self.log.edge()));
        let there = self.log.values().await?.get(edge.clone(), None).await?;
        let Some(stored) = there.kvs().first() else {
            return Ok(());
        };
        let said: Said = read(&edge, stored.value())?;
        if said.id != self.id {
            return Ok(());
        }
        let is_same = Compare::mod_revision(edge.clone(), CompareOp::Equal, stored.mod_revision());
        let txn = Txn::new()
            .when([is_same])
            .and_then([TxnOp::delete(edge, None), TxnOp::delete(alive, None)]);
        self.log.values().await?.txn(txn).await?;
        Ok(())
    }
}

impl Log {
    /// All edges that have joined and not left, in the order of their names.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn edges(&self) -> Result<Vec<EdgeSeen>, LogError> {
        let mut edges = Vec::new();
        let (mut first, end) = (self.names().edges(), behind(&self.names().edges()));
        loop {
            // The marks of the same names, at the same moment.
            let marks = first.replacen(&self.names().edges(), &self.names().living(), 1);
            let range = |end: String| GetOptions::new().with_range(end).with_limit(PAGE_EDGES);
            let keys = range(behind(&self.names().living())).with_keys_only();
            let ops = [
                TxnOp::get(first.clone(), Some(range(end.clone()))),
                TxnOp::get(marks, Some(keys)),
            ];
            let mut values = self.values().await?;
            let answer = values.txn(Txn::new().and_then(ops)).await?;
            let [said, living] = crate::log::answers(&answer)?;
            let living: Vec<&[u8]> = living
                .kvs()
                .iter()
                .map(etcd_client::KeyValue::key)
                .collect();
            for stored in said.kvs() {
                let key = String::from_utf8_lossy(stored.key()).into_owned();
                let name = key.strip_prefix(&self.names().edges()).unwrap_or_default();
                let said: Said = read(&key, stored.value())?;
                let alive = self.names().alive(name);
                edges.push(EdgeSeen {
                    name: name.to_owned(),
                    id: said.id,
                    is_alive: living.binary_search(&alive.as_bytes()).is_ok(),
                    at: said.at,
                    value: said.value,
                });
                // The least key behind this one.
                first = format!("{key}\0");
            }
            if !said.more() || said.kvs().is_empty() {
                return Ok(edges);
            }
        }
    }

    /// Removes what an edge that no longer lives has said. False when it lives, or never was there.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn remove_edge(&self, name: &str) -> Result<bool, LogError> {
        let (alive, edge) = (self.names().alive(name), self.names().edge(name));
        let txn = Txn::new()
            .when([
                Compare::create_revision(alive, CompareOp::Equal, 0),
                Compare::create_revision(edge.clone(), CompareOp::Greater, 0),
            ])
            .and_then([TxnOp::delete(edge, None::<DeleteOptions>)]);
        Ok(self.values().await?.txn(txn).await?.succeeded())
    }
}

/// Behind all that begins with a prefix that ends with '/'.
fn behind(prefix: &str) -> String {
    // '0' follows '/'.
    format!("{}0", prefix.trim_end_matches('/'))
}

fn read<T: for<'de> Deserialize<'de>>(key: &str, value: &[u8]) -> Result<T, RecordError> {
    check_form(key, value)?;
    serde_json::from_slice(value).map_err(|why| RecordError::malformed(key, why))
}

const _: () = assert!(EDGE_VALUE_BYTES_MAX < MESSAGE_BYTES_MAX);
