//! `postern store`: the file that everything is kept in.
//!
//! Owns where the store is (the configuration says) and how findings are told. A backup is made by
//! the running gateway; checks and restores want it stopped.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::client::names::{OWN, text};
use super::output::{CliError, ClientError, Output, json_text};
use super::run::ConfigFile;
use config::Config;
use control::{self, Verified};

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Read a store whole, of a gateway that is stopped; damage is told with exit code 1
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// The store, or a backup of one; that of the configuration by default
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Copy the store of the running gateway, as it is at one moment, to a new file
    ///
    /// The copy is read back before this says that it is made. The key file (`ca.key`) is not in
    /// it: without that file the copy is of no use, so keep a copy of it too, in another place.
    Backup {
        /// The copy; it must not be there yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a backup in the place of the store, of a gateway that is stopped
    ///
    /// The backup is read whole first, and takes the store's place in one step. What was there is
    /// kept beside it, with `.replaced` at the end of its name.
    Restore {
        #[command(flatten)]
        config: ConfigFile,
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where it goes; the place of the configuration by default
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Replace a store that is there
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

fn told(verified: &Verified, verb: &str, path: &std::path::Path, json: bool) -> String {
    let Verified {
        revision,
        size,
        zones,
        hosts,
        certificates,
        rules,
    } = verified;
    if json {
        return json_text(&json!({
            "path": path,
            "revision": revision,
            "size": size,
            "zones": zones,
            "hosts": hosts,
            "client_certificates": certificates,
            "rules": rules,
        }));
    }
    format!(
        "{}: {verb}, revision {revision}, {size} bytes: {zones} zones, {hosts} hosts, {certificates} client certificates, {rules} rules\n",
        path.display()
    )
}

impl Store {
    pub(super) fn run(
        self,
        client: impl FnOnce() -> Result<Client, ClientError>,
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
                let made =
                    client()?.post(&format!("{OWN}/backup"), &json!({ "path": absolute }))?;
                Ok(if json {
                    json_text(&made)
                } else {
                    format!(
                        "{}: a copy of revision {}, {} bytes; keep a copy of the key file (`ca.key`) too\n",
                        absolute.display(),
                        text(&made, "revision"),
                        text(&made, "size")
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
