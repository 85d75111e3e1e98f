//! Pingora as a peer, where its program `pingora-peer` was built: the crate `bench/pingora` is a
//! workspace of its own, so that nobody builds it unasked.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{Child, Settings, Started, find_program, version_of};
use crate::world::{GRPC_PATH, World};
use ::tests::new_loopback;

/// What builds it, from the top of the tree.
pub(super) const BUILD: &str =
    "cargo build --release --locked --manifest-path bench/pingora/Cargo.toml";
/// Where that puts it.
const BUILT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/pingora/target/release/pingora-peer"
);

pub(super) fn start(world: &World, _settings: &Settings) -> Result<Option<Started>> {
    let built = PathBuf::from(BUILT);
    let found = built.is_file().then_some(built);
    let Some(program) = found.or_else(|| find_program("pingora-peer")) else {
        return Ok(None);
    };
    let (open, require) = (new_loopback(), new_loopback());
    let store = &world.store;
    let mut command = Command::new(&program);
    for address in [
        open,
        require,
        world.origin.address,
        world.grpc_origin.address,
    ] {
        command.arg(address.to_string());
    }
    command
        .arg(GRPC_PATH)
        .arg(&store.server_chain)
        .arg(&store.server_key)
        .arg(&store.client_authority);
    command.current_dir(world.path());
    let child = Child::start(command, &world.file("pingora.log"))?;
    Ok(Some(Started {
        child,
        version: version_of(&program, "--version"),
        open,
        require,
    }))
}
