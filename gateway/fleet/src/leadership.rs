//! Which one edge does what is to be done once: a key under a lease.
//!
//! Whoever puts the key leads, and says every second that it lives. When etcd has not heard of it for
//! [`LEADER_TTL_SEC`], the key is gone, and the others, which watch it, try to put theirs. A leader stops to
//! believe that it leads [`LEADER_MARGIN`] before that time is over, counted on its monotonic clock from
//! when it began to say what etcd has confirmed last.
//!
//! (A relay of etcd's says itself that a leader lives, and answers with what it was told last: as old as the
//! way between them takes, for which the margin is long enough, too.)
//!
//! Two may still lead for a moment: when a clock runs much slower than etcd's, when the machine is
//! suspended (its monotonic clock stands still then), or when something that a leader has begun takes longer
//! than the margin. It does no harm: what a leader brings about is an entry of the log, which is added by
//! compare-and-swap of its head like every other one, or a snapshot, of which the newer one stays. Work is
//! done twice at worst (a list fetched, a certificate ordered), and one of both results is refused.

use std::sync::{Arc, Mutex, PoisonError};

use etcd_client::{
    Compare, CompareOp, GetResponse, KeyValue, PutOptions, Txn, TxnOp, WatchOptions,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::follower::rest;
use crate::lease::{Lease, Signed};
use crate::limits::{
    LEADER_JITTER, LEADER_MARGIN, LEADER_SIGN, LEADER_TTL_SEC, RETRY, TRY_TIMEOUT,
};
use crate::log::{Log, LogError, by_chance, new_id};
use crate::record::{FORMAT, RecordError, check_form};
use crate::watched::{Question, Told, Watched};

/// Who leads, as far as this edge knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// This edge.
    Leading,
    /// Another one.
    Following {
        /// Its name.
        leader: String,
    },
    /// Nobody, or it is not known.
    Nobody,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    edge: String,
    id: String,
}

/// An edge that leads when it can.
pub struct Candidate {
    log: Log,
    id: String,
    told: watch::Sender<Leadership>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Until when this edge leads.
    until: Mutex<Option<Instant>>,
    resign: Notify,
}

/// Asks a [`Candidate`], and tells it to resign.
#[derive(Clone)]
pub struct Mandate {
    told: watch::Receiver<Leadership>,
    shared: Arc<Shared>,
}

impl Mandate {
    /// Tells of every change.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.told.clone()
    }

    /// Whether this edge leads at this very moment, by its clock: to be asked before what only a leader does.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.shared
            .until()
            .is_some_and(|until| Instant::now() < until)
    }

    /// Gives way to another edge at once, for good.
    pub fn resign(&self) {
        self.shared.resign.notify_one();
    }
}

impl Shared {
    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// What asking for the key has come to.
enum Asked {
    /// It is ours, under this lease.
    Ours(Lease),
    /// It is another edge's, seen at this revision of etcd's.
    Theirs(String, i64),
    /// Another edge was faster.
    Lost,
}

impl Candidate {
    /// An edge that wants to lead.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn new(log: Log) -> Result<(Self, Mandate), LogError> {
        let (told, receiver) = watch::channel(Leadership::Nobody);
        let shared = Arc::new(Shared {
            until: Mutex::new(None),
            resign: Notify::new(),
        });
        let mandate = Mandate {
            told: receiver,
            shared: shared.clone(),
        };
        let id = new_id()?;
        let candidate = Self {
            log,
            id,
            told,
            shared,
        };
        Ok((candidate, mandate))
    }

    /// Runs until it is told to resign. Whoever drops it leaves etcd to find out.
    pub async fn run(self) {
        let mut lease = None;
        tokio::select! {
            () = self.shared.resign.notified() => {}
            never = self.lead(&mut lease) => match never {},
        }
        self.say(Leadership::Nobody, None);
        if let Some(lease) = lease {
            // If that fails, it ends by itself.
            let _ends_later = lease.revoke(&self.log).await;
        }
    }

    fn say(&self, leadership: Leadership, until: Option<Instant>) {
        self.shared.set(until);
        self.told.send_if_modified(|last| {
            let is_new = *last != leadership;
            *last = leadership;
            is_new
        });
    }

    async fn lead(&self, lease: &mut Option<Lease>) -> std::convert::Infallible {
        let mut pause = RETRY.0;
        loop {
            let asked = self.log.asks();
            match self.ask(lease).await {
                Ok(Asked::Ours(ours)) => {
                    pause = RETRY.0;
                    tracing::info!("this edge leads the fleet");
                    self.hold(ours).await;
                    self.say(Leadership::Nobody, None);
                    tracing::warn!("this edge no longer leads the fleet");
                    // Whether etcd has it still is not known.
                    if let Some(lease) = lease.take() {
                        let _ends_later = lease.revoke(&self.log).await;
                    }
                }
                Ok(Asked::Theirs(leader, seen)) => {
                    pause = RETRY.0;
                    self.say(Leadership::Following { leader }, None);
                    let ended = self.wait(seen).await;
                    if let Err(error) = ended {
                        tracing::debug!(%error, "who leads is not known");
                        self.say(Leadership::Nobody, None);
                        self.log.move_on_from(asked).await;
                    }
                    sleep(by_chance(LEADER_JITTER)).await;
                }
                Ok(Asked::Lost) => {}
                Err(error) => {
                    tracing::debug!(%error, "who leads cannot be asked");
                    self.say(Leadership::Nobody, None);
                    rest(&mut pause).await;
                    self.log.move_on_from(asked).await;
                }
            }
        }
    }

    /// Looks who leads, and puts this edge's key when nobody does. `kept` has the lease meanwhile.
    async fn ask(&self, kept: &mut Option<Lease>) -> Result<Asked, LogError> {
        let key = self.log.names().leader();
        let there = look(&self.log).await?;
        let seen = there.header().map_or(0, |header| header.revision());
        if let Some(stored) = there.kvs().first() {
            return Ok(Asked::Theirs(read(&key, stored.value())?.edge, seen));
        }
        let lease = Lease::grant(&self.log, LEADER_TTL_SEC).await?;
        *kept = Some(lease);
        let stored = Stored {
            format: FORMAT,
            edge: self.log.edge().to_owned(),
            id: self.id.clone(),
        };
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        let put = PutOptions::new().with_lease(lease.id);
        let is_free = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let txn = Txn::new()
            .when([is_free])
            .and_then([TxnOp::put(key.clone(), value, Some(put))]);
        let asked = async {
            let mut values = self.log.values().await?;
            Ok::<_, LogError>(values.txn(txn).await?)
        };
        let asked = timeout(TRY_TIMEOUT, asked).await;
        let asked = asked.unwrap_or(Err(LogError::Late));
        if matches!(&asked, Ok(answer) if answer.succeeded()) {
            return Ok(Asked::Ours(lease));
        }
        // Lost, or not known: with the lease, the key goes, should it be there.
        let revoked = lease.revoke(&self.log).await;
        *kept = None;
        asked?;
        revoked?;
        Ok(Asked::Lost)
    }

    /// Leads as long as etcd confirms it.
    async fn hold(&self, mut lease: Lease) {
        let mut next = Instant::now() + LEADER_SIGN;
        loop {
            let until = lease.until - LEADER_MARGIN;
            self.say(Leadership::Leading, Some(until));
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                is_kept = async {
                    sleep_until(next).await;
                    self.confirm(&mut lease).await
                } => {
                    if !is_kept {
                        return;
                    }
                }
            }
            next = Instant::now() + LEADER_SIGN;
        }
    }

    /// Has etcd confirm lease and key, by whichever member answers; not when they are certainly gone.
    async fn confirm(&self, lease: &mut Lease) -> bool {
        loop {
            let asked = self.log.asks();
            // The key first: what is confirmed after it holds from then on.
            match look(&self.log).await {
                Ok(there) => {
                    let is_ours = |stored: &KeyValue| stored.lease() == lease.id;
                    if !there.kvs().first().is_some_and(is_ours) {
                        return false;
                    }
                    match lease.sign(&self.log).await {
                        Signed::Kept => return true,
                        Signed::Gone => return false,
                        Signed::Failed(error) => {
                            tracing::debug!(%error, "a leader's sign of life was not confirmed");
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "a leader cannot ask for its key"),
            }
            self.log.move_on_from(asked).await;
            sleep(RETRY.0).await;
        }
    }

    /// Waits until the key that was `seen` is gone, or has changed.
    async fn wait(&self, seen: i64) -> Result<(), LogError> {
        let options = WatchOptions::new().with_start_revision(seen + 1);
        let key = self.log.names().leader();
        let mut watched = Watched::begin(&self.log, key, options).await?;
        let ask = || -> Question<bool> {
            let log = self.log.clone();
            Box::pin(async move { is_as(&log, seen).await })
        };
        loop {
            match watched.next(ask).await? {
                Told::Events(told) if told.events().is_empty() => {}
                Told::Answer(true, _) => {}
                Told::Events(_) | Told::Answer(false, _) => return Ok(()),
            }
        }
    }
}

/// Whether the leader's key is there, and as it was when it was `seen`.
async fn is_as(log: &Log, seen: i64) -> Result<bool, LogError> {
    let there = look(log).await?;
    let is_older = |stored: &KeyValue| stored.mod_revision() <= seen;
    Ok(there.kvs().first().is_some_and(is_older))
}

async fn look(log: &Log) -> Result<GetResponse, LogError> {
    let look = async {
        let mut values = log.values().await?;
        Ok(values.get(log.names().leader(), None).await?)
    };
    let there = timeout(TRY_TIMEOUT, look).await;
    there.unwrap_or(Err(LogError::Late))
}

fn read(key: &str, value: &[u8]) -> Result<Stored, RecordError> {
    check_form(key, value)?;
    serde_json::from_slice(value).map_err(|why| RecordError::malformed(key, why))
}
