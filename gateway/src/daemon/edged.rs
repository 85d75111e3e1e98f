//! The fleet as the rest of the process has it, whether it was built with one or not, and whether the
//! configuration has one or not.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StartError;
#[cfg(feature = "fleet")]
use super::fleet::Edge;
use admin::{Fleet, NoFleet};
use control::Control;
use datapath::connection::Shared;

/// This gateway as an edge, or as one that is alone.
#[derive(Clone)]
pub(super) enum Edged {
    /// It is alone.
    Not(&'static str),
    /// There is a fleet in the configuration.
    #[cfg(feature = "fleet")]
    Is(Arc<Edge>),
}

impl Edged {
    #[cfg(feature = "fleet")]
    pub(super) fn start(
        wanted: &config::Fleet,
        store: &Path,
        control: &Arc<Control>,
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let edge = Edge::start(wanted, store, &super::host_name(), control, shared)?;
        Ok(match edge {
            Some(edge) => Self::Is(edge),
            None => Self::alone(control),
        })
    }

    #[cfg(not(feature = "fleet"))]
    pub(super) fn start(
        wanted: &config::Fleet,
        _store: &Path,
        control: &Arc<Control>,
        _shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        if wanted.name.is_none() {
            return Ok(Self::alone(control));
        }
        let why = "this postern was built without the feature `fleet`: install one that was, or remove \
                   `fleet.name` and `fleet.etcd`";
        tracing::error!("{why}");
        Ok(Self::Not(why))
    }

    fn alone(control: &Control) -> Self {
        if let Some(membership) = control.membership() {
            tracing::error!(
                fleet = membership.fleet,
                "the store belongs to a fleet, and none is configured: changes are refused until `fleet.name` \
                 and `fleet.etcd` are set again, or `postern fleet leave` is called"
            );
        }
        Self::Not(NoFleet::NOT_SET)
    }

    /// What the API asks.
    pub(super) fn desk(&self, control: &Arc<Control>) -> Arc<dyn Fleet> {
        match self {
            Self::Not(why) => Arc::new(NoFleet::new(why, control.clone())),
            #[cfg(feature = "fleet")]
            Self::Is(edge) => edge.clone(),
        }
    }

    /// Whether this process does what is done once in a fleet.
    pub(super) fn leads(&self) -> watch::Receiver<bool> {
        match self {
            Self::Not(_) => watch::channel(true).1,
            #[cfg(feature = "fleet")]
            Self::Is(edge) => edge.leads(),
        }
    }

    /// Has the edge look after its fleet.
    pub(super) fn spawn(&self) -> Option<JoinHandle<()>> {
        match self {
            Self::Not(_) => None,
            #[cfg(feature = "fleet")]
            Self::Is(edge) => Some(tokio::spawn(edge.clone().run())),
        }
    }

    /// Is no edge any more. May wait for etcd, within a bound.
    pub(super) fn stop(&self) {
        match self {
            Self::Not(_) => {}
            #[cfg(feature = "fleet")]
            Self::Is(edge) => edge.stop(),
        }
    }
}
