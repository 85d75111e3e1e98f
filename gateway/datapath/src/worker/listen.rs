//! The listening sockets of all workers: opened before any worker runs, either all or none.
//!
//! They exist before the threads, so that steering knows them before the first connection.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::{clock, io, limits};

/// A listening address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{}", advice(error, address, *is_own))]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the kernel says.
    pub error: std::io::Error,
    /// It is this gateway that has it, for something from which or to which no address goes over.
    pub is_own: bool,
}

impl ListenError {
    fn new(address: SocketAddr, error: std::io::Error) -> Self {
        Self {
            address,
            error,
            is_own: false,
        }
    }
}

fn advice(error: &std::io::Error, address: &SocketAddr, is_own: bool) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse if is_own => {
            "; this gateway has it, and no address goes to or from `admin.listen` in one step: reload \
             without it first, and then with it"
                .into()
        }
        std::io::ErrorKind::AddrInUse => format!(
            "; another process has it, or an address that overlaps it (`ss -ltnp 'sport = :{}'` names \
             who listens there): stop that one, or listen on another address",
            address.port()
        ),
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: give it to the process, or listen on a \
             higher port"
                .into()
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has this address".into()
        }
        _ => String::new(),
    }
}

/// Whether a socket for one of these addresses is in the way of one for the other. IPv6 sockets of a gateway
/// take IPv6 only.
#[must_use]
pub fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let covers = one.ip().is_unspecified() || other.ip().is_unspecified() || one.ip() == other.ip();
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && covers
}

/// Sockets to listen on: of each worker one for each address.
pub struct Listeners {
    workers: Vec<Vec<OwnedFd>>,
    leaving: Vec<Vec<OwnedFd>>,
}

/// What a worker has to accept from.
pub(crate) struct Sockets {
    /// Of the addresses.
    pub(crate) own: Vec<OwnedFd>,
    /// Of those that are not listened on any more: what is in their queues is accepted, until they are
    /// closed.
    pub(crate) leaving: Vec<OwnedFd>,
}

impl Listeners {
    /// Opens the sockets of `count` workers, and listens.
    ///
    /// # Errors
    /// An address cannot be had.
    pub fn bind(count: usize, addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let (listeners, _) = Self::take_over(count, addresses, Vec::new(), &[])?;
        listeners.listen()?;
        Ok(listeners)
    }

    /// Takes over the listening sockets of another process, and opens those that are missing, which do not
    /// [listen](Self::listen) yet: that process may go on, and has none of them. Answers with them copies of the
    /// sockets of addresses that are no longer listened on, to be hidden and closed when all of this listens.
    ///
    /// Every socket of an address has a worker, however many there were: connections may wait in its
    /// queue. `held` are all addresses whose sockets the process has been handed: one that overlaps them is
    /// not taken by a stranger.
    ///
    /// Waits up to [`limits::LISTEN_WAIT`] for a gateway that has just ended: the kernel takes a
    /// ring apart after its process is gone, and until then the ring's waiting operations hold the
    /// listening sockets.
    ///
    /// # Errors
    /// An address cannot be had.
    pub fn take_over(
        count: usize,
        addresses: &[SocketAddr],
        handed: Vec<(SocketAddr, OwnedFd)>,
        held: &[SocketAddr],
    ) -> Result<(Self, Vec<OwnedFd>), ListenError> {
        let is_wanted = |(address, _): &(SocketAddr, OwnedFd)| addresses.contains(address);
        let (handed, rest): (Vec<_>, Vec<_>) = handed.into_iter().partition(is_wanted);
        let is_held = |address: &SocketAddr| held.iter().any(|held| overlap(held, address));
        let strange: Vec<SocketAddr> = addresses
            .iter()
            .copied()
            .filter(|address| !is_held(address))
            .collect();
        patiently(limits::LISTEN_WAIT, || refuse_taken(&strange))?;
        let mut queues: Vec<Vec<OwnedFd>> = addresses.iter().map(|_| Vec::new()).collect();
        for (address, socket) in handed {
            let place = addresses.iter().position(|one| *one == address);
            if let Some(queue) = place.and_then(|place| queues.get_mut(place)) {
                queue.push(socket);
            }
        }
        let mut workers: Vec<Vec<OwnedFd>> = (0..count).map(|_| Vec::new()).collect();
        let mut extra = Vec::new();
        for (address, queue) in addresses.iter().zip(queues) {
            let mut queue = queue.into_iter();
            for sockets in &mut workers {
                sockets.push(match queue.next() {
                    Some(socket) => socket,
                    None => patiently(limits::LISTEN_WAIT, || bind(*address))?,
                });
            }
            extra.extend(queue);
        }
        // Behind those that are found by their address's place.
        deal(extra, &mut workers);
        let mut leaving: Vec<Vec<OwnedFd>> = (0..count).map(|_| Vec::new()).collect();
        let copies = rest.iter().map(|(address, socket)| {
            let copy = socket.try_clone();
            copy.map_err(|error| ListenError::new(*address, error))
        });
        let copies = copies.collect::<Result<_, _>>()?;
        deal(rest.into_iter().map(|(_, socket)| socket), &mut leaving);
        Ok((Self { workers, leaving }, copies))
    }

    /// Listens on all of them.
    ///
    /// # Errors
    /// An address has been taken meanwhile.
    pub fn listen(&self) -> Result<(), ListenError> {
        self.workers.iter().try_for_each(|sockets| listen(sockets))
    }

    /// The sockets of each worker, in the order of the addresses. Behind them may be further ones that
    /// were taken over.
    #[must_use]
    pub fn of_workers(&self) -> &[Vec<OwnedFd>] {
        &self.workers
    }

    pub(crate) fn into_workers(self) -> impl Iterator<Item = Sockets> {
        let pairs = self.workers.into_iter().zip(self.leaving);
        pairs.map(|(own, leaving)| Sockets { own, leaving })
    }
}

/// Gives sockets to workers in turn.
fn deal(sockets: impl IntoIterator<Item = OwnedFd>, workers: &mut [Vec<OwnedFd>]) {
    let count = workers.len().max(1);
    for (at, socket) in sockets.into_iter().enumerate() {
        if let Some(sockets) = workers.get_mut(at % count) {
            sockets.push(socket);
        }
    }
}

/// Listens on each of these, whatever becomes of the others; what is answered is the first that cannot be.
pub(crate) fn listen(sockets: &[OwnedFd]) -> Result<(), ListenError> {
    let mut listened = Ok(());
    for socket in sockets {
        let one = io::listen(socket);
        let one = one.map_err(|error| ListenError::new(local_address(socket), error));
        listened = listened.and(one);
    }
    listened
}

fn local_address(socket: &OwnedFd) -> SocketAddr {
    let local = socket2::SockRef::from(socket).local_addr();
    let local = local.ok().and_then(|address| address.as_socket());
    local.unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
}

/// Has new connections go to who listens at other addresses, or be refused, while those in the queues of
/// these sockets can be accepted. To be [`close`]d after [`limits::LEAVING_WAIT`].
pub fn hide(sockets: &[OwnedFd]) {
    for socket in sockets {
        if let Err(error) = io::hide(socket) {
            tracing::debug!(%error, "a socket that is not listened on any more is closed at once");
            close(std::slice::from_ref(socket));
        }
    }
}

/// Stops listening on sockets that another process has too: connections in their queues are refused, as
/// later ones are.
pub fn close(sockets: &[OwnedFd]) {
    for socket in sockets {
        drop(socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Read));
    }
}

/// Copies of a worker's sockets, for another process: with the address of each.
pub(crate) fn copies(
    sockets: &[OwnedFd],
    addresses: &[SocketAddr],
) -> std::io::Result<Vec<(SocketAddr, OwnedFd)>> {
    let copy = |(at, socket): (usize, &OwnedFd)| {
        let address = match addresses.get(at) {
            Some(address) => *address,
            None => listened_on(socket, addresses)?,
        };
        Ok((address, socket.try_clone()?))
    };
    sockets.iter().enumerate().map(copy).collect()
}

/// The address that a socket was opened for.
fn listened_on(socket: &OwnedFd, addresses: &[SocketAddr]) -> std::io::Result<SocketAddr> {
    let local = socket2::SockRef::from(socket).local_addr()?.as_socket();
    let local = local.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let same = |one: &&SocketAddr| {
        one.ip() == local.ip() && (one.port() == local.port() || one.port() == 0)
    };
    Ok(addresses.iter().find(same).copied().unwrap_or(local))
}

/// Repeats `attempt` while an address is taken, for up to `wait`.
pub(super) fn patiently<T>(
    wait: Duration,
    mut attempt: impl FnMut() -> Result<T, ListenError>,
) -> Result<T, ListenError> {
    let start = clock::now();
    loop {
        match attempt() {
            Err(error)
                if error.error.kind() == std::io::ErrorKind::AddrInUse
                    && start.elapsed() < wait =>
            {
                std::thread::sleep(limits::LISTEN_RETRY);
            }
            done => return done,
        }
    }
}

fn bind(address: SocketAddr) -> Result<OwnedFd, ListenError> {
    io::bind(address).map_err(|error| ListenError::new(address, error))
}

/// SO_REUSEPORT would let us share an address with a stranger of our own user, and half of the
/// clients would reach the stranger.
pub(super) fn refuse_taken(addresses: &[SocketAddr]) -> Result<(), ListenError> {
    for address in addresses {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(*address),
            socket2::Type::STREAM.cloexec(),
            None,
        );
        let alone = socket.and_then(|socket| {
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(true)?;
            socket.bind(&(*address).into())
        });
        alone.map_err(|error| ListenError::new(*address, error))?;
    }
    Ok(())
}
