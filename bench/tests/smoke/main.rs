//! Every mode of the load harness, for function and not for figures: whether it ends well, and
//! whether all that it promises is in its report.
//!
//! Together within two minutes. Peers that are not installed are left out, which is said.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is a test binary: a panic is a failed test, with its place"
)]

mod page;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tests::tool::{self, Outcome};

/// Who takes part when it is there. Envoy takes long to start, and Caddy is Go's.
const PEERS: &str = "floor,postern,nginx,haproxy,pingora";

/// A file system in memory, where there is one.
const MEMORY: &str = "/dev/shm";

/// More bytes than the sockets of a connection hold (`net.ipv4.tcp_rmem` and `tcp_wmem` are 6 and 4 MB by default).
const SOCKET_BYTES_MAX: u64 = 16 << 20;

/// A directory of a test that goes away with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(tests::gateway::new_directory())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs the harness, in turns: it has its clients on one CPU and its proxies on another, where several of them would
/// starve each other. Edges of a fleet are everywhere, and mostly wait; there is time for the others.
fn bench(arguments: &[&str]) -> Outcome {
    static TURN: Mutex<()> = Mutex::new(());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(arguments);
    let first = arguments.first().copied().unwrap_or_default();
    let is_fleet = first == "fleet";
    let _turn = (!is_fleet).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    if is_fleet && Path::new(MEMORY).is_dir() {
        // etcd's changes have five seconds, and a disk that takes what was compiled before may need them.
        command.env("TMPDIR", MEMORY);
    }
    if !["load", "fleet"].contains(&first) {
        command.arg("--postern").arg(tool::postern());
    }
    tool::run(&mut command)
}

/// Whether a peer is installed, where the harness looks for it.
fn has(program: &str) -> bool {
    let services = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(services)
        .any(|directory| directory.join(program).is_file());
    if !found {
        eprintln!("skipped: needs {program}");
    }
    found
}

/// Whether Pingora was built, or stands on the search path.
fn has_pingora() -> bool {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    top.join("pingora/target/release/pingora-peer").is_file() || has("pingora-peer")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names(value: &Value) -> Vec<&str> {
    let peers = value.as_array().unwrap().iter();
    peers.map(|peer| peer["name"].as_str().unwrap()).collect()
}

/// Compares in these modes; answers the scenarios of the report.
fn compare(directory: &Directory, more: &[&str]) -> Vec<Value> {
    let file = directory.file("compare.json");
    let path = file.to_str().unwrap();
    let short = ["--rounds", "1", "--seconds", "0.4", "--warm-up", "0.2"];
    let fixed = ["compare", "--peers", PEERS, "--json", path];
    let outcome = bench(&[&fixed[..], &short, more].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let report = json(&file);
    for (name, there) in [
        ("nginx", has("nginx")),
        ("haproxy", has("haproxy")),
        ("pingora", has_pingora()),
    ] {
        let version = report["versions"][name].as_str();
        assert_eq!(version.is_some(), there, "{}", report["versions"]);
        let word = format!("{name} is not installed and left out");
        assert_eq!(outcome.err.contains(&word), !there, "{}", outcome.err);
    }
    assert!(
        report["versions"]["postern"]
            .as_str()
            .unwrap()
            .contains("postern")
    );
    let scenarios = report["scenarios"].as_array().unwrap().clone();
    for scenario in &scenarios {
        let mode = scenario["mode"].as_str().unwrap();
        let relayed = names(&scenario["peers"]).contains(&"floor");
        assert_eq!(relayed, mode != "h2", "{mode}");
        for peer in scenario["peers"].as_array().unwrap() {
            let name = &peer["name"];
            let figure = |value: &Value| value["median"].as_f64().unwrap();
            assert!(figure(&peer["cpu_ns"]) > 0.0, "{mode}, {name}");
            assert!(figure(&peer["rate"]) > 0.0, "{mode}, {name}");
            let of_floor = peer["of"]["floor"]["median"].as_f64();
            assert_eq!(
                of_floor.is_some(),
                relayed && name != "floor",
                "{mode}, {name}"
            );
        }
    }
    scenarios
}

#[test]
fn requests_and_contents_of_every_kind() {
    let directory = Directory::new();
    let modes = ["--mode", "keepalive,h2,grpc,download,upload"];
    let sizes = [
        "--connections",
        "4",
        "--streams",
        "2",
        "--content",
        "4000000",
    ];
    let none = ["--certificate", "without", "--load", ""];
    let scenarios = compare(&directory, &[&modes[..], &sizes, &none].concat());
    let modes: Vec<_> = scenarios
        .iter()
        .map(|one| one["mode"].as_str().unwrap())
        .collect();
    assert_eq!(modes, ["keepalive", "h2", "grpc", "download", "upload"]);
    for scenario in &scenarios {
        for peer in scenario["peers"].as_array().unwrap() {
            assert_eq!(peer["open_loop"].as_array().unwrap().len(), 0);
        }
        let whole = matches!(scenario["mode"].as_str(), Some("download" | "upload"));
        assert_eq!(scenario["content"].as_u64(), whole.then_some(4_000_000));
    }
}

#[test]
fn handshakes_and_calls_with_certificates() {
    let directory = Directory::new();
    let modes = ["--mode", "handshakes,resumed,grpc"];
    let sizes = ["--connections", "4", "--streams", "2"];
    let none = ["--certificate", "with", "--load", ""];
    let scenarios = compare(&directory, &[&modes[..], &sizes, &none].concat());
    assert_eq!(scenarios.len(), 3);
    for peer in scenarios[1]["peers"].as_array().unwrap() {
        let runs = peer["closed_loop"].as_array().unwrap();
        let all = |what: &str| -> u64 { runs.iter().filter_map(|run| run[what].as_u64()).sum() };
        assert!(
            all("resumed") > 0 && all("handshakes") > 0,
            "{}: {runs:?}",
            peer["name"]
        );
    }
}

#[test]
fn latencies_at_a_rate_and_a_page_of_them() {
    let directory = Directory::new();
    let page = directory.file("report.html");
    let written = ["--html", page.to_str().unwrap()];
    let load = [
        "--connections",
        "2,8",
        "--load",
        "70",
        "--certificate",
        "without",
    ];
    let scenarios = compare(&directory, &[&load[..], &written].concat());
    assert_eq!(scenarios.len(), 2);
    for peer in scenarios[1]["peers"].as_array().unwrap() {
        let open = &peer["open_loop"][0];
        assert_eq!(open["percent"], 70);
        assert!(
            open["p999_ns"]["median"].as_f64().unwrap() > 0.0,
            "{}: {open}",
            peer["name"]
        );
    }
    page::look_at(&page);
}

#[test]
fn the_aims_have_a_table() {
    let directory = Directory::new();
    let file = directory.file("aims.json");
    let short = ["--rounds", "1", "--seconds", "0.1", "--content", "1000000"];
    let written = ["--idle", "0", "--json", file.to_str().unwrap()];
    let outcome = bench(&[&["aims"][..], &short, &written].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.out.contains("keep-alive, 256 connections"),
        "{}",
        outcome.out
    );
    let report = json(&file);
    for row in report["aims"].as_array().unwrap() {
        let others = ["of floor", "of TLS 1.2"];
        if others.iter().any(|other| row["of"] == *other) {
            assert!(row["kept"].is_boolean(), "{row}");
        }
    }
}

#[test]
fn floods_have_a_table() {
    let directory = Directory::new();
    let file = directory.file("flood.json");
    let some = [
        "--only",
        "PING ACK,rapid reset,silent TCP,new keys",
        "--duration",
        "1",
    ];
    let outcome = bench(&[&["flood", "--json", file.to_str().unwrap()][..], &some].concat());
    // Its bounds are for a machine that has nothing else to do.
    let beyond = outcome.err.contains("attacks cost more than they may");
    assert!(outcome.code == 0 || beyond, "{outcome:?}");
    let report = json(&file);
    let floods = report["floods"].as_array().unwrap();
    assert_eq!(floods.len(), 4);
    for flood in floods {
        assert!(flood["attacker"]["opened"].as_u64() > Some(0), "{flood}");
        assert!(flood["p99_ns"].as_u64() > Some(0), "{flood}");
        assert_eq!(flood["failed"], 0, "{flood}");
    }
    // An attacker gives way to visitors. One that came to send more than its socket takes has been ended.
    let ping = &floods[0]["attacker"];
    let has_sent = ping["bytes"].as_u64() > Some(SOCKET_BYTES_MAX);
    assert!(ping["closed"] == 1 || !has_sent, "{ping}");
}

#[test]
fn pages_have_a_table() {
    let directory = Directory::new();
    let file = directory.file("pages.json");
    let some = [
        "--connections",
        "8",
        "--pages",
        "2",
        "--rate",
        "500",
        "--rounds",
        "1",
        "--seconds",
        "0.5",
    ];
    let outcome = bench(&[&["pages", "--json", file.to_str().unwrap()][..], &some].concat());
    // Its bounds are for a machine that has nothing else to do.
    let beyond = outcome.err.contains("pages cost more than they may");
    assert!(outcome.code == 0 || beyond, "{outcome:?}");
    let report = json(&file);
    let turns = report["turns"].as_array().unwrap();
    let pages: Vec<_> = turns.iter().map(|turn| turn["pages"].as_u64()).collect();
    assert_eq!(pages, [Some(0), Some(2), Some(2), Some(0)]);
    for turn in turns {
        assert!(turn["worker_ns"].as_f64() > Some(0.0), "{turn}");
        let told = turn["pages"] != 0;
        assert_eq!(turn["events"].as_f64() > Some(0.0), told, "{turn}");
    }
}

#[test]
fn edges_of_a_fleet_take_every_change() {
    if !has("etcd") {
        return;
    }
    let directory = Directory::new();
    let file = directory.file("fleet.json");
    let stores = directory.file("");
    let short = [
        "--seconds",
        "1",
        "--idle",
        "0.2",
        "--edges",
        "3",
        "--hosts",
        "2",
        "--rules",
        "5",
    ];
    let places = [
        "--stores",
        stores.to_str().unwrap(),
        "--json",
        file.to_str().unwrap(),
    ];
    for more in [
        &["--certificates", "20"][..],
        &["--bare", "--bytes", "100"],
        &["--bare", "--relays", "1"],
    ] {
        let outcome = bench(&[&["fleet"][..], &short, &places, more].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let report = json(&file);
        let run = &report["runs"][0];
        assert_eq!(run["edges"], 3, "{run}");
        assert_eq!(run["changes"], 5, "{run}");
        let whole = !more.contains(&"--bare");
        let figure = |pointer: &str| run.pointer(pointer).and_then(Value::as_f64).unwrap();
        for pointer in [
            "/append/p50_ms",
            "/etcd/us",
            "/followers/us",
            "/wire_bytes",
            "/back_ms",
        ] {
            assert!(figure(pointer) > 0.0, "{pointer}: {run}");
        }
        for pointer in ["/take_us", "/stores"] {
            assert_eq!(figure(pointer) > 0.0, whole, "{pointer}: {run}");
        }
        let stages = run["stages"].as_array().unwrap();
        for stage in stages {
            assert_eq!(stage[1].as_f64() > Some(0.0), whole, "{run}");
        }
    }
}

#[test]
fn origin_faults_are_counted() {
    let directory = Directory::new();
    let file = directory.file("faults.json");
    let short = ["--seconds", "2", "-c", "4", "--fault", "none,killed"];
    let outcome = bench(
        &[
            &["origin-faults", "--json", file.to_str().unwrap()][..],
            &short,
        ]
        .concat(),
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let report = json(&file);
    let runs = report["runs"].as_array().unwrap();
    let ours: Vec<_> = runs.iter().filter(|run| run["peer"] == "postern").collect();
    assert_eq!(ours.len(), 2);
    for run in ours {
        assert!(run["requests"].as_u64() > Some(4), "{run}");
        assert_eq!(run["failed"], 0, "{run}");
    }
}
