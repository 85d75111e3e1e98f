//! Postern as a peer: one worker, no steering, no access log.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Child, Settings, Started, version_of};
use crate::world::World;
use ::tests::new_loopback;

/// Requests of a client connection: as many as can be, as for the other peers.
const REQUESTS: u32 = 1_000_000_000;

pub(super) fn start(world: &World, settings: &Settings) -> Result<Started> {
    let program = postern_binary(settings.postern.clone())?;
    // SNI tells the hosts apart: one address does for both.
    let address = new_loopback();
    let text = format!(
        "listen = {address}\n\
         workers = 1\n\
         store.path = {store}\n\
         admin.socket = {socket}\n\
         log.access = off\n\
         log.level = warn\n\
         steer.mode = off\n\
         limit.connections = 1000000\n\
         limit.client_exempt = 127.0.0.0/8\n\
         limit.requests = {requests}\n\
         timeout.handshake = 1m\n\
         timeout.idle = 1h\n\
         timeout.drain = 1s\n",
        requests = REQUESTS,
        store = world.store.path.display(),
        socket = world.file("admin.sock").display(),
    );
    let configuration = world.file("postern.conf");
    fs::write(&configuration, text).context("writing Postern's configuration")?;
    let mut command = Command::new(&program);
    command.arg("run").arg("-c").arg(&configuration);
    let child = Child::start(command, &world.file("postern.log"))?;
    let version = version_of(&program, "--version");
    Ok(Started {
        child,
        version,
        open: address,
        require: address,
    })
}

/// Postern's binary: the one asked for, or the one built beside ours.
///
/// # Errors
/// It is not there.
pub fn postern_binary(asked: Option<PathBuf>) -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .map(|ours| ours.with_file_name("postern"));
    let Some(path) = asked.or(beside) else {
        bail!("say where Postern is, with --postern")
    };
    if !path.is_file() {
        bail!(
            "there is no {}; build it with `cargo build --release -p gateway`, or say with \
             --postern where it is",
            path.display()
        );
    }
    Ok(path)
}
