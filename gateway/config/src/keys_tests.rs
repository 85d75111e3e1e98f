//! The table of keys: defaults, names, and what single kinds of values take.

use super::Config;
use super::keys::{KEYS, key};

#[test]
fn every_default_is_a_value_and_is_shown_as_it_is_read() {
    for key in KEYS {
        let mut config = Config::default();
        config.listen.clear();
        (key.set)(&mut config, key.default)
            .unwrap_or_else(|error| panic!("{}: {error:?}", key.name));
        let shown = (key.show)(&config);
        if !matches!(key.name, "listen" | "workers") {
            assert_eq!(shown, key.default, "{}", key.name);
        }
        config.listen.clear();
        (key.set)(&mut config, &shown).unwrap_or_else(|error| panic!("{}: {error:?}", key.name));
        assert_eq!((key.show)(&config), shown, "{}", key.name);
    }
}

#[test]
fn names_are_unique_and_documented() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(
            KEYS[..index].iter().all(|other| other.name != key.name),
            "{}",
            key.name
        );
        assert!(
            key.doc.ends_with('.') && !key.kind.describe().is_empty(),
            "{}",
            key.name
        );
    }
}

#[test]
fn interfaces_are_names_as_the_kernel_allows_them() {
    let key = key("steer.interfaces").unwrap();
    for (text, shown) in [
        ("auto", Some("auto")),
        ("eth0", Some("eth0")),
        ("eth0,br-1  wlan0.7", Some("eth0, br-1, wlan0.7")),
        ("", None),
        ("a/b", None),
        ("eth0 eth0", None),
        ("sixteen-letters-", None),
    ] {
        let mut config = Config::default();
        let set = (key.set)(&mut config, text).ok();
        assert_eq!(
            set.map(|()| (key.show)(&config)).as_deref(),
            shown,
            "{text}"
        );
    }
}

#[test]
fn the_admin_api_leaves_this_machine_with_tls_only() {
    let tls = "admin.tls_certificate = /c.pem\nadmin.tls_key = /k.pem\n";
    for (address, more, good) in [
        ("127.0.0.1:1", "", true),
        ("[::1]:1", "", true),
        ("off", "", true),
        ("0.0.0.0:1", "", false),
        ("10.0.0.1:1", "", false),
        ("10.0.0.1:1", tls, true),
        ("[::]:1", tls, true),
        ("127.0.0.1:1", tls, true),
        ("127.0.0.1:1", "admin.tls_certificate = /c.pem\n", false),
        ("127.0.0.1:1", "admin.tls_key = /k.pem\n", false),
        ("10.0.0.1:1", "admin.tls_key = /k.pem\n", false),
    ] {
        let text = format!("admin.listen = {address}\n{more}");
        let read = Config::parse("postern.conf".as_ref(), &text);
        assert_eq!(read.is_ok(), good, "{text}{read:?}");
    }
}
