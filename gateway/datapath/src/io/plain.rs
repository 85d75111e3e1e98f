//! A TCP stream without TLS, for origins that speak `http://`.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pump::{Activity, Receiver, Sender};
use super::socket::Socket;
use crate::limits::{RECEIVE_BUFFER_FIRST, SEND_BUFFER_MAX};

/// A TCP stream.
pub struct PlainStream {
    socket: Socket,
    activity: Rc<Activity>,
    receiver: Receiver,
    sender: Sender,
    incoming: Vec<u8>,
    /// `0 <= position <= incoming.len()`.
    position: usize,
    outgoing: Vec<u8>,
}

impl PlainStream {
    /// Takes a connected socket. `first` goes out before all else, with what is sent first.
    #[must_use]
    pub fn new(socket: Socket, first: &[u8]) -> Self {
        Self {
            socket,
            activity: Rc::default(),
            receiver: Receiver::new(),
            sender: Sender::new(),
            incoming: Vec::new(),
            position: 0,
            outgoing: first.to_vec(),
        }
    }

    /// The clock marks, for timeouts.
    #[must_use]
    pub fn activity(&self) -> Rc<Activity> {
        self.activity.clone()
    }

    /// Receives behind what `into` has, as much as comes at once. No bytes: the end.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_fill(cx))?;
        let rest = self.incoming.get(self.position..).unwrap_or_default();
        into.extend_from_slice(rest);
        let count = rest.len();
        self.position = self.incoming.len();
        Poll::Ready(Ok(count))
    }

    /// Receives, if everything is given on that has come.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.position == self.incoming.len() {
            let incoming = &mut self.incoming;
            let reuse = || std::mem::take(incoming);
            self.position = 0;
            let received = self.receiver.poll(&self.socket, &self.activity, cx, reuse);
            if received.is_pending() {
                self.incoming.clear();
            }
            self.incoming = ready!(received)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        let rest = this.incoming.get(this.position..).unwrap_or_default();
        let (now, _) = rest.split_at(rest.len().min(into.remaining()));
        into.put_slice(now);
        this.position += now.len();
        if this.position == this.incoming.len() && this.incoming.capacity() > RECEIVE_BUFFER_FIRST {
            // What a body streams through is not kept while its client does not read on.
            this.incoming = Vec::new();
            this.position = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outgoing.len() >= SEND_BUFFER_MAX {
            ready!(this.poll_send(cx))?;
        }
        this.outgoing.extend_from_slice(from);
        Poll::Ready(Ok(from.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outgoing.len() >= SEND_BUFFER_MAX {
            ready!(this.poll_send(cx))?;
        }
        let before = this.outgoing.len();
        for slice in slices {
            this.outgoing.extend_from_slice(slice);
        }
        Poll::Ready(Ok(this.outgoing.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        this.socket.finish_writing();
        Poll::Ready(Ok(()))
    }
}

impl PlainStream {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.outgoing;
        let next = |empty| std::mem::replace(outgoing, empty);
        self.sender.poll(&self.socket, &self.activity, cx, next)
    }
}
