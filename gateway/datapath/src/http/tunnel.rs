//! The tunnel after a 101: copies bytes both ways until both sides close or the idle timeout passes.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Read, ReadBuf, Write};

use super::connect::OriginStream;
use crate::clock;
use crate::io::TlsStream;
use crate::limits::TUNNEL_BUFFER;

/// The origin's end of a tunnel.
pub struct OriginEnd {
    pub(super) stream: OriginStream,
    /// What the origin sent right behind its 101.
    pub(super) early: Bytes,
}

/// What went through a tunnel so far, bytes.
#[derive(Default)]
pub struct Traffic {
    /// From the client to the origin.
    pub up: Cell<u64>,
    /// From the origin to the client.
    pub down: Cell<u64>,
}

impl Traffic {
    fn both(&self) -> (u64, u64) {
        (self.up.get(), self.down.get())
    }
}

/// Relays until both directions have ended, or `idle` passed without a byte from either side, and
/// counts into `traffic`.
///
/// # Errors
/// One of the sides broke, or both fell silent ([`io::ErrorKind::TimedOut`]).
pub async fn relay(
    mut client: TlsStream,
    client_early: Bytes,
    mut origin: OriginEnd,
    idle: Duration,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut up = Direction::new(client_early, &traffic.up);
    let mut down = Direction::new(std::mem::take(&mut origin.early), &traffic.down);
    let mut last = clock::now();
    let mut deadline = std::pin::pin!(tokio::time::sleep(idle));
    std::future::poll_fn(|cx| {
        let before = traffic.both();
        let one = up.poll(&mut client, &mut origin.stream, cx)?;
        let other = down.poll(&mut origin.stream, &mut client, cx)?;
        if one.is_ready() && other.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if before != traffic.both() {
            last = clock::now();
        }
        while deadline.as_mut().poll(cx).is_ready() {
            let due = last + idle;
            if due <= clock::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            deadline.as_mut().reset(due.into());
        }
        Poll::Pending
    })
    .await
}

/// One direction of a tunnel.
struct Direction<'a> {
    buffer: Box<[MaybeUninit<u8>]>,
    /// What waits to be written.
    waiting: Bytes,
    bytes: &'a Cell<u64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The end has come; what is left to do is to pass it on.
    Ending,
    Over,
}

impl<'a> Direction<'a> {
    fn new(waiting: Bytes, bytes: &'a Cell<u64>) -> Self {
        let buffer = vec![MaybeUninit::uninit(); TUNNEL_BUFFER].into_boxed_slice();
        Self {
            buffer,
            waiting,
            bytes,
            state: State::Open,
        }
    }

    fn poll(
        &mut self,
        from: &mut (impl Read + Unpin),
        to: &mut (impl Write + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.waiting.is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
                drop(self.waiting.split_to(count));
                self.bytes.set(self.bytes.get() + count as u64);
            }
            match self.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Over;
                }
                State::Open => {
                    let mut buffer = ReadBuf::uninit(&mut self.buffer);
                    let read = Pin::new(&mut *from).poll_read(cx, buffer.unfilled());
                    if read.is_pending() {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        return Poll::Pending;
                    }
                    ready!(read)?;
                    if buffer.filled().is_empty() {
                        self.state = State::Ending;
                    } else {
                        self.waiting = Bytes::copy_from_slice(buffer.filled());
                    }
                }
            }
        }
    }
}
