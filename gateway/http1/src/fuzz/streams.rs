//! Generated streams: what was put in comes out, however it is cut; what was broken never panics and
//! never depends on the cuts.

use super::client::{Seen, ask, see};
use super::random::Random;
use super::{Pairs, SMALL};
use crate::body::Encoder;
use crate::framing::BodyLength;
use crate::head::{Head, Scan, Writer};
use crate::limits::Limits;

/// Streams of one run: `POSTERN_HTTP1_STREAMS` asks for more.
pub(super) fn rounds() -> u64 {
    let asked = std::env::var("POSTERN_HTTP1_STREAMS").ok();
    asked.map_or(10_000, |rounds| {
        rounds.parse().expect("a number of streams")
    })
}

const NAMES: &[&str] = &[
    "date",
    "Server",
    "x-a",
    "Content-Type",
    "ETag",
    "x-request-id",
    "Vary",
    "via",
];
const VALUES: &[&str] = &["", "a", "gzip, br", "W/\"1\"", "a  b\tc", "caf\u{e9}", "0"];
const LINE_ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\n"];

pub(super) fn fields(random: &mut Random, out: &mut Vec<u8>) -> Pairs {
    let mut pairs = Vec::new();
    for _ in 0..random.below(5) {
        let (name, value) = (random.one(NAMES), random.one(VALUES));
        let (before, behind) = (
            random.one(&[" ", "", "\t", "  "]),
            random.one(&["", "", " "]),
        );
        let end = random.one(LINE_ENDS);
        out.extend_from_slice(format!("{name}:{before}{value}{behind}{end}").as_bytes());
        pairs.push((name.into(), value.into()));
    }
    pairs
}

/// A body of one of the framings, with the field that says it; what is seen of it.
pub(super) fn body(random: &mut Random, length: BodyLength, out: &mut Vec<u8>) -> (Vec<u8>, Pairs) {
    let size = random.below(40);
    let mut data: Vec<u8> = (0..size)
        .map(|at| b'a' + u8::try_from(at % 26).unwrap())
        .collect();
    let mut trailers = Vec::new();
    match length {
        BodyLength::None => data.clear(),
        BodyLength::Exactly(length) => {
            data.resize(usize::try_from(length).unwrap(), b'x');
            out.extend_from_slice(&data);
        }
        BodyLength::UntilClose => out.extend_from_slice(&data),
        BodyLength::Chunked => {
            let mut left = &data[..];
            while !left.is_empty() {
                let (chunk, rest) = left.split_at(1 + random.below(left.len()));
                let size = if random.once_in(2) {
                    format!("{:X}", chunk.len())
                } else {
                    format!("{:03x}", chunk.len())
                };
                let extension = random.one(&["", "", "", ";a=b", " ; a=\"b\"", " "]);
                out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
                left = rest;
            }
            out.extend_from_slice(b"0\r\n");
            if random.once_in(3) {
                out.extend_from_slice(b"x-sum: 1\r\nGrpc-Status:0\r\n");
                trailers.push((b"x-sum".to_vec(), b"1".to_vec()));
                trailers.push((b"Grpc-Status".to_vec(), b"0".to_vec()));
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    (data, trailers)
}

pub(super) fn length(random: &mut Random) -> BodyLength {
    match random.below(4) {
        0 => BodyLength::None,
        1 => BodyLength::Exactly(random.below(30) as u64),
        2 => BodyLength::Chunked,
        _ => BodyLength::UntilClose,
    }
}

pub(super) fn say(length: BodyLength, random: &mut Random, out: &mut Vec<u8>, pairs: &mut Pairs) {
    let (name, value) = match length {
        BodyLength::None | BodyLength::UntilClose => return,
        BodyLength::Exactly(length) => {
            let name = random.one(&["Content-Length", "content-length"]);
            (name, length.to_string())
        }
        BodyLength::Chunked => {
            let value = random.one(&["chunked", "Chunked", "CHUNKED"]);
            ("Transfer-Encoding", value.to_owned())
        }
    };
    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    pairs.push((name.into(), value.into()));
}

pub(super) fn answer(random: &mut Random) -> (Vec<u8>, Vec<Seen>) {
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..random.below(3) {
        out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        let pairs = fields(random, &mut out);
        out.extend_from_slice(b"\r\n");
        seen.push(Seen::Interim(103, pairs));
    }
    let length = length(random);
    let status = if length == BodyLength::None { 204 } else { 200 };
    out.extend_from_slice(format!("HTTP/1.1 {status} OK\r\n").as_bytes());
    let mut pairs = fields(random, &mut out);
    say(length, random, &mut out, &mut pairs);
    out.extend_from_slice(b"\r\n");
    seen.push(Seen::Answer(status, length, pairs));
    let (data, trailers) = body(random, length, &mut out);
    if !data.is_empty() {
        seen.push(Seen::Data(data));
    }
    if !trailers.is_empty() {
        seen.push(Seen::Trailers(trailers));
    }
    let kept = (length == BodyLength::UntilClose).then_some(crate::NotKept::UntilClose);
    seen.push(Seen::End(kept, Vec::new()));
    (out, seen)
}

pub(super) fn cuts(random: &mut Random, size: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..random.below(6)).map(|_| random.below(size)).collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn what_an_origin_sends_is_seen_however_it_is_cut() {
    let limits = Limits::default();
    for round in 0..rounds() {
        let mut random = Random(round);
        let (stream, expected) = answer(&mut random);
        let cuts = cuts(&mut random, stream.len());
        let seen = see(ask("GET", false), &stream, cuts.iter().copied(), &limits);
        let text = String::from_utf8_lossy(&stream);
        assert_eq!(seen, expected, "round {round}, cut at {cuts:?}: {text:?}");
    }
}

/// Bytes that break something, more often than others.
const SHARP: &[u8] = b"\r\n\0 \t:;,+-0179afAF\x7f\x80\xff\"";

pub(super) fn spoil(random: &mut Random, stream: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let at = random.below(stream.len());
        match random.below(4) {
            0 => stream[at] = random.one(SHARP),
            1 => stream.insert(at, random.one(SHARP)),
            2 => drop(stream.remove(at)),
            _ => {
                let end = at + random.below((stream.len() - at).min(12));
                let again = stream[at..end].to_vec();
                stream.splice(at..at, again);
            }
        }
        if stream.is_empty() {
            stream.push(b' ');
        }
    }
}

#[test]
fn what_is_broken_is_seen_the_same_however_it_is_cut() {
    for round in 0..rounds() {
        let mut random = Random(!round);
        let (mut stream, _) = answer(&mut random);
        spoil(&mut random, &mut stream);
        let limits = if random.once_in(2) {
            SMALL
        } else {
            Limits::default()
        };
        let method = random.one(&["GET", "HEAD", "CONNECT"]);
        let cuts = cuts(&mut random, stream.len());
        let text = String::from_utf8_lossy(&stream);
        let whole = see(ask(method, false), &stream, [], &limits);
        let parts = see(ask(method, false), &stream, cuts.iter().copied(), &limits);
        assert_eq!(whole, parts, "round {round}, cut at {cuts:?}: {text:?}");
        let bytes = see(ask(method, false), &stream, 1..stream.len(), &limits);
        assert_eq!(whole, bytes, "round {round}, byte by byte: {text:?}");
    }
}

/// What is written is read back: heads, bodies, trailers.
#[test]
fn what_is_sent_is_what_comes() {
    for round in 0..rounds() {
        let mut random = Random(round ^ 0x5555);
        let length = length(&mut random);
        let mut raw = Vec::new();
        raw.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let pairs = fields(&mut random, &mut raw);
        raw.extend_from_slice(b"\r\n");
        let mut head = Head::default();
        let limits = Limits::default();
        assert!(
            Scan::default()
                .response(&raw, &limits, &mut head)
                .unwrap()
                .is_some()
        );

        let mut wire = Vec::new();
        let mut writer = Writer::response(&mut wire, http::StatusCode::OK);
        writer.copy(head.fields(&raw), |field| !field.is("date"));
        match length {
            BodyLength::Exactly(length) => writer.number("content-length", length),
            BodyLength::None => writer.number("content-length", 0),
            BodyLength::Chunked => writer.said("transfer-encoding", "chunked"),
            BodyLength::UntilClose => {}
        }
        writer.end();
        let mut encoder = Encoder::new(length);
        let size = match length {
            BodyLength::Exactly(length) => usize::try_from(length).unwrap(),
            BodyLength::None => 0,
            _ => random.below(200),
        };
        let data: Vec<u8> = (0..size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let mut left = &data[..];
        while !left.is_empty() {
            let (piece, rest) = left.split_at(random.below(left.len() + 1));
            encoder.data(piece, &mut wire).unwrap();
            left = rest;
        }
        let takes_trailers = encoder.takes_trailers() && !head.fields(&raw).is_empty();
        encoder
            .end_with_fields(head.fields(&raw), &mut wire)
            .unwrap();
        assert!(encoder.is_over());

        let kept = pairs.iter().filter(|(name, _)| name != b"date");
        let seen = see(
            ask("GET", false),
            &wire,
            cuts(&mut random, wire.len()),
            &limits,
        );
        let Seen::Answer(200, _, came) = &seen[0] else {
            panic!("{seen:?}")
        };
        assert!(kept.clone().all(|pair| came.contains(pair)), "{came:?}");
        assert!(!came.iter().any(|(name, _)| name == b"date"));
        if !data.is_empty() {
            assert_eq!(seen[1], Seen::Data(data));
        }
        let trailers = seen.iter().find_map(|seen| match seen {
            Seen::Trailers(trailers) => Some(trailers),
            _ => None,
        });
        assert_eq!(trailers, takes_trailers.then_some(&pairs));
        assert!(matches!(seen.last(), Some(Seen::End(_, rest)) if rest.is_empty()));
    }
}
