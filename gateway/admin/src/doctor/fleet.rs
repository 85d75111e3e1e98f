//! How this gateway stands to its fleet, as the API tells it: each check makes one finding.

use serde_json::Value;

use super::checks::list_of;
use super::report::{Finding, State};
use super::{Ask, OWN, get, str_of, text};
use crate::fleet::{FleetCredential, FleetState};
use crate::limits::{DOCTOR_FLEET_AGE_SEC, EXPIRY_WARNING_DAYS};
use control::Moment;

const STANDING: &str = "fleet";
const KEY: &str = "key file";
const FORMAT: &str = "store format";
const CREDENTIALS: &str = "etcd credentials";
const ALONE: &str = "held alone";
const LEADER: &str = "leader";
const OTHERS: &str = "other edges";

/// The fleet's name and what is found of it; nothing where there is no fleet.
///
/// # Errors
/// The API does not answer.
pub fn examine_fleet<A: Ask>(ask: &A) -> Result<Option<(String, Vec<Finding>)>, A::Error> {
    let shown = get(ask, &format!("{OWN}/fleet"))?;
    let found = examine(&shown, Moment::now().seconds());
    Ok((!found.is_empty()).then(|| (text(&shown, "name"), found)))
}

fn examine(shown: &Value, now: i64) -> Vec<Finding> {
    let state = FleetState::ALL;
    let state = state
        .into_iter()
        .find(|state| state.as_str() == str_of(shown, "state"));
    let Some(state) = state.filter(|state| *state != FleetState::Off) else {
        return Vec::new();
    };
    let mut found = vec![standing(shown, state)];
    found.extend(founded(shown));
    found.extend(credentials(shown, now));
    if state != FleetState::Alone {
        found.extend(held_alone(shown));
        found.extend(leader(shown, state));
        found.extend(others(shown));
    }
    found
}

fn standing(shown: &Value, state: FleetState) -> Finding {
    let (name, edge, why) = (text(shown, "name"), text(shown, "edge"), text(shown, "why"));
    let age = shown.get("age_seconds").and_then(Value::as_f64);
    let age = age.unwrap_or_default();
    let by_age = match age > DOCTOR_FLEET_AGE_SEC {
        true => State::Bad,
        false => State::Doubt,
    };
    let revision = text(shown, "revision");
    match state {
        FleetState::Current | FleetState::Off => Finding::good(
            STANDING,
            format!("{edge} has all that {name} has (revision {revision})"),
        ),
        FleetState::Alone => {
            let is_founded = shown.get("founded").is_some_and(Value::is_object);
            let mend = match (
                is_founded,
                shown.get("edges_error").is_some_and(Value::is_string),
            ) {
                (true, _) => "postern fleet join",
                (false, false) => "postern fleet init",
                (false, true) => {
                    "see that etcd answers, then `postern fleet join` or `postern fleet init`"
                }
            };
            let said = format!(
                "{name} is configured, and this gateway is not in it: nothing that is changed elsewhere is in force here"
            );
            Finding::new(STANDING, State::Doubt, said, mend)
        }
        FleetState::Behind => {
            let head = text(shown, "head");
            let said = format!("{edge} reads what it has not got: revision {revision} of {head}");
            let mend = "wait; if it stays so, see that etcd and this machine have time for it";
            Finding::new(STANDING, by_age, said, mend)
        }
        FleetState::Away => {
            let said = format!(
                "etcd has not answered for {age:.0} s ({why}): what is changed elsewhere is not in force here, and \
                 changes are refused"
            );
            let members: Vec<&str> = list_of(shown, "etcd")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let mend = format!(
                "see that etcd runs and can be reached from here ({})",
                members.join(", ")
            );
            Finding::new(STANDING, by_age, said, mend)
        }
        FleetState::Stuck => {
            let said = format!("{edge} does not go on, and what it has is {age:.0} s old: {why}");
            Finding::new(STANDING, State::Bad, said, "postern fleet status")
        }
    }
}

/// Whether this gateway could be an edge of what etcd has.
fn founded(shown: &Value) -> Vec<Finding> {
    let Some(founded) = shown.get("founded").filter(|founded| founded.is_object()) else {
        return Vec::new();
    };
    let fits = |what: &str| founded.get(what).and_then(Value::as_bool) == Some(true);
    let key = match fits("key_fits") {
        true => Finding::good(KEY, "it is the fleet's"),
        false => Finding::new(
            KEY,
            State::Bad,
            "it is not the fleet's: nothing that the others change can be opened here",
            "stop postern, put the key file of an edge of the fleet (ca.key, or what ca.key_file names) in its \
             place, and remove or restore the store that was made with the other",
        ),
    };
    let mut found = vec![key];
    if !fits("format_fits") {
        let said = format!(
            "the fleet's stores have format {}, and this version of postern has another",
            text(founded, "store_format")
        );
        let mend = "run the version of the other edges here, or move the fleet to the newer one";
        found.push(Finding::new(FORMAT, State::Bad, said, mend));
    }
    found
}

/// What etcd is reached with, as long as it holds.
fn credentials(shown: &Value, now: i64) -> Vec<Finding> {
    let all = list_of(shown, "credentials").iter();
    let all = all.filter_map(|one| {
        let ends = one.get("ends").and_then(Value::as_i64)?;
        let (what, keys) = match str_of(one, "kind") {
            kind if kind == FleetCredential::Ca.as_str() => {
                ("the CA of etcd's members", "`fleet.ca_file`")
            }
            _ => (
                "the certificate that this edge shows etcd",
                "`fleet.certificate` and `fleet.key`",
            ),
        };
        let until = Moment::from_seconds(ends).to_second();
        if ends > now + i64::from(EXPIRY_WARNING_DAYS) * 86_400 {
            let said = format!("{what} holds until {until}");
            return Some(Finding::good(CREDENTIALS, said));
        }
        let (state, said) = match ends > now {
            true => (State::Doubt, format!("{what} ends on {until}")),
            false => (State::Bad, format!("{what} ended on {until}")),
        };
        let mend = format!("put new ones where {keys} says, then `postern upgrade` reads them");
        Some(Finding::new(CREDENTIALS, state, said, mend))
    });
    all.collect()
}

fn held_alone(shown: &Value) -> Option<Finding> {
    let held = list_of(shown, "alone").len();
    (held > 0).then(|| {
        let said = format!(
            "{held} revocations and denials hold on this edge alone: the others believe these certificates"
        );
        let mend = "they become the fleet's once this edge has all that etcd has";
        Finding::new(ALONE, State::Doubt, said, mend)
    })
}

/// Only where it is known.
fn leader(shown: &Value, state: FleetState) -> Option<Finding> {
    if state != FleetState::Current {
        return None;
    }
    Some(match str_of(shown, "leader") {
        "" => Finding::new(
            LEADER,
            State::Doubt,
            "nobody leads: lists are not fetched, certificates not renewed, ticket keys not rotated",
            "wait some seconds; if it stays so, see what the logs of the edges say",
        ),
        leader => Finding::good(LEADER, format!("{leader} leads")),
    })
}

/// What the others have said of themselves.
fn others(shown: &Value) -> Vec<Finding> {
    let own = text(shown, "edge");
    let others = list_of(shown, "edges").iter();
    let others = others.filter(|edge| str_of(edge, "name") != own);
    let found = others.filter_map(|edge| {
        let (name, state) = (str_of(edge, "name"), str_of(edge, "state"));
        if edge.get("alive").and_then(Value::as_bool) != Some(true) {
            let at = edge.get("at").and_then(Value::as_i64).unwrap_or_default();
            let said = format!(
                "{name} has not been heard of since {}",
                Moment::from_seconds(at).to_second()
            );
            let mend = format!("start it; if it is gone for good, postern fleet forget {name}");
            return Some(Finding::new(OTHERS, State::Doubt, said, mend));
        }
        (state == FleetState::Stuck.as_str()).then(|| {
            let said = format!("{name} says that it does not go on");
            Finding::new(OTHERS, State::Doubt, said, "`postern doctor` there")
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn shown(state: &str) -> Value {
        json!({
            "state": state, "why": null, "name": "prod", "edge": "a", "revision": 7, "head": 9,
            "age_seconds": 0.2, "leader": "b", "etcd": ["https://etcd-1:2379"],
            "credentials": [], "alone": [], "edges_error": null,
            "founded": { "store_format": 4, "format_fits": true, "key_fits": true },
            "edges": [{ "name": "a", "alive": true, "state": state },
                      { "name": "b", "alive": true, "state": "current" }],
        })
    }

    /// The worst of each check, without those that are well.
    fn amiss(shown: &Value) -> Vec<(&'static str, State)> {
        let found = examine(shown, NOW);
        for one in &found {
            assert_eq!(one.state == State::Good, one.mend.is_empty(), "{one:?}");
        }
        let found = found.iter().filter(|one| one.state != State::Good);
        found.map(|one| (one.check, one.state)).collect()
    }

    fn with(state: &str, changed: &[(&str, Value)]) -> Vec<(&'static str, State)> {
        let mut shown = shown(state);
        for (name, value) in changed {
            shown[*name] = value.clone();
        }
        amiss(&shown)
    }

    #[test]
    fn a_gateway_without_a_fleet_has_nothing_to_say_of_it() {
        assert!(examine(&shown("off"), NOW).is_empty());
        assert_eq!(with("current", &[]), []);
        let good = examine(&shown("current"), NOW);
        let checks: Vec<_> = good.iter().map(|one| one.check).collect();
        assert_eq!(checks, [STANDING, KEY, LEADER]);
    }

    #[test]
    fn what_keeps_changes_away_is_told_and_is_bad_when_it_is_old() {
        let old = [("age_seconds", json!(61.0))];
        for state in ["away", "behind"] {
            assert_eq!(with(state, &[]), [(STANDING, State::Doubt)], "{state}");
            assert_eq!(with(state, &old), [(STANDING, State::Bad)], "{state}");
        }
        let why = [("why", json!("the log is older"))];
        assert_eq!(with("stuck", &why), [(STANDING, State::Bad)]);
        let said = &examine(&shown("away"), NOW)[0];
        assert!(said.mend.contains("https://etcd-1:2379"), "{said:?}");
        assert_eq!(
            with("current", &[("leader", Value::Null)]),
            [(LEADER, State::Doubt)]
        );
        let held = [("alone", json!([{}, {}]))];
        assert_eq!(with("current", &held), [(ALONE, State::Doubt)]);
    }

    #[test]
    fn one_that_is_not_in_its_fleet_yet_is_told_how_it_gets_there() {
        let mend = |founded: Value, error: Value| {
            let mut shown = shown("alone");
            shown["founded"] = founded;
            shown["edges_error"] = error;
            examine(&shown, NOW)[0].mend.clone()
        };
        let founded = json!({ "store_format": 4, "format_fits": true, "key_fits": true });
        assert_eq!(mend(founded, Value::Null), "postern fleet join");
        assert_eq!(mend(Value::Null, Value::Null), "postern fleet init");
        assert!(mend(Value::Null, json!("refused")).contains("see that etcd answers"));
        let other = json!({ "store_format": 9, "format_fits": false, "key_fits": false });
        let found = with("alone", &[("founded", other)]);
        let wanted = [
            (STANDING, State::Doubt),
            (KEY, State::Bad),
            (FORMAT, State::Bad),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_etcd_is_reached_with_is_warned_of_before_it_ends() {
        let ends = |kind: &str, days: i64| json!([{ "kind": kind, "ends": NOW + days * 86_400 }]);
        for kind in ["ca", "certificate"] {
            for (days, state) in [(31, None), (29, Some(State::Doubt)), (-1, Some(State::Bad))] {
                let found = with("current", &[("credentials", ends(kind, days))]);
                let wanted: Vec<_> = state
                    .map(|state| (CREDENTIALS, state))
                    .into_iter()
                    .collect();
                assert_eq!(found, wanted, "{kind}, {days}");
            }
        }
    }

    #[test]
    fn others_that_are_dead_or_stuck_are_named() {
        let edges = json!([
            { "name": "a", "alive": false, "at": 1, "state": "current" },
            { "name": "b", "alive": false, "at": 1, "state": "current" },
            { "name": "c", "alive": true, "at": 1, "state": "stuck" },
        ]);
        let mut shown = shown("current");
        shown["edges"] = edges;
        let found = examine(&shown, NOW);
        let others: Vec<_> = found.iter().filter(|one| one.check == OTHERS).collect();
        assert_eq!(others.len(), 2, "{others:?}");
        assert!(others[0].mend.contains("fleet forget b"), "{others:?}");
        assert!(others[1].said.starts_with("c "), "{others:?}");
    }
}
