//! The API over a real unix socket, and over TCP with tokens.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use boring::hash::MessageDigest;
use boring::pkey::PKey;
use boring::x509::{X509Name, X509Req};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::openapi;
use crate::{Bound, Listen, State, Upgrades, serve_bound};
use config::{Config, Live};
use control::{Control, NewToken, Scope};
use datapath::observe::spans::Spans;
use datapath::observe::{AccessLog, Events, WorkerStats, Workers};
use fetch::{AcmeClient, AcmeSettings, CrlFetcher, HealthChecker, NameWatch, OcspClient, Stapler};
use fixtures::Directory;
use snapshot::Published;
use vocabulary::settings::StapleMode;

mod access;
mod certificates;
pub(crate) mod dashboard;
mod events;
mod input;
mod routes;
mod rules;

/// Workers that there are none of.
struct NoWorkers;

impl Workers for NoWorkers {
    fn collect(&self) -> Pin<Box<dyn Future<Output = Vec<WorkerStats>> + Send + '_>> {
        Box::pin(async { Vec::new() })
    }

    fn ready(&self) -> bool {
        false
    }
}

pub(crate) struct World {
    directory: Directory,
    pub(crate) control: Arc<Control>,
    published: Arc<Published>,
    pub(crate) events: Arc<Events>,
    tcp: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let directory = Directory::new();
        let published: Arc<Published> = Arc::default();
        let control = Control::open(&directory.path().join("store"), published.clone()).unwrap();
        let listen = Listen {
            socket: directory.path().join("admin.sock"),
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            tls: None,
        };
        let bound = Bound::bind(&listen).await.unwrap();
        let tcp = bound.tcp_address().unwrap();
        let events = Events::new(1);
        let state = State {
            control: control.clone(),
            lists: CrlFetcher::new(control.clone()),
            responders: OcspClient::new(control.clone(), Arc::default()),
            stapler: Stapler::new(control.clone(), StapleMode::default),
            acme: AcmeClient::new(control.clone(), AcmeSettings::default()),
            health: HealthChecker::new(published.clone()),
            names: NameWatch::new(control.clone(), published.clone()),
            published: published.clone(),
            workers: Arc::new(NoWorkers),
            live: Arc::new(Live::new(config)),
            access_log: AccessLog::off(),
            spans: Arc::new(Spans::new(false)),
            plain: Arc::default(),
            events: events.clone(),
            upgrades: upgrades(),
            // The clock was set back since.
            started: SystemTime::now() + Duration::from_secs(3_600),
            begun: Instant::now(),
            fleet: Arc::new(crate::NoFleet::new(
                crate::NoFleet::NOT_SET,
                control.clone(),
            )),
        };
        let server = tokio::spawn(serve_bound(bound, state));
        Self {
            directory,
            control,
            published,
            events,
            tcp,
            server,
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.raw(method, path, body.into_bytes(), &[]).await
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let stream = UnixStream::connect(self.directory.path().join("admin.sock"))
            .await
            .unwrap();
        exchange(stream, method, path, body, headers).await
    }

    /// A path where nothing is, removed with the world.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn over_tcp(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let stream = TcpStream::connect(self.tcp).await.unwrap();
        exchange(stream, method, path, Vec::new(), headers).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.body["result"].clone()
    }

    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        assert_eq!(answer.body["success"], true);
        assert_eq!(answer.body["errors"], json!([]));
        answer.body["result"].clone()
    }

    pub(crate) async fn zone(&self) -> String {
        let zone = self.ok(
            "POST",
            "/client/v4/zones",
            json!({"name": "example.test", "account": {}}),
        );
        zone.await["id"].as_str().unwrap().to_owned()
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = Bytes::from(body);
    let request = request.body(Full::new(sent.clone())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    // A revocation list is no text.
    let text = String::from_utf8_lossy(&text).into_owned();
    openapi::tests::check(method, path, &sent, status, &text);
    Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

pub(crate) fn csr(common_name: &str) -> String {
    let group = boring::ec::EcGroup::from_curve_name(boring::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(boring::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", common_name).unwrap();
    let mut request = X509Req::builder().unwrap();
    request.set_subject_name(&subject.build()).unwrap();
    request.set_pubkey(&key).unwrap();
    request.sign(&key, MessageDigest::sha256()).unwrap();
    String::from_utf8(request.build().to_pem().unwrap()).unwrap()
}

/// Nobody carries them out.
fn upgrades() -> Arc<Upgrades> {
    let (upgrades, wanted) = Upgrades::new(None);
    std::mem::forget(wanted);
    Arc::new(upgrades)
}
