//! A zone's record.

use serde::{Deserialize, Serialize};

use crate::model::host_names;
use crate::model::id::Id;
use crate::model::moment::Moment;
use vocabulary::hostname::HostName;

/// An administrative unit: owns hosts, rules, managed CAs, client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its id.
    pub id: Id,
    /// `example.com`; hosts of the zone are this name or below it.
    #[serde(with = "host_names::one")]
    pub name: HostName,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}
