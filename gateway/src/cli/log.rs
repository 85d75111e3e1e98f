//! `postern log`: the access log, followed and filtered.
//!
//! Owns the filters. Reads the file that `log.access` names, or the journal when it goes to standard
//! output; a file that is rotated away is followed to its successor. Lines in the common format are
//! shown too, and found by the certificate's fingerprint, which is all that they say of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use config::{LogField, LogFields};
use serde_json::Value;

use super::client::Client;
use super::client::names::{OWN, str_of};
use super::explain::must_be_known;
use super::output::{CliError, Output};
use crate::limits::ACCESS_LOG_LINE_BYTES_READ;

/// How often a file is looked at for more.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes from the end of a file in which the last lines are looked for.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// The access log: its last lines, and with -f those that come
#[derive(Debug, clap::Args)]
pub(super) struct Log {
    /// Go on with the lines that come
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines to begin with, of those that fit
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    lines: usize,
    /// Only of this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only of hosts in this zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only with this reason, such as `revoked`, `not_presented` or `origin_refused`
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only of clients whose certificate has this fingerprint, serial number or text in its subject
    #[arg(long, value_name = "CERTIFICATE")]
    certificate: Option<String>,
    /// The log's file [default: what `log.access` says]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The systemd unit whose journal is read when the log goes to standard output
    #[arg(long, value_name = "UNIT", default_value = "postern")]
    unit: String,
}

impl Log {
    pub(super) fn run(self, client: impl FnOnce() -> Result<Client, CliError>) -> Output {
        if let Some(reason) = &self.reason {
            must_be_known(reason)?;
        }
        let place = match &self.file {
            Some(file) => file.display().to_string(),
            None => {
                let client = client()?;
                let place = setting(&client, "log.access")?;
                if place != "off" {
                    self.can_be_told(&client)?;
                }
                place
            }
        };
        match place.as_str() {
            "off" => Err(CliError::Failed(
                "the access log is off; set `log.access` in postern.conf, then `postern reload`"
                    .into(),
            )),
            "stdout" | "stderr" => self.journal(),
            file => self.file(Path::new(file)),
        }
    }

    /// Refuses filters by what lines do not say as they are written now.
    fn can_be_told(&self, client: &Client) -> Result<(), CliError> {
        let format = setting(client, "log.access.format")?;
        let fields = setting(client, "log.access.fields")?;
        // A gateway of a later version may have more.
        let fields: LogFields = fields.parse().unwrap_or(LogFields::ALL);
        let has_identity = [
            LogField::CertFingerprint,
            LogField::CertSerial,
            LogField::CertSubject,
        ]
        .into_iter()
        .any(|field| fields.has(field));
        for (flag, is_used, is_there) in [
            ("--host", self.host.is_some(), fields.has(LogField::Host)),
            ("--zone", self.zone.is_some(), fields.has(LogField::Zone)),
            ("--certificate", self.certificate.is_some(), has_identity),
            (
                "--reason",
                self.reason.is_some(),
                fields.has(LogField::Error) && fields.has(LogField::CertReason),
            ),
        ] {
            // Other formats have the fingerprint, and nothing else of a certificate.
            let is_print = |wanted: &String| {
                let wanted = plain(wanted);
                wanted.len() == 64 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            let by_print = flag == "--certificate"
                && format != "json"
                && self.certificate.as_ref().is_some_and(is_print);
            if !is_used || by_print {
                continue;
            }
            if format != "json" {
                return Err(CliError::Failed(format!(
                    "lines of the format `{format}` do not say what {flag} looks for; set \
                     `log.access.format = json`, or look at the dashboard's events"
                )));
            }
            if !is_there {
                return Err(CliError::Failed(format!(
                    "`log.access.fields` leaves out what {flag} looks for; take it in: \
                     `postern sysctl -w log.access.fields=default`"
                )));
            }
        }
        Ok(())
    }

    /// Lines of the unit's journal.
    fn journal(&self) -> Output {
        let mut journal = Command::new("journalctl");
        journal.args(["--unit", &self.unit, "--output", "cat", "--quiet"]);
        if self.follow {
            journal.args(["--follow", "--lines", "10000"]);
        } else {
            journal.args(["--lines", "100000"]);
        }
        let failed = |why: std::io::Error| {
            CliError::Failed(format!(
                "the access log goes to standard output, and the journal cannot be read: journalctl: {why}"
            ))
        };
        let mut child = journal.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let Some(out) = child.stdout.take() else {
            return Ok(String::new());
        };
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        if self.follow {
            for line in lines.filter(|line| self.fits(line)) {
                show(&line)?;
            }
        } else {
            for line in self.last(lines) {
                show(&line)?;
            }
        }
        // Not waited for, it would stay behind as a zombie.
        drop(child.wait());
        Ok(String::new())
    }

    fn file(&self, path: &Path) -> Output {
        let failed = |why: std::io::Error| CliError::Failed(format!("{}: {why}", path.display()));
        let mut reader = tail(path).map_err(failed)?;
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).map_err(failed)? {
            lines.push(line);
        }
        for line in self.last(lines.into_iter()) {
            show(&line)?;
        }
        if !self.follow {
            return Ok(String::new());
        }
        loop {
            match next_line(&mut reader).map_err(failed)? {
                Some(line) if self.fits(&line) => show(&line)?,
                Some(_) => {}
                None => {
                    std::thread::sleep(LOOK);
                    if let Some(successor) = successor(&mut reader, path) {
                        reader = BufReader::new(successor);
                    }
                }
            }
        }
    }

    /// The last lines that fit.
    fn last(&self, lines: impl Iterator<Item = String>) -> Vec<String> {
        let mut kept = std::collections::VecDeque::new();
        for line in lines.filter(|line| self.fits(line)) {
            if kept.len() >= self.lines {
                kept.pop_front();
            }
            kept.push_back(line);
        }
        kept.truncate(self.lines);
        kept.into()
    }

    fn fits(&self, line: &str) -> bool {
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            // The gateway's own words share the journal with the log.
            return common(line).is_some_and(|print| {
                let wanted = self.certificate.as_deref().map(plain);
                let none = self.host.is_none() && self.zone.is_none() && self.reason.is_none();
                none && wanted.is_none_or(|wanted| wanted == print)
            });
        };
        if !record.is_object() {
            return false;
        }
        let host = self.host.as_ref().is_none_or(|host| {
            ["/host", "/tls/sni"].iter().any(|place| {
                let found = record.pointer(place).and_then(Value::as_str);
                found.is_some_and(|found| found.eq_ignore_ascii_case(host))
            })
        });
        let zone = self.zone.as_ref().is_none_or(|zone| {
            let is = |value: &Value| {
                let found = value.as_str();
                found.is_some_and(|found| found.eq_ignore_ascii_case(zone))
            };
            record.get("zone").is_some_and(is)
        });
        let reason = self.reason.as_ref().is_none_or(|reason| {
            let has = |value: &Value| value.as_str() == Some(reason);
            holds(&record, &["reason", "error", "stop"], &has)
        });
        let certificate = self.certificate.as_ref().is_none_or(|wanted| {
            let plain = plain(wanted);
            let is = |value: &Value| {
                let text = value.as_str().unwrap_or_default();
                text.to_ascii_lowercase() == plain
            };
            let has = |value: &Value| {
                let text = value.as_str().unwrap_or_default();
                text.contains(wanted.as_str())
            };
            holds(&record, &["fingerprint_sha256", "serial"], &is)
                || holds(&record, &["subject", "san"], &has)
        });
        host && zone && reason && certificate
    }
}

/// A fingerprint or serial number without what people put between its bytes.
fn plain(number: &str) -> String {
    number.replace(':', "").to_ascii_lowercase()
}

/// The user of a line in the common format, which is a certificate's fingerprint or `-`; `None` when it
/// is no such line.
fn common(line: &str) -> Option<&str> {
    let mut words = line.splitn(4, ' ');
    let is_address = words.next()?.parse::<IpAddr>().is_ok();
    let is_nobody = words.next()? == "-";
    let user = words.next()?;
    let rest = words.next()?;
    let is_line = is_address && is_nobody && rest.starts_with('[') && rest.contains("] \"");
    is_line.then_some(user)
}

/// The value of a key of the gateway that runs.
fn setting(client: &Client, key: &str) -> Result<String, CliError> {
    let setting = client.get(&format!("{OWN}/sysctl/{key}"))?;
    Ok(str_of(&setting, "value").to_owned())
}

/// What the end of the access log's file last said of the client certificate with this SHA-256: its issuer
/// and its serial number.
pub(super) fn last_of_certificate(client: &Client, print: &str) -> Result<Option<Value>, CliError> {
    let place = setting(client, "log.access")?;
    if matches!(place.as_str(), "off" | "stdout" | "stderr") {
        let why = format!("the access log (log.access = {place}) is no file");
        return Err(CliError::Failed(why));
    }
    let format = setting(client, "log.access.format")?;
    if format != "json" {
        let why = format!(
            "lines of the format `{format}` say a certificate's fingerprint, and neither issuer nor serial \
             number (log.access.format)"
        );
        return Err(CliError::Failed(why));
    }
    let fields = setting(client, "log.access.fields")?;
    let fields: LogFields = fields.parse().unwrap_or(LogFields::ALL);
    for field in [
        LogField::CertFingerprint,
        LogField::CertIssuer,
        LogField::CertSerial,
    ] {
        if !fields.has(field) {
            let why = format!("`{}` is not logged (log.access.fields)", field.as_str());
            return Err(CliError::Failed(why));
        }
    }
    let path = Path::new(&place);
    let failed = |why: std::io::Error| CliError::Failed(format!("{place}: {why}"));
    let mut reader = tail(path).map_err(failed)?;
    let mut last = None;
    while let Some(line) = next_line(&mut reader).map_err(failed)? {
        let Ok(record) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if let Some(seen) = record.get("client_cert")
            && str_of(seen, "fingerprint_sha256") == print
        {
            last = Some(seen.clone());
        }
    }
    Ok(last)
}

/// The end of a file, from the beginning of a line.
fn tail(path: &Path) -> std::io::Result<BufReader<File>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let from = size.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file);
    if from > 0 {
        // The first is most likely the end of a line.
        drop(next_line(&mut reader)?);
    }
    Ok(reader)
}

/// Whether some field of these names, at any depth, passes.
fn holds(value: &Value, names: &[&str], test: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            (names.contains(&name.as_str()) && any(value, test)) || holds(value, names, test)
        }),
        Value::Array(items) => items.iter().any(|item| holds(item, names, test)),
        _ => false,
    }
}

fn any(value: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(test),
        value => test(value),
    }
}

/// A whole line, `None` when there is no more now. What is not whole yet is read again later.
fn next_line(reader: &mut BufReader<File>) -> std::io::Result<Option<String>> {
    use std::io::Read;
    let mut line = Vec::new();
    let count = reader
        .by_ref()
        .take(ACCESS_LOG_LINE_BYTES_READ)
        .read_until(b'\n', &mut line)?;
    if count > 0 && line.last() != Some(&b'\n') && (count as u64) < ACCESS_LOG_LINE_BYTES_READ {
        let back = i64::try_from(count).unwrap_or_default();
        reader.seek_relative(-back)?;
        return Ok(None);
    }
    Ok((count > 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
}

/// The file that is at the path now, when it is another one, or the same one cut short.
fn successor(reader: &mut BufReader<File>, path: &Path) -> Option<File> {
    let there = File::open(path).ok()?;
    let (new, old) = (there.metadata().ok()?, reader.get_ref().metadata().ok()?);
    let is_other = (new.dev(), new.ino()) != (old.dev(), old.ino());
    let was_cut = !is_other && new.len() < reader.stream_position().ok()?;
    (is_other || was_cut).then_some(there)
}

fn show(line: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|why| CliError::Failed(format!("standard output: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(change: impl FnOnce(&mut Log)) -> Log {
        let mut log = Log {
            follow: false,
            lines: 2,
            host: None,
            zone: None,
            reason: None,
            certificate: None,
            file: None,
            unit: "postern".into(),
        };
        change(&mut log);
        log
    }

    const REVOKED: &str = r#"{"host":"a.test","tls":{"sni":"a.test"},"client":{"reason":"revoked","serial":"0a1b","fingerprint_sha256":"ff00","subject":"CN=van-1"}}"#;
    const ORIGIN: &str =
        r#"{"host":"b.test","error":"origin_refused","client":{"reason":"not_presented"}}"#;

    #[test]
    fn lines_are_filtered_by_what_they_say() {
        for (log, revoked, origin) in [
            (log(|_| {}), true, true),
            (log(|log| log.host = Some("A.test".into())), true, false),
            (
                log(|log| log.reason = Some("origin_refused".into())),
                false,
                true,
            ),
            (log(|log| log.reason = Some("revoked".into())), true, false),
            (
                log(|log| log.certificate = Some("0A:1B".into())),
                true,
                false,
            ),
            (
                log(|log| log.certificate = Some("van-1".into())),
                true,
                false,
            ),
            (log(|log| log.certificate = Some("ff".into())), false, false),
        ] {
            assert_eq!(log.fits(REVOKED), revoked, "{log:?}");
            assert_eq!(log.fits(ORIGIN), origin, "{log:?}");
            assert!(!log.fits("INFO listening"), "words are no records");
        }
        let line = "192.0.2.1 - 9f86 [21/Nov/2025:01:22:09 +0000] \"GET / HTTP/1.1\" 200 5";
        for (log, fits) in [
            (log(|_| {}), true),
            (log(|log| log.host = Some("a.test".into())), false),
            (log(|log| log.reason = Some("revoked".into())), false),
            (log(|log| log.certificate = Some("9F:86".into())), true),
            (log(|log| log.certificate = Some("9f".into())), false),
        ] {
            assert_eq!(log.fits(line), fits, "{log:?}");
        }
        let many = (0..5).map(|n| format!("{{\"host\":\"{n}\"}}"));
        assert_eq!(log(|_| {}).last(many).len(), 2);
    }

    #[test]
    fn what_is_no_reason_is_refused_before_anything_is_read() {
        let wrong = log(|log| log.reason = Some("revokd".into()));
        let never = || -> Result<Client, CliError> { panic!("nobody is asked") };
        let why = wrong.run(never).unwrap_err().to_string();
        assert!(why.contains("did you mean `revoked`?"), "{why}");
    }

    #[test]
    fn a_line_that_is_not_whole_is_read_when_it_is_and_a_rotated_file_is_followed() {
        let directory = fixtures::Directory::new();
        let path = directory.path().join("access.log");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut reader = BufReader::new(File::open(&path).unwrap());
        assert_eq!(next_line(&mut reader).unwrap().as_deref(), Some("one"));
        assert_eq!(next_line(&mut reader).unwrap(), None);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"o\n").unwrap();
        assert_eq!(next_line(&mut reader).unwrap().as_deref(), Some("two"));
        assert!(successor(&mut reader, &path).is_none());
        std::fs::rename(&path, directory.path().join("access.log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        let mut reader = BufReader::new(successor(&mut reader, &path).unwrap());
        assert_eq!(next_line(&mut reader).unwrap().as_deref(), Some("three"));
        std::fs::write(&path, "").unwrap();
        assert!(successor(&mut reader, &path).is_some(), "it was cut short");
    }
}
