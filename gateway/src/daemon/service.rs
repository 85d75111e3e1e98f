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
    let text = |name| std::env::var(name).ok();
    let wanted = watchdog(
        text("WATCHDOG_USEC"),
        text("WATCHDOG_PID"),
        std::process::id(),
    );
    let Some(patience) = wanted else { return };
    let mut look = tokio::time::interval(patience / WATCHDOG_PART);
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

/// How often it wants to be told, if it asks this process. The number of the process is left out for one
/// that has taken over; `sd_notify` takes that for somebody else's.
fn watchdog(micros: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let is_asked = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let micros = micros.and_then(|micros| micros.parse().ok());
    let micros = micros.filter(|micros| is_asked && *micros > 0);
    micros.map(Duration::from_micros)
}

/// Whether a service manager started this process, and looks after all of the service's.
pub(super) fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "the service manager is not to be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_asks_one_process() {
        let second = Some(Duration::from_secs(1));
        for (micros, pid, wanted) in [
            (None, None, None),
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
        ] {
            let found = watchdog(micros.map(str::to_owned), pid.map(str::to_owned), 7);
            assert_eq!(found, wanted, "{micros:?} {pid:?}");
        }
    }
}
