//! The ACME client (RFC 8555): certificates for hosts that ask for them, from the one server that the
//! administrator has named.
//!
//! | file | owns |
//! |---|---|
//! | `schedule` | when a host's certificate is asked for, and how many orders there may be: pure |
//! | `account`, `register` | the account at a server |
//! | `order` | one order, from name to chain |
//! | `challenges` | what servers are shown meanwhile |
//! | `known` | what is known of hosts and accounts between looks |
//! | `status` | the same for people and metrics |
//! | `client` | requests to one server, and no other |
//! | `keys` | keys, requests, names of certificates |
//!
//! Here is the loop: what is due begins, one order a host at a time. An order is in the store before
//! the server is asked, as one that failed; so a gateway that is killed in the middle begins again
//! after a pause, with another key, and a server that remembers the name goes on where it was. A process
//! that ends in order, or that another one replaces, leaves its orders in the store for the next one, which
//! goes on with them, and shows at once what the servers may be looking for; an edge that does not lead its
//! fleet any more leaves them to the one that does. What becomes of an order is noted of that order only. A
//! renewal that fails leaves the certificate that there is.

mod account;
mod challenges;
mod client;
#[cfg(test)]
mod fixture;
mod keys;
mod known;
mod order;
mod register;
mod schedule;
mod status;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use instant_acme::{Account, CertificateIdentifier};
use tokio::sync::watch;

pub use self::status::{AcmeCounts, AcmeState, AcmeStatus};

use self::account::account;
use self::challenges::Board;
use self::client::ASKED_TO_WAIT;
use self::keys::renewal_id;
use self::known::{Candidate, Known, Servers};
use self::order::{Issued, OrderError, Wish, order};
use super::chance;
use crate::limits::{
    ACME_LEAVE_LOOK, ACME_LEAVE_WAIT, ACME_LOOK, ACME_WINDOW_EVERY, ACME_WINDOW_MAX,
    ACME_WINDOW_MIN,
};
use control::{ChangeError, Control, Intent, LeftOrder, Model, Moment, shortened_acme_error};
use vocabulary::clock::now_sec;
use vocabulary::hostname::HostName;
use vocabulary::settings::AcmeChallenge;

/// The server that is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcmeSettings {
    /// The URL of its directory; without one nothing is asked for.
    pub directory: Option<String>,
    /// The URL of one that hosts without a certificate are tried at before.
    pub staging: Option<String>,
    /// A mail address for the account.
    pub contact: Option<String>,
    /// How names are checked.
    pub challenge: AcmeChallenge,
    /// The CAs of the server's own certificate; the system's without.
    pub ca_file: Option<PathBuf>,
    /// Orders in an hour.
    pub orders_per_hour: u32,
    /// External account binding: the key's name, and the file that it is in.
    pub eab: Option<(String, PathBuf)>,
}

/// The ACME client.
pub struct AcmeClient {
    control: Arc<Control>,
    settings: ArcSwap<AcmeSettings>,
    board: Board,
    known: Mutex<Known>,
    /// No order begins, and those that are under way are left.
    leaving: watch::Sender<Leaving>,
}

/// Whom orders are left for.
#[derive(Debug, Clone, Copy, Default)]
struct Leaving {
    for_next_process: bool,
    for_other_edge: bool,
}

impl Leaving {
    fn is_so(self) -> bool {
        self.for_next_process || self.for_other_edge
    }
}

/// An order that is to begin.
struct Beginning {
    host: HostName,
    settings: Arc<AcmeSettings>,
    /// The account that its certificate is thrown away of, and that it is kept of.
    staging: Option<Account>,
    account: Account,
    replaces: Option<CertificateIdentifier<'static>>,
    left_at: Option<String>,
}

/// What became of one.
enum Outcome {
    Issued,
    Failed(OrderError, &'static str, Option<Duration>),
    /// The next process goes on with it.
    Left(LeftOrder),
    /// What came cannot serve the host, or cannot be stored.
    NotTaken(ChangeError),
}

impl AcmeClient {
    /// One that has asked nothing yet.
    #[must_use]
    pub fn new(control: Arc<Control>, settings: AcmeSettings) -> Arc<Self> {
        Arc::new(Self {
            board: Board::new(control.clone()),
            control,
            settings: ArcSwap::from_pointee(settings),
            known: Mutex::default(),
            leaving: watch::Sender::default(),
        })
    }

    /// Takes other settings. Orders that are under way end as they began.
    pub fn configure(&self, settings: AcmeSettings) {
        if **self.settings.load() != settings {
            self.settings.store(Arc::new(settings));
            self.lock().forget_accounts();
        }
    }

    /// Asks for what is due for as long as it is polled. Has to run on a runtime of tokio.
    pub async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(ACME_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.look();
        }
    }

    /// Shows what another process has left, before this one serves. Of a fleet it is not known yet who leads: until
    /// then all of it is another's.
    pub async fn begin(&self) {
        if self.control.membership().is_some() {
            self.mirror(false).await;
        } else {
            self.show_left().await;
        }
    }

    /// Shows what the servers may be looking for, of orders that another process has left: nothing is missed
    /// between the two.
    async fn show_left(&self) {
        if self.settings.load().directory.is_none() {
            return;
        }
        let model = self.control.model();
        for order in model.acme_orders.values() {
            let Some(proof) = order.left.as_ref().and_then(|left| left.proof.as_ref()) else {
                continue;
            };
            let host = &order.host;
            if self.board.shows(host) {
                continue;
            }
            tracing::info!(%host, "going on with an order that another process has begun");
            if let Err(error) = self.board.show_here(host, proof).await {
                tracing::warn!(%host, %error, "an order that another process has begun will fail");
            }
        }
    }

    /// Shows what the edge of the fleet that leads has its orders checked with: the servers may ask any edge.
    /// With `leads` that is this one.
    pub async fn mirror(&self, leads: bool) {
        self.board.mirror(leads).await;
    }

    /// Begins nothing any more, and leaves what is under way for the next process. One whose key the server
    /// has got is waited for, for [`ACME_LEAVE_WAIT`].
    pub async fn leave(&self) {
        self.leaving
            .send_modify(|leaving| leaving.for_next_process = true);
        self.settle().await;
    }

    /// There is no next process: goes on as before.
    pub fn stay(&self) {
        self.leaving
            .send_modify(|leaving| leaving.for_next_process = false);
    }

    /// The same for the edge of the fleet that leads from now on. What a server may be looking for is shown from
    /// now on as what is another's.
    pub async fn leave_to_other_edge(&self) {
        self.leaving
            .send_modify(|leaving| leaving.for_other_edge = true);
        self.settle().await;
        self.mirror(false).await;
        self.board.take_all_down().await;
    }

    /// This edge leads: goes on with what another one has left to it.
    pub async fn lead(&self) {
        self.leaving
            .send_modify(|leaving| leaving.for_other_edge = false);
        self.show_left().await;
    }

    async fn settle(&self) {
        let until = Instant::now() + ACME_LEAVE_WAIT;
        while self.lock().is_busy() && Instant::now() < until {
            tokio::time::sleep(ACME_LEAVE_LOOK).await;
        }
    }

    /// Has a host's certificate asked for now, whenever it is due: after a short pause at
    /// the most, and when its turn comes.
    pub fn renew(&self, name: &HostName) {
        self.lock().ask_for(name);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing is half changed when its holder panics: each change is an assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins what is due.
    fn look(self: &Arc<Self>) {
        if self.leaving.borrow().is_so() {
            return;
        }
        let settings = self.settings.load_full();
        let model = self.control.model();
        // Of orders that are under way, too: what they would bring is not taken.
        let unwanted = self.board.unwanted(&model);
        if !unwanted.is_empty() {
            let acme = self.clone();
            tokio::spawn(async move {
                for host in &unwanted {
                    acme.board.take_down(host).await;
                }
            });
        }
        let (accounts, orders, windows) = {
            let mut known = self.lock();
            known.keep_hosts_of(&model);
            let Some(servers) = Servers::of(&settings) else {
                return;
            };
            if known.hosts.is_empty() {
                return;
            }
            let now = Instant::now();
            let directories = [Some(servers.directory), servers.staging];
            let accounts = known.due_accounts(directories.into_iter().flatten(), now);
            let orders = due_orders(&mut known, &model, &settings, servers);
            let windows = match known.account(servers.directory) {
                Some(account) => known.due_windows(&model, now, &account),
                None => Vec::new(),
            };
            (accounts, orders, windows)
        };
        for (directory, anew) in accounts {
            let acme = self.clone();
            let settings = settings.clone();
            tokio::spawn(async move { acme.find_account(settings, directory, anew).await });
        }
        for beginning in orders {
            let acme = self.clone();
            tokio::spawn(async move { acme.attempt(beginning).await });
        }
        for (host, version, id, account) in windows {
            let acme = self.clone();
            tokio::spawn(async move { acme.ask_when(host, version, id, account).await });
        }
    }

    async fn find_account(&self, settings: Arc<AcmeSettings>, directory: String, anew: bool) {
        let finding = ASKED_TO_WAIT.scope(Cell::new(None), async {
            let found = account(&self.control, &settings, &directory, anew).await;
            (found, ASKED_TO_WAIT.with(Cell::get))
        });
        let (found, wait) = finding.await;
        if let Err(error) = &found {
            let why = shortened_acme_error(&error.to_string());
            tracing::error!(
                directory,
                why,
                "there is no ACME account to ask for certificates with; hosts wait"
            );
        }
        // Others are configured by now: this one may be another server's.
        if !Arc::ptr_eq(&settings, &self.settings.load_full()) {
            return;
        }
        let found = found.map_err(|error| shortened_acme_error(&error.for_everybody()));
        let mut known = self.lock();
        known.found_account(&directory, found, wait, Instant::now());
    }

    /// One order, and whatever becomes of it.
    async fn attempt(self: Arc<Self>, beginning: Beginning) {
        let host = beginning.host.clone();
        let settings = beginning.settings.clone();
        let directory = settings.directory.clone().unwrap_or_default();
        let of = host.clone();
        let begun = self.change(move |control| control.begin_acme_order(&of));
        let begun_on = match begun.await {
            Ok(begun_on) => begun_on,
            // The host is gone, or wants none any more; nobody was asked.
            Err(error) => {
                tracing::warn!(%host, %error, "no certificate is asked for");
                self.lock().not_begun(&host);
                return;
            }
        };
        let acme = self.clone();
        let ordering = tokio::spawn(async move { acme.order(beginning, begun_on).await });
        let (error, wait) = match ordering.await {
            Ok(Outcome::Issued) => {
                tracing::info!(%host, directory, "ACME has brought a certificate");
                self.lock().ended(&host, true, None);
                return;
            }
            Ok(Outcome::Left(left)) => {
                let of = host.clone();
                let kept =
                    self.change(move |control| control.leave_acme_order(&of, begun_on, left));
                match kept.await {
                    Ok(()) => tracing::info!(%host, "an order is left for the next process"),
                    Err(error) => {
                        tracing::warn!(%host, %error, "an order is left and not found again")
                    }
                }
                self.lock().left(&host);
                return;
            }
            Ok(Outcome::Failed(error, of, wait)) => {
                let mut known = self.lock();
                let server = of_directory(&settings, of);
                if error.is_of_account() {
                    known.account_is_unknown(server);
                } else if error.is_of_transport() {
                    // Whoever asks next finds out first whether the server is there.
                    known.forget_account(server);
                }
                (format!("{of}{error}"), wait.map(|wait| (server, wait)))
            }
            Ok(Outcome::NotTaken(error)) => (
                format!("what the ACME server has sent is not taken: {error}"),
                None,
            ),
            Err(_panicked) => ("it failed inside; the log has the reason".into(), None),
        };
        let error = shortened_acme_error(&error);
        self.board.take_down(&host).await;
        let (why, of) = (error.clone(), host.clone());
        let kept = wait.map(|(server, wait)| (server.to_owned(), wait));
        let noted = self.change(move |control| {
            let wait = kept.as_ref().map(|(server, wait)| (&**server, *wait));
            control.fail_acme_order(&of, begun_on, &why, wait)
        });
        let noted = noted.await;
        if let Err(error) = noted {
            tracing::debug!(%host, %error, "why there is no certificate is not kept");
        }
        let has_one = {
            let model = self.control.model();
            let record = model.hosts.get(&host);
            record.is_some_and(|record| model.by_acme(record).is_some())
        };
        if has_one {
            tracing::error!(%host, directory, why = error, "a certificate was not renewed; the one before stays");
        } else {
            tracing::error!(%host, directory, why = error, "ACME has brought no certificate");
        }
        self.lock().ended(&host, false, wait);
    }

    /// Makes a change where it may wait for the disk.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control<control::ChangeOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let control = self.control.changer(Intent::of("acme"));
        let done = tokio::task::spawn_blocking(move || work(&control)).await;
        done.unwrap_or_else(|_panicked| {
            Err(ChangeError::invalid(
                "acme",
                "it failed inside; the log has the reason",
            ))
        })
    }

    async fn order(&self, beginning: Beginning, begun_on: Moment) -> Outcome {
        let Beginning {
            host,
            settings,
            staging,
            account,
            replaces,
            left_at,
        } = beginning;
        let wish = |replaces, left_at| Wish {
            name: &host,
            begun_on,
            kind: settings.challenge,
            replaces,
            left_at,
            leaving: self.leaving.subscribe(),
        };
        if let Some(staging) = staging {
            let (tried, wait) = order(&staging, wish(None, None), &self.board).await;
            match tried {
                Ok(_thrown_away) => {}
                // The next process tries it anew.
                Err(OrderError::Left(_)) => return Outcome::Left(LeftOrder::default()),
                Err(error) => return Outcome::Failed(error, AT_STAGING, wait),
            }
            tracing::info!(%host, "acme.staging would sign a certificate; acme.directory is asked now");
        }
        let (ordered, wait) = order(&account, wish(replaces, left_at), &self.board).await;
        let Issued { chain, key } = match ordered {
            Ok(issued) => issued,
            Err(OrderError::Left(left)) => {
                return Outcome::Left(LeftOrder {
                    directory: settings.directory.clone(),
                    ..left
                });
            }
            Err(error) => return Outcome::Failed(error, "", wait),
        };
        let installed = self
            .change(move |control| control.install_acme_certificate(&host, begun_on, &chain, &key))
            .await;
        match installed {
            Ok(_certificate) => Outcome::Issued,
            Err(error) => Outcome::NotTaken(error),
        }
    }

    /// Asks a server when it would have a certificate renewed (RFC 9773).
    async fn ask_when(
        &self,
        host: HostName,
        version: u64,
        id: CertificateIdentifier<'static>,
        account: Account,
    ) {
        let (window, again) = match account.renewal_info(&id).await {
            Ok((info, again)) => {
                let window = &info.suggested_window;
                let window = (window.start.unix_timestamp(), window.end.unix_timestamp());
                if window.0 <= now_sec() {
                    let why = info.explanation_url.as_deref();
                    tracing::info!(%host, why, "the ACME server suggests to renew a certificate now");
                }
                (Some(window), again.clamp(ACME_WINDOW_MIN, ACME_WINDOW_MAX))
            }
            Err(instant_acme::Error::Unsupported(_)) => (None, ACME_WINDOW_MAX),
            Err(error) => {
                tracing::debug!(%host, %error, "the ACME server does not say when to renew");
                (None, ACME_WINDOW_EVERY)
            }
        };
        let again = again.mul_f64(1.0 + 0.1 * chance());
        self.lock()
            .asked_when(&host, version, window, Instant::now() + again);
    }
}

/// The orders that begin now; they are under way from then on.
fn due_orders(
    known: &mut Known,
    model: &Model,
    settings: &Arc<AcmeSettings>,
    servers: Servers<'_>,
) -> Vec<Beginning> {
    let Some(account) = known.account(servers.directory) else {
        return Vec::new();
    };
    let staging = servers.staging.and_then(|url| known.account(url));
    let mut beginnings = Vec::new();
    let per_hour = settings.orders_per_hour.max(1);
    for candidate in known.due(model, servers, now_sec()) {
        let Candidate {
            host,
            chain,
            tried_first,
            zone,
            left_at,
        } = candidate;
        let staging = staging.clone().filter(|_| tried_first);
        // It waits for the account there.
        let waits = tried_first && staging.is_none();
        if waits || !known.begin(model, &host, zone, per_hour) {
            continue;
        }
        beginnings.push(Beginning {
            host,
            settings: settings.clone(),
            staging,
            account: account.clone(),
            replaces: chain.as_deref().and_then(renewal_id),
            left_at,
        });
    }
    beginnings
}

/// What stands in front of errors of the other server.
const AT_STAGING: &str = "at acme.staging: ";

fn of_directory<'s>(settings: &'s AcmeSettings, of: &str) -> &'s str {
    let url = if of == AT_STAGING {
        &settings.staging
    } else {
        &settings.directory
    };
    url.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{AcmeProof, HostPatch};
    use snapshot::Published;
    use snapshot::challenges::HTTP_PATH;

    #[tokio::test]
    async fn what_is_left_is_shown_by_whoever_is_to_and_not_when_nobody_wants_it() {
        let directory = fixtures::Directory::new();
        let published = Arc::<Published>::default();
        let control = Control::open(&directory.path().join("s"), published.clone()).unwrap();
        let zone = control.create_zone("a.test").unwrap().id;
        let name = fixture::host(&control, zone, "h.a.test");
        let begun_on = control.begin_acme_order(&name).unwrap();
        let left = LeftOrder {
            directory: None,
            url: Some("https://acme.test/order/1".into()),
            proof: Some(AcmeProof {
                challenge: AcmeChallenge::Http01,
                token: "t0ken".into(),
                key_authorization: "t0ken.print".into(),
            }),
        };
        control.leave_acme_order(&name, begun_on, left).unwrap();
        let is_shown = || {
            let challenges = published.load().challenges.clone();
            challenges
                .answer(name.as_str(), &format!("{HTTP_PATH}t0ken"))
                .is_some()
        };
        let settings = AcmeSettings {
            // Nobody is there.
            directory: Some("https://127.0.0.1:9/dir".into()),
            ..AcmeSettings::default()
        };
        let acme = AcmeClient::new(control.clone(), settings);
        assert!(!is_shown());
        // Of a fleet it is another's until this edge leads.
        control.found("prod", |_| Ok(())).unwrap();
        acme.begin().await;
        assert!(is_shown() && !acme.board.shows(&name));
        control.leave().unwrap();
        acme.lead().await;
        assert!(is_shown() && acme.board.shows(&name));
        acme.leave_to_other_edge().await;
        assert!(is_shown() && !acme.board.shows(&name), "as the other's");
        // No order begins here.
        acme.look();
        assert!(acme.lock().hosts.is_empty());
        acme.lead().await;
        assert!(is_shown() && acme.board.shows(&name));
        acme.look();
        assert!(acme.board.unwanted(&control.model()).is_empty());
        let patch = HostPatch {
            acme: Some(false),
            ..HostPatch::default()
        };
        control.update_host(&name, patch).unwrap();
        acme.mirror(true).await;
        acme.look();
        while acme.board.shows(&name) || is_shown() {
            tokio::time::sleep(ACME_LEAVE_LOOK).await;
        }
    }
}
