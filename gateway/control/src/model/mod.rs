//! What the control plane knows: zones, hosts, CAs, server certificates, rules, lists, tokens.
//! Records and look-ups over them belong here. They are immutable: a change makes a new [`Model`]
//! that shares the unchanged parts.
//!
//! Client certificates are too many for memory and stay in the store. The model has only what the
//! data path needs of them: the revoked serials.

pub(crate) mod acme;
pub(crate) mod alone;
pub(crate) mod authority;
pub(crate) mod client_certificate;
pub(crate) mod hex;
pub(crate) mod host;
mod host_names;
pub(crate) mod id;
pub(crate) mod list;
pub(crate) mod lookup;
pub(crate) mod moment;
pub(crate) mod origin;
pub(crate) mod origin_certificate;
pub(crate) mod revocation;
pub(crate) mod revocation_reason;
pub(crate) mod rule_diff;
pub(crate) mod ruleset;
pub(crate) mod secret;
pub(crate) mod server_certificate;
pub(crate) mod source_url;
pub(crate) mod token;
pub(crate) mod zone;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::acme::{AcmeAccount, AcmeOrder, AcmeProof, LeftOrder};
use self::alone::Alone;
pub use self::authority::{Authority, AuthorityKind, AuthoritySet};
pub use self::host::HostRecord;
use self::id::{Id, Uuid};
use self::list::ListRecord;
pub use self::origin::{
    AddressSpec, EjectionSpec, HealthKind, HealthSpec, LimitsSpec, OriginPatch, OriginRecord,
    OriginSpec, TimeoutsSpec,
};
pub use self::origin_certificate::{BroughtKey, OriginCertificate, OriginCertificatePatch};
use self::revocation::{CrlRecord, Revoked};
pub use self::ruleset::{Phase, RuleRecord, Ruleset};
use self::secret::Sealed;
pub use self::server_certificate::{ServerCertificate, ServerCertificateSource, ServerKey};
use self::token::Token;
pub use self::zone::Zone;
use vocabulary::hostname::HostName;

/// By zone and CA set.
pub type Associations = BTreeMap<(Id, AuthoritySet), Arc<BTreeSet<HostName>>>;

/// Everything but client certificates. Each part is shared with older models until it changes.
#[derive(Debug, Clone)]
pub struct Model {
    /// The store's number of the last change.
    pub revision: u64,
    /// Another one after each state that took the place of all that this process had. That state may be older: what
    /// is remembered by revisions holds within one lineage only.
    pub lineage: u64,
    /// Moves when a CA, a CRL, an association or a revocation changes.
    pub trust_epoch: u64,
    /// The one account of this gateway.
    pub account: Id,
    /// By id.
    pub zones: Arc<BTreeMap<Id, Arc<Zone>>>,
    /// By name.
    pub hosts: Arc<BTreeMap<HostName, Arc<HostRecord>>>,
    /// By zone and name.
    pub origins: Arc<BTreeMap<(Id, String), Arc<OriginRecord>>>,
    /// By id.
    pub authorities: Arc<BTreeMap<Uuid, Arc<Authority>>>,
    /// Which hosts believe which CAs.
    pub associations: Arc<Associations>,
    /// By id.
    pub server_certificates: Arc<BTreeMap<Uuid, Arc<ServerCertificate>>>,
    /// By zone and phase.
    pub rulesets: Arc<BTreeMap<(Id, Phase), Arc<Ruleset>>>,
    /// By the digest of the secret.
    pub tokens: Arc<BTreeMap<String, Arc<Token>>>,
    /// By id.
    pub lists: Arc<BTreeMap<Id, Arc<ListRecord>>>,
    /// The revision that last changed any of them; tells compiled rules whether they are current.
    pub lists_revision: u64,
    /// By CA.
    pub revoked: Arc<BTreeMap<Uuid, Revoked>>,
    /// Accounts at ACME servers, by the URL of the directory.
    pub acme_accounts: Arc<BTreeMap<String, Arc<AcmeAccount>>>,
    /// The last order of each host that has its certificate from ACME.
    pub acme_orders: Arc<BTreeMap<HostName, Arc<AcmeOrder>>>,
    /// Revocation lists, by CA.
    pub crls: Arc<BTreeMap<Uuid, CrlRecord>>,
    /// The keys of session tickets, sealed, when they are a fleet's.
    pub ticket_keys: Option<Arc<Sealed>>,
    /// Whom this edge alone does not believe.
    pub alone: Arc<Alone>,
}

impl Model {
    pub(crate) fn empty(account: Id) -> Self {
        Self {
            revision: 0,
            lineage: 0,
            trust_epoch: 1,
            account,
            zones: Arc::default(),
            hosts: Arc::default(),
            origins: Arc::default(),
            authorities: Arc::default(),
            associations: Arc::default(),
            server_certificates: Arc::default(),
            rulesets: Arc::default(),
            tokens: Arc::default(),
            lists: Arc::default(),
            lists_revision: 0,
            revoked: Arc::default(),
            acme_accounts: Arc::default(),
            acme_orders: Arc::default(),
            crls: Arc::default(),
            ticket_keys: None,
            alone: Arc::default(),
        }
    }

    /// The zone of this name.
    #[must_use]
    pub fn zone_named(&self, name: &str) -> Option<&Arc<Zone>> {
        self.zones.values().find(|zone| zone.name.as_str() == name)
    }

    /// The hosts of a zone, in the order of their names.
    pub fn hosts_of(&self, zone: Id) -> impl Iterator<Item = &Arc<HostRecord>> {
        self.hosts.values().filter(move |host| host.zone == zone)
    }

    /// The origins of a zone, by name.
    pub fn origins_of(&self, zone: Id) -> impl Iterator<Item = &Arc<OriginRecord>> {
        let of = self.origins.range((zone, String::new())..);
        let of = of.take_while(move |((of, _), _)| *of == zone);
        of.map(|(_, origin)| origin)
    }

    /// The origin of a zone that has this name.
    #[must_use]
    pub fn origin(&self, zone: Id, name: &str) -> Option<&Arc<OriginRecord>> {
        self.origins.get(&(zone, name.to_owned()))
    }

    /// The managed CAs of a zone, newest first; the first one issues.
    #[must_use]
    pub fn managed(&self, zone: Id) -> Vec<&Arc<Authority>> {
        let mut found: Vec<_> = self
            .authorities
            .values()
            .filter(|ca| matches!(ca.kind, AuthorityKind::Managed { zone: of, .. } if of == zone))
            .collect();
        found.sort_by_key(|ca| Reverse((ca.created_on, ca.id)));
        found
    }

    /// The CAs that a host believes, newest first.
    #[must_use]
    pub fn believed(&self, host: &HostRecord) -> Vec<&Arc<Authority>> {
        let mut found = Vec::new();
        for ((_, set), names) in self.associations_of(host.zone) {
            if !names.contains(&host.name) {
                continue;
            }
            match set {
                AuthoritySet::Managed => found.extend(self.managed(host.zone)),
                AuthoritySet::Uploaded(id) => found.extend(self.authorities.get(id)),
            }
        }
        found.sort_by_key(|ca| Reverse((ca.created_on, ca.id)));
        found
    }

    /// The associations of a zone.
    pub fn associations_of(
        &self,
        zone: Id,
    ) -> impl Iterator<Item = (&(Id, AuthoritySet), &Arc<BTreeSet<HostName>>)> {
        // `Managed` sorts before every `Uploaded`, so this is where a zone begins.
        self.associations
            .range((zone, AuthoritySet::Managed)..)
            .take_while(move |((of, _), _)| *of == zone)
    }

    /// The server certificates that a host presents, the preferred one first: its own choice, or
    /// the newest of each kind of key of its zone that covers it.
    #[must_use]
    pub fn presented(&self, host: &HostRecord) -> Vec<&Arc<ServerCertificate>> {
        if let Some(chosen) = self.chosen(host) {
            return chosen;
        }
        let newest = |kind| {
            let covers = |one: &&Arc<ServerCertificate>| {
                one.zone == host.zone && one.key_type == Some(kind) && one.covers(&host.name)
            };
            let found = self.server_certificates.values().filter(covers);
            found.max_by_key(|one| (one.modified_on, one.id))
        };
        [ServerKey::Elliptic, ServerKey::Rsa]
            .into_iter()
            .filter_map(newest)
            .collect()
    }

    /// Those that a host must use, the preferred one first; `None` when it names none.
    pub(crate) fn chosen(&self, host: &HostRecord) -> Option<Vec<&Arc<ServerCertificate>>> {
        host.certificate?;
        let named = [host.certificate, host.other_certificate];
        let known = |id: Uuid| self.server_certificates.get(&id);
        let mut found: Vec<_> = named.into_iter().flatten().filter_map(known).collect();
        found.sort_by_key(|one| one.key_type);
        Some(found)
    }

    /// The ruleset with this id.
    #[must_use]
    pub fn ruleset(&self, id: Id) -> Option<&Arc<Ruleset>> {
        self.rulesets.values().find(|ruleset| ruleset.id == id)
    }
}
