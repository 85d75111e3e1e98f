//! A fleet: several control planes on one log, whatever becomes of the log and of them.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::documents::{apply, full};
use super::following::picture;
use super::*;
use crate::store::StoreError;
use crate::store::state::{self, OldAudit};
use fixtures::pki::{Identity, Spec};
use serde_json::json;

/// What becomes of an addition to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// It cannot be asked.
    Away,
    /// It takes an entry, and its answer is lost.
    LostAfter,
    /// It is asked to take an entry and does not, and its answer is lost.
    LostBefore,
}

/// A log in memory.
pub(super) struct Log {
    pub(super) held: Mutex<Held>,
    appended: AtomicUsize,
}

pub(super) struct Held {
    mood: Mood,
    first: Mark,
    pub(super) entries: Vec<(Mark, Vec<u8>)>,
}

impl Held {
    fn head(&self) -> Mark {
        self.entries.last().map_or(self.first, |(mark, _)| *mark)
    }
}

impl Log {
    /// One that begins there.
    pub(super) fn at(first: Mark) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::new(Held {
                mood: Mood::Well,
                first,
                entries: Vec::new(),
            }),
            appended: AtomicUsize::new(0),
        })
    }

    pub(super) fn mood(&self, mood: Mood) {
        self.held.lock().unwrap().mood = mood;
    }

    pub(super) fn len(&self) -> usize {
        self.held.lock().unwrap().entries.len()
    }
}

impl Ledger for Log {
    fn append(&self, after: Mark, entry: Vec<u8>) -> Result<Mark, LedgerError> {
        let mut held = self.held.lock().unwrap();
        match held.mood {
            Mood::Away => return Err(LedgerError::Away("no route to host".into())),
            Mood::LostBefore => return Err(LedgerError::Unknown("timed out".into())),
            Mood::Well | Mood::LostAfter => {}
        }
        if held.head() != after {
            return Err(LedgerError::Moved);
        }
        let mut digest = boring::sha::Sha256::new();
        digest.update(&after.digest);
        digest.update(&entry);
        let mark = Mark {
            revision: after.revision + 1,
            digest: digest.finish(),
        };
        held.entries.push((mark, entry));
        self.appended.fetch_add(1, Ordering::Relaxed);
        match held.mood {
            Mood::LostAfter => Err(LedgerError::Unknown("timed out".into())),
            _ => Ok(mark),
        }
    }

    fn after(&self, known: Mark) -> Result<News, LedgerError> {
        let held = self.held.lock().unwrap();
        if held.mood == Mood::Away {
            return Err(LedgerError::Away("no route to host".into()));
        }
        let skipped = usize::try_from(known.revision - held.first.revision).unwrap();
        // In pages, so that there are several.
        let entries = held.entries.iter().skip(skipped).take(3).cloned();
        Ok(News {
            entries: entries.collect(),
            head: held.head(),
            turn: false,
        })
    }
}

/// Edges of one fleet, each with a store of its own and the same key.
pub(super) struct Fleet {
    pub(super) log: Arc<Log>,
    pub(super) edges: Vec<World>,
}

pub(super) const NAME: &str = "edge";

/// A world with the key of another.
fn with_key_of(other: &World) -> World {
    let directory = Directory::new();
    let key = |world: &World| world.path().with_file_name("ca.key");
    std::fs::copy(key(other), directory.path().join("ca.key")).unwrap();
    let mut world = World {
        directory,
        published: Arc::default(),
        control: None,
    };
    // As the operator does it: the key is there before the first start.
    world.reopen();
    world
}

impl Fleet {
    /// Founded by the first, with what it has.
    pub(super) fn of(first: World, others: usize) -> Self {
        let state = Mutex::new(None);
        let founded = first.control().found(NAME, |founded| {
            let (mark, parts) = (founded.mark, founded.parts.clone());
            *state.lock().unwrap() = Some(FleetState {
                mark,
                parts,
                entries: Vec::new(),
            });
            Ok(())
        });
        let membership = founded.unwrap();
        let log = Log::at(membership.mark);
        first.control().attach(Ok(log.clone()));
        let state = state.into_inner().unwrap().unwrap();
        let mut edges = vec![first];
        for _ in 0..others {
            let world = with_key_of(&edges[0]);
            world.control().join(NAME, &state, false).unwrap();
            world.control().attach(Ok(log.clone()));
            edges.push(world);
        }
        Self { log, edges }
    }

    pub(super) fn edge(&self, number: usize) -> &Control {
        self.edges[number].control()
    }

    /// Opens an edge again, as after a restart.
    fn restart(&mut self, number: usize) {
        self.edges[number].reopen();
        self.edge(number).attach(Ok(self.log.clone()));
    }

    /// Has all edges catch up, and compares them byte for byte and in what they hold in memory.
    pub(super) fn compare(&self, what: &str) {
        let pictures = self.edges.iter().map(|world| {
            let control = world.control();
            control
                .catch_up()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let (revision, digest) = control.state_digest().unwrap();
            let mut model = (*control.model()).clone();
            // Edges that were alone have moved it further.
            model.trust_epoch = 0;
            let lists: Vec<String> = model
                .zones
                .keys()
                .map(|zone| {
                    let listed = control.certificates(*zone, &CertificateQuery::default());
                    format!("{:?}", listed.unwrap().certificates)
                })
                .collect();
            (revision, digest, picture(&model), lists)
        });
        let pictures: Vec<_> = pictures.collect();
        for other in &pictures[1..] {
            assert_eq!(other.2, pictures[0].2, "{what}");
            assert_eq!(other.3, pictures[0].3, "{what}: certificates");
            assert_eq!((other.0, other.1), (pictures[0].0, pictures[0].1), "{what}");
        }
    }
}

fn away(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::Store(StoreError::Ledger(LedgerError::Away(_)))
    )
}

#[test]
fn every_kind_of_change_on_one_edge_is_in_force_on_the_others() {
    let mut fleet = Fleet::of(World::new(), 2);
    let mut begun = fleet.edge(0).state().unwrap();
    let zone = full(&fleet.edges[0]).id;
    fleet.compare("one of everything");
    let subject = Subject::named("device");
    let issued = fleet.edge(1).create_certificate(zone, &subject, 100);
    let id = issued.unwrap().certificate.id;
    fleet.compare("a certificate");
    fleet.edge(2).revoke_certificate(zone, id).unwrap();
    fleet.compare("a revocation");
    let managed = fleet.edge(0).model().managed(zone)[0].id;
    assert_eq!(fleet.edge(0).model().revoked[&managed].serials.len(), 1);
    fleet.edge(0).restore_certificate(zone, id).unwrap();
    fleet.compare("a revocation taken back");
    fleet.edge(1).roll_authority(zone, None).unwrap();
    fleet.edge(2).retire_authority(zone, managed).unwrap();
    fleet.compare("a CA rolled and retired");
    let authority = Identity::self_signed(&Spec::authority("Lists").at(Moment::now().seconds()));
    let brought = fleet
        .edge(1)
        .upload_authority("brought", &authority.chain_pem())
        .unwrap();
    let what = DenyWhat::Serial("0a:0b".into());
    let comment = "lost".into();
    let deny = Deny { what, comment };
    fleet.edge(2).deny(brought.id, &deny).unwrap();
    fleet.compare("a denied certificate");
    let directory = "https://ca.test/directory";
    let url = "https://ca.test/account/1";
    let kept = fleet
        .edge(0)
        .keep_acme_account(directory, url, &Secret::new(b"key".to_vec()));
    kept.unwrap();
    fleet.edge(0).set_ticket_keys(b"keys").unwrap();
    fleet.compare("single values");
    for number in 0..3 {
        let keys = fleet.edge(number).ticket_keys().unwrap();
        assert_eq!(keys.reveal(), b"keys");
        assert_eq!(fleet.edge(number).model().acme_accounts.len(), 1);
    }
    let document =
        json!({ "postern": 1, "zones": [{ "name": "example.test", "rate_limits": [] }] });
    apply(fleet.edge(1), &document).unwrap();
    fleet.compare("a document");
    fleet.edge(0).delete_zone(zone).unwrap();
    fleet.compare("a zone deleted");
    for number in 0..3 {
        fleet.restart(number);
    }
    fleet.compare("after a restart of all");
    // Who begins with an old state and all that follows has it at once, and is never seen in between.
    begun.entries = fleet.log.held.lock().unwrap().entries.clone();
    let newcomer = with_key_of(&fleet.edges[0]);
    let joined = newcomer.control().join(NAME, &begun, false).unwrap();
    assert_eq!(joined.mark, fleet.log.held.lock().unwrap().head());
    assert_eq!(
        newcomer.control().model().revision,
        fleet.edge(0).model().revision
    );
    newcomer.control().attach(Ok(fleet.log.clone()));
    fleet.edges.push(newcomer);
    fleet.compare("who came last");
    begun.entries.swap(3, 4);
    let stranger = with_key_of(&fleet.edges[0]);
    assert!(stranger.control().join(NAME, &begun, false).is_err());
    assert!(stranger.control().membership().is_none());
}

#[test]
fn of_edges_that_change_the_same_at_once_one_succeeds() {
    const ROUNDS: usize = 25;
    let fleet = Fleet::of(World::new(), 2);
    let won: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let control = fleet.edges[number].control.clone().unwrap();
                scope.spawn(move || {
                    (0..ROUNDS)
                        .map(
                            |round| match control.create_zone(&format!("z{round}.test")) {
                                Ok(_) => true,
                                Err(ChangeError::Exists { .. }) => false,
                                Err(error) => panic!("{error}"),
                            },
                        )
                        .collect::<Vec<bool>>()
                })
            })
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for round in 0..ROUNDS {
        let winners = won.iter().filter(|won| won[round]).count();
        assert_eq!(winners, 1, "z{round}.test");
    }
    fleet.compare("after the race");
    assert_eq!(fleet.log.len(), ROUNDS);
    assert_eq!(fleet.edge(0).model().zones.len(), ROUNDS);
}

#[test]
fn without_the_log_changes_are_refused_and_what_was_there_stays() {
    let fleet = Fleet::of(World::new(), 1);
    full(&fleet.edges[0]);
    fleet.compare("one of everything");
    fleet.log.mood(Mood::Away);
    let before = fleet.edges[1].picture();
    let refused = fleet.edge(1).create_zone("new.test").unwrap_err();
    assert!(away(&refused), "{refused}");
    assert!(refused.to_string().contains("--local"), "{refused}");
    assert_eq!(fleet.edges[1].picture(), before);
    fleet.log.mood(Mood::Well);
    fleet.edge(1).create_zone("new.test").unwrap();
    fleet.compare("it is back");
}

#[test]
fn a_change_whose_answer_was_lost_is_there_once_or_not_at_all() {
    let mut fleet = Fleet::of(World::new(), 1);
    for (mood, is_there) in [(Mood::LostAfter, true), (Mood::LostBefore, false)] {
        let name = format!("{mood:?}.test").to_lowercase();
        fleet.log.mood(mood);
        let lost = fleet.edge(0).create_zone(&name).unwrap_err();
        let unknown = matches!(
            lost,
            ChangeError::Store(StoreError::Ledger(LedgerError::Unknown(_)))
        );
        assert!(unknown, "{lost}");
        assert!(fleet.edge(0).zone(&name).is_err(), "not acknowledged");
        fleet.log.mood(Mood::Well);
        // Whoever asks again is told the truth.
        let again = fleet.edge(0).create_zone(&name);
        assert_eq!(again.is_err(), is_there, "{mood:?}");
        fleet.compare(&name);
        let zones = fleet.edge(1).model();
        assert_eq!(
            zones
                .zones
                .values()
                .filter(|zone| zone.name.as_str() == name)
                .count(),
            1
        );
    }
    // Killed between the log and its own store: the entry is taken at the next start.
    fleet.log.mood(Mood::LostAfter);
    fleet.edge(1).create_zone("killed.test").unwrap_err();
    fleet.restart(1);
    assert!(fleet.edge(1).zone("killed.test").is_err());
    fleet.log.mood(Mood::Well);
    fleet.compare("after the kill");
    assert!(fleet.edge(1).zone("killed.test").is_ok());
}

#[test]
fn what_is_denied_alone_holds_at_once_and_becomes_the_fleets() {
    let mut fleet = Fleet::of(World::new(), 1);
    let zone = full(&fleet.edges[0]).id;
    let subject = Subject::named("device");
    let issued = fleet.edge(0).create_certificate(zone, &subject, 100);
    let id = issued.unwrap().certificate.id;
    let partner = Identity::self_signed(&Spec::authority("P2").at(Moment::now().seconds()));
    let uploaded = fleet
        .edge(0)
        .upload_authority("second", &partner.chain_pem())
        .unwrap();
    fleet.compare("before");
    fleet.log.mood(Mood::Away);
    let edge = fleet.edge(1).acting(Intent::of("unix uid 0"));
    let epoch = fleet.edges[1].published.load().trust_epoch;
    let reason = RevocationReason::KeyCompromise;
    assert!(away(&edge.revoke_certificate(zone, id).unwrap_err()));
    edge.revoke_alone(zone, id, reason).unwrap();
    let what = DenyWhat::Serial("0a0b".into());
    let comment = "stolen".into();
    let deny = Deny { what, comment };
    edge.deny_alone(uploaded.id, &deny).unwrap();
    // The same again is the same.
    edge.deny_alone(uploaded.id, &deny).unwrap();
    assert_eq!(edge.held_alone().entries.len(), 2);
    assert!(fleet.edges[1].published.load().trust_epoch > epoch);
    let managed = edge.model().managed(zone)[0].id;
    let serials: Vec<_> = edge.held_alone().revoked(managed).collect();
    assert_eq!(serials.len(), 1);
    assert!(away(&fleet.edge(1).merge_alone().unwrap_err()));
    drop(edge);
    // It outlives a restart.
    fleet.restart(1);
    assert_eq!(fleet.edge(1).held_alone().entries.len(), 2);
    fleet.log.mood(Mood::Well);
    assert_eq!(fleet.edge(1).merge_alone().unwrap(), 2);
    assert!(fleet.edge(1).held_alone().entries.is_empty());
    fleet.compare("merged");
    let model = fleet.edge(0).model();
    assert_eq!(
        model.revoked[&managed]
            .serials
            .iter()
            .cloned()
            .collect::<Vec<_>>(),
        serials
    );
    assert_eq!(fleet.edge(0).denied(uploaded.id).unwrap().len(), 1);
    let (audit, _) = fleet.edge(0).audit(0, 10).unwrap();
    let actors: BTreeSet<&str> = audit.iter().map(|entry| &*entry.actor).collect();
    let told = actors
        .iter()
        .any(|actor| actor.starts_with("unix uid 0 (alone on one edge since"));
    assert!(told, "{actors:?}");
    assert_eq!(fleet.edge(1).merge_alone().unwrap(), 0);
    // Alone, it is not in a fleet that nothing can be alone of.
    fleet.edge(1).leave().unwrap();
    let refused = fleet.edge(1).revoke_alone(zone, id, reason).unwrap_err();
    assert!(refused.to_string().contains("in no fleet"), "{refused}");
}

#[test]
fn who_has_another_key_or_another_log_is_refused() {
    let fleet = Fleet::of(World::new(), 1);
    fleet.edge(0).create_zone("one.test").unwrap();
    let state = fleet.edge(0).state().unwrap();
    let proof = fleet.edge(0).fleet_proof(NAME).unwrap();
    assert!(fleet.edge(1).has_key_of(NAME, &proof));
    assert!(!fleet.edge(1).has_key_of("other", &proof));
    let stranger = World::new();
    assert!(!stranger.control().has_key_of(NAME, &proof));
    let refused = stranger.control().join(NAME, &state, true).unwrap_err();
    assert!(refused.to_string().contains("this edge's key"), "{refused}");
    assert!(stranger.control().membership().is_none());
    // Parts that are missing, of other places, or changed.
    let mut cut = state.parts.clone();
    cut.pop();
    let mut changed = state.parts.clone();
    changed[0][20] ^= 1;
    for parts in [cut, changed, Vec::new()] {
        let state = FleetState {
            mark: state.mark,
            parts,
            entries: Vec::new(),
        };
        let other = with_key_of(&fleet.edges[0]);
        let joined = other.control().join(NAME, &state, false);
        // Without any part nothing says that it is empty.
        assert!(joined.is_err());
        assert!(other.control().membership().is_none());
    }
    // An entry in another place, or changed.
    fleet.edge(0).create_zone("two.test").unwrap();
    let (first, second) = {
        let held = fleet.log.held.lock().unwrap();
        (held.entries[0].clone(), held.entries[1].clone())
    };
    let edge = fleet.edge(1);
    let mut changed = first.1.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for (mark, entry) in [(first.0, &changed), (first.0, &second.1)] {
        let refused = edge.take(mark, entry).unwrap_err();
        assert!(
            matches!(refused, FollowError::Store(StoreError::Corrupt(_))),
            "{refused}"
        );
    }
    assert!(matches!(
        edge.take(second.0, &second.1),
        Err(FollowError::Gap { .. })
    ));
    edge.take(first.0, &first.1).unwrap();
    edge.take(first.0, &first.1).unwrap();
    edge.take(second.0, &second.1).unwrap();
    // Another one of its number is of another log.
    let another = Mark {
        digest: first.0.digest,
        ..second.0
    };
    let refused = edge.take(another, &first.1).unwrap_err();
    assert!(matches!(refused, FollowError::Another(_)), "{refused}");
    fleet.compare("in order");
}

#[test]
fn an_edge_with_something_of_its_own_joins_only_when_told_and_leaves_with_what_it_has() {
    let fleet = Fleet::of(World::new(), 0);
    full(&fleet.edges[0]);
    let state = fleet.edge(0).state().unwrap();
    let other = with_key_of(&fleet.edges[0]);
    let own = other.control().create_zone("own.test").unwrap();
    for round in 0..40 {
        // Further on than the fleet is.
        let names = format!("own{round}.test");
        other.control().create_zone(&names).unwrap();
    }
    let epoch = other.control().model().trust_epoch;
    let refused = other.control().join(NAME, &state, false).unwrap_err();
    assert!(refused.to_string().contains("--replace"), "{refused}");
    assert_eq!(other.control().zone("own.test").unwrap().id, own.id);
    other.control().join(NAME, &state, true).unwrap();
    other.control().attach(Ok(fleet.log.clone()));
    assert!(other.control().zone("own.test").is_err());
    assert!(
        other.control().model().trust_epoch > epoch,
        "all are judged again"
    );
    assert_eq!(
        other.control().state_digest().unwrap(),
        fleet.edge(0).state_digest().unwrap()
    );
    other.control().create_zone("of-all.test").unwrap();
    fleet.compare("of all");
    let twice = other.control().found("another", |_| Ok(())).unwrap_err();
    assert!(twice.to_string().contains("`edge` already"), "{twice}");
    assert_eq!(other.control().left(), None);
    let membership = other.control().leave().unwrap();
    let entries = fleet.log.len();
    other.control().create_zone("own-again.test").unwrap();
    assert_eq!(fleet.log.len(), entries, "that one is its own");
    assert!(other.control().leave().is_err());
    let left = other.control().left().unwrap();
    assert_eq!(left, membership, "where it has left, whatever it does then");
    assert_eq!(left.mark, fleet.log.held.lock().unwrap().head());
    // Those that stay go on, and so does it when it comes back.
    fleet.edge(0).create_zone("meanwhile.test").unwrap();
    let state = fleet.edge(0).state().unwrap();
    assert!(other.control().join(NAME, &state, false).is_err());
    other.control().join(NAME, &state, true).unwrap();
    assert!(other.control().zone("meanwhile.test").is_ok());
}

#[test]
fn an_edge_that_was_away_for_too_long_takes_a_state_and_never_an_older_one() {
    let mut fleet = Fleet::of(World::new(), 1);
    let old = fleet.edge(0).state().unwrap();
    full(&fleet.edges[0]);
    let state = fleet.edge(0).state().unwrap();
    fleet.edge(1).take_state(&state).unwrap();
    fleet.compare("a state");
    let refused = fleet.edge(1).take_state(&old).unwrap_err();
    assert!(refused.to_string().contains("older"), "{refused}");
    fleet.edge(1).create_zone("new.test").unwrap();
    fleet.restart(1);
    fleet.compare("and what follows");
    // A member whose settings are gone changes nothing.
    fleet.edges[1].reopen();
    let refused = fleet.edge(1).create_zone("mine.test").unwrap_err();
    assert!(refused.to_string().contains("fleet.etcd"), "{refused}");
    // One whose store was changed by something that knows nothing of fleets, either.
    let store = fleet.edge(1).shared.store.clone();
    let revision = store.revision().unwrap();
    store.commit(revision, &[]).unwrap();
    drop(store);
    fleet.restart(1);
    let refused = fleet.edge(1).create_zone("mine.test").unwrap_err();
    assert!(
        refused.to_string().contains("outside of its fleet"),
        "{refused}"
    );
    let state = fleet.edge(0).state().unwrap();
    fleet.edge(1).join(NAME, &state, true).unwrap();
    fleet.restart(1);
    fleet.compare("made one of them again");
}

#[test]
fn a_state_is_split_and_put_together_again() {
    let world = World::new();
    let (zone, _) = world.filled(3_000);
    for number in 0..30 {
        let subject = Subject::named(&format!("device-{number}"));
        world
            .control()
            .create_certificate(zone.id, &subject, 100)
            .unwrap();
    }
    let store = &world.control().shared.store;
    let revision = store.revision().unwrap();
    let parts = state::read(store.as_ref(), revision).unwrap();
    assert!(parts.len() > 2, "{}", parts.len());
    let none = state::difference(store.as_ref(), revision, parts.clone(), OldAudit::Stays).unwrap();
    assert!(none.is_empty(), "{}", none.len());
    let other = World::new();
    let to = &other.control().shared.store;
    let writes = state::difference(to.as_ref(), revision, parts, OldAudit::Goes).unwrap();
    to.commit_as(to.revision().unwrap(), revision, &writes)
        .unwrap();
    assert_eq!(
        state::digest(to.as_ref(), revision).unwrap(),
        state::digest(store.as_ref(), revision).unwrap()
    );
}

#[test]
fn a_state_is_read_of_one_moment_and_no_change_waits_for_that() {
    let world = World::new();
    world.zone();
    let control = world.control();
    let before = control.state_digest().unwrap();
    let mut seen = None;
    let read = control.shared.store.at_once(&mut |moment| {
        control.create_zone("other.test").unwrap();
        let revision = moment.revision()?;
        seen = Some((revision, state::digest(moment, revision)?));
        assert!(moment.commit(revision, &[]).is_err(), "it is only read");
        Ok(())
    });
    read.unwrap();
    assert_eq!(seen, Some(before));
    assert_ne!(control.state_digest().unwrap(), before);
}

/// A log in which another edge asks to go first, and does so when it is waited for.
struct Turned {
    log: Arc<Log>,
    asked: AtomicUsize,
    goes_first: Box<dyn Fn() + Send + Sync>,
}

impl Ledger for Turned {
    fn append(&self, after: Mark, entry: Vec<u8>) -> Result<Mark, LedgerError> {
        self.log.append(after, entry)
    }

    fn after(&self, known: Mark) -> Result<News, LedgerError> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if asked == 1 {
            (self.goes_first)();
        }
        let news = self.log.after(known)?;
        // As from etcd: what there is comes at once, and says that there is a turn.
        Ok(News {
            turn: asked == 0 && !news.entries.is_empty(),
            ..news
        })
    }
}

#[test]
fn whose_turn_it_is_goes_first_also_when_there_is_something_to_take() {
    let fleet = Fleet::of(World::new(), 1);
    let far = Arc::new(with_key_of(&fleet.edges[0]));
    let state = fleet.edge(0).state().unwrap();
    far.control().join(NAME, &state, false).unwrap();
    far.control().attach(Ok(fleet.log.clone()));
    let goes_first = far.clone();
    let turned = Arc::new(Turned {
        log: fleet.log.clone(),
        asked: AtomicUsize::new(0),
        goes_first: Box::new(move || {
            goes_first.control().create_zone("far.test").unwrap();
        }),
    });
    fleet.edge(1).attach(Ok(turned));
    // Another edge close to etcd has changed something, and this one finds it.
    fleet.edge(0).create_zone("near.test").unwrap();
    fleet.edge(1).create_zone("last.test").unwrap();
    assert!(fleet.edge(1).zone("far.test").is_ok(), "it went first");
    fleet.compare("in turn");
}
