//! Every kind of gRPC call, as the reference implementation makes them.

use std::process::Command;

use serde_json::json;
use tests::Setup;
use tests::gateway::ZONE;
use tests::tool::{python, run};

const SCRIPT: &str = include_str!("grpc_calls.py");
const HOST: &str = "api.example.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_kinds_of_calls_deadlines_large_messages_and_trailers() {
    let Some(python) = python("grpc", "grpcio") else {
        return;
    };
    let gateway = Setup::new().start();
    let device = gateway.authority(ZONE).client("device");
    let file = |name: &str, text: &str| {
        let path = gateway.file(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = file("servers.pem", &gateway.servers.pem());
    let cert = file("client.pem", &device.chain_pem());
    let key = file("client.key", &device.key_pem());
    let port_file = gateway.file("grpc.port");
    let command = |address: &str| {
        let mut command = Command::new(&python);
        command
            .args(["-c", SCRIPT, address, HOST])
            .args([&ca, &cert, &key, &port_file]);
        command
    };
    let mut server = command("serve").spawn().unwrap();
    let port = tests::wait::until("the gRPC server", || {
        std::fs::read_to_string(&port_file).ok()
    });
    let host = json!({
        "name": HOST, "mtls": "require",
        "origin": { "url": format!("http://127.0.0.1:{port}"), "protocol": "http2" },
    });
    let path = format!("/postern/v1/zones/{}/hosts", gateway.zone_id(ZONE));
    drop(gateway.admin.call("POST", &path, &host).result());
    let outcome = run(&mut command(&gateway.address.to_string()));
    drop(server.kill());
    drop(server.wait());
    assert!(outcome.out.contains("all good"), "{outcome:?}");
    let record = gateway.record("the large message", |line| {
        line["path"] == "/all.All/Unary" && line["bytes_sent"].as_u64() > Some(50 * 1024 * 1024)
    });
    assert_eq!(record["status"], 200, "{record}");
}
