//! The edge that makes the changes: a control plane with a store of its own, which founds the fleet.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::fleet::{AppendError, Digest, Fleet, Founding, Head, Settings};
use anyhow::{Context, Result};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::x509::{X509Name, X509Req};
use bytes::Bytes;
use clap::Args;
use control::{
    Control, FleetState, HostPatch, Id, Ledger, LedgerError, Mark, NewHost, NewRule, News,
    OriginSpec, Phase, RulePatch, STORE_FORMAT, Uuid,
};
use snapshot::Published;
use tests::memory_store::MemoryStore;
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode};

use super::{NAME, now};

/// What the stores have.
#[derive(Debug, Clone, Args)]
pub(super) struct Contents {
    /// Hosts in the stores, each with mTLS
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    hosts: u32,
    /// Rules in the stores
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rules: u32,
    /// Client certificates in the stores; each is revoked once at most
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    certificates: u32,
}

const ZONE: &str = "example.test";
const PHASE: Phase = Phase::HttpRequestFirewallCustom;

pub(super) fn mark(head: &Head) -> Mark {
    Mark {
        revision: head.revision,
        digest: *head.digest.as_bytes(),
    }
}

pub(super) fn head(mark: Mark) -> Head {
    Head {
        revision: mark.revision,
        digest: Digest::from(mark.digest),
    }
}

/// The log in etcd.
struct Etcd {
    fleet: Fleet,
    /// When etcd had taken the last entry.
    committed: Mutex<u64>,
}

impl Ledger for Etcd {
    fn append(&self, after: Mark, entry: Vec<u8>) -> Result<Mark, LedgerError> {
        let added = self.fleet.append(&head(after), Bytes::from(entry));
        let added = added.map_err(|error| match error {
            AppendError::Moved => LedgerError::Moved,
            AppendError::Unknown(error) => LedgerError::Unknown(error.to_string()),
            other => LedgerError::Away(other.to_string()),
        })?;
        *self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now();
        Ok(mark(&added))
    }

    fn after(&self, known: Mark) -> Result<News, LedgerError> {
        let page = self.fleet.after(&head(known));
        let page = page.map_err(|error| LedgerError::Away(error.to_string()))?;
        let entries = page.entries.into_iter();
        Ok(News {
            entries: entries
                .map(|entry| (mark(&entry.head), entry.bytes.to_vec()))
                .collect(),
            head: mark(&page.head),
            // Nobody else changes anything.
            turn: false,
        })
    }
}

/// When a change was made, in nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) begun: u64,
    /// etcd has said that it is in the log.
    pub(super) committed: u64,
    /// It was acknowledged.
    pub(super) done: u64,
}

/// The edge that makes changes.
pub(super) struct Writer {
    control: Arc<Control>,
    etcd: Arc<Etcd>,
    zone: Id,
    ruleset: Id,
    rules: Vec<Id>,
    hosts: Vec<HostName>,
    certificates: Vec<Uuid>,
    state: FleetState,
}

fn request() -> Result<String> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_text("CN", "device")?;
    let mut request = X509Req::builder()?;
    request.set_subject_name(&subject.build())?;
    request.set_pubkey(&key)?;
    request.sign(&key, MessageDigest::sha256())?;
    Ok(String::from_utf8(request.build().to_pem()?)?)
}

impl Writer {
    /// Fills a store below `directory`, and founds the fleet in etcd with it.
    pub(super) fn found(directory: &Path, settings: Settings, contents: &Contents) -> Result<Self> {
        let (store, key) = (directory.join("writer.redb"), directory.join("ca.key"));
        let memory = MemoryStore::default();
        let control = Control::start(Box::new(memory.clone()), &key, None, Arc::default())?;
        let zone = control.create_zone(ZONE)?.id;
        control.develop_server_certificate(zone, &[HostName::parse("*.example.test")?])?;
        let mut hosts = Vec::new();
        for number in 0..contents.hosts {
            let name = HostName::parse(&format!("h{number}.{ZONE}"))?;
            hosts.push(name.clone());
            control.create_host(zone, host(name))?;
        }
        let rules = (0..contents.rules).map(|number| NewRule::block(&expression(number, 0)));
        let ruleset = control.set_entrypoint(zone, PHASE, None, None, rules.collect())?;
        let request = request()?;
        let issue = |_| Ok(control.issue_certificate(zone, &request, 365)?.id);
        let certificates = (0..contents.certificates).map(issue);
        let certificates = certificates.collect::<Result<Vec<_>>>()?;
        drop(control);
        memory.write(&store)?;
        let control = Control::open(&store, Arc::<Published>::default())?;
        let etcd = Arc::new(Etcd {
            fleet: Fleet::start(settings, &NAME.parse()?, "writer")?,
            committed: Mutex::new(0),
        });
        let founding = Founding {
            store_format: u32::try_from(STORE_FORMAT)?,
            proof: control.fleet_proof(NAME)?,
        };
        let mut kept = None;
        control.found(NAME, |state| {
            let parts = state.parts.iter().cloned().map(|part| Ok(part.into()));
            let founded = etcd.fleet.found(&head(state.mark), &founding, parts);
            founded.map_err(|error| LedgerError::Away(error.to_string()))?;
            let (mark, parts) = (state.mark, state.parts.clone());
            kept = Some(FleetState {
                mark,
                parts,
                entries: Vec::new(),
            });
            Ok(())
        })?;
        control.attach(Ok(etcd.clone()));
        Ok(Self {
            zone,
            ruleset: ruleset.id,
            rules: ruleset.rules.iter().map(|rule| rule.id).collect(),
            hosts,
            certificates,
            state: kept.context("no state was founded with")?,
            control,
            etcd,
        })
    }

    /// Writes what edges begin with.
    pub(super) fn write_state(&self, path: &Path) -> Result<()> {
        let state = (self.state.mark, &self.state.parts);
        Ok(fs::write(path, serde_json::to_vec(&state)?)?)
    }

    /// Makes a change: a certificate revoked, a rule changed, a host changed, in turns.
    pub(super) fn change(&self, number: u64) -> Result<Made> {
        let begun = now();
        let turn = usize::try_from(number / 3)?;
        let some = |length: usize| turn % length.max(1);
        let count = u32::try_from(number)?;
        match number % 3 {
            0 => {
                let id = self.certificates.get(turn);
                let id = *id.context("there are too few certificates: more --certificates")?;
                self.control.revoke_certificate(self.zone, id)?;
            }
            1 => {
                let rule = *self.rules.get(some(self.rules.len())).context("a rule")?;
                let patch = RulePatch {
                    expression: Some(expression(count, 1)),
                    ..RulePatch::default()
                };
                self.control
                    .update_rule(self.zone, self.ruleset, rule, patch, None)?;
            }
            _ => {
                let name = self.hosts.get(some(self.hosts.len())).context("a host")?;
                let patch = HostPatch {
                    request_body_max: Some(Some(1_000_000 + number)),
                    ..HostPatch::default()
                };
                self.control.update_host(name, patch)?;
            }
        }
        let committed = self.etcd.committed.lock();
        Ok(Made {
            begun,
            committed: *committed.unwrap_or_else(PoisonError::into_inner),
            done: now(),
        })
    }

    /// Certificates that `changes` changes revoke.
    pub(super) fn needs(changes: u64) -> u64 {
        changes.div_ceil(3)
    }
}

impl Contents {
    /// Whether there are enough for so many changes.
    pub(super) fn check(&self, changes: u64) -> Result<()> {
        let needed = Writer::needs(changes);
        if u64::from(self.certificates) < needed {
            anyhow::bail!(
                "{changes} changes revoke {needed} certificates: --certificates {needed}"
            );
        }
        Ok(())
    }
}

fn expression(number: u32, version: u32) -> String {
    let host = number % 10;
    format!(
        "http.host eq \"h{host}.{ZONE}\" and starts_with(http.request.uri.path, \"/{version}/{number}/\") and \
         not cf.tls_client_auth.cert_verified"
    )
}

fn host(name: HostName) -> NewHost {
    NewHost {
        name,
        origin: OriginSpec {
            url: "http://127.0.0.1:9000".into(),
            ..OriginSpec::default()
        },
        mtls: Some(MtlsMode::Require),
        client: ClientSettings::default(),
        tls_min_version: None,
        request_body_max: None,
        acme: false,
        certificate: None,
        other_certificate: None,
    }
}
