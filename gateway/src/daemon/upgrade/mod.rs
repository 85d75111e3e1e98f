//! An upgrade: a new process, of another binary as a rule, takes the place of this one, and no
//! connection is lost.
//!
//! The old process starts the new one and leads it through the hand-over ([`messages`] has the words).
//! Listening sockets are passed, never closed and opened again, so that connections in their queues
//! survive. Nothing is given up before the new process has said that it could serve: until then its end,
//! whatever the reason, leaves the old one as it was. Then the old one finishes its connections, and
//! follows the changes that the new one makes ([`following`]).
//!
//! | file | owns |
//! |---|---|
//! | [`channel`], [`messages`] | what the two say to each other, and how descriptors go over |
//! | [`successor`] | the new process as the old one sees it |
//! | [`predecessor`] | the old process as the new one sees it |
//! | [`former`] | replaced processes that have connections yet, told of every change |
//! | [`following`] | a replaced process, obeying |

mod channel;
pub(super) mod following;
pub(super) mod former;
mod messages;
pub(super) mod predecessor;
mod successor;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::channel::Channel;
use self::former::Formers;
use self::messages::Handed;
pub(super) use self::successor::Leash;
use self::successor::{Equipped, Ready, Serving, Successor, SuccessorError, borrowed, offer};
use super::service;
use crate::limits::{FORMER_MAX, STORE_BACK_WAIT, UPGRADE_END_LOOK};
use admin::{Asked, Leaving, UpgradeState, Upgrades};
use control::{ChangeError, Control, STORE_FORMAT};
use datapath::connection::Shared;
use datapath::plain::Door;
use datapath::steer::controller::Controller;
use datapath::worker::Workers;
use fetch::{AcmeClient, NameWatch};

/// In the environment of a process that was started to take over; the value says where the channel is.
const MARK: &str = "POSTERN_UPGRADE";

/// The binary that runs, whatever is at its path by now.
pub(super) const OWN_BINARY: &str = "/proc/self/exe";

/// Everything that goes over.
pub(super) struct Estate {
    pub(super) workers: Arc<Workers>,
    /// `listen`
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) redirects: Option<Door>,
    pub(super) health: Door,
    pub(super) admin: Arc<Leaving>,
    pub(super) admin_socket: PathBuf,
    pub(super) admin_listen: Option<SocketAddr>,
    pub(super) store: PathBuf,
    pub(super) control: Arc<Control>,
    pub(super) controller: Arc<Controller>,
    pub(super) shared: Arc<Shared>,
    pub(super) formers: Arc<Formers>,
    pub(super) upgrades: Arc<Upgrades>,
    /// Where this process's binary was when it started: what is there now is what an upgrade starts.
    pub(super) binary: PathBuf,
    /// Is told of a new configuration, and leaves its orders for the next process.
    pub(super) acme: Arc<AcmeClient>,
    /// What it has found, the next process has from the beginning.
    pub(super) names: Arc<NameWatch>,
}

/// Why there is no new process in place of this one.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    /// Its end would be the end of the new process.
    #[error(
        "this process is the first of its container, which ends with it: replace the container instead"
    )]
    First,
    /// There are enough of them.
    #[error(
        "{FORMER_MAX} replaced processes still finish their connections: wait for the end of one \
         (`timeout.drain` at the latest)"
    )]
    Formers,
    /// The binary is not one.
    #[error("{path} is no program that can be started: {why}")]
    Binary { path: PathBuf, why: String },
    /// The new process did not get so far.
    #[error(transparent)]
    Successor(#[from] SuccessorError),
    /// It did not, and what was given to it is not to be had back.
    #[error(
        "{0}; and the store cannot be opened again: connections go on with the last good state, changes are \
         refused until a restart"
    )]
    StoreLost(SuccessorError),
    /// What is to be given cannot be had.
    #[error("what goes over cannot be had: {0}")]
    Descriptors(#[from] io::Error),
    /// The store cannot be given away.
    #[error("the store cannot be handed over: {0}")]
    Store(#[from] ChangeError),
    /// A task of ours did not come to its end.
    #[error("the hand-over failed inside: {0}")]
    Inside(#[from] tokio::task::JoinError),
}

/// Has a new process take over. Answers the channel on which its changes come, or nothing: then
/// everything is as it was, and log and record say why.
pub(super) async fn upgrade(estate: &Estate, asked: Asked, leash: Leash) -> Option<Channel> {
    let binary = asked.binary.unwrap_or_else(|| estate.binary.clone());
    let patience = estate.shared.live.load().upgrade_timeout;
    estate.upgrades.note(|upgrade| {
        upgrade.binary.clone_from(&binary);
        upgrade.step = "the new process checks configuration and files".into();
    });
    service::busy("upgrading");
    tracing::info!(binary = %binary.display(), "upgrading: a new process is started");
    match lead(estate, &binary, leash, patience).await {
        Ok(serving) => {
            let record = estate.upgrades.note(|upgrade| {
                upgrade.state = UpgradeState::Done;
                upgrade.step = "the new process serves".into();
            });
            let pid = record.and_then(|record| record.to).unwrap_or_default();
            service::replaced(pid, "serving, since an upgrade");
            // Behind that, so that what it tells comes after it.
            Some(serving.be_main())
        }
        Err(why) => {
            estate.acme.stay();
            service::ready(&format!("serving; an upgrade failed: {why}"));
            tracing::error!(%why, "the upgrade failed: this process goes on as before");
            estate.upgrades.note(|upgrade| {
                upgrade.state = UpgradeState::Failed;
                upgrade.why = Some(why.to_string());
            });
            None
        }
    }
}

async fn lead(
    estate: &Estate,
    binary: &Path,
    leash: Leash,
    patience: Duration,
) -> Result<Serving, UpgradeError> {
    if std::process::id() == 1 {
        return Err(UpgradeError::First);
    }
    if estate.formers.count() >= FORMER_MAX {
        return Err(UpgradeError::Formers);
    }
    check_binary(binary)?;
    let Some(record) = estate.upgrades.last() else {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    };
    let offer = offer(&estate.store, record);
    let path = binary.to_owned();
    let checked =
        blocking(move || Successor::start(&path, leash, patience)?.check(&offer)).await??;
    let (pid, version) = (checked.pid(), checked.step.version.clone());
    let backup = (checked.step.store_format > STORE_FORMAT)
        .then(|| control::copy_before_format(&estate.store, STORE_FORMAT));
    tracing::info!(pid, version, "the new process has checked what it can");
    if let Some(backup) = &backup {
        tracing::warn!(
            from = STORE_FORMAT, to = checked.step.store_format, backup = %backup.display(),
            "the new process brings the store to a newer format, which this one does not know: there is \
             no way back but the backup that is made now"
        );
    }
    estate.upgrades.note(|upgrade| {
        upgrade.to = Some(pid);
        upgrade.version = Some(version);
        upgrade.backup.clone_from(&backup);
        upgrade.step = "the new process takes over the sockets".into();
    });
    // Nothing waits for those whom the new process will tell.
    estate.formers.settle().await;
    let (handed, descriptors) = pack(estate)?;
    let tickets = estate.shared.acceptor.tickets().secrets();
    let equip = move || checked.equip(&handed, &borrowed(&descriptors), &tickets);
    let equipped = blocking(equip).await??;
    estate
        .upgrades
        .note(|upgrade| upgrade.step = "the new process opens the store".into());
    let admin_socket = equipped.step.admin_socket;
    // The new process goes on with them.
    estate.acme.leave().await;
    let serving = give_store(estate, equipped, backup).await?;
    step_back(estate, admin_socket, serving.steers);
    Ok(serving)
}

/// The moment in which there is no way back for the store but to take it back: changes are refused.
async fn give_store(
    estate: &Estate,
    equipped: Successor<Equipped>,
    backup: Option<PathBuf>,
) -> Result<Serving, UpgradeError> {
    let control = estate.control.clone();
    let to = backup.clone();
    let revision = blocking(move || control.hand_over(to.as_deref())).await??;
    // Nothing more is changed here: what was changed since is told before the new process tells anything.
    estate.formers.settle().await;
    let control = estate.control.clone();
    let controller = estate.controller.clone();
    blocking(move || {
        let serving = equipped
            .open_store(revision)
            .and_then(|ready: Successor<Ready>| {
                let begun = ready.begin();
                if begun.is_err() {
                    // It may have put its own in place.
                    controller.reclaim();
                }
                begun
            });
        serving.map_err(|why| {
            // By now the new process has ended.
            if take_back(&control, backup.as_deref()) {
                UpgradeError::Successor(why)
            } else {
                UpgradeError::StoreLost(why)
            }
        })
    })
    .await?
}

/// Opens the store again; whether it is there.
fn take_back(control: &Control, backup: Option<&Path>) -> bool {
    let until = Instant::now() + STORE_BACK_WAIT;
    loop {
        match control.take_back(backup) {
            Ok(()) => {
                // It has nothing that the store has not.
                if let Some(backup) = backup
                    && let Err(error) = std::fs::remove_file(backup)
                {
                    tracing::warn!(file = %backup.display(), %error, "a copy of the store stays behind");
                }
                return true;
            }
            // The other process may still be ending, and what failed may be well in a moment.
            Err(_) if Instant::now() < until => std::thread::sleep(UPGRADE_END_LOOK),
            Err(error) => {
                tracing::error!(
                    %error,
                    "the store cannot be opened again: connections go on with the last good state, \
                     changes are refused; restart when it is mended"
                );
                return false;
            }
        }
    }
}

/// From here on the new process serves.
fn step_back(estate: &Estate, admin_socket: bool, steers: bool) {
    estate.workers.leave();
    if let Some(redirects) = &estate.redirects {
        redirects.leave();
    }
    estate.health.leave();
    estate.admin.leave(admin_socket);
    estate.controller.let_go(steers);
    estate.formers.leave();
}

/// What goes over, and its descriptors in the order in which they are named.
fn pack(estate: &Estate) -> io::Result<(Handed, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let mut sockets = |all: Vec<(SocketAddr, OwnedFd)>| -> Vec<SocketAddr> {
        let (addresses, sockets): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        descriptors.extend(sockets);
        addresses
    };
    let tls = sockets(estate.workers.listening(&estate.addresses)?);
    let http = match &estate.redirects {
        Some(redirects) => sockets(redirects.copies()?),
        None => Vec::new(),
    };
    let health = sockets(estate.health.copies()?);
    let admin = estate.admin.copies()?;
    descriptors.push(admin.unix);
    let admin_listen = admin.tcp.and_then(|tcp| {
        descriptors.push(tcp);
        estate.admin_listen
    });
    let channels = estate.formers.channels()?;
    let former = channels.len();
    descriptors.extend(channels);
    let steering = estate.controller.inheritance()?.map(|(told, links)| {
        descriptors.extend(links);
        told
    });
    let handed = Handed {
        tls,
        http,
        health,
        admin_socket: Some(estate.admin_socket.clone()),
        admin_listen,
        former,
        steering,
        names: estate.names.meanings(),
    };
    Ok((handed, descriptors))
}

/// Refuses what cannot be started, and what others could have put there.
fn check_binary(path: &Path) -> Result<(), UpgradeError> {
    use std::os::unix::fs::MetadataExt as _;
    let refused = |why: String| UpgradeError::Binary {
        path: path.to_owned(),
        why,
    };
    let found = std::fs::metadata(path).map_err(|why| refused(why.to_string()))?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_file() || found.mode() & 0o111 == 0 {
        return Err(refused("it is no executable file".into()));
    }
    if found.mode() & 0o022 != 0 || ![0, own].contains(&found.uid()) {
        return Err(refused(
            "others than root and the user that runs the gateway may change it: \
             `chown root` and `chmod go-w` it"
                .into(),
        ));
    }
    Ok(())
}

/// Where this process's binary is.
pub(super) fn own_binary() -> PathBuf {
    let binary = std::env::current_exe().unwrap_or_else(|_unknown| "postern".into());
    // It may have been replaced before this was asked.
    let text = binary.to_string_lossy();
    match text.strip_suffix(" (deleted)") {
        Some(path) => path.into(),
        None => binary,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::Directory;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_others_may_change_is_not_started() {
        let directory = Directory::new();
        let path = directory.path().join("postern");
        assert!(check_binary(&path).is_err(), "it is not there");
        fs::write(&path, "").unwrap();
        for (mode, is_taken) in [
            (0o644, false),
            (0o755, true),
            (0o775, false),
            (0o757, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_binary(&path).is_ok(), is_taken, "{mode:o}");
        }
        assert!(check_binary(directory.path()).is_err());
    }
}
