//! HAProxy as a peer.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Child, Settings, Started, find_program, version_of};
use crate::world::{GRPC_PATH, World};
use ::tests::new_loopback;

/// What Postern tells origins of a request, in HAProxy's words.
const HEADERS: &str = "
    option forwardfor
    unique-id-format %{+X}o%ci%cp%Ts%rt
    unique-id-header X-Request-ID
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-response set-header X-Request-ID %[unique-id]";
/// What it tells of a client's certificate.
const CERTIFICATE_HEADERS: &str = "
    http-request set-header Client-Cert :%[ssl_c_der,base64]:
    http-request set-header Cf-Cert-Verified %[ssl_c_verify]
    http-request set-header Cf-Client-Cert-Sha256 %[ssl_c_der,sha2(256),hex]";

pub(super) fn start(world: &World, settings: &Settings) -> Result<Option<Started>> {
    let Some(program) = find_program("haproxy") else {
        return Ok(None);
    };
    let (open, require) = (new_loopback(), new_loopback());
    // HAProxy wants chain and key in one file.
    let store = &world.store;
    let both = [fs::read(&store.server_chain)?, fs::read(&store.server_key)?].concat();
    let pem = world.file("haproxy.pem");
    fs::write(&pem, both).context("writing HAProxy's certificate")?;
    let headers = if settings.equal_headers { HEADERS } else { "" };
    let certificate_headers = if settings.equal_headers {
        CERTIFICATE_HEADERS
    } else {
        ""
    };
    let text = format!(
        "global
    nbthread 1
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    maxconn 8000
    http-reuse always
    timeout client 1h
    timeout http-keep-alive 1h
    timeout server 1m
    timeout connect 5s
frontend open
    bind {open} ssl crt {pem} alpn h2,http/1.1{headers}
    use_backend grpc if {{ path_beg {GRPC_PATH} }}
    default_backend origin
frontend require
    bind {require} ssl crt {pem} alpn h2,http/1.1 ca-file {authority} verify required{headers}{certificate_headers}
    use_backend grpc if {{ path_beg {GRPC_PATH} }}
    default_backend origin
backend origin
    server origin {origin} pool-max-conn -1
backend grpc
    server origin {grpc_origin} proto h2 pool-max-conn -1
",
        pem = pem.display(),
        authority = store.client_authority.display(),
        origin = world.origin.address,
        grpc_origin = world.grpc_origin.address,
    );
    let configuration = world.file("haproxy.cfg");
    fs::write(&configuration, text).context("writing HAProxy's configuration")?;
    let mut command = Command::new(&program);
    command.arg("-db").arg("-f").arg(&configuration);
    let child = Child::start(command, &world.file("haproxy.log"))?;
    Ok(Some(Started {
        child,
        version: version_of(&program, "-v"),
        open,
        require,
    }))
}
