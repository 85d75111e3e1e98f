//! Compiles the model to the snapshot that the data path runs on. What turns a record into its
//! running form belongs here.
//!
//! Owns what belongs together (a host with its certificate, CA set, zone rules and origin) and the
//! re-use of unchanged parts. Changes nothing: a model that does not compile is refused before it is
//! stored.

pub(crate) mod lists;
pub(crate) mod origin;
pub(crate) mod phases;
pub(crate) mod rules;
mod site;
mod staples;
mod trust;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use boring::x509::X509;

use self::origin::names::Names;
use self::origin::standing::Standing;
use self::origin::{OriginError, Outside, group, system_bundle_hash};
use self::phases::PhaseParts;
use self::rules::{Compiled, compiled};
use self::site::{SiteKey, site};
pub use self::staples::Staples;
use self::trust::{TrustKey, anchors, responder, trust};
use crate::model::id::{Id, Uuid};
use crate::model::lookup::Lookup;
use crate::model::revocation::OcspSettings;
use crate::model::{HostRecord, Model, OriginSpec, Phase};
use crate::store::seal::{Seal, SealError};
use ::rules::{ListError, Lists, Program, RuleError};
use snapshot::challenges::Challenges;
use snapshot::http::reach::Reach;
use snapshot::origins::OriginGroup;
use snapshot::{DuplicateHost, Host, Snapshot};
use tls::{Endpoint, Responder, Site, SiteError, Trust, TrustError};
use vocabulary::hostname::HostName;

/// A part of a stored rule that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Which part, by the name that the API gives it.
    pub field: Cow<'static, str>,
    /// What is wrong and what would be right.
    pub why: String,
}

/// Why a model cannot become a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A CA set.
    #[error("host {host}: {why}")]
    Trust {
        /// Of which host.
        host: HostName,
        /// What is wrong.
        why: TrustError,
    },
    /// A stored CA that is not PEM.
    #[error("CA {0}: its stored certificate cannot be read")]
    Authority(Uuid),
    /// A host's TLS.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A host's origin.
    #[error("host {host}: origin: {why}")]
    Origin {
        /// Which host.
        host: HostName,
        /// What is wrong, and what would be right.
        why: OriginError,
    },
    /// An origin of a zone.
    #[error("origin {name}: {why}")]
    ZoneOrigin {
        /// Which one.
        name: String,
        /// What is wrong, and what would be right.
        why: OriginError,
    },
    /// A host or a rule names an origin that its zone does not have.
    #[error("{by} names the origin `{name}`, which its zone does not have")]
    NoOrigin {
        /// `host api.example.com`, `an origin rule`.
        by: String,
        /// The name.
        name: String,
    },
    /// A zone's rules.
    #[error("{0}")]
    Rules(RuleError),
    /// A stored rule's action.
    #[error(transparent)]
    Action(#[from] FieldError),
    /// A stored list.
    #[error("list: {0}")]
    List(#[from] ListError),
    /// A sealed server key.
    #[error("host {host}: its server key: {why}")]
    Key {
        /// Which host.
        host: HostName,
        /// What is wrong.
        why: SealError,
    },
    /// Two hosts of one name.
    #[error(transparent)]
    Duplicate(#[from] DuplicateHost),
}

/// The parts of the last snapshot, for the next one.
#[derive(Default)]
pub(crate) struct Parts {
    /// What a zone without a ruleset runs.
    no_rules: Arc<Program>,
    /// With the revision that they were compiled from.
    lists: (u64, Arc<Lists>),
    rulesets: HashMap<Id, Compiled>,
    phases: PhaseParts,
    trusts: HashMap<TrustKey, Arc<Trust>>,
    sites: HashMap<HostName, (SiteKey, Arc<Site>)>,
    /// With what they were made of: a responder's answers stay while its URL does.
    responders: HashMap<Uuid, (OcspSettings, Arc<Responder>)>,
    origins: HashMap<HostName, KnownOrigin>,
    /// By zone and name: those that hosts and rules share.
    zone_origins: HashMap<(Id, String), KnownOrigin>,
    reach: Arc<Reach>,
    staples: Arc<Staples>,
    /// The system's CA bundle when it was read last, by its hash.
    system_bundle: u64,
    /// What names of origins mean.
    names: Arc<Names>,
    /// Which connections to origins may go on.
    standing: Arc<Standing>,
    /// What ACME servers are shown.
    challenges: Arc<Challenges>,
}

/// An origin with what it was compiled from; `None` when it has to be compiled anew in any case, and
/// only what is known of its addresses is to be taken over.
type KnownOrigin = (Option<OriginSpec>, Arc<OriginGroup>);

/// The same origins, to be compiled anew.
fn anew<K: Clone + Eq + Hash>(origins: &HashMap<K, KnownOrigin>) -> HashMap<K, KnownOrigin> {
    let all = origins.iter();
    all.map(|(key, (_, group))| (key.clone(), (None, group.clone())))
        .collect()
}

/// The groups of `before` that are not in `now`, or have become others.
fn left_out<'g, K: Eq + Hash>(
    before: &'g HashMap<K, KnownOrigin>,
    now: &'g HashMap<K, KnownOrigin>,
) -> impl Iterator<Item = &'g Arc<OriginGroup>> {
    let groups = before.iter().filter(|(key, (_, before))| {
        let now = now.get(*key);
        now.is_none_or(|(_, now)| !Arc::ptr_eq(before, now))
    });
    groups.map(|(_, (_, group))| group)
}

impl Parts {
    /// Nothing but where tenants' origins may be.
    pub(crate) fn with_reach(reach: Arc<Reach>) -> Self {
        Self {
            reach,
            system_bundle: system_bundle_hash(),
            ..Self::default()
        }
    }

    /// Where tenants' origins may be.
    pub(crate) fn reach(&self) -> Arc<Reach> {
        self.reach.clone()
    }

    /// Takes another reach: origins are compiled anew for it. What is known of their addresses stays.
    pub(crate) fn set_reach(&mut self, reach: Arc<Reach>) {
        self.reach = reach;
        self.origins = anew(&self.origins);
        self.zone_origins = anew(&self.zone_origins);
        self.phases = PhaseParts::default();
    }

    /// Looks whether the system's CA bundle is another than it was, and if so has the origins that
    /// believe in it compiled anew. Whether it is.
    pub(crate) fn read_system_bundle(&mut self) -> bool {
        let (before, now) = (self.system_bundle, system_bundle_hash());
        if now == 0 || now == before {
            return false;
        }
        self.system_bundle = now;
        let of_hosts = self.origins.values_mut();
        for (spec, _) in of_hosts.chain(self.zone_origins.values_mut()) {
            *spec = spec.take().filter(|spec| spec.ca_pem.is_some());
        }
        true
    }

    /// Takes what names of origins mean now: those whose names mean something else are compiled anew.
    pub(crate) fn set_names(&mut self, names: Arc<Names>) {
        let changed = names.changed(&self.names);
        let of_hosts = self.origins.values_mut();
        for (spec, group) in of_hosts.chain(self.zone_origins.values_mut()) {
            let mut hosts = group.addresses.iter().map(|one| &one.origin.host);
            if hosts.any(|host| changed.contains(&*host.to_ascii_lowercase())) {
                *spec = None;
            }
        }
        self.names = names;
    }

    /// What names of origins mean.
    pub(crate) fn names(&self) -> Arc<Names> {
        self.names.clone()
    }

    /// Tells who keeps connections to addresses that no origin has any more.
    pub(crate) fn retire_addresses(&self, now: &Self) {
        let left = left_out(&self.origins, &now.origins);
        let left = left.chain(left_out(&self.zone_origins, &now.zone_origins));
        let there = now.origins.values().chain(now.zone_origins.values());
        now.standing.retire(left, there.map(|(_, group)| group));
    }

    /// Has gates let in as many as origins have by now: `before` is what was published.
    pub(crate) fn open_gates(&self, before: &Self) {
        let mut there = HashSet::new();
        let changed = left_out(&self.origins, &before.origins);
        for group in changed.chain(left_out(&self.zone_origins, &before.zone_origins)) {
            for limit in group.limits() {
                there.insert(Arc::as_ptr(&limit.gate));
                limit.gate.allow(limit.max, limit.queue);
            }
        }
        let left = left_out(&before.origins, &self.origins);
        for group in left.chain(left_out(&before.zone_origins, &self.zone_origins)) {
            let limits = group.limits();
            for limit in limits.filter(|one| !there.contains(&Arc::as_ptr(&one.gate))) {
                // Who waits there is bound by nothing any more.
                limit.gate.allow(u32::MAX, limit.queue);
            }
        }
    }

    /// The system's CA bundle when it was read last, by its hash.
    pub(crate) fn system_bundle(&self) -> u64 {
        self.system_bundle
    }

    /// It is taken for this one.
    pub(crate) fn set_system_bundle(&mut self, hash: u64) {
        self.system_bundle = hash;
    }

    /// What is stapled to server certificates.
    pub(crate) fn staples(&self) -> Arc<Staples> {
        self.staples.clone()
    }

    /// Takes other answers to staple: the TLS of hosts whose certificates they are about is made
    /// anew.
    pub(crate) fn set_staples(&mut self, staples: Arc<Staples>) {
        self.staples = staples;
    }

    /// What ACME servers are shown.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        self.challenges.clone()
    }

    /// Has ACME servers shown something else.
    pub(crate) fn set_challenges(&mut self, challenges: Arc<Challenges>) {
        self.challenges = challenges;
    }

    /// Nothing but what responders have answered, what is known of origins' addresses, and where
    /// tenants' origins may be.
    pub(crate) fn with_what_was_learnt_of(other: &Self) -> Self {
        Self {
            responders: other.responders.clone(),
            origins: anew(&other.origins),
            zone_origins: anew(&other.zone_origins),
            reach: other.reach.clone(),
            staples: other.staples.clone(),
            system_bundle: other.system_bundle,
            names: other.names.clone(),
            standing: other.standing.clone(),
            challenges: other.challenges.clone(),
            ..Self::default()
        }
    }

    /// Takes over, or makes, the responder of every CA that has one.
    fn responders(&mut self, model: &Model, last: &Self) {
        for authority in model.authorities.values() {
            let Some(settings) = &authority.ocsp else {
                continue;
            };
            let known = last.responders.get(&authority.id);
            let responder = match known {
                Some((same, responder)) if same == settings => responder.clone(),
                // Another policy is no reason to ask everything again, another responder is.
                Some((old, known)) if old.url == settings.url => {
                    responder(authority.id, settings, known.answers.clone())
                }
                _ => responder(authority.id, settings, Arc::default()),
            };
            self.responders
                .insert(authority.id, (settings.clone(), responder));
        }
    }

    fn outside<'a>(&'a self, seal: &'a Seal) -> Outside<'a> {
        Outside {
            reach: &self.reach,
            names: &self.names,
            seal,
            standing: &self.standing,
        }
    }

    /// Takes over, or makes, the origins of zones.
    fn zone_origins(
        &mut self,
        model: &Model,
        seal: &Seal,
        last: &Self,
    ) -> Result<(), CompileError> {
        for (key, record) in model.origins.iter() {
            let known = last.zone_origins.get(key);
            let made = match known {
                Some((Some(spec), group)) if *spec == record.origin => group.clone(),
                known => {
                    let before = known.map(|(_, group)| &**group);
                    let zone = model.zones.get(&record.zone);
                    let zone = zone.map_or("", |zone| zone.name.as_str());
                    let label = format!("{zone}/{}", record.name);
                    let whose = (record.zone, &*label);
                    let made = group(&record.origin, whose, &self.outside(seal), before);
                    Arc::new(made.map_err(|why| CompileError::ZoneOrigin {
                        name: record.name.clone(),
                        why,
                    })?)
                }
            };
            let with_spec = (Some(record.origin.clone()), made);
            self.zone_origins.insert(key.clone(), with_spec);
        }
        Ok(())
    }

    /// The origin of a zone that this name stands for.
    fn zone_origin(
        &self,
        zone: Id,
        name: &str,
        by: impl FnOnce() -> String,
    ) -> Result<Arc<OriginGroup>, CompileError> {
        let found = self.zone_origins.get(&(zone, name.to_owned()));
        let found = found.map(|(_, group)| group.clone());
        found.ok_or_else(|| CompileError::NoOrigin {
            by: by(),
            name: name.to_owned(),
        })
    }

    /// Takes over, or makes, a host's origin.
    fn origin(
        &mut self,
        record: &HostRecord,
        seal: &Seal,
        last: &Self,
    ) -> Result<Arc<OriginGroup>, CompileError> {
        if let Some(name) = &record.origin.name {
            return self.zone_origin(record.zone, name, || format!("host {}", record.name));
        }
        let made = self.origins.get(&record.name);
        let known = made.or_else(|| last.origins.get(&record.name));
        let origin = match known {
            Some((Some(spec), origin)) if *spec == record.origin => origin.clone(),
            known => {
                let before = known.map(|(_, group)| &**group);
                let whose = (record.zone, record.name.as_str());
                let outside = self.outside(seal);
                let made = match group(&record.origin, whose, &outside, before) {
                    Err(OriginError::Tls(why)) => {
                        let bundle = record.origin.ca_pem.as_deref().and_then(as_once_read);
                        let Some(bundle) = bundle else {
                            return Err(CompileError::Origin {
                                host: record.name.clone(),
                                why: OriginError::Tls(why),
                            });
                        };
                        tracing::warn!(host = %record.name, %why, "not all of the origin's CA bundle can be read; what can is believed, as when it was set");
                        let spec = OriginSpec {
                            ca_pem: Some(bundle),
                            ..record.origin.clone()
                        };
                        group(&spec, whose, &outside, before)
                    }
                    made => made,
                };
                Arc::new(made.map_err(|why| CompileError::Origin {
                    host: record.name.clone(),
                    why,
                })?)
            }
        };
        let with_spec = (Some(record.origin.clone()), origin.clone());
        self.origins.insert(record.name.clone(), with_spec);
        Ok(origin)
    }

    /// Has programs compiled anew that have changed much; see [`Program::renew_if_due`].
    pub(crate) fn renew_if_due(&self) {
        for compiled in self.rulesets.values() {
            compiled.program.renew_if_due();
        }
    }

    /// Programs that others have replaced.
    pub(crate) fn programs_not_in(&self, newer: &Self) -> Vec<Arc<Program>> {
        let replaced = self.rulesets.iter().filter(|(id, old)| {
            let new = newer.rulesets.get(id);
            new.is_none_or(|new| !Arc::ptr_eq(&new.program, &old.program))
        });
        replaced.map(|(_, old)| old.program.clone()).collect()
    }
}

/// Compiles `model`, taking over from `last` what did not change. Hosts without a server
/// certificate are left out: their handshakes are refused as those of unknown names are.
pub(crate) fn compile(
    model: &Model,
    default_host: Option<&HostName>,
    seal: &Seal,
    last: &Parts,
) -> Result<(Snapshot, Parts), CompileError> {
    let mut parts = Parts {
        no_rules: last.no_rules.clone(),
        reach: last.reach.clone(),
        staples: last.staples.clone(),
        system_bundle: last.system_bundle,
        names: last.names.clone(),
        standing: last.standing.clone(),
        challenges: last.challenges.clone(),
        ..Parts::default()
    };
    parts.responders(model, last);
    let mut hosts = Vec::with_capacity(model.hosts.len());
    let same_lists = last.lists.0 == model.lists_revision;
    parts.lists = if same_lists {
        last.lists.clone()
    } else {
        (model.lists_revision, Arc::new(lists::compile(model)?))
    };
    // Rules are compiled for every zone, with hosts or without: a rule that does not compile
    // must be refused when it is written, not when the first host comes.
    for ruleset in model.rulesets.values() {
        let (id, lists) = (ruleset.id, &*parts.lists.1);
        if ruleset.phase != Phase::HttpRequestFirewallCustom {
            let known = same_lists.then_some(&last.phases);
            parts.phases.add(ruleset, lists, &parts.reach, known)?;
            continue;
        }
        let compiled = match last.rulesets.get(&id) {
            Some(known) if same_lists && known.source.version == ruleset.version => known.clone(),
            known => compiled(ruleset, lists, known)?,
        };
        parts.rulesets.insert(id, compiled);
    }
    parts.zone_origins(model, seal, last)?;
    let mut phases = std::mem::take(&mut parts.phases);
    phases.name_origins(model, &mut parts, seal, last)?;
    parts.phases = phases;
    let lookup = Lookup::new(model);
    for record in model.hosts.values() {
        let certificates = lookup.presented(record);
        if certificates.is_empty() {
            continue;
        }
        let anchors = anchors(model, &lookup, record);
        let authorities = anchors.iter().map(|(id, ..)| *id).collect();
        let trust = trust(model, record, anchors, last, &mut parts)?;
        let key = SiteKey {
            certificates: certificates
                .iter()
                .map(|one| (one.id, one.version, parts.staples.of(one)))
                .collect(),
            mtls: record.mtls,
            revoked: record.client.revoked,
            min_version: record.tls_min_version,
            authorities,
        };
        let site = match last.sites.get(&record.name) {
            Some((known, site)) if *known == key => site.clone(),
            _ => Arc::new(site(record, &certificates, &key, seal, &trust)?),
        };
        parts.sites.insert(record.name.clone(), (key, site.clone()));
        let origin = parts.origin(record, seal, last)?;
        let custom = (record.zone, Phase::HttpRequestFirewallCustom);
        let ruleset = model.rulesets.get(&custom);
        let rules = ruleset
            .and_then(|found| parts.rulesets.get(&found.id))
            .map_or(&parts.no_rules, |compiled| &compiled.program)
            .clone();
        let phases = parts.phases.of_zone(model, record.zone);
        hosts.push(Host {
            endpoint: Arc::new(Endpoint {
                name: record.name.clone(),
                zone: zone_name(model, record),
                site,
                trust,
                keeps_hello: rules.reads_client_hello()
                    || phases.reads_client_hello()
                    || origin.reads_client_hello(),
            }),
            index: 0,
            zone_id: record.zone.to_string().into(),
            client: record.client.clone(),
            request_body_max: record.request_body_max,
            rules,
            phases,
            origin,
        });
    }
    let snapshot = Snapshot::new(model.revision, model.trust_epoch, hosts, default_host)?;
    let snapshot = snapshot.withholding(withheld(model));
    Ok((snapshot.showing(parts.challenges.clone()), parts))
}

fn zone_name(model: &Model, host: &HostRecord) -> Arc<str> {
    let zone = model.zones.get(&host.zone);
    zone.map_or_else(|| "".into(), |zone| zone.name.as_str().into())
}

/// The certificates of a CA bundle that was stored when PEM was read block by block and what could
/// not be read was left out. None is refused now that could be stored then, so that such a store
/// starts; a change of the origin is read strictly.
fn as_once_read(bundle: &str) -> Option<String> {
    let certificates = X509::stack_from_pem(bundle.as_bytes()).ok()?;
    let texts = certificates.iter().map(|one| one.to_pem().ok());
    let text = texts.collect::<Option<Vec<_>>>()?.concat();
    String::from_utf8(text).ok().filter(|text| !text.is_empty())
}

/// Names of zones that a wildcard host of another zone would cover.
fn withheld(model: &Model) -> impl Iterator<Item = Box<str>> {
    model.zones.values().filter_map(|zone| {
        let (_, parent) = zone.name.as_str().split_once('.')?;
        let wildcard = HostName::parse(&format!("*.{parent}")).ok()?;
        let host = model.hosts.get(&wildcard)?;
        (host.zone != zone.id).then(|| zone.name.as_str().into())
    })
}

#[cfg(test)]
mod tests {
    use fixtures::pki::foreign;

    use super::as_once_read;

    #[test]
    fn a_bundle_that_was_stored_is_read_as_it_was_then() {
        let good = foreign("Origin CA");
        let list = "-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n";
        for (text, read) in [
            (good.clone(), Some(good.clone())),
            (format!("{good}{list}"), Some(good.clone())),
            (list.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(as_once_read(&text), read, "{text}");
        }
    }
}
