//! All 21 `cf.tls_client_auth` fields as rules see them, in both TLS versions and in resumed
//! sessions, against what the `openssl` command says of the same certificates; and what becomes of
//! certificates that are too large for their fields and headers.

use std::process::{Command, Stdio};

use boring::x509::X509;
use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::pki::{DAY, Spec};
use tests::{Gateway, Identity, Origin, Setup};

/// What `openssl x509` prints of a certificate for these arguments.
fn openssl(certificate: &X509, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["x509", "-noout"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pem = certificate.to_pem().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &pem).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What follows the first `=` of it.
fn value(certificate: &X509, arguments: &[&str]) -> String {
    let text = openssl(certificate, arguments);
    text.split_once('=').unwrap().1.trim().to_owned()
}

/// The key identifier in an extension, without colons; empty without the extension.
fn key_id(certificate: &X509, extension: &str) -> String {
    let text = openssl(certificate, &["-ext", extension]);
    let line = text.lines().nth(1).unwrap_or_default().trim();
    let line = line.strip_prefix("keyid:").unwrap_or(line);
    line.replace(':', "")
}

/// RFC 9440 §2.1.
fn structured(certificate: &X509) -> String {
    let der = certificate.to_der().unwrap();
    format!(":{}:", boring::base64::encode_block(&der))
}

/// What a client shows and what is made of it.
struct Case {
    name: &'static str,
    identity: Option<Identity>,
    /// Presented, verified, revoked.
    truth: [bool; 3],
    /// The issuer, where it is known.
    issuer: Option<X509>,
}

/// Every field with the value that it must have.
fn expected(case: &Case) -> Vec<(&'static str, Value)> {
    let leaf = case.identity.as_ref().map(|identity| identity.leaf());
    let of = |found: &dyn Fn(&X509) -> String| json!(leaf.map(found).unwrap_or_default());
    let fingerprint = |digest: &'static str| {
        of(&|leaf| {
            value(leaf, &["-fingerprint", digest])
                .replace(':', "")
                .to_lowercase()
        })
    };
    let chain = case
        .identity
        .iter()
        .flat_map(|identity| &identity.chain[1..]);
    let chain: Vec<String> = chain.map(structured).collect();
    let serial = |issuer: &X509| value(issuer, &["-serial"]);
    let [presented, verified, revoked] = case.truth;
    vec![
        ("cert_presented", json!(presented)),
        ("cert_verified", json!(verified)),
        ("cert_revoked", json!(revoked)),
        (
            "cert_issuer_dn",
            of(&|leaf| value(leaf, &["-issuer", "-nameopt", "RFC2253"])),
        ),
        (
            "cert_subject_dn",
            of(&|leaf| value(leaf, &["-subject", "-nameopt", "RFC2253"])),
        ),
        (
            "cert_issuer_dn_rfc2253",
            of(&|leaf| value(leaf, &["-issuer", "-nameopt", "RFC2253"])),
        ),
        (
            "cert_subject_dn_rfc2253",
            of(&|leaf| value(leaf, &["-subject", "-nameopt", "RFC2253"])),
        ),
        (
            "cert_issuer_dn_legacy",
            of(&|leaf| value(leaf, &["-issuer", "-nameopt", "compat"])),
        ),
        (
            "cert_subject_dn_legacy",
            of(&|leaf| value(leaf, &["-subject", "-nameopt", "compat"])),
        ),
        ("cert_serial", of(&serial)),
        (
            "cert_issuer_serial",
            json!(case.issuer.as_ref().map(serial).unwrap_or_default()),
        ),
        ("cert_fingerprint_sha256", fingerprint("-sha256")),
        ("cert_fingerprint_sha1", fingerprint("-sha1")),
        ("cert_not_before", of(&|leaf| value(leaf, &["-startdate"]))),
        ("cert_not_after", of(&|leaf| value(leaf, &["-enddate"]))),
        ("cert_ski", of(&|leaf| key_id(leaf, "subjectKeyIdentifier"))),
        (
            "cert_issuer_ski",
            of(&|leaf| key_id(leaf, "authorityKeyIdentifier")),
        ),
        ("cert_rfc9440", of(&structured)),
        ("cert_rfc9440_too_large", json!(false)),
        ("cert_chain_rfc9440", json!(chain.join(", "))),
        ("cert_chain_rfc9440_too_large", json!(false)),
    ]
}

/// A rule's text that holds when the field has this value.
fn says(field: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => format!("cf.tls_client_auth.{field}"),
        Value::Bool(_) => format!("not cf.tls_client_auth.{field}"),
        text => {
            let text = text.as_str().unwrap();
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("cf.tls_client_auth.{field} eq \"{text}\"")
        }
    }
}

/// Replaces the zone's rules by ones that are written down, and answers their ids.
fn log_rules(gateway: &Gateway, expressions: &[String]) -> Vec<Value> {
    let path = format!(
        "/client/v4/zones/{}/rulesets/phases/http_request_firewall_custom/entrypoint",
        gateway.zone_id(ZONE)
    );
    let rule = |expression: &String| json!({ "action": "log", "expression": expression });
    let rules: Vec<Value> = expressions.iter().map(rule).collect();
    let put = gateway.admin.call("PUT", &path, &json!({ "rules": rules }));
    let rules = put.result()["rules"].as_array().unwrap().clone();
    rules.iter().map(|rule| rule["id"].clone()).collect()
}

fn cases(gateway: &Gateway) -> Vec<Case> {
    let ours = gateway.authority(ZONE);
    let root = gateway.root(&["api.example.test"]);
    let below = root.intermediate(&Spec {
        key_ids: true,
        ..Spec::authority("Below, \"Ltd\" \\ Söhne")
    });
    let client = |begins, ends| Spec {
        begins,
        ends,
        key_ids: true,
        dns: vec!["device.example.test".into()],
        // No `+` and no `/`: OpenSSL 3 escapes them in its old form, BoringSSL and nginx do not.
        ..Spec::client("device, \"1\" <ö> #;")
    };
    let (id, revoked) = gateway.certificate(ZONE, "revoked");
    gateway.revoke(ZONE, &id);
    vec![
        Case {
            name: "none",
            identity: None,
            truth: [false; 3],
            issuer: None,
        },
        Case {
            name: "invalid",
            identity: Some(below.issue(&client(-2 * DAY, -DAY))),
            truth: [true, false, false],
            issuer: None,
        },
        Case {
            name: "valid",
            identity: Some(below.issue(&client(-9 * DAY, 9 * DAY))),
            truth: [true, true, false],
            issuer: Some(below.certificate.clone()),
        },
        Case {
            name: "revoked",
            identity: Some(revoked.with_extra(std::slice::from_ref(&ours.certificate))),
            truth: [true; 3],
            issuer: Some(ours.certificate.clone()),
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_says_what_openssl_says() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: needs openssl");
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    for case in cases(&gateway) {
        let expected = expected(&case);
        assert_eq!(expected.len(), 21);
        let texts: Vec<String> = expected
            .iter()
            .map(|(field, value)| says(field, value))
            .collect();
        let ids = log_rules(&gateway, &texts);
        for twelve in [true, false] {
            let client = gateway
                .client("api.example.test")
                .identity_if(case.identity.as_ref())
                .tls(twelve);
            for resumed in [false, true] {
                let what = format!("{}, TLS 1.2: {twelve}, resumed: {resumed}", case.name);
                let path = format!("/{}/{twelve}/{resumed}", case.name);
                let client = match resumed {
                    true => client.clone().resuming(&client.tickets()),
                    false => client.clone(),
                };
                let mut http1 = client.http1().await.unwrap();
                assert_eq!(http1.resumed, resumed, "{what}");
                assert_eq!(http1.get(&path).await.unwrap().status, 200, "{what}");
                let record = gateway.request_record(&path);
                let logged = record["logged"].as_array().cloned().unwrap_or_default();
                for (id, text) in ids.iter().zip(&texts) {
                    assert!(logged.contains(id), "{what}: {text} is false: {record}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_empty_and_says_so() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    let headers = "sha256,der,client-cert,client-cert-chain,xfcc,verdict";
    let set = [
        "host",
        "set",
        "api.example.test",
        "--certificate-headers",
        headers,
    ];
    assert_eq!(gateway.cli(&set).code, 0);
    // So many bytes of names make an encoded certificate somewhat above its limit.
    let names = |bytes: usize| -> Vec<String> {
        let name = |n| format!("{n:05}.{}.example.test", "x".repeat(50));
        (0..bytes / 70).map(name).collect()
    };
    let ours = gateway.authority(ZONE);
    let wide = |name: &str, issuer: &tests::Authority| {
        let mut spec = Spec::authority(name);
        spec.dns = names(7_000);
        issuer.intermediate(&spec)
    };
    let root = gateway.root(&["api.example.test"]);
    let deep = wide("Two", &wide("One", &root));
    let large = Spec {
        dns: names(9_000),
        ..Spec::client("large")
    };
    for (what, identity, leaf_fits, chain_fits) in [
        ("both fit", ours.client("device"), true, true),
        ("a large leaf", ours.issue(&large), false, true),
        ("a large chain", deep.client("device"), true, false),
        ("both large", deep.issue(&large), false, false),
    ] {
        let field = |name: &str| format!("cf.tls_client_auth.{name}");
        let texts = [
            (field("cert_verified"), true),
            (field("cert_rfc9440_too_large"), !leaf_fits),
            (field("cert_chain_rfc9440_too_large"), !chain_fits),
            (format!("{} eq \"\"", field("cert_rfc9440")), !leaf_fits),
            (
                format!("{} eq \"\"", field("cert_chain_rfc9440")),
                !chain_fits || identity.chain.len() == 1,
            ),
        ];
        let expressions: Vec<String> = texts.iter().map(|(text, _)| text.clone()).collect();
        let ids = log_rules(&gateway, &expressions);
        let client = gateway.client("api.example.test").identity(&identity);
        let path = format!("/{}", what.replace(' ', "-"));
        for seen in [
            client.get(&path).await.unwrap().json(),
            client
                .http2()
                .await
                .unwrap()
                .get(&path)
                .await
                .unwrap()
                .json(),
        ] {
            let told = |name: &str| seen["headers"].get(name).is_some();
            assert!(
                told("cf-client-cert-sha256") && told("cf-cert-verified"),
                "{what}"
            );
            assert_eq!(told("client-cert"), leaf_fits, "{what}");
            assert_eq!(told("cf-client-cert-der-base64"), leaf_fits, "{what}");
            let has_chain = chain_fits && identity.chain.len() > 1;
            assert_eq!(told("client-cert-chain"), has_chain, "{what}");
            // XFCC names every DNS name, and is left out as a whole where that is too much.
            assert_eq!(told("x-forwarded-client-cert"), leaf_fits, "{what}");
        }
        let record = gateway.request_record(&path);
        let logged = record["logged"].as_array().cloned().unwrap_or_default();
        for (id, (text, holds)) in ids.iter().zip(&texts) {
            assert_eq!(logged.contains(id), *holds, "{what}: {text}: {record}");
        }
    }
}
