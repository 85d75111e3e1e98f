//! Threads that listen, start over, and end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::listen::{patiently, refuse_taken};
use super::*;
use crate::observe::spans::Spans;
use crate::observe::{AccessLog, Events, Workers as _};
use crate::steer::Ownership;
use arc_swap::ArcSwapOption;
use config::{Config, Live};
use snapshot::phases::Buckets;
use tls::Acceptor;
use vocabulary::hostname::HostName;

fn start(addresses: &[SocketAddr]) -> Workers {
    workers_of(1, addresses, Ownership::default())
}

/// Workers that find owners in `table`.
fn workers_of(count: usize, addresses: &[SocketAddr], table: Ownership) -> Workers {
    workers_with(count, addresses, table, crate::limits::HANDOVER_QUEUE)
}

/// Longer than any client waits here that is to be served.
const PATIENT: Duration = Duration::from_secs(60);

/// The same, with room for so many connections in each worker's inbox.
fn workers_with(count: usize, addresses: &[SocketAddr], table: Ownership, room: usize) -> Workers {
    workers_on(
        Listeners::bind(count, addresses).unwrap(),
        table,
        room,
        PATIENT,
    )
}

/// The same on these sockets, with so long for a handshake.
fn workers_on(listeners: Listeners, table: Ownership, room: usize, patience: Duration) -> Workers {
    let count = listeners.of_workers().len();
    let owned = Arc::new(Owned::default());
    owned.publish(table);
    let mut config = Config::default();
    config.tunables.handshake_timeout = patience;
    config.tunables.connections_max = if count == 1 { 2 } else { 1_000 };
    let shared = Arc::new(Shared {
        acceptor: Acceptor::new().unwrap(),
        published: Arc::default(),
        live: Arc::new(Live::new(config)),
        geo: ArcSwapOption::empty(),
        access_log: AccessLog::off(),
        events: Events::new(count),
        spans: Arc::new(Spans::new(false)),
        questions: Arc::default(),
        buckets: Buckets::new(Instant::now()),
        shares: crate::shares::Shares::new(1_000_000),
    });
    let placement = Arc::new(Placement {
        connections: AtomicUsize::new(0),
        owned,
        placed: PlacedMap::default(),
        inboxes: Inboxes::with_room(count, room).unwrap(),
    });
    let config = Config {
        steer_mode: config::SteerMode::Off,
        admin_socket: "/nonexistent/admin.sock".into(),
        ..Config::default()
    };
    let (controller, _) =
        Controller::start(&config, listeners.of_workers(), Arc::default(), None).unwrap();
    Workers::start(&shared, &placement, listeners, Arc::new(controller))
}

fn free_address(host: &str) -> SocketAddr {
    std::net::TcpListener::bind((host, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

fn collect(workers: &Workers) -> Vec<WorkerStats> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(workers.collect())
}

/// Speaks plain HTTP, which is answered in clear: a client that gets the answer was served.
fn is_served(address: SocketAddr) -> bool {
    answers(&mut TcpStream::connect(address).unwrap())
}

fn answers(stream: &mut TcpStream) -> bool {
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
    let workers = start(&addresses);
    for address in addresses {
        assert!(is_served(address), "{address}");
    }
    let before = collect(&workers);
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].accepted, 2);

    // A connection that hangs in the middle is what the panic takes down.
    let mut hanging = TcpStream::connect(addresses[0]).unwrap();
    wait_for("accepting", || {
        collect(&workers)
            .first()
            .is_some_and(|stats| stats.accepted == 3)
    });
    workers.handles[0]
        .mailbox
        .send(Message::Panic)
        .ok()
        .unwrap();
    hanging
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert!(matches!(hanging.read(&mut [0; 1]), Ok(0) | Err(_)));
    for address in addresses {
        assert!(is_served(address), "{address} after the panic");
    }
    assert!(workers.ready());
    assert!(refuse_taken(&addresses).is_err(), "the address is ours");

    workers.drain();
    wait_for("the end", || workers.has_ended());
    assert!(!workers.ready());
}

#[test]
fn beyond_the_limit_connections_are_closed_and_counted() {
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let address = free_address("127.0.0.1");
    let workers = start(&[address]);
    let kept: Vec<TcpStream> = (0..2)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    wait_for("accepting", || {
        collect(&workers)
            .first()
            .is_some_and(|s| s.connections_open == 2)
    });
    let mut third = TcpStream::connect(address).unwrap();
    third
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert!(matches!(third.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(collect(&workers)[0].refused, 1);
    drop(kept);
    wait_for("room", || is_served(address));
    workers.drain();
    wait_for("the end", || workers.has_ended());
}

#[test]
fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = refuse_taken(&[address]).unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("another process has it"),
        "{error}"
    );
}

#[test]
fn whose_sockets_were_handed_over_is_no_stranger() {
    let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (one, other, wanted) in [
        ("0.0.0.0:1", "127.0.0.1:1", true),
        ("127.0.0.1:1", "0.0.0.0:1", true),
        ("127.0.0.1:1", "127.0.0.1:1", true),
        ("127.0.0.1:1", "127.0.0.2:1", false),
        ("0.0.0.0:1", "127.0.0.1:2", false),
        ("[::]:1", "[::1]:1", true),
        ("[::]:1", "127.0.0.1:1", false),
    ] {
        assert_eq!(overlap(&parse(one), &parse(other)), wanted, "{one} {other}");
    }
    // A stranger's socket is refused all the same, wherever it is.
    let [one, other] = ["127.0.0.1", "127.0.0.2"].map(free_address);
    let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
    let taken = |addresses: &[SocketAddr]| {
        let socket = io::bind(one).unwrap();
        io::listen(&socket).unwrap();
        Listeners::take_over(1, addresses, vec![(one, socket)], &[one]).map(|_| ())
    };
    taken(&[all]).unwrap();
    let stranger = std::net::TcpListener::bind(other).unwrap();
    assert!(taken(&[one, other]).is_err());
    drop(stranger);
    let _stranger = std::net::TcpListener::bind(("127.0.0.2", one.port())).unwrap();
    let error = taken(&[all]).unwrap_err().to_string();
    assert!(error.contains("another process has it"), "{error}");
}

#[test]
fn who_waits_at_an_address_that_is_left_is_served() {
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let address = free_address("127.0.0.1");
    let all = SocketAddr::from(([0, 0, 0, 0], address.port()));
    for (before, after) in [(all, address), (address, all)] {
        let handed = (0..3).map(|_| {
            let socket = io::bind(before).unwrap();
            io::listen(&socket).unwrap();
            (before, socket)
        });
        let handed = handed.collect();
        let waiting: Vec<TcpStream> = (0..20)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let (listeners, leaving) = Listeners::take_over(2, &[after], handed, &[before]).unwrap();
        assert_eq!(leaving.len(), 3);
        // Nothing new has these before they are to have it.
        let all_of = || listeners.of_workers().iter().flatten();
        assert!(all_of().all(|socket| !io::listens(socket)));
        listeners.listen().unwrap();
        hide_listeners(&leaving);
        let workers = workers_on(listeners, Ownership::default(), 8, PATIENT);
        for mut stream in waiting {
            assert!(answers(&mut stream), "it waited");
        }
        assert!(is_served(address), "and so is who comes now");
        close_listeners(&leaving);
        drop(leaving);
        // Nobody keeps the address from others.
        workers.drain();
        wait_for("the end", || workers.has_ended());
        drop(workers);
        wait_for("the address", || refuse_taken(&[before]).is_ok());
    }
}

#[test]
fn a_start_waits_for_the_sockets_of_a_gateway_that_just_ended() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut taken = Some(taken);
    let mut attempts = 0;
    patiently(Duration::from_secs(60), || {
        attempts += 1;
        if attempts == 3 {
            taken = None;
        }
        refuse_taken(&[address])
    })
    .unwrap();
    assert!(taken.is_none());

    let _taken = std::net::TcpListener::bind(address).unwrap();
    let error = patiently(Duration::from_millis(30), || refuse_taken(&[address])).unwrap_err();
    assert_eq!(error.error.kind(), std::io::ErrorKind::AddrInUse);
}

fn hello(host: &str) -> Vec<u8> {
    crate::steer::client_hello(Some(host), |client| {
        client
            .set_curves_list("X25519MLKEM768:X25519:P-256")
            .unwrap();
    })
}

/// Sends a ClientHello in two parts and waits for the refusal that a gateway without hosts has.
fn is_refused(address: SocketAddr, hello: &[u8], first: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (one, two) = hello.split_at(first.min(hello.len()));
    stream.write_all(one).unwrap();
    if !two.is_empty() {
        std::thread::sleep(Duration::from_millis(2));
        stream.write_all(two).unwrap();
    }
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    // TLS: an alert, fatal, unrecognized_name.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 112]);
}

/// Connections that each worker ended, by number.
fn ended(workers: &Workers) -> Vec<u64> {
    let mut all = collect(workers);
    all.sort_by_key(|stats| stats.worker);
    all.iter().map(WorkerStats::stops_total).collect()
}

#[test]
fn connections_are_served_by_the_owner_of_their_host() {
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let address = free_address("127.0.0.1");
    let names = ["two.example", "*.one.example"].map(|name| HostName::parse(name).unwrap());
    let owners = [2, 1].map(|worker| ebpf::Owners::of(&[worker]).unwrap());
    let table = Ownership::new(names.iter().zip(owners), None);
    let workers = workers_of(3, &[address], table);
    for round in 0..20 {
        is_refused(address, &hello("two.example"), usize::MAX);
        is_refused(address, &hello("TWO.example"), 1 + 97 * round);
    }
    wait_for("forty ends", || ended(&workers) == [0, 0, 40]);
    for round in 0..10 {
        is_refused(address, &hello("any.one.example"), 1 + 190 * round);
    }
    wait_for("ten ends", || ended(&workers) == [0, 10, 40]);
    let stats = WorkerStats::sum(&collect(&workers));
    assert_eq!((stats.accepted, stats.kept), (50, 0));
    assert!(
        (1..50).contains(&stats.handed_over),
        "{}",
        stats.handed_over
    );
    // A host without an owner, and what is no TLS at all, are any worker's.
    is_refused(address, &hello("other.example"), usize::MAX);
    assert!(is_served(address));
    wait_for("two ends", || ended(&workers).iter().sum::<u64>() == 52);

    // What a dead worker owned is served by the worker that accepts it; what waited in its inbox, by
    // others.
    let alive = |workers: &Workers| workers.alive();
    assert_eq!(alive(&workers), [true; 3]);
    workers.handles[2].mailbox.send(Message::Die).ok().unwrap();
    wait_for("the end of a worker", || !workers.alive()[2]);
    for _ in 0..10 {
        is_refused(address, &hello("two.example"), usize::MAX);
    }
    workers.drain();
    wait_for("the end", || workers.has_ended());
}

#[test]
fn a_full_inbox_loses_nothing() {
    const CLIENTS: usize = 60;
    const ROOM: usize = 2;
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let address = free_address("127.0.0.1");
    let name = HostName::parse("two.example").unwrap();
    let owners = ebpf::Owners::of(&[2]).unwrap();
    let table = Ownership::new([(&name, owners)].into_iter(), None);
    let workers = workers_with(3, &[address], table, ROOM);
    let (stalled, until) = std::sync::mpsc::channel();
    workers.handles[2]
        .mailbox
        .send(Message::Stall(until))
        .ok()
        .unwrap();
    wait_for("the owner to stall", || collect(&workers).len() == 2);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| std::thread::spawn(move || is_refused(address, &hello("two.example"), usize::MAX)))
        .collect();
    // The owner's inbox takes what it has room for. Who came to other workers is served there,
    // while the owner stands still.
    let mut sum = WorkerStats::new(0);
    wait_for("the others to serve what they keep", || {
        let stats = collect(&workers);
        sum = WorkerStats::sum(&stats);
        let served: u64 = stats.iter().map(WorkerStats::stops_total).sum();
        sum.handed_over == ROOM as u64 && sum.kept > 0 && served == sum.accepted - ROOM as u64
    });
    drop(stalled);
    for client in clients {
        client.join().unwrap();
    }
    wait_for("all to be served", || {
        ended(&workers).iter().sum::<u64>() == CLIENTS as u64
    });
    sum = WorkerStats::sum(&collect(&workers));
    assert_eq!(sum.accepted, CLIENTS as u64);
    assert!(
        sum.kept + sum.handed_over < CLIENTS as u64,
        "some were the owner's own"
    );
    workers.drain();
    wait_for("the end", || workers.has_ended());
}

#[test]
fn a_silent_client_is_let_go() {
    if let Err(error) = io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let address = free_address("127.0.0.1");
    let name = HostName::parse("two.example").unwrap();
    let owners = ebpf::Owners::of(&[1]).unwrap();
    let table = Ownership::new(std::iter::once((&name, owners)), None);
    let listeners = Listeners::bind(2, &[address]).unwrap();
    let workers = workers_on(listeners, table, 8, Duration::from_secs(1));
    let mut silent: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    silent[1].write_all(&hello("two.example")[..100]).unwrap();
    drop(silent.pop());
    for mut stream in silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    wait_for("four ends", || ended(&workers).iter().sum::<u64>() == 4);
    workers.drain();
    wait_for("the end", || workers.has_ended());
}
