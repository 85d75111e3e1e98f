//! How the proxies are told of three origins: with the like settings.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::START_PATIENCE;
use super::origin::NAME;
use crate::admin;
use crate::peers::{Child, Name, find_program, postern_binary, version_of};
use crate::world::{OPEN_HOST, World};
use ::tests::new_loopback;

/// Where the origins are.
pub(super) struct Place<'a> {
    pub(super) origins: &'a [SocketAddr],
    /// The CA of those that speak TLS.
    pub(super) believed: Option<&'a str>,
    /// The name server that knows them, where they are known by a name: all but the last one, and on
    /// one port.
    pub(super) dns: Option<SocketAddr>,
}

impl Place<'_> {
    fn port(&self) -> u16 {
        self.origins.first().map_or(0, SocketAddr::port)
    }
}

/// A proxy that was started.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) version: String,
    child: Child,
}

impl Proxy {
    /// Starts a proxy in front of these origins. `Ok(None)`: it is not installed.
    pub(super) async fn start(
        name: Name,
        world: &World,
        place: &Place<'_>,
        postern: Option<PathBuf>,
    ) -> Result<Option<Self>> {
        let authority = world.file("origins.pem");
        fs::write(&authority, place.believed.unwrap_or_default())?;
        match name {
            Name::Postern => self::postern(world, place, postern).await.map(Some),
            Name::Nginx => nginx(world, place),
            Name::Haproxy => haproxy(world, place),
            other => bail!("{} does not take part in this", other.as_str()),
        }
    }

    /// What it said last.
    pub(super) fn said(&self) -> String {
        self.child.said()
    }
}

async fn postern(world: &World, place: &Place<'_>, program: Option<PathBuf>) -> Result<Proxy> {
    let (origins, believed) = (place.origins, place.believed);
    let program = postern_binary(program)?;
    let (address, socket) = (new_loopback(), world.file("admin.sock"));
    let text = format!(
        "listen = {address}\nworkers = 1\nstore.path = {}\nadmin.socket = {}\nlog.access = off\n\
         log.level = warn\nsteer.mode = off\nlimit.client_exempt = 127.0.0.0/8\n",
        world.store.path.display(),
        socket.display(),
    );
    let configuration = world.file("postern.conf");
    fs::write(&configuration, text)?;
    let mut command = match place.dns {
        None => Command::new(&program),
        Some(dns) => {
            // It asks as the system does: with a file of its own, which nobody else sees.
            let resolver = world.file("resolv.conf");
            let ip = dns.ip();
            fs::write(
                &resolver,
                format!("nameserver {ip}\noptions timeout:1 attempts:1\n"),
            )?;
            let mut command = Command::new("unshare");
            let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
            command.args(["--mount", "sh", "-c", script]);
            command.arg(&resolver).arg(&program);
            command
        }
    };
    command.arg("run").arg("-c").arg(&configuration);
    let child = Child::start(command, &world.file("postern.log"))?;
    let scheme = if believed.is_some() { "https" } else { "http" };
    let addresses = origins.iter();
    let addresses = addresses.map(|origin| json!({ "url": format!("{scheme}://{origin}") }));
    let addresses = match place.dns {
        None => addresses.collect::<Vec<_>>(),
        Some(_) => vec![json!({ "url": format!("{scheme}://{NAME}:{}", place.port()) })],
    };
    let origin = json!({ "origin": {
        "addresses": addresses,
        "ca_pem": believed,
        "server_name": believed.map(|_| NAME),
        "protocol": "http1",
        "timeouts": { "connect_ms": 1_000, "try_ms": 1_000, "whole_ms": 10_000 },
    } });
    let path = format!("/postern/v1/hosts/{OPEN_HOST}");
    let deadline = Instant::now() + START_PATIENCE;
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

fn nginx(world: &World, place: &Place<'_>) -> Result<Option<Proxy>> {
    let (origins, is_tls) = (place.origins, place.believed.is_some());
    let Some(program) = find_program("nginx") else {
        return Ok(None);
    };
    let address = new_loopback();
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
    // A name in an upstream is looked up at the start and never again: one in a variable is.
    let (resolver, pass) = match place.dns {
        None => (
            String::new(),
            "proxy_pass $scheme_of_origins://origins;".to_owned(),
        ),
        Some(dns) => (
            format!("resolver {dns} valid=1s ipv6=off;\n    resolver_timeout 1s;"),
            format!(
                "set $origin {NAME};\n            proxy_pass http://$origin:{};",
                place.port()
            ),
        ),
    };
    let scheme = if is_tls { "https" } else { "http" };
    let pass = pass.replace("$scheme_of_origins", scheme);
    let text = format!(
        "daemon off;
user root;
pid {at}/pid;
worker_processes 1;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    {resolver}
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
            {pass}
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

fn haproxy(world: &World, place: &Place<'_>) -> Result<Option<Proxy>> {
    let (origins, is_tls) = (place.origins, place.believed.is_some());
    let Some(program) = find_program("haproxy") else {
        return Ok(None);
    };
    let address = new_loopback();
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
    let mut resolvers = String::new();
    if let Some(dns) = place.dns {
        servers = format!(
            "    server-template origin 3 {NAME}:{} resolvers dns init-addr none check inter 2s fall 3 \
             rise 1 observe layer7 error-limit 3 on-error mark-down\n",
            place.port()
        );
        resolvers = format!(
            "resolvers dns
    nameserver dns {dns}
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 1s
    hold obsolete 1s
    hold nx 30s
    hold timeout 30s
    hold refused 30s
    hold other 30s
"
        );
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
{resolvers}frontend open
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
