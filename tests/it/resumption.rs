//! The trap of every gateway with several hosts: a ticket must never be worth more than the
//! certificate that is shown again (CVE-2025-23419 and its relatives).

use serde_json::json;
use tests::client::Tickets;
use tests::{Client, Gateway, Identity, Origin, Setup};

const ZONE: &str = tests::gateway::ZONE;

fn versions(client: &Client) -> [(&'static str, Client); 2] {
    [
        ("TLSv1.2", client.clone().tls12()),
        ("TLSv1.3", client.clone().tls13()),
    ]
}

/// Takes a ticket by making a request, and waits until it is there.
async fn ticket(client: &Client) -> Tickets {
    let answer = client.get("/ticket").await.unwrap();
    assert_eq!(answer.status, 200);
    let tickets = client.tickets();
    assert!(tickets.count() > 0, "the gateway gave no ticket");
    tickets
}

fn hosts(origin: &Origin) -> Gateway {
    Setup::new()
        .zone("other.test")
        .host("off.example.test", "off", &origin.url())
        .host("request.example.test", "request", &origin.url())
        .host("require.example.test", "require", &origin.url())
        .host("second.example.test", "require", &origin.url())
        .host("request.other.test", "request", &origin.url())
        .host("require.other.test", "require", &origin.url())
        .start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_resumes_at_its_own_host_with_its_verdict() {
    let origin = Origin::echo();
    let gateway = hosts(&origin);
    let device = gateway.authority(ZONE).client("device");
    for (host, identity, verified) in [
        ("off.example.test", None, false),
        ("request.example.test", None, false),
        ("request.example.test", Some(&device), true),
        ("require.example.test", Some(&device), true),
    ] {
        let client = gateway.client(host);
        let client = client.identity_if(identity);
        for (version, client) in versions(&client) {
            let tickets = ticket(&client).await;
            let what = format!("{host} {version} {verified}");
            let path = format!("/{host}/{version}/{verified}");
            let mut connection = client.resuming(&tickets).http1().await.unwrap();
            assert!(connection.resumed, "{what}");
            assert_eq!(connection.get(&path).await.unwrap().status, 200, "{what}");
            let record = gateway.request_record(&path);
            assert_eq!(record["tls"]["resumed"], true, "{what}");
            assert_eq!(record["client_cert"]["verified"], verified, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_one_host_is_worth_nothing_at_another() {
    let origin = Origin::echo();
    let gateway = hosts(&origin);
    let device = gateway.authority(ZONE).client("device");
    let strange = gateway.authority("other.test").client("device");
    // Ticket taken at, with which certificate, used at.
    let table: [(&str, Option<&Identity>, &str); 8] = [
        ("off.example.test", None, "request.example.test"),
        ("off.example.test", None, "require.example.test"),
        ("request.example.test", None, "require.example.test"),
        (
            "request.example.test",
            Some(&device),
            "require.example.test",
        ),
        ("require.example.test", Some(&device), "second.example.test"),
        ("require.example.test", Some(&device), "require.other.test"),
        ("request.other.test", Some(&strange), "require.example.test"),
        ("request.other.test", Some(&strange), "request.example.test"),
    ];
    for (index, (from, identity, to)) in table.into_iter().enumerate() {
        let first = gateway.client(from);
        let first = first.identity_if(identity);
        for (version, first) in versions(&first) {
            let what = format!("a ticket of {from} at {to} over {version}");
            let tickets = ticket(&first).await;
            // The thief has the ticket, but no certificate.
            let thief = gateway
                .client(to)
                .resuming(&tickets)
                .tls(version == "TLSv1.2");
            let path = format!("/stolen/{index}/{version}");
            match thief.http1().await {
                Err(refused) => assert!(
                    to.starts_with("require") || to.starts_with("second"),
                    "{what}: {refused:?}"
                ),
                Ok(mut connection) => {
                    assert!(!connection.resumed, "{what}: resumed");
                    let answer = connection.get(&path).await;
                    if to.starts_with("request") {
                        assert_eq!(answer.unwrap().status, 200, "{what}");
                        let record = gateway.request_record(&path);
                        assert_eq!(
                            record["client_cert"]["presented"], false,
                            "{what}: {record}"
                        );
                    } else {
                        assert!(answer.is_err(), "{what}: {answer:?}");
                    }
                }
            }
        }
    }
    let stolen = origin.requests().into_iter().filter(|seen| {
        seen["target"].as_str().unwrap().starts_with("/stolen/")
            && seen["headers"]["x-forwarded-host"][0]
                .as_str()
                .unwrap()
                .starts_with("re")
    });
    for seen in stolen {
        assert_eq!(
            seen["headers"]["cf-cert-verified"],
            json!(["false"]),
            "{seen}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_does_not_survive_a_stricter_mode() {
    let origin = Origin::echo();
    for (before, after) in [
        ("off", "require"),
        ("request", "require"),
        ("off", "request"),
    ] {
        let gateway = Setup::new()
            .host("api.example.test", before, &origin.url())
            .start();
        for (version, client) in versions(&gateway.client("api.example.test")) {
            gateway.change_host("api.example.test", &json!({ "mtls": before }));
            let tickets = ticket(&client).await;
            gateway.change_host("api.example.test", &json!({ "mtls": after }));
            let what = format!("{before} to {after} over {version}");
            let outcome = match client.resuming(&tickets).http1().await {
                Err(refused) => Err(refused),
                Ok(mut connection) => {
                    assert!(!connection.resumed, "{what}");
                    connection.get("/x").await
                }
            };
            assert_eq!(outcome.is_ok(), after != "require", "{what}: {outcome:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_does_not_come_back_with_a_ticket() {
    let origin = Origin::echo();
    let gateway = hosts(&origin);
    for host in ["request.example.test", "require.example.test"] {
        for twelve in [true, false] {
            let (id, device) = gateway.certificate(ZONE, "device");
            let client = gateway.client(host).identity(&device).tls(twelve);
            let tickets = ticket(&client).await;
            gateway.revoke(ZONE, &id);
            let what = format!("{host}, TLS 1.2: {twelve}");
            let path = format!("/revoked/{host}/{twelve}");
            let outcome = client.clone().resuming(&tickets).get(&path).await;
            if host.starts_with("require") {
                let refused = outcome.unwrap_err();
                assert_eq!(refused.why, "certificate_revoked", "{what}");
                let record = gateway.handshake_record(refused.local);
                assert_eq!(record["reason"], "revoked", "{what}: {record}");
            } else {
                assert_eq!(outcome.unwrap().status, 200, "{what}");
                let record = gateway.request_record(&path);
                assert_eq!(record["client_cert"]["revoked"], true, "{what}: {record}");
                assert_eq!(
                    record["client_cert"]["reason"], "revoked",
                    "{what}: {record}"
                );
            }
            // Restored, the same ticket is good again.
            gateway.restore(ZONE, &id);
            let path = format!("/restored/{host}/{twelve}");
            assert_eq!(
                client.resuming(&tickets).get(&path).await.unwrap().status,
                200,
                "{what}"
            );
            assert_eq!(
                gateway.request_record(&path)["client_cert"]["revoked"],
                false,
                "{what}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_does_not_outlive_the_host_or_its_ca() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("request.example.test", "request", &origin.url())
        .host("second.example.test", "request", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    for (version, client) in versions(&gateway.client("request.example.test").identity(&device)) {
        let tickets = ticket(&client).await;
        // The zone's CA set leaves the host, and comes back. The host's mode follows it.
        let host = "/postern/v1/hosts/request.example.test";
        let follows = json!({ "mtls": null });
        drop(gateway.admin.call("PATCH", host, &follows).result());
        let path = format!(
            "/client/v4/zones/{}/certificate_authorities/hostname_associations",
            gateway.zone_id(ZONE)
        );
        let present = gateway.admin.get(&path).result();
        drop(
            gateway
                .admin
                .call(
                    "PUT",
                    &path,
                    &json!({ "hostnames": ["second.example.test"] }),
                )
                .result(),
        );
        let at = format!("/away/{version}");
        let outcome = client.clone().resuming(&tickets).get(&at).await;
        if let Ok(answer) = outcome {
            assert_eq!(answer.status, 200);
            let record = gateway.request_record(&at);
            assert_eq!(
                record["client_cert"]["verified"], false,
                "{version}: {record}"
            );
        }
        drop(
            gateway
                .admin
                .call("PUT", &path, &json!({ "hostnames": present["hostnames"] }))
                .result(),
        );
    }
    // A host that is gone is unknown, whatever ticket is shown.
    let client = gateway.client("second.example.test").identity(&device);
    let tickets = ticket(&client).await;
    gateway.remove_host("second.example.test");
    let refused = client.resuming(&tickets).get("/gone").await.unwrap_err();
    assert_eq!(refused.why, "unrecognized_name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_good_at_every_worker_and_worth_nothing_after_a_restart_elsewhere() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    let client = gateway.client("api.example.test").identity(&device);
    let tickets = ticket(&client).await;
    // Enough connections that both workers see some.
    for index in 0..16 {
        let mut connection = client.clone().resuming(&tickets).http1().await.unwrap();
        assert!(connection.resumed, "connection {index}");
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
    }
    // Another gateway does not know the ticket; the certificate is verified from scratch.
    let other = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    let thief = other.client("api.example.test").resuming(&tickets);
    assert!(thief.get("/x").await.is_err());
}

/// Clients use a ticket once (RFC 8446 §C.4): a client that opens several connections at once needs
/// several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_tickets_as_the_configuration_says() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    let client = || gateway.client("api.example.test").identity(&device).tls13();
    let first = client();
    let tickets = ticket(&first).await;
    assert_eq!(tickets.count(), 2, "nothing was configured");
    for count in ["4", "1", "0"] {
        let set = format!("trust.tickets={count}");
        drop(gateway.cli(&["sysctl", "-w", &set]).ok());
        let fresh = client();
        assert_eq!(fresh.get("/x").await.unwrap().status, 200);
        assert_eq!(fresh.tickets().count().to_string(), count);
        let connection = client().resuming(&tickets.last()).http1().await.unwrap();
        assert_eq!(connection.resumed, count != "0", "{count}");
    }
}
