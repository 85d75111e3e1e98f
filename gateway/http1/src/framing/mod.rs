//! How long a body is (RFC 9112 §6), and what a head says of its connection (§9).
//!
//! What could be read in two ways is refused, each way with a word of its own: where two parties on
//! one connection find different ends of a message, the rest of it is a request that nobody has
//! checked. hyper is a little more forgiving in places, never stricter.

use http::{Method, StatusCode, Version};

use crate::head::{Field, Fields, Known, trim};
use crate::limits::CONTENT_LENGTH_MAX;

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// After so many bytes.
    Exactly(u64),
    /// Where its chunks say.
    Chunked,
    /// Where the connection does. Responses only.
    UntilClose,
}

/// Why nobody can tell for certain where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FramingError {
    /// Not a number in decimal digits.
    #[error("Content-Length is no number")]
    LengthInvalid,
    /// [`CONTENT_LENGTH_MAX`].
    #[error("Content-Length is larger than any body can be")]
    LengthTooLarge,
    /// Said more than once by a request.
    #[error("Content-Length is said more than once")]
    LengthRepeated,
    /// Said more than once, with different numbers.
    #[error("Content-Length has several values that differ")]
    LengthsDiffer,
    /// Both ways at once, in a request (RFC 9112 §6.3).
    #[error("the head has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// HTTP/1.0 has no chunks (RFC 9112 §6.1).
    #[error("Transfer-Encoding stands in a head of HTTP/1.0")]
    CodingInOldVersion,
    /// Nothing, or nothing between two commas.
    #[error("Transfer-Encoding is empty, or has an empty member")]
    CodingEmpty,
    /// No `chunked`, so that only the end of the connection would end it.
    #[error("the transfer coding does not say where the body ends")]
    Unframed,
    /// `chunked` before another coding (RFC 9112 §6.1).
    #[error("`chunked` is not the last transfer coding")]
    ChunkedNotLast,
    /// `chunked` on top of `chunked` (RFC 9112 §6.1).
    #[error("`chunked` is said more than once")]
    ChunkedTwice,
    /// A coding beneath `chunked` that is not undone here.
    #[error("the only transfer coding that is understood is `chunked`")]
    CodingUnknown,
}

impl FramingError {
    /// The stable word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::LengthInvalid => "length_invalid",
            Self::LengthTooLarge => "length_too_large",
            Self::LengthRepeated => "length_repeated",
            Self::LengthsDiffer => "lengths_differ",
            Self::LengthAndCoding => "length_and_coding",
            Self::CodingInOldVersion => "coding_in_http10",
            Self::CodingEmpty => "coding_empty",
            Self::Unframed => "unframed",
            Self::ChunkedNotLast => "chunked_not_last",
            Self::ChunkedTwice => "chunked_twice",
            Self::CodingUnknown => "coding_unknown",
        }
    }

    /// What a server answers.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::LengthTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a head says of its framing and of its connection, gathered in one pass over its fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    length: Option<Result<u64, FramingError>>,
    length_repeated: bool,
    coding: Option<Result<(), FramingError>>,
    /// `close` in `Connection`.
    pub close: bool,
    /// `keep-alive` in `Connection`.
    pub keep_alive: bool,
    /// `upgrade` in `Connection`.
    pub upgrade: bool,
    /// There is a field `Upgrade`.
    pub has_upgrade: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// Another expectation.
    pub expects_other: bool,
    /// Fields `Host`.
    pub hosts: usize,
}

impl Said {
    /// What these fields say.
    #[must_use]
    pub fn of(fields: Fields<'_>) -> Self {
        let mut said = Self::default();
        for field in fields.about_connection() {
            said.hear(field);
        }
        said
    }

    fn hear(&mut self, field: Field<'_>) {
        match field.known {
            Known::ContentLength => self.hear_length(field.value),
            Known::TransferEncoding => self.hear_coding(field.value),
            Known::Connection => self.hear_connection(field.value),
            Known::Upgrade => self.has_upgrade = true,
            Known::Host => self.hosts += 1,
            Known::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => {
                self.expects_continue = true;
            }
            Known::Expect => self.expects_other = true,
            _ => {}
        }
    }

    pub(crate) fn hear_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(trim) {
            match option.len() {
                5 => self.close |= option.eq_ignore_ascii_case(b"close"),
                7 => self.upgrade |= option.eq_ignore_ascii_case(b"upgrade"),
                10 => self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
    }

    fn hear_length(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',').map(trim) {
            let heard = match self.length {
                None => number(member),
                Some(Err(error)) => Err(error),
                Some(Ok(before)) => {
                    self.length_repeated = true;
                    match number(member) {
                        Ok(now) if now != before => Err(FramingError::LengthsDiffer),
                        heard => heard,
                    }
                }
            };
            self.length = Some(heard);
        }
    }

    /// Only `chunked`, once, is good. What is wrong with a list depends on how it goes on: `gzip` leaves
    /// the end open, `gzip, chunked` does not.
    fn hear_coding(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',').map(trim) {
            let chunked = member.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(match self.coding {
                _ if member.is_empty() => Err(FramingError::CodingEmpty),
                None if chunked => Ok(()),
                None => Err(FramingError::Unframed),
                Some(Ok(())) if chunked => Err(FramingError::ChunkedTwice),
                Some(Ok(())) => Err(FramingError::ChunkedNotLast),
                // Codings, and `chunked` last.
                Some(Err(FramingError::Unframed)) if chunked => Err(FramingError::CodingUnknown),
                Some(Err(FramingError::CodingUnknown)) if chunked => {
                    Err(FramingError::ChunkedTwice)
                }
                Some(Err(FramingError::CodingUnknown)) => Err(FramingError::ChunkedNotLast),
                Some(Err(error)) => Err(error),
            });
        }
    }

    /// Where the body of a request ends.
    ///
    /// # Errors
    /// Its head leaves that open; see [`FramingError`].
    pub fn request_body(&self, version: Version) -> Result<BodyLength, FramingError> {
        match (self.coding, self.length) {
            (None, None) => Ok(BodyLength::None),
            (None, Some(length)) => {
                let length = length?;
                if self.length_repeated {
                    return Err(FramingError::LengthRepeated);
                }
                Ok(BodyLength::Exactly(length))
            }
            (Some(_), Some(_)) if version != Version::HTTP_10 => Err(FramingError::LengthAndCoding),
            (Some(coding), _) => {
                Self::coded(version, coding)?;
                Ok(BodyLength::Chunked)
            }
        }
    }

    /// Whether the head has both a length and a coding. Of a request that is refused, as somebody may
    /// be about to hide another one in it; of a response the coding is believed, and its connection
    /// is not used again (RFC 9112 §6.3).
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.length.is_some() && self.coding.is_some()
    }

    /// Where the body of a response ends that answers a request with this method. A switch of
    /// protocols (101, or 2xx to CONNECT) has none.
    ///
    /// # Errors
    /// Its head leaves that open; see [`FramingError`].
    pub fn response_body(
        &self,
        version: Version,
        status: u16,
        method: &Method,
    ) -> Result<BodyLength, FramingError> {
        if is_tunnel(status, method) {
            return Ok(BodyLength::None);
        }
        if let (None, Some(length)) = (self.coding, self.length) {
            length?;
        }
        if let Some(coding) = self.coding {
            Self::coded(version, coding)?;
        }
        if is_bodiless(status) || method == Method::HEAD {
            return Ok(BodyLength::None);
        }
        Ok(match (self.coding, self.length) {
            (Some(_), _) => BodyLength::Chunked,
            (None, Some(Ok(length))) => BodyLength::Exactly(length),
            (None, _) => BodyLength::UntilClose,
        })
    }

    fn coded(version: Version, coding: Result<(), FramingError>) -> Result<(), FramingError> {
        match version {
            Version::HTTP_10 => Err(FramingError::CodingInOldVersion),
            _ => coding,
        }
    }

    /// Whether the connection goes on after this message, as far as its head says (RFC 9112 §9.3).
    #[must_use]
    pub fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }

    /// The length that was said, if it was said well.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length.and_then(Result::ok)
    }

    /// Whether a response that cannot have a body says that it has one. Its sender may send it.
    #[must_use]
    pub fn promises_body(&self, status: u16) -> bool {
        is_bodiless(status)
            && status != 304
            && (self.coding.is_some() || self.length().is_some_and(|length| length > 0))
    }
}

/// Whether what follows the head is not HTTP any more.
pub(crate) fn is_tunnel(status: u16, method: &Method) -> bool {
    status == 101 || method == Method::CONNECT && (200..300).contains(&status)
}

/// Whether responses with this status have no body, whatever they say (RFC 9112 §6.3).
fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

fn number(digits: &[u8]) -> Result<u64, FramingError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::LengthInvalid);
    }
    digits
        .iter()
        .try_fold(0_u64, |number, digit| {
            let number = number.checked_mul(10)?;
            number.checked_add(u64::from(digit - b'0'))
        })
        .filter(|number| *number <= CONTENT_LENGTH_MAX)
        .ok_or(FramingError::LengthTooLarge)
}

#[cfg(test)]
mod tests;
