//! Commands as people type them, against a real admin API on a socket of its own. Only workers are
//! missing.

mod many;

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::Value;

use super::*;
use admin::NoFleet;
use config::{Config, Live};
use control::Control;
use datapath::observe::spans::Spans;
use datapath::observe::{AccessLog, Events, SteeringStatus, WorkerStats, Workers, WorkersStatus};
use snapshot::Published;

struct NoWorkers;

impl Workers for NoWorkers {
    fn collect(&self) -> Pin<Box<dyn Future<Output = Vec<WorkerStats>> + Send + '_>> {
        Box::pin(async { vec![WorkerStats::new(0)] })
    }

    fn ready(&self) -> bool {
        true
    }

    fn status(&self) -> WorkersStatus {
        WorkersStatus {
            workers: 1,
            draining: false,
        }
    }

    fn steering(&self) -> SteeringStatus {
        SteeringStatus {
            mode: "off",
            reason: Some("a test".into()),
            ..SteeringStatus::default()
        }
    }
}

fn at(socket: PathBuf) -> Target {
    Target {
        socket: Some(socket),
        ..Target::default()
    }
}

/// A gateway without workers, in a directory that goes with it.
struct Gateway {
    directory: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Gateway {
    fn start(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("postern-cli-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        let published = Arc::new(Published::default());
        let control = Control::open(&directory.join("store.redb"), published.clone()).unwrap();
        let state = admin::State {
            upgrades: Arc::new(admin::Upgrades::new(None).0),
            fleet: Arc::new(NoFleet::new(NoFleet::NOT_SET, control.clone())),
            lists: fetch::CrlFetcher::new(control.clone()),
            responders: fetch::OcspClient::new(control.clone(), Arc::default()),
            stapler: fetch::Stapler::new(control.clone(), Default::default),
            acme: fetch::AcmeClient::new(control.clone(), fetch::AcmeSettings::default()),
            health: fetch::HealthChecker::new(published.clone()),
            names: fetch::NameWatch::new(control.clone(), published.clone()),
            control,
            published,
            workers: Arc::new(NoWorkers),
            live: Arc::new(Live::new(Config {
                workers: 1,
                ..Config::default()
            })),
            access_log: AccessLog::off(),
            spans: Arc::new(Spans::new(false)),
            plain: Arc::default(),
            events: Events::new(1),
            started: SystemTime::now(),
            begun: Instant::now(),
        };
        let listen = admin::Listen {
            socket: directory.join("s"),
            tcp: None,
            tls: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let serving = runtime.block_on(admin::serve(listen, state)).unwrap();
        runtime.spawn(serving);
        let client = Client::new(&at(directory.join("s"))).unwrap();
        let start = Instant::now();
        while !client.ready() {
            assert!(
                start.elapsed().as_secs() < 20,
                "the admin API does not start"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self {
            directory,
            _runtime: runtime,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// What a command prints, or its error.
    fn try_run(&self, arguments: &[&str]) -> Result<String, CliError> {
        let socket = self.path("s");
        let all = ["postern", "--socket", &socket]
            .into_iter()
            .chain(arguments.iter().copied());
        let cli = Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        cli.command.unwrap().run(&cli.target, cli.json)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    #[track_caller]
    fn fail(&self, arguments: &[&str]) -> String {
        match self.try_run(arguments) {
            Ok(text) => panic!("{arguments:?} should have failed, and printed {text}"),
            Err(error) => {
                assert_eq!(error.exit_code(), 1, "{error}");
                error.to_string()
            }
        }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

#[track_caller]
fn contains(text: &str, wanted: &[&str]) {
    for one in wanted {
        assert!(text.contains(one), "`{one}` is not in:\n{text}");
    }
}

const ZONE: [&str; 2] = ["--zone", "example.test"];

#[test]
fn zones_and_hosts() {
    let gateway = Gateway::start("hosts");
    contains(&gateway.run(&["zone", "list"]), &["no zones"]);
    contains(
        &gateway.run(&["zone", "create", "example.test"]),
        &["made the zone example.test"],
    );
    contains(
        &gateway.fail(&["zone", "create", "example.test"]),
        &["example.test"],
    );
    contains(
        &gateway.run(&["zone", "show", "Example.Test."]),
        &["name", "example.test"],
    );
    let id = gateway.json(&["zone", "show", "example.test"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    contains(&gateway.run(&["zone", "show", &id]), &["example.test"]);
    contains(
        &gateway.run(&["zone", "ca", "example.test"]),
        &["-----BEGIN CERTIFICATE-----"],
    );

    let add = [
        "host",
        "add",
        "api.example.test",
        "--zone",
        "example.test",
        "--origin",
        "http://127.0.0.1:9000",
    ];
    let text = gateway.run(&[&add[..], &["--mtls", "request"]].concat());
    contains(
        &text,
        &[
            "added api.example.test",
            "mtls",
            "request",
            "no server certificate covers it yet",
        ],
    );
    contains(
        &gateway.run(&["status"]),
        &["1, of which 1 have no server certificate"],
    );
    contains(&gateway.fail(&add), &["api.example.test"]);
    let text = gateway.run(&["host", "set", "api.example.test", "--development-cert"]);
    contains(&text, &["Postern development CA"]);
    contains(
        &gateway.run(&["zone", "ca", "--development"]),
        &["-----BEGIN CERTIFICATE-----"],
    );
    let text = gateway.run(&[
        "host",
        "set",
        "api.example.test",
        "--mtls",
        "require",
        "--origin-host-header",
        "inner.test",
    ]);
    contains(&text, &["require", "http://127.0.0.1:9000", "inner.test"]);
    contains(
        &gateway.run(&["host", "list"]),
        &["HOST", "api.example.test", "require"],
    );
    contains(
        &gateway.run(&["host", "list", "--zone", "example.test"]),
        &["api.example.test"],
    );
    contains(
        &gateway.fail(&["host", "show", "other.example.test"]),
        &["other.example.test"],
    );
    contains(
        &gateway.fail(&["host", "list", "--zone", "other.test"]),
        &["there is no zone `other.test`", "zone create"],
    );
    let zone_delete = ["zone", "delete", "example.test"];
    let refused = gateway.try_run(&zone_delete).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    contains(&refused.to_string(), &["1 host", "1 CA key"]);
    gateway.run(&["host", "delete", "api.example.test", "--yes"]);
    contains(&gateway.run(&["host", "list"]), &["no hosts"]);
    let refused = gateway.try_run(&zone_delete).unwrap_err();
    contains(&refused.to_string(), &["for good: 1 CA key"]);
    gateway.run(&["zone", "delete", "example.test", "--yes"]);
    contains(&gateway.run(&["zone", "list"]), &["no zones"]);
}

#[test]
fn certificates() {
    let gateway = Gateway::start("certs");
    gateway.run(&["zone", "create", "example.test"]);
    let create = |name: &str| {
        gateway.run(
            &[
                &[
                    "cert",
                    "create",
                    "--cn",
                    name,
                    "--days",
                    "30",
                    "--out",
                    &gateway.path(""),
                ],
                &ZONE[..],
            ]
            .concat(),
        )
    };
    contains(&create("device-1"), &["device-1.pem", "active"]);
    create("device-2");
    let key = fs::metadata(gateway.path("device-1.key")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777,
        0o600
    );
    contains(
        &fs::read_to_string(gateway.path("device-1.key")).unwrap(),
        &["PRIVATE KEY"],
    );
    contains(
        &fs::read_to_string(gateway.path("device-1.pem")).unwrap(),
        &["BEGIN CERTIFICATE"],
    );
    let again = [
        "cert",
        "create",
        "--cn",
        "device-1",
        "--out",
        &gateway.path(""),
    ];
    contains(
        &gateway.fail(&[&again[..], &ZONE].concat()),
        &["device-1.pem already exists"],
    );
    contains(
        &gateway.run(&[&["cert", "create", "--cn", "x"], &ZONE[..]].concat()),
        &["BEGIN CERTIFICATE", "PRIVATE KEY"],
    );
    let all = gateway.json(&[&["cert", "list"], &ZONE[..]].concat());
    assert_eq!(all.as_array().unwrap().len(), 3);
    contains(
        &gateway.run(&[&["cert", "list"], &ZONE[..]].concat()),
        &["COMMON NAME", "device-2"],
    );
    let first = gateway.json(&[&["cert", "show", "device-1"], &ZONE[..]].concat());
    for key in ["id", "serial_number", "fingerprint_sha256"] {
        let by = first[key].as_str().unwrap();
        assert_eq!(
            gateway.json(&[&["cert", "show", by], &ZONE[..]].concat())["id"],
            first["id"],
            "{key}"
        );
    }
    let id = first["id"].as_str().unwrap();
    contains(
        &gateway.run(&[&["cert", "show", &id[..10], "--pem"], &ZONE[..]].concat()),
        &["BEGIN CERTIFICATE"],
    );
    contains(
        &gateway.run(&[&["cert", "revoke", "device-1"], &ZONE[..]].concat()),
        &["revoked"],
    );
    let revoked = gateway.run(&[&["cert", "list", "--status", "revoked"], &ZONE[..]].concat());
    assert!(
        revoked.contains("device-1") && !revoked.contains("device-2"),
        "{revoked}"
    );
    contains(
        &gateway.run(&[&["cert", "restore", "device-1"], &ZONE[..]].concat()),
        &["restored", "active"],
    );
    contains(
        &gateway.fail(&[&["cert", "revoke", "nobody"], &ZONE[..]].concat()),
        &["there is no certificate `nobody`"],
    );
    fs::write(gateway.path("bad.csr"), "nonsense").unwrap();
    gateway.fail(
        &[
            &["cert", "sign", "--csr", &gateway.path("bad.csr")],
            &ZONE[..],
        ]
        .concat(),
    );
}

#[test]
fn rules() {
    let gateway = Gateway::start("rules");
    gateway.run(&["zone", "create", "example.test"]);
    let list = || gateway.run(&[&["rule", "list"], &ZONE[..]].concat());
    contains(&list(), &["no rules"]);
    let add = |expression: &str, more: &[&str]| {
        gateway.run(
            &[
                &["rule", "add", "--expression", expression],
                &ZONE[..],
                more,
            ]
            .concat(),
        )
    };
    contains(
        &add("http.host eq \"a\"", &["--description", "first"]),
        &["added #1 of 1\n", "block", "first"],
    );
    let second = add("http.host eq \"b\"", &["--action", "log"]);
    contains(&second, &["added #2 of 2\n", "http.host eq \"b\""]);
    assert!(!second.contains("first"), "only what changed: {second}");
    add(
        "http.host eq \"c\"",
        &[
            "--position",
            "first",
            "--status",
            "451",
            "--content",
            "gone",
        ],
    );
    let order = || {
        let rules = gateway.json(&[&["rule", "list"], &ZONE[..]].concat());
        let letter = |rule: &Value| {
            rule["expression"]
                .as_str()
                .unwrap()
                .chars()
                .rev()
                .nth(1)
                .unwrap()
        };
        rules
            .as_array()
            .unwrap()
            .iter()
            .map(letter)
            .collect::<String>()
    };
    assert_eq!(order(), "cab");
    contains(
        &gateway.run(&[&["rule", "move", "#1", "--after", "#2"], &ZONE[..]].concat()),
        &["moved #2 of 3\n"],
    );
    assert_eq!(order(), "acb");
    gateway.run(&[&["rule", "move", "#3", "--position", "1"], &ZONE[..]].concat());
    assert_eq!(order(), "bac");
    gateway.run(
        &[
            &[
                "rule",
                "edit",
                "#2",
                "--disable",
                "--expression",
                "http.host eq \"d\"",
            ],
            &ZONE[..],
        ]
        .concat(),
    );
    contains(&list(), &["no       block", "http.host eq \"d\""]);
    gateway.run(&[&["rule", "delete", "#1"], &ZONE[..]].concat());
    assert_eq!(order(), "dc");
    let rules = gateway.json(&[&["rule", "list"], &ZONE[..]].concat());
    assert_eq!(
        rules[1]["action_parameters"]["response"]["status_code"],
        451
    );
    let error = gateway.fail(
        &[
            &["rule", "add", "--expression", "http.hst eq \"a\""],
            &ZONE[..],
        ]
        .concat(),
    );
    contains(&error, &["parsing error", "http.hst", "^"]);
    contains(
        &gateway.fail(&["rule", "preview", "ssl and"]),
        &["parsing error", "^"],
    );
    let text = gateway.run(&["rule", "preview", "not cf.tls_client_auth.cert_verified"]);
    contains(
        &text,
        &[
            "warning: ",
            "help: not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked",
        ],
    );
    contains(&gateway.run(&["rule", "preview", "ssl"]), &["ssl\n"]);
}

#[test]
fn keys_and_status() {
    let gateway = Gateway::start("sysctl");
    contains(
        &gateway.run(&["sysctl", "-a"]),
        &["timeout.idle = 75s\n", "workers = 1\n", "listen = "],
    );
    assert_eq!(
        gateway.run(&["sysctl", "-a", "-N", "--pattern", "forward."]),
        "forward.x_forwarded\nforward.forwarded\n"
    );
    assert_eq!(gateway.run(&["sysctl", "-n", "timeout.idle"]), "75s\n");
    assert_eq!(
        gateway.run(&["sysctl", "-w", "timeout.idle=5s"]),
        "timeout.idle = 5s\n"
    );
    assert_eq!(
        gateway.run(&["sysctl", "timeout/idle"]),
        "timeout.idle = 5s\n"
    );
    assert_eq!(gateway.run(&["sysctl", "-q", "timeout.idle = 6s"]), "");
    contains(
        &gateway.fail(&["sysctl", "-w", "timeout.idle=6"]),
        &["has no unit"],
    );
    contains(
        &gateway.fail(&["sysctl", "-w", "workers=2"]),
        &["needs a new process"],
    );
    contains(
        &gateway.fail(&["sysctl", "timeout.idel"]),
        &["did you mean `timeout.idle`"],
    );
    assert_eq!(
        gateway.run(&["sysctl", "-e", "-n", "timeout.idel", "timeout.idle"]),
        "6s\n"
    );
    assert_eq!(
        gateway
            .try_run(&["sysctl", "-w", "timeout.idle"])
            .unwrap_err()
            .exit_code(),
        2
    );
    let file = gateway.path("p.conf");
    fs::write(&file, "timeout.idle = 7s\nlimit.h2_streams = 50\n").unwrap();
    assert_eq!(
        gateway.run(&["sysctl", "-p", &file]),
        "timeout.idle = 7s\nlimit.h2_streams = 50\n"
    );
    fs::write(&file, "workers = 2\ntimeout.idle = 8s\n").unwrap();
    contains(
        &gateway.fail(&["sysctl", "-q", "-p", &file]),
        &["p.conf:1: `workers` is taken by a new process"],
    );
    assert_eq!(
        gateway.run(&["sysctl", "-n", "timeout.idle"]),
        "8s\n",
        "the other lines still count"
    );
    fs::write(&file, "timeout.idel = 7s\n").unwrap();
    assert_eq!(
        gateway
            .try_run(&["sysctl", "-p", &file])
            .unwrap_err()
            .exit_code(),
        78
    );
    contains(
        &gateway.run(&["status"]),
        &["version", "running", "off (a test)"],
    );
    assert_eq!(gateway.json(&["status"])["workers"], 1);
}

#[test]
fn tokens() {
    let gateway = Gateway::start("tokens");
    gateway.run(&["zone", "create", "example.test"]);
    contains(&gateway.run(&["token", "list"]), &["no tokens"]);
    let text = gateway.run(&[
        "token",
        "create",
        "robot",
        "--scope",
        "read,rules",
        "--zone",
        "example.test",
    ]);
    contains(&text, &["token", "Authorization: Bearer"]);
    contains(
        &gateway.run(&["token", "list"]),
        &["robot", "rules", "active"],
    );
    let id = gateway.json(&["token", "list"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    contains(
        &gateway.run(&["token", "delete", &id[..8]]),
        &["removed the token robot"],
    );
}

#[test]
fn nobody_there() {
    let client = Client::new(&at("/nowhere/at/all.sock".into())).unwrap();
    let error = status::status(&client, false).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    contains(
        &error.to_string(),
        &["/nowhere/at/all.sock", "postern run", "--socket"],
    );
}

#[test]
fn certificate_authorities() {
    let gateway = Gateway::start("cas");
    gateway.run(&["zone", "create", "example.test"]);
    let list = gateway.json(&[&["ca", "list"], &ZONE[..]].concat());
    let (id, name) = (
        list[0]["id"].as_str().unwrap().to_owned(),
        list[0]["name"].as_str().unwrap().to_owned(),
    );
    for by in [&id[..], &id[..8], &name] {
        contains(
            &gateway.run(&[&["ca", "show", by], &ZONE[..]].concat()),
            &[&id, &name, "issues", "true", "expires"],
        );
    }
    let pem = gateway.run(&[&["ca", "show", &id, "--pem"], &ZONE[..]].concat());
    contains(&pem, &["-----BEGIN CERTIFICATE-----"]);

    // The zone's CA as if a partner had brought it, to another gateway.
    let other = Gateway::start("cas-uploaded");
    let file = gateway.path("partner.pem");
    fs::write(&file, pem).unwrap();
    other.run(&["ca", "upload", "--name", "partner", &file]);
    contains(
        &other.run(&["ca", "show", "partner"]),
        &["partner", "issuer", "serial", "no host", "ca associate"],
    );
    other.run(&["zone", "create", "example.test"]);
    let host = [
        "host",
        "add",
        "api.example.test",
        "--origin",
        "http://127.0.0.1:9",
    ];
    other.run(&[&host[..], &ZONE].concat());
    let associate = ["ca", "associate", "--ca", "partner", "api.example.test"];
    other.run(&[&associate[..], &ZONE].concat());
    contains(
        &other.run(&["ca", "show", "partner"]),
        &["trusted by", "api.example.test"],
    );
    assert_eq!(
        other.json(&["ca", "show", "partner"])["hosts"][0],
        "api.example.test"
    );
    contains(&other.fail(&["ca", "show", "nobody"]), &["ca list"]);
    let id = other.json(&["ca", "show", "partner"])["id"].clone();
    let begins = &id.as_str().unwrap()[..6];
    for ca in ["partner", begins] {
        contains(
            &other.run(&["crl", "set", ca, "--policy", "hard"]),
            &["policy: hard"],
        );
        contains(&other.run(&["crl", "show", ca]), &["policy: hard"]);
        let url = ["--url", "http://ocsp.test/"];
        let set = other.run(&[&["ocsp", "set", ca], &url[..]].concat());
        contains(&set, &["http://ocsp.test/"]);
    }
    for subject in ["crl", "ocsp"] {
        contains(&other.fail(&[subject, "show", "nobody"]), &["ca list"]);
    }
}

#[test]
fn a_doctor_without_a_name_looks_at_every_host() {
    let gateway = Gateway::start("doctor");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    contains(&gateway.run(&["doctor"]), &["no hosts", "host add"]);
    for zone in ["example.test", "other.test"] {
        gateway.run(&["zone", "create", zone]);
    }
    let add = |host: &str, zone: &str, mtls: &str| {
        let origin = ["--origin", &url, "--mtls", mtls];
        gateway.run(&[&["host", "add", host, "--zone", zone], &origin[..]].concat());
        gateway.run(&["host", "set", host, "--development-cert"]);
    };
    add("api.example.test", "example.test", "require");
    add("api.other.test", "other.test", "require");
    contains(
        &gateway.run(&["doctor"]),
        &["api.example.test\n", "api.other.test\n", "none is needed"],
    );
    // What was switched off on purpose is told, and is no failure.
    add("open.example.test", "example.test", "off");
    contains(
        &gateway.run(&["doctor"]),
        &[
            "open.example.test\n",
            "does not ask for client certificates",
        ],
    );
    gateway.run(&["host", "set", "open.example.test", "--mtls", "request"]);
    contains(
        &gateway.fail(&["doctor"]),
        &["open.example.test does not have all"],
    );
    contains(
        &gateway.fail(&["doctor", "open.example.test"]),
        &["open.example.test does not have all"],
    );
    gateway.run(&["doctor", "api.example.test"]);
    gateway.run(&["host", "delete", "open.example.test", "--yes"]);
    let all = gateway.json(&["doctor"]);
    let hosts: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["host"])
        .collect();
    assert_eq!(hosts, ["api.example.test", "api.other.test"]);
    let one = gateway.json(&["doctor", "api.example.test"]);
    assert_eq!(all[0]["findings"], one, "one host is told as before");
}
