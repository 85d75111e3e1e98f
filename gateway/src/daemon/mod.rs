//! The process: starts the parts in order, listens to signals, stops them in order.
//!
//! | signal | what happens |
//! |---|---|
//! | TERM, QUIT | no new connections, requests are finished, exit 0 within `timeout.drain`; a second one exits at once |
//! | INT | the same, as from Ctrl-C |
//! | HUP | the configuration files are read again; one error, and everything stays as it is. For keys that need a new process, one takes over |
//! | USR1 | the access log is opened again |
//! | USR2 | a new process of the same path takes over; this one finishes its connections |
//!
//! Owns no decision of its own: what is started with what is [`config`]'s and
//! [`control`]'s to say.

mod acme;
mod edged;
#[cfg(feature = "fleet")]
mod fleet;
mod front;
mod kept;
mod maintenance;
mod pressure;
mod reload;
mod service;
mod signals;
mod steering;
mod upgrade;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use tokio::sync::watch;

use self::edged::Edged;
use self::front::Front;
use self::kept::Kept;
use self::reload::look_for_default_host;
use self::signals::{Requests, Signals, Wanted, drain, step_back, wait};
use self::steering::steer;
use self::upgrade::former::Formers;
pub use self::upgrade::predecessor::{Offered, Predecessor, PredecessorError};
use self::upgrade::{Estate, own_binary};
use crate::geoip;
use crate::limits::{BLOCKING_TIMEOUT, DESCRIPTORS_SPARE, LOG_FLUSH_TIMEOUT};
use admin::{self, AdminTls, Upgrades};
use config::{Config, Live, Loaded, Sources, TraceContextMode};
use control::{Control, OpenError, Options, StoreOpenError};
use datapath::connection::Shared;
use datapath::io::{RingError, probe};
use datapath::limits::LEAVING_WAIT;
use datapath::memory;
use datapath::observe::spans::Spans;
use datapath::observe::{AccessLog, AccessLogError, Events};
use datapath::plain;
use datapath::shares::Shares;
use datapath::steer::controller::Controller;
use datapath::steer::{self, Owned};
use datapath::worker::{
    Inboxes, ListenError, NoAnswer, Placement, Workers, close_listeners, hide_listeners,
};
use fetch::{AcmeClient, CrlFetcher, HealthChecker, NameWatch, OcspClient, Stapler};
use snapshot::Published;
use snapshot::http::reach::Reach;
use snapshot::phases::Buckets;
use snapshot::questions::OcspQueue;
use tls::Acceptor;
use traces::Exporter;

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No io_uring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The store cannot be opened.
    #[error(transparent)]
    Control(#[from] OpenError),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A GeoIP database cannot be used.
    #[error(transparent)]
    Geo(#[from] geoip::GeoipError),
    /// The admin API cannot be served.
    #[error(transparent)]
    Admin(#[from] admin::ServeError),
    /// Its TLS cannot be set up.
    #[error(transparent)]
    AdminTls(#[from] admin::AdminTlsError),
    /// BoringSSL cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] boring::error::ErrorStack),
    /// The process to take over from is gone, or cannot be taken over from.
    #[error(transparent)]
    Predecessor(#[from] PredecessorError),
    /// A worker does not run.
    #[error(transparent)]
    Worker(#[from] NoAnswer),
    /// The kernel is to steer and cannot.
    #[error("steer.mode is `kernel`, but {0}; set steer.mode to `auto` to start without")]
    Steer(#[from] steer::Unavailable),
    /// The fleet that is configured cannot be met.
    #[cfg(feature = "fleet")]
    #[error(transparent)]
    Fleet(#[from] fleet::FleetError),
    /// Anything else that the system refuses.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

impl StartError {
    /// Whether starting once more will fail in the same way until somebody has mended something: key
    /// file, store, databases, certificates. An address or a store that another process has may be
    /// free a moment later.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Control(OpenError::Store(error)) => {
                !matches!(error, StoreOpenError::InUse { .. })
            }
            Self::Control(OpenError::Read(_) | OpenError::Seal(_) | OpenError::Compile(_))
            | Self::Geo(_)
            | Self::AdminTls(_)
            | Self::AccessLog(_)
            | Self::Ring(_)
            | Self::Steer(_) => true,
            #[cfg(feature = "fleet")]
            Self::Fleet(error) => !matches!(error, fleet::FleetError::Start(_)),
            Self::Listen(_)
            | Self::Admin(_)
            | Self::Tls(_)
            | Self::Predecessor(_)
            | Self::Worker(_)
            | Self::System(..) => false,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every connection was finished.
    Drained,
    /// `timeout.drain` passed, or a second signal came: connections were cut.
    Cut,
}

/// The process that this one was started by to take its place, if it was.
///
/// # Errors
/// See [`PredecessorError`].
pub fn predecessor() -> Result<Option<Predecessor<Offered>>, PredecessorError> {
    Predecessor::find()
}

/// Opens the store and runs until a signal ends it, or another process has taken over. With a
/// `predecessor`, takes over from that.
///
/// # Errors
/// See [`StartError`].
pub fn run(loaded: Loaded, predecessor: Option<Predecessor<Offered>>) -> Result<Ended, StartError> {
    keep_keys_out_of_core_dumps();
    be_called_postern();
    let voice = predecessor.as_ref().map(Predecessor::voice).transpose();
    let voice = voice.map_err(|error| StartError::System("the channel of the upgrade", error))?;
    let sources = Some(loaded.sources);
    let ended = start(loaded.config, sources, Opening::Store, predecessor);
    if let (Err(error), Some(voice)) = (&ended, voice) {
        voice.refuse(error);
    }
    ended
}

/// Runs on a control plane that is open already. Without `sources` SIGHUP has nothing to read.
///
/// # Errors
/// See [`StartError`].
pub fn serve(
    config: Config,
    control: Arc<Control>,
    published: Arc<Published>,
) -> Result<Ended, StartError> {
    start(config, None, Opening::Opened(control, published), None)
}

/// Where the control plane comes from.
enum Opening {
    /// The store that the configuration names.
    Store,
    /// It is there.
    Opened(Arc<Control>, Arc<Published>),
}

impl Opening {
    fn open(
        self,
        config: &Config,
        is_handed_over: bool,
    ) -> Result<(Arc<Control>, Arc<Published>), StartError> {
        match self {
            Self::Opened(control, published) => Ok((control, published)),
            Self::Store => {
                let published = Arc::new(Published::default());
                let options = Options {
                    key_file: config.key_file(),
                    default_host: config.default_host.clone(),
                    reach: reach(config),
                    is_handed_over,
                };
                let control = Control::open_with(&config.store_path, published.clone(), options)?;
                look_for_default_host(config.default_host.as_ref(), &published);
                Ok((control, published))
            }
        }
    }
}

/// What origins may not be that tokens of zones set.
fn reach(config: &Config) -> Reach {
    let plain = config
        .listen_http
        .iter()
        .copied()
        .chain(config.health_listen);
    let listeners = config.listen.iter().copied().chain(config.admin_listen);
    let listeners = listeners.chain(plain);
    Reach {
        allows_private: config.private_origins,
        listeners: listeners.collect(),
        // An address can be bound where it is.
        is_here: |address| UdpSocket::bind((address, 0)).is_ok(),
    }
}

/// Makes the kernel write no core dump of this process: keys of hosts and CAs are in its memory.
fn keep_keys_out_of_core_dumps() {
    if let Err(why) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(
            "core dumps could not be switched off ({why}): one would hold private keys; set \
             LimitCORE=0 for the service (`ulimit -c 0` in a shell)"
        );
    }
}

/// A process that was started as `/proc/self/exe`, to take over after a reload, would be called `exe` by `ps`,
/// `top` and `pgrep`.
fn be_called_postern() {
    if let Err(why) = rustix::thread::set_name(c"postern") {
        tracing::debug!(%why, "the process keeps its name");
    }
}

/// What this machine is called.
fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Takes as many open files as the system allows: the soft limit is often a thousand, for the sake
/// of programs that use `select`. Warns when that is too few for `limit.connections`. Answers how many
/// of them connections may take.
fn raise_descriptor_limit(connections_max: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // One to the client and one to the origin.
    let wanted = (connections_max as u64)
        .saturating_mul(2)
        .saturating_add(DESCRIPTORS_SPARE);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            "{allowed} open files are allowed, and `limit.connections` = {connections_max} can need \
             {wanted}: raise LimitNOFILE= of the service (`ulimit -Hn` in a shell), or lower the limit"
        );
    }
    let left = allowed.map(|allowed| allowed.saturating_sub(DESCRIPTORS_SPARE).max(1));
    left.and_then(|left| usize::try_from(left).ok())
        .unwrap_or(usize::MAX)
}

/// Starts the parts in order, and runs until the end.
fn start(
    config: Config,
    sources: Option<Sources>,
    opening: Opening,
    predecessor: Option<Predecessor<Offered>>,
) -> Result<Ended, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System("the runtime of the admin API", error))?;
    let requests = {
        let _signals_come_here = runtime.enter();
        Requests::new()?
    };
    // A process that is alone finds out first whether the store is its own.
    let (opened, opening) = match predecessor {
        None => (Some(opening.open(&config, false)?), None),
        Some(_) => (None, Some(opening)),
    };
    probe()?;
    let binary = own_binary();
    let descriptors = raise_descriptor_limit(config.tunables.connections_max);
    let geo = geoip::open(config.geoip_databases())?.map(Arc::new);
    let access_log = AccessLog::start(&config.access_log)?;
    let admin_tls = match config.admin_tls() {
        Some((certificate, key)) => Some(AdminTls::load(certificate, key)?),
        None => None,
    };
    let otlp = config.trace_otlp.clone();
    if otlp.is_some() && config.tunables.trace_context == TraceContextMode::Off {
        tracing::warn!("trace.otlp has nothing to send while trace.context is off");
    }
    let acceptor = Acceptor::with_protocol(&tls::Protocol {
        groups: config.tls_groups.as_slice().into(),
        min_version: config.tls_min_version,
    })?;
    let upgrade = predecessor.as_ref().map(Predecessor::upgrade);
    let (given, mut gifts) = match predecessor {
        Some(predecessor) => {
            let (given, gifts) = predecessor.checked(&config)?;
            (Some(given), gifts)
        }
        None => (None, kept::gifts()),
    };
    if given.is_some() && !acceptor.tickets().take_over(&gifts.tickets) {
        tracing::warn!("session tickets of the old process are not good here");
    }
    let had_admin_socket = gifts.admin_socket.is_some();
    let meanings = std::mem::take(&mut gifts.names);
    let front = runtime.block_on(Front::open(&config, admin_tls.clone(), gifts))?;
    if given.is_none() {
        front.listen()?;
    }
    let worker_count = config.workers;
    let owned = Arc::new(Owned::default());
    let (controller, placed) = Controller::start(
        &config,
        front.listeners.of_workers(),
        owned.clone(),
        front.steering,
    )?;
    let controller = Arc::new(controller);
    let is_successor = given.is_some();
    let closed = match given {
        Some(given) => Some(given.taken(had_admin_socket)?),
        None => None,
    };

    let (control, published) = match (opened, opening) {
        (Some(opened), _) => opened,
        (None, Some(opening)) => opening.open(&config, true)?,
        (None, None) => {
            return Err(StartError::System(
                "the store",
                io::ErrorKind::NotFound.into(),
            ));
        }
    };
    let closed = match closed {
        // What was acknowledged there has to be here: a file may have been put in the place of the store.
        Some((_, revision)) if control.model().revision < revision => {
            return Err(PredecessorError::OtherStore.into());
        }
        closed => closed.map(|(closed, _)| closed),
    };
    let formers = Arc::<Formers>::default();
    let told = formers.clone();
    control.feed(Box::new(move |fed| told.tell(&fed)));
    control.set_geo(geo.clone());
    controller.set_hosts(&published.load(), &vec![true; worker_count]);
    let (listen, plain_addresses) = (
        config.listen.clone(),
        [
            config.listen_http.clone(),
            config.health_listen.into_iter().collect(),
        ],
    );
    let crl_directory = config.crl_directory.clone();
    let (admin_socket, admin_listen) = (config.admin_socket.clone(), config.admin_listen);
    let store = config.store_path.clone();
    let fleet_wanted = config.fleet.clone();
    let acme_settings = acme::settings(&config);
    let live = Arc::new(Live::new(config));
    let inboxes = Inboxes::new(worker_count)
        .map_err(|error| StartError::System("the workers' inboxes", error))?;
    let questions = Arc::new(OcspQueue::default());
    let spans = Arc::new(Spans::new(otlp.is_some()));
    let events = Events::new(worker_count);
    let shared = Arc::new(Shared {
        acceptor,
        published: published.clone(),
        live: live.clone(),
        geo: ArcSwapOption::new(geo),
        access_log: access_log.clone(),
        events: events.clone(),
        spans: spans.clone(),
        questions: questions.clone(),
        buckets: Buckets::new(datapath::clock::now()),
        shares: Shares::new(descriptors),
    });
    let edge = Edged::start(&fleet_wanted, &store, &control, &shared)?;
    let placement = Arc::new(Placement {
        connections: AtomicUsize::new(0),
        owned,
        placed,
        inboxes,
    });
    let responders = OcspClient::new(control.clone(), questions);
    let tuned = live.clone();
    let acme = AcmeClient::new(control.clone(), acme_settings);
    let stapler = Stapler::new(control.clone(), move || tuned.load().ocsp_staple);
    let health = HealthChecker::new(published.clone());
    let names = NameWatch::new(control.clone(), published.clone());
    names.remember(meanings);
    let watched_names = names.clone();
    let workers = Arc::new(Workers::prepare(
        &shared,
        &placement,
        front.listeners,
        controller.clone(),
    ));
    let plain = Arc::<plain::Counts>::default();
    let around = plain::Surroundings {
        shared: shared.clone(),
        placement: placement.clone(),
        workers: workers.clone(),
        counts: plain.clone(),
    };
    let steered = published.clone();
    let lists = CrlFetcher::new(control.clone());
    let (upgrades, asked) = Upgrades::new(upgrade);
    let upgrades = Arc::new(upgrades);
    // Without files there is nothing that a new process could be started with.
    let asked = sources.is_some().then_some(asked);
    let state = admin::State {
        control: control.clone(),
        lists: lists.clone(),
        responders: responders.clone(),
        stapler: stapler.clone(),
        acme: acme.clone(),
        health: health.clone(),
        names: names.clone(),
        published,
        workers: workers.clone(),
        live: live.clone(),
        access_log: access_log.clone(),
        spans: spans.clone(),
        plain,
        events,
        upgrades: upgrades.clone(),
        fleet: edge.desk(&control),
        started: SystemTime::now(),
        begun: Instant::now(),
    };
    let ended = runtime.block_on(async {
        let mut signals = Signals::new(requests)?;
        // All that may fail is done before there is no way back; they serve once they are told to.
        let (begin, mut begun) = watch::channel(false);
        let failed = |error| StartError::System("plain HTTP", error);
        let redirects = front
            .redirects
            .start(around.clone(), begun.clone())
            .map_err(failed)?;
        let (health_door, health_checks) = front.health.serve(around).map_err(failed)?;
        let health_checks = tokio::spawn(async move {
            if begun.wait_for(|begun| *begun).await.is_ok() {
                health_checks.await;
            }
        });
        acme.begin().await;
        if let Some(closed) = closed {
            workers.all_answer().await?;
            let waiting = closed.ready()?;
            let steers = controller.take_over()?;
            let channel = waiting.begun(steers)?;
            // From here on there is no other process that could serve: nothing of this ends it.
            for channel in front.former.into_iter().chain([channel]) {
                if let Err(error) = formers.add(channel) {
                    tracing::error!(%error, "a replaced process is not told of changes: it ends");
                }
            }
            if let Err(error) = front.admin.announce() {
                tracing::warn!(%error, "`postern reload` does not find this process");
            }
        }
        workers.listen();
        if let Some(redirects) = &redirects {
            redirects.listen();
        }
        health_door.listen();
        // What is narrower or wider than they are listens by now.
        hide_listeners(&front.leaving);
        workers.accept();
        close_listeners(&front.unwanted);
        drop(front.unwanted);
        tokio::spawn(async move {
            tokio::time::sleep(LEAVING_WAIT).await;
            close_listeners(&front.leaving);
        });
        let leaving = front.admin.leaving();
        let admin = tokio::spawn(admin::serve_bound(front.admin, state));
        let steering = controller.steers().then(|| {
            tokio::spawn(steer(
                controller.clone(),
                workers.clone(),
                control.clone(),
                steered,
                live.clone(),
            ))
        });
        begin.send_replace(true);
        // Reading the store and compiling it took more than keeping it.
        memory::give_back();
        for address in &listen {
            tracing::info!(%address, workers = worker_count, "listening");
        }
        for address in plain_addresses.iter().flatten() {
            tracing::info!(%address, "listening for plain HTTP");
        }
        let (stop_traces, stopped) = tokio::sync::oneshot::channel();
        let traces = otlp.map(|url| {
            let instance = format!("{}:{}", host_name(), std::process::id());
            tokio::spawn(Exporter::new(url, spans, instance).run(stopped))
        });
        let kept = maintenance::keep(shared.clone(), responders, health, names);
        let kept = tokio::spawn(kept);
        let maintained = maintenance::run(
            shared.clone(),
            control.clone(),
            lists,
            stapler,
            acme.clone(),
            crl_directory,
            edge.leads(),
        );
        let maintained = tokio::spawn(maintained);
        let looked_after = edge.spawn();
        let watched = tokio::spawn(service::watch(workers.clone()));
        let estate = Estate {
            workers,
            addresses: listen,
            redirects,
            health: health_door,
            admin: leaving,
            admin_socket,
            admin_listen,
            store,
            control,
            controller,
            shared,
            formers,
            upgrades,
            binary,
            acme,
            names: watched_names,
        };
        let sockets = Kept::of(&estate);
        let keeping = if is_successor {
            let formers = estate.formers.clone();
            tokio::spawn(async move {
                formers.made_main().await;
                kept::keep(sockets);
            })
        } else {
            kept::keep(sockets);
            service::ready("serving");
            tokio::spawn(async {})
        };
        let wanted = wait(
            &mut signals,
            &estate,
            asked,
            sources.as_ref(),
            admin_tls.as_ref(),
            &access_log,
        )
        .await;
        let ended = match wanted {
            Wanted::Stop => {
                keeping.abort();
                kept::forget();
                service::stopping("finishing requests");
                let acme = estate.acme.clone();
                let leaving = tokio::spawn(async move { acme.leave().await });
                let ended = drain(&mut signals, &estate).await;
                if ended == Ended::Drained {
                    // Bounded by itself; a panic in it has been told.
                    drop(leaving.await);
                }
                ended
            }
            Wanted::StepBack {
                channel,
                is_stopping,
            } => {
                // These are the new process's now.
                keeping.abort();
                maintained.abort();
                watched.abort();
                // It may wait for etcd, and what the new process tells does not.
                let edge = edge.clone();
                drop(tokio::task::spawn_blocking(move || edge.stop()));
                if let Some(steering) = steering {
                    steering.abort();
                }
                step_back(&mut signals, &estate, channel, is_stopping).await
            }
        };
        admin.abort();
        health_checks.abort();
        maintained.abort();
        kept.abort();
        if let Some(looked_after) = looked_after {
            looked_after.abort();
        }
        let stopped_edge = tokio::task::spawn_blocking(move || edge.stop());
        drop(stopped_edge.await);
        drop(stop_traces);
        if let Some(traces) = traces {
            // Bounded by itself; a panic in it has been told.
            drop(traces.await);
        }
        Ok::<_, StartError>(ended)
    });
    // What hangs, as on a file system whose server is gone, is left behind.
    runtime.shutdown_timeout(BLOCKING_TIMEOUT);
    let ended = ended?;
    access_log.finish(LOG_FLUSH_TIMEOUT);
    tracing::info!(cut = ended == Ended::Cut, "stopped");
    Ok(ended)
}
