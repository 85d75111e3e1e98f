//! The control plane's picture of the store: what zones, hosts, CAs, server certificates and rules
//! there are. Immutable; a change makes a new one that shares what did not change.
//!
//! Owns the records and look-ups over them. Client certificates are too many to be kept here:
//! only what the data path needs of them, the revoked serials, is; the rest stays in the store.

pub(crate) mod id;
pub(crate) mod lookup;
pub(crate) mod moment;
pub(crate) mod rule_diff;
pub(crate) mod source_url;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::operations::lists::ListRecord;
use crate::operations::ocsp::OcspSettings;
use crate::operations::revocation_lists::{CrlRecord, CrlSettings};
use crate::operations::tokens::Token;
use crate::store::seal::Sealed;
use chunked_list::ChunkedList;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode, OriginProtocol};

/// Host names in records, as text.
pub(crate) mod host_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use vocabulary::hostname::HostName;

    pub(crate) fn serialize<S: Serializer>(name: &HostName, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(name.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<HostName, D::Error> {
        HostName::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Sets of host names in records, as texts.
pub(crate) mod host_texts {
    use serde::{Deserialize, Deserializer, Serializer};

    use vocabulary::hostname::HostName;

    pub(crate) fn serialize<'a, S: Serializer, C>(names: &'a C, s: S) -> Result<S::Ok, S::Error>
    where
        &'a C: IntoIterator<Item = &'a HostName>,
    {
        s.collect_seq(names.into_iter().map(HostName::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, C>(d: D) -> Result<C, D::Error>
    where
        C: FromIterator<HostName>,
    {
        Vec::<String>::deserialize(d)?
            .iter()
            .map(|text| HostName::parse(text).map_err(serde::de::Error::custom))
            .collect()
    }
}

/// An administrative unit: owns hosts, rules, managed CAs, client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its id.
    pub id: Id,
    /// `example.com`; hosts of the zone are this name or below it.
    #[serde(with = "host_text")]
    pub name: HostName,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

/// Where permitted requests of a host go, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSpec {
    /// `http://127.0.0.1:9000` or `https://origin.example.com`.
    pub url: String,
    /// HTTP version to speak.
    #[serde(default)]
    pub protocol: OriginProtocol,
    /// Replaces the client's `Host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
    /// The name that the origin's certificate must be for; the URL's host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// CAs that may have signed the origin's certificate, in PEM; the system's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// One SNI name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name, exact or wildcard.
    #[serde(with = "host_text")]
    pub name: HostName,
    /// Its zone.
    pub zone: Id,
    /// Where its requests go.
    pub origin: OriginSpec,
    /// Whether it asks for client certificates.
    pub mtls: MtlsMode,
    /// What it does with client certificates besides asking for them.
    #[serde(flatten)]
    pub client: ClientSettings,
    /// The server certificate that it must use; `None` takes the newest of the zone that cover it,
    /// one of an elliptic-curve key and one of an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Uuid>,
    /// The one beside `certificate` that it must use, of the other kind of key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_certificate: Option<Uuid>,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

/// What a CA is to Postern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuthorityKind {
    /// Made here, for the clients of one zone.
    Managed {
        /// The zone.
        zone: Id,
        /// Its key, sealed.
        key: Sealed,
    },
    /// Brought by the user, for clients.
    Uploaded,
    /// Made here, signs server certificates for development. Never believed for clients.
    Development {
        /// Its key, sealed.
        key: Sealed,
    },
}

fn is_default(settings: &CrlSettings) -> bool {
    *settings == CrlSettings::default()
}

/// A CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// When it came here; the newest managed one of a zone issues.
    pub created_on: Moment,
    /// The last second of its life, since the epoch.
    pub not_after: i64,
    /// What is asked of its revocation lists.
    #[serde(default, skip_serializing_if = "is_default")]
    pub crl: CrlSettings,
    /// Whom to ask about its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<OcspSettings>,
    /// What it is for.
    #[serde(flatten)]
    pub kind: AuthorityKind,
}

/// Which CAs an association is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthoritySet {
    /// All managed CAs of the zone: one, or two while the CA is being replaced.
    Managed,
    /// One uploaded CA.
    Uploaded(Uuid),
}

/// Where a server certificate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerCertificateSource {
    /// Brought by the user.
    Uploaded,
    /// Signed by the development CA.
    Development,
}

/// Whether a server certificate's key is of RSA. A host presents one of each kind at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKey {
    /// ECDSA, or Ed25519: smaller and faster, and presented to whoever understands it.
    Elliptic,
    /// RSA, for the others.
    Rsa,
}

impl ServerKey {
    /// The stable text for the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elliptic => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// A server certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCertificate {
    /// Its id.
    pub id: Uuid,
    /// Its zone.
    pub zone: Id,
    /// Leaf first.
    pub chain: String,
    /// Its key, sealed.
    pub key: Sealed,
    /// What key it has. Set whenever it is in memory: records of older versions do not have it,
    /// and get it when they are read.
    #[serde(default)]
    pub key_type: Option<ServerKey>,
    /// The names it is for.
    #[serde(with = "host_texts")]
    pub names: Vec<HostName>,
    /// The leaf's issuer.
    pub issuer: String,
    /// The leaf's signature algorithm.
    pub signature: String,
    /// Lower-case hex.
    pub serial: String,
    /// Lower-case hex.
    pub fingerprint_sha256: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// Grows when chain and key are replaced.
    pub version: u64,
    /// Where it came from.
    pub source: ServerCertificateSource,
    /// When it came here.
    pub uploaded_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

impl ServerCertificate {
    /// Whether a client that asked for `host` would accept it. A wildcard host needs the very
    /// same wildcard.
    #[must_use]
    pub fn covers(&self, host: &HostName) -> bool {
        self.names
            .iter()
            .any(|name| name == host || (!host.is_wildcard() && name.covers(host.as_str())))
    }
}

/// When rules of a ruleset run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Custom rules that may block.
    HttpRequestFirewallCustom,
    /// How many requests may come.
    HttpRatelimit,
    /// Headers on the way to the origin.
    HttpRequestLateTransform,
}

impl Phase {
    /// All there are.
    pub const ALL: [Self; 3] = [
        Self::HttpRequestFirewallCustom,
        Self::HttpRatelimit,
        Self::HttpRequestLateTransform,
    ];

    /// As Cloudflare writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpRequestFirewallCustom => "http_request_firewall_custom",
            Self::HttpRatelimit => "http_ratelimit",
            Self::HttpRequestLateTransform => "http_request_late_transform",
        }
    }

    /// From Cloudflare's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// A rule in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its id, the same through all versions.
    pub id: Id,
    /// From 1.
    pub version: u32,
    /// Rules-language text.
    pub expression: String,
    /// What it does: `block`, `log`.
    pub action: String,
    /// How, in the API's own shape; checked by [`rules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_parameters: Option<serde_json::Value>,
    /// What a rule of [`Phase::HttpRatelimit`] limits, in the API's own shape; checked by
    /// [`snapshot::phases`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratelimit: Option<serde_json::Value>,
    /// `logging.enabled`, when it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<bool>,
    /// For people.
    pub description: String,
    /// Whether it acts.
    pub enabled: bool,
    /// The user's own stable name for it; the id when none was given.
    #[serde(rename = "ref")]
    pub reference: String,
    /// When this version was made.
    pub last_updated: Moment,
}

/// The ordered rules of a zone in one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Its id.
    pub id: Id,
    /// Its zone.
    pub zone: Id,
    /// When it runs.
    pub phase: Phase,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Grows with every change of the ruleset or a rule.
    pub version: u32,
    /// When this version was made.
    pub last_updated: Moment,
    /// In order of evaluation. Kept in tables of their own.
    #[serde(skip)]
    pub rules: ChunkedList<Arc<RuleRecord>>,
}

/// The revoked serials of one CA.
#[derive(Debug, Clone, Default)]
pub struct Revoked {
    /// Big-endian, without leading zeros.
    pub serials: Arc<HashSet<Box<[u8]>>>,
    /// The revision that last changed them; tells compiled trust whether it is current.
    pub revision: u64,
}

/// By zone and CA set.
pub type Associations = BTreeMap<(Id, AuthoritySet), Arc<BTreeSet<HostName>>>;

/// Everything but client certificates. Each part is shared with older models until it changes.
#[derive(Debug, Clone)]
pub struct Model {
    /// The store's number of the last change.
    pub revision: u64,
    /// Moves when a CA, a CRL, an association or a revocation changes.
    pub trust_epoch: u64,
    /// The one account of this gateway.
    pub account: Id,
    /// By id.
    pub zones: Arc<BTreeMap<Id, Arc<Zone>>>,
    /// By name.
    pub hosts: Arc<BTreeMap<HostName, Arc<HostRecord>>>,
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
    /// Revocation lists, by CA.
    pub crls: Arc<BTreeMap<Uuid, CrlRecord>>,
}

impl Model {
    pub(crate) fn empty(account: Id) -> Self {
        Self {
            revision: 0,
            trust_epoch: 1,
            account,
            zones: Arc::default(),
            hosts: Arc::default(),
            authorities: Arc::default(),
            associations: Arc::default(),
            server_certificates: Arc::default(),
            rulesets: Arc::default(),
            tokens: Arc::default(),
            lists: Arc::default(),
            lists_revision: 0,
            revoked: Arc::default(),
            crls: Arc::default(),
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
