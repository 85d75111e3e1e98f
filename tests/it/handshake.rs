//! Who gets in: the three mTLS modes against certificates of every kind, in both TLS versions.

use serde_json::json;
use tests::pki::{DAY, Spec};
use tests::wait::until;
use tests::{Authority, Client, Gateway, Identity, Origin, Refused, Setup};

const ZONE: &str = tests::gateway::ZONE;

/// A certificate, what is said of it, and the alert of a host that requires a good one.
struct Case {
    name: &'static str,
    identity: Option<Identity>,
    reason: &'static str,
    alert: &'static str,
}

fn cases(gateway: &Gateway) -> Vec<Case> {
    let ours = gateway.authority(ZONE);
    let root = gateway.root(&["request.example.test", "require.example.test"]);
    let stranger = Authority::root("Stranger");
    let (id, revoked) = gateway.certificate(ZONE, "revoked");
    gateway.revoke(ZONE, &id);
    let of = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec::client("device");
        change(&mut spec);
        spec
    };
    let below = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec::authority("Intermediate");
        change(&mut spec);
        root.intermediate(&spec)
    };
    let case = |name, identity, reason, alert| Case {
        name,
        identity: Some(identity),
        reason,
        alert,
    };
    vec![
        Case {
            name: "none",
            identity: None,
            reason: "not_presented",
            alert: "certificate_required",
        },
        case("valid", ours.client("device"), "verified", ""),
        case(
            "valid, made by the gateway",
            gateway.certificate(ZONE, "made").1,
            "verified",
            "",
        ),
        case("revoked", revoked, "revoked", "certificate_revoked"),
        case(
            "expired",
            ours.issue(&of(&|s| {
                (s.begins, s.ends, s.key_ids) = (-2 * DAY, -DAY, true)
            })),
            "expired",
            "certificate_expired",
        ),
        case(
            "not yet valid",
            ours.issue(&of(&|s| (s.begins, s.ends) = (DAY, 2 * DAY))),
            "not_yet_valid",
            "certificate_expired",
        ),
        case(
            "self-signed",
            Identity::self_signed(&Spec::client("me")),
            "self_signed",
            "unknown_ca",
        ),
        case(
            "wrong CA",
            stranger.client("device"),
            "unknown_ca",
            "unknown_ca",
        ),
        case(
            "wrong CA of the same name",
            Authority::root("Postern managed CA for example.test").client("device"),
            "unknown_ca",
            "unknown_ca",
        ),
        case(
            "wrong CA, with the right one in the chain",
            stranger
                .client("device")
                .with_extra(std::slice::from_ref(&ours.certificate)),
            "unknown_ca",
            "unknown_ca",
        ),
        case(
            "server's",
            ours.issue(&of(&|s| (s.client_auth, s.server_auth) = (false, true))),
            "wrong_eku",
            "unsupported_certificate",
        ),
        case(
            "weak key",
            ours.issue(&of(&|s| s.rsa = Some(1024))),
            "weak_key",
            "bad_certificate",
        ),
        case(
            "unknown critical extension",
            ours.issue(&of(&|s| s.unknown_critical = true)),
            "unknown_critical_extension",
            "bad_certificate",
        ),
        case(
            "issued by a leaf",
            {
                let leaf = ours.client("leaf");
                Authority {
                    certificate: leaf.leaf().clone(),
                    key: leaf.key,
                    above: leaf.chain,
                }
                .client("device")
            },
            // A key that may not sign certificates is not taken for an issuer at all.
            "unknown_ca",
            "unknown_ca",
        ),
        case(
            "below an intermediate",
            below(&|_| ()).client("device"),
            "verified",
            "",
        ),
        case(
            "below an intermediate, where the anchor allows none",
            ours.intermediate(&Spec::authority("Forbidden"))
                .client("device"),
            "path_length",
            "bad_certificate",
        ),
        case(
            "below an intermediate that may not have one below it",
            below(&|s| s.ca = Some(Some(0)))
                .intermediate(&Spec::authority("Too deep"))
                .client("device"),
            "path_length",
            "bad_certificate",
        ),
        case(
            "outside of the intermediate's names",
            below(&|s| s.constraints = Some("permitted;DNS:good.test".into()))
                .issue(&of(&|s| s.dns = vec!["bad.test".into()])),
            "name_constraint",
            "bad_certificate",
        ),
    ]
}

async fn attempt(client: Client, path: &str) -> Result<tests::Answer, Refused> {
    client.get(path).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_verifies_every_certificate() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("off.example.test", "off", &origin.url())
        .host("request.example.test", "request", &origin.url())
        .host("require.example.test", "require", &origin.url())
        .start();
    for (index, case) in cases(&gateway).iter().enumerate() {
        for (version, twelve) in [("TLSv1.2", true), ("TLSv1.3", false)] {
            let what = format!("{} over {version}", case.name);
            let client = |mode: &str| {
                let client = gateway.client(&format!("{mode}.example.test")).tls(twelve);
                match &case.identity {
                    Some(identity) => client.identity(identity),
                    None => client,
                }
            };
            let path = |mode: &str| format!("/{mode}/{index}/{version}");

            // Off: no client is asked, so nothing is known.
            let answer = attempt(client("off"), &path("off")).await.unwrap();
            let seen = answer.json();
            assert_eq!(seen["headers"].get("cf-cert-presented"), None, "{what}");
            let record = gateway.request_record(&path("off"));
            assert_eq!(record["client_cert"]["presented"], false, "{what}");
            assert_eq!(record["tls"]["version"], *version, "{what}");

            // Request: every client gets in, and the origin is told the verdict.
            let answer = attempt(client("request"), &path("request")).await;
            let seen = answer
                .unwrap_or_else(|error| panic!("{what}: {error:?}"))
                .json();
            let record = gateway.request_record(&path("request"));
            let cert = &record["client_cert"];
            let verified = matches!(case.reason, "verified" | "revoked");
            let truth = [
                ("presented", case.identity.is_some()),
                ("verified", verified),
                ("revoked", case.reason == "revoked"),
            ];
            for (name, expected) in truth {
                assert_eq!(cert[name], expected, "{what}: {name} in {record}");
                let header = &seen["headers"][format!("cf-cert-{name}")];
                assert_eq!(*header, json!([expected.to_string()]), "{what}: {name}");
            }
            assert_eq!(cert["reason"], case.reason, "{what}");
            let believed = case.reason == "verified";
            assert_eq!(
                seen["headers"].get("client-cert").is_some(),
                believed,
                "{what}"
            );
            if let Some(identity) = &case.identity {
                assert_eq!(
                    cert["serial"].as_str().map(str::to_uppercase),
                    Some(identity.serial()),
                    "{what}"
                );
            }

            // Require: only the good ones do.
            let answer = attempt(client("require"), &path("require")).await;
            if believed {
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                assert_eq!(answer.status, 200, "{what}");
                continue;
            }
            let refused = match answer {
                Err(refused) => refused,
                Ok(answer) => panic!("{what}: it got in: {answer:?}"),
            };
            // TLS 1.2 has no alert for a missing certificate.
            let alert = match case.alert {
                "certificate_required" if twelve => "handshake_failure",
                alert => alert,
            };
            assert_eq!(refused.why, alert, "{what}");
            let record = gateway.handshake_record(refused.local);
            assert_eq!(record["reason"], case.reason, "{what}: {record}");
            assert_eq!(record["tls"]["sni"], "require.example.test", "{what}");
            assert_eq!(record["host"], "require.example.test", "{what}");
            if let Some(identity) = &case.identity {
                let cert = &record["client_cert"];
                assert_eq!(
                    cert["serial"].as_str().map(str::to_uppercase),
                    Some(identity.serial()),
                    "{what}"
                );
                assert!(
                    cert["subject"].as_str().unwrap().contains("CN="),
                    "{what}: {record}"
                );
                assert!(
                    cert["issuer"].as_str().unwrap().contains("CN="),
                    "{what}: {record}"
                );
                let leaf = identity.leaf();
                let digest = leaf.digest(boring::hash::MessageDigest::sha256()).unwrap();
                let hex = |bytes: &[u8]| -> String {
                    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
                };
                assert_eq!(cert["fingerprint_sha256"], hex(&digest).to_lowercase());
                for (name, id) in [
                    ("subject_key_id", leaf.subject_key_id()),
                    ("issuer_key_id", leaf.authority_key_id()),
                ] {
                    let id = id.map(|id| json!(hex(id.as_slice())));
                    assert_eq!(cert.get(name).cloned(), id, "{what}: {name}");
                }
            }
            // Of each version, at least.
            for host in ["request.example.test", "require.example.test"] {
                let is_counted = || gateway.verified(host, case.reason) > u64::from(!twelve);
                until(&format!("{what}: {host}"), || is_counted().then_some(()));
            }
        }
    }
    let to_require = origin
        .requests()
        .iter()
        .filter(|seen| seen["target"].as_str().unwrap().starts_with("/require/"))
        .count();
    assert_eq!(
        to_require, 6,
        "three good certificates over two versions, and nobody else"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_handshake_is_one_record() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    let stranger = Authority::root("Stranger CA").client("intruder");
    let refused = gateway
        .client("api.example.test")
        .identity(&stranger)
        .get("/")
        .await
        .unwrap_err();
    let record = gateway.handshake_record(refused.local);
    assert_eq!(
        record["client_cert"]["serial"]
            .as_str()
            .unwrap()
            .to_uppercase(),
        stranger.serial()
    );
    assert!(
        record["client_cert"]["subject"]
            .as_str()
            .unwrap()
            .contains("CN=intruder"),
        "{record}"
    );
    assert!(
        record["client_cert"]["issuer"]
            .as_str()
            .unwrap()
            .contains("CN=Stranger CA"),
        "{record}"
    );
    assert!(record["seconds"]["total"].is_number(), "{record}");
    // One more request, so that anything that followed the record is written by now.
    let good = gateway.authority(ZONE).client("good");
    gateway
        .client("api.example.test")
        .identity(&good)
        .get("/after")
        .await
        .unwrap();
    drop(gateway.request_record("/after"));
    let address = refused.local.to_string();
    let records = gateway.records();
    let of_it = records.iter().filter(|record| record["client"] == *address);
    assert_eq!(of_it.count(), 1, "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_shown_the_cas_of_their_host_only() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .zone("other.test")
        .host("off.example.test", "off", &origin.url())
        .host("api.example.test", "request", &origin.url())
        .host("strict.example.test", "require", &origin.url())
        .host("api.other.test", "request", &origin.url())
        .start();
    let ours = ["Postern managed CA for example.test"];
    let others = ["Postern managed CA for other.test"];
    for (host, expected) in [
        ("off.example.test", &[][..]),
        ("api.example.test", &ours[..]),
        ("strict.example.test", &ours[..]),
        ("api.other.test", &others[..]),
        ("unknown.example.test", &[][..]),
    ] {
        // A client without a certificate sees the list in both versions; openssl prints it.
        for version in ["-tls1_2", "-tls1_3"] {
            let address = gateway.address.to_string();
            let out = tests::tool::run(std::process::Command::new("openssl").args([
                "s_client",
                "-connect",
                &address,
                "-servername",
                host,
                version,
            ]));
            let list = out.out.split_once("Acceptable client certificate CA names");
            let list = list.map_or("", |(_, rest)| rest.split("Requested").next().unwrap());
            for name in ours.iter().chain(&others) {
                assert_eq!(
                    list.contains(name),
                    expected.contains(name),
                    "{host} {version}: {out:?}"
                );
            }
        }
    }
}

/// BoringSSL refuses it on its own, before there is anything to verify: whatever the host's mode.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_not_sign_is_refused_with_its_reason() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("request.example.test", "request", &origin.url())
        .host("require.example.test", "require", &origin.url())
        .start();
    let mut spec = Spec::client("device");
    // BoringSSL's client would not even load an elliptic key that may not sign.
    (spec.may_sign, spec.rsa) = (false, Some(2048));
    let identity = gateway.authority(ZONE).issue(&spec);
    for host in ["request.example.test", "require.example.test"] {
        let client = gateway.client(host).identity(&identity).tls13();
        let refused = client.get("/").await.unwrap_err();
        let record = gateway.handshake_record(refused.local);
        assert_eq!(record["reason"], "key_usage", "{record}");
        assert_eq!(record["host"], host, "{record}");
        let subject = record["client_cert"]["subject"].as_str().unwrap();
        assert!(subject.contains("CN=device"), "{record}");
        assert_ne!(record["client_cert"]["serial"], "", "{record}");
    }
}

/// TLS 1.2 lets a client ask for another handshake on a connection, with another certificate; a
/// gateway that agrees has requests on it of clients that it verified before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_changes_the_certificate_of_a_connection() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    let (chain, key) = (gateway.file("device.pem"), gateway.file("device.key"));
    std::fs::write(&chain, device.chain_pem()).unwrap();
    std::fs::write(&key, device.key_pem()).unwrap();
    let mut command = std::process::Command::new("openssl");
    command.args(["s_client", "-quiet", "-no_ign_eof", "-tls1_2"]);
    command.args(["-connect", &gateway.address.to_string()]);
    command.args(["-servername", "api.example.test"]);
    command.arg("-cert").arg(&chain).arg("-key").arg(&key);
    let piped = std::process::Stdio::piped;
    command.stdin(piped()).stdout(piped()).stderr(piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: api.example.test\r\n\r\n");
    std::io::Write::write_all(&mut stdin, ask("/first").as_bytes()).unwrap();
    drop(gateway.request_record("/first"));
    // A line with this letter alone is a command to it: renegotiate.
    std::io::Write::write_all(&mut stdin, b"R\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    drop(stdin);
}

/// The version of HTTP is what ALPN agreed on, whatever a client speaks then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_spoken_by_agreement_only() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    let client = gateway.client("api.example.test").identity(&device);
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut inside = client.raw().await.unwrap();
    inside.write(preface).await;
    let answer = inside.rest().await;
    assert!(!answer.starts_with(&[0, 0]), "no SETTINGS: {answer:?}");
    let mut in_clear = tests::raw::tcp(gateway.address).await;
    in_clear.write(preface).await;
    let answer = in_clear.rest_text().await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(origin.requests().is_empty());
}
