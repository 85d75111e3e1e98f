//! `postern list`: the lists of addresses, names and AS numbers that rules name as `$name`.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::names::{by_id, of_account, str_of, text};
use super::client::{Client, segment};
use super::output::confirm::counted;
use super::output::table::Table;
use super::output::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum Lists {
    /// List the lists
    List,
    /// Show the items of a list
    Show {
        /// Its name, id, or the beginning of that
        #[arg(value_name = "LIST")]
        list: String,
    },
    /// Create an empty list
    Create {
        /// Its name, as rules write it behind the `$`
        #[arg(value_name = "NAME")]
        name: String,
        /// What its items are
        #[arg(long, value_enum, default_value_t = Kind::Ip)]
        kind: Kind,
        /// A description for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
    },
    /// Add items; those that are there already stay
    Add {
        /// Its name, id, or the beginning of that
        #[arg(value_name = "LIST")]
        list: String,
        /// Addresses or networks, host names, or AS numbers
        #[arg(value_name = "ITEM", required = true)]
        items: Vec<String>,
        /// A comment for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
    },
    /// Remove items
    Remove {
        /// Its name, id, or the beginning of that
        #[arg(value_name = "LIST")]
        list: String,
        /// As `postern list show` writes them
        #[arg(value_name = "ITEM", required = true)]
        items: Vec<String>,
    },
    /// Delete a list that no rule names
    Delete {
        /// Its name, id, or the beginning of that
        #[arg(value_name = "LIST")]
        list: String,
    },
}

vocabulary::words! {
    #[derive(ValueEnum)]
    pub(super) enum Kind("a kind of list", without serde) {
        /// Addresses and networks
        Ip = "ip",
        /// Host names
        Hostname = "hostname",
        /// AS numbers
        Asn = "asn",
    }
}

impl Lists {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let path = path(client)?;
        let (answer, told) = match self {
            Self::List => {
                let all = client.get(&path)?;
                let mut table = Table::new(&["NAME", "KIND", "ITEMS", "RULES", "DESCRIPTION"]);
                for one in all.as_array().into_iter().flatten() {
                    table.row([
                        text(one, "name"),
                        text(one, "kind"),
                        text(one, "num_items"),
                        text(one, "num_referencing_filters"),
                        text(one, "description"),
                    ]);
                }
                let told = table.text("no lists; `postern list create NAME` makes one");
                (all, told)
            }
            Self::Show { list } => {
                let found = find(client, &path, &list)?;
                let items = items(client, &path, &found)?;
                let mut table = Table::new(&["ITEM", "COMMENT", "ADDED"]);
                for one in &items {
                    table.row([value(one), text(one, "comment"), text(one, "created_on")]);
                }
                let told = table.text("no items; `postern list add LIST ITEM` adds one");
                (Value::Array(items), told)
            }
            Self::Create {
                name,
                kind,
                description,
            } => {
                let body =
                    json!({ "name": name, "kind": kind.as_str(), "description": description });
                let made = client.post(&path, &body)?;
                let told = format!(
                    "made the list {name}; rules name it as `ip.src in ${name}` or the like\n"
                );
                (made, told)
            }
            Self::Add {
                list,
                items,
                comment,
            } => {
                let found = find(client, &path, &list)?;
                let body = items
                    .iter()
                    .map(|item| self::item(str_of(&found, "kind"), item, &comment))
                    .collect::<Result<Vec<_>, _>>()?;
                let path = format!("{path}/{}/items", segment(str_of(&found, "id")));
                let answer = client.post(&path, &Value::Array(body))?;
                (answer, format!("added {}\n", counted(items.len(), "item")))
            }
            Self::Remove { list, items } => {
                let found = find(client, &path, &list)?;
                let present = self::items(client, &path, &found)?;
                let mut ids = Vec::new();
                for item in &items {
                    let one = present.iter().find(|one| value(one) == *item);
                    let one = one.ok_or_else(|| {
                        CliError::Failed(format!(
                            "`{item}` is not in the list; `postern list show {list}` shows what is"
                        ))
                    })?;
                    ids.push(json!({ "id": text(one, "id") }));
                }
                let path = format!("{path}/{}/items", segment(str_of(&found, "id")));
                let answer = client.delete_with(&path, &json!({ "items": ids }))?;
                (
                    answer,
                    format!("removed {}\n", counted(items.len(), "item")),
                )
            }
            Self::Delete { list } => {
                let found = find(client, &path, &list)?;
                let id = segment(str_of(&found, "id"));
                let answer = client.delete(&format!("{path}/{id}"))?;
                (
                    answer,
                    format!("deleted the list {}\n", text(&found, "name")),
                )
            }
        };
        Ok(if json { json_text(&answer) } else { told })
    }
}

/// The path of lists: they belong to the one account.
fn path(client: &Client) -> Result<String, CliError> {
    of_account(client, "rules/lists")
}

fn find(client: &Client, path: &str, wanted: &str) -> Result<Value, CliError> {
    let all = client.get(path)?;
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    by_id(
        all,
        wanted.trim_start_matches('$'),
        "list",
        "postern list list",
    )
    .cloned()
}

/// All items of a list.
fn items(client: &Client, path: &str, list: &Value) -> Result<Vec<Value>, CliError> {
    let path = format!("{path}/{}/items?per_page=500", segment(str_of(list, "id")));
    let mut found = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let cursor = next.map(|next| format!("&cursor={}", segment(&next)));
        let (page, after) = client.page(&format!("{path}{}", cursor.unwrap_or_default()))?;
        found.extend(page);
        match after {
            Some(after) => next = Some(after),
            None => return Ok(found),
        }
    }
}

/// What an item is.
fn value(item: &Value) -> String {
    match item
        .pointer("/hostname/url_hostname")
        .and_then(Value::as_str)
    {
        Some(name) => name.to_owned(),
        None if item.get("asn").is_some() => text(item, "asn"),
        None => text(item, "ip"),
    }
}

/// An item as the API takes it.
fn item(kind: &str, text: &str, comment: &str) -> Result<Value, CliError> {
    let mut body = match kind {
        "hostname" => json!({ "hostname": { "url_hostname": text } }),
        "asn" => {
            let number = text
                .trim_start_matches("AS")
                .parse::<u32>()
                .map_err(|_no_number| {
                    CliError::Usage(format!("`{text}` is no AS number, such as `64500`"))
                })?;
            json!({ "asn": number })
        }
        _ => json!({ "ip": text }),
    };
    if let (Some(body), false) = (body.as_object_mut(), comment.is_empty()) {
        body.insert("comment".into(), comment.into());
    }
    Ok(body)
}
