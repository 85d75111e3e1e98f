//! Every kind of change, on one of three edges and an etcd of three members: in force on all of them, and kept by
//! each byte for byte.

use tests::gateway::ZONE;
use tests::wait::until;
use tests::{Authority, Identity, Origin};

use crate::fleet::{Fleet, HOST, cli, started};

const OTHER: &str = "other.example.test";

/// What each edge answers in the end; the change may be a moment away.
fn all_answer(
    fleet: &Fleet,
    what: &str,
    (host, path): (&str, &str),
    identity: Option<&Identity>,
    wanted: Option<u16>,
) {
    for edge in 0..fleet.edges.len() {
        let address = fleet.edges[edge].address;
        let client = fleet.edges[0]
            .client_at(address, host)
            .identity_if(identity);
        until(&format!("{what} on edge {edge}"), || {
            let runtime = tokio::runtime::Handle::current();
            let answer = tokio::task::block_in_place(|| runtime.block_on(client.get(path)));
            (answer.ok().map(|answer| answer.status) == wanted).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_on_one_edge_is_in_force_on_all() {
    let Some(etcd) = started(3) else { return };
    let second = Origin::echo();
    let fleet = Fleet::start(&etcd, 3).await;
    let directory = etcd.directory();
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // Another edge each time.
    let next = std::cell::Cell::new(0);
    let change = |arguments: &[&str]| {
        let edge = next.get();
        next.set((edge + 1) % 3);
        let said = cli(&fleet.edges[edge], arguments);
        fleet.settle();
        said
    };
    let (_, device) = fleet.edges[0].certificate(ZONE, "device");
    fleet.settle();
    let served = |what: &str, path: &str| {
        all_answer(&fleet, what, (HOST, path), Some(&device), Some(200));
    };
    let refused = |what: &str, path: &str| {
        all_answer(&fleet, what, (HOST, path), Some(&device), Some(403));
    };
    let zone = ["--zone", ZONE];

    change(
        &[
            &["origin", "add", "second", "--origin", &second.url()],
            &zone[..],
        ]
        .concat(),
    );
    change(
        &[
            &[
                "host", "add", OTHER, "--origin", "second", "--mtls", "request",
            ],
            &zone[..],
        ]
        .concat(),
    );
    all_answer(&fleet, "a host", (OTHER, "/x"), Some(&device), Some(200));
    all_answer(&fleet, "nobody", (OTHER, "/x"), None, Some(403));
    change(&["host", "set", OTHER, "--mtls", "require"]);
    all_answer(&fleet, "another mode", (OTHER, "/x"), None, None);
    all_answer(
        &fleet,
        "with a certificate",
        (OTHER, "/x"),
        Some(&device),
        Some(200),
    );

    let rule = |expression: &str| {
        let add = ["rule", "add", "--action", "block", "-e", expression];
        change(&[&add[..], &zone].concat());
    };
    rule("http.request.uri.path eq \"/a\"");
    refused("a rule", "/a");
    let edit = [
        "rule",
        "edit",
        "#2",
        "-e",
        "http.request.uri.path eq \"/b\"",
    ];
    change(&[&edit[..], &zone].concat());
    refused("an edited rule", "/b");
    served("what it said before", "/a");
    change(&["list", "create", "places", "--kind", "ip"]);
    rule("http.request.uri.path eq \"/listed\" and ip.src in $places");
    served("an empty list", "/listed");
    change(&["list", "add", "places", "127.0.0.0/8"]);
    refused("a list", "/listed");
    change(&[&["rule", "delete", "#2"], &zone[..]].concat());
    served("a deleted rule", "/b");

    change(&[&["cert", "revoke", "device"], &zone[..]].concat());
    refused("a revocation", "/x");
    change(&[&["cert", "restore", "device"], &zone[..]].concat());
    served("a revocation taken back", "/x");
    change(&[&["ca", "roll"], &zone[..]].concat());
    served("a CA that was rolled", "/x");

    let root = Authority::root("Brought");
    let brought = root.client("brought");
    change(&[
        "ca",
        "upload",
        &write("root.pem", root.pem()),
        "--name",
        "brought",
    ]);
    let associate = ["ca", "associate", HOST, "--ca", "brought"];
    change(&[&associate[..], &zone].concat());
    let answers = |what: &str, status| {
        all_answer(&fleet, what, (HOST, "/x"), Some(&brought), Some(status));
    };
    answers("a CA that was brought", 200);
    let file = write("brought.pem", brought.chain_pem());
    change(&["deny", "add", &file]);
    answers("a denied certificate", 403);
    change(&["deny", "remove", &file]);
    answers("a certificate that is believed again", 200);

    change(&["token", "create", "reader", "--scope", "read"]);
    let listed = cli(&fleet.edges[0], &["token", "list"]);
    assert!(listed.contains("reader"), "{listed}");

    // A document, edited elsewhere.
    let document = cli(&fleet.edges[1], &["export"]);
    assert!(document.contains("/listed"), "{document}");
    let document = write("all.yaml", document.replace("/listed", "/documented"));
    change(&["apply", &document, "--yes"]);
    refused("a document", "/documented");
    served("what it replaced", "/listed");
    change(&[&["rule", "restore", "1"], &zone[..]].concat());
    served("an older version of the rules", "/documented");

    change(&["host", "delete", OTHER, "--yes"]);
    all_answer(&fleet, "no host", (OTHER, "/x"), Some(&device), None);
}
