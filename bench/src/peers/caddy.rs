//! Caddy as a peer. Go's runtime gets one processor, its collector's threads come on top.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Child, Settings, Started, find_program, version_of};
use crate::world::{GRPC_HOST, GRPC_PATH, GRPC_REQUIRE_HOST, OPEN_HOST, REQUIRE_HOST, World};
use ::tests::new_loopback;

pub(super) fn start(world: &World, _settings: &Settings) -> Result<Option<Started>> {
    let Some(program) = find_program("caddy") else {
        return Ok(None);
    };
    let (open, require) = (new_loopback(), new_loopback());
    let store = &world.store;
    // Caddy adds X-Forwarded-For, -Proto and -Host whatever it is told.
    let proxy = format!(
        "reverse_proxy {GRPC_PATH}* h2c://{}
    reverse_proxy http://{} {{
        transport http {{
            versions 1.1
            keepalive 1h
            keepalive_idle_conns_per_host 1024
        }}
    }}",
        world.grpc_origin.address, world.origin.address
    );
    let (chain, key) = (store.server_chain.display(), store.server_key.display());
    let text = format!(
        "{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
    servers {{
        protocols h1 h2
    }}
}}
https://{OPEN_HOST}:{open_port}, https://{GRPC_HOST}:{open_port} {{
    bind {address}
    tls {chain} {key}
    {proxy}
}}
https://{REQUIRE_HOST}:{require_port}, https://{GRPC_REQUIRE_HOST}:{require_port} {{
    bind {address}
    tls {chain} {key} {{
        client_auth {{
            mode require_and_verify
            trusted_ca_cert_file {authority}
        }}
    }}
    {proxy}
}}
",
        open_port = open.port(),
        require_port = require.port(),
        address = open.ip(),
        authority = store.client_authority.display(),
    );
    let configuration = world.file("Caddyfile");
    fs::write(&configuration, text).context("writing Caddy's configuration")?;
    let mut command = Command::new(&program);
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&configuration);
    command.env("GOMAXPROCS", "1").env("HOME", world.path());
    let child = Child::start(command, &world.file("caddy.log"))?;
    Ok(Some(Started {
        child,
        version: version_of(&program, "version"),
        open,
        require,
    }))
}
