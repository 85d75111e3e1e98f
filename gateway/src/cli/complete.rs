//! `postern complete`: names that the gateway has, for a shell that completes a command line.
//!
//! Owns which word of a command line names what, read from the commands themselves: an argument that
//! says `ZONE` in its help takes a zone. Asks the gateway that the command line would speak to, and
//! says nothing when it does not answer at once: whoever presses a key must not wait for it. Does
//! not own the scripts of the shells ([`super::man`]).

use std::collections::HashMap;
use std::ffi::OsStr;

use clap::{Arg, Command};
use serde_json::Value;

use super::client::names::{CLOUDFLARE, OWN, of_account_within, str_of};
use super::client::target::Target;
use super::client::{Client, segment};
use super::output::Output;
use crate::limits::COMPLETED_NAMES_MAX;

/// Print the names that a word of a command line may be
#[derive(Debug, clap::Args)]
pub(super) struct Complete {
    /// Which word is completed, counted from 0, the program's name
    #[arg(long, value_name = "N")]
    index: usize,
    /// The words
    #[arg(value_name = "WORD", last = true)]
    words: Vec<String>,
}

/// What a name is of: how the help of arguments calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zone,
    Host,
    Authority,
    Certificate,
    ServerCertificate,
    Rule,
    List,
}

/// The words of arguments whose values the gateway knows.
pub(super) const NAMED: [&str; 6] = ["ZONE", "HOST", "CA", "CERTIFICATE", "RULE", "LIST"];

/// What is known of a command line before the word that is completed.
struct Line {
    kind: Kind,
    /// Values of options, by their long names.
    options: HashMap<String, String>,
    /// What stands there already.
    begun: String,
}

fn value_name(arg: &Arg) -> &str {
    let names = arg.get_value_names().unwrap_or_default();
    names.first().map_or("", |name| name.as_str())
}

fn kind(command: &str, arg: &Arg) -> Option<Kind> {
    Some(match value_name(arg) {
        "ZONE" => Kind::Zone,
        "HOST" => Kind::Host,
        "CA" => Kind::Authority,
        "CERTIFICATE" if command == "cert" => Kind::Certificate,
        "CERTIFICATE" if command == "server-cert" => Kind::ServerCertificate,
        "RULE" => Kind::Rule,
        "LIST" => Kind::List,
        _ => return None,
    })
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

impl Complete {
    /// What the word is, when the gateway can know it. The commands are built: only then have
    /// arguments their places.
    fn line(&self, whole: &Command) -> Option<Line> {
        let before = self.words.get(1..self.index)?;
        let mut command = whole;
        let mut first = "";
        let mut options = HashMap::new();
        let mut pending: Option<&Arg> = None;
        let mut place = 1;
        let globals: Vec<&Arg> = whole.get_arguments().collect();
        for word in before {
            // Shells take `--zone=x` apart.
            if word == "=" {
                continue;
            }
            if let Some(arg) = pending.take() {
                if let Some(long) = arg.get_long() {
                    options.insert(long.to_owned(), word.clone());
                }
                continue;
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let mut known = command.get_arguments().chain(globals.iter().copied());
                let arg = known.find(|arg| arg.get_long() == Some(name));
                match (arg.filter(|arg| takes_value(arg)), value) {
                    (Some(_), Some(value)) => {
                        drop(options.insert(name.to_owned(), value.to_owned()))
                    }
                    (found, None) => pending = found,
                    (None, Some(_)) => {}
                }
                continue;
            }
            if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
                let short = short.chars().last();
                let mut known = command.get_arguments();
                let arg = known.find(|arg| arg.get_short() == short);
                pending = arg.filter(|arg| takes_value(arg));
                continue;
            }
            match command.find_subcommand(OsStr::new(word)) {
                Some(found) => {
                    command = found;
                    place = 1;
                    if first.is_empty() {
                        first = word;
                    }
                }
                None => place += 1,
            }
        }
        let word = self.words.get(self.index).map_or("", String::as_str);
        let begun = word.trim_start_matches('=');
        let (arg, begun) = match (pending, begun.strip_prefix("--")) {
            (Some(arg), _) => (arg, begun),
            (None, Some(long)) => {
                let (name, value) = long.split_once('=')?;
                let mut known = command.get_arguments();
                (known.find(|arg| arg.get_long() == Some(name))?, value)
            }
            (None, None) if begun.starts_with('-') => return None,
            (None, None) => {
                let mut positionals = command.get_positionals();
                let last = command.get_positionals().last()?;
                let at = positionals.find(|arg| arg.get_index() == Some(place));
                let takes_more = last
                    .get_num_args()
                    .is_some_and(|count| count.max_values() > 1)
                    || matches!(last.get_action(), clap::ArgAction::Append);
                (at.or_else(|| takes_more.then_some(last))?, begun)
            }
        };
        Some(Line {
            kind: kind(first, arg)?,
            options,
            begun: begun.to_owned(),
        })
    }

    pub(super) fn run(&self, mut whole: Command) -> Output {
        whole.build();
        let names = self.line(&whole).and_then(|line| {
            let mut names = line.names()?;
            // What a shell would have to quote is left to be typed.
            names.retain(|name| name.starts_with(&line.begun) && name.bytes().all(is_plain));
            names.sort_unstable();
            names.dedup();
            names.truncate(COMPLETED_NAMES_MAX);
            Some(names)
        });
        let lines = names.unwrap_or_default().into_iter();
        Ok(lines.map(|name| name + "\n").collect())
    }
}

/// What no shell takes for anything but itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.*@+,/".contains(&byte)
}

impl Line {
    fn target(&self) -> Target {
        let path = |name: &str| self.options.get(name).map(Into::into);
        Target {
            socket: path("socket"),
            api: self.options.get("api").cloned(),
            token: path("token"),
            api_ca: path("api-ca"),
        }
    }

    /// The id of the zone that the line names, or of the only one.
    fn zone(&self, client: &Client) -> Option<String> {
        let path = match self.options.get("zone") {
            Some(zone) if zone.len() == 32 => return Some(zone.clone()),
            Some(zone) => format!("{CLOUDFLARE}/zones?name={}", segment(zone)),
            None => format!("{CLOUDFLARE}/zones"),
        };
        match client.ask(&path)?.as_array()?.as_slice() {
            [zone] => Some(str_of(zone, "id").to_owned()),
            _ => None,
        }
    }

    /// All that the word may be, `None` when the gateway does not say.
    fn names(&self) -> Option<Vec<String>> {
        let client = Client::new(&self.target()).ok()?;
        let page = format!("per_page={COMPLETED_NAMES_MAX}");
        let said = self.options.contains_key("zone");
        let path = match self.kind {
            Kind::Zone => format!("{CLOUDFLARE}/zones?{page}"),
            Kind::Host if said => format!("{OWN}/zones/{}/hosts?{page}", self.zone(&client)?),
            Kind::Host => format!("{OWN}/hosts?{page}"),
            Kind::Authority if said => format!("{OWN}/zones/{}/authorities", self.zone(&client)?),
            Kind::Authority => of_account_within(&client, &format!("mtls_certificates?{page}"))?,
            Kind::List => of_account_within(&client, "rules/lists")?,
            Kind::Certificate => {
                let zone = self.zone(&client)?;
                format!("{CLOUDFLARE}/zones/{zone}/client_certificates?status=active&{page}")
            }
            Kind::ServerCertificate => {
                let zone = self.zone(&client)?;
                format!("{CLOUDFLARE}/zones/{zone}/custom_certificates?{page}")
            }
            Kind::Rule => {
                let zone = self.zone(&client)?;
                let phase = self.options.get("phase").map_or("custom", String::as_str);
                let phase = super::rule::cloudflare_phase(phase)?;
                format!("{CLOUDFLARE}/zones/{zone}/rulesets/phases/{phase}/entrypoint")
            }
        };
        let answer = client.ask(&path)?;
        let items = answer
            .as_array()
            .or_else(|| answer.get("rules")?.as_array())?;
        Some(items.iter().map(|item| self.name(item)).collect())
    }

    /// What people call a thing: its name where it has one of its own, else its id.
    fn name(&self, item: &Value) -> String {
        let keys: &[&str] = match self.kind {
            Kind::Zone | Kind::Host | Kind::List => &["name"],
            Kind::Authority => &["name", "id"],
            Kind::Certificate => &["common_name", "id"],
            Kind::ServerCertificate => &["id"],
            Kind::Rule => &["ref", "id"],
        };
        let named = keys.iter().map(|key| str_of(item, key));
        named
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default()
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_word_names_is_read_from_the_commands() {
        for (line, kind, begun) in [
            ("host show ", Some(Kind::Host), ""),
            ("host show a.ex", Some(Kind::Host), "a.ex"),
            ("host show a.example.com ", None, ""),
            ("host list --zone ", Some(Kind::Zone), ""),
            ("host list --zone=ex", Some(Kind::Zone), "ex"),
            ("host list --zone = ex", Some(Kind::Zone), "ex"),
            ("--json --socket /tmp/s host delete ", Some(Kind::Host), ""),
            (
                "cert revoke --zone example.com ",
                Some(Kind::Certificate),
                "",
            ),
            (
                "cert revoke --zone example.com one two",
                Some(Kind::Certificate),
                "two",
            ),
            (
                "server-cert delete --zone example.com ",
                Some(Kind::ServerCertificate),
                "",
            ),
            ("rule delete --zone example.com ", Some(Kind::Rule), ""),
            (
                "rule move --zone example.com r --after ",
                Some(Kind::Rule),
                "",
            ),
            ("crl show ", Some(Kind::Authority), ""),
            ("list show ", Some(Kind::List), ""),
            (
                "ca associate --zone example.com --ca ",
                Some(Kind::Authority),
                "",
            ),
            ("ca associate --zone example.com a b", Some(Kind::Host), "b"),
            ("doctor ", Some(Kind::Host), ""),
            ("log --host ", Some(Kind::Host), ""),
            // What the shell's own script completes.
            ("", None, ""),
            ("ho", None, ""),
            ("host ", None, ""),
            ("host show --js", None, ""),
            ("zone create ", None, ""),
            ("rule add --zone example.com --expression ", None, ""),
            ("apply ", None, ""),
        ] {
            let words: Vec<String> = format!("postern {line}")
                .split(' ')
                .map(str::to_owned)
                .collect();
            let complete = Complete {
                index: words.len() - 1,
                words,
            };
            let mut whole = super::super::Command::whole();
            whole.build();
            let found = complete.line(&whole);
            assert_eq!(found.as_ref().map(|line| line.kind), kind, "{line}");
            if let Some(found) = found {
                assert_eq!(found.begun, begun, "{line}");
                assert_eq!(
                    found.options.contains_key("zone"),
                    line.contains("--zone example.com"),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn without_a_gateway_nothing_is_said() {
        for words in [
            &["postern", "--socket", "/nowhere", "host", "show", ""][..],
            &["postern"],
            &[],
        ] {
            let complete = Complete {
                index: words.len().saturating_sub(1),
                words: words.iter().map(|word| (*word).to_owned()).collect(),
            };
            let said = complete.run(super::super::Command::whole()).unwrap();
            assert_eq!(said, "", "{words:?}");
        }
    }
}
