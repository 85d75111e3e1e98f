//! Client certificates asked about at a responder: OpenSSL's own, and one that does everything
//! wrong.

use std::process::{Child, Command, Stdio};

use fixtures::new_port;
use serde_json::{Value, json};
use tests::ocsp::{OcspSpec, Status};
use tests::pki::{DAY, Spec};
use tests::server::{CaServer, Manner};
use tests::{Authority, Gateway, Identity};
use tls::{CertId, Serial};

use crate::revocation_lists::World;

impl World {
    fn responder(&self, body: &Value) {
        let path = format!("/postern/v1/certificate_authorities/{}/ocsp", self.id);
        drop(self.gateway.admin.call("PATCH", &path, body).result());
    }
}

/// `openssl ocsp` as a server, until it is dropped.
pub(crate) struct OpenSsl {
    child: Child,
    pub(crate) url: String,
}

impl OpenSsl {
    /// Answers for a CA at this port.
    pub(crate) fn start(gateway: &Gateway, authority: &Authority, index: &str, port: u16) -> Self {
        let responder = authority.issue(&Spec {
            client_auth: false,
            ocsp_signing: true,
            ..Spec::client("Responder")
        });
        let file = |name: &str, content: &str| {
            let path = gateway.file(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let said = gateway.file("openssl.log");
        let log = std::fs::File::create(&said).unwrap();
        let child = Command::new("openssl")
            .arg("ocsp")
            .args(["-port", &port.to_string(), "-nmin", "5"])
            .arg("-index")
            .arg(file("index.txt", index))
            .arg("-rsigner")
            .arg(file("responder.pem", &responder.chain_pem()))
            .arg("-rkey")
            .arg(file("responder.key", &responder.key_pem()))
            .arg("-CA")
            .arg(file("ca.pem", &authority.pem()))
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        tests::wait::until("openssl ocsp", || {
            // It serves one connection after the other: one of ours would only be in the way.
            let said = std::fs::read_to_string(&said).unwrap();
            said.contains("waiting for OCSP").then_some(())
        });
        Self {
            child,
            url: format!("http://127.0.0.1:{port}/"),
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_is_asked() {
    let world = World::new();
    let device = |name| world.authority.client(name);
    let (good, bad, strange) = (device("good"), device("bad"), device("strange"));
    // OpenSSL's list of a CA: state, end, revocation, serial, file, subject, with tabs between.
    let index = format!(
        "V\t391231235959Z\t\t{}\tunknown\t/CN=good\nR\t391231235959Z\t260101000000Z\t{}\tunknown\t/CN=bad\n",
        good.serial(),
        bad.serial()
    );
    let responder = OpenSsl::start(&world.gateway, &world.authority, &index, new_port());
    assert_eq!(world.outcome(&bad).await, "200", "nobody asks");
    for nonce in ["false", "true"] {
        let set = world.gateway.cli(&[
            "ocsp",
            "set",
            &world.id,
            "--url",
            &responder.url,
            "--policy",
            "hard",
            "--nonce",
            nonce,
        ]);
        assert!(set.out.contains("policy: hard"), "{set:?}");
        assert_eq!(world.outcome(&good).await, "200", "nonce {nonce}");
        assert_eq!(world.outcome(&bad).await, "revoked", "nonce {nonce}");
        assert_eq!(
            world.outcome(&strange).await,
            "ocsp_unknown",
            "nonce {nonce}"
        );
    }
    world.responder(&json!({ "policy": "soft" }));
    assert_eq!(world.outcome(&good).await, "200");
    assert_eq!(world.outcome(&strange).await, "200");
    // The first handshake does not wait, but then it is known.
    tests::wait::until("the answer", || {
        let shown = world.gateway.cli(&["ocsp", "show", &world.id]).out;
        shown.contains("unknown").then_some(())
    });
    // What was answered holds with the responder down.
    world.responder(&json!({ "policy": "hard" }));
    assert_eq!(world.outcome(&good).await, "200");
    drop(responder);
    assert_eq!(world.outcome(&good).await, "200");
    assert_eq!(world.outcome(&device("late")).await, "ocsp_unreachable");
    world.responder(&json!({ "url": null }));
    assert_eq!(world.outcome(&strange).await, "200");
    let metrics = world.gateway.admin.get("/metrics").body;
    assert!(metrics.contains("answer=\"good\""), "{metrics}");
    assert!(metrics.contains("answer=\"ocsp_unreachable\""), "{metrics}");
}

fn says(spec: &OcspSpec, world: &World, of: &Identity) -> Manner {
    Manner::body(spec.sign(&world.authority, of))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_says_what_no_good_answer_means() {
    let world = World::new();
    let server = CaServer::start(Manner::Close);
    let stranger = Authority::root("Stranger");
    let delegate = |by: &Authority, spec: Spec| OcspSpec {
        signer: Some(by.issue(&spec)),
        ..OcspSpec::new(Status::Good)
    };
    let signing = || Spec {
        client_auth: false,
        ocsp_signing: true,
        ..Spec::client("Responder")
    };
    let good = || OcspSpec::new(Status::Good);
    let of = |spec: OcspSpec| move |world: &World, device: &Identity| says(&spec, world, device);
    type Makes = Box<dyn Fn(&World, &Identity) -> Manner>;
    let raw = |bytes: &'static [u8]| move |_: &World, _: &Identity| Manner::body(bytes.to_vec());
    let cases: Vec<(&str, Makes, &str)> = vec![
        ("good", Box::new(of(good())), "200"),
        (
            "undated",
            Box::new(of(OcspSpec {
                ends: None,
                ..good()
            })),
            "200",
        ),
        (
            "delegate",
            Box::new(of(delegate(&world.authority, signing()))),
            "200",
        ),
        (
            "revoked",
            Box::new(of(OcspSpec::new(Status::Revoked))),
            "revoked",
        ),
        (
            "unknown",
            Box::new(of(OcspSpec::new(Status::Unknown))),
            "ocsp_unknown",
        ),
        (
            "old",
            Box::new(of(OcspSpec {
                begins: -DAY,
                ends: Some(-5),
                ..good()
            })),
            "ocsp_expired",
        ),
        (
            "future",
            Box::new(of(OcspSpec {
                begins: 3600,
                ends: Some(DAY),
                ..good()
            })),
            "ocsp_invalid",
        ),
        (
            "broken",
            Box::new(of(OcspSpec {
                broken: true,
                ..good()
            })),
            "ocsp_invalid",
        ),
        (
            "stranger",
            Box::new(of(delegate(&stranger, signing()))),
            "ocsp_invalid",
        ),
        (
            "no delegate",
            Box::new(of(delegate(
                &world.authority,
                Spec::client("Another client"),
            ))),
            "ocsp_invalid",
        ),
        (
            "former delegate",
            Box::new(of(delegate(
                &world.authority,
                Spec {
                    begins: -2 * DAY,
                    ends: -DAY,
                    ..signing()
                },
            ))),
            "ocsp_invalid",
        ),
        (
            "another certificate",
            Box::new(move |world: &World, _: &Identity| {
                says(
                    &OcspSpec::new(Status::Good),
                    world,
                    &world.authority.client("other"),
                )
            }),
            "ocsp_invalid",
        ),
        ("garbage", Box::new(raw(b"garbage")), "ocsp_invalid"),
        (
            "try later",
            Box::new(raw(&[0x30, 3, 0x0a, 1, 3])),
            "ocsp_invalid",
        ),
        ("nothing", Box::new(raw(b"")), "ocsp_invalid"),
        (
            "down",
            Box::new(|_: &World, _: &Identity| Manner::Close),
            "ocsp_unreachable",
        ),
        (
            "slow",
            Box::new(|_: &World, _: &Identity| Manner::Silent),
            "ocsp_unreachable",
        ),
    ];
    for (name, makes, expected) in &cases {
        world.responder(&json!({ "url": server.url("/"), "policy": "hard" }));
        let device = world.authority.client(name);
        server.set(makes(&world, &device));
        let mut outcome = world.outcome(&device).await;
        if outcome == "ocsp_unreachable" {
            // A busy machine may have been late; other settings forget that.
            world.responder(&json!({ "url": server.url("/again") }));
            outcome = world.outcome(&device).await;
        }
        assert_eq!(outcome, *expected, "hard: {name}");
        // By the other policy every client is served that is not known to be revoked.
        world.responder(&json!({ "policy": "soft" }));
        // One that is revoked is served until that is known, which may be at once.
        if *expected != "revoked" {
            assert_eq!(world.outcome(&device).await, "200", "soft: {name}");
        }
    }
    // An answer without the nonce that was asked for is none.
    world.responder(&json!({ "url": server.url("/"), "policy": "hard", "nonce": true }));
    let device = world.authority.client("nonce");
    server.set(says(&good(), &world, &device));
    assert_eq!(world.outcome(&device).await, "ocsp_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_connections_end_when_the_answer_comes() {
    let world = World::new();
    let server = CaServer::start(Manner::Close);
    // Softly: served first, and cut when the answer is there.
    let device = world.authority.client("soft");
    server.set(says(&OcspSpec::new(Status::Good), &world, &device));
    world.responder(&json!({ "url": server.url("/"), "policy": "soft" }));
    let client = world.gateway.client("api.example.test").identity(&device);
    let mut live = client.http1().await.unwrap();
    assert_eq!(live.get("/x").await.unwrap().status, 200);
    // Other settings forget the answer; the next look finds another one.
    server.set(says(&OcspSpec::new(Status::Revoked), &world, &device));
    world.responder(&json!({ "url": server.url("/again") }));
    tests::wait::within("the soft connection to be closed", live.closed()).await;
    assert_eq!(world.outcome(&device).await, "revoked");
    // By the other policy an answer is renewed before it ends, and the new one counts.
    let device = world.authority.client("hard");
    let short = OcspSpec {
        ends: Some(12),
        ..OcspSpec::new(Status::Good)
    };
    server.set(says(&short, &world, &device));
    world.responder(&json!({ "policy": "hard" }));
    let client = world.gateway.client("api.example.test").identity(&device);
    let tickets = client.tickets();
    let mut live = client.http1().await.unwrap();
    assert_eq!(live.get("/x").await.unwrap().status, 200);
    let revoked = OcspSpec {
        begins: 0,
        ..OcspSpec::new(Status::Revoked)
    };
    server.set(says(&revoked, &world, &device));
    tests::wait::within("the hard connection to be closed", live.closed()).await;
    assert_eq!(world.outcome(&device).await, "revoked");
    let resumed = client.resuming(&tickets).get("/x").await;
    assert!(
        resumed.is_err(),
        "a ticket is no way around it: {resumed:?}"
    );
}

#[test]
fn no_broken_answer_is_believed_or_brings_the_reader_down() {
    let authority = Authority::root("CA");
    let device = authority.client("device");
    let question = CertId {
        issuer_name: device.leaf().issuer_name().to_der().unwrap().into(),
        serial: Serial::of(device.leaf()).unwrap().unwrap(),
        issuer: authority.certificate.clone(),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    let good = OcspSpec::new(Status::Good).sign(&authority, &device);
    assert!(question.read(&good, None, now).is_ok());
    for end in 0..good.len() {
        assert!(
            question.read(&good[..end], None, now).is_err(),
            "cut at {end}"
        );
    }
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut broken = good.clone();
            broken[place] ^= 1 << bit;
            assert!(
                question.read(&broken, None, now).is_err(),
                "bit {bit} of byte {place}"
            );
        }
    }
}
