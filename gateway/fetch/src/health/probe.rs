//! One health check of one address: a connection, a GET, or a call of gRPC's health service.
//!
//! Connects as the data path does, TLS included, and reads no more than it has to.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::limits::HEALTH_ANSWER_BYTES_MAX;
use snapshot::http::origin::Origin;
use snapshot::http::proxy_header;
use snapshot::http::reach::OutOfReach;
use snapshot::names::NameBook;
use snapshot::origins::HealthCheck;
use snapshot::origins::health::Asks;
use tls::Alpn;
use vocabulary::settings::OriginProtocol;

/// Why a check is bad.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// Nothing listens there.
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    /// Its name has no address.
    #[error("its name cannot be found: {0}")]
    Name(Box<str>),
    /// A tenant's origin that may not be connected to.
    #[error(transparent)]
    OutOfReach(#[from] OutOfReach),
    /// Most often its certificate.
    #[error("TLS fails: {0}")]
    Tls(String),
    /// It speaks no HTTP.
    #[error("it does not speak HTTP as expected: {0}")]
    Http(#[from] hyper::Error),
    /// The path or a name cannot stand in a request.
    #[error("the check cannot be written: {0}")]
    Request(#[from] http::Error),
    /// Another status than a good one.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// gRPC says another status than 0.
    #[error("it answers grpc-status {0}")]
    GrpcStatus(String),
    /// The health service says that the service is not served.
    #[error("the health service does not say SERVING")]
    NotServing,
    /// Its answer is cut, or longer than any should be.
    #[error("its answer is broken: {0}")]
    Broken(String),
    /// Not in time.
    #[error("there was no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
}

/// Checks an address.
pub(super) async fn probe(
    origin: &Origin,
    check: &HealthCheck,
    names: &NameBook,
) -> Result<(), ProbeError> {
    let began = Instant::now();
    let Ok(addresses) = tokio::time::timeout(check.timeout, meant(origin, names)).await else {
        return Err(ProbeError::Name("no name server has answered yet".into()));
    };
    let addresses = addresses?;
    let left = check.timeout.saturating_sub(began.elapsed());
    let checked = tokio::time::timeout(left, once(origin, check, &addresses)).await;
    checked.map_err(|_late| ProbeError::Late(check.timeout))?
}

/// The address itself and none that stands in for it: that one's health says nothing of it. Of a name that has
/// none yet, all that it means, as for the data path. Nobody is asked what that is: who asks hangs for longer
/// than a check may, and checks come again and again.
async fn meant(origin: &Origin, names: &NameBook) -> Result<Vec<SocketAddr>, ProbeError> {
    if let Some(own) = origin.addresses.first() {
        return Ok(vec![*own]);
    }
    let found = names.look_up(&origin.host).await;
    let found = found.map_err(|why| ProbeError::Name(why.as_ref().into()))?;
    let places = found.into_iter().map(|ip| SocketAddr::new(ip, origin.port));
    Ok(places.collect())
}

async fn once(
    origin: &Origin,
    check: &HealthCheck,
    addresses: &[SocketAddr],
) -> Result<(), ProbeError> {
    let stream = connect(origin, addresses).await?;
    let http2 = matches!(check.asks, Asks::Grpc { .. }) || origin.protocol == OriginProtocol::Http2;
    let alpn = if http2 {
        Alpn::Http2
    } else if origin.protocol == OriginProtocol::Auto {
        Alpn::Either
    } else {
        Alpn::Http1
    };
    match (&check.asks, &origin.tls) {
        (Asks::Tcp, _) => Ok(()),
        (asks, None) => ask(stream, http2, origin, asks).await,
        (asks, Some(tls)) => {
            let ssl = tls
                .start(alpn)
                .map_err(|why| ProbeError::Tls(why.to_string()))?;
            let shaken = tokio_boring::SslStreamBuilder::new(ssl, stream).connect();
            let stream = shaken
                .await
                .map_err(|why| ProbeError::Tls(why.to_string()))?;
            let agreed = stream.ssl().selected_alpn_protocol() == Some(b"h2");
            ask(stream, http2 || agreed, origin, asks).await
        }
    }
}

async fn connect(origin: &Origin, addresses: &[SocketAddr]) -> Result<TcpStream, ProbeError> {
    let stream = TcpStream::connect(&*origin.within_reach(addresses)?).await;
    let mut stream = stream.map_err(ProbeError::Connect)?;
    if origin.proxy_protocol {
        // Nobody's connection but ours.
        let said = stream.write_all(&proxy_header::LOCAL).await;
        said.map_err(ProbeError::Connect)?;
    }
    Ok(stream)
}

/// Stops driving a connection when the answer is there, or is no longer waited for.
struct Driver(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// As it stands in a URL: the port only when it is not the scheme's.
fn authority(origin: &Origin) -> &str {
    let (_, rest) = origin.url.split_once("://").unwrap_or_default();
    rest.trim_end_matches('/')
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    http2: bool,
    origin: &Origin,
    asks: &Asks,
) -> Result<(), ProbeError> {
    let of_origin = origin.host_header.as_ref();
    let of_origin = of_origin.and_then(|value| value.to_str().ok());
    let host = |said: &Option<Box<str>>| -> String {
        let said = said.as_deref().or(of_origin);
        said.unwrap_or_else(|| authority(origin)).to_owned()
    };
    match asks {
        Asks::Tcp => Ok(()),
        Asks::Http {
            path,
            host: said,
            status,
        } => {
            let host = host(said);
            let target = if http2 {
                let scheme = if origin.tls.is_some() {
                    "https"
                } else {
                    "http"
                };
                format!("{scheme}://{host}{path}")
            } else {
                path.to_string()
            };
            let mut request = request(&target);
            if !http2 {
                request = request
                    .header(header::HOST, host)
                    .header(header::CONNECTION, "close");
            }
            let request = request.body(Full::default())?;
            let (response, _driver) = exchange(stream, http2, request).await?;
            let found = response.status();
            let is_good = match status {
                Some(wanted) => found.as_u16() == *wanted,
                None => found.is_success(),
            };
            if is_good {
                Ok(())
            } else {
                Err(ProbeError::Status(found))
            }
        }
        Asks::Grpc {
            service,
            host: said,
        } => {
            let scheme = if origin.tls.is_some() {
                "https"
            } else {
                "http"
            };
            let target = format!("{scheme}://{}/grpc.health.v1.Health/Check", host(said));
            let request = request(&target)
                .method("POST")
                .version(Version::HTTP_2)
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Full::new(grpc_question(service)))?;
            let (response, _driver) = exchange(stream, true, request).await?;
            grpc_answer(response).await
        }
    }
}

fn request(target: &str) -> http::request::Builder {
    Request::builder().uri(target).header(
        header::USER_AGENT,
        concat!("postern/", env!("CARGO_PKG_VERSION"), " (health)"),
    )
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    http2: bool,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Driver), ProbeError> {
    let io = TokioIo::new(stream);
    if http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let driver = Driver(tokio::spawn(connection));
        return Ok((sender.send_request(request).await?, driver));
    }
    let (mut sender, connection) = http1::handshake(io).await?;
    let driver = Driver(tokio::spawn(connection));
    Ok((sender.send_request(request).await?, driver))
}

/// `HealthCheckRequest { string service = 1; }` in a frame of gRPC: a flag, a length, the message.
fn grpc_question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(into: &mut BytesMut, mut number: usize) {
    loop {
        let [bits, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return into.put_u8(bits & 0x7f);
        }
        into.put_u8(bits | 0x80);
    }
}

async fn grpc_answer(response: Response<Incoming>) -> Result<(), ProbeError> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(ProbeError::Status(head.status));
    }
    let body = Limited::new(body, HEALTH_ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|why| ProbeError::Broken(why.to_string()))?;
    // An answer without a message has its status in the head.
    let status = body
        .trailers()
        .and_then(|all| all.get("grpc-status"))
        .cloned();
    let status = status.or_else(|| head.headers.get("grpc-status").cloned());
    let status = status.unwrap_or_else(|| HeaderValue::from_static("missing"));
    if status != "0" {
        let status = String::from_utf8_lossy(status.as_bytes()).into_owned();
        return Err(ProbeError::GrpcStatus(status));
    }
    if is_serving(&body.to_bytes()) {
        Ok(())
    } else {
        Err(ProbeError::NotServing)
    }
}

/// Whether a frame has `HealthCheckResponse { ServingStatus status = 1; }` with SERVING, which is 1.
/// Servers write nothing else into it.
fn is_serving(frame: &[u8]) -> bool {
    frame == [0, 0, 0, 0, 2, 0x08, 0x01]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use control::OriginSpec;
    use snapshot::names::Meaning;

    fn tcp(timeout: Duration) -> HealthCheck {
        HealthCheck {
            asks: Asks::Tcp,
            interval: Duration::from_secs(1),
            timeout,
            healthy: 1,
            unhealthy: 1,
        }
    }

    #[tokio::test]
    async fn an_address_is_not_well_because_another_one_stands_in_for_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let spec = OriginSpec {
            url: format!("http://localhost:{}", listener.local_addr().unwrap().port()),
            ..OriginSpec::default()
        };
        let named = control::origins(&spec, &Arc::default(), None).unwrap();
        let at = |own: &str, other: &str| {
            let other = Some(other.parse().unwrap());
            named[0].at(1, own.parse().unwrap(), other, false)
        };
        let check = tcp(Duration::from_secs(10));
        let names = NameBook::default();
        // Nobody listens at the second one.
        for (own, other, is_well) in [
            ("127.0.0.1", "127.0.0.2", true),
            ("127.0.0.2", "127.0.0.1", false),
        ] {
            let checked = probe(&at(own, other), &check, &names).await;
            assert_eq!(checked.is_ok(), is_well, "{own}: {checked:?}");
        }
    }

    #[tokio::test]
    async fn a_check_asks_nobody_what_a_name_means() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let spec = OriginSpec {
            // The system would find it.
            url: format!("http://localhost:{}", listener.local_addr().unwrap().port()),
            ..OriginSpec::default()
        };
        let named = control::origins(&spec, &Arc::default(), None).unwrap();
        let (names, meaning) = (NameBook::default(), Arc::<Meaning>::default());
        names.set([("localhost".into(), meaning.clone())].into());
        let checked = probe(&named[0], &tcp(Duration::from_millis(10)), &names).await;
        assert!(matches!(checked, Err(ProbeError::Name(_))), "{checked:?}");
        let check = tcp(Duration::from_secs(60));
        meaning.unfound("nobody knows it");
        let why = probe(&named[0], &check, &names).await.unwrap_err();
        assert_eq!(why.to_string(), "its name cannot be found: nobody knows it");
        meaning.found(&["127.0.0.1".parse().unwrap()]);
        probe(&named[0], &check, &names).await.unwrap();
    }

    #[test]
    fn grpc_as_protobuf_writes_it() {
        assert_eq!(&*grpc_question(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*grpc_question("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "s".repeat(300);
        let question = grpc_question(&long);
        assert_eq!(question.get(5..8), Some(&b"\x0a\xac\x02"[..]));
        assert!(is_serving(b"\0\0\0\0\x02\x08\x01"));
        for not in [&b"\0\0\0\0\x02\x08\x02"[..], b"\0\0\0\0\0", b""] {
            assert!(!is_serving(not));
        }
    }
}
