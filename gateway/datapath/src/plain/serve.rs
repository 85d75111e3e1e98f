//! Plain connections: accepted, bounded, answered once, closed.
//!
//! The oldest give way when there are more than [`PLAIN_CONNECTIONS_MAX`]: an answer takes one round
//! trip, and who has been there for longer than a thousand newer ones has not asked.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http1::{BodyLength, Head, Known, Limits, Next, Reply, Waiting};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::answer::{Answer, Asked, Condition, Hosts, answer};
use super::{Outcome, Role, Surroundings};
use crate::limits::{
    DRAIN_POLL, PLAIN_CONNECTIONS_MAX, PLAIN_HEAD_BYTES_MAX, PLAIN_LINGER, PLAIN_LINGER_BYTES_MAX,
    PLAIN_TARGET_BYTES_MAX, PLAIN_WRITE_TIMEOUT, RECEIVE_BUFFER_MIN,
};
use crate::proxy_protocol::{Found, parse};
use crate::shares::Seat;
use crate::worker::Placement;
use snapshot::Snapshot;

impl Hosts for Snapshot {
    fn is_host(&self, name: &str) -> bool {
        self.host(name).is_some()
    }

    fn challenge(&self, name: &str, path: &str) -> Option<Arc<str>> {
        self.challenges.answer(name, path)
    }
}

/// A listener, to its connections.
pub(super) struct Entry {
    pub(super) role: Role,
    pub(super) around: Surroundings,
}

/// Serves until dropped, and its connections end with it; or until the listeners are left to another
/// process, and its connections are over.
pub(super) async fn serve(
    mut listeners: Vec<TcpListener>,
    entry: Arc<Entry>,
    mut left: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listeners) => accepted,
            true = async { left.wait_for(|left| *left).await.is_ok() } => {
                drop(listeners);
                while connections.join_next().await.is_some() {}
                return;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // One of an address that is not listened on any more, and is closed by now.
            Err((at, error)) if error.raw_os_error() == Some(libc::EINVAL) => {
                drop(listeners.swap_remove(at));
                continue;
            }
            Err((_, error)) => {
                tracing::warn!(%error, "plain HTTP connections cannot be accepted");
                // Out of descriptors, most likely: trying at once would only burn the CPU.
                tokio::time::sleep(DRAIN_POLL).await;
                continue;
            }
        };
        // So that one that always has somebody does not keep the others waiting.
        listeners.rotate_left(1);
        while connections.try_join_next().is_some() {}
        if open.len() >= PLAIN_CONNECTIONS_MAX {
            open.retain(|one| !one.is_finished());
        }
        if open.len() >= PLAIN_CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            entry.around.counts.add(Outcome::Evicted);
        }
        let entry = entry.clone();
        open.push_back(connections.spawn(async move {
            let outcome = connection(&entry, stream, peer).await;
            entry.around.counts.add(outcome);
        }));
    }
}

/// The next connection of any of the listeners, or which one has none and why.
async fn accept(listeners: &[TcpListener]) -> Result<(TcpStream, SocketAddr), (usize, io::Error)> {
    std::future::poll_fn(|cx| {
        for (at, listener) in listeners.iter().enumerate() {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map_err(|error| (at, error)));
            }
        }
        Poll::Pending
    })
    .await
}

/// A place among `limit.connections`.
struct Counted(Arc<Placement>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Entry {
    /// Charges a client for a connection. Balancers that ask for health are nobody's clients.
    fn charge(&self, client: SocketAddr) -> Result<Option<(Counted, Option<Seat>)>, Outcome> {
        if self.role == Role::Health {
            return Ok(None);
        }
        let tunables = self.around.shared.live.load();
        let before = self
            .around
            .placement
            .connections
            .fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.around.placement.clone());
        if before >= tunables.connections_max {
            return Err(Outcome::Share);
        }
        let seat = self.around.shared.shares.enter(client.ip(), &tunables);
        let seat = seat.map_err(|_beyond| Outcome::Share)?;
        Ok(Some((counted, seat)))
    }

    fn condition(&self) -> Condition {
        if self.around.workers.ready() {
            Condition::Ready
        } else if self.around.workers.status().draining {
            Condition::Draining
        } else {
            Condition::Starting
        }
    }
}

async fn connection(entry: &Entry, mut stream: TcpStream, peer: SocketAddr) -> Outcome {
    let patience = entry.around.shared.live.load().header_timeout;
    let mut input = Vec::with_capacity(RECEIVE_BUFFER_MIN);
    let introduced = timeout(patience, introduced(entry, &mut stream, &mut input, peer));
    let client = match introduced.await {
        Ok(Ok(client)) => client,
        Ok(Err(outcome)) => return outcome,
        Err(_elapsed) => return Outcome::ProxyHeader,
    };
    let _charged = match entry.charge(client) {
        Ok(charged) => charged,
        Err(outcome) => return outcome,
    };
    let asked = timeout(patience, ask(entry, &mut stream, &mut input)).await;
    let Ok(Ok((answer, reply))) = asked else {
        return Outcome::Gone;
    };
    let outcome = answer.outcome;
    let out = written(answer, reply);
    let sent = timeout(PLAIN_WRITE_TIMEOUT, async {
        stream.write_all(&out).await?;
        stream.shutdown().await
    });
    if let Ok(Ok(())) = sent.await {
        // A reset would take the answer away from a client that still sends a body.
        drop(timeout(PLAIN_LINGER, linger(&mut stream)).await);
    }
    outcome
}

/// Whose connection it is: the peer's, or of a balancer's the client's that its PROXY header names.
async fn introduced(
    entry: &Entry,
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    peer: SocketAddr,
) -> Result<SocketAddr, Outcome> {
    let tunables = **entry.around.shared.live.load();
    if entry.role == Role::Health || !tunables.proxy_protocol_from.contain(peer.ip()) {
        return Ok(peer);
    }
    loop {
        match parse(input) {
            Ok(Found::More) => {}
            Ok(Found::Header(header)) => {
                input.drain(..header.size);
                return Ok(header.client.unwrap_or(peer));
            }
            Err(_) => return Err(Outcome::ProxyHeader),
        }
        match stream.read_buf(input).await {
            Ok(0) | Err(_) if input.is_empty() => return Err(Outcome::Gone),
            Ok(0) | Err(_) => return Err(Outcome::ProxyHeader),
            Ok(_) => {}
        }
    }
}

/// Reads a head and finds its answer.
async fn ask(
    entry: &Entry,
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
) -> io::Result<(Answer, Reply)> {
    let limits = Limits {
        head_bytes_max: PLAIN_HEAD_BYTES_MAX,
        target_bytes_max: PLAIN_TARGET_BYTES_MAX,
        ..Limits::default()
    };
    let (mut waiting, mut head) = (Waiting::new(), Head::default());
    loop {
        match waiting.receive(input, &limits, &mut head) {
            Ok(Next::More(again)) => waiting = again,
            Ok(Next::Request(request)) => {
                let asked = Asked {
                    method: head.method(input),
                    target: head.target(input),
                    host: head.fields(input).known(Known::Host).next(),
                };
                let port = entry.around.shared.live.load().http_redirect_port;
                let snapshot = entry.around.shared.published.load();
                let answer = answer(entry.role, asked, &*snapshot, entry.condition(), port);
                return Ok((answer, request.reply));
            }
            Err(refused) => {
                let answer = Answer::refused(refused.error.status());
                return Ok((answer, refused.reply));
            }
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn written(answer: Answer, mut reply: Reply) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    if matches!(answer.outcome, Outcome::Health | Outcome::AcmeChallenge) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    // The location is visible ASCII.
    let location = answer.location.map(HeaderValue::try_from);
    if let Some(Ok(location)) = location {
        headers.insert(header::LOCATION, location);
    }
    reply.close();
    let mut out = Vec::new();
    let length = BodyLength::Exactly(answer.text.len() as u64);
    let text = answer.text.as_bytes();
    let sending = reply.head(answer.status, &headers, length, &mut out);
    // What cannot be written is not begun.
    if !sending.is_ok_and(|mut sending| sending.data(text, &mut out).is_ok()) {
        out.clear();
    }
    out
}

/// Reads and forgets what the client still sends.
async fn linger(stream: &mut TcpStream) {
    let mut buffer = [0; RECEIVE_BUFFER_MIN];
    let mut left = PLAIN_LINGER_BYTES_MAX;
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 || left == 0 {
            return;
        }
        left = left.saturating_sub(read);
    }
}
