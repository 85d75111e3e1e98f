//! What calls of Cloudflare's API that scripts make do to requests.

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::{Client, Gateway, Origin, Setup};

const API: &str = "api.example.test";

fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let path = format!("/client/v4/zones/{}/{path}", gateway.zone_id(ZONE));
    gateway.admin.call(method, &path, body).result()
}

async fn seen(client: &Client) -> Value {
    client.get("/").await.unwrap().json()["headers"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_settings_tell_the_origin_on_every_request() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "request", &origin.url()).start();
    let (_, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client(API).identity(&device);
    let open = client.http2().await.unwrap();
    let set = |forwards: bool| {
        let setting = json!({ "hostname": API, "china_network": false,
            "client_certificate_forwarding": forwards });
        let body = json!({ "settings": [setting] });
        call(&gateway, "PUT", "access/certificates/settings", &body);
    };
    let names = ["cf-client-cert-der-base64", "cf-client-cert-sha256"];
    for forwards in [true, false] {
        set(forwards);
        for _ in 0..2 {
            let headers = open.get("/").await.unwrap().json()["headers"].clone();
            for name in names {
                assert_eq!(headers[name].is_null(), !forwards, "{name}: {headers}");
            }
        }
    }
    let managed = |enabled: bool| {
        let switch = json!({ "id": "add_client_certificate_headers", "enabled": enabled });
        let body = json!({ "managed_request_headers": [switch], "managed_response_headers": [] });
        call(&gateway, "PATCH", "managed_headers", &body);
    };
    for enabled in [true, false] {
        managed(enabled);
        let headers = seen(&client).await;
        assert_eq!(
            headers["cf-cert-subject-dn"].is_null(),
            !enabled,
            "{headers}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_setting_for_hsts_is_what_clients_get() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "off", &origin.url()).start();
    let client = gateway.client(API);
    let set = |said: Value| {
        let body = json!({ "value": { "strict_transport_security": said } });
        call(&gateway, "PATCH", "settings/security_header", &body);
    };
    set(json!({ "enabled": true, "max_age": 31_536_000, "nosniff": true }));
    let answer = client.get("/").await.unwrap();
    assert_eq!(
        answer.header("strict-transport-security"),
        "max-age=31536000"
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    // What is not said stays.
    set(json!({ "include_subdomains": true }));
    let answer = client.get("/").await.unwrap();
    let hsts = answer.header("strict-transport-security");
    assert_eq!(hsts, "max-age=31536000; includeSubDomains");
    set(json!({ "enabled": false }));
    let answer = client.get("/").await.unwrap();
    assert!(!answer.headers.contains_key("strict-transport-security"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_record_is_a_host_and_its_content_the_origin() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "off", &origin.url()).start();
    let client = gateway.client(API);
    let records = call(&gateway, "GET", "dns_records", &Value::Null);
    assert_eq!(records[0]["content"], "127.0.0.1", "{records}");
    let one = format!("dns_records/{}", records[0]["id"].as_str().unwrap());
    // Scheme and port stay those of the host.
    let port = origin.url().rsplit(':').next().unwrap().to_owned();
    for (kind, content, url, status) in [
        (
            "CNAME",
            "localhost",
            format!("http://localhost:{port}"),
            200,
        ),
        ("A", "127.0.0.9", format!("http://127.0.0.9:{port}"), 502),
        ("A", "127.0.0.1", origin.url(), 200),
    ] {
        let body = json!({ "type": kind, "content": content });
        let shown = call(&gateway, "PATCH", &one, &body);
        assert_eq!(shown["content"], content, "{shown}");
        let host = gateway
            .admin
            .get(&format!("/postern/v1/hosts/{API}"))
            .result();
        assert_eq!(host["origin"]["url"], url, "{host}");
        assert_eq!(client.get("/").await.unwrap().status, status, "{content}");
    }
    // A new one is a host with TLS to its origin, that has to be the host's own.
    let body = json!({ "type": "A", "name": "new", "content": "127.0.0.1", "proxied": true });
    call(&gateway, "POST", "dns_records", &body);
    let host = gateway
        .admin
        .get("/postern/v1/hosts/new.example.test")
        .result();
    let expected = json!({ "url": "https://127.0.0.1", "server_name": "new.example.test" });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(host["origin"][name], *value, "{host}");
    }
    call(&gateway, "DELETE", &one, &Value::Null);
    assert!(
        client.get("/").await.is_err(),
        "there is no such host any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skip_rules_and_ip_lists_hold_for_requests() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(API, "off", &origin.url()).start();
    let client = gateway.client(API);
    let accounts = gateway.admin.get("/client/v4/accounts").result();
    let account = accounts[0]["id"].as_str().unwrap();
    let lists = format!("/client/v4/accounts/{account}/rules/lists");
    let list = json!({ "kind": "ip", "name": "offices" });
    let list = gateway.admin.call("POST", &lists, &list).result();
    let items = format!("{lists}/{}/items", list["id"].as_str().unwrap());
    let rules = json!({ "rules": [
        { "action": "skip", "expression": "ip.src in $offices",
          "action_parameters": { "ruleset": "current" } },
        { "action": "block", "expression": "true" },
    ] });
    let entrypoint = "rulesets/phases/http_request_firewall_custom/entrypoint";
    call(&gateway, "PUT", entrypoint, &rules);
    for (item, status) in [
        (None, 403),
        (Some("127.0.0.0/8"), 200),
        (Some("192.0.2.1"), 403),
    ] {
        if let Some(item) = item {
            let body = json!([{ "ip": item }]);
            drop(gateway.admin.call("PUT", &items, &body).result());
        }
        assert_eq!(client.get("/").await.unwrap().status, status, "{item:?}");
    }
}
