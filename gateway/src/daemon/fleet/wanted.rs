//! What the configuration says of the fleet: read and checked, and etcd not asked yet.

use std::path::{Path, PathBuf};

use crate::limits::FLEET_FILE_BYTES_MAX;
use ::fleet::{Credentials, FleetName, Input, Member, Settings};
use admin::{CredentialEnd, FleetCredential};
use vocabulary::file::read_regular;

/// Why a fleet that is configured cannot be an edge's.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A value is none.
    #[error("{key}: {why}")]
    Value {
        /// The configuration's key.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// A file cannot be read.
    #[error("{key}: {path}: {why}")]
    File {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The thread that speaks with etcd does not start.
    #[error("the connection to the fleet's etcd cannot be set up: {0}")]
    Start(String),
}

/// A fleet, and this gateway as an edge of it.
pub(super) struct Wanted {
    pub(super) name: FleetName,
    /// What this edge is called.
    pub(super) edge: String,
    /// etcd's members, as they were written.
    pub(super) members: Vec<String>,
    pub(super) settings: Settings,
    /// When what etcd is reached with is over.
    pub(super) credentials: Vec<CredentialEnd>,
}

impl Wanted {
    /// What the configuration says; nothing when it names no fleet.
    pub(super) fn read(
        wanted: &config::Fleet,
        host_name: &str,
    ) -> Result<Option<Self>, FleetError> {
        let Some(name) = &wanted.name else {
            return Ok(None);
        };
        let value = |key, why: &dyn std::fmt::Display| FleetError::Value {
            key,
            why: why.to_string(),
        };
        let name: FleetName = name.parse().map_err(|why| value("fleet.name", &why))?;
        let edge = wanted.edge.clone().unwrap_or_else(|| label_of(host_name));
        let members = wanted.etcd.iter().map(|url| url.parse::<Member>());
        let members = members.collect::<Result<Vec<_>, _>>();
        let mut members = members.map_err(|why| value("fleet.etcd", &why))?;
        // Not all edges begin with the same member.
        if !members.is_empty() {
            let sum: usize = edge.bytes().map(usize::from).sum();
            let first = sum % members.len();
            members.rotate_left(first);
        }
        let ca = read("fleet.ca_file", wanted.ca_file.as_deref())?;
        let certificate = read("fleet.certificate", wanted.certificate.as_deref())?;
        let key = read("fleet.key", wanted.key.as_deref())?;
        let password = read("fleet.password_file", wanted.password_file.as_deref())?;
        let password = password.map(String::from_utf8).transpose();
        let password = password.map_err(|why| value("fleet.password_file", &why))?;
        let credentials = Credentials {
            ca: ca.as_deref(),
            certificate: certificate.as_deref(),
            key: key.as_deref(),
            user: wanted.user.as_deref(),
            password: password.as_deref().map(str::trim_end),
        };
        let settings = Settings::read(members, &credentials);
        let settings = settings.map_err(|why| value("fleet.etcd", &why))?;
        Ok(Some(Self {
            name,
            edge,
            members: wanted.etcd.clone(),
            settings,
            credentials: credentials.ends().into_iter().filter_map(end).collect(),
        }))
    }
}

fn read(key: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>, FleetError> {
    let Some(path) = path else { return Ok(None) };
    let bytes = read_regular(path, FLEET_FILE_BYTES_MAX).map_err(|why| FleetError::File {
        key,
        path: path.to_owned(),
        why,
    })?;
    Ok(Some(bytes))
}

/// When a credential is over, as the API tells of it.
fn end((input, ends): (Input, i64)) -> Option<CredentialEnd> {
    let kind = match input {
        Input::Ca => FleetCredential::Ca,
        Input::Certificate => FleetCredential::Certificate,
        Input::Key | Input::User | Input::Password => return None,
    };
    Some(CredentialEnd { kind, ends })
}

/// The first label of a machine's name, as the name of an edge.
fn label_of(host_name: &str) -> String {
    let label = host_name.split('.').next().unwrap_or_default();
    let mut label: String = label
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    label.truncate(config::limits::LABEL_BYTES_MAX);
    let label = label.trim_matches('-');
    if label.is_empty() {
        "edge".into()
    } else {
        label.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_called_as_its_machine() {
        for (host, label) in [
            ("edge-1.example.com", "edge-1"),
            ("EDGE_7", "edge-7"),
            ("-", "edge"),
            ("", "edge"),
            (&"a".repeat(80), &"a".repeat(63)),
        ] {
            assert_eq!(label_of(host), *label, "{host}");
        }
    }
}
