//! `postern check`: finds everything that would keep a gateway from starting, before it starts.
//!
//! Changes nothing: a store that does not exist is not created, one of an older format stays of it.

use super::client::Client;
use super::client::names::{OWN, text};
use super::client::target::Target;
use super::output::{CliError, Output};
use admin::AdminTls;
use config::{Config, Sources};
use control::{Control, OpenError, Options, STORE_FORMAT, StoreOpenError};

/// Checks the configuration files, the databases and certificates they name, and that the store
/// opens and compiles.
pub(super) fn check(sources: &Sources) -> Output {
    let loaded = Config::load(sources)?;
    let mut out = String::new();
    for error in &loaded.ignored {
        out.push_str(&format!("ignored: {error}\n"));
    }
    for file in &loaded.files {
        out.push_str(&format!("{}: good\n", file.display()));
    }
    if loaded.files.is_empty() {
        out.push_str("no configuration files: every key has its default, and `postern run` wants `--defaults`\n");
    }
    crate::geoip::open(loaded.config.geoip_databases())
        .map_err(|error| CliError::Failed(error.to_string()))?;
    for path in loaded.config.geoip_databases() {
        out.push_str(&format!("{}: good\n", path.display()));
    }
    if let Some((certificate, key)) = loaded.config.admin_tls() {
        AdminTls::load(certificate, key).map_err(|error| CliError::Failed(error.to_string()))?;
        out.push_str(&format!("{}: good\n", certificate.display()));
    }
    out.push_str(&store(&loaded.config)?);
    Ok(out)
}

fn store(config: &Config) -> Output {
    let path = &config.store_path;
    let name = path.display();
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(format!("{name}: not there yet; `postern run` makes it\n")),
        Err(why) => {
            return Err(CliError::Failed(format!(
                "{name} cannot be looked at: {why}"
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
            let missing = config
                .default_host
                .as_ref()
                .filter(|_name| snapshot.default_host.is_none());
            let mut out = format!("{name}: good, {} hosts\n", snapshot.hosts.len());
            out.push_str(&older(format).unwrap_or_default());
            if let Some(host) = missing {
                out.push_str(&format!(
                    "`host.default` names {host}, which the store does not serve yet\n"
                ));
            }
            Ok(out)
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
             know, and keeps a copy beside it\n"
        )
    })
}

/// The gateway that has the store can be asked whether this version could take its place.
fn in_use(config: &Config) -> Output {
    let name = config.store_path.display();
    let target = Target {
        socket: Some(config.admin_socket.clone()),
        ..Target::default()
    };
    let status = Client::new(&target).ok();
    let status = status.and_then(|client| client.ask(&format!("{OWN}/status")));
    let Some(status) = status else {
        return Ok(format!(
            "{name}: not checked, another process has it, and nobody answers at {}\n",
            config.admin_socket.display()
        ));
    };
    let format = status
        .get("store_format")
        .and_then(serde_json::Value::as_u64);
    match format {
        Some(newer) if newer > STORE_FORMAT => Err(CliError::Failed(format!(
            "{name} has format {newer}, this postern knows {STORE_FORMAT}: the gateway that runs, version {}, \
             is a newer one. The way back is a copy of the store from before that version",
            text(&status, "version")
        ))),
        format => Ok(format!(
            "{name}: not checked, a running gateway has it; `postern status` asks that one\n{}",
            format.and_then(older).unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
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
        let run = || check(&Sources::file(&conf));
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
        let run = || check(&Sources::file(&conf));
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
