//! Process configuration: sysctl-style text to [`Config`]; all validation of it happens here.
//!
//! Owns the file format, the table of keys ([`KEYS`]), where files are looked for, and what a
//! running gateway may be told to change ([`Live`]). Zones, hosts, certificates and rules are not
//! configuration: they live in the store of the control plane.
//!
//! ```
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use config::Config;
//!
//! let text = "listen = 127.0.0.1:8443\ntimeout.idle = 1m30s\n";
//! let config = Config::parse(Path::new("postern.conf"), text)?;
//! assert_eq!(config.tunables.idle_timeout, Duration::from_secs(90));
//!
//! let wrong = Config::parse(Path::new("postern.conf"), "timeout.idel = 5s\n").unwrap_err();
//! assert!(wrong.to_string().contains("did you mean `timeout.idle`?"));
//! # Ok::<(), config::ConfigErrors>(())
//! ```
#![forbid(unsafe_code)]

mod access_log;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod key_macros;
mod keys;
mod keys_certificates;
mod keys_end;
mod keys_fleet;
mod keys_front;
mod keys_log;
#[cfg(test)]
mod keys_tests;
mod keys_trace;
mod kind;
pub mod limits;
mod live;
pub mod network;
mod otlp;
mod pin;
mod reader;
mod syntax;
mod value;

pub use access_log::{AccessLogTarget, LogField, LogFields, LogFormat, LogStyle};
pub use error::{ConfigError, ConfigErrors, Span};
pub use files::Sources;
pub use keys::{KEYS, Key, key};
pub use keys_fleet::Fleet;
pub use kind::{Change, Kind};
pub use live::{Live, Setting, SettingError};
pub use otlp::{OtlpUrl, TraceContextMode};
pub use value::{bytes as size, time};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use files::Source;
use network::Networks;
use reader::{Reader, find};
use vocabulary::hostname::HostName;
use vocabulary::settings::{
    AcmeChallenge, ClientHeader, HostMetrics, KeyExchange, StapleMode, TlsVersion,
};

/// The configuration of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect; never empty, no address twice.
    pub listen: Vec<SocketAddr>,
    /// Where plain HTTP is redirected.
    pub listen_http: Vec<SocketAddr>,
    /// Where balancers ask whether the gateway is well.
    pub health_listen: Option<SocketAddr>,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// The store's file.
    pub store_path: PathBuf,
    /// The file with the key that seals the store's private keys, when it is named.
    pub ca_key_file: Option<PathBuf>,
    /// Where managed CAs' revocation lists are kept as files.
    pub crl_directory: Option<PathBuf>,
    /// Whether tokens of zones may set origins that only this machine reaches.
    pub private_origins: bool,
    /// The admin API's unix socket.
    pub admin_socket: PathBuf,
    /// The admin API's loopback address, when it has one.
    pub admin_listen: Option<SocketAddr>,
    /// Certificate of that address, when it speaks TLS.
    pub admin_tls_certificate: Option<PathBuf>,
    /// Its key.
    pub admin_tls_key: Option<PathBuf>,
    /// Where the access log goes.
    pub access_log: AccessLogTarget,
    /// How much the gateway tells of itself.
    pub log_level: LogLevel,
    /// Where spans go.
    pub trace_otlp: Option<OtlpUrl>,
    /// The host for clients that send no SNI.
    pub default_host: Option<HostName>,
    /// Countries and cities of addresses.
    pub geoip_database: Option<PathBuf>,
    /// AS numbers of addresses.
    pub geoip_asn_database: Option<PathBuf>,
    /// Key exchange groups of all hosts, most wanted first; never empty, none twice.
    pub tls_groups: Vec<KeyExchange>,
    /// The oldest TLS version of all hosts.
    pub tls_min_version: TlsVersion,
    /// How connections are brought to the worker that owns their host.
    pub steer_mode: SteerMode,
    /// Where the kernel steers.
    pub steer_interfaces: SteerInterfaces,
    /// Whether the kernel program answers SYNs.
    pub steer_synproxy: bool,
    /// Workers of hosts, by `host/NAME/workers`.
    pub pins: Pins,
    /// Where hosts have their certificates from that ask for it.
    pub acme: Acme,
    /// The other edges.
    pub fleet: Fleet,
    /// What can be changed while the gateway runs.
    pub tunables: Tunables,
}

/// The ACME server that certificates come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acme {
    /// The URL of its directory; without one nothing is asked for.
    pub directory: Option<String>,
    /// The URL of a directory that is tried before it.
    pub staging: Option<String>,
    /// Its terms are agreed to.
    pub terms_agreed: bool,
    /// A mail address for it.
    pub contact: Option<String>,
    /// How it checks names.
    pub challenge: AcmeChallenge,
    /// The CAs that its own certificate may be signed by; the system's without.
    pub ca_file: Option<PathBuf>,
    /// Orders in an hour.
    pub orders_per_hour: u32,
    /// The name of the key of external account binding.
    pub eab_key_id: Option<String>,
    /// The file with that key.
    pub eab_key_file: Option<PathBuf>,
}

/// Workers of hosts by configuration, numbers counted from 0.
pub type Pins = BTreeMap<HostName, Vec<u16>>;

/// What can be changed while the gateway runs: plain numbers that workers copy per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tunables {
    /// `timeout.handshake`
    pub handshake_timeout: Duration,
    /// `timeout.header`
    pub header_timeout: Duration,
    /// `timeout.idle`
    pub idle_timeout: Duration,
    /// `timeout.origin_connect`
    pub origin_connect_timeout: Duration,
    /// `timeout.origin_response`
    pub origin_response_timeout: Duration,
    /// `timeout.origin_body`
    pub origin_body_timeout: Duration,
    /// `timeout.origin_idle`
    pub origin_idle_timeout: Duration,
    /// `timeout.drain`
    pub drain_timeout: Duration,
    /// `timeout.upgrade`: for each step of it.
    pub upgrade_timeout: Duration,
    /// `limit.connections`: of the whole gateway.
    pub connections_max: usize,
    /// `limit.client_connections`: of one client prefix; 0 is a quarter of all.
    pub client_connections_max: usize,
    /// `limit.client_streams`: requests over HTTP/2 of one client prefix at once.
    pub client_streams_max: usize,
    /// `limit.client_origin_connections`: that one client prefix keeps busy; 0 is a quarter of all.
    pub client_origin_connections_max: usize,
    /// `limit.client_exempt`: clients without a share.
    pub client_exempt: Networks,
    /// `limit.body_rate`: bytes a second; 0 for as slowly as clients like.
    pub body_rate: usize,
    /// `limit.request_body`; 0 for as many bytes as clients send.
    pub request_body_max: usize,
    /// `limit.header_bytes`
    pub header_bytes_max: usize,
    /// `limit.header_count`
    pub header_count_max: usize,
    /// `limit.requests`: of one client connection.
    pub connection_requests_max: usize,
    /// `limit.h2_streams`: concurrent, of one client connection.
    pub h2_streams_max: usize,
    /// `limit.h2_resets`: pending, of one client connection.
    pub h2_resets_max: usize,
    /// `limit.h2_control_frames`: in ten seconds, of one client connection.
    pub h2_control_frames_max: usize,
    /// `limit.origin_idle`: of one origin, on one worker; 0 keeps none.
    pub origin_idle_max: usize,
    /// `limit.origin_h2_connections`: of one origin, on one worker.
    pub origin_h2_connections_max: usize,
    /// `limit.retry_percent`: of the requests to one origin.
    pub retry_percent: usize,
    /// `trust.chain_bytes`
    pub chain_bytes_max: usize,
    /// `trust.tickets`: of a full handshake; 0 turns resumption off.
    pub tickets: usize,
    /// `trust.ticket_rotation`
    pub ticket_rotation: Duration,
    /// `ocsp.staple`
    pub ocsp_staple: StapleMode,
    /// `metrics.hosts`
    pub host_metrics: HostMetrics,
    /// `log.access.format` and the keys beside it.
    pub access_log: LogStyle,
    /// `trace.context`
    pub trace_context: TraceContextMode,
    /// `trace.sample`: of so many traces that begin here one is sampled.
    pub trace_sample: usize,
    /// `http.redirect_port`: 1 to 65,535.
    pub http_redirect_port: usize,
    /// `proxy.protocol_from`: whose connections begin with a PROXY header.
    pub proxy_protocol_from: Networks,
    /// `proxy.trusted`: whose `proxy.header` is believed.
    pub proxy_trusted: Networks,
    /// `proxy.header`
    pub proxy_header: ClientHeader,
    /// `forward.x_forwarded`
    pub x_forwarded: bool,
    /// `forward.forwarded`
    pub forwarded: bool,
    /// `steer.balance`
    pub steer_balance: bool,
    /// `steer.drop_unknown`
    pub steer_drop_unknown: bool,
    /// `steer.drop_blocked`
    pub steer_drop_blocked: bool,
    /// `steer.host_rate`: new connections a second; 0 for no budget.
    pub steer_host_rate: usize,
    /// `steer.source_rate`: likewise.
    pub steer_source_rate: usize,
    /// `steer.source_ipv4_bits`
    pub steer_source_ipv4_bits: usize,
    /// `steer.source_ipv6_bits`
    pub steer_source_ipv6_bits: usize,
}

/// How much the gateway tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what went wrong.
    Error,
    /// And what may.
    Warn,
    /// And what is worth knowing.
    #[default]
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And every step.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// How connections are brought to the worker that owns their host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SteerMode {
    /// By the kernel where it can, between workers where not.
    #[default]
    Auto,
    /// By the kernel; without it the gateway does not start.
    Kernel,
    /// Between workers.
    Handoff,
    /// Not at all: any worker serves any host.
    Off,
}

/// Network interfaces whose connections the kernel steers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SteerInterfaces {
    /// Those that have the addresses that are listened on, loopback never.
    #[default]
    Auto,
    /// These.
    Named(Vec<String>),
}

/// A configuration with where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// Where to read it again.
    pub sources: Sources,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// Errors in lines that began with `-`.
    pub ignored: Vec<ConfigError>,
}

/// One line of a configuration file that sets a key.
#[derive(Clone)]
pub struct Assignment {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// The key.
    pub key: &'static Key,
    /// Its value as written.
    pub value: String,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            listen: Vec::new(),
            listen_http: Vec::new(),
            health_listen: None,
            workers: 1,
            store_path: PathBuf::new(),
            ca_key_file: None,
            crl_directory: None,
            admin_socket: PathBuf::new(),
            admin_listen: None,
            admin_tls_certificate: None,
            admin_tls_key: None,
            access_log: AccessLogTarget::default(),
            private_origins: false,
            log_level: LogLevel::default(),
            trace_otlp: None,
            default_host: None,
            geoip_database: None,
            geoip_asn_database: None,
            tls_groups: Vec::new(),
            tls_min_version: TlsVersion::default(),
            steer_mode: SteerMode::default(),
            steer_synproxy: false,
            steer_interfaces: SteerInterfaces::default(),
            pins: Pins::new(),
            acme: Acme::default(),
            fleet: Fleet::default(),
            tunables: Tunables::default(),
        };
        for key in KEYS {
            let set = (key.set)(&mut config, key.default);
            debug_assert!(set.is_ok(), "the default of {} is no value", key.name);
        }
        config
    }
}

impl Config {
    /// The file with the key that seals the store's private keys: the one that is named, else the
    /// credential `ca.key` that systemd passed on (systemd.exec(5), `LoadCredential=`), else `None`,
    /// which is `ca.key` beside the store.
    #[must_use]
    pub fn key_file(&self) -> Option<PathBuf> {
        self.ca_key_file.clone().or_else(|| {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
            let credential = Path::new(&directory).join("ca.key");
            credential.exists().then_some(credential)
        })
    }

    /// The GeoIP databases, in the order in which they are asked.
    pub fn geoip_databases(&self) -> impl Iterator<Item = &PathBuf> {
        self.geoip_database.iter().chain(&self.geoip_asn_database)
    }

    /// Reads and checks every configuration file.
    ///
    /// # Errors
    /// Everything that is wrong with them, not only the first.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let mut errors = Vec::new();
        let texts = sources.read(&mut errors);
        let mut reader = Reader::new(errors);
        for source in &texts {
            reader.file(source);
        }
        reader.relations();
        let Reader {
            config,
            errors,
            ignored,
            ..
        } = reader;
        if errors.is_empty() {
            let files = texts.into_iter().map(|source| source.path).collect();
            Ok(Loaded {
                config,
                sources: sources.clone(),
                files,
                ignored,
            })
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// Where the gateway's admin socket is, as far as the files can be read: what is wrong elsewhere in
    /// them is no reason not to find the gateway that runs.
    #[must_use]
    pub fn admin_socket_of(sources: &Sources) -> PathBuf {
        let mut reader = Reader::new(Vec::new());
        for source in &sources.read(&mut Vec::new()) {
            reader.file(source);
        }
        reader.config.admin_socket
    }

    /// Every line of the configuration files that sets a key, in the order in which they count.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn assignments(sources: &Sources) -> Result<Vec<Assignment>, ConfigErrors> {
        Self::load(sources)?;
        let mut errors = Vec::new();
        let texts = sources.read(&mut errors);
        let mut found = Vec::new();
        for source in &texts {
            for line in syntax::assignments(&source.text).flatten() {
                if pin::host_of(&line.key).is_none()
                    && let Ok(key) = find(&line.key)
                {
                    let (file, value) = (source.path.clone(), line.value.to_owned());
                    found.push(Assignment {
                        file,
                        line: line.line,
                        key,
                        value,
                    });
                }
            }
        }
        if errors.is_empty() {
            Ok(found)
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The configuration that one text makes, as if it were the only file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(name: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(Vec::new());
        reader.file(&Source {
            path: name.into(),
            text: text.into(),
        });
        reader.relations();
        if reader.errors.is_empty() {
            Ok(reader.config)
        } else {
            Err(ConfigErrors(reader.errors))
        }
    }

    /// Certificate and key of the admin API over TCP, when it speaks TLS.
    #[must_use]
    pub fn admin_tls(&self) -> Option<(&Path, &Path)> {
        let certificate = self.admin_tls_certificate.as_deref()?;
        Some((certificate, self.admin_tls_key.as_deref()?))
    }

    /// What is wrong between keys that are each right: the key to blame, what, and what to do.
    fn conflicts(&self) -> Vec<(&'static str, String, String)> {
        let mut found = Vec::new();
        let Tunables {
            header_bytes_max,
            header_count_max,
            connections_max,
            ..
        } = self.tunables;
        let least = (header_count_max as u64).saturating_mul(limits::HEADER_BYTES_MIN);
        if (header_bytes_max as u64) < least {
            found.push((
                "limit.header_bytes",
                format!("`limit.header_bytes` cannot hold the {header_count_max} headers of `limit.header_count`"),
                format!("raise it to {} or more, or lower `limit.header_count`", value::show_size(least)),
            ));
        }
        if connections_max < self.workers {
            found.push((
                "limit.connections",
                format!(
                    "`limit.connections` leaves some of the {} workers without a connection",
                    self.workers
                ),
                format!("raise it to {} or more, or lower `workers`", self.workers),
            ));
        }
        if self.admin_tls_certificate.is_some() != self.admin_tls_key.is_some() {
            let (there, missing) = match &self.admin_tls_key {
                None => ("admin.tls_certificate", "admin.tls_key"),
                Some(_) => ("admin.tls_key", "admin.tls_certificate"),
            };
            found.push((
                there,
                format!("`{there}` is there without `{missing}`"),
                format!("say both, or neither: set `{missing}` too"),
            ));
        }
        if let Some(admin) = self.admin_listen
            && self.admin_tls().is_none()
            && !admin.ip().is_loopback()
        {
            found.push((
                "admin.listen",
                format!("`{}` is not a loopback address: tokens would cross the network in clear", admin.ip()),
                format!("set `admin.tls_certificate` and `admin.tls_key`, or write `127.0.0.1:{}` and use an SSH tunnel", admin.port()),
            ));
        }
        found.extend(self.acme_conflicts());
        found.extend(self.fleet_conflicts());
        found.extend(self.taken_addresses());
        let paths = [
            ("store.path", Some(&self.store_path)),
            ("ca.key_file", self.ca_key_file.as_ref()),
            ("admin.socket", Some(&self.admin_socket)),
            ("log.access", self.access_log.file()),
        ];
        for (index, (name, path)) in paths.iter().enumerate() {
            for (earlier, other) in paths.iter().take(index) {
                if path.is_some() && path == other {
                    found.push((
                        name,
                        format!("`{name}` is the same file as `{earlier}`"),
                        "give each a path of its own".into(),
                    ));
                }
            }
        }
        found
    }
}

impl Config {
    /// What the keys of ACME lack.
    fn acme_conflicts(&self) -> Vec<(&'static str, String, String)> {
        let acme = &self.acme;
        let mut found = Vec::new();
        if acme.directory.is_some() && !acme.terms_agreed {
            found.push((
                "acme.directory",
                "`acme.directory` is there, and the server's terms are not agreed to".into(),
                "read them (the directory names them as `termsOfService`) and set `acme.terms_agreed = on`".into(),
            ));
        }
        if acme.directory.is_none() && acme.staging.is_some() {
            found.push((
                "acme.staging",
                "`acme.staging` is there without `acme.directory`".into(),
                "to try things out, name the staging server as `acme.directory`".into(),
            ));
        }
        let is_http = acme.challenge == AcmeChallenge::Http01;
        if acme.directory.is_some() && is_http && self.listen_http.is_empty() {
            found.push((
                "acme.challenge",
                "`acme.challenge` is `http-01`, and `listen.http`, which answers it, is off".into(),
                "set `listen.http = *:80`, or `acme.challenge = tls-alpn-01`".into(),
            ));
        }
        if acme.eab_key_id.is_some() != acme.eab_key_file.is_some() {
            let (there, missing) = match &acme.eab_key_id {
                Some(_) => ("acme.eab_key_id", "acme.eab_key_file"),
                None => ("acme.eab_key_file", "acme.eab_key_id"),
            };
            found.push((
                there,
                format!("`{there}` is there without `{missing}`"),
                format!("say both, or neither: set `{missing}` too"),
            ));
        }
        found
    }

    /// Addresses that two keys want.
    fn taken_addresses(&self) -> Vec<(&'static str, String, String)> {
        let one = |address: Option<SocketAddr>| address.into_iter().collect::<Vec<_>>();
        let wanted = [
            ("listen", self.listen.clone()),
            ("listen.http", self.listen_http.clone()),
            ("health.listen", one(self.health_listen)),
            ("admin.listen", one(self.admin_listen)),
        ];
        let covers = |one: &SocketAddr, other: &SocketAddr| {
            one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
        };
        let same = |one: &SocketAddr, other: &SocketAddr| {
            one.port() == other.port()
                && one.port() != 0
                && one.is_ipv4() == other.is_ipv4()
                && covers(one, other)
        };
        let mut found = Vec::new();
        for (index, (name, own)) in wanted.iter().enumerate() {
            for (earlier, others) in wanted.iter().take(index) {
                let mut pairs = own
                    .iter()
                    .flat_map(|own| others.iter().map(move |o| (own, o)));
                if let Some((own, other)) = pairs.find(|(own, other)| same(own, other)) {
                    found.push((
                        *name,
                        format!("`{name}` {own} is taken by `{earlier}` {other}"),
                        "give each a port of its own".into(),
                    ));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
