//! What rules do to requests, and when a change of them takes effect.

use std::time::Duration;

use serde_json::json;
use tests::gateway::ZONE;
use tests::{Gateway, Identity, Origin, Setup};

const DEMO: &str = r#"((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {"/admin"})"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_rule() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .host("open.example.test", "off", &origin.url())
        .block(DEMO)
        .start();
    let (_, good) = gateway.certificate(ZONE, "good");
    let (id, revoked) = gateway.certificate(ZONE, "revoked");
    gateway.revoke(ZONE, &id);
    let stranger = Identity::self_signed(&tests::pki::Spec::client("stranger"));
    for (host, identity, path, status) in [
        ("api.example.test", None, "/admin", 403),
        ("api.example.test", None, "/", 200),
        ("api.example.test", Some(&good), "/admin", 200),
        ("api.example.test", Some(&revoked), "/admin", 403),
        ("api.example.test", Some(&revoked), "/", 200),
        ("api.example.test", Some(&stranger), "/admin", 403),
        ("open.example.test", None, "/admin", 403),
        ("open.example.test", Some(&good), "/admin", 403),
        ("open.example.test", None, "/", 200),
    ] {
        let client = gateway.client(host);
        let client = client.identity_if(identity);
        let what = format!("{host}{path} {:?}", identity.map(Identity::serial));
        assert_eq!(client.get(path).await.unwrap().status, status, "{what}");
        let over_http2 = client.http2().await.unwrap().get(path).await.unwrap();
        assert_eq!(over_http2.status, status, "{what} over HTTP/2");
    }
    let blocked = |line: &serde_json::Value| line["status"] == 403;
    tests::wait::until("ten blocked requests in the log", || {
        let records = gateway.records();
        (records.into_iter().filter(blocked).count() == 10).then_some(())
    });
    let record = gateway.record("a block", |line| line["status"] == 403);
    assert_eq!(record["rule"]["action"], "block", "{record}");
    assert_eq!(record["rule"]["id"].as_str().unwrap().len(), 32, "{record}");
    assert_eq!(record.get("origin"), None, "{record}");
    assert_eq!(
        origin.requests().len(),
        8,
        "what is blocked does not reach the origin"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_answers_as_it_was_told_to() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let rule = |path: &str, parameters: serde_json::Value| {
        let expression = format!(r#"http.request.uri.path eq "{path}""#);
        let mut rule = json!({ "action": "block", "expression": expression });
        if !parameters.is_null() {
            rule["action_parameters"] = json!({ "response": parameters });
        }
        gateway.rule(&rule)
    };
    let plain = rule("/plain", json!(null));
    let custom = rule(
        "/custom",
        json!({ "status_code": 418, "content_type": "application/json", "content": "{\"no\":1}" }),
    );
    let html = rule(
        "/html",
        json!({ "status_code": 404, "content_type": "text/html", "content": "<p>gone</p>" }),
    );
    let client = gateway.client("api.example.test");
    for (path, rule, status, content_type, content) in [
        ("/plain", plain, 403, "text/plain", None),
        (
            "/custom",
            custom,
            418,
            "application/json",
            Some("{\"no\":1}"),
        ),
        ("/html", html, 404, "text/html", Some("<p>gone</p>")),
    ] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.header("content-type").starts_with(content_type),
            "{path}: {answer:?}"
        );
        assert_eq!(answer.header("x-request-id").len(), 32, "{path}");
        if let Some(content) = content {
            assert_eq!(answer.text(), content, "{path}");
        }
        let record = gateway.request_record(path);
        assert_eq!(record["rule"]["id"], rule, "{path}");
        assert_eq!(
            record["request_id"],
            answer.header("x-request-id"),
            "{path}"
        );
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_rules_are_written_down_and_let_pass() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let log = gateway.rule(&json!({
        "action": "log", "expression": r#"http.user_agent contains "curious""#,
    }));
    let block = gateway.rule(&json!({
        "action": "block", "expression": r#"http.request.uri.path eq "/no""#,
    }));
    for (path, agent, status, logged, blocked) in [
        ("/yes", "curious/1", 200, true, false),
        ("/yes2", "other/1", 200, false, false),
        ("/no", "curious/1", 403, true, true),
    ] {
        let mut http1 = gateway.client("api.example.test").http1().await.unwrap();
        let request = http::Request::get(path).header("host", "api.example.test");
        let request = request
            .header("user-agent", agent)
            .body(tests::client::body(""))
            .unwrap();
        assert_eq!(http1.send(request).await.unwrap().status, status, "{path}");
        let record = gateway.request_record(path);
        let expected = if logged { json!([log]) } else { json!(null) };
        assert_eq!(
            record.get("logged").cloned().unwrap_or_default(),
            expected,
            "{path}: {record}"
        );
        assert_eq!(record["rule"]["id"] == block, blocked, "{path}: {record}");
    }
}

fn entrypoint(gateway: &Gateway) -> String {
    let zone = gateway.zone_id(ZONE);
    format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_take_effect_on_the_next_request_of_a_live_connection() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let mut http1 = client.http1().await.unwrap();
    let http2 = client.http2().await.unwrap();
    let mut statuses = async |expected: u16, what: &str| {
        assert_eq!(http1.get("/x").await.unwrap().status, expected, "{what}");
        assert_eq!(
            http2.get("/x").await.unwrap().status,
            expected,
            "{what}, HTTP/2"
        );
    };
    statuses(200, "before any rule").await;
    let first = gateway.rule(&json!({
        "action": "block", "expression": r#"http.request.uri.path eq "/x""#,
        "action_parameters": { "response": { "status_code": 401, "content_type": "text/plain", "content": "one" } },
    }));
    statuses(401, "after the first rule").await;
    let second = gateway.rule(&json!({
        "action": "block", "expression": r#"http.request.uri.path eq "/x""#,
        "action_parameters": { "response": { "status_code": 402, "content_type": "text/plain", "content": "two" } },
    }));
    statuses(401, "the first rule wins").await;
    let ruleset = gateway.admin.get(&entrypoint(&gateway)).result()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = |rule: &str| {
        format!(
            "/client/v4/zones/{}/rulesets/{ruleset}/rules/{rule}",
            gateway.zone_id(ZONE)
        )
    };
    let patch = |rule: &str, body: serde_json::Value| {
        drop(gateway.admin.call("PATCH", &path(rule), &body).result());
    };
    patch(&second, json!({ "position": { "before": first } }));
    statuses(402, "moved to the front").await;
    patch(&second, json!({ "enabled": false }));
    statuses(401, "switched off").await;
    patch(&second, json!({ "enabled": true }));
    statuses(402, "switched on").await;
    patch(
        &second,
        json!({ "expression": r#"http.request.uri.path eq "/y""# }),
    );
    statuses(401, "edited").await;
    drop(
        gateway
            .admin
            .call("DELETE", &path(&first), &json!(null))
            .result(),
    );
    statuses(200, "deleted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_expression_changes_nothing() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .block(r#"http.request.uri.path eq "/x""#)
        .start();
    let before = gateway.admin.get(&entrypoint(&gateway)).result();
    let id = before["id"].as_str().unwrap();
    for expression in [
        r#"http.request.uri.path equals "/x""#,
        r#"http.request.uri.path eq "/x"#,
        "cf.tls_client_auth.cert_verifed",
        "(((",
        "",
        r#"http.request.uri.path matches "(""#,
    ] {
        let path = format!(
            "/client/v4/zones/{}/rulesets/{id}/rules",
            gateway.zone_id(ZONE)
        );
        let rule = json!({ "action": "block", "expression": expression });
        let reply = gateway.admin.call("POST", &path, &rule);
        assert_eq!(reply.status, 400, "{expression}: {}", reply.body);
        let message = reply.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        if !expression.is_empty() {
            assert!(message.contains('^'), "{expression}: {message}");
            assert!(
                message.contains(expression.lines().next().unwrap()),
                "{expression}: {message}"
            );
        }
    }
    assert_eq!(gateway.admin.get(&entrypoint(&gateway)).result(), before);
    let client = gateway.client("api.example.test");
    assert_eq!(
        client.get("/x").await.unwrap().status,
        403,
        "the old rule stays"
    );
    assert_eq!(client.get("/y").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_rules_would_square_is_refused() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .block(r#"any(concat(http.request.uri.args.names[*], http.request.uri.query)[*] eq "x")"#)
        .start();
    let client = gateway.client("api.example.test");
    let path = |arguments: usize| format!("/?{}", "a&".repeat(arguments));
    let answer = client.get(&path(200)).await.unwrap();
    assert_eq!(answer.status, 200);
    let answer = client.get(&path(10_000)).await.unwrap();
    assert_eq!(answer.status, 431, "{}", answer.text());
    assert!(answer.text().contains("send less"), "{}", answer.text());
    let answer = client.get("/").await.unwrap();
    assert_eq!(answer.status, 200);
    let record = gateway.record("the refusal", |line| line["status"] == 431);
    assert_eq!(record["error"], "rules", "{record}");
    assert_eq!(origin.requests().len(), 2);
}

/// A client that answers what it receives acknowledges late when it once does not (RFC 1122
/// §4.2.3.2; Linux waits 40 ms), and the kernel's smoothed time follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_sees_how_long_a_round_trip_takes_by_now() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let set = "x-round-trip=to_string(cf.timings.client_tcp_rtt_msec)";
    let add = ["rule", "add", "--zone", ZONE, "--expression", "true"];
    drop(gateway.cli(&[&add[..], &["--set", set]].concat()).ok());
    let mut connection = gateway.client("api.example.test").http1().await.unwrap();
    let mut seen = Vec::new();
    for round in 1..=200 {
        let answer = connection.get("/").await.unwrap();
        let told = answer.json()["headers"]["x-round-trip"][0].clone();
        let msec: u64 = told.as_str().unwrap().parse().unwrap();
        seen.push(msec);
        if msec > 0 && msec != seen[0] {
            return;
        }
        if round % 4 == 0 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    panic!("it stays as it was: {seen:?}");
}
