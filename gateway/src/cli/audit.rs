//! `postern audit`: who changed what, and when.

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::names::{OWN, str_of, text};
use super::client::{Client, segment};
use super::output::table::harmless;
use super::output::{Output, json_text};

/// Entries that one request asks for.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Only changes by this actor: a part of `unix uid 0` or `token ID (NAME)`
    #[arg(long, value_name = "TEXT")]
    actor: Option<String>,
    /// Only changes of this kind of object: a part of `rule`, `client certificate`, `host`,
    /// `token`, …
    #[arg(long, value_name = "NOUN")]
    noun: Option<String>,
    /// Only changes of this object: a part of its id or name
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only changes since this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only changes until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The most changes to show, newest first
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Show each object before and after
    #[arg(long)]
    details: bool,
}

impl Audit {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut found: Vec<Value> = Vec::new();
        let mut cursor = None;
        while found.len() < limit {
            let (items, next) = client.page(&self.path(cursor.as_deref()))?;
            found.extend(items);
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(if json {
            json_text(&Value::Array(found))
        } else if found.is_empty() {
            "no change fits\n".into()
        } else {
            found
                .iter()
                .map(|entry| shown(entry, self.details))
                .collect()
        })
    }

    fn path(&self, cursor: Option<&str>) -> String {
        // A filter that everything fits: with one the answer has a cursor.
        let mut query = vec![format!(
            "since={}",
            segment(self.since.as_deref().unwrap_or("0000-01-01T00:00:00Z"))
        )];
        let more = [
            ("actor", self.actor.as_deref()),
            ("noun", self.noun.as_deref()),
            ("key", self.key.as_deref()),
            ("until", self.until.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in more {
            query.extend(value.map(|value| format!("{name}={}", segment(value))));
        }
        format!(
            "{OWN}/audit?per_page={}&{}",
            self.limit.min(PAGE),
            query.join("&")
        )
    }
}

fn shown(entry: &Value, details: bool) -> String {
    let mut out = String::new();
    let head = ["revision", "at", "actor"]
        .map(|key| text(entry, key))
        .join("  ");
    out.push_str(&format!("{}\n", harmless(&head)));
    for note in entry
        .get("changes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let (before, after) = (note.get("before"), note.get("after"));
        let sign = match (before, after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        let line = format!("  {sign} {} {}", str_of(note, "noun"), str_of(note, "key"));
        out.push_str(&format!("{}\n", harmless(&line)));
        if details {
            differences(before, after, &mut out);
        }
    }
    let omitted = text(entry, "omitted");
    if !omitted.is_empty() {
        out.push_str(&format!("  … and {} more\n", harmless(&omitted)));
    }
    out
}

/// Fields that are not the same before and after.
fn differences(before: Option<&Value>, after: Option<&Value>, out: &mut String) {
    let fields = |value: Option<&Value>| match value {
        Some(Value::Object(fields)) => fields.clone(),
        None => Map::new(),
        Some(other) => Map::from_iter([("is".to_owned(), other.clone())]),
    };
    let (old, new) = (fields(before), fields(after));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (was, is) = (old.get(name), new.get(name));
        if was == is {
            continue;
        }
        let brief = |value: Option<&Value>| match value {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => json!(other).to_string(),
        };
        let line = match (was, is) {
            (None, is) => format!("      {name}: {}", brief(is)),
            (was, None) => format!("      {name}: {} -> nothing", brief(was)),
            (was, is) => format!("      {name}: {} -> {}", brief(was), brief(is)),
        };
        out.push_str(&format!("{}\n", harmless(&line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_for_people() {
        let entry = json!({"revision": 7, "at": "2026-01-31T12:00:00.000000Z", "actor": "token a (ci\u{1b})",
            "changes": [
                {"noun": "rule", "key": "ab", "before": {"enabled": true, "action": "log"}, "after": {"enabled": false, "action": "log"}},
                {"noun": "host", "key": "a.test", "after": {"mtls": "off"}},
                {"noun": "token", "key": "t", "before": {"name": "x"}},
            ], "omitted": 3});
        assert_eq!(
            shown(&entry, false),
            "7  2026-01-31T12:00:00.000000Z  token a (ci\u{fffd})\n  ~ rule ab\n  + host a.test\n  - token t\n  … and 3 more\n"
        );
        assert_eq!(
            shown(&entry, true),
            "7  2026-01-31T12:00:00.000000Z  token a (ci\u{fffd})\n  ~ rule ab\n      enabled: true -> false\n  \
             + host a.test\n      mtls: off\n  - token t\n      name: x -> nothing\n  … and 3 more\n"
        );
    }
}
