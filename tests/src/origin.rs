//! Origins: one that reports what it got, and whatever else a test writes by hand.
//!
//! Each runs on a thread and runtime of its own, so that a test may block. What the reporting
//! origin answers depends on the first segment of the path:
//!
//! | path | answer |
//! |---|---|
//! | `/sink` | how many bytes came |
//! | `/source/N`, `/chunked/N` | N bytes, with and without a length |
//! | `/hold` | nothing until [`Origin::release`] |
//! | `/mirror` | the body back as it comes, then its trailers and `x-mirrored: yes` |
//! | `/status/N` | that status |
//! | `/rude` | headers that must not reach a client |
//! | anything with `Upgrade: websocket`, or an extended CONNECT | 101 or 200, and then every byte back |
//! | everything else | the request as JSON |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use boring::nid::Nid;
use boring::ssl::{AlpnError, SslAcceptor, SslAcceptorBuilder, SslMethod, select_next_proto};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use crate::pki::Identity;

/// A running origin; gone when dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

struct State {
    requests: Mutex<Vec<Value>>,
    /// What the gateway showed on each connection over TLS.
    shown: Mutex<Vec<Option<String>>>,
    connections: AtomicUsize,
    /// How many held requests may go.
    released: watch::Sender<bool>,
    holding: AtomicUsize,
}

/// What an origin does with a connection.
type Handler =
    Arc<dyn Fn(TcpStream, Arc<State>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// HTTP versions that a plain origin may speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    /// With so many streams at once.
    Http2(u32),
}

impl Origin {
    /// Reports over HTTP/1.1.
    #[must_use]
    pub fn echo() -> Self {
        Self::run(Arc::new(|stream, state| {
            Box::pin(serve(stream, Speaks::Http1, state))
        }))
    }

    /// Reports over HTTP/2 with prior knowledge.
    #[must_use]
    pub fn echo_http2() -> Self {
        Self::echo_http2_streams(200)
    }

    /// The same, and takes so many streams at once on a connection.
    #[must_use]
    pub fn echo_http2_streams(streams: u32) -> Self {
        Self::run(Arc::new(move |stream, state| {
            Box::pin(serve(stream, Speaks::Http2(streams), state))
        }))
    }

    /// Reports over TLS, with what ALPN agrees on out of `protocols` (as on the wire).
    #[must_use]
    pub fn echo_tls(identity: &Identity, protocols: &'static [u8]) -> Self {
        Self::echo_tls_with(identity, protocols, |_| {})
    }

    /// The same with other settings, as one that asks for a certificate.
    #[must_use]
    pub fn echo_tls_with(
        identity: &Identity,
        protocols: &'static [u8],
        settings: impl FnOnce(&mut SslAcceptorBuilder),
    ) -> Self {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        builder.set_certificate(identity.leaf()).unwrap();
        builder.set_private_key(&identity.key).unwrap();
        builder.set_alpn_select_callback(move |_, offered| {
            select_next_proto(protocols, offered).ok_or(AlpnError::NOACK)
        });
        settings(&mut builder);
        let acceptor = builder.build();
        Self::run(Arc::new(move |stream, state| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                let Ok(stream) = tokio_boring::accept(&acceptor, stream).await else {
                    return;
                };
                let shown = stream.ssl().peer_certificate().map(|leaf| {
                    let name = leaf.subject_name();
                    let name = name.entries_by_nid(Nid::COMMONNAME).next();
                    name.map_or_else(String::new, |name| {
                        name.data().as_utf8().unwrap().to_string()
                    })
                });
                state.shown.lock().unwrap().push(shown);
                let http2 = stream.ssl().selected_alpn_protocol() == Some(b"h2");
                serve(
                    stream,
                    if http2 {
                        Speaks::Http2(200)
                    } else {
                        Speaks::Http1
                    },
                    state,
                )
                .await;
            })
        }))
    }

    /// Does with every connection what `handler` says. The number counts connections from 0.
    #[must_use]
    pub fn raw<F>(handler: impl Fn(TcpStream, usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::run(Arc::new(move |stream, state| {
            Box::pin(handler(
                stream,
                state.connections.load(Ordering::SeqCst) - 1,
            ))
        }))
    }

    /// Answers every request on every connection with these bytes, then closes if `close`.
    #[must_use]
    pub fn saying(answer: &'static [u8], close: bool) -> Self {
        Self::raw(move |mut stream, _| async move {
            while read_head(&mut stream).await.is_some() {
                if stream.write_all(answer).await.is_err() || close {
                    break;
                }
            }
        })
    }

    /// Reports over HTTP/1.1 at an address where another one was.
    #[must_use]
    pub fn echo_at(address: SocketAddr) -> Self {
        let handler: Handler =
            Arc::new(|stream, state| Box::pin(serve(stream, Speaks::Http1, state)));
        // What was there may still be closing.
        let listener = crate::wait::until("the address of an origin that is gone", || {
            std::net::TcpListener::bind(address).ok()
        });
        Self::run_on(listener, handler)
    }

    fn run(handler: Handler) -> Self {
        // Where nothing comes after it: some tests go on asking an origin that is gone.
        let listener = std::net::TcpListener::bind(fixtures::new_loopback()).unwrap();
        Self::run_on(listener, handler)
    }

    fn run_on(listener: std::net::TcpListener, handler: Handler) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            requests: Mutex::default(),
            shown: Mutex::default(),
            connections: AtomicUsize::new(0),
            released: watch::Sender::new(false),
            holding: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = state.clone();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        drop(stream.set_nodelay(true));
                        shared.connections.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(handler(stream, shared.clone()));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        };
        std::thread::Builder::new()
            .name("origin".into())
            .spawn(body)
            .unwrap();
        Self {
            address,
            state,
            _stop: stop,
        }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests that came, in order, as the echo reports them.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The common names of the certificates that it was shown on its connections over TLS.
    #[must_use]
    pub fn shown(&self) -> Vec<Option<String>> {
        self.state.shown.lock().unwrap().clone()
    }

    /// How many connections came.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Lets held requests go, now and later.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// Waits until so many requests are held.
    pub fn wait_held(&self, count: usize) {
        crate::wait::until("requests to reach the origin", || {
            (self.state.holding.load(Ordering::SeqCst) >= count).then_some(())
        });
    }
}

/// Reads a request's head byte by byte, so that nothing behind it is taken.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    speaks: Speaks,
    state: Arc<State>,
) {
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    // How a connection ends is the gateway's affair.
    match speaks {
        Speaks::Http1 => {
            let connection = http1::Builder::new().serve_connection(io, service);
            drop(connection.with_upgrades().await);
        }
        Speaks::Http2(streams) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(streams);
            builder.enable_connect_protocol();
            drop(builder.serve_connection(io, service).await);
        }
    }
}

type Content = BoxBody<Bytes, hyper::Error>;

fn content(bytes: impl Into<Bytes>) -> Content {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

async fn answer(mut request: Request<Incoming>, state: &Arc<State>) -> Response<Content> {
    let mut seen = described(&request);
    let path = request.uri().path().to_owned();
    let mut segments = path.split('/').skip(1);
    let (kind, number) = (segments.next().unwrap_or_default(), segments.next());
    let number: u64 = number.and_then(|text| text.parse().ok()).unwrap_or(0);
    if kind == "mirror" {
        state.requests.lock().unwrap().push(seen);
        let mirrored = Mirror {
            incoming: request.into_body(),
            over: false,
        };
        let response = Response::builder().header("trailer", "grpc-status, x-mirrored, x-sum");
        return response.body(mirrored.boxed()).unwrap();
    }
    let upgrade = request.headers().get("upgrade");
    if upgrade.is_some_and(|wanted| wanted == "websocket")
        || request.method() == http::Method::CONNECT
    {
        state.requests.lock().unwrap().push(seen);
        return tunnel(&mut request);
    }
    let (mut received, mut text, mut trailers) = (0, Vec::new(), HeaderMap::new());
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => {
                received += data.len();
                text.extend_from_slice(
                    &data[..data.len().min(64 * 1024 - text.len().min(64 * 1024))],
                );
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    seen["received"] = json!(received);
    seen["body"] = json!(String::from_utf8_lossy(&text));
    seen["trailers"] = headers_json(&trailers);
    state.requests.lock().unwrap().push(seen.clone());
    let mut response = Response::new(content(seen.to_string()));
    match kind {
        "sink" => response = Response::new(content(json!({ "received": received }).to_string())),
        "source" => {
            response = Response::new(
                Zeros {
                    left: number,
                    sized: true,
                }
                .boxed(),
            )
        }
        "chunked" => {
            response = Response::new(
                Zeros {
                    left: number,
                    sized: false,
                }
                .boxed(),
            )
        }
        "hold" => {
            state.holding.fetch_add(1, Ordering::SeqCst);
            let mut released = state.released.subscribe();
            drop(released.wait_for(|released| *released).await);
            state.holding.fetch_sub(1, Ordering::SeqCst);
        }
        "status" => {
            let status = u16::try_from(number)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok());
            *response.status_mut() = status.unwrap();
        }
        "rude" => {
            for (name, value) in [
                ("connection", "x-private"),
                ("x-private", "secret"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("x-public", "yes"),
            ] {
                response
                    .headers_mut()
                    .append(name, HeaderValue::from_static(value));
            }
        }
        _ => {}
    }
    response
}

fn described(request: &Request<Incoming>) -> Value {
    json!({
        "method": request.method().as_str(),
        "target": request.uri().path_and_query().map(ToString::to_string),
        "authority": request.uri().authority().map(ToString::to_string),
        "version": format!("{:?}", request.version()),
        "headers": headers_json(request.headers()),
    })
}

/// Name → list of values.
fn headers_json(headers: &HeaderMap) -> Value {
    let values = |name| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into())
            .collect()
    };
    headers
        .keys()
        .map(|name| (name.to_string(), json!(values(name))))
        .collect()
}

fn tunnel(request: &mut Request<Incoming>) -> Response<Content> {
    let upgrade = hyper::upgrade::on(&mut *request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
        drop(to.write_all(b"hello from the origin\n").await);
        drop(tokio::io::copy(&mut from, &mut to).await);
        drop(to.shutdown().await);
    });
    if request.method() == http::Method::CONNECT {
        return Response::new(content(""));
    }
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    // Clients of which only the tunnel is looked at say no key.
    if let Some(key) = request.headers().get("sec-websocket-key") {
        let mut text = key.as_bytes().to_vec();
        text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = boring::base64::encode_block(&boring::sha::sha1(&text));
        response = response.header("sec-websocket-accept", accept);
    }
    response.body(content("")).unwrap()
}

/// So many zeros.
struct Zeros {
    left: u64,
    sized: bool,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        static ZEROS: [u8; 65_536] = [0; 65_536];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let count = usize::try_from(self.left.min(ZEROS.len() as u64)).unwrap();
        self.left -= count as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..count])))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        if self.sized {
            http_body::SizeHint::with_exact(self.left)
        } else {
            http_body::SizeHint::new()
        }
    }
}

/// The request's body, then its trailers with one more.
struct Mirror {
    incoming: Incoming,
    over: bool,
}

impl Body for Mirror {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::new();
        loop {
            match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_trailers() {
                    Ok(found) => trailers = found,
                    // One without data says nothing, and h2 takes a hundred of them in a connection's life.
                    Err(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {}
            }
            break;
        }
        self.over = true;
        trailers.insert("x-mirrored", HeaderValue::from_static("yes"));
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
