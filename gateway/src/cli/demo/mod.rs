//! `postern demo`: runs a gateway with a zone, hosts, certificates and an origin of its own.
//!
//! It creates what is missing in a state directory, reuses what is there, prints commands to paste,
//! and then runs the gateway as `postern run` does. Settings that a user changed between two starts
//! stay.

mod echo;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use boring::hash::MessageDigest;
use clap::Args;

use crate::cli::client::Client;
use crate::cli::client::files::{PRIVATE, PUBLIC, write_new};
use crate::cli::client::target::Target;
use crate::cli::output::{CliError, Output};
use crate::daemon;
use crate::limits::DEMO_CONNECTIONS_MAX;
use config::{AccessLogTarget, Config, LogLevel};
use control::{
    CertificateQuery, ChangeError, Control, FindBy, HostPatch, Id, NewHost, NewRule, OriginSpec,
    Phase, Subject,
};
use snapshot::Published;
use vocabulary::clock::since_epoch;
use vocabulary::hostname::HostName;
use vocabulary::settings::MtlsMode;

/// The zone of the demo, under a top-level domain that never exists (RFC 6761 §6.2).
const ZONE: &str = "example.test";
/// Asks clients for certificates and lets the rules decide.
const API_HOST: &str = "api.example.test";
/// Asks for none.
const OPEN_HOST: &str = "open.example.test";
/// The holder of the one client certificate.
const CLIENT: &str = "demo-client";
/// How long it is valid.
const CLIENT_DAYS: u32 = 365;
/// Only clients whose certificate verifies and is not revoked see `/admin`.
const RULE: &str = "((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) \
                    and http.request.uri.path in {\"/admin\"})";
/// A server certificate that ends sooner is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the gateway may take to get ready before nothing is printed any more.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Run a gateway with an example zone, a client certificate and an echo origin
///
/// Everything is kept in the state directory: a second start goes on with it. Nothing outside of
/// it is read or changed.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Directory for the store, certificates and logs; created when it does not exist
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The address for clients
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
}

/// Where the dashboard is, when that port is free.
const DASHBOARD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

impl Demo {
    pub(crate) fn run(self) -> Output {
        let state = State::open(&self.state, self.listen)?;
        check_port(self.listen)?;
        let published = Arc::new(Published::default());
        let control = state.prepare(Arc::clone(&published))?;
        let text = state.instructions();
        let socket = state.socket();
        std::thread::Builder::new()
            .name("demo-instructions".into())
            .spawn(move || print_when_ready(&socket, &text))
            .map_err(|why| CliError::Failed(format!("no thread: {why}")))?;
        let config = state.configuration(dashboard(&state)?);
        let _rest = crate::logging::start(config.log_level).map_err(crate::cli::run::no_thread)?;
        crate::cli::run::ended(daemon::serve(config, control, published))
    }
}

/// The directory that everything is kept in.
struct State {
    directory: PathBuf,
    listen: SocketAddr,
}

impl State {
    fn open(directory: &Path, listen: SocketAddr) -> Result<Self, CliError> {
        let failed = |why: std::io::Error| {
            CliError::Failed(format!(
                "the state directory {} cannot be used: {why}",
                directory.display()
            ))
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        // What is printed must work from any directory.
        let directory = fs::canonicalize(directory).map_err(failed)?;
        Ok(Self { directory, listen })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn socket(&self) -> PathBuf {
        self.file("admin.sock")
    }

    fn configuration(&self, dashboard: SocketAddr) -> Config {
        let mut config = Config {
            listen: vec![self.listen],
            admin_listen: Some(dashboard),
            store_path: self.file("store.redb"),
            admin_socket: self.socket(),
            access_log: AccessLogTarget::File(self.file("access.log")),
            log_level: LogLevel::Warn,
            ..Config::default()
        };
        config.tunables.connections_max = DEMO_CONNECTIONS_MAX;
        config
    }

    /// Opens the store and makes what is missing.
    fn prepare(&self, published: Arc<Published>) -> Result<Arc<Control>, CliError> {
        let failed = |error: &dyn std::fmt::Display| {
            CliError::Failed(format!("the demo cannot be set up: {error}"))
        };
        let control =
            Control::open(&self.file("store.redb"), published).map_err(|error| failed(&error))?;
        let origin = self.origin()?;
        let zone = self
            .zone(&control, &origin)
            .map_err(|error| failed(&error))?;
        let ca = control
            .make_development_authority()
            .map_err(|error| failed(&error))?;
        replace(&self.file("ca.pem"), &ca.certificate)?;
        self.client(&control, zone)?;
        Ok(control)
    }

    /// Starts the echo origin, where it was last time when that is free.
    fn origin(&self) -> Result<Origin, CliError> {
        let file = self.file("origin.url");
        let before = fs::read_to_string(&file)
            .ok()
            .map(|url| url.trim().to_owned());
        let port = before
            .as_ref()
            .and_then(|url| url.rsplit_once(':')?.1.parse().ok());
        let port = port.filter(|port| *port != self.listen.port());
        let address = echo::start(port)
            .map_err(|why| CliError::Failed(format!("the echo origin cannot start: {why}")))?;
        let url = format!("http://{address}");
        replace(&file, &url)?;
        Ok(Origin { url, before })
    }

    fn zone(&self, control: &Control, origin: &Origin) -> Result<Id, ChangeError> {
        let zone = match control.zone(ZONE) {
            Err(ChangeError::NotFound { .. }) => control.create_zone(ZONE)?,
            found => found?,
        };
        for (name, mtls) in [(API_HOST, MtlsMode::Request), (OPEN_HOST, MtlsMode::Off)] {
            let name = host_name(name);
            match control.host(&name) {
                Err(ChangeError::NotFound { .. }) => {
                    let new = NewHost {
                        name: name.clone(),
                        origin: origin.spec(),
                        mtls: Some(mtls),
                        client: vocabulary::settings::ClientSettings::default(),
                        tls_min_version: None,
                        request_body_max: None,
                        acme: false,
                        certificate: None,
                        other_certificate: None,
                    };
                    control.create_host(zone.id, new)?;
                }
                Ok(host) if origin.moved_from(&host.origin.url) => {
                    let patch = HostPatch {
                        origin: Some(origin.spec().into()),
                        ..HostPatch::default()
                    };
                    control.update_host(&name, patch)?;
                }
                found => drop(found?),
            }
        }
        if self.needs_certificate(control) {
            control.develop_server_certificate(
                zone.id,
                &[host_name(API_HOST), host_name(OPEN_HOST)],
            )?;
        }
        match control.entrypoint(zone.id, Phase::HttpRequestFirewallCustom) {
            Err(ChangeError::NotFound { .. }) => {
                let rule = NewRule {
                    description: "/admin is for clients with a valid certificate".into(),
                    ..NewRule::block(RULE)
                };
                control.add_rule(zone.id, rule, None)?;
            }
            found => drop(found?),
        }
        Ok(zone.id)
    }

    /// Whether one of the hosts has no server certificate, or one that ends soon.
    fn needs_certificate(&self, control: &Control) -> bool {
        let model = control.model();
        let soon = since_epoch(SystemTime::now()) + RENEW_BEFORE;
        [API_HOST, OPEN_HOST].iter().any(|name| {
            let host = model.hosts.get(&host_name(name));
            let presented = host.and_then(|host| model.presented(host).first().copied());
            presented.is_none_or(|one| {
                u64::try_from(one.not_after).is_ok_and(|end| end < soon.as_secs())
            })
        })
    }

    /// Makes the client certificate, unless the one that is there is known to this store. It may
    /// have been revoked: then somebody wanted to see what happens.
    fn client(&self, control: &Control, zone: Id) -> Result<(), CliError> {
        let (pem, key) = (self.file("client.pem"), self.file("client.key"));
        let failed = |error: &dyn std::fmt::Display| {
            CliError::Failed(format!("the client certificate: {error}"))
        };
        if pem.exists() && key.exists() {
            let bytes = fs::read(&pem).map_err(|why| failed(&why))?;
            let certificate = tls::pem::certificate(&bytes).ok();
            let fingerprint = certificate.and_then(|certificate| {
                let digest = certificate.digest(MessageDigest::sha256()).ok()?;
                Some(hex(&digest))
            });
            let query = CertificateQuery {
                status: None,
                find: vec![(FindBy::Fingerprint, fingerprint.unwrap_or_default())],
                ends: None,
                offset: 0,
                limit: 1,
            };
            if control
                .certificates(zone, &query)
                .map_err(|error| failed(&error))?
                .total
                > 0
            {
                return Ok(());
            }
        }
        for path in [&pem, &key] {
            if path.exists() {
                return Err(CliError::Failed(format!(
                    "{} is not from the store in this directory; move it away, or use another --state directory",
                    path.display()
                )));
            }
        }
        let fresh = control
            .create_certificate(zone, &Subject::named(CLIENT), CLIENT_DAYS)
            .map_err(|error| failed(&error))?;
        write_new(&key, fresh.private_key.reveal_text(), PRIVATE)?;
        write_new(&pem, &fresh.certificate.certificate, PUBLIC)
    }

    /// What a newcomer reads: commands that can be pasted, with what each one answers.
    fn instructions(&self) -> String {
        let port = self.listen.port();
        let address = match self.listen {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        let ca = quote(&self.file("ca.pem"));
        let curl = |host: &str, path: &str, client: bool| {
            let certificate = if client {
                format!(
                    " --cert {} --key {}",
                    quote(&self.file("client.pem")),
                    quote(&self.file("client.key"))
                )
            } else {
                String::new()
            };
            format!(
                "curl -i --cacert {ca}{certificate} --resolve {host}:{port}:{address} https://{host}:{port}{path}"
            )
        };
        let program =
            std::env::current_exe().map_or_else(|_unknown| "postern".into(), |path| quote(&path));
        let socket = quote(&self.socket());
        format!(
            "Postern listens at {listen}; its state is in {state}. Ctrl-C ends it.\n\
             \n\
             # /admin without a client certificate: 403, the rule blocks it\n{blocked}\n\
             \n\
             # /admin with the certificate: 200, and the echo origin tells what it received\n{admin}\n\
             \n\
             # everything else needs no certificate: 200\n{other}\n\
             \n\
             # a host that asks for none: 200\n{open}\n\
             \n\
             # revoke the certificate: its next request to /admin gets 403 (`cert restore` undoes it)\n\
             {program} --socket {socket} cert revoke --zone {ZONE} {CLIENT}\n\
             \n\
             # the rules; what the gateway says of itself; who came, and why they were refused\n\
             {program} --socket {socket} rule list --zone {ZONE}\n\
             {program} --socket {socket} status\n\
             tail -n 3 {log}\n\
             \n\
             # another link to the dashboard\n\
             {program} --socket {socket} dashboard\n",
            listen = self.listen,
            state = self.directory.display(),
            blocked = curl(API_HOST, "/admin", false),
            admin = curl(API_HOST, "/admin", true),
            other = curl(API_HOST, "/", false),
            open = curl(OPEN_HOST, "/", false),
            log = quote(&self.file("access.log")),
        )
    }
}

/// The echo origin, now and at the last start.
struct Origin {
    url: String,
    before: Option<String>,
}

impl Origin {
    fn spec(&self) -> OriginSpec {
        OriginSpec {
            url: self.url.clone(),
            ..OriginSpec::default()
        }
    }

    /// Whether this is where the echo origin was, but is no more.
    fn moved_from(&self, url: &str) -> bool {
        url != self.url && self.before.as_deref() == Some(url)
    }
}

fn host_name(text: &str) -> HostName {
    HostName::parse(text).expect("the demo's names are constants that a test has tried")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the dashboard is: where it was at the last start, or at the usual port, or at one that is
/// free.
fn dashboard(state: &State) -> Result<SocketAddr, CliError> {
    let file = state.file("dashboard.address");
    let before = fs::read_to_string(&file).ok();
    let before = before.and_then(|text| text.trim().parse().ok());
    let any = SocketAddr::new(DASHBOARD.ip(), 0);
    let chosen = [before.unwrap_or(DASHBOARD), any]
        .into_iter()
        .filter(|address| address.port() != state.listen.port())
        .find_map(|address| TcpListener::bind(address).ok()?.local_addr().ok());
    let chosen = chosen.ok_or_else(|| {
        CliError::Failed("no port of 127.0.0.1 can be had for the dashboard".into())
    })?;
    replace(&file, &chosen.to_string())?;
    Ok(chosen)
}

/// Whether the port can be had: workers would only say so later, one after another.
fn check_port(listen: SocketAddr) -> Result<(), CliError> {
    let port = listen.port();
    if port == 0 {
        return Err(CliError::Usage(
            "--listen needs a port that can be named, such as 127.0.0.1:8443".into(),
        ));
    }
    match TcpListener::bind(listen) {
        Ok(_closed_again) => Ok(()),
        Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => Err(CliError::Failed(format!(
            "port {port} of {} is taken by another program (`ss -ltnp 'sport = :{port}'` names it); choose another with --listen, as in --listen {}",
            listen.ip(),
            SocketAddr::new(listen.ip(), if port < u16::MAX { port + 1 } else { 8443 }),
        ))),
        Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(CliError::Failed(format!(
                "port {port} needs a privilege that this user does not have; choose one above 1023 with --listen"
            )))
        }
        Err(why) => Err(CliError::Failed(format!(
            "{listen} cannot be listened at: {why}; choose another with --listen"
        ))),
    }
}

/// Writes a public file of ours, whole or not at all, unless it holds this already.
fn replace(path: &Path, text: &str) -> Result<(), CliError> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let draft = path.with_extension("new");
    let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, path));
    written.map_err(|why| CliError::Failed(format!("{} cannot be written: {why}", path.display())))
}

/// A path as a shell takes it.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | '@' | ':');
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Prints once the gateway is ready: what it says before, when it cannot start, stays in sight.
fn print_when_ready(socket: &Path, text: &str) {
    let target = Target {
        socket: Some(socket.into()),
        ..Target::default()
    };
    let Ok(client) = Client::new(&target) else {
        return;
    };
    let start = Instant::now();
    while start.elapsed() < READY_TIMEOUT {
        if client.ready() {
            crate::cli::output::print(text);
            print_link(&target, &client);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The way to the dashboard comes last: it is what is read first.
fn print_link(target: &Target, client: &Client) {
    match crate::cli::dashboard::link(target, client) {
        Ok(link) => {
            crate::cli::output::print(&format!(
                "\n# the dashboard in a browser; the link is good once and for a minute\n{}\n",
                crate::cli::client::names::text(&link, "url")
            ));
        }
        Err(error) => tracing::warn!("there is no link to the dashboard: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("postern-demo-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_second_start_reuses_everything() {
        let path = directory("again");
        let listen = "127.0.0.1:8443".parse().unwrap();
        let files = ["ca.pem", "client.pem", "client.key", "origin.url"];
        let read = |path: &Path| files.map(|name| fs::read(path.join(name)).unwrap());
        let state = State::open(&path, listen).unwrap();
        let prepare = || state.prepare(Arc::new(Published::default()));
        drop(prepare().unwrap());
        let first = read(&path);
        drop(prepare().unwrap());
        let second = read(&path);
        // The first origin still runs in this process, so the second one had to move.
        assert_eq!(first[..3], second[..3]);
        let control =
            Control::open(&state.file("store.redb"), Arc::new(Published::default())).unwrap();
        let model = control.model();
        assert_eq!(model.hosts.len(), 2);
        assert_eq!(model.server_certificates.len(), 1);
        let origin = String::from_utf8(second[3].clone()).unwrap();
        assert!(model.hosts.values().all(|host| host.origin.url == origin));
        drop((control, model));
        // A key that is not ours is not touched.
        fs::remove_file(path.join("client.pem")).unwrap();
        let error = prepare().map(drop).unwrap_err().to_string();
        assert!(
            error.contains("client.key is not from the store"),
            "{error}"
        );
        assert_eq!(fs::read(path.join("client.key")).unwrap(), first[2]);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = check_port(address).unwrap_err().to_string();
        assert!(
            text.contains(&format!("port {} of 127.0.0.1 is taken", address.port())),
            "{text}"
        );
        assert!(text.contains("--listen"), "{text}");
    }

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(quote(Path::new("/a/b-c.pem")), "/a/b-c.pem");
        assert_eq!(quote(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        for name in [ZONE, API_HOST, OPEN_HOST] {
            host_name(name);
        }
        let state = State {
            directory: "/s t".into(),
            listen: "[::]:1".parse().unwrap(),
        };
        assert!(
            state
                .instructions()
                .contains("--cacert '/s t/ca.pem' --resolve api.example.test:1:[::1] https://")
        );
    }
}
