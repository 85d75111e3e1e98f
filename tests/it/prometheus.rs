//! The alert rules and the dashboard that come with the gateway, tried with a real Prometheus that
//! scrapes a real gateway: every panel has data, the right alerts fire, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::new_loopback;
use serde_json::{Value, json};
use tests::crl::CrlSpec;
use tests::gateway::{ZONE, new_directory};
use tests::ocsp::{OcspSpec, Status};
use tests::pki::Spec;
use tests::server::{CaServer, Manner};
use tests::tool::{self, has, run};
use tests::wait::{self, PATIENCE};
use tests::{Authority, Client, Gateway, Identity, Origin, Setup};

/// Asks for client certificates.
const HOST: &str = "api.example.test";
/// Has an origin of two addresses, of which one goes away.
const POOL: &str = "pool.example.test";
/// Has an origin that refuses connections.
const DOWN: &str = "down.example.test";
/// What the scrape is named, as the rules want it.
const JOB: &str = "postern";

/// Panels that have no data here, and why.
const WITHOUT_DATA: [(&str, &str); 2] = [
    (
        "Segments that the kernel judged",
        "the gateway listens on loopback, where the kernel does not steer",
    ),
    ("ClientHellos that the kernel judged, by host", "the same"),
];

/// The alerts for what `World::break_things` breaks.
const BROKEN: [&str; 4] = [
    "PosternOriginAddressDown",
    "PosternOriginFails",
    "PosternReloadRefused",
    "PosternRevocationSourceFails",
];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of what is handed out.
fn packaging(name: &str) -> PathBuf {
    let path = root().join("gateway/packaging").join(name);
    path.canonicalize().unwrap()
}

fn rules() -> String {
    fs::read_to_string(packaging("prometheus/alerts.yml")).unwrap()
}

/// Whether Debian's package `prometheus`, or another with the same programs, is installed.
fn installed() -> bool {
    ["prometheus", "promtool"].into_iter().all(has)
}

/// A Prometheus that scrapes one gateway each second, until it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Prometheus {
    fn start(target: &str, token: &str) -> Self {
        let directory = new_directory();
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [packaging("prometheus/alerts.yml")],
            "scrape_configs": [{
                "job_name": JOB,
                "authorization": { "credentials_file": file("token", token) },
                "static_configs": [{ "targets": [target] }],
            }],
        });
        // Whatever is JSON is YAML.
        let config = file("prometheus.yml", &config.to_string());
        let address = new_loopback();
        let log = fs::File::create(directory.join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let mut started = Self {
            child,
            address,
            directory,
        };
        wait::until("Prometheus to be ready", || {
            let log = || fs::read_to_string(started.directory.join("log")).unwrap();
            let ended = started.child.try_wait().unwrap();
            assert!(ended.is_none(), "Prometheus ended: {}", log());
            let (head, _) = started.get("/-/ready")?;
            head.starts_with("HTTP/1.0 200 ").then_some(())
        });
        started
    }

    /// Head and body; nothing when it does not listen yet.
    fn get(&self, path: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.into(), body.into()))
    }

    /// `data` of an answer of its API.
    #[track_caller]
    fn data(&self, path: &str) -> Value {
        let (_, body) = self.get(path).unwrap();
        let mut answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    /// What an expression comes to now: series without a number in them are none.
    #[track_caller]
    fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.data(&format!("/api/v1/query?query={}", escaped(expression)));
        let mut found = data["result"].as_array().unwrap().clone();
        found.retain(|series| series["value"][1] != "NaN");
        found
    }

    /// The alerts that fire, or will when they have gone on for long enough.
    fn alerts(&self) -> BTreeSet<String> {
        let data = self.data("/api/v1/alerts");
        let all = data["alerts"].as_array().unwrap();
        for alert in all {
            let said = alert["annotations"].to_string();
            assert!(!said.contains("error expanding"), "{alert}");
        }
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        all.iter().map(name).collect()
    }

    /// Alerts beside these that stay. One scrape that a busy machine lets time out has some of them wait until the
    /// next one.
    fn strange(&self, known: &BTreeSet<String>) -> BTreeSet<String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut strange = &self.alerts() - known;
        while !strange.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            strange = &strange & &self.alerts();
        }
        strange
    }

    /// The rules as it has read them.
    fn rules(&self) -> Vec<Value> {
        let data = self.data("/api/v1/rules");
        data["groups"][0]["rules"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// As RFC 3986 §2.1 wants it in a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A gateway with a bit of everything that is measured.
struct World {
    gateway: Gateway,
    /// Where it is scraped.
    admin: String,
    device: Identity,
    /// The uploaded CA with lists and a responder.
    authority: String,
    lists: CaServer,
    responders: [CaServer; 2],
    _origins: [Origin; 2],
    /// The address of [`POOL`]'s origin that goes away.
    spare: Option<Origin>,
}

impl World {
    fn new() -> Self {
        let (origin, first, spare) = (Origin::echo(), Origin::echo(), Origin::echo());
        let admin = new_loopback().to_string();
        let gateway = Setup::new()
            // In no fleet yet, and nobody is asked: its metrics are there.
            .set("fleet.name", "prod")
            .set("fleet.etcd", "http://127.0.0.1:9")
            .set("admin.listen", &admin)
            .set("control.private_origins", "allow")
            .set("ocsp.staple", "on")
            .host(HOST, "require", &origin.url())
            .host_with(
                POOL,
                "off",
                &json!({
                    "addresses": [{ "url": first.url() }, { "url": spare.url() }],
                    "health": { "kind": "tcp", "interval_sec": 1, "unhealthy": 1, "healthy": 1 },
                    "limits": { "requests": 100, "connections": 50 },
                }),
            )
            .host(DOWN, "off", &format!("http://{}", new_loopback()))
            .block(r#"http.request.uri.path eq "/no""#)
            .start();
        let partners = Authority::root("Partners");
        let authority = gateway.upload(&partners);
        gateway.associate(&authority, &[HOST]);
        let device = partners.client("device");
        let good = OcspSpec::new(Status::Good);
        let responder = CaServer::start(Manner::body(good.sign(&partners, &device)));
        let list = CrlSpec::revoking(1, &[]).sign(&partners);
        let lists = CaServer::start(Manner::body(list.clone()));
        let stapler = CaServer::start(Manner::Close);
        let issuing = gateway.servers.intermediate(&Spec::authority("Issuing CA"));
        let server = issuing.issue(&Spec {
            responder: Some(stapler.url("/")),
            ..Spec::server(&[HOST])
        });
        stapler.set(Manner::body(good.sign(&issuing, &server)));
        let world = Self {
            gateway,
            admin,
            device,
            authority,
            lists,
            responders: [responder, stapler],
            _origins: [origin, first],
            spare: Some(spare),
        };
        world.revocation(&list);
        let path = format!(
            "/client/v4/zones/{}/custom_certificates",
            world.gateway.zone_id(ZONE)
        );
        let body = json!({ "certificate": server.chain_pem(), "private_key": server.key_pem() });
        drop(world.gateway.admin.call("POST", &path, &body).result());
        world
    }

    /// Lists from a file and from a server, and a responder.
    fn revocation(&self, list: &[u8]) {
        let file = self.gateway.file("list.der");
        fs::write(&file, list).unwrap();
        let (lists, [responder, _]) = (self.lists.url("/list.crl"), &self.responders);
        let (file, responder) = (file.to_str().unwrap(), responder.url("/"));
        let set = [
            "crl",
            "set",
            &self.authority,
            "--watch",
            file,
            "--url",
            &lists,
        ];
        drop(self.gateway.cli(&set).ok());
        let set = ["ocsp", "set", &self.authority, "--url", &responder];
        let policy = ["--policy", "soft", "--nonce", "false"];
        drop(self.gateway.cli(&[&set[..], &policy].concat()).ok());
        self.fetch();
    }

    fn fetch(&self) {
        let path = format!(
            "/postern/v1/certificate_authorities/{}/crls/fetch",
            self.authority
        );
        drop(self.gateway.admin.call("POST", &path, &json!({})).result());
    }

    fn token(&self) -> String {
        let create = ["token", "create", "prometheus", "--scope", "read", "--json"];
        let made = self.gateway.cli(&create).json();
        made["value"].as_str().unwrap().to_owned()
    }

    fn client(&self) -> Client {
        self.gateway.client(HOST).identity(&self.device)
    }

    /// What a day brings: good clients, some that are refused, one that leaves early.
    async fn traffic(&self) {
        let client = self.client();
        assert_eq!(client.get("/").await.unwrap().status, 200);
        let resuming = client.clone().resuming(&client.tickets());
        for _ in 0..3 {
            assert_eq!(resuming.get("/").await.unwrap().status, 200);
        }
        assert_eq!(client.get("/no").await.unwrap().status, 403);
        assert!(self.gateway.client(HOST).get("/").await.is_err());
        assert!(self.gateway.client("strange.test").get("/").await.is_err());
        let mut leaving = client.raw().await.unwrap();
        leaving
            .write(&format!(
                "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n1"
            ))
            .await;
        drop(leaving);
        for _ in 0..2 {
            assert_eq!(
                self.gateway.client(POOL).get("/").await.unwrap().status,
                200
            );
        }
    }

    /// One address of an origin goes, so does a server of lists, and the configuration gets a mistake.
    fn break_things(&mut self) {
        drop(self.spare.take());
        self.lists.set(Manner::Close);
        self.fetch();
        self.gateway.configure(&[("limit.connections", "many")]);
        self.gateway.signal("HUP");
    }
}

/// Every expression of every panel, with the panel's title, as Grafana would ask for it.
fn expressions(dashboard: &Value, instance: &str) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let ask = move |target: Value| {
            let text = target["expr"].as_str().unwrap();
            (title.clone(), substituted(text, instance))
        };
        targets.into_iter().map(ask)
    };
    panels.iter().flat_map(of).collect()
}

/// One gateway, every host.
fn substituted(expression: &str, instance: &str) -> String {
    let text = expression
        .replace("$__rate_interval", "1m")
        .replace("$instance", instance)
        .replace("$host", ".*");
    assert!(!text.contains('$'), "an unknown variable: {text}");
    text
}

/// What `label_values(METRIC, LABEL)` of a variable comes to.
fn values(prometheus: &Prometheus, variable: &Value, instance: &str) -> Vec<String> {
    let query = variable["query"]["query"].as_str().unwrap();
    let inside = query.strip_prefix("label_values(").unwrap();
    let (metric, label) = inside.trim_end_matches(')').rsplit_once(", ").unwrap();
    let path = format!(
        "/api/v1/label/{label}/values?match[]={}",
        escaped(&substituted(metric, instance))
    );
    let data = prometheus.data(&path);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    data.as_array().unwrap().iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_data_and_the_right_alerts_fire() {
    if !installed() {
        return;
    }
    let mut world = World::new();
    let prometheus = Prometheus::start(&world.admin, &world.token());
    wait::until("a scrape, and the rules to know of it", || {
        let is_up = !prometheus.query("up == 1").is_empty();
        (is_up && prometheus.alerts().is_empty()).then_some(())
    });
    // While all is well: long enough for rates.
    while prometheus.query("count_over_time(up[1m]) > 5").is_empty() {
        world.traffic().await;
        assert_eq!(
            prometheus.strange(&BTreeSet::new()),
            BTreeSet::new(),
            "all is well"
        );
    }
    world.break_things();
    let broken: BTreeSet<String> = BROKEN.map(str::to_owned).into();
    let dashboard = fs::read_to_string(packaging("grafana/postern.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut waiting = expressions(&dashboard, &world.admin);
    assert!(waiting.len() > WITHOUT_DATA.len());
    let without = |title: &str| WITHOUT_DATA.iter().any(|(known, _)| *known == title);
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        world.traffic().await;
        assert_eq!(
            world.gateway.client(DOWN).get("/").await.unwrap().status,
            502
        );
        waiting.retain(|(title, expression)| {
            let is_empty = prometheus.query(expression).is_empty();
            assert!(
                is_empty || !without(title),
                "{title} has data: it is no exception"
            );
            is_empty
        });
        assert_eq!(prometheus.strange(&broken), BTreeSet::new());
        let alerts = prometheus.alerts();
        if alerts == broken && waiting.iter().all(|(title, _)| without(title)) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "no data: {waiting:#?}; alerts: {alerts:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let of = |name: &str| {
        let found = variables.iter().find(|one| one["name"] == name).unwrap();
        values(&prometheus, found, &world.admin)
    };
    assert_eq!(of("instance"), [world.admin.as_str()]);
    let hosts = of("host");
    assert!(
        [HOST, POOL, DOWN]
            .iter()
            .all(|name| hosts.contains(&(*name).to_owned())),
        "{hosts:?}"
    );
    rules_are_evaluated(&prometheus);
    assert!(world.gateway.stop().success());
    wait::until("the alert that it is down", || {
        prometheus.alerts().contains("PosternDown").then_some(())
    });
}

/// Prometheus evaluates each rule, and each alert has its test.
fn rules_are_evaluated(prometheus: &Prometheus) {
    let tested = fs::read_to_string(packaging("prometheus/alerts_test.yml")).unwrap();
    for rule in prometheus.rules() {
        assert_eq!(rule["health"], "ok", "{rule}");
        let name = rule["name"].as_str().unwrap();
        if rule["type"] == "alerting" {
            let fires = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"");
            assert!(tested.contains(&fires), "{name} fires in no test");
            for wanted in ["summary", "description", "page"] {
                assert!(rule["annotations"][wanted].is_string(), "{name}: {wanted}");
            }
        }
    }
}

#[test]
fn each_alert_fires_on_its_fault_and_not_otherwise() {
    if !installed() {
        return;
    }
    for (check, file) in [
        ("check", "prometheus/alerts.yml"),
        ("test", "prometheus/alerts_test.yml"),
    ] {
        let mut promtool = Command::new("promtool");
        let done = run(promtool.args([check, "rules"]).arg(packaging(file)));
        assert_eq!(done.code, 0, "{done:?}");
    }
}

#[test]
fn what_alerts_say_is_there() {
    let text = rules();
    let mut pages = 0;
    for page in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("page: "))
    {
        let (file, heading) = page.split_once('#').unwrap_or((page, ""));
        let page_text = fs::read_to_string(root().join(file)).unwrap();
        let mut headings = page_text.lines().filter(|line| line.starts_with('#'));
        assert!(
            heading.is_empty() || headings.any(|line| anchor(line) == heading),
            "{page}"
        );
        pages += 1;
    }
    assert_eq!(pages, text.matches("- alert: ").count());
    // Kinds of `postern_expiring` are no reasons.
    let is_reason = |word: &str| {
        let letters = |c: char| c.is_ascii_lowercase() || c == '_';
        word.contains('_') && word.chars().all(letters) && !word.starts_with("postern_")
    };
    let words: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    for word in words.into_iter().filter(|word| is_reason(word)) {
        let explained = run(Command::new(tool::postern()).args(["explain", word]));
        let is_kind = word.starts_with("ca_");
        assert!(explained.code == 0 || is_kind, "{word}: {explained:?}");
    }
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        _ => (c.is_alphanumeric() || c == '-' || c == '_').then_some(c),
    });
    kept.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_has_nothing_against_the_metrics_and_rules_name_no_others() {
    if !installed() || !has("curl") {
        return;
    }
    let world = World::new();
    world.traffic().await;
    // As it is written for those who do not ask for OpenMetrics, which promtool does not read.
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--unix-socket"]);
    curl.arg(world.gateway.file("admin.sock"));
    let text = run(curl.arg("http://localhost/metrics")).ok();
    let file = world.gateway.file("metrics.txt");
    fs::write(&file, &text).unwrap();
    let done = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::from(fs::File::open(&file).unwrap()))
        .output()
        .unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let types: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let rules = rules();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let named: BTreeSet<&str> = words
        .filter(|word| word.starts_with("postern_") || word.starts_with("process_"))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(types.contains(name), "{name} is no metric: {types:?}");
    }
}
