//! What HTTP/1.1 costs by itself, without sockets: heads read and rewritten, whole requests served and
//! asked, and the same by hyper.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use http1::{
    Asked, BodyLength, Event, Head, Headers, Idle, Known, Limits, Next, Piece, Scan, Waiting,
};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests on one connection, one after the other.
const REQUESTS: usize = 1_000;

/// What a browser's fetch sends, more or less.
const REQUEST: &[u8] = b"GET /api/v1/devices/0192e4a1/telemetry?from=1 HTTP/1.1\r\n\
    Host: api.example.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\
    Connection: keep-alive\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Sun, 29 Nov 2026 05:00:00 GMT\r\n\
    Server: origin\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 22\r\n\r\n\
    {\"temperature\":\"21.5\"}";

const BODY: &[u8] = b"{\"temperature\":\"21.5\"}";

fn heads(criterion: &mut Criterion) {
    let (limits, mut head, mut out) = (Limits::default(), Head::default(), Vec::new());
    let mut group = criterion.benchmark_group("http1 head");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("httparse alone", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut fields);
            let parsed = request.parse(black_box(REQUEST));
            parsed.is_ok()
        });
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| Scan::default().request(black_box(REQUEST), &limits, &mut head));
    });
    group.bench_function("read, into a map", |bencher| {
        let shared = Bytes::from_static(REQUEST);
        bencher.iter(|| {
            Scan::default()
                .request(black_box(REQUEST), &limits, &mut head)
                .ok();
            head.shared_map(&shared).map(|map| map.len())
        });
    });
    group.bench_function(
        "read, and written again with three more fields",
        |bencher| {
            let (mut received, mut headers) = (BytesMut::new(), Headers::new());
            let ours = [
                (
                    HeaderName::from_static("x-request-id"),
                    "0192e4a17b0c7c3fa1b2c3d4e5f60718",
                ),
                (HeaderName::from_static("x-forwarded-for"), "192.0.2.1"),
                (VIA, "1.1 postern"),
            ];
            bencher.iter(|| {
                out.clear();
                received.reserve(REQUEST.len());
                received.extend_from_slice(black_box(REQUEST));
                let read = Scan::default().request(&received, &limits, &mut head);
                let asked = Asked::of(head.method(REQUEST), head.target(REQUEST));
                headers.take_over(&mut head, received.split());
                headers.remove_known(Known::is_hop_by_hop);
                for (name, value) in &ours {
                    headers.insert(name.clone(), HeaderValue::from_static(value));
                }
                let halves = Idle::new().ask(asked, &headers, BodyLength::None, &mut out);
                headers.clear();
                (read.is_ok(), halves.is_ok())
            });
        },
    );
    group.finish();
}

/// Serves requests that come one by one.
fn serve(requests: usize, head: &mut Head, out: &mut Vec<u8>, headers: &HeaderMap) {
    let limits = Limits::default();
    let mut waiting = Waiting::new();
    for _ in 0..requests {
        out.clear();
        let Ok(Next::Request(mut request)) = waiting.receive(black_box(REQUEST), &limits, head)
        else {
            panic!("the request is good");
        };
        let decoded = request.incoming.receive(b"", &limits, head);
        assert!(decoded.is_ok_and(|decoded| decoded.piece == Piece::End));
        let length = BodyLength::Exactly(BODY.len() as u64);
        let sending = request.reply.head(StatusCode::OK, headers, length, out);
        let mut sending = sending.expect("a status that ends");
        sending.data(BODY, out).expect("as long as it says");
        sending.end(None, out).expect("as long as it says");
        waiting = sending.over(&request.incoming).expect("it is kept alive");
    }
}

/// Asks, and is answered, one by one.
fn ask(requests: usize, head: &mut Head, out: &mut Vec<u8>, headers: &HeaderMap) {
    let limits = Limits::default();
    let mut idle = Idle::new();
    for _ in 0..requests {
        out.clear();
        let asked = Asked::new("GET", "/api/v1/devices/0192e4a1/telemetry?from=1");
        let halves = idle.ask(asked, headers, BodyLength::None, out);
        let (upload, mut answer) = halves.expect("it can be written");
        let mut at = 0;
        loop {
            let input = ANSWER.get(at..).unwrap_or_default();
            let step = answer.receive(black_box(input), &limits, head);
            let step = step.expect("the answer is good");
            at += step.consumed;
            if step.event == Event::End {
                break;
            }
            assert!(
                step.event != Event::More && head.fields(input).known(Known::Host).count() == 0
            );
        }
        idle = answer.over(&upload, b"").expect("it is kept alive");
    }
}

fn answer_headers() -> HeaderMap {
    let pairs = [
        ("date", "Sun, 29 Nov 2026 05:00:00 GMT"),
        ("server", "origin"),
        ("content-type", "application/json"),
    ];
    let pair = |(name, value): (&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    pairs.into_iter().map(pair).collect()
}

/// One end of a connection whose other end says the same again whenever it was answered.
struct Wire {
    says: &'static [u8],
    left: usize,
    /// Something is to be answered before more is said.
    answered: bool,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Ok(()));
        }
        if !std::mem::take(&mut self.answered) {
            return Poll::Pending;
        }
        self.left -= 1;
        into.put_slice(self.says);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answered = true;
        Poll::Ready(Ok(black_box(from).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn run(future: impl Future) {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut cx).is_pending() {}
}

fn hyper_serves(headers: &HeaderMap) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        black_box(request);
        let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
        response.headers_mut().clone_from(headers);
        async move { Ok::<_, Infallible>(response) }
    });
    let wire = Wire {
        says: REQUEST,
        left: REQUESTS,
        answered: true,
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.header_read_timeout(None);
    run(builder.serve_connection(wire, service));
}

fn hyper_asks(headers: &HeaderMap) {
    let wire = Wire {
        says: ANSWER,
        left: REQUESTS,
        answered: false,
    };
    run(async {
        let handshake = hyper::client::conn::http1::handshake(wire).await;
        let (mut sender, mut connection) = handshake.expect("nothing is said yet");
        let mut talk = pin!(async move {
            for _ in 0..REQUESTS {
                let mut request = Request::new(Empty::<Bytes>::new());
                let target = "/api/v1/devices/0192e4a1/telemetry?from=1";
                *request.uri_mut() = http::Uri::from_static(target);
                request.headers_mut().clone_from(headers);
                sender.ready().await.expect("the connection is kept");
                let response = sender.send_request(request).await;
                let body = response.expect("an answer").into_body().collect().await;
                black_box(body.expect("a body"));
            }
        });
        std::future::poll_fn(move |cx| {
            drop(Pin::new(&mut connection).poll(cx));
            talk.as_mut().poll(cx)
        })
        .await;
    });
}

fn exchanges(criterion: &mut Criterion) {
    let (mut head, mut out, headers) = (Head::default(), Vec::new(), answer_headers());
    let mut group = criterion.benchmark_group("http1 exchange, a thousand");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("served", |bencher| {
        bencher.iter(|| serve(REQUESTS, &mut head, &mut out, &headers));
    });
    group.bench_function("served by hyper", |bencher| {
        bencher.iter(|| hyper_serves(&headers));
    });
    group.bench_function("asked", |bencher| {
        bencher.iter(|| ask(REQUESTS, &mut head, &mut out, &headers));
    });
    group.bench_function("asked by hyper", |bencher| {
        bencher.iter(|| hyper_asks(&headers));
    });
    group.finish();
}

criterion_group!(benches, heads, exchanges);
criterion_main!(benches);
