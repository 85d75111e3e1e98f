//! `postern token`: tokens for clients that reach the admin API over TCP.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::Client;
use super::client::names::{OWN, ZoneRef, by_id, text};
use super::output::table::{Table, list};
use super::output::{Output, json_text};

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token; its secret is shown once and not kept
    Create {
        /// Its purpose, for people
        #[arg(value_name = "NAME")]
        name: String,
        /// Permissions besides reading
        #[arg(long, value_enum, value_delimiter = ',', default_value = "read")]
        scope: Vec<Scope>,
        /// Only for this zone, by name or id; repeatable [default: every zone]
        #[arg(long, value_name = "ZONE")]
        zone: Vec<String>,
        /// Days until it expires
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        days: u32,
    },
    /// List all tokens
    List,
    /// Remove a token; its next request is refused
    Delete {
        /// Its id, or the beginning of it
        #[arg(value_name = "TOKEN")]
        token: String,
    },
}

vocabulary::words! {
    #[derive(ValueEnum)]
    pub(super) enum Scope("a scope", without serde) {
        /// Reading only
        Read = "read",
        /// Issue, revoke and restore client certificates
        Certificates = "certificates",
        /// Change rules
        Rules = "rules",
        /// Everything, tokens included
        All = "all",
    }
}

impl Token {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Create {
                name,
                scope,
                zone,
                days,
            } => {
                let zones: Vec<String> = zone
                    .iter()
                    .map(|zone| ZoneRef::find(client, zone).map(|zone| zone.id))
                    .collect::<Result<_, _>>()?;
                let scopes: Vec<&str> = scope.iter().map(|scope| scope.as_str()).collect();
                let body = json!({ "name": name, "scopes": scopes, "zones": zones, "days": days });
                let made = client.post(&format!("{OWN}/tokens"), &body)?;
                if json {
                    return Ok(json_text(&made));
                }
                Ok(list(&[
                    ("token", text(&made, "value")),
                    ("id", text(&made, "id")),
                    ("expires", text(&made, "expires_on")),
                    (
                        "use",
                        "Authorization: Bearer TOKEN, at the address of `admin.listen`".into(),
                    ),
                ]))
            }
            Self::List => {
                let tokens = client.all(&format!("{OWN}/tokens"))?;
                if json {
                    return Ok(json_text(&Value::Array(tokens)));
                }
                let mut table = Table::new(&["ID", "NAME", "SCOPES", "STATUS", "EXPIRES"]);
                for token in &tokens {
                    let scopes = token
                        .get("scopes")
                        .and_then(Value::as_array)
                        .cloned()
                        .unwrap_or_default();
                    let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
                    table.row([
                        text(token, "id"),
                        text(token, "name"),
                        scopes.join(","),
                        text(token, "status"),
                        text(token, "expires_on"),
                    ]);
                }
                Ok(table.text("no tokens; `postern token create NAME` makes one"))
            }
            Self::Delete { token } => {
                let tokens = client.all(&format!("{OWN}/tokens"))?;
                let found = by_id(&tokens, &token, "token", "postern token list")?;
                let answer = client.delete(&format!("{OWN}/tokens/{}", text(found, "id")))?;
                Ok(if json {
                    json_text(&answer)
                } else {
                    format!("removed the token {}\n", text(found, "name"))
                })
            }
        }
    }
}
