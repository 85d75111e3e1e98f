//! Where clients reach the gateway: all listening sockets, opened or taken over from another process.
//!
//! Either all of them are here or the process does not start. What is opened does not listen while another
//! process serves: a client would wait where nobody accepts, or find a narrower address before its time.
//! Serves nothing.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::StartError;
use admin::{AdminTls, Bound, ServeError};
use config::Config;
use datapath::plain::{Plain, Role};
use datapath::steer::InheritedLinks;
use datapath::worker::{ListenError, Listeners, overlap};
use tls::TicketSecrets;

/// A listening socket, and its address.
pub(super) type Given = (SocketAddr, OwnedFd);

/// What another process has given; nothing when there was none.
pub(super) struct Gifts {
    /// Sockets of `listen`.
    pub(super) tls: Vec<Given>,
    /// Of `listen.http`.
    pub(super) http: Vec<Given>,
    /// Of `health.listen`.
    pub(super) health: Vec<Given>,
    /// The unix socket, if it is at the same path.
    pub(super) admin_socket: Option<OwnedFd>,
    /// `admin.listen`, whether it is the same or not.
    pub(super) admin_listen: Option<Given>,
    /// Channels to processes that were replaced before.
    pub(super) former: Vec<OwnedFd>,
    /// The keys of session tickets.
    pub(super) tickets: TicketSecrets,
    /// Where the kernel's programs are attached.
    pub(super) steering: Option<InheritedLinks>,
    /// What names of origins mean.
    pub(super) names: Vec<(Box<str>, Vec<IpAddr>)>,
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
            names: Vec::new(),
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
    /// Sockets that were given and are not listened on any more, while somebody else may be at a part of
    /// their address: to be hidden, and closed when what is in their queues has been accepted.
    pub(super) leaving: Vec<OwnedFd>,
    /// Others, to be closed.
    pub(super) unwanted: Vec<OwnedFd>,
    /// Channels to processes that were replaced before.
    pub(super) former: Vec<OwnedFd>,
    /// Where the kernel's programs are attached.
    pub(super) steering: Option<InheritedLinks>,
}

impl Front {
    /// Takes what is given, and opens the rest, which does not listen yet: see [`Self::listen`].
    ///
    /// # Errors
    /// An address cannot be had.
    pub(super) async fn open(
        config: &Config,
        tls: Option<Arc<AdminTls>>,
        gifts: Gifts,
    ) -> Result<Self, StartError> {
        let given = gifts.tls.iter().chain(&gifts.http).chain(&gifts.health);
        let held: Vec<SocketAddr> = given.map(|(address, _)| *address).collect();
        let admin_held = gifts.admin_listen.as_ref().map(|(address, _)| *address);
        let same = |(address, _): &mut Given| Some(*address) == config.admin_listen;
        let mut admin_given = gifts.admin_listen;
        let admin_socket = admin_given.take_if(same).map(|(_, socket)| socket);

        let health = config.health_listen.as_slice();
        let [tls_given, http_given, health_given] = by_role(
            [gifts.tls, gifts.http, gifts.health],
            [&config.listen, &config.listen_http, health],
        );
        let told = |error: ListenError| ListenError {
            is_own: admin_held.is_some_and(|held| overlap(&held, &error.address)),
            ..error
        };
        let (listeners, mut leaving) =
            Listeners::take_over(config.workers, &config.listen, tls_given, &held).map_err(told)?;
        let redirects = &config.listen_http;
        let (redirects, rest) =
            Plain::take_over(Role::Redirects, redirects, http_given, &held).map_err(told)?;
        leaving.extend(rest);
        let (health, rest) =
            Plain::take_over(Role::Health, health, health_given, &held).map_err(told)?;
        leaving.extend(rest);
        let listen = admin::Listen {
            socket: config.admin_socket.clone(),
            tcp: config.admin_listen,
            tls,
        };
        let admin = Bound::take_over(&listen, gifts.admin_socket, admin_socket).await;
        let admin = admin.map_err(|error| match error {
            ServeError::Address { address, why }
                if held
                    .iter()
                    .chain(&admin_held)
                    .any(|held| overlap(held, &address)) =>
            {
                StartError::Listen(ListenError {
                    address,
                    error: why,
                    is_own: true,
                })
            }
            other => other.into(),
        })?;
        Ok(Self {
            listeners,
            redirects,
            health,
            admin,
            leaving,
            unwanted: admin_given.map(|(_, socket)| socket).into_iter().collect(),
            former: gifts.former,
            steering: gifts.steering,
        })
    }

    /// Listens, where no other process has to go on if this one does not come to serve.
    ///
    /// # Errors
    /// An address has been taken meanwhile.
    pub(super) fn listen(&self) -> Result<(), ListenError> {
        self.listeners.listen()?;
        self.redirects.listen()?;
        self.health.listen()
    }
}

/// Gives sockets to those who listen at their address now, if that is for something else than before. What
/// nobody wants any more stays where it was, whose clients are in its queue.
fn by_role<const ROLES: usize>(
    given: [Vec<Given>; ROLES],
    wanted: [&[SocketAddr]; ROLES],
) -> [Vec<Given>; ROLES] {
    let mut sorted = [const { Vec::new() }; ROLES];
    for (role, sockets) in given.into_iter().enumerate() {
        for (address, socket) in sockets {
            // No address is wanted for two things.
            let now = wanted.iter().position(|wanted| wanted.contains(&address));
            if let Some(sockets) = sorted.get_mut(now.unwrap_or(role)) {
                sockets.push((address, socket));
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_its_sockets_along_to_what_it_is_for_now() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let given = |ports: &[u16]| -> Vec<Given> {
            let socket = || std::fs::File::open("/dev/null").unwrap().into();
            ports
                .iter()
                .map(|port| (address(*port), socket()))
                .collect()
        };
        let sorted = by_role(
            [given(&[1, 1, 2, 2]), given(&[3, 4]), given(&[5])],
            [&[address(1), address(3)], &[address(5)], &[address(4)]],
        );
        let ports = sorted.map(|sockets| -> Vec<u16> {
            sockets.iter().map(|(address, _)| address.port()).collect()
        });
        assert_eq!(ports, [vec![1, 1, 2, 2, 3], vec![5], vec![4]]);
    }
}
