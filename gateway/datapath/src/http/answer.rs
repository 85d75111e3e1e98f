//! The answers that Postern gives itself.
//!
//! Short, without a version, and each with the request id by which the access log finds it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use rules::BlockResponse;
use snapshot::http::headers::X_REQUEST_ID;

/// What a client gets that speaks plain HTTP to the TLS port, as from nginx.
pub const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 54\r\n\
    Connection: close\r\n\r\n\
    This port speaks HTTPS; use https:// instead of http:\n";

/// A plain-text answer.
#[must_use]
pub fn text(status: StatusCode, text: &str, request_id: &HeaderValue) -> Response<ResponseBody> {
    let mut body = String::with_capacity(text.len() + 64);
    body.push_str(text);
    body.push_str("\nrequest id: ");
    body.push_str(request_id.to_str().unwrap_or_default());
    body.push('\n');
    build(
        status,
        HeaderValue::from_static("text/plain"),
        body.into(),
        request_id,
    )
}

/// The answer of a rule that blocks. With `reason`, plain text ends in what is wrong with the
/// client's certificate; what a rule answers in another type is the rule's own business.
#[must_use]
pub fn block(
    response: &BlockResponse,
    request_id: &HeaderValue,
    reason: Option<&'static str>,
) -> Response<ResponseBody> {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::FORBIDDEN);
    let content_type = HeaderValue::from_str(&response.content_type)
        .unwrap_or(HeaderValue::from_static("text/plain"));
    let said = reason.map(|reason| format!("client certificate: {reason}\n"));
    if response.content.is_empty() {
        let said = said.unwrap_or_default();
        let said = said.trim_end();
        let separator = if said.is_empty() { "" } else { "\n" };
        let words = format!("forbidden by a rule{separator}{said}");
        return text(status, &words, request_id);
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
    request_id: &HeaderValue,
) -> Response<ResponseBody> {
    let mut response = text(status, "see the header Location", request_id);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Takes the content off an answer of our own and says only how long it was: what HEAD is
/// answered with. Over HTTP/2 hyper would send it.
pub fn keep_head(response: &mut Response<ResponseBody>) {
    if let Some(length) = response.body_mut().forget_ours() {
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn build(
    status: StatusCode,
    content_type: HeaderValue,
    content: Bytes,
    request_id: &HeaderValue,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(X_REQUEST_ID, request_id.clone());
    response
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_plain_answer_counts_right() {
        let (head, body) = super::PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
