//! Single ring operations as futures that can be stored and named.
//!
//! Each moves what the kernel needs into the ring and gives it back with the result. Uses RECV
//! and SEND rather than tokio-uring's READ and WRITE: they skip the file layer and take flags.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::{cqueue, opcode, squeue, types};
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

/// A receive in flight: gives the buffer back, filled with what came.
pub(super) struct Receive(InFlightOneshot<Loan, Received>);

/// A send in flight: gives the buffer back, and how much of it went. Not `Send`, which is a trait.
pub(super) struct Transmit(InFlightOneshot<Loan, Sent>);

/// A wait until a socket has something to read, or to accept.
///
/// There is no accept operation here: one that is cancelled at the wrong moment has taken a
/// connection that is never reported, and tokio-uring drops its descriptor unclosed.
pub(super) struct Readable(InFlightOneshot<Rc<OwnedFd>, Polled>);

/// A connect in flight.
pub(super) struct Connect(InFlightOneshot<ConnectLoan, Connected>);

/// What the ring holds during an operation.
struct Loan {
    socket: Rc<OwnedFd>,
    buffer: Vec<u8>,
}

struct ConnectLoan {
    socket: Rc<OwnedFd>,
    address: Box<socket2::SockAddr>,
}

struct Received;
struct Sent;
struct Polled;
struct Connected;

impl Receive {
    /// Receives into the spare capacity of an empty `buffer`. `wait_first`: nothing is expected to
    /// be there yet, so the kernel need not look before it waits.
    pub(super) fn start(socket: Rc<OwnedFd>, mut buffer: Vec<u8>, wait_first: bool) -> Self {
        buffer.clear();
        let length = u32::try_from(buffer.capacity()).unwrap_or(u32::MAX);
        let mut entry =
            opcode::Recv::new(types::Fd(socket.as_raw_fd()), buffer.as_mut_ptr(), length).build();
        if wait_first {
            poll_first(&mut entry);
        }
        let loan = Loan { socket, buffer };
        Self(UnsubmittedOneshot::new(loan, Received, entry).submit())
    }
}

impl Transmit {
    /// Sends `buffer` from `offset` on.
    pub(super) fn start(socket: Rc<OwnedFd>, buffer: Vec<u8>, offset: usize) -> Self {
        let rest = buffer.get(offset..).unwrap_or_default();
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        let loan = Loan { socket, buffer };
        Self(UnsubmittedOneshot::new(loan, Sent, entry).submit())
    }
}

impl Readable {
    pub(super) fn start(socket: Rc<OwnedFd>) -> Self {
        let events = u32::from(libc::POLLIN.unsigned_abs());
        let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), events).build();
        Self(UnsubmittedOneshot::new(socket, Polled, entry).submit())
    }
}

impl Connect {
    pub(super) fn start(socket: Rc<OwnedFd>, address: socket2::SockAddr) -> Self {
        let address = Box::new(address);
        let entry = opcode::Connect::new(
            types::Fd(socket.as_raw_fd()),
            address.as_ptr().cast(),
            address.len(),
        )
        .build();
        let loan = ConnectLoan { socket, address };
        Self(UnsubmittedOneshot::new(loan, Connected, entry).submit())
    }
}

impl Future for Receive {
    type Output = (io::Result<()>, Vec<u8>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Future for Transmit {
    type Output = (io::Result<usize>, Vec<u8>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Future for Readable {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Future for Connect {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl OneshotOutputTransform for Received {
    type Output = (io::Result<()>, Vec<u8>);
    type StoredData = Loan;

    fn transform_oneshot_output(self, mut loan: Loan, entry: cqueue::Entry) -> Self::Output {
        let received = count(&entry);
        if let Ok(received) = received {
            debug_assert!(
                received <= loan.buffer.capacity(),
                "the kernel wrote past the buffer"
            );
            // SAFETY: `set_len` needs the first `received` bytes to be initialised and within
            // capacity. RECV was given this buffer with its capacity as length, it reports how
            // many bytes it has written, and the buffer was in the ring's possession since.
            unsafe {
                loan.buffer.set_len(received);
            }
        }
        drop(loan.socket);
        (received.map(drop), loan.buffer)
    }
}

impl OneshotOutputTransform for Sent {
    type Output = (io::Result<usize>, Vec<u8>);
    type StoredData = Loan;

    fn transform_oneshot_output(self, loan: Loan, entry: cqueue::Entry) -> Self::Output {
        drop(loan.socket);
        (count(&entry), loan.buffer)
    }
}

impl OneshotOutputTransform for Polled {
    type Output = io::Result<()>;
    type StoredData = Rc<OwnedFd>;

    fn transform_oneshot_output(self, _: Rc<OwnedFd>, entry: cqueue::Entry) -> Self::Output {
        count(&entry).map(drop)
    }
}

impl OneshotOutputTransform for Connected {
    type Output = io::Result<()>;
    type StoredData = ConnectLoan;

    fn transform_oneshot_output(self, loan: ConnectLoan, entry: cqueue::Entry) -> Self::Output {
        drop((loan.socket, loan.address));
        count(&entry).map(drop)
    }
}

/// Sets `IORING_RECVSEND_POLL_FIRST` (Linux 5.19), which lives in `ioprio` for receives.
fn poll_first(entry: &mut squeue::Entry) {
    const POLL_FIRST: u16 = 1;
    let [_, ioprio, ..] = halves(entry);
    *ioprio |= POLL_FIRST;
}

/// `struct io_uring_sqe` in halves of words: opcode and flags, `ioprio`, and what follows.
fn halves(entry: &mut squeue::Entry) -> &mut [u16; 32] {
    const { assert!(size_of::<squeue::Entry>() == 64) };
    let halves: *mut [u16; 32] = std::ptr::from_mut(entry).cast();
    // SAFETY: an `Entry` is the kernel's 64-byte `io_uring_sqe` and nothing else (`repr(C)`, the
    // size is asserted), plain integers aligned to eight, and borrowed exclusively for as long.
    unsafe { &mut *halves }
}

/// A completion's result: a count, or an error number below zero.
fn count(entry: &cqueue::Entry) -> io::Result<usize> {
    let result = entry.result();
    usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_priority_is_touched() {
        let mut entry = opcode::Recv::new(types::Fd(3), std::ptr::null_mut(), 5).build();
        let before = *halves(&mut entry);
        poll_first(&mut entry);
        let mut wanted = before;
        wanted[1] |= 1;
        assert_eq!((before[1], *halves(&mut entry)), (0, wanted));
    }
}
