//! A bell that any thread may ring and one worker's ring hears: an eventfd (eventfd(2)).
//!
//! Rings that are not answered yet count as one: ringing a busy worker costs no system call.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use super::operation::Readable;

/// The ringing half, shared by all threads.
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
    /// It was rung, and that is not answered yet.
    rung: AtomicBool,
}

/// The hearing half, owned by one worker.
#[derive(Debug)]
pub struct Ear(Rc<OwnedFd>);

impl Doorbell {
    /// Makes one.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            rung: AtomicBool::new(false),
        })
    }

    /// Wakes the listener, which sees everything that was done before.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It can only fail when the counter is full, and then the bell is ringing.
            rustix::io::write(&self.fd, &1_u64.to_ne_bytes()).ok();
        }
    }

    /// A way to listen on this thread's ring.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn ear(&self) -> io::Result<Ear> {
        Ok(Ear(Rc::new(self.fd.try_clone()?)))
    }

    /// Answers: rings from now on count anew. Look for what they may be about after this.
    pub fn answer(&self) {
        // Nothing to read means that it was not rung, which is no reason not to look.
        rustix::io::read(&self.fd, &mut [0_u8; 8]).ok();
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Ear {
    /// Waits until it is rung.
    ///
    /// # Errors
    /// The ring's.
    pub async fn hear(&self) -> io::Result<()> {
        Readable::start(self.0.clone()).await
    }
}
