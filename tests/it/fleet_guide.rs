//! `gateway/docs/fleet-guide.md`: runs every command as a reader would paste it, and compares what is printed, while
//! a client asks the first gateway all the time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fixtures::new_loopback;
use tests::admin::Admin;
use tests::gateway::{new_address, new_directory};
use tests::tool::{self, has};

use crate::guide::{BACKGROUND, Block, Running, blocks, check, shell};

/// Where the commands that say no other find a gateway.
const SOCKET: &str = "one/admin.sock";

/// Waits until all three have the same changes.
const SETTLED: &str = r#"
settled() {
    for edge in one two three; do
        postern --socket $edge/admin.sock fleet status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["revision"])'
    done | sort -u | wc -l
}
for _ in $(seq 200); do [ "$(settled)" != 1 ] || break; sleep 0.2; done
"#;

/// Addresses of the guide, and those that no other test uses.
struct Places(Vec<(String, SocketAddr)>);

impl Places {
    fn new() -> Self {
        let gateways = [8443, 8444, 8445].map(|port| (format!("127.0.0.1:{port}"), new_address()));
        let others = [2379, 2380, 9000].map(|port| (format!("127.0.0.1:{port}"), new_loopback()));
        Self(gateways.into_iter().chain(others).collect())
    }

    fn of(&self, port: u16) -> SocketAddr {
        let wanted = format!(":{port}");
        let is_it = |place: &&(String, SocketAddr)| place.0.ends_with(&wanted);
        self.0.iter().find(is_it).unwrap().1
    }

    fn adapted(&self, block: &str) -> String {
        let origin = self.of(9000);
        let mut block = block.replace(
            "http.server 9000 --bind 127.0.0.1",
            &format!("http.server {} --bind {}", origin.port(), origin.ip()),
        );
        for port in [8443, 8444, 8445] {
            // A loop says ports alone.
            let address = self.of(port).to_string();
            block = block.replace(&format!("127.0.0.1:{port}"), &address);
            block = block.replace(&format!(" {port}"), &format!(" {address}"));
        }
        block = block.replace("127.0.0.1:$port", "$port");
        for (said, place) in &self.0 {
            block = block.replace(said, &place.to_string());
        }
        // What comes within a second comes later on a busy machine.
        block.replace("\nsleep 1\n", SETTLED)
    }
}

/// Ends the process that a reload has put in the place of the one that was started.
struct Successor(Admin);

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(pid) = self.0.process() {
            tool::signal(pid, "TERM");
            let _ended = tool::ends(pid);
        }
    }
}

/// Asks the first gateway until it is told to stop; none may fail.
fn ask(home: &Path, gateway: SocketAddr, stops: &AtomicBool) -> usize {
    let curl = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}' --cacert server.pem --cert device-2.pem --key device-2.key \
         --connect-to ::{gateway} https://api.example.com/"
    );
    let mut asked = 0;
    while !stops.load(Ordering::SeqCst) {
        let done = tool::run(&mut shell(&curl, home, SOCKET));
        assert_eq!((done.code, &*done.out), (0, "200"), "{}", done.err);
        asked += 1;
    }
    asked
}

#[test]
fn every_command_of_the_fleets_guide_works_without_an_outage() {
    let needed = ["bash", "openssl", "curl", "python3", "etcd"];
    if !needed.into_iter().all(has) {
        eprintln!("skipped: needs {}", needed.join(", "));
        return;
    }
    let home = new_directory();
    let places = Places::new();
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../gateway/docs/fleet-guide.md");
    let text = std::fs::read_to_string(page).unwrap();
    let mut running = Vec::new();
    let successor = Successor(Admin::new(&home.join(SOCKET)));
    let stops = Arc::new(AtomicBool::new(false));
    let mut client = None;
    let mut last = (String::new(), String::new());
    for block in blocks(&text) {
        match block {
            Block::Printed(wanted) => check(&last.0, &last.1, &wanted),
            Block::Shell(block) => {
                let script = places.adapted(&block);
                if let Some(line) = script.strip_prefix(BACKGROUND) {
                    let port = [
                        ("http.server", 9000),
                        ("one/", 8443),
                        ("two/", 8444),
                        ("three/", 8445),
                        ("etcd", 2379),
                    ];
                    let (_, port) = port
                        .into_iter()
                        .find(|(word, _)| line.contains(word))
                        .unwrap();
                    running.push(Running::start(line, &home, SOCKET, places.of(port)));
                    continue;
                }
                let done = tool::run(&mut shell(&format!("exec 2>&1\n{script}"), &home, SOCKET));
                assert_eq!(done.code, 0, "{block}\n{}\n{}", done.out, done.err);
                last = (block, done.out);
                if client.is_none() && home.join("device-2.pem").exists() {
                    let (home, stops) = (home.clone(), stops.clone());
                    let gateway = places.of(8443);
                    client = Some(std::thread::spawn(move || ask(&home, gateway, &stops)));
                }
            }
        }
    }
    stops.store(true, Ordering::SeqCst);
    let asked = client.unwrap().join().unwrap();
    println!("{asked} requests while one became three and one again, none failed");
    // Each is a process of curl's, which takes its time.
    assert!(asked > 3, "{asked}");
    assert_eq!(running.len(), 5);
    drop(successor);
    drop(running);
    std::fs::remove_dir_all(&home).unwrap();
}
