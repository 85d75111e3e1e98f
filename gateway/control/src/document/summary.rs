//! The differences between two documents, in the document's own words.
//!
//! Owns their order and grain: one entry for each thing, with the fields that differ; rules by
//! position. Never shows a private key.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Document;
use crate::model::Phase;

/// What becomes of one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DocumentChange {
    /// `create`, `change` or `remove`.
    pub action: &'static str,
    /// `list`, `CA`, `zone`, `origin`, `host`, `server certificate`, `association`, `ruleset`, `rule`,
    /// `rate limit`, `header rule`.
    pub noun: &'static str,
    /// Its zone, of what is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its name; a rule's place, from 1.
    pub key: String,
    /// What it was; of a change, only the fields that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it will be; of a change, only the fields that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

type Things = BTreeMap<(usize, Option<String>, &'static str, String), Value>;

fn value(thing: &impl Serialize) -> Value {
    serde_json::to_value(thing).unwrap_or_default()
}

/// Everything but rules, in the order in which it is told.
fn things(document: &Document) -> Things {
    let mut found = Things::new();
    for list in document.lists.iter().flatten() {
        found.insert((0, None, "list", list.name.clone()), value(list));
    }
    for ca in document.authorities.iter().flatten() {
        let print = super::export::fingerprints(&ca.certificate).unwrap_or_default();
        let key = format!(
            "{} {}",
            ca.name.as_deref().unwrap_or_default(),
            print
                .first()
                .map_or("", |print| print.get(..16).unwrap_or(print))
        );
        found.insert((1, None, "CA", key.trim().to_owned()), value(ca));
    }
    for zone in document.zones.iter().flatten() {
        let at = |order, noun, key: &str| (order, Some(zone.name.clone()), noun, key.to_owned());
        found.insert(
            (2, None, "zone", zone.name.clone()),
            Value::Object(Map::new()),
        );
        for one in zone.server_certificates.iter().flatten() {
            let print = super::export::fingerprints(&one.certificate).unwrap_or_default();
            let key = print.first().map_or("", String::as_str);
            let mut shown = one.clone();
            shown.key = None;
            found.insert(at(3, "server certificate", key), value(&shown));
        }
        for one in zone.associations.iter().flatten() {
            found.insert(at(4, "association", &one.authority), value(one));
        }
        for one in zone.origins.iter().flatten() {
            found.insert(at(5, "origin", &one.name), value(one));
        }
        for one in zone.hosts.iter().flatten() {
            found.insert(at(6, "host", &one.name), value(one));
        }
        if let Some(ruleset) = &zone.ruleset {
            found.insert(at(7, "ruleset", "custom rules"), value(ruleset));
        }
    }
    found
}

/// The fields of two objects that differ.
fn fields(before: &Value, after: &Value) -> (Value, Value) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before.clone(), after.clone());
    };
    let only = |of: &Map<String, Value>, other: &Map<String, Value>| {
        let fields = of
            .iter()
            .filter(|(key, value)| other.get(*key) != Some(*value));
        Value::Object(
            fields
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    };
    (only(old, new), only(new, old))
}

fn rules(before: &Document, after: &Document, phase: Phase, out: &mut Vec<DocumentChange>) {
    let noun = match phase {
        Phase::HttpRequestFirewallCustom => "rule",
        Phase::HttpRatelimit => "rate limit",
        Phase::HttpRequestLateTransform => "header rule",
        Phase::HttpRequestDynamicRedirect => "redirect",
        Phase::HttpRequestOrigin => "origin rule",
        Phase::HttpResponseHeadersTransform => "response header rule",
    };
    let of = |document: &Document| -> BTreeMap<String, Vec<Value>> {
        let zones = document.zones.iter().flatten();
        let rules = zones.map(|zone| {
            let (rules, _) = zone.rules_of(phase);
            let rules = rules.into_iter().flatten().map(value).collect();
            (zone.name.clone(), rules)
        });
        rules.collect()
    };
    let (old, new) = (of(before), of(after));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let old = old.get(name).map(Vec::as_slice).unwrap_or_default();
        let new = new.get(name).map(Vec::as_slice).unwrap_or_default();
        let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let most = old.len().min(new.len()) - front;
        let pairs = old.iter().rev().zip(new.iter().rev()).take(most);
        let back = pairs.take_while(|(a, b)| a == b).count();
        let mut tell = |action, place: usize, before: Option<&Value>, after: Option<&Value>| {
            out.push(DocumentChange {
                action,
                noun,
                zone: Some(name.clone()),
                key: (place + 1).to_string(),
                before: before.cloned(),
                after: after.cloned(),
            });
        };
        let middle = |of: &[Value]| front..of.len() - back;
        for (place, rule) in old.iter().enumerate() {
            if middle(old).contains(&place) {
                tell("remove", place, Some(rule), None);
            }
        }
        for (place, rule) in new.iter().enumerate() {
            if middle(new).contains(&place) {
                tell("create", place, None, Some(rule));
            }
        }
    }
}

/// What leads from one document to the other.
pub(super) fn changes(before: &Document, after: &Document) -> Vec<DocumentChange> {
    let (mut old, new) = (things(before), things(after));
    let mut found = Vec::new();
    for (place, after) in &new {
        let before = old.remove(place);
        let (action, before, after) = match before {
            None => ("create", None, after.clone()),
            Some(before) if before == *after => continue,
            Some(before) => {
                let (before, after) = fields(&before, after);
                ("change", Some(before), after)
            }
        };
        found.push((place.clone(), action, before, Some(after)));
    }
    for (place, before) in old {
        found.push((place, "remove", Some(before), None));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut changes: Vec<DocumentChange> = found
        .into_iter()
        .map(
            |((_, zone, noun, key), action, before, after)| DocumentChange {
                action,
                noun,
                zone,
                key,
                before,
                after,
            },
        )
        .collect();
    for phase in Phase::ALL {
        rules(before, after, phase, &mut changes);
    }
    changes
}
