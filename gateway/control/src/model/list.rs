//! A list that rules refer to as `$name`.

use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::model::id::Id;
use crate::model::moment::Moment;

vocabulary::words! {
    /// What a list holds.
    pub enum ListKind("a kind of list") {
        /// Addresses and networks.
        Ip = "ip",
        /// Host names, exact or wildcards.
        Hostname = "hostname",
        /// AS numbers.
        Asn = "asn",
    }
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListItem {
    /// Its id.
    pub id: Id,
    /// As it was written.
    pub value: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When it was made.
    pub created_on: Moment,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRecord {
    /// Its id.
    pub id: Id,
    /// As rules write it, without the `$`.
    pub name: String,
    /// What it holds.
    pub kind: ListKind,
    /// For people.
    pub description: String,
    /// In the order in which they came.
    pub items: Vec<ListItem>,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

impl ListRecord {
    /// How many rules name it.
    #[must_use]
    pub fn references(&self, model: &Model) -> usize {
        let rules = model.rulesets.values().flat_map(|ruleset| &ruleset.rules);
        rules
            .filter(|rule| {
                let limit = rule.ratelimit.as_ref();
                let counted = limit.and_then(|limit| limit.get("counting_expression")?.as_str());
                names(&rule.expression, &self.name)
                    || counted.is_some_and(|text| names(text, &self.name))
            })
            .count()
    }
}

/// Whether an expression names `$list`. A string that happens to hold the same letters counts
/// too, which errs on the side of keeping the list.
fn names(expression: &str, list: &str) -> bool {
    expression.match_indices('$').any(|(place, _)| {
        let rest = expression.get(place + 1..).unwrap_or_default();
        rest.strip_prefix(list).is_some_and(|after| {
            !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_expressions() {
        for (expression, named) in [
            ("ip.src in $office", true),
            ("ip.src in $office and ssl", true),
            ("(ip.src in $office)", true),
            ("ip.src in $offices", false),
            ("ip.src in $office_2", false),
            ("ip.src in $off", false),
            ("http.host eq \"office\"", false),
            ("", false),
        ] {
            assert_eq!(names(expression, "office"), named, "{expression}");
        }
    }
}
