//! Heads: tokenised by `httparse` into spans of the buffer they came in.
//!
//! A [`Head`] holds spans only, and its memory is used again for the next head: it may be a worker's
//! own. A [`Scan`] remembers how far a head was looked at that has not come whole, and belongs to the
//! connection. What is said of a head depends on its bytes alone, never on how they were cut up.
//!
//! Owns what may stand in a head (RFC 9112 §2 to §5). What its framing is says `framing`.

mod error;
mod fault;
mod fields;
mod scan;
mod write;

pub use error::HeadError;
pub use fields::{Field, Fields, Iter, Known};
pub use scan::Scan;
pub use write::{Unwritable, Writer};

pub(crate) use fields::{Span, trim};

use fields::Place;
use http::Version;
use httparse::{Header, Status};
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::limits::{FIELDS_ON_STACK, NAME_BYTES_MAX};

/// A head, as spans of the bytes it was read from.
#[derive(Debug, Clone)]
pub struct Head {
    spans: Vec<Span>,
    /// Of a request the method, of a response the reason.
    word: Place,
    target: Place,
    version: Version,
    status: u16,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            spans: Vec::new(),
            word: Place::default(),
            target: Place::default(),
            version: Version::HTTP_11,
            status: 0,
        }
    }
}

/// What a tokeniser found.
enum Found {
    /// The head ends before this byte.
    Whole(usize),
    Part,
}

impl Head {
    /// The fields. `input` is what the head was read from.
    #[must_use]
    pub fn fields<'a>(&'a self, input: &'a [u8]) -> Fields<'a> {
        Fields::new(input, &self.spans)
    }

    /// The method of a request, as it was written. `input` is what the head was read from.
    #[must_use]
    pub fn method<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        self.word.of(input)
    }

    /// The target of a request, as it was written. `input` is what the head was read from.
    #[must_use]
    pub fn target<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        self.target.of(input)
    }

    /// Where the target of a request lies.
    #[must_use]
    pub fn target_range(&self) -> Range<usize> {
        self.target.range()
    }

    /// The reason of a response; empty if it had none, or one that is not ASCII. `input` is what
    /// the head was read from.
    #[must_use]
    pub fn reason<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        self.word.of(input)
    }

    /// HTTP/1.1 or HTTP/1.0.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The status of a response, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Where the fields lie.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Gives the fields away for memory of others.
    pub(crate) fn swap_spans(&mut self, others: &mut Vec<Span>) {
        others.clear();
        std::mem::swap(&mut self.spans, others);
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.word = Place::default();
        self.target = Place::default();
        self.status = 0;
    }

    fn tokenise_request(
        &mut self,
        bytes: &[u8],
        fields_max: usize,
    ) -> Result<Found, httparse::Error> {
        let mut stack = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let room = stack.get_mut(..fields_max).unwrap_or_default();
        if fields_max <= FIELDS_ON_STACK {
            return self.tokenise_request_in(bytes, room);
        }
        match self.tokenise_request_in(bytes, &mut stack) {
            Err(httparse::Error::TooManyHeaders) => {
                let mut heap = vec![MaybeUninit::uninit(); fields_max];
                self.tokenise_request_in(bytes, &mut heap)
            }
            found => found,
        }
    }

    fn tokenise_request_in<'b>(
        &mut self,
        bytes: &'b [u8],
        room: &mut [MaybeUninit<Header<'b>>],
    ) -> Result<Found, httparse::Error> {
        let mut request = httparse::Request::new(&mut []);
        let Status::Complete(end) = request.parse_with_uninit_headers(bytes, room)? else {
            return Ok(Found::Part);
        };
        self.word = Place::of_part(bytes, request.method.unwrap_or_default().as_bytes());
        self.target = Place::of_part(bytes, request.path.unwrap_or_default().as_bytes());
        self.version = version(request.version);
        self.status = 0;
        self.keep(bytes, request.headers)?;
        Ok(Found::Whole(end))
    }

    fn tokenise_response(
        &mut self,
        bytes: &[u8],
        fields_max: usize,
    ) -> Result<Found, httparse::Error> {
        let mut stack = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let room = stack.get_mut(..fields_max).unwrap_or_default();
        if fields_max <= FIELDS_ON_STACK {
            return self.tokenise_response_in(bytes, room);
        }
        match self.tokenise_response_in(bytes, &mut stack) {
            Err(httparse::Error::TooManyHeaders) => {
                let mut heap = vec![MaybeUninit::uninit(); fields_max];
                self.tokenise_response_in(bytes, &mut heap)
            }
            found => found,
        }
    }

    fn tokenise_response_in<'b>(
        &mut self,
        bytes: &'b [u8],
        room: &mut [MaybeUninit<Header<'b>>],
    ) -> Result<Found, httparse::Error> {
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, room)?;
        let Status::Complete(end) = parsed else {
            return Ok(Found::Part);
        };
        let status = response.code.unwrap_or_default();
        if status < 100 {
            return Err(httparse::Error::Status);
        }
        self.word = Place::of_part(bytes, response.reason.unwrap_or_default().as_bytes());
        self.target = Place::default();
        self.version = version(response.version);
        self.status = status;
        self.keep(bytes, response.headers)?;
        Ok(Found::Whole(end))
    }

    /// The fields of trailers: `section` is a part of `input` and ends with its empty line.
    pub(crate) fn tokenise_trailers(
        &mut self,
        input: &[u8],
        section: &[u8],
        fields_max: usize,
    ) -> Result<(), HeadError> {
        self.clear();
        let mut stack = [httparse::EMPTY_HEADER; FIELDS_ON_STACK];
        let mut heap;
        let room = match stack.get_mut(..fields_max) {
            Some(room) => room,
            None => {
                heap = vec![httparse::EMPTY_HEADER; fields_max];
                &mut heap[..]
            }
        };
        match httparse::parse_headers(section, room) {
            Ok(Status::Complete((_, fields))) => self
                .keep(input, fields)
                .map_err(|error| fault::of_trailers(section, error)),
            // It ends with an empty line.
            Ok(Status::Partial) => Err(HeadError::FieldName),
            Err(error) => Err(fault::of_trailers(section, error)),
        }
    }

    fn keep(&mut self, bytes: &[u8], fields: &[Header<'_>]) -> Result<(), httparse::Error> {
        self.spans.clear();
        self.spans.reserve(fields.len());
        for field in fields {
            if field.name.len() > NAME_BYTES_MAX {
                return Err(httparse::Error::HeaderName);
            }
            self.spans.push(Span::of(bytes, field));
        }
        Ok(())
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    }
}

#[cfg(test)]
mod tests;
