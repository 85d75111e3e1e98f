//! A fleet under load while its etcd, its network, its edges and their clocks fail, one after the other, and what
//! has to be true then: see [`crate::fleet_load`].

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixtures::apart::{Apart, is_inside};
use fixtures::etcd::copy;
use serde_json::json;
use tests::gateway::ZONE;
use tests::wait::until;
use tests::{Authority, Gateway, Identity, pki};

use crate::fleet::{Fleet, HOST, cli, setup, started, status};
use crate::fleet_load::Load;

/// A certificate that is good throughout.
fn steady(fleet: &Fleet) -> Identity {
    let (_, identity) = fleet.edges[0].certificate(ZONE, "steady");
    fleet.settle();
    identity
}

fn leader(fleet: &Fleet) -> usize {
    let leads = |edge: &Gateway| status(edge)["leads"] == true;
    until("an edge to lead", || fleet.edges.iter().position(leads))
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_etcd_die_one_by_one_and_all_at_once() {
    let Some(mut etcd) = started(3) else { return };
    let fleet = Fleet::start(&etcd, 3).await;
    let load = Load::begin(&fleet, &steady(&fleet));
    // Its leader is one of them.
    for member in 0..3 {
        etcd.kill(member);
        load.goes_on(&[0, 1, 2]);
        etcd.run(member);
        etcd.wait();
    }
    etcd.kill_all();
    std::thread::sleep(Duration::from_secs(3));
    etcd.run_all();
    load.goes_on(&[0, 1, 2]);
    load.end("members of etcd died", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_cut_with_changes_on_both_sides() {
    const NAME: &str = "fleet_faults::a_network_is_cut_with_changes_on_both_sides";
    if !is_inside(NAME) {
        return;
    }
    let etcd = Apart::start();
    // Without TLS an edge speaks with what is on its own machine only.
    let ways: Vec<Wire> = (1..=3)
        .map(|member| Wire::to(Apart::address(member)))
        .collect();
    let edge = |name: &str, members: &[usize]| {
        let members: Vec<String> = members
            .iter()
            .map(|member| ways[member - 1].url())
            .collect();
        setup(&members.join(", "), name)
    };
    let edges = [
        edge("most", &[2, 3]),
        edge("few", &[1]),
        edge("any", &[1, 2, 3]),
    ];
    until("etcd to answer", || {
        let health = format!("{}/health", Apart::url(2));
        let asked = Command::new("curl").args(["-sf", &health]).output();
        let answer = asked.unwrap().stdout;
        String::from_utf8_lossy(&answer)
            .contains("true")
            .then_some(())
    });
    let fleet = Fleet::of(edges.into()).await;
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    etcd.cut(true);
    until("the smaller side to know that it is cut off", || {
        (status(&fleet.edges[1])["state"] == "away").then_some(())
    });
    // The others go on.
    load.goes_on(&[0, 2]);
    let refused = fleet.create_zone(1, "never.test");
    assert_eq!(refused.status, 503, "{}", refused.body);
    etcd.cut(false);
    load.goes_on(&[0, 1, 2]);
    load.end("the network was cut", &fleet).await;
}

/// A file system of its own for etcd, which can be filled.
struct Disk<'p>(&'p Path);

impl<'p> Disk<'p> {
    /// Mounts one of so many bytes; nothing when that is not allowed.
    fn mount(path: &'p Path, bytes: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "postern-test"]);
        let mounted = mount
            .arg(path)
            .output()
            .is_ok_and(|done| done.status.success());
        if !mounted {
            eprintln!("skipped: needs CAP_SYS_ADMIN (to mount)");
            return None;
        }
        Some(Self(path))
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcds_disk_is_full() {
    let Some(mut etcd) = started(1) else { return };
    etcd.kill_all();
    let data = etcd.data(0);
    let kept = etcd.directory().join("kept");
    copy(&data, &kept);
    // etcd takes 64 MB for its journal at once.
    let Some(disk) = Disk::mount(&data, 160 << 20) else {
        return;
    };
    copy(&kept.join("member"), &data.join("member"));
    etcd.run_all();
    let fleet = Fleet::start(&etcd, 3).await;
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    disk.fill();
    until("etcd to give up", || {
        let refused = fleet.create_zone(1, "full.test");
        (refused.status == 503).then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    disk.make_room();
    etcd.kill_all();
    etcd.run_all();
    load.goes_on(&[0, 1, 2]);
    load.end("etcd's disk was full", &fleet).await;
    etcd.kill_all();
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_away_while_etcd_is_compacted() {
    let Some(etcd) = started(1) else { return };
    let mut fleet = Fleet::start(&etcd, 3).await;
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    load.goes_down(2);
    fleet.edges[2].signal("KILL");
    let _killed = fleet.edges[2].wait();
    load.goes_on(&[0, 1]);
    let compacted = |revision: &str| {
        let mut curl = Command::new("curl");
        let url = format!("{}/v3/kv/compaction", etcd.url(0));
        let body = json!({ "revision": revision, "physical": true }).to_string();
        curl.args(["-s", &url, "-d", &body]);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    // What it answers says how far it is.
    let revision = (1..).map(|step| step * 20).find(|revision| {
        let told = compacted(&revision.to_string());
        assert!(
            told.contains("revision") || told.contains("future"),
            "{told}"
        );
        told.contains("future")
    });
    assert!(revision.is_some_and(|revision| revision > 20));
    load.goes_on(&[0, 1]);
    tokio::task::block_in_place(|| fleet.edges[2].start());
    load.is_up(2);
    load.goes_on(&[0, 1, 2]);
    load.end("etcd was compacted", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_restored_from_an_old_backup() {
    let Some(mut etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 3).await;
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    etcd.kill_all();
    std::thread::sleep(Duration::from_millis(200));
    let known = load.known();
    let old = etcd.directory().join("old");
    copy(&etcd.data(0), &old);
    etcd.run_all();
    load.goes_on(&[0, 1, 2]);
    etcd.kill_all();
    copy(&old, &etcd.data(0));
    etcd.run_all();
    for edge in &fleet.edges {
        until("the edge to refuse it", || {
            (status(edge)["state"] == "stuck").then_some(())
        });
    }
    // What was revoked after the backup is refused until a person decides: the visitors look.
    std::thread::sleep(Duration::from_secs(1));
    assert_ne!(fleet.create_zone(0, "never.test").status, 200);
    load.forget_all_since(&known);
    for edge in &fleet.edges {
        cli(edge, &["fleet", "accept", "--yes"]);
    }
    load.goes_on(&[0, 1, 2]);
    load.end("etcd was restored", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_that_leads_stops_and_goes_on_while_another_one_leads() {
    let Some(etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 3).await;
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    for _ in 0..2 {
        let first = leader(&fleet);
        let others: Vec<usize> = (0..3).filter(|edge| *edge != first).collect();
        load.goes_down(first);
        fleet.edges[first].signal("STOP");
        until("another edge to lead", || {
            let leads = |edge: &&usize| status(&fleet.edges[**edge])["leads"] == true;
            others.iter().find(leads)
        });
        load.goes_on(&others);
        // It believes that it leads, until it looks at its clock.
        fleet.edges[first].signal("CONT");
        load.is_up(first);
        until("one edge to lead", || {
            let leads = |edge: &&Gateway| status(edge)["leads"] == true;
            let count = fleet.edges.iter().filter(leads).count();
            (count == 1 && status(&fleet.edges[first])["leads"] == false).then_some(())
        });
        load.goes_on(&[0, 1, 2]);
    }
    load.end("the leader was stopped", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_jump_by_an_hour() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    if !Path::new(LIBRARY).is_file() {
        eprintln!("skipped: needs libfaketime (`cargo xtask setup` installs it)");
        return;
    }
    let Some(etcd) = started(1) else { return };
    let clock = |edge: usize| etcd.directory().join(format!("clock-{edge}"));
    let set = |edge: usize, offset: &str| std::fs::write(clock(edge), offset).unwrap();
    let edges = (0..3).map(|edge| {
        set(edge, "+0");
        setup(&etcd.url(0), &format!("edge-{edge}"))
            .environment("LD_PRELOAD", LIBRARY)
            .environment("FAKETIME_TIMESTAMP_FILE", clock(edge).to_str().unwrap())
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    });
    let fleet = Fleet::of(edges.collect()).await;
    // Older than any jump. What was issued a moment ago is not valid yet where the clock is an hour behind.
    let old = |spec| pki::Spec {
        begins: -7_200,
        ..spec
    };
    let root = Authority::root_as(&old(pki::Spec::authority("Root")));
    fleet.edges[0].believe(&root, &[HOST]);
    let steady = root.issue(&old(pki::Spec::client("steady")));
    fleet.settle();
    let load = Load::begin(&fleet, &steady);
    load.goes_on(&[0, 1, 2]);
    let first = leader(&fleet);
    for (edge, offset) in [
        (first, "+3600"),
        ((first + 1) % 3, "-3600"),
        (first, "-3600"),
        ((first + 1) % 3, "+3600"),
        (first, "+0"),
        ((first + 1) % 3, "+0"),
    ] {
        set(edge, offset);
        load.goes_on(&[0, 1, 2]);
        let age = status(&fleet.edges[edge])["age_seconds"].as_f64().unwrap();
        assert!(age < 600.0, "{age}");
    }
    fleet.edges[(first + 1) % 3].says("clock");
    load.end_without_issued("clocks jumped", &fleet).await;
}

/// Passes bytes between an edge and etcd, and kills the edge in the middle of them when it is armed.
#[derive(Clone)]
struct Wire {
    address: SocketAddr,
    armed: Arc<Mutex<Option<Armed>>>,
}

/// Where bytes are written that come to `to` so much later.
fn late(mut to: TcpStream, delay: Duration) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let written = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut read, _) = listener.accept().unwrap();
    written.set_nodelay(true).unwrap();
    let (sender, waiting) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = [0; 16_384];
        while let Ok(length @ 1..) = read.read(&mut buffer) {
            let due = Instant::now() + delay;
            if sender.send((due, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in waiting {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ended = to.shutdown(Shutdown::Both);
    });
    written
}

struct Armed {
    pid: u32,
    /// Whether bytes to etcd are counted, or those that come from there.
    is_outward: bool,
    /// So many are passed on before.
    bytes: usize,
    has_fallen: Arc<AtomicBool>,
}

impl Wire {
    fn to(member: SocketAddr) -> Self {
        Self::far(member, Duration::ZERO)
    }

    fn far(member: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            armed: Arc::default(),
        };
        let accepting = this.clone();
        // It ends with the test's process, and holds nothing of others.
        std::thread::spawn(move || {
            for edge in listener.incoming() {
                let Ok(edge) = edge else { continue };
                let Ok(etcd) = TcpStream::connect(member) else {
                    continue;
                };
                let (from_edge, from_etcd) = (edge.try_clone().unwrap(), etcd.try_clone().unwrap());
                edge.set_nodelay(true).unwrap();
                etcd.set_nodelay(true).unwrap();
                let (out, back) = (accepting.clone(), accepting.clone());
                let etcd = match delay.is_zero() {
                    true => etcd,
                    false => late(etcd, delay),
                };
                std::thread::spawn(move || out.pass(from_edge, etcd, true));
                std::thread::spawn(move || back.pass(from_etcd, edge, false));
            }
        });
        this
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_outward: bool) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let mut armed = self.armed.lock().unwrap();
            let is_meant = |armed: &&mut Armed| armed.is_outward == is_outward;
            let mut bytes = &buffer[..length];
            let mut falls = None;
            if let Some(counted) = armed.as_mut().filter(is_meant) {
                match counted.bytes.checked_sub(length) {
                    Some(left) => counted.bytes = left,
                    None => {
                        bytes = &buffer[..counted.bytes];
                        falls = armed.take();
                    }
                }
            }
            drop(armed);
            let passed = to.write_all(bytes).is_ok();
            if let Some(armed) = falls {
                tests::tool::signal(armed.pid, "KILL");
                armed.has_fallen.store(true, Ordering::SeqCst);
                break;
            }
            if !passed {
                break;
            }
        }
        let _ended = to.shutdown(Shutdown::Both);
        let _ended = from.shutdown(Shutdown::Both);
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn arm(&self, pid: u32, is_outward: bool, bytes: usize) -> Arc<AtomicBool> {
        let has_fallen = Arc::new(AtomicBool::new(false));
        *self.armed.lock().unwrap() = Some(Armed {
            pid,
            is_outward,
            bytes,
            has_fallen: has_fallen.clone(),
        });
        has_fallen
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_killed_at_every_step_of_a_change() {
    let Some(etcd) = started(1) else { return };
    let wire = Wire::to(etcd.address(0));
    let edges = vec![
        setup(&etcd.url(0), "edge-0"),
        setup(&wire.url(), "edge-1"),
        setup(&etcd.url(0), "edge-2"),
    ];
    let mut fleet = Fleet::of(edges).await;
    let large = fleet.create_zone(0, "large.test").result();
    let load = Load::begin(&fleet, &steady(&fleet));
    let large = format!(
        "/client/v4/zones/{}/rulesets/phases/http_request_firewall_custom/entrypoint",
        large["id"].as_str().unwrap()
    );
    // Larger than what etcd takes as one value: it goes there in parts.
    let rules = |step: usize| {
        let rules: Vec<_> = (0..1_500)
            .map(|number| {
                let path = format!("/{step}-{number}-{}", "x".repeat(200));
                json!({ "action": "block", "expression": format!("http.request.uri.path eq \"{path}\"") })
            })
            .collect();
        json!({ "rules": rules })
    };
    // Where it falls: so many bytes after the change was begun, to etcd or from there; or so much later.
    let small = [0, 40, 150, 300, 600, 1_000];
    let outward = small.iter().map(|bytes| (true, *bytes, false));
    let inward = small.iter().map(|bytes| (false, *bytes, false));
    let parts = [20_000, 250_000, 300_000, 540_000];
    let parts = parts.iter().map(|bytes| (true, *bytes, true));
    // And some that have all of it, and die right after their answer.
    let after = [(true, usize::MAX, false); 4].into_iter();
    let steps = outward.chain(inward).chain(parts).chain(after);
    let (mut fell, mut acknowledged) = (0, 0);
    for (step, (is_outward, bytes, is_large)) in steps.enumerate() {
        let (admin, pid) = (fleet.edges[1].admin.clone(), fleet.edges[1].pid());
        load.goes_down(1);
        let has_fallen = wire.arm(pid, is_outward, bytes);
        let body = if is_large {
            rules(step)
        } else {
            json!({ "name": format!("step-{step}.test") })
        };
        let path = large.clone();
        let change = std::thread::spawn(move || match is_large {
            true => admin.ask("PUT", &path, Some(&body)),
            false => admin.ask("POST", "/client/v4/zones", Some(&body)),
        });
        let reply = change.join().unwrap();
        let is_done = reply.is_some_and(|reply| reply.status == 200);
        if !has_fallen.load(Ordering::SeqCst) {
            // The change took fewer bytes. It dies a little later, each time.
            *wire.armed.lock().unwrap() = None;
            std::thread::sleep(Duration::from_millis(step as u64 % 4));
            fleet.edges[1].signal("KILL");
        }
        let _killed = fleet.edges[1].wait();
        tokio::task::block_in_place(|| fleet.edges[1].start());
        load.is_up(1);
        load.goes_on(&[0, 1]);
        let is_there = |edge: &Gateway| {
            if is_large {
                let rules = edge.admin.get(&large).body;
                return rules.contains(&format!("/{step}-0-"));
            }
            let zones = cli(edge, &["zone", "list"]);
            zones.contains(&format!("step-{step}.test"))
        };
        if is_done {
            assert!(is_there(&fleet.edges[1]), "{step} was acknowledged");
        }
        fell += usize::from(has_fallen.load(Ordering::SeqCst));
        acknowledged += usize::from(is_done);
    }
    println!("killed in the middle {fell} times, {acknowledged} changes were acknowledged before");
    assert!(fell >= 8 && acknowledged >= 2, "{fell} {acknowledged}");
    load.end("an edge was killed at its steps", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_20_megabytes_comes_while_others_change() {
    let Some(etcd) = started(1) else { return };
    let fleet = Fleet::start(&etcd, 3).await;
    let root = fleet.edges[0].root(&[HOST]);
    let device = root.client("listed");
    let id = crate::fleet::status_of_uploaded(&fleet.edges[0]);
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    let der = crate::fleet::large_list(&root, &device, 600_000);
    assert!(der.len() > 20_000_000, "{}", der.len());
    let file = fleet.edges[0].file("large.crl");
    std::fs::write(&file, &der).unwrap();
    cli(
        &fleet.edges[0],
        &["crl", "set", &id, "--watch", file.to_str().unwrap()],
    );
    for edge in &fleet.edges {
        until("the list", || {
            let shown = edge.cli(&["--json", "crl", "show", &id]).out;
            shown.contains("600001").then_some(())
        });
    }
    load.goes_on(&[0, 1, 2]);
    for edge in 0..3 {
        assert_eq!(fleet.asked(edge, &device).await, 403, "edge {edge}");
    }
    load.end("a list of 20 MB came", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_are_upgraded_one_after_the_other() {
    let Some(etcd) = started(1) else { return };
    let mut fleet = Fleet::start(&etcd, 3).await;
    let newer = other_version(&fleet.edges[0].file("newer"));
    let load = Load::begin(&fleet, &steady(&fleet));
    load.goes_on(&[0, 1, 2]);
    for edge in 0..3 {
        let before = fleet.edges[edge].pid();
        cli(&fleet.edges[edge], &["upgrade", newer.to_str().unwrap()]);
        fleet.edges[edge].replaced(before);
        load.goes_on(&[0, 1, 2]);
        // Both versions are there, and each has what the other changes.
        until("the edge to say its version", || {
            let told = cli(&fleet.edges[2], &["--json", "fleet", "status"]);
            (told.matches(OTHER).count() > edge).then_some(())
        });
    }
    load.end("edges were upgraded", &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_change_from_far_away_is_taken() {
    let Some(etcd) = started(1) else { return };
    let far = Wire::far(etcd.address(0), Duration::from_millis(300));
    let edges = vec![setup(&etcd.url(0), "near"), setup(&far.url(), "far")];
    let fleet = Fleet::of(edges).await;
    let root = fleet.edges[0].root(&[HOST]);
    let device = root.client("listed");
    let id = crate::fleet::status_of_uploaded(&fleet.edges[0]);
    fleet.settle();
    let file = fleet.edges[1].file("large.crl");
    // Of three parts.
    let der = crate::fleet::large_list(&root, &device, 17_000);
    std::fs::write(&file, &der).unwrap();
    cli(
        &fleet.edges[1],
        &["crl", "put", &id, file.to_str().unwrap()],
    );
    fleet.settle();
    assert_eq!(fleet.asked(0, &device).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_far_from_etcd_gets_its_turn() {
    let Some(etcd) = started(1) else { return };
    let far = Wire::far(etcd.address(0), Duration::from_millis(150));
    let edges = vec![
        setup(&etcd.url(0), "edge-0"),
        setup(&etcd.url(0), "edge-1"),
        setup(&far.url(), "far"),
    ];
    let fleet = Fleet::of(edges).await;
    // The others change as fast as they can.
    let stops = Arc::new(AtomicBool::new(false));
    let others = [0, 1].map(|edge| {
        let (admin, stops) = (fleet.edges[edge].admin.clone(), stops.clone());
        std::thread::spawn(move || {
            let mut made = 0;
            while !stops.load(Ordering::SeqCst) {
                let body = json!({ "name": format!("e{edge}-{made}.test") });
                let reply = admin.call("POST", "/client/v4/zones", &body);
                assert_eq!(reply.status, 200, "{}", reply.body);
                made += 1;
            }
            made
        })
    });
    for number in 0..5 {
        let reply = fleet.create_zone(2, &format!("far-{number}.test"));
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    stops.store(true, Ordering::SeqCst);
    let made: usize = others.into_iter().map(|other| other.join().unwrap()).sum();
    println!("5 changes from far away, {made} from nearby meanwhile");
    fleet.settle();
}

/// As long as the version's own number.
const OTHER: &str = "9.8.7";

/// The binary with another version's number, which `vocabulary::version` keeps in one place.
fn other_version(path: &Path) -> std::path::PathBuf {
    let own = env!("CARGO_PKG_VERSION").as_bytes();
    assert_eq!(own.len(), OTHER.len());
    let mut binary = std::fs::read(tests::tool::postern()).unwrap();
    let mut at = 0;
    let mut found = 0;
    while let Some(next) = binary[at..].windows(own.len()).position(|some| some == own) {
        binary[at + next..][..own.len()].copy_from_slice(OTHER.as_bytes());
        at += next + own.len();
        found += 1;
    }
    assert!(found > 0);
    std::fs::write(path, binary).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).unwrap();
    path.to_owned()
}
