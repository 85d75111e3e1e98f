//! When requests are sent.
//!
//! Closed loop: a connection that has its answer may send at once. Open loop: a timer of the
//! kernel, finer than tokio's millisecond, hands out one turn after the other at the asked rate; a
//! turn that no connection was free to take waits, and its latency counts from when it was due.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

/// Hands out turns.
pub(super) struct Gate {
    /// `None` in a closed loop.
    due: Option<RefCell<VecDeque<Instant>>>,
    turns: Semaphore,
    stopped: Cell<bool>,
}

impl Gate {
    pub(super) fn closed() -> Self {
        Self {
            due: None,
            turns: Semaphore::new(0),
            stopped: Cell::new(false),
        }
    }

    pub(super) fn open() -> Self {
        Self {
            due: Some(RefCell::default()),
            ..Self::closed()
        }
    }

    /// Waits for a turn: the time from which the answer's latency counts, `None` when the run is
    /// over.
    pub(super) async fn turn(&self) -> Option<Instant> {
        if self.stopped.get() {
            return None;
        }
        let Some(due) = &self.due else {
            return Some(Instant::now());
        };
        // An error means that the gate was closed: the run is over.
        self.turns.acquire().await.ok()?.forget();
        due.borrow_mut().pop_front()
    }

    /// No more turns.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        self.turns.close();
    }

    /// Whether the run is over.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Makes turns at `rate` per second, for ever.
    pub(super) async fn pace(&self, rate: f64) -> Result<()> {
        let Some(due) = &self.due else { return Ok(()) };
        let timer = Timer::new()?;
        let start = Instant::now();
        let mut made: u64 = 0;
        loop {
            let mut fresh = 0;
            let next = loop {
                let next = start + Duration::from_secs_f64(made as f64 / rate);
                let now = Instant::now();
                if next > now {
                    break next - now;
                }
                due.borrow_mut().push_back(next);
                made += 1;
                fresh += 1;
            };
            self.turns.add_permits(fresh);
            timer.wait(next).await?;
        }
    }
}

/// A timer of the kernel.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("making a timer")?;
        #[expect(
            unsafe_code,
            reason = "registering a descriptor with tokio has no safe call"
        )]
        // SAFETY: `register` wants the descriptor to be the same file as long as it is registered;
        // the `AsyncFd` owns the `OwnedFd` and never gives it away.
        let timer = unsafe { AsyncFd::register(timer) }?;
        Ok(Self(timer))
    }

    async fn wait(&self, time: Duration) -> Result<()> {
        // Zero would disarm it.
        let time = time.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(time.as_secs())?,
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).context("setting a timer")?;
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::io::read(self.0.get_ref(), &mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error).context("reading a timer"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_at_the_asked_rate_and_keep_their_time() {
        let gate = Gate::open();
        let begun = Instant::now();
        let taken = async {
            // No turn is taken for a while: none is lost.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let first = gate.turn().await.unwrap();
            assert!(begun.elapsed() >= Duration::from_millis(50));
            assert!(first - begun < Duration::from_millis(40));
            for _ in 0..99 {
                gate.turn().await.unwrap();
            }
        };
        tokio::select! {
            () = taken => {}
            _ = gate.pace(1000.0) => panic!("pacing ended"),
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(98),
            "{:?}",
            begun.elapsed()
        );
        gate.stop();
        assert!(gate.turn().await.is_none());
    }
}
