//! A host's record, and where its requests go.

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::host_names;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode, OriginProtocol, TlsVersion};

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

/// What is to change of an [`OriginSpec`]. Absent leaves as it is, `null` takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginPatch {
    /// See [`OriginSpec::url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// See [`OriginSpec::protocol`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<OriginProtocol>,
    /// See [`OriginSpec::host_header`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub host_header: Option<Option<String>>,
    /// See [`OriginSpec::server_name`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Option<String>>,
    /// See [`OriginSpec::ca_pem`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<Option<String>>,
    /// See [`OriginSpec::confined`]. Absent, it stays while the URL does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confined: Option<bool>,
}

impl OriginPatch {
    /// The origin that comes of it.
    #[must_use]
    pub fn apply(self, to: &OriginSpec) -> OriginSpec {
        let to = to.clone();
        let kept = self.url.is_none() && to.confined;
        OriginSpec {
            confined: self.confined.unwrap_or(kept),
            url: self.url.unwrap_or(to.url),
            protocol: self.protocol.unwrap_or(to.protocol),
            host_header: self.host_header.unwrap_or(to.host_header),
            server_name: self.server_name.unwrap_or(to.server_name),
            ca_pem: self.ca_pem.unwrap_or(to.ca_pem),
        }
    }
}

impl From<OriginSpec> for OriginPatch {
    /// Changes everything to these settings.
    fn from(spec: OriginSpec) -> Self {
        Self {
            url: Some(spec.url),
            protocol: Some(spec.protocol),
            host_header: Some(spec.host_header),
            server_name: Some(spec.server_name),
            ca_pem: Some(spec.ca_pem),
            confined: Some(spec.confined),
        }
    }
}

/// Tells what is `null` from what is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn is_false(value: &bool) -> bool {
    !*value
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
    /// The mode was asked for; otherwise it is `request` while a CA is associated, else `off`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mtls_is_set: bool,
    /// Its last CA was taken away, and none was associated since: no default takes its place.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost_last_ca: bool,
    /// What it does with client certificates besides asking for them.
    #[serde(flatten)]
    pub client: ClientSettings,
    /// The oldest TLS version; `tls.min_version` of the gateway when it is newer, or nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_min_version: Option<TlsVersion>,
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

impl HostRecord {
    /// The mode that was asked for; `None` when it follows the associations. Stores from before
    /// `mtls_is_set` do not say so, but nothing else than a person has made a host `require`.
    #[must_use]
    pub fn told_mode(&self) -> Option<MtlsMode> {
        let is_told = self.mtls_is_set || self.mtls == MtlsMode::Require;
        is_told.then_some(self.mtls)
    }
}
