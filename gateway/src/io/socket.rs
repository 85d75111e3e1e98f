//! A connected TCP socket.
//!
//! Dropping the last handle shuts the socket down, so that no operation stays in the ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};

use super::operation::{Connect, Readable, Receive, Send};
use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};

/// A connected TCP socket, owned by one worker.
#[derive(Debug)]
pub struct Socket(Rc<OwnedFd>);

impl Socket {
    /// Takes a connected descriptor that [`super::bind`]'s or [`Self::connect`]'s
    /// settings hold for: segments leave at once, and a peer that vanished is noticed.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(Rc::new(fd))
    }

    /// Connects.
    ///
    /// # Errors
    /// What the kernel says: refused, unreachable, timed out.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&keepalive())?;
        let socket = Self::new(socket.into());
        Connect::start(socket.0.clone(), SockAddr::from(address)).await?;
        Ok(socket)
    }

    /// The other side's address.
    ///
    /// # Errors
    /// The peer is gone already.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        address_of(SockRef::from(&*self.0).peer_addr()?)
    }

    /// Our side's address.
    ///
    /// # Errors
    /// The kernel has none for it.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        address_of(SockRef::from(&*self.0).local_addr()?)
    }

    /// Receives into the spare capacity of an empty `buffer`; it comes back empty at the end of
    /// the stream.
    ///
    /// # Errors
    /// The socket's.
    pub async fn receive_some(&self, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
        let (outcome, buffer) = self.receive(buffer, false).await;
        outcome.map(|()| buffer)
    }

    /// A descriptor for another worker. A duplicate, because the count of references stays ours
    /// to look at when this is dropped.
    ///
    /// # Errors
    /// Gives itself back when an operation on it is still in this worker's ring, or the process
    /// is out of descriptors.
    pub fn release(self) -> Result<OwnedFd, Self> {
        if Rc::strong_count(&self.0) > 1 {
            return Err(self);
        }
        match self.0.try_clone() {
            Ok(fd) => Ok(fd),
            Err(_out_of_descriptors) => Err(self),
        }
    }

    /// Ends both directions; every operation on the socket completes.
    pub fn shut_down(&self) {
        // `ENOTCONN` means that there is nothing left to end.
        drop(SockRef::from(&*self.0).shutdown(std::net::Shutdown::Both));
    }

    /// Says that nothing more will be sent; reading goes on.
    pub(super) fn finish_writing(&self) {
        drop(SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write));
    }

    /// Waits until there is something to receive, without a buffer to receive it into.
    pub(super) fn readable(&self) -> Readable {
        Readable::start(self.0.clone())
    }

    pub(super) fn receive(&self, buffer: Vec<u8>, wait_first: bool) -> Receive {
        Receive::start(self.0.clone(), buffer, wait_first)
    }

    pub(super) fn send(&self, buffer: Vec<u8>, offset: usize) -> Send {
        Send::start(self.0.clone(), buffer, offset)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Operations in flight hold references of their own; without this they, and the
        // descriptor, would stay until the peer does something.
        if Rc::strong_count(&self.0) > 1 {
            self.shut_down();
        }
    }
}

/// How the kernel finds out that a silent peer is gone.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES)
}

fn address_of(address: SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet address"))
}
