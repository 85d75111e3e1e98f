//! Live connections whose certificate is lost in a roundabout way: it became good only after the
//! handshake, the stream is for another host than SNI named, the host itself is gone or closed to
//! further requests.

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::{Authority, Client, Gateway, Origin, Setup};

use crate::revocation_latency::open;

/// Kinds of connections that go on without requests, and what is asked of the origin for it.
const KINDS: [&str; 3] = ["http/2 stream", "websocket", "http/2 idle"];

/// Opens one of each kind: a connection to SNI `host` with something open for `asked`.
async fn live(client: &Client, asked: &str) -> Vec<tokio::task::JoinHandle<std::time::Instant>> {
    let mut live = Vec::new();
    for kind in KINDS {
        live.push(open(kind, client.clone().host(asked), asked).await);
    }
    live
}

async fn all_end(live: Vec<tokio::task::JoinHandle<std::time::Instant>>, what: &str) {
    for (kind, end) in KINDS.iter().zip(live) {
        let waited = tests::wait::within(&format!("{what}: {kind} to end"), end).await;
        waited.unwrap();
    }
}

/// Uploads a CA and answers its id.
fn upload(gateway: &Gateway, authority: &Authority) -> String {
    let account = gateway.admin.get("/client/v4/accounts").result();
    let account = account[0]["id"].as_str().unwrap();
    let body = json!({ "ca": true, "certificates": authority.pem() });
    let path = format!("/client/v4/accounts/{account}/mtls_certificates");
    let made = gateway.admin.call("POST", &path, &body).result();
    made["id"].as_str().unwrap().to_owned()
}

/// Says which hosts believe an uploaded CA.
fn associate(gateway: &Gateway, id: &str, hosts: &[&str]) {
    let path = format!(
        "/client/v4/zones/{}/certificate_authorities/hostname_associations",
        gateway.zone_id(ZONE)
    );
    let body = json!({ "hostnames": hosts, "mtls_certificate_id": id });
    drop(gateway.admin.call("PUT", &path, &body).result());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_becomes_good_later_is_watched_from_then_on() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client("api.example.test").identity(&device);
    gateway.revoke(ZONE, &id);
    // The handshakes are made while it is revoked, the requests once it is restored.
    let idle = client.http2().await.unwrap();
    let mut raw = client.raw().await.unwrap();
    gateway.restore(ZONE, &id);
    assert_eq!(idle.get("/restored").await.unwrap().status, 200);
    raw.write(
        "GET /x HTTP/1.1\r\nHost: api.example.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n",
    )
    .await;
    assert_eq!(raw.message().await.unwrap().status(), 101);
    let record = gateway.request_record("/restored");
    assert_eq!(record["client_cert"]["reason"], "verified", "{record}");
    gateway.revoke(ZONE, &id);
    idle.closed().await;
    drop(tests::wait::within("the tunnel to end", raw.rest()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_for_another_host_ends_when_that_host_no_longer_believes() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .host("other.example.test", "request", &origin.url())
        .start();
    let uploaded = Authority::root("Uploaded CA");
    let id = upload(&gateway, &uploaded);
    let both = ["api.example.test", "other.example.test"];
    let device = uploaded.client("device");
    let client = gateway.client("api.example.test").identity(&device);
    let changes: [(&str, &dyn Fn()); 2] = [
        ("the other host no longer believes the CA", &|| {
            associate(&gateway, &id, &both[..1]);
        }),
        ("the other host is gone", &|| {
            let path = "/postern/v1/hosts/other.example.test";
            drop(gateway.admin.call("DELETE", path, &Value::Null).result());
        }),
    ];
    for (what, change) in changes {
        associate(&gateway, &id, &both);
        let mut elsewhere = live(&client, both[1]).await;
        // What is idle has nothing open for the other host, and goes on.
        elsewhere.pop().unwrap().abort();
        let own = client.http2().await.unwrap();
        assert_eq!(own.get("/own").await.unwrap().status, 200, "{what}");
        let moved = client.clone().host(both[1]).http2().await.unwrap();
        assert_eq!(moved.get("/moved").await.unwrap().status, 200, "{what}");
        change();
        all_end(elsewhere, what).await;
        assert_eq!(own.get("/own").await.unwrap().status, 200, "{what}");
        assert_eq!(moved.get("/moved").await.unwrap().status, 421, "{what}");
        let closed = gateway.record(what, |line| line["event"] == "closed");
        assert_eq!(closed["reason"], "unknown_ca", "{closed}");
        assert_eq!(closed["client_cert"]["reason"], "unknown_ca", "{closed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_takes_no_more_requests_still_loses_the_revoked() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    // Its rules begin to read what connections from before have not kept.
    let (id, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client("api.example.test").identity(&device);
    let open = live(&client, "api.example.test").await;
    let before = client.http2().await.unwrap();
    let rule = json!({ "action": "block", "expression": "cf.bot_management.ja4 eq \"none\"" });
    drop(gateway.rule(&rule));
    assert_eq!(before.get("/before").await.unwrap().status, 421);
    gateway.revoke(ZONE, &id);
    all_end(open, "rules changed, then revoked").await;
    // It is gone altogether.
    let (_, device) = gateway.certificate(ZONE, "another");
    let client = gateway.client("api.example.test").identity(&device);
    let open = live(&client, "api.example.test").await;
    let path = "/postern/v1/hosts/api.example.test";
    drop(gateway.admin.call("DELETE", path, &Value::Null).result());
    all_end(open, "the host is gone").await;
}
