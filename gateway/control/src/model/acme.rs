//! Records of ACME (RFC 8555): accounts at servers, and the last order of each host.

use serde::{Deserialize, Serialize};

use crate::model::host_names;
use crate::model::moment::Moment;
use crate::model::secret::Sealed;
use vocabulary::hostname::HostName;

/// An account at an ACME server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// The URL of the server's directory.
    pub directory: String,
    /// The account's own URL, by which the server knows it.
    pub url: String,
    /// Its key in PKCS#8, sealed.
    pub key: Sealed,
    /// When it was made.
    pub created_on: Moment,
}

/// What became of the last order for a host. Written before the server is asked, so that a gateway
/// that ends in the middle does not begin again without a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeOrder {
    /// The host.
    #[serde(with = "host_names::one")]
    pub host: HostName,
    /// When it was begun.
    pub begun_on: Moment,
    /// Orders in a row that brought no certificate, this one included.
    pub failures: u32,
    /// Why it brought none; `None` while it is under way, and when it brought one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
