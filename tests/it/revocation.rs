//! Revocation: on the next request of connections that are open, on new ones, on resumed ones.

use serde_json::json;
use tests::gateway::ZONE;
use tests::{Origin, Setup};

const RULE: &str = "not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_of_a_live_connection_is_refused() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .block(RULE)
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    let (_, other) = gateway.certificate(ZONE, "other");
    for twelve in [true, false] {
        let of = |identity| {
            let client = gateway.client("api.example.test").identity(identity);
            if twelve {
                client.tls12()
            } else {
                client.tls13()
            }
        };
        let client = of(&device);
        let mut http1 = client.http1().await.unwrap();
        let http2 = client.http2().await.unwrap();
        let mut bystander = of(&other).http1().await.unwrap();
        let mut check = async |expected: u16, what: &str| {
            assert_eq!(http1.get("/x").await.unwrap().status, expected, "{what}");
            assert_eq!(
                http2.get("/x").await.unwrap().status,
                expected,
                "{what}, HTTP/2"
            );
            assert_eq!(
                client.get("/x").await.unwrap().status,
                expected,
                "{what}, new connection"
            );
            let resumed = client
                .clone()
                .resuming(&client.tickets())
                .get("/x")
                .await
                .unwrap();
            assert_eq!(resumed.status, expected, "{what}, resumed");
            assert_eq!(
                bystander.get("/x").await.unwrap().status,
                200,
                "{what}, somebody else"
            );
        };
        check(200, "before").await;
        gateway.revoke(ZONE, &id);
        check(403, "revoked").await;
        gateway.restore(ZONE, &id);
        check(200, "restored").await;
    }
    let record = gateway.record("a refusal", |line| line["status"] == 403);
    assert_eq!(record["client_cert"]["revoked"], true, "{record}");
    assert_eq!(record["client_cert"]["reason"], "revoked", "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_requires_certificates_needs_no_rule_for_it() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client("api.example.test").identity(&device);
    let mut http1 = client.http1().await.unwrap();
    let http2 = client.http2().await.unwrap();
    assert_eq!(http1.get("/before").await.unwrap().status, 200);
    assert_eq!(http2.get("/before").await.unwrap().status, 200);
    gateway.revoke(ZONE, &id);
    // The answer says "on a new connection", which is where the alert says why.
    let answer = http1.get("/revoked/1").await.unwrap();
    assert_eq!(answer.status, 421);
    assert_eq!(answer.header("connection"), "close");
    http1.closed().await;
    assert_eq!(http2.get("/revoked/2").await.unwrap().status, 421);
    http2.closed().await;
    let record = gateway.request_record("/revoked/2");
    assert_eq!(record["client_cert"]["reason"], "revoked", "{record}");
    let refused = client.get("/revoked/3").await.unwrap_err();
    assert_eq!(refused.why, "certificate_revoked");
    assert_eq!(gateway.handshake_record(refused.local)["reason"], "revoked");
    gateway.restore(ZONE, &id);
    assert_eq!(client.get("/restored").await.unwrap().status, 200);
    let reached: Vec<_> = origin
        .requests()
        .iter()
        .map(|seen| seen["target"].clone())
        .collect();
    assert_eq!(
        reached,
        [json!("/before"), json!("/before"), json!("/restored")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_live_connections_lose_a_certificate_at_once() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .block(RULE)
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client("api.example.test").identity(&device);
    let mut connections = Vec::new();
    for _ in 0..50 {
        let connection = client.http2().await.unwrap();
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        connections.push(connection);
    }
    gateway.revoke(ZONE, &id);
    for connection in &connections {
        assert_eq!(connection.get("/x").await.unwrap().status, 403);
    }
    assert_eq!(origin.requests().len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_changes_its_mode_asks_again() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    let client = gateway.client("api.example.test").identity(&device);
    let mut before = client.http1().await.unwrap();
    assert_eq!(before.get("/off").await.unwrap().status, 200);
    gateway.change_host("api.example.test", &json!({ "mtls": "require" }));
    assert_eq!(
        before.get("/require").await.unwrap().status,
        421,
        "nobody was asked on it"
    );
    assert_eq!(client.get("/require").await.unwrap().status, 200);
    assert!(
        gateway
            .client("api.example.test")
            .get("/none")
            .await
            .is_err()
    );
    drop(
        gateway
            .admin
            .call("DELETE", "/postern/v1/hosts/api.example.test", &json!(null))
            .result(),
    );
    assert_eq!(
        client.get("/gone").await.unwrap_err().why,
        "unrecognized_name"
    );
}
