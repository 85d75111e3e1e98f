//! Revocation lists of uploaded CAs: taken in, refused, forgotten, by the API, the command line and
//! a watched file.

use std::time::{SystemTime, UNIX_EPOCH};
use tls::Crl;

use serde_json::{Value, json};
use tests::crl::{CrlSpec, pem};
use tests::pki::DAY;
use tests::{Authority, Gateway, Origin, Setup};

pub(crate) struct World {
    _origin: Origin,
    pub(crate) gateway: Gateway,
    pub(crate) authority: Authority,
    pub(crate) id: String,
}

impl World {
    /// A host that requires certificates of an uploaded CA.
    pub(crate) fn new() -> Self {
        let origin = Origin::echo();
        let gateway = Setup::new()
            .host("api.example.test", "require", &origin.url())
            .start();
        let authority = Authority::root("Uploaded CA");
        let id = gateway.upload(&authority);
        gateway.associate(&id, &["api.example.test"]);
        Self {
            _origin: origin,
            gateway,
            authority,
            id,
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("/postern/v1/certificate_authorities/{}/crls", self.id)
    }

    pub(crate) fn put(&self, list: &[u8]) -> (u16, Value) {
        let body = json!({ "crl": pem(list) });
        let reply = self.gateway.admin.call("PUT", &self.path(), &body);
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    pub(crate) fn policy(&self, policy: Option<&str>) {
        let body = json!({ "policy": policy });
        let reply = self.gateway.admin.call("PATCH", &self.path(), &body);
        drop(reply.result());
    }

    /// What becomes of a client: `200`, or the reason of the refusal.
    pub(crate) async fn outcome(&self, identity: &tests::Identity) -> String {
        let client = self.gateway.client("api.example.test").identity(identity);
        match client.get("/x").await {
            Ok(answer) => answer.status.to_string(),
            Err(refused) => {
                let record = self.gateway.handshake_record(refused.local);
                let reason = record["reason"].as_str().unwrap().to_owned();
                assert_eq!(record["client_cert"]["reason"], reason, "{record}");
                let fingerprint = &record["client_cert"]["fingerprint_sha256"];
                assert!(fingerprint.is_string(), "{record}");
                let counted = self.gateway.verified("api.example.test", &reason);
                assert!(counted > 0, "{reason} is counted");
                reason
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_says_what_a_missing_or_old_list_means() {
    let mut world = World::new();
    let (good, bad) = (
        world.authority.client("good"),
        world.authority.client("bad"),
    );
    assert_eq!(world.outcome(&good).await, "200", "nobody asks for lists");
    world.policy(Some("hard"));
    assert_eq!(world.outcome(&good).await, "crl_missing");
    world.policy(Some("soft"));
    assert_eq!(world.outcome(&good).await, "200");
    assert!(
        world
            .put(&CrlSpec::revoking(2, &[&bad]).sign(&world.authority))
            .0
            == 200
    );
    for policy in [Some("soft"), Some("hard"), None] {
        world.policy(policy);
        assert_eq!(world.outcome(&good).await, "200", "{policy:?}");
        assert_eq!(world.outcome(&bad).await, "revoked", "{policy:?}");
    }
    // An old list: what it revokes stays revoked, of others it is not known.
    let old = CrlSpec {
        begins: -2 * DAY,
        ends: Some(-DAY),
        ..CrlSpec::revoking(3, &[&bad])
    };
    assert_eq!(world.put(&old.sign(&world.authority)).0, 200);
    world.policy(Some("hard"));
    assert_eq!(world.outcome(&good).await, "crl_expired");
    assert_eq!(world.outcome(&bad).await, "revoked");
    world.policy(Some("soft"));
    assert_eq!(world.outcome(&good).await, "200");
    // The alarm: in the metrics at once, in the log once an hour and at every start.
    let due = || {
        let metrics = world.gateway.admin.get("/metrics").body;
        let labels = format!("{{ca_id=\"{}\",kind=\"complete\"}} ", world.id);
        let due = metrics.lines().find_map(|line| {
            let line = line.strip_prefix("postern_crl_next_update_timestamp_seconds")?;
            line.strip_prefix(&labels)?.parse::<f64>().ok()
        });
        due.unwrap_or_else(|| panic!("{metrics}"))
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let late = since.as_secs_f64() - due();
    assert!((late - 86_400.0).abs() < 600.0, "{late} s late");
    world.gateway.stop();
    world.gateway.start();
    tests::wait::until("the alarm in the log", || {
        let log = world.gateway.stderr();
        log.contains("its next update is overdue").then_some(())
    });
    // A delta list takes one off and puts one on.
    assert_eq!(
        world
            .put(&CrlSpec::revoking(4, &[&bad]).sign(&world.authority))
            .0,
        200
    );
    let mut delta = CrlSpec::revoking(5, &[&good, &bad]);
    delta.base = Some(4);
    delta.revoked[1].1 = Some(8);
    assert_eq!(world.put(&delta.sign(&world.authority)).0, 200);
    world.policy(Some("hard"));
    assert_eq!(world.outcome(&good).await, "revoked");
    assert_eq!(world.outcome(&bad).await, "200");
    drop(
        world
            .gateway
            .admin
            .call("DELETE", &world.path(), &Value::Null)
            .result(),
    );
    assert_eq!(world.outcome(&good).await, "crl_missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_are_not_to_be_believed_change_nothing() {
    let mut world = World::new();
    let bad = world.authority.client("bad");
    let revoking = |number| CrlSpec::revoking(number, &[&bad]);
    let seventh = revoking(7).sign(&world.authority);
    assert_eq!(world.put(&seventh).0, 200);
    let stranger = Authority::root("Stranger");
    let namesake = Authority::root("Uploaded CA");
    let empty = |number| CrlSpec {
        number: Some(number),
        ..CrlSpec::default()
    };
    for (list, signer, expected) in [
        (empty(6), &world.authority, "not above 07"),
        (empty(8), &stranger, "its issuer is none of"),
        (empty(8), &namesake, "signature does not verify"),
        (
            CrlSpec {
                broken: true,
                ..empty(8)
            },
            &world.authority,
            "signature does not verify",
        ),
        (
            CrlSpec {
                indirect: true,
                ..empty(8)
            },
            &world.authority,
            "indirect",
        ),
        (
            CrlSpec {
                some_reasons: true,
                ..empty(8)
            },
            &world.authority,
            "some reasons",
        ),
        (
            CrlSpec {
                unknown_critical: true,
                ..empty(8)
            },
            &world.authority,
            "critical",
        ),
        (
            CrlSpec {
                number: None,
                begins: -2 * DAY,
                ..empty(8)
            },
            &world.authority,
            "thisUpdate is not after",
        ),
        (
            CrlSpec {
                ends: None,
                ..empty(8)
            },
            &world.authority,
            "no nextUpdate",
        ),
        (
            CrlSpec {
                begins: DAY,
                ends: Some(2 * DAY),
                ..empty(8)
            },
            &world.authority,
            "has not come",
        ),
    ] {
        let (status, answer) = world.put(&list.sign(signer));
        assert_eq!(status, 400, "{expected}: {answer}");
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(expected), "{expected}: {message}");
        assert_eq!(world.outcome(&bad).await, "revoked", "{expected}");
    }
    // The same again is no news, and a restart forgets nothing.
    assert_eq!(world.put(&seventh).0, 200);
    assert!(world.gateway.stop().success());
    world.gateway.start();
    assert_eq!(world.outcome(&bad).await, "revoked");
    assert_eq!(world.put(&empty(6).sign(&world.authority)).0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_and_a_watched_file() {
    let world = World::new();
    let device = world.authority.client("device");
    let file = world.gateway.file("list.der");
    std::fs::write(&file, CrlSpec::default().sign(&world.authority)).unwrap();
    let path = file.to_str().unwrap();
    let set = world
        .gateway
        .cli(&["crl", "set", &world.id, "--policy", "hard", "--watch", path]);
    assert!(set.out.contains("policy: hard"), "{set:?}");
    let show = || world.gateway.cli(&["crl", "show", &world.id]).out;
    tests::wait::until("the file to be read", || {
        show().contains("01").then_some(())
    });
    assert_eq!(world.outcome(&device).await, "200");
    // Rubbish is refused and the last list stays.
    std::fs::write(&file, "rubbish").unwrap();
    tests::wait::until("the refusal", || {
        world
            .gateway
            .stderr()
            .contains("the last one stays")
            .then_some(())
    });
    assert_eq!(world.outcome(&device).await, "200");
    let by_hand = world.gateway.file("by_hand.der");
    std::fs::write(
        &by_hand,
        CrlSpec::revoking(2, &[&device]).sign(&world.authority),
    )
    .unwrap();
    let put = world
        .gateway
        .cli(&["crl", "put", &world.id, by_hand.to_str().unwrap()]);
    assert!(put.out.contains("took list 02 with 1 entries"), "{put:?}");
    assert_eq!(world.outcome(&device).await, "revoked");
}

#[test]
fn a_fifo_in_the_place_of_a_list_holds_up_neither_others_nor_the_end() {
    let mut world = World::new();
    let fifo = world.gateway.file("list.fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let watch = |id: &str, file: &std::path::Path| {
        let path = file.to_str().unwrap();
        let set = world.gateway.cli(&["crl", "set", id, "--watch", path]);
        drop(set.ok());
    };
    watch(&world.id, &fifo);
    let other = Authority::root("Another CA");
    let id = world.gateway.upload(&other);
    let file = world.gateway.file("list.der");
    std::fs::write(&file, CrlSpec::default().sign(&other)).unwrap();
    watch(&id, &file);
    tests::wait::until("the good file to be read", || {
        let shown = world.gateway.cli(&["crl", "show", &id]).out;
        shown.contains("01").then_some(())
    });
    let log = world.gateway.stderr();
    assert!(log.contains("it is a FIFO"), "{log}");
    assert!(world.gateway.stop().success());
}

#[test]
fn half_a_million_entries_are_small() {
    let authority = Authority::root("Large CA");
    let serial = |n: u32| {
        let mut serial = vec![0x40 | u8::try_from(n % 60).unwrap()];
        serial.extend([0x5a; 11]);
        serial.extend(n.to_be_bytes());
        (serial, None)
    };
    let list = CrlSpec {
        revoked: (0..500_000).map(serial).collect(),
        ..CrlSpec::default()
    };
    let der = list.sign(&authority);
    let begun = std::time::Instant::now();
    let crl = Crl::read(&der, [&*authority.certificate]).unwrap();
    println!(
        "{} entries, {} bytes of DER, {} bytes in memory, read in {:?} (unoptimised)",
        crl.len(),
        der.len(),
        crl.bytes(),
        begun.elapsed()
    );
    assert_eq!(crl.len(), 500_000);
    assert!(crl.bytes() < 20_000_000, "{}", crl.bytes());
}

#[test]
fn no_broken_list_is_believed_or_brings_the_reader_down() {
    let authority = Authority::root("CA");
    let device = authority.client("device");
    let mut spec = CrlSpec::revoking(9, &[&device]);
    spec.base = Some(8);
    spec.point = Some("http://crl.test/1".into());
    spec.only_users = true;
    spec.revoked[0].1 = Some(1);
    let good = spec.sign(&authority);
    let read = |der: &[u8]| Crl::read(der, [&*authority.certificate]);
    assert!(read(&good).is_ok());
    for end in 0..good.len() {
        assert!(read(&good[..end]).is_err(), "cut at {end}");
    }
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut broken = good.clone();
            broken[place] ^= 1 << bit;
            assert!(read(&broken).is_err(), "bit {bit} of byte {place}");
        }
    }
}
