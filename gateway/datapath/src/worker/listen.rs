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

    /// The sockets of each worker, in the order of the addresses.
    #[must_use]
    pub fn of_workers(&self) -> &[Vec<OwnedFd>] {
        &self.0
    }

    pub(crate) fn into_workers(self) -> Vec<Vec<OwnedFd>> {
        self.0
    }
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
