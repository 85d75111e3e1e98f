//! The floor as a peer: [`crate::relay`] in a process of its own, so that its CPU time is counted as
//! the others' is.

use std::process::Command;

use anyhow::Result;

use super::{Child, Started};
use crate::world::World;
use ::tests::new_loopback;

pub(super) fn start(world: &World) -> Result<Started> {
    let (open, require) = (new_loopback(), new_loopback());
    let store = &world.store;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("relay");
    for (flag, value) in [
        ("--open", open.to_string()),
        ("--require", require.to_string()),
        ("--origin", world.origin.address.to_string()),
        ("--h2-origin", world.grpc_origin.address.to_string()),
        ("--chain", store.server_chain.display().to_string()),
        ("--key", store.server_key.display().to_string()),
        ("--authority", store.client_authority.display().to_string()),
    ] {
        command.arg(flag).arg(value);
    }
    let child = Child::start(command, &world.file("floor.log"))?;
    Ok(Started {
        child,
        version: concat!("relay of bench ", env!("CARGO_PKG_VERSION"), ", BoringSSL").to_owned(),
        open,
        require,
    })
}
