//! Every combination of where a ticket was taken and by whom, where it is shown, what the Host
//! header says and what changed in between, against a model that says what must happen.

use std::collections::HashMap;

use serde_json::{Value, json};
use tests::client::Tickets;
use tests::gateway::ZONE;
use tests::raw::Raw;
use tests::{Client, Gateway, Identity, Origin, Setup};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Off,
    Request,
    Close,
    Require,
}

/// Name, mode, and whether it belongs to the other zone.
const HOSTS: [(&str, Mode, bool); 6] = [
    ("off.example.test", Mode::Off, false),
    ("request.example.test", Mode::Request, false),
    ("require.example.test", Mode::Require, false),
    ("second.example.test", Mode::Require, false),
    ("close.example.test", Mode::Close, false),
    ("require.other.test", Mode::Require, true),
];

/// What happens between the ticket and its use.
const CHANGES: [&str; 4] = ["nothing", "revoked", "restored", "stricter"];

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum Who {
    Nobody,
    Device,
    Stranger,
}

const WHO: [Who; 3] = [Who::Nobody, Who::Device, Who::Stranger];

#[derive(Debug, PartialEq, Eq, Clone)]
enum Outcome {
    Refused,
    Misdirected,
    /// Resumed, and what the origin was told: presented, verified, revoked; `None` when nothing.
    Served(bool, Option<(bool, bool, bool)>),
}

fn mode(host: usize, change: &str) -> Mode {
    match (HOSTS[host].1, change) {
        (Mode::Request, "stricter") => Mode::Require,
        (mode, _) => mode,
    }
}

/// Presented, verified, revoked, as a host finds it.
fn verdict(who: Who, host: usize, change: &str) -> (bool, bool, bool) {
    if mode(host, change) == Mode::Off || who == Who::Nobody {
        return (false, false, false);
    }
    let verified = HOSTS[host].2 == (who == Who::Stranger);
    let revoked = verified && who == Who::Device && change == "revoked";
    (true, verified, revoked)
}

fn refuses(host: usize, change: &str, (_, verified, revoked): (bool, bool, bool)) -> bool {
    match mode(host, change) {
        Mode::Off | Mode::Request => false,
        Mode::Close => revoked,
        Mode::Require => !verified || revoked,
    }
}

/// What must happen.
fn model(from: usize, owner: Who, sni: usize, shown: Who, host: usize, change: &str) -> Outcome {
    let same_policy = mode(from, "nothing") == mode(from, change);
    let resumed = from == sni && same_policy;
    let who = if resumed { owner } else { shown };
    let found = verdict(who, sni, change);
    if refuses(sni, change, found) {
        return Outcome::Refused;
    }
    let policy = |host: usize| {
        let mode = mode(host, change);
        (mode, mode != Mode::Off && HOSTS[host].2)
    };
    if policy(sni) != policy(host) {
        return Outcome::Misdirected;
    }
    Outcome::Served(resumed, (mode(host, change) != Mode::Off).then_some(found))
}

async fn observe(client: &Client, host: &str) -> Outcome {
    let Ok((stream, local)) = client.connect(b"\x08http/1.1").await else {
        return Outcome::Refused;
    };
    let resumed = stream.ssl().session_reused();
    let mut raw = Raw::new(stream, local);
    raw.write(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    let Some(answer) = raw.message().await else {
        return Outcome::Refused;
    };
    if answer.status() == 421 {
        return Outcome::Misdirected;
    }
    assert_eq!(answer.status(), 200);
    let seen: Value = serde_json::from_slice(&answer.body).unwrap();
    let told = |name: &str| {
        let value = seen["headers"].get(name)?.get(0)?.as_str()?;
        Some(value == "true")
    };
    let told = (|| {
        Some((
            told("cf-cert-presented")?,
            told("cf-cert-verified")?,
            told("cf-cert-revoked")?,
        ))
    })();
    Outcome::Served(resumed, told)
}

struct World<'g> {
    gateway: &'g Gateway,
    device: Identity,
    stranger: Identity,
}

impl World<'_> {
    fn client(&self, sni: usize, who: Who, twelve: bool) -> Client {
        let identity = match who {
            Who::Nobody => None,
            Who::Device => Some(&self.device),
            Who::Stranger => Some(&self.stranger),
        };
        let client = self.gateway.client(HOSTS[sni].0);
        client.identity_if(identity).tls(twelve)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_combination_does_what_the_model_says() {
    let origin = Origin::echo();
    let mut setup = Setup::new().zone("other.test");
    for (name, mode, _) in HOSTS {
        let mtls = match mode {
            Mode::Off => "off",
            Mode::Request | Mode::Close => "request",
            Mode::Require => "require",
        };
        setup = setup.host(name, mtls, &origin.url());
    }
    let gateway = setup.start();
    gateway.change_host("close.example.test", &json!({ "revoked": "close" }));
    let (id, device) = gateway.certificate(ZONE, "device");
    let (_, stranger) = gateway.certificate("other.test", "stranger");
    let world = World {
        gateway: &gateway,
        device,
        stranger,
    };
    let mut tickets: HashMap<(usize, Who, bool), Tickets> = HashMap::new();
    for from in 0..HOSTS.len() {
        for owner in WHO {
            for twelve in [true, false] {
                let client = world.client(from, owner, twelve);
                // Who is refused gets no ticket.
                if client.get("/ticket").await.is_ok() {
                    assert!(client.tickets().count() > 0);
                    tickets.insert((from, owner, twelve), client.tickets());
                }
            }
        }
    }
    let (mut combinations, mut differences) = (0, Vec::new());
    for change in CHANGES {
        match change {
            "revoked" => gateway.revoke(ZONE, &id),
            "restored" => gateway.restore(ZONE, &id),
            "stricter" => {
                gateway.change_host("request.example.test", &json!({ "mtls": "require" }));
            }
            _ => {}
        }
        for (&(from, owner, twelve), ticket) in &tickets {
            for (sni, (shown_name, ..)) in HOSTS.iter().enumerate() {
                for (host, (asked, ..)) in HOSTS.iter().enumerate() {
                    // The thief with nothing in hand at every host; others where it matters.
                    let shown = if (sni + host + from) % 3 == 0 {
                        Who::Device
                    } else {
                        Who::Nobody
                    };
                    let client = world.client(sni, shown, twelve);
                    let found = observe(&client.resuming(&ticket.last()), asked).await;
                    let expected = model(from, owner, sni, shown, host, change);
                    combinations += 1;
                    if found != expected {
                        differences.push(format!(
                            "{change}: ticket of {} by {owner:?} at {} for {} showing {shown:?}, TLS 1.2 {twelve}: {found:?}, expected {expected:?}",
                            HOSTS[from].0, shown_name, asked
                        ));
                    }
                }
            }
        }
    }
    println!(
        "{combinations} combinations, {} differences",
        differences.len()
    );
    assert!(combinations >= 2000, "{combinations}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
