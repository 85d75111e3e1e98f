//! How it stands with the certificates of hosts, for people and metrics.

use super::AcmeClient;
use super::known::Servers;
use control::{HostRecord, Model, Moment};
use vocabulary::clock::now_sec;

vocabulary::words! {
    /// How it stands with the certificate of a host that has it from ACME.
    pub enum AcmeState("a state of ACME", without serde) {
        /// No ACME server is configured.
        Off = "off",
        /// There is none yet, and nothing has failed.
        Waiting = "waiting",
        /// It is being asked for.
        Ordering = "ordering",
        /// There is one, and its time of renewal has not come.
        Issued = "issued",
        /// The last order brought none.
        Failing = "failing",
    }
}

/// How it stands with one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeStatus {
    /// In one word.
    pub state: AcmeState,
    /// Why there is none, or no newer one.
    pub error: Option<String>,
    /// Orders in a row that brought none.
    pub failures: u32,
    /// When the last order was begun.
    pub ordered_on: Option<Moment>,
    /// When the next one is due; `None` when it is under way, or waits for its turn.
    pub next_on: Option<Moment>,
    /// When the certificate is renewed.
    pub renewal_on: Option<Moment>,
}

/// How many hosts are in which state, and what became of orders since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcmeCounts {
    /// Hosts by state.
    pub hosts: [u64; AcmeState::ALL.len()],
    /// Orders that brought a certificate.
    pub issued: u64,
    /// Orders that brought none.
    pub failed: u64,
}

impl AcmeClient {
    /// How it stands with a host; `None` of one that does not have its certificate from ACME.
    #[must_use]
    pub fn status(&self, model: &Model, host: &HostRecord) -> Option<AcmeStatus> {
        if !host.acme {
            return None;
        }
        let now = now_sec();
        let settings = self.settings.load();
        let known = self.lock();
        let nothing = super::known::KnownHost::default();
        let of_host = known.hosts.get(&host.name).unwrap_or(&nothing);
        let servers = Servers::of(&settings);
        let situation = of_host.situation(model, host, servers, now);
        let order = model.acme_orders.get(&host.name);
        let failures = order.map_or(0, |order| order.failures);
        let is_left = order.is_some_and(|order| order.left.is_some());
        let due = of_host.due_sec(model, host, servers, now);
        let ended_in_between = "the gateway ended before the order did";
        let failed =
            order.filter(|order| order.failures > 0 && !of_host.is_under_way() && !is_left);
        let of_order = failed.map(|order| order.error.as_deref().unwrap_or(ended_in_between));
        let of_account = settings
            .directory
            .iter()
            .chain(&settings.staging)
            .find_map(|url| Some((url, known.accounts.get(url)?.error.as_ref()?)))
            .map(|(url, error)| format!("there is no account at {url}: {error}"));
        let is_off = settings.directory.is_none();
        let state = if is_off {
            AcmeState::Off
        } else if of_host.is_under_way() {
            AcmeState::Ordering
        } else if (failures > 0 && !is_left) || of_account.is_some() {
            AcmeState::Failing
        } else if situation.certificate.is_some() && !of_host.is_asked_for() {
            AcmeState::Issued
        } else {
            AcmeState::Waiting
        };
        let error = match state {
            AcmeState::Off => Some("no ACME server is configured: set `acme.directory`".into()),
            _ => of_account.or_else(|| of_order.map(str::to_owned)),
        };
        Some(AcmeStatus {
            state,
            error,
            failures,
            ordered_on: order.map(|order| order.begun_on),
            next_on: (due > now && !is_off).then(|| Moment::from_seconds(due)),
            renewal_on: situation.renewal_sec().map(Moment::from_seconds),
        })
    }

    /// Counts for metrics.
    #[must_use]
    pub fn counts(&self, model: &Model) -> AcmeCounts {
        let mut counts = AcmeCounts::default();
        for host in model.hosts.values().filter(|host| host.acme) {
            if let Some(status) = self.status(model, host)
                && let Some(count) = counts.hosts.get_mut(status.state as usize)
            {
                *count += 1;
            }
        }
        [counts.issued, counts.failed] = self.lock().counts;
        counts
    }
}
