//! Commands about several things at once: what they count, add and take away.

use super::*;

#[test]
fn associating_a_ca_adds_and_says_what_replacing_takes_away() {
    let gateway = Gateway::start("associate");
    gateway.run(&["zone", "create", "example.test"]);
    let names = ["a.example.test", "b.example.test", "c.example.test"];
    for name in names {
        let add = ["host", "add", name, "--origin", "http://127.0.0.1:9"];
        gateway.run(&[&add[..], &ZONE].concat());
    }
    let associate = |more: &[&'static str]| -> Vec<&'static str> {
        [&["ca", "associate"], more, &ZONE[..]].concat()
    };
    let trusted = || {
        let hosts = gateway.json(&["host", "list"]);
        let asks = |host: &&Value| host["mtls"] == "request";
        let hosts = hosts.as_array().unwrap().iter().filter(asks);
        hosts
            .map(|host| host["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    contains(
        &gateway.run(&associate(&[names[0]])),
        &["added a.example.test"],
    );
    contains(
        &gateway.run(&associate(&[names[1]])),
        &["trusted by a.example.test, b."],
    );
    assert_eq!(trusted(), names[..2], "adding takes nothing away");
    // A name that is no host, and one that does not trust it.
    contains(
        &gateway.fail(&associate(&["a.exmaple.test"])),
        &[
            "is no host of the zone example.test",
            "did you mean `a.example.test`?",
        ],
    );
    contains(
        &gateway.fail(&associate(&["c.example.test", "--remove"])),
        &["`c.example.test` does not trust this CA"],
    );
    let replace = associate(&["c.example.test", "--replace"]);
    contains(
        &gateway.try_run(&replace).unwrap_err().to_string(),
        &["from 2 hosts", "a.example.test, b.example.test", "--yes"],
    );
    assert_eq!(trusted(), names[..2], "nothing was changed");
    gateway.run(&[&replace[..], &["--yes"]].concat());
    assert_eq!(trusted(), names[2..]);
    gateway.run(&associate(&["c.example.test", "--remove"]));
    assert!(trusted().is_empty());
    // Rules look their hosts up as well.
    let mtls = |name: &'static str| -> Vec<&'static str> {
        [&["rule", "mtls", "--hosts", name], &ZONE[..]].concat()
    };
    contains(
        &gateway.fail(&mtls("b.exmaple.test")),
        &["did you mean `b.example.test`?"],
    );
    contains(&gateway.fail(&mtls("*.sub.example.test")), &["is no host"]);
    gateway.run(&mtls("*.example.test"));
    gateway.run(&mtls("b.example.test"));
}

#[test]
fn many_certificates_are_revoked_at_once_with_a_count() {
    let gateway = Gateway::start("revoke");
    for zone in ["example.test", "other.test"] {
        gateway.run(&["zone", "create", zone]);
    }
    let made = |cn: &str, zone: &str| gateway.json(&["cert", "create", "--zone", zone, "--cn", cn]);
    let of = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let one = made("van-1", "example.test");
    for cn in ["van-2", "van-3", "office"] {
        made(cn, "example.test");
    }
    let two = made("van-4", "other.test");
    let three = made("office", "other.test");
    // Its zone is found, by whatever it is called.
    let serial = of(&two, "serial_number");
    let pairs: Vec<String> = serial
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
        .collect();
    let shown = ["cert", "show", "--zone", "other.test", &pairs.join(":")];
    contains(&gateway.run(&shown), &["van-4"]);
    let reason = ["--reason", "keyCompromise"];
    contains(
        &gateway.run(&[&["cert", "revoke", &serial], &reason[..]].concat()),
        &["revoked", "van-4"],
    );
    // A name that two zones have is not guessed.
    let both = ["cert", "revoke", "office"];
    contains(
        &gateway.fail(&both),
        &["example.test, other.test", "--zone"],
    );
    let nobody = ["cert", "revoke", "nobody"];
    contains(
        &gateway.fail(&nobody),
        &["there is no certificate `nobody`", "cert list"],
    );
    // PEM files, serial numbers in a file, and a pattern, each once however often it is named.
    let file = gateway.path("lost.pem");
    fs::write(&file, of(&three, "certificate")).unwrap();
    let list = gateway.path("serials");
    fs::write(&list, format!("# lost\n{}\n", of(&one, "serial_number"))).unwrap();
    let all = ["cert", "revoke", &file, "--serials", &list, "--cn", "van-*"];
    let asked = gateway.try_run(&all).unwrap_err().to_string();
    contains(
        &asked,
        &["revokes 4 certificates", "office", "van-3", "--yes"],
    );
    let active = || {
        let list = [
            "cert",
            "list",
            "--zone",
            "example.test",
            "--status",
            "active",
        ];
        gateway.json(&list).as_array().unwrap().len()
    };
    assert_eq!(active(), 4, "nothing is revoked yet");
    contains(
        &gateway.run(&[&all[..], &["--yes"]].concat()),
        &["revoked 4 certificates"],
    );
    assert_eq!(active(), 1);
    // Of two zones at once, and all of it one change.
    let last = gateway.json(&["audit", "--limit", "1"]);
    let changes = last[0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 4, "{last}");
    let none = ["cert", "revoke", "--cn", "boat-*"];
    contains(&gateway.fail(&none), &["no certificate fits", "cert list"]);
}

#[test]
fn server_certificates_are_listed_with_their_users_and_unused_ones_leave() {
    let gateway = Gateway::start("server-cert");
    gateway.run(&["zone", "create", "example.test"]);
    let add = |host: &str, origin: &str| {
        let all = [
            "host",
            "add",
            host,
            "--origin",
            origin,
            "--development-cert",
        ];
        gateway.try_run(&[&all[..], &ZONE].concat())
    };
    let count = |more: &[&str]| {
        let list = [&["server-cert", "list"], more].concat();
        gateway.json(&list).as_array().unwrap().len()
    };
    assert!(add("a.example.test", "nonsense").is_err());
    assert_eq!(count(&[]), 0, "a host that is refused leaves nothing");
    add("a.example.test", "http://127.0.0.1:9").unwrap();
    contains(
        &gateway.run(&["server-cert", "list"]),
        &["PRESENTED BY", "a.example.test"],
    );
    assert_eq!(count(&["--unused"]), 0);
    let needed = ["server-cert", "delete", "a.example.test", "--yes"];
    contains(&gateway.fail(&needed), &["would be left without"]);
    // The old one leaves when another is brought, and the last one with the host.
    gateway.run(&["host", "set", "a.example.test", "--development-cert"]);
    assert_eq!(count(&[]), 1);
    let delete = ["host", "delete", "a.example.test"];
    let asked = gateway.try_run(&delete).unwrap_err().to_string();
    contains(&asked, &["1 server certificate with its key", "--yes"]);
    gateway.run(&[&delete[..], &["--yes"]].concat());
    assert_eq!(count(&[]), 0);
    let none = ["server-cert", "delete", "--unused"];
    contains(&gateway.run(&none), &["is presented by a host"]);
}

#[test]
fn lists_are_made_filled_and_named_by_rules() {
    let gateway = Gateway::start("lists");
    gateway.run(&["zone", "create", "example.test"]);
    gateway.run(&["list", "create", "office", "--description", "desks"]);
    let add = ["list", "add", "office", "192.0.2.0/24", "2001:db8::1"];
    contains(&gateway.run(&add), &["added 2 items"]);
    let skip = ["rule", "add", "--action", "skip", "-e", "ip.src in $office"];
    contains(&gateway.run(&[&skip[..], &ZONE].concat()), &["skip"]);
    contains(
        &gateway.run(&["list", "list"]),
        &["office", "ip", "2", "desks"],
    );
    contains(
        &gateway.run(&["list", "show", "$office"]),
        &["192.0.2.0/24"],
    );
    gateway.run(&["list", "remove", "office", "192.0.2.0/24"]);
    let left = gateway.json(&["list", "show", "office"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    contains(
        &gateway.fail(&["list", "remove", "office", "10.0.0.1"]),
        &["is not in the list"],
    );
    contains(&gateway.fail(&["list", "delete", "office"]), &["in use"]);
    contains(&gateway.fail(&["list", "show", "nothing"]), &["list list"]);
}
