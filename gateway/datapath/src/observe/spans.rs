//! Spans of sampled requests, from workers to whoever sends them.
//!
//! Owns the bounded queue ([`Spans`]) and what a worker says of one request ([`RequestSpans`]). A worker
//! never waits: what finds the queue full is dropped and counted. Sends nothing: the crate `traces`
//! does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam::queue::ArrayQueue;

use crate::limits;

/// A stretch of a request's life, counted from its head's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// When it began.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
}

/// How the connection of a request began, of the first one on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began {
    /// When it was accepted.
    pub accepted: SystemTime,
    /// From then to its first turn on the worker.
    pub waited: Duration,
    /// From when it was accepted to the end of the handshake.
    pub established: Duration,
}

/// What a worker says of one request. Texts of clients are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSpans {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span of the client that it came from.
    pub parent: Option<[u8; 8]>,
    /// Tells the request's spans apart from others: [`span_id`] makes ids of it.
    pub number: u64,
    /// The request's id.
    pub request_id: String,
    /// When the head was complete.
    pub time: SystemTime,
    /// To the last byte of the answer.
    pub total: Duration,
    /// Deciding on it.
    pub rules: Option<Stretch>,
    /// All that had to do with the origin.
    pub origin: Option<Stretch>,
    /// Of it, a new connection.
    pub connect: Option<Stretch>,
    /// From the request sent to the head of the origin's answer.
    pub wait: Option<Stretch>,
    /// From then to the last byte.
    pub body: Option<Stretch>,
    /// How its connection began.
    pub began: Option<Began>,
    /// `GET`
    pub method: String,
    /// The normalised path, without query.
    pub path: String,
    /// The configured host.
    pub host: String,
    /// Its zone.
    pub zone: String,
    /// As sent.
    pub authority: String,
    /// `HTTP/2`
    pub http_version: &'static str,
    /// Of the answer.
    pub status: u16,
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the answer's.
    pub bytes_sent: u64,
    /// Who asked.
    pub client: SocketAddr,
    /// `TLSv1.3`
    pub tls_version: &'static str,
    /// OpenSSL's name.
    pub tls_cipher: &'static str,
    /// As sent.
    pub sni: String,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// Of the client's certificate, when it is verified.
    pub fingerprint: String,
    /// What the client says that it is, when the access log has that.
    pub user_agent: String,
    /// The address that it was forwarded to.
    pub address: String,
    /// The rule that decided, and what it did.
    pub rule: Option<(String, &'static str)>,
    /// Why the gateway could not do it.
    pub error: Option<&'static str>,
    /// Who served it.
    pub worker: usize,
}

/// The spans of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The request itself.
    Server = 1,
    /// [`RequestSpans::origin`]: the parent of the origin's own spans.
    Client,
    /// [`Began::waited`]
    Accept,
    /// From then to the end of the handshake.
    Handshake,
    /// [`RequestSpans::rules`]
    Rules,
    /// [`RequestSpans::connect`]
    Connect,
    /// [`RequestSpans::wait`]
    Wait,
    /// [`RequestSpans::body`]
    Body,
}

/// The id of a request's span; never all zero.
#[must_use]
pub fn span_id(number: u64, part: Part) -> [u8; 8] {
    // Distinct for distinct numbers of one part, and the parts lie far from each other.
    let id = number ^ (part as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    id.max(1).to_be_bytes()
}

/// What clients say, as far as there is room for it.
pub(crate) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(limits::ACCESS_LOG_FIELD_BYTES_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

vocabulary::words! {
    /// What became of the spans of a request.
    pub enum Fate("a fate of spans", without serde) {
        /// They were taken.
        Sent = "sent",
        /// The queue was full.
        Dropped = "dropped",
        /// They could not be sent.
        Failed = "failed",
        /// They were sent, and some of their message were not wanted.
        Rejected = "rejected",
    }
}

/// The queue.
#[derive(Debug)]
pub struct Spans {
    /// `None` when nobody takes them.
    queue: Option<ArrayQueue<Box<RequestSpans>>>,
    counts: [AtomicU64; Fate::ALL.len()],
}

impl Spans {
    /// With somebody who takes them, or without.
    #[must_use]
    pub fn new(are_taken: bool) -> Self {
        Self {
            queue: are_taken.then(|| ArrayQueue::new(limits::SPANS_QUEUE)),
            counts: Default::default(),
        }
    }

    /// Whether somebody takes them: else they need not be made.
    #[must_use]
    pub fn are_taken(&self) -> bool {
        self.queue.is_some()
    }

    /// Puts the spans of a request into the queue. Never waits.
    pub fn put(&self, spans: Box<RequestSpans>) {
        if let Some(queue) = &self.queue
            && queue.push(spans).is_err()
        {
            self.count(Fate::Dropped, 1);
        }
    }

    /// Takes those of so many requests at most.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<RequestSpans> {
        let Some(queue) = &self.queue else {
            return Vec::new();
        };
        let popped = std::iter::from_fn(|| queue.pop()).take(most);
        popped.map(|spans| *spans).collect()
    }

    /// Counts requests by what became of their spans.
    pub fn count(&self, fate: Fate, requests: u64) {
        if let Some(count) = self.counts.get(fate as usize) {
            count.fetch_add(requests, Ordering::Relaxed);
        }
    }

    /// Requests of which this became.
    #[must_use]
    pub fn counted(&self, fate: Fate) -> u64 {
        let count = self.counts.get(fate as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// All of them, when somebody takes them.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let all = Fate::ALL.into_iter().filter(|_| self.are_taken());
        all.map(|fate| (fate.as_str(), self.counted(fate)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::UNIX_EPOCH;

    fn spans() -> Box<RequestSpans> {
        Box::new(RequestSpans {
            trace_id: [1; 16],
            parent: None,
            number: 7,
            request_id: String::new(),
            time: UNIX_EPOCH,
            total: Duration::ZERO,
            rules: None,
            origin: None,
            connect: None,
            wait: None,
            body: None,
            began: None,
            method: String::new(),
            path: String::new(),
            host: String::new(),
            zone: String::new(),
            authority: String::new(),
            http_version: "HTTP/2",
            status: 200,
            bytes_received: 0,
            bytes_sent: 0,
            client: "127.0.0.1:1".parse().unwrap(),
            tls_version: "",
            tls_cipher: "",
            sni: String::new(),
            resumed: false,
            fingerprint: String::new(),
            user_agent: String::new(),
            address: String::new(),
            rule: None,
            error: None,
            worker: 0,
        })
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let queue = Spans::new(true);
        for _ in 0..limits::SPANS_QUEUE + 3 {
            queue.put(spans());
        }
        assert_eq!(queue.counted(Fate::Dropped), 3);
        assert_eq!(queue.take(10).len(), 10);
        assert_eq!(queue.take(usize::MAX).len(), limits::SPANS_QUEUE - 10);
        let nobody = Spans::new(false);
        nobody.put(spans());
        assert!(!nobody.are_taken() && nobody.take(1).is_empty());
    }

    #[test]
    fn ids_of_spans_differ() {
        let parts = [
            Part::Server,
            Part::Client,
            Part::Accept,
            Part::Handshake,
            Part::Rules,
            Part::Connect,
            Part::Wait,
            Part::Body,
        ];
        let of_part = |part: &Part| (0..1_000).map(|number| span_id(number, *part)).collect();
        let ids: Vec<Vec<[u8; 8]>> = parts.iter().map(of_part).collect();
        let ids: HashSet<_> = ids.into_iter().flatten().collect();
        assert_eq!(ids.len(), 8_000);
        let unlucky = 0x9e37_79b9_7f4a_7c15;
        assert_ne!(span_id(unlucky, Part::Server), [0; 8]);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let long = "\u{2603}".repeat(10_000);
        let cut = cut(&long);
        assert!(cut.len() <= limits::ACCESS_LOG_FIELD_BYTES_MAX && long.starts_with(&cut));
    }
}
