//! Clients: TLS with or without a certificate, of one version or the other, with tickets kept and
//! used again; HTTP/1.1 and HTTP/2 by hyper on top.
//!
//! A TLS 1.3 client believes its handshake done before the server has seen its certificate, so a
//! refusal may come with the first read only: both ends of that race are one [`Refused`] here.

use std::convert::Infallible;
use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use boring::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslSession, SslSessionCacheMode,
    SslSignatureAlgorithm, SslVerifyMode, SslVersion,
};
use boring::x509::store::X509StoreBuilder;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_boring::{SslStream, SslStreamBuilder};

use crate::pki::{Authority, Identity};
use crate::raw::Raw;
use crate::refused::{Refused, chain, no_connection, why};
use crate::wait::within;

/// A request's body.
pub type Body = BoxBody<Bytes, Infallible>;

/// A body of known bytes.
#[must_use]
pub fn body(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed()
}

/// A body that a test writes while the request is under way; it ends when the sender is dropped.
#[must_use]
pub fn fed() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver).boxed())
}

struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// How a client connects, and as whom.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    from: Option<IpAddr>,
    sni: Option<String>,
    host: String,
    trusted: Authority,
    identity: Option<Identity>,
    groups: Option<String>,
    signatures: Option<Vec<SslSignatureAlgorithm>>,
    version: Option<SslVersion>,
    tickets: Tickets,
    resume: bool,
}

/// Sessions that a server gave for later use.
#[derive(Clone, Default)]
pub struct Tickets(Arc<Mutex<Vec<SslSession>>>);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its version.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// The address that the client spoke from.
    pub local: Option<SocketAddr>,
}

/// An HTTP/1.1 connection.
pub struct Http1 {
    sender: http1::SendRequest<Body>,
    host: String,
    /// The address that it speaks from.
    pub local: SocketAddr,
    /// Whether the session was resumed.
    pub resumed: bool,
    ended: Ended,
}

/// What the task that drives a connection ended with, and when: an alert is seen there, not by the
/// request.
type Ended = Arc<(Mutex<Option<(String, Instant)>>, Notify)>;

/// An HTTP/2 connection.
#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Body>,
    host: String,
    /// The address that it speaks from.
    pub local: SocketAddr,
    /// Whether the session was resumed.
    pub resumed: bool,
    ended: Ended,
}

impl Client {
    /// A client of `host` at `address` that believes certificates of `trusted`.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str, trusted: &Authority) -> Self {
        Self {
            address,
            from: None,
            sni: Some(host.into()),
            host: host.into(),
            trusted: trusted.clone(),
            identity: None,
            version: None,
            groups: None,
            signatures: None,
            tickets: Tickets::default(),
            resume: false,
        }
    }

    /// From this address of the machine.
    #[must_use]
    pub fn from(mut self, address: &str) -> Self {
        self.from = Some(address.parse().unwrap());
        self
    }

    /// With a certificate.
    #[must_use]
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// With a certificate, or without.
    #[must_use]
    pub fn identity_if(mut self, identity: Option<&Identity>) -> Self {
        self.identity = identity.cloned();
        self
    }

    /// With another SNI than host name, or with none.
    #[must_use]
    pub fn sni(mut self, sni: Option<&str>) -> Self {
        self.sni = sni.map(Into::into);
        self
    }

    /// With another authority than SNI.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// With these groups, as BoringSSL writes them: they decide how large the ClientHello is.
    #[must_use]
    pub fn groups(mut self, groups: &str) -> Self {
        self.groups = Some(groups.into());
        self
    }

    /// With these signature algorithms: they decide which certificates a server may show.
    #[must_use]
    pub fn signatures(mut self, algorithms: &[SslSignatureAlgorithm]) -> Self {
        self.signatures = Some(algorithms.to_vec());
        self
    }

    /// TLS 1.2 only.
    #[must_use]
    pub fn tls12(mut self) -> Self {
        self.version = Some(SslVersion::TLS1_2);
        self
    }

    /// TLS 1.3 only.
    #[must_use]
    pub fn tls13(mut self) -> Self {
        self.version = Some(SslVersion::TLS1_3);
        self
    }

    /// TLS 1.2 only, or 1.3 only.
    #[must_use]
    pub fn tls(self, twelve: bool) -> Self {
        if twelve { self.tls12() } else { self.tls13() }
    }

    /// Shows the last session of `tickets`.
    #[must_use]
    pub fn resuming(mut self, tickets: &Tickets) -> Self {
        self.tickets = tickets.clone();
        self.resume = true;
        self
    }

    /// Where sessions go that the server gives to this client.
    #[must_use]
    pub fn tickets(&self) -> Tickets {
        self.tickets.clone()
    }

    /// Connects and makes the handshake.
    ///
    /// # Errors
    /// It was refused.
    pub async fn connect(
        &self,
        protocols: &[u8],
    ) -> Result<(SslStream<TcpStream>, SocketAddr), Refused> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4().unwrap(),
            SocketAddr::V6(_) => TcpSocket::new_v6().unwrap(),
        };
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0)).unwrap();
        }
        let stream = match within("a TCP connection", socket.connect(self.address)).await {
            Ok(stream) => stream,
            Err(error) => match no_connection(error.kind()) {
                Some(why) => {
                    let (why, local) = (why.into(), self.address);
                    return Err(Refused { why, local });
                }
                None => panic!("{error}"),
            },
        };
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().unwrap();
        let ssl = self.ssl(protocols);
        let shaken = within(
            "a TLS handshake",
            SslStreamBuilder::new(ssl, stream).connect(),
        )
        .await;
        match shaken {
            Ok(stream) => Ok((stream, local)),
            Err(error) => Err(Refused {
                why: why(&format!("{error:?}")),
                local,
            }),
        }
    }

    /// A TLS connection to write bytes to.
    ///
    /// # Errors
    /// It was refused.
    pub async fn raw(&self) -> Result<Raw<SslStream<TcpStream>>, Refused> {
        let (stream, local) = self.connect(b"\x08http/1.1").await?;
        Ok(Raw::new(stream, local))
    }

    /// An HTTP/1.1 connection.
    ///
    /// # Errors
    /// It was refused.
    pub async fn http1(&self) -> Result<Http1, Refused> {
        let (stream, local) = self.connect(b"\x08http/1.1").await?;
        let resumed = stream.ssl().session_reused();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let ended = drive(connection.with_upgrades());
        Ok(Http1 {
            sender,
            host: self.host.clone(),
            local,
            resumed,
            ended,
        })
    }

    /// An HTTP/2 connection.
    ///
    /// # Errors
    /// It was refused.
    pub async fn http2(&self) -> Result<Http2, Refused> {
        let (stream, local) = self.connect(b"\x02h2").await?;
        let resumed = stream.ssl().session_reused();
        assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
        let handshake = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 22)
            .max_header_list_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| Refused {
            why: why(&format!("{error:?}")),
            local,
        })?;
        let ended = drive(connection);
        Ok(Http2 {
            sender,
            host: self.host.clone(),
            local,
            resumed,
            ended,
        })
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// It was refused.
    pub async fn get(&self, path: &str) -> Result<Answer, Refused> {
        self.http1().await?.get(path).await
    }

    fn ssl(&self, protocols: &[u8]) -> Ssl {
        let mut ssl = Ssl::new(&self.context()).unwrap();
        ssl.set_alpn_protos(protocols).unwrap();
        if let Some(sni) = &self.sni {
            ssl.set_hostname(sni).unwrap();
            ssl.verify_param_mut()
                .set_host(sni.trim_end_matches('.'))
                .unwrap();
        }
        let session = self
            .tickets
            .0
            .lock()
            .unwrap()
            .last()
            .cloned()
            .filter(|_| self.resume);
        if let Some(session) = session {
            #[expect(unsafe_code, reason = "boring asks the caller to keep sessions valid")]
            // SAFETY: the session is a counted reference that BoringSSL takes its own share of,
            // and it was made by a client context of the same settings.
            unsafe {
                ssl.set_session(&session).unwrap();
            }
        }
        ssl
    }

    fn context(&self) -> SslContext {
        let mut builder = SslContextBuilder::new(SslMethod::tls()).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(&self.trusted.certificate).unwrap();
        builder.set_cert_store_builder(store);
        builder.set_verify(SslVerifyMode::PEER);
        builder
            .set_min_proto_version(self.version.or(Some(SslVersion::TLS1_2)))
            .unwrap();
        builder
            .set_max_proto_version(self.version.or(Some(SslVersion::TLS1_3)))
            .unwrap();
        if let Some(groups) = &self.groups {
            builder.set_curves_list(groups).unwrap();
        }
        if let Some(algorithms) = &self.signatures {
            builder.set_verify_algorithm_prefs(algorithms).unwrap();
        }
        if let Some(identity) = &self.identity {
            builder.set_certificate(identity.leaf()).unwrap();
            for certificate in identity.chain.iter().skip(1) {
                builder.add_extra_chain_cert(certificate.clone()).unwrap();
            }
            builder.set_private_key(&identity.key).unwrap();
        }
        builder
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let tickets = self.tickets.clone();
        builder.set_new_session_callback(move |_, session| {
            tickets.0.lock().unwrap().push(session);
        });
        builder.build()
    }
}

impl Tickets {
    /// The last session alone, to be shown without taking in what the next server gives.
    #[must_use]
    pub fn last(&self) -> Self {
        let last = self.0.lock().unwrap().last().cloned();
        Self(Arc::new(Mutex::new(last.into_iter().collect())))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Http1 {
    /// `GET`s a path.
    ///
    /// # Errors
    /// The connection ended without an answer.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Refused> {
        let request = Request::get(path)
            .header("host", &self.host)
            .body(body(""))
            .unwrap();
        self.send(request).await
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The connection ended without an answer.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Answer, Refused> {
        let response = self.begin(request).await?;
        gather(response, self.local).await
    }

    /// Sends a request and reads the head of its answer.
    ///
    /// # Errors
    /// The connection ended without an answer.
    pub async fn begin(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Refused> {
        let outcome = match within("the connection", self.sender.ready()).await {
            Ok(()) => within("an answer", self.sender.send_request(request)).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(response) => Ok(response),
            Err(error) => Err(refused(&error, self.local, &self.ended).await),
        }
    }

    /// Waits until the server has closed.
    pub async fn closed(&mut self) {
        within("the server to close", async {
            while !self.sender.is_closed() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Http2 {
    /// `GET`s a path.
    ///
    /// # Errors
    /// The stream or connection ended without an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, Refused> {
        self.send(self.request(path, body(""))).await
    }

    /// `GET`s a path; `None` when the connection was closed before the request was sent.
    ///
    /// # Errors
    /// The stream or connection ended without an answer.
    pub async fn try_get(&self, path: &str) -> Result<Option<Answer>, Refused> {
        match self.try_begin(self.request(path, body(""))).await? {
            Some(response) => gather(response, self.local).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sends a request and reads the head of its answer; `None` when the connection was closed before it
    /// was sent.
    ///
    /// # Errors
    /// The stream or connection ended without an answer.
    pub async fn try_begin(
        &self,
        request: Request<Body>,
    ) -> Result<Option<Response<Incoming>>, Refused> {
        let mut sender = self.sender.clone();
        if within("the connection", sender.ready()).await.is_err() {
            return Ok(None);
        }
        match within("an answer", sender.send_request(request)).await {
            Ok(response) => Ok(Some(response)),
            Err(error) if error.is_canceled() || is_unprocessed(&error) => Ok(None),
            Err(error) => Err(refused(&error, self.local, &self.ended).await),
        }
    }

    /// A request for a path of this connection's host.
    #[must_use]
    pub fn request(&self, path: &str, body: Body) -> Request<Body> {
        let uri = format!("https://{}{path}", self.host);
        Request::builder()
            .uri(uri)
            .version(Version::HTTP_2)
            .body(body)
            .unwrap()
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The stream or connection ended without an answer.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer, Refused> {
        let response = self.begin(request).await?;
        gather(response, self.local).await
    }

    /// Sends a request and reads the head of its answer.
    ///
    /// # Errors
    /// The stream or connection ended without an answer.
    pub async fn begin(&self, request: Request<Body>) -> Result<Response<Incoming>, Refused> {
        let mut sender = self.sender.clone();
        let outcome = match within("the connection", sender.ready()).await {
            Ok(()) => within("an answer", sender.send_request(request)).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(response) => Ok(response),
            Err(error) => Err(refused(&error, self.local, &self.ended).await),
        }
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until the connection has ended, for as long as it takes. Answers when.
    pub async fn end(&self) -> Instant {
        end_of(&self.ended).await.1
    }

    /// Waits until the server has ended the connection.
    pub async fn closed(&self) {
        within("the server to close", async {
            while !self.sender.is_closed() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Drives a connection, and keeps what it ended with.
fn drive(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Ended {
    let ended = Ended::default();
    let slot = ended.clone();
    tokio::spawn(async move {
        let outcome = connection.await;
        let text = outcome.map_or_else(|error| chain(&error), |()| "closed".into());
        *slot.0.lock().unwrap() = Some((text, Instant::now()));
        slot.1.notify_waiters();
    });
    ended
}

/// Waits for a connection to end.
async fn end_of(ended: &Ended) -> (String, Instant) {
    loop {
        let notified = ended.1.notified();
        if let Some(end) = ended.0.lock().unwrap().clone() {
            return end;
        }
        notified.await;
    }
}

/// Whether a server that says goodbye told that it has not processed the request (RFC 9113 §6.8): its stream
/// is beyond the last one that the GOAWAY names, or was never begun.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(|error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Why a request got no answer: when the connection ended with it, the connection knows better.
async fn refused(error: &hyper::Error, local: SocketAddr, ended: &Ended) -> Refused {
    let first = why(&chain(error));
    if first != "closed" {
        return Refused { why: first, local };
    }
    let end = within("the connection to end", end_of(ended)).await;
    let why = why(&end.0);
    Refused { why, local }
}

/// Reads an answer to its end.
///
/// # Errors
/// It was cut short.
pub async fn gather(response: Response<Incoming>, local: SocketAddr) -> Result<Answer, Refused> {
    let (parts, incoming) = response.into_parts();
    let collected = within("the body", incoming.collect()).await;
    let collected = collected.map_err(|error| Refused {
        why: why(&chain(&error)),
        local,
    })?;
    Ok(Answer {
        status: parts.status.as_u16(),
        version: parts.version,
        headers: parts.headers,
        trailers: collected.trailers().cloned().unwrap_or_default(),
        body: collected.to_bytes(),
        local: Some(local),
    })
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK.as_u16(), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One header as text; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}
