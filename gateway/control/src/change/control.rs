//! [`Control`]: the store it owns, the model it shows, the one way to change them.
//!
//! Owns start, reload, and the order validate, compile, commit, publish. What a change does is in
//! [`operations`](crate::operations).

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::change::access::{ChangeOnly, Changes, Full, ReadOnly, Reads};
use crate::change::batch::Batch;
use crate::change::draft::Draft;
use crate::change::error::{ChangeError, OpenError};
use crate::change::following::{Fed, Feed};
use crate::change::intent::Intent;
use crate::change::member::Member;
use crate::compile::origin::names::Names;
use crate::compile::{Parts, Staples, compile};
use crate::limits::FLEET_TRIES;
use crate::model::Model;
use crate::model::moment::Moment;
use crate::model::revocation::CrlFileOutcomes;
use crate::store::certificate_index::Index;
use crate::store::ledger::LedgerError;
use crate::store::membership::Membership;
use crate::store::orders::Orders;
use crate::store::seal::Seal;
use crate::store::transaction::Transaction;
use crate::store::{RedbStore, Store, StoreError, StoreOpenError, load, migrate};
use rules::Program;
use rules::geo::Geo;
use snapshot::challenges::Challenges;
use snapshot::http::reach::Reach;
use snapshot::{Published, Snapshot};
use vocabulary::hostname::HostName;

/// How a control plane is opened when the defaults do not fit.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The file with the key that seals private keys; `ca.key` beside the store when `None`.
    pub key_file: Option<PathBuf>,
    /// The host that answers handshakes without a server name.
    pub default_host: Option<HostName>,
    /// What origins may not be that tokens of zones set.
    pub reach: Reach,
    /// The process that handed the store over has kept a copy of it, if it is of an older format.
    pub is_handed_over: bool,
}

/// What only the one writer touches.
pub(crate) struct Writer {
    pub(crate) parts: Parts,
    /// Programs that were replaced and that connections may still hold. They are let go here, at
    /// a later change: freeing one of 100,000 rules takes milliseconds, which no worker has.
    pub(crate) retired: Vec<Arc<Program>>,
    pub(crate) default_host: Option<HostName>,
    /// The store may have more than the model, after a write whose fate is unknown.
    pub(crate) stale: bool,
    /// Another process has the store, and makes the changes.
    pub(crate) following: Option<Orders>,
    /// The store is one of a fleet's.
    pub(crate) member: Option<Member>,
}

/// A handle of the control plane of one gateway. What it may do is `A`: one that reads has no way to
/// change anything, one that changes has no way to read what other changes move.
///
/// ```
/// use std::sync::Arc;
///
/// use control::Control;
/// use snapshot::Published;
///
/// let directory = fixtures::Directory::new();
/// let path = directory.path().join("store.redb");
/// let published = Arc::<Published>::default();
///
/// let control = Control::open(&path, published.clone())?;
/// let zone = control.create_zone("example.com")?;
/// assert_eq!(control.model().zone_named("example.com"), Some(&zone));
/// assert!(control.create_zone("example.com").is_err(), "the name is taken");
///
/// // What was acknowledged is there after a restart.
/// drop(control);
/// let control = Control::open(&path, published)?;
/// assert_eq!(control.zone("example.com")?.id, zone.id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Control<A = Full> {
    pub(crate) shared: Arc<Shared>,
    intent: Intent,
    access: PhantomData<fn() -> A>,
}

/// What all handles of one control plane share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) seal: Arc<Seal>,
    /// Not for operations: those that read get it from [`Control::model`], those that change from
    /// their draft.
    pub(crate) model: ArcSwap<Model>,
    pub(crate) index: Arc<RwLock<Index>>,
    pub(crate) published: Arc<Published>,
    pub(crate) writer: Mutex<Writer>,
    /// Where addresses are, when rules can know it: for lints and dry runs.
    pub(crate) geo: ArcSwapOption<Geo>,
    /// What origins may not be that tokens of zones set.
    pub(crate) reach: ArcSwap<Reach>,
    /// Watched files that have not answered in time.
    pub(crate) files_late: AtomicUsize,
    /// Changes that the store did not take.
    pub(crate) write_failures: AtomicU64,
    /// What became of the files that are watched for revocation lists.
    pub(crate) crl_files: Arc<Mutex<CrlFileOutcomes>>,
    /// Which fleet the store belongs to, for those who do not want to wait for a change.
    pub(crate) membership: ArcSwapOption<Membership>,
    /// Who is told of changes once they are durable.
    pub(crate) feed: OnceLock<Feed>,
    /// Only in a shadow: gathers what its operations do instead of committing it.
    pub(crate) batch: Option<Batch>,
}

impl Control {
    /// Opens the store at `path` (or creates it), compiles what it holds and publishes it.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is published then.
    pub fn open(path: &Path, published: Arc<Published>) -> Result<Arc<Self>, OpenError> {
        Self::open_with(path, published, Options::default())
    }

    /// As [`Control::open`], with [`Options`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        path: &Path,
        published: Arc<Published>,
        options: Options,
    ) -> Result<Arc<Self>, OpenError> {
        let store = if options.is_handed_over {
            RedbStore::open_handed_over(path)?
        } else {
            RedbStore::open(path)?
        };
        Self::open_at(path, store, options, published)
    }

    /// What [`Control::open_with`] would find in the store at `path`, and the format that it has. Nothing is
    /// changed: neither its file, nor is a key made.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn picture(path: &Path, options: Options) -> Result<(Arc<Snapshot>, u64), OpenError> {
        let (store, format) = RedbStore::picture(path)?;
        let published = Arc::new(Published::default());
        // A store without anything sealed gets its key at the first start.
        if load::is_sealed(&store)? {
            Self::open_at(path, store, options, published.clone())?;
        }
        Ok((published.load(), format))
    }

    fn open_at(
        path: &Path,
        store: RedbStore,
        options: Options,
        published: Arc<Published>,
    ) -> Result<Arc<Self>, OpenError> {
        let Options {
            key_file,
            default_host,
            reach,
            ..
        } = options;
        let key_file = key_file.unwrap_or_else(|| path.with_file_name("ca.key"));
        let opened = Self::open_on(Box::new(store), &key_file, default_host, reach, published);
        opened.map_err(|error| match error {
            // Said as a check of the store says it, with what to do.
            OpenError::Read(StoreError::Corrupt(why)) => StoreOpenError::Corrupt {
                path: path.to_owned(),
                why,
            }
            .into(),
            other => other,
        })
    }

    /// Starts on an opened store, whichever backend it is.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn start(
        store: Box<dyn Store>,
        key_file: &Path,
        default_host: Option<HostName>,
        published: Arc<Published>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_on(store, key_file, default_host, Reach::default(), published)
    }

    fn open_on(
        store: Box<dyn Store>,
        key_file: &Path,
        default_host: Option<HostName>,
        reach: Reach,
        published: Arc<Published>,
    ) -> Result<Arc<Self>, OpenError> {
        let reach = Arc::new(reach);
        let seal = load::seal(store.as_ref(), key_file)?;
        migrate::migrate_to_pages(store.as_ref())?;
        let (model, index) = load::load(store.as_ref())?;
        let (snapshot, parts) = compile(
            &model,
            default_host.as_ref(),
            &seal,
            &Parts::with_reach(reach.clone()),
        )?;
        let member = Member::of(store.as_ref())?;
        published.publish(snapshot, Instant::now());
        Ok(Arc::new(Self::of(
            Shared {
                store: store.into(),
                seal: Arc::new(seal),
                model: ArcSwap::from_pointee(model),
                membership: ArcSwapOption::from_pointee(
                    member.as_ref().map(|member| member.membership.clone()),
                ),
                index: Arc::new(RwLock::new(index)),
                published,
                writer: Mutex::new(Writer {
                    parts,
                    retired: Vec::new(),
                    default_host,
                    stale: false,
                    following: None,
                    member,
                }),
                geo: ArcSwapOption::empty(),
                reach: ArcSwap::new(reach),
                files_late: AtomicUsize::new(0),
                write_failures: AtomicU64::new(0),
                crl_files: Arc::default(),
                feed: OnceLock::new(),
                batch: None,
            },
            Intent::default(),
        )))
    }

    pub(in crate::change) fn of(shared: Shared, intent: Intent) -> Self {
        Self {
            shared: Arc::new(shared),
            intent,
            access: PhantomData,
        }
    }

    /// A handle that only reads.
    #[must_use]
    pub fn reader(&self) -> Control<ReadOnly> {
        self.handle(self.intent.clone())
    }

    /// A handle that only makes changes, with an intent.
    #[must_use]
    pub fn changer(&self, intent: Intent) -> Control<ChangeOnly> {
        self.handle(intent)
    }

    /// Names the host that answers handshakes without a server name, or none. A name that is no
    /// host yet takes effect when it becomes one.
    ///
    /// # Errors
    /// The snapshot does not compile.
    pub fn set_default_host(&self, host: Option<HostName>) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let (snapshot, parts) = compile(
            &shared.model.load(),
            host.as_ref(),
            &shared.seal,
            &writer.parts,
        )?;
        shared.publish(&mut writer, snapshot, parts);
        writer.default_host = host;
        Ok(())
    }

    /// Says what origins may not be that tokens of zones set. Holds at once, for those that are
    /// there too.
    ///
    /// # Errors
    /// The snapshot does not compile; what held before stays.
    pub fn set_reach(&self, reach: Reach) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let before = writer.parts.reach();
        if *before == reach {
            return Ok(());
        }
        let reach = Arc::new(reach);
        writer.parts.set_reach(reach.clone());
        shared.recompile(&mut writer, |parts| parts.set_reach(before))?;
        shared.reach.store(reach);
        Ok(())
    }

    /// Reads the system's CA bundle again: origins that name no CAs of their own believe in what it has
    /// now. Connections that are open go on. Whether it has changed.
    ///
    /// # Errors
    /// The snapshot does not compile, as when the bundle is broken; what held before stays.
    pub fn read_system_cas(&self) -> Result<bool, ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let before = writer.parts.system_bundle();
        if !writer.parts.read_system_bundle() {
            return Ok(false);
        }
        // The next time it is tried again.
        shared.recompile(&mut writer, |parts| parts.set_system_bundle(before))?;
        Ok(true)
    }

    /// Says what names of origins mean from now on. Idle connections to addresses that they do not mean any
    /// more are let go of.
    ///
    /// # Errors
    /// The snapshot does not compile; what held before stays.
    pub fn set_names(&self, names: Names) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let before = writer.parts.names();
        if *before == names {
            return Ok(());
        }
        writer.parts.set_names(Arc::new(names));
        shared.recompile(&mut writer, |parts| parts.set_names(before))
    }

    /// Says what is stapled to server certificates from now on. Connections go on; new handshakes
    /// see it.
    ///
    /// # Errors
    /// The snapshot does not compile; what was stapled before stays.
    pub fn set_staples(&self, staples: Staples) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let before = writer.parts.staples();
        writer.parts.set_staples(Arc::new(staples));
        shared.recompile(&mut writer, |parts| parts.set_staples(before))
    }

    /// Says what ACME servers are shown that check names from now on.
    ///
    /// # Errors
    /// The snapshot does not compile; what was shown before stays.
    pub fn set_challenges(&self, challenges: Challenges) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let before = writer.parts.challenges();
        writer.parts.set_challenges(Arc::new(challenges));
        shared.recompile(&mut writer, |parts| parts.set_challenges(before))
    }

    /// What servers may not be that are asked on behalf of a tenant.
    #[must_use]
    pub fn reach(&self) -> Arc<Reach> {
        self.shared.reach.load_full()
    }

    /// Gives it the GeoIP databases that the data path has, for lints and dry runs.
    pub fn set_geo(&self, geo: Option<Arc<Geo>>) {
        self.shared.geo.store(geo);
    }
}

impl<A> Clone for Control<A> {
    fn clone(&self) -> Self {
        self.handle(self.intent.clone())
    }
}

impl<A> Control<A> {
    pub(crate) fn intent(&self) -> &Intent {
        &self.intent
    }

    fn handle<B>(&self, intent: Intent) -> Control<B> {
        Control {
            shared: self.shared.clone(),
            intent,
            access: PhantomData,
        }
    }

    /// This handle, with another intent: its changes are logged under the intent's actor, or only
    /// tried.
    #[must_use]
    pub fn acting(&self, intent: Intent) -> Self {
        self.handle(intent)
    }

    /// A handle that may do everything, and whose changes are only tried.
    pub(crate) fn trying(&self) -> Control {
        self.handle(Intent {
            dry_run: true,
            ..self.intent.clone()
        })
    }
}

impl<A: Reads> Control<A> {
    /// What there is now.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        self.shared.model.load_full()
    }

    /// Whether who asks may still do so.
    ///
    /// # Errors
    /// [`ChangeError::Denied`].
    pub fn check_granted(&self) -> Result<(), ChangeError> {
        self.intent.check(&self.shared.model.load(), Moment::now())
    }

    /// How many watched files have not answered in time.
    #[must_use]
    pub fn files_late(&self) -> usize {
        self.shared.files_late.load(Ordering::Relaxed)
    }

    /// How many changes the store did not take: its disk is full, or fails.
    #[must_use]
    pub fn write_failures(&self) -> u64 {
        self.shared.write_failures.load(Ordering::Relaxed)
    }

    /// The GeoIP databases.
    #[must_use]
    pub fn geo(&self) -> Option<Arc<Geo>> {
        self.shared.geo.load_full()
    }

    /// Whether there is a GeoIP database.
    #[must_use]
    pub fn has_geo(&self) -> bool {
        self.shared.geo.load().is_some()
    }
}

impl Shared {
    /// Takes over what the store has.
    pub(crate) fn reload(&self, writer: &mut Writer) -> Result<(), ChangeError> {
        let (mut model, index) = load::load(self.store.as_ref())?;
        let known = self.model.load();
        let found = Member::of(self.store.as_ref())?;
        let mark = |member: &Member| member.membership.mark;
        // Another log may have led to the same number.
        let is_another = found.as_ref().map(mark) != writer.member.as_ref().map(mark);
        if model.revision != known.revision || is_another {
            model.lineage = known.lineage + 1;
            // Connections have been judged by what was there, whatever its number is.
            model.trust_epoch = model.trust_epoch.max(known.trust_epoch + 1);
            let host = writer.default_host.as_ref();
            let fresh = Parts::with_what_was_learnt_of(&writer.parts);
            let (snapshot, parts) = compile(&model, host, &self.seal, &fresh)?;
            self.publish(writer, snapshot, parts);
            // Whoever follows has not been told of what was found.
            self.feed(Fed::Gap);
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
            self.model.store(Arc::new(model));
        }
        writer.member = match (found, writer.member.take()) {
            (Some(found), Some(before)) => Some(Member {
                ledger: before.ledger,
                ..found
            }),
            (found, _) => found,
        };
        self.show_membership(writer);
        writer.stale = false;
        Ok(())
    }

    /// Compiles anew, after what snapshots are made with has changed, and publishes. When that fails,
    /// `restore` puts back what was there, and what held before stays in force.
    fn recompile(
        &self,
        writer: &mut Writer,
        restore: impl FnOnce(&mut Parts),
    ) -> Result<(), ChangeError> {
        let host = writer.default_host.as_ref();
        match compile(&self.model.load(), host, &self.seal, &writer.parts) {
            Ok((snapshot, parts)) => {
                self.publish(writer, snapshot, parts);
                Ok(())
            }
            Err(error) => {
                restore(&mut writer.parts);
                Err(error.into())
            }
        }
    }

    /// Has live connections of this process verified again. Nothing else comes of it: it is no change.
    pub(crate) fn move_trust(&self) -> Result<(), ChangeError> {
        let mut writer = self.lock();
        let mut model = (**self.model.load()).clone();
        model.trust_epoch += 1;
        let host = writer.default_host.as_ref();
        let (snapshot, parts) = compile(&model, host, &self.seal, &writer.parts)?;
        self.publish(&mut writer, snapshot, parts);
        self.model.store(Arc::new(model));
        Ok(())
    }

    /// Counts a change that the store did not take.
    pub(crate) fn note_write_failure(&self) {
        self.write_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells those who follow.
    pub(crate) fn feed(&self, fed: Fed<'_>) {
        if let Some(feed) = self.feed.get() {
            feed(fed);
        }
    }

    /// Has workers take a snapshot. Idle connections to addresses that no origin has any more are let go
    /// of, and limits of origins hold.
    pub(crate) fn publish(&self, writer: &mut Writer, snapshot: Snapshot, parts: Parts) {
        self.published.publish(snapshot, Instant::now());
        writer.parts.retire_addresses(&parts);
        parts.open_gates(&writer.parts);
        let old = std::mem::replace(&mut writer.parts, parts);
        writer.retired.extend(old.programs_not_in(&writer.parts));
        drop(old);
        writer.parts.renew_if_due();
        writer
            .retired
            .retain(|program| Arc::strong_count(program) > 1);
    }

    /// The writer, where this process has the store, and knows what is in it.
    pub(crate) fn own_writer(&self) -> Result<MutexGuard<'_, Writer>, ChangeError> {
        let mut writer = self.lock();
        if writer.following.is_some() {
            return Err(StoreError::HandedOver.into());
        }
        if writer.stale {
            self.reload(&mut writer)?;
        }
        Ok(writer)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic in the middle of a change leaves everything as it was: the new state is
        // assigned only at its end.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Changes> Control<A> {
    /// The one way in which anything changes. It begins with the right of who asks, as the draft has
    /// it: no change is made by a token that is gone. `work` validates and writes into the draft; an error
    /// from it, from compiling or from the store leaves everything as it was. When this returns
    /// `Ok`, the change is durable and, where it concerns the data path, published.
    ///
    /// In a fleet it begins with what others have changed, and begins again when another edge was first.
    pub(crate) fn change<T>(
        &self,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, ChangeError> + Clone,
    ) -> Result<T, ChangeError> {
        let shared = &*self.shared;
        if let Some(batch) = &shared.batch {
            return batch.step(shared, &self.intent, work);
        }
        for _ in 0..FLEET_TRIES {
            let mut writer = shared.own_writer()?;
            if writer.member.is_none() {
                return self.change_once(&mut writer, work);
            }
            shared.catch_up(&mut writer)?;
            match self.change_once(&mut writer, work.clone()) {
                Err(ChangeError::Store(StoreError::Ledger(LedgerError::Moved))) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::from(LedgerError::Moved).into())
    }

    /// One try of a change, on what is there.
    fn change_once<T>(
        &self,
        writer: &mut Writer,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let shared = &*self.shared;
        let mut draft = Draft::new(shared, &shared.model.load(), &self.intent);
        self.intent.check(&draft.model, draft.now)?;
        let answer = work(&mut draft)?;
        draft.check_seen()?;
        let intent = &self.intent;
        let Some(done) = draft.finish() else {
            return Ok(answer);
        };
        let compiled = if done.data_path {
            let default_host = writer.default_host.as_ref();
            Some(compile(
                &done.model,
                default_host,
                &shared.seal,
                &writer.parts,
            )?)
        } else {
            None
        };
        if intent.dry_run {
            return Ok(answer);
        }
        let transaction = Transaction {
            revision: done.model.revision,
            writes: done.writes,
        };
        shared.make_durable(writer, &transaction)?;
        shared.feed(Fed::Transaction(&transaction));
        if let Some((snapshot, parts)) = compiled {
            shared.publish(writer, snapshot, parts);
        }
        shared
            .index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(done.index);
        tracing::info!(revision = done.model.revision, actor = %intent.actor, "changed");
        shared.model.store(Arc::new(done.model));
        Ok(answer)
    }

    /// Runs what changes the process and not the store, as a change is made: while nothing else
    /// changes, and only when who asks may still do so.
    ///
    /// # Errors
    /// [`ChangeError::Denied`].
    pub fn beside_the_store<T>(&self, work: impl FnOnce() -> T) -> Result<T, ChangeError> {
        let _writer = self.shared.lock();
        self.intent
            .check(&self.shared.model.load(), Moment::now())?;
        Ok(work())
    }

    /// A change of which a costly part is prepared before other changes have to wait for it.
    /// `basis` is all that the preparation rests on. When it is another in the draft, what was
    /// prepared is thrown away and prepared anew.
    pub(crate) fn change_prepared<B, P, T>(
        &self,
        basis: impl Fn(&Model) -> Result<B, ChangeError>,
        prepare: impl Fn(&B) -> Result<P, ChangeError>,
        work: impl FnOnce(&mut Draft<'_>, B, P) -> Result<T, ChangeError> + Clone,
    ) -> Result<T, ChangeError>
    where
        B: PartialEq + Clone,
        P: Clone,
    {
        let before = basis(&self.shared.model.load())?;
        let prepared = prepare(&before)?;
        self.change(|draft| {
            let now = basis(&draft.model)?;
            let prepared = if now == before {
                prepared
            } else {
                prepare(&now)?
            };
            work(draft, now, prepared)
        })
    }
}
