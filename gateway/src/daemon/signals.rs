//! Signal handling, the drain at the end of a run, and the end of a replaced process.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Signal as Told, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::reload::reload;
use super::upgrade::following::{follow, read_system_cas};
use super::upgrade::{Channel, Estate, Leash, OWN_BINARY, upgrade};
use super::{Ended, StartError, service};
use crate::limits::{DRAIN_REST_PART, SUCCESSOR_LOST_GRACE};
use admin::{AdminTls, Asked};
use config::Sources;
use datapath::limits::DRAIN_POLL;
use datapath::observe::AccessLog;

/// Signals that ask a gateway for something. Before they are listened to, they end the process.
pub(super) struct Requests {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Requests {
    /// Listens to them from now on; what comes before anybody waits is answered then. A start that hangs
    /// is still ended by a signal that means to stop.
    pub(super) fn new() -> Result<Self, StartError> {
        Ok(Self {
            hangup: open(SignalKind::hangup())?,
            user1: open(SignalKind::user_defined1())?,
            user2: open(SignalKind::user_defined2())?,
        })
    }
}

fn open(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|error| StartError::System("signals cannot be had", error))
}

pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// All of them.
    pub(super) fn new(requests: Requests) -> Result<Self, StartError> {
        let Requests {
            hangup,
            user1,
            user2,
        } = requests;
        Ok(Self {
            hangup,
            interrupt: open(SignalKind::interrupt())?,
            quit: open(SignalKind::quit())?,
            terminate: open(SignalKind::terminate())?,
            user1,
            user2,
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

    /// Waits for a signal that means to stop, or for one that is about files, which is answered.
    async fn stop_or_files(&mut self) -> Option<Told> {
        tokio::select! {
            _ = self.interrupt.recv() => None,
            _ = self.quit.recv() => None,
            _ = self.terminate.recv() => None,
            _ = self.hangup.recv() => Some(Told::HUP),
            _ = self.user1.recv() => Some(Told::USR1),
        }
    }
}

/// Why a run does not go on as it was.
pub(super) enum Wanted {
    /// A signal means to stop.
    Stop,
    /// Another process serves, and tells here what it changes.
    StepBack {
        /// Where it tells them.
        channel: Channel,
        /// It was told to stop, as this one was.
        is_stopping: bool,
    },
}

/// Listens to signals until one of them ends the run, or another process has taken over.
pub(super) async fn wait(
    signals: &mut Signals,
    estate: &Estate,
    mut asked: Option<mpsc::UnboundedReceiver<Asked>>,
    sources: Option<&Sources>,
    admin_tls: Option<&Arc<AdminTls>>,
    access_log: &AccessLog,
) -> Wanted {
    loop {
        let upgrade_wanted = async {
            match &mut asked {
                // The sender is the estate's.
                Some(asked) => asked.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Files may hang: a signal to stop is heard meanwhile.
            _ = signals.hangup.recv() => {
                service::busy("reading the configuration again");
                let takes_a_process = tokio::select! {
                    takes = reload(&estate.shared, sources, &estate.control, &estate.acme, admin_tls) => takes,
                    () = signals.stop() => return Wanted::Stop,
                };
                service::ready("serving");
                // What is at this process's path may be another version by now, which nobody asked for.
                let own = Some(PathBuf::from(OWN_BINARY));
                if takes_a_process && let Err(why) = estate.upgrades.begin(own) {
                    tracing::warn!(%why, "what takes a new process waits for the next start or SIGHUP");
                }
            }
            _ = signals.user1.recv() => access_log.reopen(),
            _ = signals.user2.recv() => {
                if let Err(why) = estate.upgrades.begin(None) {
                    tracing::warn!(%why, "SIGUSR2 came, and nothing is done");
                }
            }
            Some(asked) = upgrade_wanted => {
                let leash = Leash::default();
                let mut upgrading = pin!(upgrade(estate, asked, leash.clone()));
                let mut is_stopping = false;
                let channel = tokio::select! {
                    channel = &mut upgrading => channel,
                    () = signals.stop() => {
                        is_stopping = true;
                        leash.pull();
                        upgrading.await
                    }
                };
                match channel {
                    Some(channel) => {
                        if is_stopping && !service::is_supervised() {
                            // Too late to keep it from serving. systemd tells every process of the unit.
                            pass_on(estate, Told::TERM);
                        }
                        return Wanted::StepBack { channel, is_stopping };
                    }
                    None if is_stopping => return Wanted::Stop,
                    None => {}
                }
            }
            _ = signals.interrupt.recv() => return Wanted::Stop,
            _ = signals.quit.recv() => return Wanted::Stop,
            _ = signals.terminate.recv() => return Wanted::Stop,
        }
    }
}

/// Finishes what is under way, and ends. Processes that this one has replaced may finish too.
pub(super) async fn drain(signals: &mut Signals, estate: &Estate) -> Ended {
    let live = &estate.shared.live;
    let deadline = Instant::now() + live.load().drain_timeout;
    tracing::info!(
        seconds = live.load().drain_timeout.as_secs(),
        "stopping: requests are finished; a second signal stops at once"
    );
    estate.workers.drain();
    loop {
        if estate.workers.has_ended() && estate.formers.count() == 0 {
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

/// Tells the process that has taken over what this one was told.
fn pass_on(estate: &Estate, signal: Told) {
    let successor = estate.upgrades.last().and_then(|upgrade| upgrade.to);
    let successor = successor.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = successor
        && let Err(why) = kill_process(pid, signal)
    {
        tracing::warn!(%why, ?signal, "the process that serves could not be told of a signal");
    }
}

/// Finishes what is under way while another process serves, and obeys what that one changes.
pub(super) async fn step_back(
    signals: &mut Signals,
    estate: &Estate,
    channel: Channel,
    is_stopping: bool,
) -> Ended {
    let patience = estate.shared.live.load().drain_timeout;
    let begun = Instant::now();
    let mut deadline = begun + patience;
    tracing::info!(
        seconds = patience.as_secs(),
        "another process serves: this one finishes its requests"
    );
    let press_at = begun + patience / DRAIN_REST_PART;
    let mut following = pin!(follow(channel, estate.control.clone()));
    let mut reading_cas = pin!(read_system_cas(estate.control.clone()));
    let (mut is_pressing, mut is_lost, mut is_told) = (is_stopping, false, is_stopping);
    if is_stopping {
        estate.workers.drain();
    }
    loop {
        if estate.workers.has_ended() {
            return Ended::Drained;
        }
        let now = Instant::now();
        if now >= deadline {
            if !is_lost {
                tracing::warn!("timeout.drain passed: the remaining connections are cut");
            }
            return Ended::Cut;
        }
        if now >= press_at && !is_pressing {
            is_pressing = true;
            estate.workers.drain();
        }
        tokio::select! {
            why = &mut following, if !is_lost => {
                tracing::warn!(%why, "what is trusted is not known any more: connections end");
                (is_lost, is_pressing) = (true, true);
                estate.workers.drain();
                deadline = deadline.min(Instant::now() + SUCCESSOR_LOST_GRACE);
            }
            never = &mut reading_cas => match never {},
            heard = signals.stop_or_files() => match heard {
                // It is for the process that serves, which may have read the files before it came.
                Some(of_files) => pass_on(estate, of_files),
                None if is_told => return Ended::Cut,
                // The new process was told too, and waits for this one.
                None => {
                    (is_told, is_pressing) = (true, true);
                    estate.workers.drain();
                }
            },
            () = tokio::time::sleep(DRAIN_POLL) => {}
        }
    }
}
