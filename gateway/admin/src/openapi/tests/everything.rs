//! Every operation once, with an answer that the document describes.

use super::*;
use crate::tests::{World, csr};
use control::{Id, Moment, NewToken, Scope, Uuid};
use fixtures::pki::{Identity, Spec, foreign};

/// [`check`] is told of good answers only. There are no workers that could be ready, and there are
/// no files when the dashboard was not built. There is no fleet either: those of `tests` are tried there.
const NEVER_GOOD: [&str; 8] = [
    "get_readyz",
    "get_dashboard_file",
    "init_fleet",
    "join_fleet",
    "leave_fleet",
    "accept_fleet",
    "forget_edge",
    "change_alone",
];

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A CA that another gateway has made, with a revocation list of its, in DER.
async fn elsewhere() -> (String, Vec<u8>) {
    let world = World::new().await;
    let zone = world.zone().await;
    let managed = format!("/postern/v1/zones/{zone}/authorities");
    let ca = world.get(&managed).await[0].clone();
    let id = text(&ca["id"]);
    world
        .call("GET", &format!("{managed}/{id}/crl"), Value::Null)
        .await;
    let (zone, id): (Id, Uuid) = (zone.parse().unwrap(), id.parse().unwrap());
    let list = world.control.revocation_list(zone, id).unwrap();
    (text(&ca["certificate"]), list)
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account.to_string();
    world.get(&format!("/client/v4/zones/{zone}")).await;
    about_the_gateway(&world).await;
    for below in [
        "events",
        "events/stream",
        "events/requests",
        "latency?minutes=5",
        "traffic",
        "doctor",
    ] {
        let path = format!("/postern/v1/zones/{zone}/{below}");
        assert_eq!(world.call("GET", &path, Value::Null).await.status, 200);
    }
    certificates(&world, &zone).await;
    settings(&world, &zone, &account).await;
    records(&world, &zone).await;
    cas(&world, &zone, &account).await;
    hosts(&world, &zone).await;
    rules(&world, &zone).await;
    lists(&world, &account).await;
    configuration(&world).await;
    crate::tests::dashboard::every_call(&world).await;
    world
        .ok("DELETE", &format!("/client/v4/zones/{zone}"), Value::Null)
        .await;
    let answered = ANSWERED.take();
    let missing: Vec<&str> = routes::all()
        .map(|route| route.id)
        .filter(|id| !answered.contains(id) && !NEVER_GOOD.contains(id))
        .collect();
    assert!(missing.is_empty(), "call them here: {missing:?}");
}

async fn about_the_gateway(world: &World) {
    for path in [
        "/client/v4/openapi.json",
        "/livez",
        "/metrics",
        "/postern/v1/status",
        "/postern/v1/counters",
        "/postern/v1/fleet",
        "/postern/v1/fleet/digest",
        "/postern/v1/events?kind=blocked,failed&host=a.test&limit=1",
        "/postern/v1/events/counts",
        "/postern/v1/events/stream?recent=1",
        "/postern/v1/reasons",
        "/postern/v1/steering",
        "/postern/v1/steering/trace?milliseconds=0",
        "/postern/v1/sysctl",
        "/postern/v1/sysctl?prefix=timeout.",
        "/postern/v1/sysctl/timeout.idle",
        "/client/v4/zones?name=contains:example&direction=desc",
        "/client/v4/accounts",
    ] {
        let answer = world.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    assert_eq!(world.call("GET", "/readyz", Value::Null).await.status, 503);
    let setting = "/postern/v1/sysctl/timeout.idle";
    world.ok("PUT", setting, json!({"value": "75s"})).await;
    let tokens = "/postern/v1/tokens";
    let body = json!({"name": "ci", "scopes": ["rules", "certificates"], "days": 7});
    let made = world.ok("POST", tokens, body).await;
    world.get(tokens).await;
    world
        .ok(
            "DELETE",
            &format!("{tokens}/{}", text(&made["id"])),
            Value::Null,
        )
        .await;
}

async fn settings(world: &World, zone: &str, account: &str) {
    let at = format!("/client/v4/zones/{zone}");
    world.ok("PATCH", &at, json!({"paused": false})).await;
    world.get(&format!("/client/v4/accounts/{account}")).await;
    let logs = format!("/client/v4/accounts/{account}/audit_logs");
    let shown = world
        .get(&format!("{logs}?since=2020-01-01&per_page=5"))
        .await;
    assert!(!shown.as_array().unwrap().is_empty(), "{shown}");
    world.get(&format!("{at}/settings")).await;
    world.get(&format!("{at}/settings/http2")).await;
    let one = format!("{at}/settings/security_header");
    world.get(&one).await;
    let hsts = json!({"strict_transport_security": {"enabled": true, "max_age": 86400}});
    world.ok("PATCH", &one, json!({"value": hsts})).await;
    let managed = format!("{at}/managed_headers");
    world.get(&managed).await;
    let off = json!({"id": "add_client_certificate_headers", "enabled": false});
    let edit = json!({"managed_request_headers": [off], "managed_response_headers": []});
    world.ok("PATCH", &managed, edit).await;
    let new = NewToken {
        name: "t".into(),
        scopes: [Scope::Rules].into(),
        zones: [zone.parse().unwrap()].into(),
        days: 1,
    };
    let (_, secret) = world.control.create_token(new).unwrap();
    let bearer = format!("Bearer {}", secret.reveal_text());
    let headers = [("authorization", bearer.as_str())];
    let path = "/client/v4/user/tokens/verify";
    let verified = world.over_tcp("GET", path, &headers).await;
    assert_eq!(verified.status, 200, "{}", verified.text);
    assert_eq!(
        verified.body["messages"][0]["code"], 10_000,
        "{}",
        verified.text
    );
}

async fn records(world: &World, zone: &str) {
    let at = format!("/client/v4/zones/{zone}");
    let all = format!("{at}/dns_records");
    let record = |content: &str| json!({"type": "A", "name": "rec", "content": content, "proxied": true, "ttl": 300});
    let made = world.ok("POST", &all, record("192.0.2.1")).await;
    let one = format!("{all}/{}", text(&made["id"]));
    world.get(&one).await;
    world
        .get(&format!("{all}?name=rec.example.test&type=A"))
        .await;
    world.ok("PUT", &one, record("192.0.2.2")).await;
    let edit = json!({"type": "CNAME", "content": "o.test"});
    world.ok("PATCH", &one, edit).await;
    let forwarding = format!("{at}/access/certificates/settings");
    world.get(&forwarding).await;
    let setting = json!({"hostname": "rec.example.test", "client_certificate_forwarding": true});
    world
        .ok("PUT", &forwarding, json!({"settings": [setting]}))
        .await;
    let managed = format!("{at}/managed_headers");
    let on = json!({"id": "add_client_certificate_headers", "enabled": true});
    world
        .ok("PATCH", &managed, json!({"managed_request_headers": [on]}))
        .await;
    world.ok("DELETE", &one, Value::Null).await;
    let host = json!({"type": "A", "name": "a", "content": "192.0.2.1", "proxied": true});
    world.ok("POST", &all, host).await;
}

async fn certificates(world: &World, zone: &str) {
    let own = format!("/postern/v1/zones/{zone}");
    let clients = format!("/client/v4/zones/{zone}/client_certificates");
    let body = json!({"csr": csr("device"), "validity_days": 30});
    let tried = world
        .ok("POST", &format!("{clients}?dry_run=true"), body.clone())
        .await;
    assert_eq!(tried, Value::Null);
    let issued = world.ok("POST", &clients, body).await;
    let one = format!("{clients}/{}", text(&issued["id"]));
    world.get(&one).await;
    world.ok("DELETE", &one, Value::Null).await;
    world.ok("PATCH", &one, json!({"reactivate": true})).await;
    let body = json!({"common_name": "fresh", "organization": "O", "validity_days": 1,
        "pkcs12_password": "correct horse"});
    world
        .ok("POST", &format!("{own}/client_certificates"), body)
        .await;
    let revoke = json!({"certificates": [text(&issued["id"])], "reason": "superseded"});
    world
        .ok(
            "POST",
            &format!("{own}/client_certificates/revocations"),
            revoke,
        )
        .await;
    let place = json!({"zone_id": zone, "id": text(&issued["id"])});
    world
        .ok(
            "POST",
            "/postern/v1/client_certificates/revocations",
            json!({"certificates": [place]}),
        )
        .await;
    world
        .get(&format!("{clients}?expires_within_days=40&status=active"))
        .await;
    let servers = format!("/client/v4/zones/{zone}/custom_certificates");
    let now = Moment::now().seconds();
    let made = Identity::issued(&Spec::server(&["up.example.test"]).at(now), None);
    let pair = json!({"certificate": made.chain_pem(), "private_key": made.key_pem(),
        "bundle_method": "force"});
    let uploaded = world.ok("POST", &servers, pair.clone()).await;
    let one = format!("{servers}/{}", text(&uploaded["id"]));
    world.get(&one).await;
    world.get(&servers).await;
    world.ok("PATCH", &one, pair).await;
    world.get("/postern/v1/status").await;
    world.ok("DELETE", &one, Value::Null).await;
    let develop = format!("{own}/server_certificates/development");
    world
        .ok("POST", &develop, json!({"hosts": ["*.example.test"]}))
        .await;
    let development = "/postern/v1/development_authority";
    world.get(development).await;
    world.ok("POST", development, Value::Null).await;
}

async fn cas(world: &World, zone: &str, account: &str) {
    let (certificate, list) = elsewhere().await;
    let uploads = format!("/client/v4/accounts/{account}/mtls_certificates");
    let body = json!({"ca": true, "certificates": certificate, "name": "partner"});
    let id = text(&world.ok("POST", &uploads, body).await["id"]);
    let one = format!("{uploads}/{id}");
    let associations =
        format!("/client/v4/zones/{zone}/certificate_authorities/hostname_associations");
    let body = |names: &[&str]| json!({"hostnames": names, "mtls_certificate_id": id});
    world
        .ok("PUT", &associations, body(&["a.example.test"]))
        .await;
    world
        .get(&format!("{associations}?mtls_certificate_id={id}"))
        .await;
    world.get(&format!("{one}/associations")).await;
    let change = format!("/postern/v1/zones/{zone}/hostname_associations");
    let removal = json!({"remove": ["a.example.test"], "mtls_certificate_id": id});
    world.ok("PATCH", &change, removal).await;
    world
        .ok("PUT", &associations, body(&["a.example.test"]))
        .await;
    world.get(&uploads).await;
    world.get(&one).await;
    let crls = format!("/postern/v1/certificate_authorities/{id}/crls");
    let nowhere = "http://127.0.0.1:1/ca.crl";
    let settings = json!({"policy": "soft", "urls": [nowhere], "fetch_every": 60, "file": null});
    world.get(&crls).await;
    world.ok("PATCH", &crls, settings).await;
    let put = world.raw("PUT", &crls, list, &[]).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let fetched = world
        .ok("POST", &format!("{crls}/fetch"), Value::Null)
        .await;
    assert_eq!(fetched["fetches"][0]["result"], "failed");
    assert!(fetched["crls"][0]["entries"].is_u64());
    world.ok("DELETE", &crls, Value::Null).await;
    let ocsp = format!("/postern/v1/certificate_authorities/{id}/ocsp");
    world.get(&ocsp).await;
    let settings = json!({"url": "http://127.0.0.1:1/", "policy": "soft", "nonce": true});
    world.ok("PATCH", &ocsp, settings).await;
    world.ok("PATCH", &ocsp, json!({"url": null})).await;
    let denied = format!("/postern/v1/certificate_authorities/{id}/denied");
    let deny = json!({"serial_number": "0A:1b", "comment": "stolen"});
    let made = world.ok("POST", &denied, deny).await;
    world.get(&denied).await;
    let entry = text(&made[0]["id"]);
    world
        .ok("DELETE", &format!("{denied}/{entry}"), Value::Null)
        .await;
    world.ok("PUT", &associations, body(&[])).await;
    world.ok("DELETE", &one, Value::Null).await;
    // What follows is to have a CA to believe.
    let managed_again = json!({"add": ["a.example.test"]});
    world.ok("PATCH", &change, managed_again).await;
    let managed = format!("/postern/v1/zones/{zone}/authorities");
    world
        .ok("POST", &managed, json!({"key_type": "rsa-2048"}))
        .await;
    let old = text(&world.get(&managed).await[1]["id"]);
    world
        .ok("DELETE", &format!("{managed}/{old}"), Value::Null)
        .await;
}

async fn hosts(world: &World, zone: &str) {
    let own = format!("/postern/v1/zones/{zone}/hosts");
    let all = "/postern/v1/hosts";
    let pulls = fixtures::pki::Authority::root("pulls");
    let pull = pulls.client("pull");
    let body = json!({"name": "pulled.example.test", "origin": {"url": "https://127.0.0.1:9",
        "ca_pem": pulls.pem(), "tls_min_version": "1.3", "proxy_protocol": "v2",
        "client_certificate": {"certificate": pull.chain_pem(), "private_key": pull.key_pem()}}});
    world.ok("POST", &own, body).await;
    let shown = world.get(&format!("{all}/pulled.example.test")).await;
    assert_eq!(shown["origin_client_certificate"]["common_name"], "pull");
    let body = json!({"name": "api.example.test", "origin": {"url": "http://127.0.0.1:9000"},
        "mtls": "request", "certificate_headers": ["verdict", "xfcc"]});
    world.ok("POST", &own, body).await;
    let body = json!({"name": "gone.example.test", "origin": {"url": "https://o.test",
        "protocol": "http2", "host_header": "o.test", "server_name": "o.test"}});
    world.ok("POST", &own, body).await;
    world.get(&own).await;
    world.get(all).await;
    let one = format!("{all}/gone.example.test");
    world.get(&one).await;
    world.get(&format!("{one}/enforcement")).await;
    let patch = json!({"revoked": "close", "tell_reason": true, "certificate_id": null,
        "acme": true});
    world.ok("PATCH", &one, patch).await;
    world
        .ok("POST", &format!("{one}/acme_order"), Value::Null)
        .await;
    world.ok("DELETE", &one, Value::Null).await;
    let origins = format!("/postern/v1/zones/{zone}/origins");
    let body = json!({"name": "backends", "origin": {"addresses": [
        {"url": "http://127.0.0.1:1", "weight": 2}, {"url": "http://127.0.0.1:2"}],
        "balance": "hash", "hash_by": "ip.src", "ejection": {"failures": 5, "sec": 1,
        "max_sec": 9, "max_percent": 10}, "slow_start_sec": 0, "panic_percent": 40,
        "timeouts": {"connect_ms": 500, "try_ms": 1000, "whole_ms": 5000},
        "limits": {"requests": 100, "connections": 50, "queue": 20, "queue_ms": 100}}});
    world.ok("POST", &origins, body).await;
    let one = format!("{origins}/backends");
    let patch = json!({"origin": {"balance": "least_requests", "hash_by": null}});
    world.ok("PATCH", &one, patch).await;
    let body = json!({"origin": {"name": "backends"}});
    world
        .ok("PATCH", "/postern/v1/hosts/api.example.test", body)
        .await;
    let shown = world.get(&one).await;
    assert_eq!(shown["used_by"], json!(["host api.example.test"]));
    world.get(&origins).await;
    world.get("/postern/v1/origins").await;
    let refused = world.call("DELETE", &one, Value::Null).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let body = json!({"origin": {"url": "http://127.0.0.1:9000"}});
    world
        .ok("PATCH", "/postern/v1/hosts/api.example.test", body)
        .await;
    world.ok("DELETE", &one, Value::Null).await;
}

async fn rules(world: &World, zone: &str) {
    let rulesets = format!("/client/v4/zones/{zone}/rulesets");
    let own = format!("/postern/v1/zones/{zone}");
    let custom = "http_request_firewall_custom";
    let mtls = "not cf.tls_client_auth.cert_verified";
    let block = json!({"action": "block", "expression": mtls, "action_parameters": {"response":
        {"status_code": 401, "content_type": "application/json", "content": "{}"}}});
    let body = json!({"name": "mine", "kind": "zone", "phase": custom, "rules": [block]});
    let made = world.ok("POST", &rulesets, body).await;
    let one = format!("{rulesets}/{}", text(&made["id"]));
    let skip = json!({"action": "skip", "expression": "http.request.uri.path eq \"/open\"",
        "action_parameters": {"ruleset": "current", "phases": ["http_ratelimit"]},
        "logging": {"enabled": false}, "position": {"index": 1}, "ref": "open"});
    let made = world.ok("POST", &format!("{one}/rules"), skip).await;
    let rule = format!("{one}/rules/{}", text(&made["rules"][0]["id"]));
    world
        .ok(
            "PATCH",
            &rule,
            json!({"position": {"after": ""}, "enabled": false}),
        )
        .await;
    let answer = world.ok("PUT", &one, world.get(&one).await).await;
    world
        .ok("PUT", &one, json!({"name": "named", "description": "anew"}))
        .await;
    for path in [
        rulesets.clone(),
        format!("{one}/versions"),
        format!("{one}/versions/1"),
        format!("{own}/rulesets/{}/differences?from=1", text(&answer["id"])),
        format!("{own}/lints"),
        format!("{own}/rules"),
        format!("{own}/rules/{}", text(&made["rules"][0]["id"])),
    ] {
        world.get(&path).await;
    }
    let restore = format!("{own}/rulesets/{}/versions/2/restore", text(&answer["id"]));
    world.ok("POST", &restore, Value::Null).await;
    world.ok("DELETE", &rule, Value::Null).await;
    let phase = |name: &str| format!("{rulesets}/phases/{name}/entrypoint");
    world.get(&phase(custom)).await;
    world.get(&format!("{}/versions", phase(custom))).await;
    world.get(&format!("{}/versions/1", phase(custom))).await;
    let limit = json!({"characteristics": ["ip.src"], "period": 60, "requests_per_period": 5,
        "mitigation_timeout": 600, "counting_expression": "ssl"});
    let limits = json!({"rules": [{"action": "block", "expression": "ssl", "ratelimit": limit}]});
    world.ok("PUT", &phase("http_ratelimit"), limits).await;
    let set = json!({"x-client": {"operation": "set",
        "expression": "cf.tls_client_auth.cert_subject_dn"}, "x-old": {"operation": "remove"}});
    let transforms = json!({"rules": [{"action": "rewrite", "expression": "ssl",
        "action_parameters": {"headers": set}}]});
    world
        .ok("PUT", &phase("http_request_late_transform"), transforms)
        .await;
    for (name, action, parameters) in [
        (
            "http_request_dynamic_redirect",
            "redirect",
            json!({"from_value": {"target_url": {"value": "/x"}, "status_code": 308,
                "preserve_query_string": true}}),
        ),
        (
            "http_request_origin",
            "route",
            json!({"host_header": "h.test", "origin": {"host": "o.test", "port": 8443},
                "sni": {"value": "s.test"}}),
        ),
        (
            "http_response_headers_transform",
            "rewrite",
            json!({"headers": {"server": {"operation": "remove"}}}),
        ),
    ] {
        let rule = json!({"action": action, "expression": "ssl", "action_parameters": parameters});
        world
            .ok("PUT", &phase(name), json!({"rules": [rule]}))
            .await;
    }
    mtls_rules(world, &own).await;
    tests_of_rules(world, &own).await;
    let answer = world.call("DELETE", &one, Value::Null).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
}

async fn mtls_rules(world: &World, own: &str) {
    let all = format!("{own}/mtls_rules");
    let body = json!({"name": "admin", "hosts": ["api.example.test"], "paths": ["/admin"],
        "check_revoked": false, "position": {"before": ""}});
    let made = world.ok("POST", &all, body).await;
    assert!(made["lints"][0]["message"].is_string(), "{made}");
    let one = format!("{all}/{}", text(&made["id"]));
    world.get(&all).await;
    world.get(&one).await;
    world
        .ok("PATCH", &one, json!({"check_revoked": true}))
        .await;
    world
        .get("/postern/v1/hosts/api.example.test/enforcement")
        .await;
    world.ok("DELETE", &one, Value::Null).await;
}

async fn tests_of_rules(world: &World, own: &str) {
    let line = json!({"kind": "request", "time": "2026-11-20T10:00:00Z", "method": "GET",
        "client": "192.0.2.1:1", "host": "api.example.test", "path": "/", "http": "HTTP/2",
        "status": 200, "client_cert": {"presented": false, "verified": false, "revoked": false,
        "reason": "not_presented"}});
    let url = "https://api.example.test/";
    let body = json!({
        "requests": [
            {"url": url, "expect": "permit", "name": "first", "headers": {"a": ["b", 2]}},
            {"url": url, "certificate": {"state": "valid", "serial": "0a", "san_ip": ["::1"]}},
            {"url": url, "method": "TRACE"},
            {"host": "elsewhere.test", "source": "192.0.2.1", "certificate": "revoked"},
        ],
        "records": [line.to_string(), "no line"],
        "draft": {"action": "log", "expression": "cf.tls_client_auth.cert_subject_dn eq \"CN=a\""},
        "explain": ["all"],
    });
    let found = world.ok("POST", &format!("{own}/rule_tests"), body).await;
    let outcome = |place: usize| text(&found["tested"][place]["outcome"]);
    assert_eq!(
        (outcome(2), outcome(5)),
        ("refuse".into(), "not_judged".into())
    );
    world.get("/postern/v1/expressions/vocabulary").await;
    let preview = "/postern/v1/expressions/preview";
    let body = json!({"expression": "not cf.tls_client_auth.cert_verified or ssl"});
    let form = world.ok("POST", preview, body).await["form"].clone();
    world.ok("POST", preview, json!({ "form": form })).await;
    let complex = json!({"expression": "not (ssl and http.host contains \"X\")"});
    world.ok("POST", preview, complex).await;
}

async fn lists(world: &World, account: &str) {
    let all = format!("/client/v4/accounts/{account}/rules/lists");
    for (kind, item) in [
        ("ip", json!({"ip": "192.0.2.0/24", "comment": "office"})),
        (
            "hostname",
            json!({"hostname": {"url_hostname": "*.example.org"}}),
        ),
        ("asn", json!({"asn": 64496})),
    ] {
        let body = json!({"name": format!("of_{kind}"), "kind": kind, "description": "d"});
        let one = format!("{all}/{}", text(&world.ok("POST", &all, body).await["id"]));
        let items = format!("{one}/items");
        world.get(&all).await;
        world.get(&one).await;
        world.ok("PUT", &one, json!({"description": "anew"})).await;
        let done = world.ok("POST", &items, json!([item])).await;
        let operation = format!("{all}/bulk_operations/{}", text(&done["operation_id"]));
        world.get(&operation).await;
        world.ok("PUT", &items, json!([item])).await;
        let id = text(&world.get(&items).await[0]["id"]);
        world.get(&format!("{items}/{id}")).await;
        world
            .ok("DELETE", &items, json!({"items": [{"id": id}]}))
            .await;
        world.ok("POST", &items, json!([item])).await;
        if kind != "ip" {
            world.ok("DELETE", &one, Value::Null).await;
        }
    }
}

async fn configuration(world: &World) {
    let uploads = format!(
        "/client/v4/accounts/{}/mtls_certificates",
        world.control.model().account
    );
    let body = json!({"ca": true, "certificates": foreign("Kept"), "name": "kept"});
    let kept = text(&world.ok("POST", &uploads, body).await["id"]);
    let settings = json!({"policy": "hard", "urls": ["http://127.0.0.1:1/a"], "fetch_every": 9});
    let kept = format!("/postern/v1/certificate_authorities/{kept}");
    world.ok("PATCH", &format!("{kept}/crls"), settings).await;
    world
        .ok(
            "PATCH",
            &format!("{kept}/ocsp"),
            json!({"url": "http://127.0.0.1:1/b"}),
        )
        .await;
    world
        .ok(
            "POST",
            &format!("{kept}/denied"),
            json!({"serial_number": "-0a"}),
        )
        .await;
    let document = world.get("/postern/v1/export").await;
    world
        .ok("POST", "/postern/v1/export/private_keys", Value::Null)
        .await;
    let apply = "/postern/v1/apply?prune=true";
    let same = world.ok("POST", apply, document.clone()).await;
    assert_eq!(same["changes"], json!([]));
    let mut other = document;
    other["zones"][0]["hosts"][0]["mtls"] = "require".into();
    other["lists"][0]["items"] = json!([]);
    let changed = world
        .ok("POST", &format!("{apply}&dry_run=true"), other)
        .await;
    assert_eq!(changed["changes"].as_array().unwrap().len(), 2, "{changed}");
    for query in [
        "",
        "?per_page=1&page=2",
        "?actor=unix&noun=zone&since=2020-01-01T00:00:00Z",
    ] {
        let entries = world.get(&format!("/postern/v1/audit{query}")).await;
        assert!(entries[0]["revision"].is_u64());
    }
    let copy = world
        .raw("GET", "/postern/v1/backup", Vec::new(), &[])
        .await;
    assert_eq!(copy.status, 200, "{}", copy.text);
    let path = world.file("copy");
    world
        .ok("POST", "/postern/v1/backup", json!({ "path": path }))
        .await;
    assert!(world.get("/postern/v1/upgrade").await["last"].is_null());
    let wanted = json!({ "binary": "/usr/bin/postern" });
    let begun = world.ok("POST", "/postern/v1/upgrade", wanted).await;
    assert_eq!(begun["last"]["state"], "running");
}
