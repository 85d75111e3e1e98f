//! Edges that speak TLS with etcd, and show it certificates: what works, and what is said of each mistake.

use std::path::Path;
use std::process::Command;

use fixtures::etcd::Etcd;
use tests::wait::until;
use tests::{Authority, Setup};

use crate::fleet::{Fleet, setup};

fn write(directory: &Path, name: &str, text: String) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_and_etcd_show_each_other_certificates() {
    let authority = Authority::root("etcd");
    let Some(etcd) = Etcd::with_tls(&authority, "127.0.0.1") else {
        return;
    };
    let directory = etcd.directory().to_owned();
    let ca = directory.join("ca.pem").display().to_string();
    // `name` is the file of its certificate, signed by `by`.
    let edge = |name: &str, by: &Authority, ca: &str| -> Setup {
        let identity = by.client(name);
        let chain = write(&directory, &format!("{name}.pem"), identity.chain_pem());
        let key = write(&directory, &format!("{name}.key"), identity.key_pem());
        setup(&etcd.url(0), name)
            .set("fleet.ca_file", ca)
            .set("fleet.certificate", &chain)
            .set("fleet.key", &key)
    };
    let edges = vec![
        edge("edge-0", &authority, &ca),
        edge("edge-1", &authority, &ca),
    ];
    until("etcd to answer", || {
        let file = |name: &str| directory.join(name);
        let mut curl = Command::new("curl");
        curl.args(["-sf", "--cacert"]).arg(file("ca.pem"));
        curl.arg("--cert").arg(file("edge-0.pem"));
        curl.arg("--key").arg(file("edge-0.key"));
        let asked = curl.arg(format!("{}/health", etcd.url(0))).output();
        let answer = asked.unwrap().stdout;
        String::from_utf8_lossy(&answer)
            .contains("true")
            .then_some(())
    });
    let fleet = Fleet::of(edges).await;
    assert_eq!(fleet.create_zone(1, "over-tls.test").status, 200);
    fleet.settle();
    // Mistakes: no certificate, another CA's certificate, another CA to verify etcd by.
    let other = Authority::root("other");
    let other_ca = write(&directory, "other.pem", other.pem());
    let without = setup(&etcd.url(0), "edge-2").set("fleet.ca_file", &ca);
    let mistakes = [
        // Its alert comes, or the connection is closed before.
        (
            without,
            &["no certificate that it believes", "CERTIFICATE"][..],
        ),
        (
            edge("edge-3", &other, &ca),
            &["no certificate that it believes", "CERTIFICATE"][..],
        ),
        (
            edge("edge-4", &authority, &other_ca),
            &["CERTIFICATE_VERIFY_FAILED"][..],
        ),
    ];
    for (mistaken, said) in mistakes {
        let gateway = mistaken.key_of(&fleet.edges[0]);
        let gateway = tokio::task::block_in_place(|| gateway.start());
        let refused = gateway.cli(&["fleet", "join"]);
        assert_ne!(refused.code, 0);
        let is_said = said.iter().any(|said| refused.err.contains(said));
        assert!(is_said, "{refused:?}");
    }
}
