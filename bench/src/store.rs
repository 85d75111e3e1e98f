//! `bench store`: what the control plane does with a large store: a start, a page of a list, an
//! issued certificate.
//!
//! The store is filled by the gateway's own code over a store in memory, then written to disk. All
//! times are those of a client of the admin socket, but for the start: from the process's begin to
//! the first `200` of `/readyz`. Beside the issuing stands what two syncs of a small file take in
//! the same directory, since every change waits for as many.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::x509::{X509Name, X509Req};
use clap::Args;
use control::{Control, NewRule, Phase};
use serde_json::{Value, json};
use snapshot::Published;
use tests::memory_store::MemoryStore;

use crate::admin::ask;
use crate::machine::Machine;
use crate::peers::postern_binary;
use crate::world::Directory;

/// How long a start may take before the run fails.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Arguments of `bench store`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Client certificates in the store
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    certificates: u32,
    /// Rules in the store
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rules: u32,
    /// Starts, pages of each kind and certificates that are measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Fill the store in this directory and leave it there; a later run uses what it finds
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn request(name: &str) -> Result<String> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_text("CN", name)?;
    let mut request = X509Req::builder()?;
    request.set_subject_name(&subject.build())?;
    request.set_pubkey(&key)?;
    request.sign(&key, MessageDigest::sha256())?;
    Ok(String::from_utf8(request.build().to_pem()?)?)
}

/// Makes the store and answers the zone's id.
fn fill(directory: &Path, arguments: &Arguments) -> Result<String> {
    let memory = MemoryStore::default();
    let key_file = directory.join("ca.key");
    let store = Box::new(memory.clone());
    let control = Control::start(store, &key_file, None, Arc::new(Published::default()))?;
    let zone = control.create_zone("example.test")?.id;
    let rules = (0..arguments.rules).map(|n| {
        NewRule::block(&format!(
            "(http.host eq \"h{}.example.test\" and starts_with(http.request.uri.path, \"/p{n}/\") and not cf.tls_client_auth.cert_verified)",
            n % 200
        ))
    });
    let phase = Phase::HttpRequestFirewallCustom;
    control.set_entrypoint(zone, phase, None, None, rules.collect())?;
    let csr = request("device")?;
    for number in 0..arguments.certificates {
        let made = control.issue_certificate(zone, &csr, 365)?;
        // A tenth is revoked, as a start has to read those.
        if number % 10 == 0 {
            control.revoke_certificate(zone, made.id)?;
        }
    }
    memory.write(&directory.join("store.redb"))?;
    Ok(zone.to_string())
}

fn start(postern: &Path, directory: &Path) -> Result<(Running, Duration)> {
    let socket = directory.join("admin.sock");
    let log = File::create(directory.join("postern.log"))?;
    let begun = Instant::now();
    let child = Command::new(postern)
        .args(["run", "--config"])
        .arg(directory.join("postern.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", postern.display()))?;
    let mut running = Running(child);
    loop {
        if matches!(ask(&socket, "GET", "/readyz", ""), Ok((200, _))) {
            return Ok((running, begun.elapsed()));
        }
        let ended = running.0.try_wait()?.is_some();
        if ended || begun.elapsed() > START_PATIENCE {
            let log = std::fs::read_to_string(directory.join("postern.log"))?;
            bail!("Postern does not get ready:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Prints least, median and most of what was measured.
fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64) * 1000.0;
    println!(
        "{what:<44} {:>9.2} ms least {:>9.2} ms median {:>9.2} ms most",
        ms(times.first()),
        ms(times.get(times.len() / 2)),
        ms(times.last())
    );
}

fn times(count: u32, mut work: impl FnMut(u32) -> Result<(u16, String)>) -> Result<Vec<Duration>> {
    let mut found = Vec::new();
    for number in 0..count {
        let begun = Instant::now();
        let (status, answer) = work(number)?;
        found.push(begun.elapsed());
        if status >= 300 {
            bail!("refused: {answer}");
        }
    }
    Ok(found)
}

/// What two syncs of a small file take.
fn syncs(directory: &Path, count: u32) -> Result<Vec<Duration>> {
    let mut file = File::create(directory.join("syncs"))?;
    let mut found = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        for _ in 0..2 {
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
        }
        found.push(begun.elapsed());
    }
    Ok(found)
}

/// `bench store`.
///
/// # Errors
/// The store cannot be made, or Postern does not start or refuses something.
pub fn run(arguments: &Arguments) -> Result<()> {
    let postern = postern_binary(arguments.postern.clone())?;
    let directory = Directory::make()?;
    let place = arguments
        .keep
        .as_deref()
        .unwrap_or_else(|| directory.path());
    let begun = Instant::now();
    let known = place.join("zone");
    let zone = match std::fs::read_to_string(&known) {
        Ok(zone) => zone,
        Err(_not_filled) => {
            std::fs::create_dir_all(place)?;
            let zone = fill(place, arguments)?;
            std::fs::write(&known, &zone)?;
            zone
        }
    };
    let socket = place.join("admin.sock");
    let configuration = format!(
        "listen = 127.0.0.1:0\nworkers = 1\nstore.path = {}\nadmin.socket = {}\nlog.access = off\n",
        place.join("store.redb").display(),
        socket.display()
    );
    std::fs::write(place.join("postern.conf"), configuration)?;
    println!("{:?}", Machine::describe());
    println!(
        "{} certificates, {} rules, {} MB, filled in {:.0} s",
        arguments.certificates,
        arguments.rules,
        std::fs::metadata(place.join("store.redb"))?.len() / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    let count = arguments.count;
    let mut starts = Vec::new();
    // Killed every time: that is the start that matters.
    for _ in 0..count.min(10) {
        starts.push(start(&postern, place)?.1);
    }
    tell("start to ready, after a kill", starts);
    let (running, _) = start(&postern, place)?;
    let at_start = resident(&running)?;
    let zone = format!("/client/v4/zones/{zone}");
    let pages = arguments.certificates.div_ceil(50);
    let page = |number: u32| number.wrapping_mul(7919) % pages + 1;
    for (what, query) in [
        ("any page of 50 certificates", ""),
        ("any page of active ones", "&status=active"),
    ] {
        let found = times(count, |number| {
            let path = format!(
                "{zone}/client_certificates?per_page=50&page={}{query}",
                page(number)
            );
            ask(&socket, "GET", &path, "")
        })?;
        tell(what, found);
    }
    let csr = request("another")?;
    let body = json!({ "csr": csr, "validity_days": 365 }).to_string();
    let made = times(count, |_| {
        ask(
            &socket,
            "POST",
            &format!("{zone}/client_certificates"),
            &body,
        )
    })?;
    tell("issue a certificate", made);
    let digest = |socket: &Path| ask(socket, "GET", "/postern/v1/fleet/digest", "");
    tell(
        "digest of the state",
        times(count.min(10), |_| digest(&socket))?,
    );
    let over = AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let digesting = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                digest(&socket)?;
            }
            anyhow::Ok(())
        });
        let made = times(count, |_| {
            ask(
                &socket,
                "POST",
                &format!("{zone}/client_certificates"),
                &body,
            )
        });
        over.store(true, Ordering::Relaxed);
        let digested = digesting.join();
        digested.map_err(|_panic| anyhow::anyhow!("asking for digests failed"))??;
        made
    })?;
    tell("issue a certificate beside digests", made);
    tell(
        "two syncs of 4 KiB in the same directory",
        syncs(place, count)?,
    );
    let path = format!("{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let (_, answer) = ask(&socket, "GET", &path, "")?;
    let (_, answer) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    let ruleset: Value = serde_json::from_str(answer)?;
    let id = ruleset.pointer("/result/id").and_then(Value::as_str);
    let id = id.context("the ruleset's id")?;
    let found = times(count, |_| {
        ask(&socket, "GET", &format!("{zone}/rulesets?per_page=50"), "")
    })?;
    tell("list of rulesets", found);
    let found = times(count, |_| {
        ask(&socket, "GET", &format!("{zone}/rulesets/{id}"), "")
    })?;
    tell("a whole ruleset", found);
    let rules = ruleset.pointer("/result/rules").and_then(Value::as_array);
    let rules = rules.context("the ruleset's rules")?;
    let changed = times(count, |number| {
        let rule = rules.get(number as usize % rules.len().max(1));
        let rule = rule.and_then(|rule| rule.get("id")?.as_str());
        let rule = rule.context("a rule's id")?;
        // A path that no rule has had: what is compiled is not what was compiled before.
        let expression = format!("starts_with(http.request.uri.path, \"/changed/{number}/\")");
        ask(
            &socket,
            "PATCH",
            &format!("{zone}/rulesets/{id}/rules/{rule}"),
            &json!({ "action": "block", "expression": expression }).to_string(),
        )
    })?;
    // The answer is the whole ruleset, as Cloudflare's is; workers have the rule before it begins.
    tell("change one rule, the ruleset answered", changed);
    println!(
        "resident memory: {at_start} MB after the start, {} MB at the end",
        resident(&running)?
    );
    Ok(())
}

/// Megabytes of memory that the gateway has.
fn resident(running: &Running) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .context("VmRSS in /proc/PID/status")?
        .trim()
        .parse()?;
    Ok(kib * 1024 / 1_000_000)
}
