//! What a request costs outside TLS, rules and sockets: its path, its headers, its log line.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use config::{AccessLogTarget, LogStyle};
use criterion::{Criterion, criterion_group, criterion_main};
use datapath::observe::{AccessLog, RequestRecord, Stage, StageTimes, Steered};
use http::{HeaderMap, HeaderName, HeaderValue};
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
fn request_headers() -> HeaderMap {
    let headers = [
        ("host", "api.example.test"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("accept", "application/json"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("content-type", "application/json"),
        ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("connection", "keep-alive"),
    ];
    let pair = |(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    headers.into_iter().map(pair).collect()
}

fn headers(criterion: &mut Criterion) {
    let request_id = HeaderValue::from_static("0192e4a17b0c7c3fa1b2c3d4e5f60718");
    let address = HeaderValue::from_static("192.0.2.1");
    let host = HeaderValue::from_static("api.example.test");
    let nobody = ClientAuth::none();
    let told_groups = ClientSettings::default().certificate_headers;
    let headers = request_headers();
    let mut group = criterion.benchmark_group("headers::for_origin");
    for (name, certificate) in [
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
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || headers.clone(),
                |headers| for_origin(headers, &told, "1.1 postern"),
                criterion::BatchSize::SmallInput,
            );
        });
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
