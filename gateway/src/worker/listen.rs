//! The listening sockets of all workers: opened before any worker runs, either all or none.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::io;

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

/// One socket of each address for each of `count` workers.
///
/// # Errors
/// An address cannot be had.
pub(super) fn bind(
    count: usize,
    addresses: &[SocketAddr],
) -> Result<Vec<Vec<OwnedFd>>, ListenError> {
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
