//! `postern export` and `postern apply`: the whole configuration as one file.
//!
//! Owns file references (`certificate_file`, `key_file`), the place in the file of what the gateway
//! refuses, and the display of differences. Decides nothing about what a document means.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::client::files::{PRIVATE, PUBLIC, read_certificates, read_key, read_text, write_new};
use super::client::names::{OWN, str_of};
use super::output::confirm::losses;
use super::output::table::harmless_lines;
use super::output::yaml::{self, Marked};
use super::output::{CliError, ClientError, Output, json_text};
use tls::pem;

/// Write everything that is configured as one document, YAML or (with --json) JSON
///
/// Zones, hosts, uploaded CAs and who believes them, server certificates, rules, lists. Not in it:
/// client certificates, revocations, revocation lists and tokens; `postern store backup` has those.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write to a new file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Include the private keys of managed CAs, server certificates and certificates for origins, in
    /// clear. A reader of the file can issue client certificates, impersonate your hosts, and reach
    /// what your origins keep for the gateway
    #[arg(long)]
    private_keys: bool,
}

impl Export {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let document = if self.private_keys {
            warn(
                "the export holds private keys in clear: keep it as you would keep the keys, and delete it when it has served",
            );
            client.post(&format!("{OWN}/export/private_keys"), &json!({}))?
        } else {
            client.get(&format!("{OWN}/export"))?
        };
        let text = if json {
            json_text(&document)
        } else {
            yaml::text(&document)
        };
        match self.out {
            None => Ok(text),
            Some(path) => {
                let mode = if self.private_keys { PRIVATE } else { PUBLIC };
                write_new(&path, &text, mode)?;
                Ok(String::new())
            }
        }
    }
}

fn warn(text: &str) {
    // Standard output may be the export itself.
    drop(writeln!(std::io::stderr(), "postern: warning: {text}"));
}

/// Make the gateway what a document says, after showing the difference; all of it or nothing
///
/// The document is what `postern export` writes. A section that is left out is left alone, and so
/// is what a section does not name, unless --prune is given; rules are always replaced as a whole.
/// Certificates and keys may be named as files beside the document: certificate_file, key_file, and
/// private_key_file of a certificate for an origin.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The document, YAML or JSON; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show the difference and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove objects that the document's sections do not contain, zones excepted
    #[arg(long)]
    prune: bool,
    /// Remove zones that the document does not contain, with their CA keys and all certificates
    #[arg(long)]
    prune_zones: bool,
    /// Do not ask for confirmation; needed without a terminal when something is lost for good
    #[arg(long)]
    yes: bool,
}

impl Apply {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let text = read_text(&self.file)?;
        let name = self.file.display().to_string();
        let mut marked = yaml::read(&text).map_err(|wrong| {
            let (line, column) = (wrong.position.line, wrong.position.column);
            CliError::Failed(format!("{name}:{line}:{column}: {}", wrong.why))
        })?;
        let directory = self.file.parent().unwrap_or_else(|| Path::new(""));
        resolve(&mut marked, directory, &name)?;
        let path = format!(
            "{OWN}/apply?prune={}&prune_zones={}",
            self.prune, self.prune_zones
        );
        let explain = |error| explained(error, &marked, &name);
        let plan = client
            .post(&format!("{path}&dry_run=true"), &marked.value)
            .map_err(explain)?;
        let changes = plan.get("changes").and_then(Value::as_array);
        let changes = changes.map(Vec::as_slice).unwrap_or_default();
        if !json {
            // Before anything is changed, whatever becomes of the change.
            print(&shown(&plan, changes));
        }
        let done = |applied: bool, plan: Value| {
            let mut plan = plan;
            if let Some(fields) = plan.as_object_mut() {
                fields.insert("applied".into(), applied.into());
            }
            json_text(&plan)
        };
        if changes.is_empty() {
            // Keys and order can differ where nothing that is shown does.
            let text = "nothing to change\n".to_owned();
            return Ok(if json { done(false, plan) } else { text });
        }
        let count = changes.len();
        if self.dry_run {
            let text = format!("{count} changes; nothing was done (--dry-run)\n");
            return Ok(if json { done(false, plan) } else { text });
        }
        if !self.yes && !json && self.asks() {
            if !agreed()? {
                return Err(CliError::Failed("nothing was changed".into()));
            }
        } else if let Some(lost) = lost(&plan).filter(|_| !self.yes) {
            return Err(CliError::Usage(format!(
                "this loses for good: {lost}; say --yes to do it"
            )));
        }
        let revision = plan.get("revision").and_then(Value::as_u64).unwrap_or(0);
        let answer = client
            .post(&format!("{path}&revision={revision}"), &marked.value)
            .map_err(|error| explained(error, &marked, &name))?;
        Ok(if json {
            done(true, answer)
        } else {
            format!("{count} changes made\n")
        })
    }

    /// Whether there is somebody to ask.
    fn asks(&self) -> bool {
        self.file != Path::new("-")
            && std::io::stdin().is_terminal()
            && std::io::stdout().is_terminal()
    }
}

fn print(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

fn agreed() -> Result<bool, CliError> {
    print("make these changes? [y/N] ");
    drop(std::io::stdout().flush());
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|why| CliError::Failed(format!("standard input: {why}")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// A refusal with the place in the file that it is about.
fn explained(error: ClientError, marked: &Marked, name: &str) -> CliError {
    match &error {
        ClientError::Refused {
            message, pointer, ..
        } => {
            let is_key = message.starts_with("unknown key");
            let place = pointer
                .as_deref()
                .and_then(|pointer| marked.position(pointer, is_key));
            match place {
                Some(place) => CliError::Failed(harmless_lines(&format!(
                    "{name}:{}:{}: {message}",
                    place.line, place.column
                ))),
                None => error.into(),
            }
        }
        _ => error.into(),
    }
}

/// Puts the contents of files in the place of their names: `certificate_file` and `key_file` of
/// CAs and server certificates, `private_key_file` of certificates that origins are shown.
fn resolve(marked: &mut Marked, directory: &Path, name: &str) -> Result<(), CliError> {
    let mut found = Vec::new();
    let mut objects = |pointer: String, list: Option<&Value>| {
        for place in 0..list.and_then(Value::as_array).map_or(0, Vec::len) {
            for key in ["certificate", "key"] {
                found.push((format!("{pointer}/{place}"), key));
            }
        }
    };
    objects("/authorities".into(), marked.value.get("authorities"));
    let zones = marked.value.get("zones").and_then(Value::as_array);
    for (place, zone) in zones.into_iter().flatten().enumerate() {
        for section in ["server_certificates", "managed_authorities"] {
            objects(format!("/zones/{place}/{section}"), zone.get(section));
        }
    }
    for (place, zone) in zones.into_iter().flatten().enumerate() {
        for section in ["origins", "hosts"] {
            let list = zone.get(section).and_then(Value::as_array);
            for of in 0..list.map_or(0, Vec::len) {
                for key in ["certificate", "private_key"] {
                    let shown = format!("/zones/{place}/{section}/{of}/origin/client_certificate");
                    found.push((shown, key));
                }
            }
        }
    }
    for (pointer, key) in found {
        let file_key = format!("{key}_file");
        let position = marked.position(&format!("{pointer}/{file_key}"), false);
        let Some(Value::Object(fields)) = marked.value.pointer_mut(&pointer) else {
            continue;
        };
        let Some(file) = fields.get(&file_key).and_then(Value::as_str) else {
            continue;
        };
        let at = position.map_or(String::new(), |position| {
            format!("{name}:{}:{}: ", position.line, position.column)
        });
        if fields.contains_key(key) {
            let why = format!("{at}say either `{key}` or `{file_key}`");
            return Err(CliError::Failed(why));
        }
        let file = directory.join(file);
        let read = match key {
            "key" | "private_key" => read_key(&file),
            _ => read_certificates(&file, pem::Use::Chain).map(|(text, _)| text),
        };
        let text = read.map_err(|error| CliError::Failed(format!("{at}{error}")))?;
        fields.remove(&file_key);
        fields.insert(key.into(), text.into());
        marked.moved(
            &format!("{pointer}/{file_key}"),
            &format!("{pointer}/{key}"),
        );
    }
    Ok(())
}

/// What a plan loses for good, in words.
fn lost(plan: &Value) -> Option<String> {
    let lost = plan
        .get("lost")?
        .as_array()
        .filter(|lost| !lost.is_empty())?;
    let told = lost.iter().map(|one| {
        let what = harmless_lines(str_of(one, "what"));
        format!("{what} ({})", losses(one))
    });
    Some(told.collect::<Vec<_>>().join("; "))
}

/// A value on one line.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) if pem::is_meant(text.as_bytes()) => {
            match pem::certificates(text.as_bytes(), pem::Use::Chain) {
                Ok(all) => format!("PEM, {}", pem::subjects(&all)),
                Err(_not_certificates) => "PEM".into(),
            }
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown(plan: &Value, changes: &[Value]) -> String {
    let mut out = String::new();
    for change in changes {
        let sign = match str_of(change, "action") {
            "create" => '+',
            "remove" => '-',
            _ => '~',
        };
        let zone = match str_of(change, "zone") {
            "" => String::new(),
            zone => format!(" of {zone}"),
        };
        let (noun, key) = (str_of(change, "noun"), str_of(change, "key"));
        out.push_str(&format!("{sign} {noun} {key}{zone}\n"));
        let (before, after) = (change.get("before"), change.get("after"));
        let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
        let (old, new) = (
            object(before).unwrap_or_default(),
            object(after).unwrap_or_default(),
        );
        for (field, value) in &old {
            if field != "name" {
                out.push_str(&format!("    - {field}: {}\n", brief(value)));
            }
        }
        for (field, value) in &new {
            if field != "name" {
                out.push_str(&format!("    + {field}: {}\n", brief(value)));
            }
        }
    }
    if let Some(lost) = lost(plan) {
        out.push_str(&format!("lost for good: {lost}\n"));
    }
    let kept = plan.get("kept").and_then(Value::as_array);
    for one in kept.into_iter().flatten().filter_map(Value::as_str) {
        let option = if one.starts_with("zone ") {
            "--prune-zones"
        } else {
            "--prune"
        };
        out.push_str(&format!(
            "  {one}: not in the document, left alone ({option} removes it)\n"
        ));
    }
    if out.is_empty() {
        return out;
    }
    harmless_lines(&out) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_the_place_of_their_names() {
        let directory = fixtures::Directory::new();
        let pem = fixtures::pki::foreign("A");
        std::fs::write(directory.path().join("ca.pem"), &pem).unwrap();
        let read = |text: &str| {
            let mut marked = yaml::read(text).unwrap();
            resolve(&mut marked, directory.path(), "f").map(|()| marked)
        };
        let text = "authorities:\n  - name: a\n    certificate_file: ca.pem\n";
        let marked = read(text).unwrap();
        assert_eq!(
            marked.value["authorities"][0],
            json!({"name": "a", "certificate": pem})
        );
        let position = marked
            .position("/authorities/0/certificate", false)
            .unwrap();
        assert_eq!((position.line, position.column), (3, 23));
        for (text, why) in [
            ("authorities:\n  - certificate_file: none.pem\n", "f:2:23: "),
            (
                "authorities:\n  - certificate_file: ca.pem\n    certificate: x\n",
                "either",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
