//! What is left of requests' bodies that nobody wants: the client must get its answer all the same.
//!
//! A client that still sends when its connection is closed loses the answer to a reset (RFC 9112
//! §9.6), and one that sees its HTTP/2 stream reset right behind the answer may take it for a
//! failure. So small remainders are read and forgotten, and the connection, or the stream, lives
//! on. Of larger ones HTTP/1.1 clients are told `close` with the answer, and `over_http1` goes on reading
//! below TLS until they have read it. Does not close anything itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::Connection;
use super::exchange::Tunnel;
use crate::http::incoming::Incoming;
use crate::limits::{REMAINDER_BYTES_MAX, REMAINDER_TIMEOUT};

/// What is left to do on the connection for requests' bodies, and whether it becomes a tunnel.
#[derive(Default)]
pub(super) struct Remainder {
    /// A request's body was left unread: closing at once would cost the client its answer.
    unread: Cell<bool>,
    /// What is left of it is to be read and forgotten, by the code that drives HTTP/1.1.
    forgotten: Cell<bool>,
    /// Bodies that clients still send, wanted or not.
    bodies: Cell<usize>,
    /// It is a tunnel from then on.
    tunnel: RefCell<Option<Tunnel>>,
}

impl Remainder {
    /// Whether the client may be sending what nobody reads.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// Whether what is left of a body is to be read and forgotten.
    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten.get()
    }

    /// That was done, or given up.
    pub(super) fn was_read(&self, whole: bool) {
        self.forgotten.set(false);
        self.body_ends();
        if whole {
            self.unread.set(false);
        }
    }

    /// A request with a body begins.
    pub(super) fn body_begins(&self) {
        self.bodies.set(self.bodies.get() + 1);
    }

    /// A body is over, or given up.
    fn body_ends(&self) {
        self.bodies.set(self.bodies.get().saturating_sub(1));
    }

    /// Whether a body is under way: what comes next is no head.
    pub(super) fn has_body(&self) -> bool {
        self.bodies.get() > 0
    }

    /// The request that is being answered becomes a tunnel.
    pub(super) fn become_tunnel(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// Whether a request has become a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.borrow().is_some()
    }

    /// The tunnel, once its 101 is written.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }
}

/// How much of a request's body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Over,
    /// So many bytes, or an unknown number of them.
    Coming(Option<u64>),
    /// The same, as soon as it is asked for (`Expect: 100-continue`).
    Unasked(Option<u64>),
}

impl Rest {
    /// Whether it is read and forgotten, so that an HTTP/1.1 connection can be used again.
    pub(super) fn is_small(self) -> bool {
        match self {
            Self::Over => true,
            Self::Coming(bytes) => bytes.is_some_and(|bytes| bytes <= REMAINDER_BYTES_MAX),
            Self::Unasked(_) => false,
        }
    }
}

/// A request's body is over.
pub(super) fn body_ends(connection: &Connection) {
    connection.remainder.body_ends();
}

/// Takes what is left of a body that is not wanted any more.
pub(super) fn leave(connection: &Rc<Connection>, body: Incoming, rest: Rest, http2: bool) {
    let remainder = &connection.remainder;
    if !http2 {
        drop(body);
        remainder.unread.set(true);
        if rest.is_small() {
            remainder.forgotten.set(true);
        } else {
            remainder.body_ends();
        }
        return;
    }
    let connection = connection.clone();
    tokio::task::spawn_local(async move {
        drop(tokio::time::timeout(REMAINDER_TIMEOUT, read_rest(body)).await);
        connection.remainder.body_ends();
    });
}

/// Reads a body to its end, which has to be near.
async fn read_rest(mut body: Incoming) {
    let mut left = REMAINDER_BYTES_MAX;
    let mut next = async || std::future::poll_fn(|cx| body.poll_frame(cx)).await;
    while let Some(Ok(frame)) = next().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
