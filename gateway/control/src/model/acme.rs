//! Records of ACME (RFC 8555): accounts at servers, and the last order of each host.

use std::collections::BTreeMap;

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
    /// For how long after `begun_on` servers have asked to be left alone, in seconds, by the URLs of their
    /// directories. What has passed goes with the next order: no more stay than are configured within a week.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_alone: BTreeMap<String, u64>,
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
    /// The server's directory. A version that did not note it left only orders of the one that is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
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

impl AcmeOrder {
    /// One that begins now, after the one before.
    pub(crate) fn begin(host: HostName, before: Option<&Self>, now: Moment) -> Self {
        Self {
            host,
            begun_on: now,
            failures: before.map_or(0, |before| before.failures).saturating_add(1),
            error: None,
            left_alone: before.map_or_else(BTreeMap::new, |before| before.left_alone_after(now)),
            left: None,
            shown: None,
        }
    }

    /// Seconds since it was begun; none by a clock that was put back.
    pub(crate) fn age_sec(&self, now: Moment) -> u64 {
        let age = now.seconds().saturating_sub(self.begun_on.seconds());
        u64::try_from(age).unwrap_or_default()
    }

    /// Servers that are to be left alone at that time still, with the seconds after it.
    fn left_alone_after(&self, now: Moment) -> BTreeMap<String, u64> {
        let age = self.age_sec(now);
        let left = self.left_alone.iter();
        left.filter(|(_, seconds)| **seconds > age)
            .map(|(directory, seconds)| (directory.clone(), seconds - age))
            .collect()
    }
}
