//! What is WebSocket's own in the way from one protocol to another (RFC 6455 §4, RFC 8441 §5).
//!
//! Over HTTP/1.1 it begins with an upgrade, with a key and an answer to it; over HTTP/2 with an
//! extended CONNECT and without them. Frames are not looked at.

use boring::base64::encode_block;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request};
use http1::Headers;

/// The only protocol that is tunnelled, as `Upgrade` and `:protocol` say it.
pub const NAME: &str = "websocket";

/// Marks a request that came as an extended CONNECT, and has become what it would be over HTTP/1.1.
#[derive(Debug, Clone, Copy)]
pub struct Extended;

/// Makes an extended CONNECT for WebSocket the GET that it would be over HTTP/1.1, so that the same
/// checks and rules judge both. One for another protocol is left as it is.
pub fn normalise<B>(request: &mut Request<B>) {
    let asked = request.extensions().get::<h2::ext::Protocol>();
    let is_asked = asked.is_some_and(|said| said.as_str().eq_ignore_ascii_case(NAME));
    if request.method() != Method::CONNECT || !is_asked {
        return;
    }
    *request.method_mut() = Method::GET;
    request.extensions_mut().insert(Extended);
    let headers = request.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static(NAME));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    // Over HTTP/2 they mean nothing.
    headers.remove(SEC_WEBSOCKET_KEY);
    headers.remove(SEC_WEBSOCKET_ACCEPT);
}

/// A fresh key for a request over HTTP/1.1. `None`: there is no randomness, and so no request.
#[must_use]
pub fn key() -> Option<HeaderValue> {
    let mut key = [0; 16];
    boring::rand::rand_bytes(&mut key).ok()?;
    HeaderValue::try_from(encode_block(&key)).ok()
}

/// The answer to a key (RFC 6455 §4.2.2).
#[must_use]
pub fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::try_from(encode_block(&boring::sha::sha1(&text))).ok()
}

/// Whether the headers of a 101 answer this key.
#[must_use]
pub fn is_accepted(headers: &Headers, key: &HeaderValue) -> bool {
    let said = headers.value(SEC_WEBSOCKET_ACCEPT);
    said.is_some() && said == accept(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let expected = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept(&key), Some(expected.clone()));
        let mut headers = Headers::new();
        assert!(!is_accepted(&headers, &key));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("x"));
        assert!(!is_accepted(&headers, &key));
        headers.insert(SEC_WEBSOCKET_ACCEPT, expected);
        assert!(is_accepted(&headers, &key));
    }

    #[test]
    fn keys_are_fresh() {
        let (one, other) = (key().unwrap(), key().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 24);
    }
}
