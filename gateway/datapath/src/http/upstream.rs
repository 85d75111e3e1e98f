//! A worker's own pool of origin connections.
//!
//! No other worker sees it, so it needs no lock. HTTP/1.1 connections are lent out one request
//! at a time and come back when the response's body is over; an HTTP/2 connection is shared.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};

use super::body::RequestBody;
use super::connect::{LocalExecutor, OriginError, OriginStream, connect};
use crate::clock;
use crate::limits::{H2_SEND_BUFFER, H2_WINDOW_CONNECTION, H2_WINDOW_STREAM};
use snapshot::http::origin::Origin;

/// A worker's origin connections.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
    shared: RefCell<HashMap<u64, http2::SendRequest<RequestBody>>>,
    /// Connections open, idle ones included.
    open: Rc<Cell<u64>>,
    /// Idle connections kept for one origin.
    idle_max: Cell<usize>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// A connection to send one request on.
pub(super) enum Sender {
    Http1(Lease),
    Http2(http2::SendRequest<RequestBody>),
}

/// An HTTP/1.1 connection that is lent to one request.
pub struct Lease {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pool: Rc<Pool>,
    key: u64,
    /// How long it lay idle, when it has carried requests before: the origin may have closed it
    /// meanwhile.
    pub(super) idle: Option<Duration>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// Puts the connection back for the next request.
    pub fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        let kept = idle.entry(self.key).or_default();
        if kept.len() < self.pool.idle_max.get() {
            kept.push(Idle {
                sender: self.sender,
                since: clock::now(),
            });
        }
    }
}

impl Pool {
    /// Connections open and connections idle.
    #[must_use]
    pub fn count(&self) -> (u64, u64) {
        let idle: usize = self.idle.borrow().values().map(Vec::len).sum();
        (self.open.get(), idle as u64)
    }

    /// Lets go of connections that have been idle for `idle_timeout`, or that the origin closed.
    pub fn sweep(&self, idle_timeout: Duration, idle_max: usize) {
        self.idle_max.set(idle_max);
        let now = clock::now();
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain(|idle| {
                !idle.sender.is_closed() && now.duration_since(idle.since) < idle_timeout
            });
            !kept.is_empty()
        });
        self.shared
            .borrow_mut()
            .retain(|_, sender| !sender.is_closed());
    }

    /// An idle connection, if one is there and alive. The last one used is the first one reused:
    /// the others may then time out.
    pub(super) fn reuse(self: &Rc<Self>, origin: &Origin) -> Option<Sender> {
        if let Some(sender) = self.shared.borrow().get(&origin.key)
            && !sender.is_closed()
        {
            return Some(Sender::Http2(sender.clone()));
        }
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&origin.key)?;
        while let Some(Idle { sender, since }) = kept.pop() {
            if !sender.is_closed() {
                let (pool, idle) = (self.clone(), Some(since.elapsed()));
                return Some(Sender::Http1(Lease {
                    sender,
                    pool,
                    key: origin.key,
                    idle,
                }));
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn open(
        self: &Rc<Self>,
        origin: &Origin,
        patience: Duration,
    ) -> Result<Sender, OriginError> {
        let (stream, http2) = connect(origin, false, patience).await?;
        if http2 {
            let sender = self
                .start_http2(stream)
                .await
                .map_err(OriginError::Response)?;
            self.shared.borrow_mut().insert(origin.key, sender.clone());
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(OriginError::Response)?;
        self.drive(connection);
        Ok(Sender::Http1(Lease {
            sender,
            pool: self.clone(),
            key: origin.key,
            idle: None,
        }))
    }

    async fn start_http2(
        &self,
        stream: OriginStream,
    ) -> Result<http2::SendRequest<RequestBody>, hyper::Error> {
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .initial_stream_window_size(H2_WINDOW_STREAM)
            .initial_connection_window_size(H2_WINDOW_CONNECTION)
            .max_send_buf_size(H2_SEND_BUFFER)
            .handshake(stream)
            .await?;
        self.drive(connection);
        Ok(sender)
    }

    /// Runs a connection beside the requests that use it, until both sides are done with it.
    pub(super) fn drive(
        &self,
        connection: impl Future<Output = Result<(), hyper::Error>> + 'static,
    ) {
        let open = self.open.clone();
        open.set(open.get() + 1);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an origin connection ended");
            }
            open.set(open.get() - 1);
        });
    }
}
