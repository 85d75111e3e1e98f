//! From a change of trust to the end of everything that rested on it: a thousand live connections
//! of five kinds on all workers, and new handshakes, resumed ones and further requests meanwhile.
//! Whether all of it ends, and whether nothing is served that began after the change, is the test;
//! how long it took is printed. Figures of an optimised build:
//! `cargo test --release -p tests --test it revocation_latency -- --nocapture --test-threads 1`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use serde_json::json;
use tests::client::{Http2, Tickets};
use tests::crl::CrlSpec;
use tests::gateway::ZONE;
use tests::pki::Spec;
use tests::{Authority, Client, Gateway, Identity, Origin, Setup};

const RULE: &str = "not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked";
/// Of each kind.
const LIVE: usize = 200;
/// Attempts of each kind once the change is acknowledged.
const ATTEMPTS: usize = 100;
/// How many of them are under way at the same time.
const AT_ONCE: usize = 10;
pub(crate) const KINDS: [&str; 5] = [
    "http/1.1 idle",
    "http/2 idle",
    "http/2 stream",
    "grpc",
    "websocket",
];

/// A body that begins and never ends.
struct Open(Option<Bytes>);

impl Body for Open {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// The test opens thousands of sockets, and the gateway inherits what it may.
pub(crate) fn raise_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(unsafe_code, reason = "the standard library cannot read limits")]
    // SAFETY: the pointer is to a live value of the right type, borrowed exclusively.
    let outcome = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(outcome, 0);
    limit.rlim_cur = limit.rlim_max;
    #[expect(unsafe_code, reason = "the standard library cannot raise limits")]
    // SAFETY: the pointer is to a live value of the right type, which is only read.
    let outcome = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(outcome, 0);
}

fn request(kind: &str, host: &str) -> Request<tests::client::Body> {
    let builder = Request::post(format!("https://{host}/mirror"));
    let builder = match kind {
        "grpc" => builder
            .header("content-type", "application/grpc")
            .header("te", "trailers"),
        _ => builder,
    };
    builder
        .version(http::Version::HTTP_2)
        .body(Open(Some(Bytes::from_static(b"hello"))).boxed())
        .unwrap()
}

/// Opens a connection of a kind, asks it for `host` and sees it working. The task answers when it
/// ended.
pub(crate) async fn open(
    kind: &'static str,
    client: Client,
    host: &str,
) -> tokio::task::JoinHandle<Instant> {
    match kind {
        "http/2 idle" => {
            let connection = client.http2().await.unwrap();
            assert_eq!(connection.get("/x").await.unwrap().status, 200);
            tokio::spawn(async move { connection.end().await })
        }
        "http/2 stream" | "grpc" => {
            let connection = client.http2().await.unwrap();
            let response = connection.begin(request(kind, host)).await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            let first = body.frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "hello");
            tokio::spawn(async move {
                // The stream ends with an error, and with the connection.
                drop(body.frame().await);
                connection.end().await
            })
        }
        _ => {
            let mut raw = client.raw().await.unwrap();
            let (extra, expected) = match kind {
                "websocket" => ("Connection: Upgrade\r\nUpgrade: websocket\r\n", 101),
                _ => ("", 200),
            };
            let text = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n");
            raw.write(text).await;
            assert_eq!(raw.message().await.unwrap().status(), expected);
            tokio::spawn(async move {
                raw.end().await;
                Instant::now()
            })
        }
    }
}

/// New connections, so many of which are made at once. Answers when each was told no.
async fn attempts(
    client: &Client,
    tickets: Option<&Tickets>,
    acknowledged: Instant,
) -> Vec<Duration> {
    let mut tasks = Vec::new();
    for _ in 0..AT_ONCE {
        let client = client.clone();
        // Each shows the same ticket, and takes in none.
        let tickets = tickets.map(Tickets::last);
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..ATTEMPTS / AT_ONCE {
                let client = match &tickets {
                    Some(tickets) => client.clone().resuming(&tickets.last()),
                    None => client.clone(),
                };
                let begun = Instant::now();
                let refused = client.get("/refused").await;
                assert!(
                    refused.as_ref().is_ok_and(|answer| answer.status == 403),
                    "{refused:?}, begun {:?} after the change",
                    begun.duration_since(acknowledged)
                );
                times.push(begun.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times
}

/// A further request on each connection that is still open. Answers when it was told no, or that
/// the connection was over.
async fn next_requests(connections: Vec<Http2>, acknowledged: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    for connection in connections {
        let begun = Instant::now();
        let answer = connection.get("/next").await;
        assert!(
            !answer.as_ref().is_ok_and(|answer| answer.status == 200),
            "{answer:?}, begun {:?} after the change",
            begun.duration_since(acknowledged)
        );
        times.push(begun.elapsed());
        connection.closed().await;
    }
    times
}

fn print(way: &str, kind: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "{way}: {kind}: {} times, after p50 {:?}, p99 {:?}, max {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1]
    );
}

struct World {
    origins: [Origin; 2],
    gateway: Gateway,
    uploaded: Authority,
    uploaded_id: String,
}

impl World {
    fn new() -> Self {
        raise_descriptors();
        let origins = [Origin::echo(), Origin::echo_http2()];
        // Without steering the kernel spreads connections over all workers.
        let gateway = Setup::new()
            .set("steer.mode", "off")
            // Nothing but a revocation ends a connection, however long a busy machine takes.
            .set("timeout.idle", "600s")
            .set("limit.body_rate", "0")
            .host("api.example.test", "request", &origins[0].url())
            .host_with(
                "grpc.example.test",
                "request",
                &json!({ "url": origins[1].url(), "protocol": "http2" }),
            )
            .block(RULE)
            .start();
        let uploaded = Authority::root("Uploaded CA");
        let uploaded_id = gateway.upload(&uploaded);
        let world = Self {
            origins,
            gateway,
            uploaded,
            uploaded_id,
        };
        world.associate(&["api.example.test", "grpc.example.test"]);
        world
    }

    /// Which hosts believe the uploaded CA.
    fn associate(&self, hosts: &[&str]) {
        self.gateway.associate(&self.uploaded_id, hosts);
    }

    /// Opens live connections, changes trust, and prints how long everything took.
    /// `change` answers when it was acknowledged.
    async fn measure(&self, way: &str, identity: &Identity, change: impl AsyncFnOnce() -> Instant) {
        let client = |host: &str| self.gateway.client(host).identity(identity);
        let mut live = Vec::new();
        for kind in KINDS {
            let host = match kind {
                "grpc" => "grpc.example.test",
                _ => "api.example.test",
            };
            for _ in 0..LIVE {
                live.push((kind, open(kind, client(host), host).await));
            }
        }
        let bystander = self.gateway.certificate(ZONE, "bystander").1;
        let mut bystander = self
            .gateway
            .client("api.example.test")
            .identity(&bystander)
            .http1()
            .await
            .unwrap();
        let tickets = {
            let client = client("api.example.test");
            assert_eq!(client.get("/ticket").await.unwrap().status, 200);
            client.tickets()
        };
        let mut before = Vec::new();
        for _ in 0..ATTEMPTS {
            let connection = client("api.example.test").http2().await.unwrap();
            assert_eq!(connection.get("/before").await.unwrap().status, 200);
            before.push(connection);
        }
        let acknowledged = change().await;
        let again = client("api.example.test");
        let fresh = [
            ("new handshake", attempts(&again, None, acknowledged).await),
            (
                "resumed",
                attempts(&again, Some(&tickets), acknowledged).await,
            ),
            ("next request", next_requests(before, acknowledged).await),
        ];
        let mut ends: Vec<(&str, Duration)> = Vec::new();
        for (kind, end) in live {
            let end = tests::wait::within("a connection to end", end)
                .await
                .unwrap();
            ends.push((kind, end.saturating_duration_since(acknowledged)));
        }
        assert_eq!(bystander.get("/still").await.unwrap().status, 200);
        for kind in KINDS {
            let of = ends.iter().filter(|(found, _)| *found == kind);
            print(way, kind, of.map(|(_, time)| *time).collect());
        }
        for (kind, times) in fresh {
            print(way, kind, times);
        }
        for line in self.gateway.admin.get("/metrics").body.lines() {
            let counted = line.contains("certificate_lost") && line.contains("_bucket");
            if counted && (line.contains("le=\"0.5\"") || line.contains("le=\"1.0\"")) {
                println!("{way}: the gateway's own clock: {line}");
            }
        }
    }

    fn finish(self, reason: &str) {
        // Those whose requests came after the change may have been told on the way.
        let live = KINDS.len() * LIVE + ATTEMPTS;
        let workers: std::collections::BTreeSet<u64> = self
            .gateway
            .records()
            .iter()
            .filter_map(|line| line["worker"].as_u64())
            .collect();
        assert!(workers.len() > 1, "connections were on {workers:?}");
        let closed = || {
            let records = self.gateway.records();
            let closed = records.iter().filter(|line| line["event"] == "closed");
            closed.filter(|line| line["reason"] == reason).count()
        };
        tests::wait::until("a record of every closed connection", || {
            (closed() == live).then_some(())
        });
        let metrics = self.gateway.admin.get("/metrics").body;
        let counted: u64 = metrics
            .lines()
            .filter(|line| {
                line.starts_with("postern_stage_duration_seconds_count")
                    && line.contains("certificate_lost")
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(counted, live as u64);
        self.gateway.says("no longer good are closed");
        drop(self.origins);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_by_the_api() {
    let world = World::new();
    let (id, device) = world.gateway.certificate(ZONE, "device");
    world
        .measure("revoked by the API", &device, async || {
            world.gateway.revoke(ZONE, &id);
            Instant::now()
        })
        .await;
    world.finish("revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_is_removed() {
    let world = World::new();
    let device = world.uploaded.client("device");
    world
        .measure("CA removed", &device, async || {
            world.associate(&[]);
            Instant::now()
        })
        .await;
    world.finish("unknown_ca");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_ends() {
    let world = World::new();
    // Long enough to open the connections, on whatever machine.
    let begun = Instant::now();
    let probe = world.uploaded.client("probe");
    for _ in 0..10 {
        let client = world.gateway.client("api.example.test").identity(&probe);
        drop(open("http/2 idle", client, "api.example.test").await);
    }
    let ends = (20 + 300 * begun.elapsed().as_millis() / 1000).min(300);
    let device = world.uploaded.issue(&Spec {
        ends: i64::try_from(ends).unwrap(),
        ..Spec::client("device")
    });
    world
        .measure("expired", &device, async || {
            // BoringSSL, and so the gateway, does not count the second of notAfter in.
            let epoch = boring::asn1::Asn1Time::from_unix(0).unwrap();
            let end = epoch.diff(device.leaf().not_after()).unwrap();
            let seconds = i64::from(end.days) * 86_400 + i64::from(end.secs);
            let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap());
            let left = end.duration_since(SystemTime::now());
            tokio::time::sleep(left.expect("connections were opened in time")).await;
            Instant::now()
        })
        .await;
    world.finish("expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_list_changes() {
    let world = World::new();
    let device = world.uploaded.client("device");
    let file = world.gateway.file("ca.crl");
    std::fs::write(&file, CrlSpec::default().sign(&world.uploaded)).unwrap();
    let path = format!(
        "/postern/v1/certificate_authorities/{}/crls",
        world.uploaded_id
    );
    let body = json!({ "policy": "hard", "file": file });
    drop(world.gateway.admin.call("PATCH", &path, &body).result());
    tests::wait::until("the list to be read", || {
        let lists = world.gateway.admin.get(&path).result();
        (lists["crls"].as_array().unwrap().len() == 1).then_some(())
    });
    world
        .measure("list file changed", &device, async || {
            let list = CrlSpec::revoking(2, &[&device]).sign(&world.uploaded);
            let new = world.gateway.file("ca.crl.new");
            std::fs::write(&new, list).unwrap();
            std::fs::rename(&new, &file).unwrap();
            let changed = Instant::now();
            // A file has no acknowledgement; new connections are looked at once it was read.
            tests::wait::until("the list to be read", || {
                let lists = world.gateway.admin.get(&path).result();
                (lists["crls"][0]["number"] == "02").then_some(())
            });
            changed
        })
        .await;
    world.finish("revoked");
}
