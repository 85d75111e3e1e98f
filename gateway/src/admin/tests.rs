//! The API over a real unix socket, and over TCP with tokens.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use boring::hash::MessageDigest;
use boring::pkey::PKey;
use boring::x509::{X509Name, X509Req};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::config::Config;
use crate::control::testing::Directory;
use crate::control::{NewToken, Scope};
use crate::observe::WorkerStats;

/// Workers that there are none of.
struct NoWorkers;

impl Fleet for NoWorkers {
    fn collect(&self) -> Pin<Box<dyn Future<Output = Vec<WorkerStats>> + Send + '_>> {
        Box::pin(async { Vec::new() })
    }

    fn ready(&self) -> bool {
        false
    }
}

struct World {
    directory: Directory,
    control: Arc<Control>,
    published: Arc<Published>,
    tcp: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Answer {
    status: u16,
    body: Value,
    text: String,
}

impl World {
    async fn new() -> Self {
        let directory = Directory::new();
        let published: Arc<Published> = Arc::default();
        let control = Control::open(&directory.path().join("store"), published.clone()).unwrap();
        let listen = Listen {
            socket: directory.path().join("admin.sock"),
            tcp: Some("127.0.0.1:0".parse().unwrap()),
        };
        let bound = Bound::bind(&listen).await.unwrap();
        let tcp = bound.tcp_address().unwrap();
        let state = State {
            control: control.clone(),
            published: published.clone(),
            fleet: Arc::new(NoWorkers),
            live: Arc::new(Live::new(Config::default())),
            access_log: AccessLog::off(),
            started: SystemTime::now(),
        };
        let server = tokio::spawn(serve_bound(bound, state));
        Self {
            directory,
            control,
            published,
            tcp,
            server,
        }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.raw(method, path, body.into_bytes(), &[]).await
    }

    async fn raw(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let stream = UnixStream::connect(self.directory.path().join("admin.sock"))
            .await
            .unwrap();
        exchange(stream, method, path, body, headers).await
    }

    async fn over_tcp(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.tcp).await.unwrap();
        exchange(stream, method, path, Vec::new(), headers).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.body["result"].clone()
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        assert_eq!(answer.body["success"], true);
        assert_eq!(answer.body["errors"], json!([]));
        answer.body["result"].clone()
    }

    async fn zone(&self) -> String {
        let zone = self.ok(
            "POST",
            "/client/v4/zones",
            json!({"name": "example.test", "account": {}}),
        );
        zone.await["id"].as_str().unwrap().to_owned()
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

fn csr(common_name: &str) -> String {
    let group = boring::ec::EcGroup::from_curve_name(boring::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(boring::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", common_name).unwrap();
    let mut request = X509Req::builder().unwrap();
    request.set_subject_name(&subject.build()).unwrap();
    request.set_pubkey(&key).unwrap();
    request.sign(&key, MessageDigest::sha256()).unwrap();
    String::from_utf8(request.build().to_pem().unwrap()).unwrap()
}

#[tokio::test]
async fn client_certificates() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/client/v4/zones/{zone}/client_certificates");
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let body = json!({"csr": csr(name), "validity_days": 3650});
        let issued = world.ok("POST", &path, body).await;
        assert_eq!(
            (&issued["common_name"], &issued["status"]),
            (&json!(name), &json!("active"))
        );
        for text in [
            "id",
            "certificate",
            "csr",
            "expires_on",
            "fingerprint_sha256",
            "issued_on",
            "serial_number",
            "signature",
            "ski",
        ] {
            assert!(
                issued[text].as_str().is_some_and(|text| !text.is_empty()),
                "{text}"
            );
        }
        assert!(issued["certificate_authority"]["id"].is_string());
        assert_eq!(issued["validity_days"], 3650);
        ids.push(issued["id"].as_str().unwrap().to_owned());
    }
    let list = world
        .call("GET", &format!("{path}?page=2&per_page=2"), Value::Null)
        .await
        .body;
    assert_eq!(list["result"][0]["common_name"], "a");
    let info = json!({"page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2});
    assert_eq!(list["result_info"], info);
    let one = format!("{path}/{}", ids[0]);
    assert_eq!(
        world.ok("DELETE", &one, Value::Null).await["status"],
        "revoked"
    );
    assert_eq!(
        world.published.load().trust_epoch,
        world.control.model().trust_epoch
    );
    let revoked = world.get(&format!("{path}?status=revoked")).await;
    assert_eq!(revoked.as_array().unwrap().len(), 1);
    assert_eq!(
        world
            .get(&format!("{path}?status=pending_revocation"))
            .await,
        json!([])
    );
    let found = world.get(&format!("{path}?common_name=B")).await;
    assert_eq!(found[0]["id"], ids[1].as_str());
    assert_eq!(
        world.ok("PATCH", &one, json!({"reactivate": true})).await["status"],
        "active"
    );
    assert_eq!(
        world.ok("PATCH", &one, Value::Null).await["status"],
        "active"
    );
    let made = world
        .ok(
            "POST",
            &format!("/postern/v1/zones/{zone}/client_certificates"),
            json!({"common_name": "fresh", "validity_days": 1}),
        )
        .await;
    let key = made["private_key"].as_str().unwrap();
    assert!(PKey::private_key_from_pem(key.as_bytes()).is_ok());
    let again = world
        .get(&format!("{path}/{}", made["id"].as_str().unwrap()))
        .await;
    assert!(again.get("private_key").is_none(), "the key is shown once");
}

#[tokio::test]
async fn hosts_associations_and_server_certificates() {
    let world = World::new().await;
    let zone = world.zone().await;
    let own = format!("/postern/v1/zones/{zone}");
    let origin = json!({"url": "http://127.0.0.1:9000"});
    let body = json!({"name": "api.example.test", "origin": origin, "mtls": "request"});
    let host = world.ok("POST", &format!("{own}/hosts"), body).await;
    assert_eq!(
        (&host["mtls"], &host["served"]),
        (&json!("request"), &json!(false))
    );
    let develop = format!("{own}/server_certificates/development");
    let certificate = world
        .ok("POST", &develop, json!({"hosts": ["*.example.test"]}))
        .await;
    let host = world.get("/postern/v1/hosts/api.example.test").await;
    assert_eq!(host["server_certificate"]["id"], certificate["id"]);
    assert!(world.published.load().host("api.example.test").is_some());
    let associations =
        format!("/client/v4/zones/{zone}/certificate_authorities/hostname_associations");
    assert_eq!(
        world.get(&associations).await,
        json!({"hostnames": ["api.example.test"]})
    );
    let names = json!({"hostnames": ["Later.Example.test."]});
    let set = world.ok("PUT", &associations, names).await;
    assert_eq!(set, json!({"hostnames": ["later.example.test"]}));
    assert_eq!(
        world.get("/postern/v1/hosts/api.example.test").await["mtls"],
        "off"
    );
    let patch = json!({"mtls": "require", "certificate_id": certificate["id"]});
    let host = world
        .ok("PATCH", "/postern/v1/hosts/api.example.test", patch)
        .await;
    assert_eq!(host["certificate_id"], certificate["id"]);
    assert_eq!(host["certificate_authorities"].as_array().unwrap().len(), 1);
    let custom = format!("/client/v4/zones/{zone}/custom_certificates");
    let list = world.get(&custom).await;
    assert_eq!(list[0]["hosts"], json!(["*.example.test"]));
    assert!(list[0].get("private_key").is_none());
    let id = certificate["id"].as_str().unwrap();
    let answer = world
        .call("DELETE", &format!("{custom}/{id}"), Value::Null)
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("api.example.test"), "{}", answer.text);
    let null = json!({"certificate_id": null});
    let host = world
        .ok("PATCH", "/postern/v1/hosts/api.example.test", null)
        .await;
    assert_eq!(host["certificate_id"], Value::Null);
    world
        .ok("DELETE", "/postern/v1/hosts/api.example.test", Value::Null)
        .await;
    world
        .ok("DELETE", &format!("{custom}/{id}"), Value::Null)
        .await;
    assert!(world.get("/postern/v1/development_authority").await["certificate"].is_string());
}

#[tokio::test]
async fn rulesets() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/client/v4/zones/{zone}/rulesets");
    let entrypoint = format!("{path}/phases/http_request_firewall_custom/entrypoint");
    let answer = world.call("GET", &entrypoint, Value::Null).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["code"]),
        (404, &json!(10_003))
    );
    let rule = json!({"action": "block", "expression": "true", "description": "x",
        "action_parameters": {"response": {"status_code": 451, "content_type": "text/plain", "content": "no"}}});
    let tried = world
        .ok(
            "PUT",
            &format!("{entrypoint}?dry_run=true"),
            json!({"rules": [rule]}),
        )
        .await;
    assert_eq!(tried, Value::Null);
    assert_eq!(
        world.call("GET", &entrypoint, Value::Null).await.status,
        404,
        "only tried"
    );
    let made = world.ok("PUT", &entrypoint, json!({"rules": [rule]})).await;
    assert_eq!(
        (&made["version"], &made["kind"]),
        (&json!("1"), &json!("zone"))
    );
    assert_eq!(
        made["rules"][0]["action_parameters"],
        rule["action_parameters"]
    );
    let id = made["id"].as_str().unwrap();
    let rules = format!("{path}/{id}/rules");
    let body =
        json!({"action": "log", "expression": "ssl", "position": {"before": ""}, "ref": "mine"});
    let made = world.ok("POST", &rules, body).await;
    assert_eq!(made["rules"][0]["ref"], "mine");
    let first = made["rules"][0]["id"].as_str().unwrap();
    let patch = json!({"enabled": false, "position": {"index": 2}});
    let made = world.ok("PATCH", &format!("{rules}/{first}"), patch).await;
    assert_eq!(
        (&made["rules"][1]["id"], &made["rules"][1]["enabled"]),
        (&json!(first), &json!(false))
    );
    // What was answered can be sent back as it is.
    let again = world.ok("PUT", &format!("{path}/{id}"), made.clone()).await;
    assert_eq!(again["rules"], made["rules"]);
    let left = world
        .ok("DELETE", &format!("{rules}/{first}"), Value::Null)
        .await;
    assert_eq!(left["rules"].as_array().unwrap().len(), 1);
    let versions = world.get(&format!("{path}/{id}/versions")).await;
    assert_eq!(versions.as_array().unwrap().len(), 5);
    assert_eq!(
        world.get(&format!("{path}/{id}/versions/2")).await["rules"][0]["ref"],
        "mine"
    );
    assert_eq!(world.get(&path).await.as_array().unwrap().len(), 1);
    let answer = world
        .call("DELETE", &format!("{path}/{id}"), Value::Null)
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let preview = world
        .ok(
            "POST",
            "/postern/v1/expressions/preview",
            json!({"expression": " http.host eq \"a\" "}),
        )
        .await;
    assert_eq!(preview["expression"], "http.host eq \"a\"");
}

#[tokio::test]
async fn mtls_rules() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/postern/v1/zones/{zone}/mtls_rules");
    let body = json!({"hosts": ["api.example.test"], "paths": ["/admin"], "check_revoked": true});
    let tried = world
        .ok("POST", &format!("{path}?dry_run=true"), body.clone())
        .await;
    assert!(world.control.model().rulesets.is_empty());
    let made = world.ok("POST", &path, body).await;
    assert_eq!(
        (&made["expression"], &made["action"]),
        (&tried["expression"], &json!("block"))
    );
    let ruleset = made["ruleset_id"].as_str().unwrap();
    let restore = format!("/postern/v1/zones/{zone}/rulesets/{ruleset}/versions/1/restore");
    assert_eq!(
        world.ok("POST", &restore, Value::Null).await["version"],
        "2"
    );
    let lints = world.get(&format!("/postern/v1/zones/{zone}/lints")).await;
    assert!(lints.is_array());
    for body in [
        json!({"paths": ["admin"]}),
        json!({"hosts": ["a b"]}),
        json!({"path": "/"}),
    ] {
        assert_eq!(world.call("POST", &path, body).await.status, 400);
    }
}

#[tokio::test]
async fn wrong_input_is_answered_with_the_envelope_and_never_with_500() {
    let world = World::new().await;
    let zone = world.zone().await;
    let zones = "/client/v4/zones";
    let at = |rest: &str| format!("{zones}/{zone}/{rest}");
    let phase = "rulesets/phases/http_request_firewall_custom/entrypoint";
    let rules = |rule: Value| json!({"rules": [rule]});
    let bad_response = |response: Value| {
        rules(
            json!({"action": "block", "expression": "true", "action_parameters": {"response": response}}),
        )
    };
    let nobody = "00000000-0000-4000-8000-000000000000";
    let cases: Vec<(&str, String, Value, u16)> = vec![
        ("GET", "/".into(), Value::Null, 404),
        ("GET", "/client/v4/nothing".into(), Value::Null, 404),
        ("PUT", zones.into(), json!({}), 405),
        ("GET", format!("{zones}/xyz"), Value::Null, 404),
        (
            "GET",
            format!("{zones}/{}", "0".repeat(32)),
            Value::Null,
            404,
        ),
        ("GET", format!("{zones}/%ff%fe"), Value::Null, 400),
        ("GET", format!("{zones}?page=0"), Value::Null, 400),
        ("GET", format!("{zones}?per_page=x"), Value::Null, 400),
        ("POST", zones.into(), Value::Null, 400),
        ("POST", zones.into(), json!([]), 400),
        ("POST", zones.into(), json!({"name": 7}), 400),
        ("POST", zones.into(), json!({"name": "a b"}), 400),
        ("POST", zones.into(), json!({"name": "example.test"}), 400),
        (
            "POST",
            zones.into(),
            json!({"name": "x.test", "type": "partial"}),
            400,
        ),
        (
            "POST",
            zones.into(),
            json!({"name": "x.test", "account": {"id": "0"}}),
            404,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": "x", "validity_days": 1}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x"), "validity_days": 0}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x"), "validity_days": -1}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x"), "validity_days": 1e99}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x")}),
            400,
        ),
        (
            "GET",
            at("client_certificates?status=odd"),
            Value::Null,
            400,
        ),
        ("GET", at("client_certificates/x"), Value::Null, 404),
        (
            "GET",
            at(&format!("client_certificates/{nobody}")),
            Value::Null,
            404,
        ),
        (
            "DELETE",
            at(&format!("client_certificates/{nobody}")),
            Value::Null,
            404,
        ),
        (
            "PATCH",
            at(&format!("client_certificates/{nobody}")),
            json!({"reactivate": "x"}),
            400,
        ),
        (
            "PUT",
            at("certificate_authorities/hostname_associations"),
            json!({"hostnames": ["a.com"]}),
            400,
        ),
        (
            "PUT",
            at("certificate_authorities/hostname_associations"),
            json!({"hostnames": ["..".repeat(400)]}),
            400,
        ),
        (
            "PUT",
            at("certificate_authorities/hostname_associations"),
            json!({"hostnames": [], "mtls_certificate_id": nobody}),
            404,
        ),
        (
            "GET",
            at("certificate_authorities/hostname_associations?mtls_certificate_id=x"),
            Value::Null,
            404,
        ),
        (
            "POST",
            at("custom_certificates"),
            json!({"certificate": "x", "private_key": "y"}),
            400,
        ),
        (
            "POST",
            at("custom_certificates"),
            json!({"certificate": "x", "private_key": "y", "bundle_method": "z"}),
            400,
        ),
        (
            "PATCH",
            at(&format!("custom_certificates/{nobody}")),
            json!({"certificate": "x"}),
            400,
        ),
        (
            "GET",
            at(&format!("custom_certificates/{nobody}")),
            Value::Null,
            404,
        ),
        (
            "GET",
            at("rulesets/phases/odd/entrypoint"),
            Value::Null,
            400,
        ),
        ("PUT", at(phase), rules(json!({"expression": "true"})), 400),
        ("PUT", at(phase), rules(json!({"action": "block"})), 400),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "odd", "expression": "true"})),
            400,
        ),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "block", "expression": "true", "ratelimit": {}})),
            400,
        ),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "block", "expression": "x".repeat(20_000)})),
            400,
        ),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "log", "expression": "true", "id": "0".repeat(32)})),
            404,
        ),
        (
            "PUT",
            at(phase),
            bad_response(json!({"status_code": 200, "content_type": "text/plain", "content": ""})),
            400,
        ),
        (
            "PUT",
            at(phase),
            bad_response(json!({"status_code": 403, "content_type": "a\r\nb", "content": ""})),
            400,
        ),
        (
            "PUT",
            at(phase),
            bad_response(
                json!({"status_code": 403, "content_type": "text/plain", "content": "x".repeat(2049)}),
            ),
            400,
        ),
        (
            "PUT",
            at(&format!("{phase}?dry_run=perhaps")),
            rules(json!({"action": "log", "expression": "true"})),
            400,
        ),
        (
            "POST",
            at("rulesets"),
            json!({"kind": "zone", "name": "x", "rules": []}),
            400,
        ),
        (
            "POST",
            at("rulesets"),
            json!({"kind": "root", "name": "x", "phase": "http_request_firewall_custom"}),
            400,
        ),
        (
            "POST",
            at(&format!("rulesets/{}/rules", "0".repeat(32))),
            json!({"action": "log", "expression": "true"}),
            404,
        ),
        (
            "GET",
            at(&format!("rulesets/{}/versions/x", "0".repeat(32))),
            Value::Null,
            400,
        ),
        (
            "POST",
            format!("/postern/v1/zones/{zone}/hosts"),
            json!({"name": "a.example.test"}),
            400,
        ),
        (
            "POST",
            format!("/postern/v1/zones/{zone}/hosts"),
            json!({"name": "a.example.test", "origin": {"url": "x"}}),
            400,
        ),
        (
            "POST",
            format!("/postern/v1/zones/{zone}/hosts"),
            json!({"name": "a.example.test", "origin": {"url": "http://x"}, "mtls": "odd"}),
            400,
        ),
        (
            "GET",
            "/postern/v1/hosts/nobody.test".into(),
            Value::Null,
            404,
        ),
        ("GET", "/postern/v1/hosts/..".into(), Value::Null, 400),
        (
            "POST",
            "/postern/v1/tokens".into(),
            json!({"name": "x", "scopes": [], "days": 1}),
            400,
        ),
        ("DELETE", "/postern/v1/tokens/x".into(), Value::Null, 404),
        ("GET", "/postern/v1/sysctl/odd".into(), Value::Null, 404),
        (
            "PUT",
            "/postern/v1/sysctl/workers".into(),
            json!({"value": 3}),
            400,
        ),
        (
            "PUT",
            "/postern/v1/sysctl/timeout.idle".into(),
            json!({"value": []}),
            400,
        ),
        (
            "POST",
            "/postern/v1/expressions/preview".into(),
            json!({}),
            400,
        ),
        ("GET", "/readyz".into(), Value::Null, 503),
    ];
    let before = format!("{:?}", world.control.model());
    for (method, path, body, status) in cases {
        let shown = body.to_string();
        let answer = world.call(method, &path, body).await;
        assert_eq!(
            answer.status, status,
            "{method} {path} {shown}: {}",
            answer.text
        );
        if path != "/readyz" {
            assert_eq!(
                answer.body["success"], false,
                "{method} {path}: {}",
                answer.text
            );
            let error = &answer.body["errors"][0];
            assert!(
                error["code"].is_u64() && error["message"].is_string(),
                "{}",
                answer.text
            );
            assert_eq!(
                (&answer.body["messages"], &answer.body["result"]),
                (&json!([]), &Value::Null)
            );
        }
    }
    let deep = "[".repeat(100_000).into_bytes();
    for body in [
        b"{".to_vec(),
        vec![0xff; 10],
        deep,
        b"\0".to_vec(),
        b"{\"name\":\"\\ud800\"}".to_vec(),
    ] {
        let answer = world.raw("POST", zones, body, &[]).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.body["errors"][0]["code"], 6007);
    }
    let long = vec![b' '; crate::limits::ADMIN_BODY_BYTES_MAX + 1];
    assert_eq!(world.raw("POST", zones, long, &[]).await.status, 413);
    assert_eq!(
        format!("{:?}", world.control.model()),
        before,
        "nothing was changed by any of them"
    );
}

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
async fn uploaded_authorities_and_rollover() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account;
    let path = format!("/client/v4/accounts/{account}/mtls_certificates");
    let managed = format!("/postern/v1/zones/{zone}/authorities");
    let pem = world.get(&managed).await[0]["certificate"].clone();
    let uploaded = world
        .ok(
            "POST",
            &path,
            json!({"ca": true, "certificates": pem, "name": "partner"}),
        )
        .await;
    assert_eq!(
        (&uploaded["ca"], &uploaded["name"]),
        (&json!(true), &json!("partner"))
    );
    let id = uploaded["id"].as_str().unwrap();
    let one = format!("{path}/{id}");
    let associations =
        format!("/client/v4/zones/{zone}/certificate_authorities/hostname_associations");
    let body = json!({"hostnames": ["a.example.test"], "mtls_certificate_id": id});
    world.ok("PUT", &associations, body).await;
    let query = format!("{associations}?mtls_certificate_id={id}");
    assert_eq!(
        world.get(&query).await["hostnames"],
        json!(["a.example.test"])
    );
    assert_eq!(world.get(&associations).await["hostnames"], json!([]));
    let services = world.get(&format!("{one}/associations")).await;
    assert_eq!(services[0]["service"], "a.example.test");
    assert_eq!(world.call("DELETE", &one, Value::Null).await.status, 400);
    let body = json!({"hostnames": [], "mtls_certificate_id": id});
    world.ok("PUT", &associations, body).await;
    assert_eq!(world.get(&path).await.as_array().unwrap().len(), 1);
    assert_eq!(world.get(&one).await["id"], id);
    world.ok("DELETE", &one, Value::Null).await;
    assert_eq!(world.call("GET", &one, Value::Null).await.status, 404);
    for body in [
        json!({"ca": false, "certificates": pem}),
        json!({"ca": true, "certificates": pem, "private_key": "x"}),
        json!({"ca": true, "certificates": "x"}),
        json!({"ca": true}),
    ] {
        assert_eq!(world.call("POST", &path, body).await.status, 400);
    }
    assert_eq!(
        world
            .call(
                "GET",
                "/client/v4/accounts/0/mtls_certificates",
                Value::Null
            )
            .await
            .status,
        404
    );
    let next = world.ok("POST", &managed, Value::Null).await;
    assert_eq!(next["issues"], true);
    let both = world.get(&managed).await;
    assert_eq!(
        (both.as_array().unwrap().len(), &both[1]["issues"]),
        (2, &json!(false))
    );
    let old = both[1]["id"].as_str().unwrap();
    world
        .ok("DELETE", &format!("{managed}/{old}"), Value::Null)
        .await;
    assert_eq!(
        world
            .call("DELETE", &format!("{managed}/{old}"), Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn lists() {
    let world = World::new().await;
    let account = world.control.model().account;
    let path = format!("/client/v4/accounts/{account}/rules/lists");
    let list = world
        .ok("POST", &path, json!({"name": "office", "kind": "ip"}))
        .await;
    let items = format!("{path}/{}/items", list["id"].as_str().unwrap());
    let body: Vec<Value> = (0..45)
        .map(|n| json!({"ip": format!("192.0.2.{n}"), "comment": "x"}))
        .collect();
    let answer = world.ok("POST", &items, json!(body)).await;
    let operation = format!(
        "{path}/bulk_operations/{}",
        answer["operation_id"].as_str().unwrap()
    );
    assert_eq!(world.get(&operation).await["status"], "completed");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .call(
                "GET",
                &format!("{items}?per_page=20&cursor={cursor}"),
                Value::Null,
            )
            .await;
        seen.extend(page.body["result"].as_array().unwrap().clone());
        cursor = page.body["result_info"]["cursors"]["after"]
            .as_str()
            .unwrap()
            .to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((seen.len(), &seen[44]["ip"]), (45, &json!("192.0.2.44")));
    let one = format!("{items}/{}", seen[0]["id"].as_str().unwrap());
    assert_eq!(world.get(&one).await["comment"], "x");
    world
        .ok("DELETE", &items, json!({"items": [{"id": seen[0]["id"]}]}))
        .await;
    world.ok("PUT", &items, json!([{"ip": "10.0.0.0/8"}])).await;
    assert_eq!(world.get(&path).await[0]["num_items"], 1);
    for (method, path, body, status) in [
        ("POST", &items, json!([{"asn": 1}]), 400),
        ("POST", &items, json!([{"ip": "10.0.0.0/8", "asn": 1}]), 400),
        ("POST", &items, json!([{"ip": "x"}]), 400),
        ("POST", &items, json!({}), 400),
        (
            "DELETE",
            &items,
            json!({"items": [{"id": "0".repeat(32)}]}),
            404,
        ),
        ("POST", &path, json!({"name": "r", "kind": "redirect"}), 400),
        ("POST", &path, json!({"name": "office", "kind": "ip"}), 400),
    ] {
        let answer = world.call(method, path, body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let names = world
        .ok("POST", &path, json!({"name": "names", "kind": "hostname"}))
        .await;
    let items = format!("{path}/{}/items", names["id"].as_str().unwrap());
    world
        .ok(
            "POST",
            &items,
            json!([{"hostname": {"url_hostname": "*.Example.com"}}]),
        )
        .await;
    let found = world.get(&items).await;
    assert_eq!(found[0]["hostname"]["url_hostname"], "*.example.com");
    let one = format!("{path}/{}", names["id"].as_str().unwrap());
    assert_eq!(
        world.ok("PUT", &one, json!({"description": "d"})).await["description"],
        "d"
    );
    world.ok("DELETE", &one, Value::Null).await;
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

#[tokio::test]
async fn a_connection_that_talks_nonsense_harms_nobody() {
    let world = World::new().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"A",
    ] {
        let mut stream = UnixStream::connect(world.directory.path().join("admin.sock"))
            .await
            .unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
    }
    assert_eq!(
        world.call("GET", "/livez", Value::Null).await.status,
        StatusCode::OK.as_u16()
    );
}
