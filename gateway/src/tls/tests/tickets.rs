//! How long tickets live, and what rotation does to them.

use std::time::Duration;

use super::handshakes::{Client, World, shake};
use super::pki::{NOW, Wish, issue};
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
fn early_data_is_off() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let client = Client {
        sni: Some("off.test"),
        identity: None,
        session: None,
        tls12: false,
    };
    let session = shake(&world, &snapshot, &client).session.expect("a ticket");
    #[expect(unsafe_code, reason = "boring does not tell")]
    // SAFETY: the session is alive, and only read.
    let capable = unsafe {
        use foreign_types::ForeignType as _;
        boring_sys::SSL_SESSION_early_data_capable(session.as_ptr())
    };
    assert_eq!(capable, 0);
}
