//! `postern fleet`: the edges that share one log of changes.
//!
//! Owns the words. What is done is the gateway's, and etcd's.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::names::{OWN, str_of, text};
use super::client::{Client, segment};
use super::output::table::{Table, harmless};
use super::output::{CliError, Output, json_text};

/// Keep several gateways the same: a change on any of them is in force on all within a second
///
/// The edges share a log of changes in etcd (`fleet.name`, `fleet.etcd`), and each has a whole copy: one
/// that cannot reach etcd goes on with what it has.
#[derive(Debug, Subcommand)]
pub(super) enum Fleet {
    /// Found the configured fleet with what this gateway has
    Init {
        /// In the place of one of this name whose stores have another format than this version's: after all
        /// edges were upgraded
        #[arg(long)]
        replace: bool,
    },
    /// Join the configured fleet: what it has takes the place of what this gateway has
    ///
    /// The key file of the fleet (`ca.key` beside the store, or `ca.key_file`) has to be here before.
    Join {
        /// Throw away what this gateway has and the fleet has not; a backup is made first
        #[arg(long)]
        replace: bool,
    },
    /// Leave the fleet; this gateway keeps what it has, and goes on alone
    Leave,
    /// Show how this edge stands to its fleet, and the others
    Status {
        /// With a digest of all that this edge has: edges of one revision have the same
        #[arg(long)]
        digest: bool,
    },
    /// Go on with what etcd has, although this edge has newer changes or followed another log: after etcd
    /// was restored from a backup. What this edge had is backed up first
    Accept {
        /// Confirm: changes that etcd does not have are lost
        #[arg(long)]
        yes: bool,
    },
    /// Forget an edge that is dead, so that it is not shown any more
    Forget {
        /// Its name
        edge: String,
    },
}

impl Fleet {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let path = format!("{OWN}/fleet");
        let (done, told) = match self {
            Self::Status { digest } => {
                let mut shown = client.get(&path)?;
                if digest && let Some(shown) = shown.as_object_mut() {
                    let digest = client.get(&format!("{path}/digest"))?;
                    shown.insert("state_digest".into(), digest);
                }
                return Ok(if json {
                    json_text(&shown)
                } else {
                    told(&shown)
                });
            }
            Self::Init { replace } => (
                client.post(&format!("{path}/init"), &json!({ "replace": replace }))?,
                "the fleet is founded with what this gateway has; others may join it: copy the key file \
                 (ca.key) to them first, then `postern fleet join`\n",
            ),
            Self::Join { replace } => (
                client.post(&format!("{path}/join"), &json!({ "replace": replace }))?,
                "joined: this gateway has what the fleet has\n",
            ),
            Self::Leave => (
                client.post(&format!("{path}/leave"), &json!({}))?,
                "left: what this gateway has is its own from now on. Remove fleet.name and fleet.etcd from \
                 its configuration\n",
            ),
            Self::Accept { yes: false } => {
                return Err(CliError::Failed(
                    "changes that this edge has and etcd has not are lost, on all edges; say --yes to do so"
                        .into(),
                ));
            }
            Self::Accept { yes: true } => (
                client.post(&format!("{path}/accept"), &json!({}))?,
                "accepted: this edge has what etcd has\n",
            ),
            Self::Forget { edge } => (
                client.delete(&format!("{path}/edges/{}", segment(&edge)))?,
                "forgotten\n",
            ),
        };
        if json {
            return Ok(json_text(&done));
        }
        let backup = text(&done, "backup");
        Ok(match backup.as_str() {
            "" => told.to_owned(),
            backup => format!("{told}what was here before is in {backup}\n"),
        })
    }
}

fn seconds(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or_default()
}

fn milliseconds(edge: &Value) -> String {
    let of = edge.get("in_force").filter(|times| !times.is_null());
    let changes = of.and_then(|times| times.get("changes")?.as_u64());
    match (of, changes) {
        (Some(times), Some(changes)) if changes > 0 => format!("{} ms", text(times, "p99_ms")),
        _ => "-".into(),
    }
}

fn or_none(value: &Value, name: &str) -> String {
    match text(value, name) {
        none if none.is_empty() => "-".into(),
        some => harmless(&some),
    }
}

fn told(shown: &Value) -> String {
    let state = str_of(shown, "state");
    let why = text(shown, "why");
    if state == "off" {
        return format!("alone: {why}\n");
    }
    let (name, edge) = (or_none(shown, "name"), or_none(shown, "edge"));
    let revision = text(shown, "revision");
    let mut told = match state {
        "alone" => {
            return format!(
                "this gateway ({edge}) is in no fleet yet; `postern fleet init` founds `{name}` with what it \
                 has, `postern fleet join` joins it\n"
            );
        }
        "current" => format!("fleet {name}, edge {edge}: current, revision {revision}\n"),
        "behind" => format!(
            "fleet {name}, edge {edge}: reading what it has not got, revision {revision} of {}\n",
            or_none(shown, "head")
        ),
        other => format!(
            "fleet {name}, edge {edge}: {other} for {:.0} s, revision {revision} stays in force: {}\n",
            seconds(shown, "age_seconds"),
            harmless(&why)
        ),
    };
    told.push_str(&match text(shown, "leader") {
        none if none.is_empty() => {
            "nobody leads: lists are not fetched, certificates not renewed\n".into()
        }
        leader => format!(
            "{} leads: it fetches lists, renews certificates, rotates ticket keys\n",
            harmless(&leader)
        ),
    });
    let alone = shown.get("alone").and_then(Value::as_array);
    if let Some(alone) = alone.filter(|alone| !alone.is_empty()) {
        told.push_str(&format!(
            "{} revocations and denials hold on this edge alone until etcd can be asked\n",
            alone.len()
        ));
    }
    told.push_str("rate limits and limits of connections are counted per edge\n\n");
    match shown.get("edges").and_then(Value::as_array) {
        Some(edges) => {
            let mut table = Table::new(&["EDGE", "STATE", "REVISION", "IN FORCE p99", "VERSION"]);
            for one in edges {
                let state = match one.get("alive").and_then(Value::as_bool) {
                    Some(true) => or_none(one, "state"),
                    _ => "not heard of".into(),
                };
                table.row([
                    or_none(one, "name"),
                    state,
                    or_none(one, "revision"),
                    milliseconds(one),
                    or_none(one, "version"),
                ]);
            }
            told.push_str(&table.text("no edge has said anything of itself"));
        }
        None => told.push_str(&format!(
            "the others cannot be shown: {}\n",
            harmless(&text(shown, "edges_error"))
        )),
    }
    if let Some(digest) = shown.get("state_digest").filter(|digest| !digest.is_null()) {
        told.push_str(&format!(
            "\nrevision {} has digest {}\n",
            text(digest, "revision"),
            text(digest, "sha256")
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_stands_is_told() {
        let mut shown = json!({
            "state": "off", "why": "no fleet is configured", "name": null, "edge": null,
        });
        assert_eq!(told(&shown), "alone: no fleet is configured\n");
        shown = json!({
            "state": "current", "why": null, "name": "prod", "edge": "a", "revision": 7, "head": 7,
            "age_seconds": 0.1, "leader": "b", "leads": false, "alone": [],
            "edges": [
                { "name": "a", "alive": true, "state": "current", "revision": 7, "version": "0.1.0",
                  "in_force": { "changes": 3, "p99_ms": 12 } },
                { "name": "b", "alive": false, "state": "current", "revision": 6, "version": null,
                  "in_force": null },
            ],
        });
        let text = told(&shown);
        assert!(
            text.starts_with("fleet prod, edge a: current, revision 7\nb leads"),
            "{text}"
        );
        assert!(
            text.contains("12 ms") && text.contains("not heard of"),
            "{text}"
        );
        shown["state"] = json!("away");
        shown["why"] = json!("connection refused");
        shown["age_seconds"] = json!(61.2);
        shown["leader"] = Value::Null;
        shown["edges"] = Value::Null;
        shown["edges_error"] = json!("refused");
        shown["alone"] = json!([{}]);
        let text = told(&shown);
        assert!(
            text.contains("away for 61 s, revision 7 stays in force: connection refused"),
            "{text}"
        );
        assert!(
            text.contains("nobody leads") && text.contains("1 revocations"),
            "{text}"
        );
        shown["state"] = json!("alone");
        assert!(told(&shown).contains("in no fleet yet"));
    }
}
