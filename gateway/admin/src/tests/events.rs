//! Recent events over the API: what each may hear, and where a stream goes on.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::World;
use control::{NewToken, Scope};
use datapath::observe::{HandshakeRecord, Recorder, Steered};

fn refuse(recorder: &Recorder, zone: &str, sni: &str) {
    recorder.handshake(&HandshakeRecord {
        time: SystemTime::now(),
        client: SocketAddr::from(([192, 0, 2, 1], 7)),
        host: if zone.is_empty() { "" } else { sni },
        zone,
        sni,
        tls_version: "",
        tls_cipher: "",
        client_auth: None,
        worker: 0,
        steered: Steered::None,
        reason: "unknown_ca",
        detail: "",
        elapsed: Duration::from_millis(1),
    });
}

impl World {
    /// Waits until so many events are kept.
    async fn kept(&self, count: usize) -> Value {
        loop {
            let found = self.get("/postern/v1/events").await;
            if found.as_array().unwrap().len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn events(stream: &str) -> Vec<(&str, &str, Value)> {
    let blocks = stream.split("\n\n");
    let told = blocks.filter_map(|block| {
        let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let data = serde_json::from_str(line("data: ")?).unwrap();
        Some((line("id: ").unwrap_or_default(), line("event: ")?, data))
    });
    told.collect()
}

#[tokio::test]
async fn each_hears_of_its_own_zone_only_and_goes_on_where_it_was() {
    let world = World::new().await;
    let zone = world.zone().await;
    let recorder = Recorder::new(world.events.clone(), 0);
    refuse(&recorder, "example.test", "api.example.test");
    refuse(&recorder, "other.test", "\n\ndata: {}\u{202e}<script>");
    refuse(&recorder, "", "nobody.test");
    let all = world.kept(3).await;
    assert_eq!(
        all[0]["record"]["tls"]["sni"], "nobody.test",
        "newest first"
    );
    assert_eq!(all[0]["kind"], "handshake");
    let mine = world.get(&format!("/postern/v1/zones/{zone}/events")).await;
    assert_eq!(mine.as_array().unwrap().len(), 1, "{mine}");
    let counts = world.get("/postern/v1/events/counts").await;
    assert_eq!(counts["seen"]["handshake"], 3);

    let stream = world
        .call("GET", "/postern/v1/events/stream?recent=10", Value::Null)
        .await;
    let told = events(&stream.text);
    let handshakes: Vec<_> = told
        .iter()
        .filter(|(_, kind, _)| *kind == "event")
        .collect();
    assert_eq!(handshakes.len(), 3, "{}", stream.text);
    assert!(
        told.iter()
            .any(|(_, kind, data)| *kind == "counts" && data["lost"] == 0)
    );
    let second = handshakes[1].0;
    let rest = world
        .raw(
            "GET",
            "/postern/v1/events/stream",
            Vec::new(),
            &[("last-event-id", second)],
        )
        .await;
    let rest = events(&rest.text);
    let rest: Vec<_> = rest
        .iter()
        .filter(|(_, kind, _)| *kind == "event")
        .collect();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].2["record"]["tls"]["sni"], "nobody.test");
}

#[tokio::test]
async fn a_change_is_told_and_to_tokens_of_zones_only_that_there_was_one() {
    let world = World::new().await;
    let zone = world.zone().await;
    let new = NewToken {
        name: "tenant".into(),
        scopes: [Scope::Read].into(),
        zones: [zone.parse().unwrap()].into(),
        days: 1,
    };
    // The one who gathers knows the revision of its start first.
    let recorder = Recorder::new(world.events.clone(), 0);
    refuse(&recorder, "", "first.test");
    world.kept(1).await;
    let (token, secret) = world.control.create_token(new).unwrap();
    let authorization = format!("Bearer {}", secret.reveal_text());
    let headers = [("authorization", authorization.as_str())];
    let stream = format!("/postern/v1/zones/{zone}/events/stream?recent=100");
    let told = loop {
        let answer = world.over_tcp("GET", &stream, &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut told = events(&answer.text).into_iter();
        if let Some((.., change)) = told.rfind(|(_, kind, _)| *kind == "change") {
            break change;
        }
    };
    let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["revision"]);
    let answer = world
        .call("GET", "/postern/v1/events/stream?recent=100", Value::Null)
        .await;
    let changes = events(&answer.text);
    let (.., change) = changes
        .iter()
        .rfind(|(_, kind, _)| *kind == "change")
        .unwrap();
    assert_eq!(change["changes"][0]["noun"], "token");
    assert_eq!(change["changes"][0]["key"], json!(token.id));
    for (path, status) in [
        ("/postern/v1/events", 403),
        ("/postern/v1/events/stream", 403),
        ("/postern/v1/reasons", 200),
    ] {
        let answer = world.over_tcp("GET", path, &headers).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let wrong = world
        .call("GET", "/postern/v1/events?kind=handshakes", Value::Null)
        .await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.text.contains("handshake, certificate"),
        "{}",
        wrong.text
    );
}
