//! The head of a request, whichever protocol it came over.
//!
//! Owns what of it is together on its way from the client to the rules and to an origin. Reads nothing
//! and writes nothing: `http1` and h2 do.

use http::{Extensions, Method, Uri, Version, request};
use http1::Headers;

/// A request without its body. It goes through many hands, in each of which it would be copied: they have it in a box.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The protocol it came over.
    pub version: Version,
    /// The headers.
    pub headers: Headers,
    /// What else is known of it.
    pub extensions: Extensions,
}

impl RequestHead {
    /// Forgets what it says and keeps the memory of its headers.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.extensions.clear();
        // What it was read from is not kept for it, nor a method that may be as long as a head.
        self.uri = Uri::default();
        self.method = Method::GET;
        self.version = Version::default();
    }
}

impl From<request::Parts> for RequestHead {
    fn from(parts: request::Parts) -> Self {
        Self {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers.into(),
            extensions: parts.extensions,
        }
    }
}
