//! How the proxies are told of three origins: with the like settings.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::origin::NAME;
use crate::admin;
use crate::peers::{Child, Name, find_program, postern_binary, version_of};
use crate::world::{OPEN_HOST, World, free_address};

/// A proxy that was started.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) version: String,
    child: Child,
}

impl Proxy {
    /// Starts a proxy in front of these origins; with `believed`, they speak TLS. `Ok(None)`: it is not
    /// installed.
    pub(super) async fn start(
        name: Name,
        world: &World,
        origins: &[SocketAddr],
        believed: Option<&str>,
        postern: Option<PathBuf>,
    ) -> Result<Option<Self>> {
        let authority = world.file("origins.pem");
        fs::write(&authority, believed.unwrap_or_default())?;
        let is_tls = believed.is_some();
        match name {
            Name::Postern => self::postern(world, origins, believed, postern)
                .await
                .map(Some),
            Name::Nginx => nginx(world, origins, is_tls),
            Name::Haproxy => haproxy(world, origins, is_tls),
            other => bail!("{} does not take part in this", other.as_str()),
        }
    }

    /// What it said last.
    pub(super) fn said(&self) -> String {
        self.child.said()
    }
}

async fn postern(
    world: &World,
    origins: &[SocketAddr],
    believed: Option<&str>,
    program: Option<PathBuf>,
) -> Result<Proxy> {
    let program = postern_binary(program)?;
    let (address, socket) = (free_address()?, world.file("admin.sock"));
    let text = format!(
        "listen = {address}\nworkers = 1\nstore.path = {}\nadmin.socket = {}\nlog.access = off\n\
         log.level = warn\nsteer.mode = off\nlimit.client_exempt = 127.0.0.0/8\n",
        world.store.path.display(),
        socket.display(),
    );
    let configuration = world.file("postern.conf");
    fs::write(&configuration, text)?;
    let mut command = Command::new(&program);
    command.arg("run").arg("-c").arg(&configuration);
    let child = Child::start(command, &world.file("postern.log"))?;
    let scheme = if believed.is_some() { "https" } else { "http" };
    let addresses = origins.iter();
    let addresses = addresses.map(|origin| json!({ "url": format!("{scheme}://{origin}") }));
    let origin = json!({ "origin": {
        "addresses": addresses.collect::<Vec<_>>(),
        "ca_pem": believed,
        "server_name": believed.map(|_| NAME),
        "protocol": "http1",
        "timeouts": { "connect_ms": 1_000, "try_ms": 1_000, "whole_ms": 10_000 },
    } });
    let path = format!("/postern/v1/hosts/{OPEN_HOST}");
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        match admin::result(&socket, "PATCH", &path, &origin) {
            Ok(_changed) => break,
            Err(why) if Instant::now() > deadline => return Err(why).with_context(|| child.said()),
            Err(_not_ready) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Ok(Proxy {
        address,
        version: version_of(&program, "--version"),
        child,
    })
}

fn nginx(world: &World, origins: &[SocketAddr], is_tls: bool) -> Result<Option<Proxy>> {
    let Some(program) = find_program("nginx") else {
        return Ok(None);
    };
    let address = free_address()?;
    let directory = world.file("nginx");
    fs::create_dir_all(&directory)?;
    let at = directory.display();
    let mut servers = String::new();
    for origin in origins {
        writeln!(
            servers,
            "        server {origin} max_fails=3 fail_timeout=10s;"
        )?;
    }
    let verified = format!(
        "proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {};
            proxy_ssl_name {NAME};
            proxy_ssl_server_name on;",
        world.file("origins.pem").display()
    );
    let text = format!(
        "daemon off;
user root;
pid {at}/pid;
worker_processes 1;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
    keepalive_requests 1000000;
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream origins {{
{servers}        keepalive 64;
    }}
    server {{
        listen {address} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        location / {{
            proxy_pass {scheme}://origins;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_connect_timeout 1s;
            proxy_read_timeout 1s;
            proxy_next_upstream error timeout invalid_header;
            proxy_next_upstream_timeout 10s;
            {verified}
        }}
    }}
}}
",
        chain = world.store.server_chain.display(),
        key = world.store.server_key.display(),
        scheme = if is_tls { "https" } else { "http" },
        verified = if is_tls { verified.as_str() } else { "" },
    );
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, text)?;
    let mut command = Command::new(&program);
    command
        .arg("-p")
        .arg(&directory)
        .arg("-c")
        .arg(&configuration);
    Ok(Some(Proxy {
        address,
        version: version_of(&program, "-v"),
        child: Child::start(command, &world.file("nginx.log"))?,
    }))
}

fn haproxy(world: &World, origins: &[SocketAddr], is_tls: bool) -> Result<Option<Proxy>> {
    let Some(program) = find_program("haproxy") else {
        return Ok(None);
    };
    let address = free_address()?;
    let store = &world.store;
    let both = [fs::read(&store.server_chain)?, fs::read(&store.server_key)?].concat();
    let pem = world.file("haproxy.pem");
    fs::write(&pem, both)?;
    let verified = format!(
        " ssl verify required ca-file {} sni str({NAME}) verifyhost {NAME}",
        world.file("origins.pem").display()
    );
    let mut servers = String::new();
    for (place, origin) in origins.iter().enumerate() {
        // Passive: three failures in a row mark it down, and a check every two seconds brings it back.
        writeln!(
            servers,
            "    server origin{place} {origin} check inter 2s fall 3 rise 1 observe layer7 error-limit 3 \
             on-error mark-down{}",
            if is_tls { verified.as_str() } else { "" }
        )?;
    }
    let text = format!(
        "global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout client 1m
    timeout http-keep-alive 1m
    timeout connect 1s
    timeout server 1s
    timeout queue 10s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response response-timeout junk-response
frontend open
    bind {address} ssl crt {pem}
    default_backend origins
backend origins
    balance roundrobin
{servers}",
        pem = pem.display(),
    );
    let configuration = world.file("haproxy.cfg");
    fs::write(&configuration, text)?;
    let mut command = Command::new(&program);
    command.arg("-db").arg("-f").arg(&configuration);
    Ok(Some(Proxy {
        address,
        version: version_of(&program, "-v"),
        child: Child::start(command, &world.file("haproxy.log"))?,
    }))
}
