//! Who gets in over TCP, who changed what, and how the gateway is.

use super::*;
use crate::limits::ADMIN_UNKNOWN_MAX;

#[tokio::test]
async fn over_tcp_only_with_a_token() {
    let world = World::new().await;
    let zone = world.zone().await;
    let token = |scope: Scope, zones: &[&str]| {
        let new = NewToken {
            name: "t".into(),
            scopes: [scope].into(),
            zones: zones.iter().map(|id| id.parse().unwrap()).collect(),
            days: 1,
        };
        let (_, secret) = world.control.create_token(new).unwrap();
        format!("Bearer {}", secret.reveal_text())
    };
    let (all, read) = (token(Scope::All, &[]), token(Scope::Read, &[]));
    let inside = token(Scope::Certificates, &[&zone]);
    let zones = "/client/v4/zones".to_owned();
    let certificates = format!("{zones}/{zone}/client_certificates");
    let one = format!("{certificates}/00000000-0000-4000-8000-000000000000");
    let hosts = "/postern/v1/hosts".to_owned();
    for (what, method, path, authorization, status) in [
        ("nothing", "GET", &zones, "", 401),
        ("no such token", "GET", &zones, "Bearer postern_x", 401),
        ("another scheme", "GET", &zones, "Basic eDp5", 401),
        ("everything", "GET", &zones, &all, 200),
        ("reading", "GET", &certificates, &read, 200),
        ("reading is not writing", "DELETE", &one, &read, 403),
        ("its zone", "DELETE", &one, &inside, 404),
        ("outside of its zone", "GET", &hosts, &inside, 403),
        ("which zones are its", "GET", &zones, &inside, 200),
        ("no zone of its own", "POST", &zones, &inside, 403),
        (
            "metrics are not for everybody",
            "GET",
            &"/metrics".to_owned(),
            "",
            401,
        ),
        ("metrics", "GET", &"/metrics".to_owned(), &read, 200),
        ("whether it lives", "GET", &"/livez".to_owned(), "", 200),
    ] {
        let headers = [("authorization", authorization)];
        let headers = if authorization.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        let answer = world.over_tcp(method, path, headers).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
    }
    let key = all.trim_start_matches("Bearer ");
    let answer = world
        .over_tcp(
            "GET",
            &zones,
            &[("x-auth-key", key), ("x-auth-email", "a@b")],
        )
        .await;
    assert_eq!(answer.status, 200, "as Cloudflare's older clients do");
    for headers in [
        [("authorization", all.as_str()), ("host", "evil.example")],
        [
            ("authorization", all.as_str()),
            ("origin", "http://localhost"),
        ],
    ] {
        assert_eq!(
            world.over_tcp("GET", &zones, &headers).await.status,
            403,
            "{headers:?}"
        );
    }
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let answer = world
            .over_tcp("GET", &zones, &[("authorization", "Bearer guess")])
            .await;
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&429), "guessing is bounded: {statuses:?}");
    assert_eq!(
        world
            .over_tcp("GET", &zones, &[("authorization", &all)])
            .await
            .status,
        200
    );
    let made = world
        .ok(
            "POST",
            "/postern/v1/tokens",
            json!({"name": "ci", "scopes": ["rules"], "days": 7}),
        )
        .await;
    let value = made["value"].as_str().unwrap();
    let listed = world.call("GET", "/postern/v1/tokens", Value::Null).await;
    assert!(!listed.text.contains(value) && listed.text.contains("\"ci\""));
    world
        .ok(
            "DELETE",
            &format!("/postern/v1/tokens/{}", made["id"].as_str().unwrap()),
            Value::Null,
        )
        .await;
}

#[tokio::test]
async fn a_token_that_goes_while_its_request_comes_changes_nothing() {
    let world = World::new().await;
    let zone = world.zone().await;
    let in_zone = format!("/client/v4/zones/{zone}");
    let custom = format!("{in_zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    for (method, path, body) in [
        ("POST", "/client/v4/zones", r#"{"name":"late.test"}"#),
        (
            "POST",
            "/postern/v1/tokens",
            r#"{"name":"x","scopes":["all"],"days":1}"#,
        ),
        (
            "PUT",
            &custom,
            r#"{"rules":[{"action":"log","expression":"ssl"}]}"#,
        ),
        (
            "POST",
            "/postern/v1/apply",
            r#"{"postern":1,"zones":[{"name":"late.test"}]}"#,
        ),
        // In no store, and what it does is done at once.
        (
            "PUT",
            "/postern/v1/sysctl/timeout.idle",
            r#"{"value":"77s"}"#,
        ),
        // Reads, but what it shows is secret.
        (
            "POST",
            "/postern/v1/zones/Z/rule_tests",
            r#"{"requests":[]}"#,
        ),
    ] {
        let path = path.replace('Z', &zone);
        let new = NewToken {
            name: "ci".into(),
            scopes: [Scope::All].into(),
            zones: [].into(),
            days: 1,
        };
        let (token, secret) = world.control.create_token(new).unwrap();
        let (first, last) = body.split_at(body.len() / 2);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{first}",
            secret.reveal_text(),
            body.len(),
        );
        let mut stream = TcpStream::connect(world.tcp).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // The head was judged when the gateway waits for the rest.
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.control.delete_token(token.id).unwrap();
        let before = format!("{:?}", world.control.model());
        stream.write_all(last.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains("9109"),
            "{method} {path}: {answer}"
        );
        assert_eq!(
            format!("{:?}", world.control.model()),
            before,
            "{method} {path}"
        );
    }
    let idle = world.get("/postern/v1/sysctl/timeout.idle").await;
    assert_ne!(idle["value"], "77s");
}

#[tokio::test]
async fn who_changed_what() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/client/v4/zones/{zone}/client_certificates");
    let issued = world
        .ok("POST", &path, json!({"csr": csr("a"), "validity_days": 1}))
        .await;
    let id = issued["id"].as_str().unwrap();
    world
        .ok("DELETE", &format!("{path}/{id}"), Value::Null)
        .await;
    let log = world.get("/postern/v1/audit").await;
    let last = &log[0];
    assert!(
        last["actor"].as_str().unwrap().starts_with("unix uid "),
        "{last}"
    );
    let change = &last["changes"][0];
    assert_eq!(
        (&change["noun"], &change["key"]),
        (&json!("client certificate"), &json!(id))
    );
    assert_eq!(
        (&change["before"]["status"], &change["after"]["status"]),
        (&json!("active"), &json!("revoked"))
    );
    let made = &log[2]["changes"];
    assert_eq!(
        (&made[0]["noun"], &made[0]["after"]["key"]),
        (&json!("CA"), &json!("…"))
    );
    assert_eq!(
        world
            .get("/postern/v1/audit?per_page=1&page=2")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn the_log_knows_who_by_token_and_is_only_added_to() {
    let world = World::new().await;
    let zone = world.zone().await;
    let new = NewToken {
        name: "ci".into(),
        scopes: [Scope::Certificates].into(),
        zones: [zone.parse().unwrap()].into(),
        days: 1,
    };
    let (token, secret) = world.control.create_token(new).unwrap();
    let authorization = format!("Bearer {}", secret.reveal_text());
    let path = format!("/client/v4/zones/{zone}/client_certificates");
    let body = json!({"csr": csr("by-token"), "validity_days": 1}).to_string();
    let stream = TcpStream::connect(world.tcp).await.unwrap();
    let headers = [("authorization", authorization.as_str())];
    let issued = exchange(stream, "POST", &path, body.into_bytes(), &headers).await;
    assert_eq!(issued.status, 200, "{}", issued.text);
    let by_token = format!("token {} (ci)", token.id);
    let log = world.get("/postern/v1/audit").await;
    assert_eq!(log[0]["actor"], by_token);
    assert!(!log.to_string().contains(secret.reveal_text()));
    let id = issued.body["result"]["id"].as_str().unwrap();
    // A dry run and a refusal leave no entry, and nothing removes one.
    let revision = log[0]["revision"].clone();
    world
        .call("DELETE", &format!("{path}/{id}?dry_run=true"), Value::Null)
        .await;
    world
        .call("POST", &path, json!({"csr": "x", "validity_days": 1}))
        .await;
    for method in ["DELETE", "PUT", "PATCH", "POST"] {
        for path in [
            "/postern/v1/audit",
            &format!("/postern/v1/audit/{revision}"),
        ] {
            let status = world.call(method, path, json!([])).await.status;
            assert!(matches!(status, 404 | 405), "{method} {path}: {status}");
        }
    }
    assert_eq!(
        world.get("/postern/v1/audit").await[0]["revision"],
        revision
    );
    world
        .ok("DELETE", &format!("{path}/{id}"), Value::Null)
        .await;
    let all = world
        .get("/postern/v1/audit")
        .await
        .as_array()
        .unwrap()
        .len();
    let now = control::Moment::now().to_string();
    let list = async |query: String| {
        let answer = world
            .call("GET", &format!("/postern/v1/audit?{query}"), Value::Null)
            .await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.body
    };
    for (query, count) in [
        ("actor=(ci)".to_owned(), 1),
        ("actor=unix".to_owned(), 2),
        ("noun=client%20certificate".to_owned(), 2),
        (format!("key={id}"), 2),
        (format!("key={id}&actor=unix"), 1),
        (format!("key={id}&noun=token"), 0),
        ("noun=token".to_owned(), 1),
        (format!("until={now}"), all),
        (format!("since={now}"), 0),
        ("since=2020-01-01T00:00:00Z".to_owned(), all),
        ("until=2020-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let found = list(query.clone()).await;
        assert_eq!(
            found["result"].as_array().unwrap().len(),
            count,
            "{query}: {found:#}"
        );
    }
    // Pages by cursor: every entry once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let found = list(format!(
            "since=2020-01-01T00:00:00Z&per_page=2&cursor={cursor}"
        ))
        .await;
        seen.extend(
            found["result"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["revision"].as_u64().unwrap()),
        );
        cursor = found["result_info"]["cursors"]["after"]
            .as_str()
            .unwrap()
            .to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), all);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    for query in [
        "since=yesterday",
        "cursor=x",
        "actor=a&page=2",
        "until=",
        "per_page=0",
    ] {
        let status = world
            .call("GET", &format!("/postern/v1/audit?{query}"), Value::Null)
            .await
            .status;
        assert_eq!(status, if query == "until=" { 200 } else { 400 }, "{query}");
    }
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_slowed_down() {
    let world = World::new().await;
    let new = |name: &str| NewToken {
        name: name.into(),
        scopes: [Scope::Read].into(),
        zones: [].into(),
        days: 1,
    };
    let busy = world.control.create_token(new("busy")).unwrap().1;
    let other = world.control.create_token(new("other")).unwrap().1;
    let ask = async |secret: &str| {
        let authorization = format!("Bearer {secret}");
        let headers = [("authorization", authorization.as_str())];
        world.over_tcp("GET", "/client/v4/zones", &headers).await
    };
    let mut slowed = false;
    // It refills meanwhile, however slow the machine is, so this ends at the first refusal.
    for _ in 0..100_000 {
        let answer = ask(busy.reveal_text()).await;
        if answer.status == 429 {
            assert_eq!(answer.body["errors"][0]["code"], 971, "{}", answer.text);
            slowed = true;
            break;
        }
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert!(slowed);
    assert_eq!(ask(other.reveal_text()).await.status, 200, "others are not");
}

#[tokio::test]
async fn how_it_is() {
    let world = World::new().await;
    let status = world.get("/postern/v1/status").await;
    assert_eq!(
        (&status["ready"], &status["zones"]),
        (&json!(false), &json!(0))
    );
    let metrics = world.call("GET", "/metrics", Value::Null).await;
    let counter = "# TYPE postern_requests_total counter\n";
    assert!(metrics.text.contains(counter), "{}", metrics.text);
    let all = world.get("/postern/v1/sysctl").await;
    assert!(all.as_array().unwrap().len() > 10);
    let set = world
        .ok(
            "PUT",
            "/postern/v1/sysctl/timeout.idle",
            json!({"value": "33s"}),
        )
        .await;
    assert_eq!(set["value"], "33s");
    assert_eq!(
        world.get("/postern/v1/sysctl/timeout.idle").await["value"],
        "33s"
    );
    let set = |seen: &str| json!({"value": "44s", "expected": seen});
    let late = world
        .call("PUT", "/postern/v1/sysctl/timeout.idle", set("22s"))
        .await;
    assert_eq!(late.status, 412, "{}", late.text);
    assert!(late.text.contains("is `33s` now"), "{}", late.text);
    let set = world
        .ok("PUT", "/postern/v1/sysctl/timeout.idle", set("33s"))
        .await;
    assert_eq!(set["value"], "44s");
    assert_eq!(world.call("GET", "/livez", Value::Null).await.text, "ok\n");
}

/// A read-only token's header.
fn reads(world: &World) -> String {
    let new = NewToken {
        name: "reads".into(),
        scopes: [Scope::Read].into(),
        zones: [].into(),
        days: 1,
    };
    let (_, secret) = world.control.create_token(new).unwrap();
    format!("Bearer {}", secret.reveal_text())
}

#[tokio::test]
async fn silent_connections_keep_out_only_themselves() {
    let world = World::new().await;
    let token = reads(&world);
    let connect = async |from: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(world.tcp).await.unwrap()
    };
    let asks = async |from: [u8; 4]| {
        let headers = [("authorization", token.as_str())];
        let stream = connect(from).await;
        let answer = exchange(stream, "GET", "/client/v4/zones", Vec::new(), &headers);
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        assert_eq!(answer.expect("served at once").status, 200);
    };
    // As many as there are seats, and more: from one address, then from many.
    let mut silent = Vec::new();
    for _ in 0..2 * ADMIN_UNKNOWN_MAX {
        silent.push(connect([127, 0, 0, 1]).await);
    }
    asks([127, 0, 0, 2]).await;
    asks([127, 0, 0, 1]).await;
    for last in 3..3 + u8::try_from(ADMIN_UNKNOWN_MAX).unwrap() {
        silent.push(connect([127, 0, 1, last]).await);
    }
    asks([127, 0, 0, 2]).await;
    // The unix socket has slots of its own.
    world.get("/client/v4/zones").await;
}

#[tokio::test]
async fn no_get_changes_anything() {
    let world = World::new().await;
    let zone = world.zone().await;
    let token = reads(&world);
    let account = world.control.model().account.to_string();
    let before = world.control.model().revision;
    let mut count = 0;
    for route in crate::routes::all().filter(|route| route.method == "GET") {
        let path = route
            .path
            .replace("{zone_id}", &zone)
            .replace("{account_id}", &account)
            .replace("{phase}", "http_request_firewall_custom")
            .replace("{host}", "api.example.test")
            .replace("{key}", "limit.connections");
        let path: Vec<String> = path
            .split('/')
            .map(|part| match part.starts_with('{') {
                true => "00000000-0000-4000-8000-000000000000".to_owned(),
                false => part.to_owned(),
            })
            .collect();
        let headers = [("authorization", token.as_str())];
        world.over_tcp("GET", &path.join("/"), &headers).await;
        let after = world.control.model().revision;
        assert_eq!(after, before, "GET {} changes the store", route.path);
        count += 1;
    }
    assert!(count > 30, "{count} routes");
}
