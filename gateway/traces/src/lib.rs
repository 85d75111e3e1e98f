//! Traces: spans of sampled requests to an OpenTelemetry collector, as OTLP over HTTP in protobuf.
//!
//! Owns when spans are sent, and what is done when a collector does not take them: a message is tried a
//! few times, and then lost and counted. Everything is bounded, and no worker waits for any of it: they
//! put what they say of requests into [`Spans`]. [`otlp`] makes messages of it. Of the project's crates
//! only the messages are used: the exporter brings an SDK's settings from the environment and a queue
//! of its own, beside ours.
#![forbid(unsafe_code)]

pub mod limits;
mod otlp;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use config::OtlpUrl;
use datapath::observe::spans::{Fate, RequestSpans, Spans};

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// Nobody listens there.
    #[error("it cannot be connected to: {0}")]
    Connect(std::io::Error),
    /// It broke off, or is no HTTP.
    #[error("it cannot be spoken to: {0}")]
    Http(#[from] hyper::Error),
    /// Its URL makes no request.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// It took too long.
    #[error("it did not answer within {} s", limits::SEND_TIMEOUT.as_secs())]
    Late,
    /// It does not want it.
    #[error("it answers {0}")]
    Status(StatusCode),
}

impl SendError {
    /// Whether the same message may be taken later (OTLP, "Failures").
    fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Connect(_) | Self::Http(_) | Self::Late => true,
            Self::Request(_) => false,
        }
    }
}

/// Sends spans to one collector.
pub struct Exporter {
    url: OtlpUrl,
    spans: Arc<Spans>,
    /// Told apart from other gateways' by their collector.
    instance: String,
    connection: Option<(SendRequest<Full<Bytes>>, Driver)>,
    complained: Option<Instant>,
    /// Before the second attempt.
    pause: Duration,
    /// For the last spans.
    finish: Duration,
    /// The gateway stops: no attempt waits for its pause.
    hurry: watch::Sender<bool>,
}

/// Ends the connection's task with the connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exporter {
    /// For the spans of these workers. `instance` names this gateway among others.
    #[must_use]
    pub fn new(url: OtlpUrl, spans: Arc<Spans>, instance: String) -> Self {
        Self {
            url,
            spans,
            instance,
            connection: None,
            complained: None,
            pause: limits::PAUSE,
            finish: limits::FINISH_TIMEOUT,
            hurry: watch::Sender::new(false),
        }
    }

    /// Sends what there is, again and again, until it is told to stop; then what is under way and what there
    /// is yet, within [`limits::FINISH_TIMEOUT`].
    pub async fn run(mut self, mut stop: tokio::sync::oneshot::Receiver<()>) {
        let mut tick = tokio::time::interval(limits::LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let finish = self.finish;
        let until = loop {
            tokio::select! {
                biased;
                _ = &mut stop => break Instant::now() + finish,
                _ = tick.tick() => {}
            }
            let hurry = self.hurry.clone();
            let mut sending = pin!(self.send_all());
            tokio::select! {
                biased;
                _ = &mut stop => {
                    hurry.send_replace(true);
                    let until = Instant::now() + finish;
                    // What comes of it is counted.
                    drop(tokio::time::timeout_at(until.into(), sending).await);
                    break until;
                }
                () = &mut sending => {}
            }
        };
        self.hurry.send_replace(true);
        drop(tokio::time::timeout_at(until.into(), self.send_all()).await);
    }

    async fn send_all(&mut self) {
        loop {
            let batch = self.spans.take(limits::BATCH_REQUESTS_MAX);
            if batch.is_empty() {
                return;
            }
            let is_full = batch.len() == limits::BATCH_REQUESTS_MAX;
            self.send_batch(batch).await;
            if !is_full {
                return;
            }
        }
    }

    async fn send_batch(&mut self, batch: Vec<RequestSpans>) {
        let requests = batch.len() as u64;
        let instance = self.instance.clone();
        // Some milliseconds for a full one: not on the thread that answers the admin API.
        let encoded = tokio::task::spawn_blocking(move || otlp::message(&batch, &instance));
        let Ok(message) = encoded.await.map(Bytes::from) else {
            self.spans.count(Fate::Failed, requests);
            return;
        };
        let mut pause = self.pause;
        for attempt in 1.. {
            let sent = tokio::time::timeout(limits::SEND_TIMEOUT, self.send(message.clone()));
            match sent.await.unwrap_or(Err(SendError::Late)) {
                Ok(answer) => {
                    self.taken(requests, &answer);
                    return;
                }
                Err(error) => {
                    self.connection = None;
                    if attempt >= limits::ATTEMPTS_MAX || !error.may_pass() {
                        self.spans.count(Fate::Failed, requests);
                        self.complain(&error.to_string());
                        return;
                    }
                    let mut hurry = self.hurry.subscribe();
                    let hurried = async {
                        drop(hurry.wait_for(|hurry| *hurry).await);
                        tokio::time::sleep(limits::HURRIED_PAUSE).await;
                    };
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = hurried => {}
                    }
                    pause *= 2;
                }
            }
        }
    }

    /// The collector took the message, or most of it.
    fn taken(&mut self, requests: u64, answer: &Bytes) {
        let answer = ExportTraceServiceResponse::decode(answer.clone()).unwrap_or_default();
        let Some(partial) = answer
            .partial_success
            .filter(|part| part.rejected_spans > 0)
        else {
            self.spans.count(Fate::Sent, requests);
            return;
        };
        self.spans.count(Fate::Rejected, requests);
        let why: String = partial.error_message.chars().take(200).collect();
        self.complain(&format!(
            "it refused {} spans: {}",
            partial.rejected_spans,
            why.escape_debug()
        ));
    }

    async fn send(&mut self, message: Bytes) -> Result<Bytes, SendError> {
        let (sender, _) = match &mut self.connection {
            Some(connection) if !connection.0.is_closed() => connection,
            connection => {
                let stream = TcpStream::connect(self.url.authority.as_str())
                    .await
                    .map_err(SendError::Connect)?;
                let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
                // Why it ended is told to who waits for an answer.
                let driver = tokio::spawn(async move { drop(driver.await) });
                connection.insert((sender, Driver(driver)))
            }
        };
        sender.ready().await?;
        let request = Request::post(self.url.path.as_str())
            .header(header::HOST, self.url.authority.as_str())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(
                header::USER_AGENT,
                concat!("postern/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(message))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::ANSWER_BYTES_MAX);
        // A longer answer says nothing that is understood.
        let body = body.collect().await.map(|body| body.to_bytes());
        if body.is_err() {
            self.connection = None;
        }
        if status.is_success() {
            Ok(body.unwrap_or_default())
        } else {
            Err(SendError::Status(status))
        }
    }

    fn complain(&mut self, why: &str) {
        let is_due = |last: &Instant| last.elapsed() >= limits::COMPLAINT_EVERY;
        if self.complained.as_ref().is_none_or(is_due) {
            self.complained = Some(Instant::now());
            tracing::error!(collector = %self.url, "spans are lost: {why}");
        }
    }
}

#[cfg(test)]
mod tests;
