//! What ends soon, by a clock that is moved: counts for metrics, and lines of the log.

use std::io::{self, Write};
use std::sync::Mutex;

use super::*;
use crate::pki::crl;
use crate::pki::x509::Signer;
use crate::watch::expiry::{Expiring, ExpiryKind, ToldOfExpiry};
use fixtures::pki::{Identity, Spec};

const DAY: i64 = 86_400;

/// Where lines of the log are gathered.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn told(control: &Control, told: &mut ToldOfExpiry, now: i64) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        control.warn_of_expiry(told, Moment::from_seconds(now));
    });
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

fn counts(control: &Control, kind: ExpiryKind, now: i64) -> (usize, [usize; 3]) {
    let all = control.expiring_by_kind(Moment::from_seconds(now));
    let Expiring {
        expired, within, ..
    } = all.into_iter().find(|one| one.kind == kind).unwrap();
    (expired, within.map(|(_, count)| count))
}

#[test]
fn every_kind_comes_to_every_stage() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let now = Moment::now().seconds();
    let end = now + 100 * DAY;
    let authority = Identity::issued(
        &Spec {
            ends: 100 * DAY,
            ..Spec::authority("Brought").at(now)
        },
        None,
    );
    let server = Identity::issued(
        &Spec {
            ends: 100 * DAY,
            ..Spec::server(&["api.example.test"]).at(now)
        },
        None,
    );
    control
        .upload_server_certificate(zone.id, &server.chain_pem(), &server.key_pem())
        .unwrap();
    control
        .create_host(zone.id, host("api.example.test", MtlsMode::Off))
        .unwrap();
    // Nobody is shown this one.
    let unused = Identity::self_signed(&Spec {
        ends: DAY,
        ..Spec::server(&["unused.example.test"]).at(now)
    });
    control
        .upload_server_certificate(zone.id, &unused.chain_pem(), &unused.key_pem())
        .unwrap();
    let brought = control
        .upload_authority("brought", &authority.chain_pem())
        .unwrap();
    let signer = Signer {
        certificate: authority.leaf().clone(),
        key: authority.key.clone(),
    };
    let list = crl::sign(&signer, &[], 1, Moment::from_seconds(now), 100).unwrap();
    control
        .put_crls(brought.id, &CrlSource::Upload, &list, false)
        .unwrap();
    let subject = Subject::named("device");
    let revoked = control.create_certificate(zone.id, &subject, 100).unwrap();
    control.create_certificate(zone.id, &subject, 100).unwrap();
    control
        .revoke_certificate(zone.id, revoked.certificate.id)
        .unwrap();
    let of_managed = control.model().managed(zone.id)[0].not_after;
    let development = control.make_development_authority().unwrap().not_after;

    for (kind, end) in [
        // Its life began a minute before it was made.
        (ExpiryKind::Client, end - 60),
        (ExpiryKind::Server, end),
        (ExpiryKind::CaUploaded, end),
        (ExpiryKind::CaManaged, of_managed),
        (ExpiryKind::CaDevelopment, development),
        (ExpiryKind::Crl, end),
    ] {
        // The client certificate was made in this second or the next ones.
        let slack = 30;
        for (before, expected) in [
            (31 * DAY, (0, [0, 0, 0])),
            (30 * DAY - slack, (0, [1, 0, 0])),
            (8 * DAY, (0, [1, 0, 0])),
            (7 * DAY - slack, (0, [1, 1, 0])),
            (DAY - slack, (0, [1, 1, 1])),
            (-slack, (1, [0, 0, 0])),
        ] {
            let found = counts(control, kind, end - before);
            assert_eq!(found, expected, "{kind:?}, {before} s before its end");
        }
    }

    // Each stage is told of once, in one line for each that comes to it.
    let mut state = ToldOfExpiry::default();
    assert!(told(control, &mut state, now).is_empty());
    for (before, lines, words) in [
        (31 * DAY, 0, "WARN"),
        (29 * DAY, 4, "WARN"),
        (29 * DAY - 3600, 0, "WARN"),
        (6 * DAY, 4, "WARN"),
        (DAY / 2, 4, "WARN"),
        (DAY / 4, 0, "WARN"),
        (-DAY, 4, "ERROR"),
        (-2 * DAY, 0, "ERROR"),
    ] {
        let found = told(control, &mut state, end - before);
        assert_eq!(found.len(), lines, "{before}: {found:#?}");
        assert!(found.iter().all(|line| line.contains(words)), "{found:#?}");
    }
    // After a restart what is in a stage is told of again, but not who ended long ago.
    let found = told(control, &mut ToldOfExpiry::default(), end - 5 * DAY);
    assert_eq!(found.len(), 4, "{found:#?}");
    for word in [
        "kind=\"client\"",
        "kind=\"server\"",
        "ca_uploaded",
        "kind=\"crl\"",
    ] {
        assert!(
            found.iter().any(|line| line.contains(word)),
            "{word}: {found:#?}"
        );
    }
    assert!(found.iter().any(|line| line.contains("api.example.test")));
    let found = told(control, &mut ToldOfExpiry::default(), end + DAY);
    assert_eq!(found.len(), 3, "{found:#?}");

    // What is renewed is told of anew when its time comes.
    let renewed = Identity::issued(
        &Spec {
            ends: 150 * DAY,
            ..Spec::server(&["api.example.test"]).at(now)
        },
        None,
    );
    let model = control.model();
    let mut certificates = model.server_certificates.values();
    let id = certificates
        .find(|one| one.covers(&name("api.example.test")))
        .unwrap()
        .id;
    control
        .replace_server_certificate(zone.id, id, &renewed.chain_pem(), &renewed.key_pem())
        .unwrap();
    assert!(told(control, &mut state, end).is_empty());
    let found = told(control, &mut state, end + 45 * DAY);
    assert_eq!(found.len(), 1, "{found:#?}");
}
