//! Where clients reach the gateway: all listening sockets, opened or taken over from another process.
//!
//! Either all of them are here or the process does not start. Serves nothing.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::StartError;
use admin::{AdminTls, Bound};
use config::Config;
use datapath::plain::{Plain, Role};
use datapath::steer::InheritedLinks;
use datapath::worker::Listeners;
use tls::TicketSecrets;

/// What another process has given; nothing when there was none.
pub(super) struct Gifts {
    /// Sockets of `listen`.
    pub(super) tls: Vec<(SocketAddr, OwnedFd)>,
    /// Of `listen.http`.
    pub(super) http: Vec<(SocketAddr, OwnedFd)>,
    /// Of `health.listen`.
    pub(super) health: Vec<(SocketAddr, OwnedFd)>,
    /// The unix socket, if it is at the same path.
    pub(super) admin_socket: Option<OwnedFd>,
    /// `admin.listen`, if it is the same.
    pub(super) admin_listen: Option<OwnedFd>,
    /// Channels to processes that were replaced before.
    pub(super) former: Vec<OwnedFd>,
    /// The keys of session tickets.
    pub(super) tickets: TicketSecrets,
    /// Where the kernel's programs are attached.
    pub(super) steering: Option<InheritedLinks>,
}

impl Default for Gifts {
    fn default() -> Self {
        Self {
            tls: Vec::new(),
            http: Vec::new(),
            health: Vec::new(),
            admin_socket: None,
            admin_listen: None,
            former: Vec::new(),
            tickets: Vec::new().into(),
            steering: None,
        }
    }
}

/// All listening sockets.
pub(super) struct Front {
    /// `listen`, by worker.
    pub(super) listeners: Listeners,
    /// `listen.http`
    pub(super) redirects: Plain,
    /// `health.listen`
    pub(super) health: Plain,
    /// The admin API's.
    pub(super) admin: Bound,
    /// Sockets that were given and are not listened on any more.
    pub(super) unwanted: Vec<OwnedFd>,
    /// Channels to processes that were replaced before.
    pub(super) former: Vec<OwnedFd>,
    /// Where the kernel's programs are attached.
    pub(super) steering: Option<InheritedLinks>,
}

impl Front {
    /// Takes what is given, and opens the rest.
    ///
    /// # Errors
    /// An address cannot be had.
    pub(super) async fn open(
        config: &Config,
        tls: Option<Arc<AdminTls>>,
        gifts: Gifts,
    ) -> Result<Self, StartError> {
        let (listeners, mut unwanted) =
            Listeners::take_over(config.workers, &config.listen, gifts.tls)?;
        let (redirects, rest) = Plain::take_over(Role::Redirects, &config.listen_http, gifts.http)?;
        unwanted.extend(rest);
        let health = config.health_listen.as_slice();
        let (health, rest) = Plain::take_over(Role::Health, health, gifts.health)?;
        unwanted.extend(rest);
        let listen = admin::Listen {
            socket: config.admin_socket.clone(),
            tcp: config.admin_listen,
            tls,
        };
        let admin = Bound::take_over(&listen, gifts.admin_socket, gifts.admin_listen).await?;
        Ok(Self {
            listeners,
            redirects,
            health,
            admin,
            unwanted,
            former: gifts.former,
            steering: gifts.steering,
        })
    }
}
