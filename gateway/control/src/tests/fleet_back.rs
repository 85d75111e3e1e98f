//! A fleet that goes on with an older state, as after etcd was restored from a copy: revisions that were there once
//! come again, and are something else.

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::documents::full;
use super::fleet::{Fleet, Log, Mood, NAME};
use super::*;
use crate::model::hex::hex;
use crate::pki::crl;
use crate::pki::x509::Signer;
use fixtures::pki::{Identity, Spec};

impl Fleet {
    /// Has all edges go on with an older state.
    fn go_back(&mut self, to: &FleetState) {
        self.log = Log::at(to.mark);
        for world in &self.edges {
            world.control().join(NAME, to, true).unwrap();
            world.control().attach(Ok(self.log.clone()));
        }
    }

    /// Whether the host of an edge believes a client.
    fn believes(&self, edge: usize, client: &ClientCertificate) -> bool {
        let snapshot = self.edges[edge].published.load();
        let host = snapshot.host("api.example.test").unwrap();
        let chain = [X509::from_pem(client.certificate.as_bytes()).unwrap()];
        let now = Moment::now().seconds();
        let verdict = tls::verify_afresh(&chain, host.trust(), now).verdict;
        assert!(verdict.verified, "{verdict:?}");
        !verdict.revoked
    }
}

fn issue(control: &Control, zone: Id, name: &str) -> ClientCertificate {
    let issued = control.create_certificate(zone, &Subject::named(name), 100);
    issued.unwrap().certificate
}

#[test]
fn a_revocation_counts_although_its_revision_was_another_ones_before() {
    let first = World::new();
    let zone = first.served(MtlsMode::Require).id;
    let [earlier, again] = ["earlier", "again"].map(|name| issue(first.control(), zone, name));
    let mut fleet = Fleet::of(first, 1);
    fleet.edge(0).revoke_certificate(zone, earlier.id).unwrap();
    let old = fleet.edge(0).state().unwrap();
    fleet.edge(0).revoke_certificate(zone, again.id).unwrap();
    fleet.compare("revoked");
    let revision = fleet.edge(1).model().revision;
    assert!(!fleet.believes(1, &again));
    fleet.go_back(&old);
    assert!(!fleet.believes(1, &earlier));
    assert!(fleet.believes(1, &again), "the copy does not know of it");
    fleet.edge(1).revoke_certificate(zone, again.id).unwrap();
    fleet.compare("revoked again");
    assert_eq!(fleet.edge(1).model().revision, revision);
    for edge in 0..2 {
        assert!(!fleet.believes(edge, &again), "edge {edge}");
    }
}

#[test]
fn a_list_and_a_deny_list_count_although_their_revisions_were_others_before() {
    let mut fleet = Fleet::of(World::new(), 1);
    full(&fleet.edges[0]);
    let office = fleet.edge(0).model().lists.values().next().unwrap().id;
    let replaced = |network: &str| ItemsChange::Replace(vec![(network.to_owned(), String::new())]);
    let partner = fleet.edge(0).model();
    let partner = partner.authorities.values();
    let partner = partner.clone().find(|ca| ca.name == "partner").unwrap().id;
    let deny = |serial: &str| Deny {
        what: DenyWhat::Serial(serial.into()),
        comment: String::new(),
    };
    fleet.edge(0).deny(partner, &deny("01")).unwrap();
    let old = fleet.edge(0).state().unwrap();
    for change in 0..2 {
        let make = |fleet: &Fleet, value: &str| match change {
            0 => drop(
                fleet
                    .edge(1)
                    .change_items(office, replaced(&format!("10.{value}.0.0/16")))
                    .unwrap(),
            ),
            _ => drop(fleet.edge(1).deny(partner, &deny(value)).unwrap()),
        };
        make(&fleet, "2");
        let revision = fleet.edge(1).model().revision;
        fleet.go_back(&old);
        let before = fleet.edges[1].published.load();
        make(&fleet, "3");
        assert_eq!(fleet.edge(1).model().revision, revision);
        let after = fleet.edges[1].published.load();
        let [before, after] = [&before, &after].map(|of| of.host("api.example.test").unwrap());
        let is_same = match change {
            0 => Arc::ptr_eq(&before.rules, &after.rules),
            _ => Arc::ptr_eq(before.trust(), after.trust()),
        };
        assert!(!is_same, "change {change} is compiled");
        fleet.go_back(&old);
    }
}

#[test]
fn lists_of_managed_cas_are_written_anew() {
    let first = World::new();
    let zone = first.served(MtlsMode::Require).id;
    let [lost, stays] = ["lost", "stays"].map(|name| issue(first.control(), zone, name));
    let place = first.directory.path().join("crl");
    let mut directory = CrlDirectory::new(place.clone());
    let managed = first.control().model().managed(zone)[0].id;
    let mut fleet = Fleet::of(first, 0);
    let old = fleet.edge(0).state().unwrap();
    fleet.edge(0).revoke_certificate(zone, lost.id).unwrap();
    let now = Moment::now();
    directory.publish(fleet.edge(0), now);
    // Nobody looks in between.
    fleet.go_back(&old);
    fleet.edge(0).revoke_certificate(zone, stays.id).unwrap();
    assert!(directory.is_due(fleet.edge(0), now));
    directory.publish(fleet.edge(0), now);
    assert!(!directory.is_due(fleet.edge(0), now));
    let der = std::fs::read(place.join(format!("{managed}.crl"))).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
    let serials = list.iter_revoked_certificates().map(|one| one.raw_serial());
    let serials: Vec<String> = serials.map(hex).collect();
    assert_eq!(serials.len(), 1);
    let serial = &stays.details.serial_hex;
    assert!(
        serials[0].ends_with(serial.as_str()),
        "{serials:?} {serial}"
    );
}

#[test]
fn a_watched_list_is_taken_again_that_the_older_state_lacks() {
    let mut fleet = Fleet::of(World::new(), 0);
    let file = fleet.edges[0].directory.path().join("a.crl");
    let now = Moment::now();
    let made = Identity::issued(&Spec::authority("a").at(now.seconds()), None);
    let ca = fleet.edge(0).upload_authority("a", &made.chain_pem());
    let patch = CrlPatch {
        file: Some(Some(file.clone())),
        ..CrlPatch::default()
    };
    fleet.edge(0).set_crl(ca.unwrap().id, patch).unwrap();
    let signer = Signer {
        certificate: made.leaf().clone(),
        key: made.key.clone(),
    };
    std::fs::write(&file, crl::sign(&signer, &[], 1, now, 9).unwrap()).unwrap();
    let old = fleet.edge(0).state().unwrap();
    let mut seen = CrlFiles::default();
    let mut read = |fleet: &Fleet| {
        let is_there = (0..600).any(|_| {
            fleet.edge(0).read_crl_files(&mut seen);
            !fleet.edge(0).crls().is_empty()
        });
        assert!(is_there);
    };
    read(&fleet);
    fleet.go_back(&old);
    assert!(fleet.edge(0).crls().is_empty());
    read(&fleet);
}

#[test]
fn who_has_seen_what_is_not_there_any_more_has_to_look_again() {
    let mut fleet = Fleet::of(World::new(), 0);
    let old = fleet.edge(0).state().unwrap();
    fleet.edge(0).create_zone("lost.test").unwrap();
    let seen = Intent {
        seen: Some(fleet.edge(0).model().revision),
        ..Intent::of("someone")
    };
    fleet.go_back(&old);
    let control = fleet.edge(0).acting(seen);
    let refused = control.create_zone("new.test").unwrap_err();
    assert!(matches!(refused, ChangeError::Changed { .. }), "{refused}");
    assert!(fleet.edge(0).zone("new.test").is_err());
}

#[test]
fn what_was_revoked_alone_is_revoked_although_the_fleet_has_no_record_of_it() {
    let first = World::new();
    let zone = first.served(MtlsMode::Require).id;
    let mut fleet = Fleet::of(first, 1);
    let old = fleet.edge(0).state().unwrap();
    let [lost, other] = ["lost", "other"].map(|name| issue(fleet.edge(0), zone, name));
    fleet.compare("issued");
    fleet.log.mood(Mood::Away);
    let edge = fleet.edge(1).acting(Intent::of("unix uid 0"));
    let reason = RevocationReason::KeyCompromise;
    edge.revoke_alone(zone, lost.id, reason).unwrap();
    drop(edge);
    fleet.go_back(&old);
    assert!(fleet.edge(1).certificate(zone, lost.id).is_err());
    assert!(!fleet.believes(1, &lost), "alone");
    assert!(fleet.believes(0, &lost));
    assert_eq!(fleet.edge(1).merge_alone().unwrap(), 1);
    assert!(fleet.edge(1).held_alone().entries.is_empty());
    fleet.compare("merged");
    // What is compiled is made anew, and a start reads it.
    fleet.edges[1].reopen();
    fleet.edge(1).attach(Ok(fleet.log.clone()));
    for edge in 0..2 {
        assert!(!fleet.believes(edge, &lost), "edge {edge}");
        assert!(fleet.believes(edge, &other), "edge {edge}");
    }
    let (audit, _) = fleet.edge(0).audit(0, 1).unwrap();
    let note = &audit[0].changes[0];
    assert_eq!(note.key, lost.id.to_string());
    let told = note.after.as_ref().unwrap();
    assert_eq!(told["serial_number"], *lost.details.serial_hex);
    let managed = fleet.edge(0).model().managed(zone)[0].id;
    let list = fleet.edge(0).revocation_list(zone, managed).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&list).unwrap();
    assert_eq!(list.iter_revoked_certificates().count(), 1);
}

#[test]
fn what_was_revoked_alone_is_let_go_of_when_its_ca_is_gone() {
    let mut fleet = Fleet::of(World::new(), 0);
    let old = fleet.edge(0).state().unwrap();
    let zone = full(&fleet.edges[0]).id;
    let client = issue(fleet.edge(0), zone, "client");
    let partner = fleet.edge(0).model();
    let partner = partner.authorities.values();
    let partner = partner.clone().find(|ca| ca.name == "partner").unwrap().id;
    let deny = Deny {
        what: DenyWhat::Serial("0a0b".into()),
        comment: String::new(),
    };
    let reason = RevocationReason::Unspecified;
    fleet.edge(0).revoke_alone(zone, client.id, reason).unwrap();
    fleet.edge(0).deny_alone(partner, &deny).unwrap();
    fleet.go_back(&old);
    assert_eq!(fleet.edge(0).merge_alone().unwrap(), 2);
    assert!(fleet.edge(0).held_alone().entries.is_empty());
    assert_eq!(fleet.log.len(), 0, "it is no change");
}

#[test]
fn connections_are_looked_at_again_whatever_has_become_of_the_log() {
    let first = World::new();
    first.served(MtlsMode::Require);
    let fleet = Fleet::of(first, 1);
    let epochs = || [0, 1].map(|edge| fleet.edges[edge].published.load().trust_epoch);
    let before = epochs();
    fleet.log.mood(Mood::Away);
    // As when a responder has revoked a client. What it has answered, the other edge has to ask for itself.
    fleet.edge(1).move_trust().unwrap();
    assert_eq!(epochs(), [before[0], before[1] + 1]);
    fleet.log.mood(Mood::Well);
    fleet.compare("no change comes of it");
    assert_eq!(fleet.log.len(), 0);
    // A change that moves trust, too, is seen in the edge that is further on.
    let zone = fleet.edge(0).model().zones.keys().next().copied().unwrap();
    let client = issue(fleet.edge(0), zone, "client");
    fleet.edge(0).revoke_certificate(zone, client.id).unwrap();
    fleet.compare("revoked");
    let after = epochs();
    assert!(
        after[0] > before[0] && after[1] > before[1] + 1,
        "{after:?}"
    );
}
