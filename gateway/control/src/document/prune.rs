//! Prunes what a document does not name: removes it when asked to, else reports it as kept.
//!
//! Owns what counts as named. A section that is left out prunes nothing. Zones go only when that is
//! asked for by name: with them go keys and certificates that nothing brings back.

use std::collections::BTreeSet;

use super::apply::{Apply, Step, at};
use super::export::{self, fingerprints, labels};
use super::{Document, ZoneDocument};
use crate::model::Zone;
use crate::model::id::Uuid;
use crate::operations::loss::Loss;

impl Apply<'_> {
    fn keep(&mut self, what: String) {
        self.kept.push(what);
    }

    fn lose(&mut self, loss: Loss) {
        if !loss.is_nothing() {
            self.lost.push(loss);
        }
    }

    /// Hosts and server certificates of a zone that its sections do not name.
    pub(super) fn prune_zone(&mut self, zone: &Zone, wanted: &ZoneDocument, pointer: &str) -> Step {
        let model = self.model();
        if let Some(hosts) = &wanted.hosts {
            let named: BTreeSet<String> = hosts
                .iter()
                .map(|host| host.name.to_ascii_lowercase())
                .collect();
            for host in model.hosts_of(zone.id) {
                if named.contains(host.name.as_str()) {
                    continue;
                }
                if self.prune {
                    let gone = self.control.delete_host(&host.name);
                    self.lose(gone.map_err(|error| error.at(at(pointer, "hosts")))?);
                } else {
                    self.keep(format!("host {}", host.name));
                }
            }
        }
        if let Some(certificates) = &wanted.server_certificates {
            let mut named = BTreeSet::new();
            for one in certificates {
                named.extend(fingerprints(&one.certificate)?);
            }
            // Some may have left with a host above.
            let model = self.model();
            for one in model.server_certificates.values() {
                // No document has those of ACME: they leave with their hosts.
                let is_named = named.contains(&one.fingerprint_sha256) || one.of_acme;
                if one.zone != zone.id || is_named {
                    continue;
                }
                if self.prune {
                    let gone = self.control.delete_server_certificate(zone.id, one.id);
                    self.lose(gone.map_err(|error| error.at(at(pointer, "server_certificates")))?);
                } else {
                    self.keep(format!(
                        "server certificate {} of {}",
                        one.fingerprint_sha256, zone.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Origins of a zone that its section does not name, once nothing sends requests to them.
    pub(super) fn prune_origins(
        &mut self,
        zone: &Zone,
        wanted: &ZoneDocument,
        pointer: &str,
    ) -> Step {
        let Some(origins) = &wanted.origins else {
            return Ok(());
        };
        for origin in self.model().origins_of(zone.id) {
            if origins.iter().any(|named| named.name == origin.name) {
                continue;
            }
            if self.prune {
                let gone = self.control.delete_origin(zone.id, &origin.name);
                gone.map_err(|error| error.at(at(pointer, "origins")))?;
            } else {
                self.keep(format!("origin {} of {}", origin.name, zone.name));
            }
        }
        Ok(())
    }

    /// Zones, CAs and lists that the document does not name.
    pub(super) fn prune(&mut self, document: &Document, authorities: &[Uuid]) -> Step {
        let model = self.model();
        if let Some(zones) = &document.zones {
            let named: BTreeSet<String> = zones
                .iter()
                .map(|zone| zone.name.to_ascii_lowercase())
                .collect();
            for zone in model.zones.values() {
                if named.contains(zone.name.as_str()) {
                    continue;
                }
                if self.prune_zones {
                    let gone = self.control.delete_zone(zone.id);
                    self.lose(gone.map_err(|error| error.at("/zones"))?);
                } else {
                    self.keep(format!("zone {}", zone.name));
                }
            }
        }
        if document.authorities.is_some() {
            let labels = labels(&model)?;
            for ca in export::uploaded(&model) {
                if authorities.contains(&ca.id) {
                    continue;
                }
                if self.prune {
                    let gone = self.control.delete_authority(ca.id);
                    let (_, loss) = gone.map_err(|error| error.at("/authorities"))?;
                    self.lose(loss);
                } else {
                    let label = labels.get(&ca.id).map_or("", String::as_str);
                    self.keep(format!("CA {label}"));
                }
            }
        }
        if let Some(lists) = &document.lists {
            for list in model.lists.values() {
                if lists.iter().any(|named| named.name == list.name) {
                    continue;
                }
                if self.prune {
                    let gone = self.control.delete_list(list.id);
                    gone.map_err(|error| error.at("/lists"))?;
                } else {
                    self.keep(format!("list {}", list.name));
                }
            }
        }
        Ok(())
    }
}
