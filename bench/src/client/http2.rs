//! One connection that speaks HTTP/2, by hyper.
//!
//! hyper's client costs more than ours for HTTP/1.1; where it limits a run, the proxies are idle
//! part of the time, all of them alike.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Target;
use super::http1::Answer;

/// A connection; streams are clones of its sender.
pub struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    pub(super) resumed: bool,
}

impl Connection {
    /// Connects, shakes hands, and starts HTTP/2.
    ///
    /// # Errors
    /// One of the three fails.
    pub async fn open(target: &Target) -> Result<Self> {
        let address = target.address;
        let socket = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        let Some(tls) = &target.tls else {
            bail!("HTTP/2 without TLS is not spoken here: use an https:// URL");
        };
        let builder = tokio_boring::SslStreamBuilder::new(tls.start(false)?, socket);
        let stream = builder
            .connect()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
            bail!("the server does not speak HTTP/2");
        }
        let resumed = stream.ssl().session_reused();
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            // Requests on it learn of its end by themselves.
            drop(connection.await);
        });
        Ok(Self {
            sender,
            driver,
            resumed,
        })
    }
}

impl Connection {
    /// Asks, and reads the answer to its end.
    ///
    /// # Errors
    /// There is none, or not all of it.
    pub async fn exchange(&mut self, target: &Target) -> Result<Answer> {
        exchange(&mut self.sender, target).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Sends a request and reads its answer to the end.
pub(super) async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    target: &Target,
) -> Result<Answer> {
    sender.ready().await?;
    let request = hyper::Request::get(format!("https://{}{}", target.authority, target.path))
        .body(Full::default())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let mut content = response.into_body();
    while let Some(frame) = content.frame().await {
        frame?;
    }
    Ok(Answer {
        status,
        reusable: true,
    })
}

/// A message of 22 bytes: not compressed, its length, itself (gRPC over HTTP/2,
/// Length-Prefixed-Message).
const MESSAGE: &[u8] = b"\0\0\0\0\x16hello from the client\n";

/// Makes a unary call and reads its answer to the trailers.
pub(super) async fn call(sender: &mut SendRequest<Full<Bytes>>, target: &Target) -> Result<Answer> {
    sender.ready().await?;
    let request = hyper::Request::post(format!("https://{}{}", target.authority, target.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(MESSAGE)))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let mut outcome = grpc_status(response.headers());
    let mut content = response.into_body();
    while let Some(frame) = content.frame().await {
        if let Ok(trailers) = frame?.into_trailers() {
            outcome = grpc_status(&trailers);
        }
    }
    match outcome.as_deref() {
        Some("0") => Ok(Answer {
            status,
            reusable: true,
        }),
        other => bail!("the call ended with HTTP {status} and grpc-status {other:?}"),
    }
}

fn grpc_status(fields: &HeaderMap) -> Option<String> {
    let value = fields.get("grpc-status")?;
    Some(value.to_str().ok()?.to_owned())
}
