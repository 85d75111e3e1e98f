//! The context of every handler: the parts of the gateway that the API speaks about, the actor of a
//! request, and `Context::run`, which takes work of the control plane off the async threads.

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::StatusCode;

use super::fault::Fault;
use super::rates::Rates;
use super::tls::AdminTls;
use config::Live;
use control::{ChangeError, Control, Id, Intent};
use datapath::observe::{AccessLog, Workers};
use fetch::{Lists, Responders};
use snapshot::Published;

/// What the API speaks about.
#[derive(Clone)]
pub struct State {
    /// Zones, hosts, certificates, rules.
    pub control: Arc<Control>,
    /// Revocation lists that are fetched.
    pub lists: Arc<Lists>,
    /// Responders that are asked about clients.
    pub responders: Arc<Responders>,
    /// What the data path runs on now.
    pub published: Arc<Published>,
    /// The workers.
    pub fleet: Arc<dyn Workers>,
    /// What can be tuned.
    pub live: Arc<Live>,
    /// For its count of dropped lines.
    pub access_log: AccessLog,
    /// When the process started.
    pub started: SystemTime,
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// For the audit log.
    pub(crate) name: String,
    /// Whether it is a token of some zones only.
    pub(crate) tenant: bool,
}

impl From<String> for Actor {
    fn from(name: String) -> Self {
        Self {
            name,
            tenant: false,
        }
    }
}

/// The state of the API itself.
pub(crate) struct Context {
    pub(crate) state: State,
    pub(super) rates: Rates,
    /// What the TCP listener is called, when it speaks TLS.
    pub(super) tls: Option<Arc<AdminTls>>,
}

pub(crate) type Shared = axum::extract::State<Arc<Context>>;

impl Context {
    /// Runs work of the control plane where it may wait for the disk. It is finished even when
    /// the client is gone by then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        intent: Intent,
        work: impl FnOnce(&Control) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        let control = self.state.control.clone();
        let done = tokio::task::spawn_blocking(move || control.with_intent(intent, work)).await;
        match done {
            Ok(answer) => Ok(answer?),
            Err(_panicked) => {
                let message =
                    "The change failed inside; nothing was changed. The log has the reason";
                Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message))
            }
        }
    }

    /// Checks an account id: there is one account.
    pub(crate) fn account(&self, id: &str) -> Result<Id, Fault> {
        let id: Id = id.parse()?;
        if id == self.state.control.model().account {
            return Ok(id);
        }
        let message = format!("There is no account `{id}`; zones answer the one there is");
        Err(Fault::new(StatusCode::NOT_FOUND, 7003, message))
    }

    /// The id of a zone that exists.
    pub(crate) fn zone(&self, id: &str) -> Result<Id, Fault> {
        let id: Id = id.parse()?;
        if self.state.control.model().zones.contains_key(&id) {
            return Ok(id);
        }
        let message = format!("Invalid zone identifier: there is no zone `{id}`");
        Err(Fault::new(StatusCode::NOT_FOUND, 1001, message))
    }
}
