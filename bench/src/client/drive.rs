//! A run: connections as tasks, a window that counts, an end that comes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::task::LocalSet;

use super::pace::Gate;
use super::tally::{Outcome, Tally, Window};
use super::{Answer, Connection, Target, http2};

/// How long answers may take after the last request was sent.
const PATIENCE: Duration = Duration::from_secs(60);
/// Failures without one answer in between after which a run is given up.
const FAILURES_IN_A_ROW_MAX: u64 = 1_000;
/// How long a task waits after a failure, so that a server that is down is not hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);

/// What one operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request on a connection that stays.
    Keepalive,
    /// A connection with a full handshake, and one request.
    Handshakes,
    /// A connection with a resumed handshake, and one request.
    Resumed,
    /// A request on a stream of an HTTP/2 connection that stays.
    H2,
    /// A gRPC call of one message each way, on a stream of an HTTP/2 connection that stays.
    Grpc,
    /// A large answer on a connection that stays; what counts is what a GiB costs.
    Download,
    /// A large request likewise.
    Upload,
}

impl Kind {
    /// Whether it needs HTTP/2.
    #[must_use]
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2 | Self::Grpc)
    }

    /// Whether the bytes of contents are what counts, not the answers.
    #[must_use]
    pub fn counts_bytes(self) -> bool {
        matches!(self, Self::Download | Self::Upload)
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As soon as the answer before is there.
    Closed,
    /// So many per second, come what may.
    Open(f64),
}

/// A run to be made.
#[derive(Clone)]
pub struct Work {
    /// Where requests go.
    pub target: Target,
    /// What one operation is.
    pub kind: Kind,
    /// When they are sent.
    pub pace: Pace,
    /// Connections at once.
    pub connections: usize,
    /// Streams on each HTTP/2 connection.
    pub streams: usize,
    /// Bytes of an upload.
    pub content: u64,
    /// What does not count yet.
    pub warm_up: Duration,
    /// What counts.
    pub duration: Duration,
}

struct Run {
    work: Work,
    request: Vec<u8>,
    gate: Gate,
    tally: RefCell<Tally>,
}

/// Makes a run on this thread. `cpu_time` says what the server has used so far.
///
/// # Errors
/// The server does not answer at all.
pub async fn run(work: Work, cpu_time: &dyn Fn() -> Duration) -> Result<Outcome> {
    let begin = Instant::now() + work.warm_up;
    let window = Window {
        begin,
        end: begin + work.duration,
    };
    let gate = match work.pace {
        Pace::Closed => Gate::closed(),
        Pace::Open(_) => Gate::open(),
    };
    let request = match work.kind {
        Kind::Upload => work.target.upload(work.content),
        _ => work.target.request(),
    };
    let tally = RefCell::new(Tally::new(window));
    let run = Rc::new(Run {
        work,
        request,
        gate,
        tally,
    });
    let tasks = LocalSet::new();
    tasks.run_until(conduct(run, window, cpu_time)).await
}

async fn conduct(run: Rc<Run>, window: Window, cpu_time: &dyn Fn() -> Duration) -> Result<Outcome> {
    let tasks: Vec<_> = (0..run.work.connections)
        .map(|_| tokio::task::spawn_local(connection(run.clone())))
        .collect();
    let pacer = run.clone();
    let pacer = tokio::task::spawn_local(async move {
        match pacer.work.pace {
            Pace::Closed => Ok(()),
            Pace::Open(rate) => pacer.gate.pace(rate).await,
        }
    });
    run.wait_until(window.begin).await?;
    let (cpu, before, begun) = (cpu_time(), run.tally.borrow().count(), Instant::now());
    run.wait_until(window.end).await?;
    let (cpu, after) = (cpu_time().saturating_sub(cpu), run.tally.borrow().count());
    let (answers, bytes) = (after.0 - before.0, after.1 - before.1);
    let seconds = begun.elapsed().as_secs_f64();
    run.gate.stop();
    pacer.abort();
    let late = Instant::now() + PATIENCE;
    for task in tasks {
        if tokio::time::timeout_at(late.into(), task).await.is_err() {
            let silent = anyhow::anyhow!("no answer {} s after the end", PATIENCE.as_secs());
            run.tally.borrow_mut().failed(&silent);
        }
    }
    let tally = run.tally.borrow();
    Ok(Outcome {
        answers,
        bytes: run.work.kind.counts_bytes().then_some(bytes),
        seconds,
        cpu_ns: u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX),
        statuses: tally.statuses.clone(),
        failures: tally.failures,
        errors: tally.errors.clone(),
        handshakes: tally.handshakes,
        resumed: tally.resumed,
        latency: tally.latency(),
    })
}

impl Run {
    /// Waits, unless nothing but failures comes.
    async fn wait_until(&self, time: Instant) -> Result<()> {
        loop {
            if let Some(why) = self.hopeless() {
                bail!("{}: nothing but failures: {why}", self.work.target.address);
            }
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(Duration::from_millis(100))).await;
        }
    }

    /// Why nothing is answered any more, if so.
    fn hopeless(&self) -> Option<String> {
        let tally = self.tally.borrow();
        let hopeless = tally.failures_in_a_row > FAILURES_IN_A_ROW_MAX;
        hopeless.then(|| tally.errors.keys().next().cloned().unwrap_or_default())
    }

    fn note(&self, due: Instant, answer: &Result<Answer>) {
        let mut tally = self.tally.borrow_mut();
        match answer {
            Ok(answer) => tally.answered(answer.status, due),
            Err(error) => tally.failed(error),
        }
    }

    async fn open(&self, resume: bool) -> Result<Connection> {
        let target = &self.work.target;
        let connection = Connection::open(target.address, target.tls.as_deref(), resume).await?;
        if target.tls.is_some() {
            self.tally.borrow_mut().shook_hands(connection.resumed());
        }
        Ok(connection)
    }
}

async fn connection(run: Rc<Run>) {
    match run.work.kind {
        Kind::Keepalive => keepalive(&run).await,
        Kind::Handshakes => one_request_each(&run, false).await,
        Kind::Resumed => one_request_each(&run, true).await,
        Kind::H2 | Kind::Grpc => multiplexed(&run).await,
        Kind::Download | Kind::Upload => contents(&run).await,
    }
}

async fn keepalive(run: &Run) {
    let mut open = None;
    while let Some(due) = run.gate.turn().await {
        let answer = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => run.open(false).await?,
            };
            let answer = connection.exchange(&run.request).await?;
            open = answer.reusable.then_some(connection);
            Ok(answer)
        }
        .await;
        run.note(due, &answer);
        if answer.is_err() {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
    if let Some(connection) = open {
        connection.close().await;
    }
}

async fn contents(run: &Run) {
    let upload = match run.work.kind {
        Kind::Upload => run.work.content,
        _ => 0,
    };
    let moved = |bytes| {
        run.tally.borrow_mut().bytes += bytes;
        !run.gate.has_stopped()
    };
    let mut open = None;
    while let Some(due) = run.gate.turn().await {
        let answer = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => run.open(false).await?,
            };
            let request = &run.request;
            let answer = connection.exchange_content(request, upload, &moved).await?;
            open = answer
                .is_some_and(|answer| answer.reusable)
                .then_some(connection);
            Ok(answer)
        }
        .await;
        match answer {
            Ok(Some(answer)) => run.note(due, &Ok(answer)),
            // The run is over in the middle of it.
            Ok(None) => return,
            Err(error) => {
                run.note(due, &Err(error));
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

async fn one_request_each(run: &Run, resume: bool) {
    while let Some(due) = run.gate.turn().await {
        let answer = async {
            let mut connection = run.open(resume).await?;
            let answer = connection.exchange(&run.request).await?;
            connection.close().await;
            Ok(answer)
        }
        .await;
        run.note(due, &answer);
        if answer.is_err() {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

async fn multiplexed(run: &Rc<Run>) {
    // A connection that ends takes its streams with it; as long as there are turns, the next one
    // begins.
    while !run.gate.has_stopped() {
        let connection = match http2::Connection::open(&run.work.target).await {
            Ok(connection) => connection,
            Err(error) => {
                run.tally.borrow_mut().failed(&error);
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        run.tally.borrow_mut().shook_hands(connection.resumed);
        let streams: Vec<_> = (0..run.work.streams)
            .map(|_| {
                let (run, mut sender) = (run.clone(), connection.sender.clone());
                tokio::task::spawn_local(async move {
                    while let Some(due) = run.gate.turn().await {
                        let target = &run.work.target;
                        let answer = match run.work.kind {
                            Kind::Grpc => http2::call(&mut sender, target).await,
                            _ => http2::exchange(&mut sender, target).await,
                        };
                        run.note(due, &answer);
                        if answer.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        for stream in streams {
            // A stream's own failures are counted already.
            drop(stream.await);
        }
    }
}
