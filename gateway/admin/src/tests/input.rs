//! Input that is wrong, and connections that talk nonsense.

use super::*;

#[tokio::test]
async fn wrong_input_is_answered_with_the_envelope_and_never_with_500() {
    let world = World::new().await;
    let zone = world.zone().await;
    let zones = "/client/v4/zones";
    let at = |rest: &str| format!("{zones}/{zone}/{rest}");
    let phase = "rulesets/phases/http_request_firewall_custom/entrypoint";
    let rules = |rule: Value| json!({"rules": [rule]});
    let bad_response = |response: Value| {
        rules(
            json!({"action": "block", "expression": "true", "action_parameters": {"response": response}}),
        )
    };
    let nobody = "00000000-0000-4000-8000-000000000000";
    let cases: Vec<(&str, String, Value, u16)> = vec![
        ("GET", "/nothing".into(), Value::Null, 404),
        ("GET", "/client/v4/nothing".into(), Value::Null, 404),
        ("PUT", zones.into(), json!({}), 405),
        ("GET", format!("{zones}/xyz"), Value::Null, 404),
        (
            "GET",
            format!("{zones}/{}", "0".repeat(32)),
            Value::Null,
            404,
        ),
        ("GET", format!("{zones}/%ff%fe"), Value::Null, 400),
        ("GET", format!("{zones}?page=0"), Value::Null, 400),
        ("GET", format!("{zones}?per_page=x"), Value::Null, 400),
        ("POST", zones.into(), Value::Null, 400),
        ("POST", zones.into(), json!([]), 400),
        ("POST", zones.into(), json!({"name": 7}), 400),
        ("POST", zones.into(), json!({"name": "a b"}), 400),
        ("POST", zones.into(), json!({"name": "example.test"}), 400),
        (
            "POST",
            zones.into(),
            json!({"name": "x.test", "type": "partial"}),
            400,
        ),
        (
            "POST",
            zones.into(),
            json!({"name": "x.test", "account": {"id": "0"}}),
            404,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": "x", "validity_days": 1}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x"), "validity_days": 0}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x"), "validity_days": -1}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x"), "validity_days": 1e99}),
            400,
        ),
        (
            "POST",
            at("client_certificates"),
            json!({"csr": csr("x")}),
            400,
        ),
        (
            "GET",
            at("client_certificates?status=odd"),
            Value::Null,
            400,
        ),
        ("GET", at("client_certificates/x"), Value::Null, 404),
        (
            "GET",
            at(&format!("client_certificates/{nobody}")),
            Value::Null,
            404,
        ),
        (
            "DELETE",
            at(&format!("client_certificates/{nobody}")),
            Value::Null,
            404,
        ),
        (
            "PATCH",
            at(&format!("client_certificates/{nobody}")),
            json!({"reactivate": "x"}),
            400,
        ),
        (
            "PUT",
            at("certificate_authorities/hostname_associations"),
            json!({"hostnames": ["a.com"]}),
            400,
        ),
        (
            "PUT",
            at("certificate_authorities/hostname_associations"),
            json!({"hostnames": ["..".repeat(400)]}),
            400,
        ),
        (
            "PUT",
            at("certificate_authorities/hostname_associations"),
            json!({"hostnames": [], "mtls_certificate_id": nobody}),
            404,
        ),
        (
            "GET",
            at("certificate_authorities/hostname_associations?mtls_certificate_id=x"),
            Value::Null,
            404,
        ),
        (
            "POST",
            at("custom_certificates"),
            json!({"certificate": "x", "private_key": "y"}),
            400,
        ),
        (
            "POST",
            at("custom_certificates"),
            json!({"certificate": "x", "private_key": "y", "bundle_method": "z"}),
            400,
        ),
        (
            "PATCH",
            at(&format!("custom_certificates/{nobody}")),
            json!({"certificate": "x"}),
            400,
        ),
        (
            "GET",
            at(&format!("custom_certificates/{nobody}")),
            Value::Null,
            404,
        ),
        (
            "GET",
            at("rulesets/phases/odd/entrypoint"),
            Value::Null,
            400,
        ),
        ("PUT", at(phase), rules(json!({"expression": "true"})), 400),
        ("PUT", at(phase), rules(json!({"action": "block"})), 400),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "odd", "expression": "true"})),
            400,
        ),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "block", "expression": "true", "ratelimit": {}})),
            400,
        ),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "block", "expression": "x".repeat(20_000)})),
            400,
        ),
        (
            "PUT",
            at(phase),
            rules(json!({"action": "log", "expression": "true", "id": "0".repeat(32)})),
            404,
        ),
        (
            "PUT",
            at(phase),
            bad_response(json!({"status_code": 200, "content_type": "text/plain", "content": ""})),
            400,
        ),
        (
            "PUT",
            at(phase),
            bad_response(json!({"status_code": 403, "content_type": "a\r\nb", "content": ""})),
            400,
        ),
        (
            "PUT",
            at(phase),
            bad_response(
                json!({"status_code": 403, "content_type": "text/plain", "content": "x".repeat(2049)}),
            ),
            400,
        ),
        (
            "PUT",
            at(&format!("{phase}?dry_run=perhaps")),
            rules(json!({"action": "log", "expression": "true"})),
            400,
        ),
        (
            "POST",
            at("rulesets"),
            json!({"kind": "zone", "name": "x", "rules": []}),
            400,
        ),
        (
            "POST",
            at("rulesets"),
            json!({"kind": "root", "name": "x", "phase": "http_request_firewall_custom"}),
            400,
        ),
        (
            "POST",
            at(&format!("rulesets/{}/rules", "0".repeat(32))),
            json!({"action": "log", "expression": "true"}),
            404,
        ),
        (
            "GET",
            at(&format!("rulesets/{}/versions/x", "0".repeat(32))),
            Value::Null,
            400,
        ),
        (
            "POST",
            format!("/postern/v1/zones/{zone}/hosts"),
            json!({"name": "a.example.test"}),
            400,
        ),
        (
            "POST",
            format!("/postern/v1/zones/{zone}/hosts"),
            json!({"name": "a.example.test", "origin": {"url": "x"}}),
            400,
        ),
        (
            "POST",
            format!("/postern/v1/zones/{zone}/hosts"),
            json!({"name": "a.example.test", "origin": {"url": "http://x"}, "mtls": "odd"}),
            400,
        ),
        (
            "GET",
            "/postern/v1/hosts/nobody.test".into(),
            Value::Null,
            404,
        ),
        ("GET", "/postern/v1/hosts/..".into(), Value::Null, 400),
        (
            "POST",
            "/postern/v1/tokens".into(),
            json!({"name": "x", "scopes": [], "days": 1}),
            400,
        ),
        ("DELETE", "/postern/v1/tokens/x".into(), Value::Null, 404),
        ("GET", "/postern/v1/sysctl/odd".into(), Value::Null, 404),
        (
            "PUT",
            "/postern/v1/sysctl/workers".into(),
            json!({"value": 3}),
            400,
        ),
        (
            "PUT",
            "/postern/v1/sysctl/timeout.idle".into(),
            json!({"value": []}),
            400,
        ),
        (
            "POST",
            "/postern/v1/expressions/preview".into(),
            json!({}),
            400,
        ),
        ("GET", "/readyz".into(), Value::Null, 503),
    ];
    let before = format!("{:?}", world.control.model());
    for (method, path, body, status) in cases {
        let shown = body.to_string();
        let answer = world.call(method, &path, body).await;
        assert_eq!(
            answer.status, status,
            "{method} {path} {shown}: {}",
            answer.text
        );
        if path != "/readyz" {
            assert_eq!(
                answer.body["success"], false,
                "{method} {path}: {}",
                answer.text
            );
            let error = &answer.body["errors"][0];
            assert!(
                error["code"].is_u64() && error["message"].is_string(),
                "{}",
                answer.text
            );
            assert_eq!(
                (&answer.body["messages"], &answer.body["result"]),
                (&json!([]), &Value::Null)
            );
        }
    }
    let deep = "[".repeat(60_000).into_bytes();
    for body in [
        b"{".to_vec(),
        vec![0xff; 10],
        deep,
        b"\0".to_vec(),
        b"{\"name\":\"\\ud800\"}".to_vec(),
    ] {
        let answer = world.raw("POST", zones, body, &[]).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.body["errors"][0]["code"], 6007);
    }
    let long = vec![b' '; crate::limits::ADMIN_BODY_BYTES_MAX + 1];
    assert_eq!(world.raw("POST", zones, long, &[]).await.status, 413);
    assert_eq!(
        format!("{:?}", world.control.model()),
        before,
        "nothing was changed by any of them"
    );
}

#[tokio::test]
async fn a_connection_that_talks_nonsense_harms_nobody() {
    let world = World::new().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"A",
    ] {
        let mut stream = UnixStream::connect(world.directory.path().join("admin.sock"))
            .await
            .unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
    }
    assert_eq!(
        world.call("GET", "/livez", Value::Null).await.status,
        StatusCode::OK.as_u16()
    );
}
