//! Which crates must never be reached from which: a rule about all that is linked, ours or not.
//!
//! Follows what a build for this machine follows. Says the way, so that it can be cut.

use crate::metadata::{Kind, Resolved};
use std::collections::{HashMap, VecDeque};

/// From one of our crates no way may lead to any of these.
struct Wall {
    from: &'static str,
    never: &'static [&'static str],
    /// What its own tests need counts as well.
    tests_too: bool,
    why: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        from: "datapath",
        never: &["control", "admin", "fetch"],
        tests_too: false,
        why: "data path and control plane meet in `snapshot` only",
    },
    Wall {
        from: "http1",
        never: &[
            "chunked_list",
            "config",
            "control",
            "datapath",
            "ebpf",
            "rules",
            "snapshot",
            "tls",
            "hyper",
            "rustix",
            "socket2",
            "tokio",
            "tokio-uring",
            "tracing",
        ],
        tests_too: false,
        why: "HTTP/1.1 is bytes in and bytes out: no I/O, no clock, nothing of what it is used for",
    },
    Wall {
        from: "rules",
        never: &[
            "boring",
            "boring-sys",
            "cc",
            "cmake",
            "bindgen",
            "aya",
            "redb",
            "axum",
            "openssl-sys",
        ],
        tests_too: true,
        why: "`cargo test -p rules` needs no C compiler, no root and no minutes",
    },
];

/// Every way through a wall, one sentence each.
pub(super) fn breaches(resolved: &Resolved) -> Vec<String> {
    WALLS
        .iter()
        .flat_map(|wall| through(wall, resolved))
        .collect()
}

fn through(wall: &Wall, resolved: &Resolved) -> Vec<String> {
    let Wall { from, why, .. } = wall;
    let ours = |name: &str| {
        let mut packages = resolved.packages.iter();
        packages.position(|package| package.member && package.name == name)
    };
    let Some(start) = ours(from) else {
        return vec![format!(
            "the workspace has no crate `{from}`, from which xtask/src/graph/walls.rs bars the way \
             ({why}): mend the table"
        )];
    };
    let reached = reach(wall, resolved, start);
    let mut breaches: Vec<String> = reached
        .keys()
        .filter_map(|place| {
            let name = &*resolved.packages.get(*place)?.name;
            wall.never.contains(&name).then(|| {
                let way = way(resolved, &reached, *place);
                format!("`{from}` must not reach `{name}`, and does: {way} ({why})")
            })
        })
        .collect();
    breaches.sort();
    breaches
}

/// Every package that is reached, with the one it was reached from by the shortest way.
fn reach(wall: &Wall, resolved: &Resolved, start: usize) -> HashMap<usize, usize> {
    let mut reached = HashMap::from([(start, start)]);
    let mut queue = VecDeque::from([start]);
    while let Some(place) = queue.pop_front() {
        let needs = resolved.packages.get(place).map(|package| &package.needs);
        for (kind, need) in needs.into_iter().flatten() {
            // Tests of what is needed are not built.
            let built = *kind != Kind::Dev || wall.tests_too && place == start;
            if built && !reached.contains_key(need) {
                reached.insert(*need, place);
                queue.push_back(*need);
            }
        }
    }
    reached
}

fn way(resolved: &Resolved, reached: &HashMap<usize, usize>, end: usize) -> String {
    let mut way = vec![end];
    let mut place = end;
    while let Some(&before) = reached.get(&place) {
        if before == place {
            break;
        }
        way.push(before);
        place = before;
    }
    way.reverse();
    let names = way.iter().filter_map(|place| resolved.packages.get(*place));
    let names: Vec<&str> = names.map(|package| &*package.name).collect();
    names.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::breaches;
    use crate::metadata::tests::made_up;

    #[test]
    fn a_way_through_a_wall_is_named() {
        let sound = "datapath: snapshot\nsnapshot: rules\nrules: regex\ncontrol: snapshot\n\
                     admin: control\nfetch: control\nhttp1:\n--\nregex: dev:cc\ncc:\nboring:";
        for (change, to, expected) in [
            ("", "", &[][..]),
            (
                "snapshot: rules",
                "snapshot: rules control",
                &["`datapath` must not reach `control`, and does: datapath → snapshot → control"],
            ),
            (
                "regex: dev:cc",
                "regex: build:cc",
                &["`rules` must not reach `cc`, and does: rules → regex → cc"],
            ),
            (
                "rules: regex",
                "rules: regex dev:boring",
                &["`rules` must not reach `boring`, and does: rules → boring"],
            ),
            // What the data path's tests need is not in the data path.
            ("datapath: snapshot", "datapath: snapshot dev:control", &[]),
            (
                "datapath: snapshot",
                "datapath: admin",
                &[
                    "`datapath` must not reach `admin`, and does: datapath → admin",
                    "`datapath` must not reach `control`, and does: datapath → admin → control",
                ],
            ),
        ] {
            let (_, resolved) = made_up(&sound.replacen(change, to, 1));
            let found = breaches(&resolved);
            let bare = found
                .iter()
                .map(|b| b.split(" (").next().unwrap_or_default());
            assert_eq!(bare.collect::<Vec<_>>(), expected, "{change} to {to}");
        }
    }

    #[test]
    fn a_wall_that_guards_nothing_is_complained_about() {
        let (_, resolved) = made_up("rules:\nhttp1:\nother:");
        let found = breaches(&resolved);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("no crate `datapath`"), "{found:?}");
    }
}
