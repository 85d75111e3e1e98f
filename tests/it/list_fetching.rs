//! Revocation lists fetched over HTTP: taken, unchanged, changed, and everything that can go wrong
//! with their publishers.

use serde_json::{Value, json};
use tests::crl::CrlSpec;
use tests::pki::DAY;
use tests::server::{CaServer, Manner};
use tests::{Authority, Identity};

use crate::revocation_lists::World;

fn list(etag: &str, spec: &CrlSpec, authority: &Authority) -> Manner {
    Manner::Serve {
        etag: etag.into(),
        body: spec.sign(authority),
    }
}

impl World {
    fn set(&self, body: &Value) -> Value {
        self.gateway
            .admin
            .call("PATCH", &self.path(), body)
            .result()
    }

    /// Fetches now; the result and the reason of the first URL.
    fn fetch(&self) -> (String, String) {
        let path = format!("{}/fetch", self.path());
        let answer = self.gateway.admin.call("POST", &path, &json!({})).result();
        let first = &answer["fetches"][0];
        let of = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
        (of("result"), of("error"))
    }
}

/// A CA that requires lists, and where they come from.
fn world(manner: Manner) -> (World, CaServer, Identity, Identity) {
    let world = World::new();
    let server = CaServer::start(manner);
    let (good, bad) = (
        world.authority.client("good"),
        world.authority.client("bad"),
    );
    (world, server, good, bad)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_fetched_renewed_and_never_goes_back() {
    let (mut world, server, good, bad) = world(Manner::Close);
    let empty = |number| CrlSpec {
        number: Some(number),
        ..CrlSpec::default()
    };
    // An hour between two: what happens below happens because it was asked for.
    let url = server.url("/ca.crl?x=1");
    world.set(&json!({ "policy": "hard", "urls": [url], "fetch_every": 3600 }));
    let failed = world.fetch();
    assert_eq!(failed.0, "failed", "{failed:?}");
    assert_eq!(world.outcome(&good).await, "crl_missing");
    server.set(list("one", &empty(1), &world.authority));
    assert_eq!(world.fetch().0, "taken");
    assert_eq!(world.outcome(&good).await, "200");
    assert_eq!(world.outcome(&bad).await, "200");
    // The same again is not sent again.
    assert_eq!(world.fetch().0, "unchanged");
    let last = server.requests().pop().unwrap();
    assert!(last.starts_with("get /ca.crl?x=1 http/1.1\r\n"), "{last}");
    assert!(last.contains("if-none-match: \"one\""), "{last}");
    assert!(
        last.contains("if-modified-since: sat, 21 nov 2026"),
        "{last}"
    );
    server.set(list(
        "two",
        &CrlSpec::revoking(2, &[&bad]),
        &world.authority,
    ));
    assert_eq!(world.fetch().0, "taken");
    assert_eq!(world.outcome(&bad).await, "revoked");
    // Whatever comes now, the last good list stays.
    let stranger = Authority::root("Stranger");
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nabc";
    let moved = |to: &str| {
        let text = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        Manner::Raw(text.into_bytes())
    };
    for (manner, result, expected) in [
        (
            list("three", &empty(1), &world.authority),
            "refused",
            "not above 02",
        ),
        (
            list("three", &empty(3), &stranger),
            "refused",
            "its issuer is none of",
        ),
        (
            list(
                "three",
                &CrlSpec {
                    begins: -2 * DAY,
                    ends: Some(-DAY),
                    ..empty(3)
                },
                &world.authority,
            ),
            "refused",
            "it expired at",
        ),
        (
            list(
                "three",
                &CrlSpec {
                    begins: -DAY,
                    ..empty(3)
                },
                &world.authority,
            ),
            "refused",
            "its number is above",
        ),
        (
            Manner::body(b"garbage".to_vec()),
            "refused",
            "not a certificate revocation list",
        ),
        (
            Manner::body(Vec::new()),
            "refused",
            "not a certificate revocation list",
        ),
        (Manner::Raw(b"garbage".to_vec()), "failed", "broken"),
        (Manner::Raw(long.into()), "failed", "broken"),
        (
            Manner::Raw(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
            "failed",
            "500",
        ),
        (
            moved("https://127.0.0.1/x"),
            "failed",
            "not on the same server",
        ),
        (
            moved("http://169.254.169.254/x"),
            "failed",
            "not on the same server",
        ),
        (moved("/again"), "failed", "more than 3 redirects"),
        (Manner::Close, "failed", ""),
    ] {
        server.set(manner);
        let (found, why) = world.fetch();
        assert_eq!(found, result, "{expected}: {why}");
        assert!(why.contains(expected), "{expected}: {why}");
        assert_eq!(world.outcome(&good).await, "200", "{expected}");
        assert_eq!(world.outcome(&bad).await, "revoked", "{expected}");
    }
    let metrics = world.gateway.admin.get("/metrics").body;
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("postern_crl_fetch_total{") && line.contains("\"taken\""));
    assert!(!counted.unwrap().ends_with(" 0"), "{metrics}");
    // A restart forgets nothing, with the server down.
    assert!(world.gateway.stop().success());
    world.gateway.start();
    assert_eq!(world.outcome(&good).await, "200");
    assert_eq!(world.outcome(&bad).await, "revoked");
    server.set(list("one", &empty(1), &world.authority));
    assert_eq!(world.fetch().0, "refused");
    // A list that was removed here is asked for anew, validators or not.
    server.set(list("four", &empty(4), &world.authority));
    assert_eq!(world.fetch().0, "taken");
    assert_eq!(world.fetch().0, "unchanged");
    drop(
        world
            .gateway
            .admin
            .call("DELETE", &world.path(), &Value::Null)
            .result(),
    );
    assert_eq!(world.outcome(&good).await, "crl_missing");
    assert_eq!(world.fetch().0, "taken");
    assert_eq!(world.outcome(&bad).await, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_fetched_unasked_and_cut_connections() {
    let (world, server, good, bad) = world(Manner::Close);
    let url = server.url("/ca.crl");
    let set = world.gateway.cli(&[
        "crl",
        "set",
        &world.id,
        "--policy",
        "soft",
        "--url",
        &url,
        "--fetch-every",
        "1",
    ]);
    assert!(set.out.contains(&url), "{set:?}");
    assert_eq!(world.outcome(&bad).await, "200", "soft: nobody knows");
    let client = world.gateway.client("api.example.test").identity(&bad);
    let mut live = client.http1().await.unwrap();
    assert_eq!(live.get("/x").await.unwrap().status, 200);
    let revoking = CrlSpec {
        ends: Some(2 * DAY),
        ..CrlSpec::revoking(1, &[&bad])
    };
    server.set(list("one", &revoking, &world.authority));
    // It is not asked for here: the schedule fetches it.
    tests::wait::within("the live connection to be closed", live.closed()).await;
    assert_eq!(world.outcome(&bad).await, "revoked");
    assert_eq!(world.outcome(&good).await, "200");
}

#[test]
fn what_is_no_url_to_fetch_from_is_refused() {
    let (world, _server, ..) = world(Manner::Close);
    for url in [
        "https://crl.test/ca.crl",
        "ldap://crl.test/cn=ca",
        "file:///etc/passwd",
        "http://user:secret@crl.test/",
        "crl.test/ca.crl",
    ] {
        let body = json!({ "urls": [url] });
        let reply = world.gateway.admin.call("PATCH", &world.path(), &body);
        assert_eq!(reply.status, 400, "{url}");
        assert!(
            reply.body.contains("http://HOST") || reply.body.contains("user name"),
            "{}",
            reply.body
        );
    }
    let fetch = format!("{}/fetch", world.path());
    let reply = world.gateway.admin.call("POST", &fetch, &json!({}));
    assert_eq!(reply.status, 400, "{}", reply.body);
}
