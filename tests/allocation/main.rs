//! What a request in steady state asks of the allocator, on the worker that serves it: ten rules,
//! statistics, and a log that is a file; over HTTP/1.1 with keep-alive, and on streams of HTTP/2.
//!
//! A binary of its own: it replaces the allocator, which takes the only unsafe code of these tests.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test panics where something is wrong"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use boring::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use config::{AccessLogTarget, Config, Live, SteerMode};
use control::{Control, NewHost, NewRule, OriginSpec};
use datapath::connection::Shared;
use datapath::observe::spans::Spans;
use datapath::observe::{AccessLog, Events};
use datapath::shares::Shares;
use datapath::steer::Owned;
use datapath::steer::controller::Controller;
use datapath::worker::{Inboxes, Listeners, Placement, Workers};
use fixtures::Directory;
use fixtures::pki::{Identity, Spec};
use snapshot::Published;
use snapshot::phases::Buckets;
use tests::frames;
use tls::Acceptor;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode};

/// Counts what each thread asks for.
struct Counting;

const THREADS: usize = 256;
static NEXT: AtomicUsize = AtomicUsize::new(0);
static IDS: [AtomicI32; THREADS] = [const { AtomicI32::new(0) }; THREADS];
static ASKED: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(THREADS) };
}

fn count() {
    // A thread that ends asks once more when its place is gone.
    let _gone = PLACE.try_with(|place| {
        if place.get() == THREADS {
            place.set(NEXT.fetch_add(1, Ordering::Relaxed) % THREADS);
            #[expect(
                unsafe_code,
                reason = "the standard library has no thread ids of the system"
            )]
            // SAFETY: `gettid` asks nothing of its caller.
            let id = unsafe { libc::gettid() };
            IDS[place.get()].store(id, Ordering::Relaxed);
        }
        ASKED[place.get()].fetch_add(1, Ordering::Relaxed);
    });
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts and hands everything on to the system's"
)]
// SAFETY: every method hands its arguments on unchanged, so the system allocator's contract holds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn place_of(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let is_it = |path: &Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| is_it(path));
    let id: i32 = task
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let place = IDS
        .iter()
        .position(|known| known.load(Ordering::Relaxed) == id);
    place.unwrap()
}

/// What the thread of this name has asked for so far.
fn asked_by(name: &str) -> usize {
    ASKED[place_of(name)].load(Ordering::Relaxed)
}

/// Requests before any are counted: buffers, maps and tables have the size that they need then.
const WARM: usize = 2_000;
/// Requests that are counted.
const COUNTED: usize = 1_600;
/// Rounds of so many, of which the least counts: a writer of the log that does not get its turn on a busy
/// machine makes the worker take further lines, more than it ever had under way.
const ROUNDS: usize = 10;
/// Allocations of a round that are no request's: each second has its text in the log, and its statistics.
const BESIDE: usize = 8;
/// Allocations of an event that is kept, of which there are so many in a second, whatever comes: its
/// line, and whose it is.
const EACH_EVENT: usize = 3;
/// Streams that are open at once.
const STREAMS: usize = 16;
/// Allocations of a stream: the texts of its head and its map, which are h2's. Where its request lives is given back
/// a second after none is under way.
const EACH_STREAM: usize = 8;

const HOST: &str = "api.example.test";

const REQUEST: &[u8] = b"GET /api/v1/devices/0192e4a1?a=b HTTP/1.1\r\n\
    Host: api.example.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Priority: u=4\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Sun, 29 Nov 2026 05:00:00 GMT\r\n\
    Server: origin\r\n\
    X-Powered-By: a test\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 22\r\n\r\n\
    {\"temperature\":\"21.5\"}";

/// Answers every request on every connection.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    stream.write_all(ANSWER).unwrap();
                }
            });
        }
    });
    address
}

/// A host with ten rules that a request has to be looked at for.
fn configure(control: &Control, origin: SocketAddr) {
    let zone = control.create_zone("example.test").unwrap().id;
    let server = Identity::self_signed(&Spec::server(&[HOST]));
    let (chain, key) = (server.chain_pem(), server.key_pem());
    control
        .upload_server_certificate(zone, &chain, &key)
        .unwrap();
    let host = NewHost {
        name: HostName::parse(HOST).unwrap(),
        origin: OriginSpec {
            url: format!("http://{origin}"),
            ..OriginSpec::default()
        },
        mtls: Some(MtlsMode::Off),
        client: ClientSettings::default(),
        tls_min_version: None,
        request_body_max: None,
        acme: false,
        certificate: None,
        other_certificate: None,
    };
    control.create_host(zone, host).unwrap();
    for text in [
        r#"http.request.uri.path eq "/admin""#,
        r#"starts_with(http.request.uri.path, "/internal")"#,
        r#"http.request.method in {"TRACE" "CONNECT"}"#,
        r#"any(http.request.headers["x-debug"][*] eq "1")"#,
        r#"http.user_agent contains "sqlmap""#,
        r#"http.request.uri.query contains "union select""#,
        r#"http.cookie contains "evil=1""#,
        r#"ip.src in {192.0.2.0/24 198.51.100.0/24}"#,
        r#"not http.host eq "api.example.test""#,
        r#"http.request.version eq "HTTP/1.0" and len(http.request.uri) gt 1000"#,
    ] {
        control.add_rule(zone, NewRule::block(text), None).unwrap();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// One worker, as the process starts it.
fn start(
    address: SocketAddr,
    log: &Path,
    published: Arc<Published>,
    events: Arc<Events>,
) -> Workers {
    let config = Config {
        workers: 1,
        access_log: AccessLogTarget::File(log.to_owned()),
        admin_socket: "/nonexistent/admin.sock".into(),
        steer_mode: SteerMode::Off,
        ..Config::default()
    };
    let listeners = Listeners::bind(1, &[address]).unwrap();
    let owned = Arc::new(Owned::default());
    let (controller, placed) =
        Controller::start(&config, listeners.of_workers(), owned.clone(), None).unwrap();
    let shared = Arc::new(Shared {
        acceptor: Acceptor::new().unwrap(),
        published,
        access_log: AccessLog::start(&config.access_log).unwrap(),
        live: Arc::new(Live::new(config)),
        geo: Default::default(),
        events,
        spans: Arc::new(Spans::new(false)),
        questions: Arc::default(),
        buckets: Buckets::new(datapath::clock::now()),
        shares: Shares::new(1_000_000),
    });
    let placement = Arc::new(Placement {
        connections: AtomicUsize::new(0),
        owned,
        placed,
        inboxes: Inboxes::new(1).unwrap(),
    });
    Workers::start(&shared, &placement, listeners, Arc::new(controller))
}

/// What is counted, and of whom.
struct Counter {
    events: Arc<Events>,
}

impl Counter {
    /// What the worker asked for in a round, at least, that is neither an event's nor a second's.
    fn of(&self, what: &str, mut round: impl FnMut()) -> usize {
        let mut least = usize::MAX;
        for _ in 0..ROUNDS {
            let before = (asked_by("worker-0"), self.kept());
            round();
            let (asked, kept) = (asked_by("worker-0") - before.0, self.kept() - before.1);
            println!("{what}: {asked} allocations in {COUNTED} requests, {kept} events kept");
            least = least.min(asked.saturating_sub(EACH_EVENT * kept + BESIDE));
            if least == 0 {
                break;
            }
        }
        least
    }

    fn kept(&self) -> usize {
        let kept: u64 = self.events.counts().kept.iter().sum();
        usize::try_from(kept).unwrap()
    }
}

type Client = SslStream<TcpStream>;

fn connect(address: SocketAddr, protocol: &[u8]) -> Client {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(protocol).unwrap();
    let stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    stream.set_nodelay(true).unwrap();
    connector.build().connect(HOST, stream).unwrap()
}

/// Asks one after the other over HTTP/1.1.
fn ask(client: &mut Client, times: usize) {
    let mut answer = vec![0; 4096];
    for _ in 0..times {
        client.write_all(REQUEST).unwrap();
        let mut count = 0;
        while !answer[..count].ends_with(b"\"21.5\"}") {
            let more = client.read(&mut answer[count..]).unwrap();
            assert!(more > 0, "{}", String::from_utf8_lossy(&answer[..count]));
            count += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// The streams of a client that speaks HTTP/2.
struct Streams {
    client: Client,
    next: u32,
    /// What every request says.
    block: Vec<u8>,
}

impl Streams {
    fn open(address: SocketAddr) -> Self {
        let mut client = connect(address, b"\x02h2");
        // All of the connection's window at once.
        let window = (1_u32 << 30).to_be_bytes();
        let mut begin = frames::PREFACE.to_vec();
        begin.extend(frames::frame(frames::WINDOW_UPDATE, 0, 0, &window));
        begin.extend(frames::frame(frames::SETTINGS, 1, 0, &[]));
        client.write_all(&begin).unwrap();
        let mut block = frames::get(HOST, "/api/v1/devices/0192e4a1?a=b");
        for (name, value) in [
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
            ("accept", "application/json"),
            ("cookie", "session=0123456789abcdef; theme=dark"),
        ] {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let next = 1;
        Self {
            client,
            next,
            block,
        }
    }

    /// Asks on so many streams, a few at once.
    fn ask(&mut self, times: usize) {
        const END: u8 = 1;
        const END_HEADERS: u8 = 4;
        for _ in 0..times / STREAMS {
            let mut requests = Vec::new();
            for _ in 0..STREAMS {
                let flags = END | END_HEADERS;
                requests.extend(frames::frame(
                    frames::HEADERS,
                    flags,
                    self.next,
                    &self.block,
                ));
                self.next += 2;
            }
            self.client.write_all(&requests).unwrap();
            let mut ended = 0;
            while ended < STREAMS {
                let (kind, flags, payload) = self.read();
                match kind {
                    frames::DATA => {
                        assert_eq!(payload, b"{\"temperature\":\"21.5\"}");
                        ended += usize::from(flags & END != 0);
                    }
                    frames::HEADERS => assert_eq!(flags, END_HEADERS),
                    frames::SETTINGS | frames::WINDOW_UPDATE => {}
                    kind => panic!("a frame of the type {kind}"),
                }
            }
        }
    }

    fn read(&mut self) -> (u8, u8, Vec<u8>) {
        let mut head = [0; 9];
        self.client.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.client.read_exact(&mut payload).unwrap();
        (head[3], head[4], payload)
    }
}

#[test]
fn a_request_in_steady_state() {
    if let Err(error) = datapath::io::probe() {
        println!("skipped: needs io_uring: {error}");
        return;
    }
    let directory = Directory::new();
    let file = |name: &str| directory.path().join(name);
    let published = Arc::new(Published::default());
    let control = Control::open(&file("store.redb"), published.clone()).unwrap();
    configure(&control, origin());
    let address = free_address();
    let events = Events::new(1);
    let workers = start(address, &file("access.log"), published, events.clone());
    let counter = Counter { events };

    let mut client = connect(address, b"\x08http/1.1");
    ask(&mut client, WARM);
    let alone = counter.of("keep-alive", || ask(&mut client, COUNTED));
    drop(client);

    let mut streams = Streams::open(address);
    streams.ask(WARM);
    let beside = counter.of("streams", || streams.ask(COUNTED));
    drop(streams);

    assert_eq!(alone, 0, "a request over HTTP/1.1 asks for nothing");
    // Some are in neither's place.
    assert!(beside <= EACH_STREAM * COUNTED + COUNTED / 8, "{beside}");
    workers.drain();
}
