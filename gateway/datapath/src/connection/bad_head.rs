//! The answers that hyper gives by itself, to heads that it cannot read.
//!
//! hyper calls nobody for them: it writes an answer of its own, and fails. Every answer has a
//! request id and a line in the log, these too: they are known by being written at a time when
//! hyper has written all that it was given, and ours takes their place. Only of a head behind
//! pipelined requests, whose answers are still on their way, hyper's own words go out; the log has
//! its line all the same. Over HTTP/2 h2 resets the stream, and no answer is given.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::Connection;
use super::record::record_bad_head;
use crate::http::request_id::RequestId;
use crate::io::TlsStream;

/// What is known of the heads that hyper refuses on one connection. Such a head is its last.
#[derive(Default)]
pub(super) struct BadHead {
    /// hyper was given something that it may not have written yet.
    given: Cell<bool>,
    /// What went out in the place of hyper's own answer.
    answered: Cell<Option<(RequestId, StatusCode)>>,
    /// Why hyper could not read the head.
    why: RefCell<Option<hyper::Error>>,
}

impl BadHead {
    /// hyper is given something to write.
    pub(super) fn gives(&self) {
        self.given.set(true);
    }

    /// hyper could not read a head.
    pub(super) fn because(&self, error: hyper::Error) {
        self.why.replace(Some(error));
    }
}

/// Writes down that hyper refused a head, if it did; `unread` is what it had of it.
pub(super) fn record(connection: &Connection, unread: &Bytes) {
    let bad = &connection.bad_head;
    let Some(error) = bad.why.take() else { return };
    // The preface of HTTP/2 is answered by closing.
    if error.is_parse_version_h2() {
        return;
    }
    let (id, status) = bad.answered.take().unwrap_or_else(|| {
        let status = if error.is_parse_too_large() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        (connection.local.request_ids.next(), status)
    });
    let (method, path) = first_line(unread);
    record_bad_head(connection, id, status, (method, path), &error.to_string());
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

/// The stream that hyper serves HTTP/1.1 over.
pub(super) struct Watched {
    stream: TlsStream,
    connection: Rc<Connection>,
}

impl Watched {
    pub(super) fn new(stream: TlsStream, connection: Rc<Connection>) -> Self {
        Self { stream, connection }
    }

    pub(super) fn into_stream(self) -> TlsStream {
        self.stream
    }

    /// What takes the place of `from`, if that is an answer of hyper's own.
    fn instead_of(&self, from: &[u8]) -> Option<Vec<u8>> {
        if self.connection.bad_head.given.get() || !from.starts_with(b"HTTP/1.1 4") {
            return None;
        }
        let head = std::str::from_utf8(from).ok()?.strip_suffix("\r\n\r\n")?;
        let status = head.get("HTTP/1.1 ".len().."HTTP/1.1 400".len())?;
        let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
        let id = self.connection.local.request_ids.next();
        let said = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                "the request's head is too large, or has too many headers; send less in it"
            }
            StatusCode::URI_TOO_LONG => "the request's target is too long",
            _ => "the request's head is not HTTP",
        };
        let said = format!("{said}\nrequest id: {}\n", id.as_str());
        let mut answer = String::with_capacity(512);
        let ours = |line: &&str| !line.starts_with("content-length:");
        for line in head.split("\r\n").filter(ours) {
            answer.push_str(line);
            answer.push_str("\r\n");
        }
        let (length, id_text) = (said.len(), id.as_str());
        answer.push_str(&format!(
            "content-type: text/plain\r\nx-request-id: {id_text}\r\ncontent-length: {length}\r\n\r\n"
        ));
        answer.push_str(&said);
        self.connection.bad_head.answered.set(Some((id, status)));
        Some(answer.into_bytes())
    }
}

impl Read for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl Write for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(answer) = this.instead_of(from) {
            // It is far smaller than what the stream takes at once.
            ready!(Pin::new(&mut this.stream).poll_write(cx, &answer))?;
            return Poll::Ready(Ok(from.len()));
        }
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, from))?;
        if count == from.len() {
            this.connection.bad_head.given.set(false);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::first_line;

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
}
