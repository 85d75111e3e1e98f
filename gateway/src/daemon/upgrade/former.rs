//! Processes that this one has replaced, and that still have connections: they are told of every change.
//!
//! Owns what waits for each of them. One that does not take what waits is given up: its channel is closed,
//! and it ends its connections. What it does with a change is [`following`](super::following)'s.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::channel::{HEAD, Head, Kind};
use crate::limits::{FORMER_QUEUE_BYTES_MAX, FORMER_SETTLE_WAIT, STEER_POLL};
use control::Fed;

/// All of them.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Formers {
    all: Mutex<Vec<Former>>,
    /// One of them has said that this process is the service.
    is_main: Arc<Notify>,
}

#[derive(Debug)]
struct Former {
    queue: mpsc::UnboundedSender<Arc<[u8]>>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    /// For the next process, which goes on telling it.
    channel: OwnedFd,
    carrying: JoinHandle<()>,
}

impl Former {
    fn is_behind(&self) -> bool {
        !self.carrying.is_finished() && self.waiting.load(Ordering::Acquire) > 0
    }

    /// Has it end its connections: it must not go on with what it has. Not by closing the channel: another
    /// process may have a copy.
    fn give_up(&self) {
        // It may have ended by itself.
        rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both).ok();
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

impl Formers {
    /// Tells one more. To be called in a runtime of tokio.
    ///
    /// # Errors
    /// The runtime does not take the channel.
    pub(in crate::daemon) fn add(&self, channel: OwnedFd) -> io::Result<()> {
        let copy = channel.try_clone()?;
        let stream = UnixStream::from(channel);
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        let (queue, queued) = mpsc::unbounded_channel();
        let waiting = Arc::<AtomicUsize>::default();
        let carrying = carry(stream, queued, waiting.clone(), self.is_main.clone());
        let carrying = tokio::spawn(carrying);
        self.lock().push(Former {
            queue,
            waiting,
            channel: copy,
            carrying,
        });
        Ok(())
    }

    /// Waits until the one before this process has told the service manager who is the service now.
    pub(in crate::daemon) async fn made_main(&self) {
        self.is_main.notified().await;
    }

    /// How many there are.
    pub(in crate::daemon) fn count(&self) -> usize {
        let mut all = self.lock();
        all.retain(|former| !former.carrying.is_finished());
        all.len()
    }

    /// Tells all of them, without waiting for any.
    pub(in crate::daemon) fn tell(&self, fed: &Fed<'_>) {
        let mut all = self.lock();
        if all.is_empty() {
            return;
        }
        let Fed::Transaction(transaction) = fed else {
            tracing::warn!("replaced processes end their connections: they missed a change");
            return give_up(&mut all);
        };
        let bytes = transaction.encode();
        let head = Head {
            kind: Kind::Transaction,
            bytes: bytes.len(),
            descriptors: 0,
        };
        let Ok(head) = head.encode() else {
            return give_up(&mut all);
        };
        let frame: Arc<[u8]> = [head.as_slice(), &bytes].concat().into();
        all.retain(|former| {
            let before = former.waiting.fetch_add(frame.len(), Ordering::AcqRel);
            // The first one may be as large as it likes.
            let fits = before == 0 || before + frame.len() <= FORMER_QUEUE_BYTES_MAX;
            if !fits {
                tracing::warn!("a replaced process takes no changes: it is given up");
            }
            let told = fits && former.queue.send(frame.clone()).is_ok();
            if !told {
                former.give_up();
            }
            told
        });
    }

    /// Waits until nothing waits for any of them, so that another process may go on telling them. Those
    /// for whom something still waits after [`FORMER_SETTLE_WAIT`] are given up.
    pub(in crate::daemon) async fn settle(&self) {
        let until = Instant::now() + FORMER_SETTLE_WAIT;
        while self.lock().iter().any(Former::is_behind) {
            if Instant::now() >= until {
                tracing::warn!("a replaced process takes no changes: it is given up");
                let behind = |former: &mut Former| former.is_behind();
                let mut late: Vec<Former> = self.lock().extract_if(.., behind).collect();
                return give_up(&mut late);
            }
            tokio::time::sleep(STEER_POLL).await;
        }
    }

    /// Copies of the channels, for the next process.
    ///
    /// # Errors
    /// This process is out of descriptors.
    pub(in crate::daemon) fn channels(&self) -> io::Result<Vec<OwnedFd>> {
        let all = self.lock();
        let alive = all.iter().filter(|one| !one.carrying.is_finished());
        alive.map(|former| former.channel.try_clone()).collect()
    }

    /// The next process tells them.
    pub(in crate::daemon) fn leave(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Former>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has all of these end their connections.
fn give_up(formers: &mut Vec<Former>) {
    formers.iter().for_each(Former::give_up);
    formers.clear();
}

/// Carries what waits to a process, until that one is gone.
async fn carry(
    stream: tokio::net::UnixStream,
    mut queued: mpsc::UnboundedReceiver<Arc<[u8]>>,
    waiting: Arc<AtomicUsize>,
    is_main: Arc<Notify>,
) {
    let (mut read, mut write) = stream.into_split();
    loop {
        let mut word = [0; HEAD];
        tokio::select! {
            frame = queued.recv() => {
                let Some(frame) = frame else { return };
                if write.write_all(&frame).await.is_err() {
                    return;
                }
                waiting.fetch_sub(frame.len(), Ordering::AcqRel);
            }
            said = read.read(&mut word) => match said {
                // It has one thing to say, and what that is needs no reading.
                Ok(1..) => is_main.notify_one(),
                // This is its end.
                Ok(0) | Err(_) => return,
            },
        }
    }
}
