//! Which host a connection and a request are for: SNI, `Host`, `:authority`, and what happens
//! when they disagree.

use http::Request;
use serde_json::json;
use tests::client::body;
use tests::{Origin, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sni_picks_the_host_or_nobody() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .host("*.wild.example.test", "off", &origin.url())
        .host("exact.wild.example.test", "off", &origin.url())
        .start();
    for (sni, expected) in [
        (Some("api.example.test"), Ok("api.example.test")),
        (Some("API.Example.TEST"), Ok("api.example.test")),
        (Some("a.wild.example.test"), Ok("*.wild.example.test")),
        (
            Some("exact.wild.example.test"),
            Ok("exact.wild.example.test"),
        ),
        (Some("a.b.wild.example.test"), Err("unrecognized_name")),
        (Some("wild.example.test"), Err("unrecognized_name")),
        (Some("unknown.test"), Err("unrecognized_name")),
        (Some("xapi.example.test"), Err("unrecognized_name")),
        (None, Err("alert 109")),
    ] {
        for twelve in [true, false] {
            let client = gateway
                .client("api.example.test")
                .sni(sni)
                .host(sni.unwrap_or("api.example.test"))
                .tls(twelve);
            let what = format!("SNI {sni:?}, TLS 1.2: {twelve}");
            let path = format!("/{}/{twelve}", sni.unwrap_or_default());
            match (client.get(&path).await, expected) {
                (Ok(answer), Ok(host)) => {
                    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                    assert_eq!(gateway.request_record(&path)["host"], *host, "{what}");
                }
                (Err(refused), Err(alert)) => {
                    let record = gateway.handshake_record(refused.local);
                    let reason = if sni.is_some() {
                        "unknown_host"
                    } else {
                        "no_sni"
                    };
                    assert_eq!(record["reason"], reason, "{what}: {record}");
                    assert_eq!(refused.why, alert, "{what}");
                    if let Some(sni) = sni {
                        assert_eq!(record["tls"]["sni"], *sni, "{what}");
                    }
                }
                (outcome, _) => panic!("{what}: {outcome:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_host_answers_clients_without_sni_only() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("host.default", "api.example.test")
        .host("api.example.test", "off", &origin.url())
        .host("strict.example.test", "require", &origin.url())
        .block(r#"http.host eq "api.example.test" and http.request.uri.path eq "/admin""#)
        .start();
    let client = gateway.client("api.example.test").sni(None);
    // A rule about the host holds whatever it is called.
    for host in ["api.example.test", "127.0.0.1", "whatever.invalid"] {
        let answer = client.clone().host(host).get("/admin").await.unwrap();
        assert_eq!(answer.status, 403, "{host}");
    }
    let mut raw = client.raw().await.unwrap();
    raw.write("GET /admin HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.message().await.unwrap().status(), 403);
    // A client that can name it has no reason to call it otherwise.
    let named = gateway.client("api.example.test").host("whatever.invalid");
    assert_eq!(named.get("/x").await.unwrap().status, 421);
    // A client that reached it may call it what it likes, but not by the name of a stricter host.
    for (host, status) in [
        ("api.example.test", 200),
        ("127.0.0.1", 200),
        ("whatever.invalid", 200),
        ("strict.example.test", 421),
    ] {
        let answer = client
            .clone()
            .host(host)
            .get(&format!("/{host}"))
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(
            gateway.request_record(&format!("/{host}"))["tls"].get("sni"),
            None
        );
    }
    let unknown = gateway.client("unknown.test").get("/").await.unwrap_err();
    assert_eq!(unknown.why, "unrecognized_name");
    assert!(
        gateway
            .client("strict.example.test")
            .get("/")
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_requests_of_its_own_policy_only() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .zone("other.test")
        .host("off.example.test", "off", &origin.url())
        .host("open.example.test", "off", &origin.url())
        .host("request.example.test", "request", &origin.url())
        .host("other.example.test", "request", &origin.url())
        .host("require.example.test", "require", &origin.url())
        .host("request.other.test", "request", &origin.url())
        .start();
    let device = gateway.authority("example.test").client("device");
    let other = gateway.authority("other.test").client("device");
    for (sni, host, same_policy) in [
        ("off.example.test", "off.example.test", true),
        ("off.example.test", "OFF.example.test:8443", true),
        ("off.example.test", "off.example.test.", true),
        ("off.example.test", "open.example.test", true),
        ("off.example.test", "request.example.test", false),
        ("off.example.test", "require.example.test", false),
        ("off.example.test", "unknown.test", false),
        ("off.example.test", "127.0.0.1", false),
        ("request.example.test", "other.example.test", true),
        ("request.example.test", "require.example.test", false),
        ("request.example.test", "off.example.test", false),
        ("request.example.test", "request.other.test", false),
        ("require.example.test", "request.example.test", false),
        ("request.other.test", "request.example.test", false),
    ] {
        let identity = if sni.ends_with("other.test") {
            &other
        } else {
            &device
        };
        let client = gateway.client(sni).identity(identity).host(host);
        let expected = if same_policy { 200 } else { 421 };
        let what = format!("{host} on a connection for {sni}");

        let path = format!("/h1/{sni}/{host}");
        let mut http1 = client.http1().await.unwrap();
        assert_eq!(http1.get(&path).await.unwrap().status, expected, "{what}");
        // The target may carry the authority too, and Host must not contradict it.
        let absolute = Request::get(format!("https://{host}{path}/absolute"));
        let request = absolute.header("host", host).body(body("")).unwrap();
        assert_eq!(
            http1.send(request).await.unwrap().status,
            expected,
            "{what}, absolute"
        );
        let contradiction = Request::get(format!("https://{sni}{path}/contradiction"));
        let request = contradiction
            .header("host", "contradiction.test")
            .body(body(""))
            .unwrap();
        assert_eq!(
            http1.send(request).await.unwrap().status,
            400,
            "{what}, contradiction"
        );

        let path = format!("/h2/{sni}/{host}");
        let http2 = client.http2().await.unwrap();
        assert_eq!(
            http2.get(&path).await.unwrap().status,
            expected,
            "{what}, HTTP/2"
        );
        let mut request = http2.request(&format!("{path}/contradiction"), body(""));
        request
            .headers_mut()
            .insert("host", "contradiction.test".parse().unwrap());
        assert_eq!(
            http2.send(request).await.unwrap().status,
            400,
            "{what}, HTTP/2 contradiction"
        );
        // A misdirected request says nothing against the connection.
        let own = gateway
            .client(sni)
            .identity(identity)
            .http2()
            .await
            .unwrap();
        assert_eq!(own.get("/own").await.unwrap().status, 200, "{what}");
    }
    for seen in origin.requests() {
        let told = seen["headers"]["x-forwarded-host"][0]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(seen["headers"]["host"], json!([told]), "{seen}");
        assert!(
            !seen["target"].as_str().unwrap().contains("contradiction"),
            "{seen}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_authorities_are_refused() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    for (request, status) in [
        ("GET /none HTTP/1.1\r\n\r\n", 400),
        (
            "GET /two HTTP/1.1\r\nHost: api.example.test\r\nHost: api.example.test\r\n\r\n",
            400,
        ),
        (
            "GET /space HTTP/1.1\r\nHost: api.example.test evil\r\n\r\n",
            400,
        ),
        (
            "GET /user HTTP/1.1\r\nHost: user@api.example.test\r\n\r\n",
            400,
        ),
        (
            "GET /port HTTP/1.1\r\nHost: api.example.test:port\r\n\r\n",
            400,
        ),
        (
            "GET /list HTTP/1.1\r\nHost: api.example.test, evil.test\r\n\r\n",
            400,
        ),
        ("GET /empty HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (
            "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test\r\n\r\n",
            405,
        ),
        ("TRACE / HTTP/1.1\r\nHost: api.example.test\r\n\r\n", 405),
        // HTTP/1.0 has no Host; the SNI has said it.
        ("GET /ten HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut raw = gateway.client("api.example.test").raw().await.unwrap();
        raw.write(request).await;
        let answer = raw.message().await.unwrap();
        assert_eq!(answer.status(), status, "{request:?}: {}", answer.head);
    }
    assert_eq!(origin.requests().len(), 1);
}
