//! The fleet as the API tells of it: asked here, done by the process that has the connection to etcd.
//!
//! Owns the words, and what a gateway without a fleet answers.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use control::{AloneEntry, Control, Moment};
use vocabulary::clock::now_sec;

vocabulary::words! {
    /// How an edge stands to its fleet.
    pub enum FleetState("a state of an edge") {
        /// Nothing in the configuration says that there is a fleet.
        Off = "off",
        /// There is one in the configuration, and the store belongs to none.
        Alone = "alone",
        /// It has all that etcd had a moment ago.
        Current = "current",
        /// It reads what it has not got.
        Behind = "behind",
        /// etcd does not answer. What is here stays in force.
        Away = "away",
        /// It does not go on before a person has decided.
        Stuck = "stuck",
    }
}

/// Times from when a change was made on another edge to when it was in force here, by the clocks of both,
/// of the changes since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct InForce {
    /// How many changes.
    pub changes: u64,
    /// Half of them took less, in milliseconds.
    pub p50_ms: u64,
    /// Of a hundred, ninety-nine took less.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

/// An edge of the fleet, as it has said of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetEdge {
    /// Its name.
    pub name: String,
    /// Whether it has been heard of within the time that it promised.
    pub alive: bool,
    /// When it said so last, in seconds since 1970, by its clock.
    pub at: u64,
    /// Its version of Postern.
    pub version: Option<String>,
    /// The last revision that is in force there.
    pub revision: Option<u64>,
    /// How it stood to the fleet.
    pub state: Option<String>,
    /// See [`InForce`].
    pub in_force: Option<serde_json::Value>,
    /// Whether it does what is done once.
    pub leads: bool,
}

vocabulary::words! {
    /// What an edge shows etcd, or believes it by.
    pub enum FleetCredential("a credential") {
        /// The CA of etcd's members that lasts longest.
        Ca = "ca",
        /// This edge's certificate.
        Certificate = "certificate",
    }
}

/// When a credential is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CredentialEnd {
    /// Which one.
    pub kind: FleetCredential,
    /// When, in seconds since 1970.
    pub ends: i64,
}

/// What etcd has of the fleet, and whether this gateway could be an edge of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Founded {
    /// When it was founded, in seconds since 1970, by the clock of the edge that founded it.
    pub at: u64,
    /// Which edge founded it.
    pub by: String,
    /// The format of its stores.
    pub store_format: u32,
    /// Whether this version has that format, and understands what is in etcd.
    pub format_fits: bool,
    /// Whether this gateway has its key.
    pub key_fits: bool,
}

/// What is known of the fleet without asking anybody.
#[derive(Debug, Clone, Serialize)]
pub struct FleetShown {
    /// How this edge stands to it.
    pub state: FleetState,
    /// Why it is away or stuck.
    pub why: Option<String>,
    /// The fleet's name.
    pub name: Option<String>,
    /// What this edge is called.
    pub edge: Option<String>,
    /// The revision that is in force here.
    pub revision: u64,
    /// The digest of the log up to there.
    pub digest: Option<String>,
    /// The last revision that etcd was seen to have.
    pub head: Option<u64>,
    /// For how long what is here may have been old: since when etcd has not said that there is nothing
    /// newer. 0 for one that is alone.
    pub age_seconds: f64,
    /// Which edge does what is done once.
    pub leader: Option<String>,
    /// Whether it is this one.
    pub leads: bool,
    /// etcd's members.
    pub etcd: Vec<String>,
    /// When what etcd is reached with is over.
    pub credentials: Vec<CredentialEnd>,
    /// See [`InForce`].
    pub in_force: InForce,
    /// Revocations and denials that hold on this edge alone.
    pub alone: Vec<AloneEntry>,
}

/// Why the fleet does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetRefusal {
    /// It is not to be done; the text says what is.
    #[error("{0}")]
    Refused(String),
    /// It may be done later.
    #[error("{0}")]
    Unavailable(String),
}

/// What has been done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FleetDone {
    /// What was here before, when something else took its place.
    pub backup: Option<PathBuf>,
}

/// The fleet of a gateway. All but [`Self::shown`] may wait for etcd, within a bound.
pub trait Fleet: Send + Sync {
    /// What is known here.
    fn shown(&self) -> FleetShown;

    /// Asks for all edges.
    ///
    /// # Errors
    /// etcd cannot be asked.
    fn edges(&self) -> Result<Vec<FleetEdge>, FleetRefusal>;

    /// Asks for what etcd has of the fleet; nothing when it was not founded.
    ///
    /// # Errors
    /// etcd cannot be asked.
    fn founded(&self) -> Result<Option<Founded>, FleetRefusal>;

    /// Founds the fleet with what is here, and with `replace` in the place of one whose stores have another
    /// format.
    ///
    /// # Errors
    /// See [`FleetRefusal`].
    fn init(&self, replace: bool) -> Result<FleetDone, FleetRefusal>;

    /// Joins the fleet, and with `replace` throws away what is here.
    ///
    /// # Errors
    /// See [`FleetRefusal`].
    fn join(&self, replace: bool) -> Result<FleetDone, FleetRefusal>;

    /// Leaves the fleet, with what is here.
    ///
    /// # Errors
    /// See [`FleetRefusal`].
    fn leave(&self) -> Result<FleetDone, FleetRefusal>;

    /// Goes on with what etcd has, although it is older than what is here, or another's.
    ///
    /// # Errors
    /// See [`FleetRefusal`].
    fn accept(&self) -> Result<FleetDone, FleetRefusal>;

    /// Forgets an edge that is dead.
    ///
    /// # Errors
    /// See [`FleetRefusal`].
    fn forget(&self, edge: &str) -> Result<FleetDone, FleetRefusal>;
}

/// How long ago a time was that is given in seconds since 1970, in seconds; 0 for one that is to come.
#[must_use]
pub fn age_of(seconds: i64) -> f64 {
    let age = u32::try_from(now_sec().saturating_sub(seconds).max(0)).unwrap_or(u32::MAX);
    f64::from(age)
}

/// Of a gateway that has none.
pub struct NoFleet {
    why: &'static str,
    control: Arc<Control>,
    /// When the store had all that its fleet has, if it belongs to one.
    seen_sec: Option<i64>,
}

impl NoFleet {
    /// What to do to have one.
    pub const NOT_SET: &'static str =
        "no fleet is configured: set `fleet.name` and `fleet.etcd`, and `postern reload`";

    /// There is none, and this is why.
    #[must_use]
    pub fn new(why: &'static str, control: Arc<Control>) -> Self {
        let seen = control.membership().and_then(|_| control.last_current());
        Self {
            why,
            seen_sec: seen.map(Moment::seconds),
            control,
        }
    }

    fn refused<T>(&self) -> Result<T, FleetRefusal> {
        Err(FleetRefusal::Refused(self.why.into()))
    }
}

impl Fleet for NoFleet {
    fn shown(&self) -> FleetShown {
        let membership = self.control.membership();
        FleetShown {
            state: match &membership {
                Some(_) => FleetState::Stuck,
                None => FleetState::Off,
            },
            why: Some(self.why.into()),
            age_seconds: match (&membership, self.seen_sec) {
                (Some(_), Some(seen)) => age_of(seen),
                _ => 0.0,
            },
            name: membership.map(|membership| membership.fleet),
            edge: None,
            revision: self.control.model().revision,
            digest: None,
            head: None,
            leader: None,
            leads: true,
            etcd: Vec::new(),
            credentials: Vec::new(),
            in_force: InForce::default(),
            alone: self.control.held_alone().entries.clone(),
        }
    }

    fn edges(&self) -> Result<Vec<FleetEdge>, FleetRefusal> {
        Ok(Vec::new())
    }

    fn founded(&self) -> Result<Option<Founded>, FleetRefusal> {
        Ok(None)
    }

    fn init(&self, _replace: bool) -> Result<FleetDone, FleetRefusal> {
        self.refused()
    }

    fn join(&self, _replace: bool) -> Result<FleetDone, FleetRefusal> {
        self.refused()
    }

    /// A store that belongs to a fleet may leave it without asking anybody.
    fn leave(&self) -> Result<FleetDone, FleetRefusal> {
        let left = self.control.leave();
        left.map_err(|error| FleetRefusal::Refused(error.to_string()))?;
        Ok(FleetDone::default())
    }

    fn accept(&self) -> Result<FleetDone, FleetRefusal> {
        self.refused()
    }

    fn forget(&self, _edge: &str) -> Result<FleetDone, FleetRefusal> {
        self.refused()
    }
}
