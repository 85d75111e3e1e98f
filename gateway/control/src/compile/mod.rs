//! From the model to the snapshot that the data path runs on.
//!
//! Owns what belongs together (a host with its certificate, its CA set, its zone's rules, its
//! origin) and the re-use of parts that did not change. Changes nothing: a model that does not
//! compile is refused before it is stored.

pub(crate) mod phases;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use boring::hash::{MessageDigest, hash};
use boring::x509::X509;

use crate::change::error::ChangeError;
use crate::model::id::{Id, Uuid};
use crate::model::lookup::Lookup;
use crate::model::rule_diff::Difference;
use crate::model::{
    HostRecord, Model, OriginSpec, Phase, RuleRecord, Ruleset, ServerCertificate, rule_diff,
};
use crate::operations::ocsp::OcspSettings;
use crate::operations::rulesets::action_of;
use crate::operations::{lists, ocsp, revocation_lists};
use crate::store::seal::{Seal, SealError, Secret};
use chunked_list::ChunkedList;
use rules::{ListError, Lists, Program, Rule, RuleError};
use snapshot::http::origin::Origin;
use snapshot::phases::{RateLimits, Transforms};
use snapshot::{DuplicateHost, Host, Snapshot};
use tls::{
    Anchor, Endpoint, OriginTls, OriginTlsError, Responder, ServerIdentity, Site, SiteError,
    SiteSpec, Trust, TrustError,
};
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OnRevoked};

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
        why: String,
    },
    /// A zone's rules.
    #[error("{0}")]
    Rules(RuleError),
    /// A stored rule's action.
    #[error("{0}")]
    Action(String),
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

/// Everything a [`Trust`] depends on: its CAs and the revision of each one's revocations.
type TrustKey = Vec<(Uuid, u64)>;

/// Everything a [`Site`] depends on besides the host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SiteKey {
    /// With their versions, in the order of preference.
    certificates: Vec<(Uuid, u64)>,
    mtls: MtlsMode,
    revoked: OnRevoked,
    authorities: Vec<Uuid>,
}

/// The parts of the last snapshot, for the next one.
#[derive(Default)]
pub(crate) struct Parts {
    /// What a zone without a ruleset runs.
    no_rules: Arc<Program>,
    /// With the revision that they were compiled from.
    lists: (u64, Arc<Lists>),
    rulesets: HashMap<Id, Compiled>,
    rate_limits: HashMap<Id, (Arc<Ruleset>, Arc<RateLimits>)>,
    transforms: HashMap<Id, (Arc<Ruleset>, Arc<Transforms>)>,
    trusts: HashMap<TrustKey, Arc<Trust>>,
    sites: HashMap<HostName, (SiteKey, Arc<Site>)>,
    /// With what they were made of: a responder's answers stay while its URL does.
    responders: HashMap<Uuid, (OcspSettings, Arc<Responder>)>,
    origins: HashMap<HostName, (OriginSpec, Arc<Origin>)>,
}

impl Parts {
    /// Nothing but what responders have answered.
    pub(crate) fn with_responders_of(other: &Self) -> Self {
        Self {
            responders: other.responders.clone(),
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
                Some((old, responder)) if old.url == settings.url => {
                    ocsp::compiled(authority.id, settings, responder.answers.clone())
                }
                _ => ocsp::compiled(authority.id, settings, Arc::default()),
            };
            self.responders
                .insert(authority.id, (settings.clone(), responder));
        }
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

/// A ruleset in the form that it runs in.
#[derive(Clone)]
struct Compiled {
    /// What it was compiled from.
    source: Arc<Ruleset>,
    /// Has the rules in the source's order.
    program: Arc<Program>,
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
        let same = |source: &Ruleset| same_lists && source.version == ruleset.version;
        let (id, lists) = (ruleset.id, &*parts.lists.1);
        match ruleset.phase {
            Phase::HttpRequestFirewallCustom => {
                let compiled = match last.rulesets.get(&id) {
                    Some(known) if same(&known.source) => known.clone(),
                    known => compiled(ruleset, lists, known)?,
                };
                parts.rulesets.insert(id, compiled);
            }
            // An empty one costs requests nothing.
            _ if ruleset.rules.is_empty() => {}
            Phase::HttpRatelimit => {
                let compiled = match last.rate_limits.get(&id) {
                    Some((source, known)) if same(source) => known.clone(),
                    _ => Arc::new(phases::rate_limits(ruleset, lists)?),
                };
                parts.rate_limits.insert(id, (ruleset.clone(), compiled));
            }
            Phase::HttpRequestLateTransform => {
                let compiled = match last.transforms.get(&id) {
                    Some((source, known)) if same(source) => known.clone(),
                    _ => Arc::new(phases::transforms(ruleset, lists)?),
                };
                parts.transforms.insert(id, (ruleset.clone(), compiled));
            }
        }
    }
    let lookup = Lookup::new(model);
    for record in model.hosts.values() {
        let certificates = lookup.presented(record);
        if certificates.is_empty() {
            continue;
        }
        let anchors = anchors(model, &lookup, record);
        let authorities = anchors.iter().map(|(id, _)| *id).collect();
        let trust = trust(model, record, anchors, last, &mut parts)?;
        let key = SiteKey {
            certificates: certificates
                .iter()
                .map(|one| (one.id, one.version))
                .collect(),
            mtls: record.mtls,
            revoked: record.client.revoked,
            authorities,
        };
        let site = match last.sites.get(&record.name) {
            Some((known, site)) if *known == key => site.clone(),
            _ => Arc::new(site(record, &certificates, seal, &trust)?),
        };
        parts.sites.insert(record.name.clone(), (key, site.clone()));
        let origin = match last.origins.get(&record.name) {
            Some((spec, origin)) if *spec == record.origin => origin.clone(),
            _ => Arc::new(origin(&record.origin).map_err(|why| CompileError::Origin {
                host: record.name.clone(),
                why,
            })?),
        };
        parts
            .origins
            .insert(record.name.clone(), (record.origin.clone(), origin.clone()));
        let ruleset = |phase| {
            model
                .rulesets
                .get(&(record.zone, phase))
                .map(|found| found.id)
        };
        let rules = ruleset(Phase::HttpRequestFirewallCustom)
            .and_then(|id| parts.rulesets.get(&id))
            .map_or(&parts.no_rules, |compiled| &compiled.program)
            .clone();
        let rate_limits = ruleset(Phase::HttpRatelimit)
            .and_then(|id| parts.rate_limits.get(&id))
            .map(|(_, compiled)| compiled.clone());
        let transforms = ruleset(Phase::HttpRequestLateTransform)
            .and_then(|id| parts.transforms.get(&id))
            .map(|(_, compiled)| compiled.clone());
        hosts.push(Host {
            endpoint: Arc::new(Endpoint {
                name: record.name.clone(),
                site,
                trust,
                keeps_hello: rules.reads_client_hello()
                    || rate_limits
                        .as_ref()
                        .is_some_and(|all| all.reads_client_hello())
                    || transforms
                        .as_ref()
                        .is_some_and(|all| all.reads_client_hello()),
            }),
            index: 0,
            zone_id: record.zone.to_string().into(),
            client: record.client.clone(),
            rules,
            rate_limits,
            transforms,
            origin,
        });
    }
    let snapshot = Snapshot::new(model.revision, model.trust_epoch, hosts, default_host)?;
    Ok((snapshot, parts))
}

/// A host's TLS, made anew.
fn site(
    record: &HostRecord,
    certificates: &[&Arc<ServerCertificate>],
    seal: &Seal,
    trust: &Arc<Trust>,
) -> Result<Site, CompileError> {
    let keys: Vec<Secret> = certificates
        .iter()
        .map(|one| {
            seal.open_sealed(
                &crate::operations::server_certificates::purpose(one.id),
                &one.key,
            )
        })
        .collect::<Result<_, _>>()
        .map_err(|why| CompileError::Key {
            host: record.name.clone(),
            why,
        })?;
    let identities: Vec<ServerIdentity<'_>> = certificates
        .iter()
        .zip(&keys)
        .map(|(one, key)| ServerIdentity {
            chain_pem: one.chain.as_bytes(),
            key_pem: key.reveal(),
        })
        .collect();
    Ok(Site::build(&SiteSpec {
        host: &record.name,
        certificates: &identities,
        mtls: record.mtls,
        revoked: record.client.revoked,
        trust,
    })?)
}

/// The CAs of a host with the revision of their revocations. A host that asks nobody still gets
/// its zone's managed CAs, so that a CA set is never empty by accident.
fn anchors(model: &Model, lookup: &Lookup<'_>, host: &HostRecord) -> TrustKey {
    let believed = match host.mtls {
        MtlsMode::Off => lookup.managed(host.zone).to_vec(),
        MtlsMode::Request | MtlsMode::Require => lookup.believed(host),
    };
    let revision = |id| {
        let revoked = model.revoked.get(id).map_or(0, |revoked| revoked.revision);
        let crls = model.crls.get(id).map_or(0, |crls| crls.revision);
        revoked.max(crls)
    };
    believed
        .iter()
        .map(|ca| (ca.id, revision(&ca.id)))
        .collect()
}

fn trust(
    model: &Model,
    host: &HostRecord,
    key: TrustKey,
    last: &Parts,
    parts: &mut Parts,
) -> Result<Arc<Trust>, CompileError> {
    if let Some(trust) = parts
        .trusts
        .get(&key)
        .or_else(|| last.trusts.get(&key))
        .cloned()
    {
        parts.trusts.insert(key, trust.clone());
        return Ok(trust);
    }
    let mut set = Vec::with_capacity(key.len());
    for (id, _) in &key {
        let unreadable = || CompileError::Authority(*id);
        let authority = model.authorities.get(id).ok_or_else(unreadable)?;
        let bundle = X509::stack_from_pem(authority.certificate.as_bytes())
            .map_err(|_not_pem| unreadable())?;
        // An empty bundle would quietly believe fewer than were asked for.
        if bundle.is_empty() {
            return Err(unreadable());
        }
        let revoked = model
            .revoked
            .get(id)
            .map(|r| r.serials.clone())
            .unwrap_or_default();
        let lists = revocation_lists::compiled(model, *id);
        let responder = parts.responders.get(id).map(|(_, found)| found.clone());
        for certificate in bundle {
            set.push(Anchor {
                id: id.to_string().into(),
                der: certificate.to_der().map_err(|_not_der| unreadable())?,
                revoked: revoked.clone(),
                lists: lists.clone(),
                responder: responder.clone(),
            });
        }
    }
    let built = Trust::build(set).map_err(|why| CompileError::Trust {
        host: host.name.clone(),
        why,
    })?;
    let trust = Arc::new(built);
    parts.trusts.insert(key, trust.clone());
    Ok(trust)
}

/// Compiles a ruleset; what `last` has of it is taken over rule by rule.
fn compiled(
    ruleset: &Arc<Ruleset>,
    lists: &Lists,
    last: Option<&Compiled>,
) -> Result<Compiled, CompileError> {
    let rules = forms(ruleset, last).map_err(|error| CompileError::Action(error.to_string()))?;
    let program = match last {
        Some(last) => last.program.recompile(rules, lists),
        None => Program::compile_shared(rules, lists),
    };
    Ok(Compiled {
        source: ruleset.clone(),
        program: Arc::new(program.map_err(CompileError::Rules)?),
    })
}

/// Whether a zone's rules of a phase compile by themselves, so that the one at fault can be named.
pub(crate) fn check_rules(model: &Model, zone: Id, phase: Phase) -> Result<(), ChangeError> {
    let lists =
        lists::compile(model).map_err(|why| ChangeError::invalid("lists", why.to_string()))?;
    let Some(ruleset) = model.rulesets.get(&(zone, phase)) else {
        return Ok(());
    };
    match phase {
        Phase::HttpRequestFirewallCustom => compiled(ruleset, &lists, None).map(drop)?,
        Phase::HttpRatelimit => phases::rate_limits(ruleset, &lists).map(drop)?,
        Phase::HttpRequestLateTransform => phases::transforms(ruleset, &lists).map(drop)?,
    }
    Ok(())
}

/// The rules of a ruleset in their compiled form.
fn forms(ruleset: &Ruleset, last: Option<&Compiled>) -> Result<ChunkedList<Arc<Rule>>, ChangeError> {
    let form = |record: &Arc<RuleRecord>| compiled_form(record).map(Arc::new);
    let Some(last) = last else {
        return ruleset.rules.iter().map(form).collect();
    };
    let Difference { hunks, out, new } = Difference::between(&last.source.rules, &ruleset.rules);
    let mut rules = last.program.rules().clone();
    let places = hunks.iter().flat_map(|hunk| hunk.old.clone());
    let known: HashMap<Id, (&Arc<RuleRecord>, Arc<Rule>)> = out
        .into_iter()
        .zip(places.filter_map(|place| rules.get(place).cloned()))
        .map(|(source, rule)| (source.id, (source, rule)))
        .collect();
    let forms = new.into_iter().map(|record| match known.get(&record.id) {
        Some((source, rule)) if rule_diff::same(source, record) => Ok(rule.clone()),
        _ => form(record),
    });
    let mut forms = forms.collect::<Result<Vec<_>, ChangeError>>()?;
    // From the end, so that places before stay what they are.
    for hunk in hunks.into_iter().rev() {
        let new = forms.split_off(forms.len() - hunk.new.len());
        rules.replace(hunk.old, new);
    }
    Ok(rules)
}

/// A stored rule as [`rules`] takes it.
pub(crate) fn compiled_form(rule: &RuleRecord) -> Result<Rule, ChangeError> {
    Ok(Rule {
        id: rule.id.to_string().into(),
        expression: rule.expression.as_str().into(),
        action: action_of(rule)?,
        enabled: rule.enabled,
    })
}

/// Reads an origin as it was asked for. Names are not resolved here: the data path does that when
/// it connects.
pub(crate) fn origin(spec: &OriginSpec) -> Result<Origin, String> {
    const WANTED: &str = "expected `http://HOST[:PORT]` or `https://HOST[:PORT]`";
    let uri: http::Uri = spec
        .url
        .parse()
        .map_err(|why| format!("`{}` is not a URL ({why}); {WANTED}", spec.url))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => {
            return Err(format!(
                "`{}` has no scheme that is known here; {WANTED}",
                spec.url
            ));
        }
    };
    let authority = uri
        .authority()
        .ok_or_else(|| format!("`{}` names no host; {WANTED}", spec.url))?;
    if authority.as_str().contains('@') {
        return Err(format!(
            "a URL with a user name or password is not taken; {WANTED}"
        ));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!(
            "`{}` has a path or a query; requests keep their own path, {WANTED}",
            spec.url
        ));
    }
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_none() {
        HostName::parse(host).map_err(|why| why.to_string())?;
    }
    // An authority that ends in `:` or in digits too large has no port that `port_u16` would see.
    let port = match authority.port_u16() {
        Some(0) => return Err("port 0 cannot be connected to".into()),
        Some(port) => port,
        None if authority.as_str().ends_with(']') || !authority.as_str().contains(':') => {
            if secure { 443 } else { 80 }
        }
        None => {
            return Err(format!(
                "the port in `{}` is not a number up to 65535",
                spec.url
            ));
        }
    };
    let host_header = spec
        .host_header
        .as_deref()
        .map(|text| {
            // An authority and nothing else: it goes into the request as it is.
            text.parse::<http::uri::Authority>()
                .ok()
                .filter(|authority| !authority.as_str().contains('@'))
                .and_then(|authority| http::HeaderValue::from_str(authority.as_str()).ok())
                .ok_or_else(|| format!("host_header: `{}` is not a host name", text.escape_debug()))
        })
        .transpose()?;
    let tls = if secure {
        let name = spec.server_name.as_deref().unwrap_or(host);
        if name.parse::<IpAddr>().is_err() {
            HostName::parse(name).map_err(|why| format!("server_name: {why}"))?;
        }
        let built = OriginTls::build(name, spec.ca_pem.as_deref().map(str::as_bytes));
        Some(built.map_err(|why: OriginTlsError| why.to_string())?)
    } else if spec.ca_pem.is_some() || spec.server_name.is_some() {
        return Err("ca_pem and server_name are for https:// origins".into());
    } else {
        None
    };
    Ok(Origin {
        key: key_of(spec),
        url: spec.url.as_str().into(),
        host: host.into(),
        port,
        addresses: address
            .map(|address| SocketAddr::new(address, port))
            .into_iter()
            .collect(),
        protocol: spec.protocol,
        tls,
        host_header,
    })
}

/// Equal origins of different hosts share connections; the header they send may differ, but is no
/// part of a connection.
fn key_of(spec: &OriginSpec) -> u64 {
    let connection = (&spec.url, &spec.protocol, &spec.server_name, &spec.ca_pem);
    let text = format!("{connection:?}");
    let digest = hash(MessageDigest::sha256(), text.as_bytes());
    digest
        .ok()
        .and_then(|d| d.first_chunk().copied())
        .map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (url, host, port, addresses) in [
            ("http://127.0.0.1:9000", "127.0.0.1", 9000, 1),
            ("http://127.0.0.1:9000/", "127.0.0.1", 9000, 1),
            ("http://[::1]:9000", "::1", 9000, 1),
            ("http://[::1]", "::1", 80, 1),
            ("http://origin.example.com", "origin.example.com", 80, 0),
            ("https://origin.example.com", "origin.example.com", 443, 0),
            ("https://10.0.0.1", "10.0.0.1", 443, 1),
        ] {
            let origin = origin(&OriginSpec {
                url: url.into(),
                ..OriginSpec::default()
            })
            .unwrap();
            assert_eq!(
                (&*origin.host, origin.port, origin.addresses.len()),
                (host, port, addresses)
            );
        }
    }

    #[test]
    fn origins_refused() {
        for url in [
            "",
            "127.0.0.1:9000",
            "ftp://x",
            "http://",
            "http://h/path",
            "http://h?x",
            "http://u@h",
            "http://h:0",
            "http://h:99999",
            "http://h:",
            "http://h:x",
            "http://a b",
            "http://a..b",
            "unix:/x",
        ] {
            let spec = OriginSpec {
                url: url.into(),
                ..OriginSpec::default()
            };
            assert!(origin(&spec).is_err(), "{url:?}");
        }
        let url = "http://h".to_owned();
        for header in ["a b", "a\r\nb", "", "u@h"] {
            let spec = OriginSpec {
                url: url.clone(),
                host_header: Some(header.into()),
                ..OriginSpec::default()
            };
            assert!(origin(&spec).is_err(), "{header:?}");
        }
        let spec = OriginSpec {
            url,
            server_name: Some("x".into()),
            ..OriginSpec::default()
        };
        assert!(origin(&spec).is_err(), "a name for a plain origin");
    }
}
