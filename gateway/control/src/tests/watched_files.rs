//! Watched files that are none, or do not answer, beside one that is good.

use std::time::{Duration, Instant};

use super::*;
use crate::pki::crl;
use crate::pki::x509::Signer;
use crate::watch::crl_sources::{Known, Look, look};
use fixtures::pki::{Identity, Spec};

/// As on a network file system whose server is gone.
fn hangs(file: &Path, known: Known) -> Look {
    while file.ends_with("hung.crl") {
        std::thread::park();
    }
    look(file, known)
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
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{number}: {found:?}"
            );
        }
    }
    while control.files_late() == 0 {
        control.read_crl_files(&mut seen);
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(control.files_late(), 1, "the one that hangs");
    assert_eq!(control.crls().len(), 1);
}
