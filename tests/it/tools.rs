//! Other people's clients: curl, nghttp2's, Python's gRPC.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::gateway::ZONE;
use tests::tool::{Outcome, has, python, run};
use tests::{Gateway, Identity, Origin, Setup};

const RULE: &str = r#"(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path eq "/admin""#;
const HOST: &str = "api.example.test";

/// Writes what a client needs to files: CA, certificate, key.
fn files(gateway: &Gateway, identity: &Identity) -> [PathBuf; 3] {
    let write = |name: &str, text: String| {
        let path = gateway.file(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    [
        write("servers.pem", gateway.servers.pem()),
        write("client.pem", identity.chain_pem()),
        write("client.key", identity.key_pem()),
    ]
}

fn curl(gateway: &Gateway, path: &str, arguments: &[&str]) -> Outcome {
    let (ip, port) = (gateway.address.ip(), gateway.address.port());
    run(Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--write-out",
            "\n%{http_code} %{http_version}",
        ])
        .args(["--resolve", &format!("{HOST}:{port}:{ip}")])
        .arg("--cacert")
        .arg(gateway.file("servers.pem"))
        .args(arguments)
        .arg(format!("https://{HOST}:{port}{path}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_with_one_group_or_an_older_version() {
    if !has("curl") {
        return;
    }
    let origin = Origin::echo();
    let refused = |gateway: &Gateway, arguments: &[&str], reason: &str| {
        let outcome = curl(gateway, "/", arguments);
        assert_eq!(outcome.code, 35, "{arguments:?}: {outcome:?}");
        gateway.record(reason, |line| {
            line["kind"] == "handshake" && line["reason"] == reason
        });
    };
    let served = |gateway: &Gateway, arguments: &[&str]| {
        let said = curl(gateway, "/", arguments).ok();
        assert!(said.contains("\n200 "), "{arguments:?}: {said}");
    };
    let only_p384 = ["--curves", "P-384", "--tlsv1.3"];
    let old = ["--tls-max", "1.2"];
    let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
    std::fs::write(gateway.file("servers.pem"), gateway.servers.pem()).unwrap();
    refused(&gateway, &only_p384, "group");
    served(&gateway, &old);
    let set = |version: &str| {
        gateway
            .cli(&["host", "set", HOST, "--tls-min-version", version])
            .ok()
    };
    assert!(set("1.3").contains("1.3"));
    refused(&gateway, &old, "version");
    served(&gateway, &["--tlsv1.3"]);
    drop(set("gateway"));
    served(&gateway, &old);
    let gateway = Setup::new()
        .set("tls.groups", "X25519, P-256, P-384")
        .set("tls.min_version", "1.3")
        .host(HOST, "off", &origin.url())
        .start();
    std::fs::write(gateway.file("servers.pem"), gateway.servers.pem()).unwrap();
    served(&gateway, &only_p384);
    refused(&gateway, &old, "version");
    let shown = gateway.cli(&["sysctl", "tls.groups"]).ok();
    assert!(shown.contains("X25519, P-256, P-384"), "{shown}");
    let made = gateway.cli(&["zone", "create", "ed.test", "--ca-key", "ed25519"]);
    assert!(made.err.contains("ca_unsupported"), "{made:?}");
    assert_eq!(made.code, 0, "{made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_with_and_without_a_certificate() {
    if !has("curl") {
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host(HOST, "request", &origin.url())
        .block(RULE)
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    let [_, cert, key] = files(&gateway, &device);
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let with = ["--cert", cert, "--key", key];
    for (version, said) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for tls in ["--tls-max 1.2", "--tlsv1.3"] {
            let ask = |path: &str, more: &[&str]| {
                let mut arguments = vec![version];
                arguments.extend(tls.split(' '));
                arguments.extend(more);
                curl(&gateway, path, &arguments).ok()
            };
            let what = format!("{version} {tls}");
            assert!(
                ask("/admin", &[]).ends_with(&format!("\n403 {said}")),
                "{what}"
            );
            assert!(
                ask("/admin", &with).ends_with(&format!("\n200 {said}")),
                "{what}"
            );
            assert!(ask("/", &[]).ends_with(&format!("\n200 {said}")), "{what}");
            let posted = ask(
                "/x",
                &["--data", "hello", "--header", "X-Client-Cert: forged"],
            );
            assert!(
                posted.contains(r#""body":"hello""#) && !posted.contains("forged"),
                "{what}: {posted}"
            );
        }
    }
    gateway.revoke(ZONE, &id);
    assert!(curl(&gateway, "/admin", &with).ok().ends_with("\n403 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nghttp2s_clients() {
    if !(has("nghttp") && has("h2load")) {
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("host.default", HOST)
        .host(HOST, "request", &origin.url())
        .block(RULE)
        .start();
    let device = gateway.authority(ZONE).client("device");
    let [_, cert, key] = files(&gateway, &device);
    let admin = format!("https://{}/admin", gateway.address);
    let nghttp = |arguments: &[&Path]| {
        run(Command::new("nghttp")
            .args(["--verbose", "--no-verify-peer", "--timeout=30"])
            .arg(format!("--header=:authority: {HOST}"))
            .args(arguments.iter().map(|argument| argument.as_os_str()))
            .arg(&admin))
        .ok()
    };
    assert!(nghttp(&[]).contains(":status: 403"));
    let cert_argument = PathBuf::from(format!("--cert={}", cert.display()));
    let key_argument = PathBuf::from(format!("--key={}", key.display()));
    assert!(nghttp(&[&cert_argument, &key_argument]).contains(":status: 200"));
    let load = run(Command::new("h2load")
        .args([
            "--requests=2000",
            "--clients=10",
            "--max-concurrent-streams=10",
        ])
        .arg(format!("--header=:authority: {HOST}"))
        .arg(format!("https://{}/load", gateway.address)));
    let load = load.ok();
    assert!(
        load.contains("2000 succeeded, 0 failed, 0 errored"),
        "{load}"
    );
    assert!(load.contains("2000 2xx"), "{load}");
}

const GRPC: &str = r#"
import sys, threading
from concurrent import futures
import grpc

address, host, ca, cert, key, port_file = sys.argv[1:7]
read = lambda path: open(path, 'rb').read()
raw = dict(request_serializer=lambda b: b, response_deserializer=lambda b: b)

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        def chat(requests, context):
            told = dict(context.invocation_metadata())
            context.set_trailing_metadata((('x-verified', told.get('cf-cert-verified', '?')),))
            for request in requests:
                yield request[::-1]
        def fail(request, context):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'as asked')
        if details.method == '/echo.Echo/Chat':
            return grpc.stream_stream_rpc_method_handler(chat)
        if details.method == '/echo.Echo/Fail':
            return grpc.unary_unary_rpc_method_handler(fail)

if address == 'serve':
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    open(port_file + '.new', 'w').write(str(port))
    import os
    os.rename(port_file + '.new', port_file)
    server.wait_for_termination(300)
    sys.exit(0)

def channel(with_certificate):
    pair = dict(private_key=read(key), certificate_chain=read(cert)) if with_certificate else {}
    credentials = grpc.ssl_channel_credentials(root_certificates=read(ca), **pair)
    options = (('grpc.ssl_target_name_override', host), ('grpc.default_authority', host))
    return grpc.secure_channel(address, credentials, options)

with channel(True) as good:
    # Each message is sent only when the answer to the one before has come.
    turn = threading.Semaphore(1)
    def requests():
        for index in range(100):
            assert turn.acquire(timeout=30)
            yield b'message %d' % index
    call = good.stream_stream('/echo.Echo/Chat', **raw)(requests(), timeout=60)
    for index, answer in enumerate(call):
        assert answer == (b'message %d' % index)[::-1], answer
        turn.release()
    assert index == 99, index
    assert dict(call.trailing_metadata())['x-verified'] == 'true', call.trailing_metadata()
    large = bytes(range(256)) * 8192
    call = good.stream_stream('/echo.Echo/Chat', **raw)(iter([large] * 4), timeout=60)
    assert [answer == large[::-1] for answer in call] == [True] * 4
    try:
        good.unary_unary('/echo.Echo/Fail', **raw)(b'x', timeout=30)
        raise AssertionError('no error')
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == 'as asked', error

with channel(False) as nobody:
    try:
        list(nobody.stream_stream('/echo.Echo/Chat', **raw)(iter([b'x']), timeout=30))
        raise AssertionError('nobody got in')
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED, error
        assert error.details().startswith('This request was refused'), error
with channel(True) as good:
    try:
        good.unary_unary('/down', **raw)(b'x', timeout=30)
        raise AssertionError('no error')
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        assert error.details().startswith('Bad Gateway'), error
print('all good')
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_call_from_grpcio() {
    let Some(python) = python("grpc", "grpcio") else {
        return;
    };
    let gateway = Setup::new().start();
    let device = gateway.authority(ZONE).client("device");
    let [ca, cert, key] = files(&gateway, &device);
    let port_file = gateway.file("grpc.port");
    let command = |address: &str| {
        let mut command = Command::new(&python);
        command
            .args(["-c", GRPC, address, HOST])
            .args([&ca, &cert, &key, &port_file]);
        command
    };
    let mut server = command("serve").spawn().unwrap();
    let port = tests::wait::until("the gRPC server", || {
        std::fs::read_to_string(&port_file).ok()
    });
    let host = serde_json::json!({
        "name": HOST, "mtls": "request",
        "origin": { "url": format!("http://127.0.0.1:{port}"), "protocol": "http2" },
    });
    let path = format!("/postern/v1/zones/{}/hosts", gateway.zone_id(ZONE));
    drop(gateway.admin.call("POST", &path, &host).result());
    let _rule = gateway.rule(&serde_json::json!({
        "action": "block", "expression": "not cf.tls_client_auth.cert_verified",
    }));
    let zone = gateway.zone_id(ZONE);
    let path = format!("/client/v4/zones/{zone}/rulesets/phases/http_request_origin/entrypoint");
    let nowhere = serde_json::json!({ "rules": [{ "action": "route",
        "expression": "http.request.uri.path eq \"/down\"",
        "action_parameters": { "origin": { "host": "127.0.0.1", "port": 1 } } }] });
    drop(gateway.admin.call("PUT", &path, &nowhere).result());
    let outcome = run(&mut command(&gateway.address.to_string()));
    drop(server.kill());
    drop(server.wait());
    assert!(outcome.out.contains("all good"), "{outcome:?}");
    let record = gateway.record("the call", |line| {
        line["path"] == "/echo.Echo/Chat" && line["status"] == 200
    });
    assert_eq!(record["http"], "HTTP/2", "{record}");
    assert_eq!(record["client_cert"]["verified"], true, "{record}");
}
