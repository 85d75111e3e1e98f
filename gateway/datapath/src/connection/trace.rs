//! The trace that a request is part of: continued or begun, and told to the origin.
//!
//! Owns what is kept of it while the request is worked on, and what is said of it at the end. Sends
//! nothing.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http1::Headers;

use super::state::Connection;
use crate::clock;
use crate::http::request_id::RequestId;
use crate::observe::spans::{Began, Part, RequestSpans, Stretch, cut, span_id};
use crate::observe::{RequestRecord, Stage};
use config::{TraceContextMode, Tunables};
use snapshot::http::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

/// The trace of one request.
pub(super) struct Trace {
    id: [u8; 16],
    /// The same as text.
    hex: [u8; 32],
    /// The client's span.
    parent: Option<[u8; 8]>,
    /// Whether its spans are sent.
    is_sampled: bool,
    /// Of the request's spans.
    number: u64,
    /// How its connection began, of the first.
    began: Option<Box<Began>>,
    /// When the rules had decided.
    decided: Cell<Option<Instant>>,
    /// When the head of the origin's answer was there.
    answered: Cell<Option<Instant>>,
}

impl Trace {
    /// Continues the trace that the client names, or begins one; `None` when nothing is traced.
    pub(super) fn begin(
        connection: &Connection,
        tunables: &Tunables,
        headers: &Headers,
        id: RequestId,
    ) -> Option<Box<Self>> {
        let is_continued = match tunables.trace_context {
            TraceContextMode::Off => return None,
            TraceContextMode::Begin => false,
            TraceContextMode::Verified => {
                let established = connection.standings.established();
                established.facts.client.verdict.verified
            }
            TraceContextMode::All => true,
        };
        let sample = tunables.trace_sample as u64;
        let (number, began) = (id.number(), connection.began.take());
        let caller = TraceContext::read(headers).filter(|_| is_continued);
        let (trace_id, parent, is_sampled) = match caller {
            Some(caller) => (caller.trace_id, Some(caller.span_id), caller.is_sampled),
            // The request's id, so that one leads to the other.
            None => (
                id.bytes(),
                None,
                sample <= 1 || number.is_multiple_of(sample),
            ),
        };
        Some(Box::new(Self {
            id: trace_id,
            hex: hex(trace_id),
            parent,
            is_sampled,
            number,
            began,
            decided: Cell::new(None),
            answered: Cell::new(None),
        }))
    }

    /// Its id, as text.
    pub(super) fn hex(&self) -> &str {
        std::str::from_utf8(&self.hex).unwrap_or_default()
    }

    /// Its id, when its spans are sent.
    pub(super) fn sampled(&self) -> Option<[u8; 16]> {
        self.is_sampled.then_some(self.id)
    }

    /// Notes the end of a stage.
    pub(super) fn stage(&self, stage: Stage) {
        match stage {
            Stage::Rules => self.decided.set(Some(clock::now())),
            Stage::OriginFirstByte => self.answered.set(Some(clock::now())),
            _ => {}
        }
    }

    /// Tells the origin. What other tracing systems said of a trace that is not continued means nothing.
    pub(super) fn tell(&self, headers: &mut Headers) {
        let context = TraceContext {
            trace_id: self.id,
            span_id: span_id(self.number, Part::Client),
            is_sampled: self.is_sampled,
        };
        let mut told = context.header();
        // As the request id: no other request says it again.
        told.set_sensitive(true);
        headers.insert(TRACEPARENT, told);
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
    }

    /// What is said of a request that was answered; `None` when it is not sampled.
    pub(super) fn spans(
        &self,
        record: &RequestRecord<'_>,
        (started, total): (Instant, Duration),
    ) -> Option<Box<RequestSpans>> {
        if !self.is_sampled {
            return None;
        }
        let since = |moment: Instant| moment.saturating_duration_since(started);
        let before = |end: Duration, time: Option<Duration>| {
            let time = time?;
            let start = end.checked_sub(time)?;
            Some(Stretch { start, time })
        };
        let until_end = |start: Duration| Stretch {
            start,
            time: total.saturating_sub(start),
        };
        let times = &record.times;
        let decided = self.decided.get().map(since);
        let answered = self.answered.get().map(since);
        let wait = answered.and_then(|end| before(end, times.get(Stage::OriginFirstByte)));
        let connect = wait.and_then(|wait| before(wait.start, times.get(Stage::OriginConnect)));
        let asked = decided.filter(|_| !record.origin.is_empty());
        let client = record.client_auth;
        Some(Box::new(RequestSpans {
            trace_id: self.id,
            parent: self.parent,
            number: self.number,
            request_id: record.request_id.to_owned(),
            time: record.time,
            total,
            rules: decided.and_then(|end| before(end, times.get(Stage::Rules))),
            origin: asked.map(until_end),
            connect,
            wait,
            body: answered.map(until_end),
            began: self.began.as_deref().copied(),
            method: cut(record.method),
            path: cut(record.path),
            host: record.host.to_owned(),
            zone: record.zone.to_owned(),
            authority: cut(record.authority),
            http_version: record.http_version,
            status: record.status,
            bytes_received: record.bytes_received,
            bytes_sent: record.bytes_sent,
            client: record.client,
            tls_version: record.tls_version,
            tls_cipher: record.tls_cipher,
            sni: cut(record.sni),
            resumed: record.resumed,
            fingerprint: if client.verdict.verified {
                client.fingerprint_sha256.to_string()
            } else {
                String::new()
            },
            user_agent: cut(&String::from_utf8_lossy(record.user_agent)),
            address: record.origin.to_owned(),
            rule: record.rule.map(|rule| (rule.id.to_owned(), rule.action)),
            error: record.error.map(|error| error.as_str()),
            worker: record.worker,
        }))
    }
}

fn hex(bytes: [u8; 16]) -> [u8; 32] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; 32];
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    for (place, nibble) in text.iter_mut().zip(nibbles) {
        *place = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    }
    text
}

/// How a connection that is established now began, for the trace of its first request; `None` when
/// nothing is traced.
pub(super) fn began(
    mode: TraceContextMode,
    accepted: Instant,
    waited: Duration,
) -> Option<Box<Began>> {
    if mode == TraceContextMode::Off {
        return None;
    }
    let established = accepted.elapsed();
    Some(Box::new(Began {
        accepted: clock::time().checked_sub(established)?,
        waited,
        established,
    }))
}
