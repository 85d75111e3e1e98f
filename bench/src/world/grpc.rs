//! The origin of gRPC calls: HTTP/2 without TLS, by prior knowledge, one message for every call.
//!
//! By the crate `h2`, on a thread of its own. It reads a call's message to the end, as a server that
//! looks at it would, and answers with headers, one message and trailers.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use anyhow::Result;
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::machine;

/// A message of 22 bytes: not compressed, its length, itself (gRPC over HTTP/2,
/// Length-Prefixed-Message).
const MESSAGE: &[u8] = b"\0\0\0\0\x16hello from the origin\n";
/// Streams at once on a connection.
const STREAMS_MAX: u32 = 1_000;

/// An origin that runs until it is dropped.
pub struct GrpcOrigin {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GrpcOrigin {
    /// Starts one on `cpu`.
    ///
    /// # Errors
    /// No port, no thread.
    pub fn start(cpu: Option<usize>) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let body = move || {
            let pinned = cpu.map_or(Ok(()), machine::pin);
            if let Err(error) = pinned.and_then(|()| run(listener, stopped)) {
                eprintln!("the gRPC origin stopped: {error:#}");
            }
        };
        let thread = std::thread::Builder::new()
            .name("grpc-origin".into())
            .spawn(body)?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for GrpcOrigin {
    fn drop(&mut self) {
        // Dropped, it tells the thread as well.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

fn run(listener: std::net::TcpListener, stopped: oneshot::Receiver<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        let accepting = async {
            loop {
                // A client that went away again, or a limit: the others are served on.
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                drop(socket.set_nodelay(true));
                tokio::task::spawn_local(connection(socket));
            }
        };
        tokio::select! {
            _ = stopped => Ok(()),
            () = accepting => Ok(()),
        }
    })
}

async fn connection(socket: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS_MAX);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(async move {
            // A call that was taken back ends early; its client knows.
            drop(answer(request, respond).await);
        });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let count = data?.len();
        body.flow_control().release_capacity(count)?;
    }
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Bytes::from_static(MESSAGE), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
