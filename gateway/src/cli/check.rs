//! `postern check`: finds everything that would keep a gateway from starting, before it starts.
//!
//! Changes nothing: a store that does not exist is not created.

use std::sync::Arc;

use super::output::{CliError, Output};
use admin::AdminTls;
use config::{Config, Sources};
use control::{Control, OpenError, Options, StoreOpenError};
use snapshot::Published;

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
    let published = Arc::new(Published::default());
    let options = Options {
        key_file: config.key_file(),
        default_host: config.default_host.clone(),
        ..Options::default()
    };
    match Control::open_with(path, Arc::clone(&published), options) {
        Ok(_closed_again) => {
            let snapshot = published.load();
            let missing = config
                .default_host
                .as_ref()
                .filter(|_name| snapshot.default_host.is_none());
            let mut out = format!("{name}: good, {} hosts\n", snapshot.hosts.len());
            if let Some(host) = missing {
                out.push_str(&format!(
                    "`host.default` names {host}, which the store does not serve yet\n"
                ));
            }
            Ok(out)
        }
        Err(OpenError::Store(StoreOpenError::InUse { .. })) => Ok(format!(
            "{name}: not checked, a running gateway has it; `postern status` asks that one\n"
        )),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
        let control = Control::open(&store, Arc::new(Published::default())).unwrap();
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
}
