//! The new process, as the old one sees it: started, led through the hand-over step by step, and ended
//! when anything goes wrong.
//!
//! Each step is a value that the next one consumes, so that none can be left out or taken twice. Until
//! the last, dropping it ends the new process.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::channel::{Channel, Kind};
use super::messages::{self, Begin, Handed, Main, Offer, PROTOCOL, Released, Reply, Serve};
use super::{MARK, OWN_BINARY};
use crate::limits::{MAIN_PATIENCE, UPGRADE_END_LOOK, UPGRADE_END_WAIT};
use tls::TicketSecrets;

/// Why a new process does not take over. The old one goes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SuccessorError {
    /// It cannot be started.
    #[error("{path} cannot be started: {why}")]
    Start { path: PathBuf, why: io::Error },
    /// It ended.
    #[error("the new process ended {step}: {}", shown(*status))]
    Ended {
        step: &'static str,
        status: ExitStatus,
    },
    /// It said nothing in time.
    #[error(
        "the new process said nothing for {} s {step} (`timeout.upgrade`)",
        patience.as_secs()
    )]
    Silent {
        step: &'static str,
        patience: Duration,
    },
    /// It said why it cannot.
    #[error("the new process cannot take over: {0}")]
    Refused(String),
    /// It said something else than it was to say.
    #[error("the new process does not keep to the protocol of upgrades {step}: {why}")]
    Confused { step: &'static str, why: String },
}

/// `with exit code 78`, `by signal 9`.
fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit code {code}; its log lines say why"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "somehow".into(),
    }
}

/// What may end the new process from outside while a step waits.
#[derive(Debug, Clone, Default)]
pub(in crate::daemon) struct Leash(Arc<(AtomicU32, AtomicBool)>);

impl Leash {
    /// Ends it, if there is one.
    pub(in crate::daemon) fn pull(&self) {
        // It may not be there yet.
        self.0.1.store(true, Ordering::SeqCst);
        self.end();
    }

    /// This is the process that it holds.
    fn hold(&self, pid: u32) {
        self.0.0.store(pid, Ordering::SeqCst);
        if self.0.1.load(Ordering::SeqCst) {
            self.end();
        }
    }

    /// It holds nothing any more.
    fn let_go(&self) {
        self.0.0.store(0, Ordering::SeqCst);
    }

    fn end(&self) {
        let pid = i32::try_from(self.0.0.load(Ordering::SeqCst)).ok();
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may be gone already.
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// The process; ended with the value.
#[derive(Debug)]
struct Process {
    child: Option<Child>,
    leash: Leash,
}

impl Process {
    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its end, if that comes within a moment.
    fn end(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + UPGRADE_END_WAIT;
        loop {
            let ended = self.child.as_mut()?.try_wait().ok()?;
            if ended.is_some() || Instant::now() >= until {
                return ended;
            }
            std::thread::sleep(UPGRADE_END_LOOK);
        }
    }

    /// It goes on by itself.
    fn leave(mut self) {
        self.leash.let_go();
        drop(self.child.take());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.leash.let_go();
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A new process that has come to the step `S`.
#[derive(Debug)]
pub(super) struct Successor<S> {
    channel: Channel,
    process: Process,
    patience: Duration,
    pub(super) step: S,
}

/// It was started.
#[derive(Debug)]
pub(super) struct Started;

/// It has looked at its configuration and files.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) version: String,
    pub(super) store_format: u64,
}

/// It has the sockets.
#[derive(Debug)]
pub(super) struct Equipped {
    /// Also the one of the admin socket's name.
    pub(super) admin_socket: bool,
}

/// It has read the store, and could serve.
#[derive(Debug)]
pub(super) struct Ready;

/// It serves.
pub(super) struct Serving {
    pub(super) channel: Channel,
    /// The kernel's programs are its own.
    pub(super) steers: bool,
    /// It takes the word that it is the service.
    awaits_main: bool,
}

impl Serving {
    /// Says that the service manager knows it, if it wants to be told. Answers the channel, on which its changes
    /// come.
    pub(super) fn be_main(mut self) -> Channel {
        if self.awaits_main
            && let Err(why) = messages::say(&mut self.channel, &Main {}, &[], MAIN_PATIENCE)
        {
            tracing::debug!(%why, "the new process is not told that it is the service");
        }
        self.channel
    }
}

impl Successor<Started> {
    /// Starts `binary` with the arguments of this process and the channel as its standard input.
    pub(super) fn start(
        binary: &Path,
        leash: Leash,
        patience: Duration,
    ) -> Result<Self, SuccessorError> {
        let failed = |why| SuccessorError::Start {
            path: binary.to_owned(),
            why,
        };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let mut arguments = std::env::args_os();
        let name = arguments.next();
        let arguments: Vec<OsString> = arguments.collect();
        let mut command = Command::new(binary);
        if let Some(name) = name.filter(|_| binary == Path::new(OWN_BINARY)) {
            // What people and `pgrep` look for.
            command.arg0(name);
        }
        let child = command
            .args(arguments)
            .env(MARK, "stdin")
            // They would be of the old process.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(OwnedFd::from(theirs.into_inner())))
            .spawn()
            .map_err(failed)?;
        leash.hold(child.id());
        Ok(Self {
            channel,
            process: Process {
                child: Some(child),
                leash,
            },
            patience,
            step: Started,
        })
    }

    /// Has it check what it can without taking anything away.
    pub(super) fn check(mut self, offer: &Offer) -> Result<Successor<Checked>, SuccessorError> {
        let step = "while it checked configuration and files";
        self.say(step, offer, &[])?;
        match self.hear(step)? {
            Reply::Checked {
                version,
                store_format,
            } => Ok(self.at(Checked {
                version,
                store_format,
            })),
            other => Err(confused(step, &other)),
        }
    }
}

impl Successor<Checked> {
    /// Gives it the sockets, and the keys of session tickets.
    pub(super) fn equip(
        mut self,
        handed: &Handed,
        descriptors: &[BorrowedFd<'_>],
        tickets: &TicketSecrets,
    ) -> Result<Successor<Equipped>, SuccessorError> {
        let step = "while it took over the sockets";
        self.say(step, handed, descriptors)?;
        let sent = self
            .channel
            .send(Kind::Tickets, tickets.reveal(), &[], self.patience);
        sent.map_err(|error| self.failed(step, &error))?;
        match self.hear(step)? {
            Reply::Taken { admin_socket } => Ok(self.at(Equipped { admin_socket })),
            other => Err(confused(step, &other)),
        }
    }
}

impl Successor<Equipped> {
    /// Has it open the store, which was closed at `revision`.
    pub(super) fn open_store(mut self, revision: u64) -> Result<Successor<Ready>, SuccessorError> {
        let step = "while it opened the store";
        self.say(step, &Released { revision }, &[])?;
        match self.hear(step)? {
            Reply::Ready => Ok(self.at(Ready)),
            other => Err(confused(step, &other)),
        }
    }
}

impl Successor<Ready> {
    /// Has it serve. From here on it lives without this process.
    pub(super) fn begin(mut self) -> Result<Serving, SuccessorError> {
        let step = "as it began to serve";
        self.say(step, &Begin {}, &[])?;
        match self.hear(step)? {
            Reply::Begun {
                steers,
                awaits_main,
            } => {
                // What is heard by nobody was not said: then this process is the one that serves.
                self.say(step, &Serve {}, &[])?;
                self.process.leave();
                Ok(Serving {
                    channel: self.channel,
                    steers,
                    awaits_main,
                })
            }
            other => Err(confused(step, &other)),
        }
    }
}

impl<S> Successor<S> {
    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn at<T>(self, step: T) -> Successor<T> {
        Successor {
            channel: self.channel,
            process: self.process,
            patience: self.patience,
            step,
        }
    }

    fn say(
        &mut self,
        step: &'static str,
        message: &impl serde::Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SuccessorError> {
        match messages::say(&mut self.channel, message, descriptors, self.patience) {
            Ok(()) => Ok(()),
            // It may have said why before it went.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => match self.hear(step) {
                Err(why) => Err(why),
                Ok(other) => Err(confused(step, &other)),
            },
            Err(error) => Err(self.failed(step, &error)),
        }
    }

    fn hear(&mut self, step: &'static str) -> Result<Reply, SuccessorError> {
        match messages::hear(&mut self.channel, self.patience) {
            Ok((Reply::Refused { why }, _)) => Err(SuccessorError::Refused(why)),
            Ok((reply, _)) => Ok(reply),
            Err(error) => Err(self.failed(step, &error)),
        }
    }

    fn failed(&mut self, step: &'static str, error: &io::Error) -> SuccessorError {
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            let patience = self.patience;
            return SuccessorError::Silent { step, patience };
        }
        match self.process.end() {
            Some(status) => SuccessorError::Ended { step, status },
            None => SuccessorError::Confused {
                step,
                why: error.to_string(),
            },
        }
    }
}

fn confused(step: &'static str, said: &Reply) -> SuccessorError {
    SuccessorError::Confused {
        step,
        why: format!("it said {said:?}"),
    }
}

/// The first words to a new process.
pub(super) fn offer(store: &Path, upgrade: admin::Upgrade) -> Offer {
    Offer {
        protocol: PROTOCOL,
        version: vocabulary::version().into(),
        store_format: control::STORE_FORMAT,
        store: store.to_owned(),
        upgrade,
    }
}

/// The descriptors to be sent, borrowed.
pub(super) fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}
