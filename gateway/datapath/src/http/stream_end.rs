//! An HTTP/2 stream as the end of a tunnel (RFC 9113 §8.5): DATA frames are its bytes.

use std::cmp::min;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::TUNNEL_BUFFER;

/// Whether more may be written for a peer that may not take it, and how much was: the account of a
/// client.
pub trait Meter {
    /// Whether more may be written. If not, the caller is woken when it may.
    fn may_write(&self, cx: &Context<'_>) -> bool;
    /// So many bytes were written.
    fn wrote(&self, bytes: usize);
}

/// One that lets everything through: what stands behind it has bounds of its own.
pub struct Unmetered;

impl Meter for Unmetered {
    fn may_write(&self, _: &Context<'_>) -> bool {
        true
    }

    fn wrote(&self, _: usize) {}
}

/// A stream of which both directions are a tunnel's.
pub struct StreamEnd<M> {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What came and was not read yet.
    rest: Bytes,
    meter: M,
    /// Our direction is over.
    ended: bool,
}

impl<M: Meter> StreamEnd<M> {
    /// Takes both directions.
    pub fn new(send: SendStream<Bytes>, receive: RecvStream, meter: M) -> Self {
        Self {
            send,
            receive,
            rest: Bytes::new(),
            meter,
            ended: false,
        }
    }
}

impl<M: Meter + Unpin> AsyncRead for StreamEnd<M> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                // The end.
                None => return Poll::Ready(Ok(())),
                Some(data) => this.rest = data.map_err(broken)?,
            }
        }
        let now = min(this.rest.len(), into.remaining());
        into.put_slice(this.rest.get(..now).unwrap_or_default());
        this.rest.advance(now);
        this.receive
            .flow_control()
            .release_capacity(now)
            .map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl<M: Meter + Unpin> AsyncWrite for StreamEnd<M> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !this.meter.may_write(cx) {
            return Poll::Pending;
        }
        this.send.reserve_capacity(min(from.len(), TUNNEL_BUFFER));
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(room) => drop(room.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let now = min(this.send.capacity(), min(from.len(), TUNNEL_BUFFER));
        let data = Bytes::copy_from_slice(from.get(..now).unwrap_or_default());
        this.send.send_data(data, false).map_err(broken)?;
        this.meter.wrote(now);
        Poll::Ready(Ok(now))
    }

    /// h2 sends what it can by itself. What the peer's reset says is heard here, too: a direction in
    /// which nothing comes would not.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        match this.send.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.send.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
