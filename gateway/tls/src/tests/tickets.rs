//! How long tickets live, and what rotation does to them.

use std::time::Duration;

use super::handshakes::{Client, World, shake};
use super::pki::{NOW, Wish, issue};
use crate::ffi::testing::{has_ticket, is_early_data_capable};
use crate::limits::TICKET_LIFETIME;

#[test]
fn no_ticket_outlives_its_certificate() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    // Not for much longer.
    let ending = issue(
        &Wish {
            to_days: 0,
            to_sec: 600,
            ..Wish::default()
        },
        Some(&world.ca),
    );
    let most = u32::try_from(TICKET_LIFETIME.as_secs()).unwrap();
    // A TLS 1.3 client is told; of TLS 1.2 sessions only the ticket itself knows.
    for sni in ["request.test", "require.test"] {
        for (identity, expected) in [(&world.client, most), (&ending, 599)] {
            let client = Client {
                sni: Some(sni),
                identity: Some(identity),
                session: None,
                tls12: false,
                ..Client::default()
            };
            let outcome = shake(&world, &snapshot, &client);
            let session = outcome.session.expect("a ticket");
            assert_eq!(session.timeout(), expected, "{sni}");
        }
    }
}

#[test]
fn a_ticket_survives_one_rotation_and_no_second() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let hour = Duration::from_secs(3600);
    let keys = world.acceptor.tickets();
    assert!(keys.rotate(NOW, hour).unwrap());
    for tls12 in [false, true] {
        let mut client = Client {
            sni: Some("require.test"),
            identity: Some(&world.client),
            session: None,
            tls12,
            ..Client::default()
        };
        let at = NOW + i64::from(tls12) * 100_000;
        keys.rotate(at, hour).unwrap();
        let session = shake(&world, &snapshot, &client).session.expect("a ticket");
        let mut resumes = |expected: bool, what: &str| {
            client.session = Some(&session);
            let outcome = shake(&world, &snapshot, &client);
            assert_eq!(outcome.server.unwrap().resumed, expected, "{what} {tls12}");
        };
        resumes(true, "the same key");
        assert!(keys.rotate(at + 3600, hour).unwrap());
        resumes(true, "the key before");
        assert!(keys.rotate(at + 7200, hour).unwrap());
        resumes(false, "a key that is forgotten");
    }
}

#[test]
fn a_client_gets_as_many_tickets_as_it_is_to_have() {
    let mut world = World::new();
    let snapshot = world.snapshot(&[], None);
    let identity = issue(&Wish::default(), Some(&world.ca));
    for tls12 in [false, true] {
        let mut client = Client {
            sni: Some("require.test"),
            identity: Some(&identity),
            session: None,
            tls12,
            ..Client::default()
        };
        world.tickets = 1;
        let first = shake(&world, &snapshot, &client).session.expect("a ticket");
        for (tickets, expected) in [(0, 0), (1, 1), (2, 2), (4, 4), (5, 4), (usize::MAX, 4)] {
            world.tickets = tickets;
            // A ticket of before is worth nothing where there are none, and else one new one.
            for (session, resumed, expected) in [
                (None, false, expected),
                (Some(&first), tickets > 0, expected.min(1)),
            ] {
                client.session = session;
                let outcome = shake(&world, &snapshot, &client);
                let what = format!("{tickets}, resumed {resumed}, TLS 1.2: {tls12}");
                assert_eq!(outcome.server.unwrap().resumed, resumed, "{what}");
                if !tls12 {
                    assert_eq!(outcome.sessions, expected, "{what}");
                } else if tickets == 0 {
                    // A session without a ticket, which no client can resume.
                    let session = outcome.session;
                    assert!(
                        session.is_none_or(|session| !has_ticket(&session)),
                        "{what}"
                    );
                }
            }
        }
    }
}

/// A client with a chain that no ticket has room for is let in all the same, and gets none.
#[test]
fn a_long_chain_fits_no_ticket() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let long = "a".repeat(200);
    let long = issue(
        &Wish {
            dns: &[long.as_str(); 100],
            ..Wish::default()
        },
        Some(&world.ca),
    );
    for tls12 in [false, true] {
        let client = Client {
            sni: Some("require.test"),
            identity: Some(&long),
            session: None,
            tls12,
            ..Client::default()
        };
        let outcome = shake(&world, &snapshot, &client);
        assert!(outcome.server.unwrap().client.verdict.verified);
        assert!(outcome.session.is_none_or(|session| !has_ticket(&session)));
    }
}

#[test]
fn early_data_is_off() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let client = Client {
        sni: Some("off.test"),
        identity: None,
        session: None,
        tls12: false,
        ..Client::default()
    };
    let session = shake(&world, &snapshot, &client).session.expect("a ticket");
    assert!(!is_early_data_capable(&session));
}
