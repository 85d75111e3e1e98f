//! The two directions of a socket as states that can be polled, and the clock marks they leave.
//!
//! Streams are polled with borrowed buffers, the ring wants owned ones: each direction keeps its
//! operation in flight between polls and its buffer between operations.

use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::operation::{Receive, Transmit};
use super::socket::Socket;
use crate::clock;
use crate::limits::{
    RECEIVE_BUFFER_FIRST, RECEIVE_BUFFER_MAX, RECEIVE_BUFFER_MIN, SEND_BUFFER_KEPT,
};

/// Activity of a connection's two directions; shared with the code that watches its timeouts.
///
/// Counts rather than times, because a clock read per operation costs more than looking at the
/// counts again when a timer fires.
#[derive(Debug, Default)]
pub struct Activity {
    /// When the first bytes came since this was set to `None`.
    pub first_received: Cell<Option<Instant>>,
    /// Bytes wait for the peer to take them.
    pub sending: Cell<bool>,
    /// Bytes that came over the wire.
    pub bytes_in: Cell<u64>,
    /// Bytes that went over the wire.
    pub bytes_out: Cell<u64>,
}

/// The receiving direction.
pub(super) struct Receiver {
    operation: Option<Receive>,
    /// How large the next buffer will be: small while little comes, so that ten thousand idle
    /// connections pin little memory.
    size: usize,
    /// The last receive took all there was.
    emptied: bool,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self {
            operation: None,
            size: RECEIVE_BUFFER_FIRST,
            emptied: false,
        }
    }

    /// Whether a buffer is with the ring.
    pub(super) fn is_receiving(&self) -> bool {
        self.operation.is_some()
    }

    /// Receives. `reuse` gives the old buffer when a new operation has to be started. The buffer
    /// that comes back is empty at the end of the stream.
    pub(super) fn poll(
        &mut self,
        socket: &Socket,
        activity: &Activity,
        cx: &mut Context<'_>,
        reuse: impl FnOnce() -> Vec<u8>,
    ) -> Poll<io::Result<Vec<u8>>> {
        let (size, emptied) = (self.size, self.emptied);
        let operation = self.operation.get_or_insert_with(|| {
            let buffer = reuse();
            let buffer = if buffer.capacity() == size {
                buffer
            } else {
                Vec::with_capacity(size)
            };
            socket.receive(buffer, emptied)
        });
        let (result, buffer) = ready!(Pin::new(operation).poll(cx));
        self.operation = None;
        result?;
        self.emptied = buffer.len() < buffer.capacity();
        if !self.emptied {
            self.size = (self.size * 4).min(RECEIVE_BUFFER_MAX);
        } else if buffer.len() < self.size / 4 {
            self.size = RECEIVE_BUFFER_MIN;
        }
        if activity.first_received.get().is_none() {
            activity.first_received.set(Some(clock::now()));
        }
        activity
            .bytes_in
            .set(activity.bytes_in.get() + buffer.len() as u64);
        Poll::Ready(Ok(buffer))
    }
}

/// The sending direction.
pub(super) struct Sender {
    operation: Option<Transmit>,
    /// How much of the buffer in flight has gone before.
    offset: usize,
    /// An emptied buffer, for the next swap.
    spare: Vec<u8>,
}

impl Sender {
    pub(super) fn new() -> Self {
        Self {
            operation: None,
            offset: 0,
            spare: Vec::new(),
        }
    }

    /// Gives the spare buffer's memory back.
    pub(super) fn release(&mut self) {
        self.spare = Vec::new();
    }

    /// Sends until `next` has nothing more: it is given an empty buffer and answers with one to
    /// send, or with an empty one when all is sent.
    pub(super) fn poll(
        &mut self,
        socket: &Socket,
        activity: &Rc<Activity>,
        cx: &mut Context<'_>,
        mut next: impl FnMut(Vec<u8>) -> Vec<u8>,
    ) -> Poll<io::Result<()>> {
        loop {
            let Some(operation) = &mut self.operation else {
                let buffer = next(std::mem::take(&mut self.spare));
                if buffer.is_empty() {
                    if buffer.capacity() <= SEND_BUFFER_KEPT {
                        self.spare = buffer;
                    }
                    return Poll::Ready(Ok(()));
                }
                self.offset = 0;
                activity.sending.set(true);
                self.operation = Some(socket.send(buffer, 0));
                continue;
            };
            let (result, buffer) = ready!(Pin::new(operation).poll(cx));
            self.operation = None;
            activity.sending.set(false);
            let sent = result?;
            activity
                .bytes_out
                .set(activity.bytes_out.get() + sent as u64);
            self.offset += sent;
            if self.offset < buffer.len() {
                activity.sending.set(true);
                self.operation = Some(socket.send(buffer, self.offset));
            } else {
                self.spare = buffer;
                self.spare.clear();
            }
        }
    }
}
