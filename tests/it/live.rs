//! Live connections whose certificate is lost in a roundabout way: it became good only after the
//! handshake, the stream is for another host than SNI named, the host itself is gone or closed to
//! further requests; and those of clients without a good one, whose host comes to ask for it.

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::{Authority, Client, Identity, Origin, Setup};

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
    let id = gateway.upload(&uploaded);
    let both = ["api.example.test", "other.example.test"];
    let device = uploaded.client("device");
    let client = gateway.client("api.example.test").identity(&device);
    let changes: [(&str, &dyn Fn()); 2] = [
        ("the other host no longer believes the CA", &|| {
            gateway.associate(&id, &both[..1]);
        }),
        ("the other host is gone", &|| {
            gateway.remove_host("other.example.test");
        }),
    ];
    for (what, change) in changes {
        gateway.associate(&id, &both);
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
    gateway.remove_host("api.example.test");
    all_end(open, "the host is gone").await;
}

/// A client that was let in without a good certificate, and the change after which it would not be.
struct TurnedAway<'t> {
    what: &'t str,
    sni: &'t str,
    /// The host that its requests are for.
    asked: &'t str,
    identity: Option<&'t Identity>,
    change: Value,
    back: Value,
    reason: &'t str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_not_be_let_in_any_more_is_closed() {
    let origin = Origin::echo();
    let hosts = ["api.example.test", "off.example.test", "open.example.test"];
    let gateway = Setup::new()
        .host(hosts[0], "request", &origin.url())
        .host(hosts[1], "off", &origin.url())
        .host(hosts[2], "off", &origin.url())
        .start();
    let stranger = Authority::root("Stranger").client("stranger");
    let device = gateway.authority(ZONE).client("device");
    let (id, revoked) = gateway.certificate(ZONE, "revoked");
    gateway.revoke(ZONE, &id);
    let mtls = |mode| json!({ "mtls": mode });
    let (require, request, off) = (mtls("require"), mtls("request"), mtls("off"));
    let case =
        |what, (sni, asked), identity, (change, back): (&Value, &Value), reason| TurnedAway {
            what,
            sni,
            asked,
            identity,
            change: change.clone(),
            back: back.clone(),
            reason,
        };
    let api = (hosts[0], hosts[0]);
    let (close, rule) = (json!({ "revoked": "close" }), json!({ "revoked": "rule" }));
    let cases = [
        case(
            "no certificate, request to require",
            api,
            None,
            (&require, &request),
            "not_presented",
        ),
        case(
            "a certificate of nobody's, request to require",
            api,
            Some(&stranger),
            (&require, &request),
            "unknown_ca",
        ),
        case(
            "a certificate that was revoked before, rule to close",
            api,
            Some(&revoked),
            (&close, &rule),
            "revoked",
        ),
        case(
            "never asked, off to require",
            (hosts[1], hosts[1]),
            None,
            (&require, &off),
            "not_presented",
        ),
        case(
            "never asked, open for a host that goes to require",
            (hosts[1], hosts[2]),
            None,
            (&require, &off),
            "not_presented",
        ),
    ];
    for TurnedAway {
        what,
        sni,
        asked,
        identity,
        change,
        back,
        reason,
    } in cases
    {
        // Who is good, and who is at another host, notices nothing.
        let good = gateway.client(hosts[0]).identity(&device);
        let mut bystanders = live(&good, hosts[0]).await;
        let elsewhere = if sni == hosts[0] { hosts[1] } else { hosts[0] };
        bystanders.extend(live(&gateway.client(elsewhere), elsewhere).await);
        let still = good.http2().await.unwrap();
        let client = gateway.client(sni).identity_if(identity);
        let mut turned_away = live(&client, asked).await;
        if sni != asked {
            // What is idle has nothing open for the other host.
            turned_away.pop().unwrap().abort();
        }
        gateway.change_host(asked, &change);
        all_end(turned_away, what).await;
        let closed = gateway.record(what, |line| {
            line["event"] == "closed" && line["reason"] == reason && line["host"] == asked
        });
        assert_eq!(closed["client_cert"]["reason"], reason, "{closed}");
        assert_eq!(still.get("/still").await.unwrap().status, 200, "{what}");
        for bystander in bystanders {
            assert!(!bystander.is_finished(), "{what}");
            bystander.abort();
        }
        gateway.change_host(asked, &back);
    }
    // A host that is gone lets no client in; its name may be the next host's, which asks for more.
    let open = live(&gateway.client(hosts[1]), hosts[1]).await;
    gateway.remove_host(hosts[1]);
    all_end(open, "the host is gone").await;
}

/// Nothing of what a host asks has changed for these: an ordinary change leaves them alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_still_let_in_stays() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .host("off.example.test", "off", &origin.url())
        .start();
    let stranger = Authority::root("Stranger").client("stranger");
    let mut open = Vec::new();
    for client in [
        gateway.client("api.example.test"),
        gateway.client("api.example.test").identity(&stranger),
    ] {
        open.extend(live(&client, "api.example.test").await);
    }
    open.extend(live(&gateway.client("off.example.test"), "off.example.test").await);
    let (id, device) = gateway.certificate(ZONE, "device");
    let certified = gateway.client("api.example.test").identity(&device);
    let certified = live(&certified, "api.example.test").await;
    gateway.change_host("off.example.test", &json!({ "mtls": "request" }));
    gateway.change_host("api.example.test", &json!({ "tell_reason": true }));
    gateway.revoke(ZONE, &id);
    all_end(certified, "revoked").await;
    assert!(open.iter().all(|one| !one.is_finished()));
    open.into_iter().for_each(|one| one.abort());
}
