//! The admin API over TCP with TLS: who gets in, under which names, and a certificate that changes.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use boring::ssl::{SslConnector, SslMethod, SslVersion};
use boring::x509::X509;
use fixtures::new_loopback;
use tests::pki::{Authority, Identity};
use tests::{Gateway, Setup};

const PATIENCE: Duration = Duration::from_secs(20);

fn write(gateway: &Gateway, identity: &Identity) {
    fs::write(gateway.file("admin.pem"), identity.chain_pem()).unwrap();
    fs::write(gateway.file("admin.key"), identity.key_pem()).unwrap();
}

/// A gateway whose admin API has this certificate, and its address.
fn start(identity: &Identity) -> (Gateway, SocketAddr) {
    let address = new_loopback();
    let mut gateway = Setup::new().start();
    write(&gateway, identity);
    gateway.stop();
    let (certificate, key) = (gateway.file("admin.pem"), gateway.file("admin.key"));
    gateway.configure(&[
        ("admin.listen", &address.to_string()),
        ("admin.tls_certificate", &certificate.display().to_string()),
        ("admin.tls_key", &key.display().to_string()),
    ]);
    gateway.start();
    (gateway, address)
}

/// One request over TLS; the answer's text, or why there is none.
fn ask(
    address: SocketAddr,
    trusted: &Authority,
    version: SslVersion,
    head: &str,
) -> Result<String, String> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    let ca = X509::from_pem(trusted.pem().as_bytes()).unwrap();
    connector.cert_store_mut().add_cert(ca).unwrap();
    connector.set_min_proto_version(None).unwrap();
    connector.set_max_proto_version(Some(version)).unwrap();
    let stream = TcpStream::connect(address).map_err(|why| why.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream = connector.build().connect("admin.example.test", stream);
    let mut stream = stream.map_err(|why| format!("handshake: {why}"))?;
    let text = format!("{head}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(text.as_bytes())
        .map_err(|why| why.to_string())?;
    let mut answer = Vec::new();
    // A peer that ends without an alert has said what it had to say.
    drop(stream.read_to_end(&mut answer));
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[test]
fn only_by_its_names_and_with_a_token() {
    let authority = Authority::root("Admin CA");
    let (gateway, address) =
        start(&authority.server(&["admin.example.test", "*.ops.example.test", "192.0.2.7"]));
    let token = gateway.cli(&["token", "create", "t", "--scope", "read", "--json"]);
    let token = token.json()["value"].as_str().unwrap().to_owned();
    let zones = "GET /client/v4/zones HTTP/1.1";
    let with = |host: &str, more: &str| {
        let head = format!("{zones}\r\nhost: {host}\r\nauthorization: Bearer {token}{more}");
        ask(address, &authority, SslVersion::TLS1_3, &head).unwrap()
    };
    for (host, more, expected) in [
        ("admin.example.test", "", "200"),
        ("Admin.Example.Test.:8480", "", "200"),
        ("a.ops.example.test", "", "200"),
        ("192.0.2.7:8480", "", "200"),
        ("localhost", "", "200"),
        ("127.0.0.1:1", "", "200"),
        ("a.b.ops.example.test", "", "403"),
        ("rebound.example.org", "", "403"),
        ("192.0.2.8", "", "403"),
        ("admin.example.test", "\r\nhost: admin.example.test", "403"),
        (
            "admin.example.test",
            "\r\norigin: https://admin.example.test",
            "403",
        ),
        (
            "admin.example.test",
            "\r\nsec-fetch-site: cross-site",
            "403",
        ),
    ] {
        let answer = with(host, more);
        assert_eq!(status(&answer), expected, "{host} {more}: {answer}");
        assert!(answer.contains("\"success\":"), "{answer}");
    }
    let nobody = format!("{zones}\r\nhost: localhost");
    let answer = ask(address, &authority, SslVersion::TLS1_2, &nobody).unwrap();
    assert_eq!(status(&answer), "401", "{answer}");
    let old = ask(address, &authority, SslVersion::TLS1_1, &nobody);
    assert!(
        old.as_ref().is_err_and(|why| why.starts_with("handshake")),
        "{old:?}"
    );

    // Without TLS, and with nonsense, a client hears nothing, and others are served meanwhile.
    let mut idle: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for text in [
        &b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff, 1],
        &[0; 4096],
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have been turned away before all is said.
        drop(stream.write_all(text));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    }
    assert_eq!(status(&with("localhost", "")), "200");
    for stream in &mut idle {
        drop(stream.write_all(b"x"));
    }
    assert_eq!(status(&with("localhost", "")), "200");
    assert!(
        !gateway.stderr().contains("panicked"),
        "{}",
        gateway.stderr()
    );
}

#[test]
fn a_certificate_is_read_again() {
    let (first, second) = (Authority::root("First"), Authority::root("Second"));
    let (gateway, address) = start(&first.server(&["admin.example.test"]));
    let live = |authority: &Authority| {
        let head = "GET /livez HTTP/1.1\r\nhost: admin.example.test";
        ask(address, authority, SslVersion::TLS1_3, head)
            .is_ok_and(|answer| status(&answer) == "200")
    };
    assert!(live(&first) && !live(&second));
    write(&gateway, &second.server(&["admin.example.test"]));
    assert!(live(&first), "not before it is told to");
    gateway.signal("HUP");
    tests::wait::until("the new certificate", || live(&second).then_some(()));
    assert!(!live(&first));
    // What cannot be used changes nothing.
    let other = second.server(&["admin.example.test"]);
    fs::write(gateway.file("admin.key"), other.key_pem()).unwrap();
    gateway.signal("HUP");
    tests::wait::until("a complaint", || {
        let log = gateway.stderr();
        (log.contains("does not belong to the first certificate")
            && log.contains("stays as it was"))
        .then_some(())
    });
    assert!(live(&second));
    let conf = gateway.file("postern.conf");
    let conf = conf.display().to_string();
    let message = gateway.cli(&["check", "--config", &conf]).failed(1);
    assert!(message.contains("admin.tls_key"), "{message}");
}

#[test]
fn tls_comes_and_goes_with_a_reload() {
    let authority = Authority::root("Admin CA");
    let identity = authority.server(&["admin.example.test"]);
    let address = new_loopback();
    let mut gateway = Setup::new()
        .set("admin.listen", &address.to_string())
        .start();
    write(&gateway, &identity);
    let head = "GET /livez HTTP/1.1\r\nhost: localhost";
    let in_clear = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = format!("{head}\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        status(&String::from_utf8_lossy(&answer)) == "200"
    };
    let over_tls = || {
        ask(address, &authority, SslVersion::TLS1_3, head)
            .is_ok_and(|answer| status(&answer) == "200")
    };
    assert!(in_clear() && !over_tls());
    let listen = ("admin.listen", address.to_string());
    let (certificate, key) = (gateway.file("admin.pem"), gateway.file("admin.key"));
    let whole = [
        (listen.0, &*listen.1),
        ("admin.tls_certificate", certificate.to_str().unwrap()),
        ("admin.tls_key", key.to_str().unwrap()),
    ];
    // What cannot be used changes nothing.
    let other = authority.server(&["admin.example.test"]);
    fs::write(&key, other.key_pem()).unwrap();
    gateway.configure(&whole);
    let before = gateway.pid();
    gateway.signal("HUP");
    gateway.says("stays as it was");
    write(&gateway, &identity);
    gateway.signal("HUP");
    gateway.replaced(before);
    // The process before may take one more connection.
    tests::wait::until("TLS", || (over_tls() && !in_clear()).then_some(()));
    gateway.configure(&whole[..1]);
    let before = gateway.pid();
    gateway.signal("HUP");
    gateway.replaced(before);
    tests::wait::until("no TLS", || (in_clear() && !over_tls()).then_some(()));
}

#[test]
fn the_network_needs_tls() {
    let mut gateway = Setup::new().start();
    gateway.stop();
    gateway.configure(&[("admin.listen", "0.0.0.0:0")]);
    let conf = gateway.file("postern.conf");
    let conf = conf.display().to_string();
    let message = gateway.cli(&["check", "--config", &conf]).failed(78);
    assert!(
        message.contains("tokens would cross the network in clear")
            && message.contains("admin.tls_certificate"),
        "{message}"
    );
}

#[test]
fn the_command_line_reaches_a_remote_gateway_with_a_token() {
    let authority = Authority::root("Admin CA");
    let (gateway, address) = start(&authority.server(&["localhost", "127.0.0.1"]));
    fs::write(gateway.file("ca.pem"), authority.pem()).unwrap();
    let other = Authority::root("Another CA");
    fs::write(gateway.file("other.pem"), other.pem()).unwrap();
    let made = gateway.cli(&["token", "create", "t", "--scope", "all", "--json"]);
    fs::write(
        gateway.file("token"),
        made.json()["value"].as_str().unwrap(),
    )
    .unwrap();
    fs::write(gateway.file("bad"), "postern_nonsense").unwrap();
    let run = |host: &str, token: &str, ca: &str, command: &[&str]| {
        let mut postern = std::process::Command::new(tests::tool::postern());
        postern
            .args(["--api", &format!("https://{host}:{}", address.port())])
            .arg("--token")
            .arg(gateway.file(token))
            .arg("--api-ca")
            .arg(gateway.file(ca))
            .args(command);
        tests::tool::run(&mut postern)
    };
    for host in ["127.0.0.1", "localhost"] {
        let zones = run(host, "token", "ca.pem", &["zone", "list"]).ok();
        assert!(zones.contains("example.test"), "{zones}");
    }
    drop(
        run(
            "127.0.0.1",
            "token",
            "ca.pem",
            &["zone", "create", "remote.test"],
        )
        .ok(),
    );
    for (token, ca, why) in [
        ("bad", "ca.pem", "the token is unknown"),
        ("token", "other.pem", "TLS"),
    ] {
        let refused = run("127.0.0.1", token, ca, &["zone", "list"]).failed(1);
        assert!(refused.contains(why), "{why}: {refused}");
    }
    // The same by the environment, and what is named there gives way to an option.
    let environment = |more: &[&str]| {
        let mut postern = std::process::Command::new(tests::tool::postern());
        postern
            .env("POSTERN_API", format!("https://{address}"))
            .env("POSTERN_TOKEN_FILE", gateway.file("token"))
            .env("POSTERN_API_CA", gateway.file("ca.pem"))
            .args(more)
            .args(["zone", "show", "remote.test"]);
        tests::tool::run(&mut postern)
    };
    assert!(environment(&[]).ok().contains("remote.test"));
    let socket = environment(&["--socket", "/nowhere/admin.sock"]).failed(1);
    assert!(socket.contains("/nowhere/admin.sock"), "{socket}");
    // What only the machine itself may do is refused by the gateway, not by the command.
    let told = run("127.0.0.1", "token", "ca.pem", &["audit"]).ok();
    assert!(told.contains("remote.test"), "{told}");
}

#[test]
fn a_session_over_tls_has_a_cookie_that_crosses_no_plain_connection() {
    let authority = Authority::root("Admin CA");
    let (gateway, address) = start(&authority.server(&["admin.example.test"]));
    let token = gateway.cli(&["token", "create", "t", "--scope", "read", "--json"]);
    let token = token.json()["value"].as_str().unwrap().to_owned();
    let host = format!("admin.example.test:{}", address.port());
    let session = "/postern/v1/dashboard/session HTTP/1.1";
    let body = format!("{{\"token\": \"{token}\"}}");
    let sign_in = |origin: &str| {
        let head = format!(
            "POST {session}\r\nhost: {host}\r\norigin: {origin}\r\nx-postern-dashboard: sign-in\r\n\
             content-length: {}",
            body.len()
        );
        // What `ask` writes behind it comes after the body, and is not read.
        let text = format!("{head}\r\nconnection: close\r\n\r\n{body}");
        ask(address, &authority, SslVersion::TLS1_3, &text).unwrap()
    };
    let refused = sign_in(&format!("http://{host}"));
    assert_eq!(status(&refused), "403", "a page of the plain scheme");
    let begun = sign_in(&format!("https://{host}"));
    assert_eq!(status(&begun), "200", "{begun}");
    let name = format!("__Host-postern-{}=", address.port());
    let line = begun.lines().find(|line| line.starts_with("set-cookie: "));
    let line = line.unwrap();
    assert!(line.contains(&name), "{line}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(line.contains(attribute), "{line}");
    }
    // The link names the certificate's name, which this gateway answers to.
    let link = gateway.cli(&["dashboard"]).ok();
    assert!(
        link.starts_with(&format!("https://{host}/#sign-in=")),
        "{link}"
    );
}
