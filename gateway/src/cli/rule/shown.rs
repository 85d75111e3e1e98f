//! How rules are shown to people.

use serde_json::Value;

use super::phases::what;
use super::ruleset::rules_of;
use crate::cli::client::names::text;
use crate::cli::output::table::Table;
use crate::cli::output::{Output, json_text};

pub(super) fn shown(ruleset: &Value, json: bool) -> Output {
    Ok(if json {
        json_text(ruleset)
    } else {
        rules(&rules_of(ruleset))
    })
}

pub(crate) fn rules(all: &[Value]) -> String {
    let mut table = Table::new(&["#", "ID", "ENABLED", "ACTION", "EXPRESSION", "DESCRIPTION"]);
    for (index, rule) in all.iter().enumerate() {
        let enabled = rule.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        table.row([
            (index + 1).to_string(),
            text(rule, "id"),
            if enabled { "yes".into() } else { "no".into() },
            what(rule),
            text(rule, "expression"),
            text(rule, "description"),
        ]);
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
}
