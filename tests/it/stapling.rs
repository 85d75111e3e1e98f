//! OCSP answers stapled to server certificates: had from OpenSSL's responder and from one that does
//! everything wrong, seen by OpenSSL's client and by BoringSSL's.

use std::net::TcpStream;
use std::process::Command;

use boring::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use fixtures::new_port;
use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::ocsp::{OcspSpec, Status};
use tests::pki::{DAY, Spec};
use tests::server::{CaServer, Manner};
use tests::tool::{has, run};
use tests::{Authority, Gateway, Identity, Origin, Setup, wait};

use crate::ocsp::OpenSsl;

const HOST: &str = "api.example.test";

/// A host, and the CA that has issued its server certificate.
struct World {
    _origin: Origin,
    gateway: Gateway,
    issuing: Authority,
}

impl World {
    fn new() -> Self {
        Self::with(&[("control.private_origins", "allow")])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let origin = Origin::echo();
        let setup = Setup::new().host(HOST, "off", &origin.url());
        let set = |setup: Setup, (key, value): &(&str, &str)| setup.set(key, value);
        let gateway = settings.iter().fold(setup, set).start();
        let issuing = gateway.servers.intermediate(&Spec::authority("Issuing CA"));
        Self {
            _origin: origin,
            gateway,
            issuing,
        }
    }

    /// A certificate that must be stapled, with its responder.
    fn issue(&self, responder: &str) -> Identity {
        self.issuing.issue(&must_staple(responder))
    }

    /// Gives it to the host. Answers what the API says of it.
    fn serve(&self, identity: &Identity) -> Value {
        let path = format!(
            "/client/v4/zones/{}/custom_certificates",
            self.gateway.zone_id(ZONE)
        );
        let body = json!({
            "certificate": identity.chain_pem(), "private_key": identity.key_pem(),
        });
        self.gateway.admin.call("POST", &path, &body).result()
    }

    /// What the API says of stapling to the certificate that the host presents, once it has been
    /// asked about.
    fn stapling(&self, made: &Value) -> Value {
        let zone = self.gateway.zone_id(ZONE);
        let id = made["id"].as_str().unwrap();
        let path = format!("/client/v4/zones/{zone}/custom_certificates/{id}");
        wait::until("the responder to be asked", || {
            let found = self.gateway.admin.get(&path).result()["ocsp_stapling"].clone();
            (found["stapled_until"].is_string() || found["error"].is_string()).then_some(found)
        })
    }

    /// What the host staples in a full handshake of this version.
    fn stapled(&self, version: SslVersion) -> Option<Vec<u8>> {
        let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_min_proto_version(Some(version)).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        builder.enable_ocsp_stapling();
        let client = builder.build().configure().unwrap();
        let stream = TcpStream::connect(self.gateway.address).unwrap();
        let stream = client.connect(HOST, stream).unwrap();
        stream.ssl().ocsp_status().map(<[u8]>::to_vec)
    }

    /// The same in both versions, which are of one mind but for the moment of a change.
    fn stapled_alike(&self) -> Option<Vec<u8>> {
        wait::until("both versions to be of one mind", || {
            let versions = [SslVersion::TLS1_2, SslVersion::TLS1_3];
            let [old, new] = versions.map(|one| self.stapled(one));
            (old == new).then_some(new)
        })
    }

    fn metric(&self, name: &str, made: &Value) -> Option<f64> {
        let id = made["id"].as_str().unwrap();
        let metrics = self.gateway.admin.get("/metrics").body;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name) && line.contains(id))?;
        line.rsplit_once(' ').unwrap().1.parse().ok()
    }
}

fn must_staple(responder: &str) -> Spec {
    Spec {
        responder: Some(responder.into()),
        must_staple: true,
        ..Spec::server(&[HOST])
    }
}

fn good() -> OcspSpec {
    OcspSpec::new(Status::Good)
}

#[test]
fn openssls_client_is_given_the_answer_of_openssls_responder() {
    if !has("openssl") {
        return;
    }
    let world = World::new();
    let port = new_port();
    let identity = world.issue(&format!("http://127.0.0.1:{port}/"));
    let index = format!(
        "V\t391231235959Z\t\t{}\tunknown\t/CN=api\n",
        identity.serial()
    );
    let responder = OpenSsl::start(&world.gateway, &world.issuing, &index, port);
    let made = world.serve(&identity);
    let said = world.stapling(&made);
    assert!(said["stapled_until"].is_string(), "{said}");
    assert_eq!(
        (&said["must_staple"], &said["responder"]),
        (&json!(true), &json!(responder.url)),
    );
    let root = world.gateway.file("root.pem");
    std::fs::write(&root, world.gateway.servers.pem()).unwrap();
    wait::until("the answer to be stapled", || world.stapled_alike());
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("openssl");
        command
            .args([
                "s_client",
                "-status",
                "-servername",
                HOST,
                version,
                "-connect",
            ])
            .arg(world.gateway.address.to_string())
            .arg("-CAfile")
            .arg(&root);
        let said = run(&mut command).out;
        for wanted in [
            "OCSP Response Status: successful",
            "Cert Status: good",
            "Verify return code: 0 (ok)",
        ] {
            assert!(said.contains(wanted), "{version}: {wanted}: {said}");
        }
        // A client that does not ask is not told.
        let without = run(Command::new("openssl")
            .args(["s_client", "-servername", HOST, version, "-connect"])
            .arg(world.gateway.address.to_string()));
        assert!(!without.out.contains("OCSP Response"), "{without:?}");
    }
    // What was answered holds with the responder down, and with another setting it goes.
    drop(responder);
    assert!(world.stapled_alike().is_some());
    let set = world.gateway.cli(&["sysctl", "-w", "ocsp.staple=off"]);
    assert_eq!(set.code, 0, "{set:?}");
    wait::until("the answer to go", || {
        world.stapled_alike().is_none().then_some(())
    });
    let doctor = world.gateway.cli(&["doctor", HOST]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(doctor.out.contains("`ocsp.staple` is off"), "{doctor:?}");
}

#[test]
fn no_bad_answer_is_stapled_and_what_is_missing_is_told() {
    let stranger = Authority::root("Stranger");
    let signing = || Spec {
        client_auth: false,
        ocsp_signing: true,
        ..Spec::client("Responder")
    };
    let signed_by = |identity: Identity| OcspSpec {
        signer: Some(identity),
        ..good()
    };
    let world = World::new();
    let server = CaServer::start(Manner::Close);
    let identity = world.issue(&server.url("/"));
    let other = world.issue(&server.url("/"));
    let of = |spec: &OcspSpec, subject: &Identity| Manner::body(spec.sign(&world.issuing, subject));
    let cases = [
        (
            "expired",
            of(
                &OcspSpec {
                    begins: -DAY,
                    ends: Some(-5),
                    ..good()
                },
                &identity,
            ),
            "nextUpdate has passed",
        ),
        (
            "of the future",
            of(
                &OcspSpec {
                    begins: 3600,
                    ends: Some(DAY),
                    ..good()
                },
                &identity,
            ),
            "begins in the future",
        ),
        ("wrong serial", of(&good(), &other), "other certificates"),
        (
            "wrong issuer",
            Manner::body(good().sign(&stranger, &identity)),
            "signed neither by the issuer",
        ),
        (
            "wrong signer",
            of(&signed_by(stranger.issue(&signing())), &identity),
            "signed neither by the issuer",
        ),
        (
            "no delegate",
            of(
                &signed_by(world.issuing.issue(&Spec::client("Another"))),
                &identity,
            ),
            "signed neither by the issuer",
        ),
        (
            "broken",
            of(
                &OcspSpec {
                    broken: true,
                    ..good()
                },
                &identity,
            ),
            "does not verify",
        ),
        (
            "revoked",
            of(&OcspSpec::new(Status::Revoked), &identity),
            "revoked",
        ),
        (
            "unknown",
            of(&OcspSpec::new(Status::Unknown), &identity),
            "unknown",
        ),
        ("garbage", Manner::body(b"garbage".to_vec()), "not an OCSP"),
        ("down", Manner::Close, "broken"),
    ];
    for (name, manner, why) in cases {
        server.set(manner);
        // Each upload is a certificate of its own, and asked about at once.
        let made = world.serve(&identity);
        let said = world.stapling(&made);
        assert_eq!(said["stapled_until"], Value::Null, "{name}: {said}");
        let error = said["error"].as_str().unwrap();
        assert!(error.contains(why), "{name}: {error}");
        assert_eq!(world.stapled_alike(), None, "{name}");
        let missing = world.metric("postern_ocsp_staple_missing", &made);
        assert_eq!(missing, Some(1.0), "{name}");
        let doctor = world.gateway.cli(&["doctor", HOST]);
        assert_eq!(doctor.code, 1, "{name}: {doctor:?}");
        assert!(
            doctor.out.contains("it must be stapled") && doctor.out.contains(why),
            "{name}: {doctor:?}"
        );
        let id = made["id"].as_str().unwrap();
        wait::until("the log to say so", || {
            let log = world.gateway.stderr();
            let mut lines = log.lines().filter(|line| line.contains("ERROR"));
            lines
                .any(|line| line.contains("must-staple") && line.contains(id))
                .then_some(())
        });
    }
    // A delegate of the issuer's may sign.
    let delegated = signed_by(world.issuing.issue(&signing())).sign(&world.issuing, &identity);
    server.set(Manner::body(delegated.clone()));
    let made = world.serve(&identity);
    assert!(world.stapling(&made)["stapled_until"].is_string());
    wait::until("the answer to be stapled", || {
        (world.stapled_alike().as_ref() == Some(&delegated)).then_some(())
    });
    let missing = world.metric("postern_ocsp_staple_missing", &made);
    assert_eq!(missing, Some(0.0));
    let due = world.metric("postern_ocsp_staple_next_update_timestamp_seconds", &made);
    assert!(due.is_some());
}

#[test]
fn an_answer_is_renewed_before_its_end_and_goes_when_it_ends_or_the_certificate_is_revoked() {
    let world = World::new();
    let server = CaServer::start(Manner::Close);
    let identity = world.issue(&server.url("/"));
    let short = |ends: i64| {
        let spec = OcspSpec {
            begins: 0,
            ends: Some(ends),
            ..good()
        };
        spec.sign(&world.issuing, &identity)
    };
    let first = short(20);
    server.set(Manner::body(first.clone()));
    world.serve(&identity);
    wait::until("the first answer", || {
        (world.stapled_alike().as_ref() == Some(&first)).then_some(())
    });
    // The next one lives long enough to be there until the responder says otherwise.
    let second = short(24);
    assert_ne!(first, second);
    server.set(Manner::body(second.clone()));
    let started = std::time::Instant::now();
    wait::until("the second answer", || {
        (world.stapled_alike().as_ref() == Some(&second)).then_some(())
    });
    assert!(
        started.elapsed().as_secs() < 18,
        "before the first one's end"
    );
    // With the responder down it stays until it ends, and no longer.
    server.set(Manner::Close);
    wait::until("the answer to end", || {
        world.stapled_alike().is_none().then_some(())
    });
    let third = short(3600);
    server.set(Manner::body(third.clone()));
    wait::until("the third answer", || {
        (world.stapled_alike().as_ref() == Some(&third)).then_some(())
    });
    // Another certificate under the same id is asked about anew; one that is revoked loses its answer.
    let fresh = short(12);
    server.set(Manner::body(fresh.clone()));
    let made = world.serve(&identity);
    wait::until("the answer of the new upload", || {
        (world.stapled_alike().as_ref() == Some(&fresh)).then_some(())
    });
    let revoked = OcspSpec {
        begins: 0,
        ..OcspSpec::new(Status::Revoked)
    };
    server.set(Manner::body(revoked.sign(&world.issuing, &identity)));
    wait::until("the answer to be taken away", || {
        world.stapled_alike().is_none().then_some(())
    });
    let error = world.stapling(&made)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("revoked"), "{error}");
}

#[test]
fn a_responder_that_only_a_certificate_names_is_not_asked_at_private_addresses() {
    let world = World::with(&[]);
    let server = CaServer::start(Manner::Close);
    for url in [
        server.url("/"),
        server.url("/").replace("127.0.0.1", "localhost"),
        server.url("/").replace("127.0.0.1", "2130706433"),
    ] {
        let made = world.serve(&world.issue(&url));
        let said = world.stapling(&made);
        let error = said["error"].as_str().unwrap();
        assert!(error.contains("control.private_origins"), "{error}");
    }
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn the_setting_says_which_certificates_are_asked_about() {
    let world = World::new();
    let server = CaServer::start(Manner::Close);
    let plain = world.issuing.issue(&Spec {
        must_staple: false,
        ..must_staple(&server.url("/plain"))
    });
    let answer = good().sign(&world.issuing, &plain);
    server.set(Manner::body(answer.clone()));
    let made = world.serve(&plain);
    let path = format!(
        "/client/v4/zones/{}/custom_certificates/{}",
        world.gateway.zone_id(ZONE),
        made["id"].as_str().unwrap()
    );
    let said = wait::until("the certificate to be looked at", || {
        let found = world.gateway.admin.get(&path).result()["ocsp_stapling"].clone();
        found.is_object().then_some(found)
    });
    assert_eq!(said["wanted"], false, "by default only must-staple: {said}");
    assert_eq!(said["must_staple"], false, "{said}");
    assert_eq!(server.requests(), Vec::<String>::new());
    let missing = world.metric("postern_ocsp_staple_missing", &made);
    assert_eq!(missing, None, "nothing is missing");
    drop(world.gateway.cli(&["sysctl", "-w", "ocsp.staple=on"]).ok());
    wait::until("the answer to be stapled", || {
        (world.stapled_alike().as_ref() == Some(&answer)).then_some(())
    });
    // What cannot be had is told at the upload.
    for (spec, why) in [
        (
            Spec {
                responder: None,
                ..must_staple("")
            },
            "names no OCSP responder",
        ),
        (must_staple("https://ocsp.example.test/"), "plain HTTP"),
    ] {
        let made = world.serve(&world.issuing.issue(&spec));
        let warning = made["warnings"][0].as_str().unwrap();
        assert!(warning.contains(why), "{warning}");
    }
    let alone = world
        .gateway
        .servers
        .issue(&must_staple("http://ocsp.example.test/"));
    let made = world.serve(&alone);
    let warning = made["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("no certificate of its issuer"),
        "{warning}"
    );
}
