//! What a member has going: it follows, stands for leading, and tells the others of itself.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::ledger::{EtcdLedger, framed, head};
use super::taker::{Taker, Times};
use super::{StuckKind, since};
use crate::limits::{FLEET_ENTRIES_KEPT, FLEET_UPKEEP};
use ::fleet::{
    Candidacy, EdgeSeen, Fleet as Etcd, Following, Leadership, LogError, Presence, PresenceState,
    State, Upkeep,
};
use admin::{FleetEdge, FleetShown, FleetState};
use control::{Control, Membership};

/// A member's connection to its fleet. Dropped, it follows no more, resigns, and is no longer alive.
pub(super) struct Link {
    following: Following,
    candidacy: Candidacy,
    presence: Presence,
    times: Option<Times>,
    upkeep: Option<Upkeep>,
    upkeep_at: Instant,
    begun: Instant,
}

impl Link {
    pub(super) fn new(
        etcd: &Arc<Etcd>,
        control: &Arc<Control>,
        membership: &Membership,
    ) -> Result<Self, LogError> {
        control.attach(Some(Arc::new(EtcdLedger(etcd.clone()))));
        let times = Times::new();
        let taker = Taker {
            control: control.clone(),
            times: times.clone(),
        };
        let following = etcd.follow(head(membership.mark), taker);
        let presence = etcd.announce(&membership.edge.to_string(), json!({}))?;
        Ok(Self {
            following,
            candidacy: etcd.lead()?,
            presence,
            times,
            upkeep: Some(Upkeep::default()),
            upkeep_at: Instant::now(),
            begun: Instant::now(),
        })
    }

    /// Tells the others how this edge is.
    pub(super) fn say(&self, control: &Control) {
        let (state, _) = self.state();
        self.presence.say(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "revision": control.model().revision,
            "state": state.as_str(),
            "in_force": self.times.as_ref().map(Times::shown).unwrap_or_default(),
            "leads": self.leads(),
        }));
    }

    pub(super) fn leads(&self) -> bool {
        self.candidacy.is_leading()
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
            State::Stuck { why, .. } => (FleetState::Stuck, Some(why)),
        }
    }

    /// Why it is stuck, when it is.
    pub(super) fn stuck(&self) -> Option<StuckKind> {
        match &self.following.now().state {
            State::Stuck { reason, .. } => Some(reason.into()),
            _ => None,
        }
    }

    pub(super) fn show(&self, shown: &mut FleetShown) {
        (shown.state, shown.why) = self.state();
        let standing = self.following.now();
        shown.head = standing.head.map(|head| head.max(shown.revision));
        let contact = standing.contact.map(tokio::time::Instant::into_std);
        shown.age_seconds = since(contact.unwrap_or(self.begun));
        shown.leads = self.leads();
        shown.leader = match self.candidacy.leadership().borrow().clone() {
            Leadership::Leading => shown.edge.clone(),
            Leadership::Following { leader } => Some(leader),
            Leadership::Nobody => None,
        };
        shown.in_force = self.times.as_ref().map(Times::shown).unwrap_or_default();
    }

    /// The state of the upkeep, when some is due. It is to be given back.
    pub(super) fn upkeep_due(&mut self) -> Option<Upkeep> {
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

/// Keeps etcd from growing: a new state now and then, and no entries from long before it.
pub(super) fn maintain(etcd: &Etcd, control: &Control, upkeep: &mut Upkeep) {
    let state = || {
        let state = control.state().map_err(|error| error.to_string())?;
        Ok((head(state.mark), framed(state.parts)))
    };
    match etcd.maintain(upkeep, FLEET_ENTRIES_KEPT, state) {
        Ok(done) => tracing::debug!(?done, "the fleet's log is kept short"),
        Err(error) => tracing::warn!(%error, "the fleet's log in etcd is not kept short"),
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
