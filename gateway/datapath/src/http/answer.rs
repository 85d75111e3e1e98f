//! The answers that Postern gives itself.
//!
//! Short, without a version, and each with the request id by which the access log finds it.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, VARY};
use http1::Headers;

use super::body::ResponseBody;
use super::form::Form;
use super::response::Response;
use super::spare_heads;
use crate::limits::GRPC_MESSAGE_BYTES_MAX;
use rules::BlockResponse;
use snapshot::http::headers::X_REQUEST_ID;

/// What a client gets that speaks plain HTTP to the TLS port, as from nginx.
pub const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 54\r\n\
    Connection: close\r\n\r\n\
    This port speaks HTTPS; use https:// instead of http:\n";

/// What Postern itself has to say, in the form that the client asked for.
#[must_use]
pub fn own(
    status: StatusCode,
    said: &str,
    form: Form,
    request_id: &HeaderValue,
) -> Response<ResponseBody> {
    let body = form.write(status, said, request_id.to_str().unwrap_or_default());
    let mut response = build(status, form.content_type(), body.into(), request_id);
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    response
}

/// The answer of a rule that blocks. With `reason`, plain text and what Postern itself says end in
/// what is wrong with the client's certificate; what a rule answers in another type is the rule's own
/// business, whatever `form` the client asks for.
#[must_use]
pub fn block(
    response: &BlockResponse,
    form: Form,
    request_id: &HeaderValue,
    reason: Option<&'static str>,
) -> Response<ResponseBody> {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::FORBIDDEN);
    let content_type = HeaderValue::from_str(&response.content_type)
        .unwrap_or(HeaderValue::from_static("text/plain"));
    let said = reason.map(|reason| format!("client certificate: {reason}\n"));
    if response.content.is_empty() || response.is_default() {
        let words = match response.is_default() {
            true => response.content.trim_end(),
            false => "forbidden by a rule",
        };
        let said = said.unwrap_or_default();
        let said = said.trim_end();
        let separator = if said.is_empty() { "" } else { "\n" };
        return own(
            status,
            &format!("{words}{separator}{said}"),
            form,
            request_id,
        );
    }
    let mut content = String::from(&*response.content);
    if let Some(said) = said.filter(|_| &*response.content_type == "text/plain") {
        if !content.ends_with('\n') {
            content.push('\n');
        }
        content.push_str(&said);
    }
    let content = Bytes::from(content);
    build(status, content_type, content, request_id)
}

/// The answer of a rule that sends the client elsewhere.
#[must_use]
pub fn redirect(
    status: StatusCode,
    location: HeaderValue,
    form: Form,
    request_id: &HeaderValue,
) -> Response<ResponseBody> {
    let mut response = own(status, "see the header Location", form, request_id);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Takes the content off an answer of our own and says only how long it was: what HEAD is
/// answered with.
pub fn keep_head(response: &mut Response<ResponseBody>) {
    if let Some(length) = response.body_mut().forget_ours() {
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Whether a request is a gRPC call. gRPC-Web, which looks alike, says its status elsewhere.
#[must_use]
pub fn is_grpc(headers: &Headers) -> bool {
    let Some(said) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let rest = said.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Says an answer of our own as gRPC does: no content, and the status and its reason in the head
/// (`Trailers-Only`). An answer of the origin's, or one that sends the client elsewhere, stays.
pub fn to_grpc(response: &mut Response<ResponseBody>) {
    let status = response.status();
    if status.is_redirection() {
        return;
    }
    let Some(content) = response.body_mut().take_ours() else {
        return;
    };
    let is_text = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|said| said.starts_with(b"text/plain"));
    let message = match std::str::from_utf8(&content) {
        Ok(text) if is_text => text.trim(),
        _ => status
            .canonical_reason()
            .unwrap_or("refused by the gateway"),
    };
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(status)));
    if let Ok(message) = HeaderValue::from_str(&grpc_message(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The code by which gRPC knows what a status means.
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        // INVALID_ARGUMENT
        400 => 3,
        // UNAUTHENTICATED
        401 => 16,
        // PERMISSION_DENIED
        403 => 7,
        // UNIMPLEMENTED
        404 | 405 | 501 => 12,
        // CANCELLED: the client sent nothing more.
        408 | 499 => 1,
        // RESOURCE_EXHAUSTED
        413 | 429 | 431 => 8,
        // INTERNAL
        500 => 13,
        // UNAVAILABLE: the origin's trouble, or another connection is needed; trying again helps.
        421 | 502..=504 => 14,
        // UNKNOWN
        _ => 2,
    }
}

/// Percent-encodes what a header does not hold, as gRPC's `Status-Message` does.
fn grpc_message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes().take(GRPC_MESSAGE_BYTES_MAX) {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn build(
    status: StatusCode,
    content_type: HeaderValue,
    content: Bytes,
    request_id: &HeaderValue,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(content), spare_heads::take());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(X_REQUEST_ID, request_id.clone());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_what_looks_alike() {
        for (said, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            let mut headers = Headers::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(said));
            assert_eq!(is_grpc(&headers), expected, "{said}");
        }
        assert!(!is_grpc(&Headers::new()));
    }

    #[test]
    fn messages_are_encoded() {
        assert_eq!(
            grpc_message("a b: 100%\ncaf\u{e9}"),
            "a b: 100%25%0Acaf%C3%A9"
        );
        assert_eq!(
            grpc_message(&"a".repeat(9_999)).len(),
            GRPC_MESSAGE_BYTES_MAX
        );
    }

    #[test]
    fn the_plain_answer_counts_right() {
        let (head, body) = PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
