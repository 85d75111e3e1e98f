//! PEM as people's files have it: taken, or refused with the block, the line and what mends it.

use tests::pki::Spec;
use tests::{Authority, Origin, Setup, tool};

const HOST: &str = "api.example.test";

/// Makes one text of two certificates.
type Form = fn(&str, &str) -> String;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_certificate_of_a_bundle_is_believed_or_named() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "require", &origin.url()).start();
    let write = |text: &str| {
        let path = gateway.file("bundle.pem");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let forms: [(&str, Form); 6] = [
        ("a byte order mark", |a, b| format!("\u{feff}{a}{b}")),
        ("a trusted one", |a, b| {
            format!("{a}{}", b.replace("CERTIFICATE", "TRUSTED CERTIFICATE"))
        }),
        ("a leading blank", |a, b| format!(" {a} {b}")),
        ("no line end between", |a, b| format!("{}{b}", a.trim_end())),
        ("CRLF and comments", |a, b| {
            format!("# a\n{a}# b\n{b}").replace('\n', "\r\n")
        }),
        ("an old label", |a, b| {
            format!("{a}{b}").replace("CERTIFICATE", "X509 CERTIFICATE")
        }),
    ];
    for (what, form) in forms {
        let (first, second) = (Authority::root("First"), Authority::root("Second"));
        let file = write(&form(&first.pem(), &second.pem()));
        let told = gateway.cli(&["ca", "upload", "--name", what, &file]).ok();
        assert!(
            told.contains("with 2 certificates: CN=First"),
            "{what}: {told}"
        );
        let all = gateway.cli(&["ca", "list", "--json"]).json();
        let made = all.as_array().unwrap().iter().find(|ca| ca["name"] == what);
        gateway.associate(made.unwrap()["id"].as_str().unwrap(), &[HOST]);
        for ca in [&first, &second] {
            let identity = ca.client("device");
            let answer = gateway.client(HOST).identity(&identity).get("/x").await;
            assert_eq!(answer.unwrap().status, 200, "{what}");
        }
    }
    let (first, second) = (Authority::root("Third"), Authority::root("Fourth"));
    let line = first.pem().lines().count() + 1;
    for (text, said) in [
        (
            format!("{}{}", first.pem(), second.pem().replacen('-', "", 1)),
            format!("bundle.pem: line {line}: `----BEGIN CERTIFICATE-----` is no marker"),
        ),
        (
            format!(
                "{}{}",
                first.pem(),
                second.pem().replace("CERTIFICATE", "PKCS7")
            ),
            format!("line {line}, block 2 (`PKCS7`): it is a PKCS#7 container: `openssl pkcs7"),
        ),
        (
            format!(
                "{}{}",
                first.pem(),
                second.pem().replacen("\nM", "\n M!", 1)
            ),
            format!("line {}, block 2 (`CERTIFICATE`): '!'", line + 1),
        ),
    ] {
        let told = gateway.cli(&["ca", "upload", &write(&text)]).failed(1);
        assert!(told.contains(&said), "{said}: {told}");
        // The API says the same of what it is sent by others.
        let account = gateway.admin.get("/client/v4/accounts").result()[0]["id"].clone();
        let path = format!(
            "/client/v4/accounts/{}/mtls_certificates",
            account.as_str().unwrap()
        );
        let body = serde_json::json!({ "ca": true, "certificates": text });
        let reply = gateway.admin.call("POST", &path, &body);
        let said = said.trim_start_matches("bundle.pem: ");
        let answer = reply.json();
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(
            reply.status == 400 && message.contains(said),
            "{said}: {message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_chain_is_served_whole_and_its_key_is_known_by_its_structure() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
    let middle = gateway.servers.intermediate(&Spec::authority("Middle"));
    let server = middle.issue(&Spec::server(&[HOST]));
    let (chain, key) = (server.chain_pem(), server.key_pem());
    let set = |chain: &str, key: &str| {
        let paths = [("chain.pem", chain), ("chain.key", key)].map(|(name, text)| {
            let path = gateway.file(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        });
        gateway.cli(&["host", "set", HOST, "--cert", &paths[0], "--key", &paths[1]])
    };
    let count = chain.matches("-----BEGIN").count();
    assert!(count > 1, "{chain}");
    let whole = format!("took {count} certificates: CN=");
    for (what, chain, key) in [
        ("as it is", chain.clone(), key.clone()),
        (
            "a byte order mark",
            format!("\u{feff}{chain}"),
            format!("\u{feff}{key}"),
        ),
        (
            "no line ends between",
            chain.replace("-----\n-----", "----------"),
            key.clone(),
        ),
        (
            "a comment that speaks of another",
            chain.clone(),
            format!("# ENCRYPTED backup\n{key}"),
        ),
        (
            "one file for both",
            format!("{chain}{key}"),
            format!("{key}{chain}"),
        ),
        (
            "indented",
            chain.replace('\n', "\n    "),
            key.replace('\n', "\n    "),
        ),
    ] {
        let told = set(&chain, &key).ok();
        assert!(told.contains(&whole), "{what}: {told}");
        assert_eq!(
            gateway.client(HOST).get("/x").await.unwrap().status,
            200,
            "{what}"
        );
    }
    if !tool::has("openssl") {
        return;
    }
    let made = |arguments: &[&str]| {
        let mut openssl = std::process::Command::new("openssl");
        let plain = gateway.file("plain.key");
        std::fs::write(&plain, &key).unwrap();
        tool::run(openssl.args(arguments).arg("-in").arg(plain)).ok()
    };
    let pss = {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args([
            "genpkey",
            "-algorithm",
            "RSA-PSS",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ]);
        tool::run(&mut openssl).ok()
    };
    let passphrase = ["-aes256", "-passout", "pass:x"];
    for (key, said) in [
        (
            made(&[&["pkey"], &passphrase[..]].concat()),
            "encrypted with a passphrase",
        ),
        (
            made(&[&["ec"], &passphrase[..]].concat()),
            "openssl pkey -in FILE",
        ),
        (pss, "the private key is an RSA-PSS key"),
        (made(&["pkey", "-pubout"]), "it is a public key"),
    ] {
        let told = set(&chain, &key).failed(1);
        assert!(told.contains(said), "{said}: {told}");
    }
}
