//! One pinned thread: its ring, its listeners, its connections, its pool, its statistics.
//!
//! Workers share nothing mutable but the count of connections, what clients hold (`shares`), and
//! their inboxes. Requests for statistics and the order to drain come as messages. Connections of hosts
//! that another worker owns go through `handover`. A panic ends the worker's connections, never the
//! process: the thread starts over with the same listening sockets. What a connection finds on its
//! thread is `connection`'s.
#![forbid(unsafe_code)]

mod handover;
mod introduction;
#[expect(
    clippy::disallowed_methods,
    reason = "waits for addresses before there is a worker"
)]
mod listen;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

pub use handover::Inboxes;
use handover::Route;
pub use listen::{
    ListenError, Listeners, close as close_listeners, hide as hide_listeners, overlap,
};
pub(crate) use listen::{Sockets, copies, listen};

use crate::clock;
use crate::connection::{self, Arrival, Local, Shared, Stop};
use crate::http::request_id::RequestIds;
use crate::io::{self, Accepted, Ear, Listener, Socket};
use crate::limits::{
    ACCEPT_COMPLAINT_INTERVAL, ACCEPTS_IN_A_ROW, COLLECT_TIMEOUT, DRAIN_POLL, GIVE_BACK_AFTER,
    SWEEP_INTERVAL,
};
use crate::memory;
use crate::observe::{
    self, HostLoad, Steered, SteeringStatus, TracedConnection, WorkerStats, WorkersStatus,
};
use crate::shares::{Beyond, Seat};
use crate::steer::controller::Controller;
use crate::steer::{Owned, PlacedMap};
use config::network::Network;

/// What decides which worker serves a connection, and whether there is room for it: the same for
/// all workers, and lock-free.
pub struct Placement {
    /// Client connections of the whole gateway.
    pub connections: AtomicUsize,
    /// Who owns which host; empty when nothing is steered.
    pub owned: Arc<Owned>,
    /// Which connections the kernel brought to their owner.
    pub placed: PlacedMap,
    /// Connections between workers.
    pub inboxes: Inboxes,
}

/// One worker, on its own thread.
struct Worker {
    /// What its connections find.
    local: Rc<Local>,
    placement: Arc<Placement>,
    /// Its connections.
    open: Cell<usize>,
    /// When it was last said that a client has its share.
    complained: Cell<Option<Instant>>,
}

/// A worker does not run.
#[derive(Debug, thiserror::Error)]
#[error("worker {0} does not run; the log says why")]
pub struct NoAnswer(usize);

/// What a worker can be told.
enum Message {
    /// Answer.
    Ping(oneshot::Sender<()>),
    Report(oneshot::Sender<WorkerStats>),
    Loads(oneshot::Sender<Vec<HostLoad>>),
    /// Accept connections from now on.
    Accept,
    /// Accept no more, and leave the listening sockets to another process.
    Leave,
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
pub struct Workers {
    handles: Vec<Handle>,
    draining: AtomicBool,
    controller: Arc<Controller>,
}

struct Handle {
    mailbox: mpsc::UnboundedSender<Message>,
    thread: Option<JoinHandle<()>>,
    /// They are the thread's: when it is gone, no connection may be waiting in them.
    sockets: Weak<Vec<OwnedFd>>,
}

impl Workers {
    /// Starts a worker on each set of listening sockets.
    #[must_use]
    pub fn start(
        shared: &Arc<Shared>,
        placement: &Arc<Placement>,
        listeners: Listeners,
        controller: Arc<Controller>,
    ) -> Self {
        let workers = Self::prepare(shared, placement, listeners, controller);
        workers.accept();
        workers
    }

    /// Starts them, but takes no connection before [`Self::accept`].
    #[must_use]
    pub fn prepare(
        shared: &Arc<Shared>,
        placement: &Arc<Placement>,
        listeners: Listeners,
        controller: Arc<Controller>,
    ) -> Self {
        let handles = listeners
            .into_workers()
            .enumerate()
            .map(|(index, sockets)| start_thread(index, shared.clone(), placement.clone(), sockets))
            .collect();
        Self {
            handles,
            draining: AtomicBool::new(false),
            controller,
        }
    }

    /// Which workers run, by number.
    #[must_use]
    pub fn alive(&self) -> Vec<bool> {
        self.handles
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
        let asked: Vec<_> = self.handles.iter().map(ask).collect();
        let deadline = tokio::time::Instant::from_std(clock::now()) + COLLECT_TIMEOUT;
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

    /// Asks every worker whether it runs; one that has finished what it had need not.
    ///
    /// # Errors
    /// Which one does not.
    pub async fn all_answer(&self) -> Result<(), NoAnswer> {
        let answers = self.ask(Message::Ping).await;
        let is_silent = |(worker, answer): (&Handle, &Option<()>)| {
            answer.is_none() && !(self.is_draining() && worker.has_ended())
        };
        match self.handles.iter().zip(&answers).position(is_silent) {
            Some(silent) => Err(NoAnswer(silent)),
            None => Ok(()),
        }
    }

    /// Listens on all sockets: clients come from now on, and the kernel may steer to every worker.
    pub fn listen(&self) {
        for (index, worker) in self.handles.iter().enumerate() {
            let Some(sockets) = worker.sockets.upgrade() else {
                continue;
            };
            if let Err(error) = listen(&sockets) {
                tracing::error!(worker = index, %error, "a worker does not listen there");
            }
            self.controller.listening(index, &sockets);
        }
    }

    /// Has all workers take connections.
    pub fn accept(&self) {
        self.tell(|| Message::Accept);
    }

    /// Tells all workers that another process accepts on their listening sockets from now on. They
    /// finish what they have; connections on which nothing is under way may have one more request,
    /// until [`Self::drain`].
    pub fn leave(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.tell(|| Message::Leave);
    }

    /// Tells all workers to take no new connection and finish what they have.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.tell(|| Message::Drain);
    }

    /// Copies of all listening sockets, for another process: with the address, of those that are
    /// listened on, of each.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn listening(
        &self,
        addresses: &[SocketAddr],
    ) -> std::io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let mut all = Vec::new();
        for worker in &self.handles {
            if let Some(sockets) = worker.sockets.upgrade() {
                all.extend(copies(&sockets, addresses)?);
            }
        }
        Ok(all)
    }

    fn tell(&self, message: impl Fn() -> Message) {
        for worker in &self.handles {
            // One that is gone has nothing to do.
            drop(worker.mailbox.send(message()));
        }
    }

    /// Whether workers end because they were told to.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.handles.iter().all(Handle::has_ended)
    }
}

impl Handle {
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl observe::Workers for Workers {
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

    fn status(&self) -> WorkersStatus {
        WorkersStatus {
            workers: self.handles.len(),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }

    fn steering(&self) -> SteeringStatus {
        self.controller.status()
    }

    fn traced(&self, every: u32) -> Option<Vec<TracedConnection>> {
        self.controller.traced(every)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is what starts the workers")]
fn start_thread(
    index: usize,
    shared: Arc<Shared>,
    placement: Arc<Placement>,
    Sockets { own, mut leaving }: Sockets,
) -> Handle {
    let (mailbox, mut messages) = mpsc::unbounded_channel();
    let sockets = Arc::new(own);
    let known = Arc::downgrade(&sockets);
    let body = move || {
        pin_to(index);
        let mut phase = Phase::Prepared;
        loop {
            let common = (shared.clone(), placement.clone());
            // A worker that starts over is not there for them: they are closed in a moment.
            let leaving = std::mem::take(&mut leaving);
            let sockets = (sockets.as_slice(), leaving);
            let run = || io::run(run(index, common, sockets, &mut messages, &mut phase));
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(()) => break,
                Err(_) => tracing::error!(worker = index, "the worker panicked and starts over"),
            }
        }
        placement.inboxes.abandon(index);
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
        sockets: known,
    }
}

/// What a worker has been told; known over a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It takes no connection yet.
    Prepared,
    Accepts,
    /// It takes none any more.
    Left,
}

/// A worker's whole life.
async fn run(
    index: usize,
    (shared, placement): (Arc<Shared>, Arc<Placement>),
    (sockets, leaving): (&[OwnedFd], Vec<OwnedFd>),
    messages: &mut mpsc::UnboundedReceiver<Message>,
    phase: &mut Phase,
) {
    let request_ids = match RequestIds::new() {
        Ok(ids) => ids,
        Err(error) => {
            tracing::error!(worker = index, %error, "no randomness: the worker does not start");
            return;
        }
    };
    let local = Rc::new(Local::new(index, shared, request_ids));
    let worker = Rc::new(Worker {
        local: local.clone(),
        placement,
        open: Cell::new(0),
        complained: Cell::new(None),
    });
    let mut listeners = Vec::with_capacity(sockets.len());
    for socket in sockets {
        match socket.try_clone() {
            Ok(socket) => listeners.push(Rc::new(Listener::new(socket))),
            Err(error) => tracing::error!(worker = index, %error, "a listener is lost"),
        }
    }
    let mut leaving: Vec<Listener> = leaving.into_iter().map(Listener::new).collect();
    let mut accept_all = || {
        let leaving = leaving.drain(..).map(Rc::new);
        for listener in listeners.iter().cloned().chain(leaving) {
            tokio::task::spawn_local(accept(worker.clone(), listener));
        }
    };
    match phase {
        Phase::Prepared => {}
        Phase::Accepts => accept_all(),
        // Its connections went with the panic.
        Phase::Left => return,
    }
    if let Some(inbox) = worker.placement.inboxes.get(index) {
        match inbox.ear() {
            Ok(ear) => drop(tokio::task::spawn_local(take_over(worker.clone(), ear))),
            Err(error) => {
                tracing::error!(worker = index, %error, "the worker takes nothing from others");
                inbox.close();
            }
        }
    }
    tokio::task::spawn_local(connection::watch(local.clone()));
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(Message::Ping(answer)) => drop(answer.send(())),
                Some(Message::Report(answer)) => drop(answer.send(worker.report())),
                Some(Message::Loads(answer)) => drop(answer.send(worker.local.stats.borrow().loads())),
                Some(Message::Accept) => {
                    if std::mem::replace(phase, Phase::Accepts) == Phase::Prepared {
                        accept_all();
                    }
                }
                Some(Message::Leave) => {
                    *phase = Phase::Left;
                    listeners.iter().for_each(|listener| listener.leave());
                    take_last(&worker);
                    local.drain.begin_gently();
                }
                #[cfg(test)]
                Some(Message::Panic) => panic!("as the test asked"),
                #[cfg(test)]
                Some(Message::Die) => return,
                #[cfg(test)]
                Some(Message::Stall(until)) => drop(until.recv()),
                // Another process has the same sockets, and goes on with them.
                Some(Message::Drain) | None if *phase == Phase::Prepared => return,
                Some(Message::Drain) | None => {
                    listeners.iter().for_each(|listener| listener.close());
                    take_last(&worker);
                    local.drain.begin();
                }
            },
            _ = sweep.tick() => {
                let tunables = worker.local.shared.live.load();
                local.pool.sweep(&tunables);
                if local.shared.shares.is_shedding() {
                    local.drain.stir();
                }
                if local.take_quieted(GIVE_BACK_AFTER) {
                    memory::give_back();
                }
            }
            () = tokio::time::sleep(DRAIN_POLL), if local.drain.has_begun() => {}
        }
        if local.drain.has_begun() && worker.open.get() == 0 {
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
            Accepted::Socket(socket, client) => {
                admit(&worker, socket, client);
                in_a_row += 1;
                if in_a_row % ACCEPTS_IN_A_ROW == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Accepted::Closed => return,
            Accepted::Nothing(error) => {
                let quiet = |told: Instant| told.elapsed() < ACCEPT_COMPLAINT_INTERVAL;
                if !told.is_some_and(quiet) {
                    told = Some(clock::now());
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
    let Some(inbox) = worker.placement.inboxes.get(worker.local.index) else {
        return;
    };
    loop {
        // First, because a worker that starts over may have heard the bell and not come.
        for arrival in inbox.take() {
            begin(&worker, arrival);
        }
        if let Err(error) = ear.hear().await {
            tracing::warn!(worker = worker.local.index, %error, "the worker's bell is broken");
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }
}

/// Takes what was handed over, and nothing any more.
fn take_last(worker: &Rc<Worker>) {
    if let Some(inbox) = worker.placement.inboxes.get(worker.local.index) {
        inbox.close();
        for arrival in inbox.take() {
            begin(worker, arrival);
        }
    }
}

/// A connection came to this worker's own listener.
fn admit(worker: &Rc<Worker>, socket: Socket, client: SocketAddr) {
    worker.local.stats.borrow_mut().accepted += 1;
    begin(
        worker,
        Arrival {
            socket,
            peer: client,
            client,
            account: None,
            accepted: clock::now(),
            read: Vec::new(),
            steered: Steered::None,
        },
    );
}

/// Serves a connection, if there is room for it: here, or where its host belongs.
fn begin(worker: &Rc<Worker>, mut arrival: Arrival) {
    let is_introduced = introduction::is_due(worker, &arrival);
    let mut slot = match Slot::take(worker.clone()) {
        Ok(slot) => slot,
        Err(stop) => return worker.turn_away(stop),
    };
    // Whom to charge for a balancer's connection is known when it has said who the client is.
    if !is_introduced && let Err(stop) = slot.charge(&mut arrival) {
        return worker.turn_away(stop);
    }
    tokio::task::spawn_local(async move {
        let worker = slot.worker.clone();
        if is_introduced {
            let introduced = Box::pin(introduction::read(&worker, &mut arrival)).await;
            if let Err(stop) = introduced.and_then(|()| slot.charge(&mut arrival)) {
                return worker.turn_away(stop);
            }
        }
        let arrival = match handover::route(&worker, arrival).await {
            Route::Here(arrival) => arrival,
            Route::There => return,
            Route::Stopped(stop) => return worker.local.stats.borrow_mut().stop(stop.as_str()),
        };
        let stop = connection::serve(worker.local.clone(), arrival).await;
        worker.local.stats.borrow_mut().stop(stop.as_str());
        drop(slot);
    });
}

/// A place among `limit.connections`, and among those of its client; given back however the
/// connection ends.
struct Slot {
    worker: Rc<Worker>,
    seat: Option<Seat>,
}

impl Slot {
    fn take(worker: Rc<Worker>) -> Result<Self, Stop> {
        let open = worker.placement.connections.fetch_add(1, Ordering::Relaxed);
        worker.open.set(worker.open.get() + 1);
        // Dropping the slot takes both counts back.
        let slot = Self { worker, seat: None };
        if open >= slot.worker.local.shared.live.load().connections_max {
            return Err(Stop::TooMany);
        }
        Ok(slot)
    }

    /// Charges the client for its connection.
    fn charge(&mut self, arrival: &mut Arrival) -> Result<(), Stop> {
        let shared = &self.worker.local.shared;
        match shared
            .shares
            .enter(arrival.client.ip(), &shared.live.load())
        {
            Ok(seat) => {
                arrival.account = seat.as_ref().map(|seat| seat.account().clone());
                self.seat = seat;
                Ok(())
            }
            Err((prefix, beyond)) => {
                self.worker.complain(prefix, beyond);
                Err(Stop::ClientShare)
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.placement.connections.fetch_sub(1, Ordering::Relaxed);
        worker.open.set(worker.open.get() - 1);
        worker.local.quiets();
    }
}

impl Worker {
    /// Counts a connection that is not served.
    fn turn_away(&self, stop: Stop) {
        let mut stats = self.local.stats.borrow_mut();
        stats.refused += u64::from(stop == Stop::TooMany);
        stats.stop(stop.as_str());
    }

    /// Tells the operator that a client gets no more connections, now and then.
    fn complain(&self, client: Network, beyond: Beyond) {
        let now = clock::now();
        let quiet = |told: Instant| now.duration_since(told) < ACCEPT_COMPLAINT_INTERVAL;
        if self.complained.get().is_some_and(quiet) {
            return;
        }
        self.complained.set(Some(now));
        match beyond {
            Beyond::Share => tracing::warn!(
                %client,
                "a client has the connections that `limit.client_connections` allows; if it is a \
                 balancer or proxy of yours, let it speak the PROXY protocol \
                 (`proxy.protocol_from`), or name it in `limit.client_exempt`"
            ),
            Beyond::Descriptors => tracing::warn!(
                %client,
                "open files run short, and this client has many: it gets no more of them; raise \
                 LimitNOFILE= of the service, or lower `limit.client_connections`"
            ),
        }
    }

    fn report(&self) -> WorkerStats {
        let local = &self.local;
        let mut stats = local.stats.borrow().clone();
        stats.connections_open = self.open.get() as u64;
        stats.connections_idle = self.open.get().saturating_sub(local.busy.get()) as u64;
        stats.connections_parked = local.parked() as u64;
        (stats.origin_connections_open, stats.origin_connections_idle) = local.pool.count();
        stats.origin_repeated = local.pool.repeated();
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
