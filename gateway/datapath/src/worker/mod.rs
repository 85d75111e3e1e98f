//! One pinned thread: its ring, its listeners, its connections, its pool, its statistics.
//!
//! Workers share nothing mutable but the count of connections and their inboxes, which are
//! lock-free. They take no lock on the way of a request; what others want to know of them, or want
//! them to do, comes as a message; connections of hosts that another worker owns go through
//! `handover`. A panic takes down what the worker was doing, never the process: the thread starts
//! over with the same listening sockets.

mod handover;
mod listen;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, mpsc, oneshot};

use handover::Route;
pub use handover::{Arrival, Inboxes};
pub use listen::{ListenError, Listeners};

use crate::connection::{self, Clients, Stop};
use crate::http::request_id::RequestIds;
use crate::http::upstream::Pool;
use crate::io::{self, Accepted, Ear, Listener, Socket};
use crate::limits::{
    ACCEPT_COMPLAINT_INTERVAL, ACCEPTS_IN_A_ROW, COLLECT_TIMEOUT, DRAIN_POLL, GIVE_BACK_AFTER,
    SWEEP_INTERVAL,
};
use crate::memory;
use crate::observe::{
    AccessLog, Fleet, FleetStatus, HostLoad, Steered, SteeringStatus, TracedConnection, WorkerStats,
};
use crate::steer::helm::Helm;
use crate::steer::{Owned, Placed};
use config::Live;
use rules::geo::Geo;
use snapshot::Published;
use snapshot::phases::Buckets;
use snapshot::questions::Questions;
use tls::Acceptor;

/// What all workers have in common, all of it immutable or lock-free.
pub struct Shared {
    /// Where TLS connections start.
    pub acceptor: Acceptor,
    /// The current snapshot.
    pub published: Arc<Published>,
    /// What can be tuned.
    pub live: Arc<Live>,
    /// Where addresses are; replaced whole at SIGHUP, for connections that begin after it.
    pub geo: ArcSwapOption<Geo>,
    /// Where requests are written down.
    pub access_log: AccessLog,
    /// Client connections of the whole gateway.
    pub connections: AtomicUsize,
    /// Who owns which host; empty when nothing is steered.
    pub owned: Arc<Owned>,
    /// Which connections the kernel brought to their owner.
    pub placed: Placed,
    /// Connections between workers.
    pub inboxes: Inboxes,
    /// What responders are to be asked about clients.
    pub questions: Arc<Questions>,
    /// How many requests have come, for rate limits.
    pub buckets: Buckets,
}

/// A worker, as its own connections see it.
pub struct Worker {
    /// Its number, counted from 0.
    pub index: usize,
    /// What it has in common with the others.
    pub shared: Arc<Shared>,
    /// Its statistics; never borrowed across an await.
    pub stats: RefCell<WorkerStats>,
    /// Its connections by client certificate.
    pub clients: Clients,
    /// Its origin connections.
    pub pool: Rc<Pool>,
    /// Its request ids.
    pub request_ids: RequestIds,
    /// Whether it is stopping.
    pub drain: Drain,
    /// Its connections.
    pub open: Cell<usize>,
    /// Its connections with a request in progress.
    pub busy: Cell<usize>,
    /// Its connections that hold no buffers, because nobody has asked for anything.
    parked: Cell<usize>,
    /// Connections that went quiet or ended since the last sweep.
    quieted: Cell<usize>,
}

/// Tells a worker's connections that it is stopping.
#[derive(Default)]
pub struct Drain {
    begun: Cell<bool>,
    notify: Notify,
}

impl Drain {
    /// Whether the worker is stopping.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Waits until it is.
    pub async fn begun(&self) {
        while !self.begun.get() {
            self.notify.notified().await;
        }
    }

    fn begin(&self) {
        self.begun.set(true);
        self.notify.notify_waiters();
    }
}

/// What a worker can be told.
enum Message {
    Report(oneshot::Sender<WorkerStats>),
    Loads(oneshot::Sender<Vec<HostLoad>>),
    Drain,
    #[cfg(test)]
    Panic,
    #[cfg(test)]
    Die,
    /// Do nothing until the other end is dropped.
    #[cfg(test)]
    Stall(std::sync::mpsc::Receiver<()>),
}

/// All workers, from outside.
pub struct Team {
    workers: Vec<Handle>,
    draining: AtomicBool,
    helm: Arc<Helm>,
}

struct Handle {
    mailbox: mpsc::UnboundedSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Team {
    /// Starts a worker on each set of listening sockets.
    #[must_use]
    pub fn start(shared: &Arc<Shared>, listeners: Listeners, helm: Arc<Helm>) -> Self {
        let workers = listeners
            .into_workers()
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| start_thread(index, shared.clone(), sockets))
            .collect();
        Self {
            workers,
            draining: AtomicBool::new(false),
            helm,
        }
    }

    /// Which workers run, by number.
    #[must_use]
    pub fn alive(&self) -> Vec<bool> {
        self.workers
            .iter()
            .map(|worker| !worker.has_ended())
            .collect()
    }

    /// What each worker did for each host; nothing from one that does not answer in time.
    pub async fn loads(&self) -> Vec<Option<Vec<HostLoad>>> {
        self.ask(Message::Loads).await
    }

    /// Asks all workers the same at once.
    async fn ask<T>(&self, message: impl Fn(oneshot::Sender<T>) -> Message) -> Vec<Option<T>> {
        let ask = |worker: &Handle| {
            let (sender, receiver) = oneshot::channel();
            worker.mailbox.send(message(sender)).ok().map(|()| receiver)
        };
        let asked: Vec<_> = self.workers.iter().map(ask).collect();
        let deadline = tokio::time::Instant::now() + COLLECT_TIMEOUT;
        let mut all = Vec::with_capacity(asked.len());
        for answer in asked {
            all.push(match answer {
                Some(answer) => {
                    let answer = tokio::time::timeout_at(deadline, answer).await;
                    answer.ok().and_then(Result::ok)
                }
                None => None,
            });
        }
        all
    }

    /// Tells all workers to take no new connection and finish what they have.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        for worker in &self.workers {
            // A worker that is gone has nothing left to drain.
            drop(worker.mailbox.send(Message::Drain));
        }
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.workers.iter().all(Handle::has_ended)
    }
}

impl Handle {
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Fleet for Team {
    fn collect(&self) -> Pin<Box<dyn Future<Output = Vec<WorkerStats>> + Send + '_>> {
        Box::pin(async {
            self.ask(Message::Report)
                .await
                .into_iter()
                .flatten()
                .collect()
        })
    }

    fn ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && !self.has_ended()
    }

    fn status(&self) -> FleetStatus {
        FleetStatus {
            workers: self.workers.len(),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }

    fn steering(&self) -> SteeringStatus {
        self.helm.status()
    }

    fn traced(&self, every: u32) -> Option<Vec<TracedConnection>> {
        self.helm.traced(every)
    }
}

fn start_thread(index: usize, shared: Arc<Shared>, sockets: Vec<OwnedFd>) -> Handle {
    let (mailbox, mut messages) = mpsc::unbounded_channel();
    let body = move || {
        pin_to(index);
        loop {
            let run = || io::run(run(index, shared.clone(), &sockets, &mut messages));
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(()) => break,
                Err(_) => tracing::error!(worker = index, "the worker panicked and starts over"),
            }
        }
        shared.inboxes.abandon(index);
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(body);
    if let Err(error) = &thread {
        tracing::error!(worker = index, %error, "the worker cannot be started");
    }
    Handle {
        mailbox,
        thread: thread.ok(),
    }
}

/// A worker's whole life.
async fn run(
    index: usize,
    shared: Arc<Shared>,
    sockets: &[OwnedFd],
    messages: &mut mpsc::UnboundedReceiver<Message>,
) {
    let request_ids = match RequestIds::new() {
        Ok(ids) => ids,
        Err(error) => {
            tracing::error!(worker = index, %error, "no randomness: the worker does not start");
            return;
        }
    };
    let worker = Rc::new(Worker {
        index,
        shared,
        stats: RefCell::new(WorkerStats::new(index)),
        clients: Clients::default(),
        pool: Rc::default(),
        request_ids,
        drain: Drain::default(),
        open: Cell::new(0),
        busy: Cell::new(0),
        parked: Cell::new(0),
        quieted: Cell::new(0),
    });
    let mut listeners = Vec::with_capacity(sockets.len());
    for socket in sockets {
        match socket.try_clone() {
            Ok(socket) => listeners.push(Rc::new(Listener::new(socket))),
            Err(error) => tracing::error!(worker = index, %error, "a listener is lost"),
        }
    }
    for listener in &listeners {
        tokio::task::spawn_local(accept(worker.clone(), listener.clone()));
    }
    if let Some(inbox) = worker.shared.inboxes.get(index) {
        match inbox.ear() {
            Ok(ear) => drop(tokio::task::spawn_local(take_over(worker.clone(), ear))),
            Err(error) => {
                tracing::error!(worker = index, %error, "the worker takes nothing from others");
                inbox.close();
            }
        }
    }
    tokio::task::spawn_local(connection::watch(worker.clone()));
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(Message::Report(answer)) => drop(answer.send(worker.report())),
                Some(Message::Loads(answer)) => drop(answer.send(worker.stats.borrow().loads())),
                #[cfg(test)]
                Some(Message::Panic) => panic!("as the test asked"),
                #[cfg(test)]
                Some(Message::Die) => return,
                #[cfg(test)]
                Some(Message::Stall(until)) => drop(until.recv()),
                Some(Message::Drain) | None => {
                    listeners.iter().for_each(|listener| listener.close());
                    take_last(&worker);
                    worker.drain.begin();
                }
            },
            _ = sweep.tick() => {
                let tunables = worker.shared.live.load();
                worker.pool.sweep(tunables.origin_idle_timeout, tunables.origin_idle_max);
                if worker.quieted.get() >= GIVE_BACK_AFTER {
                    worker.quieted.set(0);
                    memory::give_back();
                }
            }
            () = tokio::time::sleep(DRAIN_POLL), if worker.drain.has_begun() => {}
        }
        if worker.drain.has_begun() && worker.open.get() == 0 {
            return;
        }
    }
}

/// Accepts until the listener is closed.
async fn accept(worker: Rc<Worker>, listener: Rc<Listener>) {
    let mut in_a_row = 0;
    let mut told: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Accepted::Socket(socket) => {
                admit(&worker, socket);
                in_a_row += 1;
                if in_a_row % ACCEPTS_IN_A_ROW == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Accepted::Closed => return,
            Accepted::Nothing(error) => {
                let quiet = |told: Instant| told.elapsed() < ACCEPT_COMPLAINT_INTERVAL;
                if !told.is_some_and(quiet) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                // Out of descriptors, most likely: trying at once would only burn the CPU.
                tokio::time::sleep(DRAIN_POLL).await;
            }
        }
    }
}

/// Takes what other workers hand over.
async fn take_over(worker: Rc<Worker>, ear: Ear) {
    let Some(inbox) = worker.shared.inboxes.get(worker.index) else {
        return;
    };
    loop {
        // First, because a worker that starts over may have heard the bell and not come.
        for arrival in inbox.take() {
            begin(&worker, arrival);
        }
        if let Err(error) = ear.hear().await {
            tracing::warn!(worker = worker.index, %error, "the worker's bell is broken");
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }
}

/// Takes what was handed over, and nothing any more.
fn take_last(worker: &Rc<Worker>) {
    if let Some(inbox) = worker.shared.inboxes.get(worker.index) {
        inbox.close();
        for arrival in inbox.take() {
            begin(worker, arrival);
        }
    }
}

/// A connection came to this worker's own listener.
fn admit(worker: &Rc<Worker>, socket: Socket) {
    worker.stats.borrow_mut().accepted += 1;
    begin(
        worker,
        Arrival {
            socket,
            accepted: Instant::now(),
            read: Vec::new(),
            steered: Steered::None,
        },
    );
}

/// Serves a connection, if there is room for it: here, or where its host belongs.
fn begin(worker: &Rc<Worker>, arrival: Arrival) {
    let slot = Slot::take(worker.clone());
    let Some(slot) = slot else {
        let mut stats = worker.stats.borrow_mut();
        stats.refused += 1;
        stats.stop(Stop::TooMany.as_str());
        return;
    };
    tokio::task::spawn_local(async move {
        let worker = slot.0.clone();
        let arrival = match handover::route(&worker, arrival).await {
            Route::Here(arrival) => arrival,
            Route::There => return,
            Route::Stopped(stop) => return worker.stats.borrow_mut().stop(stop.as_str()),
        };
        let stop = connection::serve(worker.clone(), arrival).await;
        worker.stats.borrow_mut().stop(stop.as_str());
        drop(slot);
    });
}

/// A place among `limit.connections`, given back however the connection ends.
struct Slot(Rc<Worker>);

impl Slot {
    fn take(worker: Rc<Worker>) -> Option<Self> {
        let open = worker.shared.connections.fetch_add(1, Ordering::Relaxed);
        worker.open.set(worker.open.get() + 1);
        let limit = worker.shared.live.load().connections_max;
        // Dropping the slot takes both counts back.
        let slot = Self(worker);
        (open < limit).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.open.set(self.0.open.get() - 1);
        self.0.quieted.set(self.0.quieted.get() + 1);
    }
}

/// Counts a connection as parked for as long as it lives.
pub struct Parked<'w>(&'w Worker);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.set(self.0.parked.get() - 1);
    }
}

impl Worker {
    /// A connection has given its buffers back and waits for the next request.
    pub fn park(&self) -> Parked<'_> {
        self.parked.set(self.parked.get() + 1);
        self.quieted.set(self.quieted.get() + 1);
        Parked(self)
    }

    fn report(&self) -> WorkerStats {
        let mut stats = self.stats.borrow().clone();
        stats.connections_open = self.open.get() as u64;
        stats.connections_idle = self.open.get().saturating_sub(self.busy.get()) as u64;
        stats.connections_parked = self.parked.get() as u64;
        (stats.origin_connections_open, stats.origin_connections_idle) = self.pool.count();
        stats
    }
}

/// Pins this thread to one of the CPUs that the process may use. Where that is not allowed the
/// scheduler decides, which costs speed and nothing else.
fn pin_to(index: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let pinned = sched_getaffinity(None).and_then(|allowed| {
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| allowed.is_set(*cpu))
            .collect();
        let Some(cpu) = cpus.get(index % cpus.len().max(1)) else {
            return Ok(());
        };
        let mut only = CpuSet::new();
        only.set(*cpu);
        sched_setaffinity(None, &only)
    });
    if let Err(error) = pinned {
        tracing::debug!(worker = index, %error, "the worker is not pinned to a CPU");
    }
}

#[cfg(test)]
mod tests;
