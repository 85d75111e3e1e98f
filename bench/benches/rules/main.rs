//! What a decision costs for ten rules and for a hundred thousand, beside the plain evaluator.
//!
//! `cargo bench -p bench --bench rules` prints a table of minima (the machine may be shared), then
//! lets criterion measure the same decisions. Before anything is timed, program and evaluator have
//! to agree. Sets: `realistic` looks like a zone's rules (most about one host), `dense` has few
//! distinct constants, so that every column of the index is satisfied by a large part of the rules
//! and the bit vectors have to do the work. `control` changes one rule of a stored ruleset until it
//! is published; `hostile` sends what is made to cost more than it weighs. Bytes are those of the
//! index that a decision reads, as it counts them itself; their ratio is to the time in which this
//! machine reads so many from memory in a row.

mod hostile;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use control::{Control, NewRule, Phase, Position, RulePatch};
use criterion::{BenchmarkId, Criterion};
use http::{HeaderMap, HeaderValue};
use http1::Headers;
use rules::testing::oracle::Oracle;
use rules::{
    Action, Allowance, BlockResponse, ConnectionFacts, ConnectionState, Decision, Lists, Program,
    RequestFacts, RoundTrip, Rule, decide_on, touched_bytes,
};
use snapshot::Published;
use vocabulary::client_auth::ClientAuth;
use vocabulary::verdict::{Reason, Verdict};

/// Counts what is allocated, to show that deciding allocates nothing and what a program takes.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator that counts and hands everything on to the system's"
)]
// SAFETY: every method hands its arguments on unchanged, so the system allocator's contract holds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }
}

impl Random {
    fn one_of<T>(&mut self, [first, second]: [T; 2]) -> T {
        if self.below(2) == 0 { first } else { second }
    }
}

fn rule(at: usize, expression: String, action: Action) -> Rule {
    Rule {
        id: format!("{at:032x}").into(),
        expression: expression.into(),
        action,
        enabled: true,
    }
}

fn block() -> Action {
    Action::Block(BlockResponse::default())
}

/// Rules as zones have them: mostly about one host, some about all of them.
fn realistic(count: usize) -> Vec<Rule> {
    let mut random = Random(1);
    let hosts = (count / 50).max(2);
    (0..count)
        .map(|at| {
            // Host 0 is where requests go: only rules that can be passed with a valid certificate.
            let host = format!("api{}.example.com", random.below(hosts));
            let n = random.below(100_000);
            let (text, action) = match random.below(100) {
                0..30 => (format!("http.host eq \"{host}\" and starts_with(http.request.uri.path, \"/v1/area{n}/\")"), block()),
                30..45 => (
                    format!("http.host eq \"{host}\" and http.request.uri.path in {{\"/admin{n}\" \"/admin{n}/\" \"/internal/{n}\"}}"),
                    block(),
                ),
                45..60 => (
                    format!("(http.host eq \"{host}\" and starts_with(http.request.uri.path, \"/device/{n}\") and \
                             not (cf.tls_client_auth.cert_verified and cf.tls_client_auth.cert_fingerprint_sha256 eq \"{n:064x}\"))"),
                    block(),
                ),
                60..65 => (format!("cf.tls_client_auth.cert_serial eq \"{n:040X}\" and http.host eq \"{host}\""), block()),
                65..78 => (
                    format!("http.host eq \"{host}\" and ip.src in {{10.{}.{}.0/24 172.16.{}.{}}}", n % 256, n / 256 % 256, n % 251, n % 241),
                    block(),
                ),
                78..86 => (
                    format!("http.host eq \"{host}\" and http.request.method in {{\"PUT\" \"DELETE\"}} and any(http.request.headers[\"x-api-version\"][*] eq \"v{}\")", n % 40),
                    block(),
                ),
                86..91 => (format!("http.host eq \"{host}\" and http.user_agent contains \"scanner-{n}\""), Action::Log),
                91..94 => (format!("ip.src in {{198.18.{}.{}/32 198.19.{}.0/25}}", n % 256, n % 255, n % 253), block()),
                94..97 => (format!("http.request.uri.path contains \"/.leak{n}\""), block()),
                97..98 => (format!("http.request.uri.path matches \"^/wp-{n}/[a-z]+\\\\.php$\""), block()),
                98..99 => (format!("lower(http.request.uri.query) contains \"union-select-{n}\""), Action::Log),
                _ => (format!("http.request.uri.path wildcard \"/old-{n}/*\" and not cf.tls_client_auth.cert_verified"), block()),
            };
            rule(at, text, action)
        })
        .collect()
}

/// Few distinct constants: for the request asked, each column is satisfied by about half of the
/// rules, and no rule by all of its columns, because method and version never fit together.
fn dense(count: usize) -> Vec<Rule> {
    let mut random = Random(2);
    (0..count)
        .map(|at| {
            let (method, version) = random.one_of([("GET", "TLSv1.2"), ("PUT", "TLSv1.3")]);
            let text = format!(
                "cf.tls_version eq \"{version}\" and http.request.method in {{\"{method}\" \"PATCH\"}} and \
                 http.request.uri.path contains \"{}\" and starts_with(http.host, \"{}\") and \
                 ip.src in {{{}}} and http.request.uri.query eq \"{}\"",
                random.one_of(["orders", "invoices"]),
                random.one_of(["api", "www"]),
                random.one_of(["203.0.0.0/8", "10.0.0.0/8"]),
                random.one_of(["page=9", "page=2"]),
            );
            rule(at, text, block())
        })
        .collect()
}

/// A connection and the parts of a request.
struct Case {
    connection: ConnectionFacts,
    host: String,
    path: String,
    query: String,
    headers: Headers,
}

impl Case {
    fn new(host: &str, path: &str, query: &str) -> Self {
        let mut client = ClientAuth::none();
        client.verdict = Verdict {
            presented: true,
            verified: true,
            revoked: false,
            reason: Reason::Verified,
        };
        client.fingerprint_sha256 = "f".repeat(64).into();
        client.serial = "0A1B2C".into();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0",
            ),
            ("accept", "application/json"),
            ("x-api-version", "v99"),
            (
                "cookie",
                "session=8521F670545D7865F79C3D7BEDC29CCE; theme=light",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Self {
            connection: ConnectionFacts {
                source: ([203, 0, 113, 9], 50_000).into(),
                local: ([198, 51, 100, 1], 443).into(),
                sni: host.into(),
                tls_version: "TLSv1.3",
                tls_cipher: "AEAD-AES128-GCM-SHA256",
                client_hello: bytes::Bytes::new(),
                geo: None,
                client: Arc::new(client),
            },
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.into(),
        }
    }

    fn request(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: "GET",
            version: "HTTP/2",
            host: &self.host,
            path: &self.path,
            raw_path: &self.path,
            query: &self.query,
            authority: None,
            headers: &self.headers,
            received_msec: 1_700_000_000_000,
            ray_id: "8f00b204e9800998",
            allowance: Allowance::default(),
            round_trip: RoundTrip::default(),
        }
    }
}

fn by_program<'p>(program: &'p Program, case: &Case, state: &ConnectionState) -> Option<&'p str> {
    match decide_on(
        program,
        &case.connection,
        state,
        &case.request(),
        &mut |_| {},
    ) {
        Decision::Block { rule_id, .. } => Some(rule_id),
        Decision::Permit(_) | Decision::TooLarge => None,
    }
}

fn by_oracle<'o>(oracle: &'o Oracle, case: &Case) -> Option<&'o str> {
    oracle.decide(&case.connection, &case.request(), &mut |_| {})
}

/// One set with what is asked of it.
struct Subject {
    name: &'static str,
    rules: Vec<Rule>,
    cases: Vec<(&'static str, Case)>,
}

fn subjects(count: usize) -> Vec<Subject> {
    let mut with_match = realistic(count);
    let middle = with_match.len() / 2;
    if let Some(rule) = with_match.get_mut(middle) {
        rule.expression =
            "http.host eq \"api1.example.com\" and http.request.uri.path in {\"/stop/here\"}"
                .into();
        rule.action = block();
    }
    vec![
        Subject {
            name: "realistic",
            rules: with_match,
            cases: vec![
                (
                    "no match",
                    Case::new("api1.example.com", "/v1/customers/4711/orders", "page=9"),
                ),
                ("match", Case::new("api1.example.com", "/stop/here", "")),
                (
                    "other host",
                    Case::new("nobody.example.net", "/v1/customers/4711/orders", "page=9"),
                ),
            ],
        },
        Subject {
            name: "dense",
            rules: dense(count),
            cases: vec![(
                "no match",
                Case::new("api1.example.com", "/v1/customers/4711/orders", "page=9"),
            )],
        },
    ]
}

/// CPU time of this thread: compiling takes long enough for others to interrupt it.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The shortest of many batches, per call.
fn least(mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    call();
    let once = start.elapsed().max(Duration::from_nanos(50));
    let batch = (200_000 / u32::try_from(once.as_nanos()).unwrap_or(u32::MAX)).clamp(1, 4000);
    let mut least = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(400);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..batch {
            call();
        }
        least = least.min(start.elapsed() / batch);
    }
    least
}

/// Bytes a second that one core reads from memory in a row.
fn bandwidth() -> f64 {
    // Far beyond the caches.
    let words = vec![1_u64; 32 << 20];
    let taken = (0..5).map(|_| {
        let start = Instant::now();
        black_box(
            black_box(&words)
                .iter()
                .fold(0, |sum: u64, word| sum ^ word),
        );
        start.elapsed()
    });
    let taken = taken.min().unwrap_or_default();
    size_of_val(words.as_slice()) as f64 / taken.as_secs_f64()
}

/// A store in a directory that goes with it.
struct Store(std::path::PathBuf);

impl Store {
    fn new() -> Self {
        let name = format!("postern-bench-rules-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
        Self(directory)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Rules that are changed one after the other: more than are kept beside an index.
const CHANGES: usize = 1_200;

/// Time from asking for one changed rule until it is durable and published, fsync included.
fn through_control(count: usize) {
    let store = Store::new();
    let published = Arc::new(Published::default());
    let control = Control::open(&store.0.join("store.redb"), published.clone())
        .expect("an empty store opens");
    let zone = control.create_zone("example.com").expect("a zone is made");
    let rules = realistic(count).into_iter().map(|rule| NewRule {
        action: rule.action.name().into(),
        ..NewRule::block(&rule.expression)
    });
    let start = Instant::now();
    let phase = Phase::HttpRequestFirewallCustom;
    let ruleset = control
        .set_entrypoint(zone.id, phase, None, None, rules.collect())
        .expect("generated rules are stored");
    let all = start.elapsed();
    let mut random = Random(9);
    let mut change = |n: usize, is_moved: bool| {
        let rule = ruleset.rules.get(random.below(count));
        let id = rule.expect("there are so many rules").id;
        let to = is_moved.then(|| Position::Index(random.below(count) + 1));
        let patch = RulePatch {
            expression: (!is_moved).then(|| format!("http.request.uri.path eq \"/changed{n}\"")),
            ..RulePatch::default()
        };
        let start = Instant::now();
        control
            .update_rule(zone.id, ruleset.id, id, patch, to.as_ref())
            .expect("a rule is changed");
        start.elapsed()
    };
    println!(
        "control | {count} | all rules stored and published {:.2} s",
        all.as_secs_f64()
    );
    for (what, is_moved) in [("changed", false), ("moved", true)] {
        let mut times: Vec<Duration> = (0..CHANGES).map(|n| change(n, is_moved)).collect();
        times.sort_unstable();
        let time = |place: usize| times.get(place).copied().unwrap_or_default();
        let at = |place: usize| time(place).as_secs_f64() * 1e3;
        println!(
            "control | {count} | one rule {what}: {:.1} ms least, {:.1} ms median, {:.1} ms p99, {:.1} ms most; {} of {CHANGES} over 100 ms",
            at(0),
            at(CHANGES / 2),
            at(CHANGES * 99 / 100),
            at(CHANGES - 1),
            times.iter().filter(|time| time.as_millis() >= 100).count(),
        );
    }
}

fn figures(sizes: &[usize]) {
    let mut table = String::new();
    let bandwidth = bandwidth();
    println!(
        "one core reads {:.1} GB/s from memory in a row\n",
        bandwidth / 1e9
    );
    println!(
        "set | case | rules | program | first of a connection | evaluator | ratio | allocations per decision | bytes | ratio to reading them"
    );
    for count in sizes {
        for subject in subjects(*count) {
            let before = LIVE_BYTES.load(Ordering::Relaxed);
            let start = cpu_time();
            let program = match Program::compile(&subject.rules) {
                Ok(program) => program,
                Err(error) => panic!("{error}"),
            };
            let compiled = cpu_time().saturating_sub(start);
            let bytes = LIVE_BYTES.load(Ordering::Relaxed).saturating_sub(before);
            let _written = writeln!(
                table,
                "{} | {count} | {:.1} ms | {:.2} µs per rule | {:.1} MB | {} bytes per rule | vectors {:.1} MB | one changed: {:.2} ms",
                subject.name,
                compiled.as_secs_f64() * 1e3,
                compiled.as_secs_f64() * 1e6 / *count as f64,
                bytes as f64 / 1e6,
                bytes / *count as u64,
                program.vector_bytes() as f64 / 1e6,
                one_changed(&program, &subject.rules).as_secs_f64() * 1e3,
            );
            let oracle = Oracle::compile(&subject.rules, &Lists::default())
                .expect("they have just been compiled");
            for (name, case) in &subject.cases {
                assert_eq!(
                    by_program(&program, case, &ConnectionState::default()),
                    by_oracle(&oracle, case)
                );
                let state = ConnectionState::default();
                by_program(&program, case, &state);
                let allocations = ALLOCATIONS.load(Ordering::Relaxed);
                for _ in 0..1000 {
                    black_box(by_program(&program, case, &state));
                }
                let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
                let fast = least(|| {
                    black_box(by_program(&program, black_box(case), &state));
                });
                let first = least(|| {
                    black_box(by_program(
                        &program,
                        black_box(case),
                        &ConnectionState::default(),
                    ));
                });
                by_program(&program, case, &state);
                let bytes = touched_bytes();
                let plain = least(|| {
                    black_box(by_oracle(&oracle, black_box(case)));
                });
                println!(
                    "{} | {name} | {count} | {:.0} ns | {:.0} ns | {:.0} ns | {:.1} | {} | {bytes} | {:.1}",
                    subject.name,
                    fast.as_secs_f64() * 1e9,
                    first.as_secs_f64() * 1e9,
                    plain.as_secs_f64() * 1e9,
                    plain.as_secs_f64() / fast.as_secs_f64(),
                    allocations as f64 / 1000.0,
                    fast.as_secs_f64() / (bytes as f64 / bandwidth),
                );
            }
        }
    }
    println!(
        "\nset | rules | compile (CPU time) | per rule | memory | per rule | vectors | recompile\n{table}"
    );
    hostile::figures();
    for count in sizes {
        through_control(*count);
    }
}

/// Time until a program with one changed rule is there.
fn one_changed(program: &Program, rules: &[Rule]) -> Duration {
    // The others are the very same, as the control plane has them.
    let mut rules = Rule::shared(rules);
    let program = program.recompile(rules.clone(), &Lists::default());
    let program = program.expect("generated rules compile");
    let middle = rules.len() / 2;
    if let Some(rule) = rules.get_mut(middle) {
        let expression = "http.request.uri.path eq \"/changed\"".into();
        *rule = Arc::new(Rule {
            expression,
            ..(**rule).clone()
        });
    }
    (0..5)
        .map(|_| {
            let rules = rules.clone();
            let start = cpu_time();
            let changed = black_box(program.recompile(rules, &Lists::default()).ok());
            let taken = cpu_time().saturating_sub(start);
            drop(changed);
            taken
        })
        .min()
        .unwrap_or_default()
}

fn measured(criterion: &mut Criterion, sizes: &[usize]) {
    for count in sizes {
        for subject in subjects(*count) {
            let program = Program::compile(&subject.rules).expect("generated rules compile");
            let oracle = Oracle::compile(&subject.rules, &Lists::default())
                .expect("generated rules compile");
            for (name, case) in &subject.cases {
                let mut group = criterion.benchmark_group(format!("{}/{name}", subject.name));
                group
                    .sample_size(20)
                    .measurement_time(Duration::from_secs(1))
                    .warm_up_time(Duration::from_millis(300));
                let state = ConnectionState::default();
                group.bench_with_input(
                    BenchmarkId::new("program", count),
                    case,
                    |bencher, case| {
                        bencher.iter(|| black_box(by_program(&program, black_box(case), &state)));
                    },
                );
                group.bench_with_input(
                    BenchmarkId::new("evaluator", count),
                    case,
                    |bencher, case| {
                        bencher.iter(|| black_box(by_oracle(&oracle, black_box(case))));
                    },
                );
                group.finish();
            }
        }
    }
}

fn main() {
    let sizes = [10, 100, 1_000, 10_000, 100_000];
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` runs this to see that it works: small sets, nothing timed for long.
    if arguments.iter().any(|argument| argument == "--test") {
        figures(&[10, 100]);
        return;
    }
    figures(&sizes);
    if !arguments.iter().any(|argument| argument == "figures") {
        let mut criterion = Criterion::default().configure_from_args();
        measured(&mut criterion, &sizes);
        criterion.final_summary();
    }
}
