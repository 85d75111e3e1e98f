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

/// A host, so that rules may be about it.
async fn host(world: &World, zone: &str, name: &str) {
    let body = json!({"name": name, "origin": {"url": "http://127.0.0.1:9"}, "mtls": "request"});
    let hosts = format!("/postern/v1/zones/{zone}/hosts");
    world.ok("POST", &hosts, body).await;
}

#[tokio::test]
async fn mtls_rules() {
    let world = World::new().await;
    let zone = world.zone().await;
    host(&world, &zone, "api.example.test").await;
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
async fn mtls_rules_are_read_back_and_edited() {
    let world = World::new().await;
    let zone = world.zone().await;
    host(&world, &zone, "api.example.test").await;
    host(&world, &zone, "*.dev.example.test").await;
    let path = format!("/postern/v1/zones/{zone}/mtls_rules");
    let rules =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    world
        .ok("PUT", &rules, json!({"rules": [
            {"action": "block", "expression": "ssl"},
            {"action": "log", "enabled": false, "description": "by hand",
             "expression": "http.request.uri.path eq \"/a\" and not cf.tls_client_auth.cert_verified"}]}))
        .await;
    let body = json!({"name": "devices", "hosts": ["Api.example.test", "*.dev.example.test"], "paths": ["/admin"],
        "action": "log", "enabled": false, "position": {"index": 1}});
    let made = world.ok("POST", &path, body).await;
    assert_eq!(
        (
            &made["name"],
            &made["hosts"],
            &made["paths"],
            &made["check_revoked"],
            &made["position"]
        ),
        (
            &json!("devices"),
            &json!(["api.example.test", "*.dev.example.test"]),
            &json!(["/admin"]),
            &json!(false),
            &json!(1)
        )
    );
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let listed = world.get(&path).await;
    assert_eq!(
        listed.as_array().unwrap().len(),
        2,
        "what is no mTLS rule is not one: {listed:#}"
    );
    assert_eq!(
        (
            &listed[1]["name"],
            &listed[1]["position"],
            &listed[1]["paths"]
        ),
        (&json!("by hand"), &json!(3), &json!(["/a"]))
    );
    assert_eq!(world.get(&one).await["expression"], made["expression"]);
    // From a draft that logs to a rule that blocks, revoked clients too.
    let patch = json!({"check_revoked": true, "paths": [], "enabled": true, "action": "block", "position": {"after": ""}});
    let tried = world
        .ok("PATCH", &format!("{one}?dry_run=true"), patch.clone())
        .await;
    assert_eq!(world.get(&one).await["check_revoked"], false, "only tried");
    let changed = world.ok("PATCH", &one, patch).await;
    assert_eq!(changed["expression"], tried["expression"]);
    assert_eq!(
        (
            &changed["hosts"],
            &changed["paths"],
            &changed["check_revoked"],
            &changed["action"],
            &changed["position"]
        ),
        (
            &made["hosts"],
            &json!([]),
            &json!(true),
            &json!("block"),
            &json!(3)
        )
    );
    assert!(changed["lints"].is_array());
    // What is not touched keeps its text.
    let by_hand = format!("{path}/{}", listed[1]["id"].as_str().unwrap());
    let named = world.ok("PATCH", &by_hand, json!({"name": "n"})).await;
    assert_eq!(named["expression"], listed[1]["expression"]);
    let lints = world
        .ok("POST", &path, json!({"hosts": ["api.example.test"]}))
        .await;
    let lints: Vec<&Value> = lints["lints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lint| &lint["kind"])
        .collect();
    assert!(lints.contains(&&json!("revoked_passes")), "{lints:?}");
    let all = world.get(&rules).await;
    let other = format!(
        "{path}/{}",
        all["rules"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rule| rule["expression"] == "ssl")
            .unwrap()["id"]
            .as_str()
            .unwrap()
    );
    for (method, path, body, status) in [
        ("GET", &other, Value::Null, 400),
        ("PATCH", &other, json!({"name": "x"}), 400),
        (
            "GET",
            &format!("{path}/{}", "0".repeat(32)),
            Value::Null,
            404,
        ),
        ("GET", &format!("{path}/x"), Value::Null, 404),
        ("PATCH", &one, json!({"hosts": ["a b"]}), 400),
        ("PATCH", &one, json!({"paths": ["a"]}), 400),
        ("PATCH", &one, json!({"action": "dance"}), 400),
        ("PATCH", &one, json!({"expression": "ssl"}), 400),
    ] {
        let answer = world.call(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    world.ok("DELETE", &one, Value::Null).await;
    assert_eq!(world.call("GET", &one, Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_form_instead_of_an_expression() {
    let world = World::new().await;
    let path = "/postern/v1/expressions/preview";
    let text =
        "http.host eq \"a.test\" and not ssl or any(http.request.headers[\"x\"][*] contains \"y\")";
    let read = world.ok("POST", path, json!({"expression": text})).await;
    let form = read["form"].clone();
    assert_eq!(form["groups"].as_array().unwrap().len(), 2, "{form:#}");
    let back = world.ok("POST", path, json!({"form": form})).await;
    assert_eq!(back["expression"], read["expression"]);
    let read = world
        .ok("POST", path, json!({"expression": "not (ssl and ssl)"}))
        .await;
    assert_eq!(read["form"], Value::Null);
    // What is offered is accepted, though it is longer when it is printed.
    let long = ["ssl"; 600].join("&&");
    let read = world.ok("POST", path, json!({"expression": long})).await;
    assert_eq!(read["expression"], json!(long));
    let matches = |value: String| {
        let row = json!({"field": "http.host", "operator": "matches", "values": [value]});
        json!({"form": {"groups": [{"rows": [row]}]}})
    };
    for body in [
        matches(format!("\"{}", "#".repeat(50_000))),
        json!({"expression": " ".repeat(50_000)}),
        json!({}),
        json!({"form": {"groups": []}}),
        json!({"form": {"groups": [{"rows": [{"field": "x", "operator": "eq", "values": ["1"]}]}]}}),
        json!({"form": {"groups": []}, "expression": "ssl"}),
        json!({"form": 1}),
    ] {
        assert_eq!(world.call("POST", path, body).await.status, 400);
    }
}

#[tokio::test]
async fn versions_differ_and_come_back() {
    let world = World::new().await;
    let zone = world.zone().await;
    let rules =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let rule = |name: &str, enabled: bool| json!({"action": "block", "expression": format!("http.host eq \"{name}\""), "ref": name, "enabled": enabled});
    let first = world
        .ok(
            "PUT",
            &rules,
            json!({"rules": [rule("a", true), rule("b", true), rule("c", true)]}),
        )
        .await;
    let body =
        json!({"name": "shop", "rules": [rule("c", true), rule("a", false), rule("d", true)]});
    world.ok("PUT", &rules, body).await;
    let ruleset = first["id"].as_str().unwrap();
    let own = format!("/postern/v1/zones/{zone}/rulesets/{ruleset}");
    let found = world.get(&format!("{own}/differences")).await;
    assert_eq!((&found["from"], &found["to"]), (&json!("1"), &json!("2")));
    assert_eq!(
        found["changed"],
        json!({"name": {"before": "default", "after": "shop"}})
    );
    let kinds: Vec<(String, String)> = found["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let side = if one["after"].is_null() {
                "before"
            } else {
                "after"
            };
            (
                one["kind"].as_str().unwrap().into(),
                one[side]["rule"]["ref"].as_str().unwrap().into(),
            )
        })
        .collect();
    let moved = |name: &str| {
        kinds
            .iter()
            .any(|(kind, which)| kind == "moved" && which == name)
    };
    assert!(kinds.contains(&("removed".into(), "b".into())), "{kinds:?}");
    assert!(kinds.contains(&("added".into(), "d".into())), "{kinds:?}");
    assert!(kinds.contains(&("changed".into(), "a".into())), "{kinds:?}");
    assert!(
        moved("c")
            || found["rules"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["moved"] == true),
        "{kinds:?}"
    );
    let back = world
        .ok("POST", &format!("{own}/versions/1/restore"), Value::Null)
        .await;
    assert_eq!(
        (&back["version"], &back["name"]),
        (&json!("3"), &json!("default"))
    );
    let found = world.get(&format!("{own}/differences?from=1&to=3")).await;
    assert_eq!(
        (&found["rules"], &found["changed"]),
        (&json!([]), &json!({})),
        "what is restored says the same"
    );
    for (query, status) in [
        ("from=9", 404),
        ("to=0", 404),
        ("from=x", 400),
        ("from=99999999999", 400),
        ("from=1&to=1", 200),
    ] {
        let answer = world
            .call("GET", &format!("{own}/differences?{query}"), Value::Null)
            .await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn names_that_no_host_answers_for_are_told_with_the_change() {
    let world = World::new().await;
    let zone = world.zone().await;
    let hosts = format!("/postern/v1/zones/{zone}/hosts");
    let host = json!({"name": "api.example.test", "origin": {"url": "http://127.0.0.1:1"}});
    world.ok("POST", &hosts, host).await;
    let of = |phase: &str| format!("/client/v4/zones/{zone}/rulesets/phases/{phase}/entrypoint");
    let custom = of("http_request_firewall_custom");
    let rule =
        |name: &str| json!({"action": "log", "expression": format!("http.host eq \"{name}\"")});
    let told = |answer: &Answer| -> Vec<String> {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let messages = answer.body["messages"].as_array().unwrap();
        let texts = messages
            .iter()
            .map(|one| one["message"].as_str().unwrap().to_owned());
        texts.collect()
    };
    let good = json!({"rules": [rule("api.example.test")]});
    let answer = world.call("PUT", &custom, good).await;
    assert_eq!(told(&answer), Vec::<String>::new());
    let rules = format!(
        "/client/v4/zones/{zone}/rulesets/{}/rules",
        answer.body["result"]["id"].as_str().unwrap()
    );
    let answer = world.call("POST", &rules, rule("aip.example.test")).await;
    let said = told(&answer);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("did you mean `api.example.test`?"),
        "{said:?}"
    );
    // Only what a change touches is told of.
    let answer = world.call("POST", &rules, rule("api.example.test")).await;
    assert_eq!(told(&answer), Vec::<String>::new());
    let many: Vec<Value> = (0..30).map(|n| rule(&format!("h{n}.test"))).collect();
    let answer = world.call("PUT", &custom, json!({"rules": many})).await;
    let said = told(&answer);
    assert_eq!(said.len(), crate::limits::WARNINGS_TOLD_MAX + 1);
    assert!(said.last().unwrap().starts_with("10 more"), "{said:?}");
    // Rules of other phases too, and all of them in the zone's lints.
    let redirect = json!({"rules": [{
        "action": "redirect", "expression": "http.host eq \"www.example.tset\"",
        "action_parameters": {"from_value": {"target_url": {"value": "https://api.example.test/"}}},
    }]});
    let answer = world
        .call("PUT", &of("http_request_dynamic_redirect"), redirect)
        .await;
    assert_eq!(told(&answer).len(), 1);
    let lints = world.get(&format!("/postern/v1/zones/{zone}/lints")).await;
    let lints = lints.as_array().unwrap().iter();
    assert_eq!(
        lints.filter(|lint| lint["kind"] == "unknown_host").count(),
        31
    );
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

#[tokio::test]
async fn what_protects_a_host() {
    let world = World::new().await;
    let zone = world.zone().await;
    let account = world.control.model().account;
    let lists = format!("/client/v4/accounts/{account}/rules/lists");
    let list = json!({"name": "ours", "kind": "hostname"});
    let list = world.ok("POST", &lists, list).await;
    let items = format!("{lists}/{}/items", list["id"].as_str().unwrap());
    let ours = json!([{"hostname": {"url_hostname": "api.example.test"}}]);
    world.ok("PUT", &items, ours).await;
    let origin = json!({"url": "http://127.0.0.1:9000"});
    let host = json!({"name": "api.example.test", "origin": origin, "mtls": "request"});
    let hosts = format!("/postern/v1/zones/{zone}/hosts");
    world.ok("POST", &hosts, host).await;
    let rules =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let good = "(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)";
    let all = json!({"action": "block", "expression": good});
    let listed = json!({"action": "block", "expression": format!("http.host in $ours and {good}")});
    let some = json!({"action": "block",
        "expression": format!("http.request.uri.path eq \"/a\" and {good}")});
    let verified = json!({"action": "block",
        "expression": "not cf.tls_client_auth.cert_verified"});
    let skip = |expression: &str| {
        json!({"action": "skip", "action_parameters": {"ruleset": "current"},
            "expression": expression})
    };
    for (written, by, rule, skip) in [
        (vec![], None, None, None),
        (vec![all.clone()], Some("rule"), Some(0), None),
        (vec![listed], Some("rule"), Some(0), None),
        (vec![verified.clone()], Some("rule"), Some(0), None),
        (vec![some], Some("rule_partly"), Some(0), None),
        (
            vec![skip("http.request.method eq \"GET\""), all.clone()],
            Some("rule_partly"),
            Some(1),
            Some(0),
        ),
        (vec![skip("ssl"), all], None, None, Some(0)),
    ] {
        let made = world.ok("PUT", &rules, json!({"rules": written})).await;
        let id = |place: Option<usize>| match place {
            Some(place) => made["rules"][place]["id"].clone(),
            None => Value::Null,
        };
        let found = world
            .get("/postern/v1/hosts/api.example.test/enforcement")
            .await;
        let revoked_pass = written.first() == Some(&verified);
        let expected = json!({"by": by, "rule_id": id(rule), "skip_id": id(skip),
            "revoked_pass": revoked_pass});
        assert_eq!(found, expected, "{written:?}");
        let lints = world.get(&format!("/postern/v1/zones/{zone}/lints")).await;
        let mut lints = lints.as_array().unwrap().iter();
        let told = lints.any(|lint| lint["kind"] == "host_without_rule");
        assert_eq!(told, by.is_none(), "{written:?}");
    }
}

#[tokio::test]
async fn what_others_have_changed_meanwhile_is_not_overwritten() {
    let world = World::new().await;
    let zone = world.zone().await;
    let phase =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let rule = |name: &str| json!({"action": "log", "expression": "true", "description": name});
    let body = json!({"rules": [rule("one"), rule("two")]});
    let ruleset = world.ok("PUT", &phase, body).await;
    let path = |at: usize| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (ruleset, rule) = (text(&ruleset["id"]), text(&ruleset["rules"][at]["id"]));
        format!("/client/v4/zones/{zone}/rulesets/{ruleset}/rules/{rule}")
    };
    let seen = world.control.model().revision.to_string();
    let change = async |at: usize, name: &str, seen: &str| {
        let body = json!({"description": name}).to_string().into_bytes();
        let (path, seen) = (path(at), format!("\"{seen}\""));
        let headers = [("if-match", seen.as_str())];
        world.raw("PATCH", &path, body, &headers).await
    };
    assert_eq!(change(0, "mine", &seen).await.status, 200);
    // The other rule has not changed since.
    assert_eq!(change(1, "mine too", &seen).await.status, 200);
    let late = change(0, "theirs", &seen).await;
    assert_eq!(late.status, 412, "{}", late.text);
    assert!(
        late.text.contains("was changed meanwhile by unix"),
        "{}",
        late.text
    );
    let now = world.get(&phase).await;
    assert_eq!(now["rules"][0]["description"], "mine");
    let seen = world.control.model().revision.to_string();
    assert_eq!(change(0, "theirs", &seen).await.status, 200);
    let odd = change(0, "odd", "x").await;
    assert_eq!(odd.status, 400, "{}", odd.text);
}

#[tokio::test]
async fn rules_are_listed_in_pages_and_a_change_can_be_answered_without_them() {
    let world = World::new().await;
    let zone = world.zone().await;
    let phase =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let path = format!("/postern/v1/zones/{zone}/rules");
    assert_eq!(world.get(&path).await, json!([]), "before the first rule");
    let rule = |number: usize| {
        json!({
            "action": "log",
            "expression": format!("http.request.uri.path eq \"/{number}\""),
            "description": format!("Rule {number}"),
        })
    };
    let rules: Vec<Value> = (1..=30).map(rule).collect();
    let ruleset = world.ok("PUT", &phase, json!({ "rules": rules })).await;
    let second = world.get(&format!("{path}?page=2&per_page=20")).await;
    let positions: Vec<u64> = second
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, (21..=30).collect::<Vec<_>>());
    assert_eq!(second[0]["ruleset_id"], ruleset["id"]);
    let found = world
        .raw(
            "GET",
            &format!("{path}?search=RULE%202&per_page=5"),
            Vec::new(),
            &[],
        )
        .await;
    let found: Value = serde_json::from_str(&found.text).unwrap();
    assert_eq!(found["result"][1]["description"], "Rule 20");
    assert_eq!(found["result_info"]["total_count"], 11, "2 and 20 to 29");
    let other = world.get(&format!("{path}?phase=http_ratelimit")).await;
    assert_eq!(other, json!([]));
    let odd = world
        .raw("GET", &format!("{path}?phase=odd"), Vec::new(), &[])
        .await;
    assert_eq!(odd.status, 400, "{}", odd.text);
    let one = second[4]["id"].as_str().unwrap();
    assert_eq!(world.get(&format!("{path}/{one}")).await["position"], 25);
    let gone = world
        .raw(
            "GET",
            &format!("{path}/{}", "0".repeat(32)),
            Vec::new(),
            &[],
        )
        .await;
    assert_eq!(gone.status, 404, "{}", gone.text);
    // Lints of some rules only.
    let lints = world
        .get(&format!("/postern/v1/zones/{zone}/lints?rules={one}"))
        .await;
    let mut lints = lints.as_array().unwrap().iter();
    assert!(lints.all(|lint| lint["rule_id"].is_null() || lint["rule_id"] == one));
    let change = format!(
        "/client/v4/zones/{zone}/rulesets/{}/rules/{one}",
        ruleset["id"].as_str().unwrap()
    );
    let body = || json!({"description": "other"}).to_string().into_bytes();
    let little = [("prefer", "respond-async, return=minimal")];
    let short = world.raw("PATCH", &change, body(), &little).await;
    let short: Value = serde_json::from_str(&short.text).unwrap();
    assert_eq!(short["result"]["version"], "2");
    assert!(short["result"].get("rules").is_none(), "{short}");
    let whole = world.raw("PATCH", &change, body(), &[]).await;
    let whole: Value = serde_json::from_str(&whole.text).unwrap();
    assert_eq!(whole["result"]["rules"].as_array().map(Vec::len), Some(30));
}
