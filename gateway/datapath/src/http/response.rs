//! An answer on its way to a client, whoever gave it.
//!
//! Like the crate `http`'s, but that its headers need not be a map ([`Headers`]).

use http::{StatusCode, Version};
use http1::Headers;

/// An answer.
#[derive(Debug)]
pub struct Response<B> {
    head: ResponseHead,
    body: B,
}

/// Its head.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The protocol that it came over.
    pub version: Version,
    /// The headers.
    pub headers: Headers,
}

impl<B> Response<B> {
    /// One that says 200 and nothing else.
    #[must_use]
    pub fn new(body: B, headers: Headers) -> Self {
        let head = ResponseHead {
            status: StatusCode::OK,
            version: Version::HTTP_11,
            headers,
        };
        Self { head, body }
    }

    /// One of this head and this body.
    #[must_use]
    pub fn from_parts(head: ResponseHead, body: B) -> Self {
        Self { head, body }
    }

    /// Its head and its body.
    #[must_use]
    pub fn into_parts(self) -> (ResponseHead, B) {
        (self.head, self.body)
    }

    /// The same with another body.
    #[must_use]
    pub fn map<C>(self, body: impl FnOnce(B) -> C) -> Response<C> {
        Response {
            head: self.head,
            body: body(self.body),
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The status, to be changed.
    pub fn status_mut(&mut self) -> &mut StatusCode {
        &mut self.head.status
    }

    /// The protocol that it came over.
    #[must_use]
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.head.headers
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.head.headers
    }

    /// The body, to be changed.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }
}

/// As h2 has read it.
impl From<http::response::Parts> for ResponseHead {
    fn from(parts: http::response::Parts) -> Self {
        Self {
            status: parts.status,
            version: parts.version,
            headers: parts.headers.into(),
        }
    }
}
