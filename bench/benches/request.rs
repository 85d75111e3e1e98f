//! What a request costs outside TLS, rules and sockets: its path, its headers, its log line.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use config::{AccessLogTarget, LogStyle};
use criterion::{Criterion, criterion_group, criterion_main};
use datapath::observe::{AccessLog, RequestRecord, Stage, StageTimes, Steered};
use http::{HeaderMap, HeaderValue};
use http1::{Head, Headers, Limits, Names, Scan};
use snapshot::http::headers::{OriginMetadata, for_origin};
use snapshot::http::path::normalise;
use vocabulary::client_auth::ClientAuth;
use vocabulary::settings::ClientSettings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lines written between two flushes: fewer than the log's queue holds, so that none is dropped.
const LINES: u64 = 1_000;

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path::normalise");
    for (name, path) in [
        ("as it should be", "/api/v1/devices/0192e4a1/telemetry"),
        ("escaped", "/api/v1/devices/caf%C3%A9/tele%6Detry"),
        (
            "with dots",
            "/api/./v1//devices/../devices/0192e4a1/telemetry",
        ),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| normalise(black_box(path))));
    }
    group.finish();
}

/// What a browser's fetch sends, more or less.
const HEAD: &str = "GET /api/v1/devices HTTP/1.1\r\n\
    Host: api.example.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Content-Type: application/json\r\n\
    Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\
    Connection: keep-alive\r\n\r\n";

/// The headers of that, as HTTP/1.1 brings them.
fn spans() -> Headers {
    let mut head = Head::default();
    let size = Scan::default().request(HEAD.as_bytes(), &Limits::default(), &mut head);
    assert_eq!(size, Ok(Some(HEAD.len())));
    let mut headers = Headers::new();
    headers.take_over(&mut head, BytesMut::from(HEAD));
    headers
}

/// The same as HTTP/2 brings them.
fn map() -> Headers {
    let mut map = HeaderMap::new();
    let shared = spans().share_into(&mut Names::default(), &mut map);
    shared.expect("a map has room for them");
    map.into()
}

fn headers(criterion: &mut Criterion) {
    let request_id = HeaderValue::from_static("0192e4a17b0c7c3fa1b2c3d4e5f60718");
    let address = HeaderValue::from_static("192.0.2.1");
    let host = HeaderValue::from_static("api.example.test");
    let nobody = ClientAuth::none();
    let told_groups = ClientSettings::default().certificate_headers;
    let mut group = criterion.benchmark_group("headers::for_origin");
    for (mode, certificate) in [
        ("mTLS off", None),
        (
            "mTLS request, no certificate",
            Some((&nobody, &told_groups)),
        ),
    ] {
        let told = OriginMetadata {
            client: [192, 0, 2, 1].into(),
            client_address: &address,
            host: "api.example.test",
            host_value: &host,
            request_id: &request_id,
            certificate,
            x_forwarded: true,
            forwarded: false,
        };
        for (kind, headers) in [("spans", spans()), ("a map", map())] {
            group.bench_function(format!("{mode}, {kind}"), |bencher| {
                bencher.iter_batched_ref(
                    || headers.clone(),
                    |headers| for_origin(headers, &told, "1.1 postern"),
                    criterion::BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn access_log(criterion: &mut Criterion) {
    let log = AccessLog::start(&AccessLogTarget::File(PathBuf::from("/dev/null")));
    let log = log.expect("/dev/null can be written");
    let nobody = ClientAuth::none();
    let mut times = StageTimes::default();
    times.set(Stage::Rules, Duration::from_nanos(900));
    times.set(Stage::OriginFirstByte, Duration::from_micros(740));
    times.set(Stage::Total, Duration::from_micros(820));
    let record = RequestRecord {
        time: SystemTime::now(),
        request_id: "0192e4a17b0c7c3fa1b2c3d4e5f60718",
        client: ([192, 0, 2, 1], 51_324).into(),
        host: "api.example.test",
        zone: "example.test",
        authority: "api.example.test",
        method: "GET",
        path: "/api/v1/devices/0192e4a1/telemetry",
        http_version: "HTTP/1.1",
        status: 200,
        bytes_received: 0,
        bytes_sent: 22,
        tls_version: "TLSv1.3",
        tls_cipher: "TLS_AES_128_GCM_SHA256",
        sni: "api.example.test",
        resumed: false,
        worker: 0,
        steered: Steered::None,
        client_auth: &nobody,
        rule: None,
        logged: &[],
        origin: "127.0.0.1:9000",
        times,
        error: None,
        detail: "",
        user_agent: b"",
        referer: b"",
        trace_id: "",
    };
    let style = LogStyle::default();
    criterion.bench_function("access log, one line", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let some = left.min(LINES);
                let begun = Instant::now();
                (0..some).for_each(|_| log.write(black_box(&record), &style));
                total += begun.elapsed();
                left -= some;
                assert!(log.flush(Duration::from_secs(5)), "the writer keeps up");
            }
            total
        });
    });
    assert_eq!(log.dropped(), 0, "every line was written");
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = paths, headers, access_log
}
criterion_main!(benches);
