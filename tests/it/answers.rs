//! Redirects, origin rules and response headers: rules of phases that change where a client or its
//! request goes and what the answer says, over HTTP/1.1 and HTTP/2.

use http::Request;
use serde_json::{Value, json};
use tests::client::{Answer, body};
use tests::gateway::ZONE;
use tests::{Client, Gateway, Origin, Setup};

const API: &str = "api.example.test";

/// Sets the rules of a phase.
fn set(gateway: &Gateway, phase: &str, rules: Value) {
    let zone = gateway.zone_id(ZONE);
    let path = format!("/client/v4/zones/{zone}/rulesets/phases/{phase}/entrypoint");
    drop(
        gateway
            .admin
            .call("PUT", &path, &json!({ "rules": rules }))
            .result(),
    );
}

/// `postern rule add …` for the test's zone.
fn add(gateway: &Gateway, arguments: &[&str]) -> tests::tool::Outcome {
    let mut all = vec!["rule", "add", "--zone", ZONE];
    all.extend(arguments);
    gateway.cli(&all)
}

/// The answer to a GET, over HTTP/1.1 and over HTTP/2.
async fn both(client: &Client, path: &str, headers: &[(&str, &str)]) -> [Answer; 2] {
    let mut one = client.http1().await.unwrap();
    let mut request = Request::get(path).header("host", API);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let first = one.send(request.body(body("")).unwrap()).await.unwrap();
    let two = client.http2().await.unwrap();
    let mut request = two.request(path, body(""));
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    [first, two.send(request).await.unwrap()]
}

fn rewrite(expression: &str, headers: Value) -> Value {
    json!({ "action": "rewrite", "expression": expression,
            "action_parameters": { "headers": headers } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_headers_are_changed_on_every_answer_of_the_host() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "request", &origin.url()).start();
    let hsts = json!({ "operation": "set", "value": "max-age=31536000; includeSubDomains" });
    let broken = "url_decode(http.request.headers[\"x-in\"][0])";
    set(
        &gateway,
        "http_response_headers_transform",
        json!([
            rewrite("true", json!({ "Strict-Transport-Security": hsts })),
            rewrite(
                "http.request.uri.path eq \"/a\"",
                json!({
                    "content-type": { "operation": "remove" },
                    "x-who": { "operation": "set", "expression": "cf.tls_client_auth.cert_subject_dn" },
                    "x-split": { "operation": "set", "expression": broken },
                    "x-many": { "operation": "add", "value": "one" },
                })
            ),
            rewrite(
                "true",
                json!({ "x-many": { "operation": "add", "value": "two" } })
            ),
        ]),
    );
    set(
        &gateway,
        "http_request_firewall_custom",
        json!([{ "action": "block", "expression": "http.request.uri.path eq \"/no\"" }]),
    );
    let (_, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client(API).identity(&device);
    for answer in both(&client, "/a", &[("x-in", "a%0d%0ax-evil: 1")]).await {
        assert_eq!(answer.status, 200);
        let hsts = answer.header("strict-transport-security");
        assert_eq!(hsts, "max-age=31536000; includeSubDomains");
        assert_eq!(answer.header("x-who"), "CN=device");
        let many: Vec<_> = answer.headers.get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"]);
        for absent in ["content-type", "x-split", "x-evil"] {
            assert!(!answer.headers.contains_key(absent), "{absent}");
        }
    }
    // What the gateway answers itself is an answer too.
    for answer in both(&client, "/no", &[]).await {
        assert_eq!(answer.status, 403);
        assert!(answer.headers.contains_key("strict-transport-security"));
        assert_eq!(answer.header("x-many"), "two");
    }
    drop(origin);
    for answer in both(&client, "/gone", &[]).await {
        assert_eq!(answer.status, 502);
        assert!(answer.headers.contains_key("strict-transport-security"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_answer_before_custom_rules_and_lead_nowhere_else() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "request", &origin.url()).start();
    let path = |path: &str| format!("http.request.uri.path eq \"{path}\"");
    for arguments in [
        vec![
            "--expression",
            &path("/old"),
            "--to",
            "/new?x",
            "--keep-query",
        ],
        vec![
            "--expression",
            "starts_with(http.request.uri.path, \"/move/\")",
            "--to-expression",
            "concat(\"https://www.example.test\", http.request.uri.path)",
            "--redirect-status",
            "308",
        ],
        vec![
            "--expression",
            &path("/to"),
            "--to-expression",
            "url_decode(http.request.headers[\"x-to\"][0])",
            "--redirect-status",
            "302",
        ],
    ] {
        drop(add(&gateway, &arguments).ok());
    }
    set(
        &gateway,
        "http_request_firewall_custom",
        json!([{ "action": "block", "expression": "not cf.tls_client_auth.cert_verified" }]),
    );
    let client = gateway.client(API);
    for answer in both(&client, "/old?a=1", &[]).await {
        assert_eq!(
            (answer.status, answer.header("location")),
            (301, "/new?x&a=1")
        );
        assert!(answer.headers.contains_key("x-request-id"));
    }
    for answer in both(&client, "/move/it", &[]).await {
        assert_eq!(answer.status, 308);
        assert_eq!(
            answer.header("location"),
            "https://www.example.test/move/it"
        );
    }
    for (given, expected) in [
        ("/fine", Some("/fine")),
        ("//evil.test/", None),
        ("\\\\evil.test/", None),
        ("javascript:alert(1)", None),
        ("/a%0d%0aset-cookie: a=b", None),
    ] {
        for answer in both(&client, "/to", &[("x-to", given)]).await {
            let location = answer
                .headers
                .get("location")
                .map(|value| value.to_str().unwrap());
            assert_eq!(location, expected, "{given}");
            let status = if expected.is_some() { 302 } else { 500 };
            assert_eq!(answer.status, status, "{given}");
            assert!(!answer.headers.contains_key("set-cookie"), "{given}");
        }
    }
    let line = gateway.record("the redirect that led nowhere", |line| {
        line["status"] == 500
    });
    assert_eq!(
        (&line["error"], &line["rule"]["action"]),
        (&json!("redirect"), &json!("redirect"))
    );
    // What no redirect matches is for the custom rules.
    for answer in both(&client, "/other", &[]).await {
        assert_eq!(answer.status, 403);
    }
    let listed = gateway
        .cli(&["rule", "list", "--zone", ZONE, "--phase", "redirect"])
        .ok();
    assert!(listed.contains("301 to \"/new?x\""), "{listed}");
    let refused = add(&gateway, &["--expression", "true", "--to", "//evil.test"]).failed(1);
    assert!(refused.contains("begins with one `/`"), "{refused}");
    let refused = add(
        &gateway,
        &[
            "--expression",
            "true",
            "--to",
            "/x",
            "--redirect-status",
            "300",
        ],
    )
    .failed(1);
    assert!(refused.contains("301, 302"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origin_rules_send_requests_elsewhere() {
    let (own, other) = (Origin::echo(), Origin::echo());
    let gateway = Setup::new()
        .host(API, "request", &own.url())
        .host("other.example.test", "request", &other.url())
        .start();
    let port = other.url().rsplit(':').next().unwrap().to_owned();
    for arguments in [
        vec![
            "--expression",
            "http.request.uri.path eq \"/port\"",
            "--origin-port",
            &port,
        ],
        vec![
            "--expression",
            "http.request.uri.path eq \"/named\"",
            "--origin-host",
            "other.example.test",
            "--origin-host-header",
            "inner.test:81",
        ],
        vec![
            "--expression",
            "http.request.uri.path eq \"/nowhere\"",
            "--origin-host",
            "127.0.0.1",
            "--origin-port",
            "1",
        ],
    ] {
        drop(add(&gateway, &arguments).ok());
    }
    let client = gateway.client(API);
    for (path, expected, host) in [
        ("/", &own, API),
        ("/port", &other, API),
        ("/named", &other, "inner.test:81"),
    ] {
        let before = expected.requests().len();
        for answer in both(&client, path, &[]).await {
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.json()["headers"]["host"], json!([host]), "{path}");
        }
        assert_eq!(expected.requests().len(), before + 2, "{path}");
        let line = gateway.record(path, |line| line["path"] == path);
        assert_eq!(line["origin"], expected.url(), "{path}");
    }
    for answer in both(&client, "/nowhere", &[]).await {
        assert_eq!(answer.status, 502);
    }
    let refused = add(
        &gateway,
        &["--expression", "true", "--origin-host", "http://a.test"],
    )
    .failed(1);
    assert!(refused.contains("no URL"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gateway_says_itself_has_the_form_that_was_asked_for() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "request", &origin.url()).start();
    let blocked = r#"http.request.uri.path eq "/blocked""#;
    let plain = json!([{ "action": "block", "expression": blocked }]);
    set(&gateway, "http_request_firewall_custom", plain);
    set(
        &gateway,
        "http_request_dynamic_redirect",
        json!([{ "action": "redirect", "expression": r#"http.request.uri.path eq "/old""#,
                 "action_parameters": { "from_value": {
                     "status_code": 302, "target_url": { "value": "https://other.test/" } } } }]),
    );
    let client = gateway.client(API);
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, content_type) in [
        ("*/*", "text/plain"),
        (BROWSER, "text/html; charset=utf-8"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("image/webp", "text/plain"),
    ] {
        for (path, status) in [("/blocked", 403), ("/a%2Fb", 400), ("/old", 302)] {
            for answer in both(&client, path, &[("accept", accept)]).await {
                assert_eq!(answer.status, status, "{accept} {path}");
                assert_eq!(
                    answer.headers["content-type"], content_type,
                    "{accept} {path}"
                );
                assert_eq!(answer.headers["vary"], "accept", "{accept} {path}");
                assert!(answer.headers.contains_key("date"), "{accept} {path}");
                let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
                let text = answer.text();
                assert!(text.contains(&id), "{accept} {path}: {text}");
                if content_type.ends_with("json") {
                    let said: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(said["status"], status, "{text}");
                    assert_eq!(said["request_id"], id, "{text}");
                }
            }
        }
    }
    // A head that cannot be read says that, too.
    let mut raw = client.raw().await.unwrap();
    raw.write(format!(
        "GET / HTTP/1.1\r\nHost: {API}\r\nAccept: {BROWSER}\r\nA b: c\r\n\r\n"
    ))
    .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    // What a rule says in its own words stays as it is.
    let own = json!([{ "action": "block", "expression": r#"http.request.uri.path eq "/own""#,
        "action_parameters": { "response": {
            "status_code": 451, "content": "no", "content_type": "text/plain" } } }]);
    set(&gateway, "http_request_firewall_custom", own);
    for answer in both(&client, "/own", &[("accept", "application/json")]).await {
        assert_eq!(answer.status, 451);
        assert_eq!(answer.headers["content-type"], "text/plain");
        assert!(answer.text().starts_with("no"), "{}", answer.text());
    }
}
