//! hyper as the oracle: the same bytes, cut at the same places, on both sides.
//!
//! What is taken here hyper takes and reads the same. Where something is refused that hyper takes, or
//! taken that hyper refuses, it stands in a table, with its reason.

mod client;
mod server;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::HeaderMap;
use hyper::rt::{Read, ReadBufCursor, Write};

/// Polls after which hyper is taken to wait for ever.
const POLLS_MAX: usize = 2_000;

/// A connection whose other end has said everything already.
struct Wire {
    pieces: VecDeque<Vec<u8>>,
    /// Nothing comes before something was sent.
    waits: bool,
    sent: Rc<RefCell<Vec<u8>>>,
}

impl Wire {
    fn new(stream: &[u8], cuts: &[usize], waits: bool) -> (Self, Rc<RefCell<Vec<u8>>>) {
        let mut pieces = VecDeque::new();
        let mut at = 0;
        for cut in cuts.iter().copied().chain([stream.len()]) {
            if cut > at {
                pieces.push_back(stream[at..cut].to_vec());
                at = cut;
            }
        }
        let sent = Rc::new(RefCell::default());
        let wire = Self {
            pieces,
            waits,
            sent: Rc::clone(&sent),
        };
        (wire, sent)
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits && self.sent.borrow().is_empty() {
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sent.borrow_mut().extend_from_slice(from);
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Fields in one order and one spelling.
type Fields = Vec<(String, Vec<u8>)>;

fn of_map(map: &HeaderMap) -> Fields {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let mut fields: Fields = map.iter().map(pair).collect();
    fields.sort();
    fields
}

fn of_pairs(pairs: &super::Pairs) -> Fields {
    let text = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut fields: Fields = pairs.iter().map(|(n, v)| (text(n), v.clone())).collect();
    fields.sort();
    fields
}

/// A message as both sides see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Message {
    /// Method, or status.
    first: String,
    fields: Fields,
    body: Vec<u8>,
    trailers: Fields,
    /// Whether its end was seen.
    whole: bool,
}

impl Message {
    /// In short.
    fn text(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let end = if self.whole { "." } else { "!" };
        format!("{}'{body}'{end}", self.first)
    }
}

fn texts(messages: &[Message], ended: &str) -> String {
    let mut texts: Vec<String> = messages.iter().map(Message::text).collect();
    texts.push(ended.to_owned());
    texts.join(" ")
}
