//! Watched files that are none, or do not answer, beside one that is good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::pki::crl;
use crate::pki::x509::Signer;
use crate::watch::crl_sources::{Known, Look, look};
use fixtures::pki::{Identity, Spec};

/// How long it may take until all is read: each list is a commit, on a disk that others write to.
const PATIENCE: Duration = Duration::from_secs(120);

/// As on a network file system whose server is gone.
fn hangs(file: &Path, known: Known) -> Look {
    while file.ends_with("hung.crl") {
        std::thread::park();
    }
    look(file, known)
}

/// Whether the next reading is denied, as before a permission is set right, which no mark tells.
static DENIED: AtomicBool = AtomicBool::new(true);

fn denied_at_first(file: &Path, known: Known) -> Look {
    let mut found = look(file, known);
    if found.content.is_some() && DENIED.swap(false, Ordering::Relaxed) {
        found.content = Some(Err(std::io::ErrorKind::PermissionDenied.into()));
    }
    found
}

#[test]
fn a_file_that_was_not_good_is_read_again_although_it_has_not_changed() {
    let world = World::new();
    let control = world.control();
    let file = world.directory.path().join("a.crl");
    let now = Moment::now();
    let made = Identity::issued(&Spec::authority("a").at(now.seconds()), None);
    let ca = control.upload_authority("a", &made.chain_pem()).unwrap();
    let patch = CrlPatch {
        file: Some(Some(file.clone())),
        ..CrlPatch::default()
    };
    control.set_crl(ca.id, patch).unwrap();
    let signer = Signer {
        certificate: made.leaf().clone(),
        key: made.key.clone(),
    };
    std::fs::write(&file, crl::sign(&signer, &[], 1, now, 9).unwrap()).unwrap();
    let mut seen = CrlFiles::with(denied_at_first, Duration::from_secs(20));
    let counts = || control.crl_files().first().map(|file| file.counts);
    let began = Instant::now();
    while counts().is_none() {
        control.read_crl_files(&mut seen);
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(control.crls().is_empty(), "denied");
    // It is not read before its time.
    control.read_crl_files(&mut seen);
    assert_eq!(counts().unwrap().iter().sum::<u64>(), 1);
    DENIED.store(true, Ordering::Relaxed);
    let mut seen = CrlFiles::with(denied_at_first, Duration::from_secs(20));
    seen.again_after = Duration::ZERO;
    while control.crls().is_empty() {
        control.read_crl_files(&mut seen);
        assert!(began.elapsed() < PATIENCE, "{:?}", counts());
    }
    assert_eq!(control.crls().len(), 1);
}

#[test]
fn a_file_that_is_none_or_hangs_holds_up_no_other() {
    let world = World::new();
    let control = world.control();
    let place = world.directory.path();
    let fifo = place.join("fifo.crl");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let now = Moment::now();
    let watched = |name: &str, file: PathBuf| {
        let made = Identity::issued(&Spec::authority(name).at(now.seconds()), None);
        let ca = control.upload_authority(name, &made.chain_pem()).unwrap();
        let patch = CrlPatch {
            file: Some(Some(file)),
            ..CrlPatch::default()
        };
        control.set_crl(ca.id, patch).unwrap();
        (ca.id, made)
    };
    watched("fifo", fifo);
    watched("directory", place.to_owned());
    watched("device", "/dev/zero".into());
    watched("missing", place.join("missing.crl"));
    watched("hung", place.join("hung.crl"));
    let file = place.join("good.crl");
    let (good, made) = watched("good", file.clone());
    let signer = Signer {
        certificate: made.leaf().clone(),
        key: made.key.clone(),
    };
    let mut seen = CrlFiles::with(hangs, Duration::from_millis(200));
    let began = Instant::now();
    for number in 1..=3 {
        std::fs::write(&file, crl::sign(&signer, &[], number, now, 9).unwrap()).unwrap();
        let is_read = |control: &Control| {
            let found = control.crls();
            let found = found.iter().find(|crl| crl.authority == good);
            found.is_some_and(|crl| crl.number == format!("{number:02x}"))
        };
        while !is_read(control) {
            control.read_crl_files(&mut seen);
            let found = control.crls();
            assert!(began.elapsed() < PATIENCE, "{number}: {found:?}");
        }
    }
    while control.files_late() == 0 {
        control.read_crl_files(&mut seen);
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(control.files_late(), 1, "the one that hangs");
    assert_eq!(control.crls().len(), 1);
}
