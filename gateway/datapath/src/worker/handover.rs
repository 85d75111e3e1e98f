//! Hand-over: moves a connection, with the bytes read so far, to the worker that owns its host.
//!
//! The accepting worker reads the ClientHello with the kernel's own parser. When another worker
//! owns the host, socket and bytes go into that worker's [`Inbox`]. When the inbox is full, or its
//! worker is ending, the connection is served where it is. The parser's answer is a hint: TLS reads
//! the same bytes again and is the authority.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use ebpf::Owners;

use super::Worker;
use crate::connection::{self, Arrival, Stop};
use crate::io::{Doorbell, Ear, Socket};
use crate::limits::{HANDOVER_QUEUE, HELLO_BYTES_MAX};
use crate::observe::Steered;
use crate::steer::hello::{RequestedHost, wanted};
use crate::steer::{Ownership, flow};

/// A connection between two workers.
struct Handed {
    socket: OwnedFd,
    peer: SocketAddr,
    client: SocketAddr,
    accepted: Instant,
    read: Vec<u8>,
}

/// What other workers give to one worker.
pub(super) struct Inbox {
    queue: ArrayQueue<Handed>,
    bell: Doorbell,
    /// The worker takes nothing more.
    closed: AtomicBool,
}

/// The inboxes of all workers, by number.
pub struct Inboxes(Vec<Inbox>);

/// Where a connection goes on.
pub(super) enum Route {
    /// With this worker.
    Here(Arrival),
    /// With another.
    There,
    /// Nowhere: it did not say whom it wants in time.
    Stopped(Stop),
}

impl Inboxes {
    /// One for each of `count` workers.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(count: usize) -> std::io::Result<Self> {
        Self::with_room(count, HANDOVER_QUEUE)
    }

    /// The same, with room for so many connections in each, at least one.
    pub(super) fn with_room(count: usize, room: usize) -> std::io::Result<Self> {
        let inbox = |_| {
            Ok(Inbox {
                queue: ArrayQueue::new(room),
                bell: Doorbell::new()?,
                closed: AtomicBool::new(false),
            })
        };
        (0..count).map(inbox).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, worker: usize) -> Option<&Inbox> {
        self.0.get(worker)
    }

    /// A worker is gone for good: what waits for it goes to the others.
    pub(super) fn abandon(&self, worker: usize) {
        let Some(gone) = self.get(worker) else {
            return;
        };
        gone.close();
        while let Some(handed) = gone.queue.pop() {
            let mut homeless = Some(handed);
            for other in &self.0 {
                // With every inbox full or closed no worker is left to serve it.
                let Some(handed) = homeless.take() else { break };
                homeless = other.put(handed).err();
            }
        }
    }
}

impl Inbox {
    /// Puts a connection in, or gives it back when the inbox is full or closed.
    fn put(&self, handed: Handed) -> Result<(), Handed> {
        if self.is_closed() {
            return Err(handed);
        }
        self.queue.push(handed)?;
        self.bell.ring();
        Ok(())
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // See `give`: of a last look and a last gift one must see the other.
        fence(Ordering::SeqCst);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn ear(&self) -> std::io::Result<Ear> {
        self.bell.ear()
    }

    /// Drains the inbox and clears the eventfd.
    pub(super) fn take(&self) -> impl Iterator<Item = Arrival> + '_ {
        self.bell.answer();
        std::iter::from_fn(|| self.queue.pop().map(Handed::arrive))
    }
}

impl Handed {
    fn arrive(self) -> Arrival {
        Arrival {
            socket: Socket::new(self.socket),
            peer: self.peer,
            client: self.client,
            account: None,
            accepted: self.accepted,
            read: self.read,
            steered: Steered::Handoff,
        }
    }
}

/// Finds out whose connection this is, and gives it to them.
pub(super) async fn route(worker: &Rc<Worker>, mut arrival: Arrival) -> Route {
    // Who has it by a hand-over keeps it: owners may change meanwhile, and then it would wander.
    if arrival.steered == Steered::Handoff || worker.placement.owned.load().is_empty() {
        return Route::Here(arrival);
    }
    let client = arrival.client;
    let Ok(local) = arrival.socket.local_address() else {
        return Route::Here(arrival);
    };
    let peer = arrival.peer;
    if worker.placement.placed.take(&flow(peer, local)) {
        arrival.steered = Steered::Kernel;
    }
    let patience = worker.local.shared.live.load().handshake_timeout;
    let deadline = tokio::time::Instant::from_std(arrival.accepted + patience);
    match tokio::time::timeout_at(deadline, read_hello(&mut arrival)).await {
        Ok(true) => {}
        Ok(false) => return Route::Here(arrival),
        Err(_) => return Route::Stopped(connection::never_began(&worker.local, client, &arrival)),
    }
    let owners = owners(&worker.placement.owned.load(), &arrival.read);
    match owners.and_then(|owners| stranger(owners, worker.local.index, peer, local)) {
        None => Route::Here(arrival),
        Some(owner) => give(worker, usize::from(owner), arrival),
    }
}

/// Reads until it is known who is wanted; `false` when that will not become known.
async fn read_hello(arrival: &mut Arrival) -> bool {
    loop {
        match wanted(&arrival.read) {
            RequestedHost::Host(_) | RequestedHost::Nobody => return true,
            RequestedHost::More if arrival.read.len() >= HELLO_BYTES_MAX => return false,
            RequestedHost::More => {}
        }
        if !arrival.read_more().await {
            return false;
        }
    }
}

fn owners(table: &Ownership, read: &[u8]) -> Option<Owners> {
    match wanted(read) {
        RequestedHost::Host(name) => table.of(&name),
        RequestedHost::Nobody => table.nameless(),
        RequestedHost::More => None,
    }
}

/// The owner that this connection should go to, unless this worker is an owner itself.
fn stranger(owners: Owners, here: usize, peer: SocketAddr, local: SocketAddr) -> Option<u16> {
    let ours = owners
        .workers
        .iter()
        .any(|owner| usize::from(*owner) == here);
    (!ours).then(|| owners.pick(flow(peer, local).hash()))
}

fn give(worker: &Rc<Worker>, owner: usize, arrival: Arrival) -> Route {
    let inboxes = &worker.placement.inboxes;
    let Some(inbox) = inboxes.get(owner).filter(|inbox| !inbox.is_closed()) else {
        return Route::Here(arrival);
    };
    let Arrival {
        socket,
        peer,
        client,
        account,
        accepted,
        read,
        steered,
    } = arrival;
    let here = |socket, read| {
        worker.local.stats.borrow_mut().kept += 1;
        Route::Here(Arrival {
            socket,
            peer,
            client,
            account,
            accepted,
            read,
            steered,
        })
    };
    let socket = match socket.release() {
        Ok(socket) => socket,
        Err(socket) => return here(socket, read),
    };
    let handed = Handed {
        socket,
        peer,
        client,
        accepted,
        read,
    };
    match inbox.put(handed) {
        Err(back) => here(Socket::new(back.socket), back.read),
        Ok(()) => {
            worker.local.stats.borrow_mut().handed_over += 1;
            // The owner may have looked for the last time just before: then it is up to us.
            fence(Ordering::SeqCst);
            if inbox.is_closed() {
                for arrival in inbox.take() {
                    super::begin(worker, arrival);
                }
            }
            Route::There
        }
    }
}
