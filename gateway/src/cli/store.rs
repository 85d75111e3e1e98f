//! `postern store`: checks, backups and restores of the store's file.
//!
//! Owns where the store is (the configuration names it) and how findings are reported. The running
//! gateway makes backups; checks and restores need it stopped.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::client::files::PRIVATE;
use super::client::names::OWN;
use super::output::{CliError, Output, json_text};
use super::run::ConfigFile;
use config::Config;
use control::{self, Verified};

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Verify the whole store of a stopped gateway; exit code 1 when it is damaged
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// The store, or a backup [default: the store of the configuration]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Copy the store of the running gateway to a new file, consistent as of one moment
    ///
    /// The copy is verified before success is reported. It does not contain the key file (`ca.key`),
    /// without which it is of no use: keep a copy of that file in another place.
    Backup {
        /// The copy; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Replace the store of a stopped gateway with a backup
    ///
    /// The backup is verified first, and replaces the store in one step. The old store is kept beside
    /// it, with `.replaced` added to its name.
    Restore {
        #[command(flatten)]
        config: ConfigFile,
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The destination [default: the store of the configuration]
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Replace an existing store
        #[arg(long)]
        replace: bool,
    },
}

fn place(config: &ConfigFile, file: Option<PathBuf>) -> Result<PathBuf, CliError> {
    match file {
        Some(file) => Ok(file),
        None => Ok(Config::load(&config.sources())?.config.store_path),
    }
}

fn told(verified: &Verified, verb: &str, path: &Path, json: bool) -> String {
    let Verified {
        format,
        revision,
        size,
        zones,
        hosts,
        certificates,
        rules,
    } = verified;
    if json {
        return json_text(&json!({
            "path": path.display().to_string(),
            "format": format,
            "revision": revision,
            "size": size,
            "zones": zones,
            "hosts": hosts,
            "client_certificates": certificates,
            "rules": rules,
        }));
    }
    format!(
        "{}: {verb}, format {format}, revision {revision}, {size} bytes: {zones} zones, {hosts} hosts, {certificates} client certificates, {rules} rules\n",
        path.display()
    )
}

/// Writes a backup with the rights of whoever asks for it: the gateway may be another user. The file
/// is there whole, or not at all.
fn backup(client: &Client, to: &Path) -> Result<Verified, CliError> {
    let failed = |what: &Path, why: &dyn std::fmt::Display| {
        CliError::Failed(format!("{}: {why}", what.display()))
    };
    if to.symlink_metadata().is_ok() {
        let why = "it is there already; a backup never overwrites";
        return Err(failed(to, &why));
    }
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&part)
        .map_err(|why| failed(&part, &why))?;
    let written = (|| {
        client.download(&format!("{OWN}/backup"), &mut file)?;
        file.sync_all().map_err(|why| failed(&part, &why))?;
        // Unlike a renaming, a link takes the place of nothing.
        std::fs::hard_link(&part, to).map_err(|why| failed(to, &why))
    })();
    drop(std::fs::remove_file(&part));
    written?;
    control::verify(to).map_err(|why| CliError::Failed(format!("the backup is not good: {why}")))
}

impl Store {
    pub(super) fn run(
        self,
        client: impl FnOnce() -> Result<Client, CliError>,
        json: bool,
    ) -> Output {
        let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
        match self {
            Self::Check { config, file } => {
                let path = place(&config, file)?;
                let verified = control::verify(&path).map_err(|error| failed(&error))?;
                Ok(told(&verified, "good", &path, json))
            }
            Self::Backup { file } => {
                let absolute = std::path::absolute(&file)
                    .map_err(|why| CliError::Failed(format!("{}: {why}", file.display())))?;
                let made = backup(&client()?, &absolute)?;
                Ok(if json {
                    json_text(&json!({
                        "path": absolute.display().to_string(), "revision": made.revision, "size": made.size,
                    }))
                } else {
                    format!(
                        "{}: a copy of revision {}, {} bytes; keep a copy of the key file (`ca.key`) too\n",
                        absolute.display(),
                        made.revision,
                        made.size
                    )
                })
            }
            Self::Restore {
                config,
                file,
                to,
                replace,
            } => {
                let path = place(&config, to)?;
                let verified =
                    control::restore(&file, &path, replace).map_err(|error| failed(&error))?;
                Ok(told(&verified, "restored", &path, json))
            }
        }
    }
}
