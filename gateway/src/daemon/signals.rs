//! Signal handling, and the drain at the end of a run.

use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::reload;
use super::{Ended, StartError};
use admin::AdminTls;
use config::Sources;
use control::Control;
use datapath::connection::Shared;
use datapath::limits::DRAIN_POLL;
use datapath::observe::AccessLog;
use datapath::worker::Workers;

pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, StartError> {
        let open =
            |kind| signal(kind).map_err(|error| StartError::System("signals cannot be had", error));
        Ok(Self {
            hangup: open(SignalKind::hangup())?,
            interrupt: open(SignalKind::interrupt())?,
            quit: open(SignalKind::quit())?,
            terminate: open(SignalKind::terminate())?,
            user1: open(SignalKind::user_defined1())?,
        })
    }

    /// Waits for a signal that means to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Listens to signals until one of them, or the end of all workers, ends the run.
pub(super) async fn wait(
    signals: &mut Signals,
    workers: &Workers,
    shared: &Shared,
    sources: Option<&Sources>,
    control: &Control,
    admin_tls: Option<&Arc<AdminTls>>,
    access_log: &AccessLog,
) -> Ended {
    loop {
        tokio::select! {
            // Files may hang: a signal to stop is heard meanwhile.
            _ = signals.hangup.recv() => tokio::select! {
                () = reload(shared, sources, control, admin_tls) => {}
                () = signals.stop() => break,
            },
            _ = signals.user1.recv() => access_log.reopen(),
            _ = signals.interrupt.recv() => break,
            _ = signals.quit.recv() => break,
            _ = signals.terminate.recv() => break,
        }
    }
    let live = &shared.live;
    let deadline = Instant::now() + live.load().drain_timeout;
    tracing::info!(
        seconds = live.load().drain_timeout.as_secs(),
        "stopping: requests are finished; a second signal stops at once"
    );
    workers.drain();
    loop {
        if workers.has_ended() {
            return Ended::Drained;
        }
        if Instant::now() >= deadline {
            tracing::warn!("timeout.drain passed: the remaining connections are cut");
            return Ended::Cut;
        }
        tokio::select! {
            () = signals.stop() => return Ended::Cut,
            () = tokio::time::sleep(DRAIN_POLL) => {}
        }
    }
}
