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

#[test]
fn groups_are_words_of_which_each_is_there_once() {
    let key = key("tls.groups").unwrap();
    for (text, shown) in [
        ("P-384", Some("P-384")),
        (
            "x25519mlkem768:x25519:p-384",
            Some("X25519MLKEM768, X25519, P-384"),
        ),
        ("P-256,  X25519", Some("P-256, X25519")),
        ("", None),
        (", :", None),
        ("P-521", None),
        ("P-256 p-256", None),
    ] {
        let mut config = Config::default();
        let set = (key.set)(&mut config, text).ok();
        assert_eq!(
            set.map(|()| (key.show)(&config)).as_deref(),
            shown,
            "{text}"
        );
    }
    for (text, place, help) in [
        ("X25519, secp384r1", "1:22", "did you mean `P-384`?"),
        ("X25519MLKEM786", "1:14", "did you mean `X25519MLKEM768`?"),
        ("P-284", "1:14", "did you mean `P-"),
    ] {
        let text = format!("tls.groups = {text}\n");
        let error = Config::parse("p.conf".as_ref(), &text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(place) && error.contains(help), "{error}");
    }
    let error = Config::parse("p.conf".as_ref(), "tls.min_version = 1.1\n").unwrap_err();
    assert!(error.to_string().contains("1:19"), "{error}");
}

#[test]
fn what_acme_needs_is_told() {
    let parsed = |text: &str| {
        let parsed = Config::parse("p.conf".as_ref(), text);
        parsed.map_err(|error| error.to_string())
    };
    let whole = "listen.http = *:80\nacme.terms_agreed = on\n\
                 acme.directory = https://acme.test/dir\nacme.contact = ops@a.test\n";
    let config = parsed(whole).unwrap();
    assert_eq!(
        config.acme.directory.as_deref(),
        Some("https://acme.test/dir")
    );
    assert_eq!(config.acme.orders_per_hour, 50);
    for (more, told) in [
        ("acme.directory = http://acme.test/dir", "https://"),
        ("acme.directory = https:///dir", "names no server"),
        ("acme.directory = https://me@acme.test/dir", "not the URL"),
        ("acme.directory = https://acme.test/d ir", "not the URL"),
        ("acme.contact = ops", "mail address"),
        ("acme.contact = a@b.test,c@d.test", "mail address"),
        ("acme.orders_per_hour = 0", "from 1 to 1000"),
        ("acme.challenge = dns-01", "http-01"),
        ("acme.terms_agreed = off", "acme.terms_agreed = on"),
        ("listen.http = off", "acme.challenge = tls-alpn-01"),
        (
            "acme.directory = none\nacme.staging = https://a.test/",
            "without `acme.directory`",
        ),
        ("acme.eab_key_id = one", "`acme.eab_key_file`"),
        ("acme.eab_key_file = /key", "`acme.eab_key_id`"),
    ] {
        // A key is set once.
        let keys: Vec<&str> = more
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let is_other = |line: &&str| !keys.iter().any(|key| line.split(' ').next() == Some(key));
        let rest: Vec<&str> = whole.lines().filter(is_other).collect();
        let error = parsed(&format!("{}\n{more}\n", rest.join("\n"))).unwrap_err();
        assert!(error.contains(told), "{more}: {error}");
    }
    let tls = whole.replace("listen.http = *:80", "acme.challenge = tls-alpn-01");
    assert!(parsed(&tls).is_ok());
}
