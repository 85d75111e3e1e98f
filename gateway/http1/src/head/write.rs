//! Writing heads: what stays is copied, what is ours is added.
//!
//! Fields are written as `name: value` and CRLF, however they came. Lines of a head that were written
//! so already are copied together.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::fault::{is_token, is_value};
use super::{Field, Fields};

/// Why something cannot stand in a head. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unwritable {
    /// Not a token.
    #[error("the method is no word")]
    Method,
    /// Empty, or with a space or a control character.
    #[error("the target is empty or has a space or a control character")]
    Target,
    /// Not a token.
    #[error("the field's name is no word")]
    Name,
    /// With a control character.
    #[error("the field's value has a control character")]
    Value,
    /// One that begins another kind of answer.
    #[error("the status does not begin an answer of this kind")]
    Status,
}

/// Writes one head behind what is in a buffer.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Begins a request of HTTP/1.1.
    ///
    /// # Errors
    /// The method or the target cannot stand in a head.
    pub fn request(out: &'o mut Vec<u8>, method: &[u8], target: &[u8]) -> Result<Self, Unwritable> {
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(Unwritable::Method);
        }
        if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(Unwritable::Target);
        }
        Ok(Self::request_of(out, method, target))
    }

    /// Begins a request of HTTP/1.1 with a method that is known to be one.
    ///
    /// # Errors
    /// The target cannot stand in a head.
    pub fn request_with(
        out: &'o mut Vec<u8>,
        method: &Method,
        target: &[u8],
    ) -> Result<Self, Unwritable> {
        if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(Unwritable::Target);
        }
        Ok(Self::request_of(out, method.as_str().as_bytes(), target))
    }

    fn request_of(out: &'o mut Vec<u8>, method: &[u8], target: &[u8]) -> Self {
        out.reserve(method.len() + target.len() + LINE_BYTES);
        out.extend_from_slice(method);
        out.push(b' ');
        out.extend_from_slice(target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Self { out }
    }

    /// Begins a response of HTTP/1.1, with the reason that is usual for its status.
    #[must_use]
    pub fn response(out: &'o mut Vec<u8>, status: StatusCode) -> Self {
        if status == StatusCode::OK {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return Self { out };
        }
        let reason = status.canonical_reason().unwrap_or_default();
        out.reserve(reason.len() + LINE_BYTES);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        // The space stays where there is no reason (RFC 9112 §4).
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        Self { out }
    }

    /// Begins with the fields: trailers.
    pub(crate) fn lines(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Adds a field.
    ///
    /// # Errors
    /// The name or the value cannot stand in a head.
    pub fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Unwritable> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Unwritable::Name);
        }
        if !value.iter().all(|byte| is_value(*byte)) {
            return Err(Unwritable::Value);
        }
        self.line(name.as_bytes(), value);
        Ok(())
    }

    /// Adds a field whose name and value are known to be good.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name.as_str().as_bytes(), value.as_bytes());
    }

    /// Adds these fields.
    pub fn headers(&mut self, headers: &HeaderMap, mut keep: impl FnMut(&HeaderName) -> bool) {
        for (name, value) in headers {
            if keep(name) {
                self.header(name, value);
            }
        }
    }

    /// Adds a field that is a number.
    pub(crate) fn number(&mut self, name: &'static str, number: u64) {
        let mut digits = [0; DIGITS_MAX];
        self.line(name.as_bytes(), decimal(number, &mut digits));
    }

    /// Adds a field of ours.
    pub(crate) fn said(&mut self, name: &'static str, value: &'static str) {
        self.line(name.as_bytes(), value.as_bytes());
    }

    /// Copies those fields of a head that are to be kept.
    pub fn copy(&mut self, fields: Fields<'_>, mut keep: impl FnMut(&Field<'_>) -> bool) {
        let (input, spans) = fields.parts();
        // Lines that lie one behind the other and are to be copied together.
        let mut run = 0..0;
        for span in spans {
            let field = span.field(input);
            if !keep(&field) {
                continue;
            }
            if !span.is_plain(input) {
                self.out
                    .extend_from_slice(input.get(std::mem::take(&mut run)).unwrap_or_default());
                self.line(field.name, field.value);
                continue;
            }
            let (begin, end) = span.line();
            if run.end != begin {
                self.out
                    .extend_from_slice(input.get(run).unwrap_or_default());
                run = begin..end;
            }
            run.end = end;
        }
        self.out
            .extend_from_slice(input.get(run).unwrap_or_default());
    }

    /// Ends the head.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        self.out.reserve(name.len() + value.len() + 4);
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Bytes of a first line beside its words, and some to spare.
const LINE_BYTES: usize = 20;
/// Digits of a u64.
const DIGITS_MAX: usize = 20;

fn decimal(mut number: u64, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut first = DIGITS_MAX;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        first = at;
        if number == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{DIGITS_MAX, decimal};

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, 1_234, u64::from(u32::MAX), u64::MAX] {
            let mut digits = [0; DIGITS_MAX];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
        }
    }
}
