//! How an edge stands to its fleet, as `postern doctor`, `postern status` and the dashboard show it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::Gateway;
use tests::gateway::ZONE;
use tests::wait::until;

use crate::dashboard::{dashboard, has_dashboard};
use crate::fleet::{Fleet, cli, setup, started, status};
use fixtures::etcd::copy;

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
    until("a change", || {
        (fleet.create_zone(1, "lost.test").status == 200).then_some(())
    });
    etcd.kill_all();
    copy(&old, &etcd.data(0));
    etcd.run_all();
    until("the edge to be stuck", || {
        let (code, found) = amiss(&fleet.edges[1]);
        (code == 1 && found.contains(&of("fleet", "bad")[0])).then_some(())
    });
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
    // Free when it was looked for; the gateway says so if another process was faster.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = free.local_addr().unwrap().to_string();
    drop(free);
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
