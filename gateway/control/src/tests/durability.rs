//! What is acknowledged survives: a process killed at any moment, a disk that refuses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Where the child of [`nothing_acknowledged_is_lost_by_a_kill`] works; it does nothing without.
const CHILD_DIRECTORY: &str = "POSTERN_TEST_CRASH_DIRECTORY";

/// Not a test by itself: changes things until it is killed, telling of each when it is durable.
#[test]
fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let path = PathBuf::from(directory).join("store.redb");
    let control = Control::open(&path, Arc::default()).unwrap();
    let zone = match control.zone("example.test") {
        Ok(zone) => zone,
        Err(_) => control.create_zone("example.test").unwrap(),
    };
    for round in 0.. {
        let subject = Subject::named("d");
        let made = control
            .create_certificate(zone.id, &subject, 1)
            .unwrap()
            .certificate;
        println!("\nactive {}", made.id);
        if round % 2 == 0 {
            control.revoke_certificate(zone.id, made.id).unwrap();
            println!("\nrevoked {}", made.id);
        }
        let (ruleset, rule) = control.add_rule(zone.id, rule("true"), None).unwrap();
        println!("\nrule {}", rule.id);
        if ruleset.rules.len() > 5 {
            control
                .delete_rule(zone.id, ruleset.id, ruleset.rules[0].id)
                .unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let directory = Directory::new();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut last_rule = None;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::durability::child_that_is_killed",
                "--nocapture",
            ])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < 5 + round * 7 {
            let line = lines
                .next()
                .expect("the child works until it is killed")
                .unwrap();
            seen += note(&line, &mut told, &mut last_rule);
        }
        // In the middle of whatever it does now.
        std::thread::sleep(std::time::Duration::from_micros(137 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line, &mut told, &mut last_rule);
        }
        let control = Control::open(&directory.path().join("store.redb"), Arc::default()).unwrap();
        let zone = control.zone("example.test").unwrap().id;
        for (id, status) in &told {
            let found = control.certificate(zone, id.parse().unwrap()).unwrap();
            // A revocation may have become durable before it could be told of.
            let revoked = found.status == Status::Revoked;
            assert!(revoked || status == "active", "{id} was {status}");
            let model = control.model();
            let serials = &model.revoked.get(&found.authority);
            let known = serials.is_some_and(|known| known.serials.contains(&found.details.serial));
            assert_eq!(
                known, revoked,
                "the index and the revocations agree on {id}"
            );
        }
        let total = control
            .certificates(zone, &CertificateQuery::default())
            .unwrap()
            .total;
        assert!(
            total >= told.len() && total <= told.len() + 6,
            "{total} of {}",
            told.len()
        );
        let ruleset = control
            .entrypoint(zone, Phase::HttpRequestFirewallCustom)
            .unwrap();
        let rule = last_rule.clone().unwrap();
        assert!(
            ruleset
                .rules
                .iter()
                .any(|found| found.id.to_string() == rule)
        );
    }
    assert!(told.values().any(|status| status == "revoked"));
}

fn note(line: &str, told: &mut BTreeMap<String, String>, rule: &mut Option<String>) -> u64 {
    match line.split_once(' ') {
        Some((status @ ("active" | "revoked"), id)) if id.len() == 36 => {
            told.insert(id.into(), status.into());
            1
        }
        Some(("rule", id)) if id.len() == 32 => {
            *rule = Some(id.into());
            1
        }
        _ => 0,
    }
}

/// A disk that refuses writes on demand.
struct Refusing {
    store: RedbStore,
    refuse: Arc<AtomicU32>,
}

impl Store for Refusing {
    fn revision(&self) -> Result<u64, StoreError> {
        self.store.revision()
    }

    fn commit_as(&self, expected: u64, next: u64, writes: &[Write]) -> Result<(), StoreError> {
        match self.refuse.load(Ordering::Relaxed) {
            0 => self.store.commit_as(expected, next, writes),
            1 => Err(StoreError::Io("No space left on device".into())),
            // The write is durable, and yet the answer is lost.
            _ => {
                self.store.commit_as(expected, next, writes)?;
                Err(StoreError::Io("Input/output error".into()))
            }
        }
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.value(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.store.scan(table, prefix, visit)
    }

    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError> {
        self.store.at_once(look)
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.store.backup(to)
    }
}

#[test]
fn what_cannot_be_stored_is_not_published() {
    let directory = Directory::new();
    let path = directory.path().join("store.redb");
    let refuse = Arc::new(AtomicU32::new(0));
    let published: Arc<Published> = Arc::default();
    let store = Refusing {
        store: RedbStore::open(&path).unwrap(),
        refuse: refuse.clone(),
    };
    let key_file = directory.path().join("ca.key");
    let control = Control::start(Box::new(store), &key_file, None, published.clone()).unwrap();
    let zone = control.create_zone("example.test").unwrap();
    control
        .develop_server_certificate(zone.id, &[name("*.example.test")])
        .unwrap();
    control
        .create_host(zone.id, host("api.example.test", MtlsMode::Request))
        .unwrap();
    let certificate = control.issue_certificate(zone.id, &csr("d"), 1).unwrap();

    refuse.store(1, Ordering::Relaxed);
    let before = published.load();
    let error = control
        .revoke_certificate(zone.id, certificate.id)
        .unwrap_err();
    assert!(
        matches!(error, ChangeError::Store(StoreError::Io(_))),
        "{error}"
    );
    assert!(error.to_string().contains("No space left"), "{error}");
    let other = control
        .create_host(zone.id, host("b.example.test", MtlsMode::Off))
        .unwrap_err();
    assert!(
        matches!(other, ChangeError::Store(StoreError::Io(_))),
        "{other}"
    );
    assert!(
        Arc::ptr_eq(&before, &published.load()),
        "the data path goes on as it was"
    );
    assert_eq!(
        control.certificate(zone.id, certificate.id).unwrap().status,
        Status::Active
    );

    // The next change notices that the last one was stored after all, and takes it over.
    refuse.store(2, Ordering::Relaxed);
    control
        .revoke_certificate(zone.id, certificate.id)
        .unwrap_err();
    refuse.store(0, Ordering::Relaxed);
    control
        .create_host(zone.id, host("b.example.test", MtlsMode::Off))
        .unwrap();
    assert_eq!(
        control.certificate(zone.id, certificate.id).unwrap().status,
        Status::Revoked
    );
    let snapshot = published.load();
    assert!(snapshot.host("b.example.test").is_some());
    assert_eq!(snapshot.trust_epoch, control.model().trust_epoch);
    assert_eq!(snapshot.generation, control.model().revision);
    drop(control);
    let control = Control::open(&path, Arc::default()).unwrap();
    assert_eq!(
        control.certificate(zone.id, certificate.id).unwrap().status,
        Status::Revoked
    );
    assert_eq!(control.model().hosts.len(), 2);
}

#[test]
fn what_was_only_tried_leaves_no_trace() {
    let world = World::new();
    let zone = world.zone();
    let picture = world.picture();
    let dry = Intent {
        actor: "somebody".into(),
        dry_run: true,
        ..Intent::default()
    };
    let control = world.control();
    let tried = control.acting(dry);
    tried.create_zone("other.test").unwrap();
    tried.issue_certificate(zone.id, &csr("x"), 1).unwrap();
    let error = tried
        .add_rule(zone.id, rule("http.host eq"), None)
        .unwrap_err();
    assert!(
        matches!(error, ChangeError::Expression { index: 0, .. }),
        "{error}"
    );
    assert_eq!(world.picture(), picture);
    control.create_zone("other.test").unwrap();
    assert_ne!(world.picture(), picture, "the intent is the handle's own");
}
