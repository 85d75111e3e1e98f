//! A client's connection, as states.
//!
//! A connection is [`Waiting`] for a request. Its head makes it two halves: [`Incoming`], which reads
//! the request's body, and [`Reply`], which becomes [`Sending`] when the answer's head is written.
//! Neither half waits for the other. When both are over they become `Waiting` again, for a request
//! that may have been pipelined behind the first, or say why the connection ends.
//!
//! Owns the order of events, `Expect`, and what is said of the connection: an answer says `close`
//! exactly when the connection will not serve again, as far as that is known when its head is
//! written. What a request means, and what is answered, are the caller's.

mod error;
mod reply;

pub use error::ServerError;
pub use reply::{Reply, Sending};

use http::{Method, Version};

use crate::body::{BodyError, Decoded, Decoder};
use crate::framing::{BodyLength, Said};
use crate::head::{Head, Scan};
use crate::limits::Limits;

/// A connection on which no request is under way.
#[derive(Debug, Default)]
pub struct Waiting {
    scan: Scan,
}

/// What has come of a request.
#[derive(Debug)]
pub enum Next {
    /// No whole head: more has to come.
    More(Waiting),
    /// A head.
    Request(Request),
}

/// A request whose head was read.
#[derive(Debug)]
pub struct Request {
    /// Bytes of the input that are its head. Until the next input, the head is a part of this one.
    pub consumed: usize,
    /// Where its body ends; never `UntilClose`.
    pub length: BodyLength,
    /// What its head says of the connection.
    pub said: Said,
    /// Reads its body.
    pub incoming: Incoming,
    /// Answers it.
    pub reply: Reply,
}

/// A request that is refused, with what is needed to answer it.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: ServerError,
    /// Answers it, and says that the connection closes.
    pub reply: Reply,
}

impl Waiting {
    /// A connection that has just been made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a request's head into `head`, whose spans are parts of this `input`; it may be shared by
    /// all connections of a thread. `input` begins behind what was consumed before, and is to be given
    /// again, with more behind it, until the head is whole.
    ///
    /// # Errors
    /// See [`ServerError`]. The connection is of no more use but to answer.
    pub fn receive(
        mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Next, Box<Refused>> {
        let consumed = match self.scan.request(input, limits, head) {
            Ok(Some(consumed)) => consumed,
            Ok(None) => return Ok(Next::More(self)),
            Err(error) => return Err(refused(error.into(), Method::GET, Version::HTTP_11)),
        };
        let version = head.version();
        let method = match head.http_method(input) {
            Ok(method) => method,
            Err(error) => return Err(refused(error.into(), Method::GET, version)),
        };
        let said = Said::of(head.fields(input));
        match check(&said, version, &method, head.target(input)) {
            Ok(length) => Ok(Next::Request(Request {
                consumed,
                length,
                said,
                incoming: Incoming(Decoder::new(length)),
                reply: Reply::to(method, version, &said),
            })),
            Err(error) => Err(refused(error, method, version)),
        }
    }

    /// The client has closed its direction; `rest` is what was not consumed.
    ///
    /// # Errors
    /// It was in the middle of a head. It may still read an answer.
    pub fn closed(self, rest: &[u8], limits: &Limits) -> Result<(), Box<Refused>> {
        // What it was before it broke off: it may not have been looked at.
        let error = match Scan::default().request(rest, limits, &mut Head::default()) {
            Err(error) => ServerError::Head(error),
            Ok(_) if rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => return Ok(()),
            Ok(_) => ServerError::HeadCut,
        };
        Err(refused(error, Method::GET, Version::HTTP_11))
    }
}

fn refused(error: ServerError, method: Method, version: Version) -> Box<Refused> {
    let reply = Reply::to_refused(method, version);
    Box::new(Refused { error, reply })
}

fn check(
    said: &Said,
    version: Version,
    method: &Method,
    target: &[u8],
) -> Result<BodyLength, ServerError> {
    let length = said.request_body(version)?;
    match said.hosts {
        0 if version == Version::HTTP_11 => return Err(ServerError::HostMissing),
        0 | 1 => {}
        _ => return Err(ServerError::HostRepeated),
    }
    if !has_form(method, target) {
        return Err(ServerError::TargetForm);
    }
    Ok(length)
}

/// Whether a target has a form that its method takes (RFC 9112 §3.2). What stands in it is for others
/// to judge.
fn has_form(method: &Method, target: &[u8]) -> bool {
    if method == Method::CONNECT {
        return target.contains(&b':') && !target.contains(&b'/');
    }
    if let [b'/', ..] = target {
        return true;
    }
    if target == b"*" {
        return method == Method::OPTIONS;
    }
    let scheme = target.iter().position(|byte| *byte == b':');
    let (scheme, rest) = target.split_at(scheme.unwrap_or(0));
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(is_scheme)
        && rest
            .strip_prefix(b"://")
            .is_some_and(|rest| !rest.is_empty() && rest.first() != Some(&b'/'))
}

/// The half of a request that reads its body.
#[derive(Debug)]
pub struct Incoming(Decoder);

impl Incoming {
    /// Finds the next piece, see [`Decoder::decode`].
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn receive(
        &mut self,
        input: &[u8],
        limits: &Limits,
        trailers: &mut Head,
    ) -> Result<Decoded, BodyError> {
        self.0.decode(input, limits, trailers)
    }

    /// The client has closed its direction.
    ///
    /// # Errors
    /// It was in the middle of the body.
    pub fn closed(&mut self) -> Result<(), BodyError> {
        self.0.closed()
    }

    /// Whether all of it was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Bytes of data that are known to follow.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.0.left()
    }
}

#[cfg(test)]
mod tests;
