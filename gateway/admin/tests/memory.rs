//! That no request takes much more memory than it has bytes, whatever is in it.
//!
//! A binary of its own: it replaces the allocator, which takes the only unsafe code of these tests.
//! It speaks to the API as a stranger does, over the socket, and takes the routes from the document
//! that the API gives of itself.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test fail as the test does"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use admin::{Bound, Listen, NoFleet, State, Upgrades, serve_bound};
use config::{Config, Live};
use control::Control;
use datapath::observe::spans::Spans;
use datapath::observe::{AccessLog, Events, WorkerStats, Workers};
use fetch::{AcmeClient, AcmeSettings, CrlFetcher, HealthChecker, NameWatch, OcspClient, Stapler};
use fixtures::Directory;
use fixtures::pki::{Identity, Spec};
use serde_json::{Value, json};
use vocabulary::settings::StapleMode;

/// Counts the bytes that are in use; all tests of this binary run with it.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let used = USED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(used, Ordering::Relaxed);
}

fn less(bytes: usize) {
    USED.fetch_sub(bytes, Ordering::Relaxed);
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts and hands everything on to the system's"
)]
// SAFETY: every method hands its arguments on unchanged, so the system allocator's contract holds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() {
            more(size - layout.size());
        } else {
            less(layout.size() - size);
        }
        // SAFETY: the caller keeps `GlobalAlloc::realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;
/// What one request may take.
const MOST: usize = 16 * MIB;

/// Workers that there are none of.
struct NoWorkers;

impl Workers for NoWorkers {
    fn collect(&self) -> Pin<Box<dyn Future<Output = Vec<WorkerStats>> + Send + '_>> {
        Box::pin(async { Vec::new() })
    }

    fn ready(&self) -> bool {
        false
    }
}

struct World {
    _directory: Directory,
    socket: PathBuf,
}

impl World {
    fn new() -> Self {
        let directory = Directory::new();
        let socket = directory.path().join("admin.sock");
        let store = directory.path().join("store");
        let listen = Listen {
            socket: socket.clone(),
            tcp: None,
            tls: None,
        };
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let published = Arc::<snapshot::Published>::default();
            let control = Control::open(&store, Arc::clone(&published)).unwrap();
            let state = State {
                acme: AcmeClient::new(control.clone(), AcmeSettings::default()),
                control: control.clone(),
                lists: CrlFetcher::new(control.clone()),
                responders: OcspClient::new(control.clone(), Arc::default()),
                stapler: Stapler::new(control.clone(), StapleMode::default),
                health: HealthChecker::new(published.clone()),
                names: NameWatch::new(control.clone(), published.clone()),
                fleet: Arc::new(NoFleet::new(NoFleet::NOT_SET, control)),
                published,
                workers: Arc::new(NoWorkers),
                live: Arc::new(Live::new(Config::default())),
                access_log: AccessLog::off(),
                spans: Arc::new(Spans::new(false)),
                plain: Arc::default(),
                events: Events::new(1),
                upgrades: upgrades(),
                started: SystemTime::now(),
                begun: Instant::now(),
            };
            // As the gateway has it: one thread that answers everybody.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let bound = Bound::bind(&listen).await.unwrap();
                ready.send(()).unwrap();
                serve_bound(bound, state).await;
            });
        });
        is_ready.recv().unwrap();
        Self {
            _directory: directory,
            socket,
        }
    }

    fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = exchange(&self.socket, method, path, body.to_string().as_bytes());
        let text = String::from_utf8(answer).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(status < 300, "{method} {path}: {text}");
        serde_json::from_str(body).unwrap()
    }

    /// The status of the answer, and the most that was in use meanwhile.
    fn measure(&self, method: &str, path: &str, body: &[u8]) -> (u16, usize) {
        let before = USED.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        send(&mut stream, method, path, body);
        let mut part = [0; 4096];
        let mut status = 0;
        while let Ok(count @ 1..) = stream.read(&mut part) {
            if status == 0 {
                status = std::str::from_utf8(&part[9..12]).unwrap().parse().unwrap();
            }
            if count == 0 {
                break;
            }
        }
        (status, PEAK.load(Ordering::Relaxed).saturating_sub(before))
    }
}

fn send(stream: &mut UnixStream, method: &str, path: &str, body: &[u8]) {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    // A route that takes no body answers without reading it, and closes.
    drop(stream.write_all(body));
}

fn exchange(socket: &Path, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = UnixStream::connect(socket).unwrap();
    send(&mut stream, method, path, body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let status = std::str::from_utf8(&answer[9..12])
        .unwrap()
        .parse()
        .unwrap();
    (status, answer)
}

/// A text of a mebibyte: `item` again and again between two ends.
fn filled(begin: &str, item: &str, between: &str, end: &str) -> Vec<u8> {
    let mut text = begin.to_owned();
    text.push_str(item);
    while text.len() + between.len() + item.len() + end.len() <= MIB {
        text.push_str(between);
        text.push_str(item);
    }
    text.push_str(end);
    text.into_bytes()
}

/// Items, keys and texts that take much more than they have bytes, where they are taken.
const ITEMS: [&str; 8] = [
    "{}",
    r#"{"":0}"#,
    "[]",
    r#""""#,
    "0",
    "null",
    r#"{"a":[{}],"b":{"":[{}]}}"#,
    r#"{"name":"","value":"","url":"","host":"","action":"","expression":"","id":""}"#,
];

/// Bodies that are hostile whatever the route.
fn anywhere() -> Vec<(String, Vec<u8>)> {
    let mut bodies = vec![
        ("nested arrays".into(), vec![b'['; MIB]),
        ("nested objects".into(), filled("", r#"{"a":"#, "", "")),
        ("no JSON".into(), vec![0xff; MIB]),
        ("a long text".into(), filled("\"", "x", "", "\"")),
        (
            "a long text of escapes".into(),
            filled("\"", r"\u200b", "", "\""),
        ),
        ("a long number".into(), vec![b'7'; MIB]),
        ("a long key".into(), filled("{\"", r"\u0001", "", "\":0}")),
        ("keys".into(), filled("{", r#""k":0"#, ",", "}")),
        ("anchors and aliases of YAML".into(), {
            let mut text = "a: &a [x, x, x, x, x, x, x, x]\n".to_owned();
            for (new, old) in ('b'..='z').zip('a'..='y') {
                text.push_str(&format!("{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"));
            }
            filled(&text, "- *z", "\n", "\n")
        }),
    ];
    let mut keys = String::from("{");
    for n in 0.. {
        if keys.len() > MIB - 20 {
            break;
        }
        keys.push_str(&format!("\"{n:x}\":0,"));
    }
    keys.push_str("\"x\":0}");
    bodies.push(("different keys".into(), keys.into_bytes()));
    for item in ITEMS {
        bodies.push((format!("an array of {item}"), filled("[", item, ",", "]")));
    }
    bodies
}

/// Bodies that are hostile in a member of an object.
fn inside(member: &str) -> Vec<(String, Vec<u8>)> {
    let begin = format!("{{\"{member}\":");
    let mut bodies: Vec<_> = ITEMS
        .iter()
        .map(|item| {
            let body = filled(&format!("{begin}["), item, ",", "]}");
            (format!("{member}: an array of {item}"), body)
        })
        .collect();
    let text = filled(&format!("{begin}\""), r"\u200b", "", "\"}");
    bodies.push((format!("{member}: a long text"), text));
    let keys = filled(&format!("{begin}{{"), r#""k":{"":0}"#, ",", "}}");
    bodies.push((format!("{member}: keys"), keys));
    let deep = filled(&begin, "[", "", "");
    bodies.push((format!("{member}: nested"), deep));
    bodies
}

/// Bodies that come far in one route: each has a mebibyte of what is well formed there.
fn of_route(path: &str) -> Vec<(String, Vec<u8>)> {
    let bodies: &[[&str; 4]] = if path.ends_with("/rule_tests") {
        &[
            [
                r#"{"requests":["#,
                r#"{"host":"a.example.test"}"#,
                ",",
                "]}",
            ],
            [r#"{"records":["#, r#""{}""#, ",", "]}"],
            [r#"{"records":[""#, r#"{\"\":0},"#, "", "\"]}"],
            [
                r#"{"requests":[{"host":"a","headers":{"a":["#,
                r#""""#,
                ",",
                "]}}]}",
            ],
            [
                r#"{"requests":[{"host":"a","headers":{"a":["#,
                r#"{"":0}"#,
                ",",
                "]}}]}",
            ],
            [
                r#"{"requests":[],"draft":{"action":"log","action_parameters":["#,
                r#"{"":0}"#,
                ",",
                r#"],"expression":"ssl"}}"#,
            ],
            [r#"{"requests":[],"explain":["#, r#""all""#, ",", "]}"],
        ]
    } else if path.contains("/rulesets") {
        &[
            [
                r#"{"rules":["#,
                r#"{"action":"log","expression":""}"#,
                ",",
                "]}",
            ],
            [
                r#"{"rules":["#,
                r#"{"action":"","expression":"ssl"}"#,
                ",",
                "]}",
            ],
            [
                r#"{"rules":[{"action":"log","expression":"ssl","action_parameters":["#,
                r#"{"":0}"#,
                ",",
                "]}]}",
            ],
            [
                r#"{"rules":["#,
                r#"{"action":"log","expression":"ssl","action_parameters":{"":{"":0}}}"#,
                ",",
                "]}",
            ],
            [
                r#"{"rules":[{"action":"log","expression":""#,
                "(",
                "",
                "\"}]}",
            ],
            [
                r#"{"rules":[{"action":"log","expression":"ssl","categories":["#,
                r#"{"":0}"#,
                ",",
                "]}]}",
            ],
        ]
    } else if path.ends_with("/items") {
        &[
            ["[", r#"{"ip":"192.0.2.1"}"#, ",", "]"],
            ["[", r#"{"ip":""}"#, ",", "]"],
            ["[", r#"{"hostname":{"url_hostname":"a.b"}}"#, ",", "]"],
            [
                r#"{"items":["#,
                r#"{"id":"00000000000000000000000000000000"}"#,
                ",",
                "]}",
            ],
        ]
    } else if path.ends_with("/apply") {
        &[
            [
                r#"{"postern":1,"zones":["#,
                r#"{"name":"a.test"}"#,
                ",",
                "]}",
            ],
            [
                r#"{"postern":1,"lists":["#,
                r#"{"name":"a","kind":"ip"}"#,
                ",",
                "]}",
            ],
            [
                r#"{"postern":1,"lists":[{"name":"a","kind":"ip","items":["#,
                r#"{"value":"192.0.2.1"}"#,
                ",",
                "]}]}",
            ],
            [
                r#"{"postern":1,"authorities":["#,
                r#"{"name":"a","certificate":""}"#,
                ",",
                "]}",
            ],
            [
                r#"{"postern":1,"zones":[{"name":"example.test","hosts":["#,
                r#"{"name":"a.test","origin":{"url":"http://a"}}"#,
                ",",
                "]}]}",
            ],
            [
                r#"{"postern":1,"zones":[{"name":"example.test","rules":["#,
                r#"{"expression":"","action":"log"}"#,
                ",",
                "]}]}",
            ],
            [
                r#"{"postern":1,"zones":[{"name":"example.test","rules":[{"expression":"ssl","action":"log","action_parameters":["#,
                r#"{"":0}"#,
                ",",
                "]}]}]}",
            ],
            [
                r#"{"postern":1,"zones":[{"name":"example.test","associations":["#,
                r#"{"authority":"managed","hosts":[]}"#,
                ",",
                "]}]}",
            ],
        ]
    } else if path.contains("associations") {
        &[
            [r#"{"hostnames":["#, r#""a.example.test""#, ",", "]}"],
            [r#"{"add":["#, r#""a.example.test""#, ",", "]}"],
        ]
    } else if path.ends_with("/crls") {
        &[
            [
                "",
                "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
                "",
                "",
            ],
            ["", "-----BEGIN X509 CRL-----\n", "", ""],
            [
                r#"{"crl":""#,
                r"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
                "",
                "\"}",
            ],
            ["\u{30}\u{03}", "\u{2}\u{1}\u{1}", "", ""],
        ]
    } else if path.ends_with("/mtls_certificates") {
        &[[
            r#"{"ca":true,"certificates":""#,
            r"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
            "",
            "\"}",
        ]]
    } else {
        &[]
    };
    let named = bodies.iter().map(|[begin, item, between, end]| {
        let body = filled(begin, item, between, end);
        (format!("{begin}{item}…"), body)
    });
    named.collect()
}

/// The members of a body, as the document has them.
fn members(document: &Value, route: &Value) -> Vec<String> {
    let content = &route["requestBody"]["content"]["application/json"]["schema"];
    let name = content["$ref"].as_str().unwrap_or_default();
    let schema = document
        .pointer(name.trim_start_matches('#'))
        .unwrap_or(content);
    let members = schema["properties"].as_object();
    members
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn no_request_of_a_mebibyte_takes_more_than_sixteen() {
    let world = World::new();
    let zone = world.ok("POST", "/client/v4/zones", &json!({"name": "example.test"}));
    let text = |value: &Value| value["result"]["id"].as_str().unwrap().to_owned();
    let account = zone["result"]["account"]["id"].as_str().unwrap().to_owned();
    let zone = text(&zone);
    let host = json!({"name": "a.example.test", "origin": {"url": "http://127.0.0.1:1"}});
    world.ok("POST", &format!("/postern/v1/zones/{zone}/hosts"), &host);
    let ruleset = world.ok(
        "PUT",
        &format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint"),
        &json!({"rules": [{"action": "log", "expression": "ssl"}]}),
    );
    let list = world.ok(
        "POST",
        &format!("/client/v4/accounts/{account}/rules/lists"),
        &json!({"name": "some", "kind": "ip"}),
    );
    let authority = Identity::issued(&Spec::authority("Brought"), None);
    let authority = world.ok(
        "POST",
        &format!("/client/v4/accounts/{account}/mtls_certificates"),
        &json!({"ca": true, "certificates": authority.chain_pem(), "name": "brought"}),
    );
    let document: Value = {
        let (_, answer) = exchange(&world.socket, "GET", "/client/v4/openapi.json", b"");
        let text = String::from_utf8(answer).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let names = [
        ("{zone_id}", zone.as_str()),
        ("{account_id}", &account),
        ("{ruleset_id}", &text(&ruleset)),
        ("{list_id}", &text(&list)),
        ("{ca_id}", &text(&authority)),
        ("{host}", "a.example.test"),
        ("{phase}", "http_request_firewall_custom"),
        ("{ruleset_phase}", "http_request_firewall_custom"),
        ("{setting}", "min_tls_version"),
        ("{key}", "timeout.idle"),
        ("{version}", "1"),
    ];
    let general = anywhere();
    let (mut routes, mut requests) = (0, 0);
    let mut worst: Vec<(usize, String)> = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        let mut path = template.clone();
        for (name, value) in names {
            path = path.replace(name, value);
        }
        while let Some((before, rest)) = path.split_once('{') {
            let (_, after) = rest.split_once('}').unwrap();
            path = format!("{before}00000000-0000-4000-8000-000000000000{after}");
        }
        for (method, route) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                continue;
            }
            routes += 1;
            // What deletes a thing that the others need has no body to be hostile in.
            if matches!(method.as_str(), "GET" | "DELETE") && route.get("requestBody").is_none() {
                continue;
            }
            let members = members(&document, route);
            let own = members.iter().flat_map(|member| inside(member));
            let own: Vec<_> = own.chain(of_route(template)).collect();
            for (what, body) in general.iter().chain(&own) {
                let (status, took) = world.measure(&method, &path, body);
                requests += 1;
                assert!(
                    took <= MOST,
                    "{method} {template}, {what}: {took} bytes, status {status}"
                );
                assert!(status < 500, "{method} {template}, {what}: status {status}");
                worst.push((took, format!("{method} {template}, {what}: {status}")));
            }
        }
    }
    worst.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
    println!("{routes} routes, {requests} requests; those that took most:");
    for (took, what) in worst.iter().take(12) {
        println!("  {:.1} MiB  {what}", *took as f64 / MIB as f64);
    }
    assert!(requests > 1_000, "{requests} requests are too few");
}

/// Nobody carries them out.
fn upgrades() -> Arc<Upgrades> {
    let (upgrades, wanted) = Upgrades::new(None);
    std::mem::forget(wanted);
    Arc::new(upgrades)
}
