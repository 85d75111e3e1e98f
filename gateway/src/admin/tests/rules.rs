//! Rules, their versions, and the lists they look into.

use super::*;

#[tokio::test]
async fn rulesets() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/client/v4/zones/{zone}/rulesets");
    let entrypoint = format!("{path}/phases/http_request_firewall_custom/entrypoint");
    let answer = world.call("GET", &entrypoint, Value::Null).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["code"]),
        (404, &json!(10_003))
    );
    let rule = json!({"action": "block", "expression": "true", "description": "x",
        "action_parameters": {"response": {"status_code": 451, "content_type": "text/plain", "content": "no"}}});
    let tried = world
        .ok(
            "PUT",
            &format!("{entrypoint}?dry_run=true"),
            json!({"rules": [rule]}),
        )
        .await;
    assert_eq!(tried, Value::Null);
    assert_eq!(
        world.call("GET", &entrypoint, Value::Null).await.status,
        404,
        "only tried"
    );
    let made = world.ok("PUT", &entrypoint, json!({"rules": [rule]})).await;
    assert_eq!(
        (&made["version"], &made["kind"]),
        (&json!("1"), &json!("zone"))
    );
    assert_eq!(
        made["rules"][0]["action_parameters"],
        rule["action_parameters"]
    );
    let id = made["id"].as_str().unwrap();
    let rules = format!("{path}/{id}/rules");
    let body =
        json!({"action": "log", "expression": "ssl", "position": {"before": ""}, "ref": "mine"});
    let made = world.ok("POST", &rules, body).await;
    assert_eq!(made["rules"][0]["ref"], "mine");
    let first = made["rules"][0]["id"].as_str().unwrap();
    let patch = json!({"enabled": false, "position": {"index": 2}});
    let made = world.ok("PATCH", &format!("{rules}/{first}"), patch).await;
    assert_eq!(
        (&made["rules"][1]["id"], &made["rules"][1]["enabled"]),
        (&json!(first), &json!(false))
    );
    // What was answered can be sent back as it is.
    let again = world.ok("PUT", &format!("{path}/{id}"), made.clone()).await;
    assert_eq!(again["rules"], made["rules"]);
    let left = world
        .ok("DELETE", &format!("{rules}/{first}"), Value::Null)
        .await;
    assert_eq!(left["rules"].as_array().unwrap().len(), 1);
    let versions = world.get(&format!("{path}/{id}/versions")).await;
    assert_eq!(versions.as_array().unwrap().len(), 5);
    assert_eq!(
        world.get(&format!("{path}/{id}/versions/2")).await["rules"][0]["ref"],
        "mine"
    );
    assert_eq!(world.get(&path).await.as_array().unwrap().len(), 1);
    let answer = world
        .call("DELETE", &format!("{path}/{id}"), Value::Null)
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let preview = world
        .ok(
            "POST",
            "/postern/v1/expressions/preview",
            json!({"expression": " http.host eq \"a\" "}),
        )
        .await;
    assert_eq!(preview["expression"], "http.host eq \"a\"");
}

#[tokio::test]
async fn mtls_rules() {
    let world = World::new().await;
    let zone = world.zone().await;
    let path = format!("/postern/v1/zones/{zone}/mtls_rules");
    let body = json!({"hosts": ["api.example.test"], "paths": ["/admin"], "check_revoked": true});
    let tried = world
        .ok("POST", &format!("{path}?dry_run=true"), body.clone())
        .await;
    assert!(world.control.model().rulesets.is_empty());
    let made = world.ok("POST", &path, body).await;
    assert_eq!(
        (&made["expression"], &made["action"]),
        (&tried["expression"], &json!("block"))
    );
    let ruleset = made["ruleset_id"].as_str().unwrap();
    let restore = format!("/postern/v1/zones/{zone}/rulesets/{ruleset}/versions/1/restore");
    assert_eq!(
        world.ok("POST", &restore, Value::Null).await["version"],
        "2"
    );
    let lints = world.get(&format!("/postern/v1/zones/{zone}/lints")).await;
    assert!(lints.is_array());
    for body in [
        json!({"paths": ["admin"]}),
        json!({"hosts": ["a b"]}),
        json!({"path": "/"}),
    ] {
        assert_eq!(world.call("POST", &path, body).await.status, 400);
    }
}

#[tokio::test]
async fn lists() {
    let world = World::new().await;
    let account = world.control.model().account;
    let path = format!("/client/v4/accounts/{account}/rules/lists");
    let list = world
        .ok("POST", &path, json!({"name": "office", "kind": "ip"}))
        .await;
    let items = format!("{path}/{}/items", list["id"].as_str().unwrap());
    let body: Vec<Value> = (0..45)
        .map(|n| json!({"ip": format!("192.0.2.{n}"), "comment": "x"}))
        .collect();
    let answer = world.ok("POST", &items, json!(body)).await;
    let operation = format!(
        "{path}/bulk_operations/{}",
        answer["operation_id"].as_str().unwrap()
    );
    assert_eq!(world.get(&operation).await["status"], "completed");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .call(
                "GET",
                &format!("{items}?per_page=20&cursor={cursor}"),
                Value::Null,
            )
            .await;
        seen.extend(page.body["result"].as_array().unwrap().clone());
        cursor = page.body["result_info"]["cursors"]["after"]
            .as_str()
            .unwrap()
            .to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((seen.len(), &seen[44]["ip"]), (45, &json!("192.0.2.44")));
    let one = format!("{items}/{}", seen[0]["id"].as_str().unwrap());
    assert_eq!(world.get(&one).await["comment"], "x");
    world
        .ok("DELETE", &items, json!({"items": [{"id": seen[0]["id"]}]}))
        .await;
    world.ok("PUT", &items, json!([{"ip": "10.0.0.0/8"}])).await;
    assert_eq!(world.get(&path).await[0]["num_items"], 1);
    for (method, path, body, status) in [
        ("POST", &items, json!([{"asn": 1}]), 400),
        ("POST", &items, json!([{"ip": "10.0.0.0/8", "asn": 1}]), 400),
        ("POST", &items, json!([{"ip": "x"}]), 400),
        ("POST", &items, json!({}), 400),
        (
            "DELETE",
            &items,
            json!({"items": [{"id": "0".repeat(32)}]}),
            404,
        ),
        ("POST", &path, json!({"name": "r", "kind": "redirect"}), 400),
        ("POST", &path, json!({"name": "office", "kind": "ip"}), 400),
    ] {
        let answer = world.call(method, path, body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let names = world
        .ok("POST", &path, json!({"name": "names", "kind": "hostname"}))
        .await;
    let items = format!("{path}/{}/items", names["id"].as_str().unwrap());
    world
        .ok(
            "POST",
            &items,
            json!([{"hostname": {"url_hostname": "*.Example.com"}}]),
        )
        .await;
    let found = world.get(&items).await;
    assert_eq!(found[0]["hostname"]["url_hostname"], "*.example.com");
    let one = format!("{path}/{}", names["id"].as_str().unwrap());
    assert_eq!(
        world.ok("PUT", &one, json!({"description": "d"})).await["description"],
        "d"
    );
    world.ok("DELETE", &one, Value::Null).await;
}
