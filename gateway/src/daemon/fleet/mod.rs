//! This gateway as an edge of a fleet: connected to etcd, following, known to the others, and leading when
//! it is its turn.
//!
//! Owns the connection and what is done with it, and when. What a change is, and how it is put into force,
//! is `control`'s; what is in etcd is `fleet`'s.

mod ledger;
mod link;
mod seen;
mod taker;
mod turns;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use self::ledger::{NOT_CHECKED, head};
use self::link::{Link, Upkept};
use self::seen::Seen;
pub(crate) use self::wanted::FleetError;
use self::wanted::Wanted;
use crate::limits::{FLEET_FIRST_LOOK, FLEET_FIRST_WAIT, FLEET_LOOK, FLEET_UPKEEP};
use ::fleet::{Fleet as Etcd, FleetRecord, Founding, Head, Moment};
use admin::{
    CredentialEnd, Fleet, FleetDone, FleetEdge, FleetRefusal, FleetShown, FleetState, Founded,
    InForce,
};
use control::{ChangeError, Control, LedgerError, STORE_FORMAT, StoreError};
use datapath::connection::Shared;
use vocabulary::clock::now_sec;

/// When something was done that is not done again at once.
#[derive(Default)]
struct Lately(Mutex<Option<Instant>>);

impl Lately {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < FLEET_UPKEEP)
    }
}

/// An edge, in a fleet or about to be in one.
pub(crate) struct Edge {
    control: Arc<Control>,
    shared: Arc<Shared>,
    etcd: Arc<Etcd>,
    /// The fleet's name.
    name: String,
    /// What this edge is called.
    edge: String,
    members: Vec<String>,
    /// When what etcd is reached with is over.
    credentials: Vec<CredentialEnd>,
    store: PathBuf,
    link: Mutex<Option<Link>>,
    /// Whether this edge does what is done once.
    leads: watch::Sender<bool>,
    /// The keys of tickets that were taken last: this edge may have gone on from them without the fleet.
    tickets: Mutex<Option<Vec<u8>>>,
    seen: Arc<Seen>,
    /// Whether the fleet's format was looked at.
    checked: Arc<AtomicBool>,
    /// Held while it begins to follow.
    entering: Mutex<()>,
    /// Why it is not followed, when it is not.
    refused: Mutex<Option<String>>,
    /// Looking whether it still is so.
    looking: Lately,
    /// Making changes of the fleet of what was denied here alone.
    merging: Lately,
    /// Giving the fleet new ticket keys.
    rotating: Lately,
}

/// Whether this version understands what is in etcd, and has the format of the fleet's stores.
fn fits(record: &FleetRecord) -> bool {
    record.is_understood() && u64::from(record.store_format) == STORE_FORMAT
}

fn of_another_format(record: &FleetRecord) -> String {
    let FleetRecord {
        format,
        store_format,
        ..
    } = record;
    format!(
        "the fleet's stores have format {store_format} (and what it keeps in etcd, form {format}), and this version \
         of postern has {STORE_FORMAT}: run the version of the others here, or move the whole fleet to the newer one \
         (`Versions` in the documents' page on fleets)"
    )
}

/// Why a fleet whose log ends at `head` does not give way to what a gateway has that has `left` it there. The end of a
/// log of another form is not known.
fn not_replaced(record: &FleetRecord, head: Option<&Head>, left: Option<&Head>) -> Option<String> {
    if fits(record) {
        return Some(
            "etcd has a fleet of this name whose stores have this version's format: `postern fleet join` joins it"
                .into(),
        );
    }
    let head = head.filter(|head| left != Some(*head))?;
    let had = match left {
        Some(left) if left.revision == head.revision => {
            format!("has left another log of that name, at {}", left.revision)
        }
        Some(left) => format!("has left it at {}", left.revision),
        None => "does not know where it has left it".into(),
    };
    Some(format!(
        "the fleet is at revision {}, and this gateway {had}: what was changed there would be lost. Found it on the edge \
         that has all of it, as `postern fleet status` says, right after `postern fleet leave` there. If there is none \
         any more, and what etcd has of the fleet is to go, remove the keys that begin with its prefix (`etcdctl del \
         --prefix`)",
        head.revision
    ))
}

fn refused(why: impl Into<String>) -> FleetRefusal {
    FleetRefusal::Refused(why.into())
}

/// A change that was not made, as whoever asked for it is to take it.
fn not_made(error: &ChangeError) -> FleetRefusal {
    match error {
        ChangeError::Store(
            StoreError::Ledger(LedgerError::Away(_) | LedgerError::Unknown(_))
            | StoreError::Io(_)
            | StoreError::HandedOver,
        ) => FleetRefusal::Unavailable(error.to_string()),
        _ => FleetRefusal::Refused(error.to_string()),
    }
}

fn unavailable(why: impl std::fmt::Display) -> FleetRefusal {
    FleetRefusal::Unavailable(format!("the fleet's etcd cannot be asked: {why}"))
}

impl Edge {
    /// The edge that the configuration describes; none when it describes none. Asks nobody: the gateway
    /// serves with what it has, whatever becomes of etcd.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub(crate) fn start(
        wanted: &config::Fleet,
        store: &Path,
        host_name: &str,
        control: &Arc<Control>,
        shared: &Arc<Shared>,
    ) -> Result<Option<Arc<Self>>, FleetError> {
        let Some(wanted) = Wanted::read(wanted, host_name)? else {
            return Ok(None);
        };
        let Wanted {
            name,
            edge,
            members,
            settings,
            credentials,
        } = wanted;
        let etcd = Etcd::start(settings, &name, &edge);
        let etcd = etcd.map_err(|why| FleetError::Start(why.to_string()))?;
        let this = Arc::new(Self {
            control: control.clone(),
            shared: shared.clone(),
            etcd: Arc::new(etcd),
            name: name.to_string(),
            edge,
            members,
            credentials,
            store: store.to_owned(),
            link: Mutex::new(None),
            leads: watch::channel(false).0,
            tickets: Mutex::new(None),
            seen: Arc::new(Seen::since(control.last_current())),
            checked: Arc::default(),
            entering: Mutex::new(()),
            refused: Mutex::new(None),
            looking: Lately::default(),
            merging: Lately::default(),
            rotating: Lately::default(),
        });
        match control.membership() {
            // Followed once this process is the one that serves.
            Some(membership) if membership.fleet == this.name => {
                this.control
                    .attach(Err(LedgerError::Away(NOT_CHECKED.into())));
            }
            Some(membership) => tracing::error!(
                fleet = membership.fleet,
                configured = this.name,
                "the store belongs to another fleet than the configured one: changes are refused; \
                 `postern fleet leave`, or set fleet.name back"
            ),
            None => tracing::info!(
                fleet = this.name,
                "in no fleet yet: `postern fleet init` founds it, `postern fleet join` joins it"
            ),
        }
        Ok(Some(this))
    }

    /// Whether this edge does what is done once; told of every change.
    pub(crate) fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows no more, resigns, and is no longer alive. That may take a moment, and holds up nobody.
    fn unlink(&self) {
        let link = self.link().take();
        drop(link);
    }

    /// Follows, as a member.
    fn enter(&self) {
        // One at a time: what is attached and what follows belong together.
        let _alone = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        self.unlink();
        let membership = self.control.membership();
        let Some(membership) = membership.filter(|membership| membership.fleet == self.name) else {
            return;
        };
        // When etcd is away it is looked at later.
        if !self.is_of_this_format() {
            return;
        }
        // Not while the link is locked: it waits for a change that is going on.
        match Link::new(
            &self.etcd,
            &self.control,
            &membership,
            &self.seen,
            &self.checked,
        ) {
            Ok(new) => *self.link() = Some(new),
            Err(error) => tracing::error!(%error, "the fleet cannot be followed"),
        }
    }

    /// As [`Self::enter`], and waits until changes can be made, within a bound: whoever has founded or joined
    /// a fleet may make one next.
    fn enter_and_wait(&self) {
        self.enter();
        let deadline = Instant::now() + FLEET_FIRST_WAIT;
        while Instant::now() < deadline {
            if self.link().as_ref().is_none_or(Link::is_current) {
                return;
            }
            std::thread::sleep(FLEET_FIRST_LOOK);
        }
    }

    /// Does until it is dropped what an edge does. To be called once this process is the one that serves:
    /// what it takes from then on is told to those that it has replaced.
    pub(crate) async fn run(self: Arc<Self>) {
        let this = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || this.enter()).await {
            tracing::error!(%error, "the fleet is not followed");
        }
        tokio::join!(self.clone().watch_leading(), self.look_after());
    }

    /// Tells whether this edge leads as soon as it is known.
    async fn watch_leading(self: Arc<Self>) {
        let mut look = tokio::time::interval(FLEET_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let looked = self.link().as_mut().map(|link| {
                let resigned = link.look_at_candidacy();
                (link.leads(), resigned)
            });
            let leads = looked.map(|(leads, resigned)| {
                if let Some(resigned) = resigned {
                    drop(tokio::task::spawn_blocking(move || drop(resigned)));
                }
                leads
            });
            // One that is in no fleet does everything itself.
            self.lead(leads.unwrap_or_else(|| self.control.membership().is_none()));
        }
    }

    async fn look_after(self: Arc<Self>) {
        let mut look = tokio::time::interval(FLEET_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || this.look()).await;
            if let Err(error) = looked {
                tracing::error!(%error, "looking after the fleet failed");
            }
        }
    }

    /// Whether the fleet's stores have this version's format, as far as that can be asked. If not, this
    /// edge follows and changes nothing: neither would understand the other.
    fn is_of_this_format(&self) -> bool {
        let Ok(Some(record)) = self.etcd.record() else {
            return true;
        };
        let why = (!fits(&record)).then(|| of_another_format(&record));
        self.checked.store(why.is_none(), Ordering::Relaxed);
        if let Some(why) = &why {
            self.looking.note();
            self.control.attach(Err(LedgerError::Another(why.clone())));
            self.unlink();
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = why.as_ref().filter(|why| refused.as_ref() != Some(*why)) {
            tracing::error!("{why}");
        }
        *refused = why;
        refused.is_none()
    }

    /// Whether it does not follow because of the format, and is to look again: the fleet may have been founded
    /// anew.
    fn is_to_look_again(&self) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_some() && !self.looking.is_recent()
    }

    fn look(&self) {
        if self.link().is_some()
            && !self.checked.load(Ordering::Relaxed)
            && !self.is_of_this_format()
        {
            return;
        }
        if self.link().is_none() && self.is_to_look_again() {
            self.enter();
        }
        let told = self.link().as_ref().map(|link| {
            link.say(&self.control);
            (link.is_current(), link.note_current())
        });
        let is_current = match told {
            Some((is_current, is_to_be_kept)) => {
                if is_to_be_kept && let Err(error) = self.control.note_current(self.seen.moment()) {
                    tracing::warn!(%error, "how old this edge is will not be known after a restart");
                }
                is_current
            }
            // What was denied alone before the fleet was left is made a change all the same.
            None => self.control.membership().is_none(),
        };
        self.take_tickets();
        if !is_current {
            return;
        }
        if !self.control.held_alone().entries.is_empty() && !self.merging.is_recent() {
            match self.control.merge_alone() {
                Ok(merged) => {
                    tracing::info!(merged, "the fleet has what was denied on this edge alone");
                }
                Err(error) => {
                    tracing::warn!(%error, "what was denied on this edge alone waits");
                    self.merging.note();
                }
            }
        }
        if told.is_none() || !*self.leads.borrow() {
            return;
        }
        self.rotate_tickets();
        let upkeep = {
            let mut link = self.link();
            link.as_mut().and_then(Link::upkeep_due)
        };
        if let Some(mut upkeep) = upkeep {
            let upkept = link::maintain(&self.etcd, &self.control, &mut upkeep);
            if let Some(link) = self.link().as_mut() {
                link.upkeep_done(upkeep);
                if upkept == Upkept::Hopeless {
                    link.upkeep_failed();
                }
            }
        }
    }

    fn lead(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|before| {
            let is_new = *before != leads;
            *before = leads;
            is_new
        });
        if changed && self.link().is_some() {
            tracing::info!(leads, "what is done once in the fleet");
        }
    }

    /// Uses the fleet's ticket keys.
    fn take_tickets(&self) {
        let Some(keys) = self.control.ticket_keys() else {
            return;
        };
        let sealed = self.control.model().ticket_keys.clone();
        let sealed = sealed.map(|sealed| sealed.as_text().as_bytes().to_vec());
        {
            let mut taken = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            if *taken == sealed {
                return;
            }
            *taken = sealed;
        }
        let secrets = tls::TicketSecrets::from(keys.reveal().to_vec());
        if self.shared.acceptor.tickets().secrets().reveal() != secrets.reveal()
            && !self.shared.acceptor.tickets().take_over(&secrets)
        {
            tracing::error!("the fleet's ticket keys are of a form that is not known here");
        }
    }

    /// Makes a new ticket key for the fleet when one is due.
    fn rotate_tickets(&self) {
        if self.rotating.is_recent() {
            return;
        }
        let every = self.shared.live.load().ticket_rotation;
        let tickets = self.shared.acceptor.tickets();
        let before = tickets.secrets();
        if let Err(error) = tickets.rotate(now_sec(), every) {
            tracing::error!(%error, "session tickets keep their key");
            self.rotating.note();
            return;
        }
        // This edge may also have made one of its own while it could not be said to the others.
        let ours = tickets.secrets();
        let fleets = self.control.ticket_keys();
        if fleets.is_some_and(|fleets| fleets.reveal() == ours.reveal()) {
            return;
        }
        if let Err(error) = self.control.set_ticket_keys(ours.reveal()) {
            tracing::warn!(%error, "the fleet keeps its ticket key");
            self.rotating.note();
            // No edge uses what the others do not have.
            let _as_before = tickets.take_over(&before);
        }
    }

    /// Stops everything: another process goes on with this edge, or it ends.
    pub(crate) fn stop(&self) {
        self.unlink();
        self.etcd.stop();
    }

    /// A copy of the store beside it.
    fn backup(&self) -> Result<PathBuf, FleetRefusal> {
        let mut path = self.store.as_os_str().to_owned();
        path.push(format!(".before-fleet-{}", now_sec()));
        let path = PathBuf::from(path);
        let copied = self.control.backup(&path);
        copied.map_err(|error| {
            FleetRefusal::Unavailable(format!("no backup could be made: {error}"))
        })?;
        Ok(path)
    }
}

impl Fleet for Edge {
    fn shown(&self) -> FleetShown {
        let membership = self.control.membership();
        let mark = membership.as_ref().map(|membership| membership.mark);
        let mut shown = FleetShown {
            state: FleetState::Alone,
            why: None,
            name: Some(self.name.clone()),
            edge: Some(self.edge.clone()),
            revision: self.control.model().revision,
            digest: mark.map(|mark| {
                let digest = mark.digest.iter();
                digest.map(|byte| format!("{byte:02x}")).collect()
            }),
            head: None,
            age_seconds: 0.0,
            leader: None,
            leads: *self.leads.borrow(),
            etcd: self.members.clone(),
            credentials: self.credentials.clone(),
            in_force: InForce::default(),
            alone: self.control.held_alone().entries.clone(),
        };
        if let Some(link) = self.link().as_ref() {
            link.show(&mut shown);
        } else if let Some(membership) = membership {
            shown.state = FleetState::Stuck;
            shown.age_seconds = self.seen.age().as_secs_f64();
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            shown.why = refused.clone();
            if refused.is_none() {
                shown.state = FleetState::Away;
                shown.why = Some("etcd was not asked yet".into());
            }
            if membership.fleet != self.name {
                shown.state = FleetState::Stuck;
                shown.why = Some(format!(
                    "the store belongs to the fleet `{}`, which is not the configured one",
                    membership.fleet
                ));
            }
        }
        shown
    }

    fn edges(&self) -> Result<Vec<FleetEdge>, FleetRefusal> {
        let away = self.link().as_ref().and_then(Link::is_away);
        if let Some(why) = away {
            return Err(unavailable(why));
        }
        let edges = self.etcd.edges().map_err(unavailable)?;
        Ok(edges.into_iter().map(link::edge_shown).collect())
    }

    fn founded(&self) -> Result<Option<Founded>, FleetRefusal> {
        let record = self.etcd.record().map_err(unavailable)?;
        Ok(record.map(|record| Founded {
            at: record.founded_at / 1000,
            format_fits: fits(&record),
            key_fits: self.control.has_key_of(&self.name, &record.proof),
            store_format: record.store_format,
            by: record.by,
        }))
    }

    fn init(&self, replace: bool) -> Result<FleetDone, FleetRefusal> {
        if replace {
            // Before what is there is removed.
            if self.control.membership().is_some() {
                return Err(refused(
                    "this gateway is in a fleet still: `postern fleet leave` first",
                ));
            }
            let left = self.control.left();
            let left = left.filter(|left| left.fleet == self.name);
            let left = left.map(|left| head(left.mark));
            let kept = self
                .etcd
                .remove_fleet(move |record, head| not_replaced(record, head, left.as_ref()));
            if let Some(why) = kept.map_err(unavailable)? {
                return Err(refused(why));
            }
        }
        let proof = self.control.fleet_proof(&self.name);
        let proof = proof.map_err(|error| not_made(&error))?;
        let founding = Founding {
            store_format: u32::try_from(STORE_FORMAT).unwrap_or(u32::MAX),
            proof,
        };
        let founded = self.control.found(&self.name, |state| {
            ledger::found(&self.etcd, &founding, state)
        });
        founded.map_err(|error| not_made(&error))?;
        self.seen.begin(Moment::now());
        tracing::info!(fleet = self.name, "the fleet is founded with what is here");
        self.enter_and_wait();
        Ok(FleetDone::default())
    }

    fn join(&self, replace: bool) -> Result<FleetDone, FleetRefusal> {
        let record = self.etcd.record().map_err(unavailable)?;
        let record = record.ok_or_else(|| {
            refused(format!(
                "etcd has no fleet `{}`: `postern fleet init` on the gateway whose state it is to begin \
                 with, or mend fleet.name",
                self.name
            ))
        })?;
        if !fits(&record) {
            return Err(refused(of_another_format(&record)));
        }
        if !self.control.has_key_of(&self.name, &record.proof) {
            return Err(refused(
                "this gateway's key file (ca.key, or what ca.key_file names) is not the fleet's: private keys \
                 could not be opened here. Stop this gateway, copy the key file of an edge of the fleet in its \
                 place (mode 0600), remove or restore its own store, and start it again",
            ));
        }
        let (state, asked) = ledger::state(&self.etcd).map_err(unavailable)?;
        let backup = if replace && !self.control.is_fresh() {
            Some(self.backup()?)
        } else {
            None
        };
        // Not while the old membership is followed.
        self.unlink();
        let joined = self.control.join(&self.name, &state, replace);
        if joined.is_ok() {
            self.seen.begin(asked);
        }
        let entered = joined.map_err(|error| not_made(&error));
        self.enter_and_wait();
        let membership = entered?;
        tracing::info!(
            fleet = self.name,
            revision = membership.mark.revision,
            "joined the fleet"
        );
        Ok(FleetDone { backup })
    }

    fn leave(&self) -> Result<FleetDone, FleetRefusal> {
        let link = self.link().take();
        if let Some(link) = link {
            link.leave();
        }
        let left = self.control.leave();
        if let Err(error) = left {
            self.enter();
            return Err(not_made(&error));
        }
        tracing::info!(fleet = self.name, "left the fleet");
        Ok(FleetDone::default())
    }

    fn accept(&self) -> Result<FleetDone, FleetRefusal> {
        let is_another = {
            let link = self.link();
            let link = link.as_ref();
            let link = link.ok_or_else(|| refused("this gateway is in no fleet"))?;
            link.follows_another()
        };
        if !is_another {
            return Err(refused(
                "there is nothing to accept: etcd has the log that this edge follows, or cannot be asked",
            ));
        }
        let record = self.etcd.record().map_err(unavailable)?;
        if let Some(record) = record.filter(|record| !fits(record)) {
            return Err(refused(of_another_format(&record)));
        }
        let backup = Some(self.backup()?);
        let (state, asked) = ledger::state(&self.etcd).map_err(unavailable)?;
        self.unlink();
        let joined = self.control.join(&self.name, &state, true);
        if joined.is_ok() {
            self.seen.begin(asked);
        }
        let entered = joined.map_err(|error| not_made(&error));
        self.enter_and_wait();
        entered?;
        Ok(FleetDone { backup })
    }

    fn forget(&self, edge: &str) -> Result<FleetDone, FleetRefusal> {
        match self.etcd.remove_edge(edge).map_err(unavailable)? {
            true => Ok(FleetDone::default()),
            false => Err(refused(format!(
                "`{edge}` is alive, or no edge of that name is known; `postern fleet status` shows them"
            ))),
        }
    }
}
