//! Fields about where an address is: with a database, without one, and where it does not know.

use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::{Certificate, World, block};
use crate::geo::Geo;
use crate::testing::database;
use crate::{ConnectionState, Decision, List, Lists, Program, decide_on};

/// Knows some of the addresses that random requests come from, by words that random expressions
/// speak of.
pub(crate) fn database() -> Arc<Geo> {
    static DATABASE: LazyLock<Arc<Geo>> = LazyLock::new(|| {
        let database = database::database(&[
            (
                "203.0.113.0/25",
                json!({
                    "autonomous_system_number": 64496,
                    "city": { "names": { "en": "ab" } },
                    "continent": { "code": "EU" },
                    "country": { "iso_code": "GB" },
                    "subdivisions": [{ "iso_code": "ENG", "names": { "en": "England" } }],
                }),
            ),
            (
                "2001:db8::/32",
                json!({
                    "autonomous_system_number": 443,
                    "country": { "iso_code": "x", "is_in_european_union": true },
                }),
            ),
        ]);
        Arc::new(Geo::new([database]).unwrap().unwrap())
    });
    DATABASE.clone()
}

fn world(source: &str, geo: bool) -> World {
    let mut world = World::new(Certificate::None, "a.example", "/");
    world.connection.source = source.parse().unwrap();
    world.connection.geo = geo.then(database);
    world
}

#[test]
fn places_and_the_lack_of_them() {
    let known = world("203.0.113.9:1", true);
    let mapped = world("[::ffff:203.0.113.9]:1", true);
    let union = world("[2001:db8::9]:1", true);
    let unknown = world("10.0.0.1:1", true);
    let without = world("203.0.113.9:1", false);
    let worlds = [&known, &mapped, &union, &unknown, &without];
    for (expression, expected) in [
        (
            "ip.src.country eq \"GB\"",
            [true, true, false, false, false],
        ),
        (
            "ip.geoip.country eq \"GB\"",
            [true, true, false, false, false],
        ),
        // Missing: a comparison with it is false, `ne` too, and its opposite true.
        (
            "ip.src.country ne \"GB\"",
            [false, false, true, false, false],
        ),
        (
            "not ip.src.country eq \"GB\"",
            [false, false, true, true, true],
        ),
        ("ip.src.asnum eq 64496", [true, true, false, false, false]),
        (
            "ip.geoip.asnum in {443..444}",
            [false, false, true, false, false],
        ),
        (
            "ip.src.continent in {\"EU\" \"OC\"}",
            [true, true, false, false, false],
        ),
        ("ip.src.city eq \"ab\"", [true, true, false, false, false]),
        (
            "ip.src.region eq \"England\"",
            [true, true, false, false, false],
        ),
        (
            "ip.src.region_code eq \"ENG\"",
            [true, true, false, false, false],
        ),
        (
            "ip.src.is_in_european_union",
            [false, false, true, false, false],
        ),
        (
            "not ip.src.is_in_european_union",
            [true, true, false, true, true],
        ),
        (
            "ip.src.subdivision_1_iso_code eq \"GB-ENG\"",
            [true, true, false, false, false],
        ),
        // Documented: empty, not missing.
        (
            "ip.src.subdivision_1_iso_code eq \"\"",
            [false, false, true, true, true],
        ),
        ("ip.geoip.subdivision_2_iso_code eq \"\"", [true; 5]),
        (
            "lower(ip.src.country) eq \"gb\"",
            [true, true, false, false, false],
        ),
    ] {
        assert_eq!(
            worlds.map(|world| world.holds(expression)),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn lists_of_numbers() {
    let mut lists = Lists::default();
    lists
        .insert("networks", List::asn(["64496", "1"]).unwrap())
        .unwrap();
    let rules = [block("a", "ip.src.asnum in $networks")];
    let program = Program::compile_with(&rules, &lists).unwrap();
    for (source, geo, expected) in [
        ("203.0.113.9:1", true, true),
        ("203.0.113.9:1", false, false),
        ("[2001:db8::9]:1", true, false),
        ("10.0.0.1:1", true, false),
    ] {
        let blocked = world(source, geo).decide(&program).0.is_some();
        assert_eq!(blocked, expected, "{source} {geo}");
    }
}

#[test]
fn an_address_is_looked_up_when_a_rule_asks_and_then_kept() {
    let world = world("203.0.113.9:1", true);
    for (expression, looks) in [
        ("ip.src in {203.0.113.0/24}", false),
        (
            "http.request.method eq \"PUT\" and ip.src.country eq \"GB\"",
            true,
        ),
        ("ip.src.country eq \"GB\"", true),
    ] {
        let program = Program::compile(&[block("a", expression)]).unwrap();
        let state = ConnectionState::default();
        for _ in 0..2 {
            let decision = decide_on(
                &program,
                &world.connection,
                &state,
                &world.request(),
                &mut |_| {},
            );
            let blocked = matches!(decision, Decision::Block { .. });
            assert_eq!(blocked, world.holds(expression), "{expression}");
            assert_eq!(state.values.has_looked(), looks, "{expression}");
        }
    }
}
