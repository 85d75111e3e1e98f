//! Look-ups of zones, rules and certificates by name, number or the beginning of an id.
//!
//! Owns the paths of the API that the commands use. Prints nothing.

use serde_json::Value;

use super::{Client, segment};
use crate::cli::output::CliError;

/// A field of an object as text; empty when it is not there.
pub(crate) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// As [`text`], with `none` where there is nothing.
pub(crate) fn text_or_none(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(_) => text(value, key),
    }
}

/// The texts in a list of an answer.
pub(crate) fn texts_of<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    let all = value.get(key).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str)
}

/// What an answer warns of, a line each.
pub(crate) fn warnings(value: &Value) -> String {
    texts_of(value, "warnings")
        .map(|warning| format!("warning: {warning}\n"))
        .collect()
}

/// A field of an object as borrowed text; empty when it is not there.
pub(crate) fn str_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Cloudflare's base path.
pub(crate) const CLOUDFLARE: &str = "/client/v4";
/// What Cloudflare has no resource for.
pub(crate) const OWN: &str = "/postern/v1";

/// The path of something that belongs to the one account.
pub(crate) fn of_account(client: &Client, rest: &str) -> Result<String, CliError> {
    let accounts = client.get(&format!("{CLOUDFLARE}/accounts"))?;
    let account = accounts.get(0).map_or("", |one| str_of(one, "id"));
    Ok(format!("{CLOUDFLARE}/accounts/{}/{rest}", segment(account)))
}

/// As [`of_account`], for who does not wait.
pub(crate) fn of_account_within(client: &Client, rest: &str) -> Option<String> {
    let accounts = client.ask(&format!("{CLOUDFLARE}/accounts"))?;
    let account = accounts.get(0).map_or("", |one| str_of(one, "id"));
    Some(format!("{CLOUDFLARE}/accounts/{}/{rest}", segment(account)))
}

/// A zone as the API answers it.
pub(crate) struct ZoneRef {
    pub(crate) id: String,
    pub(crate) value: Value,
}

impl ZoneRef {
    /// Finds a zone by its name or id.
    pub(crate) fn find(client: &Client, name: &str) -> Result<Self, CliError> {
        let by_id = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let found = if by_id {
            Some(client.get(&format!("{CLOUDFLARE}/zones/{name}"))?)
        } else {
            let wanted = name.trim_end_matches('.').to_ascii_lowercase();
            let zones = client.all(&format!("{CLOUDFLARE}/zones?name={}", segment(&wanted)))?;
            zones
                .into_iter()
                .find(|zone| str_of(zone, "name") == wanted)
        };
        match found {
            Some(value) => Ok(Self {
                id: text(&value, "id"),
                value,
            }),
            None => Err(CliError::Failed(format!(
                "there is no zone `{name}`; `postern zone list` shows all, `postern zone create {name}` makes it"
            ))),
        }
    }

    /// A path below this zone in Cloudflare's part of the API.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{CLOUDFLARE}/zones/{}/{rest}", self.id)
    }

    /// A path below this zone in our own part of the API.
    pub(crate) fn own(&self, rest: &str) -> String {
        format!("{OWN}/zones/{}/{rest}", self.id)
    }
}

/// The one of `items` that `wanted` means by its name or ref, its id or the beginning of that.
pub(crate) fn by_id<'v>(
    items: &'v [Value],
    wanted: &str,
    noun: &str,
    list: &str,
) -> Result<&'v Value, CliError> {
    let named = |item: &&Value| {
        ["name", "ref"]
            .iter()
            .any(|key| str_of(item, key) == wanted)
    };
    let mut matches: Vec<&Value> = items.iter().filter(named).collect();
    if matches.is_empty() {
        let begins = |item: &&Value| str_of(item, "id").starts_with(wanted);
        matches = items.iter().filter(begins).collect();
    }
    match matches.as_slice() {
        [one] if !wanted.is_empty() => Ok(one),
        [] => Err(CliError::Failed(format!(
            "there is no {noun} `{wanted}`; `{list}` shows all"
        ))),
        many => Err(CliError::Failed(format!(
            "`{wanted}` means {} {noun}s; write more of an id",
            many.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn beginnings_of_ids() {
        let items = [
            json!({"id": "abc1"}),
            json!({"id": "abc2"}),
            json!({"id": "f0"}),
        ];
        assert_eq!(by_id(&items, "f", "rule", "l").unwrap()["id"], "f0");
        assert_eq!(by_id(&items, "abc2", "rule", "l").unwrap()["id"], "abc2");
        for wanted in ["abc", "", "x"] {
            assert!(by_id(&items, wanted, "rule", "l").is_err(), "{wanted}");
        }
    }

    #[test]
    fn fields() {
        let value = json!({"a": "x", "b": 7, "c": null, "d": true});
        assert_eq!(
            ["a", "b", "c", "d", "e"].map(|key| text(&value, key)),
            ["x", "7", "", "true", ""]
        );
        assert_eq!(segment("a b/ü"), "a%20b%2F%C3%BC");
    }
}
