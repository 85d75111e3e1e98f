//! The Debian package in a fresh Debian with systemd as its first process: installed, used, upgraded,
//! configured wrongly, removed and purged.
//!
//! The system is a folder made by debootstrap, once; each run boots a copy of it as a container with a
//! network of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tests::tool::{self, Outcome, signal};
use tests::wait::until;

/// The Debian release that the package is for.
const RELEASE: &str = "bookworm";
/// What its container has beside the least.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libstdc++6,logrotate,curl,ca-certificates";
/// How exposed the service may be, by `systemd-analyze security`.
const EXPOSURE_MAX: f64 = 2.0;

/// How often the watchdog wants to be told here.
const WATCHDOG: Duration = Duration::from_secs(10);

/// A booted system; it ends, and its folder goes, when this is dropped.
struct Container {
    guardian: Child,
    init: String,
    root: PathBuf,
}

impl Container {
    /// Boots a copy of the system in `base`.
    fn boot(base: &Path, root: PathBuf) -> Self {
        drop(tool::run(Command::new("cp").arg("-a").arg(base).arg(&root)).ok());
        let guardian = Command::new("systemd-nspawn")
            .args(["--register=no", "--keep-unit", "--boot", "--console=pipe"])
            .args(["--private-network", "--directory"])
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut booted = Self {
            guardian,
            init: String::new(),
            root,
        };
        let children = format!("/proc/{0}/task/{0}/children", booted.guardian.id());
        until("the system to be up", || {
            // The first child makes the one that stays.
            let first = fs::read_to_string(&children).unwrap_or_default();
            booted.init = first.split(' ').next()?.to_owned();
            let up = booted.inside(&["systemctl", "is-system-running"]);
            matches!(up.out.trim(), "running" | "degraded").then_some(())
        });
        booted
    }

    /// Runs a program of the system.
    fn inside(&self, line: &[&str]) -> Outcome {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init, "-m", "-u", "-i", "-n", "-p", "--"]);
        command.args([
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C",
        ]);
        tool::run(command.args(line))
    }

    /// A program of ours in the system's network.
    fn beside(&self, line: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init, "-n", "--"]).args(line);
        command
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Installs the package that is there; what was said.
    fn install(&self) -> String {
        let installed = self.inside(&["dpkg", "--install", "/root/postern.deb"]);
        assert_eq!(installed.code, 0, "{installed:?}");
        installed.out + &installed.err
    }

    /// What systemd knows of the service.
    fn property(&self, name: &str) -> String {
        let shown = self.inside(&["systemctl", "show", "-P", name, "postern"]);
        shown.ok().trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        signal(self.guardian.id(), "TERM");
        for _ in 0..200 {
            if !matches!(self.guardian.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // The first process of a system that did not end ends with its guardian.
        let _gone = self.guardian.kill();
        let _reaped = self.guardian.wait();
        let _removed = fs::remove_dir_all(&self.root);
    }
}

/// The system that all runs copy, made at the first.
pub(crate) fn base() -> Option<PathBuf> {
    // Tests that want it at once wait for one of them.
    static BASE: OnceLock<Option<PathBuf>> = OnceLock::new();
    BASE.get_or_init(make_base).clone()
}

fn make_base() -> Option<PathBuf> {
    let base = tool::target().join(format!("debian-{RELEASE}"));
    if base.exists() {
        return Some(base);
    }
    let making = base.with_extension("new");
    let _left_over = fs::remove_dir_all(&making);
    let made = tool::run(
        Command::new("debootstrap")
            .args([
                "--variant=minbase",
                &format!("--include={PACKAGES}"),
                RELEASE,
            ])
            .arg(&making),
    );
    if made.code != 0 {
        eprintln!(
            "skipped: needs a Debian mirror for debootstrap: {}",
            made.out
        );
        return None;
    }
    fs::rename(&making, &base).unwrap();
    Some(base)
}

/// The package around the gateway that is tested.
pub(crate) fn package() -> PathBuf {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(make_package).clone()
}

fn make_package() -> PathBuf {
    let made = tool::run(
        Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "xtask", "--", "deb"])
            .arg(tool::postern()),
    );
    let made = made.ok();
    PathBuf::from(made.lines().last().unwrap())
}

#[test]
fn a_fresh_debian_installs_uses_upgrades_removes_and_purges_it() {
    for needed in [
        "dpkg-buildpackage",
        "dh",
        "lintian",
        "debootstrap",
        "systemd-nspawn",
        "nsenter",
        "curl",
        "openssl",
        "python3",
    ] {
        if !tool::has(needed) {
            return;
        }
    }
    if tool::run(Command::new("id").arg("-u")).out.trim() != "0" {
        eprintln!("skipped: needs root, for debootstrap and systemd-nspawn");
        return;
    }
    let Some(base) = base() else { return };
    let package = package();
    let mut lintian = Command::new("lintian");
    lintian.args(["--no-cfg", "--fail-on", "error,warning"]);
    let said = tool::run(lintian.arg(&package));
    assert_eq!((said.code, said.out.trim()), (0, ""), "{said:?}");

    let root = tool::target().join(format!("debian-test-{}", std::process::id()));
    let system = Container::boot(&base, root);
    fs::copy(&package, system.path("root/postern.deb")).unwrap();
    // So that a watchdog that is not told is noticed here, and the test may restart it often.
    let own = system.path("etc/systemd/system/postern.service.d");
    fs::create_dir_all(&own).unwrap();
    let seconds = WATCHDOG.as_secs();
    fs::write(
        own.join("test.conf"),
        format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\nWatchdogSec={seconds}\n"),
    )
    .unwrap();
    install(&system);
    use_it(&system);
    upgrade(&system);
    crash(&system);
    upgrade_where_that_cannot_be(&system);
    refuse_what_is_wrong(&system);
    remove(&system);
}

fn install(system: &Container) {
    system.install();
    assert_eq!(system.property("ActiveState"), "active");
    for file in [
        "usr/share/man/man1/postern.1.gz",
        "usr/share/man/man5/postern.conf.5.gz",
        "usr/share/bash-completion/completions/postern",
        "usr/share/postern/prometheus/alerts.yml",
        "usr/share/postern/grafana/postern.json",
        "etc/logrotate.d/postern",
        "etc/postern/postern.conf",
    ] {
        assert!(system.path(file).exists(), "{file}");
    }
    // It is active from its start on, and makes its key then.
    let key = until("the key to be made", || {
        fs::metadata(system.path("var/lib/postern/ca.key")).ok()
    });
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    // As there is one before the first start.
    let logs = fs::metadata(system.path("var/log/postern")).unwrap();
    assert_eq!(logs.permissions().mode() & 0o777, 0o750);
    drop(
        system
            .inside(&["logrotate", "--debug", "/etc/logrotate.d/postern"])
            .ok(),
    );
    // Of journald, whatever is its default.
    assert_eq!(system.property("LogRateLimitIntervalUSec"), "30s");
    assert_eq!(system.property("LogRateLimitBurst"), "30000");
    let security = system.inside(&["systemd-analyze", "security", "postern", "--no-pager"]);
    let security = security.out;
    let overall = security
        .lines()
        .find(|line| line.contains("Overall exposure"));
    let exposure = overall.and_then(|line| line.split("service: ").nth(1)?.split(' ').next());
    let exposure: f64 = exposure.unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE_MAX, "{security}");
}

/// The install page's walk to the first 403 and the first 200.
fn use_it(system: &Container) {
    fs::write(system.path("srv/index.html"), "hello from the origin\n").unwrap();
    let mut origin = system
        .beside(&[
            "python3",
            "-m",
            "http.server",
            "9000",
            "--bind",
            "127.0.0.1",
        ])
        .current_dir(system.path("srv"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the origin", || {
        let mut curl = system.beside(&["curl", "--silent", "--fail", "http://127.0.0.1:9000/"]);
        (tool::run(&mut curl).code == 0).then_some(())
    });
    let page = include_str!("../../gateway/docs/install.md");
    let walk = page
        .split("```sh\n")
        .find(|block| block.starts_with("# first-requests"));
    let walk = walk.and_then(|block| block.split("```").next()).unwrap();
    let walked = system.inside(&["bash", "-ec", &format!("cd /root\n{walk}")]);
    let codes: Vec<&str> = walked.out.lines().filter(|line| line.len() == 3).collect();
    assert_eq!(codes, ["403", "200"], "{walked:?}");
    signal(origin.id(), "TERM");
    let _reaped = origin.wait();
}

/// The service as systemd knows it: a restart is another invocation, a process that takes over is not.
fn is_the_same(system: &Container, invocation: &str) {
    assert_eq!(system.property("InvocationID"), invocation);
    assert_eq!(system.property("ActiveState"), "active");
    assert_eq!(system.property("NRestarts"), "0");
}

/// Waits until the service has another main process.
fn main_process_after(system: &Container, before: &str) -> String {
    until("another main process", || {
        let now = system.property("MainPID");
        (now != before && now != "0").then_some(now)
    })
}

fn workers(system: &Container) -> u64 {
    let status = until("the gateway to answer", || {
        let status = system.inside(&["postern", "status", "--json"]);
        (status.code == 0).then(|| status.json())
    });
    status["workers"].as_u64().unwrap()
}

/// What an upgrade finds, it leaves: store, keys, configuration; and the service runs on, its processes
/// alone are others.
fn upgrade(system: &Container) {
    let configuration = system.path("etc/postern/postern.conf");
    let text = fs::read_to_string(&configuration).unwrap() + "\nworkers = 1\n";
    fs::write(&configuration, &text).unwrap();
    let key = fs::read(system.path("var/lib/postern/ca.key")).unwrap();
    let first = system.property("MainPID");
    let invocation = system.property("InvocationID");
    let said = system.install();
    assert!(said.contains("serves in place of"), "{said}");
    let second = main_process_after(system, &first);
    is_the_same(system, &invocation);
    assert_eq!(workers(system), 1);
    assert_eq!(fs::read_to_string(&configuration).unwrap(), text);
    assert_eq!(
        fs::read(system.path("var/lib/postern/ca.key")).unwrap(),
        key
    );
    // By itself, too.
    drop(system.inside(&["postern", "upgrade"]).ok());
    let third = main_process_after(system, &second);
    is_the_same(system, &invocation);
    // And by a reload of what takes a new process.
    let text = text.replace("\nworkers = 1\n", "\nworkers = 2\n");
    fs::write(&configuration, text).unwrap();
    drop(system.inside(&["systemctl", "reload", "postern"]).ok());
    let fourth = main_process_after(system, &third);
    is_the_same(system, &invocation);
    assert_eq!(workers(system), 2);
    // It is this one whose life the watchdog is told of.
    std::thread::sleep(WATCHDOG * 3 / 2);
    is_the_same(system, &invocation);
    assert_eq!(system.property("MainPID"), fourth);
    // And whose death is seen.
    let kill = [
        "systemctl",
        "kill",
        "-s",
        "KILL",
        "--kill-whom=main",
        "postern",
    ];
    drop(system.inside(&kill).ok());
    main_process_after(system, &fourth);
    until("the service to be up again", || {
        (system.property("ActiveState") == "active").then_some(())
    });
    assert_eq!(system.property("NRestarts"), "1");
}

/// Clients, one after the other: what became of each is a line. A gateway answers plain HTTP where TLS is.
const CLIENTS: &str = "
import socket
while True:
    try:
        client = socket.create_connection(('127.0.0.1', 443), 30)
    except ConnectionRefusedError:
        print('refused', flush=True)
        continue
    try:
        client.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
        print('served' if client.recv(100).startswith(b'HTTP/1.1 400') else 'cut', flush=True)
    except OSError:
        print('cut', flush=True)
";

/// It dies, and who connects until it is back is served then. What nobody is to accept from is not kept.
fn crash(system: &Container) {
    let mut clients = system
        .beside(&["python3", "-c", CLIENTS])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let outcomes = Arc::<Mutex<BTreeMap<String, usize>>>::default();
    let lines = BufReader::new(clients.stdout.take().unwrap()).lines();
    let counting = outcomes.clone();
    let told = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            *counting.lock().unwrap().entry(line).or_default() += 1;
        }
    });
    let served = || outcomes.lock().unwrap().get("served").copied();
    let goes_on = || {
        let before = served();
        until("clients to be served", || (served() > before).then_some(()));
    };
    let die = || {
        let before = system.property("MainPID");
        let kill = "systemctl kill -s KILL --kill-whom=main postern";
        drop(system.inside(&kill.split(' ').collect::<Vec<_>>()).ok());
        before
    };
    let is_back = |before: &str| {
        main_process_after(system, before);
        until("the service to be up again", || {
            (system.property("ActiveState") == "active").then_some(())
        });
    };
    let restarts: u64 = system.property("NRestarts").parse().unwrap();
    for round in 1..=2 {
        goes_on();
        is_back(&die());
        goes_on();
        assert_eq!(system.property("NRestarts"), (restarts + round).to_string());
    }
    signal(clients.id(), "TERM");
    let _reaped = clients.wait();
    told.join().unwrap();
    let mut outcomes = outcomes.lock().unwrap().clone();
    // The one that each was busy with.
    let cut = outcomes.remove("cut").unwrap_or_default();
    assert!(cut <= 2, "{cut} {outcomes:?}");
    let kinds: Vec<&String> = outcomes.keys().collect();
    assert_eq!(kinds, ["served"], "{outcomes:?}");

    let connects = |port: &str| {
        let url = format!("http://127.0.0.1:{port}/");
        let curl = ["curl", "--silent", "--max-time", "20", &url];
        let code = tool::run(&mut system.beside(&curl)).code;
        // 7: it was refused.
        code != 7
    };
    let kept = |count: &str| {
        until(&format!("{count} sockets to be kept"), || {
            (system.property("NFileDescriptorStore") == count).then_some(())
        });
    };
    // Two workers, two addresses of a port.
    kept("4");
    let own = system.path("etc/postern/postern.d/own.conf");
    fs::write(&own, "listen = *:443, *:444\n").unwrap();
    let before = system.property("MainPID");
    drop(system.inside(&["systemctl", "reload", "postern"]).ok());
    main_process_after(system, &before);
    kept("8");
    assert!(connects("443") && connects("444"));
    fs::remove_file(&own).unwrap();
    is_back(&die());
    kept("4");
    assert!(connects("443") && !connects("444"));
    // What somebody has to mend is not waited for.
    fs::write(&own, "worker = 1\n").unwrap();
    die();
    until("the start to fail", || {
        (system.property("ActiveState") == "failed").then_some(())
    });
    assert_eq!(system.property("ExecMainStatus"), "78");
    kept("0");
    assert!(!connects("443"));
    fs::remove_file(&own).unwrap();
    drop(system.inside(&["systemctl", "restart", "postern"]).ok());
    kept("4");
    drop(system.inside(&["systemctl", "stop", "postern"]).ok());
    kept("0");
    assert!(!connects("443"));
    drop(system.inside(&["systemctl", "start", "postern"]).ok());
    workers(system);
}

/// A version that would not start, or that cannot take over, leaves the one before running; only where nobody
/// answers is the service started anew.
fn upgrade_where_that_cannot_be(system: &Container) {
    drop(system.inside(&["systemctl", "restart", "postern"]).ok());
    let (process, invocation) = (system.property("MainPID"), system.property("InvocationID"));
    workers(system);
    let own = system.path("etc/postern/postern.d/own.conf");
    fs::write(&own, "worker = 1\n").unwrap();
    let said = system.install();
    assert!(said.contains("the version before runs on"), "{said}");
    assert!(said.contains("`workers`"), "{said}");
    is_the_same(system, &invocation);
    assert_eq!(system.property("MainPID"), process);
    // The same where `postern check` finds nothing: another program has the address.
    let mut other = system
        .beside(&["python3", "-m", "http.server", "444"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the other program", || {
        let mut curl = system.beside(&["curl", "--silent", "http://127.0.0.1:444/"]);
        (tool::run(&mut curl).code == 0).then_some(())
    });
    fs::write(&own, "listen = *:443, *:444\n").unwrap();
    let said = system.install();
    assert!(said.contains("the version before runs on"), "{said}");
    assert!(!said.contains("nor would it start"), "{said}");
    is_the_same(system, &invocation);
    assert_eq!(system.property("MainPID"), process);
    signal(other.id(), "TERM");
    let _reaped = other.wait();
    // Where nobody is to be asked.
    fs::remove_file(&own).unwrap();
    let own = system.path("usr/lib/postern.d/own.conf");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(&own, " - admin/socket = /run/postern/another.sock\n").unwrap();
    let said = system.install();
    assert!(said.contains("is restarted"), "{said}");
    main_process_after(system, &process);
    assert_ne!(system.property("InvocationID"), invocation);
    // There it is, then.
    let (process, invocation) = (system.property("MainPID"), system.property("InvocationID"));
    until("its socket", || {
        let look = system.inside(&["test", "-S", "/run/postern/another.sock"]);
        (look.code == 0).then_some(())
    });
    let said = system.install();
    assert!(said.contains("serves in place of"), "{said}");
    main_process_after(system, &process);
    is_the_same(system, &invocation);
    fs::remove_file(&own).unwrap();
    drop(system.inside(&["systemctl", "restart", "postern"]).ok());
}

/// What a package's script does on this machine, with programs in the place of systemd's and of ours.
struct Script {
    directory: fixtures::Directory,
}

impl Script {
    fn new() -> Self {
        let directory = fixtures::Directory::new();
        for folder in ["bin", "run/systemd/system"] {
            fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A program that writes down how it was called.
    fn program(&self, name: &str, does: &str) {
        let calls = self.path("calls");
        let path = self.path("bin").join(name);
        let text = format!(
            "#!/bin/sh\necho \"${{0##*/}} $*\" >>{}\n{does}\n",
            calls.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The calls, with the paths that they have where it is installed, and what was said.
    fn upgrade(&self) -> (Vec<String>, String) {
        let here = self.directory.path().display().to_string();
        let mut text = include_str!("../../gateway/packaging/debian/postern.postinst").to_owned();
        for folder in ["/run/", "/usr/sbin/"] {
            text = text.replace(folder, &format!("{here}{folder}"));
        }
        let script = self.path("postinst");
        fs::write(&script, text).unwrap();
        let _none = fs::remove_file(self.path("calls"));
        let path = format!("{here}/bin:/usr/bin:/bin");
        let mut command = Command::new("sh");
        command.arg(&script).args(["configure", "0.0.1-1"]);
        let done = tool::run(command.env("PATH", path));
        assert_eq!(done.code, 0, "{done:?}");
        let calls = fs::read_to_string(self.path("calls")).unwrap();
        let calls = calls.replace(&here, "");
        (
            calls.lines().map(str::to_owned).collect(),
            done.out + &done.err,
        )
    }
}

#[test]
fn the_package_restarts_only_where_nobody_answers() {
    let script = Script::new();
    // What systemd does not say keeps nobody from being upgraded.
    script.program("systemctl", "[ \"$1\" != show ]");
    script.program("deb-systemd-invoke", "");
    let does = |upgrade: u8, status: u8, check: u8| {
        let does = format!(
            "case \"$*\" in *--status) exit {status};; *upgrade*) exit {upgrade};; check) exit {check};; esac"
        );
        script.program("postern", &does);
        let (calls, said) = script.upgrade();
        let asked = "postern upgrade /usr/bin/postern";
        assert!(calls.iter().any(|call| call == asked), "{calls:?}");
        let is_restarted = calls
            .iter()
            .any(|call| call == "deb-systemd-invoke restart postern.service");
        (is_restarted, said)
    };
    for (upgrade, status, check, restarts, says) in [
        (0, 0, 0, false, "postern: "),
        (1, 0, 0, false, "the version before runs on"),
        (1, 0, 78, false, "nor would it start"),
        (1, 1, 0, true, "is restarted"),
        (1, 1, 78, false, "nor would it start"),
    ] {
        let (is_restarted, said) = does(upgrade, status, check);
        assert_eq!(is_restarted, restarts, "{upgrade} {status} {check}: {said}");
        assert!(said.contains(says), "{upgrade} {status} {check}: {said}");
    }
}

/// A configuration or a key that somebody has to mend ends the start, once.
fn refuse_what_is_wrong(system: &Container) {
    let configuration = system.path("etc/postern/postern.conf");
    let text = fs::read_to_string(&configuration).unwrap();
    let is_refused = || {
        // It may be called started before it has found out.
        let _started = system.inside(&["systemctl", "restart", "postern"]);
        until("the start to fail", || {
            (system.property("ActiveState") == "failed").then_some(())
        });
        assert_eq!(system.property("ExecMainStatus"), "78");
        assert_eq!(system.property("NRestarts"), "0");
    };
    fs::write(&configuration, text.clone() + "worker = 1\n").unwrap();
    is_refused();
    fs::write(&configuration, text).unwrap();
    let key = system.path("var/lib/postern/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    is_refused();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    drop(system.inside(&["systemctl", "restart", "postern"]).ok());
    until("the gateway to answer", || {
        (system.inside(&["postern", "status"]).code == 0).then_some(())
    });
}

fn remove(system: &Container) {
    drop(system.inside(&["dpkg", "--remove", "postern"]).ok());
    assert!(!system.path("usr/bin/postern").exists());
    for kept in [
        "var/lib/postern/ca.key",
        "var/lib/postern/store.redb",
        "etc/postern/postern.conf",
    ] {
        assert!(system.path(kept).exists(), "{kept}");
    }
    drop(system.inside(&["dpkg", "--purge", "postern"]).ok());
    for gone in [
        "var/lib/postern",
        "var/log/postern",
        "etc/postern",
        "etc/logrotate.d/postern",
    ] {
        assert!(!system.path(gone).exists(), "{gone}");
    }
    // systemctl ends with 1 when it has nothing to list.
    let units = system.inside(&["systemctl", "list-unit-files", "postern*", "--output=json"]);
    assert_eq!((units.code, units.out.trim()), (1, "[]"), "{units:?}");
}
