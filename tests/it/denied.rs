//! Certificates of an uploaded CA that publishes nothing, denied by hand: everywhere where a revocation
//! counts.

use serde_json::{Value, json};
use tests::pki::Spec;
use tests::{Authority, Identity};

use crate::revocation_lists::World;

const HOST: &str = "api.example.test";

/// Writes a certificate to a file of the gateway's directory, and answers its path.
fn file(world: &World, name: &str, identity: &Identity) -> String {
    let path = world.gateway.file(name);
    std::fs::write(&path, identity.chain_pem()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The content of its serial number's INTEGER, which is positive.
fn content(identity: &Identity) -> Vec<u8> {
    let number = identity.leaf().serial_number().to_bn().unwrap();
    [vec![0], number.to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_certificate_is_treated_as_a_revoked_one() {
    let mut world = World::new();
    let (lost, kept) = (
        world.authority.client("lost"),
        world.authority.client("kept"),
    );
    let of_lost = file(&world, "lost.pem", &lost);
    let client = |identity: &Identity| world.gateway.client(HOST).identity(identity);
    // Live, idle, and with a ticket to come back with.
    let lost_client = client(&lost);
    let tickets = lost_client.tickets();
    let mut live = lost_client.http1().await.unwrap();
    assert_eq!(live.get("/x").await.unwrap().status, 200);
    let mut others = client(&kept).http1().await.unwrap();
    assert_eq!(others.get("/x").await.unwrap().status, 200);

    let said = world
        .gateway
        .cli(&["deny", "add", &of_lost, "--comment", "stolen"])
        .ok();
    assert!(
        said.contains(&format!("denied {}", lost.serial())),
        "{said}"
    );
    tests::wait::within("the live connection to be closed", live.closed()).await;
    assert_eq!(world.outcome(&lost).await, "revoked");
    let resumed = client(&lost).resuming(&tickets).get("/x").await;
    assert!(
        resumed.is_err(),
        "a ticket is no way around it: {resumed:?}"
    );
    assert_eq!(others.get("/x").await.unwrap().status, 200, "others go on");
    assert_eq!(world.outcome(&kept).await, "200");
    // Other bytes of the same certificate: what counts is issuer and serial number.
    let again = world.authority.issue(&Spec {
        serial: Some(content(&lost)),
        ..Spec::client("lost, written anew")
    });
    assert_eq!(world.outcome(&again).await, "revoked");

    // Rules see it where the host leaves the decision to them.
    world
        .gateway
        .change_host(HOST, &json!({ "mtls": "request" }));
    let rule = json!({ "action": "block", "expression": "cf.tls_client_auth.cert_revoked" });
    let _id = world.gateway.rule(&rule);
    assert_eq!(client(&lost).get("/rule").await.unwrap().status, 403);
    let record = world.gateway.request_record("/rule");
    assert_eq!(record["client_cert"]["reason"], "revoked", "{record}");
    assert_eq!(client(&kept).get("/rule").await.unwrap().status, 200);
    world
        .gateway
        .change_host(HOST, &json!({ "mtls": "require" }));

    // It is there after a restart, in the list, and once only.
    assert!(world.gateway.stop().success());
    world.gateway.start();
    assert_eq!(world.outcome(&lost).await, "revoked");
    drop(world.gateway.cli(&["deny", "add", &of_lost]).ok());
    let list = world.gateway.cli(&["deny", "list", "--json"]).json();
    let [one] = list.as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(one["serial_number"], lost.serial());
    assert_eq!(one["comment"], "stolen");
    // Believed again.
    drop(world.gateway.cli(&["deny", "remove", &of_lost]).ok());
    assert_eq!(world.outcome(&lost).await, "200");
    let why = world.gateway.cli(&["deny", "remove", &of_lost]).failed(1);
    assert!(why.contains("is not denied"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_denied_by_whatever_it_is_called() {
    let world = World::new();
    let issuing = world.authority.intermediate(&Spec::authority("Issuing CA"));
    let stranger = Authority::root("Stranger");
    let below = issuing.client("below");
    let by_serial = world.authority.client("by serial");
    let by_print = world.authority.client("by fingerprint");
    let negative = world.authority.issue(&Spec {
        serial: Some(vec![0xf6]),
        ..Spec::client("negative")
    });
    for device in [&below, &by_serial, &by_print, &negative] {
        assert_eq!(world.outcome(device).await, "200");
    }
    let cli = |arguments: &[&str]| world.gateway.cli(&[&["deny", "add"], arguments].concat());
    let print = |identity: &Identity| {
        let digest = identity
            .leaf()
            .digest(boring::hash::MessageDigest::sha256());
        let digest = digest.unwrap();
        digest
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":")
    };
    let file_below = file(&world, "below.pem", &below);
    let why = cli(&[&file_below]).failed(1);
    assert!(why.contains("--ca"), "{why}");
    // Nothing here knows the CA below: it may as well be a stranger.
    let told = cli(&[&file_below, "--ca", &world.id]).ok();
    assert!(told.contains("is not the CA itself"), "{told}");
    assert_eq!(world.outcome(&below).await, "revoked");
    // The serial number alone is one of the uploaded CA's own.
    let same_number = issuing.issue(&Spec {
        serial: Some(content(&by_serial)),
        ..Spec::client("of another issuer")
    });
    let told = cli(&[&by_serial.serial().to_lowercase(), "--ca", "uploaded"]).ok();
    assert!(!told.contains("is not the CA itself"), "{told}");
    assert_eq!(world.outcome(&by_serial).await, "revoked");
    assert_eq!(world.outcome(&same_number).await, "200");
    drop(cli(&["--ca", &world.id, "--", "-0A"]).ok());
    assert_eq!(world.outcome(&negative).await, "revoked");
    tests::wait::until("the access log to know the certificate", || {
        let wanted = print(&by_print).replace(':', "").to_lowercase();
        let mut records = world.gateway.records().into_iter();
        let has = |line: Value| line["client_cert"]["fingerprint_sha256"] == wanted;
        records.any(has).then_some(())
    });
    drop(cli(&[&print(&by_print)]).ok());
    assert_eq!(world.outcome(&by_print).await, "revoked");
    for (arguments, code, why) in [
        (
            vec![print(&stranger.client("unseen"))],
            1,
            "access log has no such",
        ),
        (vec!["0A0B".to_owned()], 2, "--ca"),
        (
            vec!["0x0A".to_owned(), "--ca".into(), world.id.clone()],
            1,
            "in hex",
        ),
        (
            vec!["0A".to_owned(), "--ca".into(), "nobody".into()],
            1,
            "no uploaded CA",
        ),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = cli(&arguments).failed(code);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    // What the log is not asked for it cannot say, which is said.
    for (setting, why) in [
        (
            "log.access.fields=default,-client_cert.fingerprint_sha256",
            "`client_cert.fingerprint_sha256` is not logged",
        ),
        (
            "log.access.fields=default,-client_cert.issuer",
            "`client_cert.issuer` is not logged",
        ),
        ("log.access.format=common", "the format `common`"),
    ] {
        drop(world.gateway.cli(&["sysctl", "-w", setting]).ok());
        let said = cli(&[&print(&by_print)]).failed(1);
        assert!(said.contains(why), "{setting}: {said}");
    }
    for setting in ["log.access.fields=default", "log.access.format=json"] {
        drop(world.gateway.cli(&["sysctl", "-w", setting]).ok());
    }
    // A document has them, one without them leaves them alone, and an empty list takes them back.
    let list = world.gateway.cli(&["deny", "list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 4, "{list}");
    let mut document = world.gateway.admin.get("/postern/v1/export").result();
    let denied = document["authorities"][0]["denied"].clone();
    assert_eq!(denied.as_array().unwrap().len(), 4, "{document}");
    let apply = |document: &Value| {
        let reply = world
            .gateway
            .admin
            .call("POST", "/postern/v1/apply", document);
        drop(reply.result());
    };
    document["authorities"][0]
        .as_object_mut()
        .unwrap()
        .remove("denied");
    apply(&document);
    assert_eq!(world.outcome(&below).await, "revoked");
    document["authorities"][0]["denied"] = json!([]);
    apply(&document);
    assert_eq!(world.outcome(&below).await, "200");
    document["authorities"][0]["denied"] = denied;
    apply(&document);
    assert_eq!(world.outcome(&below).await, "revoked");
}
