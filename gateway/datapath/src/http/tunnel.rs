//! The tunnel that a request becomes: copies bytes both ways until both sides close or the idle timeout passes.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::OriginStream;
use super::exclusive::Open;
use super::multiplexed::Stream;
use super::stream_end::{StreamEnd, Unmetered};
use crate::clock;
use crate::limits::TUNNEL_BUFFER;

/// The origin's end of a tunnel.
pub enum OriginEnd {
    /// A connection, after a 101.
    Connection(Connection),
    /// A stream of one.
    Stream(HeldStream),
}

/// A connection that is a tunnel's.
pub struct Connection {
    pub(super) stream: OriginStream,
    /// What the origin sent right behind its 101.
    pub(super) early: Bytes,
    /// It counts as long as the tunnel is there.
    pub(super) _open: Open,
}

/// A stream that is a tunnel's, and keeps its place on the connection taken.
pub struct HeldStream {
    pub(super) end: StreamEnd<Unmetered>,
    pub(super) _place: Rc<Stream>,
}

impl OriginEnd {
    /// What came before anybody read.
    fn take_early(&mut self) -> Bytes {
        match self {
            Self::Connection(connection) => std::mem::take(&mut connection.early),
            Self::Stream(_) => Bytes::new(),
        }
    }
}

impl AsyncRead for OriginEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(connection) => Pin::new(&mut connection.stream).poll_read(cx, into),
            Self::Stream(stream) => Pin::new(&mut stream.end).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for OriginEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Connection(connection) => Pin::new(&mut connection.stream).poll_write(cx, from),
            Self::Stream(stream) => Pin::new(&mut stream.end).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(connection) => Pin::new(&mut connection.stream).poll_flush(cx),
            Self::Stream(stream) => Pin::new(&mut stream.end).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(connection) => Pin::new(&mut connection.stream).poll_shutdown(cx),
            Self::Stream(stream) => Pin::new(&mut stream.end).poll_shutdown(cx),
        }
    }
}

/// What went through a tunnel so far, bytes.
#[derive(Default)]
pub struct Traffic {
    /// From the client to the origin.
    pub up: Cell<u64>,
    /// From the origin to the client.
    pub down: Cell<u64>,
    /// It was the origin's end that broke.
    pub origin_broke: Cell<bool>,
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
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    client_early: Bytes,
    mut origin: OriginEnd,
    idle: Duration,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut up = Direction::new(client_early, &traffic.up);
    let mut down = Direction::new(origin.take_early(), &traffic.down);
    let mut last = clock::now();
    let mut deadline = std::pin::pin!(tokio::time::sleep(idle));
    std::future::poll_fn(|cx| {
        let before = traffic.both();
        let note = |is_origins| traffic.origin_broke.set(is_origins);
        let one = up.poll(&mut client, &mut origin, cx).map_err(|broken| {
            note(matches!(broken, Broken::Write(_)));
            broken.into_error()
        })?;
        let other = down.poll(&mut origin, &mut client, cx).map_err(|broken| {
            note(matches!(broken, Broken::Read(_)));
            broken.into_error()
        })?;
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

/// Which end of a direction broke.
enum Broken {
    Read(io::Error),
    Write(io::Error),
}

impl Broken {
    fn into_error(self) -> io::Error {
        let (Self::Read(error) | Self::Write(error)) = self;
        error
    }
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
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !self.waiting.is_empty() {
                let written = Pin::new(&mut *to).poll_write(cx, &self.waiting);
                let count = ready!(written).map_err(Broken::Write)?;
                drop(self.waiting.split_to(count));
                self.bytes.set(self.bytes.get() + count as u64);
            }
            match self.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Broken::Write)?;
                    self.state = State::Over;
                }
                State::Open => {
                    let mut buffer = ReadBuf::uninit(&mut self.buffer);
                    let read = Pin::new(&mut *from).poll_read(cx, &mut buffer);
                    if read.is_pending() {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Broken::Write)?;
                        return Poll::Pending;
                    }
                    ready!(read).map_err(Broken::Read)?;
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
