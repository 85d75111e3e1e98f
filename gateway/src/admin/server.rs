//! Connections of the admin API: accepted, bounded in number and time, served by hyper.

use std::convert::Infallible;
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::auth::Peer;
use super::fault::Fault;
use super::listener::Bound;
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_HEADER_TIMEOUT, ADMIN_REQUEST_TIMEOUT};

/// How long to wait after `accept` failed: mostly for want of file descriptors, which does not
/// pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until dropped; connections end with it. Each listener has slots of its own: clients
/// over TCP cannot lock out whoever comes over the unix socket to stop them.
pub(super) async fn run(bound: Bound, router: Router) {
    let mut connections = JoinSet::new();
    let (unix_slots, tcp_slots) = (slots(), slots());
    loop {
        // A slot comes first, so that what cannot be served waits in the kernel's queue.
        let unix = async {
            let slot = unix_slots.clone().acquire_owned().await;
            (slot, bound.unix.accept().await)
        };
        let tcp = async {
            let slot = tcp_slots.clone().acquire_owned().await;
            match &bound.tcp {
                Some(listener) => (slot, listener.accept().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (slot, accepted) = unix => match (slot, accepted) {
                (Ok(slot), Ok((stream, _))) => {
                    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                    connections.spawn(connection(stream, Peer::Unix { uid }, router.clone(), slot));
                }
                (_, Err(error)) => failed(&error).await,
                (Err(_closed), _) => return,
            },
            (slot, accepted) = tcp => match (slot, accepted) {
                (Ok(slot), Ok((stream, _))) => {
                    connections.spawn(connection(stream, Peer::Tcp, router.clone(), slot));
                }
                (_, Err(error)) => failed(&error).await,
                (Err(_closed), _) => return,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX))
}

async fn failed(error: &std::io::Error) {
    tracing::warn!(%error, "the admin API cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    _slot: OwnedSemaphorePermit,
) {
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answer = hyper::service::Service::call(&inner, request.map(Body::new));
        async move {
            let response: Response = match tokio::time::timeout(ADMIN_REQUEST_TIMEOUT, answer).await
            {
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
        .header_read_timeout(ADMIN_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
