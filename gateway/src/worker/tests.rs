//! Threads that listen, start over, and end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::listen::refuse_taken;
use super::*;
use crate::config::Config;

fn team(addresses: &[SocketAddr]) -> Team {
    let mut config = Config::default();
    config.tunables.connections_max = 2;
    let shared = Arc::new(Shared {
        acceptor: Acceptor::new().unwrap(),
        published: Arc::default(),
        live: Arc::new(Live::new(config)),
        geo: ArcSwapOption::empty(),
        access_log: AccessLog::off(),
        connections: AtomicUsize::new(0),
    });
    Team::start(&shared, 1, addresses, FleetStatus::default()).unwrap()
}

fn free_address(host: &str) -> SocketAddr {
    std::net::TcpListener::bind((host, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

fn collect(team: &Team) -> Vec<WorkerStats> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(team.collect())
}

/// Speaks plain HTTP, which is answered in clear: whoever gets the answer was served.
fn is_served(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    drop(stream.write_all(b"GET / HTTP/1.1\r\n\r\n"));
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer.starts_with("HTTP/1.1 400")
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < patience, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_worker_that_panics_starts_over_and_a_drained_one_ends() {
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let addresses = [free_address("127.0.0.1"), free_address("::1")];
    let team = team(&addresses);
    for address in addresses {
        assert!(is_served(address), "{address}");
    }
    let before = collect(&team);
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].accepted, 2);

    // A connection that hangs in the middle is what the panic takes down.
    let mut hanging = TcpStream::connect(addresses[0]).unwrap();
    wait_for("accepting", || {
        collect(&team)
            .first()
            .is_some_and(|stats| stats.accepted == 3)
    });
    team.workers[0].mailbox.send(Message::Panic).ok().unwrap();
    hanging
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert!(matches!(hanging.read(&mut [0; 1]), Ok(0) | Err(_)));
    for address in addresses {
        assert!(is_served(address), "{address} after the panic");
    }
    assert!(team.ready());
    assert!(refuse_taken(&addresses).is_err(), "the address is ours");

    team.drain();
    wait_for("the end", || team.has_ended());
    assert!(!team.ready());
}

#[test]
fn beyond_the_limit_connections_are_closed_and_counted() {
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let address = free_address("127.0.0.1");
    let team = team(&[address]);
    let kept: Vec<TcpStream> = (0..2)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    wait_for("accepting", || {
        collect(&team)
            .first()
            .is_some_and(|s| s.connections_open == 2)
    });
    let mut third = TcpStream::connect(address).unwrap();
    third
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert!(matches!(third.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(collect(&team)[0].refused, 1);
    drop(kept);
    wait_for("room", || is_served(address));
    team.drain();
    wait_for("the end", || team.has_ended());
}

#[test]
fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = refuse_taken(&[address]).unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("another process"),
        "{error}"
    );
}
