//! Connections of the admin API: accepts them, bounds their number and time, and serves them with
//! hyper.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::auth::Peer;
use super::fault::Fault;
use super::listener::Bound;
use super::seats::{Seat, Seats};
use super::tls::AdminTls;
use crate::limits::{
    ADMIN_CONNECTION_GRACE, ADMIN_CONNECTION_LIFETIME, ADMIN_CONNECTIONS_MAX,
    ADMIN_HANDSHAKE_TIMEOUT, ADMIN_HEAD_BYTES_MAX, ADMIN_HEADER_TIMEOUT, ADMIN_REQUEST_TIMEOUT,
};

/// How long to wait after `accept` failed: mostly for want of file descriptors, which does not
/// pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take, whatever it does.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For a TLS handshake.
    handshake: Duration,
    /// For a request's head, and for the next request to begin.
    header: Duration,
    /// For a request's body and the answer to be made.
    request: Duration,
    /// For the connection; then it takes no more requests.
    lifetime: Duration,
    /// For what is under way then: a client that does not read its answer is left.
    grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: ADMIN_HANDSHAKE_TIMEOUT,
            header: ADMIN_HEADER_TIMEOUT,
            request: ADMIN_REQUEST_TIMEOUT,
            lifetime: ADMIN_CONNECTION_LIFETIME,
            grace: ADMIN_CONNECTION_GRACE,
        }
    }
}

/// Serves a router on bound sockets, until the future is dropped.
pub(crate) async fn serve_router(bound: Bound, router: Router) {
    run(bound, router, Patience::default()).await;
}

/// Serves until dropped; connections end with it. Each listener has slots of its own:
/// clients over TCP cannot lock out an administrator who comes over the unix socket to stop them.
async fn run(bound: Bound, router: Router, patience: Patience) {
    let mut connections = JoinSet::new();
    let unix_slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    let seats = Arc::<Seats>::default();
    let mut left = bound.left.clone();
    loop {
        // A slot comes first, so that what cannot be served waits in the kernel's queue.
        let unix = async {
            let slot = unix_slots.clone().acquire_owned().await;
            (slot, bound.unix.accept().await)
        };
        let tcp = async {
            match &bound.tcp {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (slot, accepted) = unix => match (slot, accepted) {
                (Ok(slot), Ok((stream, _))) => {
                    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                    let served = connection(
                        stream,
                        Peer::Unix { uid },
                        None,
                        router.clone(),
                        (patience, bound.left.clone()),
                    );
                    connections.spawn(with_slot(slot, served));
                }
                (_, Err(error)) => failed(&error).await,
                (Err(_closed), _) => return,
            },
            accepted = tcp => match accepted {
                Ok((stream, peer)) => {
                    let seat = Arc::new(seats.take(peer.ip()));
                    let (tls, router) = (bound.tls.clone(), router.clone());
                    let times = (patience, bound.left.clone());
                    connections.spawn(over_tcp(stream, seat, tls, router, times));
                }
                Err(error) => failed(&error).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            true = async { left.wait_for(|left| *left).await.is_ok() } => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

/// How long a client may take, and whether another process serves instead.
type Times = (Patience, watch::Receiver<bool>);

async fn failed(error: &std::io::Error) {
    tracing::warn!(%error, "the admin API cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn with_slot(_slot: OwnedSemaphorePermit, served: impl Future<Output = ()>) {
    served.await;
}

async fn over_tcp(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seat: Arc<Seat>,
    tls: Option<Arc<AdminTls>>,
    router: Router,
    times: Times,
) {
    let served = in_seat(stream, seat.clone(), tls, router, times);
    tokio::select! {
        () = served => {}
        () = seat.lost() => {
            tracing::debug!("an admin connection was cut: its client has not shown who it is, and another one came");
        }
    }
}

async fn in_seat(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seat: Arc<Seat>,
    tls: Option<Arc<AdminTls>>,
    router: Router,
    times: Times,
) {
    let Some(tls) = tls else {
        return connection(stream, Peer::Tcp, Some(seat), router, times).await;
    };
    let acceptor = tls.acceptor();
    let handshake = tokio_boring::accept(&acceptor, stream);
    match tokio::time::timeout(times.0.handshake, handshake).await {
        Ok(Ok(stream)) => connection(stream, Peer::Tcp, Some(seat), router, times).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake with the admin API failed"),
        Err(_elapsed) => tracing::debug!("a handshake with the admin API took too long"),
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    seat: Option<Arc<Seat>>,
    router: Router,
    (patience, mut left): Times,
) {
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        if let Some(seat) = seat.clone() {
            request.extensions_mut().insert(seat);
        }
        let answer = hyper::service::Service::call(&inner, request.map(Body::new));
        async move {
            let response: Response = match tokio::time::timeout(patience.request, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_elapsed) => {
                    let message = "The request took too long; look whether its change was made before trying again";
                    Fault::new(StatusCode::GATEWAY_TIMEOUT, 1000, message).into_response()
                }
            };
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = async {
            let left = async {
                if left.wait_for(|left| *left).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            drop(tokio::time::timeout(patience.lifetime, left).await);
        } => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(patience.grace, served).await {
                Ok(ended) => ended,
                Err(_elapsed) => {
                    tracing::debug!("an admin connection was cut: its client did not come to an end");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// Who waits for nobody for long.
    const SHORT: Patience = Patience {
        handshake: Duration::from_millis(200),
        header: Duration::from_millis(200),
        request: Duration::from_millis(200),
        lifetime: Duration::from_millis(500),
        grace: Duration::from_millis(100),
    };

    /// Serves one client that behaves as it is told; ends when the server is done with it.
    async fn serve(client: impl AsyncFnOnce(&mut DuplexStream)) {
        let (mut theirs, ours) = duplex(1024);
        let app = Router::new()
            .route("/large", axum::routing::get(async || "x".repeat(1 << 20)))
            .route("/body", axum::routing::post(async |body: String| body));
        let served = tokio::spawn(connection(
            ours,
            Peer::Tcp,
            None,
            app,
            (SHORT, watch::channel(false).1),
        ));
        client(&mut theirs).await;
        served.await.unwrap();
    }

    #[tokio::test]
    async fn clients_that_do_not_go_on_are_left() {
        let request = |text: &'static str| {
            async move |stream: &mut DuplexStream| stream.write_all(text.as_bytes()).await.unwrap()
        };
        // Nothing at all, half a head, half a body, an answer that nobody reads.
        serve(async |_| {}).await;
        serve(request("GET /large HTTP/1.1\r\nhost: a\r\n")).await;
        serve(request(
            "POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx",
        ))
        .await;
        serve(request("GET /large HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    }

    #[tokio::test]
    async fn a_busy_connection_ends_too() {
        let mut answers = 0;
        serve(async |stream| {
            let text = "POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
            let mut buffer = [0; 1024];
            while stream.write_all(text.as_bytes()).await.is_ok() {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => answers += 1,
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert!(answers > 0);
    }

    #[tokio::test]
    async fn garbage_ends_at_once() {
        for text in [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            b"GET\r\n\r\n".to_vec(),
            vec![b'x'; ADMIN_HEAD_BYTES_MAX * 2],
        ] {
            serve(async |stream| {
                // It may end before everything is written.
                drop(stream.write_all(&text).await);
                let mut answer = Vec::new();
                drop(stream.read_to_end(&mut answer).await);
            })
            .await;
        }
    }
}
