//! Origins as they are asked for: a host's own, and those that a zone's hosts and origin rules share by
//! name.

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::model::origin_certificate::{OriginCertificate, OriginCertificatePatch};
use crate::model::{Model, Phase};
use vocabulary::settings::{Balance, OriginProtocol, ProxyProtocol, TlsVersion};

/// Where permitted requests go, as it was asked for. One of `url`, `addresses` and `name` says where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSpec {
    /// `http://127.0.0.1:9000` or `https://origin.example.com`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Several of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressSpec>,
    /// An origin of the host's zone, which says everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the addresses take turns.
    #[serde(default, skip_serializing_if = "is_default")]
    pub balance: Balance,
    /// What requests are told apart by, when they are balanced by hash: an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_by: Option<String>,
    /// When an address that fails gets no requests for a while; as by default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<EjectionSpec>,
    /// How addresses are checked; they are not when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// For how many seconds an address that is back gets fewer requests than its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_sec: Option<u32>,
    /// With fewer good addresses than so many of a hundred, all of them are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_percent: Option<u8>,
    /// How long it may take; as the process has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsSpec>,
    /// How much it has at once; without a bound when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
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
    /// What is shown to the origin where it asks for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<OriginCertificate>,
    /// The oldest TLS version; 1.2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_min_version: Option<TlsVersion>,
    /// What each connection begins with, which is one client's then; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// A token of a zone set it, so that it may not be what only this machine reaches; see
    /// `control.private_origins`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
}

impl OriginSpec {
    /// Its URLs: of a name that stands for another origin none.
    pub fn urls(&self) -> impl Iterator<Item = (&str, u16)> {
        let single = Some((self.url.as_str(), 1)).filter(|(url, _)| !url.is_empty());
        let several = self.addresses.iter();
        let several = several.map(|one| (one.url.as_str(), one.weight));
        single.into_iter().chain(several)
    }

    /// As it may be shown: what is secret is left out, and everything that is taken back is there.
    #[must_use]
    pub fn shown(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Shown {
            #[serde(flatten)]
            spec: OriginSpec,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_certificate: Option<OriginCertificatePatch>,
        }
        let mut spec = self.clone();
        let client_certificate = spec.client_certificate.take().map(Into::into);
        Shown {
            spec,
            client_certificate,
        }
    }

    /// Whether two are at the same place.
    pub(crate) fn is_where(&self, other: &Self) -> bool {
        (&self.url, &self.addresses, &self.name) == (&other.url, &other.addresses, &other.name)
    }
}

/// One address of several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressSpec {
    /// `http://127.0.0.1:9000` or `https://origin.example.com`; all have the same scheme.
    pub url: String,
    /// Its share of the requests beside those of the others.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
}

/// When an address that fails gets no requests, and for how long. What is absent is as by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionSpec {
    /// So many failures in a row; 0 ejects none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// For how many seconds the first time; each further time in a row doubles it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sec: Option<u32>,
    /// For how many seconds at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sec: Option<u32>,
    /// So many addresses of a hundred may be out at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_percent: Option<u8>,
}

/// How long an origin may take, in milliseconds. What is absent is as the process has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSpec {
    /// To be connected to; `timeout.origin_connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// One try of a request: then another address is asked, if the request may be repeated. As long as
    /// the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub try_ms: Option<u32>,
    /// All tries of a request together, connecting included; `timeout.origin_response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_ms: Option<u32>,
}

/// How much an origin has at once, over all its addresses and all workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Requests; as many as come when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Connections, idle ones included; as many as are needed when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Requests that wait beyond that; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// For how many milliseconds they wait at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u32>,
}

vocabulary::words! {
    /// What a health check asks.
    pub enum HealthKind("a kind of health check") {
        /// Whether an address takes connections.
        Tcp = "tcp",
        /// A GET of a path.
        Http = "http",
        /// gRPC's health service, `grpc.health.v1.Health`.
        Grpc = "grpc",
    }
}

/// How the addresses of an origin are checked. What is absent is as by default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// What is asked.
    pub kind: HealthKind,
    /// By `http`: the path; `/` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// By `http`: the status of a good answer; any of 200 to 299 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// By `grpc`: the service that is asked for; the server as a whole when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// By `http` and `grpc`: the `Host`; the origin's `host_header`, or the address's own, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Seconds from one check of an address to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_sec: Option<u32>,
    /// Seconds that one check may take, up to 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
    /// So many good answers in a row make an unhealthy address healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<u32>,
    /// So many bad ones in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<u32>,
}

/// An origin of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRecord {
    /// Its zone.
    pub zone: Id,
    /// As hosts and rules name it.
    pub name: String,
    /// What it is.
    pub origin: OriginSpec,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

impl OriginRecord {
    /// What sends requests to it, in words; none when nothing does.
    #[must_use]
    pub fn used_by(&self, model: &Model) -> Vec<String> {
        let hosts = model.hosts_of(self.zone);
        let hosts = hosts.filter(|host| host.origin.name.as_deref() == Some(&self.name));
        let mut found: Vec<String> = hosts.map(|host| format!("host {}", host.name)).collect();
        let rules = model.rulesets.get(&(self.zone, Phase::HttpRequestOrigin));
        let rules = rules.into_iter().flat_map(|ruleset| &ruleset.rules);
        found.extend(rules.enumerate().filter_map(|(place, rule)| {
            let parameters = rule.action_parameters.as_ref()?;
            let name = parameters.pointer("/origin/name")?.as_str()?;
            (name == self.name).then(|| format!("origin rule {}", place + 1))
        }));
        found
    }
}

/// What is to change of an [`OriginSpec`]. Absent leaves as it is, `null` takes away. Saying where it
/// is takes away what was said of that before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginPatch {
    /// See [`OriginSpec::url`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub url: Option<Option<String>>,
    /// See [`OriginSpec::addresses`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Option<Vec<AddressSpec>>>,
    /// See [`OriginSpec::name`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub name: Option<Option<String>>,
    /// See [`OriginSpec::balance`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub balance: Option<Option<Balance>>,
    /// See [`OriginSpec::hash_by`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub hash_by: Option<Option<String>>,
    /// See [`OriginSpec::ejection`]; the whole of it.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Option<EjectionSpec>>,
    /// See [`OriginSpec::health`]; the whole of it.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub health: Option<Option<HealthSpec>>,
    /// See [`OriginSpec::slow_start_sec`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub slow_start_sec: Option<Option<u32>>,
    /// See [`OriginSpec::panic_percent`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub panic_percent: Option<Option<u8>>,
    /// See [`OriginSpec::timeouts`]; the whole of it.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Option<TimeoutsSpec>>,
    /// See [`OriginSpec::limits`]; the whole of it.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Option<LimitsSpec>>,
    /// See [`OriginSpec::protocol`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<OriginProtocol>,
    /// See [`OriginSpec::host_header`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub host_header: Option<Option<String>>,
    /// See [`OriginSpec::server_name`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Option<String>>,
    /// See [`OriginSpec::ca_pem`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<Option<String>>,
    /// See [`OriginSpec::client_certificate`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Option<OriginCertificatePatch>>,
    /// See [`OriginSpec::tls_min_version`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub tls_min_version: Option<Option<TlsVersion>>,
    /// See [`OriginSpec::proxy_protocol`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<Option<ProxyProtocol>>,
    /// See [`OriginSpec::confined`]. Absent, it stays while the place does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confined: Option<bool>,
}

impl OriginPatch {
    /// Whether it says where the origin is.
    #[must_use]
    pub fn says_where(&self) -> bool {
        matches!(&self.url, Some(Some(_)))
            || matches!(&self.addresses, Some(Some(_)))
            || matches!(&self.name, Some(Some(_)))
    }

    /// The same, but that it is where it is: nothing is said of that when it is no news.
    #[must_use]
    pub fn of_news(mut self, present: &OriginSpec) -> Self {
        if self.says_where() && self.clone().apply(present).is_where(present) {
            self.url = None;
            self.addresses = None;
            self.name = None;
        }
        self
    }

    /// The origin that comes of it.
    #[must_use]
    pub fn apply(self, to: &OriginSpec) -> OriginSpec {
        let moves = self.says_where();
        let mut base = to.clone();
        if moves {
            base.url = String::new();
            base.addresses = Vec::new();
            base.name = None;
            base.confined = false;
            if !matches!(&self.addresses, Some(Some(_))) {
                // What is said of several addresses means nothing of one.
                base.balance = Balance::default();
                base.hash_by = None;
            }
        }
        if matches!(&self.name, Some(Some(_))) {
            base = OriginSpec::default();
        }
        OriginSpec {
            url: self.url.map_or(base.url, Option::unwrap_or_default),
            addresses: self
                .addresses
                .map_or(base.addresses, Option::unwrap_or_default),
            name: self.name.unwrap_or(base.name),
            balance: self.balance.map_or(base.balance, Option::unwrap_or_default),
            hash_by: self.hash_by.unwrap_or(base.hash_by),
            ejection: self.ejection.unwrap_or(base.ejection),
            health: self.health.unwrap_or(base.health),
            slow_start_sec: self.slow_start_sec.unwrap_or(base.slow_start_sec),
            panic_percent: self.panic_percent.unwrap_or(base.panic_percent),
            timeouts: self.timeouts.unwrap_or(base.timeouts),
            limits: self.limits.unwrap_or(base.limits),
            confined: self.confined.unwrap_or(base.confined),
            protocol: self.protocol.unwrap_or(base.protocol),
            host_header: self.host_header.unwrap_or(base.host_header),
            server_name: self.server_name.unwrap_or(base.server_name),
            ca_pem: self.ca_pem.unwrap_or(base.ca_pem),
            client_certificate: match self.client_certificate {
                Some(said) => said.map(|said| said.apply(base.client_certificate.as_ref())),
                None => base.client_certificate,
            },
            tls_min_version: self.tls_min_version.unwrap_or(base.tls_min_version),
            proxy_protocol: self.proxy_protocol.unwrap_or(base.proxy_protocol),
        }
    }
}

impl From<OriginSpec> for OriginPatch {
    /// Changes everything to these settings.
    fn from(spec: OriginSpec) -> Self {
        Self {
            url: Some(Some(spec.url).filter(|url| !url.is_empty())),
            addresses: Some(Some(spec.addresses).filter(|all| !all.is_empty())),
            name: Some(spec.name),
            balance: Some(Some(spec.balance)),
            hash_by: Some(spec.hash_by),
            ejection: Some(spec.ejection),
            health: Some(spec.health),
            slow_start_sec: Some(spec.slow_start_sec),
            panic_percent: Some(spec.panic_percent),
            timeouts: Some(spec.timeouts),
            limits: Some(spec.limits),
            protocol: Some(spec.protocol),
            host_header: Some(spec.host_header),
            server_name: Some(spec.server_name),
            ca_pem: Some(spec.ca_pem),
            client_certificate: Some(spec.client_certificate.map(Into::into)),
            tls_min_version: Some(spec.tls_min_version),
            proxy_protocol: Some(spec.proxy_protocol),
            confined: Some(spec.confined),
        }
    }
}

/// Tells what is `null` from what is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u16 {
    1
}

fn is_one(value: &u16) -> bool {
    *value == 1
}
