//! A TLS stream: a [`Session`] whose wire the ring moves.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::operation::Readable;
use super::pump::{Activity, Receiver, Sender};
use super::socket::{Socket, TcpInfo};
use crate::clock;
use crate::limits::{LINGER_BYTES_PER_SECOND, LINGER_SILENCE, LINGER_TIMEOUT, SEND_BUFFER_MAX};
use tls::{HandshakeFailure, Session};

/// A TLS connection.
pub struct TlsStream {
    socket: Socket,
    session: Session,
    activity: Rc<Activity>,
    receiver: Receiver,
    sender: Sender,
    closing: bool,
    /// Why reading failed, once the alert that says it is on its way.
    failed: Option<io::Error>,
    /// The client was sent an alert.
    alerted: bool,
    /// Plaintext that was read and put back.
    early: Bytes,
    /// A wait for something to receive.
    readable: Option<Readable>,
}

impl TlsStream {
    /// Puts a session at its first byte onto a connected socket.
    #[must_use]
    pub fn new(socket: Socket, session: Session) -> Self {
        Self {
            socket,
            session,
            activity: Rc::default(),
            receiver: Receiver::new(),
            sender: Sender::new(),
            closing: false,
            failed: None,
            alerted: false,
            early: Bytes::new(),
            readable: None,
        }
    }

    /// The same for a socket of which `read` was read before.
    #[must_use]
    pub fn resume(socket: Socket, session: Session, read: Vec<u8>) -> Self {
        let mut stream = Self::new(socket, session);
        // An empty buffer would mean the end.
        if !read.is_empty() {
            stream.activity.first_received.set(Some(clock::now()));
            stream.activity.bytes_in.set(read.len() as u64);
            stream.session.wire().give_incoming(read);
        }
        stream
    }

    /// The session, for what is known once the handshake is over.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Whether the peer has said that it sends nothing more.
    #[must_use]
    pub fn has_taken_leave(&self) -> bool {
        self.session.has_taken_leave()
    }

    /// The clock marks, for timeouts.
    #[must_use]
    pub fn activity(&self) -> Rc<Activity> {
        self.activity.clone()
    }

    /// What the kernel knows of the connection.
    #[must_use]
    pub fn info(&self) -> TcpInfo {
        self.socket.info()
    }

    /// Makes the handshake. `false`: it has stopped before its end because the client cannot be
    /// verified yet ([`Session::waits`]); call again to go on.
    ///
    /// # Errors
    /// It has failed. The alert that says why has been sent, as far as the peer took it.
    pub async fn handshake(&mut self) -> Result<bool, HandshakeFailure> {
        std::future::poll_fn(|cx| self.poll_handshake(cx)).await
    }

    /// Sends what the wire holds, such as an alert.
    ///
    /// # Errors
    /// The socket's.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_send(cx)).await
    }

    /// Sends `text` in clear, bypassing TLS: for clients that do not speak it.
    ///
    /// # Errors
    /// The socket's.
    pub async fn answer_in_clear(&mut self, text: &str) -> io::Result<()> {
        let mut text = Some(text.as_bytes().to_vec());
        std::future::poll_fn(|cx| {
            let next = |_| text.take().unwrap_or_default();
            self.sender.poll(&self.socket, &self.activity, cx, next)
        })
        .await?;
        self.socket.finish_writing();
        Ok(())
    }

    /// Puts plaintext back that was read and not used.
    pub fn put_back(&mut self, early: Bytes) {
        debug_assert!(self.early.is_empty(), "what was put back is read first");
        // An empty view would keep the whole of its buffer alive.
        if !early.is_empty() {
            self.early = early;
        }
    }

    /// Waits until there is something to read, or the end, holding no buffers meanwhile: an idle
    /// connection costs what BoringSSL needs and little more.
    ///
    /// Wakes for ciphertext; whether there is a whole record in it is the next read's to find.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() || self.session.has_unread() {
            return Poll::Ready(Ok(()));
        }
        if self.poll_send(cx).is_ready() {
            self.sender.release();
            self.session.wire().release();
        }
        if self.receiver.is_receiving() {
            return self.poll_fill(cx);
        }
        let wait = self.readable.get_or_insert_with(|| self.socket.readable());
        let outcome = ready!(Pin::new(wait).poll(cx));
        self.readable = None;
        Poll::Ready(outcome)
    }

    /// Whether what came was no TLS any more, and an alert was sent.
    #[must_use]
    pub fn has_alerted(&self) -> bool {
        self.alerted
    }

    /// Acknowledges what has come, unless an answer to it is on its way. A client that leaves Nagle
    /// on sends its first request only then, and the kernel would wait 40 ms.
    pub fn acknowledge(&mut self) {
        if self.session.wire().outgoing_len() == 0 && !self.session.has_unread() {
            self.socket.acknowledge();
        }
    }

    /// Says goodbye and nothing more.
    ///
    /// # Errors
    /// The socket's.
    pub async fn close(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await
    }

    /// Reads and forgets what the client still sends after our last word, so that the kernel does
    /// not throw that word away with a reset (RFC 9112 §9.6). Bounded in rate and time: a client
    /// that sends slowly still gets to the end of its request, and then to its answer.
    pub async fn linger(&mut self) {
        self.socket.finish_writing();
        let begun = clock::now();
        let until_end = async {
            let mut forgotten = 0;
            loop {
                let received = std::future::poll_fn(|cx| {
                    self.receiver
                        .poll(&self.socket, &self.activity, cx, Vec::new)
                });
                match tokio::time::timeout(LINGER_SILENCE, received).await {
                    Ok(Ok(buffer)) if !buffer.is_empty() => forgotten += buffer.len() as u64,
                    _ => break,
                }
                let due = Duration::from_micros(forgotten * 1_000_000 / LINGER_BYTES_PER_SECOND);
                if begun.elapsed() < due {
                    tokio::time::sleep_until((begun + due).into()).await;
                }
            }
        };
        // A client that goes on sending after that has had its chance.
        drop(tokio::time::timeout(LINGER_TIMEOUT, until_end).await);
    }

    /// Reads, and shows `wanted` what came. What it does not want is not given on,
    /// and then nothing wakes the caller any more: it must not wait for this.
    pub fn poll_read_if(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
        wanted: impl FnOnce(&[u8]) -> bool,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let now = self.early.split_to(self.early.len().min(into.remaining()));
            if !wanted(&now) {
                return Poll::Pending;
            }
            into.put_slice(&now);
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.failed.is_some() {
                // The alert goes first (RFC 8446 §6.2); that it does not get through is no news.
                drop(ready!(self.poll_send(cx)));
                let failed = self
                    .failed
                    .take()
                    .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
                return Poll::Ready(Err(failed));
            }
            // SAFETY: `unfilled_mut` asks that nothing initialised becomes uninitialised; `Session::read`
            // only ever writes bytes into the slice.
            let room = unsafe { into.unfilled_mut() };
            let read = match self.session.read(room) {
                Ok(read) => read,
                Err(error) => {
                    self.alerted = true;
                    self.failed = Some(error);
                    continue;
                }
            };
            match read {
                Some(count) => {
                    let (read, _) = room.split_at(count.min(room.len()));
                    // SAFETY: `assume_init_ref` needs every byte of the slice to be initialised;
                    // `Session::read` has just written that many, and says so by `count`.
                    let read = unsafe { read.assume_init_ref() };
                    if !wanted(read) {
                        return Poll::Pending;
                    }
                    // SAFETY: `assume_init` needs the first `count` bytes of the room to be
                    // initialised; `Session::read` has just written that many there.
                    unsafe {
                        into.assume_init(count);
                    }
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                None => {
                    // Reading may have made BoringSSL answer (a key update): it goes out while
                    // we wait, and whether it got through the next write will tell.
                    if self.session.wire().outgoing_len() > 0 {
                        drop(self.poll_send(cx));
                    }
                    ready!(self.poll_fill(cx))?;
                }
            }
        }
    }

    /// Reads into the spare room of `into`, of which there has to be some. No bytes: the end.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::uninit(into.spare_capacity_mut());
        ready!(self.poll_read_if(cx, &mut room, |_| true))?;
        let count = room.filled().len();
        let filled = into.len() + count;
        // SAFETY: `set_len` needs the bytes before `filled` to be initialised and in the capacity: what
        // `filled()` lies over was, and is the beginning of the spare room.
        unsafe {
            into.set_len(filled);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, HandshakeFailure>> {
        loop {
            let progress = self.session.handshake();
            let sent = self.poll_send(cx);
            match progress {
                // What is left to send goes with the first write, or on its own.
                Ok(true) => return Poll::Ready(Ok(true)),
                Ok(false) if self.session.waits() => return Poll::Ready(Ok(false)),
                Ok(false) => {
                    ready!(self.poll_fill(cx))?;
                }
                Err(failure) => {
                    drop(ready!(sent));
                    return Poll::Ready(Err(failure));
                }
            }
        }
    }

    /// Lets the ring fill the drained wire.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.session.wire();
        let reuse = || wire.take_incoming();
        let buffer = ready!(self.receiver.poll(&self.socket, &self.activity, cx, reuse))?;
        self.session.wire().give_incoming(buffer);
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.session.wire();
        let next = |empty| wire.swap_outgoing(empty);
        self.sender.poll(&self.socket, &self.activity, cx, next)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_if(cx, into, |_| true)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.failed.is_some() {
            // Nothing is written behind the alert, and the stream is not given up before it.
            drop(ready!(this.poll_send(cx)));
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.session.wire().outgoing_len() >= SEND_BUFFER_MAX {
            ready!(this.poll_send(cx))?;
        }
        let (now, _) = from.split_at(from.len().min(SEND_BUFFER_MAX));
        Poll::Ready(this.session.write(now))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            this.session.close();
        }
        ready!(this.poll_send(cx))?;
        this.socket.finish_writing();
        Poll::Ready(Ok(()))
    }
}
