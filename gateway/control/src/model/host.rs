//! A host's record, and where its requests go.

use serde::{Deserialize, Serialize};

use crate::model::host_names;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode, OriginProtocol};

/// Where permitted requests of a host go, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSpec {
    /// `http://127.0.0.1:9000` or `https://origin.example.com`.
    pub url: String,
    /// HTTP version to speak.
    #[serde(default)]
    pub protocol: OriginProtocol,
    /// Replaces the client's `Host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
    /// The name that the origin's certificate must be for; the URL's host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// CAs that may have signed the origin's certificate, in PEM; the system's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// A token of a zone set it, so that it may not be what only this machine reaches; see
    /// `control.private_origins`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
}

/// One SNI name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name, exact or wildcard.
    #[serde(with = "host_names::one")]
    pub name: HostName,
    /// Its zone.
    pub zone: Id,
    /// Where its requests go.
    pub origin: OriginSpec,
    /// Whether it asks for client certificates.
    pub mtls: MtlsMode,
    /// What it does with client certificates besides asking for them.
    #[serde(flatten)]
    pub client: ClientSettings,
    /// The server certificate that it must use; `None` takes the newest of the zone that cover it,
    /// one of an elliptic-curve key and one of an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Uuid>,
    /// The one beside `certificate` that it must use, of the other kind of key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_certificate: Option<Uuid>,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}
