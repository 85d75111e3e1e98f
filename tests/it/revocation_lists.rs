//! Revocation lists of uploaded CAs: taken in, refused, forgotten, by the API, the command line and
//! a watched file.

use std::time::{SystemTime, UNIX_EPOCH};
use tls::Crl;

use serde_json::{Value, json};
use tests::crl::{CrlSpec, pem};
use tests::pki::{DAY, Spec};
use tests::{Authority, Gateway, Identity, Origin, Setup};

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

    fn force(&self, list: &[u8]) -> (u16, Value) {
        let body = json!({ "crl": pem(list), "force": true });
        let reply = self.gateway.admin.call("PUT", &self.path(), &body);
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    /// The value of a metric's only series of this CA with this in its labels.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = self.gateway.admin.get("/metrics").body;
        let found = metrics.lines().filter(|line| {
            line.starts_with(name) && line.contains(&self.id) && line.contains(label)
        });
        let found: Vec<&str> = found.collect();
        assert_eq!(found.len(), 1, "{name} {label}: {metrics}");
        found[0].rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    pub(crate) fn policy(&self, policy: Option<&str>) {
        let body = json!({ "policy": policy });
        let reply = self.gateway.admin.call("PATCH", &self.path(), &body);
        drop(reply.result());
    }

    /// What becomes of a client: `200`, or the reason of the refusal.
    pub(crate) async fn outcome(&self, identity: &Identity) -> String {
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
    let old = old.sign(&world.authority);
    assert_eq!(world.put(&old).0, 400, "not unless it is forced");
    assert_eq!(world.force(&old).0, 200);
    world.policy(Some("hard"));
    assert_eq!(world.outcome(&good).await, "crl_expired");
    assert_eq!(world.outcome(&bad).await, "revoked");
    world.policy(Some("soft"));
    assert_eq!(world.outcome(&good).await, "200");
    // The alarm: in the metrics at once, in the log once an hour and at every start.
    let due = || {
        let metrics = world.gateway.admin.get("/metrics").body;
        let of = format!("ca_id=\"{}\"", world.id);
        let due = metrics.lines().find_map(|line| {
            let (labels, due) = line.rsplit_once(' ')?;
            let labels = labels.strip_prefix("postern_crl_next_update_timestamp_seconds")?;
            let is_it = labels.contains(&of) && labels.contains("kind=\"complete\"");
            due.parse::<f64>().ok().filter(|_| is_it)
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
    assert!(put.out.contains("took list 02 with 1 entry"), "{put:?}");
    assert_eq!(world.outcome(&device).await, "revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_or_an_older_list_takes_the_place_of_none_unless_forced() {
    let world = World::new();
    let (good, bad) = (
        world.authority.client("good"),
        world.authority.client("bad"),
    );
    let sign = |spec: &CrlSpec| spec.sign(&world.authority);
    let expired = |number| CrlSpec {
        begins: -2 * DAY,
        ends: Some(-DAY),
        ..CrlSpec::revoking(number, &[])
    };
    // Not even where there is none: it would refuse everyone.
    let (status, answer) = world.put(&sign(&expired(1)));
    let message = answer["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(
        status == 400 && message.contains("it expired at"),
        "{message}"
    );
    assert!(message.contains("postern crl put --force"), "{message}");
    assert_eq!(world.put(&sign(&CrlSpec::revoking(5, &[&bad]))).0, 200);
    let older = CrlSpec {
        begins: -DAY,
        ..CrlSpec::revoking(6, &[])
    };
    let delta = CrlSpec {
        base: Some(5),
        ..expired(6)
    };
    let unnumbered = CrlSpec {
        number: None,
        ..older.clone()
    };
    let wrong = [
        (sign(&expired(6)), "it expired at"),
        (sign(&older), "its number is above"),
        (sign(&unnumbered), "its thisUpdate is not after"),
        (
            sign(&CrlSpec::revoking(4, &[])),
            "its number 04 is not above 05",
        ),
        (sign(&delta), "it expired at"),
    ];
    let file = world.gateway.file("watched.crl");
    let path = file.to_str().unwrap();
    std::fs::write(&file, sign(&CrlSpec::revoking(5, &[&bad]))).unwrap();
    drop(
        world
            .gateway
            .cli(&["crl", "set", &world.id, "--policy", "hard", "--watch", path]),
    );
    for (list, said) in &wrong {
        let (status, answer) = world.put(list);
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(said), "{said}: {message}");
        // The same in a watched file: the one that is there stays, and it is told.
        let before = world.gateway.stderr().matches(said).count();
        let new = world.gateway.file("new.crl");
        std::fs::write(&new, list).unwrap();
        std::fs::rename(&new, &file).unwrap();
        tests::wait::until("the file to be refused", || {
            let log = world.gateway.stderr();
            (log.matches(said).count() > before).then_some(())
        });
        assert!(world.gateway.stderr().contains("ERROR"), "told as an error");
        assert_eq!(world.outcome(&good).await, "200", "{said}");
        assert_eq!(world.outcome(&bad).await, "revoked", "{said}");
        assert!(world.metric("postern_crl_source_failing", path) > 0.0);
        let shown = world.gateway.cli(&["crl", "show", &world.id]).ok();
        assert!(
            shown.contains("not taken: ") && shown.contains(said),
            "{shown}"
        );
    }
    assert!(world.metric("postern_crl_file_reads_total", "refused") >= 5.0);
    std::fs::write(&file, sign(&CrlSpec::revoking(7, &[&bad]))).unwrap();
    tests::wait::until("a good file", || {
        (world.metric("postern_crl_source_failing", path) == 0.0).then_some(())
    });
    // An administrator may know better.
    let by_hand = world.gateway.file("by_hand.crl");
    std::fs::write(&by_hand, sign(&expired(3))).unwrap();
    let put = |more: &[&str]| {
        let all = [&["crl", "put", &world.id, by_hand.to_str().unwrap()], more].concat();
        world.gateway.cli(&all)
    };
    assert!(put(&[]).failed(1).contains("--force"));
    assert!(put(&["--force"]).ok().contains("took list 03"));
    assert_eq!(world.outcome(&good).await, "crl_expired");
    // What has expired gives way to what is newer, expired or not.
    assert_eq!(
        world
            .put(&sign(&CrlSpec {
                begins: -DAY - 60,
                ..expired(4)
            }))
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_has_the_lists_of_a_root_and_of_the_cas_below_it() {
    let mut world = World::new();
    let middle = world.authority.intermediate(&Spec::authority("Middle CA"));
    let lower = middle.intermediate(&Spec::authority("Lower CA"));
    let stranger = Authority::root("Stranger");
    let (device, bad) = (lower.client("device"), lower.client("bad"));
    world.policy(Some("hard"));
    assert_eq!(world.outcome(&device).await, "crl_missing");
    let whose = |world: &World| {
        let records = world.gateway.records();
        let last = records
            .iter()
            .rfind(|one| one["client_cert"]["reason"] == "crl_missing");
        last.unwrap()["client_cert"]["about"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(whose(&world).contains("CN=Lower CA"), "{}", whose(&world));
    let list = |number, ca: &Authority, revoked: &[&Identity]| {
        pem(&CrlSpec::revoking(number, revoked).sign(ca))
    };
    let put = |world: &World, text: &str| {
        let file = world.gateway.file("lists.pem");
        std::fs::write(&file, text).unwrap();
        world
            .gateway
            .cli(&["crl", "put", &world.id, file.to_str().unwrap()])
    };
    let lists = |number, revoked: &[&Identity]| {
        [
            list(number, &world.authority, &[]),
            list(number, &lower, revoked),
            list(number, &middle, &[]),
        ]
        .concat()
    };
    let first = lists(1, &[]);
    // Without the certificates of the CAs below nobody knows their keys; one wrong list costs all.
    let refused = put(&world, &first).failed(1);
    assert!(refused.contains("list 2 of 3, of CN=Lower CA"), "{refused}");
    assert!(refused.contains("in the same file"), "{refused}");
    let certificates = format!("{}{}", lower.pem(), middle.pem());
    let other = format!("{first}{certificates}{}", list(1, &stranger, &[]));
    assert!(put(&world, &other).failed(1).contains("CN=Stranger"));
    assert_eq!(world.outcome(&device).await, "crl_missing");
    let told = put(&world, &format!("{certificates}{first}")).ok();
    assert_eq!(told.matches("took list 01").count(), 3, "{told}");
    assert_eq!(world.outcome(&device).await, "200");
    // They are kept, and do not become anchors.
    assert!(world.gateway.stop().success());
    world.gateway.start();
    assert_eq!(world.outcome(&device).await, "200");
    let alone = Identity {
        chain: device.chain[..1].to_vec(),
        key: device.key.clone(),
    };
    assert_eq!(world.outcome(&alone).await, "unknown_ca");
    // Later lists need their CAs' certificates no more, and cut what is live.
    let client = world.gateway.client("api.example.test").identity(&bad);
    let mut live = client.http1().await.unwrap();
    assert_eq!(live.get("/x").await.unwrap().status, 200);
    let file = world.gateway.file("watched.pem");
    std::fs::write(&file, lists(2, &[&bad])).unwrap();
    let set = ["crl", "set", &world.id, "--watch", file.to_str().unwrap()];
    drop(world.gateway.cli(&set).ok());
    tests::wait::within("the live connection to be closed", live.closed()).await;
    assert_eq!(world.outcome(&bad).await, "revoked");
    assert_eq!(world.outcome(&device).await, "200");
    // A file with one that is no good: the others count.
    let revoking = list(3, &lower, &[&bad, &device]);
    std::fs::write(&file, format!("{}{revoking}", list(9, &stranger, &[]))).unwrap();
    tests::wait::until("the refusal", || {
        world
            .gateway
            .stderr()
            .contains("list 1 of 2, of CN=Stranger")
            .then_some(())
    });
    assert_eq!(world.outcome(&device).await, "revoked");
    // Every series of /metrics is there once, however many lists there are.
    let users = CrlSpec {
        only_users: true,
        ..CrlSpec::revoking(4, &[])
    };
    assert_eq!(world.put(&users.sign(&lower)).0, 200);
    let metrics = world.gateway.admin.get("/metrics").body;
    let mut series = std::collections::BTreeSet::new();
    let mut lists = 0;
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.rsplit_once(' ').unwrap();
        lists += usize::from(name.starts_with("postern_crl_entries{"));
        assert!(series.insert(name), "{name} is there twice");
    }
    assert_eq!(lists, 4, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_cas_that_number_none_and_odd_entries_are_taken_with_a_warning() {
    let world = World::new();
    let (good, bad) = (
        world.authority.client("good"),
        world.authority.client("bad"),
    );
    let plain = |begins, revoked: &[&Identity]| CrlSpec {
        number: None,
        begins,
        ..CrlSpec::revoking(0, revoked)
    };
    let put = |spec: &CrlSpec| {
        let file = world.gateway.file("list.crl");
        std::fs::write(&file, spec.sign(&world.authority)).unwrap();
        world
            .gateway
            .cli(&["crl", "put", &world.id, file.to_str().unwrap()])
    };
    let told = put(&plain(-600, &[])).ok();
    assert!(told.contains("took list without a number"), "{told}");
    assert!(
        told.contains("warning: the list of CN=Uploaded CA"),
        "{told}"
    );
    assert_eq!(world.outcome(&bad).await, "200");
    let mut odd = plain(-300, &[&bad]);
    odd.revoked.push((vec![0x11; 70], None));
    let told = put(&odd).ok();
    assert!(told.contains("with 1 entry"), "{told}");
    assert!(told.contains("1 of its entries"), "{told}");
    assert_eq!(world.outcome(&bad).await, "revoked");
    assert_eq!(world.outcome(&good).await, "200");
    let older = put(&plain(-400, &[])).failed(1);
    assert!(older.contains("its thisUpdate is not after"), "{older}");
    assert_eq!(world.outcome(&bad).await, "revoked");
    let shown = world.gateway.cli(&["crl", "show", &world.id]).ok();
    assert!(shown.contains("it has no number"), "{shown}");
    // Of two lists of one place in a file the newer one counts, in whichever order they are.
    let both =
        [plain(-100, &[]), plain(-200, &[&bad])].map(|spec| pem(&spec.sign(&world.authority)));
    let file = world.gateway.file("both.pem");
    std::fs::write(&file, both.concat()).unwrap();
    drop(
        world
            .gateway
            .cli(&["crl", "put", &world.id, file.to_str().unwrap()])
            .ok(),
    );
    assert_eq!(world.outcome(&bad).await, "200");
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
    world.gateway.says("it is a FIFO");
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
