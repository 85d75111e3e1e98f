//! A control plane that is one of a fleet's: it catches up before it changes anything, follows what the
//! others change, and can found a fleet, join one and leave it.

use std::sync::{Arc, PoisonError};

use tracing::trace_span;

use crate::change::Reads;
use crate::change::batch::Overlay;
use crate::change::control::{Control, Shared, Writer};
use crate::change::error::ChangeError;
use crate::change::following::{Fed, FollowError};
use crate::compile::{Parts, compile};
use crate::model::Model;
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::store::keys;
use crate::store::ledger::{DIGEST_BYTES, Ledger, LedgerError, Mark};
use crate::store::membership::{self, Membership};
use crate::store::replay::{Replayed, index_changes, replay};
use crate::store::seal::Seal;
use crate::store::state::OldAudit;
use crate::store::transaction::Transaction;
use crate::store::{Store, StoreError, Table, Write, load};
use crate::store::{sealed, state};

/// What the writer has of the fleet that its store belongs to.
pub(crate) struct Member {
    pub(crate) membership: Membership,
    /// How the log is reached, or why it is not.
    pub(crate) ledger: Result<Arc<dyn Ledger>, LedgerError>,
}

impl Member {
    /// That of a store, if it belongs to a fleet.
    pub(crate) fn of(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let membership = Membership::read(store)?;
        Ok(membership.map(Self::new))
    }

    fn new(membership: Membership) -> Self {
        let ledger = Err(LedgerError::Another(format!(
            "the store belongs to the fleet `{}`, and nothing says how its etcd is reached: set `fleet.name` and \
             `fleet.etcd`, or leave with `postern fleet leave`",
            membership.fleet
        )));
        Self { membership, ledger }
    }

    /// The log, when it can be asked and the store is as the fleet has left it.
    fn ledger(&self, revision: u64) -> Result<Arc<dyn Ledger>, LedgerError> {
        self.membership.check(revision)?;
        self.ledger.clone()
    }
}

/// How an edge takes a whole state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// In the place of something else, with all that the fleet has.
    WithAll,
    /// It was away; what follows the state comes after it.
    Behind,
}

/// A state of a fleet, as an edge begins with it.
#[derive(Debug)]
pub struct FleetState {
    /// Where in the log it is.
    pub mark: Mark,
    /// Its parts, sealed.
    pub parts: Vec<Vec<u8>>,
    /// What was changed since, each with the place behind it: whoever begins with it is never seen without.
    pub entries: Vec<(Mark, Vec<u8>)>,
}

impl FleetState {
    /// Where it leads to, and the transactions that do, in their order.
    fn open(&self, seal: &Seal, fleet: &str) -> Result<(Mark, Vec<Transaction>), StoreError> {
        let mut all = sealed::open_parts(seal, fleet, self.mark, &self.parts)?;
        let mut reached = self.mark;
        for (mark, entry) in &self.entries {
            let transaction = sealed::open_entry(seal, fleet, reached, entry)?;
            if transaction.revision != mark.revision {
                let why = "the places of what follows a state are not in their order";
                return Err(StoreError::Corrupt(why.into()));
            }
            all.push(transaction);
            reached = *mark;
        }
        Ok((reached, all))
    }
}

impl Shared {
    /// Takes all that other edges have changed. Nothing when there are none.
    pub(crate) fn catch_up(&self, writer: &mut Writer) -> Result<(), ChangeError> {
        loop {
            let Some(member) = &writer.member else {
                return Ok(());
            };
            let revision = self.model.load().revision;
            let ledger = member.ledger(revision).map_err(StoreError::from)?;
            let known = member.membership.mark;
            let news = ledger.after(known).map_err(StoreError::from)?;
            let is_last = news.entries.is_empty();
            for (mark, entry) in news.entries {
                self.take(writer, mark, &entry)?;
            }
            let reached = writer.member.as_ref().map(|member| member.membership.mark);
            // Each of two edges close to etcd would find the other's entry there, and none would ever wait.
            if is_last || reached == Some(news.head) && !news.turn {
                return Ok(());
            }
        }
    }

    /// Makes a change durable: behind the fleet's others first, when there is a fleet.
    pub(crate) fn make_durable(
        &self,
        writer: &mut Writer,
        transaction: &Transaction,
    ) -> Result<(), ChangeError> {
        let before = transaction.revision - 1;
        let Some(member) = &writer.member else {
            let stored = self.store.commit(before, &transaction.writes);
            // Whether it is on the disk is unknown: the next change looks.
            return stored.map_err(|error| self.doubt(writer, error).into());
        };
        let ledger = member.ledger(before).map_err(StoreError::from)?;
        let Membership { fleet, mark, .. } = &member.membership;
        let entry = sealed::seal_entry(&self.seal, fleet, *mark, transaction)?;
        let mark = ledger.append(*mark, entry).map_err(StoreError::from)?;
        let membership = member.membership.at(mark);
        let mut writes = transaction.writes.clone();
        writes.push(membership.write());
        let stored = self.store.commit(before, &writes);
        if let Err(error) = stored {
            // The fleet has it. Here it comes out of the log, as others' changes do.
            let error = StoreError::Io(format!(
                "the fleet has the change, and this edge's own store does not take it: {error}"
            ));
            return Err(self.doubt(writer, error).into());
        }
        if let Some(member) = &mut writer.member {
            member.membership = membership;
        }
        self.show_membership(writer);
        Ok(())
    }

    /// Shows which fleet the store belongs to.
    pub(crate) fn show_membership(&self, writer: &Writer) {
        let member = writer.member.as_ref();
        let membership = member.map(|member| Arc::new(member.membership.clone()));
        self.membership.store(membership);
    }

    /// Notes that the store may have more than is known here.
    fn doubt(&self, writer: &mut Writer, error: StoreError) -> StoreError {
        writer.stale = true;
        self.note_write_failure();
        error
    }

    /// Puts a change into force that another edge has made, and keeps it. Its spans tell what that costs apart.
    fn take(&self, writer: &mut Writer, mark: Mark, entry: &[u8]) -> Result<(), FollowError> {
        let known = self.model.load();
        if mark.revision <= known.revision {
            let own = writer.member.as_ref().map(|own| own.membership.mark);
            let is_another = |own: Mark| own.revision == mark.revision && own != mark;
            return match own.is_some_and(is_another) {
                true => Err(FollowError::Another(mark.revision)),
                false => Ok(()),
            };
        }
        if known.revision.checked_add(1) != Some(mark.revision) {
            return Err(FollowError::Gap {
                known: known.revision,
                found: mark.revision,
            });
        }
        let member = writer.member.as_ref().ok_or(FollowError::NotFollowing)?;
        let Membership {
            fleet, mark: after, ..
        } = &member.membership;
        let opened =
            trace_span!("open").in_scope(|| sealed::open_entry(&self.seal, fleet, *after, entry));
        let transaction = opened?;
        let membership = member.membership.at(mark);
        let behind = Overlay::over(self.store.clone(), &transaction.writes);
        let replayed = trace_span!("replay").in_scope(|| replay(&known, &behind, &transaction));
        let Replayed {
            mut model,
            data_path,
        } = replayed?;
        let index = index_changes(&transaction)?;
        if transaction.moves_trust() {
            // Trust may have moved here alone, and a number that was there already would say nothing.
            model.trust_epoch = model.trust_epoch.max(known.trust_epoch + 1);
        }
        let compiled = if data_path {
            let host = writer.default_host.as_ref();
            let compiled = trace_span!("compile")
                .in_scope(|| compile(&model, host, &self.seal, &writer.parts));
            Some(compiled?)
        } else {
            None
        };
        let mut writes = transaction.writes.clone();
        writes.push(membership.write());
        let stored = trace_span!("store").in_scope(|| self.store.commit(known.revision, &writes));
        stored.map_err(|error| self.doubt(writer, error))?;
        if let Some(member) = &mut writer.member {
            member.membership = membership;
        }
        self.show_membership(writer);
        self.feed(Fed::Transaction(&transaction));
        if let Some((snapshot, parts)) = compiled {
            trace_span!("publish").in_scope(|| self.publish(writer, snapshot, parts));
        }
        self.index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(index);
        self.model.store(Arc::new(model));
        Ok(())
    }

    /// Takes over a state in the place of all that the store has.
    fn install(
        &self,
        writer: &mut Writer,
        membership: Membership,
        parts: Vec<Transaction>,
        begins: Begins,
    ) -> Result<(), ChangeError> {
        let known = self.model.load();
        let next = membership.mark.revision;
        let old_audit = match begins {
            Begins::WithAll => OldAudit::Goes,
            Begins::Behind => OldAudit::Stays,
        };
        let mut writes = state::difference(self.store.as_ref(), next, parts, old_audit)?;
        // Whether it can be served is seen before anything is touched. What is loaded bears the revision that it will
        // have: with the one of before, which may be higher, what is compiled of it would pass for what comes next.
        let after = Overlay::over(self.store.clone(), &writes).at(next);
        let (mut model, index) = load::load(&after)?;
        model.lineage = known.lineage + 1;
        // Connections have been judged by what was there, whatever its number is.
        model.trust_epoch = model.trust_epoch.max(known.trust_epoch + 1);
        model.alone = known.alone.clone();
        let host = writer.default_host.as_ref();
        let fresh = Parts::with_what_was_learnt_of(&writer.parts);
        let (snapshot, compiled) = compile(&model, host, &self.seal, &fresh)?;
        match begins {
            Begins::WithAll => writes.extend(membership.begin(Moment::now())),
            Begins::Behind => writes.push(membership.write()),
        }
        let stored = self.store.commit_as(known.revision, next, &writes);
        stored.map_err(|error| self.doubt(writer, error))?;
        self.feed(Fed::Gap);
        self.publish(writer, snapshot, compiled);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        self.model.store(Arc::new(model));
        match &mut writer.member {
            Some(member) => member.membership = membership,
            none => *none = Some(Member::new(membership)),
        }
        self.show_membership(writer);
        Ok(())
    }

    /// Writes what is this store's own, without a change.
    pub(crate) fn write_own(&self, writes: &[Write]) -> Result<(), StoreError> {
        let revision = self.model.load().revision;
        self.store.commit_as(revision, revision, writes)
    }
}

impl<A: Reads> Control<A> {
    /// The revision, and a digest of all that the store has, but what is its own. Equal stores have equal
    /// ones. Changes go on meanwhile.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn state_digest(&self) -> Result<(u64, [u8; DIGEST_BYTES]), StoreError> {
        let mut found = (0, [0; DIGEST_BYTES]);
        self.shared.store.at_once(&mut |store| {
            let revision = store.revision()?;
            found = (revision, state::digest(store, revision)?);
            Ok(())
        })?;
        Ok(found)
    }
}

impl Control {
    /// Which fleet the store belongs to, and how far it has followed.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        let membership = self.shared.membership.load();
        membership.as_deref().cloned()
    }

    /// Which fleet the store has left last, and how far it had followed it then: what was changed since is its own.
    #[must_use]
    pub fn left(&self) -> Option<Membership> {
        // What cannot be read is as if it were not there: nothing is removed for its sake.
        Membership::left(self.shared.store.as_ref()).ok().flatten()
    }

    /// Whether nobody has made anything in the store yet, so that nothing would be lost with it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        is_fresh(&self.model())
    }

    /// Notes that the store has all that the fleet has, for the next start to tell how old it may be.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_current(&self, now: Moment) -> Result<(), StoreError> {
        let writer = self.shared.lock();
        if writer.following.is_some() || writer.member.is_none() {
            return Ok(());
        }
        self.shared.write_own(&[membership::seen(now)])
    }

    /// When [`Self::note_current`] was called last.
    #[must_use]
    pub fn last_current(&self) -> Option<Moment> {
        let value = self
            .shared
            .store
            .value(Table::Meta, membership::SEEN_KEY)
            .ok()??;
        keys::decode(Table::Meta, membership::SEEN_KEY, &value).ok()
    }

    /// Says how the log is reached, or why it is not: whoever wants a change is told so.
    pub fn attach(&self, ledger: Result<Arc<dyn Ledger>, LedgerError>) {
        let mut writer = self.shared.lock();
        if let Some(member) = &mut writer.member {
            member.ledger = ledger;
        }
    }

    /// Puts an entry of the log into force here, and keeps it. One that is there already is no error.
    ///
    /// # Errors
    /// See [`FollowError`]. Everything is as it was.
    pub fn take(&self, mark: Mark, entry: &[u8]) -> Result<(), FollowError> {
        let writer = self.shared.own_writer();
        let mut writer = writer.map_err(|error| match error {
            ChangeError::Store(error) => error,
            other => StoreError::Io(other.to_string()),
        })?;
        self.shared.take(&mut writer, mark, entry)
    }

    /// Takes a whole state in the place of its own, as an edge does that was away for too long.
    ///
    /// # Errors
    /// It is older than what is here, cannot be opened, or cannot be served. Everything is as it was.
    pub fn take_state(&self, state: &FleetState) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.own_writer()?;
        let membership = membership_of(&writer)?;
        let known = shared.model.load().revision;
        if state.mark.revision < known {
            return Err(older(state.mark.revision, known));
        }
        let (mark, parts) = state.open(&shared.seal, &membership.fleet)?;
        shared.install(&mut writer, membership.at(mark), parts, Begins::Behind)
    }

    /// All that this edge has, for others to begin with. Changes go on meanwhile.
    ///
    /// # Errors
    /// It is in no fleet, was changed outside of it, or the store cannot be read.
    pub fn state(&self) -> Result<FleetState, ChangeError> {
        let shared = &self.shared;
        let mut found = None;
        shared.store.at_once(&mut |store| {
            let Some(membership) = Membership::read(store)? else {
                return Ok(());
            };
            membership.check(store.revision()?)?;
            let parts = state::read(store, membership.mark.revision)?;
            found = Some((membership, parts));
            Ok(())
        })?;
        let (Membership { fleet, mark, .. }, parts) = found.ok_or_else(in_no_fleet)?;
        let parts = sealed::seal_parts(&shared.seal, &fleet, mark, &parts)?;
        Ok(FleetState {
            mark,
            parts,
            entries: Vec::new(),
        })
    }

    /// What shows others whether they have the key of this fleet.
    ///
    /// # Errors
    /// BoringSSL refused.
    pub fn fleet_proof(&self, fleet: &str) -> Result<Vec<u8>, ChangeError> {
        Ok(sealed::seal_proof(&self.shared.seal, fleet)?)
    }

    /// Whether this edge has the key that made a fleet's proof.
    #[must_use]
    pub fn has_key_of(&self, fleet: &str, proof: &[u8]) -> bool {
        sealed::proves(&self.shared.seal, fleet, proof)
    }

    /// Founds a fleet with what is here. `publish` makes the state known to others, and the log begin
    /// there; no change is made meanwhile.
    ///
    /// # Errors
    /// It is in a fleet already, `publish` says so, or the store cannot be written. In the last case the
    /// fleet is there, and this edge may join it.
    pub fn found(
        &self,
        fleet: &str,
        publish: impl FnOnce(&FleetState) -> Result<(), LedgerError>,
    ) -> Result<Membership, ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.own_writer()?;
        is_in_none(&writer)?;
        let revision = shared.model.load().revision;
        let mark = Mark {
            revision,
            digest: state::digest(shared.store.as_ref(), revision)?,
        };
        let parts = state::read(shared.store.as_ref(), revision)?;
        let parts = sealed::seal_parts(&shared.seal, fleet, mark, &parts)?;
        let entries = Vec::new();
        publish(&FleetState {
            mark,
            parts,
            entries,
        })
        .map_err(StoreError::from)?;
        let membership = Membership {
            fleet: fleet.to_owned(),
            edge: Uuid::random(),
            mark,
        };
        shared.write_own(&membership.begin(Moment::now()))?;
        writer.member = Some(Member::new(membership.clone()));
        shared.show_membership(&writer);
        Ok(membership)
    }

    /// Joins a fleet: what it has takes the place of what is here. When that is something else, `replace`
    /// has to say so.
    ///
    /// # Errors
    /// It is in another fleet; it has something that would be lost; the state cannot be opened or not be
    /// served. Everything is as it was.
    pub fn join(
        &self,
        fleet: &str,
        state: &FleetState,
        replace: bool,
    ) -> Result<Membership, ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.own_writer()?;
        let model = shared.model.load();
        let before = writer.member.as_ref().map(|member| &member.membership);
        // A store that was changed outside of its fleet, or that followed another log, begins again.
        let may_join = before.is_none_or(|before| {
            before.fleet == fleet && (replace || before.mark.revision != model.revision)
        });
        if !may_join {
            is_in_none(&writer)?;
        }
        let edge = before.map_or_else(Uuid::random, |before| before.edge);
        let (mark, parts) = state.open(&shared.seal, fleet)?;
        if !is_fresh(&model) && !replace {
            let revision = mark.revision;
            let store = shared.store.as_ref();
            let writes = state::difference(store, revision, parts.clone(), OldAudit::Goes)?;
            if !writes.is_empty() {
                let (zones, hosts) = (model.zones.len(), model.hosts.len());
                return Err(ChangeError::invalid(
                    "replace",
                    format!(
                        "this gateway has {zones} zones and {hosts} hosts of its own, and the fleet has \
                         something else: joining would replace them. Say --replace to do so (a backup is \
                         made first), or export them before"
                    ),
                ));
            }
        }
        let membership = Membership {
            fleet: fleet.to_owned(),
            edge,
            mark,
        };
        shared.install(&mut writer, membership.clone(), parts, Begins::WithAll)?;
        Ok(membership)
    }

    /// Leaves the fleet: what is here stays, and is this gateway's own from now on.
    ///
    /// # Errors
    /// It is in none, or the store cannot be written.
    pub fn leave(&self) -> Result<Membership, ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.own_writer()?;
        let membership = membership_of(&writer)?;
        shared.write_own(&membership.removal())?;
        writer.member = None;
        shared.show_membership(&writer);
        drop(writer);
        // What was denied here alone becomes a change like any other; what is left is tried again.
        if let Err(error) = self.merge_alone() {
            tracing::warn!(%error, "what was denied on this edge alone waits");
        }
        Ok(membership)
    }
}

/// Whether nobody has made anything in it.
fn is_fresh(model: &Model) -> bool {
    model.zones.is_empty()
        && model.authorities.is_empty()
        && model.server_certificates.is_empty()
        && model.lists.is_empty()
        && model.tokens.is_empty()
        && model.acme_accounts.is_empty()
}

/// The fleet that the store belongs to.
fn membership_of(writer: &Writer) -> Result<Membership, ChangeError> {
    let member = writer.member.as_ref();
    let membership = member.map(|member| member.membership.clone());
    membership.ok_or_else(in_no_fleet)
}

fn in_no_fleet() -> ChangeError {
    ChangeError::invalid("fleet", "this gateway is in no fleet")
}

fn is_in_none(writer: &Writer) -> Result<(), ChangeError> {
    let Some(member) = &writer.member else {
        return Ok(());
    };
    let fleet = &member.membership.fleet;
    Err(ChangeError::invalid(
        "fleet",
        format!("this gateway is in the fleet `{fleet}` already: `postern fleet leave` first"),
    ))
}

fn older(found: u64, known: u64) -> ChangeError {
    StoreError::from(LedgerError::Another(format!(
        "the fleet's state in etcd is of revision {found}, older than the {known} that this edge has"
    )))
    .into()
}

#[cfg(test)]
impl Control {
    /// Takes what the others have changed, as every change does first.
    pub(crate) fn catch_up(&self) -> Result<(), ChangeError> {
        let mut writer = self.shared.own_writer()?;
        self.shared.catch_up(&mut writer)
    }
}
