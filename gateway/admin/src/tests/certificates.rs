//! Certificates of clients, servers and CAs, and the hosts that they are for.

use super::*;
use fixtures::pki::foreign;

#[tokio::test]
async fn client_certificates() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/client/v4/zones/{zone}/client_certificates");
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let body = json!({"csr": csr(name), "validity_days": 3650});
        let issued = world.ok("POST", &path, body).await;
        assert_eq!(
            (&issued["common_name"], &issued["status"]),
            (&json!(name), &json!("active"))
        );
        for text in [
            "id",
            "certificate",
            "csr",
            "expires_on",
            "fingerprint_sha256",
            "issued_on",
            "serial_number",
            "signature",
            "ski",
        ] {
            assert!(
                issued[text].as_str().is_some_and(|text| !text.is_empty()),
                "{text}"
            );
        }
        assert!(issued["certificate_authority"]["id"].is_string());
        assert_eq!(issued["validity_days"], 3650);
        ids.push(issued["id"].as_str().unwrap().to_owned());
    }
    let list = world
        .call("GET", &format!("{path}?page=2&per_page=2"), Value::Null)
        .await
        .body;
    assert_eq!(list["result"][0]["common_name"], "a");
    let info = json!({"page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2});
    assert_eq!(list["result_info"], info);
    let one = format!("{path}/{}", ids[0]);
    assert_eq!(
        world.ok("DELETE", &one, Value::Null).await["status"],
        "revoked"
    );
    assert_eq!(
        world.published.load().trust_epoch,
        world.control.model().trust_epoch
    );
    let revoked = world.get(&format!("{path}?status=revoked")).await;
    assert_eq!(revoked.as_array().unwrap().len(), 1);
    assert_eq!(
        world
            .get(&format!("{path}?status=pending_revocation"))
            .await,
        json!([])
    );
    let found = world.get(&format!("{path}?common_name=B")).await;
    assert_eq!(found[0]["id"], ids[1].as_str());
    assert_eq!(
        world.ok("PATCH", &one, json!({"reactivate": true})).await["status"],
        "active"
    );
    assert_eq!(
        world.ok("PATCH", &one, Value::Null).await["status"],
        "active"
    );
    let made = world
        .ok(
            "POST",
            &format!("/postern/v1/zones/{zone}/client_certificates"),
            json!({"common_name": "fresh", "validity_days": 1}),
        )
        .await;
    let key = made["private_key"].as_str().unwrap();
    assert!(PKey::private_key_from_pem(key.as_bytes()).is_ok());
    let again = world
        .get(&format!("{path}/{}", made["id"].as_str().unwrap()))
        .await;
    assert!(again.get("private_key").is_none(), "the key is shown once");
}

#[tokio::test]
async fn hosts_associations_and_server_certificates() {
    let world = World::new().await;
    let zone = world.zone().await;
    let own = format!("/postern/v1/zones/{zone}");
    let origin = json!({"url": "http://127.0.0.1:9000"});
    let body = json!({"name": "api.example.test", "origin": origin, "mtls": "request"});
    let host = world.ok("POST", &format!("{own}/hosts"), body).await;
    assert_eq!(
        (&host["mtls"], &host["served"]),
        (&json!("request"), &json!(false))
    );
    let develop = format!("{own}/server_certificates/development");
    let certificate = world
        .ok("POST", &develop, json!({"hosts": ["*.example.test"]}))
        .await;
    let host = world.get("/postern/v1/hosts/api.example.test").await;
    assert_eq!(host["server_certificate"]["id"], certificate["id"]);
    assert!(world.published.load().host("api.example.test").is_some());
    let associations =
        format!("/client/v4/zones/{zone}/certificate_authorities/hostname_associations");
    assert_eq!(
        world.get(&associations).await,
        json!({"hostnames": ["api.example.test"]})
    );
    // A name that is no host yet may be misspelt; the answer says what to make first.
    let names = json!({"hostnames": ["Later.Example.test."]});
    let refused = world.call("PUT", &associations, names.clone()).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(
        refused
            .text
            .contains("there is no host `later.example.test`")
            && refused.text.contains("postern host add later.example.test"),
        "{}",
        refused.text
    );
    let records = format!("/client/v4/zones/{zone}/dns_records");
    let later = json!({"type": "CNAME", "name": "later", "content": "o.test", "proxied": true});
    world.ok("POST", &records, later).await;
    let refused = world.call("PUT", &associations, names.clone()).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(
        refused
            .text
            .contains("api.example.test requests client certificates"),
        "{}",
        refused.text
    );
    let one = "/postern/v1/hosts/api.example.test";
    world.ok("PATCH", one, json!({"mtls": null})).await;
    let set = world.ok("PUT", &associations, names).await;
    assert_eq!(set, json!({"hostnames": ["later.example.test"]}));
    let host = world.get(one).await;
    assert_eq!(
        (&host["mtls"], &host["mtls_is_set"]),
        (&json!("off"), &json!(false))
    );
    world.ok("PATCH", one, json!({"mtls": "off"})).await;
    let names = json!({"hostnames": ["api.example.test"]});
    let told = world.call("PUT", &associations, names).await;
    assert!(
        told.text.contains("asks for no client certificates"),
        "{}",
        told.text
    );
    assert_eq!(world.get(one).await["mtls"], "off");
    let patch = json!({"mtls": "require", "certificate_id": certificate["id"]});
    let host = world
        .ok("PATCH", "/postern/v1/hosts/api.example.test", patch)
        .await;
    assert_eq!(host["certificate_id"], certificate["id"]);
    assert_eq!(host["certificate_authorities"].as_array().unwrap().len(), 1);
    let custom = format!("/client/v4/zones/{zone}/custom_certificates");
    let list = world.get(&custom).await;
    assert_eq!(list[0]["hosts"], json!(["*.example.test"]));
    assert!(list[0].get("private_key").is_none());
    let id = certificate["id"].as_str().unwrap();
    let answer = world
        .call("DELETE", &format!("{custom}/{id}"), Value::Null)
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("api.example.test"), "{}", answer.text);
    let null = json!({"certificate_id": null});
    let host = world
        .ok("PATCH", "/postern/v1/hosts/api.example.test", null)
        .await;
    assert_eq!(host["certificate_id"], Value::Null);
    for host in ["api.example.test", "later.example.test"] {
        let path = format!("/postern/v1/hosts/{host}");
        world.ok("DELETE", &path, Value::Null).await;
    }
    world
        .ok("DELETE", &format!("{custom}/{id}"), Value::Null)
        .await;
    let development = "/postern/v1/development_authority";
    let made = world.ok("POST", development, Value::Null).await;
    assert!(made["certificate"].is_string());
    assert_eq!(world.get(development).await, made);
}

#[tokio::test]
async fn uploaded_authorities_and_rollover() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account;
    let path = format!("/client/v4/accounts/{account}/mtls_certificates");
    let managed = format!("/postern/v1/zones/{zone}/authorities");
    // A copy would be believed beside the original, whatever was revoked there.
    let copy = world.get(&managed).await[0]["certificate"].clone();
    let body = json!({"ca": true, "certificates": copy, "name": "copy"});
    assert_eq!(world.call("POST", &path, body).await.status, 400);
    let pem = foreign("Partner");
    let uploaded = world
        .ok(
            "POST",
            &path,
            json!({"ca": true, "certificates": pem, "name": "partner"}),
        )
        .await;
    assert_eq!(
        (&uploaded["ca"], &uploaded["name"]),
        (&json!(true), &json!("partner"))
    );
    let id = uploaded["id"].as_str().unwrap();
    let one = format!("{path}/{id}");
    let associations =
        format!("/client/v4/zones/{zone}/certificate_authorities/hostname_associations");
    let records = format!("/client/v4/zones/{zone}/dns_records");
    let host = json!({"type": "A", "name": "a", "content": "192.0.2.1", "proxied": true});
    world.ok("POST", &records, host).await;
    let body = json!({"hostnames": ["a.example.test"], "mtls_certificate_id": id});
    world.ok("PUT", &associations, body).await;
    let query = format!("{associations}?mtls_certificate_id={id}");
    assert_eq!(
        world.get(&query).await["hostnames"],
        json!(["a.example.test"])
    );
    assert_eq!(world.get(&associations).await["hostnames"], json!([]));
    let services = world.get(&format!("{one}/associations")).await;
    assert_eq!(services[0]["service"], "a.example.test");
    assert_eq!(world.call("DELETE", &one, Value::Null).await.status, 400);
    let body = json!({"hostnames": [], "mtls_certificate_id": id});
    world.ok("PUT", &associations, body).await;
    assert_eq!(world.get(&path).await.as_array().unwrap().len(), 1);
    assert_eq!(world.get(&one).await["id"], id);
    world.ok("DELETE", &one, Value::Null).await;
    assert_eq!(world.call("GET", &one, Value::Null).await.status, 404);
    for body in [
        json!({"ca": false, "certificates": pem}),
        json!({"ca": true, "certificates": pem, "private_key": "x"}),
        json!({"ca": true, "certificates": "x"}),
        json!({"ca": true}),
    ] {
        assert_eq!(world.call("POST", &path, body).await.status, 400);
    }
    assert_eq!(
        world
            .call(
                "GET",
                "/client/v4/accounts/0/mtls_certificates",
                Value::Null
            )
            .await
            .status,
        404
    );
    let next = world.ok("POST", &managed, Value::Null).await;
    assert_eq!(next["issues"], true);
    let both = world.get(&managed).await;
    assert_eq!(
        (both.as_array().unwrap().len(), &both[1]["issues"]),
        (2, &json!(false))
    );
    let old = both[1]["id"].as_str().unwrap();
    world
        .ok("DELETE", &format!("{managed}/{old}"), Value::Null)
        .await;
    assert_eq!(
        world
            .call("DELETE", &format!("{managed}/{old}"), Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn filters_hold_together() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/client/v4/zones/{zone}/client_certificates");
    let own = format!("/postern/v1/zones/{zone}/client_certificates");
    let mut made = Vec::new();
    for (name, days) in [("a", 1), ("a", 20), ("b", 20), ("b", 400)] {
        let body = json!({"common_name": name, "validity_days": days});
        made.push(world.ok("POST", &own, body).await);
    }
    let text = |place: usize, key: &str| made[place][key].as_str().unwrap().to_owned();
    world
        .ok("DELETE", &format!("{path}/{}", text(2, "id")), Value::Null)
        .await;
    let serial = text(1, "serial_number").to_uppercase();
    let ski = text(3, "ski");
    let print = text(0, "fingerprint_sha256");
    for (query, expected) in [
        ("common_name=A".to_owned(), vec![1, 0]),
        (format!("common_name=a&serial_number={serial}"), vec![1]),
        (format!("common_name=b&serial_number={serial}"), vec![]),
        (format!("ski={ski}"), vec![3]),
        (format!("ski={ski}&status=revoked"), vec![]),
        (format!("fingerprint_sha256={print}&common_name=a"), vec![0]),
        ("common_name=b&status=revoked".into(), vec![2]),
        ("expires_within_days=1".into(), vec![0]),
        ("expires_within_days=30".into(), vec![2, 1, 0]),
        ("expires_within_days=30&status=active".into(), vec![1, 0]),
        (
            "expires_within_days=30&status=active&common_name=b".into(),
            vec![],
        ),
        (
            "expires_within_days=500&common_name=b&status=active".into(),
            vec![3],
        ),
        (
            "expires_within_days=99999999999999".into(),
            vec![3, 2, 1, 0],
        ),
    ] {
        let answer = world
            .call("GET", &format!("{path}?{query}"), Value::Null)
            .await
            .body;
        let found: Vec<String> = answer["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
        let expected: Vec<String> = expected.iter().map(|place| text(*place, "id")).collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(
            answer["result_info"]["total_count"],
            expected.len(),
            "{query}"
        );
    }
    let wrong = format!("{path}?expires_within_days=soon");
    assert_eq!(world.call("GET", &wrong, Value::Null).await.status, 400);
}
