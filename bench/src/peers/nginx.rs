//! nginx as a peer.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Child, Settings, Started, find_program, version_of};
use crate::world::{GRPC_PATH, OPEN_HOST, REQUIRE_HOST, World};
use ::tests::new_loopback;

/// What Postern tells origins of a request, in nginx's words.
const HEADERS: &str = r"
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header Via $server_protocol;
            add_header X-Request-ID $request_id;";
/// What it tells of a client's certificate.
const CERTIFICATE_HEADERS: &str = r"
            proxy_set_header Client-Cert $ssl_client_escaped_cert;
            proxy_set_header Cf-Cert-Verified $ssl_client_verify;
            proxy_set_header Cf-Client-Cert-Sha256 $ssl_client_fingerprint;";

pub(super) fn start(world: &World, settings: &Settings) -> Result<Option<Started>> {
    let Some(program) = find_program("nginx") else {
        return Ok(None);
    };
    let (open, require) = (new_loopback(), new_loopback());
    let directory = world.file("nginx");
    fs::create_dir_all(&directory).context("making nginx's directory")?;
    let (store, at) = (&world.store, directory.display());
    let headers = if settings.equal_headers { HEADERS } else { "" };
    let certificate_headers = if settings.equal_headers {
        CERTIFICATE_HEADERS
    } else {
        ""
    };
    let text = format!(
        "daemon off;
user root;
pid {at}/pid;
worker_processes 1;
error_log stderr warn;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_session_tickets on;
    upstream origin {{
        server {origin};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    upstream grpc_origin {{
        server {grpc_origin};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    server {{
        listen {open} ssl http2;
        server_name {OPEN_HOST};
        location / {{{headers}
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_pass http://origin;
        }}
        location {GRPC_PATH} {{
            grpc_pass grpc://grpc_origin;
        }}
    }}
    server {{
        listen {require} ssl http2;
        server_name {REQUIRE_HOST};
        ssl_client_certificate {authority};
        ssl_verify_client on;
        location / {{{headers}{certificate_headers}
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_pass http://origin;
        }}
        location {GRPC_PATH} {{
            grpc_pass grpc://grpc_origin;
        }}
    }}
}}
",
        chain = store.server_chain.display(),
        key = store.server_key.display(),
        authority = store.client_authority.display(),
        origin = world.origin.address,
        grpc_origin = world.grpc_origin.address,
    );
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, text).context("writing nginx's configuration")?;
    let mut command = Command::new(&program);
    command
        .arg("-p")
        .arg(&directory)
        .arg("-c")
        .arg(&configuration);
    let child = Child::start(command, &world.file("nginx.log"))?;
    Ok(Some(Started {
        child,
        version: version_of(&program, "-v"),
        open,
        require,
    }))
}
