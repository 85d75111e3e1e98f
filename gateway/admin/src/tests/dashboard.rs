//! Signing in at the dashboard, and what requests of pages may do.

use super::*;
use http::HeaderMap;

/// One exchange with its headers, which the others leave aside.
async fn exchange(
    world: &World,
    method: &str,
    path: &str,
    body: Value,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap, Value) {
    let stream = TcpStream::connect(world.tcp).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = Bytes::from(if body.is_null() {
        String::new()
    } else {
        body.to_string()
    });
    let request = request.body(Full::new(sent.clone())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = head.status.as_u16();
    openapi::tests::check(method, path, &sent, status, &text);
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, head.headers, value)
}

const SESSION: &str = "/postern/v1/dashboard/session";

/// What a page of the dashboard says with each request.
struct Page {
    host: String,
    origin: String,
    cookie: String,
    key: String,
}

impl Page {
    fn headers(&self) -> [(&str, &str); 5] {
        [
            ("host", &self.host),
            ("origin", &self.origin),
            ("sec-fetch-site", "same-origin"),
            ("cookie", &self.cookie),
            ("x-postern-dashboard", &self.key),
        ]
    }

    async fn ask(&self, world: &World, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, answer) = exchange(world, method, path, body, &self.headers()).await;
        (status, answer)
    }
}

async fn sign_in(world: &World, with: Value) -> (u16, Option<Page>) {
    let host = format!("127.0.0.1:{}", world.tcp.port());
    let origin = format!("http://{host}");
    let headers = [
        ("host", host.as_str()),
        ("origin", origin.as_str()),
        ("x-postern-dashboard", "sign-in"),
    ];
    let (status, headers, answer) = exchange(world, "POST", SESSION, with, &headers).await;
    let page = (status == 200).then(|| {
        let cookie = headers["set-cookie"].to_str().unwrap();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
        assert!(pair.starts_with(&format!("postern-{}=", world.tcp.port())));
        assert_eq!(headers["cache-control"], "no-store");
        Page {
            cookie: format!("other=1; {pair}"),
            key: answer["result"]["key"].as_str().unwrap().to_owned(),
            host,
            origin,
        }
    });
    (status, page)
}

/// The code of a new link for an administrator.
async fn code(world: &World) -> String {
    let link = world
        .ok("POST", "/postern/v1/dashboard/links", Value::Null)
        .await;
    let code = link["code"].as_str().unwrap().to_owned();
    let url = format!("http://{}/#sign-in={code}", world.tcp);
    assert_eq!(link["url"], json!(url));
    code
}

async fn signed_in(world: &World) -> Page {
    let code = code(world).await;
    sign_in(world, json!({ "code": code })).await.1.unwrap()
}

fn token(world: &World, scope: Scope, zones: &[&str]) -> (control::Id, String) {
    let new = NewToken {
        name: "person".into(),
        scopes: [scope].into(),
        zones: zones.iter().map(|id| id.parse().unwrap()).collect(),
        days: 1,
    };
    let (token, secret) = world.control.create_token(new).unwrap();
    (token.id, secret.reveal_text().to_owned())
}

/// Every call about sessions, once.
pub(crate) async fn every_call(world: &World) {
    let headers = [("host", "localhost")];
    let shown = exchange(world, "GET", "/", Value::Null, &headers).await;
    assert_eq!(shown.0, 200);
    let page = signed_in(world).await;
    for method in ["GET", "DELETE"] {
        let (status, answer) = page.ask(world, method, SESSION, Value::Null).await;
        assert_eq!(status, 200, "{answer}");
    }
    let all = "/postern/v1/dashboard/sessions";
    world.ok("DELETE", all, Value::Null).await;
}

#[tokio::test]
async fn a_link_signs_in_once_and_what_is_done_has_a_name() {
    let world = World::new().await;
    let code = code(&world).await;
    let (status, page) = sign_in(&world, json!({ "code": code })).await;
    assert_eq!(status, 200);
    assert_eq!(sign_in(&world, json!({ "code": code })).await.0, 401);
    let page = page.unwrap();
    let (status, shown) = page.ask(&world, "GET", SESSION, Value::Null).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["result"]["scopes"], json!(["all"]));
    assert_eq!(shown["result"]["zones"], Value::Null);
    let new = json!({"name": "by-page.test", "account": {}});
    let (status, made) = page.ask(&world, "POST", "/client/v4/zones", new).await;
    assert_eq!(status, 200, "{made}");
    let log = world.get("/postern/v1/audit").await;
    let actor = log[0]["actor"].as_str().unwrap();
    assert!(actor.starts_with("unix uid ") && actor.ends_with("(dashboard)"));
    // Signed out, and then all of them.
    let other = signed_in(&world).await;
    assert_eq!(
        page.ask(&world, "DELETE", SESSION, Value::Null).await.0,
        200
    );
    assert_eq!(page.ask(&world, "GET", SESSION, Value::Null).await.0, 401);
    assert_eq!(other.ask(&world, "GET", SESSION, Value::Null).await.0, 200);
    let all = "/postern/v1/dashboard/sessions";
    assert_eq!(world.ok("DELETE", all, Value::Null).await["ended"], 1);
    assert_eq!(other.ask(&world, "GET", SESSION, Value::Null).await.0, 401);
}

#[tokio::test]
async fn a_session_may_what_its_token_may_and_ends_with_it() {
    let world = World::new().await;
    let zone = world.zone().await;
    let zones = "/client/v4/zones".to_owned();
    let certificates = format!("{zones}/{zone}/client_certificates");
    let one = format!("{certificates}/00000000-0000-4000-8000-000000000000");
    let rules = format!("/postern/v1/zones/{zone}/mtls_rules");
    let links = "/postern/v1/dashboard/links".to_owned();
    let sessions = "/postern/v1/dashboard/sessions".to_owned();
    for (scope, inside, calls) in [
        (
            Scope::Read,
            false,
            [
                ("GET", &zones, 200),
                ("DELETE", &one, 403),
                ("POST", &rules, 403),
                ("POST", &links, 403),
                ("DELETE", &sessions, 403),
            ],
        ),
        (
            Scope::Certificates,
            true,
            [
                ("GET", &zones, 200),
                ("GET", &certificates, 200),
                ("DELETE", &one, 404),
                ("POST", &rules, 403),
                ("DELETE", &sessions, 403),
            ],
        ),
    ] {
        let below = if inside { vec![zone.as_str()] } else { vec![] };
        let (id, secret) = token(&world, scope, &below);
        let (_, page) = sign_in(&world, json!({ "token": secret })).await;
        let page = page.unwrap();
        let (_, shown) = page.ask(&world, "GET", SESSION, Value::Null).await;
        let named = json!([{"id": zone, "name": "example.test"}]);
        let expected = if inside { named } else { Value::Null };
        assert_eq!(shown["result"]["zones"], expected);
        for (method, path, status) in calls {
            let body = if method == "POST" && path == &rules {
                json!({})
            } else {
                Value::Null
            };
            let (found, answer) = page.ask(&world, method, path, body).await;
            assert_eq!(found, status, "{scope:?} {method} {path}: {answer}");
        }
        world.control.delete_token(id).unwrap();
        assert_eq!(page.ask(&world, "GET", SESSION, Value::Null).await.0, 401);
    }
    // A link of a token has that token's rights, and no more.
    let (id, secret) = token(&world, Scope::Read, &[]);
    let authorization = format!("Bearer {secret}");
    let headers = [("authorization", authorization.as_str())];
    let made = world.over_tcp("POST", &links, &headers).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let code = made.body["result"]["code"].clone();
    let (_, page) = sign_in(&world, json!({ "code": code })).await;
    let page = page.unwrap();
    assert_eq!(page.ask(&world, "DELETE", &one, Value::Null).await.0, 403);
    let made = world.over_tcp("POST", &links, &headers).await;
    world.control.delete_token(id).unwrap();
    let code = made.body["result"]["code"].clone();
    assert_eq!(sign_in(&world, json!({ "code": code })).await.0, 401);
}

#[tokio::test]
async fn what_is_not_the_dashboards_own_page_is_refused() {
    let world = World::new().await;
    let page = signed_in(&world).await;
    let new = json!({"name": "forged.test", "account": {}});
    let port = world.tcp.port();
    let [localhost, other_port, rebound] = [
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("evil.example:{port}"),
    ];
    let evil_origin = format!("http://{rebound}");
    // What is changed in, or taken from, a good request.
    for (what, name, value, status) in [
        (
            "a form of another site",
            "origin",
            Some("https://evil.example"),
            403,
        ),
        ("a sandboxed frame", "origin", Some("null"), 403),
        (
            "another name of this host",
            "origin",
            Some(&*localhost),
            403,
        ),
        (
            "a server on another port",
            "origin",
            Some(&*other_port),
            403,
        ),
        ("no origin with a change", "origin", None, 403),
        (
            "a site beside ours",
            "sec-fetch-site",
            Some("same-site"),
            403,
        ),
        ("another site", "sec-fetch-site", Some("cross-site"), 403),
        ("DNS rebinding", "host", Some(&*rebound), 403),
        (
            "no key: a form cannot send it",
            "x-postern-dashboard",
            None,
            403,
        ),
        ("a wrong key", "x-postern-dashboard", Some("1"), 401),
        ("no cookie", "cookie", None, 401),
        ("a guessed cookie", "cookie", Some("postern-1=x"), 401),
    ] {
        let headers = page.headers();
        let mut headers: Vec<(&str, &str)> = headers
            .into_iter()
            .filter(|(header, _)| *header != name)
            .collect();
        headers.extend(value.map(|value| (name, value)));
        if what == "DNS rebinding" {
            headers.retain(|(name, _)| *name != "origin");
            headers.push(("origin", &evil_origin));
        }
        let path = "/client/v4/zones";
        let (found, _, answer) = exchange(&world, "POST", path, new.clone(), &headers).await;
        assert_eq!(found, status, "{what}: {answer}");
    }
    // Reading is no change, and a browser says no `Origin` then; everything else holds for it too.
    for (what, left_out, status) in [
        ("as a browser reads", "origin", 200),
        ("without the key", "x-postern-dashboard", 403),
        ("without the cookie", "cookie", 401),
    ] {
        let headers: Vec<_> = page
            .headers()
            .into_iter()
            .filter(|(name, _)| *name != left_out && *name != "origin")
            .collect();
        let (found, _, _) = exchange(&world, "GET", SESSION, Value::Null, &headers).await;
        assert_eq!(found, status, "{what}");
    }
    // A page of another origin has to ask first whether it may send the header.
    let headers = [
        ("host", page.host.as_str()),
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-postern-dashboard"),
    ];
    let asked = exchange(&world, "OPTIONS", "/client/v4/zones", Value::Null, &headers).await;
    assert_eq!(asked.0, 403);
    assert!(
        asked
            .1
            .keys()
            .all(|name| !name.as_str().starts_with("access-control"))
    );
    assert_eq!(
        world.get("/client/v4/zones").await,
        json!([]),
        "nothing was made"
    );
    // Signing in is refused to other pages as well.
    let code = code(&world).await;
    let headers = [
        ("host", page.host.as_str()),
        ("origin", "https://evil.example"),
        ("x-postern-dashboard", "sign-in"),
    ];
    let body = json!({ "code": code });
    assert_eq!(
        exchange(&world, "POST", SESSION, body, &headers).await.0,
        403
    );
}

#[tokio::test]
async fn guessing_at_the_door_is_bounded() {
    let world = World::new().await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(sign_in(&world, json!({ "token": "postern_guess" })).await.0);
    }
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)));
    assert!(statuses.contains(&429), "{statuses:?}");
    let both = json!({"token": "a", "code": "b"});
    for body in [json!({}), both, json!({"name": "x"}), json!([])] {
        assert_eq!(sign_in(&world, body.clone()).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn the_page_is_confined_and_the_same_for_everyone() {
    let world = World::new().await;
    let host = format!("localhost:{}", world.tcp.port());
    let headers = [("host", host.as_str()), ("sec-fetch-site", "cross-site")];
    let (status, headers, page) = exchange(&world, "GET", "/", Value::Null, &headers).await;
    assert_eq!(status, 200, "a link in a mail leads to it");
    let page = page.as_str().unwrap();
    let policy = headers["content-security-policy"].to_str().unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{part} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(
        !page.contains("<script>") && !page.contains("style="),
        "{page}"
    );
    // All that it names is here, and good for ever. There is nothing when it was not built.
    for name in page
        .split('"')
        .filter_map(|part| part.strip_prefix("/dashboard/"))
    {
        let path = format!("/dashboard/{name}");
        for (encoding, expected) in [("br", Some("br")), ("gzip", Some("gzip")), ("x", None)] {
            let sent = [("host", host.as_str()), ("accept-encoding", encoding)];
            let (status, headers, _) = exchange(&world, "GET", &path, Value::Null, &sent).await;
            assert_eq!(status, 200, "{path}");
            let kept = headers["cache-control"].to_str().unwrap();
            assert!(kept.contains("immutable"), "{kept}");
            let found = headers
                .get("content-encoding")
                .map(|found| found.to_str().unwrap());
            assert_eq!(found, expected, "{path}");
        }
    }
    for (name, expected, host) in [
        ("/dashboard/index.html", 404, host.as_str()),
        ("/dashboard/..%2f..%2fetc%2fpasswd", 404, host.as_str()),
        ("/", 403, "evil.example"),
        ("/dashboard/x.js", 403, "evil.example"),
    ] {
        let headers = [("host", host)];
        let (status, _, _) = exchange(&world, "GET", name, Value::Null, &headers).await;
        assert_eq!(status, expected, "{name} of {host}");
    }
}
