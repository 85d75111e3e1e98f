//! Server certificates: two kinds of keys side by side, and replacement while everything goes on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use boring::pkey::Id as KeyId;
use boring::ssl::SslSignatureAlgorithm;
use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::pki::Spec;
use tests::tool::{has, run};
use tests::{Client, Gateway, Identity, Origin, Setup};

const HOST: &str = "api.example.test";
const ECDSA: [SslSignatureAlgorithm; 1] = [SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256];
const RSA: [SslSignatureAlgorithm; 2] = [
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
    SslSignatureAlgorithm::RSA_PKCS1_SHA256,
];

/// A certificate for `HOST` by the CA that clients of this gateway believe.
fn server(gateway: &Gateway, rsa: Option<u32>) -> Identity {
    let spec = Spec {
        rsa,
        ..Spec::server(&[HOST])
    };
    gateway.servers.issue(&spec)
}

/// Writes chain and key, and answers the two paths.
fn files(gateway: &Gateway, name: &str, identity: &Identity) -> [String; 2] {
    let write = |kind: &str, text: String| {
        let path = gateway.file(&format!("{name}.{kind}"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    [
        write("pem", identity.chain_pem()),
        write("key", identity.key_pem()),
    ]
}

/// The leaf that a client is shown, and the kind of its key.
async fn shown(client: &Client) -> Result<(Vec<u8>, KeyId), String> {
    let (stream, _) = client
        .connect(b"\x08http/1.1")
        .await
        .map_err(|refused| refused.why)?;
    let leaf = stream.ssl().peer_certificate().unwrap();
    let kind = leaf.public_key().unwrap().id();
    Ok((leaf.to_der().unwrap(), kind))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ecdsa_and_rsa_side_by_side() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
    let ec = files(&gateway, "ec", &server(&gateway, None));
    let rsa = files(&gateway, "rsa", &server(&gateway, Some(2048)));
    let set = |pairs: &[&[String; 2]]| {
        let mut arguments = vec!["host", "set", HOST, "--json"];
        for [cert, key] in pairs {
            arguments.extend(["--cert", cert, "--key", key]);
        }
        gateway.cli(&arguments)
    };
    let client = || gateway.client(HOST);
    for pairs in [[&ec, &rsa], [&rsa, &ec]] {
        let host = set(&pairs).json();
        let kinds: Vec<&Value> = host["server_certificates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["key_type"])
            .collect();
        assert_eq!(kinds, ["ecdsa", "rsa"]);
        for (what, client, kind) in [
            ("both, 1.3", client().tls13(), KeyId::EC),
            ("both, 1.2", client().tls12(), KeyId::EC),
            ("ECDSA, 1.3", client().tls13().signatures(&ECDSA), KeyId::EC),
            ("ECDSA, 1.2", client().tls12().signatures(&ECDSA), KeyId::EC),
            ("RSA, 1.3", client().tls13().signatures(&RSA), KeyId::RSA),
            ("RSA, 1.2", client().tls12().signatures(&RSA), KeyId::RSA),
        ] {
            let found = shown(&client).await;
            assert_eq!(found.as_ref().map(|found| found.1), Ok(kind), "{what}");
            assert_eq!(client.get("/").await.unwrap().status, 200, "{what}");
        }
    }
    // Another implementation's idea of the same, by signature algorithms and by TLS 1.2's suites.
    if has("openssl") {
        for (arguments, kind) in [
            (&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"][..], "RSA"),
            (&["-tls1_3", "-sigalgs", "ECDSA+SHA256"], "ECDSA"),
            (
                &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
                "RSA",
            ),
            (
                &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
                "ECDSA",
            ),
        ] {
            let mut command = Command::new("openssl");
            command
                .args(["s_client", "-servername", HOST, "-connect"])
                .arg(gateway.address.to_string())
                .args(arguments);
            let said = run(&mut command).out;
            let signed = said
                .lines()
                .find(|line| line.starts_with("Peer signature type"))
                .unwrap_or_else(|| panic!("{arguments:?}: {said}"));
            assert!(signed.contains(kind), "{arguments:?}: {signed}");
        }
    }
    // Two of one kind are a mistake, and one alone takes the other away.
    let again = files(&gateway, "again", &server(&gateway, None));
    let told = set(&[&ec, &again]).failed(1);
    assert!(told.contains("same kind of key"), "{told}");
    let host = set(&[&rsa]).json();
    assert_eq!(host["server_certificates"].as_array().unwrap().len(), 1);
    assert_eq!(shown(&client()).await.unwrap().1, KeyId::RSA);
    assert!(shown(&client().signatures(&ECDSA)).await.is_err());
    assert!(
        gateway
            .cli(&["host", "set", HOST, "--cert", &ec[0]])
            .failed(2)
            .contains("--key")
    );

    // A host that names none presents the newest of each kind, and both survive a restart.
    gateway.change_host(HOST, &json!({ "certificate_id": null }));
    let mut gateway = gateway;
    gateway.signal("KILL");
    gateway.wait();
    gateway.start();
    let client = || gateway.client(HOST);
    assert_eq!(shown(&client()).await.unwrap().1, KeyId::EC);
    assert_eq!(
        shown(&client().signatures(&RSA)).await.unwrap().1,
        KeyId::RSA
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_expired_gives_way_to_the_other() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
    let rsa = files(&gateway, "rsa", &server(&gateway, Some(2048)));
    let begun = Instant::now();
    let short = gateway.servers.issue(&Spec {
        ends: 10,
        ..Spec::server(&[HOST])
    });
    let short = files(&gateway, "short", &short);
    let [cert, key] = &short;
    let [other, other_key] = &rsa;
    let set = [
        "host", "set", HOST, "--cert", cert, "--key", key, "--cert", other, "--key", other_key,
    ];
    drop(gateway.cli(&set).ok());
    tests::wait::until("the certificate to expire", || {
        (begun.elapsed().as_secs() > 11).then_some(())
    });
    let client = gateway.client(HOST);
    assert_eq!(shown(&client).await.unwrap().1, KeyId::RSA);
}

/// Asks on and on, on kept connections or new ones, until told to stop. Answers how often.
fn load(
    client: &Client,
    kept: bool,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Result<usize, String>> {
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        let mut count = 0;
        let mut connection = client.http1().await.map_err(|refused| refused.why)?;
        while !stop.load(Ordering::Relaxed) {
            if !kept {
                connection = client.http1().await.map_err(|refused| refused.why)?;
            }
            let answer = connection.get("/load").await;
            let status = answer.map_err(|refused| refused.why)?.status;
            if status != 200 {
                return Err(format!("status {status}"));
            }
            count += 1;
        }
        Ok(count)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacement_drops_nothing() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.requests", "1000000")
        .host(HOST, "require", &origin.url())
        .start();
    let (_, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client(HOST).identity(&device);
    let custom = format!(
        "/client/v4/zones/{}/custom_certificates",
        gateway.zone_id(ZONE)
    );
    let first = server(&gateway, None);
    let upload = |identity: &Identity| json!({ "certificate": identity.chain_pem(), "private_key": identity.key_pem() });
    let made = gateway
        .admin
        .call("POST", &custom, &upload(&first))
        .result();
    let one = format!("{custom}/{}", made["id"].as_str().unwrap());
    gateway.change_host(HOST, &json!({ "certificate_id": made["id"] }));

    let http2 = client.http2().await.unwrap();
    assert_eq!(http2.get("/x").await.unwrap().status, 200);
    // A request that is under way during all of it.
    let held = tokio::spawn({
        let http2 = http2.clone();
        async move { http2.get("/hold").await }
    });
    origin.wait_held(1);
    let mut socket = client.raw().await.unwrap();
    socket
        .write(format!(
            "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ))
        .await;
    assert_eq!(socket.message().await.unwrap().status(), 101);
    assert_eq!(socket.take(22).await, b"hello from the origin\n");

    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = [true, true, false, false]
        .into_iter()
        .map(|kept| load(&client, kept, &stop))
        .collect();
    for round in 0..20 {
        let next = server(&gateway, (round % 3 == 0).then_some(2048));
        let answer = gateway.admin.call("PATCH", &one, &upload(&next)).result();
        assert_eq!(answer["id"], made["id"]);
        // Acknowledged: every new handshake sees it.
        let (leaf, _) = shown(&client).await.unwrap();
        assert_eq!(leaf, next.leaf().to_der().unwrap(), "round {round}");
        assert_eq!(http2.get("/x").await.unwrap().status, 200);
        let sent = format!("round {round}");
        socket.write(&sent).await;
        assert_eq!(socket.take(sent.len()).await, sent.as_bytes());
    }
    stop.store(true, Ordering::Relaxed);
    let mut asked = 0;
    for load in loads {
        asked += load.await.unwrap().expect("no request is lost");
    }
    eprintln!("{asked} requests during twenty replacements");
    assert!(asked > 0);
    origin.release();
    assert_eq!(held.await.unwrap().unwrap().status, 200);

    // What would not cover the host, or is not its key's, changes nothing.
    let (before, _) = shown(&client).await.unwrap();
    let other = gateway.servers.server(&["other.example.test"]);
    let reply = gateway.admin.call("PATCH", &one, &upload(&other));
    assert_eq!(reply.status, 400, "{}", reply.body);
    assert!(reply.body.contains(HOST), "{}", reply.body);
    let deleted = gateway.admin.call("DELETE", &one, &Value::Null);
    assert_eq!(deleted.status, 400, "{}", deleted.body);
    assert_eq!(shown(&client).await.unwrap().0, before);
}
