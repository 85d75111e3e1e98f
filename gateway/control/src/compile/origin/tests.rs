//! Which origins are taken, and what is known of their addresses afterwards.

use std::time::Duration;

use serde_json::json;

use super::*;
use fixtures::Directory;
use fixtures::pki::Authority;
use snapshot::origins::Balancing;

/// What origins are compiled with.
struct Around {
    reach: Arc<Reach>,
    names: Names,
    seal: Seal,
    standing: Standing,
}

impl Around {
    fn new() -> Self {
        let (seal, _) = Seal::open(&Directory::new().path().join("ca.key"), true).unwrap();
        Self {
            reach: Arc::default(),
            names: Names::default(),
            seal,
            standing: Standing::default(),
        }
    }

    fn outside(&self) -> Outside<'_> {
        Outside {
            reach: &self.reach,
            names: &self.names,
            seal: &self.seal,
            standing: &self.standing,
        }
    }
}

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
        let origins = origins(&spec, &Arc::default(), None).unwrap();
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
        assert!(origins(&spec, &Arc::default(), None).is_err(), "{url:?}");
    }
    let url = "http://h".to_owned();
    for header in ["a b", "a\r\nb", "", "u@h"] {
        let spec = OriginSpec {
            url: url.clone(),
            host_header: Some(header.into()),
            ..OriginSpec::default()
        };
        assert!(origins(&spec, &Arc::default(), None).is_err(), "{header:?}");
    }
    let spec = OriginSpec {
        url,
        server_name: Some("x".into()),
        ..OriginSpec::default()
    };
    assert!(
        origins(&spec, &Arc::default(), None).is_err(),
        "a name for a plain origin"
    );
}

#[test]
fn several_addresses_and_what_is_said_of_them() {
    let spec = |json: serde_json::Value| -> OriginSpec { serde_json::from_value(json).unwrap() };
    let two = json!([{"url": "http://a.test:1"}, {"url": "http://b.test:1", "weight": 3}]);
    let zone = Id::random();
    let around = Around::new();
    let made = group(
        &spec(
            json!({"addresses": two, "balance": "hash", "hash_by": "ip.src",
            "ejection": {"failures": 7, "sec": 400}, "panic_percent": 30}),
        ),
        (zone, "example.test/backends"),
        &around.outside(),
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
        &around.outside(),
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
        let made = origins(&spec(wrong.clone()), &Arc::default(), None);
        assert!(made.is_err(), "{wrong}");
    }
}

#[test]
fn what_is_inside_stays_inside_whatever_the_limits_are() {
    let spec = |json: serde_json::Value| -> OriginSpec { serde_json::from_value(json).unwrap() };
    let whose = (Id::random(), "api.example.test");
    let around = Around::new();
    let made = |limits: serde_json::Value, protocol: &str, last: Option<&OriginGroup>| {
        let spec = spec(json!({"url": "http://a.test", "limits": limits, "protocol": protocol}));
        group(&spec, whose, &around.outside(), last).unwrap()
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
    assert!(Arc::ptr_eq(&gate(&longer), &gate(&first)));
    assert_eq!(longer.requests.as_ref().unwrap().queue, 7);
}

#[test]
fn what_is_known_of_an_address_is_known_with_whatever_it_is_spoken_to() {
    let around = Around::new();
    let zone = Id::random();
    let ca = Authority::root("origins");
    let pull = |name: &str| {
        let made = ca.client(name);
        let purpose = origin_certificate_purpose(zone, name);
        let key = around.seal.seal(&purpose, made.key_pem().as_bytes());
        json!({
            "certificate": made.chain_pem(), "not_after": 1, "public_key": name,
            "key": key.unwrap(),
        })
    };
    let names = Names([("a.test".into(), vec!["192.0.2.1".parse().unwrap()])].into());
    let made = |change: serde_json::Value, last: Option<&OriginGroup>| {
        let mut spec = json!({
            "addresses": [{"url": "https://a.test"}, {"url": "https://b.test:444"}],
            "ca_pem": ca.pem(), "client_certificate": pull("first"),
        });
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let outside = Outside {
            names: &names,
            ..around.outside()
        };
        let spec = serde_json::from_value(spec).unwrap();
        group(&spec, (zone, "label"), &outside, last).unwrap()
    };
    let first = made(json!({}), None);
    for (what, change) in [
        (
            "another certificate",
            json!({"client_certificate": pull("second")}),
        ),
        ("none", json!({"client_certificate": null})),
        (
            "another CA",
            json!({"ca_pem": Authority::root("others").pem()}),
        ),
        ("another version", json!({"tls_min_version": "1.3"})),
        ("another protocol", json!({"protocol": "http2"})),
        ("PROXY", json!({"proxy_protocol": "v2"})),
        ("bounds", json!({"confined": true})),
        ("limits", json!({"limits": {"connections": 5}})),
    ] {
        let next = made(change, Some(&first));
        for (place, (now, before)) in next.addresses.iter().zip(&first.addresses).enumerate() {
            assert!(Arc::ptr_eq(&now.state, &before.state), "{what}: {place}");
        }
    }
    let elsewhere =
        json!({"addresses": [{"url": "https://a.test:445"}, {"url": "https://b.test:444"}]});
    let next = made(elsewhere, Some(&first));
    assert!(!Arc::ptr_eq(
        &next.addresses[0].state,
        &first.addresses[0].state
    ));
}

#[test]
fn connections_are_told_apart_by_what_they_were_opened_with() {
    let around = Around::new();
    let (zone, other) = (Id::random(), Id::random());
    let ca = Authority::root("origins");
    let pull = ca.client("pull");
    let shown_in = |zone: Id| {
        let purpose = origin_certificate_purpose(zone, "key");
        let key = around.seal.seal(&purpose, pull.key_pem().as_bytes());
        json!({
            "url": "https://a.test", "ca_pem": ca.pem(),
            "client_certificate": {
                "certificate": pull.chain_pem(), "not_after": 1, "public_key": "key",
                "key": key.unwrap(),
            },
        })
    };
    let made = |zone: Id, json: serde_json::Value| {
        let spec = serde_json::from_value(json).unwrap();
        group(&spec, (zone, "label"), &around.outside(), None)
    };
    let plain = json!({"url": "https://a.test", "ca_pem": ca.pem()});
    let with = |key: &str, value: &str| {
        let mut changed = plain.clone();
        changed[key] = json!(value);
        changed
    };
    let all = [
        (zone, plain.clone()),
        (zone, with("tls_min_version", "1.3")),
        (zone, with("proxy_protocol", "v2")),
        (zone, with("server_name", "b.test")),
        (zone, shown_in(zone)),
        (other, shown_in(other)),
    ];
    let key_of = |made: &OriginGroup| made.addresses[0].origin.key;
    let keys: Vec<u64> = all
        .iter()
        .map(|(zone, json)| key_of(&made(*zone, json.clone()).unwrap()))
        .collect();
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(key), "{place}: {keys:?}");
    }
    // Whatever zone it is, without a certificate they are shared; and the default version is none.
    assert_eq!(key_of(&made(other, plain.clone()).unwrap()), keys[0]);
    let default = made(zone, with("tls_min_version", "1.2")).unwrap();
    assert_eq!(key_of(&default), keys[0]);
    // A key is of its zone, and a certificate is not left out for want of one.
    assert!(matches!(
        made(other, shown_in(zone)),
        Err(OriginError::Key(SealError::Tampered))
    ));
    let mut keyless = shown_in(zone);
    keyless["client_certificate"]["key"] = json!(null);
    assert!(matches!(made(zone, keyless), Err(OriginError::NoKey)));
}

#[test]
fn connections_may_go_on_for_as_long_as_somebody_leads_there() {
    use std::sync::atomic::Ordering::Relaxed;
    let around = Around::new();
    let made = |names: &[(&str, &[&str])], url: &str| {
        let names = names.iter().map(|(name, means)| {
            let means = means.iter().map(|ip| ip.parse().unwrap()).collect();
            ((*name).into(), means)
        });
        let names = Names(names.collect());
        let outside = Outside {
            names: &names,
            ..around.outside()
        };
        let spec = serde_json::from_value(json!({ "url": url })).unwrap();
        let made = group(&spec, (Id::random(), "label"), &outside, None);
        Arc::new(made.unwrap())
    };
    let flag = |group: &OriginGroup| group.addresses[0].origin.gone.clone();
    let is_gone = |group: &OriginGroup| flag(group).load(Relaxed);
    let four = ("a.test", &["192.0.2.1", "2001:db8::1"][..]);
    let (one, other) = (
        made(&[four], "http://a.test"),
        made(&[four], "http://a.test"),
    );
    assert!(
        Arc::ptr_eq(&flag(&one), &flag(&other)),
        "they share connections"
    );
    around
        .standing
        .retire([&one].into_iter(), [&other].into_iter());
    assert!(!is_gone(&one));
    // Another address stands in for the same one: its connections are others.
    let moved = ("a.test", &["192.0.2.1", "2001:db8::2"][..]);
    let now = made(&[moved], "http://a.test");
    assert_eq!(now.addresses[0].origin.key, other.addresses[0].origin.key);
    around
        .standing
        .retire([&other].into_iter(), [&now].into_iter());
    assert!(is_gone(&other) && !is_gone(&now));
    // Who comes back begins anew.
    let back = made(&[four], "http://a.test");
    assert!(!is_gone(&back) && is_gone(&one));
    around
        .standing
        .retire([&now, &back].into_iter(), [].into_iter());
    assert!(is_gone(&now) && is_gone(&back));
}
