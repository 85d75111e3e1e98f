//! One bounded request to a server over plain HTTP/1.1.
//!
//! Owns the bounds: bytes of an answer, time from name look-up to last byte, redirects. Whether the
//! answer is to be trusted is decided by the caller.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::lookups::look_up;
use crate::limits::SOURCE_REDIRECTS_MAX;
use control::{RedirectError, SourceUrl};
use snapshot::http::reach::{OutOfReach, Reach};
use vocabulary::side::Side;

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
    /// What holds when no administrator has named the server.
    pub(super) confined: Option<Confined>,
}

/// What holds for a server that a certificate names.
pub(super) struct Confined {
    /// Where it may be.
    pub(super) reach: Arc<Reach>,
    /// Whose certificate that is: what looking its name up takes is charged to that zone.
    pub(super) zone: Box<str>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The name has no address, or nothing listens there.
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    /// The server is where it is not asked.
    #[error(
        "{} is {}: no server is asked there that only a certificate names \
         (control.private_origins)",
        .0.address, .0.what
    )]
    OutOfReach(#[from] OutOfReach),
    /// No HTTP at all.
    #[error("it cannot be spoken to: {0}")]
    Handshake(hyper::Error),
    /// The question is none that HTTP can carry.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// It stops, or is no HTTP.
    #[error("its answer is broken: {0}")]
    Broken(hyper::Error),
    /// It is larger than any answer may be.
    #[error("it sends more than {0} bytes")]
    TooLarge(u64),
    /// It sends us to another server.
    #[error(transparent)]
    Elsewhere(#[from] RedirectError),
    /// It sends us on and on.
    #[error("more than {SOURCE_REDIRECTS_MAX} redirects")]
    Redirects,
    /// Not all of it came in time.
    #[error("there was no whole answer within {} s", .0.as_secs())]
    Late(Duration),
    /// A status that is no answer to the question.
    #[error("it answers {0}")]
    Status(StatusCode),
}

impl AskError {
    /// Whose side it is on.
    pub(super) fn side(&self) -> Side {
        match self {
            Self::Request(_) => Side::Us,
            // Another name, or the new URL, has to be written down.
            Self::Elsewhere(_) | Self::OutOfReach(_) => Side::Operator,
            Self::Connect(_)
            | Self::Handshake(_)
            | Self::Broken(_)
            | Self::TooLarge(_)
            | Self::Redirects
            | Self::Late(_)
            | Self::Status(_) => Side::Source,
        }
    }
}

/// Asks, and follows redirects within the server.
///
/// # Errors
/// See [`AskError`].
pub(super) async fn ask(url: &SourceUrl, question: &Question) -> Result<Answer, AskError> {
    let asked = tokio::time::timeout(question.within, follow(url, question)).await;
    asked.map_err(|_late| AskError::Late(question.within))?
}

async fn follow(url: &SourceUrl, question: &Question) -> Result<Answer, AskError> {
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
    Err(AskError::Redirects)
}

/// Stops driving a connection when the answer is there, or is no longer waited for.
struct Driver(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects to the server. What its name resolves to is what is checked and connected to.
async fn connect(url: &SourceUrl, confined: Option<&Confined>) -> Result<TcpStream, AskError> {
    let (host, port) = url.server();
    if let Some(confined) = confined {
        confined.reach.check_text(host, port)?;
    }
    let found = look_up(confined.map(|confined| &*confined.zone), host).await;
    let found = found.map_err(AskError::Connect)?.into_iter();
    let mut places: Vec<SocketAddr> = found.map(|ip| SocketAddr::new(ip, port)).collect();
    if let Some(confined) = confined {
        places = confined.reach.within(&places)?;
    }
    let connected = TcpStream::connect(&*places).await;
    connected.map_err(AskError::Connect)
}

async fn once(url: &SourceUrl, question: &Question) -> Result<Answer, AskError> {
    let stream = connect(url, question.confined.as_ref()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(AskError::Handshake)?;
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
        .body(Full::new(question.body.clone()))?;
    request.headers_mut().extend(question.headers.clone());
    let response = sender
        .send_request(request)
        .await
        .map_err(AskError::Broken)?;
    let (head, mut rest) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = rest.frame().await {
        let Ok(data) = frame.map_err(AskError::Broken)?.into_data() else {
            continue;
        };
        if (body.len() as u64).saturating_add(data.len() as u64) > question.bytes_max {
            return Err(AskError::TooLarge(question.bytes_max));
        }
        body.extend_from_slice(&data);
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}
