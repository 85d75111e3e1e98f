//! Tokens of one zone: what they cannot make the gateway do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::new_address;
use tests::{Origin, Setup};

/// One call over TCP with a token: the status, and what came with it.
fn call(api: SocketAddr, token: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
    let mut stream = TcpStream::connect(api).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zones_token_reaches_neither_other_zones_nor_this_machine() {
    let origin = Origin::echo();
    let api = new_address();
    let gateway = Setup::new()
        .set("admin.listen", &api.to_string())
        .set("control.private_origins", "allow")
        .zone("sub.example.test")
        .host("open.example.test", "off", &origin.url())
        .start();
    let create = [
        "token",
        "create",
        "t",
        "--scope",
        "all",
        "--zone",
        "example.test",
        "--json",
    ];
    let token = gateway.cli(&create).json()["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let zone = gateway.zone_id("example.test");
    // It sees the zone that is its, and so the command line finds it by its name.
    let (status, listed) = call(api, &token, "GET", "/client/v4/zones", &json!(null));
    assert_eq!(status, 200, "{listed}");
    let sees = |name: &str| listed.contains(&format!("\"name\":\"{name}\""));
    assert!(
        sees("example.test") && !sees("sub.example.test"),
        "{listed}"
    );
    let file = gateway.file("token");
    std::fs::write(&file, &token).unwrap();
    let mut by_name = std::process::Command::new(tests::tool::postern());
    by_name
        .args(["--api", &format!("http://{api}"), "--token"])
        .arg(&file)
        .args(["rule", "list", "--zone", "example.test"]);
    drop(tests::tool::run(&mut by_name).ok());
    let hosts = format!("/postern/v1/zones/{zone}/hosts");
    let make = |name: &str, url: &str| {
        let body = json!({"name": name, "origin": {"url": url}, "mtls": "off"});
        call(api, &token, "POST", &hosts, &body)
    };
    let port = origin.url().rsplit_once(':').unwrap().1.to_owned();
    // Set while the policy allows it: a name that means this machine, and one that is elsewhere.
    let local = format!("http://localhost:{port}");
    assert_eq!(make("local.example.test", &local).0, 200);
    assert_eq!(make("host.sub.example.test", "http://192.0.2.1").0, 400);
    let client = gateway.client("local.example.test");
    assert_eq!(client.get("/before").await.unwrap().status, 200);

    gateway.configure(&[("admin.listen", &api.to_string())]);
    gateway.signal("HUP");
    let mut status = 200;
    for _ in 0..200 {
        status = client.get("/after").await.unwrap().status;
        if status != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status, 502, "the policy denies it now");
    client.get("/told").await.unwrap();
    assert_eq!(
        gateway.request_record("/told")["error"],
        "origin_out_of_reach"
    );
    // What an administrator set goes on, to the same place.
    let open = gateway.client("open.example.test").get("/").await.unwrap();
    assert_eq!(open.status, 200);

    let own = gateway.listen[0];
    for url in [
        local.as_str(),
        &format!("http://{api}"),
        &format!("https://{own}"),
        "http://169.254.169.254",
        "http://[::ffff:127.0.0.1]:1",
        "http://2130706433:1",
    ] {
        let (status, answer) = make("new.example.test", url);
        assert_eq!(status, 400, "{url}: {answer}");
        assert!(
            answer.contains("control.private_origins"),
            "{url}: {answer}"
        );
    }
    // Nor through the sources of lists and responders, which belong to no zone.
    let ca = "00000000-0000-4000-8000-000000000000";
    for (path, body) in [
        ("crls", json!({"urls": ["http://127.0.0.1/x"]})),
        ("ocsp", json!({"url": "http://127.0.0.1/x"})),
    ] {
        let path = format!("/postern/v1/certificate_authorities/{ca}/{path}");
        assert_eq!(call(api, &token, "PATCH", &path, &body).0, 403, "{path}");
    }
}
