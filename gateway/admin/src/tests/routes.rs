//! Every route at once: what each scope may do, and what wrong input gets for an answer.

use std::sync::LazyLock;

use super::*;
use crate::routes::Body;
use vocabulary::settings::TlsVersion;

/// Every path with its methods, in the order of the table. `{zone}` is one that exists, all other
/// names stand for something that does not.
static ROUTES: LazyLock<Vec<(Vec<&'static str>, String)>> = LazyLock::new(|| {
    let mut routes: Vec<(Vec<&'static str>, String)> = Vec::new();
    for route in crate::routes::all() {
        let path = template(route.path);
        match routes.iter_mut().find(|(_, known)| *known == path) {
            Some((methods, _)) => methods.push(route.method),
            None => routes.push((vec![route.method], path)),
        }
    }
    routes
});

/// A path of the table with names for the kinds of its parameters.
fn template(path: &str) -> String {
    // The zone that exists is not to be deleted.
    if path == "/client/v4/zones/{zone_id}" {
        return path.replace("{zone_id}", "{id}");
    }
    path.split('/')
        .map(|segment| match segment {
            "{zone_id}" => "{zone}",
            "{account_id}" => "{account}",
            "{certificate_id}" | "{ca_id}" => "{uuid}",
            "{version}" => "{number}",
            "{host}" | "{origin}" => "{name}",
            id if id.ends_with("_id}") => "{id}",
            other => other,
        })
        .collect::<Vec<_>>()
        .join("/")
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The path with what its names stand for.
fn filled(path: &str, zone: &str, account: &str) -> String {
    let zero = "0".repeat(32);
    path.replace("{zone}", zone)
        .replace("{account}", account)
        .replace("{id}", &zero)
        .replace("{uuid}", "00000000-0000-4000-8000-000000000000")
        .replace("{phase}", "http_request_firewall_custom")
        .replace("{number}", "7")
        .replace("{name}", "nobody.example.test")
        .replace("{key}", "no.such.key")
        .replace("{setting}", "no_such_setting")
}

/// An answer to wrong input: never our fault, in the envelope, with something to read.
fn check(what: &str, answer: &Answer) {
    // There are no workers, so that it is right to say that it is not ready.
    if what.contains("/readyz") {
        return;
    }
    assert!(answer.status < 500, "{what}: {}", answer.text);
    // Health and metrics have no envelope; HEAD and 204 have no body at all.
    if answer.status < 400 || answer.text.is_empty() {
        return;
    }
    let error = &answer.body["errors"][0];
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        answer.body["success"] == false
            && answer.body["result"].is_null()
            && answer.body["messages"].is_array()
            && error["code"].as_u64().is_some_and(|code| code >= 900)
            && message.len() > 8,
        "{what}: {}",
        answer.text
    );
}

#[test]
fn no_route_is_outside_of_the_table() {
    let source = include_str!("../routes/router.rs");
    assert!(
        !source.contains(".route("),
        "add it to the table in routes/"
    );
}

#[tokio::test]
async fn wrong_methods() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account.to_string();
    for (methods, path) in ROUTES.iter() {
        let path = filled(path, &zone, &account);
        for method in METHODS {
            let is_served =
                methods.contains(&method) || method == "HEAD" && methods.contains(&"GET");
            if is_served {
                continue;
            }
            let what = format!("{method} {path}");
            let answer = world.call(method, &path, json!({})).await;
            // A name in the place of a word may lead to another route.
            assert!(
                matches!(answer.status, 405 | 404),
                "{what}: {}",
                answer.text
            );
            check(&what, &answer);
        }
    }
}

#[tokio::test]
async fn unknown_and_odd_names() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account.to_string();
    let long = "a".repeat(4_000);
    let odd = [
        "x",
        "%00",
        "%ff%fe",
        "%2e%2e%2f",
        "-1",
        "18446744073709551616",
        "%E2%80%AE",
        &long,
    ];
    for (methods, template) in ROUTES.iter() {
        let mut paths = vec![filled(template, &zone, &account)];
        for name in [
            "{zone}",
            "{account}",
            "{id}",
            "{uuid}",
            "{phase}",
            "{number}",
            "{name}",
            "{key}",
        ] {
            if template.contains(name) {
                paths.extend(odd.map(|odd| filled(&template.replace(name, odd), &zone, &account)));
                let nobody = "f".repeat(32);
                paths.push(filled(&template.replace(name, &nobody), &zone, &account));
            }
        }
        for method in methods {
            for path in &paths {
                // Nothing but what is read is asked for where it is there.
                let body = match *method {
                    "GET" | "DELETE" => Value::Null,
                    _ => json!({}),
                };
                let what = format!("{method} {path}");
                let answer = world.call(method, path, body).await;
                check(&what, &answer);
                // Operations on lists are over when they are answered, so that every one is.
                let is_there = !template.contains('{')
                    || *path == paths[0]
                    || template.contains("bulk_operations");
                assert!(is_there || answer.status >= 400, "{what}: {}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn wrong_bodies() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account.to_string();
    let deep = |open: &str, close: &str| open.repeat(20_000) + &close.repeat(20_000);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    let plain: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "true",
        "7",
        "-1e999",
        "\"text\"",
        "[]",
        "{}",
        "[{}]",
        "[null]",
        "[[]]",
        "{",
        "{\"a\":",
        "{\"a\": 1,}",
        "{'a': 1}",
        "{\"a\": 1}{}",
        "name=x&y=z",
        "<xml/>",
        "\u{feff}{}",
        "{\"rules\": [1]}",
        "{\"rules\": [{\"action\": 1}]}",
        "{\"\\ud800\": 1}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        huge.into_bytes(),
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        b"{\"name\": \"\xff\xfe\"}".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
    ])
    .collect();
    // Every field that some body has, with values of every wrong type.
    let fields = [
        "name",
        "type",
        "account",
        "key_type",
        "csr",
        "validity_days",
        "reactivate",
        "hostnames",
        "ca",
        "mtls_certificate_id",
        "certificates",
        "certificate",
        "private_key",
        "bundle_method",
        "description",
        "kind",
        "phase",
        "rules",
        "action",
        "expression",
        "enabled",
        "position",
        "ref",
        "logging",
        "action_parameters",
        "id",
        "items",
        "ip",
        "asn",
        "hostname",
        "comment",
        "scopes",
        "zones",
        "days",
        "hosts",
        "paths",
        "check_revoked",
        "common_name",
        "pkcs12_password",
        "origin",
        "mtls",
        "revoked",
        "client",
        "value",
        "requests",
        "records",
        "draft",
        "explain",
        "form",
        "postern",
        "lists",
        "authorities",
        "policy",
        "urls",
        "url",
        "fetch_every",
        "nonce",
        "file",
        "path",
        "certificate_headers",
        "tell_reason",
    ];
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!("\u{0}\u{202e}"),
        json!([]),
        json!({}),
        json!([null]),
        json!({"a": {"b": []}}),
        json!("x".repeat(5_000)),
        json!(u64::MAX),
    ];
    let mut turn = 0;
    for (methods, template) in ROUTES.iter() {
        let path = filled(template, &zone, &account);
        for method in methods.iter().filter(|method| **method != "GET") {
            // It copies the store wherever it is told to.
            if path.ends_with("/backup") {
                continue;
            }
            for body in &plain {
                let shown: String = String::from_utf8_lossy(body).chars().take(40).collect();
                let what = format!("{method} {path} {shown}");
                check(&what, &world.raw(method, &path, body.clone(), &[]).await);
            }
            // Three wrong values a field and a route; with all routes together every one is met.
            for (place, field) in fields.iter().enumerate() {
                turn += 1;
                for value in (0..3).filter_map(|n| wrong.get((turn + place + n * 4) % wrong.len()))
                {
                    let body = json!({ *field: value });
                    let what = format!(
                        "{method} {path} {}",
                        body.to_string().chars().take(60).collect::<String>()
                    );
                    check(&what, &world.call(method, &path, body).await);
                }
            }
            let form = b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\nb\r\n--x--".to_vec();
            let headers = [("content-type", "multipart/form-data; boundary=x")];
            let answer = world.raw(method, &path, form, &headers).await;
            check(&format!("{method} {path} as a form"), &answer);
            if answer.text.contains("Malformed JSON") {
                assert!(
                    answer.text.contains("application/json is expected"),
                    "{}",
                    answer.text
                );
            }
        }
    }
    // It still works, and the zone is as it was.
    assert_eq!(
        world.get(&format!("/client/v4/zones/{zone}")).await["name"],
        "example.test"
    );
}

#[tokio::test]
async fn an_array_in_the_place_of_an_object_is_refused() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account.to_string();
    let mut looked_at = 0;
    for route in crate::routes::all() {
        let (Body::Json(name) | Body::MaybeJson(name)) = route.body else {
            continue;
        };
        let path = filled(&template(route.path), &zone, &account);
        // The zone itself, so that there is one whose body can be looked at.
        let path = path.replace(
            &format!("/zones/{}", "0".repeat(32)),
            &format!("/zones/{zone}"),
        );
        let (bodies, place) = match name {
            "ListItems" => (["[[]]", "[[null]]", "[[\"192.0.2.1\"]]"], "/0"),
            _ => (["[]", "[null]", "[{}]"], ""),
        };
        for body in bodies {
            let what = format!("{} {path} {body}", route.method);
            let answer = world.raw(route.method, &path, body.into(), &[]).await;
            assert_eq!(answer.status, 400, "{what}: {}", answer.text);
            let error = &answer.body["errors"][0];
            let message = error["message"].as_str().unwrap();
            let expected = "an object is expected, not an array";
            assert!(message.contains(expected), "{what}: {}", answer.text);
            assert_eq!(error["source"]["pointer"], place, "{what}: {}", answer.text);
        }
        looked_at += 1;
    }
    assert!(looked_at >= 30, "{looked_at} routes take JSON");
    // It is the same below the top.
    for (method, path, body, place) in [
        (
            "POST",
            "/client/v4/zones/{zone}/rulesets",
            json!({"name": "a", "kind": "zone", "phase": "http_request_firewall_custom",
                "rules": [["block"]]}),
            "/rules/0",
        ),
        (
            "POST",
            "/postern/v1/zones/{zone}/mtls_rules",
            json!({"hosts": ["a.example.test"], "position": []}),
            "/position",
        ),
        (
            "POST",
            "/postern/v1/zones/{zone}/rule_tests",
            json!({"requests": [{"host": "a.example.test"}, []]}),
            "/requests/1",
        ),
        (
            "POST",
            "/postern/v1/apply",
            json!({"postern": 1, "zones": [["example.test"]]}),
            "/zones/0",
        ),
    ] {
        let path = filled(path, &zone, &account);
        let answer = world.call(method, &path, body).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        let error = &answer.body["errors"][0];
        assert_eq!(error["source"]["pointer"], place, "{path}: {}", answer.text);
    }
}

/// Which scopes a route needs, said once more than in the code: by what it does.
fn expected(method: &str, path: &str) -> Scope {
    match (method, path) {
        // It reads the whole store.
        ("GET", "/postern/v1/fleet/digest") => Scope::All,
        ("GET", _) => Scope::Read,
        (_, "/postern/v1/dashboard/links" | "/postern/v1/dashboard/session") => Scope::Read,
        (_, path) if path.ends_with("/rule_tests") || path.ends_with("/preview") => Scope::Read,
        (_, path) if path.contains("/zones/{zone}/client_certificates") => Scope::Certificates,
        (_, path) if path.contains("/rulesets") || path.contains("/mtls_rules") => Scope::Rules,
        (_, path) if path.contains("/rules/lists") => Scope::Rules,
        _ => Scope::All,
    }
}

#[tokio::test]
async fn every_scope_on_every_route() {
    let world = World::new().await;
    let zone = world.zone().await;
    let other = world
        .ok("POST", "/client/v4/zones", json!({"name": "other.test"}))
        .await;
    let account = world.control.model().account.to_string();
    let mut tokens = Vec::new();
    for scope in [Scope::Read, Scope::Certificates, Scope::Rules, Scope::All] {
        for zones in [
            vec![],
            vec![zone.clone()],
            vec![other["id"].as_str().unwrap().to_owned()],
        ] {
            let new = NewToken {
                name: "t".into(),
                scopes: [scope].into(),
                zones: zones.iter().map(|id| id.parse().unwrap()).collect(),
                days: 1,
            };
            let (_, secret) = world.control.create_token(new).unwrap();
            tokens.push((scope, zones, format!("Bearer {}", secret.reveal_text())));
        }
    }
    for (methods, template) in ROUTES.iter() {
        // Open to all; and over the unix socket only.
        if matches!(
            template.as_str(),
            "/" | "/dashboard/{file}" | "/livez" | "/readyz" | "/postern/v1/backup"
        ) {
            continue;
        }
        for method in methods {
            // Signing in, which is how one gets to have a scope; and over the unix socket only.
            let route = (*method, template.as_str());
            if route == ("POST", "/postern/v1/dashboard/session")
                || route == ("POST", "/postern/v1/upgrade")
            {
                continue;
            }
            let path = filled(template, &zone, &account);
            let needs = expected(method, template);
            let said = crate::routes::all()
                .find(|route| route.method == *method && self::template(route.path) == *template)
                .map(|route| route.needs.as_str());
            assert_eq!(
                said,
                Some(json!(needs).as_str().unwrap()),
                "{method} {template}"
            );
            let in_zone = template.contains("/zones/{zone}");
            for (scope, zones, authorization) in &tokens {
                let headers = [("authorization", authorization.as_str())];
                let answer = world.over_tcp(method, &path, &headers).await;
                let power = needs == Scope::Read || *scope == Scope::All || *scope == needs;
                let place = zones.is_empty() || in_zone && zones[0] == zone;
                // Whether a token is good may be asked with every one, a session be had, and help
                // with the language and with reasons.
                // Which zones there are, a tenant sees as far as they are its own.
                let is_listing = ["/client/v4/zones", "/client/v4/accounts"];
                let place = place
                    || *method == "GET" && is_listing.contains(&template.as_str())
                    || template.starts_with("/postern/v1/expressions/")
                    || template == "/postern/v1/reasons"
                    || template.ends_with("/tokens/verify")
                    || template.ends_with("/dashboard/links")
                    || template.ends_with("/dashboard/session");
                let what = format!("{method} {path} {scope:?} {zones:?}: {}", answer.text);
                assert_eq!(answer.status == 403, !(power && place), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn lists_at_their_edges() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account.to_string();
    let certificates = format!("/client/v4/zones/{zone}/client_certificates");
    let mut issued = Vec::new();
    for name in ["device-1", "device-2", "device-2"] {
        let body = json!({"csr": csr(name), "validity_days": 1});
        issued.push(world.ok("POST", &certificates, body).await);
    }
    let revoked = format!("{certificates}/{}", issued[2]["id"].as_str().unwrap());
    world.ok("DELETE", &revoked, Value::Null).await;
    for template in [
        "/client/v4/zones",
        "/client/v4/accounts",
        "/client/v4/zones/{zone}/client_certificates",
        "/client/v4/zones/{zone}/custom_certificates",
        "/client/v4/accounts/{account}/mtls_certificates",
        "/postern/v1/zones/{zone}/hosts",
        "/postern/v1/zones/{zone}/mtls_rules",
        "/postern/v1/hosts",
        "/postern/v1/tokens",
        "/postern/v1/audit",
    ] {
        let path = filled(template, &zone, &account);
        for (query, status) in [
            ("page=1000000", 200),
            ("page=18446744073709551615&per_page=1000", 200),
            ("per_page=999999999", 200),
            ("offset=18446744073709551615", 200),
            ("page=0", 400),
            ("per_page=0", 400),
            ("limit=0", 400),
            ("page=-1", 400),
            ("per_page=x", 400),
            ("page=%ff", 400),
            ("page=99999999999999999999999", 400),
            ("unheard_of=1", 200),
            ("page=", 200),
        ] {
            let what = format!("{path}?{query}");
            let answer = world.call("GET", &what, Value::Null).await;
            assert_eq!(answer.status, status, "{what}: {}", answer.text);
            check(&what, &answer);
            if status == 200 {
                let info = &answer.body["result_info"];
                let per_page = info["per_page"].as_u64().unwrap();
                assert!(per_page <= 1_000, "{what}: {info}");
                let shown = answer.body["result"].as_array().unwrap().len();
                assert_eq!(info["count"], shown, "{what}: {info}");
                let total = info["total_count"].as_u64().unwrap();
                assert_eq!(
                    info["total_pages"],
                    total.div_ceil(per_page),
                    "{what}: {info}"
                );
                if query.starts_with("page=1") || query.starts_with("offset") {
                    assert_eq!(shown, 0, "{what}: {}", answer.text);
                }
            }
        }
    }
    let of = |place: usize, key: &str| issued[place][key].as_str().unwrap().to_owned();
    for (query, total) in [
        (format!("serial_number={}", of(0, "serial_number")), 1),
        (
            format!("serial_number={}", of(0, "serial_number").to_uppercase()),
            1,
        ),
        (
            format!("fingerprint_sha256={}", of(1, "fingerprint_sha256")),
            1,
        ),
        (format!("ski={}", of(2, "ski")), 1),
        ("common_name=DEVICE-2".to_owned(), 2),
        ("common_name=device".to_owned(), 0),
        ("common_name=device-2&status=active".to_owned(), 1),
        ("common_name=device-2&status=revoked".to_owned(), 1),
        (
            "common_name=device-2&status=all&per_page=1&page=2".to_owned(),
            2,
        ),
        (format!("common_name=device-2&ski={}", of(1, "ski")), 1),
        (format!("common_name=device-1&ski={}", of(1, "ski")), 0),
        (
            format!("status=active&serial_number={}", of(2, "serial_number")),
            0,
        ),
        ("status=pending_revocation".to_owned(), 0),
        ("serial_number=00".to_owned(), 0),
        ("serial_number=not-hex".to_owned(), 0),
        ("ski=".to_owned(), 3),
    ] {
        let what = format!("{certificates}?{query}");
        let answer = world.call("GET", &what, Value::Null).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text);
        let info = &answer.body["result_info"];
        assert_eq!(info["total_count"], total, "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn min_tls_version_is_what_the_gateway_serves() {
    for (served, other) in [(TlsVersion::Tls12, "1.3"), (TlsVersion::Tls13, "1.2")] {
        let world = World::with(Config {
            tls_min_version: served,
            ..Config::default()
        })
        .await;
        let zone = world.control.create_zone("example.test").unwrap().id;
        let all = format!("/client/v4/zones/{zone}/settings");
        let one = format!("{all}/min_tls_version");
        let served = served.as_str();
        let shown = world.call("GET", &one, Value::Null).await;
        assert_eq!(shown.body["result"]["value"], served);
        let shown = world.call("GET", &all, Value::Null).await;
        let listed = shown.body["result"].as_array().unwrap();
        let found = listed.iter().find(|one| one["id"] == "min_tls_version");
        assert_eq!(found.unwrap()["value"], served);
        let set = |value: &str| world.call("PATCH", &one, json!({ "value": value }));
        assert_eq!(set(served).await.status, 200, "what is");
        for wanted in [other, "1.0", "1.1", "2"] {
            let refused = set(wanted).await;
            assert_eq!(refused.status, 400, "{wanted}");
            let why = refused.body["errors"][0]["message"].as_str().unwrap();
            assert!(
                why.contains(&format!("it is `{served}`")) && why.contains("tls.min_version"),
                "{wanted}: {why}"
            );
        }
    }
}
