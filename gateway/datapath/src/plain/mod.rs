//! Plain HTTP in front: redirects to HTTPS, ACME challenges, and health checks.
//!
//! `listen.http` faces strangers and has a thread of its own, with tokio's sockets; `health.listen`
//! is for balancers, and is served by the thread of the control plane, whose life it tells of. One
//! connection is one request and one answer. Owns what is answered, the bounds of such connections
//! and their counts; no request is forwarded from here, no body is read, and no rule is asked.

mod answer;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::connection::Shared;
use crate::observe::Workers;
use crate::worker::{ListenError, Listeners, Placement, copies, listen};

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `listen.http`.
    Redirects,
    /// `health.listen`.
    Health,
}

vocabulary::words! {
    /// What became of a plain connection.
    pub enum Outcome("an outcome of plain HTTP", without serde) {
        /// Redirected to HTTPS.
        Redirected = "redirected",
        /// A challenge of an ACME server was answered (HTTP-01).
        AcmeChallenge = "acme_challenge",
        /// A health check was answered.
        Health = "health",
        /// It asked for a host that is not here (421), or for something that is not there (404).
        Unknown = "unknown",
        /// The request was no HTTP that is answered here.
        Refused = "refused",
        /// No request came in time, or the client went away before.
        Gone = "gone",
        /// Its client has its share, or `limit.connections` was reached.
        Share = "share",
        /// It gave way to newer ones.
        Evicted = "evicted",
        /// It came from `proxy.protocol_from` without a PROXY header.
        ProxyHeader = "proxy_header",
    }
}

/// How many connections had each outcome.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Outcome::ALL.len()]);

impl Counts {
    fn add(&self, outcome: Outcome) {
        if let Some(count) = self.0.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every outcome with its count.
    pub fn all(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Outcome::ALL.into_iter().zip(counts)
    }
}

/// Listening sockets for plain HTTP.
pub struct Plain {
    role: Role,
    addresses: Vec<SocketAddr>,
    sockets: Vec<OwnedFd>,
    /// Of addresses that are not listened on any more, until they are closed.
    leaving: Vec<OwnedFd>,
}

/// Copies of listening sockets, for another process, and the way to leave them to it.
pub struct Door {
    copies: Vec<(SocketAddr, OwnedFd)>,
    leaving: watch::Sender<bool>,
}

impl Door {
    /// Copies of the sockets, with the address of each.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn copies(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let copy = |(address, socket): &(SocketAddr, OwnedFd)| Ok((*address, socket.try_clone()?));
        self.copies.iter().map(copy).collect()
    }

    /// Listens: clients come from now on.
    pub fn listen(&self) {
        for (address, socket) in &self.copies {
            if let Err(error) = crate::io::listen(socket) {
                tracing::error!(%address, %error, "plain HTTP is not listened for there");
            }
        }
    }

    /// Accepts nothing more: another process does. What was accepted is answered.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }
}

/// What plain connections find of the gateway.
#[derive(Clone)]
pub struct Surroundings {
    /// Hosts, shares, what can be tuned.
    pub shared: Arc<Shared>,
    /// The count of all connections.
    pub placement: Arc<Placement>,
    /// Whether they are ready.
    pub workers: Arc<dyn Workers>,
    /// What became of plain connections.
    pub counts: Arc<Counts>,
}

impl Plain {
    /// Takes over the sockets of another process, as [`Listeners::take_over`].
    ///
    /// # Errors
    /// An address cannot be had.
    pub fn take_over(
        role: Role,
        addresses: &[SocketAddr],
        handed: Vec<(SocketAddr, OwnedFd)>,
        held: &[SocketAddr],
    ) -> Result<(Self, Vec<OwnedFd>), ListenError> {
        let (listeners, rest) = Listeners::take_over(1, addresses, handed, held)?;
        let mut taken = Self {
            role,
            addresses: addresses.to_vec(),
            sockets: Vec::new(),
            leaving: Vec::new(),
        };
        for sockets in listeners.into_workers() {
            taken.sockets.extend(sockets.own);
            taken.leaving.extend(sockets.leaving);
        }
        Ok((taken, rest))
    }

    /// As [`Listeners::listen`].
    ///
    /// # Errors
    /// An address has been taken meanwhile.
    pub fn listen(&self) -> Result<(), ListenError> {
        listen(&self.sockets)
    }

    /// Serves until the future is dropped, or the sockets are left to another process. When it is awaited for
    /// the first time, which is to be in a runtime of tokio, the sockets must [listen](Door::listen).
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn serve(
        self,
        around: Surroundings,
    ) -> io::Result<(Door, impl Future<Output = ()> + Send + 'static)> {
        let (leaving, left) = watch::channel(false);
        let door = Door {
            copies: copies(&self.sockets, &self.addresses)?,
            leaving,
        };
        let role = self.role;
        let sockets = self.sockets.into_iter().chain(self.leaving);
        let sockets: Vec<_> = sockets.map(std::net::TcpListener::from).collect();
        let serving = async move {
            let mut listeners = Vec::with_capacity(sockets.len());
            for socket in sockets {
                // Not before it listens: what is told of one that does not would never be forgotten.
                match TcpListener::from_std(socket) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => tracing::error!(%error, "a listener for plain HTTP is lost"),
                }
            }
            let entry = Arc::new(serve::Entry { role, around });
            serve::serve(listeners, entry, left).await;
        };
        Ok((door, serving))
    }

    /// Serves on a thread of its own, from the moment on when `begun` says so and for as long as the process
    /// lives; without sockets, those that are only left included, there is none.
    ///
    /// # Errors
    /// There is no thread or no runtime to be had.
    #[expect(
        clippy::disallowed_methods,
        reason = "strangers are answered beside workers and control plane, not by them"
    )]
    pub fn start(
        self,
        around: Surroundings,
        mut begun: watch::Receiver<bool>,
    ) -> io::Result<Option<Door>> {
        if self.sockets.is_empty() && self.leaving.is_empty() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (door, serving) = self.serve(around)?;
        let thread = std::thread::Builder::new().name("plain-http".into());
        thread.spawn(move || {
            runtime.block_on(async {
                if begun.wait_for(|begun| *begun).await.is_ok() {
                    serving.await;
                }
            });
        })?;
        Ok(Some(door))
    }
}
