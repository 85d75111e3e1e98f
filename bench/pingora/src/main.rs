//! Pingora as a peer of Postern: a proxy that does what the peers of `bench compare` do, and no more.
//!
//! `bench/src/peers/pingora.rs` starts it and hands it everything as arguments. One worker, two
//! listeners (the second one requires a client's certificate), an origin of plain HTTP/1.1, and one of
//! HTTP/2 without TLS for gRPC calls. What is not set here is as Pingora has it.

#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use log::{LevelFilter, Log, Metadata, Record};
use mimalloc::MiMalloc;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::modules::http::HttpModules;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::tls::ssl::{SslSessionCacheMode, SslVerifyMode};
use pingora_core::tls::x509::X509;
use pingora_core::tls::x509::store::X509StoreBuilder;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// As Postern has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Unused connections to origins that are kept, as the other peers are told.
const ORIGIN_IDLE_MAX: usize = 1024;
/// Calls at once on one connection to the origin of gRPC: what it allows. Pingora alone would have
/// one.
const STREAMS_MAX: usize = 1000;
/// What the versions of everything here are read from.
const LOCK: &str = include_str!("../Cargo.lock");

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments == ["--version"] {
        println!("{}", version());
        return ExitCode::SUCCESS;
    }
    match Settings::read(&arguments).and_then(|settings| serve(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pingora-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As nginx and the others name themselves.
fn version() -> String {
    let [pingora, boring] = ["pingora-proxy", "boring"].map(|name| locked(name).unwrap_or("?"));
    format!("Pingora {pingora}, BoringSSL of boring {boring}")
}

/// The version of a crate that this was built with.
fn locked(name: &str) -> Option<&'static str> {
    let (_, after) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(after.split_once('"')?.0)
}

/// What it is told, in the order of the arguments.
struct Settings {
    /// Where clients come without a certificate.
    open: SocketAddr,
    /// Where they come with one.
    require: SocketAddr,
    /// Where requests go.
    origin: SocketAddr,
    /// Where calls go.
    grpc_origin: SocketAddr,
    /// What the paths of calls begin with.
    grpc_path: String,
    /// The server's chain, a file in PEM.
    chain: String,
    /// Its key.
    key: String,
    /// The CA of clients.
    authority: String,
}

impl Settings {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let [
            open,
            require,
            origin,
            grpc_origin,
            grpc_path,
            chain,
            key,
            authority,
        ] = arguments
        else {
            return Err(
                "it takes OPEN REQUIRE ORIGIN GRPC_ORIGIN GRPC_PATH CHAIN KEY AUTHORITY, or --version"
                    .into(),
            );
        };
        Ok(Self {
            open: open.parse()?,
            require: require.parse()?,
            origin: origin.parse()?,
            grpc_origin: grpc_origin.parse()?,
            grpc_path: grpc_path.clone(),
            chain: chain.clone(),
            key: key.clone(),
            authority: authority.clone(),
        })
    }
}

/// Serves until it is ended.
fn serve(settings: &Settings) -> Result<(), Failure> {
    log::set_logger(&Errors).map_err(|error| error.to_string())?;
    log::set_max_level(LevelFilter::Error);
    let configuration = ServerConf {
        threads: 1,
        // One worker has nobody to steal from. The runtime for that is cheaper, too: a gRPC call
        // costs half.
        work_stealing: false,
        upstream_keepalive_pool_size: ORIGIN_IDLE_MAX,
        // SIGTERM ends it at once, not after five minutes.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Proxy::new(settings));
    for (address, authority) in [
        (settings.open, None),
        (settings.require, Some(settings.authority.as_str())),
    ] {
        let tls = tls(settings, authority)?;
        service.add_tls_with_settings(&address.to_string(), None, tls);
    }
    server.add_service(service);
    server.run_forever()
}

/// TLS 1.2 and 1.3 with tickets and nothing remembered; certificates verified by BoringSSL where they
/// are required.
fn tls(settings: &Settings, authority: Option<&str>) -> Result<TlsSettings, Failure> {
    let mut tls = TlsSettings::intermediate(&settings.chain, &settings.key)?;
    tls.enable_h2();
    tls.set_session_cache_mode(SslSessionCacheMode::OFF);
    if let Some(authority) = authority {
        let authority = X509::from_pem(&fs::read(authority)?)?;
        let mut store = X509StoreBuilder::new()?;
        store.add_cert(&authority)?;
        tls.set_cert_store_builder(store);
        tls.add_client_ca(&authority)?;
        tls.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        // Without one, BoringSSL resumes no session that has a client's certificate.
        tls.set_session_id_context(b"require")?;
    }
    Ok(tls)
}

/// Which origin a request goes to.
struct Proxy {
    origin: HttpPeer,
    grpc_origin: HttpPeer,
    grpc_path: String,
}

impl Proxy {
    fn new(settings: &Settings) -> Self {
        let plain = |address| HttpPeer::new(address, false, String::new());
        let mut grpc_origin = plain(settings.grpc_origin);
        // Nothing but HTTP/2, which without TLS nobody can agree on.
        grpc_origin.options.set_http_version(2, 2);
        grpc_origin.options.max_h2_streams = STREAMS_MAX;
        Self {
            origin: plain(settings.origin),
            grpc_origin,
            grpc_path: settings.grpc_path.clone(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    /// None: Pingora would add compression that is turned off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        session: &mut Session,
        _context: &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let path = session.req_header().uri.path();
        let peer = if path.starts_with(&self.grpc_path) {
            &self.grpc_origin
        } else {
            &self.origin
        };
        Ok(Box::new(peer.clone()))
    }
}

/// What goes wrong, to the standard error, as nginx has it. Requests are not logged.
struct Errors;

impl Log for Errors {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("{} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::{Settings, version};

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let version = version();
        assert!(!version.contains('?'), "{version}");
    }

    #[test]
    fn arguments_are_all_or_none() {
        let some = ["127.0.0.1:1"; 4].iter().chain(&["/p/", "a", "b", "c"]);
        let some: Vec<String> = some.map(|text| (*text).to_owned()).collect();
        assert_eq!(Settings::read(&some).unwrap().authority, "c");
        assert!(Settings::read(&some[1..]).is_err());
    }
}
