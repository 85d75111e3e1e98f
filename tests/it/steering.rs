//! Connections are accepted by the worker that owns their host: by the kernel, by hand-over, and
//! both.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::upgrade::stand_in;
use serde_json::Value;
use tests::network::{SERVER_IPV4, SERVER_IPV6, SERVER_SECOND};
use tests::{Client, Gateway, Network, Origin, Setup};

const HOSTS: usize = 8;
const WORKERS: &str = "4";
/// One segment.
const CLASSICAL: &str = "X25519:P-256";
/// Two segments on Ethernet.
const POST_QUANTUM: &str = "X25519MLKEM768:X25519";

fn host(number: usize) -> String {
    format!("h{number}.example.test")
}

fn setup(origin: &Origin, workers: &str) -> Setup {
    let setup = Setup::new()
        .set("workers", workers)
        .set("steer.balance", "off");
    (0..HOSTS).fold(setup, |setup, number| {
        setup.host(&host(number), "off", &origin.url())
    })
}

fn steering(gateway: &Gateway) -> Value {
    gateway.cli(&["--json", "steer", "status"]).json()
}

/// Which workers own which host, once every host has an owner.
fn owners(gateway: &Gateway) -> HashMap<String, Vec<u64>> {
    tests::wait::until("owners of all hosts", || {
        let status = steering(gateway);
        let owned: HashMap<String, Vec<u64>> = status["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|host| {
                let workers = host["workers"].as_array().unwrap();
                let workers = workers.iter().map(|worker| worker.as_u64().unwrap());
                (host["host"].as_str().unwrap().into(), workers.collect())
            })
            .collect();
        (owned.len() == HOSTS).then_some(owned)
    })
}

/// One connection to every host at every address, each with a path of its own.
async fn visit(gateway: &Gateway, addresses: &[SocketAddr], round: &str, groups: &str) {
    for number in 0..HOSTS {
        for (at, address) in addresses.iter().enumerate() {
            let client: Client = gateway.client_at(*address, &host(number)).groups(groups);
            let answer = client.get(&format!("/{round}/{number}/{at}")).await;
            assert_eq!(answer.unwrap().status, 200, "{address} {round} {number}");
        }
    }
}

/// Checks that the owner served every request of a round, and counts how the connections came there.
fn shares(
    gateway: &Gateway,
    owners: &HashMap<String, Vec<u64>>,
    addresses: usize,
    round: &str,
) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for number in 0..HOSTS {
        for at in 0..addresses {
            let record = gateway.request_record(&format!("/{round}/{number}/{at}"));
            let worker = record["worker"].as_u64().unwrap();
            assert!(owners[&host(number)].contains(&worker), "{record}");
            let steered = record["steered"].as_str().unwrap().to_owned();
            *shares.entry(steered).or_insert(0) += 1;
        }
    }
    shares
}

/// Visits every host, and checks that the kernel brought every connection to the owner.
fn check_kernel(network: &Network, gateway: Gateway, round: &str) -> Gateway {
    let owners = owners(&gateway);
    let (shared, addresses) = (Arc::new(gateway), [SERVER_IPV4, SERVER_IPV6].len());
    let (there, name) = (shared.clone(), round.to_owned());
    network.client.block_on(move || async move {
        visit(&there, &there.listen, &name, CLASSICAL).await;
    });
    let all = HashMap::from([("kernel".to_owned(), HOSTS * addresses)]);
    assert_eq!(shares(&shared, &owners, addresses, round), all, "{round}");
    assert_eq!(network.server.syncookies(), "2", "{round}");
    let status = steering(&shared);
    assert_eq!(status["mode"], "kernel", "{status}");
    Arc::into_inner(shared).unwrap()
}

#[test]
fn steering_goes_on_through_upgrades() {
    let Some(network) = Network::new("steering::upgrade") else {
        return;
    };
    let before = network.server.syncookies();
    let (_origin, gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS).listen(&[SERVER_IPV4, SERVER_IPV6]);
        (origin, setup.set("steer.mode", "kernel").start())
    });
    let mut gateway = check_kernel(&network, gateway, "before");
    for step in [3, 6, 8] {
        // The last one ends when its own programs are in place already.
        let Some(binary) = stand_in(&gateway, step, "exit") else {
            return;
        };
        let outcome = gateway.cli(&["upgrade", binary.to_str().unwrap()]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        gateway = check_kernel(&network, gateway, &format!("failed-{step}"));
    }
    for number in 0..2 {
        let former = gateway.pid();
        assert_ne!(gateway.upgrade(), former);
        gateway = check_kernel(&network, gateway, &format!("upgraded-{number}"));
        tests::wait::until("the end of the old process", || {
            (!tests::tool::is_alive(former)).then_some(())
        });
        gateway = check_kernel(&network, gateway, &format!("alone-{number}"));
    }
    drop(gateway);
    assert_eq!(network.server.syncookies(), before, "it is put back");
}

#[test]
fn the_kernel_brings_connections_to_the_owner_of_their_host() {
    let Some(network) = Network::new("steering::kernel") else {
        return;
    };
    let before = network.server.syncookies();
    let (origin, mut gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS).listen(&[SERVER_IPV4, SERVER_IPV6]);
        (origin, setup.set("steer.mode", "kernel").start())
    });
    assert_eq!(network.server.syncookies(), "2");
    let status = steering(&gateway);
    assert_eq!(status["mode"], "kernel", "{status}");
    assert_eq!(status["interfaces"][0]["name"], "inside", "{status}");
    assert_eq!(status["interfaces"][0]["xdp"], "native", "{status}");
    let owners = owners(&gateway);
    for worker in 0..4_u64 {
        let owned = owners.values().filter(|owners| owners.contains(&worker));
        assert_eq!(owned.count(), 2, "{owners:?}");
    }

    let addresses = gateway.listen.clone();
    let shared = Arc::new(gateway);
    for (groups, rounds) in [(CLASSICAL, 5), (POST_QUANTUM, 5)] {
        let mut sum: HashMap<String, usize> = HashMap::new();
        for number in 0..rounds {
            let round = format!("{}{number}", &groups[..7]);
            let (there, name, to) = (shared.clone(), round.clone(), addresses.clone());
            network
                .client
                .block_on(move || async move { visit(&there, &to, &name, groups).await });
            for (how, count) in shares(&shared, &owners, 2, &round) {
                *sum.entry(how).or_insert(0) += count;
            }
        }
        println!("{groups}: {sum:?}");
        if groups == CLASSICAL {
            let all = HashMap::from([("kernel".to_owned(), rounds * HOSTS * 2)]);
            assert_eq!(sum, all, "all of one segment");
        } else {
            // Those that name the host in the first segment, and those whose second one lay in the
            // same batch; chance has another worker's part in who of the others is handed over.
            let counted = steering(&shared)["kernel"].clone();
            let count = |reason: &str| usize::try_from(counted[reason].as_u64().unwrap()).unwrap();
            let (all, late) = (rounds * HOSTS * 2, count("split") - count("joined"));
            assert!(sum["kernel"] >= all - late, "{sum:?} {counted}");
            assert!(count("split") == 0 || count("joined") > 0, "{counted}");
        }
        let counted = steering(&shared)["kernel"].clone();
        assert_eq!(counted["bad_cookie"], 0, "{counted}");
    }
    let counted = steering(&shared)["kernel"].clone();
    let classical = (5 * HOSTS * 2) as u64;
    assert!(
        counted["steered"].as_u64().unwrap() >= classical,
        "{counted}"
    );
    let metrics = shared.admin.get("/metrics").body;
    assert!(
        metrics.contains("postern_steer_segments_total{reason=\"steered\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("postern_steer_mode{mode=\"kernel\"} 1"),
        "{metrics}"
    );

    // By host as well, in both places.
    let status = steering(&shared);
    let named = |name: &str| {
        status["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["host"] == *name)
            .cloned()
    };
    let first = named(&host(0)).unwrap();
    let steered = first["kernel"]["steered"].as_u64().unwrap();
    let came = &first["connections"];
    assert!(
        steered >= 10 && first["kernel"]["seen"] == steered,
        "{first}"
    );
    assert_eq!(
        came["kernel"].as_u64().unwrap()
            + came["handoff"].as_u64().unwrap()
            + came["none"].as_u64().unwrap(),
        20,
        "{first}"
    );
    let line = format!(
        "postern_steer_host_segments_total{{host=\"{}\",reason=\"steered\"}} {steered}",
        host(0)
    );
    assert!(shared.admin.get("/metrics").body.contains(&line), "{line}");

    // Everything is put back, and nothing is left on the interface.
    gateway = Arc::into_inner(shared).unwrap();
    assert!(network.server.ip("link show inside").contains("xdp"));
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    assert_eq!(network.server.syncookies(), before);
    assert!(!network.server.ip("link show inside").contains("xdp"));
    drop(origin);
}

#[test]
fn a_crash_leaves_traffic_flowing_and_the_next_start_cleans_up() {
    let Some(network) = Network::new("steering::crash") else {
        return;
    };
    let before = network.server.syncookies();
    let (origin, mut gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS).listen(&[SERVER_IPV4]);
        (origin, setup.set("steer.mode", "auto").start())
    });
    gateway.signal("KILL");
    assert!(!gateway.wait().success());
    assert_eq!(network.server.syncookies(), "2", "nobody could put it back");
    assert!(
        !network.server.ip("link show inside").contains("xdp"),
        "links end with the process"
    );
    let gateway = network.server.run(move || {
        gateway.start();
        gateway
    });
    assert_eq!(steering(&gateway)["mode"], "kernel");
    let owners = owners(&gateway);
    let addresses = gateway.listen.clone();
    let shared = Arc::new(gateway);
    let there = shared.clone();
    network.client.block_on(move || async move {
        visit(&there, &addresses, "again", CLASSICAL).await;
    });
    assert_eq!(shares(&shared, &owners, 1, "again")["kernel"], HOSTS);
    let mut gateway = Arc::into_inner(shared).unwrap();
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    assert_eq!(
        network.server.syncookies(),
        before,
        "what the first start had found"
    );
    drop(origin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_kernel_workers_hand_connections_over() {
    let origin = Origin::echo();
    let gateway = setup(&origin, WORKERS)
        .set("host/h3.example.test/workers", "1,2")
        .start();
    let status = steering(&gateway);
    assert_eq!(status["mode"], "handoff", "{status}");
    assert!(
        status["reason"].as_str().unwrap().contains("loopback"),
        "a laptop's loopback is left alone: {status}"
    );
    let owned = owners(&gateway);
    assert_eq!(owned["h3.example.test"], [1, 2]);
    let mut sum: HashMap<String, usize> = HashMap::new();
    for round in ["a", "b", "c", "d"] {
        visit(&gateway, &[gateway.address], round, POST_QUANTUM).await;
        for (how, count) in shares(&gateway, &owned, 1, round) {
            *sum.entry(how).or_insert(0) += count;
        }
    }
    assert_eq!(sum.values().sum::<usize>(), 4 * HOSTS);
    assert!(sum["handoff"] > 0 && !sum.contains_key("kernel"), "{sum:?}");

    // Other pins at SIGHUP, for new connections.
    gateway.configure(&[
        ("workers", WORKERS),
        ("steer.balance", "off"),
        ("host/h3.example.test/workers", "0"),
    ]);
    gateway.signal("HUP");
    let owned = tests::wait::until("the new pin", || {
        Some(owners(&gateway)).filter(|owned| owned["h3.example.test"] == [0])
    });
    visit(&gateway, &[gateway.address], "e", CLASSICAL).await;
    drop(shares(&gateway, &owned, 1, "e"));
    let human = gateway.cli(&["steer", "status"]).ok();
    assert!(
        human.contains("h3.example.test  0        ") && human.contains("pinned"),
        "{human}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_and_off_steer_nothing() {
    let origin = Origin::echo();
    for (workers, mode, reason) in [("1", "auto", true), ("2", "off", false)] {
        let gateway = setup(&origin, workers).set("steer.mode", mode);
        let gateway = gateway.start();
        let status = steering(&gateway);
        assert_eq!(
            (&status["mode"], status["reason"].is_string()),
            (&"off".into(), reason)
        );
        visit(&gateway, &[gateway.address], "x", CLASSICAL).await;
        let record = gateway.request_record("/x/0/0");
        assert_eq!(record["steered"], "none", "{record}");
    }
}

#[test]
fn the_kernel_turns_away_what_it_is_told_to_and_tells_of_it() {
    let Some(network) = Network::new("steering::admission") else {
        return;
    };
    let (origin, gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS)
            .listen(&[SERVER_IPV4])
            .set("steer.drop_unknown", "on")
            .block("ip.src in {192.0.2.0/24}");
        (origin, setup.start())
    });
    drop(owners(&gateway));
    let gateway = Arc::new(gateway);
    let there = gateway.clone();
    network.client.block_on(move || async move {
        // The rule answers what the kernel lets through.
        let known = there.client(&host(1)).groups(CLASSICAL);
        assert_eq!(known.get("/blocked").await.unwrap().status, 403);
    });
    let there = gateway.clone();
    let tracer = std::thread::spawn(move || {
        there.cli(&[
            "--json",
            "steer",
            "trace",
            "--count",
            "2",
            "--seconds",
            "20",
        ])
    });
    let there = gateway.clone();
    network.client.block_on(move || async move {
        // Traces are noted once a trace is asked for: until then we knock.
        let unknown = there.client("nobody.example.test").groups(CLASSICAL);
        for _ in 0..20 {
            let knock =
                tokio::time::timeout(std::time::Duration::from_millis(100), unknown.http1());
            assert!(knock.await.is_err(), "an unknown host is not answered");
        }
    });
    let traced = tracer.join().unwrap().ok();
    let first: Value = serde_json::from_str(traced.lines().next().unwrap()).unwrap();
    assert_eq!(first["dropped"], true, "{traced}");
    assert_eq!(first["decided"], "unknown", "{traced}");

    let set = |key: &str, value: &str| {
        let path = format!("/postern/v1/sysctl/{key}");
        let body = serde_json::json!({ "value": value });
        drop(gateway.admin.call("PUT", &path, &body).result());
    };
    let count = |reason: &str| steering(&gateway)["kernel"][reason].as_u64().unwrap();
    assert!(count("unknown_dropped") >= 20);
    set("steer.drop_unknown", "off");
    set("steer.drop_blocked", "on");
    let there = gateway.clone();
    network.client.block_on(move || async move {
        let known = there.client(&host(1)).groups(CLASSICAL);
        tests::wait::within("the kernel to block", async {
            let blocked = || steering(&there)["kernel"]["blocked"].as_u64().unwrap();
            let patience = std::time::Duration::from_millis(500);
            let mut is_unanswered = false;
            while blocked() == 0 || !is_unanswered {
                is_unanswered = tokio::time::timeout(patience, known.http1()).await.is_err();
            }
        })
        .await;
    });
    // No client is remembered: what waits is let in as soon as it may be.
    let there = gateway.clone();
    let waiting = std::thread::spawn(move || {
        network.client.block_on(move || async move {
            let known = there.client(&host(2)).groups(CLASSICAL);
            known.get("/later").await.unwrap().status
        })
    });
    set("steer.drop_blocked", "off");
    assert_eq!(waiting.join().unwrap(), 403);
    drop(origin);
}

/// Two wires, two ports, one listener for all addresses: everything is steered, wherever it arrives.
#[test]
fn several_interfaces_and_ports_are_steered() {
    let Some(network) = Network::new("steering::several") else {
        return;
    };
    network.second_wire();
    let (origin, gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS).listen(&["0.0.0.0:443", "0.0.0.0:8443", "[::]:443"]);
        (origin, setup.set("steer.mode", "auto").start())
    });
    let status = steering(&gateway);
    assert_eq!(status["mode"], "kernel", "{status}");
    let names: Vec<&Value> = status["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["inside", "inside2"], "{status}");
    assert_eq!(status["ports"], serde_json::json!([443, 8443]), "{status}");
    let owners = owners(&gateway);
    let addresses: Vec<SocketAddr> = [
        SERVER_IPV4.to_owned(),
        SERVER_IPV6.to_owned(),
        format!("{SERVER_SECOND}:443"),
        format!("{SERVER_SECOND}:8443"),
        SERVER_IPV4.replace(":443", ":8443"),
    ]
    .iter()
    .map(|address| address.parse().unwrap())
    .collect();
    let count = addresses.len();
    let shared = Arc::new(gateway);
    let there = shared.clone();
    network.client.block_on(move || async move {
        visit(&there, &addresses, "several", CLASSICAL).await;
    });
    let shares = shares(&shared, &owners, count, "several");
    assert_eq!(shares, HashMap::from([("kernel".into(), HOSTS * count)]));
    let mut gateway = Arc::into_inner(shared).unwrap();
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    for link in ["link show inside", "link show inside2"] {
        assert!(!network.server.ip(link).contains("xdp"), "{link}");
    }
    drop(origin);
}

/// Both sysctls, and by a start that steers nothing.
#[test]
fn what_a_killed_gateway_changed_is_put_back_by_the_next_start() {
    let Some(network) = Network::new("steering::killed") else {
        return;
    };
    let sysctls = || {
        ["tcp_syncookies", "tcp_timestamps"].map(|name| {
            let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
            text.unwrap().trim().to_owned()
        })
    };
    let before = network.server.run(sysctls);
    let (origin, mut gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS).listen(&[SERVER_IPV4]);
        let setup = setup.set("steer.mode", "kernel");
        (origin, setup.set("steer.synproxy", "on").start())
    });
    assert_eq!(network.server.run(sysctls), ["2", "2"]);
    gateway.signal("KILL");
    assert!(!gateway.wait().success());
    assert_eq!(network.server.run(sysctls), ["2", "2"], "nobody could");
    gateway.configure(&[("workers", WORKERS), ("steer.mode", "off")]);
    let mut gateway = network.server.run(move || {
        gateway.start();
        gateway
    });
    assert_eq!(network.server.run(sysctls), before);
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    assert_eq!(network.server.run(sysctls), before);
    drop(origin);
}

/// Real clients, their kernel's whole TCP and all, whose SYNs the program answers.
#[test]
fn syns_answered_in_xdp_become_connections() {
    let Some(network) = Network::new("steering::synproxy") else {
        return;
    };
    // A veth end takes what its peer's program sends back only when it runs a program itself.
    let receiving = network.client.run(|| {
        let mut receiving = datapath::steer::load().unwrap();
        receiving.attach("outside").unwrap();
        receiving
    });
    let timestamps = || {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_timestamps");
        text.unwrap().trim().to_owned()
    };
    let before = network.server.run(timestamps);
    let (origin, gateway) = network.server.run(|| {
        let origin = Origin::echo();
        let setup = setup(&origin, WORKERS).listen(&[SERVER_IPV4, SERVER_IPV6]);
        let setup = setup.set("steer.mode", "kernel");
        (origin, setup.set("steer.synproxy", "on").start())
    });
    assert_eq!(network.server.run(timestamps), "2");
    let status = steering(&gateway);
    assert_eq!(status["synproxy"], "on", "{status}");
    let owners = owners(&gateway);
    let addresses = gateway.listen.clone();
    let shared = Arc::new(gateway);
    for (round, stamps) in [("with", "1"), ("without", "0")] {
        let (there, to) = (shared.clone(), addresses.clone());
        network.client.block_on(move || async move {
            std::fs::write("/proc/sys/net/ipv4/tcp_timestamps", stamps).unwrap();
            visit(&there, &to, round, CLASSICAL).await;
        });
        let shares = shares(&shared, &owners, 2, round);
        assert_eq!(shares, HashMap::from([("kernel".to_owned(), HOSTS * 2)]));
    }
    let counted = steering(&shared)["kernel"]["syn_answered"]
        .as_u64()
        .unwrap();
    assert!(counted >= (HOSTS * 4) as u64, "{counted}");
    let mut gateway = Arc::into_inner(shared).unwrap();
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    assert_eq!(network.server.run(timestamps), before);
    drop((origin, receiving));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_can_be_watched_until_the_gateway_goes() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let origin = Origin::echo();
    let mut gateway = setup(&origin, "2").start();
    drop(owners(&gateway));
    let mut watcher = Command::new(tests::tool::postern())
        .arg("--socket")
        .arg(gateway.file("admin.sock"))
        .args(["--json", "steer", "status", "--watch", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    let mut line = || -> Option<Value> {
        let line = lines.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap())
    };
    let first = line().unwrap();
    assert_eq!(
        first["rates"]["hosts"][3]["connections"]["none"], 0.0,
        "{first}"
    );
    visit(&gateway, &[gateway.address], "watched", CLASSICAL).await;
    // Rounds go on, and one of them has the visits.
    let mut added = 0.0;
    while added == 0.0 {
        let round = line().unwrap();
        let rates = round["rates"]["hosts"][3]["connections"]
            .as_object()
            .unwrap();
        added = rates.values().map(|rate| rate.as_f64().unwrap()).sum();
        assert_eq!(round["hosts"].as_array().unwrap().len(), HOSTS, "{round}");
    }
    assert!(gateway.stop().success());
    while line().is_some() {}
    let ended = watcher.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("the gateway has gone"), "{said}");
}
