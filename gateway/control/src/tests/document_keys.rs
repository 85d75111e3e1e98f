//! Keys of a document: said, `null`, and left out.

use serde_json::{Value, json};

use super::documents::{apply, document, full, told};
use super::*;
use fixtures::pki::foreign;
use vocabulary::settings::ClientSettings;

#[test]
fn a_key_that_is_left_out_is_left_alone() {
    let world = World::new();
    full(&world);
    let control = world.control();
    // Everything that a key can say is said, none of it the default.
    let value = json!({"postern": 1,
    "lists": [{"name": "office", "kind": "ip", "description": "ours",
        "items": [{"value": "192.0.2.0/24"}]}],
    "zones": [{"name": "example.test", "hosts": [{
        "name": "api.example.test", "mtls": "require", "revoked": "close",
        "certificate_headers": ["client-cert"], "tell_reason": true, "tls_min_version": "1.3", "request_body_max": 1000,
        "origin": {"url": "https://127.0.0.1:9443", "protocol": "http1",
            "host_header": "inner.test", "server_name": "inner.test", "ca_pem": foreign("O")},
    }]}]});
    apply(control, &value).unwrap();
    let exported = || serde_json::to_value(control.export(false).unwrap()).unwrap();
    let said = exported();
    let partner = said["authorities"][0].clone();
    for bare in [
        json!({"postern": 1}),
        json!({"postern": 1, "lists": [{"name": "office", "kind": "ip"}]}),
        json!({"postern": 1, "authorities": [{"certificate": partner["certificate"]}]}),
        json!({"postern": 1, "authorities": [
            {"certificate": partner["certificate"], "crl": {}, "ocsp": {}}]}),
        json!({"postern": 1, "zones": [{"name": "example.test",
            "hosts": [{"name": "api.example.test"}]}]}),
        json!({"postern": 1, "zones": [{"name": "example.test",
            "hosts": [{"name": "api.example.test", "origin": {}}]}]}),
        json!({"postern": 1, "zones": [{"name": "example.test", "hosts": [
            {"name": "api.example.test", "origin": {"url": "https://127.0.0.1:9443"}}]}]}),
        // Where associations are said, the host still asks for certificates.
        json!({"postern": 1, "zones": [{"name": "example.test",
            "associations": said["zones"][0]["associations"],
            "hosts": [{"name": "api.example.test"}]}]}),
    ] {
        // A section that names one CA would have the others removed.
        for prune in [false, bare.get("authorities").is_none()] {
            let options = ApplyOptions {
                prune,
                ..ApplyOptions::default()
            };
            let tried = control.acting(Intent {
                dry_run: true,
                ..Intent::default()
            });
            let applied = tried.apply(&document(bare.clone()), options).unwrap();
            let changed: Vec<String> = told(&applied)
                .into_iter()
                .filter(|one| one.starts_with("change "))
                .collect();
            assert_eq!(changed, Vec::<String>::new(), "{bare}");
        }
    }
    // One key is one change, and `null` is the default.
    for (key, new, default) in [
        ("mtls", json!("off"), json!(null)),
        ("revoked", json!("rule"), json!("rule")),
        ("tell_reason", json!(false), json!(false)),
        ("tls_min_version", json!("1.2"), json!(null)),
        ("request_body_max", json!(2000), json!(null)),
    ] {
        for new in [new, default] {
            let host = json!({"name": "api.example.test", key: new});
            let zone = json!({"name": "example.test", "hosts": [host]});
            apply(control, &json!({"postern": 1, "zones": [zone]})).unwrap();
            assert_eq!(exported()["zones"][0]["hosts"][0][key], new, "{key}");
        }
    }
    let host = json!({"name": "api.example.test", "origin": {"ca_pem": null}});
    let zone = json!({"name": "example.test", "hosts": [host]});
    apply(control, &json!({"postern": 1, "zones": [zone]})).unwrap();
    let origin = &exported()["zones"][0]["hosts"][0]["origin"];
    assert_eq!(origin["ca_pem"], Value::Null);
    assert_eq!(origin["server_name"], "inner.test");
    let off = json!({"certificate": partner["certificate"], "crl": null, "ocsp": null});
    apply(control, &json!({"postern": 1, "authorities": [off]})).unwrap();
    let partner = &exported()["authorities"][0];
    assert_eq!(
        (&partner["crl"], &partner["ocsp"]),
        (&Value::Null, &Value::Null)
    );

    // A thing that the document makes has the defaults.
    let zone = json!({"name": "example.test", "hosts": [
        {"name": "new.example.test", "origin": {"url": "http://127.0.0.1:1"}}]});
    apply(control, &json!({"postern": 1, "zones": [zone]})).unwrap();
    let made = control.host(&name("new.example.test")).unwrap();
    assert_eq!((made.mtls, made.mtls_is_set), (MtlsMode::Off, false));
    assert_eq!(made.client, ClientSettings::default());
    let zone = json!({"name": "example.test", "hosts": [{"name": "other.example.test"}]});
    let error = apply(control, &json!({"postern": 1, "zones": [zone]})).unwrap_err();
    let ChangeError::At { pointer, error } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(pointer, "/zones/0/hosts/0/origin/url", "{error}");
}
