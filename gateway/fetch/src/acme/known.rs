//! What is known of hosts and accounts between one look and the next.
//!
//! Owns whose turn it is: zones that have had fewer orders lately come first, then hosts that have
//! failed less often, so that one zone whose names nobody finds does not use up what an hour allows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use instant_acme::{Account, CertificateIdentifier};

use super::AcmeSettings;
use super::keys::renewal_id;
use super::schedule::{Allowance, Situation};
use crate::limits::{
    ACME_ACCOUNT_RETRY_MAX, ACME_ACCOUNT_RETRY_MIN, ACME_AT_ONCE, ACME_AT_ONCE_OF_ZONE,
    ACME_WINDOWS_AT_ONCE,
};
use control::{AcmeOrder, HostRecord, Id, Model};
use vocabulary::clock::now_sec;
use vocabulary::hostname::HostName;

/// For which orders count as lately begun, seconds.
const LATELY_SEC: i64 = 3600;
/// The same of orders of this process.
const LATELY: Duration = Duration::from_secs(3600);

/// What is known of a host that wants a certificate.
#[derive(Debug, Default)]
pub(super) struct KnownHost {
    /// The zone of the order that is under way.
    under_way: Option<Id>,
    is_asked_for: bool,
    /// Servers that have asked to be left alone until then, by their directories. By no clock that may be put
    /// back.
    left_alone_until: BTreeMap<String, Instant>,
    /// An order that was begun in the future, and when that was noticed: the clock was put back.
    from_the_future: Option<(i64, i64)>,
    window: Option<Window>,
}

/// When a server would have a certificate renewed.
#[derive(Debug)]
struct Window {
    /// Of which version of the certificate.
    version: u64,
    suggested: Option<(i64, i64)>,
    due: Option<Instant>,
}

/// What is known of the account at one server.
#[derive(Default)]
pub(super) struct KnownAccount {
    account: Option<Account>,
    pub(super) error: Option<String>,
    failures: u32,
    due: Option<Instant>,
    under_way: bool,
    /// The server does not know the one in the store.
    is_unknown: bool,
}

/// Everything that is known.
#[derive(Default)]
pub(super) struct Known {
    /// Those that want a certificate.
    pub(super) hosts: BTreeMap<HostName, KnownHost>,
    /// By the URL of the directory.
    pub(super) accounts: BTreeMap<String, KnownAccount>,
    allowance: Option<Allowance>,
    /// Orders of the last hour, with their zones: no more than the allowance lets begin.
    begun: VecDeque<(Instant, Id)>,
    /// Orders that brought a certificate, and that brought none.
    pub(super) counts: [u64; 2],
}

/// Where orders go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Servers<'s> {
    pub(super) directory: &'s str,
    /// Where a host is tried before of which nothing is known.
    pub(super) staging: Option<&'s str>,
}

impl<'s> Servers<'s> {
    pub(super) fn of(settings: &'s AcmeSettings) -> Option<Self> {
        Some(Self {
            directory: settings.directory.as_deref()?,
            staging: settings.staging.as_deref(),
        })
    }

    /// Where the server has an order that another process has left.
    fn left_at(self, order: &AcmeOrder) -> Option<&str> {
        let left = order.left.as_ref()?;
        let of = left.directory.as_deref();
        let is_here = of.is_none_or(|directory| directory == self.directory);
        left.url.as_deref().filter(|_| is_here)
    }

    /// Those that the next order of a host goes to, in turn.
    pub(super) fn of_host(
        self,
        model: &Model,
        host: &HostRecord,
    ) -> impl Iterator<Item = &'s str> + use<'s> {
        let order = model.acme_orders.get(&host.name);
        let is_left = order.is_some_and(|order| self.left_at(order).is_some());
        let is_known = is_left || model.by_acme(host).is_some();
        // Nothing is to be found out that is not known.
        let first = self.staging.filter(|_| !is_known);
        first.into_iter().chain([self.directory])
    }
}

/// A host whose order is due.
pub(super) struct Candidate {
    pub(super) host: HostName,
    pub(super) zone: Id,
    /// The chain that there is.
    pub(super) chain: Option<String>,
    /// Whether another server is asked first.
    pub(super) tried_first: bool,
    /// Where the server has an order that another process has left.
    pub(super) left_at: Option<String>,
}

/// From the certificate's fingerprint, or of a host without one from its name: the same after a
/// restart, and another for each.
fn chance_of(text: &str) -> f64 {
    let sum = text.bytes().fold(0_u16, |sum, byte| {
        sum.rotate_left(3)
            .wrapping_mul(31)
            .wrapping_add(byte.into())
    });
    f64::from(sum) / 65_536.0
}

impl KnownHost {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// When an order was begun. What was begun in the future was begun when that was noticed, so that
    /// nobody waits for a clock that went wrong once.
    fn begun_sec(&self, begun_sec: i64, now_sec: i64) -> i64 {
        match self.from_the_future {
            Some((known, noticed)) if known == begun_sec => noticed.min(now_sec),
            _ => begun_sec.min(now_sec),
        }
    }

    /// What is known of a host, and its zone's records.
    pub(super) fn situation(
        &self,
        model: &Model,
        host: &HostRecord,
        servers: Option<Servers<'_>>,
        now_sec: i64,
    ) -> Situation {
        let certificate = model.by_acme(host);
        let order = model.acme_orders.get(&host.name);
        let version = certificate.map(|one| one.version);
        let window = self.window.as_ref();
        let window = window.filter(|window| Some(window.version) == version);
        let seed = certificate.map_or(host.name.as_str(), |one| &one.fingerprint_sha256);
        let begun = order.map(|order| self.begun_sec(order.begun_on.seconds(), now_sec));
        let asked = servers.into_iter().flat_map(|all| all.of_host(model, host));
        let left_alone = order.and_then(|order| {
            let pauses = asked.filter_map(|directory| order.left_alone.get(directory));
            pauses.copied().max()
        });
        Situation {
            certificate: certificate.map(|one| (one.not_before, one.not_after)),
            order: begun.zip(order.map(|order| order.failures)),
            is_left: order.is_some_and(|order| order.left.is_some()),
            left_alone_until: begun.zip(left_alone).map(|(begun, seconds)| {
                begun.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
            }),
            window: window.and_then(|window| window.suggested),
            is_asked_for: self.is_asked_for,
            chance: chance_of(seed),
        }
    }

    /// When its next order is due.
    pub(super) fn due_sec(
        &self,
        model: &Model,
        host: &HostRecord,
        servers: Option<Servers<'_>>,
        now_sec: i64,
    ) -> i64 {
        let due = self.situation(model, host, servers, now_sec).due_sec();
        let asked = servers.into_iter().flat_map(|all| all.of_host(model, host));
        let pauses = asked.filter_map(|directory| self.left_alone_until.get(directory));
        let left_alone = pauses.max().map(|&until| {
            let left = until.saturating_duration_since(Instant::now());
            let left = i64::try_from(left.as_secs()).unwrap_or_default();
            // While there is any of it, it is not over.
            now_sec.saturating_add(left + i64::from(until > Instant::now()))
        });
        left_alone.map_or(due, |until| due.max(until))
    }
}

impl Known {
    /// Forgets hosts that want no certificate any more, and learns of those that do.
    pub(super) fn keep_hosts_of(&mut self, model: &Model) {
        let wants = |name: &HostName| model.hosts.get(name).is_some_and(|host| host.acme);
        self.hosts
            .retain(|name, known| known.is_under_way() || wants(name));
        for host in model.hosts.values().filter(|host| host.acme) {
            if !self.hosts.contains_key(&host.name) {
                self.hosts.insert(host.name.clone(), KnownHost::default());
            }
        }
        let now = now_sec();
        for (name, known) in &mut self.hosts {
            let order = model.acme_orders.get(name);
            let begun = order.map(|order| order.begun_on.seconds());
            known.from_the_future = match (begun, known.from_the_future) {
                (Some(begun), Some((of, at))) if of == begun => Some((of, at)),
                (Some(begun), _) if begun > now => Some((begun, now)),
                _ => None,
            };
        }
    }

    /// Hosts whose order is due, whose turn comes first in front.
    pub(super) fn due(&self, model: &Model, servers: Servers<'_>, now_sec: i64) -> Vec<Candidate> {
        let mut lately: HashMap<Id, usize> = HashMap::new();
        for order in model.acme_orders.values() {
            let is_late = now_sec.saturating_sub(order.begun_on.seconds()) < LATELY_SEC;
            if let Some(host) = model.hosts.get(&order.host).filter(|_| is_late) {
                *lately.entry(host.zone).or_default() += 1;
            }
        }
        // A host may have had several since the start; those from before are in the store, one a host.
        let mut here: HashMap<Id, usize> = HashMap::new();
        for (_, zone) in self.begun.iter().filter(|(at, _)| at.elapsed() < LATELY) {
            *here.entry(*zone).or_default() += 1;
        }
        for (zone, count) in here {
            let known = lately.entry(zone).or_default();
            *known = count.max(*known);
        }
        let mut due = Vec::new();
        for (name, known) in self.hosts.iter().filter(|(_, one)| !one.is_under_way()) {
            let Some(host) = model.hosts.get(name).filter(|host| host.acme) else {
                continue;
            };
            let at = known.due_sec(model, host, Some(servers), now_sec);
            if at > now_sec {
                continue;
            }
            let order_of = model.acme_orders.get(name);
            let failures = order_of.map_or(0, |order| order.failures);
            let of_zone = lately.get(&host.zone).copied().unwrap_or_default();
            let certificate = model.by_acme(host);
            // One that nobody can reach yet before one that is only to be renewed.
            let order = (of_zone, failures, Reverse(certificate.is_none()), at);
            let candidate = Candidate {
                host: name.clone(),
                zone: host.zone,
                chain: certificate.map(|one| one.chain.clone()),
                tried_first: servers.of_host(model, host).nth(1).is_some(),
                left_at: order_of
                    .and_then(|order| servers.left_at(order))
                    .map(str::to_owned),
            };
            due.push((order, candidate));
        }
        due.sort_by_key(|(order, _)| *order);
        due.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Whether an order may begin; it is under way then.
    pub(super) fn begin(
        &mut self,
        model: &Model,
        host: &HostName,
        zone: Id,
        per_hour: u32,
    ) -> bool {
        let under_way = self.hosts.values().filter_map(|known| known.under_way);
        if under_way.clone().count() >= ACME_AT_ONCE {
            return false;
        }
        if under_way.filter(|of| *of == zone).count() >= ACME_AT_ONCE_OF_ZONE {
            return false;
        }
        let now = Instant::now();
        let allowance = self.allowance.get_or_insert_with(|| {
            let now_sec = now_sec();
            let orders = model.acme_orders.values();
            let lately = orders.filter(|one| now_sec - one.begun_on.seconds() < LATELY_SEC);
            Allowance::new(now, per_hour, lately.count())
        });
        let known = self.hosts.get_mut(host);
        match known {
            Some(known) if allowance.take(now, per_hour) => {
                known.under_way = Some(zone);
                while self.begun.front().is_some_and(|(at, _)| *at + LATELY < now) {
                    self.begun.pop_front();
                }
                self.begun.push_back((now, zone));
                true
            }
            _ => false,
        }
    }

    /// Somebody wants a new certificate.
    pub(super) fn ask_for(&mut self, host: &HostName) {
        self.hosts.entry(host.clone()).or_default().is_asked_for = true;
    }

    /// An order has ended; the server of a directory may want to be left alone.
    pub(super) fn ended(&mut self, host: &HostName, issued: bool, wait: Option<(&str, Duration)>) {
        let [brought, nothing] = &mut self.counts;
        *(if issued { brought } else { nothing }) += 1;
        if let Some(known) = self.hosts.get_mut(host) {
            known.under_way = None;
            known.is_asked_for = false;
            let now = Instant::now();
            known.left_alone_until.retain(|_, until| *until > now);
            if let Some((directory, wait)) = wait {
                known
                    .left_alone_until
                    .insert(directory.to_owned(), now + wait);
            }
        }
    }

    /// An order was left for the next process.
    pub(super) fn left(&mut self, host: &HostName) {
        if let Some(known) = self.hosts.get_mut(host) {
            known.under_way = None;
        }
    }

    /// Whether an order is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.hosts.values().any(KnownHost::is_under_way)
    }

    /// An order did not begin: its host is gone, or the store takes nothing. The next look sees.
    pub(super) fn not_begun(&mut self, host: &HostName) {
        if let Some(known) = self.hosts.get_mut(host) {
            known.under_way = None;
            known.is_asked_for = false;
        }
    }
}

/// Accounts.
impl Known {
    /// The account at a server.
    pub(super) fn account(&self, directory: &str) -> Option<Account> {
        self.accounts.get(directory)?.account.clone()
    }

    /// Servers whose account is to be found now, and whether it is to be made anew.
    pub(super) fn due_accounts<'d>(
        &mut self,
        directories: impl Iterator<Item = &'d str>,
        now: Instant,
    ) -> Vec<(String, bool)> {
        let mut due = Vec::new();
        for directory in directories {
            let known = self.accounts.entry(directory.to_owned()).or_default();
            let is_due = known.due.is_none_or(|due| due <= now);
            if known.account.is_none() && !known.under_way && is_due {
                known.under_way = true;
                due.push((directory.to_owned(), known.is_unknown));
            }
        }
        due
    }

    pub(super) fn found_account(
        &mut self,
        directory: &str,
        found: Result<Account, String>,
        asked_to_wait: Option<Duration>,
        now: Instant,
    ) {
        let Some(known) = self.accounts.get_mut(directory) else {
            return;
        };
        known.under_way = false;
        match found {
            Ok(account) => {
                *known = KnownAccount {
                    account: Some(account),
                    ..KnownAccount::default()
                };
            }
            Err(error) => {
                known.failures = known.failures.saturating_add(1);
                let doubled = 2_u32.saturating_pow(known.failures - 1);
                let wait = ACME_ACCOUNT_RETRY_MIN.saturating_mul(doubled);
                let wait = wait.min(ACME_ACCOUNT_RETRY_MAX);
                let wait = wait.max(asked_to_wait.unwrap_or_default());
                known.due = Some(now + wait.mul_f64(1.0 + 0.2 * super::chance()));
                known.error = Some(error);
            }
        }
    }

    /// Has the account found anew, with the server's directory.
    pub(super) fn forget_account(&mut self, directory: &str) {
        if let Some(known) = self.accounts.get_mut(directory) {
            known.account = None;
        }
    }

    /// The server does not know the account: it is made anew.
    pub(super) fn account_is_unknown(&mut self, directory: &str) {
        if let Some(known) = self.accounts.get_mut(directory) {
            known.account = None;
            known.is_unknown = true;
        }
    }

    pub(super) fn forget_accounts(&mut self) {
        self.accounts.clear();
    }
}

/// A certificate whose time of renewal is asked for.
pub(super) type DueWindow = (HostName, u64, CertificateIdentifier<'static>, Account);

/// Windows of renewal.
impl Known {
    /// Certificates whose time of renewal is to be asked for now.
    pub(super) fn due_windows(
        &mut self,
        model: &Model,
        now: Instant,
        account: &Account,
    ) -> Vec<DueWindow> {
        let mut due = Vec::new();
        for (name, known) in &mut self.hosts {
            if due.len() >= ACME_WINDOWS_AT_ONCE {
                break;
            }
            let certificate = model.hosts.get(name).and_then(|host| model.by_acme(host));
            let Some(certificate) = certificate else {
                continue;
            };
            let is_due = known.window.as_ref().is_none_or(|window| {
                window.version != certificate.version || window.due.is_some_and(|due| due <= now)
            });
            if !is_due {
                continue;
            }
            let suggested = known
                .window
                .take()
                .filter(|window| window.version == certificate.version)
                .and_then(|window| window.suggested);
            // Under way until there is an answer; one without an identifier is never asked for.
            known.window = Some(Window {
                version: certificate.version,
                suggested,
                due: None,
            });
            if let Some(id) = renewal_id(&certificate.chain) {
                due.push((name.clone(), certificate.version, id, account.clone()));
            }
        }
        due
    }

    /// A server has said when, or has not.
    pub(super) fn asked_when(
        &mut self,
        host: &HostName,
        version: u64,
        suggested: Option<(i64, i64)>,
        again: Instant,
    ) {
        let window = self
            .hosts
            .get_mut(host)
            .and_then(|known| known.window.as_mut());
        if let Some(window) = window.filter(|window| window.version == version) {
            window.suggested = suggested.or(window.suggested);
            window.due = Some(again);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::acme::fixture::host;
    use control::{Control, LeftOrder};
    use snapshot::Published;

    const SERVERS: Servers<'_> = Servers {
        directory: "https://acme.test/dir",
        staging: None,
    };

    #[test]
    fn zones_take_turns_and_one_whose_names_fail_keeps_no_other_waiting() {
        let directory = fixtures::Directory::new();
        let published = Arc::<Published>::default();
        let control = Control::open(&directory.path().join("s"), published).unwrap();
        let busy = control.create_zone("busy.test").unwrap().id;
        let quiet = control.create_zone("quiet.test").unwrap().id;
        for number in 0..20 {
            let name = host(&control, busy, &format!("h{number:02}.busy.test"));
            if number < 10 {
                let begun = control.begin_acme_order(&name).unwrap();
                control
                    .fail_acme_order(&name, begun, "nobody there", None)
                    .unwrap();
            }
        }
        let waiting = host(&control, quiet, "a.quiet.test");
        let model = control.model();
        let mut known = Known::default();
        known.keep_hosts_of(&model);
        // Those that have failed wait out their pause.
        let now = now_sec();
        let order = |known: &Known, at| -> Vec<String> {
            let due = known.due(&model, SERVERS, at);
            due.iter().map(|one| one.host.to_string()).collect()
        };
        let due = order(&known, now);
        assert_eq!(due.len(), 11, "{due:?}");
        assert_eq!(due.first().map(String::as_str), Some("a.quiet.test"));
        // Then those that have not failed come first.
        let due = order(&known, now + 120);
        assert_eq!(due.len(), 21);
        let place = |name: &str| due.iter().position(|one| one == name).unwrap();
        assert!(place("a.quiet.test") < place("h15.busy.test"));
        assert!(place("h15.busy.test") < place("h05.busy.test"));
        // No more of a zone than its part, nor of all than may be, and none twice.
        let begun = |known: &mut Known, name: &str, zone| {
            known.begin(&model, &HostName::parse(name).unwrap(), zone, 1_000)
        };
        let of_busy = (10..20).filter(|number| {
            let name = format!("h{number:02}.busy.test");
            begun(&mut known, &name, busy)
        });
        assert_eq!(of_busy.count(), ACME_AT_ONCE_OF_ZONE);
        assert!(begun(&mut known, waiting.as_str(), quiet));
        assert!(!order(&known, now).contains(&waiting.to_string()));
        let wait = (SERVERS.directory, Duration::from_secs(500));
        known.ended(&waiting, false, Some(wait));
        assert!(
            !order(&known, now).contains(&waiting.to_string()),
            "left alone"
        );
        assert_eq!(known.counts, [0, 1]);
        let elsewhere = Servers {
            directory: "https://other.test/dir",
            staging: None,
        };
        let due = known.due(&model, elsewhere, now);
        assert!(due.iter().any(|one| one.host == waiting), "by that server");
    }

    #[test]
    fn who_is_to_be_left_alone_is_after_a_restart_too() {
        let directory = fixtures::Directory::new();
        let path = directory.path().join("s");
        let due_in = |control: &Control, servers: Servers<'_>| {
            let model = control.model();
            let mut known = Known::default();
            known.keep_hosts_of(&model);
            let record = model.hosts.values().next().unwrap();
            let now = now_sec();
            let due = known.hosts.values().next().unwrap();
            due.due_sec(&model, record, Some(servers), now) - now
        };
        let control = Control::open(&path, Arc::<Published>::default()).unwrap();
        let zone = control.create_zone("a.test").unwrap().id;
        let name = host(&control, zone, "h.a.test");
        let begun = control.begin_acme_order(&name).unwrap();
        let wait = Some((SERVERS.directory, Duration::from_secs(86_400)));
        control
            .fail_acme_order(&name, begun, "slow down", wait)
            .unwrap();
        let tried = Servers {
            directory: "https://other.test/dir",
            staging: Some(SERVERS.directory),
        };
        let elsewhere = Servers {
            staging: None,
            ..tried
        };
        let check = |control: &Control| {
            for servers in [SERVERS, tried] {
                let due = due_in(control, servers);
                assert!((86_390..=86_401).contains(&due), "{servers:?}: {due}");
            }
            // What one server has asked for says nothing of another one: the pause is that of a failure.
            let due = due_in(control, elsewhere);
            assert!(due <= 72, "{due}");
        };
        check(&control);
        drop(control);
        let control = Control::open(&path, Arc::<Published>::default()).unwrap();
        check(&control);
    }

    #[test]
    fn an_order_is_gone_on_with_at_the_server_that_has_it() {
        let directory = fixtures::Directory::new();
        let control = Control::open(&directory.path().join("s"), Arc::default()).unwrap();
        let zone = control.create_zone("a.test").unwrap().id;
        let name = host(&control, zone, "h.a.test");
        let url = || Some("https://acme.test/order/1".to_owned());
        for (left_in, asked, goes_on) in [
            (None, SERVERS.directory, true),
            (Some(SERVERS.directory), SERVERS.directory, true),
            (Some(SERVERS.directory), "https://other.test/dir", false),
        ] {
            let begun = control.begin_acme_order(&name).unwrap();
            let left = LeftOrder {
                directory: left_in.map(str::to_owned),
                url: url(),
                proof: None,
            };
            control.leave_acme_order(&name, begun, left).unwrap();
            let model = control.model();
            let mut known = Known::default();
            known.keep_hosts_of(&model);
            let servers = Servers {
                directory: asked,
                staging: Some("https://first.test/dir"),
            };
            let due = known.due(&model, servers, now_sec());
            let [one] = &due[..] else {
                panic!("{}", due.len())
            };
            assert_eq!(one.left_at, goes_on.then(url).flatten(), "{asked}");
            assert_eq!(one.tried_first, !goes_on, "{asked}");
        }
    }

    #[test]
    fn an_account_waits_for_as_long_as_its_server_asks() {
        let mut known = Known::default();
        let (of, now) = (SERVERS.directory, Instant::now());
        let mut due = |now| !known.due_accounts([of].into_iter(), now).is_empty();
        assert!(due(now));
        let hour = Duration::from_secs(3_600);
        known.found_account(of, Err("slower".into()), Some(hour), now);
        let mut due = |now| !known.due_accounts([of].into_iter(), now).is_empty();
        assert!(!due(now + hour - Duration::from_secs(1)));
        assert!(due(now + hour * 2));
    }

    #[test]
    fn a_clock_that_was_put_back_makes_nobody_wait_for_it() {
        let mut known = KnownHost::default();
        assert_eq!(known.begun_sec(50, 100), 50);
        assert_eq!(known.begun_sec(5_000, 100), 100);
        known.from_the_future = Some((5_000, 90));
        assert_eq!(known.begun_sec(5_000, 100), 90);
        assert_eq!(known.begun_sec(5_001, 100), 100);
    }

    #[test]
    fn chances_differ_and_stay() {
        let all: Vec<f64> = ["a.test", "b.test", "c.test"].map(chance_of).to_vec();
        assert!(all.iter().all(|one| (0.0..1.0).contains(one)), "{all:?}");
        assert_ne!(all[0], all[1]);
        assert_eq!(chance_of("a.test"), all[0]);
    }
}
