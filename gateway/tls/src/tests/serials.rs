//! One identity for a serial number: certificates, lists, answers and records agree.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::pki::{Identity, ListWish, NOW, Wish, answer, issue, list};
use crate::der::{element, tag};
use crate::limits::SERIAL_BYTES_MAX;
use crate::{
    Anchor, CertStatus, Chain, Crl, CrlPolicy, CrlSet, OcspError, Responder, Serial, Trust,
    read_client, verify,
};
use vocabulary::verdict::Reason;

fn trust(ca: &Identity, lists: Vec<Vec<u8>>, revoked: &[&[u8]]) -> Trust {
    let read = |der: Vec<u8>| Arc::new(Crl::read(&der, [&*ca.x509]).unwrap());
    let anchor = Anchor {
        id: "ca".into(),
        der: ca.x509.to_der().unwrap(),
        revoked: Arc::new(
            revoked
                .iter()
                .map(|one| Box::from(*one))
                .collect::<HashSet<_>>(),
        ),
        lists: Some(Arc::new(CrlSet {
            policy: CrlPolicy::Hard,
            lists: lists.into_iter().map(read).collect(),
        })),
        denied: Arc::default(),
        responder: None,
    };
    Trust::build(vec![anchor]).unwrap()
}

fn client(ca: &Identity, serial: &[u8]) -> Identity {
    let wish = Wish {
        serial_content: Some(serial),
        ..Wish::default()
    };
    issue(&wish, Some(ca))
}

fn verified(client: &Identity, trust: &Trust) -> Reason {
    let chain = Chain::of_x509(std::slice::from_ref(&client.x509)).unwrap();
    verify(&chain, trust, NOW).verdict.reason
}

#[test]
fn a_list_revokes_the_serial_with_its_sign_and_no_other() {
    let ca = issue(&Wish::ca("ca"), None);
    for (held, listed, expected) in [
        (&[0xca][..], &[0xca][..], Reason::Revoked),
        (&[0, 0xca], &[0, 0xca], Reason::Revoked),
        (&[0xca], &[0, 0xca], Reason::Verified),
        (&[0, 0xca], &[0xca], Reason::Verified),
        // The magnitude of -0x36 is 0x36.
        (&[0x36], &[0xca], Reason::Verified),
        (&[0xca], &[0x36], Reason::Verified),
        // Needless bytes, which DER forbids, change no number.
        (&[0x36], &[0, 0, 0x36], Reason::Revoked),
        (&[0xca], &[0xff, 0xff, 0xca], Reason::Revoked),
        (&[0], &[0], Reason::Revoked),
        (&[0], &[0, 0], Reason::Revoked),
        (&[0], &[1], Reason::Verified),
    ] {
        let wish = ListWish {
            serials: &[listed],
            ..ListWish::default()
        };
        let trust = trust(&ca, vec![list(&wish, &ca)], &[]);
        let found = verified(&client(&ca, held), &trust);
        assert_eq!(found, expected, "{held:02x?} by a list of {listed:02x?}");
    }
}

#[test]
fn our_own_records_revoke_positive_numbers_only() {
    let ca = issue(&Wish::ca("ca"), None);
    let empty = || vec![list(&ListWish::default(), &ca)];
    for (held, expected) in [
        (&[0, 0xca][..], Reason::Revoked),
        (&[0xca], Reason::Verified),
        (&[0x36], Reason::Verified),
    ] {
        let found = verified(&client(&ca, held), &trust(&ca, empty(), &[&[0xca]]));
        assert_eq!(found, expected, "{held:02x?}");
    }
}

#[test]
fn the_text_of_a_serial_tells_signs_apart() {
    let ca = issue(&Wish::ca("ca"), None);
    let trust = trust(&ca, vec![list(&ListWish::default(), &ca)], &[]);
    for (held, text) in [
        (&[0xca][..], "-36"),
        (&[0x36], "36"),
        (&[0, 0xca], "CA"),
        (&[0], "00"),
    ] {
        let chain = [client(&ca, held).x509];
        let verification = verify(&Chain::of_x509(&chain).unwrap(), &trust, NOW);
        assert_eq!(&*read_client(&chain, &verification).serial, text);
        assert_eq!(Serial::of(&chain[0]).unwrap().unwrap().to_string(), text);
    }
}

#[test]
fn an_odd_entry_never_costs_the_list() {
    let ca = issue(&Wish::ca("ca"), None);
    let (long, longest) = ([0x11; 25], [0x11; SERIAL_BYTES_MAX]);
    let too_long = [0x11; SERIAL_BYTES_MAX + 1];
    let wish = ListWish {
        serials: &[&long, &longest, &too_long, &[], &[0x42]],
        ..ListWish::default()
    };
    let der = list(&wish, &ca);
    let read = Crl::read(&der, [&*ca.x509]).unwrap();
    assert_eq!((read.len(), read.odd_entries), (3, 2));
    let trust = trust(&ca, vec![der], &[]);
    for (held, expected) in [
        (&long[..], Reason::Revoked),
        (&longest, Reason::Revoked),
        (&too_long, Reason::BadSerial),
        (&[0x42], Reason::Revoked),
        (&[0x43], Reason::Verified),
    ] {
        assert_eq!(
            verified(&client(&ca, held), &trust),
            expected,
            "{held:02x?}"
        );
    }
}

/// What OpenSSL says of the same certificate and list.
fn openssl(ca: &Identity, list: &[u8], client: &Identity) -> Option<Reason> {
    let place = std::env::temp_dir().join(format!("serials-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = place.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let armour = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
            lines.join("\n")
        )
    };
    let output = Command::new("openssl")
        .args([
            "verify",
            "-crl_check",
            "-attime",
            &NOW.to_string(),
            "-CAfile",
        ])
        .arg(write("ca.pem", &ca.x509.to_pem().unwrap()))
        .arg("-CRLfile")
        .arg(write("list.pem", armour(list).as_bytes()))
        .arg(write("client.pem", &client.x509.to_pem().unwrap()))
        .output()
        .ok()?;
    std::fs::remove_dir_all(&place).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(match said {
        said if said.contains("error 23 ") => Reason::Revoked,
        said if output.status.success() && said.is_empty() => Reason::Verified,
        said => panic!("{said}"),
    })
}

/// What OpenSSL reads in an answer about this certificate. Its signature is not looked at: time and
/// signer are not what these tests are about.
fn openssl_answer(ca: &Identity, answer: &[u8], client: &Identity) -> Option<Option<CertStatus>> {
    let place = std::env::temp_dir().join(format!("answers-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = place.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let output = Command::new("openssl")
        // The answers are of the tests' own time; so many seconds past it are allowed.
        .args(["ocsp", "-noverify", "-no_nonce"])
        .args(["-validity_period", "2000000000", "-respin"])
        .arg(write("answer.der", answer))
        .arg("-issuer")
        .arg(write("ca.pem", &ca.x509.to_pem().unwrap()))
        .arg("-cert")
        .arg(write("client.pem", &client.x509.to_pem().unwrap()))
        .output()
        .ok()?;
    std::fs::remove_dir_all(&place).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Some(match said {
        said if said.contains("No Status found") => None,
        said if said.contains("client.pem: revoked") => Some(CertStatus::Revoked),
        said if said.contains("client.pem: good") => Some(CertStatus::Good),
        said => panic!("{said}"),
    })
}

#[test]
fn answers_agree_with_openssl_on_every_serial() {
    let ca = issue(&Wish::ca("ca"), None);
    // RFC 6960 §4.2.1: good; revoked, with a time.
    let good = [0x80, 0].to_vec();
    let revoked = element(0xa1, &element(tag::GENERALIZED_TIME, b"20251231000000Z"));
    let first = client(&ca, &[1]);
    if openssl_answer(&ca, &answer(&good, &first, &ca), &first).is_none() {
        println!("skipped: needs the command openssl");
        return;
    }
    let responder = Responder {
        ca: "ca".into(),
        url: "http://ocsp.test/".into(),
        policy: CrlPolicy::Hard,
        nonce: false,
        answers: Arc::default(),
    };
    let anchor = Anchor {
        id: "ca".into(),
        der: ca.x509.to_der().unwrap(),
        revoked: Arc::default(),
        lists: None,
        denied: Arc::default(),
        responder: Some(Arc::new(responder)),
    };
    let trust = Trust::build(vec![anchor]).unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let byte = prop_oneof![Just(0_u8), Just(0xff), Just(0x80), any::<u8>()];
    let serial = prop::collection::vec(byte, 1..=40);
    let cases = (serial.clone(), serial, 0..3_u8, any::<bool>());
    let outcome = runner.run(&cases, |(held, other, how, is_revoked)| {
        let held = crate::ids::minimal(&held).to_vec();
        let negated: Vec<u8> = held.iter().map(|byte| !byte).collect();
        let about = match how {
            0 => crate::ids::minimal(&other).to_vec(),
            1 => crate::ids::minimal(&negated).to_vec(),
            _ => held.clone(),
        };
        let status = if is_revoked { &revoked } else { &good };
        let (held_by, told_of) = (client(&ca, &held), client(&ca, &about));
        let der = answer(status, &told_of, &ca);
        let theirs = openssl_answer(&ca, &der, &held_by).expect("it was there just now");
        let chain = Chain::of_x509(std::slice::from_ref(&held_by.x509)).unwrap();
        let question = verify(&chain, &trust, NOW)
            .question()
            .expect("it is not known yet");
        let ours = match question.certificate.read(&der, None, NOW) {
            Ok(answer) => Some(answer.said),
            Err(OcspError::Another) => None,
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(
            ours,
            theirs,
            "{:02x?} by an answer about {:02x?}",
            held,
            about
        );
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn lists_agree_with_openssl_on_every_serial() {
    let ca = issue(&Wish::ca("ca"), None);
    let empty = list(&ListWish::default(), &ca);
    if openssl(&ca, &empty, &client(&ca, &[1])).is_none() {
        println!("skipped: needs the command openssl");
        return;
    }
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let byte = prop_oneof![Just(0_u8), Just(0xff), Just(0x80), any::<u8>()];
    let serial = prop::collection::vec(byte, 1..=40);
    let cases = (serial.clone(), serial, 0..4_u8);
    let outcome = runner.run(&cases, |(held, other, how)| {
        let held = crate::ids::minimal(&held).to_vec();
        let negated: Vec<u8> = held.iter().map(|byte| !byte).collect();
        let listed = match how {
            0 => other,
            1 => crate::ids::minimal(&negated).to_vec(),
            2 => [&[0], held.as_slice()].concat(),
            _ => held.clone(),
        };
        let listed = crate::ids::minimal(&listed);
        let der = list(
            &ListWish {
                serials: &[listed],
                ..ListWish::default()
            },
            &ca,
        );
        let client = client(&ca, &held);
        let theirs = openssl(&ca, &der, &client).expect("it was there just now");
        let ours = verified(&client, &trust(&ca, vec![der], &[]));
        prop_assert_eq!(ours, theirs, "{:02x?} by a list of {:02x?}", held, listed);
        Ok(())
    });
    outcome.unwrap();
}
