//! A host's record.

use serde::{Deserialize, Serialize};

use crate::model::acme::AcmeOrder;
use crate::model::host_names;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::origin::OriginSpec;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode, TlsVersion};

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
    /// Bytes that a request's body may have, 0 for any number; `limit.request_body` of the gateway
    /// when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body_max: Option<u64>,
    /// Its certificate comes from the ACME server of the configuration.
    #[serde(default, skip_serializing_if = "is_false")]
    pub acme: bool,
    /// What was known of its last order when `acme` was turned off: the server counts failures by name,
    /// whoever turns what off and on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_before: Option<Box<AcmeOrder>>,
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
