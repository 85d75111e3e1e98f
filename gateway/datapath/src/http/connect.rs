//! A new connection to an origin: name, address, TCP, TLS.
//!
//! Each step has its own reason to fail: "502" alone is no help at three in the morning. Does not
//! pool (`upstream`).

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use http1::{ClientError, HeadError, SendError, Unwritable};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::queue::Refusal;
use crate::clock;
use crate::io::{Activity, PlainStream, Socket, TlsStream};
use crate::limits::CONNECT_TRY_MIN;
use snapshot::http::origin::Origin;
use snapshot::http::reach::OutOfReach;
use snapshot::names::NameBook;
use tls::{Alpn, Session};
use vocabulary::request_error::RequestError;
use vocabulary::settings::OriginProtocol;
use vocabulary::side::Side;

/// Why an origin did not answer.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// Its name has no address, or nobody has said yet what it means.
    #[error("the origin's name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// Its addresses are out of a tenant's reach.
    #[error("the origin is refused: {0}")]
    OutOfReach(#[from] OutOfReach),
    /// No address took the connection.
    #[error("connecting to the origin failed: {0}")]
    Connect(io::Error),
    /// Not connected in time.
    #[error("the origin took longer to connect than it may (timeout.origin_connect, or its own)")]
    ConnectTimeout,
    /// TLS failed: most often its certificate.
    #[error("TLS to the origin failed: {0}")]
    Tls(String),
    /// It agreed on a protocol that we did not offer for this request.
    #[error("the origin does not speak {0}")]
    Protocol(&'static str),
    /// It changed protocols without being asked to.
    #[error("the origin answered 101 to a request that asked for no upgrade")]
    Unasked,
    /// No response head in time.
    #[error("the origin took longer to answer than it may (timeout.origin_response, or its own)")]
    ResponseTimeout,
    /// It has as much as it may have at once.
    #[error("the origin has as much at once as its limits allow, and {0}", why.words())]
    Full {
        /// What became of the wait.
        why: Refusal,
        /// How long may be waited.
        patience: Duration,
    },
    /// What it sent is not HTTP, or it closed before the head was whole.
    #[error("the origin's answer is broken: {0}")]
    Response(AnswerError),
    /// It says several lengths of one answer.
    #[error("the origin's answer has several values of Content-Length")]
    Lengths,
    /// Its head is larger than `limit.header_bytes`, or has more headers than `limit.header_count`.
    #[error(
        "the head of the origin's answer is larger than limit.header_bytes or limit.header_count"
    )]
    LargeHead,
    /// The client's trailers are.
    #[error("the trailers of the request are larger than limit.header_bytes or limit.header_count")]
    LargeTrailers,
    /// The request's body is larger than it may be, which was not known before it came.
    #[error("the request's body is larger than limit.request_body, or its host's own bound")]
    LargeBody,
    /// The client stopped sending in the middle of its request.
    #[error("the client sent nothing more of its request's body")]
    ClientStalled,
    /// The client broke off its request while it was being forwarded.
    #[error("the client broke its request off")]
    ClientGone,
}

/// Why no answer came, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// What an HTTP/1.1 origin sent is no answer, or not all of one.
    #[error(transparent)]
    Http1(#[from] ClientError),
    /// The connection to it failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Something cannot stand in the head of a request.
    #[error("the request cannot be written: {0}")]
    Unwritable(#[from] Unwritable),
    /// The request's body is not as long as its head says.
    #[error("the request cannot be sent: {0}")]
    Length(#[from] SendError),
    /// The client did not send the request to its end.
    #[error("the request broke off")]
    Request,
    /// What h2 says.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl From<AnswerError> for OriginError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Http1(ClientError::Unasked) => Self::Unasked,
            AnswerError::Http1(ClientError::Head(
                HeadError::TooLarge | HeadError::TooManyFields,
            )) => Self::LargeHead,
            error => Self::Response(error),
        }
    }
}

impl OriginError {
    /// What the client is answered.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::LargeTrailers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::LargeBody => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// When the client may come again, in seconds, where that can be said.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            // By then, whoever waits now has had his turn or has gone.
            Self::Full { patience, .. } => {
                Some(patience.as_secs() + u64::from(patience.subsec_nanos() > 0))
            }
            _ => None,
        }
    }

    /// Whose fault it is. All but the client's are the operator's to look at.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::ClientGone | Self::ClientStalled | Self::LargeTrailers | Self::LargeBody => {
                Side::Client
            }
            Self::OutOfReach(_) => Side::Operator,
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::Protocol(_)
            | Self::Unasked
            | Self::ResponseTimeout
            | Self::Full { .. }
            | Self::Lengths
            | Self::LargeHead
            | Self::Response(_) => Side::Origin,
        }
    }

    /// The stable snake_case text for logs and metric labels.
    #[must_use]
    pub fn reason(&self) -> RequestError {
        match self {
            Self::Resolve(_) => RequestError::OriginResolve,
            Self::OutOfReach(_) => RequestError::OriginOutOfReach,
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                RequestError::OriginRefused
            }
            Self::Connect(_) => RequestError::OriginConnect,
            Self::ConnectTimeout => RequestError::OriginConnectTimeout,
            Self::Tls(_) => RequestError::OriginTls,
            Self::Protocol(_) | Self::Unasked => RequestError::OriginProtocol,
            Self::ResponseTimeout => RequestError::OriginResponseTimeout,
            Self::Full {
                why: Refusal::Queue,
                ..
            } => RequestError::OriginFull,
            Self::Full {
                why: Refusal::Time, ..
            } => RequestError::OriginQueueTimeout,
            Self::Response(_) | Self::Lengths | Self::LargeHead => RequestError::OriginResponse,
            Self::ClientGone => RequestError::ClientGone,
            Self::LargeTrailers => RequestError::Headers,
            Self::LargeBody => RequestError::RequestBody,
            Self::ClientStalled => RequestError::ClientStalled,
        }
    }
}

/// A stream to an origin.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each origin connection, and the large one is the usual one"
)]
pub(super) enum OriginStream {
    Plain(PlainStream),
    Tls(Box<TlsStream>),
}

/// A stream to an origin that is connected.
pub(super) struct Connected {
    pub(super) stream: OriginStream,
    /// HTTP/2 is to be spoken.
    pub(super) http2: bool,
    /// The address did not take it; the one that stands in for it did.
    pub(super) past: bool,
}

/// Connects, within `patience` altogether. `http1_only` is for upgrades, which HTTP/2 does not
/// have.
pub(super) async fn connect(
    origin: &Origin,
    names: &NameBook,
    http1_only: bool,
    patience: Duration,
) -> Result<Connected, OriginError> {
    let started = clock::now();
    let resolved: Vec<SocketAddr>;
    let addresses = if origin.addresses.is_empty() {
        resolved = resolve(origin, names, patience).await?;
        &resolved
    } else {
        &origin.addresses
    };
    let patience = patience.saturating_sub(started.elapsed());
    let attempt = async {
        let (socket, past) = connect_tcp(origin, addresses, patience).await?;
        let introduction = origin.introduction.as_ref();
        let first = introduction.map_or(&[][..], |one| &one.header);
        let Some(tls) = &origin.tls else {
            let http2 = origin.protocol == OriginProtocol::Http2;
            if http2 && http1_only {
                return Err(OriginError::Protocol("HTTP/1.1, which an upgrade needs"));
            }
            let stream = OriginStream::Plain(PlainStream::new(socket, first));
            return Ok(Connected {
                stream,
                http2,
                past,
            });
        };
        let alpn = match origin.protocol {
            OriginProtocol::Http1 => Alpn::Http1,
            _ if http1_only => Alpn::Http1,
            OriginProtocol::Http2 => Alpn::Http2,
            OriginProtocol::Auto => Alpn::Either,
        };
        let mut session =
            Session::connect(tls, alpn).map_err(|error| OriginError::Tls(error.to_string()))?;
        // In clear, before the first record.
        session
            .wire()
            .write_all(first)
            .map_err(OriginError::Connect)?;
        let mut stream = TlsStream::new(socket, session);
        let outcome = stream.handshake().await;
        if let Err(failure) = outcome {
            let flaw = stream.session().origin_flaw(tls);
            let why = flaw.map_or_else(|| failure.to_string(), |flaw| flaw.to_string());
            return Err(OriginError::Tls(why));
        }
        let http2 = stream.session().is_http2();
        if alpn == Alpn::Http2 && !http2 {
            return Err(OriginError::Protocol("HTTP/2"));
        }
        Ok(Connected {
            stream: OriginStream::Tls(Box::new(stream)),
            http2,
            past,
        })
    };
    match tokio::time::timeout(patience, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(OriginError::ConnectTimeout),
    }
}

/// What the name of an origin means: as it was looked up last, by others and for all. Who asks before there is
/// any answer waits for the first one.
async fn resolve(
    origin: &Origin,
    names: &NameBook,
    patience: Duration,
) -> Result<Vec<SocketAddr>, OriginError> {
    let asked = names.look_up(&origin.host);
    let found = match tokio::time::timeout(patience, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => return Err(OriginError::Resolve(io::Error::other(why.to_string()))),
        Err(_) => {
            let why = "no name server has answered yet";
            let late = io::Error::new(io::ErrorKind::TimedOut, why);
            return Err(OriginError::Resolve(late));
        }
    };
    let places = found.into_iter().map(|ip| SocketAddr::new(ip, origin.port));
    Ok(places.collect())
}

/// Connects to one of the addresses. As long as there is another one, each has half of the time that is
/// left: one that says nothing does not take it all. Whether it is another one than the origin is at.
async fn connect_tcp(
    origin: &Origin,
    addresses: &[SocketAddr],
    patience: Duration,
) -> Result<(Socket, bool), OriginError> {
    let started = clock::now();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    let addresses = origin.within_reach(addresses)?;
    let count = addresses.len();
    for (place, address) in addresses.iter().enumerate() {
        let connected = Socket::connect(*address);
        let outcome = if place + 1 == count {
            connected.await
        } else {
            let left = patience.saturating_sub(started.elapsed());
            let share = (left / 2).max(CONNECT_TRY_MIN);
            let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer"));
            let outcome = tokio::time::timeout(share, connected).await;
            outcome.unwrap_or_else(|_late| late())
        };
        match outcome {
            Ok(socket) => {
                let own = origin.addresses.first();
                return Ok((socket, own.is_some_and(|own| own != address)));
            }
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(OriginError::Connect(last))
}

impl OriginStream {
    /// Receives behind what `into` has; there has to be room. No bytes: the end.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_receive(cx, into),
            Self::Tls(stream) => stream.poll_receive(cx, into),
        }
    }

    /// Whether its end is the origin's doing, as far as that can be told: over TLS the origin says so,
    /// and whoever cuts the connection cannot (RFC 9112 §9.8).
    pub(super) fn has_taken_leave(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.has_taken_leave(),
        }
    }

    /// What has come and gone so far.
    pub(super) fn activity(&self) -> Rc<Activity> {
        match self {
            Self::Plain(stream) => stream.activity(),
            Self::Tls(stream) => stream.activity(),
        }
    }
}

impl AsyncRead for OriginStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for OriginStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, from),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
