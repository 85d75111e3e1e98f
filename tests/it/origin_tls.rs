//! What an origin is shown over TLS: the certificate of its zone and no other one's, with a key that
//! nobody reads back; and the oldest version that is spoken with it.

use boring::ssl::{SslAcceptorBuilder, SslVerifyMode, SslVersion};
use boring::x509::store::X509StoreBuilder;
use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::pki::{DAY, Identity, Spec};
use tests::{Authority, Gateway, Origin, Setup, wait};

const HOST: &str = "api.example.test";
const BOTH: &[u8] = b"\x02h2\x08http/1.1";
const HTTP1: &[u8] = b"\x08http/1.1";

/// Asks for a certificate of one of these CAs, and takes nobody without.
fn insists(builder: &mut SslAcceptorBuilder, on: &[&Authority]) {
    let mut store = X509StoreBuilder::new().unwrap();
    for ca in on {
        store.add_cert(&ca.certificate).unwrap();
    }
    builder.set_verify_cert_store(store.build()).unwrap();
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
}

fn pair(identity: &Identity) -> Value {
    json!({ "certificate": identity.chain_pem(), "private_key": identity.key_pem() })
}

async fn status(gateway: &Gateway, host: &str) -> u16 {
    gateway.client(host).get("/").await.unwrap().status
}

fn change(gateway: &Gateway, shown: &Value) -> tests::admin::Reply {
    let body = json!({ "origin": { "client_certificate": shown } });
    let path = format!("/postern/v1/hosts/{HOST}");
    gateway.admin.call("PATCH", &path, &body)
}

fn last_shown(origin: &Origin) -> Option<String> {
    origin.shown().last().cloned().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_asks_is_shown_the_certificate_that_it_was_given() {
    let (servers, clients) = (Authority::root("origins"), Authority::root("pulls"));
    let server = servers.server(&["origin.test"]);
    let origin = Origin::echo_tls_with(&server, BOTH, |tls| insists(tls, &[&clients]));
    let url = format!("https://{}", origin.address);
    let spec = json!({ "url": url, "server_name": "origin.test", "ca_pem": servers.pem() });
    let mut gateway = Setup::new().host_with(HOST, "off", &spec).start();
    assert_eq!(status(&gateway, HOST).await, 502, "nothing is shown");

    let first = clients.client("first");
    let shown = change(&gateway, &pair(&first)).result();
    assert_eq!(status(&gateway, HOST).await, 200);
    assert_eq!(last_shown(&origin).as_deref(), Some("first"));
    // What is said of it is all that can be read.
    let details = &shown["origin_client_certificate"];
    assert_eq!(details["common_name"], "first", "{shown}");
    assert_eq!(details["issuer"], "pulls", "{shown}");
    assert!(details["expires_on"].is_string(), "{shown}");
    assert_eq!(
        shown["origin"]["client_certificate"],
        json!({ "certificate": first.chain_pem() })
    );
    let log = gateway.admin.get("/postern/v1/audit").body;
    let host = gateway.admin.get(&format!("/postern/v1/hosts/{HOST}")).body;
    let document = gateway.admin.get("/postern/v1/export").body;
    for text in [&log, &host, &document, &gateway.stderr()] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
    assert!(log.contains("client_certificate"), "{log}");
    let store = std::fs::read(gateway.file("store.redb")).unwrap();
    let line = first.key_pem().lines().nth(1).unwrap().to_owned();
    let in_clear = store
        .windows(line.len())
        .any(|part| part == line.as_bytes());
    assert!(!in_clear, "a key lies in the store in clear");

    // Another one: new connections from then on, over a connection of a client that goes on.
    let client = gateway.client(HOST).http2().await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    let second = clients.client("second");
    drop(change(&gateway, &pair(&second)).result());
    let before = origin.connections();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    assert_eq!(last_shown(&origin).as_deref(), Some("second"));
    assert_eq!(origin.connections(), before + 1);
    wait::until("the connections of the first one to end", || {
        let metrics = gateway.admin.get("/metrics").body;
        let open = |line: &&str| line.starts_with("postern_origin_connections_open{");
        let counts = metrics.lines().filter(open);
        let count = |line: &str| line.rsplit(' ').next()?.parse::<usize>().ok();
        let open: usize = counts.filter_map(count).sum();
        (open == 1).then_some(())
    });

    // A renewed certificate of the same key needs no key; one of another key does.
    let renewed = Spec {
        key: Some(second.key.clone()),
        ..Spec::client("renewed")
    };
    let renewed = clients.issue(&renewed);
    drop(change(&gateway, &json!({ "certificate": renewed.chain_pem() })).result());
    assert_eq!(status(&gateway, HOST).await, 200);
    assert_eq!(last_shown(&origin).as_deref(), Some("renewed"));
    let ended = clients.issue(&Spec {
        begins: -2 * DAY,
        ends: -DAY,
        ..Spec::client("ended")
    });
    for (what, shown, said) in [
        (
            "a key of another certificate",
            json!({ "certificate": first.chain_pem(), "private_key": second.key_pem() }),
            "does not belong to any certificate",
        ),
        (
            "another one without its key",
            json!({ "certificate": first.chain_pem() }),
            "say `private_key` too",
        ),
        ("one that has ended", pair(&ended), "expired on"),
        ("one of a server", pair(&server), "clientAuth"),
        (
            "no key",
            json!({ "certificate": first.chain_pem(), "private_key": "nonsense" }),
            "its key",
        ),
    ] {
        let refused = change(&gateway, &shown);
        assert_eq!(refused.status, 400, "{what}: {}", refused.body);
        let error = &refused.json()["errors"][0];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(said), "{what}: {message}");
        assert_eq!(
            error["source"]["pointer"], "/origin/client_certificate",
            "{what}: {error}"
        );
    }
    let plain = json!({ "origin": { "url": "http://127.0.0.1:1" } });
    let refused = gateway
        .admin
        .call("PATCH", &format!("/postern/v1/hosts/{HOST}"), &plain);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("https://"), "{}", refused.body);

    // It is there after a restart, and gone when it is taken away.
    assert!(gateway.stop().success());
    gateway.start();
    assert_eq!(status(&gateway, HOST).await, 200);
    assert_eq!(last_shown(&origin).as_deref(), Some("renewed"));
    drop(change(&gateway, &Value::Null).result());
    assert_eq!(status(&gateway, HOST).await, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_zone_uses_a_connection_that_was_opened_with_the_certificate_of_another() {
    let (servers, clients) = (Authority::root("origins"), Authority::root("pulls"));
    for protocols in [BOTH, HTTP1] {
        // It asks, and takes those who have none.
        let origin = Origin::echo_tls_with(&servers.server(&["origin.test"]), protocols, |tls| {
            insists(tls, &[&clients]);
            tls.set_verify(SslVerifyMode::PEER);
        });
        let url = format!("https://{}", origin.address);
        let spec = json!({ "url": url, "server_name": "origin.test", "ca_pem": servers.pem() });
        let with = |identity: &Identity| {
            let mut spec = spec.clone();
            spec["client_certificate"] = pair(identity);
            spec
        };
        let same = clients.client("same");
        let hosts = [
            ("a.example.test", spec.clone(), None),
            (
                "b.example.test",
                with(&clients.client("first")),
                Some("first"),
            ),
            ("c.example.test", with(&same), Some("same")),
            (
                "d.another.test",
                with(&clients.client("second")),
                Some("second"),
            ),
            // The same certificate with its key: it is another zone's all the same.
            ("e.another.test", with(&same), Some("same")),
        ];
        let mut setup = Setup::new().zone("another.test").set("workers", "1");
        for (host, spec, _) in &hosts {
            setup = setup.host_with(host, "off", spec);
        }
        let gateway = setup.start();
        for round in 0..3 {
            for (host, _, wanted) in &hosts {
                assert_eq!(status(&gateway, host).await, 200, "{host}");
                if round == 0 {
                    assert_eq!(last_shown(&origin).as_deref(), *wanted, "{host}");
                }
            }
        }
        assert_eq!(
            origin.connections(),
            hosts.len(),
            "each has one, and keeps it"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_of_a_zone_and_its_checks_show_it_too() {
    let (servers, clients) = (Authority::root("origins"), Authority::root("pulls"));
    let origin = Origin::echo_tls_with(&servers.server(&["origin.test"]), BOTH, |tls| {
        insists(tls, &[&clients]);
    });
    let gateway = Setup::new().host(HOST, "off", "http://127.0.0.1:1").start();
    let files = ["ca.pem", "client.pem", "client.key"].map(|name| gateway.file(name));
    let [ca, certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let identity = clients.client("pull");
    std::fs::write(ca, servers.pem()).unwrap();
    std::fs::write(certificate, identity.chain_pem()).unwrap();
    std::fs::write(key, identity.key_pem()).unwrap();
    let url = format!("https://{}", origin.address);
    let shown = gateway.cli(&[
        "origin",
        "add",
        "pulled",
        "--zone",
        ZONE,
        "--origin",
        &url,
        "--origin-ca",
        ca,
        "--origin-server-name",
        "origin.test",
        "--origin-client-cert",
        certificate,
        "--origin-client-key",
        key,
        "--origin-tls-min",
        "1.3",
        "--origin-health",
        "http:/,interval_sec=1",
    ]);
    let shown = shown.ok();
    assert!(shown.contains("pull of pulls from"), "{shown}");
    gateway.change_host(HOST, &json!({ "origin": { "name": "pulled" } }));
    assert_eq!(status(&gateway, HOST).await, 200);
    wait::until("a good check", || {
        let all = gateway.admin.get("/postern/v1/origins").result();
        (all[0]["addresses"][0]["health"] == "healthy").then_some(())
    });
    let shown = origin.shown();
    assert!(
        shown.iter().all(|one| one.as_deref() == Some("pull")),
        "{shown:?}"
    );
    assert!(shown.len() > 1, "a request and a check: {shown:?}");

    // An export with its key makes the same origin elsewhere; one without does where the key is.
    let with_key = gateway.cli(&["export", "--private-keys"]).ok();
    let without = gateway.cli(&["export"]).ok();
    assert!(with_key.contains("BEGIN PRIVATE KEY") && !without.contains("PRIVATE KEY"));
    let document = gateway.file("whole.yaml");
    let apply = |text: &str, how: &[&str]| {
        std::fs::write(&document, text).unwrap();
        let arguments = [&["apply", document.to_str().unwrap()], how].concat();
        gateway.cli(&arguments)
    };
    for text in [&with_key, &without] {
        let plan = apply(text, &["--dry-run"]).ok();
        assert!(plan.contains("nothing to change"), "{plan}");
    }
    let none = ["--zone", ZONE, "--origin-client-cert", "none"];
    drop(
        gateway
            .cli(&[&["origin", "set", "pulled"], &none[..]].concat())
            .ok(),
    );
    assert_eq!(status(&gateway, HOST).await, 502);
    let refused = apply(&without, &["--yes"]).failed(1);
    assert!(refused.contains("private key is needed"), "{refused}");
    drop(apply(&with_key, &["--yes"]).ok());
    assert_eq!(status(&gateway, HOST).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_version_holds() {
    let servers = Authority::root("origins");
    let origin = Origin::echo_tls_with(&servers.server(&["origin.test"]), BOTH, |tls| {
        tls.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    });
    let spec = json!({
        "url": format!("https://{}", origin.address), "server_name": "origin.test",
        "ca_pem": servers.pem(), "tls_min_version": "1.3",
    });
    let gateway = Setup::new().host_with(HOST, "off", &spec).start();
    assert_eq!(status(&gateway, HOST).await, 502);
    let record = gateway.request_record("/");
    assert_eq!(record["error"], "origin_tls", "{record}");
    gateway.change_host(HOST, &json!({ "origin": { "tls_min_version": null } }));
    assert_eq!(status(&gateway, HOST).await, 200);
}
