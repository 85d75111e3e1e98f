//! Following: what one process changes is in force in another that has no store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::documents::{apply, full};
use super::many_rules::text;
use super::*;
use crate::store::{Store as _, StoreError};
use ::rules::testing::random::Random;
use fixtures::pki::{Identity, Spec};
use serde_json::json;

/// Two processes: the one has the store and changes it, the other follows.
struct Pair {
    world: World,
    told: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
    follower: Arc<Control>,
    published: Arc<Published>,
}

impl Pair {
    /// The follower had the store before, as it is now.
    fn new(world: World) -> Self {
        let path = world.directory.path().join("before.redb");
        std::fs::copy(
            world.path().with_file_name("ca.key"),
            path.with_file_name("key"),
        )
        .unwrap();
        world.control().shared.store.backup(&path).unwrap();
        let published = Arc::<Published>::default();
        let options = Options {
            key_file: Some(path.with_file_name("key")),
            ..Options::default()
        };
        let follower = Control::open_with(&path, published.clone(), options).unwrap();
        follower.hand_over(None).unwrap();
        let told = Arc::<Mutex<Vec<Option<Vec<u8>>>>>::default();
        let to = told.clone();
        world.control().feed(Box::new(move |fed| {
            to.lock().unwrap().push(match fed {
                Fed::Transaction(transaction) => Some(transaction.encode()),
                Fed::Gap => None,
            });
        }));
        Self {
            world,
            told,
            follower,
            published,
        }
    }

    /// Has the follower follow, and compares after each change.
    fn compare(&self, what: &str) {
        for bytes in std::mem::take(&mut *self.told.lock().unwrap()) {
            let transaction = Transaction::decode(&bytes.unwrap()).unwrap();
            self.follower
                .follow(&transaction)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let (one, other) = (self.world.control().model(), self.follower.model());
        assert_eq!(picture(&other), picture(&one), "{what}");
        let (one, other) = (self.world.published.load(), self.published.load());
        assert_eq!(other.trust_epoch, one.trust_epoch, "{what}");
        let hosts = |snapshot: &snapshot::Snapshot| {
            format!(
                "{:?}",
                snapshot
                    .hosts
                    .iter()
                    .map(|host| host.name().clone())
                    .collect::<Vec<_>>()
            )
        };
        assert_eq!(hosts(&other), hosts(&one), "{what}");
    }
}

/// All of a model that connections depend on.
pub(super) fn picture(model: &Model) -> String {
    let revoked: BTreeMap<_, BTreeSet<_>> = model
        .revoked
        .iter()
        .filter(|(_, revoked)| !revoked.serials.is_empty())
        .map(|(id, revoked)| (id, revoked.serials.iter().collect()))
        .collect();
    let crls: BTreeMap<_, Vec<_>> = model
        .crls
        .iter()
        .filter(|(_, crls)| !crls.lists.is_empty())
        .map(|(id, crls)| (id, crls.lists.keys().collect()))
        .collect();
    let Model {
        revision,
        trust_epoch,
        account,
        zones,
        hosts,
        origins,
        authorities,
        associations,
        server_certificates,
        rulesets,
        tokens,
        lists,
        ..
    } = model;
    format!(
        "{revision} {trust_epoch} {account} {zones:#?} {hosts:#?} {origins:#?} {authorities:#?} \
         {associations:#?} {server_certificates:#?} {rulesets:#?} {tokens:#?} {lists:#?} \
         {revoked:#?} {crls:#?}"
    )
}

#[test]
fn every_kind_of_change_is_followed() {
    let pair = Pair::new(World::new());
    let zone = full(&pair.world).id;
    pair.compare("one of everything");
    let control = pair.world.control();

    let subject = Subject::named("device");
    let issued = control.create_certificate(zone, &subject, 100).unwrap();
    let id = issued.certificate.id;
    pair.compare("a certificate");
    control.revoke_certificate(zone, id).unwrap();
    pair.compare("a revocation");
    let managed = control.model().managed(zone)[0].id;
    assert_eq!(pair.follower.model().revoked[&managed].serials.len(), 1);
    control.restore_certificate(zone, id).unwrap();
    pair.compare("a revocation taken back");
    control.revoke_certificate(zone, id).unwrap();

    let next = control.roll_authority(zone, None).unwrap();
    pair.compare("a CA rolled");
    control.retire_authority(zone, managed).unwrap();
    pair.compare("a CA retired");
    assert!(pair.follower.model().authorities.contains_key(&next.id));

    let now = Moment::now().seconds();
    let authority = Identity::self_signed(&Spec::authority("Lists").at(now));
    let brought = control
        .upload_authority("brought", &authority.chain_pem())
        .unwrap();
    let signer = x509::Signer {
        certificate: authority.leaf().clone(),
        key: authority.key.clone(),
    };
    for number in 1..3 {
        let list = pki::crl::sign(&signer, &[], number, Moment::from_seconds(now), 100);
        control
            .put_crls(brought.id, &CrlSource::Upload, &list.unwrap(), false)
            .unwrap();
        pair.compare("a revocation list");
    }
    let what = DenyWhat::Serial("0a:0b".into());
    let comment = String::new();
    control.deny(brought.id, &Deny { what, comment }).unwrap();
    pair.compare("a denied certificate");
    control.remove_crls(brought.id).unwrap();
    pair.compare("lists removed");
    control.delete_authority(brought.id).unwrap();
    pair.compare("a CA deleted");

    let origin: OriginSpec =
        serde_json::from_value(json!({"addresses": [{"url": "http://192.0.2.1"}]})).unwrap();
    control.create_origin(zone, "backends", origin).unwrap();
    pair.compare("an origin");
    control.delete_origin(zone, "backends").unwrap();
    pair.compare("an origin deleted");

    let new = NewToken {
        name: "one".into(),
        scopes: [Scope::All].into(),
        zones: BTreeSet::new(),
        days: 30,
    };
    let (token, _) = control.create_token(new).unwrap();
    pair.compare("a token");
    control.delete_token(token.id).unwrap();
    pair.compare("a token deleted");

    let document =
        json!({ "postern": 1, "zones": [{ "name": "example.test", "rate_limits": [] }] });
    apply(control, &document).unwrap();
    pair.compare("a document");
    control.delete_host(&name("plain.example.test")).unwrap();
    pair.compare("a host deleted");
    let other = control.zone("other.test").unwrap().id;
    control.delete_zone(other).unwrap();
    pair.compare("a zone deleted");
}

#[test]
fn rulesets_are_followed_through_all_their_versions() {
    let world = World::new();
    let (zone, ruleset) = world.filled(700);
    // The follower has seen nothing of it: it has the store as it is now.
    let pair = Pair::new(world);
    let control = pair.world.control();
    let mut random = Random(11);
    for round in 0..60_u32 {
        let now = control.ruleset(zone.id, ruleset.id).unwrap();
        let one = now.rules[random.below(now.rules.len())].id;
        let at = Position::Index(random.below(now.rules.len()) + 1);
        let done = match random.below(5) {
            0 => control.create_rule(zone.id, ruleset.id, rule("ssl"), Some(&at)),
            1 => control.delete_rule(zone.id, ruleset.id, one),
            2 => control.update_rule(zone.id, ruleset.id, one, RulePatch::default(), Some(&at)),
            3 if round > 10 => {
                let back = u32::try_from(random.below(9)).unwrap() + 1;
                control.restore_version(zone.id, ruleset.id, now.version - back)
            }
            _ => {
                let patch = RulePatch {
                    expression: Some(text(5_000 + round as usize)),
                    ..RulePatch::default()
                };
                control.update_rule(zone.id, ruleset.id, one, patch, None)
            }
        };
        done.unwrap();
        pair.compare(&format!("round {round}"));
    }
    control.delete_ruleset(zone.id, ruleset.id).unwrap();
    pair.compare("deleted");
}

#[test]
fn who_follows_changes_nothing_and_notices_what_is_missing() {
    let pair = Pair::new(World::new());
    let refused = pair.follower.create_zone("mine.test").unwrap_err();
    let handed_over =
        |error: &ChangeError| matches!(error, ChangeError::Store(StoreError::HandedOver));
    assert!(handed_over(&refused), "{refused}");
    assert!(handed_over(&pair.follower.hand_over(None).unwrap_err()));
    pair.world.control().create_zone("one.test").unwrap();
    pair.world.control().create_zone("two.test").unwrap();
    let told = std::mem::take(&mut *pair.told.lock().unwrap());
    let second = Transaction::decode(told[1].as_ref().unwrap()).unwrap();
    let gap = pair.follower.follow(&second).unwrap_err();
    assert!(matches!(gap, FollowError::Gap { .. }), "{gap}");
    let not = pair.world.control().follow(&second).unwrap_err();
    assert!(matches!(
        not,
        FollowError::Gap { .. } | FollowError::NotFollowing
    ));
}

#[test]
fn a_store_that_was_handed_over_is_taken_back_with_what_is_in_it() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let revision = control.hand_over(None).unwrap();
    assert_eq!(revision, control.model().revision);
    let other = Control::open(&world.path(), Arc::default()).unwrap();
    assert!(
        matches!(
            control.take_back(None),
            Err(OpenError::Store(StoreOpenError::InUse { .. }))
        ),
        "the other one has it"
    );
    other.create_zone("other.test").unwrap();
    drop(other);
    control.take_back(None).unwrap();
    assert!(control.zone("other.test").is_ok(), "it is found");
    control.create_zone("third.test").unwrap();
    assert_eq!(control.zone("example.test").unwrap().id, zone.id);
}

#[test]
fn a_store_of_a_newer_format_gives_way_to_the_backup() {
    let world = World::new();
    world.zone();
    let control = world.control();
    let backup = world.directory.path().join("backup.redb");
    control.hand_over(Some(&backup)).unwrap();
    let newer = RedbStore::open(&world.path()).unwrap();
    let format = Write {
        table: Table::Meta,
        key: b"format".to_vec(),
        value: Some((STORE_FORMAT + 1).to_be_bytes().to_vec()),
    };
    newer.commit(newer.revision().unwrap(), &[format]).unwrap();
    drop(newer);
    let error = control.take_back(None).unwrap_err();
    assert!(
        matches!(error, OpenError::Store(StoreOpenError::Format { .. })),
        "{error}"
    );
    assert!(control.create_zone("other.test").is_err());
    control.take_back(Some(&backup)).unwrap();
    control.create_zone("other.test").unwrap();
}
