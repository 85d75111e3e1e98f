//! One bounded question to a server over plain HTTP/1.1.
//!
//! Owns the bounds: bytes of an answer, time from the name's look-up to the last byte, redirects.
//! Whether the answer is to be believed is for whoever asked.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::limits::SOURCE_REDIRECTS_MAX;
use control::SourceUrl;

/// What is asked.
pub(super) struct Question {
    pub(super) method: Method,
    /// Beside `Host`, which is the URL's.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Bytes that the answer's body may have.
    pub(super) bytes_max: u64,
    /// For all of it.
    pub(super) within: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Asks, and follows redirects within the server.
///
/// # Errors
/// In words for people: what did not work.
pub(super) async fn ask(url: &SourceUrl, question: &Question) -> Result<Answer, String> {
    let asked = tokio::time::timeout(question.within, follow(url, question)).await;
    asked.map_err(|_late| {
        format!(
            "there was no whole answer within {} s",
            question.within.as_secs()
        )
    })?
}

async fn follow(url: &SourceUrl, question: &Question) -> Result<Answer, String> {
    let mut url = url.clone();
    for _ in 0..=SOURCE_REDIRECTS_MAX {
        let answer = once(&url, question).await?;
        if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let location = answer.headers.get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        url = url.redirected(location.unwrap_or_default())?;
    }
    Err(format!("more than {SOURCE_REDIRECTS_MAX} redirects"))
}

/// Stops driving a connection when the answer is there, or nobody waits for it any more.
struct Driver(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn once(url: &SourceUrl, question: &Question) -> Result<Answer, String> {
    let stream = TcpStream::connect(url.server())
        .await
        .map_err(|why| format!("it cannot be connected to: {why}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why| format!("it cannot be spoken to: {why}"))?;
    let _driver = Driver(tokio::spawn(connection));
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(url.target())
        .header(header::HOST, url.authority())
        .header(
            header::USER_AGENT,
            concat!("postern/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close")
        .body(Full::new(question.body.clone()))
        .map_err(|why| format!("the request cannot be written: {why}"))?;
    request.headers_mut().extend(question.headers.clone());
    let broken = |why: hyper::Error| format!("its answer is broken: {why}");
    let response = sender.send_request(request).await.map_err(broken)?;
    let (head, mut rest) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = rest.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        if (body.len() as u64).saturating_add(data.len() as u64) > question.bytes_max {
            return Err(format!("it sends more than {} bytes", question.bytes_max));
        }
        body.extend_from_slice(&data);
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}
