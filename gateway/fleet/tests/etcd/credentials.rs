//! TLS with certificates of both sides, users and their roles, tokens that end.

use std::time::Duration;

use etcd_client::{Client, Permission};
use fixtures::pki::{Authority, Identity};
use fleet::{Credentials, Follower, Log, LogError, Past, Settings, State};
use tokio::time::{sleep, timeout};

use crate::cluster::{BEGIN, Etcd, Kept, PATIENCE, eventually, found, open};

fn settings(etcd: &Etcd, ca: &Authority, ours: Option<&Identity>) -> Settings {
    let (ca, ours) = (
        ca.pem(),
        ours.map(|ours| (ours.chain_pem(), ours.key_pem())),
    );
    let given = Credentials {
        ca: Some(ca.as_bytes()),
        certificate: ours.as_ref().map(|(certificate, _)| certificate.as_bytes()),
        key: ours.as_ref().map(|(_, key)| key.as_bytes()),
        ..Credentials::default()
    };
    Settings::read(vec![etcd.url(0).parse().unwrap()], &given).unwrap()
}

async fn refused(log: &Log) -> String {
    let head = timeout(Duration::from_secs(5), log.head()).await.unwrap();
    match head {
        Err(error @ LogError::Engine(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates_that_the_other_believes() {
    let authority = Authority::root("etcd");
    let Some(etcd) = Etcd::with_tls(&authority, "127.0.0.1") else {
        return;
    };
    let edge = authority.client("edge");
    let log = open(settings(&etcd, &authority, Some(&edge)), "a");
    found(&log).await;
    let head = log.append(&BEGIN, b"x").await.unwrap();
    assert_eq!(log.head().await.unwrap(), head);
    // An edge without a certificate, one of another CA's, and one that believes another CA.
    let nobody = open(settings(&etcd, &authority, None), "b");
    let why = refused(&nobody).await;
    assert!(!why.is_empty());
    let other = Authority::root("other");
    let stranger = other.client("edge");
    refused(&open(settings(&etcd, &authority, Some(&stranger)), "b")).await;
    let why = refused(&open(settings(&etcd, &other, Some(&edge)), "b")).await;
    assert!(why.contains("CERTIFICATE_VERIFY_FAILED"), "{why}");
    assert!(why.contains(&etcd.url(0)), "{why}");
    // Those that are believed still are.
    assert_eq!(log.head().await.unwrap(), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_members_certificate_is_for_its_name() {
    let authority = Authority::root("etcd");
    let Some(etcd) = Etcd::with_tls(&authority, "etcd.example") else {
        return;
    };
    let edge = authority.client("edge");
    let log = open(settings(&etcd, &authority, Some(&edge)), "a");
    // Before it answers, it is not there, or late.
    eventually("its certificate to be refused", async || {
        let why = refused(&log).await;
        why.contains("CERTIFICATE_VERIFY_FAILED").then_some(())
    })
    .await;
}

/// A user of etcd's who may use the fleet `test`, and nothing else.
async fn with_users(etcd: &Etcd) {
    let mut root = eventually("etcd to answer", async || {
        let mut client = Client::connect([etcd.url(0)], None).await.ok()?;
        client.status().await.ok()?;
        Some(client)
    })
    .await;
    for (user, password) in [("root", "of all"), ("edge", "secret")] {
        root.user_add(user, password, None).await.unwrap();
    }
    root.role_add("root").await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("fleet").await.unwrap();
    let fleet = Permission::read_write("/postern/test/").with_prefix();
    root.role_grant_permission("fleet", fleet).await.unwrap();
    root.user_grant_role("edge", "fleet").await.unwrap();
    root.auth_enable().await.unwrap();
}

fn as_user(etcd: &Etcd, password: &str) -> Settings {
    let given = Credentials {
        user: Some("edge"),
        password: Some(password),
        ..Credentials::default()
    };
    Settings::read(vec![etcd.url(0).parse().unwrap()], &given).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_has_the_keys_of_its_fleet_and_tokens_are_renewed() {
    let ttl = ["--auth-token-ttl", "2"].map(str::to_owned);
    let Some(mut etcd) = Etcd::with(1, |_| ("http", ttl.to_vec())) else {
        return;
    };
    with_users(&etcd).await;
    let log = open(as_user(&etcd, "secret"), "a");
    found(&log).await;
    let kept = Kept::default();
    let (follower, mut standing) =
        Follower::new(open(as_user(&etcd, "secret"), "b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let mut head = BEGIN;
    for round in 0..4_u8 {
        head = log.append(&head, &[round]).await.unwrap();
        kept.has(head).await;
        sleep(Duration::from_millis(1500)).await;
    }
    // Everything else that an edge does is within its keys.
    log.put_snapshot(&head, crate::cluster::parts(&[b"state"]))
        .await
        .unwrap();
    crate::cluster::trim(&log, head.revision).await;
    assert_eq!(log.past(&BEGIN.then(&[0])).await.unwrap(), Past::Had);
    log.take_turn().await.unwrap();
    let seen = async || {
        let seen = open(as_user(&etcd, "secret"), "b").after(&head).await;
        seen.unwrap().turn
    };
    let first = seen().await.unwrap();
    assert_eq!(first.edge, "a");
    assert_eq!(seen().await, Some(first.clone()));
    assert_eq!(log.after(&head).await.unwrap().turn, None, "its own");
    log.end_turn().await.unwrap();
    assert_eq!(seen().await, None);
    log.take_turn().await.unwrap();
    assert_ne!(seen().await.unwrap(), first, "another one of the same edge");
    log.end_turn().await.unwrap();
    let (candidate, mandate) = fleet::Candidate::new(log.clone()).unwrap();
    let (announcer, said) = fleet::Announcer::new(log.clone(), "id", 1.into()).unwrap();
    let (leads, says) = (tokio::spawn(candidate.run()), tokio::spawn(announcer.run()));
    let is_leading = |now: &fleet::Leadership| *now == fleet::Leadership::Leading;
    mandate.leadership().wait_for(is_leading).await.unwrap();
    let is_present = |now: &fleet::PresenceState| *now == fleet::PresenceState::Present;
    said.state().wait_for(is_present).await.unwrap();
    // Longer than a token, and than a lease that is not kept.
    sleep(Duration::from_secs(7)).await;
    let mut leadership = mandate.leadership();
    let still = timeout(PATIENCE, leadership.wait_for(is_leading)).await;
    drop(still.expect("it still leads").unwrap());
    mandate.resign();
    said.leave();
    leads.await.unwrap();
    says.await.unwrap();
    eventually("its name to be free", async || {
        let edges = log.edges().await.unwrap();
        edges.iter().all(|edge| !edge.is_alive).then_some(())
    })
    .await;
    // A member that comes back knows none of its tokens.
    etcd.kill(0);
    standing
        .wait_for(|now| matches!(now.state, State::Away { .. }))
        .await
        .unwrap();
    etcd.run(0);
    eventually("etcd to be back", async || log.head().await.ok()).await;
    head = log.append(&head, b"again").await.unwrap();
    kept.has(head).await;
    following.abort();
    // Another fleet's keys, and a wrong password.
    let fleet = "other".parse().unwrap();
    let engine = fleet::Engine::new(as_user(&etcd, "secret")).unwrap();
    let why = refused(&Log::open(engine, &fleet, "a")).await;
    assert!(why.contains("permission denied"), "{why}");
    let why = refused(&open(as_user(&etcd, "wrong"), "a")).await;
    assert!(why.contains("authentication failed"), "{why}");
}
