//! The half of a request by which it is answered.

use http::{HeaderMap, Method, StatusCode, Version};

use super::{Incoming, Waiting};
use crate::body::{Encoder, Frame, SendError};
use crate::framing::{BodyLength, Said};
use crate::head::{Fields, Known, Unwritable, Writer};
use crate::headers::Written;
use crate::not_kept::NotKept;

/// An answer whose head is not written.
#[derive(Debug)]
pub struct Reply {
    method: Method,
    version: Version,
    /// The client waits for 100 before it sends its body.
    expects: bool,
    not_kept: Option<NotKept>,
}

impl Reply {
    pub(super) fn to(method: Method, version: Version, said: &Said) -> Self {
        let not_kept = if said.persists(version) {
            None
        } else if said.close {
            Some(NotKept::Close)
        } else {
            Some(NotKept::OldVersion)
        };
        Self {
            method,
            version,
            expects: said.expects_continue && version == Version::HTTP_11,
            not_kept,
        }
    }

    pub(super) fn to_refused(method: Method, version: Version) -> Self {
        Self {
            method,
            version,
            expects: false,
            not_kept: Some(NotKept::Refused),
        }
    }

    /// The connection closes behind this answer, and the answer says so.
    pub fn close(&mut self) {
        self.not_kept.get_or_insert(NotKept::Close);
    }

    /// Why the connection closes behind this answer, if it does.
    #[must_use]
    pub fn will_close(&self) -> Option<NotKept> {
        self.not_kept
    }

    /// Whether the client waits for [`Reply::go_on`] before it sends the request's body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects
    }

    /// Writes 100 (Continue), if the client waits for it and has not got it: the body is wanted.
    pub fn go_on(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.expects) {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Writes an interim answer. A client of HTTP/1.0 gets none (RFC 9110 §15.2); answers whether it
    /// was written.
    ///
    /// # Errors
    /// [`Unwritable::Status`]: not 1xx, or 101, which is final.
    pub fn interim(
        &mut self,
        status: StatusCode,
        headers: &dyn Written,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unwritable> {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Unwritable::Status);
        }
        if self.version == Version::HTTP_10 {
            return Ok(false);
        }
        if status == StatusCode::CONTINUE {
            self.expects = false;
        }
        let mut writer = Writer::response(out, status);
        headers.write(&mut writer, &mut |field| is_callers(field.known));
        writer.end();
        Ok(true)
    }

    /// Writes the answer's head with these headers. `Content-Length`, `Transfer-Encoding` and
    /// `Connection` are written as `length` and the connection say, and never taken from them,
    /// but for the length of an answer that has no body here, and would have had one (HEAD and 304,
    /// and never 204: RFC 9110 §8.6).
    /// A body of unknown length is sent in chunks, or to a client of HTTP/1.0 until the connection
    /// closes.
    ///
    /// # Errors
    /// [`Unwritable::Status`]: 1xx, or 2xx to CONNECT, see [`Reply::switch`].
    pub fn head(
        mut self,
        status: StatusCode,
        headers: &dyn Written,
        length: BodyLength,
        out: &mut Vec<u8>,
    ) -> Result<Sending, Unwritable> {
        if status.is_informational() || self.switches(status) {
            return Err(Unwritable::Status);
        }
        let mut writer = Writer::response(out, status);
        headers.write(&mut writer, &mut |field| is_callers(field.known));
        let length_said = headers.known(Known::ContentLength);
        let length_said = length_said.filter(|value| is_number(value));
        let has_content = status != StatusCode::NO_CONTENT;
        let is_head =
            has_content && (self.method == Method::HEAD || status == StatusCode::NOT_MODIFIED);
        let length = match length {
            _ if !has_content => BodyLength::None,
            BodyLength::None if !is_head => BodyLength::Exactly(0),
            BodyLength::Chunked | BodyLength::UntilClose if self.version == Version::HTTP_10 => {
                BodyLength::UntilClose
            }
            BodyLength::UntilClose => BodyLength::Chunked,
            length => length,
        };
        match (length, length_said) {
            (BodyLength::Exactly(length), _) => {
                writer.number(Known::ContentLength.name(), length);
            }
            (BodyLength::None, Some(said)) if is_head => {
                writer.field(Known::ContentLength.name(), said)?;
            }
            (BodyLength::Chunked, _) if !is_head => {
                writer.said(Known::TransferEncoding.name(), "chunked");
            }
            _ => {}
        }
        if length == BodyLength::UntilClose && !is_head {
            self.not_kept.get_or_insert(NotKept::UntilClose);
        }
        match (self.not_kept, self.version) {
            (Some(_), _) => writer.said(Known::Connection.name(), "close"),
            (None, Version::HTTP_10) => writer.said(Known::Connection.name(), "keep-alive"),
            (None, _) => {}
        }
        writer.end();
        let length = if is_head { BodyLength::None } else { length };
        Ok(Sending {
            encoder: Encoder::new(length),
            length,
            not_kept: self.not_kept,
        })
    }

    fn switches(&self, status: StatusCode) -> bool {
        self.method == Method::CONNECT && status.is_success()
    }

    /// Writes the head of an answer behind which another protocol is spoken: 101, or 2xx to CONNECT.
    /// What follows the request is that protocol's. To 101 `Connection: upgrade` is added, to neither
    /// a length.
    ///
    /// # Errors
    /// [`Unwritable::Status`]: another status, a client of HTTP/1.0, or a request whose body is not
    /// over.
    pub fn switch(
        self,
        status: StatusCode,
        headers: &dyn Written,
        incoming: &Incoming,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let upgrades = status == StatusCode::SWITCHING_PROTOCOLS;
        let old = self.version == Version::HTTP_10;
        let refused = self.not_kept == Some(NotKept::Refused);
        if !(upgrades && !old || self.switches(status)) || refused || !incoming.is_over() {
            return Err(Unwritable::Status);
        }
        let mut writer = Writer::response(out, status);
        headers.write(&mut writer, &mut |field| is_callers(field.known));
        if upgrades {
            writer.said(Known::Connection.name(), "upgrade");
        }
        writer.end();
        Ok(())
    }
}

/// Whether a field of an answer is the caller's to say.
fn is_callers(known: Known) -> bool {
    !matches!(
        known,
        Known::Connection | Known::ContentLength | Known::TransferEncoding | Known::KeepAlive
    )
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// An answer whose body is being sent.
#[derive(Debug)]
pub struct Sending {
    encoder: Encoder,
    length: BodyLength,
    not_kept: Option<NotKept>,
}

impl Sending {
    /// How the body goes out. `None`: no body is to be sent, whatever the answer would have.
    #[must_use]
    pub fn length(&self) -> BodyLength {
        self.length
    }

    /// What goes before and behind the next `size` bytes of the body. Not to be asked where none is to
    /// be sent ([`Sending::length`]).
    ///
    /// # Errors
    /// See [`Encoder::frame`].
    pub fn frame(&mut self, size: usize) -> Result<Frame, SendError> {
        self.encoder.frame(size)
    }

    /// Writes a piece of the body. Where none is to be sent ([`Sending::length`]), it is dropped.
    ///
    /// # Errors
    /// See [`Encoder::data`].
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        if self.length == BodyLength::None {
            return Ok(());
        }
        self.encoder.data(data, out)
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
            Some(trailers) => self.encoder.end_with_headers(trailers, out),
            None => self.encoder.end(out),
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
        self.encoder.end_with_fields(trailers, out)
    }

    /// Whether the answer is whole.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.encoder.is_over()
    }

    /// Whether trailers can be sent.
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.encoder.takes_trailers()
    }

    /// Why the connection closes behind this answer, as its head says; `None` if it may serve again.
    #[must_use]
    pub fn will_close(&self) -> Option<NotKept> {
        self.not_kept
    }

    /// The connection for the next request, once both halves are over.
    ///
    /// # Errors
    /// It cannot serve again.
    pub fn over(self, incoming: &Incoming) -> Result<Waiting, NotKept> {
        if !self.is_over() {
            return Err(NotKept::Answering);
        }
        if let Some(why) = self.not_kept {
            return Err(why);
        }
        if !incoming.is_over() {
            return Err(NotKept::Uploading);
        }
        Ok(Waiting::new())
    }
}
