//! Certificates from a real ACME server (Pebble): both challenges, renewal, failures, restarts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use fixtures::etcd::Etcd;
use serde_json::{Value, json};
use tests::acme::{Pebble, PebbleSetup};
use tests::gateway::new_address;
use tests::tool::{has, run};
use tests::wait::until;
use tests::{Gateway, Origin, Setup};

/// No certificate of the tests covers it.
const HOST: &str = "new.deep.example.test";

/// Where a gateway listens, for HTTPS and for HTTP.
fn addresses() -> (SocketAddr, SocketAddr) {
    let https = new_address();
    (https, SocketAddr::new(https.ip(), https.port() + 1000))
}

fn settings(pebble: &Pebble, kind: &str, http: SocketAddr) -> Vec<(String, String)> {
    [
        ("listen.http", http.to_string()),
        ("acme.directory", pebble.url()),
        ("acme.ca_file", pebble.ca_file()),
        ("acme.terms_agreed", "on".into()),
        ("acme.contact", "ops@example.test".into()),
        ("acme.challenge", kind.into()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn start(https: SocketAddr, settings: &[(String, String)]) -> Gateway {
    let mut setup = Setup::new().listen(&[&https.to_string()]);
    for (key, value) in settings {
        setup = setup.set(key, value);
    }
    setup.start()
}

fn add(gateway: &Gateway, host: &str, mtls: &str, origin: &Origin) -> String {
    let added = gateway.cli(&[
        "host",
        "add",
        host,
        "--zone",
        "example.test",
        "--origin",
        &origin.url(),
        "--mtls",
        mtls,
        "--acme",
    ]);
    added.ok()
}

fn show(gateway: &Gateway, host: &str) -> Value {
    gateway.cli(&["host", "show", host, "--json"]).json()
}

fn state(host: &Value) -> &str {
    host["acme_status"]["state"].as_str().unwrap()
}

fn certificate_of(gateway: &Gateway, host: &Value) -> Value {
    let zone = host["zone_id"].as_str().unwrap();
    let id = host["certificate_id"].as_str().unwrap();
    let path = format!("/client/v4/zones/{zone}/custom_certificates/{id}");
    gateway.admin.get(&path).result()
}

fn issued(gateway: &Gateway, host: &str) -> Value {
    until("a certificate", || {
        let host = show(gateway, host);
        assert_ne!(state(&host), "failing", "{host}");
        (state(&host) == "issued").then_some(host)
    })
}

/// The status of a GET over HTTPS, believing what Pebble signs; curl's own code when it fails.
fn curl(gateway: &Gateway, pebble: &Pebble, host: &str) -> Result<String, i32> {
    let (ip, port) = (gateway.address.ip(), gateway.address.port());
    let done = run(Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--max-time",
            "20",
        ])
        .args(["--cacert", &pebble.root_file()])
        .args(["--resolve", &format!("{host}:{port}:{ip}")])
        .arg(format!("https://{host}:{port}/echo")));
    match done.code {
        0 => Ok(done.out),
        code => Err(code),
    }
}

fn metric(gateway: &Gateway, line: &str) -> u64 {
    let metrics = gateway.admin.get("/metrics").body;
    let wanted = format!("{line} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
    found.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn a_certificate_comes_by_http_and_is_renewed() {
    let (https, http) = addresses();
    let setup = PebbleSetup {
        life_sec: 24,
        ..PebbleSetup::of(https, http)
    };
    let Some(pebble) = setup.start() else { return };
    let origin = Origin::echo();
    let gateway = start(https, &settings(&pebble, "http-01", http));
    assert_eq!(curl(&gateway, &pebble, HOST), Err(35), "no host yet");
    let said = add(&gateway, HOST, "off", &origin);
    assert!(said.contains("acme"), "{said}");
    let host = issued(&gateway, HOST);
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
    let first = certificate_of(&gateway, &host);
    assert_eq!(first["source"], "acme", "{first}");
    assert_eq!(first["hosts"], json!([HOST]));
    assert!(host["acme_status"]["renewal_on"].is_string(), "{host}");
    let answered = "postern_plain_connections_total{outcome=\"acme_challenge\"}";
    until("the challenge to be counted", || {
        (metric(&gateway, answered) >= 1).then_some(())
    });
    // Neither it nor its key is in a document; that it is wanted is.
    let document = gateway.cli(&["export", "--json"]).json();
    let zone = &document["zones"][0];
    assert_eq!(zone["hosts"][0]["acme"], true, "{document}");
    assert_eq!(zone["hosts"][0]["certificate"], Value::Null, "{document}");
    let chain = first["certificate"].as_str().unwrap();
    let others = zone["server_certificates"].as_array().unwrap();
    assert!(
        others.iter().all(|one| one["certificate"] != chain),
        "{document}"
    );
    // In its last third another one takes its place, under the same id.
    let second = until("the renewal", || {
        let now = certificate_of(&gateway, &show(&gateway, HOST));
        (now["fingerprint_sha256"] != first["fingerprint_sha256"]).then_some(now)
    });
    assert_eq!(second["id"], first["id"]);
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
    let orders = "postern_acme_orders_total{result=\"issued\"}";
    until("the orders to be counted", || {
        (metric(&gateway, orders) >= 2).then_some(())
    });
    // What the audit log tells of accounts has no key.
    let audit = gateway.cli(&["audit", "--json"]).ok();
    assert!(audit.contains("ACME account"), "{audit}");
    assert!(audit.contains('…'), "{audit}");
    // The key is sealed, and nothing of it is in the store or in the log.
    assert!(!gateway.stderr().contains("PRIVATE"));
}

#[test]
fn a_certificate_comes_by_a_handshake_and_no_client_gets_in_by_it() {
    let (https, http) = addresses();
    let Some(pebble) = PebbleSetup::of(https, http).start() else {
        return;
    };
    let origin = Origin::echo();
    let gateway = start(https, &settings(&pebble, "tls-alpn-01", http));
    add(&gateway, HOST, "require", &origin);
    let host = issued(&gateway, HOST);
    // The host requires a certificate of everybody but the ACME server.
    assert_eq!(curl(&gateway, &pebble, HOST), Err(56));
    let stops = "postern_connections_closed_total{reason=\"acme_challenge\"}";
    until(stops, || {
        let stops_by = gateway.admin.get("/metrics").body;
        stops_by.contains("acme_challenge").then_some(())
    });
    assert_eq!(origin.connections(), 0);
    // When the order is over the protocol opens nothing.
    let shaken = run(Command::new("openssl")
        .args(["s_client", "-connect", &https.to_string()])
        .args(["-servername", HOST, "-alpn", "acme-tls/1"]));
    let told = format!("{}{}", shaken.out, shaken.err);
    assert!(told.contains("no application protocol"), "{told}");
    // By hand, whenever it is due.
    let first = certificate_of(&gateway, &host);
    let renewed = gateway.cli(&["host", "renew", HOST, "--json"]).json();
    let second = certificate_of(&gateway, &renewed);
    assert_ne!(first["fingerprint_sha256"], second["fingerprint_sha256"]);
    gateway.change_host(HOST, &json!({ "mtls": "off" }));
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
    // Another choice is one or the other.
    let path = format!("/postern/v1/hosts/{HOST}");
    let refused = gateway
        .admin
        .ask("PATCH", &path, Some(&json!({ "certificate_id": null })));
    assert_eq!(refused.unwrap().status, 400);
    // Without ACME it keeps the certificate.
    let kept = gateway
        .cli(&["host", "set", HOST, "--acme=false", "--json"])
        .json();
    assert_eq!(kept["acme_status"], Value::Null);
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
}

#[test]
fn a_name_that_is_not_found_is_tried_less_and_less_whatever_is_restarted() {
    let (https, http) = addresses();
    let setup = PebbleSetup {
        // Nothing listens there.
        http_port: 9,
        ..PebbleSetup::of(https, http)
    };
    let Some(pebble) = setup.start() else { return };
    let origin = Origin::echo();
    let mut gateway = start(https, &settings(&pebble, "http-01", http));
    add(&gateway, HOST, "off", &origin);
    let failed = until("the failure", || {
        let host = show(&gateway, HOST);
        (state(&host) == "failing").then_some(host)
    });
    let status = &failed["acme_status"];
    let why = status["error"].as_str().unwrap();
    assert!(why.contains("http-01"), "{why}");
    assert!(why.contains("connection refused"), "{why}");
    assert_eq!(status["failures"], 1);
    assert!(status["next_order_on"].is_string(), "{status}");
    assert_eq!(failed["served"], false);
    assert_eq!(curl(&gateway, &pebble, HOST), Err(35));
    assert_eq!(metric(&gateway, "postern_acme_hosts{state=\"failing\"}"), 1);
    let doctor = gateway.cli(&["doctor", HOST]);
    assert!(doctor.out.contains("connection refused"), "{doctor:?}");
    // Neither a crash nor a start makes it forget.
    gateway.signal("KILL");
    gateway.wait();
    gateway.start();
    let again = until("the account", || {
        let host = show(&gateway, HOST);
        (state(&host) == "failing").then_some(host)
    });
    assert_eq!(again["acme_status"]["ordered_on"], status["ordered_on"]);
    assert_eq!(again["acme_status"]["failures"], 1);
    // The other way is open, and SIGHUP is enough to take it.
    let other = settings(&pebble, "tls-alpn-01", http);
    let other: Vec<(&str, &str)> = other.iter().map(|(k, v)| (&**k, &**v)).collect();
    gateway.configure(&other);
    gateway.signal("HUP");
    until("the new configuration", || {
        let log = gateway.stderr();
        log.contains("the configuration was read again")
            .then_some(())
    });
    let renewed = gateway.cli(&["host", "renew", HOST, "--json"]).json();
    assert_eq!(state(&renewed), "issued", "{renewed}");
    assert_eq!(renewed["acme_status"]["failures"], 0);
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
}

#[test]
fn an_order_that_a_kill_interrupts_begins_again_after_a_pause() {
    let origin = Origin::echo();
    let Some((pebble, mut gateway)) = slow_order("http-01", &origin) else {
        return;
    };
    until("the order to be under way, and noted", || {
        let host = show(&gateway, HOST);
        let is_noted = !host["acme_status"]["ordered_on"].is_null();
        (state(&host) == "ordering" && is_noted).then_some(())
    });
    gateway.signal("KILL");
    gateway.wait();
    gateway.start();
    let host = show(&gateway, HOST);
    assert_eq!(state(&host), "failing", "{host}");
    let status = &host["acme_status"];
    assert_eq!(status["failures"], 1);
    let why = status["error"].as_str().unwrap();
    assert!(why.contains("the gateway ended before"), "{why}");
    assert!(status["next_order_on"].is_string(), "{status}");
    let renewed = gateway.cli(&["host", "renew", HOST, "--json"]).json();
    assert_eq!(state(&renewed), "issued", "{renewed}");
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
    // The account is the one from before.
    let audit = gateway.cli(&["audit", "--json"]).ok();
    let noted = audit.matches("\"ACME account\"").count();
    assert_eq!(noted, 2, "its key, and then its URL: {audit}");
}

#[test]
fn another_server_is_tried_first_and_an_account_may_need_a_key() {
    let (https, http) = addresses();
    let setup = PebbleSetup {
        http_port: 9,
        ..PebbleSetup::of(https, http)
    };
    let Some(staging) = setup.start() else { return };
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let setup = PebbleSetup {
        binding: Some(("kid-1", key)),
        ..PebbleSetup::of(https, http)
    };
    let Some(pebble) = setup.start() else { return };
    let origin = Origin::echo();
    // One file for the CAs of both.
    let both = tests::gateway::new_directory().join("both.pem");
    let texts =
        [pebble.ca_file(), staging.ca_file()].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, texts.concat()).unwrap();
    let key_file = both.with_file_name("eab.key");
    std::fs::write(&key_file, format!("{key}\n")).unwrap();
    let mut settings = settings(&pebble, "http-01", http);
    settings.retain(|(name, _)| name != "acme.ca_file");
    for (name, value) in [
        ("acme.ca_file", both.display().to_string()),
        ("acme.staging", staging.url()),
    ] {
        settings.push((name.to_owned(), value));
    }
    let gateway = start(https, &settings);
    add(&gateway, HOST, "off", &origin);
    let waits = until("the account to be refused", || {
        let host = show(&gateway, HOST);
        (state(&host) == "failing").then_some(host)
    });
    let why = waits["acme_status"]["error"].as_str().unwrap();
    assert!(why.contains("there is no account at"), "{why}");
    assert!(why.contains("externalAccount"), "{why}");
    assert_eq!(waits["acme_status"]["failures"], 0, "no host is to blame");
    settings.push(("acme.eab_key_id".into(), "kid-1".into()));
    settings.push(("acme.eab_key_file".into(), key_file.display().to_string()));
    let with_key: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (&**k, &**v)).collect();
    gateway.configure(&with_key);
    gateway.signal("HUP");
    // The first server does not find the host, and the other is not asked.
    let failed = until("the failure", || {
        let host = show(&gateway, HOST);
        (host["acme_status"]["failures"] == 1)
            .then_some(host)
            .filter(|host| state(host) == "failing")
    });
    let why = failed["acme_status"]["error"].as_str().unwrap();
    assert!(why.starts_with("at acme.staging: "), "{why}");
    assert!(!pebble.log().contains("Added order"), "{}", pebble.log());
    let without: Vec<(&str, &str)> = with_key
        .into_iter()
        .filter(|(name, _)| *name != "acme.staging")
        .collect();
    gateway.configure(&without);
    gateway.signal("HUP");
    until("the new configuration", || {
        let log = gateway.stderr();
        (log.matches("the configuration was read again").count() >= 2).then_some(())
    });
    let renewed = gateway.cli(&["host", "renew", HOST, "--json"]).json();
    assert_eq!(state(&renewed), "issued", "{renewed}");
    drop(std::fs::remove_dir_all(both.parent().unwrap()));
}

/// A process of a test, which ends with it.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server in front of Pebble.
struct Front {
    url: String,
    log: PathBuf,
    _process: Ends,
}

impl Front {
    fn start(pebble: &Pebble, what: &str) -> Option<Self> {
        if !has("python3") {
            return None;
        }
        let (port_file, log) = (pebble.file("port"), pebble.file("front.log"));
        let mut script = Command::new("python3");
        script
            .args(["-c", include_str!("acme_front.py")])
            .arg(pebble.address().to_string())
            .args([pebble.file("own.pem"), pebble.file("own.key")])
            .arg(&port_file)
            .arg(what)
            .stdout(std::fs::File::create(&log).unwrap());
        let process = Ends(script.spawn().unwrap());
        let port = until("the server in front of Pebble", || {
            let port = std::fs::read_to_string(&port_file).ok()?;
            port.strip_suffix('\n')?.parse::<u16>().ok()
        });
        Some(Self {
            url: format!("https://{}:{port}/dir", pebble.address().ip()),
            log,
            _process: process,
        })
    }

    fn settings(&self, pebble: &Pebble, http: SocketAddr) -> Vec<(String, String)> {
        let mut settings = settings(pebble, "http-01", http);
        settings.retain(|(name, _)| name != "acme.directory");
        settings.push(("acme.directory".into(), self.url.clone()));
        settings
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

#[test]
fn a_certificate_is_renewed_when_its_server_says_so() {
    let (https, http) = addresses();
    let Some(pebble) = PebbleSetup::of(https, http).start() else {
        return;
    };
    let Some(front) = Front::start(&pebble, "window") else {
        return;
    };
    let settings = front.settings(&pebble, http);
    let origin = Origin::echo();
    let gateway = start(https, &settings);
    add(&gateway, HOST, "off", &origin);
    let said = || front.said();
    // The first is renewed at once, and the order says which one it replaces.
    let asked: Vec<String> = until("two certificates to be asked about", || {
        let said = said();
        let asked = said.lines().filter_map(|line| line.strip_prefix("asked "));
        let asked: Vec<String> = asked.map(str::to_owned).collect();
        (asked.len() == 2).then_some(asked)
    });
    let said = said();
    assert!(said.contains(&format!("order {}\n", asked[0])), "{said}");
    assert!(said.starts_with("order -\n"), "{said}");
    // The next one in a year, and not when a third of its five years is left.
    let year = until("the time of renewal", || {
        let host = show(&gateway, HOST);
        let renewal = host["acme_status"]["renewal_on"].as_str()?.to_owned();
        let made = host["modified_on"].as_str().unwrap().to_owned();
        let year = |time: &str| time[..4].parse::<i32>().unwrap();
        (year(&renewal) - year(&made) == 1).then_some(renewal)
    });
    assert!(!year.is_empty());
    assert_eq!(state(&show(&gateway, HOST)), "issued");
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
}

#[test]
fn an_account_whose_making_nobody_was_told_of_is_found_again() {
    let (https, http) = addresses();
    let Some(pebble) = PebbleSetup::of(https, http).start() else {
        return;
    };
    let Some(front) = Front::start(&pebble, "account") else {
        return;
    };
    let origin = Origin::echo();
    let mut gateway = start(https, &front.settings(&pebble, http));
    add(&gateway, HOST, "off", &origin);
    until("the account to be made", || {
        (front.said() == "account 201\n").then_some(())
    });
    // Its key is in the store by then, whatever happens.
    gateway.signal("KILL");
    gateway.wait();
    gateway.start();
    until("a certificate", || {
        (state(&show(&gateway, HOST)) == "issued").then_some(())
    });
    assert_eq!(front.said(), "account 201\naccount 200\n", "the same");
}

#[test]
fn an_account_that_its_server_does_not_know_any_more_is_made_anew_with_its_key() {
    let (https, http) = addresses();
    let Some(pebble) = PebbleSetup::of(https, http).start() else {
        return;
    };
    let Some(front) = Front::start(&pebble, "forgets") else {
        return;
    };
    let origin = Origin::echo();
    let gateway = start(https, &front.settings(&pebble, http));
    add(&gateway, HOST, "off", &origin);
    let failed = until("the refusal", || {
        let host = show(&gateway, HOST);
        (state(&host) == "failing").then_some(host)
    });
    let why = failed["acme_status"]["error"].as_str().unwrap();
    assert!(why.contains("who?"), "{why}");
    let renewed = gateway.cli(&["host", "renew", HOST, "--json"]).json();
    assert_eq!(state(&renewed), "issued", "{renewed}");
    assert_eq!(front.said(), "account 201\naccount 200\n", "the same");
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it_whatever_is_restarted_or_turned_off_and_on() {
    let (https, http) = addresses();
    let Some(pebble) = PebbleSetup::of(https, http).start() else {
        return;
    };
    let Some(front) = Front::start(&pebble, "orders") else {
        return;
    };
    let origin = Origin::echo();
    let mut gateway = start(https, &front.settings(&pebble, http));
    add(&gateway, HOST, "off", &origin);
    let next = |gateway: &Gateway| {
        until("the refusal", || {
            let host = show(gateway, HOST);
            let status = &host["acme_status"];
            let next = status["next_order_on"].as_str()?.to_owned();
            (status["failures"] == 1 && state(&host) == "failing").then_some(next)
        })
    };
    let first = next(&gateway);
    let ordered = show(&gateway, HOST)["acme_status"]["ordered_on"].clone();
    // The first pause of failures is a minute: this is the server's hour.
    let hour = |time: &str| time[11..13].parse::<u32>().unwrap();
    let after = hour(&first) + 24 - hour(ordered.as_str().unwrap());
    assert!((1..=2).contains(&(after % 24)), "{ordered} {first}");
    gateway.signal("KILL");
    gateway.wait();
    gateway.start();
    let minute = |time: &str| time[..16].to_owned();
    assert_eq!(minute(&next(&gateway)), minute(&first));
    for on in ["false", "true"] {
        drop(
            gateway
                .cli(&["host", "set", HOST, &format!("--acme={on}")])
                .ok(),
        );
    }
    assert_eq!(minute(&next(&gateway)), minute(&first));
}

/// A gateway whose order takes ten seconds and more from now on.
fn slow_order(kind: &str, origin: &Origin) -> Option<(Pebble, Gateway)> {
    loop {
        let (https, http) = addresses();
        let setup = PebbleSetup {
            is_slow: true,
            ..PebbleSetup::of(https, http)
        };
        let pebble = setup.start()?;
        let gateway = start(https, &settings(&pebble, kind, http));
        add(&gateway, HOST, "off", origin);
        // Pebble looks three times, and sleeps before, each time as long as chance will have it.
        let sleeps = until("the server to be about to look", || {
            let log = pebble.log();
            let told = log.split("Sleeping for ").skip(1);
            let sleeps = told.filter_map(|told| told.split_once("s seconds before"));
            let sleeps: Vec<u64> = sleeps.map(|(told, _)| told.parse().unwrap()).collect();
            (sleeps.len() == 3).then_some(sleeps)
        });
        if sleeps.iter().any(|sleep| *sleep >= 10) {
            return Some((pebble, gateway));
        }
    }
}

fn goes_on_with_an_order(kind: &str) {
    let origin = Origin::echo();
    let Some((pebble, mut gateway)) = slow_order(kind, &origin) else {
        return;
    };
    // One that comes to nothing changes nothing.
    let failed = gateway.cli(&["upgrade", "/bin/true"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    gateway.upgrade();
    // It takes its time, and is asked again in ever longer intervals.
    until("the server to be content", || {
        pebble.log().contains("set VALID by").then_some(())
    });
    let host = issued(&gateway, HOST);
    assert_eq!(host["acme_status"]["failures"], 0, "{host}");
    assert_eq!(curl(&gateway, &pebble, HOST).as_deref(), Ok("200"));
    let log = pebble.log();
    assert_eq!(log.matches("Added order").count(), 1, "{log}");
    gateway.says("an order is left for the next process");
}

#[test]
fn a_new_process_goes_on_with_an_order_by_http() {
    goes_on_with_an_order("http-01");
}

#[test]
fn a_new_process_goes_on_with_an_order_by_a_handshake() {
    goes_on_with_an_order("tls-alpn-01");
}

#[test]
fn a_wildcard_and_half_a_configuration_are_refused_with_what_to_do() {
    let gateway = Setup::new().start();
    let refused = gateway.cli(&[
        "host",
        "add",
        "*.example.test",
        "--zone",
        "example.test",
        "--origin",
        "http://127.0.0.1:9",
        "--acme",
    ]);
    let why = refused.failed(1);
    assert!(why.contains("DNS-01"), "{why}");
    assert!(why.contains("--cert FILE"), "{why}");
    // Without a server it is kept, and says what it waits for.
    let origin = Origin::echo();
    let said = add(&gateway, HOST, "off", &origin);
    assert!(said.contains("set `acme.directory`"), "{said}");
    for (line, why) in [
        (
            "acme.directory = https://acme.test/dir",
            "acme.terms_agreed = on",
        ),
        (
            "acme.directory = https://acme.test/dir\nacme.terms_agreed = on",
            "listen.http = *:80",
        ),
        ("acme.directory = http://acme.test/dir", "https://"),
        (
            "acme.staging = https://acme.test/dir",
            "without `acme.directory`",
        ),
        ("acme.eab_key_id = one", "acme.eab_key_file"),
    ] {
        let path = gateway.file("half.conf");
        std::fs::write(&path, format!("{line}\n")).unwrap();
        let checked = run(Command::new(tests::tool::postern())
            .args(["check", "--config"])
            .arg(&path));
        assert_ne!(checked.code, 0, "{line}");
        let told = format!("{}{}", checked.out, checked.err);
        assert!(told.contains(why), "{line}: {told}");
    }
}

#[test]
fn every_edge_of_a_fleet_answers_for_the_one_that_leads() {
    let Some(etcd) = Etcd::start(1) else { return };
    etcd.wait();
    for kind in ["http-01", "tls-alpn-01"] {
        let (first, second) = (addresses(), addresses());
        // The server asks the second edge, and the first one leads.
        let setup = PebbleSetup::of(second.0, second.1);
        let Some(pebble) = setup.start() else { return };
        let origin = Origin::echo();
        let edge = |name: &str, (https, http): (SocketAddr, SocketAddr)| {
            let mut setup = Setup::default().listen(&[&https.to_string()]);
            for (key, value) in settings(&pebble, kind, http) {
                setup = setup.set(&key, &value);
            }
            setup
                .set("fleet.name", kind)
                .set("fleet.edge", name)
                .set("fleet.etcd", &etcd.urls().join(", "))
        };
        let leader = edge("first", first).zone("example.test").start();
        drop(leader.cli(&["fleet", "init"]).ok());
        let other = edge("second", second).key_of(&leader).start();
        drop(other.cli(&["fleet", "join"]).ok());
        until("the first to lead", || {
            let shown = other.admin.get("/postern/v1/fleet").result();
            (shown["leader"] == "first" && shown["state"] == "current").then_some(())
        });
        add(&leader, HOST, "off", &origin);
        issued(&leader, HOST);
        // What was brought is the other one's, too.
        until("the certificate", || {
            (curl(&other, &pebble, HOST).as_deref() == Ok("200")).then_some(())
        });
        assert_eq!(curl(&leader, &pebble, HOST).as_deref(), Ok("200"));
        // Another one may lead after a while on a busy machine.
        until("the one that does not lead to say who does", || {
            let shown = other.admin.get("/postern/v1/fleet").result();
            let (asked, leads) = match shown["leader"].as_str()? {
                "first" => (&other, "first"),
                _ => (&leader, "second"),
            };
            let refused = asked.cli(&["host", "renew", HOST]);
            refused.err.contains(&format!("ask {leads}")).then_some(())
        });
    }
}
