//! Applies a document: the operations that make the gateway equal to it, as one change.
//!
//! Owns the order of the steps. Each step acts only on a difference, so that applying twice changes
//! nothing. Every error names its place in the document.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::export::{self, MANAGED, fingerprints};
use super::summary::{DocumentChange, changes};
use super::{
    AuthorityDocument, Document, KeyedDocument, ListDocument, RuleDocument, RulesetDocument,
    VERSION, ZoneDocument,
};
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control};
use crate::limits::MANAGED_AUTHORITIES_MAX;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::revocation::CrlSettings;
use crate::model::{
    Authority, AuthorityKind, AuthoritySet, Model, Phase, RuleRecord, Ruleset, Zone,
};
use crate::operations::lists::ItemsChange;
use crate::operations::loss::Loss;
use crate::operations::ocsp::OcspPatch;
use crate::operations::revocation_lists::CrlPatch;
use crate::operations::rulesets::check_compiles;
use crate::operations::rulesets::{DEFAULT_NAME, NewRule};
use crate::pki::chain::ServerChain;
use crate::pki::x509;
use crate::pki::x509::{Signer, X509Error};
use crate::store::seal::authority_purpose;
use crate::store::seal::server_certificate_purpose;
use chunked_list::ChunkedList;
use tls::pem;
use vocabulary::hostname::HostName;
use vocabulary::settings::MtlsMode;

/// How a document is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Remove what a section that is there does not name, zones excepted.
    pub prune: bool,
    /// Remove zones that the document does not name, with their CA keys and all certificates.
    pub prune_zones: bool,
    /// Refuse when the gateway is at another revision: what was looked at is what is changed.
    pub revision: Option<u64>,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Applied {
    /// What differs afterwards.
    pub changes: Vec<DocumentChange>,
    /// What is there, not in the document, and left alone.
    pub kept: Vec<String>,
    /// What is lost for good with what is removed.
    pub lost: Vec<Loss>,
    /// The revision that the document was compared with.
    pub revision: u64,
}

/// A change in the making, step by step.
pub(super) struct Apply<'c> {
    pub(super) control: &'c Control,
    pub(super) prune: bool,
    pub(super) prune_zones: bool,
    pub(super) kept: Vec<String>,
    pub(super) lost: Vec<Loss>,
}

pub(super) type Step<T = ()> = Result<T, ChangeError>;

/// One more part of a JSON pointer.
pub(super) fn at(base: &str, part: impl std::fmt::Display) -> String {
    format!("{base}/{part}")
}

pub(super) fn parse_name(text: &str, pointer: &str) -> Step<HostName> {
    let invalid = |why: String| ChangeError::invalid("name", why).at(pointer);
    HostName::parse(text).map_err(|why| invalid(why.to_string()))
}

/// Refuses a thing that a document names twice.
fn distinct<'t>(names: impl Iterator<Item = (String, &'t str)>, noun: &str) -> Step {
    let mut seen = BTreeSet::new();
    for (pointer, name) in names {
        if !seen.insert(name.to_ascii_lowercase()) {
            let why = format!(
                "the {noun} `{}` is in the document twice",
                name.escape_debug()
            );
            return Err(ChangeError::invalid("name", why).at(pointer));
        }
    }
    Ok(())
}

impl Apply<'_> {
    pub(super) fn model(&self) -> Arc<Model> {
        self.control.model()
    }

    fn list(&mut self, list: &ListDocument, pointer: &str) -> Step {
        let found = self
            .model()
            .lists
            .values()
            .find(|one| one.name == list.name)
            .cloned();
        let known = match found {
            Some(known) if known.kind != list.kind => {
                let why = "a list cannot become one of another kind; give it another name";
                return Err(ChangeError::invalid("kind", why).at(at(pointer, "kind")));
            }
            Some(known) => known,
            None => self
                .control
                .create_list(
                    &list.name,
                    list.kind,
                    list.description.as_deref().unwrap_or(""),
                )
                .map_err(|error| error.at(at(pointer, "name")))?,
        };
        let description = list.description.as_ref();
        if let Some(description) = description.filter(|said| known.description != **said) {
            self.control
                .describe_list(known.id, description)
                .map_err(|error| error.at(at(pointer, "description")))?;
        }
        let items = list.items.as_ref();
        if let Some(items) = items.filter(|items| export::items(&known) != **items) {
            distinct(
                items
                    .iter()
                    .enumerate()
                    .map(|(place, item)| (format!("{pointer}/items/{place}/value"), &*item.value)),
                "item",
            )?;
            let items = items
                .iter()
                .map(|item| (item.value.clone(), item.comment.clone()));
            self.control
                .change_items(known.id, ItemsChange::Replace(items.collect()))
                .map_err(|error| error.at(at(pointer, "items")))?;
        }
        Ok(())
    }

    fn authority(&mut self, wanted: &AuthorityDocument, pointer: &str) -> Step<Uuid> {
        let place = at(pointer, "certificate");
        let prints = fingerprints(&wanted.certificate)
            .map_err(|error| ChangeError::from(error).at(&place))?;
        let model = self.model();
        let known = export::uploaded(&model).into_iter().find(|ca| {
            !prints.is_empty() && fingerprints(&ca.certificate).is_ok_and(|of| of == prints)
        });
        let known = match known {
            Some(known) => Arc::new(known.clone()),
            None => self
                .control
                .upload_authority(wanted.name.as_deref().unwrap_or(""), &wanted.certificate)
                .map_err(|error| error.at(&place))?,
        };
        let id = known.id;
        if let Some(name) = wanted.name.as_ref().filter(|name| known.name != **name) {
            self.control
                .rename_authority(id, name)
                .map_err(|error| error.at(at(pointer, "name")))?;
        }
        let crl = wanted
            .crl
            .clone()
            .map(|said| said.unwrap_or_else(|| CrlPatch::from(&CrlSettings::default())));
        if let Some(patch) = crl.filter(|patch| patch.changes(&known.crl)) {
            self.control
                .set_crl(id, patch)
                .map_err(|error| error.at(at(pointer, "crl")))?;
        }
        let ocsp = wanted.ocsp.clone();
        let ocsp = ocsp.map(|said| said.unwrap_or_else(|| OcspPatch::from(None)));
        if let Some(patch) = ocsp.filter(|patch| patch.changes(known.ocsp.as_ref())) {
            self.control
                .set_ocsp(id, &patch)
                .map_err(|error| error.at(at(pointer, "ocsp")))?;
        }
        if let Some(denied) = &wanted.denied {
            let set = self
                .control
                .set_denied(id, denied.as_deref().unwrap_or_default());
            set.map_err(|error| error.at(at(pointer, "denied")))?;
        }
        Ok(id)
    }

    fn zone(&mut self, wanted: &ZoneDocument, pointer: &str) -> Step<Arc<Zone>> {
        let name = parse_name(&wanted.name, &at(pointer, "name"))?;
        let found = self.model().zone_named(name.as_str()).cloned();
        let (zone, is_new) = match found {
            Some(zone) => (zone, false),
            None => {
                let made = self.control.create_zone(name.as_str());
                (made.map_err(|error| error.at(at(pointer, "name")))?, true)
            }
        };
        if let Some(managed) = &wanted.managed_authorities {
            let pointer = at(pointer, "managed_authorities");
            self.managed(&zone, managed, is_new, &pointer)?;
        }
        for (place, one) in wanted.server_certificates.iter().flatten().enumerate() {
            let pointer = format!("{pointer}/server_certificates/{place}");
            self.server_certificate(zone.id, one, &pointer)?;
        }
        Ok(zone)
    }

    /// Managed CAs come into a zone that is made by the document. Elsewhere they are only compared:
    /// certificates were issued under the ones that are there.
    fn managed(
        &mut self,
        zone: &Zone,
        wanted: &[KeyedDocument],
        is_new: bool,
        pointer: &str,
    ) -> Step {
        let model = self.model();
        let present = model.managed(zone.id);
        let mut prints = Vec::new();
        for (place, one) in wanted.iter().enumerate() {
            let found = fingerprints(&one.certificate)
                .map_err(|error| ChangeError::from(error).at(at(pointer, place)))?;
            prints.push(found);
        }
        let same = present.len() == prints.len()
            && present.iter().zip(&prints).all(|(ca, wanted)| {
                fingerprints(&ca.certificate).is_ok_and(|found| found == *wanted)
            });
        if same || wanted.is_empty() {
            return Ok(());
        }
        if !is_new {
            let why = format!(
                "the zone {} is there with other managed CAs, under which certificates were issued; leave this section out, or restore a backup",
                zone.name
            );
            return Err(ChangeError::invalid("managed_authorities", why).at(pointer));
        }
        if wanted.len() > MANAGED_AUTHORITIES_MAX {
            let max = MANAGED_AUTHORITIES_MAX;
            let full = ChangeError::Full {
                what: "managed CAs of a zone",
                max,
            };
            return Err(full.at(pointer));
        }
        let made: Vec<Uuid> = present.iter().map(|ca| ca.id).collect();
        self.control.change(|draft| {
            for id in &made {
                draft.remove_authority(*id)?;
            }
            // Newest first in the document, and the newest issues.
            for (place, one) in wanted.iter().enumerate().rev() {
                let pointer = at(pointer, place);
                let refuse = |why: &str| ChangeError::invalid("key", why).at(at(&pointer, "key"));
                let key = one.key.as_deref();
                let key = key.ok_or_else(|| {
                    refuse("a managed CA needs its key; export with --private-keys")
                })?;
                let key =
                    pem::private_key(key.as_bytes()).map_err(|why| refuse(&why.to_string()))?;
                let text = x509::key_pem(&key)?;
                let signer = Signer::open(one.certificate.as_bytes(), &text);
                signer.map_err(|error| ChangeError::from(error).at(&pointer))?;
                let certificate =
                    pem::certificate(one.certificate.as_bytes()).map_err(X509Error::from)?;
                let belongs = certificate
                    .public_key()
                    .is_ok_and(|public| public.public_eq(&key));
                if !belongs {
                    return Err(refuse("it is not the key of this certificate"));
                }
                let details = x509::Details::of(&certificate)?;
                let id = Uuid::random();
                let age = i64::try_from(place).unwrap_or_default();
                draft.put_authority(Authority {
                    id,
                    name: details.common_name.clone(),
                    certificate: x509::to_pem(&certificate)?,
                    created_on: if age == 0 {
                        draft.now
                    } else {
                        Moment::from_seconds(draft.now.seconds() - age)
                    },
                    not_after: details.not_after,
                    crl: CrlSettings::default(),
                    ocsp: None,
                    ocsp_before: None,
                    denied: Vec::new(),
                    kind: AuthorityKind::Managed {
                        zone: zone.id,
                        key: draft.seal().seal(&authority_purpose(id), text.reveal())?,
                    },
                });
            }
            Ok(())
        })
    }

    fn server_certificate(&mut self, zone: Id, wanted: &KeyedDocument, pointer: &str) -> Step {
        let place = at(pointer, "certificate");
        let prints = fingerprints(&wanted.certificate)
            .map_err(|error| ChangeError::from(error).at(&place))?;
        let model = self.model();
        let known = model
            .server_certificates
            .values()
            .find(|one| one.zone == zone && prints.contains(&one.fingerprint_sha256));
        if known.is_some_and(|one| fingerprints(&one.chain).is_ok_and(|of| of == prints)) {
            return Ok(());
        }
        let key = match (&wanted.key, known) {
            (Some(key), _) => key.clone(),
            (None, Some(known)) => {
                let key = self
                    .control
                    .shared
                    .seal
                    .open_sealed(&server_certificate_purpose(known.id), &known.key)?;
                key.reveal_text().to_owned()
            }
            (None, None) => {
                let why = "the gateway does not have this certificate, so its private key is needed: `key` or `key_file`";
                return Err(ChangeError::invalid("key", why).at(pointer));
            }
        };
        let refused = |error: ChangeError| error.at(&place);
        match known {
            None => self
                .control
                .upload_server_certificate(zone, &wanted.certificate, &key)
                .map(drop)
                .map_err(refused),
            Some(known) => {
                let chain = ServerChain::parse(&wanted.certificate, &key, Moment::now())
                    .map_err(|error| refused(error.into()))?;
                if chain.chain_pem == known.chain {
                    return Ok(());
                }
                self.control
                    .replace_server_certificate(zone, known.id, &wanted.certificate, &key)
                    .map(drop)
                    .map_err(refused)
            }
        }
    }

    /// The CA that an association means.
    fn resolve(&self, label: &str, pointer: &str) -> Step<AuthoritySet> {
        if label == MANAGED {
            return Ok(AuthoritySet::Managed);
        }
        let model = self.model();
        let all = export::uploaded(&model);
        let named: Vec<&&Authority> = all.iter().filter(|ca| ca.name == label).collect();
        if let [one] = named.as_slice() {
            return Ok(AuthoritySet::Uploaded(one.id));
        }
        let wanted = label.to_ascii_lowercase();
        let by_print = all
            .iter()
            .find(|ca| fingerprints(&ca.certificate).is_ok_and(|of| of.first() == Some(&wanted)));
        if let Some(one) = by_print {
            return Ok(AuthoritySet::Uploaded(one.id));
        }
        let error = if named.is_empty() {
            ChangeError::not_found(Noun::Authority, label)
        } else {
            let why = format!(
                "several CAs are called `{label}`; write the SHA-256 of its first certificate"
            );
            ChangeError::invalid("authority", why)
        };
        Err(error.at(pointer))
    }

    /// Which hosts are to believe which CAs. A new host that asks for certificates without naming a
    /// CA believes the managed ones, as it does everywhere else.
    fn wanted_associations(
        &self,
        wanted: &ZoneDocument,
        pointer: &str,
    ) -> Step<Option<HashMap<AuthoritySet, BTreeSet<HostName>>>> {
        let Some(sections) = &wanted.associations else {
            return Ok(None);
        };
        let model = self.model();
        let mut sets: HashMap<AuthoritySet, BTreeSet<HostName>> = HashMap::new();
        for (place, one) in sections.iter().enumerate() {
            let pointer = format!("{pointer}/associations/{place}");
            let set = self.resolve(&one.authority, &at(&pointer, "authority"))?;
            let mut names = BTreeSet::new();
            for (place, name) in one.hosts.iter().enumerate() {
                names.insert(parse_name(name, &format!("{pointer}/hosts/{place}"))?);
            }
            if sets.insert(set, names).is_some() {
                let why = "this CA has an association above already";
                return Err(ChangeError::invalid("authority", why).at(at(&pointer, "authority")));
            }
        }
        for (place, host) in wanted.hosts.iter().flatten().enumerate() {
            let pointer = format!("{pointer}/hosts/{place}");
            let name = parse_name(&host.name, &at(&pointer, "name"))?;
            let known = model.hosts.get(&name);
            let told = known.and_then(|known| known.told_mode());
            let asks = host
                .mtls
                .unwrap_or(told)
                .is_some_and(|mode| mode != MtlsMode::Off);
            if !asks || sets.values().any(|names| names.contains(&name)) {
                continue;
            }
            // A mode adds no CA to those that a host believes, nor to one that lost its last.
            let is_told = known.is_some_and(|known| {
                let believed = model.associations_of(known.zone);
                let mut sets = believed
                    .filter(|(_, names)| names.contains(&name))
                    .map(|((_, set), _)| set);
                known.lost_last_ca
                    || sets
                        .next()
                        .is_some_and(|first| *first != AuthoritySet::Managed)
            });
            if !is_told {
                sets.entry(AuthoritySet::Managed).or_default().insert(name);
            }
        }
        Ok(Some(sets))
    }

    /// Adds what is to be there, and with `exactly` takes away what is not.
    fn associate(
        &self,
        zone: Id,
        wanted: &HashMap<AuthoritySet, BTreeSet<HostName>>,
        exactly: bool,
        pointer: &str,
    ) -> Step {
        let model = self.model();
        let mut sets: BTreeSet<AuthoritySet> = wanted.keys().copied().collect();
        sets.extend(model.associations_of(zone).map(|((_, set), _)| *set));
        for set in sets {
            let present = model.associations.get(&(zone, set));
            let present = present.map(|names| (**names).clone()).unwrap_or_default();
            let mut names = wanted.get(&set).cloned().unwrap_or_default();
            if !exactly {
                names.extend(present.iter().cloned());
            }
            if names != present {
                self.control
                    .set_associations(zone, set, names)
                    .map_err(|error| error.at(at(pointer, "associations")))?;
            }
        }
        Ok(())
    }

    fn rules(&mut self, zone: Id, document: &ZoneDocument, pointer: &str, phase: Phase) -> Step {
        let model = self.model();
        let ruleset = model.rulesets.get(&(zone, phase));
        let nothing = ChunkedList::default();
        let present = ruleset.map_or(&nothing, |found| &found.rules);
        // Names are for what people write by hand.
        let texts = match phase {
            Phase::HttpRequestFirewallCustom => document.ruleset.clone(),
            _ => None,
        };
        let (name, description) = match texts {
            Some(RulesetDocument { name, description }) => (name, description),
            None => (None, None),
        };
        let new = |wanted: &Option<String>, known: fn(&Ruleset) -> &str, default: &str| {
            let known = ruleset.map_or(default, |found| known(found));
            wanted.as_ref().is_some_and(|wanted| wanted != known)
        };
        let same_texts = !new(&name, |found| &found.name, DEFAULT_NAME)
            && !new(&description, |found| &found.description, "");
        let kept: Vec<RuleDocument>;
        let (wanted, pointer) = match document.rules_of(phase) {
            (Some(rules), section) => (rules, at(pointer, section)),
            (None, _) if same_texts => return Ok(()),
            (None, _) => {
                kept = present.iter().map(|rule| export::rule(rule)).collect();
                (kept.as_slice(), at(pointer, "ruleset"))
            }
        };
        let pointer = pointer.as_str();
        let same = present.len() == wanted.len()
            && present
                .iter()
                .zip(wanted)
                .all(|(known, wanted)| export::rule(known) == *wanted);
        if same && same_texts {
            return Ok(());
        }
        // A rule without a name of its own is known again by all that it says.
        let mut nameless: HashMap<String, Vec<&Arc<RuleRecord>>> = HashMap::new();
        let key = |rule: &RuleDocument| serde_json::to_string(rule).unwrap_or_default();
        for known in present.iter().rev() {
            let document = export::rule(known);
            if document.reference.is_none() {
                nameless.entry(key(&document)).or_default().push(known);
            }
        }
        let mut rules = Vec::with_capacity(wanted.len());
        for rule in wanted {
            let known = match rule.reference {
                None => nameless.get_mut(&key(rule)).and_then(Vec::pop),
                Some(_) => None,
            };
            rules.push(NewRule {
                id: known.map(|known| known.id),
                expression: rule.expression.clone(),
                action: rule.action.clone(),
                action_parameters: rule.action_parameters.clone(),
                ratelimit: rule.ratelimit.clone(),
                confined: rule.confined,
                logging: rule.logging,
                description: rule.description.clone(),
                enabled: rule.enabled,
                reference: rule
                    .reference
                    .clone()
                    .or_else(|| known.map(|known| known.reference.clone())),
            });
        }
        self.control
            .set_entrypoint(zone, phase, name, description, rules)
            .map_err(|error| error.at(pointer))?;
        check_compiles(&self.model(), zone, phase).map_err(|error| match error {
            ChangeError::Expression { index, .. } => {
                error.at(format!("{pointer}/{index}/expression"))
            }
            other => other.at(pointer),
        })
    }

    fn run(&mut self, document: &Document) -> Step {
        if document.postern != VERSION {
            let why = format!("this postern reads version {VERSION} of the document");
            return Err(ChangeError::invalid("postern", why).at("/postern"));
        }
        let lists = document.lists.as_deref().unwrap_or_default();
        let zones = document.zones.as_deref().unwrap_or_default();
        let named = lists.iter().enumerate();
        distinct(
            named.map(|(n, one)| (format!("/lists/{n}/name"), &*one.name)),
            "list",
        )?;
        let named = zones.iter().enumerate();
        distinct(
            named.map(|(n, one)| (format!("/zones/{n}/name"), &*one.name)),
            "zone",
        )?;
        for (place, list) in lists.iter().enumerate() {
            self.list(list, &format!("/lists/{place}"))?;
        }
        let mut authorities = Vec::new();
        for (place, one) in document.authorities.iter().flatten().enumerate() {
            authorities.push(self.authority(one, &format!("/authorities/{place}"))?);
        }
        for (place, wanted) in zones.iter().enumerate() {
            let pointer = format!("/zones/{place}");
            let zone = self.zone(wanted, &pointer)?;
            let hosts = wanted.hosts.as_deref().unwrap_or_default();
            let named = hosts.iter().enumerate();
            distinct(
                named.map(|(n, one)| (format!("{pointer}/hosts/{n}/name"), &*one.name)),
                "host",
            )?;
            let named = wanted.origins.iter().flatten().enumerate();
            distinct(
                named.map(|(n, one)| (format!("{pointer}/origins/{n}/name"), &*one.name)),
                "origin",
            )?;
            let associations = self.wanted_associations(wanted, &pointer)?;
            // First what is added, so that no host that requires certificates is without a CA in
            // between; then the hosts; then what is taken away.
            if let Some(sets) = &associations {
                self.associate(zone.id, sets, false, &pointer)?;
            }
            for (place, origin) in wanted.origins.iter().flatten().enumerate() {
                self.origin(zone.id, origin, &format!("{pointer}/origins/{place}"))?;
            }
            for (place, host) in hosts.iter().enumerate() {
                self.host(zone.id, host, &format!("{pointer}/hosts/{place}"))?;
            }
            self.prune_zone(&zone, wanted, &pointer)?;
            if let Some(sets) = &associations {
                self.associate(zone.id, sets, true, &pointer)?;
            }
            for phase in Phase::ALL {
                self.rules(zone.id, wanted, &pointer, phase)?;
            }
            self.prune_origins(&zone, wanted, &pointer)?;
        }
        self.prune(document, &authorities)
    }
}

impl<A: Changes> Control<A> {
    /// Makes the gateway what the document says: all of it, or nothing. Under an intent that only
    /// tries, answers what would be done.
    ///
    /// # Errors
    /// Any part is refused, see [`ChangeError::At`] for the place; or the snapshot does not compile.
    pub fn apply(
        &self,
        document: &Document,
        options: ApplyOptions,
    ) -> Result<Applied, ChangeError> {
        self.batch(|control| {
            let model = control.model();
            if options.revision.is_some_and(|seen| seen != model.revision) {
                let why = "the gateway was changed meanwhile; look at the differences again";
                return Err(ChangeError::invalid("revision", why));
            }
            let before = export::export(&model, None)?;
            let mut apply = Apply {
                control,
                prune: options.prune,
                prune_zones: options.prune_zones,
                kept: Vec::new(),
                lost: Vec::new(),
            };
            apply.run(document)?;
            let after = export::export(&control.model(), None)?;
            Ok(Applied {
                changes: changes(&before, &after),
                kept: apply.kept,
                lost: apply.lost,
                revision: model.revision,
            })
        })
    }
}
