//! What steering costs and what it saves: the real gateway between two network namespaces, with the
//! kernel steering, with hand-over between workers, and with neither, and nginx with as many
//! workers, in turns (A-B-C-D-D-C-B-A).
//!
//! Each operation is a TCP connection, a full handshake (X25519, one segment), one request, and the
//! end. Reported for each mode: connections a second, CPU of the gateway a connection, connections
//! to the origin, how connections came to their worker. Client, origin and gateway share the
//! machine, so that rates are not the gateway's best; CPU is its own. Then nanoseconds a frame of
//! the kernel program by `BPF_PROG_TEST_RUN`. Needs root.
//!
//! `cargo bench -p bench --bench steering [-- CONNECTIONS] [MODE …]`

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made ends with the reason"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench::machine::{Machine, cpu_time};
use bench::peers::Child;
use datapath::steer::{Listen, load};
use tests::network::SERVER_IPV4;
use tests::pki::Authority;
use tests::{Client, Network, Origin, Setup};

const HOSTS: usize = 8;
const WORKERS: &str = "4";
/// Connections at once.
const CLIENTS: usize = 16;
/// Connections of one mode when nothing else is asked for, half of them in each of its two turns.
const CONNECTIONS: usize = 10_000;
const MODES: [&str; 4] = ["kernel", "handoff", "off", "nginx"];

/// What a mode came to.
#[derive(Default)]
struct Sum {
    connections: usize,
    wall: Duration,
    cpu: Duration,
    origin: usize,
    steered: BTreeMap<String, usize>,
}

fn main() {
    // `cargo bench` and `cargo test` pass flags of their own.
    let asked = std::env::args().skip(1).find_map(|text| text.parse().ok());
    if std::env::args().any(|text| text == "--test") {
        return;
    }
    let connections: usize = asked.unwrap_or(CONNECTIONS);
    println!("{:?}", Machine::describe());
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    let named: Vec<&str> = MODES
        .into_iter()
        .filter(|mode| std::env::args().any(|text| text == *mode))
        .collect();
    let modes = if named.is_empty() {
        MODES.to_vec()
    } else {
        named
    };
    for mode in modes.iter().chain(modes.iter().rev()).copied() {
        let Some(network) = Network::new("bench steering") else {
            return;
        };
        turn(
            &network,
            mode,
            connections / 2,
            sums.entry(mode).or_default(),
        );
    }
    println!(
        "{:8} {:>12} {:>16} {:>20} {:>20}  came by",
        "mode", "connections", "connections/s", "gateway CPU each", "origin connections"
    );
    for mode in MODES {
        let Some(sum) = sums.get(mode) else { continue };
        let count = u32::try_from(sum.connections).unwrap_or(u32::MAX);
        println!(
            "{mode:8} {count:>12} {:>16.0} {:>17.1} us {:>20}  {:?}",
            f64::from(count) / sum.wall.as_secs_f64(),
            sum.cpu.as_secs_f64() * 1e6 / f64::from(count),
            sum.origin,
            sum.steered,
        );
    }
    frames();
}

fn host(number: usize) -> String {
    format!("h{}.example.test", number % HOSTS)
}

/// How a client of a host is made.
type Visitor = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// One mode's turn: a gateway of its own, because modes are chosen at the start.
fn turn(network: &Network, mode: &'static str, connections: usize, sum: &mut Sum) {
    // One for each host: what is pooled for one is of no use to another.
    let origins = network
        .server
        .run(|| -> Vec<Origin> { (0..HOSTS).map(|_| Origin::echo()).collect() });
    let urls = origins.iter().map(Origin::url).collect();
    if mode == "nginx" {
        let Some((visitor, child, directory)) = nginx(network, urls) else {
            return println!("nginx: skipped: it is not installed");
        };
        measure(network, &visitor, (child.pid(), &origins), connections, sum);
        drop(child);
        return drop(std::fs::remove_dir_all(directory));
    }
    let gateway = network.server.run(move || {
        let setup = Setup::new()
            .listen(&[SERVER_IPV4])
            .set("workers", WORKERS)
            .set("steer.mode", mode)
            .set("steer.balance", "off")
            .set("log.level", "warn");
        let hosts = urls.iter().enumerate();
        let setup = hosts.fold(setup, |setup, (number, url): (usize, &String)| {
            setup.host(&host(number), "off", url)
        });
        setup.start()
    });
    let gateway = Arc::new(gateway);
    let of = gateway.clone();
    let visitor: Visitor = Arc::new(move |host| of.client(host));
    measure(
        network,
        &visitor,
        (gateway.pid(), &origins),
        connections,
        sum,
    );
    for record in gateway.records() {
        if let Some(steered) = record.get("steered").and_then(|word| word.as_str()) {
            *sum.steered.entry(steered.to_owned()).or_insert(0) += 1;
        }
    }
}

/// `process` is what serves, and where it sends requests.
fn measure(
    network: &Network,
    visitor: &Visitor,
    (process, origins): (u32, &[Origin]),
    connections: usize,
    sum: &mut Sum,
) {
    // Owners, code paths and caches.
    visit(network, visitor, 200);
    let (cpu, before) = (cpu_time(process), Instant::now());
    visit(network, visitor, connections);
    sum.wall += before.elapsed();
    sum.cpu += cpu_time(process).saturating_sub(cpu);
    // With those of the warm-up, which are still in use.
    sum.origin += origins.iter().map(Origin::connections).sum::<usize>();
    sum.connections += connections;
}

/// nginx with as many workers, a certificate of its own, and a pool for each host's origin in every
/// worker.
fn nginx(network: &Network, urls: Vec<String>) -> Option<(Visitor, Child, PathBuf)> {
    let found = Command::new("nginx").arg("-v").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let authority = Authority::root("Bench Server CA");
    let identity = authority.server(&["*.example.test"]);
    let directory = tests::gateway::new_directory();
    let at = directory.display();
    std::fs::write(directory.join("chain.pem"), identity.chain_pem()).unwrap();
    std::fs::write(directory.join("key.pem"), identity.key_pem()).unwrap();
    let mut text = format!(
        "daemon off; user root; pid {at}/pid; worker_processes {WORKERS}; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{ access_log off; ssl_protocols TLSv1.3; ssl_certificate {at}/chain.pem; ssl_certificate_key {at}/key.pem;
client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
"
    );
    for (number, url) in urls.iter().enumerate() {
        let (name, origin) = (host(number), url.trim_start_matches("http://"));
        // One socket for each worker, as Postern has it.
        let sockets = if number == 0 { "reuseport" } else { "" };
        text.push_str(&format!(
            "upstream o{number} {{ server {origin}; keepalive 64; }}
server {{ listen {SERVER_IPV4} ssl {sockets}; server_name {name}; location / {{ proxy_pass http://o{number}; }} }}
"
        ));
    }
    text.push_str("}\n");
    let configuration = directory.join("nginx.conf");
    std::fs::write(&configuration, text).unwrap();
    let log = directory.join("nginx.log");
    let child = network.server.run(move || {
        let mut command = Command::new("nginx");
        command.arg("-c").arg(configuration);
        Child::start(command, &log).unwrap()
    });
    let address = SERVER_IPV4.parse().unwrap();
    network.client.run(move || {
        tests::wait::until("nginx to listen", || {
            std::net::TcpStream::connect::<std::net::SocketAddr>(address).ok()
        });
    });
    let visitor: Visitor = Arc::new(move |host| Client::new(address, host, &authority));
    Some((visitor, child, directory))
}

fn visit(network: &Network, visitor: &Visitor, connections: usize) {
    let visitor = visitor.clone();
    network.client.block_on(move || async move {
        let next = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (visitor, next) = (visitor.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= connections {
                            return;
                        }
                        let client = visitor(&host(number)).groups("X25519");
                        assert_eq!(client.get("/x").await.unwrap().status, 200);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

/// The frame program on frames of connections that have a socket, or belong to no host.
fn frames() {
    let mut steering = match load() {
        Ok(steering) => steering,
        Err(reason) => return println!("frames: skipped: needs CAP_BPF: {reason}"),
    };
    steering.port(443, Listen::new(0).unwrap()).unwrap();
    let data = [&[23, 3, 3, 4, 0][..], &[7; 1_024]].concat();
    for (name, frame) in [
        ("SYN", segment(443, 2, &[])),
        ("bare ACK", segment(443, 16, &[])),
        ("established data", segment(443, 16, &data)),
        ("another port", segment(8_080, 16, &data)),
    ] {
        let mut times: Vec<u128> = (0..11)
            .map(|_| steering.try_frame(&frame, 200_000).unwrap().1.as_nanos())
            .collect();
        times.sort_unstable();
        let at = |index: usize| times.get(index).copied().unwrap_or(0);
        println!(
            "{name}: {} ns a frame (from {} to {})",
            at(5),
            at(0),
            at(10)
        );
    }
}

fn segment(port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0, 0x45, 0]);
    frame.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 9, 127, 0, 0, 1]);
    frame.extend([0xc0, 1]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}
