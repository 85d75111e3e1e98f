//! A fleet of real gateways on a real etcd: what is changed on one is in force on all, whatever becomes of
//! etcd and of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fixtures::etcd::{Etcd, copy};
use serde_json::{Value, json};
use tests::admin::Reply;
use tests::crl::CrlSpec;
use tests::gateway::ZONE;
use tests::wait::{until, within};
use tests::{Authority, Client, Gateway, Identity, Origin, Setup};

use crate::revocation_latency::open;

pub(crate) const HOST: &str = "api.example.test";
const FLEET: &str = "prod";
const RULE: &str = "cf.tls_client_auth.cert_revoked or not cf.tls_client_auth.cert_verified";

/// An etcd that answers; none where it is not installed.
pub(crate) fn started(members: usize) -> Option<Etcd> {
    let etcd = Etcd::start(members)?;
    etcd.wait();
    Some(etcd)
}

/// Edges of one fleet. The first has founded it.
pub(crate) struct Fleet {
    pub(crate) edges: Vec<Gateway>,
    _origin: Origin,
}

/// An edge that reaches etcd at these addresses.
pub(crate) fn setup(etcd: &str, edge: &str) -> Setup {
    let setup = Setup::default();
    settings(etcd, edge)
        .into_iter()
        .fold(setup, |setup, (key, value)| setup.set(&key, &value))
}

fn settings(etcd: &str, edge: &str) -> Vec<(String, String)> {
    [
        ("workers", "1"),
        ("fleet.name", FLEET),
        ("fleet.edge", edge),
        ("fleet.etcd", etcd),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

pub(crate) fn status(gateway: &Gateway) -> Value {
    gateway.admin.get("/postern/v1/fleet").result()
}

pub(crate) fn revision(gateway: &Gateway) -> u64 {
    status(gateway)["revision"].as_u64().unwrap()
}

/// The revision and the digest of all that it has.
pub(crate) fn digest(gateway: &Gateway) -> Value {
    gateway.admin.get("/postern/v1/fleet/digest").result()
}

#[track_caller]
pub(crate) fn cli(gateway: &Gateway, arguments: &[&str]) -> String {
    let outcome = gateway.cli(arguments);
    assert_eq!(
        outcome.code,
        0,
        "{arguments:?}: {outcome:?}\n{}",
        gateway.stderr()
    );
    outcome.out
}

impl Fleet {
    pub(crate) async fn start(etcd: &Etcd, edges: usize) -> Self {
        let members = etcd.urls().join(", ");
        let edges = (0..edges).map(|number| setup(&members, &format!("edge-{number}")));
        Self::of(edges.collect()).await
    }

    /// Of these edges.
    pub(crate) async fn of(edges: Vec<Setup>) -> Self {
        let origin = Origin::echo();
        let mut edges = edges.into_iter();
        let first = edges.next().unwrap();
        let first = first
            .zone(ZONE)
            .host(HOST, "request", &origin.url())
            .block(RULE);
        let first = tokio::task::block_in_place(|| first.start());
        cli(&first, &["fleet", "init"]);
        let mut fleet = Self {
            edges: vec![first],
            _origin: origin,
        };
        for edge in edges {
            let edge = edge.key_of(&fleet.edges[0]);
            let edge = tokio::task::block_in_place(|| edge.start());
            cli(&edge, &["fleet", "join"]);
            fleet.edges.push(edge);
        }
        fleet.settle();
        fleet
    }

    /// Waits until all have what the first has, and compares all of it.
    #[track_caller]
    pub(crate) fn settle(&self) {
        until("all edges to have the same", || {
            let revisions: Vec<u64> = self.edges.iter().map(revision).collect();
            revisions
                .iter()
                .all(|revision| *revision == revisions[0])
                .then_some(())
        });
        let first = digest(&self.edges[0]);
        for other in &self.edges[1..] {
            // The leader may change something of its own in between.
            let there = digest(other);
            if there["revision"] == first["revision"] {
                assert_eq!(there, first);
            }
        }
    }

    /// A client of an edge.
    pub(crate) fn client(&self, edge: usize, identity: &Identity) -> Client {
        let address = self.edges[edge].address;
        self.edges[0].client_at(address, HOST).identity(identity)
    }

    pub(crate) async fn asked(&self, edge: usize, identity: &Identity) -> u16 {
        let answer = self.client(edge, identity).get("/x").await.unwrap();
        answer.status
    }

    pub(crate) fn revoke(&self, edge: usize, id: &str) -> Reply {
        let path = format!(
            "/client/v4/zones/{}/client_certificates/{id}",
            self.edges[0].zone_id(ZONE)
        );
        self.edges[edge].admin.call("DELETE", &path, &Value::Null)
    }

    pub(crate) fn create_zone(&self, edge: usize, name: &str) -> Reply {
        let body = json!({ "name": name });
        self.edges[edge]
            .admin
            .call("POST", "/client/v4/zones", &body)
    }

    /// Whether a zone that is asked for is there; whether an earlier attempt came to something need not be known.
    pub(crate) fn has_zone(&self, edge: usize, name: &str) -> bool {
        let is_made = self.create_zone(edge, name).status == 200;
        is_made || cli(&self.edges[edge], &["zone", "list"]).contains(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_any_edge_is_in_force_on_all() {
    let Some(etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 3).await;
    let (id, device) = fleet.edges[0].certificate(ZONE, "device");
    fleet.settle();
    for edge in 0..3 {
        assert_eq!(fleet.asked(edge, &device).await, 200, "edge {edge}");
    }
    // It is created on one, shown on another, and revoked on the third.
    let listed = cli(&fleet.edges[1], &["cert", "list", "--zone", ZONE]);
    assert!(listed.contains("device"), "{listed}");
    assert_eq!(fleet.revoke(2, &id).status, 200);
    fleet.settle();
    for edge in 0..3 {
        assert_eq!(fleet.asked(edge, &device).await, 403, "edge {edge}");
    }
    let told = cli(&fleet.edges[1], &["fleet", "status", "--digest"]);
    for word in [
        "fleet prod, edge edge-1: current",
        "edge-0",
        "edge-2",
        "leads",
        "per edge",
        "digest",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let metrics = fleet.edges[1].admin.get("/metrics").body;
    assert!(
        metrics.contains("postern_fleet_state{state=\"current\"} 1"),
        "{metrics}"
    );
    // What one edge alone has acknowledged is there after all of them were killed.
    assert_eq!(fleet.create_zone(1, "late.test").status, 200);
    let mut fleet = fleet;
    for edge in &mut fleet.edges {
        edge.signal("KILL");
        let _killed = edge.wait();
    }
    for edge in &mut fleet.edges {
        tokio::task::block_in_place(|| edge.start());
    }
    fleet.settle();
    let zones = cli(&fleet.edges[2], &["zone", "list"]);
    assert!(zones.contains("late.test"), "{zones}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_on_one_edge_ends_on_all_within_a_second() {
    // `POSTERN_TEST_FLEET_LIVE=1000` is the full form.
    let live = std::env::var("POSTERN_TEST_FLEET_LIVE").ok();
    let connections: usize = live.map_or(100, |live| live.parse().unwrap());
    crate::revocation_latency::raise_descriptors();
    let Some(etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 3).await;
    let (mut took, mut refused) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let (id, device) = fleet.edges[0].certificate(ZONE, &format!("device-{round}"));
        fleet.settle();
        let mut live = Vec::new();
        for edge in 0..3 {
            for number in 0..connections {
                let kind = crate::revocation_latency::KINDS[number % 5];
                live.push(open(kind, fleet.client(edge, &device), HOST).await);
            }
        }
        let mut clients = Vec::new();
        for edge in 0..3 {
            let client = fleet.client(edge, &device);
            assert_eq!(client.get("/ticket").await.unwrap().status, 200);
            let tickets = client.tickets().last();
            let again = fleet.client(edge, &device).resuming(&tickets);
            assert!(again.http1().await.unwrap().resumed, "edge {edge}");
            clients.extend([(edge, None), (edge, Some(tickets))]);
        }
        assert_eq!(fleet.revoke(round % 3, &id).status, 200);
        let acknowledged = Instant::now();
        // New connections and resumed ones, again and again, until they are told no.
        for (edge, tickets) in clients {
            let client = fleet.client(edge, &device);
            refused.push(tokio::spawn(async move {
                loop {
                    let client = match &tickets {
                        Some(tickets) => client.clone().resuming(&tickets.last()),
                        None => client.clone(),
                    };
                    if client
                        .get("/x")
                        .await
                        .is_ok_and(|answer| answer.status == 403)
                    {
                        return acknowledged.elapsed();
                    }
                }
            }));
        }
        for ended in live {
            let ended = within("a live connection to end", ended).await.unwrap();
            took.push(ended.saturating_duration_since(acknowledged));
        }
    }
    let mut last_refused = Duration::ZERO;
    for refused in refused {
        let refused = within("a connection to be refused", refused).await;
        last_refused = last_refused.max(refused.unwrap());
    }
    println!(
        "new and resumed connections were refused on all edges {last_refused:?} later at the most"
    );
    took.sort();
    let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    println!(
        "{} live connections on three edges ended after the revocation was acknowledged: p50 {:?}, p99 {:?}, \
         the last {:?}",
        took.len(),
        at(50),
        at(99),
        took[took.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_at_any_edge_and_no_ticket_outlives_trust() {
    let Some(etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 2).await;
    let (id, device) = fleet.edges[0].certificate(ZONE, "device");
    fleet.settle();
    let ticket = async |edge: usize| {
        let client = fleet.client(edge, &device);
        assert_eq!(client.get("/ticket").await.unwrap().status, 200);
        client.tickets()
    };
    let resumed = async |from: usize, to: usize| {
        let tickets = ticket(from).await;
        let client = fleet.client(to, &device).resuming(&tickets);
        let mut connection = client.http1().await.unwrap();
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        connection.resumed
    };
    // The leader's keys come to the others.
    let deadline = Instant::now() + tests::wait::PATIENCE;
    while !(resumed(0, 1).await && resumed(1, 0).await) {
        assert!(
            Instant::now() < deadline,
            "no ticket of one is good at the other"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let tickets = ticket(0).await.last();
    assert_eq!(fleet.revoke(0, &id).status, 200);
    fleet.settle();
    // It is taken, and what it says of the client is judged again.
    let then = fleet.client(1, &device).resuming(&tickets);
    let mut connection = then.http1().await.unwrap();
    assert!(connection.resumed);
    assert_eq!(connection.get("/x").await.unwrap().status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_edges_go_on_and_what_is_denied_on_one_alone_becomes_the_fleets() {
    let Some(mut etcd) = started(1) else {
        return;
    };
    let fleet = Fleet::start(&etcd, 2).await;
    let (id, device) = fleet.edges[0].certificate(ZONE, "device");
    let (_, other) = fleet.edges[0].certificate(ZONE, "other");
    fleet.settle();
    etcd.kill_all();
    until("the edge to see that etcd is away", || {
        (status(&fleet.edges[1])["state"] == "away").then_some(())
    });
    for edge in 0..2 {
        assert_eq!(fleet.asked(edge, &device).await, 200);
    }
    let ready = fleet.edges[1].admin.get("/readyz");
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("behind its fleet (away)"),
        "{}",
        ready.body
    );
    // Nothing is changed, and it is said what can be done.
    let refused = fleet.create_zone(1, "new.test");
    assert_eq!(refused.status, 503, "{}", refused.body);
    let refused = fleet.edges[1].cli(&["cert", "revoke", &id]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("--local"), "{refused:?}");
    let told = cli(&fleet.edges[1], &["cert", "revoke", "--local", &id]);
    assert!(told.contains("on this edge alone"), "{told}");
    assert_eq!(fleet.asked(1, &device).await, 403);
    assert_eq!(fleet.asked(1, &other).await, 200);
    assert_eq!(fleet.asked(0, &device).await, 200, "the others cannot know");
    assert_eq!(
        status(&fleet.edges[1])["alone"].as_array().unwrap().len(),
        1
    );
    // It outlives a restart without etcd, which serves at once.
    let mut fleet = fleet;
    fleet.edges[1].signal("KILL");
    let _killed = fleet.edges[1].wait();
    tokio::task::block_in_place(|| fleet.edges[1].start());
    assert_eq!(fleet.asked(1, &device).await, 403);
    assert_eq!(fleet.asked(1, &other).await, 200);
    etcd.run_all();
    until("the fleet to have it", || {
        status(&fleet.edges[1])["alone"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
    fleet.settle();
    assert_eq!(fleet.asked(0, &device).await, 403);
    let audit = cli(&fleet.edges[0], &["audit"]);
    assert!(audit.contains("alone on one edge since"), "{audit}");
    assert_eq!(fleet.create_zone(0, "new.test").status, 200);
    fleet.settle();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_edges_that_change_the_same_one_wins_and_members_of_etcd_may_die() {
    let Some(mut etcd) = started(3) else {
        return;
    };
    let fleet = Fleet::start(&etcd, 3).await;
    let mut won = 0;
    for round in 0..30 {
        if round == 10 {
            etcd.kill(0);
        }
        if round == 20 {
            etcd.run(0);
        }
        let name = format!("z{round}.test");
        let done: Vec<u16> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|edge| {
                    let (fleet, name) = (&fleet, &name);
                    scope.spawn(move || {
                        // A change whose answer was lost is asked for again, as its user would.
                        loop {
                            let reply = fleet.create_zone(edge, name);
                            if reply.status != 503 {
                                break reply.status;
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners = done.iter().filter(|status| **status == 200).count();
        // After a lost answer nobody may have been told that it was the first.
        assert!(winners <= 1, "{round}: {done:?}");
        won += winners;
    }
    assert!(won > 25, "{won}");
    fleet.settle();
    let zones = cli(&fleet.edges[2], &["--json", "zone", "list"]);
    let zones: Value = serde_json::from_str(&zones).unwrap();
    assert_eq!(zones.as_array().unwrap().len(), 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_one_gateway_to_a_fleet_and_back_without_an_outage() {
    let Some(etcd) = started(1) else { return };
    let origin = Origin::echo();
    let alone = Setup::new()
        .host(HOST, "request", &origin.url())
        .block(RULE)
        .set("workers", "1");
    let mut first = tokio::task::block_in_place(|| alone.start());
    let (_, device) = first.certificate(ZONE, "device");
    let told = cli(&first, &["fleet", "status"]);
    assert!(told.contains("no fleet is configured"), "{told}");
    let refused = first.cli(&["fleet", "init"]);
    assert!(refused.err.contains("fleet.name"), "{refused:?}");
    let client = first.client(HOST).identity(&device);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let load = tokio::spawn(async move {
        let mut asked = 0_usize;
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            let answer = client.get("/x").await;
            assert!(
                answer.as_ref().is_ok_and(|answer| answer.status == 200),
                "{answer:?}"
            );
            asked += 1;
        }
        asked
    });
    // The settings come by a reload, for which a new process takes over.
    let before = first.pid();
    let wanted = settings(&etcd.url(0), "edge-0");
    let wanted: Vec<(&str, &str)> = wanted
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    first.configure(&wanted);
    cli(&first, &["reload"]);
    first.replaced(before);
    let told = cli(&first, &["fleet", "status"]);
    assert!(told.contains("in no fleet yet"), "{told}");
    let missing = first.cli(&["fleet", "join"]);
    assert!(missing.err.contains("postern fleet init"), "{missing:?}");
    cli(&first, &["fleet", "init"]);
    let twice = first.cli(&["fleet", "init"]);
    assert!(twice.err.contains("already"), "{twice:?}");
    // Another key is refused before anything is touched.
    let stranger = setup(&etcd.url(0), "edge-x");
    let stranger = tokio::task::block_in_place(|| stranger.start());
    let refused = stranger.cli(&["fleet", "join"]);
    assert!(refused.err.contains("key file"), "{refused:?}");
    drop(stranger);
    let second = setup(&etcd.url(0), "edge-1")
        .key_of(&first)
        .zone("own.test");
    let second = tokio::task::block_in_place(|| second.start());
    let refused = second.cli(&["fleet", "init"]);
    assert!(
        refused
            .err
            .contains("etcd has a fleet of this name already: join it"),
        "{refused:?}"
    );
    let refused = second.cli(&["fleet", "join"]);
    assert!(refused.err.contains("--replace"), "{refused:?}");
    let told = cli(&second, &["fleet", "join", "--replace"]);
    let backup = told.trim().rsplit(' ').next().map(PathBuf::from).unwrap();
    assert!(backup.is_file(), "{told}");
    until("the second to be current", || {
        (status(&second)["state"] == "current").then_some(())
    });
    let at_second = first.client_at(second.address, HOST).identity(&device);
    assert_eq!(at_second.get("/x").await.unwrap().status, 200);
    // An upgrade of an edge goes on with the fleet.
    first.upgrade();
    until("the new process to be current", || {
        (status(&first)["state"] == "current").then_some(())
    });
    let zone = json!({ "name": "both.test" });
    assert_eq!(
        second.admin.call("POST", "/client/v4/zones", &zone).status,
        200
    );
    until("the change", || {
        (revision(&first) == revision(&second)).then_some(())
    });
    // And back to one.
    cli(&second, &["fleet", "leave"]);
    let own = json!({ "name": "own-again.test" });
    assert_eq!(
        second.admin.call("POST", "/client/v4/zones", &own).status,
        200
    );
    cli(&first, &["fleet", "leave"]);
    let before = first.pid();
    first.configure(&[("workers", "1")]);
    cli(&first, &["reload"]);
    first.replaced(before);
    let told = cli(&first, &["fleet", "status"]);
    assert!(told.contains("no fleet is configured"), "{told}");
    let zone = json!({ "name": "alone.test" });
    assert_eq!(
        first.admin.call("POST", "/client/v4/zones", &zone).status,
        200
    );
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let asked = load.await.unwrap();
    assert!(asked > 3, "{asked}");
    println!("{asked} requests from one gateway to a fleet and back, none failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_etcd_is_refused_until_a_person_accepts_it() {
    let Some(mut etcd) = started(1) else {
        return;
    };
    let fleet = Fleet::start(&etcd, 2).await;
    assert_eq!(fleet.create_zone(0, "kept.test").status, 200);
    fleet.settle();
    etcd.kill_all();
    let old = etcd.directory().join("old");
    copy(&etcd.data(0), &old);
    etcd.run_all();
    until("etcd to be taken up again", || {
        fleet.has_zone(1, "lost.test").then_some(())
    });
    fleet.settle();
    etcd.kill_all();
    copy(&old, &etcd.data(0));
    etcd.run_all();
    for edge in 0..2 {
        until("the edge to refuse", || {
            (status(&fleet.edges[edge])["state"] == "stuck").then_some(())
        });
        let zones = cli(&fleet.edges[edge], &["zone", "list"]);
        assert!(zones.contains("lost.test"), "what it has stays: {zones}");
        assert_ne!(fleet.create_zone(edge, "new.test").status, 200);
    }
    let unsure = fleet.edges[0].cli(&["fleet", "accept"]);
    assert!(unsure.err.contains("--yes"), "{unsure:?}");
    // The one that goes on leads, whichever did before: the other one, which is stuck, would do nothing.
    let goes_on = usize::from(status(&fleet.edges[0])["leads"] == true);
    cli(&fleet.edges[goes_on], &["fleet", "accept", "--yes"]);
    until("the edge that goes on to lead", || {
        (status(&fleet.edges[goes_on])["leads"] == true).then_some(())
    });
    assert_eq!(status(&fleet.edges[1 - goes_on])["state"], "stuck");
    cli(&fleet.edges[1 - goes_on], &["fleet", "accept", "--yes"]);
    until("a change", || fleet.has_zone(0, "new.test").then_some(()));
    fleet.settle();
    let zones = cli(&fleet.edges[1], &["zone", "list"]);
    assert!(
        zones.contains("new.test") && !zones.contains("lost.test"),
        "{zones}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_killed_while_it_changes_loses_nothing_that_it_acknowledged() {
    const KILLS: usize = 8;
    let Some(etcd) = started(1) else { return };
    let mut fleet = Fleet::start(&etcd, 3).await;
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let (admin, pid) = (fleet.edges[1].admin.clone(), fleet.edges[1].pid());
        let changes = std::thread::spawn(move || {
            let mut done = Vec::new();
            for number in 0.. {
                let name = format!("k{round}-{number}.test");
                let body = json!({ "name": name });
                // The answer may be lost with the process, or be cut.
                match admin.ask("POST", "/client/v4/zones", Some(&body)) {
                    Some(reply) if reply.status == 200 => done.push(name),
                    Some(_) | None => break,
                }
            }
            done
        });
        // Another edge changes meanwhile, so that heads move.
        for number in 0..5 + round {
            let name = format!("m{round}-{number}.test");
            assert_eq!(fleet.create_zone(0, &name).status, 200);
            acknowledged.push(name);
        }
        tests::tool::signal(pid, "KILL");
        let _killed = fleet.edges[1].wait();
        acknowledged.extend(changes.join().unwrap());
        tokio::task::block_in_place(|| fleet.edges[1].start());
    }
    fleet.settle();
    let zones = cli(&fleet.edges[2], &["--json", "zone", "list"]);
    for name in &acknowledged {
        assert!(
            zones.contains(&format!("\"{name}\"")),
            "{name} was acknowledged"
        );
    }
    println!(
        "{} changes acknowledged around {KILLS} kills, none lost",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_megabytes_comes_to_all_edges_whole() {
    const ENTRIES: u32 = 500_000;
    let Some(etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 2).await;
    let root = fleet.edges[0].root(&[HOST]);
    let id = status_of_uploaded(&fleet.edges[0]);
    let device = root.client("listed");
    fleet.settle();
    assert_eq!(fleet.asked(1, &device).await, 200);
    let der = large_list(&root, &device, ENTRIES);
    let file = fleet.edges[0].file("large.crl");
    std::fs::write(&file, &der).unwrap();
    let begun = Instant::now();
    // Larger than what is taken by the API: from a file, which all edges here have.
    let path = file.to_str().unwrap();
    cli(&fleet.edges[0], &["crl", "set", &id, "--watch", path]);
    for edge in 0..2 {
        until("the list", || {
            let shown = fleet.edges[edge].cli(&["--json", "crl", "show", &id]).out;
            shown.contains(&format!("{}", ENTRIES + 1)).then_some(())
        });
    }
    println!(
        "a list of {} MB is on both edges after {:?}",
        der.len() / 1_000_000,
        begun.elapsed()
    );
    fleet.settle();
    for edge in 0..2 {
        assert_eq!(fleet.asked(edge, &device).await, 403, "edge {edge}");
    }
}

/// A list with this certificate and so many others.
pub(crate) fn large_list(root: &Authority, device: &Identity, entries: u32) -> Vec<u8> {
    let mut list = CrlSpec::revoking(1, &[device]);
    let serials = (0..entries).map(|number| {
        let mut serial = vec![0x40; 16];
        serial[12..].copy_from_slice(&number.to_be_bytes());
        (serial, None)
    });
    list.revoked.extend(serials);
    list.sign(root)
}

/// The id of the only CA that was uploaded.
pub(crate) fn status_of_uploaded(gateway: &Gateway) -> String {
    let all = cli(gateway, &["--json", "ca", "list"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let uploaded = all
        .as_array()
        .unwrap()
        .iter()
        .find(|ca| ca["name"] == "uploaded");
    uploaded.unwrap()["id"].as_str().unwrap().to_owned()
}
