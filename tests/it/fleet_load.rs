//! Load on a fleet, and a model of what it was told: what has to be true whatever becomes of etcd and of edges.
//!
//! A writer at each edge makes zones and certificates, and revokes some. A visitor at each edge asks with one
//! certificate that is good throughout, and with those whose revocation was acknowledged. Then:
//!
//! - what was acknowledged is there in the end, on every edge; what was refused is not; and nothing else is;
//! - an edge serves no certificate whose revocation was acknowledged longer ago than the edge says that it is old;
//! - whoever is to be served is served, as long as the edge's process lives;
//! - in the end all edges have the same, byte for byte.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::admin::{Admin, Reply};
use tests::gateway::ZONE;
use tests::wait::until;
use tests::{Client, Identity};

use crate::fleet::{Fleet, HOST, cli, digest};

/// Between two changes of a writer.
const PAUSE: Duration = Duration::from_millis(40);
/// Of the certificates that were revoked, so many are asked with in the end at each edge, the last ones.
const ASKED_AT_THE_END: usize = 40;

/// What became of a change.
enum Outcome {
    Done(Value),
    Refused,
    Unknown,
}

#[derive(Clone)]
struct Revoked {
    identity: Identity,
    /// When that was acknowledged.
    at: Instant,
}

#[derive(Default)]
struct Told {
    made: BTreeSet<String>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
    revoked: Vec<Revoked>,
    /// Certificates that nobody has revoked.
    good: Vec<Identity>,
}

struct Shared {
    told: Mutex<Told>,
    /// Odd while the process of an edge does not run.
    lives: Vec<AtomicUsize>,
    stops: AtomicBool,
    /// Counts how often the state was replaced by an older one, because a person wanted it.
    replaced: AtomicUsize,
    asks_issued: AtomicBool,
    served: AtomicUsize,
    denied: AtomicUsize,
}

/// What is going on.
pub(crate) struct Load {
    shared: Arc<Shared>,
    writers: Vec<std::thread::JoinHandle<()>>,
    visitors: Vec<tokio::task::JoinHandle<()>>,
}

fn outcome(reply: Option<Reply>) -> Outcome {
    match reply {
        Some(reply) if reply.status == 200 => Outcome::Done(reply.result()),
        // That is what an edge says when it is certain.
        Some(reply) if reply.body.contains("nothing was changed") => Outcome::Refused,
        Some(_) | None => Outcome::Unknown,
    }
}

impl Load {
    /// Begins; `steady` is a certificate that is good throughout.
    pub(crate) fn begin(fleet: &Fleet, steady: &Identity) -> Self {
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            lives: fleet.edges.iter().map(|_| AtomicUsize::new(0)).collect(),
            stops: AtomicBool::new(false),
            replaced: AtomicUsize::new(0),
            asks_issued: AtomicBool::new(true),
            served: AtomicUsize::new(0),
            denied: AtomicUsize::new(0),
        });
        let zone = fleet.edges[0].zone_id(ZONE).to_owned();
        let writers = fleet.edges.iter().enumerate().map(|(edge, gateway)| {
            let (shared, admin, zone) = (shared.clone(), gateway.admin.clone(), zone.clone());
            std::thread::spawn(move || write(&shared, edge, &admin, &zone))
        });
        let writers = writers.collect();
        let visitors = fleet.edges.iter().enumerate().map(|(edge, gateway)| {
            let client = fleet.client(edge, steady);
            let visit = visit(shared.clone(), edge, gateway.admin.clone(), client);
            tokio::spawn(visit)
        });
        Self {
            visitors: visitors.collect(),
            shared,
            writers,
        }
    }

    /// The process of an edge is about to end, or to stop.
    pub(crate) fn goes_down(&self, edge: usize) {
        let before = self.shared.lives[edge].fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2));
    }

    /// It runs again.
    pub(crate) fn is_up(&self, edge: usize) {
        let before = self.shared.lives[edge].fetch_add(1, Ordering::SeqCst);
        assert!(!before.is_multiple_of(2));
    }

    fn acknowledged(&self, edge: usize) -> usize {
        let own = format!("w{edge}-");
        let told = self.shared.told.lock().unwrap();
        told.made
            .iter()
            .filter(|name| name.starts_with(&own))
            .count()
    }

    /// Waits until each of these edges has acknowledged some more changes.
    #[track_caller]
    pub(crate) fn goes_on(&self, edges: &[usize]) {
        for edge in edges {
            let before = self.acknowledged(*edge);
            until("an edge to take changes", || {
                (self.acknowledged(*edge) >= before + 3).then_some(())
            });
        }
    }

    /// Changes that were acknowledged from now on are not counted on: what etcd has is about to be replaced.
    pub(crate) fn forget_all_since(&self, known: &Known) {
        let mut told = self.shared.told.lock().unwrap();
        self.shared.replaced.fetch_add(1, Ordering::SeqCst);
        let later: Vec<String> = told.made.difference(&known.made).cloned().collect();
        told.made = known.made.clone();
        told.unknown.extend(later);
        told.revoked.truncate(known.revoked);
        told.good.clear();
    }

    /// What has been acknowledged so far.
    pub(crate) fn known(&self) -> Known {
        let told = self.shared.told.lock().unwrap();
        Known {
            made: told.made.clone(),
            revoked: told.revoked.len(),
        }
    }

    /// What was issued meanwhile is not asked with in the end: it need not be valid yet.
    pub(crate) async fn end_without_issued(self, what: &str, fleet: &Fleet) {
        self.shared.asks_issued.store(false, Ordering::SeqCst);
        self.end(what, fleet).await;
    }

    /// Ends it, and looks at what is there.
    pub(crate) async fn end(self, what: &str, fleet: &Fleet) {
        self.shared.stops.store(true, Ordering::SeqCst);
        for visitor in self.visitors {
            visitor.await.unwrap();
        }
        tokio::task::block_in_place(|| {
            for writer in self.writers {
                writer.join().unwrap();
            }
            until("all edges to have the same, byte for byte", || {
                let first = digest(&fleet.edges[0]);
                let mut others = fleet.edges[1..].iter();
                others.all(|edge| digest(edge) == first).then_some(())
            });
        });
        for edge in &fleet.edges {
            // It is asked every five seconds, and answered within five.
            until("an edge to know that it has all", || {
                let (_, age) = age(&edge.admin)?;
                (age < Duration::from_secs(10)).then_some(())
            });
        }
        let told = std::mem::take(&mut *self.shared.told.lock().unwrap());
        for edge in &fleet.edges {
            let zones: Value =
                serde_json::from_str(&cli(edge, &["--json", "zone", "list"])).unwrap();
            let zones = zones.as_array().unwrap().iter();
            let zones: BTreeSet<&str> = zones.map(|zone| zone["name"].as_str().unwrap()).collect();
            for name in &told.made {
                assert!(zones.contains(name.as_str()), "{name} was acknowledged");
            }
            for name in &told.refused {
                assert!(!zones.contains(name.as_str()), "{name} was refused");
            }
            for name in zones.iter().filter(|name| name.starts_with('w')) {
                let is_told = told.made.contains(*name) || told.unknown.contains(*name);
                assert!(is_told, "{name} was never asked for");
            }
        }
        for edge in 0..fleet.edges.len() {
            for revoked in told.revoked.iter().rev().take(ASKED_AT_THE_END) {
                assert_eq!(fleet.asked(edge, &revoked.identity).await, 403, "{edge}");
            }
            let asks = self.shared.asks_issued.load(Ordering::SeqCst);
            for good in told.good.iter().rev().take(ASKED_AT_THE_END) {
                let status = fleet.asked(edge, good).await;
                assert!(status == 200 || !asks, "{edge}: {status}");
            }
        }
        println!(
            "{what}: {} changes acknowledged, {} refused, {} of which nobody knew; {} revocations; {} requests \
             served, {} denied",
            told.made.len() + told.good.len() + 2 * told.revoked.len(),
            told.refused.len(),
            told.unknown.len(),
            told.revoked.len(),
            self.shared.served.load(Ordering::SeqCst),
            self.shared.denied.load(Ordering::SeqCst),
        );
        assert!(!told.revoked.is_empty());
    }
}

/// What had been acknowledged at some time.
pub(crate) struct Known {
    made: BTreeSet<String>,
    revoked: usize,
}

/// Makes one change after the other.
fn write(shared: &Shared, edge: usize, admin: &Admin, zone: &str) {
    let certificates = format!("/postern/v1/zones/{zone}/client_certificates");
    let mut own: Vec<(String, Identity)> = Vec::new();
    for number in 0.. {
        if shared.stops.load(Ordering::SeqCst) {
            break;
        }
        std::thread::sleep(PAUSE);
        let name = format!("w{edge}-{number}.test");
        let reply = admin.ask("POST", "/client/v4/zones", Some(&json!({ "name": name })));
        {
            let mut told = shared.told.lock().unwrap();
            match outcome(reply) {
                Outcome::Done(_) => told.made.insert(name),
                Outcome::Refused => told.refused.insert(name),
                Outcome::Unknown => told.unknown.insert(name),
            };
        }
        let body = json!({ "common_name": format!("c{edge}-{number}"), "validity_days": 30 });
        if let Outcome::Done(made) = outcome(admin.ask("POST", &certificates, Some(&body))) {
            let text = |key: &str| made[key].as_str().unwrap();
            let identity = Identity::from_pem(text("certificate"), text("private_key"));
            own.push((text("id").to_owned(), identity));
        }
        if number % 2 == 0 {
            continue;
        }
        let Some((id, identity)) = own.pop() else {
            continue;
        };
        let path = format!("/client/v4/zones/{zone}/client_certificates/{id}");
        match outcome(admin.ask("DELETE", &path, Some(&Value::Null))) {
            Outcome::Done(_) => {
                let at = Instant::now();
                let mut told = shared.told.lock().unwrap();
                told.revoked.push(Revoked { identity, at });
            }
            Outcome::Refused => own.push((id, identity)),
            // It is good, or it is not.
            Outcome::Unknown => {}
        }
    }
    let mut told = shared.told.lock().unwrap();
    told.good
        .extend(own.into_iter().map(|(_, identity)| identity));
}

/// How old what an edge has is, as it says itself, and when it was asked.
fn age(admin: &Admin) -> Option<(Instant, Duration)> {
    let asked = Instant::now();
    let reply = admin.ask("GET", "/postern/v1/fleet", None)?;
    let age = reply.result()["age_seconds"].as_f64()?;
    Some((asked, Duration::from_secs_f64(age)))
}

/// Asks for the same, again and again.
async fn visit(shared: Arc<Shared>, edge: usize, admin: Admin, steady: Client) {
    for number in 0.. {
        if shared.stops.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let life = shared.lives[edge].load(Ordering::SeqCst);
        if life % 2 == 1 {
            continue;
        }
        let lives = || shared.lives[edge].load(Ordering::SeqCst) == life;
        let replaced = shared.replaced.load(Ordering::SeqCst);
        let asked = admin.clone();
        let said = tokio::task::spawn_blocking(move || age(&asked)).await;
        let revoked = {
            let told = shared.told.lock().unwrap();
            let count = told.revoked.len();
            // The last ones more often than the others.
            let back = if number % 2 == 0 {
                1
            } else {
                1 + number / 2 % 20
            };
            count
                .checked_sub(back)
                .map(|place| told.revoked[place].clone())
        };
        // One that is stopped answers much later.
        let dies = async {
            while lives() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answer = tokio::select! {
            answer = steady.get("/steady") => answer,
            () = dies => continue,
        };
        let is_served = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        assert!(is_served || !lives(), "edge {edge}: {answer:?}");
        shared
            .served
            .fetch_add(usize::from(is_served), Ordering::SeqCst);
        let Some(revoked) = revoked else { continue };
        let client = steady.clone().identity(&revoked.identity);
        let answer = client.get("/revoked").await;
        let status = answer.map_or(0, |answer| answer.status);
        shared
            .denied
            .fetch_add(usize::from(status == 403), Ordering::SeqCst);
        let is_same = replaced == shared.replaced.load(Ordering::SeqCst);
        if status != 200 || !lives() || !is_same {
            continue;
        }
        let (asked, age) = said.unwrap().expect("it lives, and says how old it is");
        let is_said = asked.checked_sub(age).is_none_or(|had| revoked.at >= had);
        assert!(
            is_said,
            "edge {edge} says that it is {age:?} old, and serves what was revoked {:?} before that was asked ({HOST})",
            asked.saturating_duration_since(revoked.at)
        );
    }
}
