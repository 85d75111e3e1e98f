//! Where clients connect, changed while they do: addresses become narrower and wider, go from one purpose to
//! another, get more workers and fewer; whoever connects where the gateway stays is served.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use fixtures::apart::is_without_cookies;
use fixtures::new_port;
use tests::gateway::{ZONE, new_address};
use tests::tool::is_alive;
use tests::wait::{PATIENCE, until};
use tests::{Gateway, Setup};

use super::load::{API, KINDS, Load, World, aside};
use super::upgrade::stand_in;

/// Everything that is answered to a request in plain HTTP.
fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {API}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer
}

fn at(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

/// Has the files read again, by which another process takes over, and waits for the end of the one before.
fn reloaded(gateway: &mut Gateway, settings: &[(&str, &str)]) {
    let before = gateway.pid();
    gateway.configure(settings);
    let file = gateway.file("postern.conf");
    let told = gateway.cli(&["reload", "--config", file.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}\n{}", gateway.stderr());
    gateway.replaced(before);
    until("the end of the old process", || {
        (!is_alive(before)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_becomes_wider_and_narrower_and_who_connects_to_it_is_served() {
    if !is_without_cookies(
        "listen::an_address_becomes_wider_and_narrower_and_who_connects_to_it_is_served",
    ) {
        return;
    }
    let port = new_port();
    let setup = Setup::new().listen(&[&at("127.0.0.1", port).to_string()]);
    let mut world = World::of(setup, &[]);
    let (_, good) = world.gateway.certificate(ZONE, "good");
    let load = Load::start(&world, &good);
    let gateway = &mut world.gateway;
    let all = at("0.0.0.0", port);
    let [one, two] = ["127.0.0.1", "127.0.0.2"].map(|host| at(host, port));
    let [all6, one6] = ["[::]", "[::1]"].map(|host| at(host, port));
    assert_eq!(gateway.listen, [one]);
    // Longer than streams take on a busy machine.
    let settings = [("timeout.drain", "40s")];
    // Where it listens, and where else it answers then.
    for (listen, others) in [
        (vec![all], vec![two]),
        (vec![one], vec![]),
        (vec![one, all], vec![two]),
        (vec![all, all6], vec![two, one6]),
        (vec![one, two, one6], vec![two, one6]),
        (vec![all], vec![two]),
        (vec![one], vec![]),
    ] {
        gateway.listen = listen.clone();
        aside(|| reloaded(gateway, &settings));
        load.goes_on(&format!("at {listen:?}"));
        for address in [two, one6] {
            if others.contains(&address) {
                let client = gateway.client_at(address, API).identity(&good);
                assert_eq!(client.get("/x").await.unwrap().status, 200, "{address}");
            } else {
                let connected = TcpStream::connect(address);
                assert!(connected.is_err(), "{address} of {listen:?}");
            }
        }
    }
    // What somebody else has is refused as before, and named as what it is.
    let stranger = aside(|| until("the address to be free", || TcpListener::bind(two).ok()));
    for listen in [vec![all], vec![one, two]] {
        gateway.listen = listen;
        gateway.configure(&settings);
        let file = gateway.file("postern.conf");
        let reload = ["reload", "--config", file.to_str().unwrap()];
        let told = aside(|| gateway.cli(&reload)).failed(1);
        assert!(told.contains("another process has it"), "{told}");
        load.goes_on("after a refusal");
    }
    drop(stranger);
    let counts = load.end().await;
    println!("0 failed of {counts:?} ({KINDS:?})");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_that_are_added_get_no_client_before_they_serve() {
    let mut world = World::new(&[("timeout.upgrade", "5s"), ("workers", "1")]);
    let (_, good) = world.gateway.certificate(ZONE, "good");
    let load = Load::start(&world, &good);
    let gateway = &mut world.gateway;
    let pid = gateway.pid();
    let more = [
        ("timeout.upgrade", "5s"),
        ("timeout.drain", "40s"),
        ("workers", "8"),
    ];
    gateway.configure(&more);
    // From its sockets on, at every step; and so that clients come meanwhile.
    let steps = [
        (4, "exit"),
        (5, "exit"),
        (6, "hang"),
        (7, "exit"),
        (8, "hang"),
    ];
    for (step, how) in steps {
        let Some(stand_in) = stand_in(gateway, step, how) else {
            return;
        };
        let outcome = aside(|| gateway.cli(&["upgrade", stand_in.to_str().unwrap()]));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert_eq!(gateway.pid(), pid);
        load.goes_on(&format!("after {how} at step {step}"));
    }
    for count in ["8", "3", "5", "1"] {
        let settings = [("timeout.drain", "40s"), ("workers", count)];
        aside(|| reloaded(gateway, &settings));
        load.goes_on(&format!("with {count} workers"));
    }
    let counts = load.end().await;
    println!("0 failed of {counts:?} ({KINDS:?})");
}

#[test]
fn who_connects_while_an_address_is_given_up_is_answered() {
    if !is_without_cookies("listen::who_connects_while_an_address_is_given_up_is_answered") {
        return;
    }
    let [tls, http] = [(); 2].map(|()| at("127.0.0.1", new_port()));
    let base = [("timeout.drain", "20s"), ("workers", "2")];
    let told = http.to_string();
    let with = [base[0], base[1], ("listen.http", &told)];
    let mut gateway = Setup::new()
        .listen(&[&tls.to_string()])
        .set("timeout.drain", "20s")
        .set("workers", "2")
        .set("listen.http", &told)
        .host(API, "off", "http://127.0.0.1:9")
        .start();
    for round in 0..3 {
        let stops = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut answered = 0;
                        while !stops.load(Ordering::SeqCst) {
                            // Refused is as good as answered.
                            if TcpStream::connect(http).is_ok_and(answers) {
                                answered += 1;
                            }
                        }
                        answered
                    })
                })
                .collect();
            let settings = if round % 2 == 0 { &base[..] } else { &with[..] };
            reloaded(&mut gateway, settings);
            stops.store(true, Ordering::SeqCst);
            let answered: usize = asking.into_iter().map(|one| one.join().unwrap()).sum();
            assert!(answered > 0);
        });
    }
}

/// Whether a client who has connected is sent to HTTPS; who is left without an answer fails the test.
fn answers(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: {API}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(head.as_bytes());
    let read = asked.and_then(|()| stream.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 301"), "{read:?} {answer:?}");
    true
}

#[test]
fn an_address_goes_to_another_purpose() {
    if !is_without_cookies("listen::an_address_goes_to_another_purpose") {
        return;
    }
    let [tls, http, health] = [(); 3].map(|()| at("127.0.0.1", new_port()));
    let mut gateway = Setup::new()
        .listen(&[&tls.to_string()])
        .set("timeout.drain", "20s")
        .set("workers", "2")
        .set("listen.http", &http.to_string())
        .set("health.listen", &health.to_string())
        .host(API, "off", "http://127.0.0.1:9")
        .start();
    // What answers there: TLS takes no plain HTTP, redirects send away, and balancers get no more than is theirs.
    let purpose = |address| {
        let answer = ask(address, "/x");
        let line = answer.lines().next().unwrap_or_default();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let purposes = |all: [SocketAddr; 3]| all.map(purpose);
    assert_eq!(purposes([tls, http, health]), ["400", "301", "404"]);
    for (listen, plain, balancers) in [
        (http, health, tls),
        (
            at("0.0.0.0", tls.port()),
            http,
            at("0.0.0.0", health.port()),
        ),
        (health, at("0.0.0.0", http.port()), tls),
        (tls, http, health),
    ] {
        gateway.listen = vec![listen];
        let settings = [
            ("timeout.drain", "20s"),
            ("workers", "2"),
            ("listen.http", &plain.to_string()),
            ("health.listen", &balancers.to_string()),
        ];
        reloaded(&mut gateway, &settings);
        let here = |address: SocketAddr| at("127.0.0.1", address.port());
        let now = [here(listen), here(plain), here(balancers)];
        // Each worker's and each of those that came along.
        for _ in 0..20 {
            assert_eq!(purposes(now), ["400", "301", "404"], "{settings:?}");
        }
    }
    // The admin API's is opened in another way, and stays in its place.
    let admin = new_address();
    let base = [("timeout.drain", "20s"), ("workers", "2")];
    let (at_admin, at_tls) = (admin.to_string(), tls.to_string());
    let with = |key, value| [base[0], base[1], (key, value)];
    reloaded(&mut gateway, &with("admin.listen", &at_admin));
    let before = gateway.pid();
    gateway.configure(&with("listen.http", &at_admin));
    let file = gateway.file("postern.conf");
    let reload = ["reload", "--config", file.to_str().unwrap()];
    let told = gateway.cli(&reload).failed(1);
    assert!(told.contains("in one step"), "{told}");
    gateway.listen = vec![http];
    gateway.configure(&with("admin.listen", &at_tls));
    let told = gateway.cli(&reload).failed(1);
    assert!(told.contains("in one step"), "{told}");
    assert_eq!(gateway.pid(), before);
    gateway.listen = vec![tls];
    // As it says.
    gateway.configure(&base);
    reloaded(&mut gateway, &base);
    assert!(TcpStream::connect(admin).is_err(), "it was given up");
    reloaded(&mut gateway, &with("listen.http", &at_admin));
    assert_eq!(purpose(admin), "301");
    assert!(is_alive(gateway.pid()));
}
