//! Hosts, and which CAs they trust.
//!
//! Mode and trust are separate settings, and changing one never changes the other. Two defaults fill
//! what was never said, so that a CA set is not empty by accident: a host whose mode was never set
//! asks for client certificates while a CA is associated with it (Cloudflare's way of enabling
//! mTLS), and one that is to ask while no CA ever was believes the zone's managed CAs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{ASSOCIATIONS_MAX, REQUEST_BODY_BYTES_MAX};
use crate::model::id::{Id, Uuid};
use crate::model::{AuthoritySet, HostRecord, Model, OriginPatch, OriginSpec, ServerKey, Zone};
use crate::operations::acme;
use crate::operations::host_certificates::{release, used};
use crate::operations::loss::Loss;
use crate::operations::origins::new_origin;
use snapshot::limits::HOSTS_MAX;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientPatch, ClientSettings, MtlsMode, TlsVersion};

/// A host to be made.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// Its name: the zone's, or below it.
    pub name: HostName,
    /// Where its requests go.
    pub origin: OriginSpec,
    /// Whether it asks for client certificates; `None` asks while CAs are associated with it.
    pub mtls: Option<MtlsMode>,
    /// What it does with client certificates besides asking for them.
    pub client: ClientSettings,
    /// The oldest TLS version; `None` leaves it to the gateway's.
    pub tls_min_version: Option<TlsVersion>,
    /// Bytes that a request's body may have; `None` leaves it to the gateway's.
    pub request_body_max: Option<u64>,
    /// Its certificate comes from the ACME server of the configuration; until then it uses what there
    /// is.
    pub acme: bool,
    /// The server certificate it must use; `None` takes the newest that cover it.
    pub certificate: Option<Uuid>,
    /// The one beside it, of the other kind of key.
    pub other_certificate: Option<Uuid>,
}

/// What is to change of a host. `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct HostPatch {
    /// Where its requests go.
    pub origin: Option<OriginPatch>,
    /// Whether it asks for client certificates; `Some(None)` asks while CAs are associated with it.
    pub mtls: Option<Option<MtlsMode>>,
    /// What it does with client certificates besides asking for them.
    pub client: ClientPatch,
    /// The oldest TLS version; `Some(None)` leaves it to the gateway's.
    pub tls_min_version: Option<Option<TlsVersion>>,
    /// Bytes that a request's body may have; `Some(None)` leaves it to the gateway's.
    pub request_body_max: Option<Option<u64>>,
    /// Whether its certificate comes from the ACME server of the configuration.
    pub acme: Option<bool>,
    /// The server certificate it must use; `Some(None)` goes back to the newest that covers it.
    pub certificate: Option<Option<Uuid>>,
    /// The one beside it, of the other kind of key; goes with the first when that is taken away.
    pub other_certificate: Option<Option<Uuid>>,
}

pub(crate) fn zone_of(model: &Model, id: Id) -> Result<&Arc<Zone>, ChangeError> {
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

fn check(model: &Model, host: &HostRecord) -> Result<(), ChangeError> {
    acme::check(host)?;
    if host
        .request_body_max
        .is_some_and(|bytes| bytes > REQUEST_BODY_BYTES_MAX)
    {
        let why = format!("it is more than {REQUEST_BODY_BYTES_MAX}; 0 sets no bound");
        return Err(ChangeError::invalid("request_body_max", why));
    }
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

/// The mode of a host, of which `told` is what was asked for.
fn mode(told: Option<MtlsMode>, is_associated: bool) -> MtlsMode {
    match told {
        Some(mode) => mode,
        None if is_associated => MtlsMode::Request,
        None => MtlsMode::Off,
    }
}

/// Gives a host that is to ask for certificates the managed CAs, if nothing was ever said of whom it
/// believes.
fn believe_somebody(draft: &mut Draft<'_>, host: &HostRecord) -> Result<(), ChangeError> {
    if host.mtls == MtlsMode::Off || is_associated(&draft.model, host.zone, &host.name) {
        return Ok(());
    }
    if host.lost_last_ca {
        let why = format!(
            "the host {} believes no CA, because its last one was taken away; associate the one that it is to believe first",
            host.name
        );
        return Err(ChangeError::invalid("mtls", why));
    }
    let place = (host.zone, AuthoritySet::Managed);
    let known = draft.model.associations.get(&place);
    let mut names = known.map(|names| (**names).clone()).unwrap_or_default();
    names.insert(host.name.clone());
    draft.put_association(host.zone, AuthoritySet::Managed, names);
    Ok(())
}

/// Removes a name from all associations.
fn dissociate(draft: &mut Draft<'_>, zone: Id, name: &HostName) {
    let model = draft.model.clone();
    for ((_, set), names) in model.associations_of(zone) {
        if names.contains(name) {
            let mut names = (**names).clone();
            names.remove(name);
            draft.put_association(zone, *set, names);
        }
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
            let host = HostRecord {
                name: new.name,
                zone,
                origin: new_origin(draft, zone, None, new.origin)?,
                mtls: mode(new.mtls, associated),
                mtls_is_set: new.mtls.is_some(),
                lost_last_ca: false,
                client: new.client,
                tls_min_version: new.tls_min_version,
                request_body_max: new.request_body_max,
                acme: new.acme,
                acme_before: None,
                certificate: new.certificate,
                other_certificate: new.other_certificate,
                created_on: draft.now,
                modified_on: draft.now,
            };
            believe_somebody(draft, &host)?;
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
            let found = found.clone();
            let mut host = (*found).clone();
            let before = used(&draft.model, &host);
            if let Some(acme) = patch.acme {
                host.acme = acme;
            }
            let known = acme::known_before(&draft.model, &found, &mut host);
            let named = [patch.certificate, patch.other_certificate];
            acme::check_choice(&found, &host, named)?;
            let origin = patch.origin.map(|origin| origin.apply(&host.origin));
            if let Some(origin) = origin.filter(|origin| *origin != host.origin) {
                host.origin = new_origin(draft, host.zone, Some(&found.origin), origin)?;
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
            if found.acme && !host.acme && host.certificate == found.certificate {
                acme::keep_brought(draft, &host);
            }
            if let Some(told) = patch.mtls {
                let mtls = mode(told, is_associated(&draft.model, host.zone, name));
                if host.mtls != mtls {
                    draft.trust_moves();
                }
                host.mtls = mtls;
                host.mtls_is_set = told.is_some();
                believe_somebody(draft, &host)?;
            }
            let client = patch.client.apply(&host.client);
            if host.client.revoked != client.revoked {
                draft.trust_moves();
            }
            host.client = client;
            if let Some(version) = patch.tls_min_version {
                host.tls_min_version = version;
            }
            if let Some(bytes) = patch.request_body_max {
                host.request_body_max = bytes;
            }
            host.modified_on = draft.now;
            check(&draft.model, &host)?;
            draft.put_host(host.clone());
            if let Some(order) = known {
                draft.put_acme_order(order);
            }
            release(draft, before);
            Ok(Arc::new(host))
        })
    }

    /// Removes a host, its name from all associations, and the server certificates that came with
    /// it and that no other host uses. Answers what was lost for good.
    ///
    /// # Errors
    /// There is no such host.
    pub fn delete_host(&self, name: &HostName) -> Result<Loss, ChangeError> {
        self.change(|draft| {
            let found = draft.model.hosts.get(name).cloned();
            let found = found.ok_or_else(|| ChangeError::not_found(Noun::Host, name))?;
            dissociate(draft, found.zone, name);
            let before = used(&draft.model, &found);
            draft.remove_host(name);
            Ok(Loss {
                what: format!("host {name}"),
                hosts: 1,
                server_keys: release(draft, before),
                ..Loss::default()
            })
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
    /// A name is foreign to the zone, or a host whose mode is set to ask for certificates would be
    /// left without a CA.
    pub fn set_associations(
        &self,
        zone: Id,
        set: AuthoritySet,
        names: BTreeSet<HostName>,
    ) -> Result<Arc<BTreeSet<HostName>>, ChangeError> {
        self.change(|draft| put_names(draft, zone, set, names))
    }
}

/// Makes these names those that believe a set, and hosts ask for certificates accordingly.
pub(crate) fn put_names(
    draft: &mut Draft<'_>,
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
    let owner = zone_of(&draft.model, zone)?.clone();
    check_set(&draft.model, set)?;
    for name in &names {
        check_belongs(&draft.model, &owner, name, "hostnames")?;
    }
    if draft
        .model
        .associations
        .get(&(zone, set))
        .is_some_and(|known| **known == names)
    {
        return Ok(Arc::new(names));
    }
    let before = draft.model.clone();
    draft.put_association(zone, set, names.clone());
    for host in before.hosts_of(zone) {
        let had = is_associated(&before, zone, &host.name);
        let has = is_associated(&draft.model, zone, &host.name);
        if had == has {
            continue;
        }
        if !has && host.told_mode().is_some_and(|mode| mode != MtlsMode::Off) {
            let asks = if host.mtls == MtlsMode::Require {
                "requires"
            } else {
                "requests"
            };
            return Err(ChangeError::InUse {
                noun: Noun::Authority,
                key: owner.name.to_string(),
                by: format!(
                    "the host {} {asks} client certificates and would have no CA left; associate another CA with it, or set its mTLS mode to `off` first",
                    host.name
                ),
            });
        }
        let mut host = (**host).clone();
        host.lost_last_ca = !has;
        if host.told_mode().is_none() {
            host.mtls = mode(None, has);
        }
        host.modified_on = draft.now;
        draft.put_host(host);
    }
    Ok(Arc::new(names))
}

pub(crate) fn check_set(model: &Model, set: AuthoritySet) -> Result<(), ChangeError> {
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
