//! Revocation: on the next request of connections that are open, on new ones, on resumed ones.

use serde_json::json;
use tests::gateway::ZONE;
use tests::pki::{DAY, Spec};
use tests::{Origin, Setup};

const RULE: &str = "not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_connection_is_closed_and_rules_decide_on_the_next() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .block(RULE)
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    let (_, other) = gateway.certificate(ZONE, "other");
    for twelve in [true, false] {
        let of = |identity| {
            let client = gateway.client("api.example.test");
            client.identity(identity).tls(twelve)
        };
        let client = of(&device);
        let mut bystander = of(&other).http1().await.unwrap();
        let mut check = async |expected: u16, what: &str| {
            let mut http1 = client.http1().await.unwrap();
            let http2 = client.http2().await.unwrap();
            assert_eq!(http1.get("/x").await.unwrap().status, expected, "{what}");
            assert_eq!(
                http2.get("/x").await.unwrap().status,
                expected,
                "{what}, HTTP/2"
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
            (http1, http2)
        };
        let (mut http1, http2) = check(200, "before").await;
        gateway.revoke(ZONE, &id);
        http1.closed().await;
        http2.closed().await;
        // A client that came with a revoked certificate in the first place stays: rules say no.
        let (mut http1, http2) = check(403, "revoked").await;
        assert_eq!(http1.get("/again").await.unwrap().status, 403);
        gateway.restore(ZONE, &id);
        assert_eq!(http1.get("/restored").await.unwrap().status, 200);
        assert_eq!(http2.get("/restored").await.unwrap().status, 200);
        drop(check(200, "restored").await);
    }
    let record = gateway.record("a refusal", |line| line["status"] == 403);
    assert_eq!(record["client_cert"]["revoked"], true, "{record}");
    assert_eq!(record["client_cert"]["reason"], "revoked", "{record}");
    for event in ["closed", "presented"] {
        let record = gateway.record(event, |line| {
            line["kind"] == "certificate" && line["event"] == event
        });
        assert_eq!(record["reason"], "revoked", "{record}");
        assert_eq!(record["client_cert"]["serial"], device.serial(), "{record}");
        assert_eq!(record["host"], "api.example.test", "{record}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_requires_certificates_needs_no_rule_for_it() {
    let origin = Origin::echo();
    // The second host leaves it to rules otherwise.
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .host("close.example.test", "request", &origin.url())
        .start();
    gateway.change_host("close.example.test", &json!({ "revoked": "close" }));
    for host in ["api.example.test", "close.example.test"] {
        let (id, device) = gateway.certificate(ZONE, "device");
        let client = gateway.client(host).identity(&device);
        let mut http1 = client.http1().await.unwrap();
        let http2 = client.http2().await.unwrap();
        assert_eq!(http1.get("/before").await.unwrap().status, 200);
        assert_eq!(http2.get("/before").await.unwrap().status, 200);
        let tickets = client.tickets();
        gateway.revoke(ZONE, &id);
        http1.closed().await;
        http2.closed().await;
        for client in [client.clone(), client.clone().resuming(&tickets)] {
            let refused = client.get("/revoked").await.unwrap_err();
            assert_eq!(refused.why, "certificate_revoked");
            assert_eq!(gateway.handshake_record(refused.local)["reason"], "revoked");
        }
        gateway.restore(ZONE, &id);
        assert_eq!(client.get("/restored").await.unwrap().status, 200);
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|seen| seen["target"] != "/revoked")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_is_served_while_an_open_stream_is_given_its_grace() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    for round in 0..10 {
        let (id, device) = gateway.certificate(ZONE, "device");
        let client = gateway.client("api.example.test").identity(&device);
        let http2 = client.http2().await.unwrap();
        let open = http2.clone();
        let held = tokio::spawn(async move { open.get("/hold").await });
        origin.wait_held(1);
        gateway.revoke(ZONE, &id);
        let path = format!("/after/{round}");
        while !http2.is_closed() {
            let after = http2.get(&path).await;
            assert!(!after.is_ok_and(|answer| answer.status == 200), "{round}");
        }
        // It was cut, or came too late itself.
        assert!(!held.await.unwrap().is_ok_and(|answer| answer.status == 200));
    }
    let mut targets = origin.requests().into_iter();
    assert!(!targets.any(|seen| seen["target"].as_str().unwrap().starts_with("/after")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_client_hears_the_reason_where_the_host_allows() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .block(RULE)
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    gateway.revoke(ZONE, &id);
    let expired = gateway.authority(ZONE).issue(&Spec {
        begins: -2 * DAY,
        ends: -DAY,
        ..Spec::client("old")
    });
    for (identity, reason) in [
        (None, "not_presented"),
        (Some(&device), "revoked"),
        (Some(&expired), "expired"),
    ] {
        for tells in [false, true] {
            gateway.change_host("api.example.test", &json!({ "tell_reason": tells }));
            let client = gateway.client("api.example.test").identity_if(identity);
            let answer = client.get("/x").await.unwrap();
            assert_eq!(answer.status, 403);
            let said = format!("client certificate: {reason}\n");
            assert_eq!(answer.text().contains(&said), tells, "{}", answer.text());
        }
    }
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
    // No client was asked on it: it is told to go elsewhere, unless it is closed already.
    let after = before.get("/require").await;
    assert!(after.is_err() || after.is_ok_and(|answer| answer.status == 421));
    before.closed().await;
    assert_eq!(client.get("/require").await.unwrap().status, 200);
    assert!(
        gateway
            .client("api.example.test")
            .get("/none")
            .await
            .is_err()
    );
    gateway.remove_host("api.example.test");
    assert_eq!(
        client.get("/gone").await.unwrap_err().why,
        "unrecognized_name"
    );
}
