//! The listening sockets of all workers: opened before any worker runs, either all or none.
//!
//! They exist before the threads, so that steering knows them before the first connection.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::{clock, io, limits};

/// A listening address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{}", advice(error, address))]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the kernel says.
    pub error: std::io::Error,
}

fn advice(error: &std::io::Error, address: &SocketAddr) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "; another process has it (`ss -ltnp 'sport = :{}'` names it): stop that one, or set \
             another `listen`",
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

/// Listening sockets: of each worker one for each address.
pub struct Listeners(Vec<Vec<OwnedFd>>);

impl Listeners {
    /// Opens the sockets of `count` workers.
    ///
    /// Waits up to [`limits::LISTEN_WAIT`] for a gateway that has just ended: the kernel takes a
    /// ring apart after its process is gone, and until then the ring's waiting operations hold the
    /// listening sockets.
    ///
    /// # Errors
    /// An address cannot be had.
    pub fn bind(count: usize, addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        patiently(limits::LISTEN_WAIT, || bind(count, addresses)).map(Self)
    }

    /// Takes over the listening sockets of another process, and opens those that are missing. Answers
    /// with them the sockets of addresses that are no longer listened on.
    ///
    /// Every socket of an address has a worker, however many there were: connections may wait in its
    /// queue.
    ///
    /// # Errors
    /// An address cannot be had.
    pub fn take_over(
        count: usize,
        addresses: &[SocketAddr],
        handed: Vec<(SocketAddr, OwnedFd)>,
    ) -> Result<(Self, Vec<OwnedFd>), ListenError> {
        let is_wanted = |(address, _): &(SocketAddr, OwnedFd)| addresses.contains(address);
        let (handed, rest): (Vec<_>, Vec<_>) = handed.into_iter().partition(is_wanted);
        let fresh: Vec<SocketAddr> = addresses
            .iter()
            .copied()
            .filter(|address| !handed.iter().any(|(handed, _)| handed == address))
            .collect();
        patiently(limits::LISTEN_WAIT, || refuse_taken(&fresh))?;
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
                    None => io::bind(*address).map_err(|error| ListenError {
                        address: *address,
                        error,
                    })?,
                });
            }
            extra.extend(queue);
        }
        // Behind those that are found by their address's place.
        for (at, socket) in extra.into_iter().enumerate() {
            if let Some(sockets) = workers.get_mut(at % count.max(1)) {
                sockets.push(socket);
            }
        }
        let rest = rest.into_iter().map(|(_, socket)| socket).collect();
        Ok((Self(workers), rest))
    }

    /// The sockets of each worker, in the order of the addresses. Behind them may be further ones that
    /// were taken over.
    #[must_use]
    pub fn of_workers(&self) -> &[Vec<OwnedFd>] {
        &self.0
    }

    pub(crate) fn into_workers(self) -> Vec<Vec<OwnedFd>> {
        self.0
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
pub(super) fn copies(
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

fn bind(count: usize, addresses: &[SocketAddr]) -> Result<Vec<Vec<OwnedFd>>, ListenError> {
    refuse_taken(addresses)?;
    let bind = |address: &SocketAddr| {
        io::bind(*address).map_err(|error| ListenError {
            address: *address,
            error,
        })
    };
    (0..count)
        .map(|_| addresses.iter().map(bind).collect())
        .collect()
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
        alone.map_err(|error| ListenError {
            address: *address,
            error,
        })?;
    }
    Ok(())
}
