//! What a member has going: it follows, stands for leading, and tells the others of itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::Lately;
use super::ledger::{EtcdLedger, framed, head};
use super::seen::Seen;
use super::taker::{Taker, Times, now_ms};
use super::turns::Turns;
use crate::limits::{
    FLEET_AWAY, FLEET_ENTRIES_KEPT, FLEET_LEADS_WITHOUT, FLEET_SEEN_EVERY, FLEET_UPKEEP,
    FLEET_UPKEEP_AGAIN,
};
use ::fleet::limits::SNAPSHOT_BYTES_MAX;
use ::fleet::{
    Candidacy, EdgeSeen, Fleet as Etcd, Following, Leadership, LogError, Presence, PresenceState,
    SnapshotError, State, Stuck, Upkeep,
};
use admin::{FleetEdge, FleetShown, FleetState};
use control::{Control, Membership};

/// A member's connection to its fleet. Dropped, it follows no more, resigns, and is no longer alive.
pub(super) struct Link {
    etcd: Arc<Etcd>,
    following: Following,
    /// `None` while another edge has this one's name, or this one does not go on with its fleet.
    candidacy: Option<Candidacy>,
    /// Since when it does not.
    unfit: Option<Instant>,
    presence: Presence,
    times: Option<Times>,
    upkeep: Option<Upkeep>,
    upkeep_at: Instant,
    seen: Arc<Seen>,
    /// When the store was told of that.
    kept: Mutex<Option<Instant>>,
}

impl Link {
    pub(super) fn new(
        etcd: &Arc<Etcd>,
        control: &Arc<Control>,
        membership: &Membership,
        seen: &Arc<Seen>,
        checked: &Arc<AtomicBool>,
    ) -> Result<Self, LogError> {
        let times = Times::new();
        let taker = Taker {
            control: control.clone(),
            times: times.clone(),
            begun_ms: now_ms(),
            checked: checked.clone(),
            clocks: Lately::default(),
        };
        let following = etcd.follow(head(membership.mark), taker);
        control.attach(Ok(Arc::new(EtcdLedger {
            etcd: etcd.clone(),
            standing: following.standing(),
            checked: checked.clone(),
            turns: Turns::default(),
        })));
        let presence = etcd.announce(&membership.edge.to_string(), json!({}))?;
        Ok(Self {
            etcd: etcd.clone(),
            following,
            candidacy: Some(etcd.lead()?),
            unfit: None,
            presence,
            times,
            upkeep: Some(Upkeep::default()),
            upkeep_at: Instant::now(),
            seen: seen.clone(),
            kept: Mutex::default(),
        })
    }

    /// Tells the others how this edge is.
    pub(super) fn say(&self, control: &Control) {
        let (state, _) = self.state();
        self.presence.say(json!({
            "version": vocabulary::version(),
            "revision": control.model().revision,
            "state": state.as_str(),
            "in_force": self.times.as_ref().map(Times::shown).unwrap_or_default(),
            "leads": self.leads(),
        }));
    }

    pub(super) fn leads(&self) -> bool {
        self.candidacy.as_ref().is_some_and(Candidacy::is_leading)
    }

    /// Does not stand for leading under a name that is another's, nor while it is stuck or hears nothing: what is done
    /// once would not be done at all then, and the lease alone would go on. What it stands by no more is the caller's
    /// to let go of: that may take a moment.
    pub(super) fn look_at_candidacy(&mut self) -> Option<Candidacy> {
        let goes_on = matches!(
            self.following.now().state,
            State::Current | State::Behind { .. }
        );
        let since = match goes_on {
            true => None,
            false => Some(self.unfit.unwrap_or_else(Instant::now)),
        };
        self.unfit = since;
        let is_unfit = since.is_some_and(|since| since.elapsed() >= FLEET_LEADS_WITHOUT);
        let is_taken = match &*self.presence.state().borrow() {
            PresenceState::Taken { .. } => true,
            PresenceState::Present => false,
            // As before.
            PresenceState::Unknown { .. } | PresenceState::Replaced => self.candidacy.is_none(),
        };
        if is_taken || is_unfit {
            return self.candidacy.take();
        }
        if self.candidacy.is_none() && goes_on {
            self.candidacy = self.etcd.lead().ok();
        }
        None
    }

    /// Whether it has all that the fleet has.
    pub(super) fn is_current(&self) -> bool {
        self.following.now().state == State::Current
    }

    /// Notes when it had all that the fleet has. Answers of whether the store is to have it for the next process.
    pub(super) fn note_current(&self) -> bool {
        let Some(whole) = self.following.now().whole else {
            return false;
        };
        self.seen.had_all(whole);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let was_kept = kept.is_some_and(|kept| kept.elapsed() < FLEET_SEEN_EVERY);
        if was_kept || self.seen.age() >= FLEET_SEEN_EVERY {
            return false;
        }
        *kept = Some(Instant::now());
        true
    }

    /// How it stands, and why.
    fn state(&self) -> (FleetState, Option<String>) {
        match &*self.presence.state().borrow() {
            PresenceState::Taken { by } => {
                let why = format!(
                    "another live edge ({by}) has this edge's name: set `fleet.edge` to another one here or there"
                );
                return (FleetState::Stuck, Some(why));
            }
            PresenceState::Unknown { .. } | PresenceState::Present | PresenceState::Replaced => {}
        }
        match self.following.now().state {
            State::Current => (FleetState::Current, None),
            State::Behind { .. } => (FleetState::Behind, None),
            State::Away { why } => (FleetState::Away, Some(why)),
            State::Stuck {
                reason: Stuck::Another { .. },
                why,
            } => {
                let why = format!(
                    "{why}. See which state is right: `postern fleet accept --yes` goes on with what etcd has, and \
                     what only this edge has is lost then"
                );
                (FleetState::Stuck, Some(why))
            }
            State::Stuck { why, .. } => (FleetState::Stuck, Some(why)),
        }
    }

    /// Why etcd does not answer, when it has not for some time: asking it would only take time.
    pub(super) fn is_away(&self) -> Option<String> {
        let standing = self.following.now();
        let is_fresh = |contact: tokio::time::Instant| contact.elapsed() < FLEET_AWAY;
        match standing.state {
            State::Away { why } if !standing.contact.is_some_and(is_fresh) => Some(why),
            _ => None,
        }
    }

    /// Whether etcd has an older log than the one that was followed, or another one.
    pub(super) fn follows_another(&self) -> bool {
        let state = self.following.now().state;
        let another = |reason| matches!(reason, Stuck::Another { .. });
        matches!(state, State::Stuck { reason, .. } if another(reason))
    }

    pub(super) fn show(&self, shown: &mut FleetShown) {
        (shown.state, shown.why) = self.state();
        let standing = self.following.now();
        shown.head = standing.head.map(|head| head.max(shown.revision));
        if let Some(whole) = standing.whole {
            self.seen.had_all(whole);
        }
        shown.age_seconds = self.seen.age().as_secs_f64();
        shown.leads = self.leads();
        let leadership = self.candidacy.as_ref().map(Candidacy::leadership);
        let leadership = leadership.map(|leadership| leadership.borrow().clone());
        shown.leader = match leadership {
            Some(Leadership::Leading) => shown.edge.clone(),
            Some(Leadership::Following { leader }) => Some(leader),
            Some(Leadership::Nobody) | None => None,
        };
        shown.in_force = self.times.as_ref().map(Times::shown).unwrap_or_default();
    }

    /// Has the upkeep wait after one that failed: it would fail again.
    pub(super) fn upkeep_failed(&mut self) {
        self.upkeep_at = Instant::now() + FLEET_UPKEEP_AGAIN;
    }

    /// The state of the upkeep, when some is due. It is to be given back.
    pub(super) fn upkeep_due(&mut self) -> Option<Upkeep> {
        // After a failure it lies in the future.
        if self.upkeep_at.elapsed() < FLEET_UPKEEP {
            return None;
        }
        self.upkeep_at = Instant::now();
        self.upkeep.take()
    }

    pub(super) fn upkeep_done(&mut self, upkeep: Upkeep) {
        self.upkeep = Some(upkeep);
    }

    /// Has the others forget this edge.
    pub(super) fn leave(self) {
        let Self {
            following,
            candidacy,
            presence,
            ..
        } = self;
        drop(following);
        drop(candidacy);
        presence.leave();
    }
}

/// What became of the upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upkept {
    /// It is due again as ever.
    Done,
    /// It reads the whole store, and would fail again.
    Hopeless,
}

/// Keeps etcd from growing: a new state now and then, and no entries from long before it.
pub(super) fn maintain(etcd: &Etcd, control: &Control, upkeep: &mut Upkeep) -> Upkept {
    let state = || {
        let state = control.state().map_err(|error| error.to_string())?;
        let bytes: u64 = state.parts.iter().map(|part| part.len() as u64 + 4).sum();
        if bytes > SNAPSHOT_BYTES_MAX {
            return Err(format!(
                "what the fleet has is {bytes} bytes large, and {SNAPSHOT_BYTES_MAX} are the most that is put into etcd as a \
                 whole: the log is not trimmed, and edges that were away for long cannot come back"
            ));
        }
        Ok((head(state.mark), framed(state.parts)))
    };
    match etcd.maintain(upkeep, FLEET_ENTRIES_KEPT, state) {
        Ok(done) => {
            tracing::debug!(?done, "the fleet's log is kept short");
            Upkept::Done
        }
        Err(error @ (SnapshotError::Caller(_) | SnapshotError::TooLarge)) => {
            tracing::error!(%error, "the fleet's log in etcd is not kept short");
            Upkept::Hopeless
        }
        Err(error) => {
            tracing::warn!(%error, "the fleet's log in etcd is not kept short this time");
            Upkept::Done
        }
    }
}

/// An edge, as the API tells of it.
pub(super) fn edge_shown(edge: EdgeSeen) -> FleetEdge {
    let value = &edge.value;
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    FleetEdge {
        alive: edge.is_alive,
        at: edge.at / 1000,
        version: text("version"),
        revision: value.get("revision").and_then(Value::as_u64),
        state: text("state"),
        in_force: value.get("in_force").cloned(),
        leads: edge.is_alive && value.get("leads").and_then(Value::as_bool) == Some(true),
        name: edge.name,
    }
}
