//! `postern rule versions`, `diff` and `restore`: earlier versions of a zone's rules.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::RulesArg;
use super::phases::what;
use super::ruleset::{Ruleset, rules_of};
use super::shown::rules;
use crate::cli::client::Client;
use crate::cli::client::names::{OWN, ZoneRef, str_of, text};
use crate::cli::output::table::{Table, harmless};
use crate::cli::output::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(crate) enum Versions {
    /// List the kept versions, newest first, or show the rules of one
    #[command(name = "versions")]
    List(Which),
    /// Show the differences between two versions: by default the newest and the one before it
    Diff(Diff),
    /// Restore the rules of an older version, as a new version
    Restore(Restore),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    rules: RulesArg,
    /// Show the rules of this version
    #[arg(value_name = "VERSION")]
    version: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    rules: RulesArg,
    /// The older version; by default the one before the other
    #[arg(value_name = "FROM")]
    from: Option<u32>,
    /// The newer version; by default the newest
    #[arg(value_name = "TO")]
    to: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    rules: RulesArg,
    /// The version to restore
    #[arg(value_name = "VERSION")]
    version: u32,
    /// Show what would change and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The zone and the id of its ruleset.
fn find(client: &Client, rules: &RulesArg) -> Result<(ZoneRef, String), CliError> {
    let zone = ZoneRef::find(client, &rules.zone.zone)?;
    match Ruleset::load(client, &zone, rules.phase)?.id {
        Some(id) => Ok((zone, id)),
        None => Err(CliError::Failed(
            "the zone has no rules yet, and so no versions of them".into(),
        )),
    }
}

fn differences(
    client: &Client,
    zone: &ZoneRef,
    ruleset: &str,
    from: Option<u32>,
    to: Option<u32>,
) -> Result<Value, CliError> {
    let mut query = Vec::new();
    for (name, version) in [("from", from), ("to", to)] {
        query.extend(version.map(|version| format!("{name}={version}")));
    }
    let path = format!("{OWN}/zones/{}/rulesets/{ruleset}/differences", zone.id);
    Ok(client.get(&format!("{path}?{}", query.join("&")))?)
}

impl Versions {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::List(which) => {
                let (zone, id) = find(client, &which.rules)?;
                let path = zone.path(&format!("rulesets/{id}/versions"));
                let found = match which.version {
                    None => client.get(&path)?,
                    Some(version) => client.get(&format!("{path}/{version}"))?,
                };
                Ok(match which.version {
                    _ if json => json_text(&found),
                    None => versions(&found),
                    Some(_) => rules(&rules_of(&found)),
                })
            }
            Self::Diff(diff) => {
                let (zone, id) = find(client, &diff.rules)?;
                let found = differences(client, &zone, &id, diff.from, diff.to)?;
                Ok(if json {
                    json_text(&found)
                } else {
                    shown(&found)
                })
            }
            Self::Restore(restore) => {
                let (zone, id) = find(client, &restore.rules)?;
                let newest = client.get(&zone.path(&format!("rulesets/{id}")))?;
                let now: Option<u32> = text(&newest, "version").parse().ok();
                let change = differences(client, &zone, &id, now, Some(restore.version))?;
                if restore.dry_run {
                    return Ok(if json {
                        json_text(&json!({ "restored": false, "differences": change }))
                    } else {
                        shown(&change)
                    });
                }
                let path = format!(
                    "{OWN}/zones/{}/rulesets/{id}/versions/{}/restore",
                    zone.id, restore.version
                );
                let made = client.post(&path, &json!({}))?;
                Ok(if json {
                    json_text(&made)
                } else {
                    let version = text(&made, "version");
                    format!(
                        "{}version {} is back as version {}\n",
                        shown(&change),
                        restore.version,
                        harmless(&version)
                    )
                })
            }
        }
    }
}

fn versions(found: &Value) -> String {
    let mut table = Table::new(&["VERSION", "MADE", "NAME", "DESCRIPTION"]);
    for one in found.as_array().into_iter().flatten() {
        table.row(["version", "last_updated", "name", "description"].map(|key| text(one, key)));
    }
    table.text("no versions")
}

/// The fields of a rule that people change.
const FIELDS: [&str; 8] = [
    "expression",
    "action",
    "action_parameters",
    "ratelimit",
    "enabled",
    "description",
    "ref",
    "logging",
];

fn shown(found: &Value) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&harmless(&text));
        out.push('\n');
    };
    for field in ["name", "description"] {
        if let Some(change) = found.pointer(&format!("/changed/{field}")) {
            let (before, after) = (text(change, "before"), text(change, "after"));
            line(format!("~ {field}: {before} -> {after}"));
        }
    }
    for rule in found
        .get("rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let at = |side: &str| rule.get(side).unwrap_or(&Value::Null);
        let side = if at("after").is_null() {
            "before"
        } else {
            "after"
        };
        let record = at(side).get("rule").unwrap_or(&Value::Null);
        let place = |side: &str| text(at(side), "position");
        let named = format!("{} {}", what(record), text(record, "expression"));
        match str_of(rule, "kind") {
            "added" => line(format!("+ #{} {named}", place("after"))),
            "removed" => line(format!("- #{} {named}", place("before"))),
            kind => {
                let is_moved = rule.get("moved").and_then(Value::as_bool) == Some(true);
                let from = if is_moved {
                    format!(" from #{}", place("before"))
                } else {
                    String::new()
                };
                let sign = if kind == "changed" { '~' } else { '>' };
                line(format!("{sign} #{}{from} {named}", place("after")));
                let before = at("before").get("rule").unwrap_or(&Value::Null);
                for field in FIELDS {
                    let (old, new) = (text(before, field), text(record, field));
                    if old != new {
                        line(format!("    {field}: {old} -> {new}"));
                    }
                }
            }
        }
    }
    if out.is_empty() {
        out.push_str("nothing differs\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_for_people() {
        let rule = |expression: &str, enabled: bool| json!({"expression": expression, "action": "block", "enabled": enabled});
        let side = |position: u32, rule: Value| json!({"position": position, "rule": rule});
        let found = json!({
            "changed": {"name": {"before": "default", "after": "shop"}},
            "rules": [
                {"kind": "removed", "before": side(1, rule("a", true)), "after": null},
                {"kind": "added", "before": null, "after": side(1, rule("b\u{1b}", true))},
                {"kind": "changed", "moved": true, "before": side(3, rule("c", true)), "after": side(2, rule("c", false))},
                {"kind": "moved", "moved": true, "before": side(4, rule("d", true)), "after": side(3, rule("d", true))},
            ],
        });
        assert_eq!(
            shown(&found),
            "~ name: default -> shop\n\
             - #1 block a\n\
             + #1 block b\u{fffd}\n\
             ~ #2 from #3 block c\n    enabled: true -> false\n\
             > #3 from #4 block d\n"
        );
        assert_eq!(
            shown(&json!({"changed": {}, "rules": []})),
            "nothing differs\n"
        );
    }
}
