//! That deciding asks for no memory, whatever rules read and make of it.
//!
//! A binary of its own: it replaces the allocator, which takes the only unsafe code of these tests.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rules::testing::world::{Certificate, World, block, rule};
use rules::{Action, ConnectionState, Lists, Program, decide_on};

/// Counts what each thread asks for; all tests of this binary run with it.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts and hands everything on to the system's"
)]
// SAFETY: every method hands its arguments on unchanged, so the system allocator's contract holds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
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

#[test]
fn a_decision_asks_for_no_memory() {
    let world = World::new(
        Certificate::Valid,
        "www.example.com",
        "/a/b.php?x=1&y=%2541",
    )
    .header("user-agent", "Mozilla/5.0")
    .header("user-agent", "again")
    .header(
        "x-json",
        r#"{"a":{"b":[1,"two",{"c":-3}]},"e\u0041":"q\"x"}"#,
    )
    .header("x-enc", "John%20Doe+%2520%u2601%")
    .header("x-b64", "MTIzYWJj")
    .header("cookie", "app=test; b=c");
    // None of them blocks, so that all are evaluated.
    for expression in [
        r#"http.request.uri.path matches "^/a/[0-9]+$""#,
        r#"http.request.uri.path matches r"\.(?:php|cgi)$" and not ssl"#,
        r#"http.request.uri.path matches r"(?u)\b\d+\b""#,
        r#"http.request.full_uri contains "nowhere""#,
        r#"http.request.uri.path wildcard "/x/*/y""#,
        r#"lower(http.host) eq "x""#,
        r#"url_decode(http.request.headers["x-enc"][0], "ur") eq "x""#,
        r#"lookup_json_string(http.request.headers["x-json"][0], "eA") eq "x""#,
        r#"lookup_json_integer(http.request.headers["x-json"][0], "a", "b", 2, "c") eq 3"#,
        r#"decode_base64(http.request.headers["x-b64"][0]) eq "x""#,
        r#"concat(http.host, http.request.uri.path, "x") eq "x""#,
        r#"join(http.request.headers.names, ",") eq "x""#,
        r#"any(lower(http.request.headers.values[*])[*] eq "x")"#,
        r#"all(http.request.cookies["app"][*] ne "test")"#,
        r#"any(split(http.user_agent, "/", 9)[*] eq "x")"#,
        r#"to_string(ip.src) eq "x""#,
        r#"regex_replace(http.host, "(w+)\\.(.*)", "${2}$$${1}") eq "x""#,
        r#"wildcard_replace(http.host, "*.example.*", "${2}${1}") eq "x""#,
        "ip.src in {10.0.0.0/8} or cidr(ip.src, 24, 48) eq 10.0.0.0",
        r#"any(postern.tls_client_auth.cert_san.dns[*] eq "x")"#,
        r#"cf.bot_management.ja4 eq "x""#,
        "cf.edge.server_port in {1..442}",
    ] {
        let rules = [
            block("a", expression),
            rule("b", &format!("not ({expression})"), Action::Log),
        ];
        let program = Program::compile_with(&rules, &Lists::default()).unwrap();
        let state = ConnectionState::default();
        let request = world.request();
        let mut logged = 0;
        let mut decide = || {
            decide_on(
                &program,
                &world.connection,
                &state,
                &request,
                &mut |_: &str| logged += 1,
            );
        };
        // The first ones grow what the thread and the connection keep.
        decide();
        decide();
        let before = ASKED.get();
        for _ in 0..10 {
            decide();
        }
        assert_eq!(ASKED.get(), before, "{expression}");
        assert_eq!(logged, 12, "{expression}");
    }
}
