//! Which origins are taken, and what is known of their addresses afterwards.

use std::time::Duration;

use serde_json::json;

use super::*;
use snapshot::origins::Balancing;

#[test]
fn urls() {
    for (url, host, port, addresses) in [
        ("http://127.0.0.1:9000", "127.0.0.1", 9000, 1),
        ("http://127.0.0.1:9000/", "127.0.0.1", 9000, 1),
        ("http://[::1]:9000", "::1", 9000, 1),
        ("http://[::1]", "::1", 80, 1),
        ("http://origin.example.com", "origin.example.com", 80, 0),
        ("https://origin.example.com", "origin.example.com", 443, 0),
        ("https://10.0.0.1", "10.0.0.1", 443, 1),
    ] {
        let spec = OriginSpec {
            url: url.into(),
            ..OriginSpec::default()
        };
        let origins = origins(&spec, &Arc::default()).unwrap();
        let origin = &origins[0];
        assert_eq!(
            (&*origin.host, origin.port, origin.addresses.len()),
            (host, port, addresses)
        );
    }
}

#[test]
fn urls_refused() {
    for url in [
        "",
        "127.0.0.1:9000",
        "ftp://x",
        "http://",
        "http://h/path",
        "http://h?x",
        "http://u@h",
        "http://h:0",
        "http://h:99999",
        "http://h:",
        "http://h:x",
        "http://a b",
        "http://a..b",
        "unix:/x",
    ] {
        let spec = OriginSpec {
            url: url.into(),
            ..OriginSpec::default()
        };
        assert!(origins(&spec, &Arc::default()).is_err(), "{url:?}");
    }
    let url = "http://h".to_owned();
    for header in ["a b", "a\r\nb", "", "u@h"] {
        let spec = OriginSpec {
            url: url.clone(),
            host_header: Some(header.into()),
            ..OriginSpec::default()
        };
        assert!(origins(&spec, &Arc::default()).is_err(), "{header:?}");
    }
    let spec = OriginSpec {
        url,
        server_name: Some("x".into()),
        ..OriginSpec::default()
    };
    assert!(
        origins(&spec, &Arc::default()).is_err(),
        "a name for a plain origin"
    );
}

#[test]
fn several_addresses_and_what_is_said_of_them() {
    let spec = |json: serde_json::Value| -> OriginSpec { serde_json::from_value(json).unwrap() };
    let two = json!([{"url": "http://a.test:1"}, {"url": "http://b.test:1", "weight": 3}]);
    let zone = Id::random();
    let made = group(
        &spec(
            json!({"addresses": two, "balance": "hash", "hash_by": "ip.src",
            "ejection": {"failures": 7, "sec": 400}, "panic_percent": 30}),
        ),
        (zone, "example.test/backends"),
        (&Arc::default(), &Names::default()),
        None,
    );
    let made = made.unwrap();
    let weights: Vec<u16> = made.addresses.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [1, 3]);
    assert!(matches!(made.balance, Balancing::Hash(_)));
    assert_eq!((made.ejection.failures, made.panic_percent), (7, 30));
    assert_eq!(
        made.ejection.time_max,
        Duration::from_secs(400),
        "no less than once"
    );
    // What is known of an address stays while that does, whatever else changes.
    let other =
        json!({"addresses": [{"url": "http://b.test:1", "weight": 1}, {"url": "http://c.test:1"}]});
    let next = group(
        &spec(other),
        (zone, "other"),
        (&Arc::default(), &Names::default()),
        Some(&made),
    )
    .unwrap();
    assert!(Arc::ptr_eq(
        &next.addresses[0].state,
        &made.addresses[1].state
    ));
    assert!(Arc::ptr_eq(&next.state, &made.state));
    assert!(!Arc::ptr_eq(
        &next.addresses[1].state,
        &made.addresses[0].state
    ));

    let one = json!([{"url": "http://a.test"}]);
    let many: Vec<_> = (0..65)
        .map(|n| json!({"url": format!("http://a.test:{}", n + 1)}))
        .collect();
    for wrong in [
        json!({}),
        json!({"name": "backends"}),
        json!({"url": "http://a.test", "addresses": one}),
        json!({"url": "http://a.test", "name": "backends"}),
        json!({"addresses": many}),
        json!({"addresses": [{"url": "http://a.test"}, {"url": "http://A.test:80"}]}),
        json!({"addresses": [{"url": "http://a.test"}, {"url": "https://b.test"}]}),
        json!({"addresses": [{"url": "http://a.test", "weight": 0}]}),
        json!({"addresses": [{"url": "http://a.test", "weight": 101}]}),
        json!({"addresses": one, "balance": "hash"}),
        json!({"addresses": one, "hash_by": "ip.src"}),
        json!({"addresses": one, "balance": "hash", "hash_by": "ip.source"}),
        json!({"addresses": one, "balance": "hash", "hash_by": "http.request.headers"}),
        json!({"addresses": one, "ejection": {"sec": 0}}),
        json!({"addresses": one, "ejection": {"max_percent": 101}}),
        json!({"addresses": one, "slow_start_sec": 4000}),
        json!({"addresses": one, "panic_percent": 101}),
        json!({"addresses": one, "timeouts": {"connect_ms": 0}}),
        json!({"addresses": one, "timeouts": {"whole_ms": 3_600_001}}),
        json!({"addresses": one, "timeouts": {"try_ms": 2_000, "whole_ms": 1_000}}),
        json!({"addresses": one, "limits": {}}),
        json!({"addresses": one, "limits": {"queue": 3}}),
        json!({"addresses": one, "limits": {"requests": 0}}),
        json!({"addresses": one, "limits": {"connections": 1_000_001}}),
        json!({"addresses": one, "limits": {"requests": 1, "queue": 501}}),
        json!({"addresses": one, "limits": {"requests": 1, "queue_ms": 0}}),
        json!({"addresses": one, "health": {"kind": "tcp", "path": "/"}}),
        json!({"addresses": one, "health": {"kind": "http", "path": "healthz"}}),
        json!({"addresses": one, "health": {"kind": "http", "path": "/a b"}}),
        json!({"addresses": one, "health": {"kind": "http", "service": "a.B"}}),
        json!({"addresses": one, "health": {"kind": "http", "status": 42}}),
        json!({"addresses": one, "health": {"kind": "grpc", "host": "a b"}}),
        json!({"addresses": one, "health": {"kind": "grpc", "interval_sec": 0}}),
        json!({"addresses": one, "health": {"kind": "tcp", "timeout_sec": 31}}),
        json!({"addresses": one, "protocol": "http1", "health": {"kind": "grpc"}}),
    ] {
        let made = origins(&spec(wrong.clone()), &Arc::default());
        assert!(made.is_err(), "{wrong}");
    }
}

#[test]
fn what_is_inside_stays_inside_while_the_queue_has_its_length() {
    let spec = |json: serde_json::Value| -> OriginSpec { serde_json::from_value(json).unwrap() };
    let whose = (Id::random(), "api.example.test");
    let made = |limits: serde_json::Value, protocol: &str, last: Option<&OriginGroup>| {
        let spec = spec(json!({"url": "http://a.test", "limits": limits, "protocol": protocol}));
        group(&spec, whose, (&Arc::default(), &Names::default()), last).unwrap()
    };
    // One that speaks HTTP/1.1 has no more requests than connections.
    for (protocol, limits, requests, connections) in [
        ("auto", json!({"requests": 5}), Some(5), None),
        (
            "auto",
            json!({"requests": 5, "connections": 3}),
            Some(3),
            Some(3),
        ),
        ("http1", json!({"connections": 3}), Some(3), Some(3)),
        ("http2", json!({"connections": 3}), None, Some(3)),
        (
            "http2",
            json!({"requests": 5, "connections": 3}),
            Some(5),
            Some(3),
        ),
    ] {
        let group = made(limits, protocol, None);
        let of = |limit: &Option<snapshot::origins::Limit>| limit.as_ref().map(|one| one.max);
        assert_eq!(of(&group.requests), requests, "{protocol}");
        assert_eq!(of(&group.connections), connections, "{protocol}");
    }
    let first = made(json!({"requests": 5}), "auto", None);
    let gate = |group: &OriginGroup| group.requests.as_ref().unwrap().gate.clone();
    let raised = made(json!({"requests": 9}), "auto", Some(&first));
    assert!(Arc::ptr_eq(&gate(&raised), &gate(&first)));
    let longer = made(json!({"requests": 9, "queue": 7}), "auto", Some(&first));
    assert!(!Arc::ptr_eq(&gate(&longer), &gate(&first)));
}
