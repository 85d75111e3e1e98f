//! `postern check`: finds everything that would keep a gateway from starting, before it starts.
//!
//! Changes nothing: a store that does not exist is not created, one of an older format stays of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::Client;
use super::client::names::{OWN, text};
use super::client::target::Target;
use super::output::{CliError, Output, json_text, print};
use admin::AdminTls;
use config::{Config, ConfigError, ConfigErrors, Sources};
use control::{Control, OpenError, Options, STORE_FORMAT, StoreOpenError};

/// Checks the configuration files, the databases and certificates they name, and that the store
/// opens and compiles.
pub(super) fn check(sources: &Sources, json: bool) -> Output {
    let mut found = Found::default();
    let ended = found.look(sources);
    if !json {
        return ended.map(|()| found.told());
    }
    let shown = json_text(&found.as_json(ended.as_ref().err()));
    // What was found is the answer, and stays on standard output; the exit code says whether it is good.
    if ended.is_err() {
        print(&shown);
    }
    ended.map(|()| shown)
}

/// What is good, and what is to be known of it.
#[derive(Debug, Default)]
struct Found {
    /// Errors in lines that began with `-`.
    ignored: Vec<ConfigError>,
    files: Vec<PathBuf>,
    geoip_databases: Vec<PathBuf>,
    admin_certificate: Option<PathBuf>,
    store: Option<StoreFound>,
    warnings: Vec<String>,
}

/// How it stands with the store.
#[derive(Debug)]
struct StoreFound {
    path: PathBuf,
    /// One word, for scripts.
    state: &'static str,
    /// The same, for people.
    said: String,
    hosts: Option<usize>,
    format: Option<u64>,
    warnings: Vec<String>,
}

impl StoreFound {
    fn new(path: &Path, state: &'static str, said: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            state,
            said: said.into(),
            hosts: None,
            format: None,
            warnings: Vec::new(),
        }
    }

    /// With its format, and what becomes of an older one.
    fn of_format(mut self, format: Option<u64>) -> Self {
        self.warnings.extend(format.and_then(older));
        Self { format, ..self }
    }
}

impl Found {
    /// Looks at one thing after the other, up to the first that is wrong.
    fn look(&mut self, sources: &Sources) -> Result<(), CliError> {
        let loaded = Config::load(sources)?;
        let config = loaded.config;
        self.ignored = loaded.ignored;
        self.files = loaded.files;
        if self.files.is_empty() {
            let none = "no configuration files: every key has its default, and `postern run` wants `--defaults`";
            self.warnings.push(none.into());
        }
        crate::geoip::open(config.geoip_databases())
            .map_err(|error| CliError::Failed(error.to_string()))?;
        self.geoip_databases = config.geoip_databases().cloned().collect();
        if let Some((certificate, key)) = config.admin_tls() {
            AdminTls::load(certificate, key)
                .map_err(|error| CliError::Failed(error.to_string()))?;
            self.admin_certificate = Some(certificate.into());
        }
        self.store = Some(store(&config)?);
        Ok(())
    }

    /// In words.
    fn told(&self) -> String {
        let ignored = self.ignored.iter().map(|error| format!("ignored: {error}"));
        let good = |path: &PathBuf| format!("{}: good", path.display());
        let named = self.geoip_databases.iter().chain(&self.admin_certificate);
        let store = self.store.iter().flat_map(|store| {
            let first = format!("{}: {}", store.path.display(), store.said);
            std::iter::once(first).chain(store.warnings.iter().cloned())
        });
        ignored
            .chain(self.files.iter().map(good))
            .chain(self.warnings.iter().cloned())
            .chain(named.map(good))
            .chain(store)
            .map(|line| line + "\n")
            .collect()
    }

    /// As scripts get it, with what is wrong.
    fn as_json(&self, wrong: Option<&CliError>) -> Value {
        let shown = |path: &PathBuf| path.display().to_string();
        let paths = |all: &[PathBuf]| all.iter().map(shown).collect::<Vec<_>>();
        let store = self.store.as_ref().map(|store| {
            json!({
                "path": shown(&store.path),
                "state": store.state,
                "said": store.said,
                "hosts": store.hosts,
                "format": store.format,
            })
        });
        let of_store = self.store.iter().flat_map(|store| &store.warnings);
        json!({
            "files": paths(&self.files),
            "geoip_databases": paths(&self.geoip_databases),
            "admin_certificate": self.admin_certificate.as_ref().map(shown),
            "store": store,
            "ignored": self.ignored.iter().map(error_as_json).collect::<Vec<_>>(),
            "warnings": self.warnings.iter().chain(of_store).collect::<Vec<_>>(),
            "errors": wrong.map(errors_as_json).unwrap_or_default(),
        })
    }
}

/// What is wrong, with a place where there is one.
fn errors_as_json(wrong: &CliError) -> Vec<Value> {
    match wrong {
        CliError::Config(ConfigErrors(all)) => all.iter().map(error_as_json).collect(),
        other => vec![json!({
            "file": null,
            "line": null,
            "column": null,
            "message": other.to_string(),
            "help": null,
        })],
    }
}

fn error_as_json(error: &ConfigError) -> Value {
    let span = error.span.as_ref();
    json!({
        "file": error.file.display().to_string(),
        "line": span.map(|span| span.line),
        "column": span.map(|span| span.column),
        "message": error.message,
        "help": error.help,
    })
}

fn store(config: &Config) -> Result<StoreFound, CliError> {
    let path = &config.store_path;
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => {
            let said = "not there yet; `postern run` makes it";
            return Ok(StoreFound::new(path, "missing", said));
        }
        Err(why) => {
            return Err(CliError::Failed(format!(
                "{} cannot be looked at: {why}",
                path.display()
            )));
        }
    }
    let options = Options {
        key_file: config.key_file(),
        default_host: config.default_host.clone(),
        ..Options::default()
    };
    match Control::picture(path, options) {
        Ok((snapshot, format)) => {
            let hosts = snapshot.hosts.len();
            let said = format!("good, {hosts} hosts");
            let mut found = StoreFound::new(path, "good", said).of_format(Some(format));
            found.hosts = Some(hosts);
            if let (Some(host), None) = (&config.default_host, &snapshot.default_host) {
                found.warnings.push(format!(
                    "`host.default` names {host}, which the store does not serve yet"
                ));
            }
            Ok(found)
        }
        Err(OpenError::Store(StoreOpenError::InUse { .. })) => in_use(config),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

/// What becomes of a store of another format.
fn older(format: u64) -> Option<String> {
    (format < STORE_FORMAT).then(|| {
        format!(
            "its format is {format}: this version brings it to {STORE_FORMAT}, which the one before does not \
             know, and keeps a copy beside it"
        )
    })
}

/// The gateway that has the store can be asked whether this version could take its place.
fn in_use(config: &Config) -> Result<StoreFound, CliError> {
    let path = &config.store_path;
    let target = Target {
        socket: Some(config.admin_socket.clone()),
        ..Target::default()
    };
    let status = Client::new(&target).ok();
    let status = status.and_then(|client| client.ask(&format!("{OWN}/status")));
    let Some(status) = status else {
        let said = format!(
            "not checked, another process has it, and nobody answers at {}",
            config.admin_socket.display()
        );
        return Ok(StoreFound::new(path, "unanswered", said));
    };
    let format = status.get("store_format").and_then(Value::as_u64);
    match format {
        Some(newer) if newer > STORE_FORMAT => Err(CliError::Failed(format!(
            "{} has format {newer}, this postern knows {STORE_FORMAT}: the gateway that runs, version {}, \
             is a newer one. The way back is a copy of the store from before that version",
            path.display(),
            text(&status, "version")
        ))),
        format => {
            let said = "not checked, a running gateway has it; `postern status` asks that one";
            Ok(StoreFound::new(path, "in_use", said).of_format(format))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::thread::JoinHandle;

    #[test]
    fn good_bad_and_missing() {
        let directory = std::env::temp_dir().join(format!("postern-check-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (conf, store) = (directory.join("p.conf"), directory.join("store.redb"));
        let write = |text: &str| {
            fs::write(&conf, format!("store.path = {}\n{text}", store.display())).unwrap()
        };
        let run = || check(&Sources::file(&conf), false);
        write("workers = 1\n");
        assert!(
            run()
                .unwrap()
                .ends_with("not there yet; `postern run` makes it\n")
        );
        assert!(!store.exists());
        let control = Control::open(&store, Arc::default()).unwrap();
        assert!(run().unwrap().contains("not checked"), "{:?}", run());
        drop(control);
        write("host.default = api.example.com\n");
        let text = run().unwrap();
        assert!(text.contains("store.redb: good, 0 hosts"), "{text}");
        assert!(
            text.contains("`host.default` names api.example.com"),
            "{text}"
        );
        fs::write(&store, "nonsense").unwrap();
        let error = run().unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.to_string().contains("damaged or not a store"),
            "{error}"
        );
        assert_eq!(fs::read(&store).unwrap(), b"nonsense");
        write("worker = 1\n");
        assert_eq!(run().unwrap_err().exit_code(), 78);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn scripts_are_told_what_is_good_and_where_something_is_wrong() {
        let directory = fixtures::Directory::new();
        let (conf, store) = (
            directory.path().join("p.conf"),
            directory.path().join("store.redb"),
        );
        let shown = |path: &Path| json!(path.display().to_string());
        let write = |text: &str| {
            fs::write(&conf, format!("store.path = {}\n{text}", store.display())).unwrap();
        };
        let look = || {
            let mut found = Found::default();
            let ended = found.look(&Sources::file(&conf));
            found.as_json(ended.as_ref().err())
        };
        write("-wrokers = 2\nhost.default = api.example.com\n");
        let found = look();
        assert_eq!(found["files"], json!([shown(&conf)]), "{found}");
        assert_eq!(found["store"]["state"], "missing", "{found}");
        assert_eq!(found["errors"], json!([]), "{found}");
        let ignored = &found["ignored"][0];
        assert_eq!(ignored["file"], shown(&conf), "{found}");
        assert_eq!(ignored["line"], 2, "{found}");
        let text = check(&Sources::file(&conf), true).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), found);

        drop(Control::open(&store, Arc::default()).unwrap());
        let found = look();
        let wanted = json!({
            "path": shown(&store), "state": "good", "said": "good, 0 hosts", "hosts": 0,
            "format": STORE_FORMAT,
        });
        assert_eq!(found["store"], wanted);
        let warning = found["warnings"][0].as_str().unwrap();
        assert!(warning.contains("api.example.com"), "{found}");

        fs::write(&store, "nonsense").unwrap();
        let found = look();
        let errors = found["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{found}");
        assert_eq!(errors[0]["line"], Value::Null, "{found}");
        let message = errors[0]["message"].as_str().unwrap();
        assert!(message.contains("damaged or not a store"), "{found}");
        assert_eq!(found["files"], json!([shown(&conf)]), "what was good stays");

        write("timeout.hedaer = 5s\nwrokers = 1\n");
        let found = look();
        let errors = found["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 2, "all at once: {found}");
        assert_eq!(errors[0]["file"], shown(&conf), "{found}");
        assert_eq!(
            (&errors[0]["line"], &errors[0]["column"]),
            (&json!(2), &json!(1))
        );
        let help = errors[0]["help"].as_str().unwrap();
        assert!(help.contains("timeout.header"), "{found}");
        let error = check(&Sources::file(&conf), true).unwrap_err();
        assert_eq!(error.exit_code(), 78);
    }

    /// Answers one question for its status at `path`.
    fn gateway(path: &Path, status: &str) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        let body = format!("{{\"success\":true,\"errors\":[],\"result\":{status}}}");
        std::thread::spawn(move || {
            let (mut asked, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            assert!(asked.read(&mut head).unwrap() > 0);
            let length = body.len();
            write!(
                asked,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        })
    }

    #[test]
    fn the_gateway_that_has_the_store_says_whether_it_could_be_read() {
        let directory = fixtures::Directory::new();
        let file = |name: &str| directory.path().join(name);
        let (conf, store, socket) = (file("p.conf"), file("store.redb"), file("admin.sock"));
        let text = format!(
            "store.path = {}\nadmin.socket = {}\n",
            store.display(),
            socket.display()
        );
        fs::write(&conf, text).unwrap();
        let run = || check(&Sources::file(&conf), false);
        let _running = Control::open(&store, Arc::default()).unwrap();
        assert!(run().unwrap().contains("nobody answers"), "{:?}", run());
        for (format, wanted) in [
            (STORE_FORMAT + 1, Err("version 9.9, is a newer one")),
            (STORE_FORMAT, Ok(false)),
            (STORE_FORMAT - 1, Ok(true)),
        ] {
            let status = format!("{{\"version\":\"9.9\",\"store_format\":{format}}}");
            let answering = gateway(&socket, &status);
            let said = run();
            answering.join().unwrap();
            fs::remove_file(&socket).unwrap();
            match wanted {
                Ok(is_older) => {
                    let said = said.unwrap();
                    assert!(said.contains("a running gateway has it"), "{said}");
                    assert_eq!(said.contains("keeps a copy"), is_older, "{said}");
                }
                Err(why) => {
                    let said = said.unwrap_err().to_string();
                    assert!(said.contains(why), "{said}");
                }
            }
        }
    }
}
