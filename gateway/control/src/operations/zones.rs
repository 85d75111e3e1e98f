//! Zones: made with a managed CA of their own, removed with everything they own.

use std::sync::Arc;

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::ZONES_MAX;
use crate::model::id::Id;
use crate::model::{Phase, Zone};
use crate::operations::authorities::make_managed;
use crate::operations::hosts::would_belong;
use crate::operations::loss::Loss;
use crate::pki::ca_key::CaKey;
use crate::store::Table;
use crate::store::certificate_index::IndexChange;
use vocabulary::hostname::HostName;

impl<A: Reads> Control<A> {
    /// The zone with this id, or with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn zone(&self, key: &str) -> Result<Arc<Zone>, ChangeError> {
        let model = self.model();
        let by_id = key
            .parse::<Id>()
            .ok()
            .and_then(|id| model.zones.get(&id).cloned());
        let name = key.trim_end_matches('.').to_ascii_lowercase();
        by_id
            .or_else(|| model.zone_named(&name).cloned())
            .ok_or_else(|| ChangeError::not_found(Noun::Zone, key))
    }
}

impl<A: Changes> Control<A> {
    /// Makes a zone and its managed CA, with an ECDSA P-256 key.
    ///
    /// # Errors
    /// The name is not a host name, or taken.
    pub fn create_zone(&self, name: &str) -> Result<Arc<Zone>, ChangeError> {
        self.create_zone_with(name, CaKey::default())
    }

    /// As [`Control::create_zone`], with a key of this kind.
    ///
    /// # Errors
    /// The name is not a host name, or taken, or above hosts of a zone further up.
    pub fn create_zone_with(&self, name: &str, kind: CaKey) -> Result<Arc<Zone>, ChangeError> {
        let name =
            HostName::parse(name).map_err(|why| ChangeError::invalid("name", why.to_string()))?;
        if name.is_wildcard() {
            let why = format!("`{name}` is a wildcard; a zone is a name such as `example.com`");
            return Err(ChangeError::invalid("name", why));
        }
        self.change(|draft| {
            if draft.model.zone_named(name.as_str()).is_some() {
                return Err(ChangeError::Exists {
                    noun: Noun::Zone,
                    key: name.to_string(),
                });
            }
            if draft.model.zones.len() >= ZONES_MAX {
                return Err(ChangeError::Full {
                    what: "zones",
                    max: ZONES_MAX,
                });
            }
            let now = draft.now;
            let zone = Zone {
                id: Id::random(),
                name,
                created_on: now,
                modified_on: now,
            };
            let taken: Vec<&str> = would_belong(&draft.model, &zone)
                .map(|host| host.name.as_str())
                .collect();
            if let Some(first) = taken.first() {
                let others = match taken.len() {
                    1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                return Err(ChangeError::InUse {
                    noun: Noun::Zone,
                    key: zone.name.to_string(),
                    by: format!(
                        "its name is above the host {first}{others} of another zone, which would \
                         belong to it; remove these there first, and make them again in the new zone"
                    ),
                });
            }
            make_managed(draft, zone.id, zone.name.as_str(), kind)?;
            draft.put_zone(zone.clone());
            Ok(Arc::new(zone))
        })
    }

    /// Removes a zone with its hosts, certificates, CAs and rules. No client gets in by this: hosts
    /// that are gone are refused as unknown names are. Answers what was lost for good.
    ///
    /// # Errors
    /// There is none.
    pub fn delete_zone(&self, id: Id) -> Result<Loss, ChangeError> {
        self.change(|draft| {
            if !draft.model.zones.contains_key(&id) {
                return Err(ChangeError::not_found(Noun::Zone, id));
            }
            let model = draft.model.clone();
            let loss = draft.shared().loss_of_zone(&model, id);
            for host in model.hosts_of(id) {
                draft.remove_host(&host.name);
            }
            for origin in model.origins_of(id) {
                draft.remove_origin(origin);
            }
            for ((_, set), _) in model.associations_of(id) {
                draft.put_association(id, *set, Default::default());
            }
            for certificate in model.server_certificates.values().filter(|c| c.zone == id) {
                draft.remove_server_certificate(certificate.id);
            }
            for authority in model.managed(id) {
                draft.remove_authority(authority.id)?;
            }
            for phase in Phase::ALL {
                draft.remove_ruleset(id, phase)?;
            }
            for uuid in draft.shared().certificate_ids(id) {
                draft.write(Table::CertificateIds, uuid.as_bytes().to_vec(), None);
            }
            for table in [
                Table::CertificateIndex,
                Table::CertificateBodies,
                Table::CertificateFinds,
            ] {
                draft.remove_all(table, id.as_bytes())?;
            }
            draft.index(IndexChange::RemoveZone(id));
            draft.remove_zone(id);
            Ok(loss)
        })
    }
}
