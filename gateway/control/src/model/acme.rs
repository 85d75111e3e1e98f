//! Records of ACME (RFC 8555): accounts at servers, and the last order of each host.

use serde::{Deserialize, Serialize};

use crate::model::host_names;
use crate::model::moment::Moment;
use crate::model::secret::Sealed;
use vocabulary::hostname::HostName;
use vocabulary::settings::AcmeChallenge;

/// An account at an ACME server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// The URL of the server's directory.
    pub directory: String,
    /// The account's own URL, by which the server knows it; empty while the server has not told it: the key
    /// is kept before the server hears of it.
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
    /// For how long after `begun_on` the server has asked to be left alone, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_alone_sec: u64,
    /// It was left for the next process to go on with, and is no failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<LeftOrder>,
    /// What every edge of a fleet shows the server while it is under way: the server may ask any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<AcmeProof>,
}

/// What the next process needs to go on with an order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftOrder {
    /// Where the server has it; `None` when it had not been told of it yet.
    pub url: Option<String>,
    /// What the server may be looking for.
    pub proof: Option<AcmeProof>,
}

/// What an ACME server is shown that checks a name. No secret: everybody is shown it who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeProof {
    /// How the name is checked.
    pub challenge: AcmeChallenge,
    /// The server's word for it.
    pub token: String,
    /// The token with the thumbprint of the account's key.
    pub key_authorization: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
