//! How an edge stands to its fleet, as `postern doctor`, `postern status` and the dashboard show it; and a fleet
//! of another format than this version's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::Gateway;
use tests::gateway::ZONE;
use tests::wait::{PATIENCE, until};

use crate::dashboard::{dashboard, has_dashboard};
use crate::fleet::{Fleet, cli, setup, started, status};
use fixtures::etcd::{Etcd, copy};
use fixtures::new_loopback;

/// What the doctor finds amiss with the fleet, and its exit code.
fn amiss(gateway: &Gateway) -> (i32, Vec<(String, String)>) {
    let outcome = gateway.cli(&["doctor", "--json"]);
    let all: Value = serde_json::from_str(&outcome.out).unwrap();
    let fleet = all.as_array().unwrap().iter();
    let mut fleet = fleet.filter(|one| one.get("fleet").is_some());
    let found = fleet.next().expect("there is a fleet");
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let found = found["findings"].as_array().unwrap().iter();
    let found = found.filter(|one| one["state"] != "ok");
    let found = found.map(|one| (text(one, "check"), text(one, "state")));
    (outcome.code, found.collect())
}

fn of(check: &str, state: &str) -> Vec<(String, String)> {
    vec![(check.to_owned(), state.to_owned())]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_and_the_status_say_how_an_edge_stands_to_its_fleet() {
    let Some(mut etcd) = started(1) else {
        return;
    };
    // One that has another key, and is in no fleet yet.
    let stranger = tokio::task::block_in_place(|| setup(&etcd.url(0), "stranger").start());
    assert_eq!(amiss(&stranger), (0, of("fleet", "doubt")));
    let told = cli(&stranger, &["doctor"]);
    assert!(told.contains("postern fleet init"), "{told}");
    let mut fleet = Fleet::start(&etcd, 2).await;
    let found = amiss(&stranger);
    let both = [of("fleet", "doubt"), of("key file", "bad")].concat();
    assert_eq!(found, (1, both));
    until("somebody to lead", || {
        amiss(&fleet.edges[1]).1.is_empty().then_some(())
    });
    let told = cli(&fleet.edges[1], &["status"]);
    assert!(told.contains("prod, edge edge-1: current"), "{told}");
    let told = fleet.edges[1].cli(&["doctor"]).out;
    assert!(told.contains("edge-1 has all that prod has"), "{told}");

    fleet.edges[0].signal("KILL");
    let _killed = fleet.edges[0].wait();
    until("the other to be missed", || {
        (amiss(&fleet.edges[1]).1 == of("other edges", "doubt")).then_some(())
    });
    let old = etcd.directory().join("old");
    etcd.kill_all();
    copy(&etcd.data(0), &old);
    until("etcd to be missed", || {
        (status(&fleet.edges[1])["state"] == "away").then_some(())
    });
    let found = amiss(&fleet.edges[1]).1;
    assert!(found.contains(&of("fleet", "doubt")[0]), "{found:?}");
    let told = cli(&fleet.edges[1], &["status"]);
    assert!(told.contains("prod, edge edge-1: away"), "{told}");
    etcd.run_all();
    until("a change", || fleet.has_zone(1, "lost.test").then_some(()));
    etcd.kill_all();
    copy(&old, &etcd.data(0));
    etcd.run_all();
    // It may ask for the last time before etcd is back, and waits longer and longer then.
    let is_stuck = || {
        let (code, found) = amiss(&fleet.edges[1]);
        code == 1 && found.contains(&of("fleet", "bad")[0])
    };
    let deadline = Instant::now() + 2 * PATIENCE;
    while !is_stuck() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(is_stuck(), "{}", status(&fleet.edges[1]));
    // It is said of each host as well, and of none that it lacks something.
    let told = fleet.edges[1].cli(&["doctor", "api.example.test"]);
    assert!(told.out.contains("postern fleet accept"), "{told:?}");
    assert_eq!(told.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_in_a_browser() {
    let Some(home) = dashboard() else { return };
    let Some(mut etcd) = started(1) else {
        return;
    };
    let mut fleet = Fleet::start(&etcd, 1).await;
    let (id, _) = fleet.edges[0].certificate(ZONE, "device");
    let admin = new_loopback().to_string();
    let second = setup(&etcd.url(0), "edge-1").key_of(&fleet.edges[0]);
    let second = second.set("admin.listen", &admin);
    let second = tokio::task::block_in_place(|| second.start());
    if !has_dashboard(&second) {
        return;
    }
    cli(&second, &["fleet", "join"]);
    fleet.edges.push(second);
    for number in 0..3 {
        let made = fleet.create_zone(0, &format!("zone-{number}.test"));
        assert_eq!(made.status, 200);
    }
    fleet.settle();
    let read = ["token", "create", "reads", "--scope", "read", "--json"];
    let read = fleet.edges[1].cli(&read).json();
    let told = json!({
        "link": cli(&fleet.edges[1], &["dashboard"]).trim(),
        "url": format!("http://{admin}"),
        "tokens": { "read": read["value"] },
    });
    let mut script = Command::new("node")
        .current_dir(home)
        .arg("tests/fleet.mjs")
        .arg(told.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answer = script.stdin.take().unwrap();
    let old = etcd.directory().join("old");
    let mut said = String::new();
    for line in BufReader::new(script.stdout.take().unwrap()).lines() {
        said = line.unwrap();
        match said.as_str() {
            "kill edge-0" => {
                fleet.edges[0].signal("KILL");
                let _killed = fleet.edges[0].wait();
            }
            "kill etcd" => {
                etcd.kill_all();
                copy(&etcd.data(0), &old);
            }
            "revoke alone" => {
                cli(&fleet.edges[1], &["cert", "revoke", "--local", &id]);
            }
            "start etcd" => etcd.run_all(),
            "older etcd" => {
                etcd.kill_all();
                copy(&old, &etcd.data(0));
                etcd.run_all();
            }
            _ => break,
        }
        answer.write_all(b"done\n").unwrap();
    }
    drop(answer);
    assert!(script.wait().unwrap().success(), "{said}");
    assert_eq!(said, "all good");
    assert!(!fleet.edges[1].stderr().contains("panicked"));
}

/// What etcd's own JSON answers.
fn asked(etcd: &Etcd, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(etcd.address(0)).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /v3/kv/{path} HTTP/1.0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Says of the fleet's stores that they have another format.
fn set_format(etcd: &Etcd, format: u64) {
    let encoded = |bytes: &[u8]| boring::base64::encode_block(bytes);
    let key = encoded(b"/postern/prod/fleet");
    let there = asked(etcd, "range", &json!({ "key": key }));
    let value = there["kvs"][0]["value"].as_str().unwrap();
    let mut record: Value =
        serde_json::from_slice(&boring::base64::decode_block(value).unwrap()).unwrap();
    record["store_format"] = json!(format);
    let value = encoded(record.to_string().as_bytes());
    let _put = asked(etcd, "put", &json!({ "key": key, "value": value }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_another_format_is_refused_and_founded_again_once_all_are_upgraded() {
    let Some(etcd) = started(1) else {
        return;
    };
    let mut fleet = Fleet::start(&etcd, 3).await;
    // The second has not got the last change.
    let stopped = tokio::task::block_in_place(|| fleet.edges[1].stop());
    assert!(stopped.success());
    assert_eq!(fleet.create_zone(0, "last.test").status, 200);
    let newcomer = setup(&etcd.url(0), "newcomer").key_of(&fleet.edges[0]);
    let newcomer = tokio::task::block_in_place(|| newcomer.start());
    for edge in [0, 2] {
        tokio::task::block_in_place(|| fleet.edges[edge].stop());
    }
    // As an edge sees it that is not upgraded yet, and then as one does that is.
    for format in [control::STORE_FORMAT + 1, control::STORE_FORMAT - 1] {
        set_format(&etcd, format);
        for edge in 0..3 {
            let edge = &mut fleet.edges[edge];
            tokio::task::block_in_place(|| edge.start());
            until("the edge to refuse", || {
                (status(edge)["state"] == "stuck").then_some(())
            });
            let why = status(edge)["why"].as_str().unwrap().to_owned();
            assert!(why.contains(&format!("format {format}")), "{why}");
            let zone = json!({ "name": "refused.test" });
            let refused = edge.admin.call("POST", "/client/v4/zones", &zone);
            assert_ne!(refused.status, 200, "{}", refused.body);
            let found = amiss(edge).1;
            assert!(found.contains(&of("store format", "bad")[0]), "{found:?}");
        }
        let refused = newcomer.cli(&["fleet", "join"]);
        assert!(refused.err.contains("format"), "{refused:?}");
        if format > control::STORE_FORMAT {
            for edge in &mut fleet.edges {
                tokio::task::block_in_place(|| edge.stop());
            }
        }
    }
    let cli_of = |edge: usize, arguments: &[&str]| cli(&fleet.edges[edge], arguments);
    let still = fleet.edges[1].cli(&["fleet", "init", "--replace"]);
    assert!(still.err.contains("fleet leave"), "{still:?}");
    let _left = cli_of(1, &["fleet", "leave"]);
    let lost = fleet.edges[1].cli(&["fleet", "init", "--replace"]);
    assert!(lost.err.contains("would be lost"), "{lost:?}");
    // Nor is it because of changes of its own, which are none of the fleet's.
    for number in 0..5 {
        let own = fleet.create_zone(1, &format!("own-{number}.test"));
        assert_eq!(own.status, 200);
    }
    assert!(crate::fleet::revision(&fleet.edges[1]) > crate::fleet::revision(&fleet.edges[0]));
    let lost = fleet.edges[1].cli(&["fleet", "init", "--replace"]);
    assert!(lost.err.contains("would be lost"), "{lost:?}");
    let _left = cli_of(0, &["fleet", "leave"]);
    let plain = fleet.edges[0].cli(&["fleet", "init"]);
    assert!(plain.err.contains("already"), "{plain:?}");
    let _founded = cli_of(0, &["fleet", "init", "--replace"]);
    let _joined = cli_of(1, &["fleet", "join", "--replace"]);
    // The third sees by itself that the fleet is one that it could follow, and that it is another. It looks every
    // half a minute.
    let sees = || {
        let why = status(&fleet.edges[2])["why"].as_str()?.to_owned();
        why.contains("fleet accept").then_some(())
    };
    let deadline = Instant::now() + 2 * PATIENCE;
    while sees().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(sees().is_some(), "{}", status(&fleet.edges[2]));
    let _accepted = cli_of(2, &["fleet", "accept", "--yes"]);
    let _joined = cli(&newcomer, &["fleet", "join"]);
    until("a change", || fleet.has_zone(2, "new.test").then_some(()));
    fleet.settle();
    let zones = cli(&newcomer, &["zone", "list"]);
    assert!(zones.contains("last.test"), "{zones}");
    let again = newcomer.cli(&["fleet", "init", "--replace"]);
    assert!(again.err.contains("fleet leave"), "{again:?}");
}
