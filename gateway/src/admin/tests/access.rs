//! Who gets in over TCP, who changed what, and how the gateway is.

use super::*;

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
async fn how_it_is() {
    let world = World::new().await;
    let status = world.get("/postern/v1/status").await;
    assert_eq!(
        (&status["ready"], &status["zones"]),
        (&json!(false), &json!(0))
    );
    let metrics = world.call("GET", "/metrics", Value::Null).await;
    assert!(metrics.text.ends_with("# EOF\n"), "{}", metrics.text);
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
    assert_eq!(world.call("GET", "/livez", Value::Null).await.text, "ok\n");
}
