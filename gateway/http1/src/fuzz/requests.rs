//! Generated connections: the requests that were put in come out, however they are cut.

use super::SMALL;
use super::random::Random;
use super::server::{Seen, see};
use super::streams::{body, cuts, fields, length, rounds, say, spoil};
use crate::framing::BodyLength;
use crate::limits::Limits;
use http::Version;

/// Some requests on one connection, and what is seen of them.
pub(super) fn connection(random: &mut Random) -> (Vec<u8>, Vec<Seen>) {
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..=random.below(3) {
        let method = random.one(&["GET", "POST", "PUT", "OPTIONS", "X-Y"]);
        let target = random.one(&["/", "/a?b=c", "http://a/b", "/%20"]);
        if random.once_in(8) {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n").as_bytes());
        let mut pairs = vec![(b"Host".to_vec(), b"a".to_vec())];
        pairs.extend(fields(random, &mut out));
        let length = match length(random) {
            BodyLength::UntilClose => BodyLength::None,
            length => length,
        };
        say(length, random, &mut out, &mut pairs);
        out.extend_from_slice(b"\r\n");
        seen.push(Seen::Request {
            method: method.into(),
            target: target.into(),
            version: Version::HTTP_11,
            length,
            fields: pairs,
        });
        let (data, trailers) = body(random, length, &mut out);
        if !data.is_empty() {
            seen.push(Seen::Data(data));
        }
        if !trailers.is_empty() {
            seen.push(Seen::Trailers(trailers));
        }
        seen.push(Seen::Over);
    }
    seen.push(Seen::Closed);
    (out, seen)
}

#[test]
fn what_a_client_sends_is_seen_however_it_is_cut() {
    let limits = Limits::default();
    for round in 0..rounds() {
        let mut random = Random(round);
        let (stream, expected) = connection(&mut random);
        let cuts = cuts(&mut random, stream.len());
        let (seen, _) = see(&stream, cuts.iter().copied(), &limits);
        let text = String::from_utf8_lossy(&stream);
        assert_eq!(seen, expected, "round {round}, cut at {cuts:?}: {text:?}");
    }
}

#[test]
fn what_a_client_breaks_is_seen_the_same_however_it_is_cut() {
    for round in 0..rounds() {
        let mut random = Random(!round);
        let (mut stream, _) = connection(&mut random);
        spoil(&mut random, &mut stream);
        let limits = if random.once_in(2) {
            SMALL
        } else {
            Limits::default()
        };
        let cuts = cuts(&mut random, stream.len());
        let text = String::from_utf8_lossy(&stream);
        let whole = see(&stream, [], &limits);
        let parts = see(&stream, cuts.iter().copied(), &limits);
        assert_eq!(whole, parts, "round {round}, cut at {cuts:?}: {text:?}");
        let bytes = see(&stream, 1..stream.len(), &limits);
        assert_eq!(whole, bytes, "round {round}, byte by byte: {text:?}");
    }
}
