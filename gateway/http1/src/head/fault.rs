//! What exactly is wrong with a head that `httparse` has refused.
//!
//! Off the usual way: it walks to the first wrong byte and says what that is. It looks at nothing
//! behind it, so that its answer does not depend on how much has come.

use super::HeadError;
use crate::limits::NAME_BYTES_MAX;

/// What is wrong with a request's head.
pub(super) fn of_request(head: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Token => {
            let line = skip_empty(head);
            let is_token = |byte: &u8| is_token(*byte);
            match line.iter().position(|byte| !is_token(byte)) {
                Some(at) if at > 0 && line.get(at) == Some(&b' ') => HeadError::Target,
                _ => HeadError::Method,
            }
        }
        httparse::Error::Version => {
            let mut words = skip_empty(head).splitn(3, |byte| *byte == b' ');
            of_version(words.nth(2).unwrap_or_default())
        }
        _ => {
            let line = skip_empty(head);
            let mut words = line.splitn(3, |byte| *byte == b' ');
            let version = words.nth(2).unwrap_or_default();
            match version.get("HTTP/1.1".len()..).unwrap_or_default() {
                _ if line.first() == Some(&b'\r') => HeadError::BareCr,
                [b'\r', b'\n', fields @ ..] | [b'\n', fields @ ..] => of_fields(fields),
                [b'\r', ..] => HeadError::BareCr,
                _ => HeadError::Version,
            }
        }
    }
}

/// What is wrong with a response's head.
pub(super) fn of_response(head: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => of_version(skip_empty(head)),
        httparse::Error::Status => HeadError::Status,
        _ => {
            let line = skip_empty(head);
            let end = memchr::memchr(b'\n', line).map_or(0, |end| end + 1);
            match line {
                [b'\r', ..] => HeadError::BareCr,
                _ => of_fields(line.get(end..).unwrap_or_default()),
            }
        }
    }
}

/// What is wrong with trailers.
pub(super) fn of_trailers(section: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        _ => of_fields(section),
    }
}

/// Whether the end of the first line has not come.
pub(super) fn is_first_line(head: &[u8]) -> bool {
    memchr::memchr(b'\n', skip_empty(head)).is_none()
}

/// Which version `text` is that is neither 1.1 nor 1.0.
fn of_version(text: &[u8]) -> HeadError {
    let expected = b"HTTP/1.";
    let differs = (0..8).find(|at| match expected.get(*at) {
        Some(byte) => text.get(*at) != Some(byte),
        None => true,
    });
    match (differs, differs.and_then(|at| text.get(at))) {
        (Some(5), Some(b'0'..=b'9')) | (Some(7), Some(b'2'..=b'9')) => {
            HeadError::VersionUnsupported
        }
        _ => HeadError::Version,
    }
}

/// The first thing that is wrong with these lines of fields.
fn of_fields(mut lines: &[u8]) -> HeadError {
    loop {
        let end = lines.iter().position(|byte| !is_token(*byte));
        let Some(end) = end else {
            return HeadError::FieldName;
        };
        let behind = lines.get(end..).unwrap_or_default();
        match behind {
            [b':', ..] if end > NAME_BYTES_MAX => return HeadError::FieldName,
            [b':', value @ ..] if end > 0 => {
                let wrong = value.iter().position(|byte| !is_value(*byte));
                match wrong.and_then(|at| value.get(at..)).unwrap_or_default() {
                    [b'\r', b'\n', next @ ..] | [b'\n', next @ ..] => lines = next,
                    [b'\r', ..] => return HeadError::BareCr,
                    [0, ..] => return HeadError::Nul,
                    _ => return HeadError::Control,
                }
            }
            [b' ' | b'\t', ..] if end == 0 => return HeadError::Folded,
            [b' ' | b'\t', ..] => return HeadError::FieldNameSpace,
            [b'\r', b'\n', ..] | [b'\n', ..] => return HeadError::ColonMissing,
            [b'\r', ..] if end == 0 => return HeadError::BareCr,
            [b'\r', ..] => return HeadError::ColonMissing,
            _ => return HeadError::FieldName,
        }
    }
}

/// The head without the empty lines before it.
pub(super) fn skip_empty(head: &[u8]) -> &[u8] {
    let mut rest = head;
    loop {
        rest = match rest {
            [b'\r', b'\n', next @ ..] | [b'\n', next @ ..] => next,
            _ => return rest,
        };
    }
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 §5.5.
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}
