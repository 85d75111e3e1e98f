//! `postern sysctl`: configuration keys of a running gateway, with the flags of sysctl(8).

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::client::names::{OWN, str_of, text};
use super::client::{Client, segment};
use super::output::table::harmless;
use super::output::{CliError, Output, json_text};
use config::{Change, Config, Sources};

/// Read and tune configuration keys of a running gateway
///
/// Values hold until the gateway restarts or gets SIGHUP; to keep one, write it into
/// postern.conf. Only live keys can be set; `-a` says which are.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["all", "load", "settings"]))]
pub(super) struct Sysctl {
    /// Show all keys
    #[arg(short, long)]
    all: bool,
    /// Show values without keys
    #[arg(short = 'n', long, conflicts_with = "names")]
    values: bool,
    /// Show keys without values
    #[arg(short = 'N', long)]
    names: bool,
    /// Every argument must be KEY=VALUE
    #[arg(short, long)]
    write: bool,
    /// Set the keys of a file; without FILE, of the system's files
    #[arg(short = 'p', long, value_name = "FILE", num_args = 0..=1)]
    load: Option<Option<PathBuf>>,
    /// With -a: only keys that contain this text
    #[arg(long, value_name = "TEXT", requires = "all")]
    pattern: Option<String>,
    /// Ignore unknown keys
    #[arg(short = 'e', long)]
    ignore: bool,
    /// Do not print the keys that were set
    #[arg(short, long)]
    quiet: bool,
    /// KEY shows a key, KEY=VALUE sets it
    #[arg(value_name = "KEY[=VALUE]")]
    settings: Vec<String>,
}

impl Sysctl {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let mut shown = Vec::new();
        if self.all {
            let Value::Array(all) = client.get(&format!("{OWN}/sysctl"))? else {
                return Err(CliError::Failed(
                    "the gateway did not answer with a list of keys".into(),
                ));
            };
            let pattern = self.pattern.as_deref().unwrap_or_default();
            shown.extend(
                all.into_iter()
                    .filter(|one| str_of(one, "key").contains(pattern)),
            );
        }
        let mut problems = Vec::new();
        if let Some(file) = &self.load {
            self.load(client, file.as_ref(), &mut shown, &mut problems)?;
        }
        for setting in &self.settings {
            let answer = match setting.split_once('=') {
                Some((key, value)) => set(client, key.trim(), value.trim()),
                None if self.write => {
                    return Err(CliError::Usage(format!(
                        "`{setting}` has no value; with -w write `{setting}=VALUE`"
                    )));
                }
                None => client.get(&path(setting)).map_err(CliError::from),
            };
            match answer {
                Ok(one) => {
                    if !(self.quiet && setting.contains('=')) {
                        shown.push(one);
                    }
                }
                Err(CliError::Client(error)) if self.ignore && error.is_not_found() => {}
                Err(CliError::Client(error @ super::output::ClientError::Refused { .. })) => {
                    problems.push(error.to_string())
                }
                Err(error) => return Err(error),
            }
        }
        let text = if json {
            json_text(&Value::Array(shown))
        } else {
            self.lines(&shown)
        };
        if problems.is_empty() {
            return Ok(text);
        }
        // What did work is shown all the same.
        super::output::print(&text);
        Err(CliError::Failed(problems.join("\n")))
    }

    /// Sets the live keys of a file; keys that are not live and would change are problems.
    fn load(
        &self,
        client: &Client,
        file: Option<&PathBuf>,
        shown: &mut Vec<Value>,
        problems: &mut Vec<String>,
    ) -> Result<(), CliError> {
        let sources = file.map_or_else(Sources::default, |path| Sources::file(path));
        for assignment in Config::assignments(&sources)? {
            let place = format!("{}:{}", assignment.file.display(), assignment.line);
            let needed = match assignment.key.change {
                Change::Live => None,
                Change::Reload => Some("is taken at SIGHUP"),
                Change::Restart => {
                    Some("is taken by a new process: at SIGHUP, `store.path` at a start")
                }
            };
            if let Some(needed) = needed {
                problems.push(format!("{place}: `{}` {needed}", assignment.key.name));
                continue;
            }
            match set(client, assignment.key.name, &assignment.value) {
                Ok(_) if self.quiet => {}
                Ok(one) => shown.push(one),
                Err(CliError::Client(error @ super::output::ClientError::Refused { .. })) => {
                    problems.push(format!("{place}: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lines(&self, shown: &[Value]) -> String {
        let line = |one: &Value| {
            let (key, value) = (text(one, "key"), harmless(&text(one, "value")));
            match (self.values, self.names) {
                (true, _) => format!("{value}\n"),
                (_, true) => format!("{key}\n"),
                _ => format!("{key} = {value}\n"),
            }
        };
        shown.iter().map(line).collect()
    }
}

fn set(client: &Client, key: &str, value: &str) -> Result<Value, CliError> {
    Ok(client.put(&path(key), &json!({ "value": value }))?)
}

fn path(key: &str) -> String {
    format!("{OWN}/sysctl/{}", segment(key.trim()))
}
