//! The gateway under test: a store, a configuration file, and `postern run` as a child process.
//!
//! Each gateway has a loopback address and a directory of its own, so that tests run side by side.
//! Zones are made before the start, and the keys of their managed CAs are copied out of the store:
//! that is the only way to clients whose certificates are wrong in ways that the gateway itself
//! would never sign. Everything else goes through the admin API, as it would for users.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use control::{AuthorityKind, Control, Seal};
use serde_json::{Value, json};
use snapshot::Published;

use crate::admin::Admin;
use crate::client::Client;
use crate::fresh::write_config;
pub use crate::fresh::{new_address, new_directory};
use crate::memory_store::MemoryStore;
use crate::pki::{self, Authority, Identity};
use crate::tool::{self, Outcome};
use crate::wait::{self, PATIENCE};

/// The zone of tests that need only one.
pub const ZONE: &str = "example.test";

/// What a gateway is started with.
#[derive(Clone, Default)]
pub struct Setup {
    zones: Vec<String>,
    hosts: Vec<(String, Value)>,
    settings: Vec<(String, String)>,
    rules: Vec<String>,
    certificates: usize,
    listen: Vec<SocketAddr>,
    descriptors: Option<u32>,
    names: Option<String>,
    environment: Vec<(String, String)>,
    key_file: Option<PathBuf>,
}

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Everywhere where they do.
    pub listen: Vec<SocketAddr>,
    /// Its directory: store, configuration, logs, admin socket.
    pub directory: PathBuf,
    /// Its admin API.
    pub admin: Admin,
    /// The CA that signed its hosts' server certificates.
    pub servers: Authority,
    authorities: HashMap<String, Authority>,
    zone_ids: HashMap<String, String>,
    child: Option<Child>,
    /// The process that serves after an upgrade, which is no child of ours.
    successor: Option<u32>,
    /// What it has replaced.
    former: Vec<Child>,
    descriptors: Option<u32>,
    /// It has a file of names of its own.
    has_names: bool,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// One zone, `example.test`, without hosts.
    #[must_use]
    pub fn new() -> Self {
        Self::default().zone(ZONE)
    }

    /// Adds a zone.
    #[must_use]
    pub fn zone(mut self, name: &str) -> Self {
        self.zones.push(name.into());
        self
    }

    /// Adds a host to the zone whose name it ends in.
    #[must_use]
    pub fn host(self, name: &str, mtls: &str, origin: &str) -> Self {
        self.host_with(name, mtls, &json!({ "url": origin }))
    }

    /// Adds a host with everything that can be said of its origin.
    #[must_use]
    pub fn host_with(mut self, name: &str, mtls: &str, origin: &Value) -> Self {
        self.hosts.push((
            name.into(),
            json!({ "name": name, "mtls": mtls, "origin": origin }),
        ));
        self
    }

    /// Sets a configuration key.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }

    /// Listens here instead of on a loopback address of its own.
    #[must_use]
    pub fn listen(mut self, addresses: &[&str]) -> Self {
        let addresses = addresses
            .iter()
            .map(|address| address.parse::<SocketAddr>().unwrap());
        self.listen.extend(addresses);
        self
    }

    /// Allows the process so many open files.
    #[must_use]
    pub fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// What names mean, as `/etc/hosts` has it: to this gateway alone, which asks nobody else. Needs the
    /// right to mount.
    #[must_use]
    pub fn names(mut self, hosts: &str) -> Self {
        self.names = Some(hosts.into());
        self
    }

    /// Gives the process an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has the key file of another gateway, as an edge of its fleet.
    #[must_use]
    pub fn key_of(mut self, gateway: &Gateway) -> Self {
        self.key_file = Some(gateway.file("ca.key"));
        self
    }

    /// Adds a rule that blocks, to the first zone.
    #[must_use]
    pub fn block(mut self, expression: &str) -> Self {
        self.rules.push(expression.into());
        self
    }

    /// Issues so many client certificates in the first zone before the start, `device-0` and on.
    /// Every hundredth is revoked.
    #[must_use]
    pub fn certificates(mut self, count: usize) -> Self {
        self.certificates = count;
        self
    }

    /// Starts the gateway and waits until it is ready.
    #[must_use]
    pub fn start(self) -> Gateway {
        let directory = new_directory();
        if let Some(key_file) = &self.key_file {
            fs::copy(key_file, directory.join("ca.key")).unwrap();
        }
        let (zone_ids, authorities) = make_zones(&directory, &self.zones, self.certificates);
        let mut listen = self.listen.clone();
        if listen.is_empty() {
            listen.push(new_address());
        }
        write_config(&directory, &listen, &self.settings);
        let mut gateway = Gateway {
            address: listen[0],
            listen,
            admin: Admin::new(&directory.join("admin.sock")),
            servers: Authority::root("Test Server CA"),
            directory,
            authorities,
            zone_ids,
            child: None,
            successor: None,
            former: Vec::new(),
            descriptors: self.descriptors,
            has_names: self.names.is_some(),
            environment: self.environment.clone(),
        };
        if let Some(hosts) = &self.names {
            gateway.mean(hosts);
            let nobody = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
            fs::write(gateway.file("resolv.conf"), nobody).unwrap();
        }
        gateway.start();
        for zone in &self.zones {
            let wild = [zone.clone(), format!("*.{zone}"), format!("*.wild.{zone}")];
            gateway.serve_as(zone, &wild.each_ref().map(String::as_str));
        }
        for (name, body) in &self.hosts {
            let path = format!(
                "/postern/v1/zones/{}/hosts",
                gateway.zone_id(zone_of(&self.zones, name))
            );
            drop(gateway.admin.call("POST", &path, body).result());
        }
        for rule in &self.rules {
            drop(gateway.rule(&json!({ "action": "block", "expression": rule })));
        }
        gateway
    }
}

impl Gateway {
    /// Starts the process (again) and waits until it is ready.
    ///
    /// # Panics
    /// It ends or does not get ready.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the gateway runs already");
        self.child = Some(self.spawn());
        let admin = self.admin.clone();
        wait::until("the gateway to be ready", || {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap())
            {
                panic!("the gateway ended with {status}:\n{}", self.stderr());
            }
            admin
                .ask("GET", "/readyz", None)
                .filter(|reply| reply.status == 200)
        });
    }

    /// Starts the process without waiting for anything.
    #[must_use]
    pub fn spawn(&self) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.file("stderr.log"));
        let log = log.unwrap();
        let mut command = match self.descriptors {
            None if self.has_names => {
                let mut command = Command::new("unshare");
                let script = "mount --bind \"$0/names\" /etc/hosts \
                    && mount --bind \"$0/resolv.conf\" /etc/resolv.conf && exec \"$@\"";
                command.args(["--mount", "sh", "-c", script]);
                command.arg(&self.directory).arg(tool::postern());
                command
            }
            None => Command::new(tool::postern()),
            Some(count) => {
                // It becomes what it starts.
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={count}:{count}"));
                command.arg(tool::postern());
                command
            }
        };
        command
            .envs(self.environment.iter().cloned())
            .args(["run", "--config"])
            .arg(self.file("postern.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Names mean this from now on; see [`Setup::names`].
    pub fn mean(&self, hosts: &str) {
        // The same file: it is mounted.
        fs::write(self.file("names"), hosts).unwrap();
    }

    /// The process.
    ///
    /// # Panics
    /// It is not running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let child = || self.child.as_ref().expect("the gateway runs").id();
        self.successor.unwrap_or_else(child)
    }

    /// Has a new process of the same binary take over. Answers its number.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn upgrade(&mut self) -> u32 {
        let before = self.pid();
        let outcome = self.cli(&["--json", "upgrade"]);
        assert_eq!(outcome.code, 0, "{outcome:?}\n{}", self.stderr());
        self.replaced(before)
    }

    /// Waits until another process than `before` serves. Answers its number.
    #[track_caller]
    pub fn replaced(&mut self, before: u32) -> u32 {
        let pid = wait::until("another process", || {
            self.admin.process().filter(|pid| *pid != before)
        });
        self.former.extend(self.child.take());
        self.successor = Some(pid);
        pid
    }

    /// Sends a signal: `TERM`, `HUP`, `KILL` and so on.
    pub fn signal(&self, name: &str) {
        tool::signal(self.pid(), name);
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// It does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the gateway runs");
        wait::until("the gateway to end", || child.try_wait().unwrap())
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Stops it as an operator would, and answers the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// A file of its directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What it wrote to standard error and output.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.file("stderr.log")).unwrap_or_default()
    }

    /// Waits until it has written `text` there: it may do so after what it tells of has happened.
    #[track_caller]
    pub fn says(&self, text: &str) {
        wait::until(&format!("the gateway to say `{text}`"), || {
            self.stderr().contains(text).then_some(())
        });
    }

    /// Rewrites its configuration file, with the same address and paths.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let settings: Vec<(String, String)> = settings
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        write_config(&self.directory, &self.listen, &settings);
    }

    /// Runs `postern ARGUMENTS` against this gateway.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(tool::postern());
        command
            .arg("--socket")
            .arg(self.file("admin.sock"))
            .args(arguments);
        tool::run(&mut command)
    }

    /// A client of `host` that trusts the gateway's server certificates.
    #[must_use]
    pub fn client(&self, host: &str) -> Client {
        Client::new(self.address, host, &self.servers)
    }

    /// The same at another of its addresses.
    #[must_use]
    pub fn client_at(&self, address: SocketAddr, host: &str) -> Client {
        Client::new(address, host, &self.servers)
    }

    /// The managed CA of a zone, its key included.
    #[must_use]
    pub fn authority(&self, zone: &str) -> &Authority {
        &self.authorities[zone]
    }

    /// The id of a zone.
    #[must_use]
    pub fn zone_id(&self, zone: &str) -> &str {
        &self.zone_ids[zone]
    }

    /// Lets the gateway make a client certificate. Answers its id.
    #[must_use]
    pub fn certificate(&self, zone: &str, name: &str) -> (String, Identity) {
        let path = format!(
            "/postern/v1/zones/{}/client_certificates",
            self.zone_id(zone)
        );
        let made = self.admin.call(
            "POST",
            &path,
            &json!({ "common_name": name, "validity_days": 30 }),
        );
        let made = made.result();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (
            text("id"),
            Identity::from_pem(&text("certificate"), &text("private_key")),
        )
    }

    /// Revokes a client certificate.
    pub fn revoke(&self, zone: &str, id: &str) {
        let path = format!(
            "/client/v4/zones/{}/client_certificates/{id}",
            self.zone_id(zone)
        );
        assert_eq!(
            self.admin.call("DELETE", &path, &Value::Null).result()["status"],
            "revoked"
        );
    }

    /// Believes a revoked client certificate again.
    pub fn restore(&self, zone: &str, id: &str) {
        let path = format!(
            "/client/v4/zones/{}/client_certificates/{id}",
            self.zone_id(zone)
        );
        let body = json!({ "reactivate": true });
        assert_eq!(
            self.admin.call("PATCH", &path, &body).result()["status"],
            "active"
        );
    }

    /// Adds a rule to the first zone, at the end. Answers its id.
    #[must_use]
    pub fn rule(&self, rule: &Value) -> String {
        let zone = self.zone_id(ZONE);
        let path = format!(
            "/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint"
        );
        let present = self.admin.get(&path);
        let after = if present.status == 404 {
            self.admin
                .call("PUT", &path, &json!({ "rules": [rule] }))
                .result()
        } else {
            let id = present.result()["id"].as_str().unwrap().to_owned();
            let path = format!("/client/v4/zones/{zone}/rulesets/{id}/rules");
            self.admin.call("POST", &path, rule).result()
        };
        after["rules"].as_array().unwrap().last().unwrap()["id"]
            .as_str()
            .unwrap()
            .into()
    }

    /// Changes a host.
    pub fn change_host(&self, name: &str, patch: &Value) {
        drop(
            self.admin
                .call("PATCH", &format!("/postern/v1/hosts/{name}"), patch)
                .result(),
        );
    }

    /// Removes a host.
    pub fn remove_host(&self, name: &str) {
        let path = format!("/postern/v1/hosts/{name}");
        drop(self.admin.call("DELETE", &path, &Value::Null).result());
    }

    /// Uploads a CA. Answers its id.
    #[must_use]
    pub fn upload(&self, authority: &Authority) -> String {
        let account = self.admin.get("/client/v4/accounts").result();
        let account = account[0]["id"].as_str().unwrap();
        let body = json!({ "ca": true, "certificates": authority.pem(), "name": "uploaded" });
        let path = format!("/client/v4/accounts/{account}/mtls_certificates");
        let made = self.admin.call("POST", &path, &body).result();
        made["id"].as_str().unwrap().to_owned()
    }

    fn associations(&self) -> String {
        let zone = self.zone_id(ZONE);
        format!("/client/v4/zones/{zone}/certificate_authorities/hostname_associations")
    }

    /// Says which hosts of the first zone believe an uploaded CA.
    pub fn associate(&self, id: &str, hosts: &[&str]) {
        let body = json!({ "hostnames": hosts, "mtls_certificate_id": id });
        drop(self.admin.call("PUT", &self.associations(), &body).result());
    }

    /// A root that these hosts of the first zone believe beside the managed CA. It may have CAs below
    /// it, which the managed CA's own certificate forbids (`pathlen:0`).
    #[must_use]
    pub fn root(&self, hosts: &[&str]) -> Authority {
        let root = Authority::root("Root");
        self.believe(&root, hosts);
        root
    }

    /// Has these hosts of the first zone believe a root beside the managed CA.
    pub fn believe(&self, root: &Authority, hosts: &[&str]) {
        let id = self.upload(root);
        self.associate(&id, hosts);
        let body = json!({ "hostnames": hosts });
        drop(self.admin.call("PUT", &self.associations(), &body).result());
    }

    /// Gives a zone a server certificate for these names, the newest of the zone.
    pub fn serve_as(&self, zone: &str, names: &[&str]) {
        let server = self.servers.server(names);
        let body = json!({ "certificate": server.chain_pem(), "private_key": server.key_pem() });
        let path = format!(
            "/client/v4/zones/{}/custom_certificates",
            self.zone_id(zone)
        );
        drop(self.admin.call("POST", &path, &body).result());
    }

    /// Every line of the access log so far.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        whole.lines().map(read).collect()
    }

    /// Waits for the access-log line that `wanted` recognises.
    #[track_caller]
    pub fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(&format!("an access-log line of {what}"), || {
            self.records().into_iter().find(&wanted)
        })
    }

    /// Waits for the line of the request for `path`.
    #[must_use]
    #[track_caller]
    pub fn request_record(&self, path: &str) -> Value {
        self.record(path, |line| {
            line["kind"] == "request" && line["path"] == path
        })
    }

    /// Waits for the line of the failed handshake of the client at `address`.
    #[must_use]
    #[track_caller]
    pub fn handshake_record(&self, address: SocketAddr) -> Value {
        let address = address.to_string();
        self.record(&format!("a failed handshake of {address}"), |line| {
            line["kind"] == "handshake" && line["client"] == *address
        })
    }

    /// How many client certificates of a host were found so, by the metrics.
    #[must_use]
    pub fn verified(&self, host: &str, reason: &str) -> u64 {
        let labels = format!("{{host=\"{host}\",reason=\"{reason}\"}} ");
        let metrics = self.admin.get("/metrics").body;
        let of = metrics.lines().filter_map(|line| {
            let line = line.strip_prefix("postern_client_cert_verify_total")?;
            line.strip_prefix(&labels)
        });
        of.map(|count| count.parse::<u64>().unwrap()).sum()
    }

    /// Resident memory in KiB, from /proc.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if let Some(pid) = self.successor.take() {
            tool::signal(pid, if failed { "KILL" } else { "TERM" });
            let ended = tool::ends(pid);
            assert!(failed || ended, "it did not stop:\n{}", self.stderr());
        }
        for mut former in self.former.drain(..) {
            if failed {
                drop(former.kill());
            }
            drop(former.wait());
        }
        if let Some(mut child) = self.child.take() {
            tool::signal(child.id(), if failed { "KILL" } else { "TERM" });
            let deadline = Instant::now() + PATIENCE;
            let mut ended = None;
            while ended.is_none() && Instant::now() < deadline {
                ended = child.try_wait().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            if ended.is_none() {
                drop(child.kill());
                drop(child.wait());
            }
            if !failed {
                assert!(
                    ended.is_some_and(|status| status.success()),
                    "the gateway did not stop well ({ended:?}):\n{}",
                    self.stderr()
                );
            }
        }
        if failed {
            let records = fs::read_to_string(self.file("access.log")).unwrap_or_default();
            eprintln!("--- the gateway said ---\n{}", self.stderr());
            eprintln!("--- its access log ends ---\n{}", tail(&records, 20));
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn zone_of<'z>(zones: &'z [String], host: &str) -> &'z str {
    zones
        .iter()
        .filter(|zone| host.ends_with(zone.as_str()))
        .max_by_key(|zone| zone.len())
        .unwrap()
}

/// Makes the zones and the first one's client certificates, and copies the keys of their CAs.
fn make_zones(
    directory: &Path,
    zones: &[String],
    certificates: usize,
) -> (HashMap<String, String>, HashMap<String, Authority>) {
    let (store, key_file) = (directory.join("store.redb"), directory.join("ca.key"));
    let published = Arc::new(Published::default());
    // Very many are made in memory, where no change waits for a disk.
    let memory = (certificates > 0).then(MemoryStore::default);
    let control = match &memory {
        None => Control::open(&store, published),
        Some(memory) => Control::start(Box::new(memory.clone()), &key_file, None, published),
    };
    let control = control.unwrap();
    let (seal, _) = Seal::open(&key_file, false).unwrap();
    let (mut ids, mut authorities) = (HashMap::new(), HashMap::new());
    for name in zones {
        let zone = control.create_zone(name).unwrap();
        let model = control.model();
        let authority = &model.managed(zone.id)[0];
        let AuthorityKind::Managed { key, .. } = authority.kind.clone() else {
            panic!("the managed CA of {name} is something else");
        };
        let key = seal
            .open_sealed(&format!("authority/{}", authority.id), &key)
            .unwrap();
        authorities.insert(
            name.clone(),
            Authority::from_pem(&authority.certificate, key.reveal()),
        );
        if ids.is_empty() {
            for number in 0..certificates {
                let (csr, _) = pki::request(&format!("device-{number}"));
                let made = control.issue_certificate(zone.id, &csr, 365).unwrap();
                if number % 100 == 0 {
                    drop(control.revoke_certificate(zone.id, made.id).unwrap());
                }
            }
        }
        ids.insert(name.clone(), zone.id.to_string());
    }
    if let Some(memory) = memory {
        memory.write(&store).unwrap();
    }
    (ids, authorities)
}
