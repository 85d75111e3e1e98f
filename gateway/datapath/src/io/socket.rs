//! A connected TCP socket.
//!
//! Dropping the last handle shuts the socket down, so that no operation stays in the ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};

use super::operation::{Connect, Readable, Receive, Transmit};
use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};

/// Sockets that all workers have.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many sockets the workers of this process have open, to clients and to origins.
#[must_use]
pub fn open_sockets() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// A connected TCP socket, owned by one worker.
#[derive(Debug)]
pub struct Socket(Rc<OwnedFd>);

impl Socket {
    /// Takes a connected descriptor that [`super::bind`]'s or [`Self::connect`]'s
    /// settings hold for: segments leave at once, and a peer that vanished is noticed.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
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

    /// Acknowledges what has come now, and not after the kernel's delay. That it cannot is no
    /// failure.
    pub fn acknowledge(&self) {
        let _done = rustix::net::sockopt::set_tcp_quickack(&*self.0, true);
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

    /// What the kernel knows of it, to be asked later.
    pub(super) fn info(&self) -> TcpInfo {
        TcpInfo(Rc::downgrade(&self.0))
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

    pub(super) fn send(&self, buffer: Vec<u8>, offset: usize) -> Transmit {
        Transmit::start(self.0.clone(), buffer, offset)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        // Operations in flight hold references of their own; without this they, and the
        // descriptor, would stay until the peer does something.
        if Rc::strong_count(&self.0) > 1 {
            self.shut_down();
        }
    }
}

/// What the kernel knows of a connected socket for as long as that is there; keeps it from nothing.
#[derive(Debug)]
pub struct TcpInfo(Weak<OwnedFd>);

impl TcpInfo {
    /// The smoothed round-trip time (`tcpi_rtt` of tcp(7), RFC 6298 §2). `None` before the peer has
    /// acknowledged anything that was sent once, and after the socket's end.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let socket = self.0.upgrade()?;
        let micros = tcp_info(&socket)?.tcpi_rtt;
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }
}

fn tcp_info(socket: &OwnedFd) -> Option<libc::tcp_info> {
    // SAFETY: plain integers, of which any bytes are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which has so many, and to
    // `length`; both outlive the call, and it keeps neither.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (outcome == 0).then_some(info)
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_round_trip_is_known_for_as_long_as_the_socket_is_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"a").unwrap();
        client.read_exact(&mut [0]).unwrap();
        client.write_all(b"b").unwrap();
        served.read_exact(&mut [0]).unwrap();
        let socket = Socket::new(served.into());
        let info = socket.info();
        assert!(info.round_trip().unwrap() > Duration::ZERO);
        assert_eq!(Rc::strong_count(&socket.0), 1, "it keeps nothing open");
        drop(socket);
        assert_eq!(info.round_trip(), None);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "it was closed");
        let listening = TcpInfo(Rc::downgrade(&Rc::new(listener.into())));
        assert_eq!(listening.round_trip(), None);
    }
}
