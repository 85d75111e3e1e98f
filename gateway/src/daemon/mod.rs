//! The process: starts the parts in order, listens to signals, stops them in order.
//!
//! | signal | what happens |
//! |---|---|
//! | TERM, QUIT | no new connections, requests are finished, exit 0 within `timeout.drain`; a second one exits at once |
//! | INT | the same, as from Ctrl-C |
//! | HUP | the configuration files are read again; one error, and everything stays as it is |
//! | USR1 | the access log is opened again |
//!
//! Owns no decision of its own: what is started with what is [`config`]'s and
//! [`control`]'s to say.

mod maintenance;
mod pressure;
mod reload;
mod signals;
mod steering;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use self::reload::look_for_default_host;
use self::signals::{Signals, wait};
use self::steering::steer;
use crate::geoip;
use crate::limits::{BLOCKING_TIMEOUT, DESCRIPTORS_SPARE, LOG_FLUSH_TIMEOUT};
use admin::{self, AdminTls};
use config::{Config, Live, Loaded, Sources};
use control::{Control, OpenError, Options, StoreOpenError};
use datapath::connection::Shared;
use datapath::io::{RingError, probe};
use datapath::memory;
use datapath::observe::{AccessLog, AccessLogError, Events};
use datapath::plain::{self, Plain, Role};
use datapath::shares::Shares;
use datapath::steer::controller::Controller;
use datapath::steer::{self, Owned};
use datapath::worker::{Inboxes, ListenError, Listeners, Placement, Workers};
use fetch::{CrlFetcher, HealthChecker, OcspClient, Stapler};
use snapshot::Published;
use snapshot::http::reach::Reach;
use snapshot::phases::Buckets;
use snapshot::questions::OcspQueue;
use tls::Acceptor;

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
    /// The kernel is to steer and cannot.
    #[error("steer.mode is `kernel`, but {0}; set steer.mode to `auto` to start without")]
    Steer(#[from] steer::Unavailable),
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
            Self::Listen(_) | Self::Admin(_) | Self::Tls(_) | Self::System(..) => false,
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

/// Opens the store and runs until a signal ends it.
///
/// # Errors
/// See [`StartError`].
pub fn run(loaded: Loaded) -> Result<Ended, StartError> {
    keep_keys_out_of_core_dumps();
    let published = Arc::new(Published::default());
    let options = Options {
        key_file: loaded.config.key_file(),
        default_host: loaded.config.default_host.clone(),
        reach: reach(&loaded.config),
    };
    let control = Control::open_with(&loaded.config.store_path, published.clone(), options)?;
    look_for_default_host(loaded.config.default_host.as_ref(), &published);
    serve(loaded.config, Some(loaded.sources), control, published)
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

/// Runs on a control plane that is open already. Without `sources` SIGHUP has nothing to read.
///
/// # Errors
/// See [`StartError`].
pub fn serve(
    config: Config,
    sources: Option<Sources>,
    control: Arc<Control>,
    published: Arc<Published>,
) -> Result<Ended, StartError> {
    probe()?;
    let descriptors = raise_descriptor_limit(config.tunables.connections_max);
    let geo = geoip::open(config.geoip_databases())?.map(Arc::new);
    control.set_geo(geo.clone());
    let access_log = AccessLog::start(&config.access_log)?;
    let (worker_count, listen) = (config.workers, config.listen.clone());
    let admin_tls = match config.admin_tls() {
        Some((certificate, key)) => Some(AdminTls::load(certificate, key)?),
        None => None,
    };
    let listen_admin = admin::Listen {
        socket: config.admin_socket.clone(),
        tcp: config.admin_listen,
        tls: admin_tls.clone(),
    };
    let crl_directory = config.crl_directory.clone();
    let acceptor = Acceptor::with_protocol(&tls::Protocol {
        groups: config.tls_groups.as_slice().into(),
        min_version: config.tls_min_version,
    })?;
    let listeners = Listeners::bind(worker_count, &listen)?;
    let redirects = Plain::bind(Role::Redirects, &config.listen_http)?;
    let plain_health = Plain::bind(Role::Health, config.health_listen.as_slice())?;
    let plain_addresses = [
        config.listen_http.clone(),
        config.health_listen.into_iter().collect(),
    ];
    let owned = Arc::new(Owned::default());
    let (controller, placed) = Controller::start(&config, listeners.of_workers(), owned.clone())?;
    let controller = Arc::new(controller);
    controller.set_hosts(&published.load(), &vec![true; worker_count]);
    let live = Arc::new(Live::new(config));
    let inboxes = Inboxes::new(worker_count)
        .map_err(|error| StartError::System("the workers' inboxes", error))?;
    let questions = Arc::new(OcspQueue::default());
    let events = Events::new(worker_count);
    let shared = Arc::new(Shared {
        acceptor,
        published: published.clone(),
        live: live.clone(),
        geo: ArcSwapOption::new(geo),
        access_log: access_log.clone(),
        events: events.clone(),
        questions: questions.clone(),
        buckets: Buckets::new(datapath::clock::now()),
        shares: Shares::new(descriptors),
    });
    let placement = Arc::new(Placement {
        connections: AtomicUsize::new(0),
        owned,
        placed,
        inboxes,
    });
    let responders = OcspClient::new(control.clone(), questions);
    let tuned = live.clone();
    let stapler = Stapler::new(control.clone(), move || tuned.load().ocsp_staple);
    let health = HealthChecker::new(published.clone());
    let workers = Arc::new(Workers::start(
        &shared,
        &placement,
        listeners,
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
    let state = admin::State {
        control: control.clone(),
        lists: lists.clone(),
        responders: responders.clone(),
        stapler: stapler.clone(),
        health: health.clone(),
        published,
        workers: workers.clone(),
        live: live.clone(),
        access_log: access_log.clone(),
        plain,
        events,
        started: SystemTime::now(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System("the runtime of the admin API", error))?;
    let ended = runtime.block_on(async {
        let admin = admin::serve(listen_admin, state).await?;
        let admin = tokio::spawn(admin);
        if controller.steers() {
            let control = control.clone();
            tokio::spawn(steer(
                controller,
                workers.clone(),
                control,
                steered,
                live.clone(),
            ));
        }
        let failed = |error| StartError::System("plain HTTP", error);
        redirects.start(around.clone()).map_err(failed)?;
        let health_checks = plain_health.serve(around).map_err(failed)?;
        let health_checks = tokio::spawn(health_checks);
        // Reading the store and compiling it took more than keeping it.
        memory::give_back();
        for address in &listen {
            tracing::info!(%address, workers = worker_count, "listening");
        }
        for address in plain_addresses.iter().flatten() {
            tracing::info!(%address, "listening for plain HTTP");
        }
        let maintenance = tokio::spawn(maintenance::run(
            shared.clone(),
            control.clone(),
            lists,
            responders,
            stapler,
            health,
            crl_directory,
        ));
        let mut signals = Signals::new()?;
        let ended = wait(
            &mut signals,
            &workers,
            &shared,
            sources.as_ref(),
            &control,
            admin_tls.as_ref(),
            &access_log,
        )
        .await;
        admin.abort();
        health_checks.abort();
        maintenance.abort();
        Ok::<_, StartError>(ended)
    });
    // What hangs, as on a file system whose server is gone, is left behind.
    runtime.shutdown_timeout(BLOCKING_TIMEOUT);
    let ended = ended?;
    access_log.finish(LOG_FLUSH_TIMEOUT);
    tracing::info!(cut = ended == Ended::Cut, "stopped");
    Ok(ended)
}
