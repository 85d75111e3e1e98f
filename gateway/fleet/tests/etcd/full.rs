//! An etcd that says that its space is used up: of what it has not done, and of what it has done with the last of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use fleet::limits::VALUE_BYTES_MAX;
use fleet::{AppendError, Log, Settings, SnapshotError};
use http::{Request, Response};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tower::{Service, ServiceExt as _};

use crate::cluster::{BEGIN, Etcd, founding, keys, open, parts};

/// What becomes of a transaction on its way to etcd.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is done and answered.
    Passes,
    /// It is done, and the answer says that there is no space.
    Done,
    /// It is not done, and the answer says that there is no space.
    Refused,
    /// It is not done, and the answer says that there is too much to do.
    Busy,
    /// Nothing is heard of it.
    Lost,
}

/// A relay of what is asked of values in etcd.
#[derive(Clone)]
struct Relay {
    etcd: Channel,
    /// Of the next transactions; what comes after them passes.
    fates: Arc<Mutex<VecDeque<Fate>>>,
}

impl NamedService for Relay {
    const NAME: &'static str = "etcdserverpb.KV";
}

impl Service<Request<Body>> for Relay {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut fate = Fate::Passes;
        if request.uri().path().ends_with("/Txn") {
            let next = self.fates.lock().unwrap().pop_front();
            fate = next.unwrap_or(fate);
        }
        let etcd = self.etcd.clone();
        Box::pin(async move {
            // As etcd says it.
            let full = || Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
            Ok(match fate {
                Fate::Lost => std::future::pending().await,
                Fate::Refused => full().into_http(),
                Fate::Busy => Status::resource_exhausted("too many requests").into_http(),
                Fate::Passes | Fate::Done => match etcd.oneshot(request).await {
                    // etcd answers once it is done.
                    Ok(_done) if matches!(fate, Fate::Done) => full().into_http(),
                    Ok(answer) => answer,
                    Err(error) => Status::unavailable(error.to_string()).into_http(),
                },
            })
        })
    }
}

/// A relay of what is asked of leases.
#[derive(Clone)]
struct Leases(Relay);

impl NamedService for Leases {
    const NAME: &'static str = "etcdserverpb.Lease";
}

impl Service<Request<Body>> for Leases {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Relay as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

/// A log by way of a relay, and what becomes of the next transactions on it.
async fn relayed(etcd: &Etcd) -> (Log, Arc<Mutex<VecDeque<Fate>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fates = Arc::<Mutex<VecDeque<Fate>>>::default();
    let relay = Relay {
        etcd: Endpoint::new(etcd.url(0)).unwrap().connect_lazy(),
        fates: fates.clone(),
    };
    let leases = Leases(relay.clone());
    let server = Server::builder().add_service(relay).add_service(leases);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let settings = Settings {
        members: vec![format!("http://{address}").parse().unwrap()],
        tls: None,
        user: None,
    };
    (open(settings, "b"), fates)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_took_the_last_of_the_space_is_there_and_stays_whole() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let (relayed, fates) = relayed(&etcd).await;
    fates.lock().unwrap().push_back(Fate::Done);
    let head = relayed.append(&BEGIN, b"small").await.unwrap();
    assert_eq!(log.head().await.unwrap(), head);
    // Its parts go first.
    let large = vec![7; 3 * VALUE_BYTES_MAX];
    let all = [Fate::Passes, Fate::Passes, Fate::Passes, Fate::Done];
    fates.lock().unwrap().extend(all);
    let next = relayed.append(&head, &large).await.unwrap();
    let page = log.after(&head).await.unwrap();
    assert_eq!(page.head, next);
    assert!(page.entries[0].bytes == large, "nothing of it was removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_for_which_there_is_no_space_leaves_nothing() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let (relayed, fates) = relayed(&etcd).await;
    let large = vec![7; 3 * VALUE_BYTES_MAX];
    let all = [Fate::Passes, Fate::Passes, Fate::Passes, Fate::Refused];
    fates.lock().unwrap().extend(all);
    let refused = relayed.append(&BEGIN, &large).await.unwrap_err();
    // It is certain that it was not added.
    assert!(matches!(refused, AppendError::Log(_)), "{refused}");
    assert!(refused.to_string().contains("space exceeded"), "{refused}");
    assert_eq!(log.head().await.unwrap(), BEGIN);
    assert!(keys(&etcd, "/postern/test/part/").await.is_empty());
    // Another edge was first: that is seen, too.
    let head = log.append(&BEGIN, b"first").await.unwrap();
    fates.lock().unwrap().push_back(Fate::Refused);
    let late = relayed.append(&BEGIN, b"late").await;
    assert!(matches!(late, Err(AppendError::Moved)), "{late:?}");
    assert_eq!(log.head().await.unwrap(), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_may_still_come_is_not_taken_for_refused() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let (relayed, fates) = relayed(&etcd).await;
    let large = vec![7; 2 * VALUE_BYTES_MAX];
    let all = [Fate::Passes, Fate::Passes, Fate::Lost, Fate::Refused];
    fates.lock().unwrap().extend(all);
    let unknown = relayed.append(&BEGIN, &large).await;
    assert!(
        matches!(unknown, Err(AppendError::Unknown(_))),
        "{unknown:?}"
    );
    assert_eq!(keys(&etcd, "/postern/test/part/").await.len(), 2);
    // Too much to do says nothing of what was done, and passes.
    *fates.lock().unwrap() = [Fate::Busy].into();
    let head = relayed.append(&BEGIN, b"again").await.unwrap();
    assert_eq!(log.head().await.unwrap(), head);
    assert_eq!(log.sweep().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_took_the_last_of_the_space_is_the_one_that_there_is() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let head = log.append(&BEGIN, b"one").await.unwrap();
    let (relayed, fates) = relayed(&etcd).await;
    fates.lock().unwrap().push_back(Fate::Done);
    let written = relayed.put_snapshot(&head, parts(&[b"state"])).await;
    assert_eq!(log.snapshot().await.unwrap(), Some(written.unwrap()));
    fates.lock().unwrap().push_back(Fate::Refused);
    let next = log.append(&head, b"two").await.unwrap();
    let refused = relayed.put_snapshot(&next, parts(&[b"more"])).await;
    assert!(matches!(refused, Err(SnapshotError::Log(_))), "{refused:?}");
    assert_eq!(log.snapshot().await.unwrap().unwrap().head, head);
    // So is the beginning of a fleet.
    assert_eq!(log.remove_fleet(|_, _| None::<()>).await.unwrap(), None);
    fates.lock().unwrap().push_back(Fate::Refused);
    let refused = relayed.found(&BEGIN, &founding(), parts(&[])).await;
    assert!(matches!(refused, Err(SnapshotError::Log(_))), "{refused:?}");
    fates.lock().unwrap().push_back(Fate::Done);
    relayed
        .found(&BEGIN, &founding(), parts(&[]))
        .await
        .unwrap();
    assert_eq!(log.head().await.unwrap(), BEGIN);
}
