//! A collector that takes spans, refuses them, or is not there.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use config::Config;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest,
};

/// How long something may take that is bound to come.
const PATIENCE: Duration = Duration::from_secs(60);

fn url(listener: &TcpListener) -> OtlpUrl {
    let text = format!("trace.otlp = http://{}\n", listener.local_addr().unwrap());
    let config = Config::parse("postern.conf".as_ref(), &text).unwrap();
    config.trace_otlp.unwrap()
}

fn put(spans: &Spans, count: usize) {
    for _ in 0..count {
        spans.put(Box::new(otlp::tests::request()));
    }
}

/// Answers each request so; how many spans there were in each.
async fn collect(listener: TcpListener, answers: Vec<(u16, Vec<u8>)>) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut answers = answers.into_iter();
    let (mut stream, _) = listener.accept().await.unwrap();
    for (status, body) in answers.by_ref() {
        let mut read = Vec::new();
        let (length, head) = loop {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                // It was closed after an answer that was no success.
                stream = listener.accept().await.unwrap().0;
                continue;
            }
            read.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&read);
            let Some(end) = text.find("\r\n\r\n") else {
                continue;
            };
            assert!(text.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{text}");
            assert!(
                text.contains("content-type: application/x-protobuf"),
                "{text}"
            );
            let (_, length) = text.split_once("content-length: ").unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            break (length, end + 4);
        };
        while read.len() < head + length {
            stream.read_buf(&mut read).await.unwrap();
        }
        let message = ExportTraceServiceRequest::decode(&read[head..]).unwrap();
        counts.push(message.resource_spans[0].scope_spans[0].spans.len());
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
    counts
}

#[tokio::test]
async fn spans_are_sent_and_those_that_are_refused_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spans = Arc::new(Spans::new(true));
    put(&spans, limits::BATCH_REQUESTS_MAX + 1);
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "too old\u{1b}".into(),
        }),
    };
    let answers = vec![
        (503, Vec::new()),
        (200, Vec::new()),
        (200, partial.encode_to_vec()),
    ];
    let exporter = Exporter::new(url(&listener), spans.clone(), "here".into());
    let collector = tokio::spawn(collect(listener, answers));
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(exporter.run(stopped));
    let counts = collector.await.unwrap();
    let all = limits::BATCH_REQUESTS_MAX * 8;
    assert_eq!(counts, [all, all, 8]);
    // The last answer is read after it was sent.
    while spans.counted(Fate::Rejected) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stop);
    running.await.unwrap();
    let [sent, rejected] = [Fate::Sent, Fate::Rejected].map(|fate| spans.counted(fate));
    assert_eq!((sent, rejected), (limits::BATCH_REQUESTS_MAX as u64, 1));
}

#[tokio::test]
async fn what_is_there_at_the_end_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spans = Arc::new(Spans::new(true));
    let mut exporter = Exporter::new(url(&listener), spans.clone(), "here".into());
    exporter.finish = PATIENCE;
    put(&spans, 1);
    let collector = tokio::spawn(collect(listener, vec![(200, Vec::new())]));
    let (stop, stopped) = oneshot::channel();
    drop(stop);
    exporter.run(stopped).await;
    assert_eq!(collector.await.unwrap(), [8]);
    assert_eq!(spans.counted(Fate::Sent), 1);
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_sent_and_no_pause_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spans = Arc::new(Spans::new(true));
    let mut exporter = Exporter::new(url(&listener), spans.clone(), "here".into());
    exporter.finish = PATIENCE;
    exporter.pause = Duration::from_secs(3600);
    put(&spans, 1);
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(exporter.run(stopped));
    // The stop comes while the collector thinks about it, and it says no once more.
    let answers = vec![(503, Vec::new()), (200, Vec::new())];
    let (first, _) = listener.accept().await.unwrap();
    drop(stop);
    drop(first);
    let counts = tokio::time::timeout(PATIENCE, collect(listener, answers));
    assert_eq!(counts.await.expect("no pause is waited for"), [8, 8]);
    running.await.unwrap();
    assert_eq!(spans.counted(Fate::Sent), 1);
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_spans_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&listener);
    drop(listener);
    let spans = Arc::new(Spans::new(true));
    put(&spans, 3);
    let mut exporter = Exporter::new(url, spans.clone(), "here".into());
    exporter.pause = Duration::from_millis(10);
    let begun = tokio::time::Instant::now();
    exporter.send_all().await;
    assert_eq!(spans.counted(Fate::Failed), 3);
    assert!(
        begun.elapsed() >= Duration::from_millis(70),
        "10 + 20 + 40 ms"
    );
    assert!(exporter.complained.is_some());
}
