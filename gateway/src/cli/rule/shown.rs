//! Rules as tables.

use serde_json::Value;

use super::phases::what;
use super::ruleset::rules_of;
use crate::cli::client::names::{str_of, text};
use crate::cli::output::table::{Table, harmless};
use crate::cli::output::{Output, json_text};

/// What a change did to one rule: a line that says so, and the rule with its place. Of a ruleset
/// with thousands of rules the others are no news.
pub(super) fn changed(ruleset: &Value, done: &str, id: &str, json: bool) -> Output {
    if json {
        return Ok(json_text(ruleset));
    }
    let rules = rules_of(ruleset);
    let mut numbered = rules.iter().enumerate();
    let Some((index, rule)) = numbered.find(|(_, rule)| str_of(rule, "id") == id) else {
        return Ok(format!("{done} the rule {}\n", harmless(id)));
    };
    let mut table = Table::new(&HEADING);
    table.row(row(index, rule));
    Ok(format!(
        "{done} #{} of {}\n{}",
        index + 1,
        rules.len(),
        table.text("")
    ))
}

const HEADING: [&str; 6] = ["#", "ID", "ENABLED", "ACTION", "EXPRESSION", "DESCRIPTION"];

fn row(index: usize, rule: &Value) -> [String; 6] {
    let enabled = rule.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    [
        (index + 1).to_string(),
        text(rule, "id"),
        if enabled { "yes".into() } else { "no".into() },
        what(rule),
        text(rule, "expression"),
        text(rule, "description"),
    ]
}

pub(crate) fn rules(all: &[Value]) -> String {
    let mut table = Table::new(&HEADING);
    for (index, rule) in all.iter().enumerate() {
        table.row(row(index, rule));
    }
    table.text("no rules: everything is forwarded; `postern rule add --zone ZONE --expression EXPRESSION` adds one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_shows_the_order() {
        let rule = |id: &str| json!({"id": id, "enabled": id != "c0", "action": "block", "expression": "ssl", "description": ""});
        assert_eq!(
            rules(&["a0", "a1", "c0"].map(rule)),
            "#  ID  ENABLED  ACTION  EXPRESSION  DESCRIPTION\n\
             1  a0  yes      block   ssl\n\
             2  a1  yes      block   ssl\n\
             3  c0  no       block   ssl\n"
        );
    }

    #[test]
    fn a_change_shows_one_rule_of_thousands() {
        let rules: Vec<Value> = (0..5_000)
            .map(|place| json!({"id": format!("r{place}"), "action": "block", "expression": "ssl"}))
            .collect();
        let ruleset = json!({ "rules": rules });
        assert_eq!(
            changed(&ruleset, "added", "r41", false).unwrap(),
            "added #42 of 5000\n\
             #   ID   ENABLED  ACTION  EXPRESSION  DESCRIPTION\n\
             42  r41  yes      block   ssl\n"
        );
        assert_eq!(
            changed(&ruleset, "moved", "gone", false).unwrap(),
            "moved the rule gone\n"
        );
        let told = changed(&ruleset, "added", "r41", true).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), ruleset);
    }
}
