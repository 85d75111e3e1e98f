//! `postern reload`: has the running gateway read its configuration files again.
//!
//! Owns that files which are wrong are never sent for. The gateway's own checks decide, as with any
//! other SIGHUP.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::client::target::Target;
use super::output::{CliError, Output, json_text};
use super::run::ConfigFile;
use config::Config;

/// How long the process is looked for behind its socket.
const PATIENCE: Duration = Duration::from_secs(5);

/// Have the running gateway read its configuration files again
///
/// The files are checked first, and one mistake changes nothing. For keys that need a new process, such
/// as `listen` and `workers`, one takes over without a connection being lost; the gateway's log tells. The
/// same as SIGHUP and `systemctl reload postern`.
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    config: ConfigFile,
}

impl Reload {
    pub(super) fn run(self, target: &Target, json: bool) -> Output {
        let loaded = Config::load(&self.config.sources())?;
        let socket = target.local_socket()?;
        let process = process_behind(&socket)?;
        kill_process(process, Signal::HUP).map_err(|why| {
            CliError::Failed(format!(
                "process {} cannot be told to read its files again: {why}; ask as its user or as root",
                process.as_raw_nonzero()
            ))
        })?;
        let id = process.as_raw_nonzero().get();
        Ok(if json {
            json_text(&json!({ "process": id, "files": loaded.files.len() }))
        } else {
            format!(
                "the files are good, and process {id} was told to read them again; its log says \
                 what becomes of it\n"
            )
        })
    }
}

/// The process that listens at a socket.
fn process_behind(socket: &std::path::Path) -> Result<Pid, CliError> {
    let failed = |why: String| CliError::Failed(format!("{}: {why}", socket.display()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| failed(why.to_string()))?;
    let start = Instant::now();
    let peer = runtime.block_on(async {
        let stream = tokio::time::timeout(PATIENCE, tokio::net::UnixStream::connect(socket)).await;
        stream.map_err(|_late| std::io::Error::other("it does not answer"))?
    });
    let peer = peer.and_then(|stream| stream.peer_cred());
    let peer = peer.map_err(|why| {
        let late = start.elapsed() >= PATIENCE;
        failed(if late {
            "the gateway does not answer".into()
        } else {
            format!("no gateway listens there ({why})")
        })
    })?;
    let id = peer.pid().and_then(Pid::from_raw);
    id.ok_or_else(|| failed("the system does not say which process listens".into()))
}
