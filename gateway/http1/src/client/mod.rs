//! A connection to an origin, as states.
//!
//! An [`Idle`] connection asks, and becomes two halves: an [`Upload`], by which the request's body is
//! written, and an [`Answer`], which reads what comes. Neither waits for the other: an answer may come
//! before the request's body is sent. When both are over they become `Idle` again, or say why the
//! connection cannot serve another request. So no request can be sent on a connection that is in the
//! middle of something.
//!
//! Owns the order of events and the reuse of connections (RFC 9112 §9). What is asked and what becomes
//! of the answer are the caller's, and so are the clocks.

mod answer;
mod error;

pub use answer::{Answer, Event, Step};
pub use error::ClientError;

use http::{HeaderMap, Method, Uri};

use crate::body::{Encoder, Frame, SendError};
use crate::framing::{BodyLength, Said};
use crate::head::{Fields, Known, Unwritable, Writer};
use crate::headers::Written;

/// A connection on which nothing is under way. Bytes that come now are nobody's answer: the caller
/// closes the connection, or the next request would be answered by them.
#[derive(Debug, Default)]
pub struct Idle(());

/// The first line of a request.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    method: Result<Method, Unwritable>,
    target: &'a [u8],
}

impl<'a> Asked<'a> {
    /// A method and a target, as they go on the wire.
    #[must_use]
    pub fn new(method: &str, target: &'a str) -> Self {
        Self::of(method.as_bytes(), target.as_bytes())
    }

    /// A method and a target, as they came.
    #[must_use]
    pub fn of(method: &[u8], target: &'a [u8]) -> Self {
        Self {
            method: Method::from_bytes(method).map_err(|_invalid| Unwritable::Method),
            target,
        }
    }

    /// A method, and a URI's path and query; of CONNECT its authority (RFC 9112 §3.2).
    #[must_use]
    pub fn from_uri(method: &Method, uri: &'a Uri) -> Self {
        let target = match uri.authority() {
            Some(authority) if method == Method::CONNECT => authority.as_str(),
            _ => uri.path_and_query().map_or("/", |target| target.as_str()),
        };
        Self {
            method: Ok(method.clone()),
            target: target.as_bytes(),
        }
    }
}

/// What the fields of a request said while they were written.
#[derive(Debug, Default)]
struct Heard {
    said: Said,
}

impl Heard {
    /// Whether the field goes out. Lengths and codings are ours to say.
    fn passes(&mut self, known: Known, value: &[u8]) -> bool {
        match known {
            Known::ContentLength | Known::TransferEncoding => return false,
            Known::Connection => self.said.hear_connection(value),
            Known::Upgrade => self.said.has_upgrade = true,
            _ => {}
        }
        true
    }
}

impl Idle {
    /// A connection that has just been made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a request's head with these headers. `Content-Length` and `Transfer-Encoding` are
    /// written as `length` says and never taken from them; all other fields are written as they
    /// are, `Host`, `Connection` and `Upgrade` among them. `BodyLength::UntilClose` is not a
    /// request's, and is written in chunks.
    ///
    /// # Errors
    /// The method or the target cannot stand in a head. Nothing was written, and the connection is
    /// gone with it: it is made new or not, but a request that cannot be written is our own fault.
    pub fn ask(
        self,
        asked: Asked<'_>,
        headers: &dyn Written,
        length: BodyLength,
        out: &mut Vec<u8>,
    ) -> Result<(Upload, Answer), Unwritable> {
        let method = asked.method?;
        let mut heard = Heard::default();
        let mut writer = Writer::request_with(out, &method, asked.target)?;
        headers.write(&mut writer, &mut |field| {
            heard.passes(field.known, field.value)
        });
        let length = match length {
            BodyLength::UntilClose => BodyLength::Chunked,
            // These are expected to have a body (RFC 9110 §8.6).
            BodyLength::None if [Method::POST, Method::PUT, Method::PATCH].contains(&method) => {
                BodyLength::Exactly(0)
            }
            length => length,
        };
        match length {
            BodyLength::None | BodyLength::UntilClose => {}
            BodyLength::Exactly(length) => writer.number(Known::ContentLength.name(), length),
            BodyLength::Chunked => writer.said(Known::TransferEncoding.name(), "chunked"),
        }
        writer.end();
        let upload = Upload(Encoder::new(length));
        Ok((upload, Answer::to(method, &heard.said)))
    }
}

/// The half of an exchange by which the request's body is written.
#[derive(Debug)]
pub struct Upload(Encoder);

impl Upload {
    /// What goes before and behind the next `size` bytes of the body.
    ///
    /// # Errors
    /// See [`Encoder::frame`].
    pub fn frame(&mut self, size: usize) -> Result<Frame, SendError> {
        self.0.frame(size)
    }

    /// Writes a piece of the body.
    ///
    /// # Errors
    /// See [`Encoder::data`].
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.0.data(data, out)
    }

    /// Writes the body's end, with trailers where there are any and room for them.
    ///
    /// # Errors
    /// See [`Encoder::end_with_headers`].
    pub fn end(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        match trailers {
            Some(trailers) => self.0.end_with_headers(trailers, out),
            None => self.0.end(out),
        }
    }

    /// Writes the body's end, with trailers as they came.
    ///
    /// # Errors
    /// See [`Encoder::end_with_fields`].
    pub fn end_with_fields(
        &mut self,
        trailers: Fields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.0.end_with_fields(trailers, out)
    }

    /// Whether the request is whole.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Whether trailers can be sent.
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.0.takes_trailers()
    }
}

#[cfg(test)]
mod tests;
