//! Listening sockets: one of each address per worker, all in one SO_REUSEPORT group.
//!
//! A socket is bound long before it listens: the kernel gives connections to every socket that listens,
//! whether anybody accepts from it or not. And it is taken out of the kernel's sight before it is closed,
//! so that what is in its queue is still accepted.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Type};

use super::operation::Readable;
use super::socket::{Socket, keepalive};
use crate::limits::LISTEN_BACKLOG;

/// The highest index that an interface can have, which none has.
const NO_INTERFACE: NonZeroU32 = NonZeroU32::new(i32::MAX as u32).expect("it is not 0");

/// Opens a socket that is to [`listen`], and is not found by any client before. IPv6 sockets take IPv6
/// only, so that `0.0.0.0` and `[::]` can both be listened on.
///
/// # Errors
/// The address is taken, is not ours, or needs a privilege.
pub fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.cloexec().nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit both, which saves two system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Listens from now on. On a socket that does already this changes nothing.
///
/// # Errors
/// Another socket has the address by now.
pub fn listen(socket: &OwnedFd) -> io::Result<()> {
    SockRef::from(socket).listen(LISTEN_BACKLOG)
}

/// Whether the socket listens.
#[must_use]
pub fn listens(socket: &OwnedFd) -> bool {
    SockRef::from(socket).is_listener().unwrap_or(false)
}

/// Has the kernel give no new connection to a listening socket, by binding it to an interface that is not
/// there: another socket gets them that listens on the same address, or a wider one, and without one they
/// are refused. Handshakes that have begun still come into its queue, from which connections are accepted
/// as before. Sockets of the very same address go together: all of them, or none.
///
/// # Errors
/// The kernel refuses.
pub fn hide(socket: &OwnedFd) -> io::Result<()> {
    // The option is one of the socket's, whatever its family.
    SockRef::from(socket).bind_device_by_index_v4(Some(NO_INTERFACE))
}

/// A worker's handle on a listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Rc<OwnedFd>,
    /// Another process accepts.
    is_left: Cell<bool>,
}

/// What came of one wait for a connection.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, and who it comes from.
    Socket(Socket, SocketAddr),
    /// Nothing, for a reason that passes: the client is gone again, or no descriptor is free.
    Nothing(io::Error),
    /// The listener has been closed.
    Closed,
}

impl Listener {
    /// Takes a listening descriptor.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            socket: Rc::new(fd),
            is_left: Cell::new(false),
        }
    }

    /// Waits for a connection.
    pub async fn accept(&self) -> Accepted {
        loop {
            if self.is_left.get() {
                return Accepted::Closed;
            }
            match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((fd, from)) => {
                    // Without an address it is no connection that could be served.
                    if let Some(client) = from.and_then(|from| from.try_into().ok()) {
                        return Accepted::Socket(Socket::new(fd), client);
                    }
                    continue;
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::INVAL) => return Accepted::Closed,
                Err(error) => return Accepted::Nothing(error.into()),
            }
            if let Err(error) = Readable::start(self.socket.clone()).await {
                return Accepted::Nothing(error);
            }
        }
    }

    /// Stops listening; a wait in flight ends with [`Accepted::Closed`].
    pub fn close(&self) {
        if self.is_left.get() {
            return;
        }
        // Closing twice is not an error worth telling.
        drop(SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Read));
    }

    /// Leaves the socket to another process that has it too: nothing more is accepted here, and what
    /// waits in the socket's queue is that process's. A wait in flight ends with the next connection,
    /// or with the ring.
    pub fn leave(&self) {
        self.is_left.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_send_at_once_and_notice_a_peer_that_vanished() {
        let listening = bind(([127, 0, 0, 1], 0).into()).unwrap();
        listen(&listening).unwrap();
        let listening = socket2::Socket::from(listening);
        let address = listening.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address.as_socket().unwrap()).unwrap();
        // The listener does not block, and the handshake is over.
        let (accepted, _) = listening.accept().unwrap();
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(
            accepted.tcp_keepalive_time().unwrap(),
            crate::limits::KEEPALIVE_IDLE
        );
        drop(client);
    }

    #[test]
    fn a_socket_is_found_when_it_listens_and_until_it_is_hidden() {
        let bound = |address: SocketAddr| {
            let socket = bind(address).unwrap();
            let address = SockRef::from(&socket).local_addr().unwrap();
            (socket, address.as_socket().unwrap())
        };
        let accepts = |socket: &OwnedFd| {
            let accepted = acceptfrom_with(socket, SocketFlags::CLOEXEC);
            accepted.map(|(_, from)| from).ok()
        };
        for (one, all) in [("127.0.0.1:0", "0.0.0.0"), ("[::1]:0", "[::]")] {
            let (one, address) = bound(one.parse().unwrap());
            let connect = || std::net::TcpStream::connect(address);
            assert!(!listens(&one) && connect().is_err());
            listen(&one).unwrap();
            let (all, _) = bound(format!("{all}:{}", address.port()).parse().unwrap());
            listen(&all).unwrap();
            assert!(listens(&one) && listens(&all));
            let (first, waiting) = (connect().unwrap(), connect().unwrap());
            assert!(accepts(&one).is_some() && accepts(&all).is_none());
            hide(&one).unwrap();
            // And once more, by another process that has it.
            hide(&one).unwrap();
            let third = connect().unwrap();
            assert!(accepts(&all).is_some(), "the wider one has new ones");
            assert!(accepts(&one).is_some(), "and what waited is there");
            hide(&all).unwrap();
            assert!(connect().is_err(), "nobody is found any more");
            drop((first, waiting, third));
        }
    }
}
