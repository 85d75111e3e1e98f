//! Index of the arguments of a query, and of the cookies, by name: read once for a decision.
//!
//! Without it a thousand rules with a key each would read the whole query a thousand times. Holds
//! offsets in memory that is reused; the text stays where it is.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use http::header::COOKIE;
use http1::Headers;

use super::decode::hex_pair;
use crate::matcher::budget;

/// Where the pairs of one request are, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// Keyed: the client chooses the names, and must not know which ones collide.
    state: RandomState,
    pairs: Vec<Pair>,
    is_read: bool,
    /// A name while it is decoded.
    name: Vec<u8>,
}

/// A pair, by its bytes in the text that it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    /// Of the name.
    hash: u64,
    /// Which of several texts; the query is one.
    pub(crate) text: u32,
    /// Where the name starts.
    pub(crate) start: u32,
    /// Where the name ends.
    pub(crate) name_end: u32,
    /// Where the value starts.
    pub(crate) value: u32,
    /// Where the value ends.
    pub(crate) end: u32,
}

impl Pair {
    /// The name as it is written.
    pub(crate) fn name(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.name_end as usize)
            .unwrap_or_default()
    }

    /// The value as it is written.
    pub(crate) fn value(self, text: &[u8]) -> &[u8] {
        text.get(self.value as usize..self.end as usize)
            .unwrap_or_default()
    }
}

impl Pairs {
    /// Another request is next; keeps memory for so many pairs.
    pub(crate) fn forget(&mut self, kept: usize) {
        self.is_read = false;
        self.pairs.clear();
        self.pairs.shrink_to(kept);
        self.name.shrink_to(kept);
    }

    /// Reads a query, unless that has been done; what it costs.
    pub(crate) fn read_query(&mut self, query: &str) -> usize {
        if std::mem::replace(&mut self.is_read, true) {
            return 0;
        }
        let mut start = 0;
        for pair in query.as_bytes().split(|byte| *byte == b'&') {
            let end = start + pair.len();
            if !pair.is_empty() {
                let equals = memchr::memchr(b'=', pair);
                let name = equals.and_then(|at| pair.get(..at)).unwrap_or(pair);
                let hash = self.state.hash_one(name);
                let value = equals.map_or(end, |at| start + at + 1);
                self.add(hash, 0, [start, start + name.len(), value, end]);
            }
            start = end + 1;
        }
        self.pairs.sort_unstable();
        query.len() + self.pairs.len() * budget::ELEMENT
    }

    /// Reads all cookies, unless that has been done; what it costs. Names are decoded.
    pub(crate) fn read_cookies(&mut self, headers: &Headers) -> usize {
        if std::mem::replace(&mut self.is_read, true) {
            return 0;
        }
        let mut bytes = 0;
        for (text, header) in (0..).zip(headers.get_all(&COOKIE)) {
            bytes += header.len();
            let mut start = 0;
            for pair in header.split(|byte| *byte == b';') {
                let end = start + pair.len();
                let blank = pair.len() - pair.trim_ascii_start().len();
                let plain = pair.trim_ascii();
                if let Some(equals) = memchr::memchr(b'=', plain) {
                    let hash = self.decoded_hash(plain.get(..equals).unwrap_or_default());
                    let from = start + blank;
                    let value = from + equals + 1;
                    self.add(hash, text, [from, from + equals, value, from + plain.len()]);
                }
                start = end + 1;
            }
        }
        self.pairs.sort_unstable();
        bytes * budget::DECODED_BYTE + self.pairs.len() * budget::ELEMENT
    }

    fn add(&mut self, hash: u64, text: u32, [start, name_end, value, end]: [usize; 4]) {
        // A request's head is far below 4 GiB.
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.pairs.push(Pair {
            hash,
            text,
            start: at(start),
            name_end: at(name_end),
            value: at(value),
            end: at(end),
        });
    }

    fn decoded_hash(&mut self, encoded: &[u8]) -> u64 {
        self.name.clear();
        self.name.extend(decoded(encoded));
        self.state.hash_one(self.name.as_slice())
    }

    /// The first of the pairs whose name may be that: its place. Further ones follow it.
    pub(crate) fn first(&self, name: &[u8]) -> (usize, u64) {
        let hash = self.state.hash_one(name);
        (self.pairs.partition_point(|pair| pair.hash < hash), hash)
    }

    /// The pair at a place, if it is one of those whose name may be the one with that hash.
    pub(crate) fn get(&self, place: usize, hash: u64) -> Option<Pair> {
        self.pairs
            .get(place)
            .copied()
            .filter(|pair| pair.hash == hash)
    }
}

/// The bytes that percent-encoded ones mean.
pub(crate) fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        rest = after;
        Some(match (byte, hex_pair(after)) {
            (b'%', Some(decoded)) => {
                rest = after.get(2..).unwrap_or_default();
                decoded
            }
            _ => *byte,
        })
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of_query(query: &str, name: &str) -> Vec<String> {
        let mut pairs = Pairs::default();
        assert!(pairs.read_query(query) >= query.len());
        assert_eq!(pairs.read_query("other=1"), 0, "it is read once");
        values(&pairs, name, |_| query.as_bytes())
    }

    fn values<'t>(pairs: &Pairs, name: &str, text: impl Fn(u32) -> &'t [u8]) -> Vec<String> {
        let (first, hash) = pairs.first(name.as_bytes());
        (first..)
            .map_while(|place| pairs.get(place, hash))
            .filter(|pair| decoded(pair.name(text(pair.text))).eq(name.bytes()))
            .map(|pair| String::from_utf8_lossy(pair.value(text(pair.text))).into_owned())
            .collect()
    }

    #[test]
    fn values_of_a_key_in_order() {
        for (query, name, expected) in [
            ("", "", &[][..]),
            ("a=1&b=2&a=3&a&a=", "a", &["1", "3", "", ""]),
            ("&&a=1=2&&", "a", &["1=2"]),
            ("=x&y", "", &["x"]),
            ("aa=1&ab=2", "a", &[]),
        ] {
            assert_eq!(of_query(query, name), expected, "{query} {name}");
        }
        let texts = ["a=1;  b=2 ;a", "%61=3; =4;a=", ""];
        let mut headers = Headers::new();
        for text in texts {
            let value = HeaderValue::from_static(text);
            headers.try_append(COOKIE, value).unwrap();
        }
        let mut pairs = Pairs::default();
        assert!(pairs.read_cookies(&headers) > 0);
        for (name, expected) in [
            ("a", &["1", "3", ""][..]),
            ("b", &["2"]),
            ("", &["4"]),
            ("c", &[]),
        ] {
            let found = values(&pairs, name, |text| texts[text as usize].as_bytes());
            assert_eq!(found, expected, "{name}");
        }
    }
}
