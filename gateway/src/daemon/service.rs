//! What the service manager is told (sd_notify(3)): that the gateway is ready, reads its files again,
//! stops, has another main process; and that it lives, as long as it does.
//!
//! Without a service manager nobody is told. Owns no decision.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use datapath::worker::Workers;

/// The part of the watchdog's time after which it is told that the gateway lives: one word may be lost.
const WATCHDOG_PART: u32 = 3;

/// It serves.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It does something after which it will be [`ready`] again.
pub(super) fn busy(status: &str) {
    let status = NotifyState::Status(status);
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, status]),
        Err(_no_clock) => tell(&[status]),
    }
}

/// It finishes requests and ends.
pub(super) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Another process is the service from now on.
pub(super) fn replaced(by: u32, status: &str) {
    tell(&[
        NotifyState::MainPid(by),
        NotifyState::Ready,
        NotifyState::Status(status),
    ]);
}

/// Tells again and again that the gateway lives, while this thread and every worker do. Ends at once when
/// nobody wants to know.
pub(super) async fn watch(workers: Arc<Workers>) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    let mut look = tokio::time::interval(Duration::from_micros(micros) / WATCHDOG_PART);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is now; a process that has just taken over is not known as the service yet.
    look.tick().await;
    loop {
        look.tick().await;
        match workers.all_answer().await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(why) => tracing::error!(%why, "the watchdog is not told that the gateway lives"),
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "the service manager is not to be told");
    }
}
