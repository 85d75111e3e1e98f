//! Rate limits and header rules, from the command line to the origin.

use http::Request;
use serde_json::{Value, json};
use tests::client::body;
use tests::gateway::ZONE;
use tests::{Client, Gateway, Origin, Setup};

fn started(origin: &Origin) -> Gateway {
    Setup::new()
        .host("api.example.test", "request", &origin.url())
        .host("other.example.test", "request", &origin.url())
        .start()
}

/// `postern rule …` for the test's zone.
fn rule(gateway: &Gateway, verb: &str, arguments: &[&str]) -> tests::tool::Outcome {
    let mut all = vec!["rule", verb, "--zone", ZONE];
    all.extend(arguments);
    gateway.cli(&all)
}

fn rule_ok(gateway: &Gateway, verb: &str, arguments: &[&str]) {
    drop(rule(gateway, verb, arguments).ok());
}

/// What the origin sees of a request with these headers.
async fn headers_at_origin(client: &Client, host: &str, headers: &[(&str, &str)]) -> Value {
    let mut request = Request::get("/").header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut open = client.http1().await.unwrap();
    let answer = open.send(request.body(body("")).unwrap()).await.unwrap();
    answer.json()["headers"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_a_rate_are_turned_away_one_certificate_at_a_time() {
    let origin = Origin::echo();
    let gateway = started(&origin);
    let by = "cf.tls_client_auth.cert_fingerprint_sha256";
    let limited =
        r#"http.host eq "api.example.test" and starts_with(http.request.uri.path, "/limited")"#;
    let limit = ["--requests", "3", "--period", "3600", "--by", by];
    let add = [&["--expression", limited][..], &limit].concat();
    rule_ok(&gateway, "add", &add);
    let (_, first) = gateway.certificate(ZONE, "first");
    let (_, second) = gateway.certificate(ZONE, "second");
    for (who, identity) in [("first", &first), ("second", &second)] {
        let client = gateway.client("api.example.test").identity(identity);
        // Over two connections: a new one begins nothing anew.
        let mut statuses = Vec::new();
        for round in 0..2 {
            let open = client.http2().await.unwrap();
            for _ in 0..3 {
                statuses.push(open.get("/limited/a").await.unwrap().status);
            }
            assert_eq!(
                open.get("/free").await.unwrap().status,
                200,
                "{who} {round}"
            );
        }
        assert_eq!(statuses, [200, 200, 200, 429, 429, 429], "{who}");
    }
    let client = gateway.client("api.example.test").identity(&first);
    let refused = client.get("/limited/a").await.unwrap();
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=1200).contains(&after), "{after}");
    let line = gateway.record("the refusal", |line| line["status"] == 429);
    assert_eq!(line["rule"]["action"], "rate_limit", "{line}");
    // The other host of the zone is not meant.
    let other = gateway.client("other.example.test").identity(&first);
    assert_eq!(other.get("/limited/a").await.unwrap().status, 200);

    // Saying more does not make another client.
    let by = [
        "--expression",
        "http.request.uri.path eq \"/key\"",
        "--requests",
        "2",
        "--period",
        "3600",
        "--by",
        "http.request.headers[\"x-key\"]",
    ];
    rule_ok(&gateway, "add", &by);
    let open = client.http2().await.unwrap();
    let mut statuses = Vec::new();
    for more in 0..3 {
        let mut request = open.request("/key", body(""));
        let headers = request.headers_mut();
        headers.append("x-key", "mine".parse().unwrap());
        headers.append("x-key", more.to_string().parse().unwrap());
        statuses.push(open.send(request).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    // What an older version of a rule has punished, a newer one has not.
    rule_ok(&gateway, "edit", &["#2", "--timeout", "60"]);
    assert_eq!(open.get("/key").await.unwrap().status, 200);

    // A custom rule can leave the phase out, and blocks before anything is counted.
    let ruleset = gateway.admin.call(
        "PUT",
        &format!("/client/v4/zones/{}/rulesets/phases/http_request_firewall_custom/entrypoint", gateway.zone_id(ZONE)),
        &json!({ "rules": [
            { "action": "block", "expression": "http.request.uri.path eq \"/limited/never\"" },
            { "action": "skip", "expression": "http.request.uri.path eq \"/limited/skip\"",
              "action_parameters": { "phases": ["http_ratelimit"] }, "logging": { "enabled": false } },
        ] }),
    );
    drop(ruleset.result());
    assert_eq!(client.get("/limited/skip").await.unwrap().status, 200);
    assert_eq!(client.get("/limited/never").await.unwrap().status, 403);
    assert_eq!(client.get("/limited/a").await.unwrap().status, 429);

    // Another rate begins anew, and `log` only reports.
    let listed = rule(&gateway, "list", &["--phase", "ratelimit"]).ok();
    assert!(
        listed.contains("3 in 3600 s by cf.tls_client_auth"),
        "{listed}"
    );
    let edit = ["#1", "--requests", "1", "--action", "log"];
    rule_ok(&gateway, "edit", &edit);
    for _ in 0..3 {
        assert_eq!(client.get("/limited/log").await.unwrap().status, 200);
    }
    let line = gateway.record("what was logged", |line| {
        line["path"] == "/limited/log"
            && line["logged"].as_array().is_some_and(|all| !all.is_empty())
    });
    assert_eq!(line["status"], 200, "{line}");
    rule_ok(&gateway, "delete", &["--phase", "ratelimit", "#1"]);
    assert_eq!(client.get("/limited/a").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_counted_counts() {
    let origin = Origin::echo();
    let gateway = started(&origin);
    let counted = r#"any(http.request.headers["x-count"][*] eq "yes")"#;
    let arguments = [
        "--expression",
        "http.request.uri.path eq \"/a\"",
        "--requests",
        "2",
        "--period",
        "3600",
        "--timeout",
        "3600",
        "--count",
        counted,
    ];
    rule_ok(&gateway, "add", &arguments);
    let client = gateway.client("api.example.test");
    let open = client.http2().await.unwrap();
    let ask = async |path: &str, counts: bool| {
        let value = if counts { "yes" } else { "no" };
        let mut request = open.request(path, body(""));
        request
            .headers_mut()
            .insert("x-count", value.parse().unwrap());
        open.send(request).await.unwrap().status
    };
    for _ in 0..5 {
        assert_eq!(ask("/a", false).await, 200);
    }
    // Counted elsewhere, limited here.
    for _ in 0..3 {
        assert_eq!(ask("/b", true).await, 200);
    }
    assert_eq!(ask("/a", false).await, 429);
    assert_eq!(ask("/b", true).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_changed_on_the_way_and_never_by_the_client() {
    let origin = Origin::echo();
    let gateway = started(&origin);
    let arguments = [
        "--expression",
        "http.host eq \"api.example.test\"",
        "--set",
        "x-client=concat(\"cn:\", cf.tls_client_auth.cert_subject_dn)",
        "--set",
        "x-absent=http.request.headers[\"none\"][0]",
        "--set-text",
        "x-fixed=1",
        "--remove",
        "x-secret",
    ];
    rule_ok(&gateway, "add", &arguments);
    let (_, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client("api.example.test").identity(&device);
    let lies = [
        ("x-client", "cn:CN=admin"),
        ("x_client", "cn:CN=admin"),
        ("x-absent", "here"),
        ("x-fixed", "2"),
        ("x-secret", "s"),
        ("x-other", "stays"),
        ("connection", "x-client, x-fixed"),
    ];
    let seen = headers_at_origin(&client, "api.example.test", &lies).await;
    for (name, expected) in [
        ("x-client", json!(["cn:CN=device"])),
        ("x-fixed", json!(["1"])),
        ("x_client", Value::Null),
        ("x-absent", Value::Null),
        ("x-secret", Value::Null),
        ("x-other", json!(["stays"])),
    ] {
        assert_eq!(seen[name], expected, "{name}");
    }
    let other = gateway.client("other.example.test").identity(&device);
    let seen = headers_at_origin(&other, "other.example.test", &[("x-secret", "s")]).await;
    assert_eq!(seen["x-secret"], json!(["s"]));

    // Nor in trailers.
    let mut raw = client.raw().await.unwrap();
    raw.write(
        "POST / HTTP/1.1\r\nHost: api.example.test\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-client, x_client, x-other\r\n\r\n1\r\na\r\n0\r\n\
         x-client: CN=admin\r\nx_client: CN=admin\r\nx-other: stays\r\n\r\n",
    )
    .await;
    let answer = raw.message().await.unwrap();
    let seen: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(seen["trailers"], json!({ "x-other": ["stays"] }), "{seen}");

    // A name is one, however it is written, and stays the rule's when it is edited.
    rule_ok(
        &gateway,
        "edit",
        &["#1", "--set-text", "X-Client=none", "--remove", "X-Fixed"],
    );
    let seen = headers_at_origin(&client, "api.example.test", &[]).await;
    assert_eq!(
        (&seen["x-client"], &seen["x-fixed"]),
        (&json!(["none"]), &Value::Null)
    );

    // What the gateway says itself no rule can say.
    for name in [
        "Cf-Cert-Verified",
        "cf-client-cert-sha256",
        "Client_Cert",
        "x-forwarded-for",
        "host",
        "connection",
    ] {
        let text = format!("{name}=x");
        let arguments = ["--expression", "true", "--set-text", &text];
        let refused = rule(&gateway, "add", &arguments).failed(1);
        assert!(
            refused.contains("the gateway sets or removes"),
            "{name}: {refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_rules_are_refused_and_change_nothing() {
    let origin = Origin::echo();
    let gateway = started(&origin);
    for (arguments, why) in [
        (vec!["--requests", "0", "--period", "60"], "between 1 and"),
        (vec!["--requests", "5"], "ratelimit.period"),
        (
            vec!["--requests", "5", "--period", "5"],
            "between 10 and 3600",
        ),
        (
            vec!["--requests", "5", "--period", "60", "--by", "ip.scr"],
            "ip.src",
        ),
        (
            vec![
                "--requests",
                "5",
                "--period",
                "60",
                "--count",
                "http.response.code eq 401",
            ],
            "http.response.code",
        ),
        (vec!["--phase", "ratelimit"], "it is required here"),
        (vec!["--set", "x-a=ip.src"], "a string is expected"),
        (vec!["--set", "x-a=nonsense("], "nonsense"),
        (vec!["--set-text", "bad name=1"], "not the name of a header"),
        (vec!["--phase", "headers"], "not offered in this phase"),
    ] {
        let mut all = vec!["--expression", "true"];
        all.extend(&arguments);
        let refused = rule(&gateway, "add", &all).failed(1);
        assert!(refused.contains(why), "{arguments:?}: {refused}");
    }
    for phase in ["ratelimit", "headers"] {
        let listed = rule(&gateway, "list", &["--phase", phase]).ok();
        assert!(listed.starts_with("no rules"), "{listed}");
    }
}
