//! What is offered and asked for in handshakes: signature algorithms, groups, versions.

use boring::pkey::{Id, PKey};
use boring::ssl::SslSignatureAlgorithm;

use super::handshakes::{Client, World, shake};
use super::pki::{Wish, issue};
use crate::{Acceptor, Endpoints, Groups, Protocol, Refusal};
use vocabulary::settings::TlsVersion;
use vocabulary::verdict::Reason;

#[test]
fn ed25519_clients_are_asked_for_and_believed() {
    let mut world = World::new();
    let key = PKey::generate(Id::ED25519).unwrap();
    let wish = Wish {
        key: Some(&key),
        ..Wish::default()
    };
    world.client = issue(&wish, Some(&world.ca));
    let snapshot = world.snapshot(&[], None);
    let client = Client {
        sni: Some("require.test"),
        identity: Some(&world.client),
        ..Client::default()
    };
    let outcome = shake(&world, &snapshot, &client);
    assert!(outcome.server.unwrap().client.verdict.verified);
    // RFC 8422 §5.10: in TLS 1.2 too, with an ECDSA suite.
    let client = Client {
        tls12: true,
        ..client
    };
    let outcome = shake(&world, &snapshot, &client);
    assert!(outcome.server.unwrap().client.verdict.verified);
}

#[test]
fn keys_are_proved_with_no_sha1() {
    let mut world = World::new();
    let wish = Wish {
        rsa_bits: Some(2048),
        ..Wish::default()
    };
    world.client = issue(&wish, Some(&world.ca));
    let snapshot = world.snapshot(&[], None);
    for (algorithm, tls12, verified) in [
        (0x0201, true, false),
        (0x0401, true, true),
        (0x0804, false, true),
        (0x0806, true, true),
    ] {
        let client = Client {
            sni: Some("require.test"),
            identity: Some(&world.client),
            algorithm: Some(algorithm),
            tls12,
            ..Client::default()
        };
        let outcome = shake(&world, &snapshot, &client);
        let found = outcome.server.is_ok_and(|one| one.client.verdict.verified);
        assert_eq!(found, verified, "{algorithm:04x}");
    }
}

#[test]
fn groups_are_those_that_were_configured() {
    let mut world = World::new();
    let snapshot = world.snapshot(&[], None);
    let wider: Groups = "X25519:P-256:P-384".parse().unwrap();
    for (groups, offered, agreed) in [
        (Groups::default(), "P-384", false),
        (Groups::default(), "P-256", true),
        (Groups::default(), "P-384:P-256", true),
        (wider.clone(), "P-384", true),
        (wider, "X25519MLKEM768", false),
    ] {
        world.acceptor = Acceptor::with_groups(&groups).unwrap();
        for tls12 in [false, true] {
            // In TLS 1.2 a client's groups bind the server's certificate too, which is of P-256.
            if tls12 && !offered.contains("P-256") {
                continue;
            }
            let client = Client {
                sni: Some("off.test"),
                groups: Some(offered),
                tls12,
                ..Client::default()
            };
            let outcome = shake(&world, &snapshot, &client);
            assert_eq!(
                outcome.server.is_ok(),
                agreed,
                "{groups} and {offered}, {tls12}"
            );
        }
    }
    for bad in ["", "p-384", "P-521", "X25519:X25519", "X25519,P-256"] {
        assert!(bad.parse::<Groups>().is_err(), "{bad}");
    }
}

#[test]
fn a_client_of_an_older_version_is_refused_where_a_newer_one_is_asked_for() {
    use TlsVersion::{Tls12, Tls13};
    for (gateway, host) in [
        (Tls12, Tls12),
        (Tls13, Tls12),
        (Tls12, Tls13),
        (Tls13, Tls13),
    ] {
        let mut world = World::new();
        world.min_version = host;
        world.acceptor = Acceptor::with_protocol(&Protocol {
            min_version: gateway,
            ..Protocol::default()
        })
        .unwrap();
        let snapshot = world.snapshot(&[], None);
        for tls12 in [false, true] {
            let client = Client {
                sni: Some("require.test"),
                identity: Some(&world.client),
                tls12,
                ..Client::default()
            };
            let outcome = shake(&world, &snapshot, &client);
            let what = format!("{gateway} {host} {tls12}");
            if tls12 && gateway.max(host) == Tls13 {
                let error = outcome.server.unwrap_err();
                assert_eq!(error.refusal, Refusal::Version, "{what}: {}", error.failure);
                assert_eq!(error.sni.as_deref(), Some("require.test"), "{what}");
            } else {
                assert!(outcome.server.is_ok(), "{what}");
            }
        }
    }
}

#[test]
fn hosts_of_other_versions_share_no_connections() {
    let mut world = World::new();
    let policy = |world: &World| {
        let snapshot = world.snapshot(&[], None);
        snapshot.find(Some("require.test")).unwrap().site.policy
    };
    let older = policy(&world);
    world.min_version = TlsVersion::Tls13;
    assert_ne!(policy(&world), older);
}

#[test]
fn a_client_that_knows_no_signature_of_the_cas_is_told_apart() {
    use SslSignatureAlgorithm as Algorithm;
    let mut world = World::new();
    let rsa = Wish {
        rsa_bits: Some(2048),
        ..Wish::ca("clients")
    };
    world.ca = issue(&rsa, None);
    let snapshot = world.snapshot(&[], None);
    let ecdsa = [Algorithm::ECDSA_SECP256R1_SHA256, Algorithm::ED25519];
    let both = [
        Algorithm::ECDSA_SECP256R1_SHA256,
        Algorithm::RSA_PSS_RSAE_SHA256,
    ];
    let none = Refusal::ClientCertificate(Reason::NotPresented);
    for (knows, host, expected) in [
        (&ecdsa, "require.test", Refusal::CaUnsupported),
        (&both, "require.test", none),
        (&ecdsa, "other.test", none),
    ] {
        for tls12 in [false, true] {
            let client = Client {
                sni: Some(host),
                knows: Some(knows),
                tls12,
                ..Client::default()
            };
            let error = shake(&world, &snapshot, &client).server.unwrap_err();
            assert_eq!(error.refusal, expected, "{knows:?} {host} {tls12}");
        }
    }
}

#[test]
fn what_has_no_group_in_common_says_so() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let client = Client {
        sni: Some("off.test"),
        groups: Some("P-384"),
        ..Client::default()
    };
    let error = shake(&world, &snapshot, &client).server.unwrap_err();
    assert_eq!(error.refusal, Refusal::Group, "{}", error.failure);
}
