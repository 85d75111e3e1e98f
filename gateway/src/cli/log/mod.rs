//! `postern log`: the access log, followed and filtered.
//!
//! Owns the filters. Reads the file that `log.access` names, or the journal when it goes to standard
//! output; a file that is rotated away is followed to its successor. Lines in the common format are
//! shown too, and found by the certificate's fingerprint, which is all that they say of it. [`lines`] finds
//! lines in files and pipes.

mod lines;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use config::{LogField, LogFields};
use rustix::process::Signal;
use serde_json::Value;

use self::lines::{lines_until_end, next_line, piped_line, successor, tail};
use super::client::Client;
use super::client::names::{OWN, str_of};
use super::explain::must_be_known;
use super::output::{CliError, Output};

/// How often a file is looked at for more.
const LOOK: Duration = Duration::from_millis(200);

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
    /// Whether every line that is shown has to be JSON
    #[arg(skip)]
    json: bool,
}

/// Whether whoever reads what is shown wants more of it.
type Shown = Result<ControlFlow<()>, CliError>;

impl Log {
    pub(super) fn run(
        mut self,
        client: impl FnOnce() -> Result<Client, CliError>,
        json: bool,
    ) -> Output {
        self.json = json;
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
            "stdout" | "stderr" => self.journal(self.journalctl(), &mut std::io::stdout()),
            file => self.file(Path::new(file), &mut std::io::stdout()),
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

    /// What prints the unit's journal. Not quiet: it says on standard error when it may not read all of it.
    fn journalctl(&self) -> Command {
        let mut journalctl = Command::new("journalctl");
        journalctl.args(["--unit", &self.unit, "--output", "cat"]);
        if self.follow {
            journalctl.args(["--follow", "--lines", "10000"]);
        } else {
            journalctl.args(["--lines", "100000"]);
        }
        journalctl
    }

    /// Shows lines of the journal, as `journalctl` prints them.
    fn journal(&self, mut journalctl: Command, out: &mut dyn Write) -> Output {
        let mut child = journalctl
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| unreadable_journal(&why))?;
        let shown = match child.stdout.take() {
            Some(lines) => self.journal_lines(BufReader::new(lines), out),
            None => Ok(ControlFlow::Continue(())),
        };
        if !matches!(shown, Ok(ControlFlow::Continue(()))) {
            // With --follow it would learn only from its next line that nobody reads any more.
            drop(child.kill());
        }
        // Not waited for, it would stay behind as a zombie.
        let status = child.wait();
        if shown?.is_continue() {
            must_be_whole(status.map_err(|why| unreadable_journal(&why))?)?;
        }
        Ok(String::new())
    }

    fn journal_lines(&self, mut journal: impl BufRead, out: &mut dyn Write) -> Shown {
        let lines = std::iter::from_fn(|| piped_line(&mut journal).transpose());
        if self.follow {
            return self.show_fitting(lines, out, |why| unreadable_journal(&why));
        }
        let last = self.last(lines).map_err(|why| unreadable_journal(&why))?;
        self.show_all(&last, out)
    }

    fn file(&self, path: &Path, out: &mut dyn Write) -> Output {
        let failed = |why| unreadable_file(path, &why);
        let mut reader = tail(path).map_err(failed)?;
        let last = self.last(lines_until_end(&mut reader)).map_err(failed)?;
        if self.show_all(&last, out)?.is_break() || !self.follow {
            return Ok(String::new());
        }
        while self.look(&mut reader, path, out)?.is_continue() {
            std::thread::sleep(LOOK);
        }
        Ok(String::new())
    }

    /// Shows what has come since the last look, and goes on with the successor of a file that was rotated away.
    fn look(&self, reader: &mut BufReader<File>, path: &Path, out: &mut dyn Write) -> Shown {
        // Looked for first: what was written before the rotation is in the old file only.
        let next = successor(reader, path);
        let failed = |why| unreadable_file(path, &why);
        let shown = self.show_fitting(lines_until_end(reader), out, failed)?;
        if let Some(next) = next {
            *reader = BufReader::new(next);
        }
        Ok(shown)
    }

    /// Shows the lines that fit, each as soon as it is there.
    fn show_fitting(
        &self,
        lines: impl Iterator<Item = std::io::Result<String>>,
        out: &mut dyn Write,
        failed: impl Fn(std::io::Error) -> CliError,
    ) -> Shown {
        for line in lines {
            let line = line.map_err(&failed)?;
            if self.fits(&line) && self.show(&line, out)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn show_all(&self, lines: &[String], out: &mut dyn Write) -> Shown {
        for line in lines {
            if self.show(line, out)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows one line; a reader that has seen enough (`| head`) is not an error.
    fn show(&self, line: &str, out: &mut dyn Write) -> Shown {
        if self.json && !line.trim_start().starts_with('{') {
            return Err(CliError::Failed(
                "a line of the access log is not JSON: it was written in another format; leave --json away, \
                 or set `log.access.format = json` for those that come"
                    .into(),
            ));
        }
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(why) => Err(CliError::Failed(format!("standard output: {why}"))),
        }
    }

    /// The last lines that fit.
    fn last(
        &self,
        lines: impl Iterator<Item = std::io::Result<String>>,
    ) -> std::io::Result<Vec<String>> {
        let mut kept = std::collections::VecDeque::new();
        for line in lines {
            let line = line?;
            if !self.fits(&line) {
                continue;
            }
            if kept.len() >= self.lines {
                kept.pop_front();
            }
            kept.push_back(line);
        }
        kept.truncate(self.lines);
        Ok(kept.into())
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

fn unreadable_file(path: &Path, why: &std::io::Error) -> CliError {
    CliError::Failed(format!("{}: {why}", path.display()))
}

fn unreadable_journal(why: &std::io::Error) -> CliError {
    CliError::Failed(format!(
        "the access log goes to standard output, and the journal cannot be read: journalctl: {why}"
    ))
}

/// Refuses a journal that was not read to its end. What journalctl says of it is on standard error already.
fn must_be_whole(ended: ExitStatus) -> Result<(), CliError> {
    // Ctrl-C is for both of us.
    let was_asked_to = ended.signal() == Some(Signal::INT.as_raw());
    if ended.success() || was_asked_to {
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "the access log goes to standard output, and the journal cannot be read: journalctl ended with {ended}, \
         and what it says of that is above. Ask as root or as a member of the group systemd-journal, name another unit with \
         --unit, or a file with --file"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

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
            json: false,
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
        let many = (0..5).map(|n| Ok(format!("{{\"host\":\"{n}\"}}")));
        assert_eq!(log(|_| {}).last(many).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_reason_is_refused_before_anything_is_read() {
        let wrong = log(|log| log.reason = Some("revokd".into()));
        let never = || -> Result<Client, CliError> { panic!("nobody is asked") };
        let why = wrong.run(never, false).unwrap_err().to_string();
        assert!(why.contains("did you mean `revoked`?"), "{why}");
    }

    /// Somebody who reads what is shown, line by line, until the receiver is dropped.
    struct Reader {
        line: String,
        to: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.line.push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            let line = std::mem::take(&mut self.line);
            self.to
                .send(line)
                .map_err(|_gone| ErrorKind::BrokenPipe.into())
        }
    }

    fn reader() -> (Reader, Receiver<String>) {
        let (to, shown) = channel();
        let line = String::new();
        (Reader { line, to }, shown)
    }

    /// What comes of a journal that `script` prints, and what of it is shown.
    fn journal(log: &Log, script: &str) -> (Output, Vec<String>) {
        let (mut reader, shown) = reader();
        let mut program = Command::new("sh");
        program.args(["-c", script]);
        let ended = log.journal(program, &mut reader);
        drop(reader);
        (ended, shown.iter().collect())
    }

    #[test]
    fn lines_written_just_before_a_rotation_are_shown() {
        let directory = fixtures::Directory::new();
        let path = directory.path().join("access.log");
        let write = |line: &str| {
            let mut options = File::options();
            let mut file = options.append(true).create(true).open(&path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        };
        let (mut out, shown) = reader();
        let log = log(|_| {});
        write("{\"n\":1}\n");
        let mut file = tail(&path).unwrap();
        let mut look = || log.look(&mut file, &path, &mut out).unwrap();
        assert!(look().is_continue());
        assert_eq!(shown.try_iter().collect::<Vec<_>>(), ["{\"n\":1}\n"]);
        // Between two looks.
        write("{\"n\":2}\n");
        std::fs::rename(&path, directory.path().join("access.log.1")).unwrap();
        write("{\"n\":3}\n");
        assert!(look().is_continue());
        assert!(look().is_continue());
        let rest: Vec<String> = shown.try_iter().collect();
        assert_eq!(rest, ["{\"n\":2}\n", "{\"n\":3}\n"]);
        // As `| head` does.
        drop(shown);
        write("{\"n\":4}\n");
        assert!(look().is_break());
    }

    #[test]
    fn a_line_that_is_no_text_does_not_end_the_journal() {
        let script = r#"printf '{"n":"\377"}\n{"n":2}\n'"#;
        for follow in [false, true] {
            let (ended, shown) = journal(&log(|log| log.follow = follow), script);
            ended.unwrap();
            assert_eq!(shown, ["{\"n\":\"\u{fffd}\"}\n", "{\"n\":2}\n"]);
        }
    }

    #[test]
    fn a_journal_that_may_not_be_read_is_an_error_and_ctrl_c_is_none() {
        let denied = r#"echo '{"n":1}'; exit 1"#;
        let (ended, shown) = journal(&log(|_| {}), denied);
        let why = ended.unwrap_err().to_string();
        for wanted in ["exit status: 1", "systemd-journal", "--file"] {
            assert!(why.contains(wanted), "{wanted}: {why}");
        }
        assert_eq!(
            shown,
            ["{\"n\":1}\n"],
            "what there is is shown all the same"
        );
        let (ended, _) = journal(&log(|log| log.follow = true), "kill -s INT $$");
        ended.unwrap();
        let (ended, _) = journal(&log(|log| log.follow = true), "kill -s KILL $$");
        assert!(ended.unwrap_err().to_string().contains("signal: 9"));
    }

    #[test]
    fn a_reader_that_has_seen_enough_ends_a_journal_that_goes_on() {
        let (mut out, shown) = reader();
        drop(shown);
        let mut program = Command::new("sh");
        program.args(["-c", r#"echo '{"n":1}'; exec sleep 86400"#]);
        let log = log(|log| log.follow = true);
        // Not ended by us, it would be waited for.
        assert_eq!(log.journal(program, &mut out).unwrap(), "");
    }

    #[test]
    fn what_is_not_json_is_refused_where_json_is_asked_for() {
        let common = r#"192.0.2.1 - - [21/Nov/2025:01:22:09 +0000] "GET / HTTP/1.1" 200 5"#;
        let json = log(|log| log.json = true);
        let (mut out, shown) = reader();
        assert!(json.show(REVOKED, &mut out).unwrap().is_continue());
        let why = json.show(common, &mut out).unwrap_err().to_string();
        assert!(why.contains("log.access.format"), "{why}");
        assert!(log(|_| {}).show(common, &mut out).is_ok());
        drop(out);
        let shown: Vec<String> = shown.iter().collect();
        assert_eq!(shown, [format!("{REVOKED}\n"), format!("{common}\n")]);
    }
}
