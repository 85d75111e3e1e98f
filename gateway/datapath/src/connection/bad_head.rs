//! The answers to heads that nobody can read.
//!
//! Every answer has a request id and a line in the log, these too. The connection is closed behind
//! them: nobody knows where the next request would begin.

use http::{HeaderValue, StatusCode};
use http1::ServerError;

use super::Connection;
use super::record::record_bad_head;
use crate::http::answer;
use crate::http::body::ResponseBody;
use crate::http::form::Form;
use crate::http::response::Response;

/// Writes down that a head is refused, and answers it. `unread` is what came of it.
pub(super) fn refuse(
    connection: &Connection,
    error: ServerError,
    unread: &[u8],
) -> Response<ResponseBody> {
    let (id, status) = (connection.local.request_ids.next(), error.status());
    let detail = error.to_string();
    record_bad_head(connection, id, status, first_line(unread), &detail);
    let text = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's head is too large, or has too many headers; send less in it"
        }
        StatusCode::URI_TOO_LONG => "the request's target is too long",
        _ => &detail,
    };
    let form = Form::asked(accept(unread).as_ref());
    answer::own(status, text, form, &id.to_header())
}

/// What the client says that it accepts, if that line came, and can be read.
fn accept(head: &[u8]) -> Option<HeaderValue> {
    const NAME: &[u8] = b"accept:";
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    })?;
    HeaderValue::from_bytes(value.trim_ascii()).ok()
}

/// The method and the path, without the query, of a head that nobody could read.
fn first_line(head: &[u8]) -> (&str, &str) {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let mut words = line.unwrap_or_default().split(|byte| *byte == b' ');
    let method = text(words.next());
    let is_method = |text: &str| {
        text.len() <= METHOD_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    if !is_method(method) {
        return ("", "");
    }
    let target = text(words.next());
    (method, target.split('?').next().unwrap_or_default())
}

fn text(word: Option<&[u8]>) -> &str {
    std::str::from_utf8(word.unwrap_or_default()).unwrap_or_default()
}

/// Bytes of a method that is believed to be one: longer than all that are registered.
const METHOD_BYTES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::{accept, first_line};

    #[test]
    fn what_a_broken_head_was_about() {
        for (head, expected) in [
            ("GET /a/b?secret=1 HTTP/1.1\r\nX", ("GET", "/a/b")),
            ("GET / HTTP/9\nX", ("GET", "/")),
            ("post /x", ("post", "/x")),
            ("G@T / HTTP/1.1\r\n", ("", "")),
            ("", ("", "")),
            ("GETGETGETGETGETGETGETGET /", ("", "")),
        ] {
            assert_eq!(first_line(head.as_bytes()), expected, "{head:?}");
        }
        assert_eq!(first_line(b"GET /\xff HTTP/1.1"), ("GET", ""));
    }

    #[test]
    fn what_the_client_of_a_broken_head_accepts() {
        for (head, expected) in [
            (
                "GET / HTTP/1.1\r\nA b: c\r\nAccept: text/html\r\n",
                Some("text/html"),
            ),
            (
                "GET / HTTP/1.1\nACCEPT:application/json \n\n",
                Some("application/json"),
            ),
            ("accept: text/html\r\n", None),
            ("GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\nAccep", None),
            ("GET / HTTP/1.1\r\nAccept: a\u{1}b\r\n", None),
            ("", None),
        ] {
            let found = accept(head.as_bytes());
            let found = found.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{head:?}");
        }
    }
}
