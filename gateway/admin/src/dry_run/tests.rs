//! Dry runs through the API: by hand, from the log, with drafts.

use serde_json::{Value, json};

use crate::limits::{DRY_RUN_EVALUATIONS_MAX, DRY_RUN_REQUESTS_MAX};
use crate::tests::World;

/// A zone with hosts of every mode and three rules; answers the zone's id and the rules' ids.
async fn set_up(world: &World) -> (String, Vec<String>) {
    let zone = world.zone().await;
    for (name, mtls) in [
        ("api.example.test", "request"),
        ("open.example.test", "off"),
        ("closed.example.test", "require"),
    ] {
        let host = json!({"name": name, "mtls": mtls, "origin": {"url": "http://127.0.0.1:1"}});
        let path = format!("/postern/v1/zones/{zone}/hosts");
        world.ok("POST", &path, host).await;
    }
    let path = format!("/postern/v1/zones/{zone}/server_certificates/development");
    let names = json!({"hosts": ["api.example.test", "open.example.test", "closed.example.test"]});
    world.ok("POST", &path, names).await;
    let path =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let rules = json!({"rules": [
        {"action": "log", "expression": "http.user_agent contains \"curl\"", "ref": "noted"},
        {"action": "block", "description": "mTLS", "ref": "mtls",
         "expression": "(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {\"/admin\"}"},
        {"action": "block", "expression": "cf.tls_client_auth.cert_serial eq \"0A\"", "enabled": false, "ref": "draft"},
    ]});
    let made = world.ok("PUT", &path, rules).await;
    let ids = made["rules"].as_array().unwrap().iter();
    let ids = ids.map(|rule| rule["id"].as_str().unwrap().to_owned());
    (zone, ids.collect())
}

async fn test(world: &World, zone: &str, body: Value) -> Value {
    let path = format!("/postern/v1/zones/{zone}/rule_tests");
    world.ok("POST", &path, body).await
}

fn record(path: &str, more: Value) -> String {
    let mut line = json!({
        "time": "2025-11-21T01:22:09.007Z", "kind": "request", "request_id": "0af7651916cd43dd",
        "client": "192.0.2.1:5000", "host": "api.example.test", "authority": "api.example.test",
        "method": "GET", "path": path, "http": "HTTP/2", "status": 200,
        "tls": {"version": "TLSv1.3", "cipher": "AEAD-AES128-GCM-SHA256", "sni": "api.example.test"},
        "client_cert": {"presented": false, "verified": false, "revoked": false, "reason": "not_presented"},
    });
    for (key, value) in more.as_object().unwrap() {
        line[key] = value.clone();
    }
    line.to_string()
}

#[tokio::test]
async fn written_by_hand() {
    let world = World::new().await;
    let (zone, ids) = set_up(&world).await;
    let created = world
        .ok(
            "POST",
            &format!("/postern/v1/zones/{zone}/client_certificates"),
            json!({"common_name": "device", "validity_days": 1}),
        )
        .await;
    let pem = created["certificate"].as_str().unwrap();
    let before = world.control.model().revision;
    for (request, outcome, by, reason) in [
        (
            json!({"url": "https://api.example.test/admin?x=1"}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"host": "API.example.test:8443", "path": "/x/../%61dmin"}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"url": "https://api.example.test/other"}),
            "permit",
            None,
            None,
        ),
        (
            json!({"url": "https://api.example.test/admin", "certificate": "valid"}),
            "permit",
            None,
            None,
        ),
        (
            json!({"url": "https://api.example.test/admin", "certificate": "revoked"}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"url": "https://api.example.test/admin", "certificate": "invalid"}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"url": "https://api.example.test/admin", "certificate": pem}),
            "permit",
            None,
            None,
        ),
        (
            json!({"url": "https://api.example.test/admin", "certificate": {"pem": pem, "state": "revoked"}}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"url": "https://open.example.test/admin", "certificate": pem}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"url": "https://closed.example.test/other"}),
            "refuse",
            None,
            Some("not_presented"),
        ),
        (
            json!({"url": "https://closed.example.test/admin", "certificate": pem}),
            "permit",
            None,
            None,
        ),
        (
            json!({"url": "https://nowhere.example.test/admin"}),
            "block",
            Some(1),
            None,
        ),
        (
            json!({"url": "https://nowhere.example.test/admin", "certificate": pem}),
            "not_judged",
            None,
            None,
        ),
        (
            json!({"url": "https://api.example.test/a%2fb"}),
            "refuse",
            None,
            Some("path"),
        ),
        (
            json!({"url": "https://api.example.test/", "method": "TRACE"}),
            "refuse",
            None,
            Some("method"),
        ),
        (
            json!({"url": "https://api.example.test/", "headers": {"transfer-encoding": "gzip"}}),
            "refuse",
            None,
            Some("headers"),
        ),
        (
            json!({"host": "a b", "path": "/"}),
            "refuse",
            None,
            Some("authority"),
        ),
        (
            json!({"url": "https://api.example.test/", "headers": {"a b": "c"}}),
            "not_judged",
            None,
            None,
        ),
    ] {
        let found = test(&world, &zone, json!({"requests": [request]})).await;
        let tested = &found["tested"][0];
        assert_eq!(tested["outcome"], outcome, "{request}: {tested:#}");
        let id = by.map(|place: usize| ids[place].as_str());
        assert_eq!(tested["rule"]["id"].as_str(), id, "{request}: {tested:#}");
        assert_eq!(tested["reason"].as_str(), reason, "{request}: {tested:#}");
    }
    assert_eq!(world.control.model().revision, before, "nothing is changed");
}

#[tokio::test]
async fn says_why() {
    let world = World::new().await;
    let (zone, ids) = set_up(&world).await;
    let request = json!({"url": "https://api.example.test/admin", "name": "first", "expect": "mtls",
        "headers": {"user-agent": "curl/8", "x-version": 2, "a": ["1", "2"]}});
    let found = test(
        &world,
        &zone,
        json!({"requests": [request], "explain": [ids[2]]}),
    )
    .await;
    let tested = &found["tested"][0];
    assert_eq!(tested["name"], "first");
    assert_eq!(
        (&tested["met"], &tested["status"]),
        (&json!(true), &json!(403))
    );
    assert_eq!(tested["logged"][0]["id"], ids[0]);
    assert_eq!(tested["rule"]["position"], 2);
    let places: Vec<&Value> = tested["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["position"])
        .collect();
    assert_eq!(places, [1, 2, 3]);
    let trace = &tested["rules"][1]["trace"];
    assert_eq!(
        trace["parts"][0]["parts"][0]["parts"][0],
        json!({
            "expression": "cf.tls_client_auth.cert_verified", "holds": false,
            "values": [{"of": "cf.tls_client_auth.cert_verified", "is": "known", "value": "false"}],
        })
    );
    assert_eq!(trace["parts"][1]["values"][0]["value"], "\"/admin\"");
    assert_eq!(
        found["summary"],
        json!({"requests": 1, "outcomes": {"block": 1},
        "expectations_unmet": 0, "different_from_record": 0, "unexplained": 0})
    );
    let all = test(
        &world,
        &zone,
        json!({"explain": ["all"], "requests": [
        {"url": "https://api.example.test/", "expect": "block"}]}),
    )
    .await;
    assert_eq!(all["tested"][0]["rules"].as_array().unwrap().len(), 3);
    assert_eq!(all["summary"]["expectations_unmet"], 1);
}

#[tokio::test]
async fn what_is_unknown_is_said() {
    let world = World::new().await;
    let (zone, ids) = set_up(&world).await;
    let draft = json!({"id": ids[2], "enabled": true});
    let open = json!({"url": "https://api.example.test/", "certificate": "valid"});
    let known = json!({"url": "https://api.example.test/", "certificate": {"state": "valid", "serial": "0A"}});
    let other = json!({"url": "https://api.example.test/", "certificate": {"state": "valid", "serial": "0B"}});
    let found = test(
        &world,
        &zone,
        json!({"requests": [open, known, other], "draft": draft}),
    )
    .await;
    assert_eq!(found["draft"]["position"], 3);
    let tested = &found["tested"];
    assert_eq!(tested[0]["outcome"], "unknown");
    assert_eq!(tested[0]["possible"][0]["id"], ids[2]);
    assert_eq!(tested[0]["or_permitted_by_none"], true);
    assert_eq!(
        tested[0]["unknown"],
        json!(["cf.tls_client_auth.cert_serial"])
    );
    assert_eq!(tested[1]["outcome"], "block");
    assert_eq!(tested[2]["outcome"], "permit");
    // What the kernel would know has to be said.
    let slow = "cf.timings.client_tcp_rtt_msec";
    let draft = json!({"action": "block", "expression": format!("{slow} gt 200")});
    let after = |msec| json!({"url": "https://api.example.test/", "round_trip_msec": msec});
    let requests = json!([after(None), after(Some(200)), after(Some(201))]);
    let found = test(&world, &zone, json!({"requests": requests, "draft": draft})).await;
    let outcomes = [0, 1, 2].map(|at| found["tested"][at]["outcome"].as_str().unwrap());
    assert_eq!(outcomes, ["unknown", "permit", "block"]);
    assert_eq!(found["tested"][0]["unknown"], json!([slow]));
}

#[tokio::test]
async fn from_the_log() {
    let world = World::new().await;
    let (zone, ids) = set_up(&world).await;
    let verified = json!({"presented": true, "verified": true, "revoked": false, "reason": "verified", "serial": "0A", "subject": "CN=device"});
    let blocked = json!({"id": ids[1], "action": "block"});
    let long = format!("/{}…", "x".repeat(2_000));
    let records = [
        (record("/admin", json!({})), "block", Some(true)),
        (
            record("/admin", json!({"rule": blocked, "status": 403})),
            "block",
            Some(false),
        ),
        (
            record("/admin", json!({"client_cert": verified})),
            "permit",
            Some(false),
        ),
        (
            record("/other%3F", json!({"rule": blocked, "status": 403})),
            "permit",
            Some(true),
        ),
        (record(&long, json!({})), "unknown", None),
        (
            record(
                "/",
                json!({"host": "closed.example.test", "authority": "closed.example.test"}),
            ),
            "refuse",
            Some(true),
        ),
        (
            record("/%2f", json!({"error": "path", "status": 400})),
            "not_judged",
            None,
        ),
        (
            record("/", json!({"kind": "handshake"})),
            "not_judged",
            None,
        ),
        (
            record("/", json!({"client_cert": null})),
            "not_judged",
            None,
        ),
        ("{\"half\": ".into(), "not_judged", None),
        (String::new(), "not_judged", None),
    ];
    let lines: Vec<&String> = records.iter().map(|(line, ..)| line).collect();
    let found = test(&world, &zone, json!({"records": lines})).await;
    for ((line, outcome, differs), tested) in
        records.iter().zip(found["tested"].as_array().unwrap())
    {
        assert_eq!(tested["outcome"], *outcome, "{line}: {tested:#}");
        assert_eq!(
            tested.get("differs").and_then(Value::as_bool),
            *differs,
            "{line}: {tested:#}"
        );
    }
    assert_eq!(found["summary"]["different_from_record"], 3);
    // Headers are not in the log.
    assert_eq!(found["tested"][0]["maybe_logged"][0]["id"], ids[0]);
}

#[tokio::test]
async fn drafts() {
    let world = World::new().await;
    let (zone, ids) = set_up(&world).await;
    let request = json!({"url": "https://api.example.test/new"});
    let new = "http.request.uri.path eq \"/new\"";
    for (draft, outcome) in [
        (json!({"action": "block", "expression": new}), "block"),
        (json!({"action": "log", "expression": new}), "permit"),
        (
            json!({"action": "block", "expression": new, "enabled": false}),
            "permit",
        ),
        (json!({"id": ids[1], "expression": new}), "block"),
        (
            json!({"action": "skip", "action_parameters": {"ruleset": "current"}, "expression": new, "position": {"index": 1}}),
            "permit",
        ),
    ] {
        let found = test(
            &world,
            &zone,
            json!({"requests": [request], "draft": draft}),
        )
        .await;
        assert_eq!(found["tested"][0]["outcome"], outcome, "{draft}");
    }
    for (draft, pointer) in [
        (
            json!({"action": "block", "expression": "http.hots eq \"a\""}),
            "/draft/expression",
        ),
        (
            json!({"action": "dance", "expression": "ssl"}),
            "/draft/action",
        ),
        (json!({"action": "block"}), "/draft/expression"),
        (
            json!({"action": "block", "expression": "ssl", "position": {"index": 99}}),
            "/draft/position",
        ),
        (
            json!({"action": "block", "expression": "ip.src in $none"}),
            "/draft/expression",
        ),
    ] {
        let path = format!("/postern/v1/zones/{zone}/rule_tests");
        let answer = world
            .call(
                "POST",
                &path,
                json!({"requests": [request], "draft": draft}),
            )
            .await;
        assert_eq!(answer.status, 400, "{draft}: {}", answer.text);
        assert_eq!(
            answer.body["errors"][0]["source"]["pointer"], pointer,
            "{}",
            answer.text
        );
    }
    let missing = json!({"id": "0".repeat(32), "expression": "ssl"});
    let path = format!("/postern/v1/zones/{zone}/rule_tests");
    let answer = world.call("POST", &path, json!({"draft": missing})).await;
    assert_eq!(answer.status, 404, "{}", answer.text);
}

#[tokio::test]
async fn wrong_and_too_much() {
    let world = World::new().await;
    let (zone, _) = set_up(&world).await;
    let path = format!("/postern/v1/zones/{zone}/rule_tests");
    for (body, pointer) in [
        (
            json!({"requests": [{"url": "https://api.example.test/"}, {"path": "/"}]}),
            "/requests/1/host",
        ),
        (
            json!({"requests": [{"host": "a", "hots": 1}]}),
            "/requests/0/hots",
        ),
        (
            json!({"requests": [{"url": "http://a/"}]}),
            "/requests/0/url",
        ),
        (
            json!({"requests": [{"host": "a", "http": "HTTP/3"}]}),
            "/requests/0/http",
        ),
        (
            json!({"requests": [{"host": "a", "source": "here"}]}),
            "/requests/0/source",
        ),
        (
            json!({"requests": [{"host": "a", "time": "yesterday"}]}),
            "/requests/0/time",
        ),
        (
            json!({"requests": [{"host": "a", "headers": {"a": {}}}]}),
            "/requests/0/headers",
        ),
        (
            json!({"requests": [{"host": "a", "certificate": "good"}]}),
            "/requests/0/certificate",
        ),
        (
            json!({"requests": [{"host": "a", "certificate": "-----BEGIN CERTIFICATE-----"}]}),
            "/requests/0/certificate",
        ),
        (json!({"explain": ["nothing"]}), "/explain/0"),
        (
            json!({"records": vec![""; DRY_RUN_REQUESTS_MAX + 1]}),
            "/records",
        ),
    ] {
        let answer = world.call("POST", &path, body).await;
        assert_eq!(answer.status, 400, "{pointer}: {}", answer.text);
        assert_eq!(
            answer.body["errors"][0]["source"]["pointer"], pointer,
            "{}",
            answer.text
        );
    }
    // Work is bounded by requests and rules together.
    let rules = DRY_RUN_EVALUATIONS_MAX / DRY_RUN_REQUESTS_MAX + 1;
    let rules: Vec<Value> = (0..rules)
        .map(|n| json!({"action": "log", "expression": format!("http.host eq \"{n}\"")}))
        .collect();
    let entrypoint =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    world.ok("PUT", &entrypoint, json!({"rules": rules})).await;
    let records = vec![record("/", json!({})); DRY_RUN_REQUESTS_MAX];
    let answer = world.call("POST", &path, json!({"records": records})).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["code"]),
        (400, &json!(1489)),
        "{}",
        answer.text
    );
}
