//! That a request in steady state asks for no memory: heads read and rewritten, bodies passed on, on
//! both sides.
//!
//! A binary of its own: it replaces the allocator, which takes the only unsafe code of these tests.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test panics where something is wrong"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use http::header::{FORWARDED, HeaderValue, VIA};
use http::{HeaderName, StatusCode};
use http1::{
    Asked, BodyLength, Event, Head, Headers, Idle, Known, Limits, Next, Piece, Request, Step,
    Waiting,
};

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

const REQUEST: &[u8] = b"POST /api/v1/devices/0192e4a1/telemetry?a=b HTTP/1.1\r\n\
    Host: api.example.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\
    Connection: keep-alive\r\n\
    Transfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 1\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Sun, 29 Nov 2026 05:00:00 GMT\r\n\
    Server: origin\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 22\r\n\r\n\
    {\"temperature\":\"21.5\"}";

/// What a worker keeps for all of its connections.
#[derive(Default)]
struct Worker {
    limits: Limits,
    head: Head,
    received: BytesMut,
    headers: Headers,
    to_origin: Vec<u8>,
    to_client: Vec<u8>,
}

/// A head as it comes: in memory that is used again once nothing of the last one lies in it.
fn receive(received: &mut BytesMut, head: &[u8]) -> BytesMut {
    received.reserve(REQUEST.len().max(ANSWER.len()));
    received.extend_from_slice(head);
    received.split()
}

/// One request, from its first byte to the last of its answer.
fn exchange(worker: &mut Worker, client: Waiting, origin: Idle) -> (Waiting, Idle) {
    let Worker {
        limits,
        head,
        received,
        headers,
        to_origin,
        to_client,
    } = worker;
    to_origin.clear();
    to_client.clear();
    let Ok(Next::Request(request)) = client.receive(REQUEST, limits, head) else {
        panic!("the request is good");
    };
    let Request {
        consumed,
        length,
        mut incoming,
        reply,
        ..
    } = request;
    let asked = Asked::of(head.method(REQUEST), head.target(REQUEST));
    headers.take_over(head, receive(received, &REQUEST[..consumed]));
    headers.remove_known(Known::is_hop_by_hop);
    headers.insert(FORWARDED, HeaderValue::from_static("for=192.0.2.1"));
    headers.insert(VIA, HeaderValue::from_static("1.1 postern"));
    let (mut upload, mut answer) = origin.ask(asked, headers, length, to_origin).unwrap();
    headers.clear();
    let mut at = consumed;
    loop {
        let input = &REQUEST[at..];
        let decoded = incoming.receive(input, limits, head).unwrap();
        at += decoded.consumed;
        match decoded.piece {
            Piece::Data(range) => upload.data(&input[range], to_origin).unwrap(),
            Piece::Trailers => upload
                .end_with_fields(head.fields(input), to_origin)
                .unwrap(),
            Piece::End => break,
            Piece::More => panic!("the body is whole"),
        }
    }
    assert!(at == REQUEST.len() && upload.is_over());

    let Ok(Step { consumed, event }) = answer.receive(ANSWER, limits, head) else {
        panic!("the answer is good");
    };
    let Event::Answer(length) = event else {
        panic!("the answer is whole");
    };
    let status = StatusCode::from_u16(head.status()).unwrap();
    headers.take_over(head, receive(received, &ANSWER[..consumed]));
    headers.remove_known(Known::is_hop_by_hop);
    let id = HeaderValue::from_static("0192e4a17b0c7c3fa1b2c3d4e5f60718");
    headers.insert(HeaderName::from_static("x-request-id"), id);
    let mut sending = reply.head(status, headers, length, to_client).unwrap();
    headers.clear();
    let rest = &ANSWER[consumed..];
    let step = answer.receive(rest, limits, head).unwrap();
    let Event::Data(range) = step.event else {
        panic!("the body is whole");
    };
    sending.data(&rest[range], to_client).unwrap();
    sending.end(None, to_client).unwrap();
    assert_eq!(length, BodyLength::Exactly(22));
    let idle = answer.over(&upload, b"").unwrap();
    (sending.over(&incoming).unwrap(), idle)
}

#[test]
fn a_request_in_steady_state_asks_for_no_memory() {
    let mut worker = Worker::default();
    let (mut client, mut origin) = (Waiting::new(), Idle::new());
    (client, origin) = exchange(&mut worker, client, origin);
    assert!(worker.to_origin.ends_with(b"\r\n0\r\nx-sum: 1\r\n\r\n"));
    assert!(worker.to_client.ends_with(b"{\"temperature\":\"21.5\"}"));
    let before = ASKED.get();
    for _ in 0..100 {
        (client, origin) = exchange(&mut worker, client, origin);
    }
    assert_eq!(ASKED.get() - before, 0);
    std::hint::black_box((client, origin));
}

#[test]
fn a_head_that_drips_asks_for_no_memory() {
    let (limits, mut head) = (Limits::default(), Head::default());
    let read = |head: &mut Head| {
        let mut waiting = Waiting::new();
        for end in 0..REQUEST.len() {
            match waiting.receive(&REQUEST[..end], &limits, head) {
                Ok(Next::More(again)) => waiting = again,
                Ok(Next::Request(_)) => return,
                Err(refused) => panic!("{refused:?}"),
            }
        }
    };
    read(&mut head);
    let before = ASKED.get();
    read(&mut head);
    assert_eq!(ASKED.get() - before, 0);
}
