//! Certificates near their end: counted for metrics, and logged at each stage of
//! [`EXPIRY_STAGES_DAYS`] and when they have expired.
//!
//! Owns the stages and the words. Reads no clock: the time is given.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use crate::change::{Control, Reads};
use crate::limits::EXPIRY_STAGES_DAYS;
use crate::model::AuthorityKind;
use crate::model::client_certificate::Status;
use crate::model::id::Uuid;
use crate::model::lookup::Lookup;
use crate::model::moment::Moment;
use vocabulary::hostname::HostName;

const DAY_SECONDS: i64 = 86_400;
const STAGES: usize = EXPIRY_STAGES_DAYS.len();

vocabulary::words! {
    /// What can end; the words are those of metrics and logs.
    #[derive(PartialOrd, Ord)]
    pub enum ExpiryKind("a kind of expiry", without serde) {
        /// An active client certificate of a managed CA.
        Client = "client",
        /// A server certificate that a host presents.
        Server = "server",
        /// A certificate of ours that an origin is shown.
        Origin = "origin",
        /// A zone's own CA.
        CaManaged = "ca_managed",
        /// A CA that a user brought; of a bundle, the certificate that ends first.
        CaUploaded = "ca_uploaded",
        /// The CA of development server certificates.
        CaDevelopment = "ca_development",
        /// A revocation list of an uploaded CA, by its next update.
        Crl = "crl",
    }
}

/// How many of a kind end soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiring {
    /// Of which kind.
    pub kind: ExpiryKind,
    /// Those that have ended.
    pub expired: usize,
    /// Those that will have ended within so many days; each is also among those of more days.
    pub within: [(u32, usize); STAGES],
}

impl Expiring {
    fn count(&mut self, end: i64, now: i64, from_stage: usize) {
        if end < now {
            self.expired += 1;
            return;
        }
        for (days, count) in self.within.iter_mut().skip(from_stage) {
            *count += usize::from(end <= now + i64::from(*days) * DAY_SECONDS);
        }
    }
}

/// What was told already, so that each stage is told once.
#[derive(Debug, Default)]
pub struct ToldOfExpiry {
    /// By kind and name, with the stage.
    single: HashMap<(ExpiryKind, String), (i64, usize)>,
    /// When client certificates were last looked at, seconds since the epoch.
    clients_at: Option<i64>,
}

/// The last stage that an end has come to; [`STAGES`] when it has passed.
fn stage(end: i64, now: i64) -> Option<usize> {
    if end < now {
        return Some(STAGES);
    }
    EXPIRY_STAGES_DAYS
        .iter()
        .rposition(|days| end <= now + i64::from(*days) * DAY_SECONDS)
}

/// One that is told of by name.
struct Single {
    kind: ExpiryKind,
    /// What it is known by, in one word.
    name: String,
    /// For people.
    of: String,
    end: i64,
    /// The first stage that it is told of at.
    from_stage: usize,
}

impl<A: Reads> Control<A> {
    fn singles(&self) -> Vec<Single> {
        let model = self.model();
        let mut all = Vec::new();
        // One that nobody is shown may end: an alarm for it would never stop.
        let lookup = Lookup::new(&model);
        let presented: HashSet<Uuid> = model
            .hosts
            .values()
            .flat_map(|host| lookup.presented(host))
            .map(|certificate| certificate.id)
            .collect();
        for certificate in model.server_certificates.values() {
            if !presented.contains(&certificate.id) {
                continue;
            }
            let hosts: Vec<&str> = certificate.names.iter().map(HostName::as_str).collect();
            // ACME renews in the last third: what is told of earlier is told of every one.
            let life = certificate.not_after.saturating_sub(certificate.not_before);
            let tells = |days: &u32| i64::from(*days) * DAY_SECONDS * 4 <= life;
            let from_stage = match certificate.of_acme {
                false => 0,
                true => EXPIRY_STAGES_DAYS.iter().position(tells).unwrap_or(STAGES),
            };
            all.push(Single {
                kind: ExpiryKind::Server,
                name: certificate.id.to_string(),
                of: hosts.join(" "),
                end: certificate.not_after,
                from_stage,
            });
        }
        let of_zones = model.origins.values().map(|one| {
            let zone = model.zones.get(&one.zone);
            let zone = zone.map_or("", |zone| zone.name.as_str());
            (format!("{zone}/{}", one.name), &one.origin)
        });
        let of_hosts = model.hosts.values();
        let of_hosts = of_hosts.map(|host| (host.name.to_string(), &host.origin));
        for (name, origin) in of_zones.chain(of_hosts) {
            if let Some(shown) = &origin.client_certificate {
                all.push(Single {
                    kind: ExpiryKind::Origin,
                    of: name.clone(),
                    name,
                    end: shown.not_after,
                    from_stage: 0,
                });
            }
        }
        for authority in model.authorities.values() {
            all.push(Single {
                kind: match authority.kind {
                    AuthorityKind::Managed { .. } => ExpiryKind::CaManaged,
                    AuthorityKind::Uploaded => ExpiryKind::CaUploaded,
                    AuthorityKind::Development { .. } => ExpiryKind::CaDevelopment,
                },
                name: authority.id.to_string(),
                of: authority.name.clone(),
                end: authority.not_after,
                from_stage: 0,
            });
        }
        for crl in self.crls() {
            let name = model.authorities.get(&crl.authority).map(|ca| &ca.name);
            let period = crl.next_update.saturating_sub(crl.this_update);
            // Most lists live for days: a warning that is always there is none.
            let tells = |days: &u32| i64::from(*days) * DAY_SECONDS * 2 <= period;
            let from_stage = EXPIRY_STAGES_DAYS.iter().position(tells);
            all.push(Single {
                kind: ExpiryKind::Crl,
                name: format!("{} {}", crl.authority, crl.place),
                of: name.cloned().unwrap_or_default(),
                end: crl.next_update,
                from_stage: from_stage.unwrap_or(STAGES),
            });
        }
        all
    }

    /// How many of each kind end soon.
    #[must_use]
    pub fn expiring_by_kind(&self, now: Moment) -> Vec<Expiring> {
        let now = now.seconds();
        let mut counts = ExpiryKind::ALL.map(|kind| Expiring {
            kind,
            expired: 0,
            within: EXPIRY_STAGES_DAYS.map(|days| (days, 0)),
        });
        let singles = self.singles();
        for counted in &mut counts {
            let kind = counted.kind;
            for single in singles.iter().filter(|one| one.kind == kind) {
                let is_renewed = kind == ExpiryKind::Server;
                let from_stage = if is_renewed { single.from_stage } else { 0 };
                counted.count(single.end, now, from_stage);
            }
            if kind == ExpiryKind::Client {
                let index = self
                    .shared
                    .index
                    .read()
                    .unwrap_or_else(PoisonError::into_inner);
                let active = |status| status == Status::Active;
                for entry in index.0.values().flatten().filter(|one| active(one.status)) {
                    counted.count(entry.not_after, now, 0);
                }
            }
        }
        counts.to_vec()
    }

    /// Writes a warning for everything that has come to a stage since it was last told of: one
    /// line each, and one for all client certificates of a zone that come to the same stage.
    pub fn warn_of_expiry(&self, told: &mut ToldOfExpiry, now: Moment) {
        let now = now.seconds();
        let mut known = std::mem::take(&mut told.single);
        for single in self.singles() {
            let Some(stage) = stage(single.end, now).filter(|found| *found >= single.from_stage)
            else {
                continue;
            };
            let key = (single.kind, single.name);
            let before = known.remove(&key);
            if before.is_none_or(|(end, before)| end != single.end || stage > before) {
                let (kind, id, of) = (key.0.as_str(), &key.1, &single.of);
                let on = Moment::from_seconds(single.end).to_second();
                let days = (single.end - now).div_euclid(DAY_SECONDS);
                if stage == STAGES {
                    tracing::error!(kind, id, of, on, "it has expired");
                } else {
                    tracing::warn!(kind, id, of, on, days, "it expires soon");
                }
            }
            // What is gone is forgotten with the old map, and a clock that goes back makes no news.
            let said = before.filter(|(end, _)| *end == single.end);
            let stage = said.map_or(stage, |(_, said)| said.max(stage));
            told.single.insert(key, (single.end, stage));
        }
        self.warn_of_clients(told.clients_at.replace(now), now);
    }

    /// Counts client certificates that came to a stage after `last`.
    fn warn_of_clients(&self, last: Option<i64>, now: i64) {
        let model = self.model();
        let index = self
            .shared
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for (zone, entries) in &index.0 {
            let mut counts = [0_usize; STAGES + 1];
            for entry in entries {
                if entry.status != Status::Active {
                    continue;
                }
                let end = entry.not_after;
                let before = last.and_then(|last| stage(end, last));
                // At a start those that ended earlier are old news.
                let is_news = |found: &usize| {
                    before.is_none_or(|before| *found > before)
                        && (last.is_some() || *found < STAGES)
                };
                let place = stage(end, now).filter(is_news);
                if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                    *count += 1;
                }
            }
            let zone = model.zones.get(zone).map(|zone| zone.name.as_str());
            let kind = ExpiryKind::Client.as_str();
            for (count, days) in counts.iter().zip(EXPIRY_STAGES_DAYS) {
                if *count > 0 {
                    tracing::warn!(
                        kind,
                        zone,
                        count,
                        days,
                        "client certificates expire within so many days"
                    );
                }
            }
            if let Some(count) = counts.last().filter(|count| **count > 0) {
                tracing::error!(kind, zone, count, "client certificates have expired");
            }
        }
    }

    /// How many active client certificates end in this span, in seconds since the epoch.
    #[must_use]
    pub fn expiring(&self, from: i64, to: i64) -> usize {
        let index = self
            .shared
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let entries = index.0.values().flatten();
        entries
            .filter(|entry| {
                entry.status == Status::Active && (from..=to).contains(&entry.not_after)
            })
            .count()
    }
}
