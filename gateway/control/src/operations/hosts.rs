//! Hosts, and which CAs they trust.
//!
//! One rule ties the two together: a host asks for client certificates exactly when at least one CA
//! is associated with it. So Cloudflare's way (associate a host name, which enables mTLS) and
//! Postern's own (set the host's mode) can be mixed, and a CA set is never empty by accident.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::compile::origin::{check_reach, origin};
use crate::limits::ASSOCIATIONS_MAX;
use crate::model::id::{Id, Uuid};
use crate::model::{AuthoritySet, HostRecord, Model, OriginSpec, ServerKey, Zone};
use snapshot::limits::HOSTS_MAX;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientPatch, ClientSettings, MtlsMode};

/// A host to be made.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// Its name: the zone's, or below it.
    pub name: HostName,
    /// Where its requests go.
    pub origin: OriginSpec,
    /// Whether it asks for client certificates; `None` asks when CAs are already associated with
    /// the name.
    pub mtls: Option<MtlsMode>,
    /// What it does with client certificates besides asking for them.
    pub client: ClientSettings,
    /// The server certificate it must use; `None` takes the newest that cover it.
    pub certificate: Option<Uuid>,
    /// The one beside it, of the other kind of key.
    pub other_certificate: Option<Uuid>,
}

/// What is to change of a host. `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct HostPatch {
    /// Where its requests go.
    pub origin: Option<OriginSpec>,
    /// Whether it asks for client certificates.
    pub mtls: Option<MtlsMode>,
    /// What it does with client certificates besides asking for them.
    pub client: ClientPatch,
    /// The server certificate it must use; `Some(None)` goes back to the newest that covers it.
    pub certificate: Option<Option<Uuid>>,
    /// The one beside it, of the other kind of key; goes with the first when that is taken away.
    pub other_certificate: Option<Option<Uuid>>,
}

fn zone_of(model: &Model, id: Id) -> Result<&Arc<Zone>, ChangeError> {
    model
        .zones
        .get(&id)
        .ok_or_else(|| ChangeError::not_found(Noun::Zone, id))
}

/// Whether `name` is the zone's name, its wildcard, or below it.
fn belongs(zone: &Zone, name: &HostName) -> bool {
    let zone = zone.name.as_str();
    let below = name.as_str().strip_suffix(zone);
    below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The zone that a name belongs to: of those above it the nearest.
fn owner<'m>(model: &'m Model, name: &HostName) -> Option<&'m Arc<Zone>> {
    let zones = model.zones.values().filter(|zone| belongs(zone, name));
    zones.max_by_key(|zone| zone.name.as_str().len())
}

/// Hosts of other zones that would belong to a zone of this name.
pub(crate) fn would_belong<'m>(
    model: &'m Model,
    zone: &'m Zone,
) -> impl Iterator<Item = &'m Arc<HostRecord>> {
    let hosts = model.hosts.values();
    hosts.filter(|host| {
        let nearer = model
            .zones
            .get(&host.zone)
            .is_none_or(|of| of.name.as_str().len() < zone.name.as_str().len());
        nearer && belongs(zone, &host.name)
    })
}

fn check_belongs(
    model: &Model,
    zone: &Zone,
    name: &HostName,
    field: &'static str,
) -> Result<(), ChangeError> {
    if belongs(zone, name) {
        // Zones above may not reach into one that somebody else may have been given.
        return match owner(model, name) {
            Some(owner) if owner.id != zone.id => {
                let why = format!(
                    "`{name}` belongs to the zone {}, which is nearer to it than {}; name it there",
                    owner.name, zone.name
                );
                Err(ChangeError::invalid(field, why))
            }
            _ => Ok(()),
        };
    }
    let why = format!(
        "`{name}` does not belong to the zone {0}: it must be {0} or end in .{0}",
        zone.name
    );
    Err(ChangeError::invalid(field, why))
}

/// Checks an origin that is about to be set. What a tenant sets is confined from then on.
fn new_origin(draft: &Draft<'_>, mut spec: OriginSpec) -> Result<OriginSpec, ChangeError> {
    spec.confined |= draft.intent().tenant;
    let refuse = |why: String| ChangeError::invalid("origin", why);
    let reach = draft.shared().reach.load_full();
    let made = origin(&spec, &reach).map_err(|why| refuse(why.to_string()))?;
    check_reach(&made).map_err(|why| refuse(why.to_string()))?;
    Ok(spec)
}

fn check(model: &Model, host: &HostRecord) -> Result<(), ChangeError> {
    if host.certificate.is_none() && host.other_certificate.is_some() {
        let why = "it stands beside another certificate, which is not named";
        return Err(ChangeError::invalid("other_certificate", why));
    }
    let mut kinds = Vec::new();
    for (field, id) in [
        ("certificate", host.certificate),
        ("other_certificate", host.other_certificate),
    ] {
        let Some(id) = id else { continue };
        let certificate = model
            .server_certificates
            .get(&id)
            .filter(|certificate| certificate.zone == host.zone)
            .ok_or_else(|| ChangeError::not_found(Noun::ServerCertificate, id))?;
        if !certificate.covers(&host.name) {
            let names: Vec<&str> = certificate.names.iter().map(HostName::as_str).collect();
            let why = format!("it is for {}, not for {}", names.join(", "), host.name);
            return Err(ChangeError::invalid(field, why));
        }
        if kinds.contains(&certificate.key_type) {
            let why = format!(
                "both certificates have the same kind of key ({}); a host presents one of ECDSA and one of RSA",
                certificate.key_type.map_or("", ServerKey::as_str)
            );
            return Err(ChangeError::invalid(field, why));
        }
        kinds.push(certificate.key_type);
    }
    Ok(())
}

fn is_associated(model: &Model, zone: Id, name: &HostName) -> bool {
    model
        .associations_of(zone)
        .any(|(_, names)| names.contains(name))
}

/// Makes the associations agree with a mode that was asked for: with the managed CA when there is
/// none, with nobody for `off`.
fn associate(draft: &mut Draft<'_>, zone: Id, name: &HostName, mode: MtlsMode) {
    let model = draft.model.clone();
    match mode {
        MtlsMode::Off => {
            for ((_, set), names) in model.associations_of(zone) {
                if names.contains(name) {
                    let mut names = (**names).clone();
                    names.remove(name);
                    draft.put_association(zone, *set, names);
                }
            }
        }
        MtlsMode::Request | MtlsMode::Require if !is_associated(&model, zone, name) => {
            let place = (zone, AuthoritySet::Managed);
            let mut names = model
                .associations
                .get(&place)
                .map(|names| (**names).clone())
                .unwrap_or_default();
            names.insert(name.clone());
            draft.put_association(zone, AuthoritySet::Managed, names);
        }
        MtlsMode::Request | MtlsMode::Require => {}
    }
}

impl<A: Reads> Control<A> {
    /// The host of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&self, name: &HostName) -> Result<Arc<HostRecord>, ChangeError> {
        let model = self.model();
        model
            .hosts
            .get(name)
            .cloned()
            .ok_or_else(|| ChangeError::not_found(Noun::Host, name))
    }
}

impl<A: Changes> Control<A> {
    /// Makes a host. Without a server certificate that covers it, it is kept but not served yet.
    ///
    /// # Errors
    /// The name is taken or foreign to the zone, or a part of it is not acceptable.
    pub fn create_host(&self, zone: Id, new: NewHost) -> Result<Arc<HostRecord>, ChangeError> {
        self.change(|draft| {
            let model = &draft.model;
            check_belongs(model, zone_of(model, zone)?, &new.name, "name")?;
            if draft.model.hosts.contains_key(&new.name) {
                return Err(ChangeError::Exists {
                    noun: Noun::Host,
                    key: new.name.to_string(),
                });
            }
            if draft.model.hosts.len() >= HOSTS_MAX {
                return Err(ChangeError::Full {
                    what: "hosts",
                    max: HOSTS_MAX,
                });
            }
            let associated = is_associated(&draft.model, zone, &new.name);
            let mtls = match new.mtls {
                Some(mtls) => mtls,
                None if associated => MtlsMode::Request,
                None => MtlsMode::Off,
            };
            associate(draft, zone, &new.name, mtls);
            let host = HostRecord {
                name: new.name,
                zone,
                origin: new_origin(draft, new.origin)?,
                mtls,
                client: new.client,
                certificate: new.certificate,
                other_certificate: new.other_certificate,
                created_on: draft.now,
                modified_on: draft.now,
            };
            check(&draft.model, &host)?;
            draft.put_host(host.clone());
            Ok(Arc::new(host))
        })
    }

    /// Changes a host.
    ///
    /// # Errors
    /// There is no such host, or a part of the change is not acceptable.
    pub fn update_host(
        &self,
        name: &HostName,
        patch: HostPatch,
    ) -> Result<Arc<HostRecord>, ChangeError> {
        self.change(|draft| {
            let found = draft.model.hosts.get(name);
            let found = found.ok_or_else(|| ChangeError::not_found(Noun::Host, name))?;
            let mut host = (**found).clone();
            if let Some(origin) = patch.origin.filter(|origin| *origin != host.origin) {
                host.origin = new_origin(draft, origin)?;
            }
            if let Some(certificate) = patch.certificate {
                host.certificate = certificate;
                if certificate.is_none() {
                    host.other_certificate = None;
                }
            }
            if let Some(certificate) = patch.other_certificate {
                host.other_certificate = certificate;
            }
            if let Some(mtls) = patch.mtls {
                associate(draft, host.zone, name, mtls);
                if host.mtls != mtls {
                    draft.trust_moves();
                }
                host.mtls = mtls;
            }
            let client = patch.client.apply(&host.client);
            if host.client.revoked != client.revoked {
                draft.trust_moves();
            }
            host.client = client;
            host.modified_on = draft.now;
            check(&draft.model, &host)?;
            draft.put_host(host.clone());
            Ok(Arc::new(host))
        })
    }

    /// Removes a host, and its name from all associations.
    ///
    /// # Errors
    /// There is no such host.
    pub fn delete_host(&self, name: &HostName) -> Result<(), ChangeError> {
        self.change(|draft| {
            let found = draft.model.hosts.get(name);
            let zone = found
                .ok_or_else(|| ChangeError::not_found(Noun::Host, name))?
                .zone;
            associate(draft, zone, name, MtlsMode::Off);
            draft.remove_host(name);
            Ok(())
        })
    }
}

impl<A: Reads> Control<A> {
    /// The host names associated with the zone's managed CAs, or with an uploaded one.
    ///
    /// # Errors
    /// There is no such zone or CA.
    pub fn associations(
        &self,
        zone: Id,
        set: AuthoritySet,
    ) -> Result<Arc<BTreeSet<HostName>>, ChangeError> {
        let model = self.model();
        zone_of(&model, zone)?;
        check_set(&model, set)?;
        Ok(model
            .associations
            .get(&(zone, set))
            .cloned()
            .unwrap_or_default())
    }
}

impl<A: Changes> Control<A> {
    /// As [`Self::set_associations`], for names that are hosts: one that is not, and was not
    /// associated before either, is more likely to be misspelt than to come.
    ///
    /// # Errors
    /// A name is no host, or what [`Self::set_associations`] refuses.
    pub fn associate_hosts(
        &self,
        zone: Id,
        set: AuthoritySet,
        names: BTreeSet<HostName>,
    ) -> Result<Arc<BTreeSet<HostName>>, ChangeError> {
        self.batch(|control| {
            let present = control.associations(zone, set)?;
            let model = control.model();
            let mut new = names.difference(&present);
            let zone_name = zone_of(&model, zone)?.name.clone();
            if let Some(name) = new.find(|name| !model.hosts.contains_key(*name)) {
                check_belongs(&model, zone_of(&model, zone)?, name, "hostnames")?;
                let why = format!(
                    "there is no host `{name}`; create it first: `postern host add {name} --zone \
                     {zone_name} --origin URL`, or POST a proxied record to dns_records"
                );
                return Err(ChangeError::invalid("hostnames", why));
            }
            control.set_associations(zone, set, names)
        })
    }

    /// Replaces the host names associated with the zone's managed CAs, or with an uploaded one.
    /// Names that are no host yet are kept for when they become one.
    ///
    /// # Errors
    /// A name is foreign to the zone, or a host that requires certificates would be left without
    /// anybody to believe.
    pub fn set_associations(
        &self,
        zone: Id,
        set: AuthoritySet,
        names: BTreeSet<HostName>,
    ) -> Result<Arc<BTreeSet<HostName>>, ChangeError> {
        if names.len() > ASSOCIATIONS_MAX {
            return Err(ChangeError::Full {
                what: "associated host names",
                max: ASSOCIATIONS_MAX,
            });
        }
        self.change(|draft| {
            let owner = zone_of(&draft.model, zone)?.clone();
            check_set(&draft.model, set)?;
            for name in &names {
                check_belongs(&draft.model, &owner, name, "hostnames")?;
            }
            if draft.model.associations.get(&(zone, set)).is_some_and(|known| **known == names) {
                return Ok(Arc::new(names));
            }
            draft.put_association(zone, set, names.clone());
            let hosts: Vec<Arc<HostRecord>> = draft.model.hosts_of(zone).cloned().collect();
            for host in hosts {
                let mtls = match (host.mtls, is_associated(&draft.model, zone, &host.name)) {
                    (MtlsMode::Off, true) => MtlsMode::Request,
                    (MtlsMode::Request, false) => MtlsMode::Off,
                    (MtlsMode::Require, false) => {
                        return Err(ChangeError::InUse {
                            noun: Noun::Authority,
                            key: owner.name.to_string(),
                            by: format!(
                                "the host {} requires client certificates and would have no CA left; set its mTLS mode to `off` or `request` first",
                                host.name
                            ),
                        });
                    }
                    _ => continue,
                };
                let mut host = (*host).clone();
                host.mtls = mtls;
                host.modified_on = draft.now;
                draft.put_host(host);
            }
            Ok(Arc::new(names))
        })
    }
}

fn check_set(model: &Model, set: AuthoritySet) -> Result<(), ChangeError> {
    use crate::model::AuthorityKind::Uploaded;
    match set {
        AuthoritySet::Managed => Ok(()),
        AuthoritySet::Uploaded(id) => model
            .authorities
            .get(&id)
            .filter(|authority| matches!(authority.kind, Uploaded))
            .map(|_| ())
            .ok_or_else(|| ChangeError::not_found(Noun::Authority, id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::moment::Moment;

    #[test]
    fn names_of_a_zone() {
        let zone = Zone {
            id: Id::random(),
            name: HostName::parse("example.com").unwrap(),
            created_on: Moment::now(),
            modified_on: Moment::now(),
        };
        for (name, expected) in [
            ("example.com", true),
            ("*.example.com", true),
            ("a.b.example.com", true),
            ("badexample.com", false),
            ("example.com.evil.test", false),
            ("com", false),
        ] {
            assert_eq!(
                belongs(&zone, &HostName::parse(name).unwrap()),
                expected,
                "{name}"
            );
        }
    }
}
