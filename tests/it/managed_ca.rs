//! What leaves a managed CA: revocation lists as files that others can use, certificates for
//! requests as others write them. And what never leaves: its key.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::tool::{self, has, run};
use tests::wait::until;
use tests::{Gateway, Origin, Setup};

const HOST: &str = "api.example.test";

fn managed(gateway: &Gateway) -> Value {
    let told = gateway.cli(&["ca", "list", "--zone", ZONE, "--json"]);
    told.json().as_array().unwrap()[0].clone()
}

fn openssl(arguments: &[&str], directory: &Path) -> tool::Outcome {
    let mut command = Command::new("openssl");
    run(command.args(arguments).current_dir(directory))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_verifies_by_the_lists_in_the_directory() {
    if !has("openssl") {
        return;
    }
    let outside = fixtures::Directory::new();
    let place = outside.path().join("crl");
    let gateway = Setup::new()
        .set("crl.directory", place.to_str().unwrap())
        .start();
    let ca = managed(&gateway);
    let id = ca["id"].as_str().unwrap();
    let home = gateway.directory.clone();
    std::fs::write(home.join("ca.pem"), ca["certificate"].as_str().unwrap()).unwrap();
    let mut ids = Vec::new();
    for name in ["good", "bad"] {
        let (id, identity) = gateway.certificate(ZONE, name);
        std::fs::write(home.join(format!("{name}.pem")), identity.chain_pem()).unwrap();
        ids.push(id);
    }
    let together = place.join(format!("{ZONE}.crl.pem"));
    let verify = |name: &str| {
        let list = together.to_str().unwrap();
        let arguments = [
            "verify",
            "-crl_check",
            "-CAfile",
            "ca.pem",
            "-CRLfile",
            list,
            name,
        ];
        openssl(&arguments, &home)
    };
    until("the first list", || together.exists().then_some(()));
    assert!(verify("good.pem").ok().contains("OK"));
    assert!(verify("bad.pem").ok().contains("OK"));
    gateway.revoke(ZONE, &ids[1]);
    until("the list with the revoked one", || {
        let told = verify("bad.pem");
        (told.code != 0).then(|| assert!(told.err.contains("certificate revoked"), "{told:?}"))
    });
    assert!(verify("good.pem").ok().contains("OK"));

    // The same in DER, and at the admin endpoint.
    let der = place.join(format!("{id}.crl"));
    let text = [
        "crl", "-inform", "DER", "-noout", "-text", "-CAfile", "ca.pem",
    ];
    let told = openssl(
        &[&text[..], &["-in", der.to_str().unwrap()]].concat(),
        &home,
    );
    assert!(told.err.contains("verify OK"), "{told:?}");
    assert!(told.out.contains("Authority Key Identifier"), "{told:?}");
    assert_eq!(told.out.matches("Serial Number:").count(), 1, "{told:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&der), 0o644);
    let path = format!(
        "/postern/v1/zones/{}/authorities/{id}/crl",
        gateway.zone_id(ZONE)
    );
    if has("curl") {
        let mut curl = Command::new("curl");
        curl.args([
            "-sSf",
            "-o",
            "endpoint.crl",
            "-w",
            "%{content_type}",
            "--unix-socket",
        ])
        .arg(gateway.file("admin.sock"))
        .arg(format!("http://localhost{path}"))
        .current_dir(&home);
        assert_eq!(run(&mut curl).ok(), "application/pkix-crl");
        let told = openssl(&[&text[..], &["-in", "endpoint.crl"]].concat(), &home);
        assert!(told.err.contains("verify OK"), "{told:?}");
    }

    gateway.restore(ZONE, &ids[1]);
    until("the list without it", || {
        (verify("bad.pem").code == 0).then_some(())
    });
    drop(gateway.cli(&["ca", "roll", "--zone", ZONE]).ok());
    until("the new CA's list", || {
        let text = std::fs::read_to_string(&together).unwrap();
        (text.matches("BEGIN X509 CRL").count() == 2).then_some(())
    });
    assert!(verify("good.pem").ok().contains("OK"));
    let left: Vec<_> = std::fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| !name.ends_with(".new")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_as_openssl_makes_them() {
    if !has("openssl") {
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "request", &origin.url()).start();
    let home = gateway.directory.clone();
    let ask = |arguments: &[&str]| {
        let base = [
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "r.key",
        ];
        let rest = ["-out", "r.csr", "-subj", "/O=Postern Tests/CN=till 7"];
        drop(openssl(&[&base[..], &rest, arguments].concat(), &home).ok());
        let csr = home.join("r.csr");
        gateway.cli(&[
            "cert",
            "sign",
            "--zone",
            ZONE,
            "--csr",
            csr.to_str().unwrap(),
            "--json",
        ])
    };
    let names =
        "subjectAltName=DNS:till-7.example.test,URI:spiffe://example.test/till/7,IP:192.0.2.7";
    let made = ask(&[
        "-addext",
        names,
        "-addext",
        "keyUsage=digitalSignature,keyEncipherment",
    ]);
    std::fs::write(
        home.join("r.pem"),
        made.json()["certificate"].as_str().unwrap(),
    )
    .unwrap();
    let shown = openssl(&["x509", "-in", "r.pem", "-noout", "-text"], &home).ok();
    for part in [
        "DNS:till-7.example.test, URI:spiffe://example.test/till/7, IP Address:192.0.2.7",
        "TLS Web Client Authentication",
        "CA:FALSE",
        "Subject Key Identifier",
        "Authority Key Identifier",
        "CN = till 7",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("Key Encipherment"), "{shown}");
    // The names are there for rules.
    let rule = r#"not any(postern.tls_client_auth.cert_san.dns[*] eq "till-7.example.test")"#;
    let _rule = gateway.rule(&json!({ "action": "block", "expression": rule }));
    let key = std::fs::read_to_string(home.join("r.key")).unwrap();
    let chain = std::fs::read_to_string(home.join("r.pem")).unwrap();
    let identity = tests::Identity::from_pem(&chain, &key);
    let client = gateway.client(HOST);
    assert_eq!(client.get("/").await.unwrap().status, 403);
    let client = client.identity(&identity);
    assert_eq!(client.get("/").await.unwrap().status, 200);

    for (extension, said) in [
        ("basicConstraints=critical,CA:TRUE", "CA:TRUE"),
        ("keyUsage=keyCertSign", "keyCertSign"),
        ("subjectAltName=DNS:*.example.test", "wildcard"),
    ] {
        let told = ask(&["-addext", extension]).failed(1);
        assert!(told.contains(said), "{extension}: {told}");
    }
    assert!(ask(&["-sha1"]).failed(1).contains("SHA-256"));
    for days in ["0", "3651"] {
        let csr = home.join("r.csr");
        let told = gateway.cli(&[
            "cert",
            "sign",
            "--zone",
            ZONE,
            "--csr",
            csr.to_str().unwrap(),
            "--days",
            days,
        ]);
        assert!(told.failed(1).contains("between 1 and 3650"));
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_in_no_file_log_or_answer() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .set("log.level", "trace")
        .host(HOST, "request", &origin.url())
        .start();
    let (id, device) = gateway.certificate(ZONE, "device");
    gateway.revoke(ZONE, &id);
    let server = gateway.servers.server(&[HOST]);
    let zone = gateway.zone_id(ZONE).to_owned();
    let custom = format!("/client/v4/zones/{zone}/custom_certificates");
    let body = json!({ "certificate": server.chain_pem(), "private_key": server.key_pem() });
    drop(gateway.admin.call("POST", &custom, &body).result());
    drop(gateway.cli(&["ca", "roll", "--zone", ZONE]).ok());
    // A mistake that has the key in it.
    let wrong = json!({ "certificate": "nonsense", "private_key": server.key_pem() });
    assert_eq!(gateway.admin.call("POST", &custom, &wrong).status, 400);

    let line = std::fs::read_to_string(gateway.file("ca.key")).unwrap();
    let hex = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(hex.len(), 64);
    let raw: Vec<u8> = (0..32)
        .map(|place| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).unwrap())
        .collect();
    // A piece from the middle of each key, as PEM and as DER have it.
    let middle = |pem: &str| pem.lines().nth(1).unwrap()[20..60].to_owned();
    let der = |key: &boring::pkey::PKey<boring::pkey::Private>| {
        key.ec_key().unwrap().private_key().to_vec()
    };
    let mut secrets: Vec<(&str, Vec<u8>)> = vec![
        ("the sealing key in hex", hex.clone().into_bytes()),
        ("the sealing key", raw),
        ("PEM", b"PRIVATE KEY".to_vec()),
    ];
    for (what, pem, key) in [
        ("the server's key", server.key_pem(), &server.key),
        ("the client's key", device.key_pem(), &device.key),
    ] {
        secrets.push((what, middle(&pem).into_bytes()));
        secrets.push((what, der(key)));
    }
    let authority = gateway.authority(ZONE);
    secrets.push(("the CA's key", der(&authority.key)));

    let mut answers = Vec::new();
    for path in [
        "/postern/v1/status".to_owned(),
        "/postern/v1/audit".into(),
        "/postern/v1/sysctl".into(),
        "/postern/v1/hosts".into(),
        "/metrics".into(),
        format!("/postern/v1/zones/{zone}/authorities"),
        format!("/client/v4/zones/{zone}/client_certificates?status=all"),
        custom,
    ] {
        answers.push((path.clone(), gateway.admin.get(&path).body.into_bytes()));
    }
    answers.push(("export".into(), gateway.cli(&["export"]).ok().into_bytes()));
    assert!(gateway.stop().success());
    for path in files(&gateway.directory) {
        if path.ends_with("ca.key") {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        answers.push((path.display().to_string(), bytes));
    }
    assert!(answers.iter().any(|(name, _)| name.ends_with("store.redb")));
    assert!(answers.iter().any(|(name, _)| name.ends_with("stderr.log")));
    for (place, bytes) in &answers {
        for (what, secret) in &secrets {
            assert!(!holds(bytes, secret), "{what} is in {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sealing_key_where_it_is_wanted() {
    let mut gateway = Setup::new().start();
    assert!(gateway.stop().success());
    let home = gateway.directory.clone();
    let store = home.join("store.redb");
    let check = |settings: &str, credentials: Option<&Path>| {
        let conf = home.join("key.conf");
        let text = format!("store.path = {}\n{settings}\n", store.display());
        std::fs::write(&conf, text).unwrap();
        let mut command = Command::new(tool::postern());
        command.args(["check", "--config"]).arg(&conf);
        command.env_remove("CREDENTIALS_DIRECTORY");
        if let Some(directory) = credentials {
            command.env("CREDENTIALS_DIRECTORY", directory);
        }
        run(&mut command)
    };
    assert!(check("", None).ok().contains("good"));
    // As systemd passes a credential on: another directory, the mask of an ACL in the mode.
    let credentials = home.join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let beside = home.join("ca.key");
    let credential = credentials.join("ca.key");
    std::fs::copy(&beside, &credential).unwrap();
    let mode = |path: &Path, bits| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(bits)).unwrap();
    };
    mode(&credential, 0o440);
    let kept = std::fs::read(&beside).unwrap();
    std::fs::remove_file(&beside).unwrap();
    assert!(check("", Some(&credentials)).ok().contains("good"));
    let named = format!("ca.key_file = {}", credential.display());
    assert!(check(&named, None).failed(1).contains("chmod 600"));
    mode(&credential, 0o600);
    assert!(check(&named, None).ok().contains("good"));
    mode(&credential, 0o444);
    assert!(check("", Some(&credentials)).failed(1).contains("0444"));

    // Missing, another store's, cut short, no text at all: each with its file and what to do.
    let told = check("", None).failed(1);
    assert!(
        told.contains("ca.key is missing") && told.contains("backup"),
        "{told}"
    );
    mode(&credential, 0o600);
    let other = "postern-ca-key-1 ".to_owned() + &"a5".repeat(32) + "\n";
    for (bytes, said) in [
        (other.as_bytes(), "does not belong to this store"),
        (&kept[..40], "is damaged"),
        (b"", "is damaged"),
        (b"\xff\xfe", "is damaged"),
    ] {
        std::fs::write(&credential, bytes).unwrap();
        let told = check(&named, None).failed(1);
        assert!(told.contains(said), "{said}: {told}");
        assert!(told.contains(credential.to_str().unwrap()), "{told}");
        assert!(!told.contains("a5a5"), "{told}");
    }

    // At the very first start it is made, where it is wanted, readable by its owner only.
    let fresh = tests::gateway::new_directory();
    let key = fresh.join("elsewhere.key");
    let settings = format!(
        "listen = {}\nworkers = 1\nstore.path = {}\nadmin.socket = {}\nca.key_file = {}\n",
        tests::gateway::new_address(),
        fresh.join("store.redb").display(),
        fresh.join("admin.sock").display(),
        key.display()
    );
    std::fs::write(fresh.join("p.conf"), settings).unwrap();
    let log = fresh.join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut first = Command::new(tool::postern())
        .args(["run", "--config"])
        .arg(fresh.join("p.conf"))
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let told = until("the warning", || {
        let told = std::fs::read_to_string(&log).unwrap();
        (told.contains("listening") || first.try_wait().unwrap().is_some()).then_some(told)
    });
    tool::signal(first.id(), "TERM");
    assert!(first.wait().unwrap().success(), "{told}");
    assert!(told.contains("WARN"), "{told}");
    assert!(told.contains("back this file up"), "{told}");
    assert!(told.contains("elsewhere.key"), "{told}");
    let made = std::fs::metadata(&key).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    assert!(!fresh.join("ca.key").exists());
    std::fs::remove_dir_all(&fresh).unwrap();
}
