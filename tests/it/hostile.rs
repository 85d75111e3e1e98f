//! Hostile heads, sent as they are: the origin sees exactly the requests that the access log shows, in
//! number, target and framing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tests::client::Client;
use tests::{Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const API: &str = "api.example.test";

/// How long a client waits for its first answer, and for each further one, before it says that it has gone. Most of
/// them wait in vain, so that this is short; the first answer comes within it on a busy machine, too.
const FIRST_PATIENCE: Duration = Duration::from_millis(150);
const NEXT_PATIENCE: Duration = Duration::from_millis(25);

/// Connections with generated heads.
const GENERATED: usize = 500;

/// A request as the origin saw it. Its reader takes what we write and nothing else: every line ends
/// with CRLF, and a body has one framing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    framing: &'static str,
    /// Bytes of its body; `None` if it broke off.
    body: Option<u64>,
}

/// What came by request id, and what could not be understood.
#[derive(Default)]
struct Recorded {
    requests: BTreeMap<String, Seen>,
    faults: Vec<String>,
}

/// An origin that writes down every request, and answers it.
fn recording() -> (Origin, Arc<Mutex<Recorded>>) {
    let recorded = Arc::new(Mutex::new(Recorded::default()));
    let kept = recorded.clone();
    let origin = Origin::raw(move |stream, _| {
        let kept = kept.clone();
        async move {
            if let Err(fault) = record(stream, &kept).await {
                kept.lock().unwrap().faults.push(fault);
            }
        }
    });
    (origin, recorded)
}

async fn record(mut stream: TcpStream, kept: &Mutex<Recorded>) -> Result<(), String> {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = until(&mut stream, &mut bytes, b"\r\n\r\n").await else {
            return if bytes.is_empty() {
                Ok(())
            } else {
                Err(format!("not a head: {:?}", String::from_utf8_lossy(&bytes)))
            };
        };
        let head: Vec<u8> = bytes.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).into_owned();
        let (id, mut seen, length) =
            understand(&head).ok_or_else(|| format!("no request: {text:?}"))?;
        let other = kept
            .lock()
            .unwrap()
            .requests
            .insert(id.clone(), seen.clone());
        if let Some(other) = other {
            return Err(format!("twice: {other:?}, {text:?}"));
        }
        seen.body = match length {
            Some(length) => take(&mut stream, &mut bytes, length)
                .await
                .then_some(length as u64),
            None => chunks(&mut stream, &mut bytes).await?,
        };
        let whole = seen.body.is_some();
        kept.lock().unwrap().requests.insert(id, seen);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if !whole || stream.write_all(answer).await.is_err() {
            return Ok(());
        }
    }
}

/// The request id, the request, and how long its body is; chunks have no length.
fn understand(head: &[u8]) -> Option<(String, Seen, Option<usize>)> {
    let text = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some()
        || version != "HTTP/1.1"
        || text.replace("\r\n", "").contains(['\r', '\n', '\0'])
    {
        return None;
    }
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        if name.is_empty() || name.contains([' ', '\t', ':']) {
            return None;
        }
        let values = fields.entry(name.to_ascii_lowercase()).or_default();
        values.push(value.to_owned());
    }
    let one = |name: &str| match fields.get(name).map(Vec::as_slice) {
        None => Some(None),
        Some([value]) => Some(Some(value.clone())),
        Some(_) => None,
    };
    one("host")??;
    let id = one("x-request-id")??;
    let (framing, length) = match (one("content-length")?, one("transfer-encoding")?) {
        (None, None) => ("none", Some(0)),
        (Some(length), None) => ("length", Some(length.parse().ok()?)),
        (None, Some(coding)) if coding == "chunked" => ("chunks", None),
        _ => return None,
    };
    let seen = Seen {
        method: method.into(),
        target: target.into(),
        framing,
        body: None,
    };
    Some((id, seen, length))
}

/// Reads until `end` has come, and answers where it ends.
async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    loop {
        let found = bytes.windows(end.len()).position(|window| window == end);
        if let Some(at) = found {
            return Some(at + end.len());
        }
        if !more(stream, bytes).await {
            return None;
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4 * 1024];
    match stream.read(&mut buffer).await {
        Ok(count) if count > 0 => {
            bytes.extend_from_slice(&buffer[..count]);
            true
        }
        _ => false,
    }
}

async fn take(stream: &mut TcpStream, bytes: &mut Vec<u8>, count: usize) -> bool {
    while bytes.len() < count {
        if !more(stream, bytes).await {
            return false;
        }
    }
    bytes.drain(..count);
    true
}

/// How many bytes the chunks have; `None` if they broke off.
async fn chunks(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Option<u64>, String> {
    let mut sum = 0;
    loop {
        let Some(end) = until(stream, bytes, b"\r\n").await else {
            return Ok(None);
        };
        let line: Vec<u8> = bytes.drain(..end).collect();
        let text = String::from_utf8_lossy(&line).into_owned();
        let size = usize::from_str_radix(text.trim_end(), 16);
        let size = size.map_err(|_invalid| format!("not a chunk's size: {text:?}"))?;
        if size == 0 {
            break;
        }
        sum += size as u64;
        if !take(stream, bytes, size).await || until(stream, bytes, b"\r\n").await.is_none() {
            return Ok(None);
        }
        if !bytes.starts_with(b"\r\n") {
            return Err("a chunk has no end".into());
        }
        bytes.drain(..2);
    }
    loop {
        let Some(end) = until(stream, bytes, b"\r\n").await else {
            return Ok(None);
        };
        if bytes.drain(..end).count() == 2 {
            return Ok(Some(sum));
        }
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "get", "G T", "PATCH",
];

const TARGETS: [&str; 14] = [
    "/a",
    "/a?b=c",
    "/a//b/../c",
    "/%2e%2e/a",
    "/a\0b",
    "/a b",
    "*",
    "",
    "/a#f",
    "https://api.example.test/a",
    "http://other.test/a",
    "//other.test/a",
    "api.example.test:443",
    "/a\u{7f}",
];

const VERSIONS: [&str; 10] = [
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "http/1.1",
    "HTTP/1.1 ",
    "HTTP/1.1\r",
];

const FIELDS: [&str; 44] = [
    "Host: api.example.test",
    "Host: other.test",
    "Host : api.example.test",
    "Host:",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 0x5",
    "Content-Length:  5 ",
    "Content-Length: 5\r\n 0",
    "Content-Length : 5",
    "Content-Length\t: 5",
    "content-length: 18446744073709551621",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: chunked\u{0}",
    "Transfer-Encoding : chunked",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding: ",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding\r\n: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Connection: close",
    "Connection: keep-alive, Host",
    "Connection: content-length",
    "Connection: transfer-encoding",
    "Connection: x-request-id",
    "Expect: 100-continue",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Upgrade: h2c\r\nConnection: upgrade, http2-settings",
    "X-Request-Id: 00000000000000000000000000000000",
    "X: y\r\n\tz",
    ": no name",
    "no colon",
];

const BODIES: [&str; 12] = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "5\nhello\n0\n\n",
    "05\r\nhello\r\n00\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: x\r\n\r\n",
];

/// Some requests on one connection, of which any may be hostile.
fn generated(dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..=dice.below(3) {
        let line_end = if dice.once_in(8) { "\n" } else { "\r\n" };
        if dice.once_in(12) {
            out.extend_from_slice(b"\r\n");
        }
        let hostile = |dice: &mut Dice, list: &[&'static str]| {
            let usual = list[0];
            if dice.once_in(3) {
                dice.pick(list)
            } else {
                usual
            }
        };
        let method = if dice.once_in(2) {
            "POST"
        } else {
            hostile(dice, &METHODS)
        };
        let (target, version) = (hostile(dice, &TARGETS), hostile(dice, &VERSIONS));
        out.extend_from_slice(format!("{method} {target} {version}{line_end}").as_bytes());
        if !dice.once_in(12) {
            out.extend_from_slice(format!("Host: {API}{line_end}").as_bytes());
        }
        let mut framed = false;
        for _ in 0..dice.below(3) {
            let field = dice.pick(&FIELDS);
            framed |= field.contains("Length") || field.contains("Encoding");
            out.extend_from_slice(format!("{field}{line_end}").as_bytes());
        }
        out.extend_from_slice(line_end.as_bytes());
        if framed || dice.once_in(6) {
            out.extend_from_slice(dice.pick(&BODIES).as_bytes());
        }
    }
    out
}

/// Every pair of a framing and a body, each followed by a request that must not be in it.
fn listed() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for field in FIELDS {
        for body in ["hello", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n"] {
            let next = format!("GET /behind HTTP/1.1\r\nHost: {API}\r\n\r\n");
            let first = format!("POST /first HTTP/1.1\r\nHost: {API}\r\n{field}\r\n\r\n{body}");
            all.push(format!("{first}{next}").into_bytes());
        }
    }
    all
}

/// Sends these bytes and nothing more, and reads everything that is answered.
async fn send(client: Client, bytes: Vec<u8>) -> (String, String) {
    let mut raw = client.raw().await.unwrap();
    let local = raw.local.to_string();
    raw.write(&bytes).await;
    // An honest client waits for its last answer; one that says that it has gone is not answered.
    let mut text = String::new();
    let (mut patience, next) = (FIRST_PATIENCE, NEXT_PATIENCE);
    while let Ok(Some(answer)) = tokio::time::timeout(patience, raw.message()).await {
        patience = next;
        text += &answer.head;
        text += "\r\n\r\n";
        if answer.header("connection") == "close" {
            break;
        }
    }
    raw.finish().await;
    drop(raw.rest().await);
    (local, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_sees_what_the_log_shows() {
    let (origin, recorded) = recording();
    let gateway = Setup::new().host(API, "off", &origin.url()).start();
    let mut dice = Dice(20_261_129);
    let mut streams = listed();
    streams.extend((0..GENERATED).map(|_| generated(&mut dice)));
    let mut answered = BTreeMap::new();
    // Some at once: each waits whether one more answer comes.
    for some in streams.chunks(16) {
        let mut sent = JoinSet::new();
        for bytes in some {
            sent.spawn(send(gateway.client(API), bytes.clone()));
        }
        while let Some(outcome) = sent.join_next().await {
            let (local, text) = outcome.unwrap();
            answered.insert(local, text);
        }
    }
    let lines = tests::wait::until("a line for each answer", || {
        let lines: Vec<Value> = gateway.records();
        let ids: BTreeSet<&str> = lines
            .iter()
            .filter_map(|line| line["request_id"].as_str())
            .collect();
        let ids_answered = answered.values().flat_map(|text| text.lines());
        let mut ids_answered = ids_answered.filter_map(|line| line.strip_prefix("x-request-id: "));
        // Its client may have left before an answer came.
        let recorded = recorded.lock().unwrap();
        let mut ids_recorded = recorded.requests.keys();
        let is_logged = |id: &str| ids.contains(id);
        (ids_answered.all(is_logged) && ids_recorded.all(|id| is_logged(id))).then_some(())?;
        Some(lines)
    });
    let recorded = recorded.lock().unwrap();
    assert!(recorded.faults.is_empty(), "{:#?}", recorded.faults);
    let mut forwarded = 0;
    for line in lines.iter().filter(|line| line["kind"] == "request") {
        let id = line["request_id"].as_str().unwrap();
        let seen = recorded.requests.get(id);
        if line["origin"].as_str().unwrap_or_default().is_empty() {
            assert_eq!(seen, None, "{line}");
            continue;
        }
        let Some(seen) = seen else {
            // It broke off before anything was sent.
            assert_eq!(line["error"], "client_gone", "{line}");
            continue;
        };
        forwarded += 1;
        assert_eq!(seen.method, line["method"].as_str().unwrap(), "{line}");
        let path = seen.target.split('?').next().unwrap();
        assert_eq!(path, line["path"].as_str().unwrap(), "{line}");
        if let Some(body) = seen.body {
            assert_eq!(
                body,
                line["bytes_received"].as_u64().unwrap(),
                "{seen:?}: {line}"
            );
        }
        // No 200 stands for a request that the origin has not whole.
        assert!(
            seen.body.is_some() || line["status"] != 200,
            "{seen:?}: {line}"
        );
    }
    assert_eq!(forwarded, recorded.requests.len());
    assert!(forwarded > 200, "{forwarded}");
    let refused = lines
        .iter()
        .filter(|line| line["error"] == "bad_http")
        .count();
    assert!(refused > 200, "{refused}");
    // One answer for each line of a client that waited.
    for (local, text) in &answered {
        let lines = lines.iter().filter(|line| line["client"] == **local);
        let ids: Vec<&str> = lines
            .filter_map(|line| line["request_id"].as_str())
            .collect();
        for answer in text
            .lines()
            .filter_map(|line| line.strip_prefix("x-request-id: "))
        {
            assert!(ids.contains(&answer), "{text}");
        }
    }
}
