//! Losses: what leaves with a thing and cannot be had back, counted before it goes.
//!
//! Owns what counts as lost for good: keys, the certificates that only they can replace, and what is
//! known of revocations. What a document or a file can bring back is counted with it only where it
//! says how large the thing is.

use std::sync::PoisonError;

use serde::Serialize;

use crate::change::control::Shared;
use crate::model::Model;
use crate::model::id::{Id, Uuid};

/// What is lost for good with one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What goes: `zone example.com`.
    pub what: String,
    /// Keys of managed CAs.
    pub ca_keys: usize,
    /// Client certificates that they issued and that are accepted no more.
    pub client_certificates: usize,
    /// Server certificates with their keys.
    pub server_keys: usize,
    /// Revocation lists of uploaded CAs.
    pub revocation_lists: usize,
    /// Hosts that are not served any more.
    pub hosts: usize,
}

impl Loss {
    /// Nothing is lost that could not be had back.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let Self {
            what: _,
            hosts: _,
            ca_keys,
            client_certificates,
            server_keys,
            revocation_lists,
        } = self;
        ca_keys + client_certificates + server_keys + revocation_lists == 0
    }
}

impl Shared {
    /// What would be lost with a zone.
    pub(crate) fn loss_of_zone(&self, model: &Model, zone: Id) -> Loss {
        let name = model.zones.get(&zone).map_or("", |zone| zone.name.as_str());
        let certificates = model.server_certificates.values();
        Loss {
            what: format!("zone {name}"),
            ca_keys: model.managed(zone).len(),
            client_certificates: self.issued(zone, None),
            server_keys: certificates.filter(|one| one.zone == zone).count(),
            hosts: model.hosts_of(zone).count(),
            ..Loss::default()
        }
    }

    /// What would be lost with one managed CA.
    pub(crate) fn loss_of_managed(&self, model: &Model, zone: Id, id: Uuid) -> Loss {
        let name = model.authorities.get(&id).map_or("", |ca| ca.name.as_str());
        Loss {
            what: format!("CA {name}"),
            ca_keys: 1,
            client_certificates: self.issued(zone, Some(id)),
            ..Loss::default()
        }
    }

    /// Client certificates that a zone has issued, or one of its CAs.
    fn issued(&self, zone: Id, of: Option<Uuid>) -> usize {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let entries = index.0.get(&zone).into_iter().flatten();
        entries
            .filter(|entry| of.is_none_or(|of| entry.authority == of))
            .count()
    }
}

/// What would be lost with an uploaded CA.
pub(crate) fn loss_of_uploaded(model: &Model, id: Uuid) -> Loss {
    let name = model.authorities.get(&id).map_or("", |ca| ca.name.as_str());
    Loss {
        what: format!("CA {name}"),
        revocation_lists: model.crls.get(&id).map_or(0, |record| record.lists.len()),
        ..Loss::default()
    }
}
