//! The log in etcd: asked, and added to by compare-and-swap of its head. What follows a head is read by `reading`.
//!
//! An entry's parts are written before it; nobody sees them until the head names the entry. What a lost
//! race or a crash leaves of them is removed by [`Log::sweep`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boring::rand::rand_bytes;
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, GetResponse, KvClient,
    LeaseClient, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse, WatchClient,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::engine::{Engine, EngineError, is_busy, is_refusal, is_unsent};
use crate::lease::Lease;
use crate::limits::{
    APPEND_TIMEOUT, ENTRY_BYTES_MAX, MESSAGE_BYTES_MAX, PAGE_ENTRIES, PART_TIMEOUT,
    PART_TRY_TIMEOUT, PARTS_AT_ONCE, RETRY, SILENCE_TIMEOUT, TRY_TIMEOUT, TURN_TTL_SEC,
    VALUE_BYTES_MAX,
};
use crate::names::{FleetName, Names};
use crate::record::{
    EntryHead, FORMAT, Head, RecordError, hex, read_entry, read_head, write_entry, write_head,
};

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// etcd does not answer, or says no.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No member has answered in time.
    #[error("etcd does not answer")]
    Late,
    /// etcd has ended a watch.
    #[error("etcd has ended the watch: {0}")]
    Ended(String),
    /// The fleet was left, or this process ends.
    #[error("the connection to etcd was given up")]
    Stopped,
    /// The system has no random bytes.
    #[error("there are no random bytes: {0}")]
    Random(#[from] boring::error::ErrorStack),
    /// etcd answers something else than it was asked.
    #[error("etcd answers something else than it was asked")]
    Answer,
    /// Nothing is kept under this name.
    #[error("etcd has no fleet of this name")]
    None,
    /// What is there is not understood.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The entry that follows was removed: too long ago.
    #[error("etcd has no entry {0} any more")]
    Trimmed(u64),
    /// The log is not the one that was followed: another fleet's, or an old copy of it.
    #[error(
        "the log in etcd is at revision {found}, and is not the one that was followed to {known}"
    )]
    Another {
        /// Its last revision.
        found: u64,
        /// The last revision that was taken from the other one.
        known: u64,
    },
}

impl LogError {
    /// Whether another member, or the same one later, may answer.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Engine(EngineError::Failed(error)) => !is_refusal(error),
            Self::Late | Self::Ended(_) | Self::Answer | Self::Random(_) => true,
            _ => false,
        }
    }

    /// See [`EngineError::is_no_space`].
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_no_space())
    }
}

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Why an entry was not added.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another edge was first. What follows is to be read, and the change to be judged again.
    #[error("another edge has changed the fleet meanwhile")]
    Moved,
    /// It is larger than an entry may be.
    #[error("the change is {0} bytes large, and a fleet takes {ENTRY_BYTES_MAX} at once")]
    TooLarge(usize),
    /// Nothing was added.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The answer was lost, and it could not be found out whether it was added.
    #[error("etcd's answer was lost, and it is not known whether the change was made: {0}")]
    Unknown(LogError),
}

/// What has become of an entry that was to be added.
enum Fate {
    Added,
    /// Another one has its place.
    Passed,
    /// Nothing was added where it was to be.
    Nothing,
    Unknown,
}

/// The log of one fleet. Clones share a connection.
#[derive(Clone)]
pub struct Log {
    pub(crate) link: Arc<Link>,
    names: Names,
    edge: Arc<str>,
}

/// The member that was asked, as the number of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asks(usize);

/// The connection.
pub(crate) struct Link {
    engine: Engine,
    /// Made when something is asked.
    client: Mutex<Option<Client>>,
    /// How often another member was turned to.
    turned: AtomicUsize,
    /// Entries that the next page is to have at the most.
    pub(crate) at_once: AtomicI64,
    /// The last entry that was added here since somebody follows.
    appended: watch::Sender<Option<Head>>,
}

impl Log {
    /// The log of a fleet, for the edge of this name. Asks nobody yet.
    #[must_use]
    pub fn open(engine: Engine, fleet: &FleetName, edge: &str) -> Self {
        let link = Link {
            engine,
            client: Mutex::new(None),
            turned: AtomicUsize::new(0),
            at_once: AtomicI64::new(PAGE_ENTRIES),
            appended: watch::Sender::new(None),
        };
        Self {
            link: Arc::new(link),
            names: Names::of(fleet),
            edge: edge.into(),
        }
    }

    /// The last entry that was added here. An edge has its own change before its follower is told of it, and
    /// an etcd that lacks it is another one.
    pub(crate) fn appended(&self) -> Option<Head> {
        *self.link.appended.borrow()
    }

    /// Who follows begins with what is in etcd, whatever was added to another one.
    pub(crate) fn forget_appended(&self) {
        self.link.appended.send_replace(None);
    }

    /// Asks another member from now on.
    pub async fn move_on(&self) {
        self.move_on_from(self.asks()).await;
    }

    /// Whom it asks now.
    pub(crate) fn asks(&self) -> Asks {
        Asks(self.link.turned.load(Ordering::Relaxed))
    }

    /// Asks another member than that from now on. When it already does, it goes on with that one: of many that waited
    /// for one member, each would turn, and perhaps end at the same one.
    pub(crate) async fn move_on_from(&self, asked: Asks) {
        let mut client = self.link.client.lock().await;
        if self.asks() == asked {
            self.link.turned.fetch_add(1, Ordering::Relaxed);
            self.link.engine.move_on();
            *client = None;
        }
    }

    /// The edge that this is.
    #[must_use]
    pub fn edge(&self) -> &str {
        &self.edge
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) async fn client(&self) -> Result<Client, LogError> {
        let mut client = self.link.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = self.link.engine.client().await?;
        *client = Some(made.clone());
        Ok(made)
    }

    pub(crate) async fn watcher(&self) -> Result<WatchClient, LogError> {
        let watcher = self.client().await?.watch_client();
        Ok(watcher.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) async fn values(&self) -> Result<KvClient, LogError> {
        let values = self.client().await?.kv_client();
        Ok(values.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) async fn leases(&self) -> Result<LeaseClient, LogError> {
        Ok(self.client().await?.lease_client())
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn head(&self) -> Result<Head, LogError> {
        let key = self.names.head();
        let answer = self.values().await?.get(key.clone(), None).await?;
        let value = answer.kvs().first().ok_or(LogError::None)?;
        Ok(read_head(&key, value.value())?)
    }

    /// Adds an entry behind `head`, and answers the new head. It asks other members when one does not
    /// answer, for [`APPEND_TIMEOUT`] in all; before that, for as long again and [`PART_TIMEOUT`] for each part
    /// of a large one, but no longer than [`SILENCE_TIMEOUT`] without one that is written.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, head: &Head, bytes: &[u8]) -> Result<Head, AppendError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(AppendError::TooLarge(bytes.len()));
        }
        let next = head.then(bytes);
        let parts = if bytes.len() <= VALUE_BYTES_MAX {
            0
        } else {
            bytes.len().div_ceil(VALUE_BYTES_MAX)
        };
        let entry = EntryHead {
            format: FORMAT,
            edge: self.edge.to_string(),
            at: now(),
            id: new_id().map_err(LogError::from)?,
            digest: next.digest,
            bytes: bytes.len(),
            parts,
        };
        let added = self.add(head, &next, &entry, bytes).await;
        if let Ok(head) = &added {
            self.link.appended.send_replace(Some(*head));
        }
        if parts > 0 {
            let parts = self.names.parts_of(next.revision, &entry.id);
            match &added {
                Ok(_) | Err(AppendError::Unknown(_)) => {}
                // Nobody waits for etcd, which does not answer.
                Err(AppendError::Log(error)) if error.may_pass() => {
                    let log = self.clone();
                    drop(tokio::spawn(
                        async move { log.remove_unneeded(parts).await },
                    ));
                }
                Err(_) => self.remove_unneeded(parts).await,
            }
        }
        added
    }

    async fn add(
        &self,
        head: &Head,
        next: &Head,
        entry: &EntryHead,
        bytes: &[u8],
    ) -> Result<Head, AppendError> {
        let mut inline = bytes;
        if entry.parts > 0 {
            inline = &[];
            let count = u32::try_from(entry.parts).unwrap_or(u32::MAX);
            let end = Instant::now() + APPEND_TIMEOUT + PART_TIMEOUT * count;
            let parts = (0..entry.parts).map(|number| {
                let part = bytes.chunks(VALUE_BYTES_MAX).nth(number);
                let part = part.unwrap_or_default();
                let key = self.names.part(next.revision, &entry.id, number);
                self.put_part(end, head, key, part)
            });
            let mut written = stream::iter(parts).buffer_unordered(PARTS_AT_ONCE);
            // Other changes wait meanwhile, those of this edge alone among them: when etcd goes away, they do not wait
            // for as long as all parts would take.
            let silent = |_late| AppendError::from(LogError::Late);
            while timeout(SILENCE_TIMEOUT, written.try_next())
                .await
                .map_err(silent)??
                .is_some()
            {}
        }
        let value = write_entry(entry, inline);
        self.swap(head, next, &value).await
    }

    /// Puts a part of the entry behind `head`, unless another edge was first: then the others are not worth their
    /// bytes, which etcd keeps until it compacts.
    async fn put_part(
        &self,
        end: Instant,
        head: &Head,
        key: String,
        part: &[u8],
    ) -> Result<(), AppendError> {
        let is_next = Compare::value(self.names.head(), CompareOp::Equal, write_head(head));
        let put = TxnOp::put(key, part, None);
        let txn = Txn::new().when([is_next]).and_then([put]);
        let txn = &txn;
        let ask = |log: Self| async move { Ok(log.values().await?.txn(txn.clone()).await?) };
        match self.within(PART_TRY_TIMEOUT, end, ask).await?.succeeded() {
            true => Ok(()),
            false => Err(AppendError::Moved),
        }
    }

    /// Puts what may be put twice.
    pub(crate) async fn put_until(
        &self,
        end: Instant,
        key: &str,
        value: &[u8],
    ) -> Result<(), LogError> {
        let put = |log: Self| async move {
            let mut values = log.values().await?;
            values.put(key, value, None).await?;
            Ok(())
        };
        self.within(PART_TRY_TIMEOUT, end, put).await
    }

    /// Asks, of member after member, until there is an answer or time is over.
    pub(crate) async fn until<T, F>(
        &self,
        end: Instant,
        ask: impl Fn(Self) -> F,
    ) -> Result<T, LogError>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        self.within(TRY_TIMEOUT, end, ask).await
    }

    /// The same with a time of its own for each try.
    pub(crate) async fn within<T, F>(
        &self,
        patience: Duration,
        end: Instant,
        ask: impl Fn(Self) -> F,
    ) -> Result<T, LogError>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        let mut failure = LogError::Late;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failure);
            }
            let asked = self.asks();
            match timeout(left.min(patience), ask(self.clone())).await {
                Ok(Err(error)) if error.may_pass() => failure = error,
                Ok(done) => return done,
                Err(_late) => {}
            }
            self.move_on_from(asked).await;
            sleep(RETRY.0.min(left)).await;
        }
    }

    /// Puts `next` in the place of `head`, with its entry. When an answer is lost, asks for the same again:
    /// what was done the first time is found then.
    async fn swap(&self, head: &Head, next: &Head, value: &[u8]) -> Result<Head, AppendError> {
        let head_key = self.names.head();
        let entry_key = self.names.entry(next.revision);
        let txn = Txn::new()
            .when([Compare::value(
                head_key.clone(),
                CompareOp::Equal,
                write_head(head),
            )])
            .and_then([
                TxnOp::put(head_key, write_head(next), None),
                TxnOp::put(entry_key.clone(), value, None),
            ])
            .or_else([TxnOp::get(entry_key, None)]);
        let end = Instant::now() + APPEND_TIMEOUT;
        let lost = AtomicBool::new(false);
        let (txn, is_lost) = (&txn, &lost);
        let ask = |log: Self| async move {
            let mut values = log.values().await?;
            // From here on it may be done, whatever becomes of the answer.
            let was_lost = is_lost.swap(true, Ordering::Relaxed);
            let answer = values.txn(txn.clone()).await;
            if let Err(error) = &answer {
                let is_settled = is_refusal(error) || is_unsent(error) || is_busy(error);
                is_lost.store(was_lost || !is_settled, Ordering::Relaxed);
            }
            Ok(answer?)
        };
        let answer = self.until(end, ask).await;
        let is_lost = lost.load(Ordering::Relaxed);
        match answer {
            Ok(answer) if answer.succeeded() => Ok(*next),
            Ok(answer) => {
                let there = answer.op_responses().into_iter().find_map(|op| match op {
                    TxnOpResponse::Get(found) => found.kvs().first().cloned(),
                    _ => None,
                });
                match there {
                    Some(there) if there.value() == value => Ok(*next),
                    _ => Err(AppendError::Moved),
                }
            }
            Err(error) if error.is_no_space() => match self.fate(end, (head, next), value).await {
                Fate::Added => Ok(*next),
                Fate::Passed => Err(AppendError::Moved),
                // An earlier try may still be under way.
                Fate::Nothing if !is_lost => Err(error.into()),
                Fate::Nothing | Fate::Unknown => Err(AppendError::Unknown(error)),
            },
            // After a lost answer, a refusal does not say that nothing was added.
            Err(error) if is_lost => Err(AppendError::Unknown(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks what has become of an entry that was to be added behind `head`, once no answer is waited for.
    async fn fate(&self, end: Instant, (head, next): (&Head, &Head), value: &[u8]) -> Fate {
        let key = &self.names.entry(next.revision);
        // In this order: a head that is as it was, and no entry behind it since. Not in one transaction, which an
        // older etcd refuses as well when it is full, whatever is in it.
        let look = |log: Self| async move {
            let head = log.head().await?;
            let entry = log.values().await?.get(key.as_str(), None).await?;
            Ok((head, entry))
        };
        let Ok((now, entry)) = self.until(end, look).await else {
            return Fate::Unknown;
        };
        match entry.kvs().first() {
            Some(there) if there.value() == value => Fate::Added,
            Some(_) => Fate::Passed,
            None if now == *head => Fate::Nothing,
            // It was trimmed since, or is another etcd's.
            None => Fate::Unknown,
        }
    }

    /// Removes what begins with `prefix`, which nobody needs; if that fails, the sweep does it.
    pub(crate) async fn remove_unneeded(&self, prefix: String) {
        let removed = timeout(TRY_TIMEOUT, self.remove_all(prefix)).await;
        if let Err(error) = removed.unwrap_or(Err(LogError::Late)) {
            tracing::debug!(%error, "parts of what is not there are left for the sweep");
        }
    }

    /// Removes what begins with `prefix`.
    pub(crate) async fn remove_all(&self, prefix: String) -> Result<(), LogError> {
        let options = DeleteOptions::new().with_prefix();
        let removed = self.values().await?.delete(prefix, Some(options)).await;
        removed?;
        Ok(())
    }

    /// Removes parts that belong to no entry: of a race that was lost, or of an edge that died. Those of a
    /// revision that is still to come are left alone. Answers of how many entries.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn sweep(&self) -> Result<usize, LogError> {
        let head = self.head().await?;
        let keys = GetOptions::new().with_prefix().with_keys_only();
        let parts = self
            .values()
            .await?
            .get(self.names.parts(), Some(keys))
            .await?;
        let owners = parts.kvs().iter().filter_map(|part| {
            let (revision, id) = self.names.owner(part.key())?;
            (revision <= head.revision).then(|| (revision, id.to_owned()))
        });
        let mut removed = 0;
        for (revision, id) in owners.collect::<BTreeSet<_>>() {
            let key = self.names.entry(revision);
            let entry = self.values().await?.get(key.clone(), None).await?;
            let is_its = match entry.kvs().first() {
                Some(entry) => read_entry(&key, entry.value())?.0.id == id,
                None => false,
            };
            if !is_its {
                self.remove_all(self.names.parts_of(revision, &id)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Asks the others to let this edge go first with its next change: one that is far from etcd would lose every
    /// race against edges that change all the time close by. Does nothing while another edge has asked.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn take_turn(&self) -> Result<(), LogError> {
        let lease = Lease::grant(self, TURN_TTL_SEC).await?;
        let turn = self.names.turn();
        let options = PutOptions::new().with_lease(lease.id);
        let txn = Txn::new()
            .when([Compare::create_revision(turn.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(turn, &*self.edge, Some(options))]);
        self.values().await?.txn(txn).await?;
        Ok(())
    }

    /// The others need wait no longer.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn end_turn(&self) -> Result<(), LogError> {
        let turn = self.names.turn();
        let txn = Txn::new()
            .when([Compare::value(turn.clone(), CompareOp::Equal, &*self.edge)])
            .and_then([TxnOp::delete(turn, None)]);
        self.values().await?.txn(txn).await?;
        Ok(())
    }
}

/// What the gets of one transaction found.
pub(crate) fn answers<const GETS: usize>(
    answer: &TxnResponse,
) -> Result<[GetResponse; GETS], LogError> {
    let gets = answer.op_responses().into_iter().filter_map(|op| match op {
        TxnOpResponse::Get(found) => Some(found),
        _ => None,
    });
    let gets: Vec<GetResponse> = gets.collect();
    gets.try_into().map_err(|_other: Vec<_>| LogError::Answer)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    u64::try_from(millis).unwrap_or(u64::MAX)
}

pub(crate) fn new_id() -> Result<String, boring::error::ErrorStack> {
    let mut bytes = [0; 16];
    rand_bytes(&mut bytes)?;
    Ok(hex(&bytes))
}

/// A part of a time, by chance: edges that wait for the same do not all come at once.
pub(crate) fn by_chance(time: Duration) -> Duration {
    let mut byte = [0];
    // Without random bytes nobody waits, and more is asked at once.
    let _at_once = rand_bytes(&mut byte);
    time * u32::from(byte[0]) / 256
}
